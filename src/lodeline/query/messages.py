"""What passed between one run and its topics: summaries of messages, as an answer tells them.

Capture keeps no message, only counts, digests and figures of numbers (`lodeline_messages`). They
come from outside, as every facet does: a summary that cannot be read is left out, and a sketch that
is none of its own figures gives no distribution.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from lodeline.ingest.sketches import MergedSketches
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.records import Name, Record
from lodeline.wire.facets import LodelineMessagesInputDatasetFacet

_FACET: Final = LodelineMessagesInputDatasetFacet.facet_name


def summarise_messages(inquiry: Inquiry, record: Record) -> list[dict[str, Any]]:
    """List what a run consumed and produced of topics that its reader may see.

    Args:
        inquiry: in whose name.
        record: of the run.
    """
    sides = (("read", record.inputs), ("write", record.outputs))
    return [
        told
        for side, datasets in sides
        for name, facets in sorted(datasets.items())
        if (told := _tell(inquiry, side, name, facets.get(_FACET))) is not None
    ]


def _tell(inquiry: Inquiry, side: str, name: Name, facet: Any) -> dict[str, Any] | None:
    node = NodeId("dataset", *name)
    if not isinstance(facet, dict) or not inquiry.visibility.may_see(node):
        return None
    try:
        stated = msgspec.convert(facet, LodelineMessagesInputDatasetFacet)
    except msgspec.ValidationError:
        return None
    count = sum(one.count for one in stated.partitions)
    digests = stated.digests or []
    return {
        "dataset": str(node),
        "side": side,
        "count": count,
        "bytes": sum(one.bytes or 0 for one in stated.partitions),
        "digests": len(digests),
        "read": stated.read or 0,
        "columns": _columns(msgspec.to_builtins(stated.columns or {})),
    }


def _columns(columns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    merged = MergedSketches()
    answer = {}
    for name, column in columns.items():
        figures = {key: value for key, value in column.items() if value is not None}
        if figures.keys() >= {"min", "max", "sum"} and figures["numbers"] > 0:
            figures["mean"] = figures["sum"] / figures["numbers"]
            merged.add(name, figures)
        figures.pop("kll", None)
        distribution = merged.distribution(name)
        answer[name] = (
            figures if distribution is None else {**figures, "distribution": distribution}
        )
    return answer

"""The facts of a proof page: what a browser needs to check an answer by itself.

Nothing here says whether the proof holds: the browser fetches the log's own files, computes, and
compares. Payloads are disclosed only to who may see all of an entry; others get the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lodeline.errors import EvidenceError
from lodeline.evidence.prediction_rows import prove_row
from lodeline.ingest.predictions import find_prediction
from lodeline.limits import PROOF_ENTRIES_MAX
from lodeline.store import SqlSegment
from lodeline.store.disclosure import disclosed_fields

Facts = dict[str, Any]
Asker = Callable[[str, Mapping[str, object]], Facts]


def proof_facts(
    ask: Asker, segment: SqlSegment, identifier: str, times: Mapping[str, object], *, whole: bool
) -> Facts:
    """Give the facts of a proof.

    Args:
        ask: the caller's questions, of the segment.
        segment: whose log is meant.
        identifier: of the node whose trace is proven.
        times: `as_of`, `valid_at` and `direction`, where given.
        whole: whether the caller may see all of every entry.

    Raises:
        LodelineError: the record does not know the node.
    """
    trace = ask("trace", {"id": identifier, **times})
    positions = sorted({one for edge in trace["edges"] for one in edge["entries"]})
    positions += [one for one in _own_entries(segment, trace["root"]) if one not in positions]
    checkpoint = segment.checkpoint()
    endorsed = segment.endorsements.cosignatures(checkpoint.size)
    return {
        "id": trace["root"],
        "direction": trace["direction"],
        "as_of": trace["as_of"],
        "trees": trace["trees"],
        "complete": trace["complete"],
        "gaps": trace["gaps"],
        "counts": {"nodes": len(trace["nodes"]), "edges": len(trace["edges"])},
        "log": {
            "segment": segment.segment_id,
            "origin": segment.origin,
            "size": checkpoint.size,
            "root_hash": checkpoint.root_hash.hex(),
            "log_time_us": checkpoint.log_time_us,
            "keys": [one.vkey for one in segment.verifiers()],
            "witnesses": [{"vkey": one.vkey, "time": _time(one.time_s)} for one in endorsed],
            "timestamps": _timestamps(segment),
        },
        "entries": sorted(positions)[:PROOF_ENTRIES_MAX],
        "entries_total": len(positions),
        "disclosed": whole,
    }


def _own_entries(segment: SqlSegment, root: str) -> list[int]:
    """Give the entries of a prediction: its reservation and its batch."""
    if not root.startswith("prediction:"):
        return []
    found = find_prediction(segment, root.removeprefix("prediction:"))
    reserved = None if found.block is None else found.block.position
    return [one for one in (reserved, found.position) if one is not None]


def _timestamps(segment: SqlSegment) -> list[Facts]:
    """List what authorities answered, of the newest checkpoint that one of them saw."""
    sizes = segment.endorsements.timestamped_sizes()
    newest = max(sizes, default=None)
    if newest is None:
        return []
    return [
        {"size": newest, "url": one.url, "sha256": one.digest.hex()}
        for one in segment.endorsements.timestamps(newest)
    ]


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def disclosed_entries(segment: SqlSegment, positions: Sequence[int]) -> list[Facts]:
    """Disclose entries: the fields that each leaf commits to, with their salts.

    Raises:
        LodelineError: no such entry, or stored otherwise than its leaf says.
    """
    entries = []
    with segment.reading() as connection:
        for position in positions:
            disclosed = disclosed_fields(segment, position, connection)
            entries.append(
                {
                    "index": position,
                    "erased_by": disclosed.erased_by,
                    "fields": [
                        _field(one.pointer, one.salt, one.value, one.commitment)
                        for one in disclosed.fields
                    ],
                }
            )
    return entries


def _field(pointer: str, salt: bytes | None, value: bytes | None, commitment: bytes) -> Facts:
    if salt is None or value is None:
        return {"pointer": pointer, "commitment": commitment.hex()}
    return {"pointer": pointer, "salt": salt.hex(), "value": value.decode()}


def prediction_row(segment: SqlSegment, identifier: str) -> Facts | None:
    """Give the line, salt and path that lead from a prediction's record to its batch's root.

    Returns:
        `None` where the record is not there.
    """
    try:
        row = prove_row(segment, identifier.removeprefix("prediction:"))
    except EvidenceError:
        return None
    return {
        "batch": row.batch,
        "leaf": row.place,
        "size": row.size,
        "line": row.line.decode(),
        "salt": row.salt.hex(),
        "path": [one.hex() for one in row.path],
    }

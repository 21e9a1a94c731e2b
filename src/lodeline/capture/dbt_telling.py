"""dbt's artifacts in a run that was observed: which database they are about, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lodeline.capture.datasets import Dataset
from lodeline.capture.dbt_results import DbtTelling, events_of, find_namespace, read_results
from lodeline.capture.drafts import Input, Output, RunDraft

_AT = "dbt"


def tell_dbt(draft: RunDraft, folder: Path, known: set[str]) -> list[dict[str, Any]]:
    """Give the events of dbt's artifacts in a folder that a run wrote; trouble becomes a gap.

    Args:
        draft: of the run.
        folder: dbt's target.
        known: invocations that were told; it is added to.
    """
    try:
        found = read_results(folder)
        if found.invocation in known:
            return []
        known.add(found.invocation)
        seen: dict[Dataset, Input | Output] = {**draft.inputs, **draft.outputs}
        namespace = find_namespace(found, seen)
        columns: dict[Dataset, tuple[tuple[str, str], ...]] = {}
        for dataset, entry in seen.items():
            fields = (entry.facets.get("schema") or {}).get("fields") or ()
            columns[dataset] = tuple((one["name"], one.get("type") or "") for one in fields)
        own = str(draft.header["namespace"]), str(draft.header["job"]), draft.run_id
        return events_of(found, DbtTelling(own[0], namespace, own, columns))
    except Exception as error:  # whatever a later dbt writes, the run itself is told
        draft.add_gap(_AT, "capture", f"what dbt says of its models is not told: {error}")
        return []

"""How a replay stands in the log: found by its working directory, marked by an event of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final, Literal

import msgspec

from lodeline.errors import CannotReplayError
from lodeline.replay.recipe import Recipe, iter_events, recipe_of
from lodeline.wire import facets

# Replays run in a namespace of their own: their models and jobs are not those of the original.
REPLAY_NAMESPACE: Final = "replay"
Verdict = Literal["identical", "equal", "different", "failed", "cannot"]
_RUN_EVENT: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


def find_replay(segment: Any, started_at: int, *, cwd: str) -> Recipe | None:
    """Find the run that was captured in a mirror; no other run has its working directory.

    Args:
        segment: an open segment.
        started_at: size of the log before the replay began.
        cwd: the working directory in the mirror.
    """
    events: dict[str, list[Mapping[str, Any]]] = {}
    replay = None
    for event in iter_events(segment, started_at):
        run_id = str(event.get("run", {}).get("runId", "")).lower()
        events.setdefault(run_id, []).append(event)
        capture = (event.get("run", {}).get("facets") or {}).get("lodeline_capture") or {}
        if capture.get("cwd") == cwd:
            replay = run_id
    if replay is None:
        return None
    try:
        return recipe_of(replay, events[replay])
    except CannotReplayError:
        return None


def note_verdict(segment: Any, found: Recipe, *, of: str, verdict: Verdict) -> None:
    """Log of which run `found` is a replay, and what came out."""
    facet = facets.build(facets.LodelineReplayRunFacet(of=of, verdict=verdict))
    event = {
        "eventType": "OTHER",
        "eventTime": datetime.now(UTC).isoformat(),
        "run": {"runId": found.run_id, "facets": {"lodeline_replay": facet}},
        "job": {"namespace": found.job_namespace, "name": found.job_name},
        "producer": facet["_producer"],
        "schemaURL": _RUN_EVENT,
    }
    import_module("lodeline.ingest").accept(segment, [msgspec.json.encode(event)])

"""The state of a node in one word, computed at read; four of the words mean that something is off.

*failed*, *never ran*, *stale* and *unknown* are different facts and never stand for each other:
a job without runs has not failed, and what nobody said anything of is not fine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

FAILED: Final = "failed"
NEVER_RAN: Final = "never ran"
STALE: Final = "stale"
UNKNOWN: Final = "unknown"
_OF_RUNS: Final[Mapping[str, str]] = {
    "COMPLETE": "complete",
    "FAIL": FAILED,
    "ABORT": FAILED,
    "START": "running",
    "RUNNING": "running",
}


def of_run(state: object) -> str:
    """Give the word of a run's state."""
    return _OF_RUNS.get(str(state), UNKNOWN)


def of_job(runs: Sequence[Mapping[str, Any]]) -> str:
    """Give the word of a job: that of its newest run."""
    return of_run(runs[0]["state"]) if runs else NEVER_RAN


def of_data(versions: Sequence[Mapping[str, Any]], incoming: Iterable[Mapping[str, Any]]) -> str:
    """Give the word of a dataset, model, feature or deployment.

    Args:
        versions: as `show` lists them.
        incoming: edges that lead to it.
    """
    edges = [edge for edge in incoming if edge["kind"] not in {"reads", "writes", "parent"}]
    if edges and all(edge["status"] == STALE for edge in edges):
        return STALE
    if versions:
        return "current"
    return NEVER_RAN if edges else UNKNOWN

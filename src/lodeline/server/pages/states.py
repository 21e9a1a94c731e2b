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
# Every word that stands in a state's pill, and what it means; each has a shape in the style sheet.
WORDS: Final[Mapping[str, str]] = {
    "complete": "the run came to its end",
    "running": "the run has begun and not ended",
    FAILED: "a run, or a check, did not hold or was aborted",
    NEVER_RAN: "declared, and nothing has run or written it",
    STALE: "its jobs have since run without the edges that lead to it",
    UNKNOWN: "nothing recorded tells",
    "current": "known, and its edges still hold",
    "held": "the check held",
    "answered": "the prediction was given",
    "refused": "the input was not taken",
    "identical": "a replay gave the same bytes",
    "equal": "a replay gave the same rows in other bytes",
    "different": "a replay gave something else",
    "cannot": "it cannot be replayed",
    "verified": "the check of a proof holds",
    "broken": "the check of a proof does not hold",
    "could not check": "a check of a proof could not run",
    "none": "there is nothing to check",
    "came": "only after",
    "went": "only before",
    "changed": "before and after, otherwise",
}
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

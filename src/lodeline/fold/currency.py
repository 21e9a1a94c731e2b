"""Whether an edge still holds: computed at the question, in event time, never stored.

An edge (source, target, kind, job), last asserted at L, is stale when

1. a later completed run of the job, under another code version than the run that last asserted
   it, wrote the same target without it; or
2. the job has since completed `runs_min` runs, and `age_us_min` lies between L and the newest of
   them (or the `valid_at` of the question, in its place); or
3. a lifecycle facet dated after L ended one of its ends.

The wall clock plays no part: a job that stopped running ages nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lodeline.limits import STALE_AGE_US, STALE_RUNS


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A completed run of the edge's job, as far as currency asks."""

    end_us: int
    code: str | None
    wrote_target: bool


def is_stale(
    *,
    last_us: int,
    code: str | None,
    completed: Iterable[CompletedRun],
    endings: Iterable[int],
    valid_at: int | None = None,
    runs_min: int = STALE_RUNS,
    age_us_min: int = STALE_AGE_US,
) -> bool:
    """Tell whether an edge is stale.

    Args:
        last_us: last event time of the groups asserting the edge (L).
        code: code version of the group that has L; None if unknown.
        completed: completed runs of the job; those that ended at or before L don't matter.
        endings: times at which a lifecycle facet ended the source or the target.
        valid_at: the question's `--valid-at`.
        runs_min: runs of rule 2.
        age_us_min: microseconds of rule 2.
    """
    # 3.
    if any(ended_us > last_us for ended_us in endings):
        return True
    later = [run for run in completed if run.end_us > last_us]
    # 1.
    if code is not None and any(
        run.wrote_target and run.code is not None and run.code != code for run in later
    ):
        return True
    # 2.
    if len(later) < runs_min:
        return False
    newest = valid_at if valid_at is not None else max(run.end_us for run in later)
    return newest - last_us >= age_us_min

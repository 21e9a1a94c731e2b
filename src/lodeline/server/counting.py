"""Counting and timing what the writer and the questions do, from outside of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lodeline.server.metrics import Metrics
from lodeline.server.tracing import Tracing
from lodeline.server.writing import Append, Fold, Input, Outcome
from lodeline.store import Segment

Observe = Callable[[float], object]


@contextmanager
def timing(observe: Observe) -> Iterator[None]:
    """Tell the seconds that a block takes, however it ends."""
    started = time.perf_counter()
    try:
        yield
    finally:
        observe(time.perf_counter() - started)


def timed(fold: Fold, observe: Observe, tracing: Tracing) -> Fold:
    """Give a fold that tells the seconds it takes."""

    def work(segment: Segment) -> object:
        with timing(observe), tracing.span("fold"):
            return fold(segment)

    return work


def counted(append: Append, metrics: Metrics, tracing: Tracing) -> Append:
    """Give an append that counts what it writes together, and how each event fared."""

    def work(segment: Segment, inputs: Sequence[Input]) -> list[Outcome]:
        metrics.observe("lodeline_commit_events", len(inputs))
        with (
            timing(lambda seconds: metrics.observe("lodeline_commit_seconds", seconds)),
            tracing.span("commit", {"lodeline.events": len(inputs)}),
        ):
            outcomes = append(segment, inputs)
        accepted = duplicates = 0
        for outcome in outcomes:
            if outcome.error is not None:
                metrics.count("lodeline_events_total", "refused")
                metrics.count("lodeline_events_refused_total", outcome.error.code)
            elif outcome.appended is not None:
                duplicates += outcome.appended.duplicate
                accepted += not outcome.appended.duplicate
        for fared, number in (("accepted", accepted), ("duplicate", duplicates)):
            if number:
                metrics.count("lodeline_events_total", fared, by=number)
        return outcomes

    return work

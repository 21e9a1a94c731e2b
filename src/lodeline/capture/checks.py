"""Checks of data: what a quality tool tested, told at the input that the data came from.

A table that was made of several inputs is none of them: its checks are counted, and a gap says
that they are told at no input.
"""

from __future__ import annotations

from typing import Any

from lodeline.capture.flow import BOUND
from lodeline.capture.recorder import Recorder
from lodeline.limits import ASSERTIONS_MAX


def record_checks(
    recorder: Recorder, title: str, flow: int, assertions: list[dict[str, Any]]
) -> None:
    """Record the outcome of checks.

    Args:
        recorder: of this process.
        title: of the suite or schema.
        flow: of the table that was checked.
        assertions: as in `dataQualityAssertions`.
    """
    failed = sum(not one["success"] for one in assertions)
    recorder.metric(f"{title}.passed", len(assertions) - failed)
    recorder.metric(f"{title}.failed", failed)
    sources = recorder.flow.datasets(flow)
    if len(sources) != 1:
        several = "several inputs, or of any of them" if flow & BOUND else "several inputs"
        told = f"checks of a table made of {several}" if sources else "checks of a table of no file"
        recorder.gap(title, "capture", f"{told} are told at no input")
        return
    if len(assertions) > ASSERTIONS_MAX:
        recorder.gap(
            title, "size", f"{len(assertions)} checks; the first {ASSERTIONS_MAX} are told"
        )
    facet = {"assertions": assertions[:ASSERTIONS_MAX]}
    recorder.read(sources[0], input_facets={"dataQualityAssertions": facet})

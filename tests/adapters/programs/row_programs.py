"""What random programs of pandas and of polars have in common: their state, and where they start."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from row_reference import Table

from lodeline.capture.journal import Journal
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER, RunContext


class Skip(Exception):
    """The program so far left nothing that this could be done to."""


class State:
    """A frame, the reference's table of it, and the second of both."""

    def __init__(self, rng: random.Random, pairs: list[tuple[Any, Table]]) -> None:
        self.rng = rng
        self.pairs = pairs
        self.frame, self.table = pairs[0]
        self.other, self.other_table = pairs[1]


def need(condition: object) -> None:
    """Leave an operation out where it cannot be done."""
    if not condition:
        raise Skip


def begin(folder: Path, follow: Callable[[Patches], object], framework: str) -> None:
    """Follow the rows of a framework in this process, under a run of its own."""
    journal = Journal(str(folder / "spool" / "journals"), "run", {"run_id": "run"})
    RECORDER.process_run, RECORDER.rows = RunContext("run", "default", "job", journal), True
    follow(Patches(framework))

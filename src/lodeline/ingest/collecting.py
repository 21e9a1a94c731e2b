"""The cyclic collector, kept out of batches: their many objects form no cycles.

It would walk them again and again, and find nothing. Between the batches of a service it would walk
what is left of them once more for every few requests.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from lodeline.limits import COLLECTED_OBJECTS_MIN


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause it for a batch, which lasts a fraction of a second.

    Threads that overlap may let it run a little early or late, which costs time and nothing else.
    `bench/ingest.py --collector` measures with it running, beside a run without the option.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collect_seldom() -> None:
    """For a process that serves from here on: what it was made of is not walked again."""
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS_MIN, *gc.get_threshold()[1:])

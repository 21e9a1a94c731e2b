"""The cyclic collector, kept out of batches: their many objects form no cycles.

It would walk them again and again, and find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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

"""The garbage collector rests while a question is answered.

A closure is hundreds of thousands of small objects that hold no cycles, made in one go: walking
them over and over took half of a large answer's time. What is no longer referred to is freed all
the same.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the collector from running; questions of several threads may overlap.

    A collector that its program switched off stays off.
    """
    global _resting  # noqa: PLW0603  # one collector a process
    with _lock:
        rests = gc.isenabled() or _resting > 0
        if rests:
            _resting += 1
            gc.disable()
    try:
        yield
    finally:
        with _lock:
            if rests:
                _resting -= 1
                if not _resting:
                    gc.enable()

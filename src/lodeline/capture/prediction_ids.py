"""Drawing prediction identifiers: unique across threads, forks and machines, ordered by time."""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from lodeline.model.predictions import BLOCK_BITS, COUNTERS, PredictionId, ticks_of

_LIVE: Final[weakref.WeakSet[PredictionIds]] = weakref.WeakSet()


class PredictionIds:
    """Draws identifiers of one block after another.

    Identifiers of one process ascend strictly, in the order of the draws, even when the clock is
    set back. A fork starts a block of its own.

    Args:
        reserve: called with each new block and the ticks of its first draw, before any of its
            identifiers is given out.
        clock_ns: nanoseconds since the epoch.
    """

    def __init__(
        self, reserve: Callable[[int, int], None], *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._reserve = reserve
        self._clock_ns = clock_ns
        self._ticks = 0
        self._forget_block()
        _LIVE.add(self)

    def _forget_block(self) -> None:
        self._lock = threading.Lock()
        self._block = -1
        self._counter = COUNTERS

    @property
    def block(self) -> int | None:
        """The block in use; `None` before the first draw."""
        return self._block if self._block >= 0 else None

    @property
    def drawn(self) -> int:
        """Counters drawn from the block in use."""
        return self._counter if self._block >= 0 else 0

    def prepare(self) -> None:
        """Reserve a block now, so that the first draw need not wait for a disk."""
        with self._lock:
            self._ticks = self._next_ticks(ticks_of(self._clock_ns()))

    def _next_ticks(self, now: int) -> int:
        ticks = max(now, self._ticks)
        if self._counter >= COUNTERS:
            # A new block may be a smaller number: only a later tick keeps the order.
            ticks = max(ticks, self._ticks + 1)
            block = secrets.randbits(BLOCK_BITS)
            self._reserve(block, ticks)
            self._block, self._counter = block, 0
        return ticks

    def draw(self) -> PredictionId:
        """Draw the next identifier; its time is now."""
        with self._lock:
            ticks = ticks_of(self._clock_ns())
            if ticks < self._ticks or self._counter >= COUNTERS:
                ticks = self._next_ticks(ticks)
            self._ticks = ticks
            counter = self._counter
            self._counter = counter + 1
            return PredictionId(ticks, self._block, counter)

    def leave_block(self) -> None:
        """Draw from a new block from now on."""
        with self._lock:
            self._counter = COUNTERS


def _start_new_blocks() -> None:
    for ids in list(_LIVE):
        ids._forget_block()  # noqa: SLF001  # the module's own hook


os.register_at_fork(after_in_child=_start_new_blocks)

"""Retention hooks: what may go after a time, asked once an hour while a store is served.

A hook lets go of what is older than a moment and says how much that was. What is here touches no
log: the bytes of refused inputs, whose fault, digest and length stay. Policies over the record
itself, with legal holds and entries of their own, are governance's; they register here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from lodeline.errors import LodelineError
from lodeline.limits import RETENTION_PAUSE_SECONDS
from lodeline.server.configuration import ServerConfiguration
from lodeline.store import Segment
from lodeline.store.dead_letters import expire_letters

_logger: Final = logging.getLogger("lodeline.retention")
_DAY_US: Final = 24 * 3600 * 1_000_000

# Lets go of what is older than a time (microseconds since 1970); gives how much that was.
Expire = Callable[[Segment, int], int]


def _expire_dead_letters(segment: Segment, before_us: int) -> int:
    with segment.writing() as connection:
        return expire_letters(connection, before_us=before_us)


# Attribute of the configuration that gives the days -> what goes after them; 0 days is never.
HOOKS: Final[Mapping[str, Expire]] = {"retention_dead_letter_days": _expire_dead_letters}


class Retention:
    """A thread that asks the hooks, from `start` to `stop`.

    Args:
        segment: whose things may go.
        configuration: says after how many days.
        clock_us: the time.
    """

    def __init__(
        self,
        segment: Segment,
        configuration: ServerConfiguration,
        *,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._segment = segment
        self._days = {name: getattr(configuration, name) for name in HOOKS}
        self._clock_us = clock_us
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lodeline-retention", daemon=True)

    def start(self) -> None:
        """Begin, if there is anything to do."""
        if any(self._days.values()):
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """Ask no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def expire(self) -> dict[str, int]:
        """Ask every hook that has days; give how much went."""
        gone = {}
        for name, days in self._days.items():
            if days:
                gone[name] = HOOKS[name](self._segment, self._clock_us() - days * _DAY_US)
        return gone

    def _work(self) -> None:
        while True:
            try:
                for name, count in self.expire().items():
                    if count:
                        _logger.info("%s: %d went", name.removeprefix("retention_"), count)
            except LodelineError as error:
                _logger.warning("nothing went: %s", error)
            if self._stopping.wait(RETENTION_PAUSE_SECONDS):
                return

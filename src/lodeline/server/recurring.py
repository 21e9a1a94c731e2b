"""Work that a service does again and again beside its requests, in a thread of its own.

What goes wrong is told once, not every time that it goes wrong again, and is tried again: nothing
that is done here is needed for taking events or answering.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lodeline.errors import LodelineError


class Recurring:
    """A thread that works from `start` to `stop`.

    Args:
        work: does one piece; what it raises is reported, and does not end the thread.
        report: told what goes wrong, once for each new reason.
        name: of the thread.
        pause_seconds: before each piece.
        rest: at least so many times as long as the last piece took, the thread rests after it.
    """

    def __init__(
        self,
        work: Callable[[], object],
        report: Callable[[str], None],
        *,
        name: str,
        pause_seconds: float,
        rest: float = 0,
    ) -> None:
        self._work = work
        self._report = report
        self._pause_seconds = pause_seconds
        self._rest = rest
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, after one pause."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Begin no further piece; wait so long for the one under way."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        said, pause = "", self._pause_seconds
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                self._work()
                said = ""
            except (LodelineError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    self._report(said)
            pause = max(self._pause_seconds, self._rest * (time.monotonic() - began))

"""The thread that brings the index of searches up behind the fold.

It polls: what was folded is in the index a second later, and until then searches scan for it.
Between two batches it leaves the writer's lock to whoever takes events.
"""

from __future__ import annotations

import threading
from weakref import ref

from lodeline.errors import LodelineError
from lodeline.query.search_index import catch_up
from lodeline.store import Segment

_POLL_SECONDS = 0.5
_BETWEEN_BATCHES_SECONDS = 0.01
# The store is gone or full: nothing is urgent then.
_AFTER_FAILURE_SECONDS = 5.0


class Indexer:
    """Indexes one segment until it is stopped.

    Attributes:
        failure: why the last attempt failed; None when it did not.
    """

    def __init__(self, segment: Segment) -> None:
        # A service that was dropped without being closed must not live on for this thread's sake.
        self._segment = ref(segment)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lodeline-indexer", daemon=True)
        self.failure: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            segment = self._segment()
            if segment is None:
                return
            try:
                complete = catch_up(segment, seconds=0)
            except LodelineError as error:
                self.failure = str(error)
                pause = _AFTER_FAILURE_SECONDS
            else:
                self.failure = None
                pause = _POLL_SECONDS if complete else _BETWEEN_BATCHES_SECONDS
            del segment

"""Background keeping of the graph index, while a store is served.

A thread with a segment of its own writes a new snapshot of the adjacency when many entries were
folded since the last. What goes wrong is told once and tried again: answers come from SQL without.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lodeline.errors import LodelineError
from lodeline.store import open_segment

# Writing a snapshot takes a share of one processor; at most this part of the time.
_REST_FOR_WORK = 10


class GraphIndexing:
    """A thread that writes snapshots, from `start` to `stop`.

    Args:
        store: URL of the store.
        report: told what goes wrong, once for each new reason.
        pause_seconds: between two looks at the view.
    """

    def __init__(
        self, store: str, report: Callable[[str], None], *, pause_seconds: float = 5.0
    ) -> None:
        self._store = store
        self._report = report
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lodeline-graph", daemon=True)

    def start(self) -> None:
        """Begin, after one pause."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write no more; a snapshot under way takes the place of the last one whole, or not."""
        self._stopping.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            from lodeline.query.graph_index import build_snapshot, is_outgrown
        except ModuleNotFoundError:
            return  # Without numpy, answers come from SQL.
        said, pause = "", self._pause_seconds
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                with open_segment(self._store, create=False) as segment:
                    if is_outgrown(segment):
                        build_snapshot(segment)
                said = ""
            except (LodelineError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    self._report(said)
            pause = max(self._pause_seconds, _REST_FOR_WORK * (time.monotonic() - began))

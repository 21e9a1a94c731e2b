"""Background publishing of the log's map, while its store is served.

A thread with a segment of its own keeps the map up and appends a `map` leaf at most once a minute,
and only after new entries. What goes wrong is told once and tried again: the log is whole without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lodeline.errors import LodelineError
from lodeline.ingest import publish_map
from lodeline.limits import MAP_INTERVAL_US
from lodeline.store import open_segment


class MapPublishing:
    """A thread that publishes maps, from `start` to `stop`.

    Args:
        store: URL of the store.
        report: told what goes wrong, once for each new reason.
        pause_seconds: between two looks at the log.
    """

    def __init__(
        self,
        store: str,
        report: Callable[[str], None],
        *,
        pause_seconds: float = MAP_INTERVAL_US / 1_000_000,
    ) -> None:
        self._store = store
        self._report = report
        self._pause_seconds = pause_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lodeline-map", daemon=True)

    def start(self) -> None:
        """Begin, after one pause."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Publish no more; a leaf that is under way is appended or not, never half."""
        self._stopping.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        said = ""
        while not self._stopping.wait(self._pause_seconds):
            try:
                with open_segment(self._store, create=False) as segment:
                    publish_map(segment)
                said = ""
            except LodelineError as error:
                if str(error) != said:
                    said = str(error)
                    self._report(said)

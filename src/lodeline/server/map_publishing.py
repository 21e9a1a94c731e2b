"""Background publishing of the log's map, while its store is served.

A thread with a segment of its own commits to what arrived of row provenance, keeps the map up and
appends a `map` leaf at most once a minute, and only after new entries. A leaf that is under way is
appended or not, never half; the log is whole without.
"""

from __future__ import annotations

from collections.abc import Callable

from lodeline.ingest import publish_map
from lodeline.limits import MAP_INTERVAL_US
from lodeline.rows.committing import commit_blocks
from lodeline.server.recurring import Recurring
from lodeline.store import open_segment


class MapPublishing(Recurring):
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
        super().__init__(
            lambda: _publish(store), report, name="lodeline-map", pause_seconds=pause_seconds
        )


def _publish(store: str) -> None:
    with open_segment(store, create=False) as segment:
        # Before the map, which then covers them.
        commit_blocks(segment)
        publish_map(segment)

"""Background keeping of the graph index, while a store is served.

A thread with a segment of its own writes a new snapshot of the adjacency when many entries were
folded since the last. A snapshot takes the place of the last one whole, or not; without one,
answers come from SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from lodeline.server.recurring import Recurring
from lodeline.store import open_segment

# Writing a snapshot takes a share of one processor; at most this part of the time.
_REST_FOR_WORK = 10


class GraphIndexing(Recurring):
    """A thread that writes snapshots, from `start` to `stop`.

    Args:
        store: URL of the store.
        report: told what goes wrong, once for each new reason.
        pause_seconds: between two looks at the view.
    """

    def __init__(
        self, store: str, report: Callable[[str], None], *, pause_seconds: float = 5.0
    ) -> None:
        super().__init__(
            lambda: _keep_young(store),
            report,
            name="lodeline-graph",
            pause_seconds=pause_seconds,
            rest=_REST_FOR_WORK,
        )


def _keep_young(store: str) -> None:
    if find_spec("numpy") is None:
        return  # Answers come from SQL.
    from lodeline.query.graph_index import build_snapshot, is_outgrown

    with open_segment(store, create=False) as segment:
        if is_outgrown(segment):
            build_snapshot(segment)

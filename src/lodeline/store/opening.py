"""Opening a segment by its URL."""

from __future__ import annotations

from lodeline.settings import store_path
from lodeline.store.sql_segment import Beginning, SqlSegment
from lodeline.store.sqlite import SqliteSegment


def open_segment(
    url: str, *, create: bool = True, beginning: Beginning | None = None
) -> SqlSegment:
    """Open a segment; `sqlite:///relative/path` or `sqlite:////absolute/path`.

    Args:
        url: where the store is.
        create: make it, with new keys, if there is none.
        beginning: what a log that is made goes on from.

    Raises:
        UsageError: not such a URL.
        StoreUnreachableError: nothing there, or no permission.
        StoreCorruptError: not a Lodeline store, or one of another format version.
    """
    return SqliteSegment(store_path(url), url=url, create=create, beginning=beginning)

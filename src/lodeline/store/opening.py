"""Opening a segment by its URL."""

from __future__ import annotations

from importlib.util import find_spec

from lodeline.errors import MissingExtraError
from lodeline.settings import is_postgres, store_path
from lodeline.store.sql_segment import Beginning, SqlSegment
from lodeline.store.sqlite import SqliteSegment


def open_segment(
    url: str, *, create: bool = True, beginning: Beginning | None = None
) -> SqlSegment:
    """Open a segment.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or
            `postgresql://user@host/database?schema=name&folder=/path`, in which everything but
            `schema` and `folder` is libpq's.
        create: make it, with new keys, if there is none.
        beginning: what a log that is made goes on from.

    Raises:
        UsageError: not such a URL.
        MissingExtraError: the extra that it needs is not installed.
        StoreUnreachableError: nothing there, or no permission.
        StoreCorruptError: not a Lodeline store, or one of another format version.
    """
    if is_postgres(url):
        if find_spec("psycopg") is None:
            raise MissingExtraError("postgres", "psycopg")
        # Only here: most stores are files, and the driver takes its time to load.
        from lodeline.store.postgres import PostgresSegment

        return PostgresSegment(url, create=create, beginning=beginning)
    return SqliteSegment(store_path(url), url=url, create=create, beginning=beginning)

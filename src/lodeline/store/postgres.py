"""The PostgreSQL segment: tables and blobs in one schema, keys in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from lodeline.errors import StoreUnreachableError, UsageError
from lodeline.settings import POSTGRES_SCHEMA, shown_store, store_path
from lodeline.store.postgres_blobs import PostgresBlobs
from lodeline.store.postgres_bounds import read_bounds
from lodeline.store.postgres_database import PostgresDatabase
from lodeline.store.sql_segment import Beginning, SqlSegment, now_us

# Parameters of our URLs that are not libpq's.
_OWN: Final = ("schema", "folder")
# PostgreSQL cuts longer names, and two schemas would become one.
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


def read_url(url: str) -> tuple[str, str, str]:
    """Split a store's URL.

    Returns:
        What libpq connects with, the schema, and the URL as it may be shown: without password.

    Raises:
        UsageError: a schema's name that would have to be quoted.
    """
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(options).get("schema", POSTGRES_SCHEMA)
    if not _SCHEMA.fullmatch(schema):
        raise UsageError(f"schema {schema!r}: lower-case letters, digits and _, 63 at most")
    passed = urlencode([one for one in options if one[0] not in _OWN], quote_via=quote)
    conninfo = urlunsplit(("postgresql", parts.netloc, parts.path, passed, ""))
    return conninfo, schema, shown_store(url)


class PostgresSegment(SqlSegment):
    """A segment in one schema of a PostgreSQL database, its keys in a folder."""

    def __init__(
        self,
        url: str,
        *,
        create: bool,
        beginning: Beginning | None = None,
        clock_us: Callable[[], int] = now_us,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open a segment, making it first if asked to.

        Raises:
            StoreUnreachableError: no server or no store there, or no permission.
            StoreCorruptError: not a Lodeline store, or one of another format version.
            KeyMissingError: the folder does not have the keys of the log.
            UsageError: a URL that cannot be read, or a faulty setting of `[postgres]`.
        """
        conninfo, schema, shown = read_url(url)
        database = PostgresDatabase(conninfo, url=shown, schema=schema, bounds=read_bounds())
        if not create and not database.has_tables():
            database.close()
            raise StoreUnreachableError(shown, "there is no store; `lodeline import` makes one")
        super().__init__(
            database,
            PostgresBlobs(database),
            path=store_path(url),
            create=create,
            beginning=beginning,
            clock_us=clock_us,
            randomness=randomness,
        )

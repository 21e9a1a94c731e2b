"""The SQLite segment: one file, its keys and blobs beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lodeline.errors import StoreUnreachableError
from lodeline.store.blobs import BlobFolder
from lodeline.store.database import SqliteDatabase
from lodeline.store.sql_segment import Beginning, SqlSegment, now_us


class SqliteSegment(SqlSegment):
    """A segment in one SQLite file, its keys and blobs beside it."""

    def __init__(
        self,
        path: Path,
        *,
        url: str,
        create: bool,
        beginning: Beginning | None = None,
        clock_us: Callable[[], int] = now_us,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open a segment, making it first if asked to.

        Raises:
            StoreUnreachableError: no store there, or no permission.
            StoreCorruptError: not a Lodeline store, or one of another format version.
        """
        database = SqliteDatabase(path, url=url)
        if not path.is_file():
            if not create:
                raise StoreUnreachableError(url, "there is no store; `lodeline import` makes one")
            database.create()
        blobs = BlobFolder(path.with_name(path.name + ".blobs"), url=url)
        super().__init__(
            database,
            blobs,
            path=path,
            create=create,
            beginning=beginning,
            clock_us=clock_us,
            randomness=randomness,
        )

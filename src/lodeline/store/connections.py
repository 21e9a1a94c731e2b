"""What statements run on, whichever database keeps the segment.

The SQL of `store`, `ingest`, `query` and `rows` is written once, in what SQLite and PostgreSQL
both understand. Parameters are `?` in order, or
`:name` of a mapping.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol


class Cursor(Protocol):
    """The rows of one statement."""

    def fetchone(self) -> Any:
        """Give the next row; None at the end."""

    def fetchall(self) -> list[Any]:
        """Give all rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...


class Connection(Protocol):
    """A connection in one transaction, or in one read snapshot."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement for each row of parameters."""


def has_table(connection: Connection, name: str) -> bool:
    """Whether the segment has a table of this name."""
    if isinstance(connection, sqlite3.Connection):
        row = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
        ).fetchone()
        return row is not None
    (found,) = connection.execute("SELECT to_regclass(?) IS NOT NULL", (name,)).fetchone()
    return bool(found)

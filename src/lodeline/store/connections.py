"""What statements run on, whichever database keeps the segment.

The SQL of `store`, `ingest`, `query` and `rows` is written once, in what SQLite and PostgreSQL
both understand. Parameters are `?` in order, or
`:name` of a mapping.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Protocol

from lodeline.store.guards import Script


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


class Database(Protocol):
    """What gives connections to one segment's tables: a writer behind the lock, and readers.

    Attributes:
        observe_commit: told the seconds that each durable commit took.
    """

    observe_commit: Callable[[float], object]

    @property
    def url(self) -> str:
        """Where it is, as it may be shown."""

    @property
    def driver_error(self) -> type[Exception]:
        """What its driver raises."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Lend a connection inside one read snapshot; it refuses to write."""

    def locked(self) -> AbstractContextManager[Connection]:
        """Hold the writer's lock and lend its connection, outside any transaction."""

    def purging(self) -> AbstractContextManager[Connection]:
        """Hold the writer's lock; what is deleted is to leave no copy where that can be had."""

    def transaction(
        self, connection: Connection, *, durable: bool = True
    ) -> AbstractContextManager[Connection]:
        """Run a block as one transaction of the locked writer; undone whole if it raises."""

    def pipelined(self, connection: Connection, rows: int) -> AbstractContextManager[object]:
        """Send what a block changes together, where the database is far; answers come at its end.

        Args:
            connection: in a transaction.
            rows: that the block is about to add to one table; many are better copied.
        """

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """Hold the writer's lock for one transaction. Not re-entrant."""

    def prepare(self, connection: Connection) -> None:
        """Do what must come before the first table is made, outside any transaction."""

    def create_tables(self, connection: Connection, script: Script) -> None:
        """Make tables and guards, inside the caller's transaction."""

    def purge(self) -> bool:
        """Let go of old forms of what was deleted; False where that has to wait."""

    def iter_faults(self, connection: Connection) -> Iterator[str]:
        """Tell what the database itself finds wrong with its files."""

    def size_bytes(self) -> int:
        """Bytes on disk."""

    def close(self) -> None:
        """Close every connection. Idempotent."""


# SQLite takes 999 in its oldest supported builds.
PARAMETERS_MAX: Final = 999
# Below that, steps of four: a group of 31 takes seven statements a table, and each has five texts.
_ROWS_AT_ONCE: Final = (64, 16, 4, 1)
_INSERT: Final = re.compile(r"(?P<head>INSERT INTO \w+ VALUES) (?P<marks>\(\?(?:, ?\?)*\))")


def many_rows(
    statement: str, parameters: Iterable[Sequence[Any]]
) -> Iterator[tuple[str, list[Any]]] | None:
    """Give statements that each add many rows in place of a plain insert for each; None of others.

    They come in few sizes, so that every one stays prepared.
    """
    shape = _insert_shape(statement)
    if shape is None:
        return None
    rows = parameters if isinstance(parameters, list) else list(parameters)
    return _iter_many(shape, rows)


def _iter_many(
    shape: tuple[tuple[int, str], ...], rows: list[Sequence[Any]]
) -> Iterator[tuple[str, list[Any]]]:
    start, count = 0, len(rows)
    for size, whole in shape:
        while count - start >= size:
            yield whole, list(chain.from_iterable(rows[start : start + size]))
            start += size


@lru_cache(maxsize=256)
def _insert_shape(statement: str) -> tuple[tuple[int, str], ...] | None:
    """Give a plain insert's texts for several rows, the most first, each after its rows."""
    match = _INSERT.fullmatch(statement)
    if match is None:
        return None
    head, marks = match["head"], match["marks"]
    columns = marks.count("?")
    if columns > PARAMETERS_MAX:
        return None
    most = PARAMETERS_MAX // columns
    sizes = [most, *(size for size in _ROWS_AT_ONCE if size < most)]
    return tuple((size, f"{head} {', '.join([marks] * size)}") for size in sizes)


def has_table(connection: Connection, name: str) -> bool:
    """Whether the segment has a table of this name."""
    if isinstance(connection, sqlite3.Connection):
        row = connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
        ).fetchone()
        return row is not None
    (found,) = connection.execute("SELECT to_regclass(?) IS NOT NULL", (name,)).fetchone()
    return bool(found)


def exclude_readers(connection: Connection) -> None:
    """Wait for snapshots taken before, and keep new ones out until the transaction ends.

    Whoever drops tables calls it first. A snapshot of SQLite sees the tables that were; one of
    PostgreSQL would see none, or an empty one.
    """
    if not isinstance(connection, sqlite3.Connection):
        connection.execute("LOCK TABLE meta IN ACCESS EXCLUSIVE MODE")

"""What is known of the databases of this process: their tables, and where those came from.

A table of a database file is a dataset: namespace `duckdb://<absolute path>`, name
`<catalog>.<schema>.<table>`, as dbt's OpenLineage integration names it. A table in memory is none:
what it was made from is remembered here, and composed through.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.capture.datasets import Dataset
from lodeline.capture.row_steps import Anchor
from lodeline.sql import ColumnLineage

NAMESPACE: Final = "duckdb://"
TEMP: Final = "temp"
# Catalogs that every connection has: files of such names get other ones.
_RESERVED: Final = frozenset({"main", "temp", "system"})

# (catalog, schema, name) in lower case.
Key = tuple[str, str, str]


@dataclass
class Content:
    """What is in a table, a relation or a result.

    Attributes:
        flow: of the datasets it came from.
        lineage: of its columns, where known.
        anchor: of its rows, where their provenance is known and they have not changed since.
        rows: how many it has, beside `anchor`.
        mark: after a change of a table: how many rows it has, and the sum of their numbers, which
            a checkpoint that moves rows changes.
        changes: how many changes its rows were followed through.
    """

    flow: int = 0
    lineage: ColumnLineage | None = None
    anchor: Anchor | None = None
    rows: int = 0
    mark: tuple[int, int] | None = None
    changes: int = 0


@dataclass
class Database:
    """One database instance, shared by a connection and its cursors.

    Attributes:
        tables: contents by (catalog, schema, name), lower case.
        registered: frames by registered name, lower case.
    """

    tables: dict[tuple[str, str, str], Content] = field(default_factory=dict)
    registered: dict[str, object] = field(default_factory=dict)

    def forget_rows(self, name: str | None = None) -> None:
        """Drop row provenance of the tables of a name, or of all: they may have changed."""
        for key, content in self.tables.items():
            if name is None or key[2] == name.lower():
                content.anchor = None


@dataclass
class Session:
    """One connection.

    Attributes:
        database: that it is connected to.
        in_transaction: between BEGIN and COMMIT; what is not committed can still vanish.
        uncommitted: tables that were made or renamed since BEGIN.
        temporary: tables that only this connection sees, by name, lower case; and those that
            could not be told apart from such.
        result: what the pending result of `execute` holds.
        text: and the query that made it.
    """

    database: Database
    in_transaction: bool = False
    uncommitted: set[Dataset] = field(default_factory=set)
    temporary: dict[str, Content] = field(default_factory=dict)
    result: Content | None = None
    pending: object = None

    def table(self, key: Key) -> Content | None:
        """Give what a table holds, where that is known."""
        return self.temporary.get(key[2]) if key[0] == TEMP else self.database.tables.get(key)

    def put_table(self, key: Key, content: Content) -> None:
        """Remember what a table holds now."""
        if key[0] == TEMP:
            self.temporary[key[2]] = content
        else:
            self.database.tables[key] = content

    def forget_rows(self, name: str | None = None) -> None:
        """Drop row provenance of the tables of a name, or of all: they may have changed."""
        self.database.forget_rows(name)
        for key, content in self.temporary.items():
            if name is None or key == name.lower():
                content.anchor = None

    def drop_tables(self, name: str) -> None:
        """Forget the tables of a name."""
        self.temporary.pop(name.lower(), None)
        for key in [key for key in self.database.tables if key[2] == name.lower()]:
            del self.database.tables[key]


class Sessions:
    """The connections of this process, by weak identity."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Session]] = {}
        self._by_path: dict[str, Database] = {}

    def of(self, connection: Any) -> Session:
        """Give a connection's session; one that was not seen opening has nothing known."""
        entry = self._known.get(id(connection))
        if entry is not None and entry[0]() is connection:
            return entry[1]
        return self.open(connection, Database())

    def open(self, connection: Any, database: Database) -> Session:
        """Remember a new connection."""
        key = id(connection)
        session = Session(database)
        known = self._known
        self._known[key] = (weakref.ref(connection, lambda _: known.pop(key, None)), session)
        return session

    def database_at(self, target: str) -> Database:
        """Give the database of `duckdb.connect(target)`: one path is one instance."""
        if target in {"", ":memory:"}:
            return Database()
        key = (
            target if target.startswith(":memory:") else os.path.abspath(target)
        )  # as in capture.datasets
        return self._by_path.setdefault(key, Database())

    def iter_databases(self) -> Iterator[Database]:
        """All databases that connections still point to."""
        for _, session in list(self._known.values()):
            yield session.database


class Remembered:
    """Contents of relations, by weak identity."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Any]] = {}

    def put(self, thing: Any, value: Any) -> None:
        """Remember a value for an object."""
        key = id(thing)
        known = self._known
        known[key] = (weakref.ref(thing, lambda _: known.pop(key, None)), value)

    def find(self, thing: Any) -> Any:
        """Give the value remembered for an object, or `None`."""
        entry = self._known.get(id(thing))
        return None if entry is None or entry[0]() is not thing else entry[1]


def table_dataset(path: str, catalog: str, schema: str, name: str) -> Dataset:
    """Name a table of a database file, as who opens that file alone does.

    Args:
        path: of the file.
        catalog: what the connection calls it; `ATTACH … AS` gives it any name.
        schema: of the table.
        name: of the table.
    """
    own = _catalog_of(path) or catalog
    return Dataset(NAMESPACE + os.path.abspath(path), f"{own}.{schema}.{name}")


def _catalog_of(path: str) -> str:
    """Give the name that DuckDB gives to a file: the first part of its own."""
    first = next((part for part in os.path.basename(path).split(".") if part), "")
    return f"{first}_db" if first.lower() in _RESERVED else first

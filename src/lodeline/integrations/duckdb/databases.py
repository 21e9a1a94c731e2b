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


@dataclass
class Content:
    """What is in a table, a relation or a result.

    Attributes:
        flow: of the datasets it came from.
        lineage: of its columns, where known.
        anchor: of its rows, where their provenance is known and they have not changed since.
        rows: how many it has, beside `anchor`.
    """

    flow: int = 0
    lineage: ColumnLineage | None = None
    anchor: Anchor | None = None
    rows: int = 0


@dataclass
class Database:
    """One database instance, shared by a connection and its cursors.

    Attributes:
        tables: contents by (catalog, schema, name), lower case; catalog `temp` for temporary ones.
        registered: frames by registered name, lower case.
    """

    tables: dict[tuple[str, str, str], Content] = field(default_factory=dict)
    registered: dict[str, object] = field(default_factory=dict)

    def forget_rows(self, name: str | None = None) -> None:
        """Drop row provenance of the tables of a name, or of all: they may have changed."""
        for key, content in self.tables.items():
            if name is None or key[2] == name.lower():
                content.anchor = None

    def find(self, name: str) -> Content | None:
        """Find a table by its bare name, temporary ones first."""
        found = [(key, content) for key, content in self.tables.items() if key[2] == name.lower()]
        found.sort(key=lambda item: item[0][0] != "temp")
        return found[0][1] if found else None


@dataclass
class Session:
    """One connection.

    Attributes:
        database: that it is connected to.
        in_transaction: between BEGIN and COMMIT; what is not committed can still vanish.
        result: what the pending result of `execute` holds.
        text: and the query that made it.
    """

    database: Database
    in_transaction: bool = False
    result: Content | None = None
    pending: object = None


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
    """Name a table of a database file."""
    return Dataset(NAMESPACE + os.path.abspath(path), f"{catalog}.{schema}.{name}")  # as above

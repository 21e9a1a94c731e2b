"""Small integers for nodes, derivations, details and facet sets, the same for the same content."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from lodeline.limits import INTERNED_AT_ONCE, INTERNED_MAX
from lodeline.model import NodeId
from lodeline.store.connections import Connection


class _Interned:
    """One interning table, in memory as far as it fits."""

    def __init__(self, connection: Connection, table: str, columns: tuple[str, ...]) -> None:
        self._connection = connection
        self._insert = f"INSERT INTO {table} VALUES ({', '.join('?' * (len(columns) + 1))})"
        self._table = table
        self._columns = columns
        self.known: dict[Hashable, int] = {}
        self._new: list[tuple[Any, ...]] = []
        (last,) = connection.execute(f"SELECT coalesce(max({table}_id), 0) FROM {table}").fetchone()
        self._next: int = last + 1
        # While memory holds every row, a key that is not there is new and needs no question.
        self._complete = last <= INTERNED_AT_ONCE
        if self._complete:
            names = ", ".join(columns)
            for number, *key in connection.execute(f"SELECT {table}_id, {names} FROM {table}"):
                self.known[tuple(key)] = number

    def number(self, key: tuple[Any, ...]) -> int:
        known = self.known.get(key)
        if known is not None:
            return known
        if not self._complete:
            row = self._find(key)
            if row is not None:
                self.known[key] = row[0]
                return int(row[0])
        number: int = self._next
        self._next += 1
        self.known[key] = number
        self._new.append((number, *key))
        return number

    def _find(self, key: tuple[Any, ...]) -> Any:
        # Not "IS ?", which only SQLite answers from an index.
        where = " AND ".join(
            f"{column} IS NULL" if value is None else f"{column} = ?"
            for column, value in zip(self._columns, key, strict=True)
        )
        return self._connection.execute(
            f"SELECT {self._table}_id FROM {self._table} WHERE {where}",
            [value for value in key if value is not None],
        ).fetchone()

    def flush(self, connection: Connection) -> None:
        self._connection = connection
        if self._new:
            connection.executemany(self._insert, self._new)
            self._new.clear()
        if len(self.known) > INTERNED_MAX:
            self.known.clear()
            self._complete = False


_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "node": ("kind", "namespace", "name", "part"),
    "derivation": ("source", "target", "kind", "job", "columns"),
    "detail": ("body",),
    "facet_set": ("facets",),
}


class Interning:
    """All interning tables of one view."""

    def __init__(self, connection: Connection) -> None:
        self._tables = {
            name: _Interned(connection, name, columns) for name, columns in _COLUMNS.items()
        }
        self._node = self._tables["node"].number
        self._nodes = self._tables["node"].known
        self._derivation = self._tables["derivation"].number

    def node(self, node: NodeId) -> int:
        """Give the number of a node, version apart."""
        key = (node.kind, node.namespace, node.name, node.part)
        # Asked a dozen times an event, mostly for nodes that are known.
        return self._nodes.get(key) or self._node(key)

    def column(self, namespace: str, name: str, column: str) -> int:
        """Give the number of a dataset's column."""
        key = ("datasetField", namespace, name, column)
        return self._nodes.get(key) or self._node(key)

    def derivation(
        self, source: NodeId | None, target: NodeId | None, kind: str, job: NodeId | None
    ) -> int:
        """Give the number of a derivation."""
        kinds = [end.kind for end in (source, target) if end is not None]
        return self._derivation(
            (
                None if source is None else self.node(source),
                None if target is None else self.node(target),
                kind,
                None if job is None else self.node(job),
                int("datasetField" in kinds),
            )
        )

    def detail(self, body: str) -> int | None:
        """Give the number of a detail; None for none."""
        return self._tables["detail"].number((body,)) if body else None

    def facet_set(self, facets: str) -> int:
        """Give the number of a set of facets, written as canonical JSON."""
        return self._tables["facet_set"].number((facets,))

    def flush(self, connection: Connection) -> None:
        """Write new rows."""
        for table in self._tables.values():
            table.flush(connection)

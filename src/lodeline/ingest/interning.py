"""Small integers for nodes, derivations, details and sets, the same for the same content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from hashlib import sha256
from typing import Any, Final

from lodeline.limits import INTERNED_AT_ONCE, INTERNED_MAX
from lodeline.model import NodeId
from lodeline.store.connections import Connection

Fact = tuple[Any, ...]
_NOTHING: Final[Mapping[int, tuple[Any, ...]]] = {}


class _Interned:
    """One interning table, in memory as far as it fits."""

    def __init__(
        self, connection: Connection, table: str, columns: tuple[str, ...], *, beside: int
    ) -> None:
        self._connection = connection
        # Columns that are not of the key, and stay NULL where nobody says what they hold.
        self._beside = (None,) * beside
        marks = ", ".join("?" * (len(columns) + 1 + beside))
        self._insert = f"INSERT INTO {table} VALUES ({marks})"
        self._table = table
        self._columns = columns
        self.known: dict[Hashable, int] = {}
        self._new: list[tuple[Any, ...]] = []
        (last,) = connection.execute(f"SELECT coalesce(max({table}_id), 0) FROM {table}").fetchone()
        self._next: int = last + 1
        # The greatest number whose row is written.
        self.written: int = last
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

    @property
    def last(self) -> int:
        """The greatest number given."""
        return self._next - 1

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

    def flush(
        self, connection: Connection, beside: Mapping[int, tuple[Any, ...]] = _NOTHING
    ) -> None:
        self._connection = connection
        if self._new:
            rows = self._new
            if self._beside:
                rows = [(*row, *beside.get(row[0], self._beside)) for row in rows]
            connection.executemany(self._insert, rows)
            self._new.clear()
            self.written = self._next - 1
        if len(self.known) > INTERNED_MAX:
            self.known.clear()
            self._complete = False


_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "node": ("kind", "namespace", "name", "part"),
    "derivation": ("source", "target", "kind", "job", "columns"),
    "detail": ("body",),
    "facet_set": ("facets",),
    "uses": ("uses_digest",),
}
_BESIDE: Final = {"node": 2, "derivation": 4}
# Of a set of uses: the rest of a fact, and the set's number.
_USES: Final[dict[str, tuple[str, Callable[[Fact, int], Fact]]]] = {
    "assertion": (
        "INSERT INTO uses_assertion VALUES (?, ?, ?, ?)",
        lambda fact, uses: (fact[1], uses, fact[2], fact[3]),
    ),
    "read": (
        "INSERT INTO uses_read VALUES (?, ?, ?)",
        lambda fact, uses: (fact[1], uses, fact[2]),
    ),
    "feature": (
        "INSERT INTO uses_feature VALUES (?, ?, ?, ?)",
        lambda fact, uses: (*fact[1:], uses),
    ),
}


class Interning:
    """All interning tables of one view."""

    def __init__(self, connection: Connection) -> None:
        self._tables = {
            name: _Interned(connection, name, columns, beside=_BESIDE.get(name, 0))
            for name, columns in _COLUMNS.items()
        }
        self._uses: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _USES}
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

    def uses(self, facts: Collection[Fact]) -> int:
        """Give the number of a set of facts that follow from uses."""
        text = "\n".join(sorted(map(repr, facts)))
        table = self._tables["uses"]
        before = table.last
        number = table.number((sha256(text.encode()).digest(),))
        if number > before:
            for fact in facts:
                self._uses[fact[0]].append(_USES[fact[0]][1](fact, number))
        return number

    @property
    def nodes_written(self) -> int:
        """The greatest number of a node whose row is written."""
        return self._tables["node"].written

    @property
    def derivations_written(self) -> int:
        """The greatest number of a derivation whose row is written."""
        return self._tables["derivation"].written

    def flush(
        self,
        connection: Connection,
        *,
        sighted: Mapping[int, tuple[int, int]],
        live: Mapping[int, tuple[Any, ...]],
    ) -> None:
        """Write new rows.

        Args:
            connection: to write to.
            sighted: of new nodes, position and event time of the first event that named them.
            live: of new derivations, what stands of them.
        """
        beside: dict[str, Mapping[int, tuple[Any, ...]]] = {"node": sighted, "derivation": live}
        for name, table in self._tables.items():
            table.flush(connection, beside.get(name, _NOTHING))
        for name, rows in self._uses.items():
            if rows:
                connection.executemany(_USES[name][0], rows)
                rows.clear()

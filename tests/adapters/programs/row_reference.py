"""An annotated reference interpreter: tables as lists of rows, each with the rows it was made of.

Pure Python, and nothing of Lodeline: what it says is what links are checked against. A row is a
mapping of values and a set of (table, row number).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Links = frozenset[tuple[str, int]]
COLUMNS = ("k", "a", "x", "s", "u")


@dataclass(frozen=True)
class Row:
    """Values by column, and the rows behind them."""

    values: dict[str, Any]
    links: Links

    def but(self, **values: Any) -> Row:
        return Row({**self.values, **values}, self.links)

    def also(self, *others: Row) -> Row:
        return Row(self.values, self.links.union(*(other.links for other in others)))


Table = list[Row]


def random_table(rng: random.Random, name: str, start: int) -> Table:
    """Rows with repeated keys, holes and repeated rows; column `u` alone tells them apart."""
    rows = []
    for number in range(rng.choice([0, 1, 2, 5, 8, 12]) or 3):
        values = {
            "k": rng.randrange(4),
            "a": rng.randrange(5),
            "x": rng.choice([None, 1.5, 2.5, -1.0]),
            "s": rng.choice("uvw"),
            "u": float(start + number),
        }
        rows.append(Row(values, frozenset({(name, number)})))
    return rows


def links_of(rows: Iterable[Row]) -> Links:
    return frozenset().union(*(row.links for row in rows))


def groups(
    table: Table, key: Callable[[Row], Any], *, ordered: bool = True
) -> list[tuple[Any, Table]]:
    """Rows by key, in the key's order or in that of appearance."""
    found: dict[Any, Table] = {}
    for row in table:
        found.setdefault(key(row), []).append(row)
    return sorted(found.items(), key=lambda one: one[0]) if ordered else list(found.items())


def present(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def maximum(values: Iterable[Any]) -> Any:
    kept = present(values)
    return max(kept) if kept else None


def total(values: Iterable[Any]) -> Any:
    return sum(present(values))


def join(
    left: Table,
    right: Table,
    how: str,
    columns: Sequence[str],
    *,
    key: Callable[[Row], Any] = lambda row: row.values["k"],
    ordered: bool = True,
) -> Table:
    """Join by key: pairs, in the order of the left side, then what the right side has left.

    For `right` the sides change places; `outer` is sorted by key, as pandas does it.
    Unordered, an inner join has equal keys together, as pandas 2 does it.
    """
    made: Table = []
    empty = dict.fromkeys(columns)
    if how == "right":
        for theirs in right:
            found = [row for row in left if key(row) == key(theirs)]
            taken = {name: theirs.values[name] for name in columns}
            for mine in found:
                made.append(Row({**mine.values, **taken}, mine.links | theirs.links))
            if not found:
                holes = {**dict.fromkeys(COLUMNS), "k": theirs.values["k"], **taken}
                made.append(Row(holes, theirs.links))
        return made
    met: set[int] = set()
    for mine in left:
        pairs = [(n, row) for n, row in enumerate(right) if how == "cross" or key(row) == key(mine)]
        for number, theirs in pairs:
            met.add(number)
            taken = {name: theirs.values[name] for name in columns}
            made.append(Row({**mine.values, **taken}, mine.links | theirs.links))
        if not pairs and how in {"left", "outer"}:
            made.append(Row({**mine.values, **empty}, mine.links))
    if how == "inner" and not ordered:
        seen = list(dict.fromkeys(key(row) for row in made))
        made.sort(key=lambda row: seen.index(key(row)))
    if how == "outer":
        for number, theirs in enumerate(right):
            if number not in met:
                taken = {name: theirs.values[name] for name in columns}
                holes = {**dict.fromkeys(COLUMNS), "k": theirs.values["k"], **taken}
                made.append(Row(holes, theirs.links))
        made.sort(key=lambda row: row.values["k"])
    return made


def asof(left: Table, right: Table, columns: Sequence[str]) -> Table:
    """Each left row with the last right row whose `u` is not greater; both are sorted by it."""
    made = []
    for mine in left:
        before = [row for row in right if row.values["u"] <= mine.values["u"]]
        if before:
            taken = {name: before[-1].values[name] for name in columns}
            made.append(Row({**mine.values, **taken}, mine.links | before[-1].links))
        else:
            made.append(mine.but(**dict.fromkeys(columns)))
    return made


def windowed(table: Table, low: Callable[[int], int], high: Callable[[int], int]) -> list[Table]:
    """The rows of each row's window."""
    return [table[max(low(i), 0) : min(high(i), len(table))] for i in range(len(table))]


def filled(table: Table, column: str, *, backwards: bool = False) -> Table:
    """Holes filled by the last value before them; such a row was made of both rows."""
    order = list(reversed(table)) if backwards else table
    made: Table = []
    last: Row | None = None
    for row in order:
        if row.values[column] is not None:
            last = row
            made.append(row)
        elif last is None:
            made.append(row)
        else:
            made.append(row.but(**{column: last.values[column]}).also(last))
    return list(reversed(made)) if backwards else made

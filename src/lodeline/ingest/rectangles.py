"""Rows with both times: how facts of a group enter, leave and re-enter the view tables.

A fact is a tuple: the table's name, then its columns. While its group lives, a fact holds from
some position on, over some interval of event time; `store.graph_tables` tells how such a rectangle
is read. Rows that begin and end within one batch are changed in memory and written once.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

Fact = tuple[Any, ...]
# A fact over an interval of event time; the end is None while it holds.
Interval = tuple[Fact, int, int | None]


class _Table(NamedTuple):
    insert: str
    row: Callable[[Fact, int, int | None], list[Any]]
    update: str
    key: Callable[[Fact, int], tuple[Any, ...]]


def _table(
    name: str,
    columns: int,
    row: Callable[[Fact, int, int | None], list[Any]],
    keys: str,
    key: Callable[[Fact, int], tuple[Any, ...]],
) -> _Table:
    marks = ", ".join("?" * (columns + 4))
    where = " AND ".join(f"{column} IS ?" for column in keys.split())
    return _Table(
        f"INSERT INTO {name} VALUES ({marks})",
        row,
        f"UPDATE {name} SET position_to = ? WHERE {where} AND valid_from = ? "
        "AND position_to IS NULL",
        key,
    )


# Unconditional keys compare with IS only where a column may be null; SQLite uses the primary key
# for both.
_TABLES: Final[dict[str, _Table]] = {
    "assertion": _table(
        "assertion",
        4,
        lambda fact, group, _: [fact[1], group, fact[2], fact[3]],
        "derivation_id group_id",
        lambda fact, group: (fact[1], group),
    ),
    "read": _table(
        "read",
        3,
        lambda fact, group, _: [group, fact[1], fact[2]],
        "group_id node_id",
        lambda fact, group: (group, fact[1]),
    ),
    "write": _table(
        "write",
        4,
        lambda fact, group, _: [fact[1], fact[2], group, fact[3]],
        "node_id time_us version group_id",
        lambda fact, group: (fact[1], fact[3], fact[2], group),
    ),
    "run_state": _table(
        "run_state",
        9,
        lambda fact, group, job: [group, job, *fact[1:]],
        "group_id",
        lambda _, group: (group,),
    ),
    "parent": _table(
        "parent",
        3,
        lambda fact, group, _: [group, fact[1], fact[2]],
        "group_id parent_run parent_job",
        lambda fact, group: (group, fact[1], fact[2]),
    ),
    "feature": _table(
        "feature",
        4,
        lambda fact, group, _: [fact[1], fact[2], fact[3], group],
        "group_id feature_node field_node version",
        lambda fact, group: (group, fact[1], fact[2], fact[3]),
    ),
    "capture_gap": _table(
        "capture_gap",
        4,
        lambda fact, group, _: [group, *fact[1:]],
        "group_id at reason detail",
        lambda fact, group: (group, *fact[1:]),
    ),
}
_POSITION_TO: Final = -3


class RectangleWriter:
    """Collects changes to rectangle rows and writes them, ends before beginnings."""

    def __init__(self) -> None:
        self._ends: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._begun: dict[str, list[list[Any]]] = defaultdict(list)
        self._pending: dict[tuple[int, Fact, int], list[Any]] = {}

    def begin(
        self,
        fact: Fact,
        group_id: int,
        job_node: int | None,
        *,
        position: int,
        valid_from: int,
        valid_to: int | None,
    ) -> None:
        """Let a fact hold from a position on."""
        row = _TABLES[fact[0]].row(fact, group_id, job_node)
        row += (position, None, valid_from, valid_to)
        self._begun[fact[0]].append(row)
        self._pending[group_id, fact, valid_from] = row

    def end(self, fact: Fact, group_id: int, *, position: int, valid_from: int) -> None:
        """Let the row of a fact that began at `valid_from` hold no longer from a position on."""
        row = self._pending.pop((group_id, fact, valid_from), None)
        if row is not None:
            row[_POSITION_TO] = position
            return
        key = _TABLES[fact[0]].key(fact, group_id)
        self._ends[fact[0]].append((position, *key, valid_from))

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write what was collected."""
        for name, ends in self._ends.items():
            connection.executemany(_TABLES[name].update, ends)
        for name, rows in self._begun.items():
            connection.executemany(_TABLES[name].insert, rows)
        self._ends.clear()
        self._begun.clear()
        self._pending.clear()

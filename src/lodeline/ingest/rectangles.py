"""Rows with both times: how facts of a group enter, leave and re-enter the view tables.

A fact is a tuple: the table's name, then its columns. While its group lives, a fact holds from
some position on, over some interval of event time; `store.graph_tables` tells how such a rectangle
is read. Rows that begin and end within one batch are changed in memory and written once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lodeline.store.connections import Connection

Fact = tuple[Any, ...]
# A fact over an interval of event time; the end is None while it holds.
Interval = tuple[Fact, int, int | None]
Row = list[Any]

_POSITION_TO: Final = -3

# fact, group, job, position, valid from, valid to
_ROWS: Final[dict[str, Callable[[Fact, int, int | None, int, int, int | None], Row]]] = {
    "group_uses": lambda f, g, _, p, a, b: [f[1], g, p, None, a, b],
    "write": lambda f, g, _, p, a, b: [f[1], f[2], g, f[3], p, None, a, b],
    "run_state": lambda f, g, j, p, a, b: [g, j, *f[1:], p, None, a, b],
    "parent": lambda f, g, _, p, a, b: [g, f[1], f[2], p, None, a, b],
    "capture_gap": lambda f, g, _, p, a, b: [g, *f[1:], p, None, a, b],
}
_COLUMNS: Final = {
    "group_uses": 6,
    "write": 8,
    "run_state": 13,
    "parent": 7,
    "capture_gap": 8,
}
# What names a fact's row among those that still hold, besides the group and `valid_from`.
_KEYS: Final[dict[str, tuple[tuple[str, ...], Callable[[Fact], Fact]]]] = {
    "group_uses": (("uses_id",), lambda fact: fact[1:2]),
    "write": (("node_id", "version", "time_us"), lambda fact: fact[1:4]),
    "run_state": ((), lambda _: ()),
    "parent": (("parent_run", "parent_job"), lambda fact: fact[1:3]),
    "capture_gap": (("at", "reason", "detail"), lambda fact: fact[1:4]),
}


def _end_statement(table: str) -> str:
    keys = "".join(f"{column} = ? AND " for column in _KEYS[table][0])
    return (
        f"UPDATE {table} SET position_to = ? WHERE {keys}group_id = ? AND valid_from = ? "
        "AND position_to IS NULL"
    )


_ENDS: Final = {table: _end_statement(table) for table in _KEYS}
_BEGINS: Final = {
    table: f"INSERT INTO {table} VALUES ({', '.join('?' * count)})"
    for table, count in _COLUMNS.items()
}


class RectangleWriter:
    """Collects changes to rectangle rows and writes them, ends before beginnings.

    Attributes:
        batch: grows with each flush; a row begun in the same batch can still be changed.
    """

    def __init__(self) -> None:
        self.batch = 0
        self._ends: dict[str, list[Fact]] = {table: [] for table in _KEYS}
        self._begun: dict[str, list[Row]] = {table: [] for table in _KEYS}

    def begin(  # noqa: PLR0917  # called several times an event; keywords cost a tenth of it
        self,
        fact: Fact,
        group_id: int,
        job_node: int | None,
        position: int,
        valid_from: int,
        valid_to: int | None,
    ) -> Row:
        """Let a fact hold from a position on; the row may be ended with `end_pending`."""
        table = fact[0]
        row = _ROWS[table](fact, group_id, job_node, position, valid_from, valid_to)
        self._begun[table].append(row)
        return row

    @staticmethod
    def end_pending(row: Row, position: int) -> None:
        """Let a row of the same batch hold no longer from a position on."""
        row[_POSITION_TO] = position

    def end(self, fact: Fact, group_id: int, position: int, valid_from: int) -> None:
        """Let a row of an earlier batch hold no longer from a position on."""
        table = fact[0]
        self._ends[table].append((position, *_KEYS[table][1](fact), group_id, valid_from))

    def flush(self, connection: Connection) -> None:
        """Write what was collected."""
        self.batch += 1
        for collected, statements in ((self._ends, _ENDS), (self._begun, _BEGINS)):
            for table, rows in collected.items():
                if rows:
                    connection.executemany(statements[table], rows)
                    rows.clear()

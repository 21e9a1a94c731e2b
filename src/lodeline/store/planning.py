"""What PostgreSQL's planner knows of the graph's tables, kept up as they grow.

Autovacuum looks at new rows within a minute; until then, and so after every import, restore and
rebuild, the planner takes large tables for empty ones and reads them whole: a question of 15 ms
takes 300. So whoever folds has the tables looked at: when there are rows enough to matter, and
again each time they have grown by a factor. A look reads a sample of fixed size from each table.

SQLite needs none of it: our statements leave its planner no choice that statistics would change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from lodeline.limits import STATISTICS_GROWTH, STATISTICS_PAUSE_ENTRIES, STATISTICS_ROWS_MIN
from lodeline.store.connections import Connection
from lodeline.store.graph_tables import TABLES
from lodeline.store.search_tables import TABLES as SEARCH_TABLES

# Tables whose rows are numbered without gaps, so that the greatest number says how many there are.
_NUMBERED: Final = {"node": "node_id", "derivation": "derivation_id", "run_group": "group_id"}


class Statistics:
    """Has the planner look at the graph's tables as they grow; whoever folds keeps one."""

    def __init__(self) -> None:
        self._due = 0

    def follow(self, connection: Connection, folded_to: int) -> bool:
        """Have the tables looked at, if that is due.

        Args:
            connection: the writer's, in its transaction.
            folded_to: entries that the view has.

        Returns:
            Whether they were looked at.
        """
        if isinstance(connection, sqlite3.Connection) or folded_to < self._due:
            return False
        self._due = folded_to + STATISTICS_PAUSE_ENTRIES
        if not any(_is_outgrown(connection, *one) for one in _NUMBERED.items()):
            return False
        _look_at(connection, TABLES)
        return True


def follow_search(connection: Connection) -> bool:
    """Have the tables of the index of searches looked at, if they have grown; after a batch of it.

    Args:
        connection: the writer's, in its transaction.

    Returns:
        Whether they were looked at.
    """
    if isinstance(connection, sqlite3.Connection):
        return False
    if not _is_outgrown(connection, "search_word", "word_id"):
        return False
    _look_at(connection, [*SEARCH_TABLES, "search_document"])
    return True


def _look_at(connection: Connection, tables: Iterable[str]) -> None:
    names = ", ".join(f'"{name}"' for name in tables)
    # A table that autovacuum is at right now is left to it.
    connection.execute(f"ANALYZE (SKIP_LOCKED) {names}")


def _is_outgrown(connection: Connection, table: str, key: str) -> bool:
    """Tell whether a table has many more rows than the planner knows of; it may know of none."""
    (count, known) = connection.execute(
        f"SELECT coalesce(max({key}), 0),"
        " (SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(?))"
        f" FROM {table}",
        (table,),
    ).fetchone()
    return bool(count >= STATISTICS_ROWS_MIN and count >= STATISTICS_GROWTH * known)

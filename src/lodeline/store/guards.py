"""Triggers that keep a table from being changed, told once and written in each database's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Guard:
    """A refusal.

    Attributes:
        table: whose rows are guarded.
        act: what is refused. `REPLACE` is an insert over a taken key: SQLite's INSERT OR REPLACE
            deletes without firing DELETE triggers.
        when: condition over `OLD` or `NEW`; always where it is empty.
        message: what whoever tries is told.
    """

    table: str
    act: Literal["UPDATE", "DELETE", "REPLACE"]
    when: str
    message: str

    @property
    def name(self) -> str:
        """Of the trigger."""
        return f"{self.table}_refuses_{self.act.lower()}"


# What makes tables: statements that end in ";\n", and guards.
Script = Sequence[str | Guard]


def grow_only(table: str, key: str) -> list[Guard]:
    """Give the guards of a table that only grows.

    Args:
        table: its name.
        key: condition by which a row `NEW` has a key that is taken.
    """
    refused = "the log is append-only: {} on " + table + " refused"
    guards = [Guard(table, act, "", refused.format(act)) for act in ("UPDATE", "DELETE")]
    return [*guards, refuse_replace(table, key)]


def refuse_replace(table: str, key: str) -> Guard:
    """Give the guard that keeps a taken key from being written over."""
    taken = f"EXISTS (SELECT 1 FROM {table} WHERE {key})"
    return Guard(table, "REPLACE", taken, f"the log is append-only: REPLACE on {table} refused")


def refuse_unless_erased(table: str, act: Literal["UPDATE", "DELETE"]) -> Guard:
    """Give the guard that lets go only of rows whose entry a logged erasure names."""
    unnamed = "NOT EXISTS (SELECT 1 FROM erasure WHERE position = OLD.position)"
    return Guard(
        table, act, unnamed, f"{act} on {table} refused: no logged erasure names the entry"
    )

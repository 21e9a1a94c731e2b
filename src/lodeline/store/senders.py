"""Who delivered an entry: the key that its sender authenticated with, beside what the event claims.

No part of the log, as keys are none: written in the transaction that holds the entry, so that no
entry of a sender is without. Keys' names are of tools and teams, and are kept with the entries
since a segment may lie in another store than the keys. The tables come into being with the first
sender. A duplicate that another key delivers names that key, too; so does a prediction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from lodeline.store.connections import Connection, has_table
from lodeline.store.segment import Appended, Segment

SENDER_TABLES: Final = """
CREATE TABLE IF NOT EXISTS sender(
    key_id TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY(key_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry_sender(
    position INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    PRIMARY KEY(position, key_id)
) WITHOUT ROWID
"""


class Sender(NamedTuple):
    """An authenticated sender.

    Attributes:
        key_id: of the key.
        name: of the key.
    """

    key_id: str
    name: str

    def to_json(self) -> dict[str, str]:
        """Give the documented keys."""
        return {"key": self.key_id, "name": self.name}


def beside_entries(
    senders: Sequence[Sender | None],
) -> Callable[[Connection, Sequence[Appended]], None] | None:
    """Give what `Segment.append` writes beside entries; None where nobody authenticated.

    Args:
        senders: one an event, in order.
    """
    if not any(senders):
        return None

    def write(connection: Connection, appended: Sequence[Appended]) -> None:
        told = zip(appended, senders, strict=True)
        _insert(connection, [(one.position, by) for one, by in told if by is not None])

    return write


def add_sender(segment: Segment, positions: Iterable[int], sender: Sender) -> None:
    """Write, durably, that a sender delivered again what some entries hold already.

    Raises:
        StoreUnreachableError: the store cannot be written.
    """
    delivered = [(position, sender) for position in sorted(set(positions))]
    segment.append([], beside=lambda connection, _: _insert(connection, delivered))


def _insert(connection: Connection, delivered: Sequence[tuple[int, Sender]]) -> None:
    for statement in SENDER_TABLES.split(";\n"):
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO sender(key_id, name) VALUES (?, ?) ON CONFLICT(key_id) DO NOTHING",
        sorted({sender for _, sender in delivered}),
    )
    connection.executemany(
        "INSERT INTO entry_sender(position, key_id) VALUES (?, ?)"
        " ON CONFLICT(position, key_id) DO NOTHING",
        [(position, sender.key_id) for position, sender in delivered],
    )


def senders_of(connection: Connection, positions: Iterable[int]) -> list[Sender]:
    """List who delivered some entries, by name; nobody for those that came unauthenticated."""
    if not has_table(connection, "entry_sender"):
        return []
    rows = connection.execute(
        "SELECT DISTINCT s.key_id, s.name FROM entry_sender e JOIN sender s ON s.key_id = e.key_id"
        " WHERE e.position IN (SELECT value FROM json_each(:positions))"
        " ORDER BY s.name, s.key_id",
        {"positions": json.dumps(sorted(set(positions)))},
    ).fetchall()
    return [Sender(*row) for row in rows]

"""Accounts of producers: what came in from whom, counted in the transaction that keeps it.

An account is a producer, a job's namespace and an authenticated caller. There are at most
`ACCOUNTS_MAX`; what would open another is counted under `other`, since producers are free to call
themselves anything. Counts are of what was sent, so they are no view of the log: a rebuild keeps
them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from lodeline.limits import ACCOUNT_TEXT_MAX, ACCOUNTS_MAX
from lodeline.model import format_time
from lodeline.store.connections import Connection, has_table
from lodeline.store.segment import Segment

ACCOUNT_TABLE: Final = """
CREATE TABLE IF NOT EXISTS producer_account(
    producer TEXT NOT NULL,
    namespace TEXT NOT NULL,
    caller TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    received_bytes INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    event_us INTEGER,
    PRIMARY KEY(producer, namespace, caller)
) WITHOUT ROWID
"""
_COLUMNS: Final = (
    "producer, namespace, caller, accepted, duplicates, refused, received_bytes, first_us, "
    "last_us, event_us"
)
_ADD: Final = (
    f"INSERT INTO producer_account({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT(producer, namespace, caller) DO UPDATE SET "
    "accepted = producer_account.accepted + excluded.accepted, "
    "duplicates = producer_account.duplicates + excluded.duplicates, "
    "refused = producer_account.refused + excluded.refused, "
    "received_bytes = producer_account.received_bytes + excluded.received_bytes, "
    "last_us = excluded.last_us, event_us = coalesce(excluded.event_us, producer_account.event_us)"
)
_OTHER: Final = "other"


class AccountKey(NamedTuple):
    """Whose account.

    Attributes:
        producer: as events state it; empty where they do not.
        namespace: of the job, or of the dataset of a DatasetEvent.
        caller: as authenticated; empty where nobody had to say.
    """

    producer: str
    namespace: str
    caller: str


@dataclass(slots=True)
class Tally:
    """What is to be added to an account.

    Attributes:
        accepted: events that are new to the log.
        duplicates: events that the log had.
        refused: inputs that are no events.
        received_bytes: of all of them, as sent and decompressed.
        event_us: event time of the last event.
    """

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    received_bytes: int = 0
    event_us: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One account as it stands."""

    key: AccountKey
    accepted: int
    duplicates: int
    refused: int
    received_bytes: int
    first_us: int
    last_us: int
    event_us: int | None

    def to_json(self) -> dict[str, object]:
        """Give the documented keys."""
        lag = None if self.event_us is None else (self.last_us - self.event_us) / 1e6
        return {
            "producer": self.key.producer or None,
            "namespace": self.key.namespace or None,
            "caller": self.key.caller or None,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "bytes": self.received_bytes,
            "first_seen": format_time(self.first_us),
            "last_seen": format_time(self.last_us),
            "event_time": None if self.event_us is None else format_time(self.event_us),
            "lag_seconds": lag,
        }


# Keys that have an account, as far as this process knows.
_KNOWN: WeakKeyDictionary[Segment, set[AccountKey]] = WeakKeyDictionary()


def open_accounts(segment: Segment) -> None:
    """Make the table and read which accounts there are, once a process.

    In a transaction of its own: one that fails later must not undo what is believed to be there.
    """
    if segment not in _KNOWN:
        with segment.writing() as connection:
            connection.execute(ACCOUNT_TABLE)
            rows = connection.execute("SELECT producer, namespace, caller FROM producer_account")
            known = {AccountKey(*row) for row in rows.fetchall()}
        _KNOWN[segment] = known


def add_tallies(
    segment: Segment, connection: Connection, tallies: Mapping[AccountKey, Tally], *, now_us: int
) -> None:
    """Add to accounts, which are open, inside the caller's transaction."""
    known = _KNOWN[segment]
    found = []
    for key, tally in tallies.items():
        kept = key if key in known else AccountKey(*map(_storable, key))
        if kept not in known:
            if len(known) >= ACCOUNTS_MAX:
                kept = AccountKey(_OTHER, _OTHER, kept.caller)
            known.add(kept)
        sums = (tally.accepted, tally.duplicates, tally.refused, tally.received_bytes)
        found.append((*kept, *sums, now_us, now_us, tally.event_us))
    connection.executemany(_ADD, found)


def _storable(text: str) -> str:
    # Of refused input: NUL and halves of surrogate pairs are in no database's text.
    cut = text[:ACCOUNT_TEXT_MAX].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return cut.encode("utf-8", "replace").decode()


def list_accounts(segment: Segment) -> list[Account]:
    """Give all accounts, the one that was heard of last first."""
    with segment.reading() as connection:
        if not has_table(connection, "producer_account"):
            return []
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM producer_account ORDER BY last_us DESC, producer, namespace, "
            "caller"
        ).fetchall()
    return [Account(AccountKey(*row[:3]), *row[3:]) for row in rows]

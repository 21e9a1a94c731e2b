"""Appending to the log of an SQLite segment: sequence, commit, sign.

1. Calls that overlap wait for one leader, which takes them all (group commit).
2. Under the writer's lock the right edge of the tree is taken up again if another process moved it.
3. One transaction holds leaves, payloads, secrets, identifiers, full tiles and the edge.
4. It is committed with fsync: from here on the entries are acknowledged.
5. The checkpoint over durable entries is signed and stored without fsync. Signatures are
   deterministic, so one that a crash loses comes back the same when the store is opened.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from lodeline.errors import LodelineError, StoreCorruptError
from lodeline.limits import COMMIT_EVENTS_MAX
from lodeline.proof import (
    SECRET_BYTES,
    Field,
    LeafRecord,
    TreeHead,
    commit_fields,
    encode_leaf,
    hash_leaf,
    record_id,
)
from lodeline.store.database import Database
from lodeline.store.keys import KeyRing
from lodeline.store.segment import AcceptedEvent
from lodeline.tlog import Checkpoint, GrowingTree, sign_checkpoint


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record on its way into the log; only events are recognised as duplicates."""

    kind: str
    canonical: bytes
    fields: Sequence[Field]
    roots: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Where a record stands, and whether it already stood there.

    Attributes:
        position: leaf index.
        duplicate: an earlier entry holds it.
        leaf_hash: of a new entry; `None` for a duplicate, whose entry was not read.
        log_time_us: of a new entry.
    """

    position: int
    duplicate: bool
    leaf_hash: bytes | None = None
    log_time_us: int = 0


@dataclass(eq=False)
class _Ticket:
    records: Sequence[NewRecord]
    outcomes: list[Outcome] = field(default_factory=list)
    error: LodelineError | None = None
    done: bool = False


class LogWriter:
    """The sequencer of one segment in this process."""

    def __init__(
        self,
        database: Database,
        *,
        origin: str,
        segment_id: str,
        keys: Callable[[], KeyRing],
        clock_us: Callable[[], int],
        randomness: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._origin = origin
        self._segment_id = segment_id
        self._keys = keys
        self._clock_us = clock_us
        self._randomness = randomness
        self._tree = GrowingTree()
        self._log_time_us = 0
        self._waiting: deque[_Ticket] = deque()
        self._waiting_lock = threading.Lock()
        self._leading = threading.Lock()

    def append(self, records: Sequence[NewRecord]) -> list[Outcome]:
        """Append records, together with those of calls that wait beside this one."""
        ticket = _Ticket(records)
        with self._waiting_lock:
            self._waiting.append(ticket)
        # 1. Whoever gets the lock leads; those it served find their ticket done.
        with self._leading:
            while not ticket.done:
                self._lead(self._take_group())
        if ticket.error is not None:
            raise ticket.error
        return ticket.outcomes

    def _take_group(self) -> list[_Ticket]:
        group: list[_Ticket] = []
        count = 0
        with self._waiting_lock:
            while self._waiting and (
                not group or count + len(self._waiting[0].records) <= COMMIT_EVENTS_MAX
            ):
                ticket = self._waiting.popleft()
                count += len(ticket.records)
                group.append(ticket)
        return group

    def _lead(self, group: list[_Ticket]) -> None:
        try:
            records = [record for ticket in group for record in ticket.records]
            outcomes = iter(self._commit(records))
            for ticket in group:
                ticket.outcomes = [next(outcomes) for _ in ticket.records]
        except LodelineError as error:
            for ticket in group:
                ticket.error = error
        finally:
            for ticket in group:
                ticket.done = True

    def _commit(self, records: Sequence[NewRecord]) -> list[Outcome]:
        keys = self._keys()
        with self._database.locked() as connection:
            with self._database.transaction(connection):
                # 2.
                self._take_up(connection)
                tree = self._tree.copy()
                # 3.
                outcomes, log_time_us = self._sequence(connection, records, tree, keys)
            # 4.
            self._tree, self._log_time_us = tree, log_time_us
            # 5.
            self._sign(connection, keys)
        return outcomes

    def initialise(self, connection: sqlite3.Connection, records: Sequence[NewRecord]) -> None:
        """Write the first records inside the transaction that makes the tables."""
        tree = GrowingTree()
        self._sequence(connection, records, tree, self._keys())

    def sign_pending(self) -> None:
        """Sign what a crash left unsigned."""
        with self._database.locked() as connection:
            self.sign_locked(connection)

    def sign_locked(self, connection: sqlite3.Connection) -> None:
        """Sign what a crash left unsigned, on the locked writer's connection."""
        self._take_up(connection)
        self._sign(connection, self._keys())

    def _take_up(self, connection: sqlite3.Connection) -> None:
        size, log_time_us = connection.execute(
            "SELECT position + 1, log_time FROM entry ORDER BY position DESC LIMIT 1"
        ).fetchone() or (0, 0)
        self._log_time_us = log_time_us
        if size == self._tree.size:
            return
        edges = dict(connection.execute("SELECT level, hashes FROM tile_edge"))
        try:
            self._tree = GrowingTree(size, edges)
        except LodelineError as error:
            raise StoreCorruptError(self._database.url, str(error)) from error

    def _sequence(
        self,
        connection: sqlite3.Connection,
        records: Sequence[NewRecord],
        tree: GrowingTree,
        keys: KeyRing,
    ) -> tuple[list[Outcome], int]:
        log_time_us = max(self._clock_us(), self._log_time_us)
        identifiers = [record_id(keys.segment_key, record.canonical) for record in records]
        known = _find_known(connection, records, identifiers)
        first = position = tree.size
        secrets = self._randomness(SECRET_BYTES * len(records))
        outcomes: list[Outcome] = []
        leaf_hashes: list[bytes] = []
        entry_rows: list[tuple[int, int, str, bytes]] = []
        payload_rows: list[tuple[int, bytes]] = []
        secret_rows: list[tuple[int, bytes]] = []
        identifier_rows: list[tuple[bytes, int]] = []
        for record, identifier in zip(records, identifiers, strict=True):
            if record.kind == "event":
                earlier = known.get(identifier)
                if earlier is not None:
                    outcomes.append(Outcome(earlier, duplicate=True))
                    continue
                known[identifier] = position
                identifier_rows.append((identifier, position))
            offset = (position - first) * SECRET_BYTES
            secret = secrets[offset : offset + SECRET_BYTES]
            leaf = encode_leaf(
                LeafRecord(
                    self._segment_id,
                    log_time_us,
                    record.kind,
                    identifier,
                    commit_fields(secret, record.fields),
                    roots=record.roots,
                )
            )
            leaf_hash = hash_leaf(leaf)
            leaf_hashes.append(leaf_hash)
            entry_rows.append((position, log_time_us, record.kind, leaf))
            payload_rows.append((position, record.canonical))
            secret_rows.append((position, secret))
            outcomes.append(Outcome(position, False, leaf_hash, log_time_us))
            position += 1
        if entry_rows:
            full = tree.extend(leaf_hashes)
            insert = connection.executemany
            insert("INSERT INTO entry VALUES (?, ?, ?, ?)", entry_rows)
            insert("INSERT INTO payload VALUES (?, ?)", payload_rows)
            insert("INSERT INTO record_secret VALUES (?, ?)", secret_rows)
            insert("INSERT INTO event_id VALUES (?, ?)", identifier_rows)
            insert("INSERT INTO tile VALUES (?, ?, ?)", full)
            insert("INSERT OR REPLACE INTO tile_edge VALUES (?, ?)", enumerate(tree.edges))
        return outcomes, log_time_us

    def _sign(self, connection: sqlite3.Connection, keys: KeyRing) -> None:
        size = self._tree.size
        (signed,) = connection.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()
        if signed >= size:
            return
        (log_time_us,) = connection.execute(
            "SELECT log_time FROM entry WHERE position = ?", (size - 1,)
        ).fetchone()
        head = TreeHead(self._origin, size, self._tree.root())
        checkpoint = sign_checkpoint(head, log_time_us=log_time_us, signers=[keys.checkpoint])
        with self._database.transaction(connection, durable=False):
            insert_checkpoint(connection, checkpoint)


def insert_checkpoint(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    """Store a checkpoint inside the caller's transaction."""
    connection.execute(
        "INSERT INTO checkpoint VALUES (?, ?, ?, ?)",
        (checkpoint.size, checkpoint.log_time_us, checkpoint.root_hash, checkpoint.note),
    )


def _find_known(
    connection: sqlite3.Connection, records: Sequence[NewRecord], identifiers: Sequence[bytes]
) -> dict[bytes, int]:
    # One statement for each would cost more than the inserts; one for all is bounded by the
    # number of parameters that SQLite takes.
    known: dict[bytes, int] = {}
    wanted = [
        identifier
        for record, identifier in zip(records, identifiers, strict=True)
        if record.kind == "event"
    ]
    for start in range(0, len(wanted), COMMIT_EVENTS_MAX):
        part = wanted[start : start + COMMIT_EVENTS_MAX]
        marks = ",".join("?" * len(part))
        known.update(
            connection.execute(
                f"SELECT identifier, position FROM event_id WHERE identifier IN ({marks})", part
            )
        )
    return known


def to_records(events: Sequence[AcceptedEvent]) -> list[NewRecord]:
    """Give accepted events as records of the log."""
    return [NewRecord("event", event.canonical, event.fields) for event in events]

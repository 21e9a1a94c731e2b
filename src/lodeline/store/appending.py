"""Appending to the log of a segment: sequence, commit, sign.

1. Calls that overlap wait for one leader, which takes them all (group commit).
2. Under the writer's lock the right edge of the tree is taken up again if another process moved it.
3. One transaction holds leaves, payloads, secrets and identifiers.
4. Tiles and the checkpoint over them are stored in the same transaction: nobody sees a signature
   over entries that did not become durable with it, and a group costs one commit. Where callers
   say that they may wait, as a busy service's do, both are left out while the last checkpoint is
   young: the tree's edge has thousands of bytes, and follows from the leaves behind it.
5. It is committed with fsync: from here on the entries are acknowledged.
6. Where the entries name keys, the checkpoint follows in a transaction of its own, without fsync:
   which keys sign is read of entries that are there. So does one that was left out. Signatures are
   deterministic, so one that a crash loses is made again by whoever needs it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from lodeline.errors import LodelineError, StoreCorruptError, StoreLostError
from lodeline.limits import CHECKPOINT_BEHIND_SECONDS, COMMIT_ATTEMPTS, COMMIT_EVENTS_MAX
from lodeline.proof import (
    HASH_BYTES,
    SECRET_BYTES,
    TILE_WIDTH,
    Field,
    TreeHead,
    commit_fields,
    hash_leaf,
    record_id,
    write_leaf,
)
from lodeline.store.connections import Connection, Database
from lodeline.store.keys import KeyRing
from lodeline.store.personal import PersonalFields, PersonalPart, take_out, with_sealed
from lodeline.store.segment import AcceptedEvent
from lodeline.tlog import Checkpoint, FullTile, GrowingTree, sign_checkpoint
from lodeline.wire import canonical_bytes
from lodeline.wire.personal import PersonalRules


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record on its way into the log; only events are recognised as duplicates.

    Attributes:
        kind: of the leaf.
        canonical: the whole payload, of which the identifier is computed.
        fields: what is committed to of an event without personal values.
        roots: of blocks.
        personal: the personal part; its payload is what is kept.
    """

    kind: str
    canonical: bytes
    fields: Sequence[Field]
    roots: tuple[str, ...] = ()
    personal: PersonalPart | None = None


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


# Writes of a caller in the transaction of its records, told where these stand.
Beside = Callable[[Connection, Sequence[Outcome]], None]


@dataclass(eq=False)
class _Ticket:
    records: Sequence[NewRecord]
    beside: Beside | None = None
    sign: bool = True
    outcomes: list[Outcome] = field(default_factory=list)
    error: LodelineError | None = None
    done: bool = False


class _Attempt(NamedTuple):
    """A commit under way: where its first entry is to stand, that entry's leaf, what to answer."""

    position: int
    leaf: bytes
    outcomes: list[Outcome]


class _Rows:
    """What one commit adds to the tables."""

    def __init__(self, segment_id: str, log_time_us: int, first: int, secrets: bytes) -> None:
        self._segment_id = segment_id
        self._log_time_us = log_time_us
        self._first = first
        self._drawn = secrets
        self.entries: list[tuple[int, int, str, bytes]] = []
        self.payloads: list[tuple[int, bytes]] = []
        self.secrets: list[tuple[int, bytes]] = []
        self.identifiers: list[tuple[bytes, int]] = []
        self.leaf_hashes: list[bytes] = []
        self.sealed: list[tuple[int, str, str | None, bytes]] = []
        self.subject_keys: list[tuple[str, str, int]] = []

    @property
    def position(self) -> int:
        """Where the next entry stands."""
        return self._first + len(self.entries)

    def add(
        self, record: NewRecord, identifier: bytes, payload: bytes, fields: Sequence[Field]
    ) -> Outcome:
        """Take in the next entry."""
        number = len(self.entries)
        position, log_time_us, kind = self._first + number, self._log_time_us, record.kind
        secret = self._drawn[number * SECRET_BYTES : (number + 1) * SECRET_BYTES]
        commitment = commit_fields(secret, fields)
        leaf = write_leaf(
            self._segment_id, log_time_us, kind, identifier, commitment, (), record.roots
        )
        leaf_hash = hash_leaf(leaf)
        self.leaf_hashes.append(leaf_hash)
        self.entries.append((position, log_time_us, kind, leaf))
        self.payloads.append((position, payload))
        self.secrets.append((position, secret))
        if kind == "event":
            self.identifiers.append((identifier, position))
        return Outcome(position, False, leaf_hash, log_time_us)

    def insert(self, connection: Connection) -> None:
        """Write everything."""
        if not self.entries:
            return
        insert = connection.executemany
        insert("INSERT INTO entry VALUES (?, ?, ?, ?)", self.entries)
        insert("INSERT INTO payload VALUES (?, ?)", self.payloads)
        insert("INSERT INTO record_secret VALUES (?, ?)", self.secrets)
        insert("INSERT INTO event_id VALUES (?, ?)", self.identifiers)
        if self.sealed:
            insert("INSERT INTO subject_key VALUES (?, ?, ?)", self.subject_keys)
            insert("INSERT INTO sealed_value VALUES (?, ?, ?, ?)", self.sealed)

    def begin(self, connection: Connection, tree: GrowingTree) -> None:
        """Write the first entries of a log, and their tiles."""
        self.insert(connection)
        _insert_tiles(connection, tree, tree.extend(self.leaf_hashes))


# How many leaves the stored tiles hold.
_SEQUENCED: Final = (
    f"(SELECT coalesce(max(number) + 1, 0) * {TILE_WIDTH} FROM tile WHERE level = 0) + "
    f"coalesce((SELECT length(hashes) FROM tile_edge WHERE level = 0), 0) / {HASH_BYTES}"
)


def sequenced_to(connection: Connection) -> int:
    """Give how many leaves the stored tiles hold; entries behind them are sequenced later."""
    (size,) = connection.execute(f"SELECT {_SEQUENCED}").fetchone()
    return int(size)


def _insert_tiles(connection: Connection, tree: GrowingTree, full: Sequence[FullTile]) -> None:
    """Write the tiles that became full, and the edge."""
    if full:
        connection.executemany("INSERT INTO tile VALUES (?, ?, ?)", full)
    connection.executemany(
        "INSERT INTO tile_edge VALUES (?, ?) "
        "ON CONFLICT (level) DO UPDATE SET hashes = excluded.hashes",
        enumerate(tree.edges),
    )


class LogWriter:
    """The sequencer of one segment in this process."""

    def __init__(
        self,
        database: Database,
        *,
        origin: str,
        segment_id: str,
        keys: Callable[[], KeyRing],
        forget_keys: Callable[[], object],
        clock_us: Callable[[], int],
        randomness: Callable[[int], bytes],
        personal: PersonalFields,
    ) -> None:
        self._database = database
        self._personal = personal
        self._origin = origin
        self._segment_id = segment_id
        self._keys = keys
        self._forget_keys = forget_keys
        self._key_position = -1
        # Whether the entries of the commit under way may change which keys are in force.
        self._names_keys = False
        self._clock_us = clock_us
        self._randomness = randomness
        self._tree = GrowingTree()
        # How many of its leaves the stored tiles hold, and tiles that became full since.
        self._sequenced = 0
        self._full: list[FullTile] = []
        self._attempt: _Attempt | None = None
        self._log_time_us = 0
        # When this process last signed; long ago at first.
        self._signed_at = float("-inf")
        self._waiting: deque[_Ticket] = deque()
        self._waiting_lock = threading.Lock()
        self._leading = threading.Lock()

    def append(
        self, records: Sequence[NewRecord], *, beside: Beside | None = None, sign: bool = True
    ) -> list[Outcome]:
        """Append records, together with those of calls that wait beside this one.

        Args:
            records: may be none when there is something to write beside them.
            beside: what else the transaction holds; the log's tables are not its to write. If it
                raises, nothing is stored of all that shared the transaction.
            sign: whether the checkpoint over them is to be stored with them. Without, it may come
                `CHECKPOINT_BEHIND_SECONDS` later: by a next commit, or by `sign_pending`.
        """
        ticket = _Ticket(records, beside, sign)
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
        def beside(connection: Connection, outcomes: Sequence[Outcome]) -> None:
            rest = iter(outcomes)
            for ticket in group:
                ticket.outcomes = [next(rest) for _ in ticket.records]
                if ticket.beside is not None:
                    ticket.beside(connection, ticket.outcomes)

        try:
            records = [record for ticket in group for record in ticket.records]
            sign = any(ticket.sign for ticket in group)
            self._commit_surely(lambda _: records, beside=beside, sign=sign)
        except LodelineError as error:
            for ticket in group:
                ticket.error = error
        finally:
            for ticket in group:
                ticket.done = True

    def _commit_surely(
        self,
        prepare: Callable[[Connection], Sequence[NewRecord]],
        *,
        sign_first: bool = False,
        beside: Beside | None = None,
        sign: bool = True,
    ) -> list[Outcome]:
        """Commit, and where the connection was lost meanwhile, find out what became of it.

        1. The entries that a lost commit would have added are looked for under the lock, which
           the lost session has given up only when it has ended. Their leaves tell: the secret in
           each commitment was drawn for that attempt.
        2. If they are not there, nothing of the attempt is, and it is made again. So is one without
           new entries: what it writes beside them can be written twice.
        """
        for left in reversed(range(COMMIT_ATTEMPTS)):
            self._attempt = None
            try:
                with self._database.locked() as connection:
                    if sign_first:
                        self.sign_locked(connection)
                    return self._commit_locked(connection, prepare, beside, sign=sign)
            except StoreLostError:
                # 1.
                outcomes = self._find_attempt()
                if outcomes is not None:
                    return outcomes
                # 2.
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _find_attempt(self) -> list[Outcome] | None:
        attempt = self._attempt
        if attempt is None:
            return None
        with self._database.locked() as connection:
            row = connection.execute(
                "SELECT leaf FROM entry WHERE position = ?", (attempt.position,)
            ).fetchone()
            if row is None or bytes(row[0]) != attempt.leaf:
                return None
            self.sign_locked(connection)
        return attempt.outcomes

    def _commit_locked(
        self,
        connection: Connection,
        prepare: Callable[[Connection], Sequence[NewRecord]],
        beside: Beside | None,
        *,
        sign: bool,
    ) -> list[Outcome]:
        sign = sign or time.monotonic() >= self._signed_at + CHECKPOINT_BEHIND_SECONDS
        with self._database.transaction(connection):
            # 2.
            self._take_up(connection, sequencing=sign)
            tree = self._tree.copy()
            # 3.
            outcomes, log_time_us, rows = self._sequence(
                connection, prepare(connection), tree.size, self._keys()
            )
            full = [*self._full, *tree.extend(rows.leaf_hashes)]
            with self._database.pipelined(connection, len(rows.entries)):
                rows.insert(connection)
                if beside is not None:
                    beside(connection, outcomes)
                # 4.
                signed = sign and self._sign_within(connection, tree, full, log_time_us)
        # 5.
        self._tree, self._full, self._log_time_us = tree, full, log_time_us
        if signed:
            self._full, self._sequenced = [], tree.size
            self._signed_at = time.monotonic()
        # 6.
        elif sign or self._names_keys:
            self._sign(connection)
        return outcomes

    def _sign_within(
        self,
        connection: Connection,
        tree: GrowingTree,
        full: Sequence[FullTile],
        log_time_us: int,
    ) -> bool:
        """Sign what the transaction adds, inside of it; False if that has to wait for its end."""
        if tree.size == self._tree.size or self._names_keys:
            return False
        _insert_tiles(connection, tree, full)
        head = TreeHead(self._origin, tree.size, tree.root())
        signers = self._keys().checkpoint_signers
        checkpoint = sign_checkpoint(head, log_time_us=log_time_us, signers=signers)
        insert_checkpoint(connection, checkpoint)
        return True

    def append_prepared(self, prepare: Callable[[], Sequence[NewRecord]]) -> list[Outcome]:
        """Append records that are made under the writer's lock, when all before them is signed.

        What `prepare` reads of the log is all there is: nobody else appends meanwhile.
        """
        with self._leading:
            return self._commit_surely(lambda _: prepare(), sign_first=True)

    def append_computed(
        self, compute: Callable[[Connection, int], NewRecord | None]
    ) -> Outcome | None:
        """Append a record that speaks of the log before it, as nobody can write in between.

        Args:
            compute: gets the writer's connection in its transaction, and the position that the
                record will have; None appends nothing, what it wrote is kept.
        """

        def prepare(connection: Connection) -> list[NewRecord]:
            record = compute(connection, self._tree.size)
            return [] if record is None else [record]

        with self._leading:
            outcomes = self._commit_surely(prepare)
        return outcomes[0] if outcomes else None

    def initialise(self, connection: Connection, records: Sequence[NewRecord]) -> None:
        """Write the first records inside the transaction that makes the tables."""
        self._sequence(connection, records, 0, self._keys())[2].begin(connection, GrowingTree())

    def go_on(self, connection: Connection, records: Sequence[NewRecord]) -> None:
        """Write the first records after those of a backup, inside the transaction that took it."""
        self._take_up(connection, sequencing=True)
        tree = self._tree.copy()
        self._sequence(connection, records, tree.size, self._keys())[2].begin(connection, tree)

    def sign_pending(self) -> None:
        """Sequence and sign what is not yet."""
        with self._database.locked() as connection:
            self.sign_locked(connection)

    def sign_locked(self, connection: Connection) -> None:
        """Sequence and sign what is not yet, on the locked writer's connection."""
        self._sign(connection)

    def _take_up(self, connection: Connection, *, sequencing: bool) -> None:
        """Take up the tree as it is; with `sequencing` also how far stored tiles go."""
        sequenced = _SEQUENCED if sequencing else "0"
        size, log_time_us, sequenced_now = connection.execute(
            f"SELECT position + 1, log_time, {sequenced} FROM entry ORDER BY position DESC LIMIT 1"
        ).fetchone() or (0, 0, 0)
        self._log_time_us = log_time_us
        moved = size != self._tree.size
        if moved:
            self._note_keys(connection)
        # Another process may have sequenced what this one appended.
        if moved or (sequencing and sequenced_now != self._sequenced):
            self._read_tree(connection, size)

    def _read_tree(self, connection: Connection, size: int) -> None:
        sequenced = sequenced_to(connection)
        edges = dict(connection.execute("SELECT level, hashes FROM tile_edge"))
        leaves = connection.execute(
            "SELECT leaf FROM entry WHERE position >= ? ORDER BY position", (sequenced,)
        )
        try:
            tree = GrowingTree(sequenced, edges)
            full = tree.extend([hash_leaf(bytes(leaf)) for (leaf,) in leaves])
        except (LodelineError, TypeError) as error:
            raise StoreCorruptError(self._database.url, str(error)) from error
        if tree.size != size:
            reason = f"tiles hold {sequenced} leaves of {size}, and the entries do not follow"
            raise StoreCorruptError(self._database.url, reason)
        self._tree, self._full, self._sequenced = tree, full, sequenced

    def _note_keys(self, connection: Connection) -> None:
        """Have the keys read again if the log has a `key` entry that they may not know of."""
        (position,) = connection.execute(
            "SELECT max(position) FROM entry WHERE kind = 'key' AND kind <> 'event'"
        ).fetchone()
        if position != self._key_position:
            self._key_position = position
            self._forget_keys()

    def _sequence(
        self,
        connection: Connection,
        records: Sequence[NewRecord],
        size: int,
        keys: KeyRing,
    ) -> tuple[list[Outcome], int, _Rows]:
        log_time_us = max(self._clock_us(), self._log_time_us)
        identifiers = [record_id(keys.segment_key, record.canonical) for record in records]
        known = _find_known(connection, records, identifiers)
        parts = [
            record.personal
            for record, identifier in zip(records, identifiers, strict=True)
            if record.personal is not None and identifier not in known
        ]
        plan = self._personal.plan(connection, parts) if parts else None
        if plan is not None and plan.logged:
            # A key's hash is logged before anything sealed with the key.
            first = to_key_record(self._origin, plan.logged)
            records = [first, *records]
            identifiers.insert(0, record_id(keys.segment_key, first.canonical))
        secrets = self._randomness(SECRET_BYTES * len(records))
        rows = _Rows(self._segment_id, log_time_us, size, secrets)
        outcomes: list[Outcome] = []
        for record, identifier in zip(records, identifiers, strict=True):
            if record.kind == "event":
                earlier = known.get(identifier)
                if earlier is not None:
                    outcomes.append(Outcome(earlier, duplicate=True))
                    continue
                known[identifier] = size + len(rows.entries)
            payload, fields = record.canonical, record.fields
            if record.personal is not None and plan is not None:
                position, sealed = rows.position, plan.seal(record.personal, identifier)
                payload = record.personal.payload
                fields = with_sealed(record.personal.fields, sealed)
                rows.sealed += [(position, one.pointer, one.key_id, one.value) for one in sealed]
            outcomes.append(rows.add(record, identifier, payload, fields))
        if plan is not None and plan.logged:
            rows.subject_keys = [(*one, outcomes[0].position) for one in plan.logged.items()]
            del outcomes[0]
        self._names_keys = any(entry[2] == "key" for entry in rows.entries)
        if rows.entries:
            self._attempt = _Attempt(size, rows.entries[0][3], outcomes)
        return outcomes, log_time_us, rows

    def _sign(self, connection: Connection) -> None:
        self._take_up(connection, sequencing=True)
        size = self._tree.size
        if self._sequenced != size:
            # Apart: without the keys nothing is signed, and tiles are wanted all the same.
            with self._database.transaction(connection, durable=False):
                _insert_tiles(connection, self._tree, self._full)
            self._full, self._sequenced = [], size
        (signed,) = connection.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()
        if signed >= size:
            return
        (log_time_us,) = connection.execute(
            "SELECT log_time FROM entry WHERE position = ?", (size - 1,)
        ).fetchone()
        head = TreeHead(self._origin, size, self._tree.root())
        # Not earlier: the entries just committed may have changed which keys are in force.
        self._note_keys(connection)
        signers = self._keys().checkpoint_signers
        checkpoint = sign_checkpoint(head, log_time_us=log_time_us, signers=signers)
        with self._database.transaction(connection, durable=False):
            insert_checkpoint(connection, checkpoint)
        self._signed_at = time.monotonic()


def insert_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Store a checkpoint inside the caller's transaction."""
    connection.execute(
        "INSERT INTO checkpoint VALUES (?, ?, ?, ?)",
        (checkpoint.size, checkpoint.log_time_us, checkpoint.root_hash, checkpoint.note),
    )


def _find_known(
    connection: Connection, records: Sequence[NewRecord], identifiers: Sequence[bytes]
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


def to_records(events: Sequence[AcceptedEvent], rules: PersonalRules) -> list[NewRecord]:
    """Give accepted events as records of the log, their personal values taken out."""
    records = []
    for event in events:
        canonical, fields = event.canonical, event.fields
        part = take_out(canonical, fields, rules) if rules.may_match(canonical) else None
        records.append(NewRecord("event", canonical, fields, personal=part))
    return records


def to_key_record(origin: str, hashes: Mapping[str, str]) -> NewRecord:
    """Give the record that certifies keys of subjects by their hashes."""
    keys = [{"hash": value, "id": key_id, "use": "subject"} for key_id, value in hashes.items()]
    canonical = canonical_bytes({"keys": keys, "origin": origin})
    return NewRecord("key", canonical, [("", canonical)])

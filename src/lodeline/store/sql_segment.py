"""A segment in a database that speaks SQL: opening, recovering and asking.

What differs from database to database lies behind `connections.Database`; appending lies in
`store.appending`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Protocol, Self

from lodeline.errors import (
    CouldNotTellError,
    InvalidEventError,
    KeyMissingError,
    LodelineError,
    StoreCorruptError,
    UnknownBlobError,
    UnknownPositionError,
    UsageError,
)
from lodeline.limits import ENTRIES_PAGE, RECEIPT_DEADLINE_US
from lodeline.proof import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Receipt,
    TlogProof,
    Verifier,
    consistency_path,
    format_tlog_proof,
    hash_leaf,
    inclusion_path,
    root_from_tiles,
    sign_receipt,
)
from lodeline.store import dead_letters, endorsements
from lodeline.store.appending import LogWriter, NewRecord, Outcome, sequenced_to, to_records
from lodeline.store.blob_successors import current_of, read_successors
from lodeline.store.blobs import Blobs
from lodeline.store.connections import Connection, Database, has_table
from lodeline.store.database import translate_os_error
from lodeline.store.declarations import read_declarations
from lodeline.store.endorsements import Endorsements
from lodeline.store.erasing import apply_erasures
from lodeline.store.expiring import read_expired
from lodeline.store.keys import (
    Certified,
    KeyRing,
    create_keys,
    key_paths,
    load_keys,
    prepare_keys,
    remove_retired,
)
from lodeline.store.personal import Erasures, OpenedPayload, PersonalFields
from lodeline.store.segment import AcceptedEvent, Appended, DeadLetter, Refusal, StoredEntry
from lodeline.store.stream_tables import StreamOffset, read_offsets
from lodeline.store.subjects import SubjectKeys
from lodeline.store.tables import FORMAT_VERSION, SCHEMA, migration
from lodeline.tlog import Checkpoint
from lodeline.wire import canonical_bytes
from lodeline.wire.personal import PersonalRules

_ORIGIN_PREFIX = "lodeline.local/"


def now_us() -> int:
    """Microseconds since 1970, by this machine's clock."""
    return time.time_ns() // 1000


class _Appended:
    __slots__ = ("_outcome", "_segment")

    def __init__(self, outcome: Outcome, segment: SqlSegment) -> None:
        self._outcome = outcome
        self._segment = segment

    @property
    def position(self) -> int:
        """Where the record stands; for a duplicate, where the first stands."""
        return self._outcome.position

    @property
    def duplicate(self) -> bool:
        """Whether the log held it before."""
        return self._outcome.duplicate

    @property
    def receipt(self) -> str:
        """The signed receipt; deterministic, so a duplicate's is the first's."""
        outcome = self._outcome
        if outcome.leaf_hash is None:
            return self._segment.receipt(outcome.position)
        return self._segment.sign_receipt([outcome.leaf_hash], outcome.log_time_us)


class Beginning(Protocol):
    """What a new log goes on from: a backup of another."""

    @property
    def segment_id(self) -> str:
        """The opaque identifier in every leaf so far."""

    @property
    def segment_key(self) -> bytes:
        """The key by which events are recognised."""

    @property
    def citation(self) -> Mapping[str, object]:
        """What the first new entry says of the earlier log."""

    def put_blobs(self, blobs: Blobs) -> None:
        """Keep the blobs durably."""

    def put_subject_keys(self, keys: SubjectKeys) -> None:
        """Keep the keys of data subjects durably."""

    def fill(self, connection: Connection) -> None:
        """Write every row, inside the transaction that makes the tables."""


class SqlSegment:
    """A segment in a database, its keys in files.

    Attributes:
        url: where it is, without what is secret.
        path: of the database's file, or what stands for it: keys and declarations lie beside it.
        database: gives connections.
        blobs: bytes too large for a row of the log.
        begun_now: whether the log was made by opening it.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        path: Path,
        create: bool,
        beginning: Beginning | None = None,
        clock_us: Callable[[], int] = now_us,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open a segment, making its tables first if asked to.

        Args:
            database: gives connections.
            blobs: keeps blobs.
            path: keys and declarations lie beside it.
            create: make tables and keys, if there are none.
            beginning: what a log that is made goes on from.
            clock_us: the time.
            randomness: gives random bytes.

        Raises:
            StoreUnreachableError: no store there, or no permission.
            StoreCorruptError: not a Lodeline store, or one of another format version.
        """
        self.path = path
        self.url = database.url
        self._keys_folder = path.with_name(path.name + ".keys")
        self._held_keys: tuple[Certified, KeyRing] | None = None
        self._certified, self._certified_to = Certified(), 0
        self._certified_lock = threading.Lock()
        # Every question asks for the newest root, and up to 510 hashes go into one.
        self._last_root = (0, EMPTY_ROOT)
        self._clock_us = clock_us
        self._randomness = randomness
        self.database = database
        self.blobs = blobs
        self.begun_now = False
        meta = self._find_meta()
        if not meta and create:
            meta = self._initialise(beginning)
        if not meta:
            raise StoreCorruptError(self.url, "not a Lodeline store")
        if migration(meta.get("format_version", "")) is not None:
            meta = self._migrate()
        if meta.get("format_version") != str(FORMAT_VERSION):
            raise StoreCorruptError(
                self.url,
                f"format version {meta.get('format_version')}; this program reads {FORMAT_VERSION}",
            )
        self.origin = meta["origin"]
        self.segment_id = meta["segment"]
        self.endorsements = Endorsements(self.database)
        self._letter_room = dead_letters.LetterRoom()
        self._writer = self._make_writer(self.origin, self.segment_id, lambda: self.keys)
        apply_erasures(self)

    @property
    def keys(self) -> KeyRing:
        """The private keys in force, read when first needed and after a change.

        Raises:
            KeyMissingError: they are not there.
        """
        held = self._held_keys
        if held is None:
            certified = self.certified_keys()
            held = (certified, load_keys(self._keys_folder, self.origin, certified))
            self._held_keys = held
        return held[1]

    def _forget_keys(self) -> None:
        if self._held_keys is not None and self._held_keys[0] != self.certified_keys():
            self._held_keys = None

    def certified_keys(self) -> Certified:
        """What the log's `key` entries say of its keys."""
        # Entries never change, and those for subjects may be many: each is read once.
        with self._certified_lock:
            for entry in self.iter_entries(self._certified_to, kinds={"key"}):
                self._certified.add(entry.payload)
                self._certified_to = entry.position + 1
            return self._certified.copy()

    def key_files(self) -> list[Path]:
        """Where the private keys lie, or should lie."""
        paths = key_paths(self._keys_folder, self.origin, self.certified_keys())
        return sorted(path for files in paths.values() for path in files)

    def _make_writer(self, origin: str, segment_id: str, keys: Callable[[], KeyRing]) -> LogWriter:
        token = origin.rpartition("/")[2]
        self.personal = PersonalFields(
            self._keys_folder / f"{token}.subjects", ring=keys, randomness=self._randomness
        )
        return LogWriter(
            self.database,
            origin=origin,
            segment_id=segment_id,
            keys=keys,
            forget_keys=self._forget_keys,
            clock_us=self._clock_us,
            randomness=self._randomness,
            personal=self.personal,
        )

    @cached_property
    def personal_rules(self) -> PersonalRules:
        """Which values of events are personal here.

        Raises:
            UsageError: a declaration is malformed; nothing may be appended then.
        """
        return PersonalRules(read_declarations(self.path))

    def _find_meta(self) -> dict[str, str]:
        with self.database.reading() as connection:
            return _read_meta(connection)

    def _initialise(self, beginning: Beginning | None) -> dict[str, str]:
        # Only here: asking a store must not pay for importing the fold.
        from lodeline.fold import FOLD_VERSION

        with self.database.locked() as connection:
            # Another process may have been first.
            meta = _read_meta(connection)
            if meta:
                return meta
            self.database.prepare(connection)
            origin = _ORIGIN_PREFIX + self._randomness(8).hex()
            segment_id = self._randomness(16).hex() if beginning is None else beginning.segment_id
            segment_key = None if beginning is None else beginning.segment_key
            # 1. Keys are durable before anything is signed or committed with them.
            try:
                keys = create_keys(
                    self._keys_folder, origin, self._randomness, segment_key=segment_key
                )
            except OSError as error:
                raise translate_os_error(error, self.url, self._keys_folder) from error
            # 2. Tables, meta and the first two leaves come into being together.
            meta = {
                "format_version": str(FORMAT_VERSION),
                "origin": origin,
                "segment": segment_id,
            }
            writer = self._make_writer(origin, segment_id, lambda: keys)
            record, fold = keys.to_record(origin), {"version": str(FOLD_VERSION)}
            if beginning is not None:
                beginning.put_blobs(self.blobs)
                beginning.put_subject_keys(self.personal.files)
            with self.database.transaction(connection):
                self.database.create_tables(connection, SCHEMA)
                connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                if beginning is None:
                    records = [_to_record("key", record), _to_record("fold", fold)]
                    writer.initialise(connection, records)
                else:
                    beginning.fill(connection)
                    cited = record | {"restored_from": beginning.citation}
                    writer.go_on(connection, [_to_record("key", cited)])
        writer.sign_pending()
        self.begun_now = True
        return meta

    def _migrate(self) -> dict[str, str]:
        with self.database.locked() as connection, self.database.transaction(connection):
            # Another process may have been first.
            added = migration(_read_meta(connection)["format_version"])
            if added is not None:
                self.database.create_tables(connection, added)
                connection.execute(
                    "UPDATE meta SET value = ? WHERE name = 'format_version'",
                    (str(FORMAT_VERSION),),
                )
            return _read_meta(connection)

    # Appending

    def append(
        self,
        events: Sequence[AcceptedEvent],
        *,
        beside: Callable[[Connection, Sequence[Appended]], None] | None = None,
        sign: bool = True,
    ) -> list[Appended]:
        """Append events in one durable transaction; calls that overlap share one."""
        if not events and beside is None:
            return []
        return self._append_records(to_records(events, self.personal_rules), beside, sign=sign)

    def _append_records(
        self,
        records: Sequence[NewRecord],
        beside: Callable[[Connection, Sequence[Appended]], None] | None,
        *,
        sign: bool = True,
    ) -> list[Appended]:
        appended: list[Appended] = []

        def write(connection: Connection, outcomes: Sequence[Outcome]) -> None:
            nonlocal appended
            appended = [_Appended(outcome, self) for outcome in outcomes]
            if beside is not None:
                beside(connection, appended)

        writing = None if beside is None else write
        outcomes = self._writer.append(records, beside=writing, sign=sign)
        return appended or [_Appended(outcome, self) for outcome in outcomes]

    def append_record(
        self,
        kind: str,
        payload: Mapping[str, object],
        *,
        roots: Sequence[str] = (),
        beside: Callable[[Connection, Sequence[Appended]], None] | None = None,
    ) -> Appended:
        """Append a record of another kind. Equal payloads are appended again."""
        return self._append_records([_to_record(kind, payload, roots)], beside)[0]

    # Keys

    def rotate_keys(self) -> KeyRing:
        """Make new checkpoint and receipt keys; the earlier checkpoint key goes on signing, too.

        1. All that is in the log is signed by the earlier key.
        2. The new private keys are durable before the log speaks of them.
        3. A `key` entry certifies them. The checkpoint over it is signed by both.

        Raises:
            UsageError: the keys before the present ones are not retired yet.
        """

        def prepare() -> list[NewRecord]:
            certified = self.certified_keys()
            if len(certified.in_force["checkpoint"]) > 1:
                raise UsageError("earlier keys still sign; retire them first: log retire-keys")
            # 2.
            checkpoint, receipt = prepare_keys(
                self._keys_folder, self.origin, certified, self._randomness
            )
            ring = KeyRing(checkpoint, receipt, self.keys.segment_key)
            return [_to_record("key", ring.to_record(self.origin))]

        # 1. and 3.
        self._writer.append_prepared(prepare)
        return self.keys

    def retire_keys(self, *, keep: bool = False) -> list[Path]:
        """End the overlap: from here on only the newest keys count, and earlier ones are removed.

        1. A `key` entry retires them. The checkpoint over it is signed by the newest key alone.
        2. Their private keys are removed, or set aside with `keep`; also those that a crash after
           an earlier 1 left behind.

        Returns:
            The files of the private keys that were removed or set aside.

        Raises:
            UsageError: no earlier keys are there.
        """

        def prepare() -> list[NewRecord]:
            in_force = self.certified_keys().in_force
            retired = sorted(vkey for vkeys in in_force.values() for vkey in vkeys[:-1])
            if not retired:
                return []
            record = self.keys.to_record(self.origin) | {"retired": retired}
            return [_to_record("key", record)]

        # 1.
        appended = self._writer.append_prepared(prepare)
        # 2.
        certified = self.certified_keys()
        removed = remove_retired(self._keys_folder, self.origin, certified, keep=keep)
        if not appended and not removed:
            raise UsageError("no earlier keys to retire; log rotate-keys makes new ones")
        return removed

    def append_computed(
        self, kind: str, compute: Callable[[Connection, int], Mapping[str, object] | None]
    ) -> Appended | None:
        """Append a record computed from the log before it, under the writer's lock."""

        def record(connection: Connection, position: int) -> NewRecord | None:
            payload = compute(connection, position)
            return None if payload is None else _to_record(kind, payload)

        outcome = self._writer.append_computed(record)
        return None if outcome is None else self._appended(outcome)

    def _appended(self, outcome: Outcome) -> Appended:
        return _Appended(outcome, self)

    # The log

    def size(self) -> int:
        """Entries in the log."""
        with self.database.reading() as connection:
            return _size(connection)

    def checkpoint(self) -> Checkpoint:
        """The signed tree head of the whole log; signs it if nobody has."""
        with self.database.reading() as connection:
            size, found = _size(connection), _last_checkpoint(connection)
        if found is None or found.size < size:
            self._writer.sign_pending()
            return self.last_checkpoint()
        return found

    def last_checkpoint(self) -> Checkpoint:
        """The newest stored checkpoint; signs nothing, so it may cover less than the whole log.

        Raises:
            StoreCorruptError: there is none.
        """
        with self.database.reading() as connection:
            found = _last_checkpoint(connection)
        if found is None:
            raise StoreCorruptError(self.url, "no checkpoint")
        return found

    def sign_pending(self) -> None:
        """Sign what is not signed yet; without the keys it stays as it is."""
        with suppress(CouldNotTellError):
            self.checkpoint()

    def checkpoint_at(self, time_us: int) -> Checkpoint | None:
        """The last checkpoint whose log time is at or before a time."""
        # Asked again, it must not have become another: one that is still to come is signed first.
        self.sign_pending()
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT size, root_hash, log_time, note FROM checkpoint WHERE log_time <= ? "
                "ORDER BY log_time DESC, size DESC LIMIT 1",
                (time_us,),
            ).fetchone()
        return None if row is None else Checkpoint(*row)

    def get_checkpoint(self, size: int) -> Checkpoint:
        """The checkpoint that was signed when the log had `size` entries.

        Raises:
            UnknownCheckpointError: none was signed at that size.
        """
        with self.database.reading() as connection:
            return endorsements.get_checkpoint(connection, size)

    def witnessed_note(self, size: int) -> str:
        """A checkpoint's note: the log's signatures, then the newest cosignature of each witness.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """
        return self.endorsements.witnessed_note(size)

    def timestamps(self, size: int) -> list[bytes]:
        """RFC 3161 answers (DER) over a checkpoint's note as the log signed it, by their digests.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """
        return [one.answer for one in self.endorsements.timestamps(size)]

    def iter_checkpoints(self) -> Iterator[Checkpoint]:
        """Walk every checkpoint, smallest first."""
        after = -1
        while True:
            with self.database.reading() as connection:
                rows = connection.execute(
                    "SELECT size, root_hash, log_time, note FROM checkpoint WHERE size > ? "
                    "ORDER BY size LIMIT ?",
                    (after, ENTRIES_PAGE),
                ).fetchall()
            if not rows:
                return
            for row in rows:
                yield Checkpoint(*row)
            after = rows[-1][0]

    def root_at(self, size: int) -> bytes:
        """The root when the log had `size` entries.

        Raises:
            UnknownPositionError: the log is shorter.
        """
        with self._reading_tree(size) as connection:
            known, root = self._last_root
            if known != size:
                root = root_from_tiles(0, size, partial(_read_tile, connection))
                self._last_root = (size, root)
            return root

    def read_tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile, all that there are by now; empty where there is none."""
        with self.database.reading() as connection:
            return _read_tile(connection, level, number)

    def read_leaves(self, begin: int, end: int) -> list[bytes]:
        """The leaf records of the positions `[begin, end)`, as many as there are."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT leaf FROM entry WHERE position >= ? AND position < ? ORDER BY position",
                (begin, end),
            ).fetchall()
        return [bytes(leaf) for (leaf,) in rows]

    def inclusion_path(self, position: int, size: int) -> list[bytes]:
        """Prove an entry in the tree of `size`.

        Raises:
            UnknownPositionError: the entry is not in that tree, or the log is shorter.
        """
        with self._reading_tree(size) as connection:
            if not 0 <= position < size:
                raise UnknownPositionError(position, size)
            read = cache(partial(_read_tile, connection))
            return inclusion_path(position, size, partial(root_from_tiles, read_tile=read))

    def tlog_proof(self, position: int) -> str:
        """Prove an entry under the newest checkpoint, as a C2SP tlog-proof that carries the entry.

        Raises:
            UnknownPositionError: no such entry.
        """
        checkpoint = self.checkpoint()
        path = self.inclusion_path(position, checkpoint.size)
        (entry,) = self.iter_entries(position, position + 1)
        note = self.witnessed_note(checkpoint.size)
        return format_tlog_proof(TlogProof(position, tuple(path), note, entry.leaf))

    def consistency_path(self, size_earlier: int, size_later: int) -> list[bytes]:
        """Prove that the later tree extends the earlier.

        Raises:
            UnknownPositionError: the log is shorter than either.
        """
        with self._reading_tree(size_later) as connection:
            if not 0 < size_earlier <= size_later:
                raise UnknownPositionError(size_earlier, size_later)
            read = cache(partial(_read_tile, connection))
            return consistency_path(
                size_earlier, size_later, partial(root_from_tiles, read_tile=read)
            )

    @contextmanager
    def _reading_tree(self, size: int) -> Iterator[Connection]:
        """Lend a snapshot whose tiles hold the tree of `size`."""
        with self.database.reading() as connection:
            if size <= sequenced_to(connection):
                _check_size(connection, size)
                yield connection
                return
            _check_size(connection, size)
        # Tiles of the newest entries may not be there yet; without the keys they are made, too.
        with suppress(KeyMissingError):
            self._writer.sign_pending()
        with self.database.reading() as connection:
            yield connection

    def receipt(self, position: int) -> str:
        """The signed receipt of an entry.

        Raises:
            UnknownPositionError: no such entry.
        """
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT leaf, log_time FROM entry WHERE position = ?", (position,)
            ).fetchone()
            if row is None:
                raise UnknownPositionError(position, _size(connection))
        return self.sign_receipt([hash_leaf(row[0])], row[1])

    def batch_receipt(self, positions: Sequence[int]) -> str:
        """One signed receipt over the leaf hashes of several entries, in the order given.

        Raises:
            UnknownPositionError: there is no such entry, or none is named.
        """
        hashes, log_time_us = [], 0
        with self.database.reading() as connection:
            for position in positions:
                row = connection.execute(
                    "SELECT leaf, log_time FROM entry WHERE position = ?", (position,)
                ).fetchone()
                if row is None:
                    raise UnknownPositionError(position, _size(connection))
                hashes.append(hash_leaf(row[0]))
                log_time_us = max(log_time_us, row[1])
            if not hashes:
                raise UnknownPositionError(0, _size(connection))
        return self.sign_receipt(hashes, log_time_us)

    def sign_receipt(self, leaf_hashes: Sequence[bytes], log_time_us: int) -> str:
        """Write the receipt of entries whose leaf hashes and last log time are known."""
        deadline_us = log_time_us + RECEIPT_DEADLINE_US
        receipt = Receipt(self.origin, tuple(leaf_hashes), log_time_us, deadline_us)
        return sign_receipt(receipt, self.keys.receipt)

    def verifiers(self, use: str = "checkpoint") -> list[Verifier]:
        """The keys that the log's `key` leaves certify for a use, `checkpoint` or `receipt`.

        Retired ones, too, since what they signed stays signed; oldest first.
        """
        vkeys = [
            key["vkey"]
            for entry in self.iter_entries(kinds={"key"})
            if entry.payload is not None
            for key in json.loads(entry.payload)["keys"]
            if key["use"] == use
        ]
        return [Verifier.from_vkey(vkey) for vkey in dict.fromkeys(vkeys)]

    def iter_entries(
        self, start: int = 0, stop: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[StoredEntry]:
        """Walk entries by position, those present when the walk begins.

        Pages, each in a snapshot of its own: entries never change, and a long snapshot would keep
        the write-ahead log from shrinking.
        """
        stop = self.size() if stop is None else stop
        clause, parameters = "", []
        if kinds is not None:
            clause = f" AND kind IN ({','.join('?' * len(kinds))})"
            parameters = sorted(kinds)
            if "event" not in kinds:
                clause += " AND kind <> 'event'"
        statement = (
            "SELECT entry.position, log_time, kind, leaf, payload FROM entry "
            "LEFT JOIN payload USING(position) "
            f"WHERE entry.position >= ? AND entry.position < ?{clause} "
            "ORDER BY entry.position LIMIT ?"
        )
        while start < stop:
            with self.database.reading() as connection:
                rows = connection.execute(
                    statement, (start, stop, *parameters, ENTRIES_PAGE)
                ).fetchall()
            for row in rows:
                yield StoredEntry(*row)
            if len(rows) < ENTRIES_PAGE:
                return
            start = rows[-1][0] + 1

    def open_payload(self, connection: Connection, position: int, payload: bytes) -> OpenedPayload:
        """Put the personal values back that keys open; the others stay null."""
        return self.personal.open_payload(connection, position, payload)

    def find_erasures(self, connection: Connection) -> Erasures:
        """What the log says is erased, as of a snapshot or later."""
        return self.personal.find_erasures(connection)

    def iter_opened(
        self, start: int = 0, stop: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[tuple[StoredEntry, OpenedPayload]]:
        """Walk entries as `iter_entries` does, those whose payload is there, opened."""
        with self.reading() as connection:
            row = connection.execute("SELECT 1 FROM sealed_value LIMIT 1").fetchone()
        for entry in self.iter_entries(start, stop, kinds):
            if entry.payload is None:
                continue
            if row is None:
                yield entry, OpenedPayload(entry.payload)
                continue
            with self.reading() as connection:
                yield entry, self.open_payload(connection, entry.position, entry.payload)

    # Connections

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one state and cannot write."""
        return self.database.reading()

    @contextmanager
    def reading_signed(self) -> Iterator[Connection]:
        """A snapshot in which a checkpoint covers every entry, whoever else is appending.

        Between the commit of entries and their signature the writer's lock is held; so the
        snapshot is taken under it. Where the keys are missing the tail may be unsigned.
        """
        with ExitStack() as snapshot:
            with self.database.locked() as writer:
                with suppress(LodelineError, self.database.driver_error):
                    self._writer.sign_locked(writer)
                connection = snapshot.enter_context(self.database.reading())
            yield connection

    def writing(self, *, durable: bool = True) -> AbstractContextManager[Connection]:
        """The writer's lock and one transaction; undone whole if the block raises."""
        return self.database.writing(durable=durable)

    # Beside the log

    def stream_offsets(self, source: str | None = None) -> list[StreamOffset]:
        """How far each part of a stream was taken; of all streams without a source."""
        with self.reading() as connection:
            return read_offsets(connection, source)

    def put_blob(self, data: bytes) -> str:
        """Keep bytes durably under their digest, `sha256:<hex>`."""
        return self.blobs.put(data)

    def get_blob(self, digest: str) -> bytes:
        """Read a blob and check it; where rows of it were erased, the one in its place."""
        try:
            return self.blobs.get(digest)
        except UnknownBlobError:
            current = current_of(self.blob_successors(), digest)
            if current == digest:
                raise
            return self.blobs.get(current)

    def expired_blobs(self) -> dict[str, int]:
        """Give the blobs that retention removed, each with the entry that says so."""
        with self.reading() as connection:
            return read_expired(connection)

    def blob_successors(self) -> dict[str, str]:
        """Give which blob took the place of which, once rows of it were erased."""
        with self.reading() as connection:
            return read_successors(connection)

    def blob_path(self, digest: str) -> Path | None:
        """Give the file of a blob, where blobs are files, to read a part of it."""
        return self.blobs.find_path(digest)

    def remove_blob(self, digest: str) -> None:
        """Remove a blob that another has taken the place of."""
        self.blobs.remove(digest)

    def add_dead_letters(
        self, refused: Sequence[Refusal], *, connection: Connection | None = None
    ) -> list[DeadLetter]:
        """Keep refused inputs durably; the same bytes again count one more time."""
        now_us = self._clock_us()
        if connection is not None:
            return dead_letters.add_letters(connection, refused, self._letter_room, now_us=now_us)
        with self.writing() as writer:
            return dead_letters.add_letters(writer, refused, self._letter_room, now_us=now_us)

    def add_dead_letter(
        self, raw: bytes, error: InvalidEventError, *, source: str = ""
    ) -> DeadLetter:
        """Keep one refused input."""
        return self.add_dead_letters([Refusal(raw, error, source)])[0]

    def get_dead_letter(self, letter_id: int) -> DeadLetter:
        """The unresolved refusal of a number."""
        with self.reading() as connection:
            return dead_letters.get_letter(connection, letter_id)

    def iter_dead_letters(self, after: int = 0) -> Iterator[DeadLetter]:
        """Walk the unresolved refusals, oldest first, those with numbers beyond `after`."""
        with self.reading() as connection:
            yield from dead_letters.iter_letters(connection, after)

    def count_dead_letters(self) -> int:
        """Count the unresolved refusals."""
        with self.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM dead_letter WHERE resolved_at IS NULL"
            ).fetchone()
        return int(count)

    def dead_letter_bytes(self, letter_id: int) -> bytes | None:
        """The bytes of an unresolved refusal; `None` where they were too many to keep."""
        with self.reading() as connection:
            return dead_letters.read_letter_bytes(connection, letter_id)

    def resolve_dead_letter(self, letter_id: int) -> None:
        """Strike a refusal off the list, after its fixed form was accepted."""
        with self.writing() as connection:
            dead_letters.resolve_letter(connection, letter_id, now_us=self._clock_us())
        self._letter_room.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def observe_commits(self, observe: Callable[[float], object]) -> None:
        """Have the seconds that each durable commit takes told to a function."""
        self.database.observe_commit = observe

    def close(self) -> None:
        """Close connections. Idempotent."""
        self.database.close()


def _read_meta(connection: Connection) -> dict[str, str]:
    if not has_table(connection, "meta"):
        return {}
    return dict(connection.execute("SELECT name, value FROM meta"))


def _to_record(kind: str, payload: Mapping[str, object], roots: Sequence[str] = ()) -> NewRecord:
    canonical = canonical_bytes(dict(payload))
    return NewRecord(kind, canonical, [("", canonical)], tuple(roots))


def _check_size(connection: Connection, size: int) -> None:
    known = _size(connection)
    if not 0 <= size <= known:
        raise UnknownPositionError(size, known)


def _size(connection: Connection) -> int:
    (size,) = connection.execute("SELECT coalesce(max(position) + 1, 0) FROM entry").fetchone()
    return int(size)


def _last_checkpoint(connection: Connection) -> Checkpoint | None:
    row = connection.execute(
        "SELECT size, root_hash, log_time, note FROM checkpoint ORDER BY size DESC LIMIT 1"
    ).fetchone()
    return None if row is None else Checkpoint(*row)


def _read_tile(connection: Connection, level: int, number: int) -> bytes:
    row = connection.execute(
        "SELECT hashes FROM tile WHERE level = ? AND number = ?", (level, number)
    ).fetchone()
    if row is None:
        row = connection.execute(
            "SELECT hashes FROM tile_edge WHERE level = ?", (level,)
        ).fetchone()
    return b"" if row is None else bytes(row[0][: TILE_WIDTH * HASH_BYTES])

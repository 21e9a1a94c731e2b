"""Verification of a whole segment against itself: nothing in it is taken for granted but its keys.

1. The file is a sound SQLite database.
2. The keys are those of the log's first leaf, and agree with the key files beside the store; keys
   of a later `key` leaf count once a checkpoint by known keys covers it, and those that it retires
   count no more from there on. A `key` leaf of a restored log cites the checkpoint that it goes on
   from, and from there on its own origin and keys count.
3. Entries are gapless, their leaves well formed, and what stands beside a leaf repeats it.
4. Each payload and secret give the leaf's commitment, and its identifier under the segment key;
   what is gone, an `erasure` entry names. Keys of subjects have their logged hash, and open what
   is sealed; a key that was erased has not come back.
   where one is gone, an `erasure` entry names the position. A statement can be read as one.
5. The tree grown from the leaves gives every stored tile hash.
6. Each checkpoint is signed, and its root is that of the tree at its size, so every checkpoint is
   consistent with every other.
7. Identifiers, payloads and secrets belong to entries. Blobs have the digest in their name, those
   that entries refer to are there, and a batch of predictions has the root that its leaf carries.
8. Cosignatures are their witnesses', timestamps are over their checkpoints.
9. Each `map` leaf has the root that the entries before it give, and the tables of the map agree.

What this cannot see: a log cut back to an earlier checkpoint, together with its checkpoints, by
someone who may write the store. That takes a checkpoint kept elsewhere.
"""

from __future__ import annotations

import hmac
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from lodeline.errors import (
    KeyMissingError,
    MalformedLeafError,
    ProofError,
    StoreCorruptError,
)
from lodeline.limits import VERIFY_FAILURES_MAX
from lodeline.proof import (
    HASH_BYTES,
    TILE_WIDTH,
    Field,
    LeafRecord,
    Verifier,
    combine_commitments,
    commit_field,
    commit_fields,
    decode_leaf,
    decode_sealed,
    hash_leaf,
    hash_subject_key,
    open_value,
    record_id,
    verify_checkpoint,
)
from lodeline.store.blob_references import iter_blob_references
from lodeline.store.blob_successors import current_of, erased_rows
from lodeline.store.connections import Connection
from lodeline.store.endorsement_checks import iter_cosignature_faults, iter_timestamp_faults
from lodeline.store.expiring import logged_expiries
from lodeline.store.keys import KeyRing
from lodeline.store.map_verification import verify_maps
from lodeline.store.personal import Erasures, SealedField, read_sealed, with_sealed
from lodeline.store.sql_segment import SqlSegment
from lodeline.store.statements import read_statement
from lodeline.tlog import Checkpoint, GrowingTree
from lodeline.wire import canonical_bytes, commitment_fields, parse_with_tokens
from lodeline.wire.personal import restore

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# Rows read at a time; also parameters of a statement, of which old SQLite builds take 999.
_PAGE = 500


# Codes of evidence that is not there: it says neither yes nor no.
MISSING: Final = frozenset({"key.missing", "blob.missing"})


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is not as it was written.

    Attributes:
        code: what kind of thing, as documented in `docs/reference/log.md`.
        at: where, such as `entry 41`, `tile 0/3 hash 17` or `checkpoint 97`.
        expected: what the rest of the record says.
        found: what is there.
    """

    code: str
    at: str
    expected: str
    found: str


@dataclass(slots=True)
class VerifyReport:
    """The outcome of a verification.

    Attributes:
        entries: leaves read and hashed.
        proofs: roots compared with a checkpoint's.
        signatures: checkpoint signatures that verified.
        payloads: payloads that gave their leaf's commitment.
        erased: payloads and fields that a logged erasure has removed.
        failures: at most `VERIFY_FAILURES_MAX`, in the order found.
        failures_total: all of them.
        erasures: what is erased and by which entry, at most `VERIFY_FAILURES_MAX`.
    """

    entries: int = 0
    proofs: int = 0
    signatures: int = 0
    payloads: int = 0
    erased: int = 0
    failures: list[Failure] = field(default_factory=list)
    failures_total: int = 0
    erasures: list[dict[str, object]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything was as written."""
        return not self.failures_total

    @property
    def only_missing(self) -> bool:
        """Whether nothing contradicts the record, but evidence is missing."""
        return bool(self.failures) and all(one.code in MISSING for one in self.failures)

    def fail(self, code: str, at: str, expected: object, found: object) -> None:
        """Note a failure."""
        self.failures_total += 1
        if len(self.failures) < VERIFY_FAILURES_MAX:
            self.failures.append(Failure(code, at, _text(expected), _text(found)))

    def note_erased(self, at: str, pointer: str | None, erased_by: int) -> None:
        """Note a payload (no pointer) or a field that a logged erasure took away."""
        self.erased += 1
        if len(self.erasures) < VERIFY_FAILURES_MAX:
            self.erasures.append({"at": at, "pointer": pointer, "erased_by": erased_by})

    def to_json(self) -> dict[str, object]:
        """Give the answer of the contract; `erased` lists what is, if something is."""
        listed = {"erased": self.erasures} if self.erasures else {}
        return {
            "ok": self.ok,
            "trust": "self",
            "checked": {
                "entries": self.entries,
                "proofs": self.proofs,
                "signatures": self.signatures,
                "payloads": self.payloads,
                "erased": self.erased,
            },
            "failures": [
                {"code": one.code, "at": one.at, "expected": one.expected, "found": one.found}
                for one in self.failures
            ],
            **listed,
        }


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def verify_segment(
    segment: SqlSegment,
    *,
    block_root: Callable[[bytes], str] | None = None,
    timestamp_roots: Sequence[Certificate] = (),
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check a whole segment; damage is reported, not raised.

    Args:
        segment: opened.
        block_root: computes the root of a batch of predictions from its blob; without it only the
            digests of blobs are checked.
        timestamp_roots: certificates of timestamping authorities to trust; without them timestamps
            are only compared with their checkpoints.
        progress: called with entries checked and entries to check.

    Raises:
        StoreUnreachableError: it could not be read at all.
    """
    report = VerifyReport()
    try:
        _verify(
            segment, report, block_root, timestamp_roots, progress or (lambda _done, _total: None)
        )
    except StoreCorruptError as error:
        report.fail("store.damaged", str(segment.path), "a sound database", error.reason)
    return report


def _verify(
    segment: SqlSegment,
    report: VerifyReport,
    block_root: Callable[[bytes], str] | None,
    timestamp_roots: Sequence[Certificate],
    progress: Callable[[int, int], None],
) -> None:
    # 1.
    with segment.reading() as connection:
        for line in segment.database.iter_faults(connection):
            report.fail("store.damaged", str(segment.path), "ok", line)
    with segment.reading_signed() as connection:
        # 2.
        keys = _load_keys(segment, report)
        verifiers = _find_verifiers(connection, segment, keys, report)
        # 3. to 5.
        walk = _Walk(connection, segment, keys, verifiers, report)
        walk.run(progress)
        walk.verify_destroyed()
        # 7.
        _verify_belongings(connection, walk.size, report)
        # 8.
        _verify_endorsements(connection, timestamp_roots, report)
        # 9.
        verify_maps(connection, report)
    _verify_blobs(segment, walk, block_root, report)


def _verify_blobs(
    segment: SqlSegment,
    walk: _Walk,
    block_root: Callable[[bytes], str] | None,
    report: VerifyReport,
) -> None:
    stored = set(segment.blobs.list_digests())
    successors = segment.blob_successors()
    named: dict[str, set[int]] = {}
    for record in walk.erased_rows:
        for digest, rows in record.items():
            named.setdefault(digest, set()).update(rows)
    # Of a blob that was written again, what the log calls it.
    firsts: dict[str, str] = {}
    references = dict(walk.references)
    for digest, reference in walk.references.items():
        current = current_of(successors, digest)
        if current != digest and digest in named:
            if digest in walk.expired:
                walk.expired.add(current)
            references[current] = reference
            firsts[current] = digest
            del references[digest]
            if digest in stored:
                report.fail("blob.erased", reference[0], "no such blob", digest)
    for digest, (at, _) in references.items():
        if digest not in stored and digest not in walk.superseded | walk.expired:
            report.fail("blob.missing", at, digest, "no such blob")
    for digest in sorted(stored):
        try:
            blob = segment.blobs.get(digest)
        except StoreCorruptError:
            report.fail("blob", digest, digest, "other bytes")
            continue
        at, root = references.get(digest, ("", None))
        if root is None or block_root is None:
            continue
        try:
            found = block_root(blob)
            lost = erased_rows(blob) - named.get(firsts.get(digest, digest), set())
            if lost:
                report.fail("salt.missing", at, "salts of all rows", f"row {min(lost)}: no erasure")
        except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error):
            found = "no block that can be read"
        if found != root:
            report.fail("block.root", at, root, found)


@dataclass(frozen=True, slots=True)
class _KeyChange:
    added: list[Verifier]
    retired: frozenset[str] = frozenset()
    origin: str = ""
    restored_from: Mapping[str, Any] | None = None

    def apply(self, verifiers: list[Verifier]) -> list[Verifier]:
        kept = [one for one in verifiers if one.vkey not in self.retired]
        return kept + [one for one in self.added if one not in kept]


def _load_keys(segment: SqlSegment, report: VerifyReport) -> KeyRing | None:
    try:
        return segment.keys
    except KeyMissingError as error:
        report.fail("key.missing", error.path, "a key file", "none, or not a key")
        return None


def _find_verifiers(
    connection: Connection,
    segment: SqlSegment,
    keys: KeyRing | None,
    report: VerifyReport,
) -> dict[int, _KeyChange]:
    """Give the checkpoint keys that each `key` entry certifies and retires, by position."""
    verifiers: dict[int, _KeyChange] = {}
    certified: list[dict[str, object]] = []
    for position, payload in connection.execute(
        "SELECT position, payload FROM entry JOIN payload USING(position) "
        "WHERE kind = 'key' AND kind <> 'event' ORDER BY position"
    ):
        try:
            record = json.loads(payload)
            change = _KeyChange(
                [
                    Verifier.from_vkey(key["vkey"])
                    for key in record["keys"]
                    if key["use"] == "checkpoint"
                ],
                frozenset(record.get("retired", ())),
                str(record.get("origin", "")),
                record.get("restored_from"),
            )
            # Entries that certify keys of subjects may be many; no checkpoint looks at them.
            if change.added or change.retired:
                verifiers[position] = change
                certified.append(record)
        except (ValueError, KeyError, TypeError, ProofError) as error:
            report.fail("key.malformed", f"entry {position}", "a key record", error)
    expected = {} if keys is None else keys.to_record(segment.origin)
    if keys is not None and all({**record, **expected} != record for record in certified):
        report.fail("key.mismatch", "entry 0", "the keys in the key files", "keys of other files")
    return verifiers


@dataclass(slots=True)
class _Row:
    position: int
    log_time: int
    kind: str
    leaf: bytes
    payload: bytes | None
    secret: bytes | None
    sealed: int


class _Walk:
    """One pass over the entries, growing the tree beside them."""

    def __init__(
        self,
        connection: Connection,
        segment: SqlSegment,
        keys: KeyRing | None,
        verifiers: dict[int, _KeyChange],
        report: VerifyReport,
    ) -> None:
        self._connection = connection
        self._segment = segment
        self._segment_key = keys.segment_key if keys is not None else None
        first = verifiers.pop(0, _KeyChange([]))
        self._verifiers = first.added
        # Of a log that was restored it changes on the way.
        self._origin = first.origin or segment.origin
        self._later_verifiers = verifiers
        self._report = report
        self._tree = GrowingTree()
        self._checkpoints = iter_checkpoints(connection)
        self._next = next(self._checkpoints, None)
        self._log_time = 0
        self._tile_number = -1
        self._tile = b""
        self._events = 0
        self._erasures = Erasures()
        self._erasures.refresh(connection)
        self._partly_erased = self._erasures.fields.keys()
        self._certified = _certified_keys(connection)
        self._subject_keys: dict[str, bytes | None] = {}
        # Digest of a blob -> the entry that refers to it, and the root that it gives.
        self.references: dict[str, tuple[str, str | None]] = {}
        # Digests of blobs that a block of the log has taken the place of.
        self.superseded: set[str] = set()
        # Digests of blobs that a logged expiry names.
        self.expired = set(logged_expiries(connection))
        # Of each erasure, the blobs that lost rows.
        self.erased_rows = list(self._erasures.rows)
        (size,) = connection.execute("SELECT count(*) FROM entry").fetchone()
        self.size: int = size

    def run(self, progress: Callable[[int, int], None]) -> None:
        report = self._report
        for rows in self._iter_pages():
            identifiers = self._identifiers_of(rows)
            for row in rows:
                self._verify_row(row, identifiers)
            report.entries = self._tree.size
            progress(report.entries, self.size)
        self._verify_edges()
        while self._next is not None:
            report.fail(
                "log.truncated",
                f"checkpoint {self._next.size}",
                f"{self._next.size} entries",
                f"{self._tree.size} entries",
            )
            self._next = next(self._checkpoints, None)
        self._verify_signed_to_the_end()
        (indexed,) = self._connection.execute("SELECT count(*) FROM event_id").fetchone()
        if indexed != self._events:
            report.fail("identifier", "index of identifiers", self._events, indexed)

    def _iter_pages(self) -> Iterator[list[_Row]]:
        after = -1
        while True:
            rows = self._connection.execute(
                "SELECT entry.position, log_time, kind, leaf, payload, secret, "
                "EXISTS (SELECT 1 FROM sealed_value s WHERE s.position = entry.position) "
                "FROM entry LEFT JOIN payload USING(position) "
                "LEFT JOIN record_secret USING(position) "
                "WHERE entry.position > ? ORDER BY entry.position LIMIT ?",
                (after, _PAGE),
            ).fetchall()
            if not rows:
                return
            yield [_Row(*row) for row in rows]
            after = rows[-1][0]

    def _identifiers_of(self, rows: Sequence[_Row]) -> dict[bytes, int]:
        wanted = []
        for row in rows:
            try:
                wanted.append(decode_leaf(_bytes(row.leaf)).identifier)
            except MalformedLeafError:
                continue
        marks = ",".join("?" * len(wanted))
        return dict(
            self._connection.execute(
                f"SELECT identifier, position FROM event_id WHERE identifier IN ({marks})", wanted
            )
        )

    def _verify_row(self, row: _Row, identifiers: Mapping[bytes, int]) -> None:
        at = f"entry {row.position}"
        if row.position != self._tree.size:
            self._report.fail("log.gap", at, f"entry {self._tree.size}", at)
        # 2.
        change = self._later_verifiers.get(row.position)
        if change is not None and change.restored_from is not None:
            self._go_on_from(change, change.restored_from, at)
        # 5.
        computed = hash_leaf(_bytes(row.leaf))
        stored = self._stored_hash(self._tree.size)
        if stored is None or stored == computed:
            self._verify_leaf(row, identifiers, at, self._report)
        else:
            computed = self._decide(row, identifiers, at, computed=computed, stored=stored)
        self._grow(computed)
        # 6.
        while self._next is not None and self._next.size <= self._tree.size:
            self._verify_checkpoint(self._next, row.log_time)
            self._next = next(self._checkpoints, None)

    def _go_on_from(self, change: _KeyChange, cited: Mapping[str, Any], at: str) -> None:
        """Check the checkpoint that a restored log cites; from here on its own keys count."""
        try:
            head = verify_checkpoint(cited["checkpoint"], self._verifiers, origin=self._origin)
        except (ProofError, AttributeError, TypeError, LookupError) as error:
            self._report.fail("restored", at, "a checkpoint of the log that was backed up", error)
        else:
            here = (self._tree.size, self._tree.root().hex())
            if (head.size, head.root_hash.hex()) != here:
                found = f"{head.size} {head.root_hash.hex()}"
                self._report.fail("restored", at, f"{here[0]} {here[1]}", found)
            self._report.signatures += 1
        self._verifiers, self._origin = change.added, change.origin

    def _decide(
        self,
        row: _Row,
        identifiers: Mapping[bytes, int],
        at: str,
        *,
        computed: bytes,
        stored: bytes,
    ) -> bytes:
        """Name the one of leaf and tile that was changed; give the hash to go on with."""
        aside = VerifyReport()
        if self._verify_leaf(row, identifiers, at, aside):
            self._report.payloads += 1
            number, offset = divmod(self._tree.size, TILE_WIDTH)
            self._report.fail("tile", f"tile 0/{number} hash {offset}", computed, stored)
            return computed
        # What else is wrong at this entry follows from its leaf. The tree goes on from what was
        # signed, so that one changed leaf is one fault.
        self._report.fail("leaf", at, stored, computed)
        return stored

    def _verify_leaf(
        self, row: _Row, identifiers: Mapping[bytes, int], at: str, report: VerifyReport
    ) -> bool:
        # 3.
        self._events += row.kind == "event"
        try:
            leaf = decode_leaf(_bytes(row.leaf))
        except MalformedLeafError as error:
            report.fail("leaf.malformed", at, "a leaf record", error)
            return False
        beside = (row.kind, row.log_time, self._segment.segment_id)
        within = (leaf.kind, leaf.log_time_us, leaf.segment)
        sound = beside == within
        if not sound:
            report.fail("entry", at, within, beside)
        if leaf.log_time_us < self._log_time:
            report.fail("log_time", at, f"at least {self._log_time}", leaf.log_time_us)
        self._log_time = max(self._log_time, leaf.log_time_us)
        if leaf.kind == "event" and identifiers.get(leaf.identifier) != row.position:
            report.fail("identifier", at, row.position, identifiers.get(leaf.identifier))
            sound = False
        # 4.
        return self._verify_payload(row, leaf, at, report) and sound

    def _verify_payload(self, row: _Row, leaf: LeafRecord, at: str, report: VerifyReport) -> bool:
        if row.payload is None or (row.secret is None and not self._is_named(row)):
            missing = "payload" if row.payload is None else "secret"
            erased_by = self._erasures.entries.get(row.position)
            if erased_by is not None and self._is_named(row):
                report.note_erased(at, None, erased_by)
            else:
                report.fail(f"{missing}.missing", at, f"a {missing}", "none, and no erasure")
            return False
        payload = _bytes(row.payload)
        sealed = read_sealed(self._connection, row.position) if row.sealed else []
        fields = _fields_of(leaf.kind, payload, sealed)
        if row.secret is None:
            found = self._commit_left(row, fields, at, report)
        else:
            found = None if fields is None else commit_fields(_bytes(row.secret), fields)
        same = self._verify_identifier(row, payload, sealed, leaf, report=report)
        if found == leaf.commitment:
            report.payloads += 1
            self._note_references(payload, leaf, at, report)
            if leaf.kind == "statement":
                _verify_statement(payload, at, report)
            if same is False:
                report.fail("identifier", at, leaf.identifier, "another under the segment key")
            return same is not False
        # The identifier does not depend on the secret, so it tells which of the two was changed.
        code = "secret" if same else "payload"
        report.fail(code, at, leaf.commitment, "not canonical JSON" if found is None else found)
        return False

    def _verify_identifier(
        self,
        row: _Row,
        payload: bytes,
        sealed: Sequence[SealedField],
        leaf: LeafRecord,
        *,
        report: VerifyReport,
    ) -> bool | None:
        """Whether the identifier is the payload's; `None` where that can't be told any more."""
        if self._segment_key is None:
            return None
        if sealed:
            at = f"entry {row.position}"
            opened = self._open(payload, sealed, leaf, at, report=report)
            if opened is None:
                return None
            payload = opened
        if row.secret is None:
            return None
        return hmac.compare_digest(record_id(self._segment_key, payload), leaf.identifier)

    def _open(
        self,
        payload: bytes,
        sealed: Sequence[SealedField],
        leaf: LeafRecord,
        at: str,
        *,
        report: VerifyReport,
    ) -> bytes | None:
        """Open every sealed value that should open; the whole event if all of them do."""
        values: dict[str, object] = {}
        for one in sealed:
            erased_by = self._erasures.keys.get(one.key_id or "")
            if one.key_id is None:
                erased_by = self._never_kept(one)
            if erased_by is not None:
                report.note_erased(at, one.pointer, erased_by)
                continue
            try:
                key = self._subject_key(one.key_id or "", report)
                if key is None:
                    continue
                value = open_value(
                    key, decode_sealed(one.value), record=leaf.identifier, pointer=one.pointer
                )
                values[one.pointer] = parse_with_tokens(value)
            except (ProofError, ValueError) as error:
                report.fail("sealed", f"{at} {one.pointer}", "a value that its key opens", error)
        if len(values) < len(sealed):
            return None
        try:
            return canonical_bytes(restore(parse_with_tokens(payload), values), finished=True)
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def _never_kept(self, one: SealedField) -> int | None:
        """Give the erasure that a value came too late for, if the log holds it."""
        try:
            position = int(json.loads(one.value)["erased_by"])
        except (ValueError, KeyError, TypeError):
            return None
        known = {position for position, _ in self._erasures.subjects.values()}
        return position if position in known or position in self._erasures.keys.values() else None

    def _subject_key(self, key_id: str, report: VerifyReport) -> bytes | None:
        """Give a key whose hash is the logged one."""
        if key_id in self._subject_keys:
            return self._subject_keys[key_id]
        path = str(self._segment.personal.files.path(key_id))
        logged = self._certified.get(key_id)
        try:
            key = self._segment.personal.files.find(key_id)
        except KeyMissingError:
            key = b""
        if logged is None:
            report.fail("key.uncertified", path, "a `key` entry with its hash", "none")
            key = None
        elif key is None:
            report.fail("key.missing", path, "a key file", "none, and no erasure")
        elif hash_subject_key(key) != logged:
            report.fail("key.mismatch", path, logged, hash_subject_key(key))
            key = None
        self._subject_keys[key_id] = key
        return key

    def _commit_left(
        self, row: _Row, fields: Sequence[Field] | None, at: str, report: VerifyReport
    ) -> bytes | None:
        """Compute the commitment of an entry that was erased in part."""
        kept = self._connection.execute(
            "SELECT pointer, salt, commitment FROM field_salt WHERE position = ?", (row.position,)
        ).fetchall()
        values = dict(fields or ())
        commitments = []
        for pointer, salt, commitment in sorted(kept):
            if salt is None:
                erased_by = self._erasures.fields.get(row.position, {}).get(pointer)
                if erased_by is None:
                    report.fail("salt.missing", f"{at} {pointer}", "a salt", "none, and no erasure")
                else:
                    report.note_erased(at, pointer, erased_by)
                commitments.append(_bytes(commitment))
            elif pointer in values:
                commitments.append(commit_field(_bytes(salt), pointer, values[pointer]))
        return combine_commitments(commitments) if fields is not None else None

    def verify_destroyed(self) -> None:
        """Check that no destroyed key has come back, say with a backup."""
        files = self._segment.personal.files
        for key_id in files.list_ids():
            erased_by = self._erasures.keys.get(key_id)
            if erased_by is not None:
                found = f"a file, though entry {erased_by} erased the key"
                self._report.fail("key.erased", str(files.path(key_id)), "no such file", found)

    def _is_named(self, row: _Row) -> bool:
        """Whether the log itself names the entry; a row of the table beside it proves nothing."""
        return (
            row.position in self._erasures.entries
            if row.payload is None
            else row.position in self._partly_erased
        )

    def _note_references(
        self, payload: bytes, leaf: LeafRecord, at: str, report: VerifyReport
    ) -> None:
        roots = []
        for reference in iter_blob_references(payload):
            self.references[reference.digest] = (at, reference.root)
            if reference.source is not None:
                self.superseded.add(reference.source)
            if reference.root is not None:
                roots.append(reference.root)
        if roots and leaf.roots != tuple(roots):
            report.fail("block.root", at, " ".join(roots), " ".join(leaf.roots) or "no root")

    def _stored_hash(self, position: int) -> bytes | None:
        number, offset = divmod(position, TILE_WIDTH)
        if number != self._tile_number:
            self._tile_number = number
            self._tile = _read_tile(self._connection, 0, number)
        value = self._tile[offset * HASH_BYTES : (offset + 1) * HASH_BYTES]
        return value if len(value) == HASH_BYTES else None

    def _grow(self, leaf_hash: bytes) -> None:
        for level, number, hashes in self._tree.extend([leaf_hash]):
            stored = self._connection.execute(
                "SELECT hashes FROM tile WHERE level = ? AND number = ?", (level, number)
            ).fetchone()
            self._compare_tile(level, number, hashes, b"" if stored is None else _bytes(stored[0]))

    def _compare_tile(self, level: int, number: int, computed: bytes, stored: bytes) -> None:
        if len(computed) != len(stored):
            self._report.fail(
                "tile", f"tile {level}/{number}", f"{len(computed)} bytes", f"{len(stored)} bytes"
            )
            return
        for offset in range(0, len(computed), HASH_BYTES):
            expected, found = (part[offset : offset + HASH_BYTES] for part in (computed, stored))
            # Level 0 is compared leaf by leaf on the way.
            if expected != found and level:
                self._report.fail(
                    "tile", f"tile {level}/{number} hash {offset // HASH_BYTES}", expected, found
                )

    def _verify_edges(self) -> None:
        stored = dict(self._connection.execute("SELECT level, hashes FROM tile_edge"))
        for level, edge in enumerate(self._tree.edges):
            number = self._tree.size >> (8 * (level + 1))
            self._compare_tile(level, number, bytes(edge), _bytes(stored.get(level, b"")))

    def _verify_checkpoint(self, checkpoint: Checkpoint, log_time: int) -> None:
        report = self._report
        at = f"checkpoint {checkpoint.size}"
        try:
            head = verify_checkpoint(checkpoint.note, self._verifiers, origin=self._origin)
        except (ProofError, AttributeError, TypeError) as error:
            report.fail("signature", at, "a signature by the log's key", error)
            return
        report.signatures += 1
        if (head.size, head.root_hash) != (checkpoint.size, checkpoint.root_hash):
            report.fail(
                "checkpoint",
                at,
                f"{head.size} {head.root_hash.hex()}",
                f"{checkpoint.size} {_text(checkpoint.root_hash)}",
            )
        if checkpoint.log_time_us != log_time:
            report.fail("checkpoint", at, f"log time {log_time}", checkpoint.log_time_us)
        report.proofs += 1
        if head.size == self._tree.size and head.root_hash != self._tree.root():
            report.fail("root", at, head.root_hash, self._tree.root())
            return
        for position in [one for one in self._later_verifiers if one < head.size]:
            self._verifiers = self._later_verifiers.pop(position).apply(self._verifiers)

    def _verify_signed_to_the_end(self) -> None:
        (signed,) = self._connection.execute("SELECT max(size) FROM checkpoint").fetchone()
        if (signed or 0) < self._tree.size:
            self._report.fail(
                "log.unsigned", f"entry {signed or 0}", f"signed to {self._tree.size}", signed
            )


def _verify_statement(payload: bytes, at: str, report: VerifyReport) -> None:
    # Whose signature it must bear is for its reader to say; here, that there is a claim to read.
    try:
        read_statement(payload)
    except ProofError as error:
        report.fail("statement", at, "a statement in an envelope", error)


def _verify_endorsements(
    connection: Connection, roots: Sequence[Certificate], report: VerifyReport
) -> None:
    def count() -> None:
        report.signatures += 1

    for fault in iter_cosignature_faults(connection, count=count):
        report.fail(*fault)
    for fault in iter_timestamp_faults(connection, roots, count=count):
        report.fail(*fault)


def _verify_belongings(connection: Connection, size: int, report: VerifyReport) -> None:
    for table in ("payload", "record_secret", "sealed_value", "field_salt"):
        for (position,) in connection.execute(
            f"SELECT position FROM {table} WHERE position NOT IN (SELECT position FROM entry)"
        ):
            report.fail("stray", f"{table} {position}", f"below {size}", position)


def iter_checkpoints(connection: Connection) -> Iterator[Checkpoint]:
    """Walk the checkpoints of one snapshot, smallest first."""
    for row in connection.execute(
        "SELECT size, root_hash, log_time, note FROM checkpoint ORDER BY size"
    ):
        yield Checkpoint(*row)


def _read_tile(connection: Connection, level: int, number: int) -> bytes:
    row = connection.execute(
        "SELECT hashes FROM tile WHERE level = ? AND number = ?", (level, number)
    ).fetchone() or connection.execute(
        "SELECT hashes FROM tile_edge WHERE level = ?", (level,)
    ).fetchone()  # fmt: skip
    return b"" if row is None else _bytes(row[0])


def _bytes(value: object) -> bytes:
    # A flipped byte in a row's header changes a value's type; it is then other bytes, not an error.
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")


def _fields_of(kind: str, payload: bytes, sealed: Sequence[SealedField]) -> Sequence[Field] | None:
    if kind != "event":
        return [("", payload)]
    try:
        value = parse_with_tokens(payload)
        if not isinstance(value, dict) or canonical_bytes(value, finished=True) != payload:
            return None
        fields = commitment_fields(value, finished=True)
    except (ValueError, RecursionError):
        return None
    return with_sealed(fields, sealed) if sealed else fields


def _certified_keys(connection: Connection) -> dict[str, str]:
    """Give the hashes of subjects' keys that the log itself certifies."""
    certified: dict[str, str] = {}
    for (payload,) in connection.execute(
        "SELECT payload FROM entry JOIN payload USING(position) "
        "WHERE kind = 'key' AND kind <> 'event'"
    ):
        try:
            for key in json.loads(payload)["keys"]:
                if key["use"] == "subject":
                    certified[key["id"]] = key["hash"]
        except (ValueError, KeyError, TypeError):
            continue  # Reported where the log's own keys are read.
    return certified

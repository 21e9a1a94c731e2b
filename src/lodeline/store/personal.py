"""Personal values on their way in and out: sealed before anything is hashed, opened when read.

On the way in, under the writer's lock:

1. What the rules, labels and schemas of the segment name is taken out of the event; null stays.
2. A subject seen for the first time gets a key, whose hash goes into the log before it is used.
3. Each value is sealed for its record, place and key. One that predates its subject's erasure is
   not kept at all.

The payload that is kept, committed to and folded has null in those places, so no view and no
index ever holds a personal value. `open_payload` is the one door back.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from lodeline.errors import KeyMissingError, SealError
from lodeline.limits import SUBJECT_KEYS_CACHED_MAX
from lodeline.model import parse_time
from lodeline.proof import (
    INNER_SALT_BYTES,
    NONCE_BYTES,
    Field,
    decode_leaf,
    decode_sealed,
    encode_erased,
    hash_subject_key,
    open_value,
    seal_value,
)
from lodeline.store.connections import Connection
from lodeline.store.keys import KeyRing
from lodeline.store.subjects import SubjectKeys, subject_digest, subject_key_id
from lodeline.wire import canonical_bytes, commitment_fields, parse_with_tokens
from lodeline.wire.personal import (
    LABEL_MARK,
    PersonalRules,
    PersonalValue,
    facet_of,
    redact,
    restore,
    value_at,
)

_DRAWN_BYTES: Final = NONCE_BYTES + INNER_SALT_BYTES


class PersonalPart(msgspec.Struct, frozen=True, gc=False):
    """The personal part of an event that is about to be appended.

    Attributes:
        payload: the event in canonical form with null for each personal value.
        fields: what is committed to of that payload.
        values: what was taken out.
        time_us: the event's time.
    """

    payload: bytes
    fields: Sequence[Field]
    values: Sequence[PersonalValue]
    time_us: int


class SealedField(NamedTuple):
    """One sealed value of an entry.

    Attributes:
        pointer: its place in the event.
        value: the bytes committed to.
        key_id: of the subject's key; `None` for a value that was never kept.
    """

    pointer: str
    value: bytes
    key_id: str | None


class OpenedPayload(NamedTuple):
    """A payload with what its keys open.

    Attributes:
        payload: canonical; null where a value could not be opened.
        erased: pointers of values that are erased, each with the `erasure` entry.
        missing: pointers of values whose key is not here, though nothing was erased.
    """

    payload: bytes
    erased: tuple[tuple[str, int], ...] = ()
    missing: tuple[str, ...] = ()


def take_out(
    canonical: bytes, fields: Sequence[Field], rules: PersonalRules
) -> PersonalPart | None:
    """Take the personal values out of an event; `None` where it has none.

    Args:
        canonical: the event in canonical form.
        fields: what would be committed to if nothing in it were personal.
        rules: in force.
    """
    event = parse_with_tokens(canonical)
    values = rules.find(event, labelled=LABEL_MARK in canonical)
    if not values:
        return None
    bare = redact(event, [one.pointer for one in values])
    payload = canonical_bytes(bare, finished=True)
    time_us = parse_time(event["eventTime"])[0]
    return PersonalPart(payload, _fields_left(bare, fields, values), values, time_us)


def _fields_left(
    bare: dict[str, Any], fields: Sequence[Field], values: Sequence[PersonalValue]
) -> Sequence[Field]:
    """Give the fields of a payload, writing only those anew that lost a value."""
    known = dict(fields)
    for facet in {facet_of(one.pointer) for one in values}:
        if facet not in known:
            return commitment_fields(bare, finished=True)
        known[facet] = canonical_bytes(value_at(bare, facet), finished=True)
    return list(known.items())


def with_sealed(fields: Sequence[Field], sealed: Sequence[SealedField]) -> list[Field]:
    """Give all committed fields of an event: those of its payload and its sealed values."""
    # A facet that is sealed whole is one field, not two.
    merged = dict(fields)
    merged.update((one.pointer, one.value) for one in sealed)
    # Code points order as UTF-8 bytes do.
    return sorted(merged.items())


class ErasureRecord(NamedTuple):
    """What one `erasure` entry says.

    Attributes:
        entries: positions whose payload is gone.
        fields: position -> pointers of fields that are gone.
        keys: identifiers of keys that are destroyed.
        subjects: digests of subjects; values dated before this entry don't come back.
        rows: digest of a blob, as it was first written -> its rows that are gone.
    """

    entries: frozenset[int] = frozenset()
    fields: Mapping[int, frozenset[str]] = MappingProxyType({})
    keys: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    rows: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def read_erasure(payload: bytes) -> ErasureRecord:
    """Read the payload of an `erasure` entry; a damaged one says nothing, and will not verify."""
    try:
        record = json.loads(payload)
        return ErasureRecord(
            frozenset(int(position) for position in record["entries"]),
            {
                int(one["entry"]): frozenset(str(pointer) for pointer in one["pointers"])
                for one in record.get("fields", ())
            },
            frozenset(str(key_id) for key_id in record.get("keys", ())),
            frozenset(str(digest) for digest in record.get("subjects", ())),
            {
                str(one["blob"]): tuple(int(row) for row in one["rows"])
                for one in record.get("rows", ())
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ErasureRecord()


class Erasures:
    """What the log's `erasure` entries say, read as the log grows.

    Attributes:
        keys: key identifier -> the entry that erased it.
        subjects: subject digest -> position and log time of its latest erasure.
        generations: subject digest -> positions of all its erasures.
        fields: position -> pointer of an erased field -> the entry that erased it.
        entries: position -> the entry that erased its payload.
        rows: of each erasure that took rows out of blobs, digest -> row numbers.
    """

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.subjects: dict[str, tuple[int, int]] = {}
        self.generations: dict[str, list[int]] = {}
        self.fields: dict[int, dict[str, int]] = {}
        self.entries: dict[int, int] = {}
        self.rows: list[Mapping[str, tuple[int, ...]]] = []
        self._seen = -1

    def refresh(self, connection: Connection) -> bool:
        """Take in what was logged since; whether there was anything."""
        rows = connection.execute(
            "SELECT entry.position, log_time, payload FROM entry JOIN payload USING(position) "
            "WHERE kind = 'erasure' AND kind <> 'event' AND entry.position > ? "
            "ORDER BY entry.position",
            (self._seen,),
        ).fetchall()
        for position, log_time_us, payload in rows:
            self._take(position, log_time_us, read_erasure(payload))
            self._seen = position
        return bool(rows)

    def _take(self, position: int, log_time_us: int, record: ErasureRecord) -> None:
        for key_id in record.keys:
            self.keys.setdefault(key_id, position)
        for digest in record.subjects:
            self.subjects[digest] = (position, log_time_us)
            self.generations.setdefault(digest, []).append(position)
        for entry, pointers in record.fields.items():
            known = self.fields.setdefault(entry, {})
            for pointer in pointers:
                known.setdefault(pointer, position)
        for entry in record.entries:
            self.entries.setdefault(entry, position)
        if record.rows:
            self.rows.append(record.rows)

    def erased_by(self, position: int, sealed: SealedField) -> int | None:
        """Give the entry that erased a sealed value; as far as was read."""
        if sealed.key_id is None:
            return int(json.loads(sealed.value)["erased_by"])
        by = self.keys.get(sealed.key_id)
        return by if by is not None else self.fields.get(position, {}).get(sealed.pointer)


class SealingPlan:
    """How the personal values of one commit are sealed.

    Attributes:
        logged: identifiers and hashes of keys that this commit is the first to use.
    """

    def __init__(self, randomness: Callable[[int], bytes]) -> None:
        self._randomness = randomness
        self.logged: dict[str, str] = {}
        self.keys: dict[str, tuple[str, bytes]] = {}
        self.erasures: dict[str, tuple[int, int]] = {}

    def seal(self, part: PersonalPart, record: bytes) -> list[SealedField]:
        """Seal the values of an event.

        Args:
            part: its personal part.
            record: its identifier.
        """
        drawn = self._randomness(_DRAWN_BYTES * len(part.values))
        sealed = []
        for number, one in enumerate(part.values):
            erased = self.erasures.get(one.subject)
            if erased is not None and part.time_us <= erased[1]:
                sealed.append(SealedField(one.pointer, encode_erased(erased[0]), None))
                continue
            key_id, key = self.keys[one.subject]
            value = seal_value(
                key,
                key_id=key_id,
                record=record,
                pointer=one.pointer,
                value=one.value,
                drawn=drawn[number * _DRAWN_BYTES : (number + 1) * _DRAWN_BYTES],
            )
            sealed.append(SealedField(one.pointer, value.encode(), key_id))
        return sealed


class PersonalFields:
    """Seals and opens the personal values of one segment."""

    def __init__(
        self,
        folder: Path,
        *,
        ring: Callable[[], KeyRing],
        randomness: Callable[[int], bytes],
    ) -> None:
        self.files = SubjectKeys(folder, randomness)
        self.erasures = Erasures()
        self._ring = ring
        self._randomness = randomness
        self._lock = threading.Lock()
        # Keys read from their files and found to have the logged hash.
        self._known: dict[str, bytes] = {}

    # Sealing

    def plan(self, connection: Connection, parts: Sequence[PersonalPart]) -> SealingPlan:
        """Find or make the keys of a commit, under the writer's lock.

        Raises:
            KeyMissingError: a key that the log knows is not there.
        """
        plan = SealingPlan(self._randomness)
        segment_key = self._ring().segment_key
        new: dict[str, str] = {}
        with self._lock:
            self._refresh(connection)
            for part in parts:
                for subject in {one.subject for one in part.values}:
                    digest = subject_digest(segment_key, subject)
                    erased = self.erasures.subjects.get(digest, (0, -1))
                    if erased[0]:
                        plan.erasures[subject] = erased
                    if part.time_us <= erased[1] or subject in plan.keys:
                        continue
                    key_id, key = self._current_key(connection, digest, erased[0])
                    if key is None:
                        new[subject] = key_id
                    else:
                        plan.keys[subject] = (key_id, key)
            if new:
                made = self.files.create(list(new.values()))
                for subject, key_id in new.items():
                    plan.keys[subject] = (key_id, made[key_id])
                    plan.logged[key_id] = hash_subject_key(made[key_id])
        return plan

    def _refresh(self, connection: Connection) -> None:
        if self.erasures.refresh(connection):
            for key_id in self._known.keys() & self.erasures.keys.keys():
                del self._known[key_id]

    def _current_key(
        self, connection: Connection, digest: str, erased_before: int
    ) -> tuple[str, bytes | None]:
        """Give a subject's key, or the identifier of one to be made."""
        for key_id, position in self.iter_key_ids(connection, digest, erased_before):
            key = None if position is None else self._find_key(connection, key_id)
            if position is None or key is not None:
                return key_id, key
        raise AssertionError("the last identifier is one that the log does not know")

    def iter_key_ids(
        self, connection: Connection, digest: str, erased_before: int
    ) -> Iterator[tuple[str, int | None]]:
        """Walk the identifiers of a subject's keys since an erasure.

        More than one where a key was lost: an older database beside newer keys must go on.

        Yields:
            The identifier, and the `key` entry that certifies it; last, one not certified yet.
        """
        segment_key = self._ring().segment_key
        position: int | None = erased_before
        while position is not None:
            key_id = subject_key_id(segment_key, digest, position)
            row = connection.execute(
                "SELECT position FROM subject_key WHERE key_id = ?", (key_id,)
            ).fetchone()
            position = None if row is None else row[0]
            yield key_id, position

    def _find_key(self, connection: Connection, key_id: str) -> bytes | None:
        """Give a key that the log certifies; `None` where it is not there.

        Raises:
            KeyMissingError: another key lies in its place.
        """
        known = self._known.get(key_id)
        if known is not None:
            return known
        key = self.files.find(key_id)
        if key is None:
            return None
        row = connection.execute(
            "SELECT hash FROM subject_key WHERE key_id = ?", (key_id,)
        ).fetchone()
        if row is None or hash_subject_key(key) != row[0]:
            raise KeyMissingError(str(self.files.path(key_id)))
        if len(self._known) >= SUBJECT_KEYS_CACHED_MAX:
            self._known.clear()
        self._known[key_id] = key
        return key

    def find_erasures(self, connection: Connection) -> Erasures:
        """What the log says is erased, as of a snapshot or later."""
        with self._lock:
            self._refresh(connection)
        return self.erasures

    # Opening

    def open_payload(self, connection: Connection, position: int, payload: bytes) -> OpenedPayload:
        """Put back what the keys open; the one door from the kept form to the values.

        Args:
            connection: the snapshot that the payload was read in.
            position: of the entry.
            payload: as kept.
        """
        sealed = read_sealed(connection, position)
        with self._lock:
            self._refresh(connection)
            erased = list(self.erasures.fields.get(position, {}).items())
        if not sealed:
            return OpenedPayload(payload, tuple(erased))
        (leaf,) = connection.execute(
            "SELECT leaf FROM entry WHERE position = ?", (position,)
        ).fetchone()
        record = decode_leaf(leaf).identifier
        values: dict[str, Any] = {}
        missing: list[str] = []
        with self._lock:
            for one in sealed:
                by = self.erasures.erased_by(position, one)
                if by is not None:
                    erased.append((one.pointer, by))
                    continue
                value = self._open(connection, record, one)
                if value is None:
                    missing.append(one.pointer)
                else:
                    values[one.pointer] = msgspec.Raw(value)
        if values:
            event = restore(parse_with_tokens(payload), values)
            payload = canonical_bytes(event, finished=True)
        return OpenedPayload(payload, tuple(erased), tuple(missing))

    def _open(self, connection: Connection, record: bytes, one: SealedField) -> bytes | None:
        try:
            key = self._find_key(connection, one.key_id or "")
            if key is None:
                return None
            return open_value(key, decode_sealed(one.value), record=record, pointer=one.pointer)
        except (KeyMissingError, SealError):
            return None


def read_sealed(connection: Connection, position: int) -> list[SealedField]:
    """Read the sealed values of an entry, in pointer order."""
    rows = connection.execute(
        "SELECT pointer, value, key_id FROM sealed_value WHERE position = ? ORDER BY pointer",
        (position,),
    ).fetchall()
    # A flipped byte in a row's header changes a value's type; it is other bytes then, no error.
    return [
        SealedField(
            str(pointer),
            value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace"),
            key_id,
        )
        for pointer, value, key_id in rows
    ]

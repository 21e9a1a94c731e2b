"""What a store holds of one data subject, and how it goes.

Declared values are found by the keys they are sealed under. What was never declared lies in the
clear: it is found by searching every payload for the subject's own text. A record of a prediction
is the subject's where one of its values is the subject, and so is a row whose declared key holds
the subject: those rows are erased with the keys, and the blocks they lie in written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import msgspec

from lodeline.errors import StoreCorruptError, UnknownBlobError
from lodeline.limits import SUBJECT_PLACES_MAX
from lodeline.store.connections import Connection
from lodeline.store.erasing import apply_erasures, erase
from lodeline.store.prediction_blobs import read_blob
from lodeline.store.prediction_tables import has_prediction_tables
from lodeline.store.row_tables import has_row_tables
from lodeline.store.sql_segment import SqlSegment
from lodeline.store.subjects import subject_digest
from lodeline.wire import canonical_bytes, commitment_fields, parse_with_tokens
from lodeline.wire.personal import value_at


@dataclass(slots=True)
class SubjectRecord:
    """What is known of one subject.

    Attributes:
        subject: as asked for.
        digest: names the subject in the log.
        keys: identifier -> the entry that erased the key, if one did.
        fields: (position, pointer) of each sealed value -> the entry that erased it, if one did.
        undeclared: position -> pointers of committed fields that hold the subject's text.
        dead_letters: numbers of refused inputs that hold it.
        rows: digest of a blob, as the log names it -> numbers of the subject's rows in it.
        mentions: the same, of rows that only mention the subject's text within a longer one.
        gaps: what was not searched, or not listed.
    """

    subject: str
    digest: str
    keys: dict[str, int | None] = field(default_factory=dict)
    fields: dict[tuple[int, str], int | None] = field(default_factory=dict)
    undeclared: dict[int, list[str]] = field(default_factory=dict)
    dead_letters: list[int] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)
    mentions: dict[str, list[int]] = field(default_factory=dict)
    gaps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Whether anything is, or was, kept of the subject."""
        places = (self.keys, self.undeclared, self.dead_letters, self.rows, self.mentions)
        return any(places)

    def to_json(self) -> dict[str, object]:
        """Give the documented keys."""
        return {
            "subject": self.subject,
            "known": self.known,
            "keys": [{"id": key_id, "erased_by": by} for key_id, by in self.keys.items()],
            "fields": [
                {"entry": position, "pointer": pointer, "erased_by": by}
                for (position, pointer), by in self.fields.items()
            ],
            "undeclared": [
                {"entry": position, "pointers": pointers}
                for position, pointers in self.undeclared.items()
            ],
            "dead_letters": self.dead_letters,
            "rows": [{"blob": blob, "rows": rows} for blob, rows in self.rows.items()],
            "mentions": [{"blob": blob, "rows": rows} for blob, rows in self.mentions.items()],
            "complete": not self.gaps,
            "gaps": [
                {"at": self.subject, "reason": reason, "detail": detail}
                for reason, detail in self.gaps
            ],
        }


def find_subject(segment: SqlSegment, subject: str) -> SubjectRecord:
    """Find what the store holds of a subject.

    Args:
        segment: the store.
        subject: as the declared `subject` pointers give it.
    """
    record = SubjectRecord(subject, subject_digest(segment.keys.segment_key, subject))
    with segment.reading() as connection:
        erasures = segment.find_erasures(connection)
        for erased_before in (0, *erasures.generations.get(record.digest, ())):
            for key_id, certified in segment.personal.iter_key_ids(
                connection, record.digest, erased_before
            ):
                if certified is not None:
                    record.keys[key_id] = erasures.keys.get(key_id)
        for key_id in record.keys:
            for position, pointer in connection.execute(
                "SELECT position, pointer FROM sealed_value WHERE key_id = ? "
                "ORDER BY position, pointer LIMIT ?",
                (key_id, SUBJECT_PLACES_MAX - len(record.fields)),
            ):
                by = record.keys[key_id] or erasures.fields.get(position, {}).get(pointer)
                record.fields[position, pointer] = by
        _search(segment, connection, record)
    return record


def _search(segment: SqlSegment, connection: Connection, record: SubjectRecord) -> None:
    """Find the subject's text where it stands in the clear."""
    text = canonical_bytes(record.subject)[1:-1]
    for position, payload in connection.execute(
        "SELECT position, payload FROM payload JOIN entry USING(position) "
        "WHERE kind = 'event' AND instr(payload, ?) > 0 LIMIT ?",
        (text, SUBJECT_PLACES_MAX),
    ):
        try:
            fields = commitment_fields(parse_with_tokens(payload), finished=True)
        except ValueError as error:
            raise StoreCorruptError(segment.url, f"entry {position}: {error}") from error
        record.undeclared[position] = [pointer for pointer, value in fields if text in value]
    record.dead_letters = [
        number
        for (number,) in connection.execute(
            "SELECT letter_id FROM dead_letter "
            "WHERE instr(raw, ?) > 0 OR instr(message, ?) > 0 LIMIT ?",
            (text, text.decode(), SUBJECT_PLACES_MAX),
        )
    ]
    if record.undeclared:
        detail = (
            f"{len(record.undeclared)} entries hold the subject's text where nobody declared it"
        )
        record.gaps.append(("capture", detail))
    if len(record.fields) + len(record.undeclared) >= SUBJECT_PLACES_MAX:
        record.gaps.append(("size", f"only {SUBJECT_PLACES_MAX} places are listed"))
    _search_rows(segment, connection, record, text)


def _search_rows(
    segment: SqlSegment, connection: Connection, record: SubjectRecord, text: bytes
) -> None:
    """Find the subject's rows in batches of predictions, and by declared keys."""
    if has_prediction_tables(connection):
        for (digest,) in connection.execute(
            "SELECT digest FROM prediction_batch ORDER BY position"
        ).fetchall():
            try:
                lines = read_blob(segment.get_blob(digest))[1]
            except UnknownBlobError:
                if digest in segment.expired_blobs():
                    continue
                record.gaps.append(("pending", f"the batch {digest} of predictions is not here"))
                continue
            for number, line in enumerate(lines):
                if text in line:
                    own = _holds(msgspec.json.decode(line), record.subject)
                    place = record.rows if own else record.mentions
                    place.setdefault(digest, []).append(number)
    _search_keys(segment, connection, record)
    if record.mentions:
        count = sum(map(len, record.mentions.values()))
        record.gaps.append(("capture", f"{count} predictions mention the subject's text"))


def _search_keys(segment: SqlSegment, connection: Connection, record: SubjectRecord) -> None:
    """Find rows whose declared key is the subject, or has the subject in it."""
    if not has_row_tables(connection):
        return
    blocks = connection.execute(
        "SELECT block FROM row_block WHERE form = 'keys' ORDER BY position, block"
    ).fetchall()
    if blocks and any(find_spec(name) is None for name in ("numpy", "pyarrow")):
        record.gaps.append(("capture", "declared keys of rows are not searched: install `rows`"))
        return
    gone = segment.expired_blobs()
    for (digest,) in blocks:
        if digest in gone:
            continue
        from lodeline.store.link_blocks import read_keys

        found = [
            number
            for number, key in enumerate(read_keys(segment.get_blob(digest)))
            if key is not None and _names(key, record.subject)
        ]
        if found:
            record.rows[digest] = found


def _names(key: str, subject: str) -> bool:
    if key == subject or not key.startswith("["):
        return key == subject
    try:
        parts = msgspec.json.decode(key)
    except ValueError:
        return False
    return isinstance(parts, list) and subject in parts


def _holds(value: object, subject: str) -> bool:
    """Whether a value, or one within it, is the subject itself."""
    if isinstance(value, dict):
        return any(_holds(one, subject) for one in value.values())
    if isinstance(value, list):
        return any(_holds(one, subject) for one in value)
    return value == subject


def iter_values(segment: SqlSegment, record: SubjectRecord) -> Iterator[dict[str, Any]]:
    """Give each declared value, and each undeclared field, that can still be read."""
    pointers: dict[int, list[str]] = {}
    for (position, pointer), erased_by in record.fields.items():
        if erased_by is None:
            pointers.setdefault(position, []).append(pointer)
    for position, undeclared in record.undeclared.items():
        pointers.setdefault(position, []).extend(undeclared)
    for position, wanted in sorted(pointers.items()):
        for entry, opened in segment.iter_opened(position, position + 1):
            event = msgspec.json.decode(opened.payload)
            for pointer in sorted(set(wanted) - set(opened.missing)):
                yield {
                    "entry": position,
                    "log_time_us": entry.log_time_us,
                    "pointer": pointer,
                    "value": value_at(event, pointer),
                }
    for places in (record.rows, record.mentions):
        for digest, numbers in places.items():
            data = segment.get_blob(digest)
            lines = [] if data.startswith(b"PAR1") else read_blob(data)[1]
            for number in numbers if lines else ():
                yield {"blob": digest, "row": number, "value": msgspec.json.decode(lines[number])}


def erase_subject(
    segment: SqlSegment, record: SubjectRecord, *, undeclared: bool = False
) -> int | None:
    """Erase a subject: log it, destroy keys, take out what lies in the clear.

    Args:
        segment: the store.
        record: as `find_subject` gave it now.
        undeclared: also erase each facet in which the subject's text stands in the clear, whole,
            and refused inputs that hold it.

    Returns:
        The position of the `erasure` entry; `None` where everything was erased before, which is
        then made sure of once more.
    """
    keys = [key_id for key_id, erased_by in record.keys.items() if erased_by is None]
    fields = {}
    rows = dict(record.rows)
    if undeclared:
        for digest, numbers in record.mentions.items():
            rows[digest] = sorted({*rows.get(digest, ()), *numbers})
        for position, pointers in record.undeclared.items():
            facets = [pointer for pointer in pointers if pointer]
            if facets:
                fields[position] = facets
    erased_by = None
    if keys or fields or rows:
        erased_by = erase(segment, subjects=[record.digest], keys=keys, fields=fields, rows=rows)
    else:
        # Keys may have come back with a backup, or a crash left a step undone.
        apply_erasures(segment, again=True)
    if undeclared and record.dead_letters:
        with segment.database.purging() as connection, segment.database.transaction(connection):
            connection.executemany(
                "DELETE FROM dead_letter WHERE letter_id = ?",
                [(number,) for number in record.dead_letters],
            )
        segment.database.purge()
    return erased_by

"""Erasing: a subject's key, fields of an entry, or a whole payload.

In this order, each step safe to repeat, so that a crash between two is made good when the store is
next opened:

1. An `erasure` entry says what goes. From here on nothing that it names is opened any more.
2. Keys are overwritten and removed. Ciphertext stays where it is, and so does every proof.
3. Fields and payloads are taken out; the salts of what is left, and the commitments of what is
   not, take the place of the record secret. Views that were made of them are emptied.
4. Blobs of predictions and of row links are written again without the rows that go.
5. Freed pages are overwritten, and the write-ahead log is emptied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lodeline.errors import StoreCorruptError, UnknownPositionError, UsageError
from lodeline.proof import commit_field, derive_salts
from lodeline.store.blob_successors import erase_in_blob
from lodeline.store.connections import Connection, has_table
from lodeline.store.graph_tables import create_graph_tables, drop_graph_tables
from lodeline.store.map_tables import map_all
from lodeline.store.personal import (
    ErasureRecord,
    SealedField,
    read_erasure,
    read_sealed,
    with_sealed,
)
from lodeline.store.prediction_tables import drop_prediction_tables
from lodeline.store.row_tables import drop_row_tables
from lodeline.store.stream_tables import drop_correlation
from lodeline.wire import canonical_bytes, commitment_fields, parse_with_tokens
from lodeline.wire.personal import redact

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment


def erase(
    segment: SqlSegment,
    *,
    subjects: Sequence[str] = (),
    keys: Sequence[str] = (),
    fields: Mapping[int, Sequence[str]] | None = None,
    entries: Sequence[int] = (),
    rows: Mapping[str, Sequence[int]] | None = None,
) -> int:
    """Log an erasure and carry it out.

    Args:
        segment: the store.
        subjects: digests of subjects whose older values are not to come back.
        keys: identifiers of keys to destroy.
        fields: position -> pointers of facets or sealed values to take out.
        entries: positions whose payload goes whole.
        rows: digest of a blob, as the log names it -> numbers of its rows to take out.

    Returns:
        The position of the `erasure` entry.

    Raises:
        UnknownPositionError: no such entry.
        UsageError: a pointer that is no committed field of its entry, or an entry that is no
            event: what a log says of itself can't be erased.
    """
    named = {position: list(pointers) for position, pointers in (fields or {}).items()}
    with segment.reading() as connection:
        for position in [*named, *entries]:
            _check_is_event(segment, connection, position)
        for position, pointers in named.items():
            known = {pointer for pointer, _, _ in _committed(segment, connection, position)}
            for pointer in pointers:
                if pointer not in known or not pointer:
                    raise UsageError(f"entry {position} has no field {pointer!r} to erase alone")
    record: dict[str, object] = {"entries": [str(position) for position in sorted(entries)]}
    if subjects:
        record["subjects"] = sorted(subjects)
    if keys:
        record["keys"] = sorted(keys)
    if named:
        record["fields"] = [
            {"entry": str(position), "pointers": sorted(pointers)}
            for position, pointers in sorted(named.items())
        ]
    if rows:
        record["rows"] = [
            {"blob": digest, "rows": sorted(numbers)} for digest, numbers in sorted(rows.items())
        ]
    # 1.
    position = segment.append_record("erasure", record).position
    apply_erasures(segment)
    return position


def apply_erasures(segment: SqlSegment, *, again: bool = False) -> None:
    """Carry out what the log says and a crash prevented.

    Args:
        segment: the store.
        again: also what was carried out before, such as after keys came back with a backup.
    """
    with segment.reading() as connection:
        pending = _pending(connection, again=again)
    if not pending:
        return
    # 2.
    for _, record in pending:
        for key_id in record.keys:
            segment.personal.files.destroy(key_id)
    # 3.
    with segment.database.purging() as connection, segment.database.transaction(connection):
        # What an erased entry mentioned is known to the map alone from here on.
        map_all(connection)
        changed = False
        for position, record in pending:
            for entry, pointers in record.fields.items():
                changed |= _take_out(segment, connection, entry, pointers, position)
            for entry in record.entries:
                changed |= _take_whole(connection, entry, position)
        if changed:
            _empty_views(connection)
    # 4.
    for position, record in pending:
        for digest, numbers in record.rows.items():
            erase_in_blob(segment, digest, numbers, erased_by=position)
    # 5.
    if not segment.database.purge():
        return  # A reader held it; the next opening tries again.
    with segment.writing() as connection:
        connection.execute("DELETE FROM erasure_state")
        connection.execute("INSERT INTO erasure_state VALUES (?)", (pending[-1][0],))


def _pending(connection: Connection, *, again: bool) -> list[tuple[int, ErasureRecord]]:
    (applied_to,) = connection.execute(
        "SELECT coalesce(max(applied_to), -1) FROM erasure_state"
    ).fetchone()
    rows = connection.execute(
        "SELECT entry.position, payload FROM entry JOIN payload USING(position) "
        "WHERE kind = 'erasure' AND kind <> 'event' AND entry.position > ? "
        "ORDER BY entry.position",
        (-1 if again else applied_to,),
    )
    return [(position, read_erasure(payload)) for position, payload in rows]


def _check_is_event(segment: SqlSegment, connection: Connection, position: int) -> None:
    row = connection.execute("SELECT kind FROM entry WHERE position = ?", (position,)).fetchone()
    if row is None:
        raise UnknownPositionError(position, segment.size())
    if row[0] != "event":
        raise UsageError(f"entry {position} is of kind {row[0]}; only events can be erased")


def _committed(
    segment: SqlSegment, connection: Connection, position: int
) -> list[tuple[str, bytes | None, bytes]]:
    """Give pointer, salt (`None` once erased) and commitment of each field of an event."""
    kept = connection.execute(
        "SELECT pointer, salt, commitment FROM field_salt WHERE position = ? ORDER BY pointer",
        (position,),
    ).fetchall()
    if kept:
        return kept
    row = connection.execute(
        "SELECT payload, secret FROM payload JOIN record_secret USING(position) WHERE position = ?",
        (position,),
    ).fetchone()
    if row is None:
        return []
    try:
        fields = commitment_fields(parse_with_tokens(row[0]), finished=True)
    except ValueError as error:
        raise StoreCorruptError(segment.url, f"entry {position}: {error}") from error
    fields = with_sealed(fields, read_sealed(connection, position))
    salts = derive_salts(row[1], len(fields))
    return [
        (pointer, salt, commit_field(salt, pointer, value))
        for (pointer, value), salt in zip(fields, salts, strict=True)
    ]


def _take_out(
    segment: SqlSegment,
    connection: Connection,
    position: int,
    pointers: frozenset[str],
    erased_by: int,
) -> bool:
    """Take fields out of an entry; False if they are out already."""
    committed = _committed(segment, connection, position)
    gone = {pointer for pointer, salt, _ in committed if salt is None}
    if not committed or pointers <= gone:
        return False
    _name(connection, position, erased_by)
    connection.execute("DELETE FROM field_salt WHERE position = ?", (position,))
    connection.executemany(
        "INSERT INTO field_salt VALUES (?, ?, ?, ?)",
        [
            (position, pointer, None if pointer in pointers else salt, commitment)
            for pointer, salt, commitment in committed
        ],
    )
    sealed: list[SealedField] = read_sealed(connection, position)
    connection.executemany(
        "DELETE FROM sealed_value WHERE position = ? AND pointer = ?",
        [(position, one.pointer) for one in sealed if one.pointer in pointers],
    )
    facets = sorted(pointers - gone - {one.pointer for one in sealed})
    if facets:
        (payload,) = connection.execute(
            "SELECT payload FROM payload WHERE position = ?", (position,)
        ).fetchone()
        bare = redact(parse_with_tokens(payload), facets)
        connection.execute(
            "UPDATE payload SET payload = ? WHERE position = ?",
            (canonical_bytes(bare, finished=True), position),
        )
    connection.execute("DELETE FROM record_secret WHERE position = ?", (position,))
    return True


def _take_whole(connection: Connection, position: int, erased_by: int) -> bool:
    row = connection.execute("SELECT 1 FROM payload WHERE position = ?", (position,)).fetchone()
    if row is None:
        return False
    _name(connection, position, erased_by)
    for table in ("payload", "record_secret", "sealed_value", "field_salt"):
        connection.execute(f"DELETE FROM {table} WHERE position = ?", (position,))
    drop_correlation(connection, position)
    return True


def _name(connection: Connection, position: int, erased_by: int) -> None:
    known = connection.execute("SELECT 1 FROM erasure WHERE position = ?", (position,)).fetchone()
    if known is None:
        connection.execute("INSERT INTO erasure VALUES (?, ?)", (position, erased_by))


def _empty_views(connection: Connection) -> None:
    """Empty every view that was made of what is gone; the next fold fills them again."""
    exists = has_table(connection, "fold_state")
    state = exists and connection.execute("SELECT fold_version, epoch FROM fold_state").fetchone()
    if state:
        drop_graph_tables(connection)
        create_graph_tables(connection)
        connection.execute("INSERT INTO fold_state VALUES (0, ?, ?)", (state[0], state[1] + 1))
    drop_prediction_tables(connection)
    drop_row_tables(connection)

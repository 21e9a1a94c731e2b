"""What can be shown of one entry: each committed field with its salt and bytes, or as a hash.

A field whose salt and bytes are shown can be checked alone, without the others (selective
disclosure); of one that was erased, or that is held back, the commitment is enough to compute the
record's commitment. Evidence packs are made of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from lodeline.errors import StoreCorruptError, UnknownPositionError
from lodeline.proof import Field, combine_commitments, commit_field, decode_leaf, derive_salts
from lodeline.store.connections import Connection
from lodeline.store.personal import Erasures, SealedField, read_sealed, with_sealed
from lodeline.store.sql_segment import SqlSegment
from lodeline.wire import commitment_fields, parse_with_tokens


class DisclosedField(NamedTuple):
    """One committed field.

    Attributes:
        pointer: JSON pointer in the event; empty for the core.
        salt: 32 bytes; `None` where only the commitment is disclosed.
        value: the bytes committed to, of a personal value the sealed ones; `None` where only the
            commitment is disclosed.
        commitment: 32 bytes, `commit_field(salt, pointer, value)`.
        erased_by: position of the `erasure` entry that took the value away, if one did. Of a
            sealed value that took the key, so its salt and sealed bytes are still there.
    """

    pointer: str
    salt: bytes | None
    value: bytes | None
    commitment: bytes
    erased_by: int | None = None

    def masked(self) -> DisclosedField:
        """The same field with nothing but its commitment."""
        return self._replace(salt=None, value=None)


class Disclosure(NamedTuple):
    """All committed fields of an entry, in pointer order.

    Attributes:
        fields: empty where the whole payload was erased; then not even pointers are known.
        erased_by: position of the `erasure` entry that took the whole payload away, if one did.
    """

    fields: list[DisclosedField]
    erased_by: int | None = None


def disclosed_fields(
    segment: SqlSegment,
    position: int,
    connection: Connection | None = None,
    *,
    hold_back: Callable[[str], bool] = lambda _pointer: False,
) -> Disclosure:
    """Give each committed field of an entry, ready to be checked against its leaf.

    Args:
        segment: the store.
        position: of the entry.
        connection: a snapshot to read in; a new one without.
        hold_back: says of a pointer that only its commitment may be shown.

    Raises:
        UnknownPositionError: no such entry.
        StoreCorruptError: what is stored does not give the commitment in the leaf.
    """
    with segment.reading() if connection is None else nullcontext(connection) as snapshot:
        row = snapshot.execute(
            "SELECT kind, leaf, payload, secret FROM entry LEFT JOIN payload USING(position) "
            "LEFT JOIN record_secret USING(position) WHERE position = ?",
            (position,),
        ).fetchone()
        if row is None:
            raise UnknownPositionError(position, segment.size())
        kind, leaf, payload, secret = row
        erasures = Erasures()
        erasures.refresh(snapshot)
        if payload is None and position in erasures.entries:
            return Disclosure([], erasures.entries[position])
        sealed = read_sealed(snapshot, position)
        kept = snapshot.execute(
            "SELECT pointer, salt, commitment FROM field_salt WHERE position = ? ORDER BY pointer",
            (position,),
        ).fetchall()
    if payload is None or (secret is None and not kept):
        raise StoreCorruptError(segment.url, f"entry {position}: payload or secret is not there")
    values = fields_of(kind, payload, sealed)
    fields = _disclose(values, secret) if secret is not None else _disclose_left(values, kept)
    if combine_commitments([one.commitment for one in fields]) != decode_leaf(leaf).commitment:
        raise StoreCorruptError(segment.url, f"entry {position}: not what its leaf commits to")
    left = erasures.fields.get(position, {})
    by = {one.pointer: erasures.erased_by(position, one) for one in sealed}
    return Disclosure(
        [
            (one.masked() if hold_back(one.pointer) else one)._replace(
                erased_by=by.get(one.pointer) or left.get(one.pointer)
            )
            for one in fields
        ]
    )


def fields_of(kind: str, payload: bytes, sealed: Sequence[SealedField] = ()) -> Sequence[Field]:
    """Give the fields that a kept payload commits to, in pointer order."""
    if kind != "event":
        return [("", payload)]
    fields = commitment_fields(parse_with_tokens(payload), finished=True)
    return with_sealed(fields, sealed) if sealed else fields


def _disclose_left(
    values: Sequence[Field], kept: Sequence[tuple[str, bytes | None, bytes]]
) -> list[DisclosedField]:
    """What is left of an entry that was erased in part."""
    known = dict(values)
    return [
        DisclosedField(pointer, None, None, commitment)
        if salt is None
        else DisclosedField(pointer, salt, known.get(pointer), commitment)
        for pointer, salt, commitment in sorted(kept)
    ]


def _disclose(fields: Sequence[Field], secret: bytes) -> list[DisclosedField]:
    return [
        DisclosedField(pointer, salt, value, commit_field(salt, pointer, value))
        for (pointer, value), salt in zip(fields, derive_salts(secret, len(fields)), strict=True)
    ]

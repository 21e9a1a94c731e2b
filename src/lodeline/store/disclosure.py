"""What can be shown of one entry: each committed field with its salt and bytes, or as a hash.

A field whose salt and bytes are shown can be checked alone, without the others (selective
disclosure); of one that was erased, or that is held back, the commitment is enough to compute the
record's commitment. Evidence packs are made of these.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from lodeline.errors import StoreCorruptError, UnknownPositionError
from lodeline.proof import Field, combine_commitments, commit_field, decode_leaf, derive_salts
from lodeline.store.sqlite import SqliteSegment
from lodeline.wire import commitment_fields, parse_with_tokens


class DisclosedField(NamedTuple):
    """One committed field.

    Attributes:
        pointer: JSON pointer in the event; empty for the core.
        salt: 32 bytes; `None` where only the commitment is disclosed.
        value: the bytes committed to; `None` where only the commitment is disclosed.
        commitment: 32 bytes, `commit_field(salt, pointer, value)`.
        erased_by: position of the `erasure` entry that took salt and bytes away, if one did.
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
    segment: SqliteSegment,
    position: int,
    connection: sqlite3.Connection | None = None,
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
            "SELECT kind, leaf, payload, secret, erased_by FROM entry "
            "LEFT JOIN payload USING(position) LEFT JOIN record_secret USING(position) "
            "LEFT JOIN erasure USING(position) WHERE position = ?",
            (position,),
        ).fetchone()
    if row is None:
        raise UnknownPositionError(position, segment.size())
    kind, leaf, payload, secret, erased_by = row
    if (payload is None or secret is None) and erased_by is not None:
        return Disclosure([], erased_by)
    if payload is None or secret is None:
        raise StoreCorruptError(segment.url, f"entry {position}: payload or secret is not there")
    fields = _disclose(fields_of(kind, payload), secret)
    if combine_commitments([one.commitment for one in fields]) != decode_leaf(leaf).commitment:
        raise StoreCorruptError(segment.url, f"entry {position}: not what its leaf commits to")
    return Disclosure([one.masked() if hold_back(one.pointer) else one for one in fields])


def fields_of(kind: str, payload: bytes) -> Sequence[Field]:
    """Give the fields that a stored payload commits to, in pointer order."""
    if kind != "event":
        return [("", payload)]
    return commitment_fields(parse_with_tokens(payload), finished=True)


def _disclose(fields: Sequence[Field], secret: bytes) -> list[DisclosedField]:
    return [
        DisclosedField(pointer, salt, value, commit_field(salt, pointer, value))
        for (pointer, value), salt in zip(fields, derive_salts(secret, len(fields)), strict=True)
    ]

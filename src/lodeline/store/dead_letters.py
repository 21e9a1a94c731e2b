"""Dead letters: what was refused, with bytes, code and JSON path, until it is fixed.

The same bytes refused again are one letter seen once more. Beyond `DEAD_LETTERS_BYTES_MAX` only
digest, length and fault are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from lodeline.errors import UnknownDeadLetterError
from lodeline.limits import (
    DEAD_LETTER_BYTES_MAX,
    DEAD_LETTER_TEXT_MAX,
    DEAD_LETTERS_BYTES_MAX,
)
from lodeline.store.connections import Connection
from lodeline.store.segment import DeadLetter, Refusal

_COLUMNS = (
    "letter_id, byte_count, raw IS NOT NULL, code, path, message, source, "
    "first_seen, last_seen, times"
)


def add_letters(
    connection: Connection, refused: Sequence[Refusal], *, now_us: int
) -> list[DeadLetter]:
    """Keep refused inputs inside the caller's transaction."""
    (kept_bytes,) = connection.execute(
        "SELECT coalesce(sum(byte_count), 0) FROM dead_letter "
        "WHERE resolved_at IS NULL AND raw IS NOT NULL"
    ).fetchone()
    letters: list[DeadLetter] = []
    for refusal in refused:
        count = max(len(refusal.raw), refusal.byte_count)
        whole = count == len(refusal.raw)
        keep = (
            whole
            and count <= DEAD_LETTER_BYTES_MAX
            and kept_bytes + count <= DEAD_LETTERS_BYTES_MAX
        )
        kept_bytes += count if keep else 0
        digest = sha256(refusal.raw).digest()
        connection.execute(
            "INSERT INTO dead_letter(digest, byte_count, raw, code, path, message, source, "
            "first_seen, last_seen, times) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) "
            "ON CONFLICT(digest) DO UPDATE SET code = excluded.code, path = excluded.path, "
            "message = excluded.message, source = excluded.source, "
            "last_seen = excluded.last_seen, raw = coalesce(raw, excluded.raw), "
            "times = times + 1, resolved_at = NULL",
            (
                digest,
                count,
                refusal.raw if keep else None,
                refusal.error.code,
                _storable(refusal.error.path),
                _storable(refusal.error.message),
                _storable(refusal.source),
                now_us,
                now_us,
            ),
        )
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM dead_letter WHERE digest = ?", (digest,)
        ).fetchone()
        letters.append(_letter(row))
    return letters


def _letter(row: Sequence[Any]) -> DeadLetter:
    letter_id, byte_count, kept, *rest = row
    return DeadLetter(letter_id, byte_count, bool(kept), *rest)


def _storable(text: str) -> str:
    # A pointer into foreign JSON may hold lone surrogates, which no UTF-8 database can take.
    return text[:DEAD_LETTER_TEXT_MAX].encode("utf-8", "backslashreplace").decode()


def iter_letters(connection: Connection) -> Iterator[DeadLetter]:
    """Walk the unresolved letters, oldest first."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE resolved_at IS NULL ORDER BY letter_id"
    ):
        yield _letter(row)


def read_letter_bytes(connection: Connection, letter_id: int) -> bytes | None:
    """Read the bytes of one unresolved letter; `None` where they were too many to keep.

    Raises:
        UnknownDeadLetterError: no such letter is unresolved.
    """
    row = connection.execute(
        "SELECT raw FROM dead_letter WHERE letter_id = ? AND resolved_at IS NULL", (letter_id,)
    ).fetchone()
    if row is None:
        raise UnknownDeadLetterError(letter_id)
    return None if row[0] is None else bytes(row[0])


def resolve_letter(connection: Connection, letter_id: int, *, now_us: int) -> None:
    """Strike a letter off the list; its bytes are let go, its fact stays."""
    connection.execute(
        "UPDATE dead_letter SET resolved_at = ?, raw = NULL "
        "WHERE letter_id = ? AND resolved_at IS NULL",
        (now_us, letter_id),
    )

"""Dead letters: what was refused, with bytes, code and JSON path, until it is fixed.

The same bytes refused again are one letter seen once more. Beyond `DEAD_LETTERS_BYTES_MAX` only
digest, length and fault are kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256

from lodeline.errors import InvalidEventError
from lodeline.limits import DEAD_LETTER_BYTES_MAX, DEAD_LETTERS_BYTES_MAX
from lodeline.store.segment import DeadLetter

_COLUMNS = "letter_id, raw, byte_count, code, path, message, source, first_seen, last_seen, times"


def add_letter(
    connection: sqlite3.Connection,
    raw: bytes,
    error: InvalidEventError,
    *,
    source: str,
    now_us: int,
) -> DeadLetter:
    """Keep a refused input inside the caller's transaction."""
    (kept_bytes,) = connection.execute(
        "SELECT coalesce(sum(byte_count), 0) FROM dead_letter "
        "WHERE resolved_at IS NULL AND raw IS NOT NULL"
    ).fetchone()
    fits = len(raw) <= DEAD_LETTER_BYTES_MAX and kept_bytes + len(raw) <= DEAD_LETTERS_BYTES_MAX
    (letter_id,) = connection.execute(
        "INSERT INTO dead_letter(digest, byte_count, raw, code, path, message, source, "
        "first_seen, last_seen, times) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) "
        "ON CONFLICT(digest) DO UPDATE SET code = excluded.code, path = excluded.path, "
        "message = excluded.message, source = excluded.source, last_seen = excluded.last_seen, "
        "raw = coalesce(raw, excluded.raw), times = times + 1, resolved_at = NULL "
        "RETURNING letter_id",
        (
            sha256(raw).digest(),
            len(raw),
            raw if fits else None,
            error.code,
            _storable(error.path),
            _storable(error.message),
            _storable(source),
            now_us,
            now_us,
        ),
    ).fetchone()
    letter = find_letter(connection, letter_id)
    assert letter is not None
    return letter


def _storable(text: str) -> str:
    # A pointer into foreign JSON may hold lone surrogates, which no UTF-8 database can take.
    return text.encode("utf-8", "backslashreplace").decode()


def find_letter(connection: sqlite3.Connection, letter_id: int) -> DeadLetter | None:
    """Read one unresolved letter."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE letter_id = ? AND resolved_at IS NULL",
        (letter_id,),
    ).fetchone()
    return None if row is None else DeadLetter(*row)


def iter_letters(connection: sqlite3.Connection) -> Iterator[DeadLetter]:
    """Walk the unresolved letters, oldest first, one in memory at a time."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE resolved_at IS NULL ORDER BY letter_id"
    ):
        yield DeadLetter(*row)


def resolve_letter(connection: sqlite3.Connection, letter_id: int, *, now_us: int) -> None:
    """Strike a letter off the list; its bytes are let go, its fact stays."""
    connection.execute(
        "UPDATE dead_letter SET resolved_at = ?, raw = NULL "
        "WHERE letter_id = ? AND resolved_at IS NULL",
        (now_us, letter_id),
    )

"""Dead letters: what was refused, with bytes, code and JSON path, until it is fixed.

The same bytes refused again are one letter seen once more. Beyond `DEAD_LETTERS_BYTES_MAX` only
digest, length and fault are kept; beyond `DEAD_LETTERS_MAX` open letters a refusal is only counted,
in the account of its producer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

from lodeline.errors import UnknownDeadLetterError
from lodeline.limits import (
    DEAD_LETTER_BYTES_MAX,
    DEAD_LETTER_TEXT_MAX,
    DEAD_LETTERS_BYTES_MAX,
    DEAD_LETTERS_MAX,
)
from lodeline.store.connections import Connection
from lodeline.store.segment import DeadLetter, Refusal

_RECOUNT_US: Final = 10_000_000
_COLUMNS = (
    "letter_id, byte_count, raw IS NOT NULL, code, path, message, source, "
    "first_seen, last_seen, times"
)


class LetterRoom:
    """How much the open letters take, counted again at times.

    Counting a hundred thousand takes longer than the commit that would keep one more. What other
    processes add meanwhile is missed, which a bound on disk space can bear.
    """

    def __init__(self) -> None:
        self.kept_bytes = 0
        self.open_count = 0
        self._counted_us: int | None = None

    def forget(self) -> None:
        """Count again before the next letter."""
        self._counted_us = None

    def count(self, connection: Connection, now_us: int) -> None:
        """Count, unless that was done lately."""
        if self._counted_us is not None and now_us - self._counted_us < _RECOUNT_US:
            return
        self.kept_bytes, self.open_count = connection.execute(
            "SELECT coalesce(sum(CASE WHEN raw IS NULL THEN 0 ELSE byte_count END), 0), count(*) "
            "FROM dead_letter WHERE resolved_at IS NULL"
        ).fetchone()
        self._counted_us = now_us


def add_letters(
    connection: Connection, refused: Sequence[Refusal], room: LetterRoom, *, now_us: int
) -> list[DeadLetter]:
    """Keep refused inputs inside the caller's transaction."""
    room.count(connection, now_us)
    letters: list[DeadLetter] = []
    for refusal in refused:
        count = max(len(refusal.raw), refusal.byte_count)
        whole = count == len(refusal.raw)
        keep = (
            whole
            and count <= DEAD_LETTER_BYTES_MAX
            and room.kept_bytes + count <= DEAD_LETTERS_BYTES_MAX
        )
        digest = sha256(refusal.raw).digest()
        if room.open_count >= DEAD_LETTERS_MAX and not _is_open(connection, digest):
            letters.append(_only_counted(refusal, count, now_us))
            continue
        room.open_count += 1
        room.kept_bytes += count if keep else 0
        connection.execute(
            "INSERT INTO dead_letter(digest, byte_count, raw, code, path, message, source, "
            "first_seen, last_seen, times) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) "
            "ON CONFLICT(digest) DO UPDATE SET code = excluded.code, path = excluded.path, "
            "message = excluded.message, source = excluded.source, "
            "last_seen = excluded.last_seen, raw = coalesce(dead_letter.raw, excluded.raw), "
            "times = dead_letter.times + 1, resolved_at = NULL",
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


def _is_open(connection: Connection, digest: bytes) -> bool:
    row = connection.execute(
        "SELECT 1 FROM dead_letter WHERE digest = ? AND resolved_at IS NULL", (digest,)
    ).fetchone()
    return row is not None


def _only_counted(refusal: Refusal, count: int, now_us: int) -> DeadLetter:
    error = refusal.error
    words = (error.code, _storable(error.path), _storable(error.message), refusal.source)
    return DeadLetter(0, count, False, *words, now_us, now_us, 1)


def _letter(row: Sequence[Any]) -> DeadLetter:
    letter_id, byte_count, kept, *rest = row
    return DeadLetter(letter_id, byte_count, bool(kept), *rest)


def _storable(text: str) -> str:
    # A pointer into foreign JSON may hold lone surrogates, which no UTF-8 database can take.
    return text[:DEAD_LETTER_TEXT_MAX].encode("utf-8", "backslashreplace").decode()


def iter_letters(connection: Connection, after: int = 0) -> Iterator[DeadLetter]:
    """Walk the unresolved letters, oldest first, those with numbers beyond `after`."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE resolved_at IS NULL AND letter_id > ? "
        "ORDER BY letter_id",
        (after,),
    ):
        yield _letter(row)


def get_letter(connection: Connection, letter_id: int) -> DeadLetter:
    """Read one unresolved letter.

    Raises:
        UnknownDeadLetterError: no such letter is unresolved.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE letter_id = ? AND resolved_at IS NULL",
        (letter_id,),
    ).fetchone()
    if row is None:
        raise UnknownDeadLetterError(letter_id)
    return _letter(row)


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


def expire_letters(connection: Connection, *, before_us: int) -> int:
    """Let the bytes of letters go that were last refused before a time; their facts stay.

    Returns:
        Of how many.
    """
    aged = "raw IS NOT NULL AND resolved_at IS NULL AND last_seen < ?"
    (count,) = connection.execute(
        f"SELECT count(*) FROM dead_letter WHERE {aged}", (before_us,)
    ).fetchone()
    if count:
        connection.execute(f"UPDATE dead_letter SET raw = NULL WHERE {aged}", (before_us,))
    return int(count)

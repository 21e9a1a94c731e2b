"""What others say of this log's checkpoints: cosignatures of witnesses, timestamps of authorities.

Both stand beside the log, in tables that only grow. Whether a cosignature holds is checked before
it is kept; whether a timestamp holds takes the authority's certificates, and is the caller's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from lodeline.errors import UnknownCheckpointError
from lodeline.proof import parse_note
from lodeline.store.connections import Connection, Database
from lodeline.tlog import Checkpoint

if TYPE_CHECKING:
    # Only names of types here; a log without witnesses never loads them.
    from lodeline.proof import CosignatureVerifier, NoteSignature


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's signature line, verified when it was kept.

    Attributes:
        size: of the checkpoint.
        vkey: the witness's key.
        time_s: when it cosigned, by its own clock, in seconds since 1970.
        line: as it stands in a note, newline included.
    """

    size: int
    vkey: str
    time_s: int
    line: str


@dataclass(frozen=True, slots=True)
class TimestampAnswer:
    """What a timestamping authority answered.

    Attributes:
        size: of the checkpoint.
        url: of the authority.
        answer: TimeStampResp of RFC 3161, in DER; what `openssl ts -verify -in` reads.
        digest: SHA-256 of the answer, its name here.
    """

    size: int
    url: str
    answer: bytes
    digest: bytes


class Endorsements:
    """Cosignatures and timestamps of one segment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_cosignatures(
        self,
        size: int,
        signatures: Sequence[NoteSignature],
        witnesses: Sequence[CosignatureVerifier],
    ) -> list[Cosignature]:
        """Verify and keep the cosignatures of known witnesses; lines of other keys are left out.

        Returns:
            Those of the known witnesses, whether they were new or not.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
            SignatureError: a line that names a known witness is not its cosignature.
        """
        with self._database.reading() as connection:
            text, _ = parse_note(get_checkpoint(connection, size).note)
        found = [
            Cosignature(size, one.vkey, one.verify(text, signature.signature), signature.line)
            for signature in signatures
            for one in witnesses
            if one.is_of(signature)
        ]
        with self._database.writing() as connection:
            for one in found:
                kept = connection.execute(
                    "SELECT 1 FROM cosignature WHERE size = ? AND vkey = ? AND time = ?",
                    (one.size, one.vkey, one.time_s),
                ).fetchone()
                if kept is None:
                    connection.execute(
                        "INSERT INTO cosignature VALUES (?, ?, ?, ?)",
                        (one.size, one.vkey, one.time_s, one.line),
                    )
        return found

    def cosignatures(self, size: int) -> list[Cosignature]:
        """The newest cosignature of each witness over one checkpoint, by their keys."""
        with self._database.reading() as connection:
            return _newest_cosignatures(connection, size)

    def cosigned_size(self, witness: CosignatureVerifier) -> int:
        """The largest size that a witness is known to have cosigned; 0 where there is none."""
        with self._database.reading() as connection:
            (size,) = connection.execute(
                "SELECT coalesce(max(size), 0) FROM cosignature WHERE vkey = ?", (witness.vkey,)
            ).fetchone()
        return int(size)

    def witnessed_note(self, size: int) -> str:
        """A checkpoint's note with the newest cosignature of each witness after the log's lines.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """
        with self._database.reading() as connection:
            note = get_checkpoint(connection, size).note
            return note + "".join(one.line for one in _newest_cosignatures(connection, size))

    def add_timestamp(self, size: int, answer: bytes, *, url: str) -> TimestampAnswer:
        """Keep an answer of a timestamping authority; the same bytes again change nothing.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """
        kept = TimestampAnswer(size, url, answer, sha256(answer).digest())
        with self._database.writing() as connection:
            get_checkpoint(connection, size)
            known = connection.execute(
                "SELECT 1 FROM timestamp_answer WHERE size = ? AND digest = ?", (size, kept.digest)
            ).fetchone()
            if known is None:
                connection.execute(
                    "INSERT INTO timestamp_answer VALUES (?, ?, ?, ?)",
                    (size, kept.digest, url, answer),
                )
        return kept

    def timestamps(self, size: int) -> list[TimestampAnswer]:
        """The answers over one checkpoint, in the order of their digests.

        Raises:
            UnknownCheckpointError: no checkpoint was signed at that size.
        """
        with self._database.reading() as connection:
            get_checkpoint(connection, size)
            return [
                TimestampAnswer(*row)
                for row in connection.execute(
                    "SELECT size, url, answer, digest FROM timestamp_answer WHERE size = ? "
                    "ORDER BY digest",
                    (size,),
                )
            ]

    def timestamped_sizes(self) -> list[int]:
        """The sizes of the checkpoints that have a timestamp, smallest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT size FROM timestamp_answer ORDER BY size")
            return [size for (size,) in rows]


def get_checkpoint(connection: Connection, size: int) -> Checkpoint:
    """Read the checkpoint of one size.

    Raises:
        UnknownCheckpointError: none was signed at that size.
    """
    row = connection.execute(
        "SELECT size, root_hash, log_time, note FROM checkpoint WHERE size = ?", (size,)
    ).fetchone()
    if row is None:
        (known,) = connection.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()
        raise UnknownCheckpointError(size, known)
    return Checkpoint(*row)


def _newest_cosignatures(connection: Connection, size: int) -> list[Cosignature]:
    return [
        Cosignature(*row)
        for row in connection.execute(
            "SELECT size, vkey, time, line FROM cosignature c WHERE size = ? AND NOT EXISTS ("
            "SELECT 1 FROM cosignature o WHERE o.size = c.size AND o.vkey = c.vkey "
            "AND o.time > c.time) ORDER BY vkey",
            (size,),
        )
    ]

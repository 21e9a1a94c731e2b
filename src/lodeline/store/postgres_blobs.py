"""Blobs in a table: every process that has the database has them, and so has its backup."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from lodeline.errors import StoreCorruptError, UnknownBlobError
from lodeline.store.postgres_database import PostgresDatabase

_PREFIX: Final = "sha256:"


class PostgresBlobs:
    """Blobs of one schema. They are stored as they are: their writers have compressed them."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def put(self, data: bytes) -> str:
        """Keep bytes durably; give their digest."""
        digest = sha256(data).digest()
        with self._database.aside() as connection:
            connection.execute(
                "INSERT INTO blob VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, data)
            )
        return _PREFIX + digest.hex()

    def get(self, digest: str) -> bytes:
        """Read a blob and check it.

        Raises:
            UnknownBlobError: not a digest, or not stored.
            StoreCorruptError: the stored bytes have another digest.
        """
        value = digest.removeprefix(_PREFIX)
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise UnknownBlobError(digest)
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT data FROM blob WHERE digest = ?", (bytes.fromhex(value),)
            ).fetchone()
        if row is None:
            raise UnknownBlobError(digest)
        data = bytes(row[0])
        if sha256(data).hexdigest() != value:
            raise StoreCorruptError(self._database.url, f"blob {digest} was changed")
        return data

    def find_path(self, digest: str) -> Path | None:  # noqa: ARG002  # as `Blobs` has it
        """Blobs of a table are no files."""
        return None

    def remove(self, digest: str, *, overwrite: bool = False) -> None:  # noqa: ARG002  # as above
        """Remove a blob; what the server's files still hold of it goes with its next vacuum."""
        with self._database.aside() as connection:
            value = bytes.fromhex(digest.removeprefix(_PREFIX))
            connection.execute("DELETE FROM blob WHERE digest = ?", (value,))

    def list_digests(self) -> list[str]:
        """List the stored blobs."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT digest FROM blob ORDER BY digest").fetchall()
        return [_PREFIX + bytes(digest).hex() for (digest,) in rows]

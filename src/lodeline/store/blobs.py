"""Blobs: bytes too large for a row of the log, in files named by their digest.

A blob is on disk, whole, before anything that refers to it is appended; a crash leaves at most a
temporary file that nothing refers to.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from lodeline.errors import StoreCorruptError, UnknownBlobError
from lodeline.store.database import translate_os_error

_PREFIX = "sha256:"


class Blobs(Protocol):
    """Where a segment keeps blobs."""

    def put(self, data: bytes) -> str:
        """Keep bytes durably; give their digest."""

    def get(self, digest: str) -> bytes:
        """Read a blob and check it."""

    def list_digests(self) -> list[str]:
        """List the stored blobs."""

    def find_path(self, digest: str) -> Path | None:
        """Give the file of a blob, where blobs are files."""

    def remove(self, digest: str, *, overwrite: bool = False) -> None:
        """Remove a blob that nothing needs any more, or, over its bytes, one that must go."""


class BlobFolder:
    """Files below `<store>.blobs/`, two levels deep."""

    def __init__(self, folder: Path, *, url: str) -> None:
        self._folder = folder
        self._url = url

    def path_of(self, digest: str) -> Path:
        """Give where a blob lies, or would lie.

        Raises:
            UnknownBlobError: not a digest.
        """
        value = digest.removeprefix(_PREFIX)
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise UnknownBlobError(digest)
        return self._folder / value[:2] / value[2:]

    def put(self, data: bytes) -> str:
        """Keep bytes durably; give their digest.

        Raises:
            StoreFullError: no room left.
            StoreUnreachableError: they cannot be written there.
        """
        digest = _PREFIX + sha256(data).hexdigest()
        path = self.path_of(digest)
        if path.exists():
            return digest
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(path, data)
        except OSError as error:
            raise translate_os_error(error, self._url, path) from error
        return digest

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        import tempfile  # whoever keeps no blobs loads nothing for it

        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def get(self, digest: str) -> bytes:
        """Read a blob and check it.

        Raises:
            UnknownBlobError: not stored.
            StoreCorruptError: the file's bytes have another digest.
        """
        path = self.path_of(digest)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnknownBlobError(digest) from error
        if sha256(data).hexdigest() != digest.removeprefix(_PREFIX):
            raise StoreCorruptError(self._url, f"blob {digest} was changed: {path}")
        return data

    def find_path(self, digest: str) -> Path | None:
        """Give the file of a blob."""
        return self.path_of(digest)

    def remove(self, digest: str, *, overwrite: bool = False) -> None:
        """Remove a blob's file, durably; nothing where there is none."""
        path = self.path_of(digest)
        if not path.exists():
            return
        if overwrite:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                # Whoever holds the file open for an answer reads zeros, which no checksum fits.
                left = os.fstat(descriptor).st_size
                while left > 0:
                    left -= os.write(descriptor, bytes(min(left, 1 << 20)))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        path.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def list_digests(self) -> list[str]:
        """List the stored blobs."""
        return sorted(
            f"{_PREFIX}{path.parent.name}{path.name}"
            for path in self._folder.glob("??/*")
            if not path.name.startswith(".")
        )

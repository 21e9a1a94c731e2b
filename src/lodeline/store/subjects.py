"""Keys of data subjects: one small file for each, so that destroying one is real.

They lie in `<store>.keys/<log>.subjects/`, mode 0600, never in the log and never in the database:
a copy of the database alone opens nothing. A file is named by its key's identifier, an HMAC of
the subject and of the erasure before it, so a subject who comes back after an erasure gets a
new key, and a folder of keys names nobody to someone without the segment key.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lodeline.errors import KeyMissingError
from lodeline.proof import KEY_BYTES

# Beyond this, writing out all that the system holds is faster than one file after the other.
_SYNCED_ONE_BY_ONE_MAX: Final = 32
_SUBJECT_DOMAIN: Final = b"lodeline/v1/subject\n"
_KEY_DOMAIN: Final = b"lodeline/v1/subject-key-id\n"


def subject_digest(segment_key: bytes, subject: str) -> str:
    """Name a subject without saying who: HMAC-SHA-256 under the segment key, in hexadecimal."""
    return hmac.digest(segment_key, _SUBJECT_DOMAIN + subject.encode(), "sha256").hex()


def subject_key_id(segment_key: bytes, digest: str, erased_before: int) -> str:
    """Name the key of a subject: 32 hexadecimal digits.

    Args:
        segment_key: of the log.
        digest: `subject_digest`.
        erased_before: position of the subject's latest erasure; 0 if there is none.
    """
    said = _KEY_DOMAIN + bytes.fromhex(digest) + erased_before.to_bytes(8, "big")
    return hmac.digest(segment_key, said, "sha256").hex()[:32]


class SubjectKeys:
    """The key files of one log."""

    def __init__(self, folder: Path, randomness: Callable[[int], bytes]) -> None:
        self.folder = folder
        self._randomness = randomness

    def path(self, key_id: str) -> Path:
        """Where a key lies, or would lie."""
        return self.folder / f"{key_id}.key"

    def find(self, key_id: str) -> bytes | None:
        """Read a key; `None` where there is no file.

        Raises:
            KeyMissingError: unreadable, or not a key.
        """
        path = self.path(key_id)
        try:
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise KeyMissingError(str(path)) from error
        if len(key) != KEY_BYTES:
            raise KeyMissingError(str(path))
        return key

    def create(self, key_ids: list[str]) -> dict[str, bytes]:
        """Make keys, durably; the caller holds the writer's lock.

        A file that is there already was made before a crash, and is used.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = {}
        one_by_one = len(key_ids) <= _SYNCED_ONE_BY_ONE_MAX
        for key_id in key_ids:
            key = self._find_whole(key_id)
            if key is None:
                key = self._randomness(KEY_BYTES)
                self._write(self.path(key_id), key, durably=one_by_one)
            keys[key_id] = key
        if not one_by_one:
            os.sync()
        _sync_folder(self.folder)
        _sync_folder(self.folder.parent)
        return keys

    def _find_whole(self, key_id: str) -> bytes | None:
        try:
            return self.find(key_id)
        except KeyMissingError:
            return None  # Half written when a crash came; nothing was sealed with it.

    @staticmethod
    def _write(path: Path, key: bytes, *, durably: bool) -> None:
        # Not to be replaced by a rename: a copy under another name would have to be destroyed too.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key.hex().encode("ascii") + b"\n")
            stream.flush()
            if durably:
                os.fsync(descriptor)

    def keep(self, key_id: str, key: bytes) -> None:
        """Keep a key that was made before, durably."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(self.path(key_id), key, durably=True)
        _sync_folder(self.folder)

    def destroy(self, key_id: str) -> bool:
        """Overwrite and remove a key file, durably; False where there was none."""
        path = self.path(key_id)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            os.write(descriptor, b"\0" * max(os.fstat(descriptor).st_size, 1))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink(missing_ok=True)
        _sync_folder(self.folder)
        return True

    def list_ids(self) -> list[str]:
        """List the keys that are there."""
        try:
            return sorted(path.stem for path in self.folder.iterdir() if path.suffix == ".key")
        except FileNotFoundError:
            return []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Digests over all bytes of files, computed after the observed program is done with them.

A draft carries the inode, modification time and size at close. The digest counts only if the file
still has them before and after hashing; otherwise the bytes hashed may not be the bytes written,
and no digest is better than a wrong one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lodeline.errors import OutOfTimeError
from lodeline.limits import (
    DIGEST_MEMORY_BYTES_MIN,
    DIGEST_MEMORY_MAX,
    DIGEST_THREADS_BYTES_MIN,
    DIGEST_THREADS_MAX,
    INFORMATION_BYTES,
    MANIFEST_FILES_MAX,
)
from lodeline.records import value
from lodeline.spool import replace_file

_CHUNK: Final = 1024 * 1024


@value
class FileState:
    """A file as it was at close."""

    path: str
    inode: int
    mtime_ns: int
    size: int

    @classmethod
    def read(cls, pending: Mapping[str, Any]) -> FileState:
        """Read `{path, inode, mtimeNs, size}`.

        Raises:
            ValueError: it is not that.
        """
        try:
            return cls(
                str(pending["path"]),
                int(pending["inode"]),
                int(pending["mtimeNs"]),
                int(pending["size"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the state of a file: {dict(pending)!r}") from error


@value
class FileDigest:
    """SHA-256 over all bytes (hex), or why there is none."""

    value: str | None
    bytes: int
    reason: str = ""
    information: int | None = None


@value
class DatasetDigest:
    """Digest of one file or, by its manifest, of many."""

    value: str | None
    bytes: int
    manifest: tuple[tuple[str, str, int], ...] | None
    reason: str = ""
    information: int | None = None


class DigestMemory:
    """Digests of large files, kept between deliveries by what the files looked like.

    Whoever changes a file in place and gives it back its modification time deceives it, as he
    deceives the check at delivery.

    Args:
        path: of the file that keeps them; `None` to keep none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, str] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if path is not None:
                loaded = json.loads(path.read_bytes())
                self._known = {str(key): str(value) for key, value in loaded.items()}

    @property
    def is_changed(self) -> bool:
        """Whether there is something to keep."""
        return self._changed

    def find(self, file: os.stat_result) -> str | None:
        """Give the digest of a file that looks like this, if it was hashed before."""
        return self._known.get(_look_of(file))

    def add(self, file: os.stat_result, digest: str) -> None:
        """Remember a digest, if hashing the file again would take its time."""
        if file.st_size >= DIGEST_MEMORY_BYTES_MIN:
            self._known[_look_of(file)] = digest
            self._changed = True

    def keep(self) -> None:
        """Write down what came since. A full disk costs hashing again."""
        if self._changed and self._path is not None:
            latest = dict(list(self._known.items())[-DIGEST_MEMORY_MAX:])
            with contextlib.suppress(OSError):
                replace_file(self._path, json.dumps(latest).encode())
        self._changed = False


def _look_of(file: os.stat_result) -> str:
    return f"{file.st_dev}:{file.st_ino}:{file.st_mtime_ns}:{file.st_ctime_ns}:{file.st_size}"


class Hasher:
    """Hashes files, each state once.

    Args:
        deadline: of the monotonic clock; `None` for no bound.
        memory: digests of earlier deliveries.
        bytes_max: larger files are not hashed; `None` for no bound.

    Attributes:
        hashed: files that were read for their digest.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        memory: DigestMemory | None = None,
        bytes_max: float | None = None,
    ) -> None:
        self.deadline = deadline
        self.hashed = 0
        self._bytes_max = bytes_max
        self._memory = memory or DigestMemory()
        self._known: dict[FileState, FileDigest] = {}

    def check_time(self, *, needed: float = 0.0) -> None:
        """Raise when the deadline is nearer than so many seconds.

        Raises:
            OutOfTimeError: it is.
        """
        if self.deadline is not None and time.monotonic() + needed > self.deadline:
            raise OutOfTimeError("hashing files")

    def digest(self, state: FileState) -> FileDigest:
        """Hash one file, if it still is what it was.

        Raises:
            OutOfTimeError: the deadline passed meanwhile.
        """
        known = self._known.get(state)
        if known is None:
            known = self._known[state] = self._hash(state)
        return known

    def digest_all(self, states: Iterable[FileState]) -> list[FileDigest]:
        """Hash many files, several at a time (hashing runs outside the interpreter's lock).

        Raises:
            OutOfTimeError: the deadline passed meanwhile.
        """
        states = list(states)
        threads = min(DIGEST_THREADS_MAX, os.cpu_count() or 1, len(states))
        # Less is hashed before the threads have started.
        if threads < 2 or sum(state.size for state in states) < DIGEST_THREADS_BYTES_MIN:
            return [self.digest(state) for state in states]
        # Only here: most runs write a file or two.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.digest, states))

    def is_still(self, state: FileState) -> bool:
        """Whether a file still is what it was."""
        try:
            with Path(state.path).open("rb") as file:
                return _is_still(file.fileno(), state)
        except OSError:
            return False

    def _hash(self, state: FileState) -> FileDigest:
        try:
            with Path(state.path).open("rb", buffering=0) as file:
                if not _is_still(file.fileno(), state):
                    return FileDigest(None, state.size, "changed after it was closed")
                if self._bytes_max is not None and state.size > self._bytes_max:
                    reason = f"larger than the {self._bytes_max:.0f} bytes of digest_bytes"
                    return FileDigest(None, state.size, reason)
                before = os.fstat(file.fileno())
                known = self._memory.find(before)
                if known is not None:
                    told = _information(file.read(INFORMATION_BYTES))
                    return FileDigest(known, state.size, information=told)
                self.hashed += 1
                digest, chunk = hashlib.sha256(), bytearray(_CHUNK)
                view = memoryview(chunk)
                head = b""
                while count := file.readinto(chunk):
                    digest.update(view[:count])
                    if len(head) < INFORMATION_BYTES:
                        head += bytes(view[: min(count, INFORMATION_BYTES - len(head))])
                    self.check_time()
                if not _is_still(file.fileno(), state):
                    return FileDigest(None, state.size, "changed while it was read")
                self._memory.add(before, digest.hexdigest())
        except FileNotFoundError:
            return FileDigest(None, state.size, "gone before it could be read")
        except OSError as error:
            return FileDigest(None, state.size, f"cannot be read: {error.strerror}")
        return FileDigest(digest.hexdigest(), state.size, information=_information(head))


def _information(head: bytes) -> int:
    """How many bytes of a file's beginning tell it from others.

    The first line is left out: tables of one kind have one header. A binary file loses a few bytes
    to that, which tell nothing either.
    """
    _, mark, rest = head.partition(b"\n")
    rest = rest if mark else head
    return len(zlib.compress(rest)) if rest.strip() else 0


def _is_still(descriptor: int, state: FileState) -> bool:
    now = os.fstat(descriptor)
    return (now.st_ino, now.st_mtime_ns, now.st_size) == (state.inode, state.mtime_ns, state.size)


def digest_pending(pending: Mapping[str, Any], hasher: Hasher) -> DatasetDigest:
    """Compute the digest that a draft leaves open.

    Args:
        pending: `{path, inode, mtimeNs, size}` of a file; or `{files: [{key, …the same}]}`; or
            the same of a directory, whose files then must not be younger than its `mtimeNs`.
        hasher: remembers what it hashed.

    Raises:
        OutOfTimeError: the hasher's deadline passed.
    """
    try:
        files = pending.get("files")
        if files is None and Path(str(pending.get("path"))).is_dir():
            keyed = _list_directory(pending)
        elif files is not None:
            keyed = [(str(file["key"]), FileState.read(file)) for file in files]
        else:
            state = FileState.read(pending)
            found = hasher.digest(state)
            return DatasetDigest(found.value, found.bytes, None, found.reason, found.information)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return DatasetDigest(None, 0, None, f"cannot be read: {error}")
    return _digest_manifest(sorted(keyed), hasher)


def _digest_manifest(keyed: list[tuple[str, FileState]], hasher: Hasher) -> DatasetDigest:
    total = sum(state.size for _, state in keyed)
    if len(keyed) > MANIFEST_FILES_MAX:
        return DatasetDigest(None, total, None, f"has more than {MANIFEST_FILES_MAX} files")
    found = hasher.digest_all(state for _, state in keyed)
    manifest = []
    for (key, _), digest in zip(keyed, found, strict=True):
        if digest.value is None:
            return DatasetDigest(None, total, None, f"{key}: {digest.reason}")
        manifest.append((key, digest.value, digest.bytes))
    return DatasetDigest(manifest_digest(manifest), total, tuple(manifest))


def manifest_digest(manifest: Iterable[tuple[str, str, int]]) -> str:
    """SHA-256 (hex) of the canonical JSON of `[{bytes, digest, key}]`, ordered by key."""
    listed = [
        {"key": key, "digest": digest, "bytes": size} for key, digest, size in sorted(manifest)
    ]
    from lodeline.wire import canonical_bytes  # most runs write single files

    return hashlib.sha256(canonical_bytes(listed)).hexdigest()


def _list_directory(pending: Mapping[str, Any]) -> list[tuple[str, FileState]]:
    root, latest = Path(str(pending["path"])), int(pending["mtimeNs"])
    found = []
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        # Writers of partitioned tables leave markers and checksums behind under such names.
        if any(part.startswith((".", "_")) for part in relative.parts) or not path.is_file():
            continue
        now = path.stat()
        if now.st_mtime_ns > latest:
            raise ValueError(f"{relative} changed after it was closed")
        state = FileState(str(path), now.st_ino, now.st_mtime_ns, now.st_size)
        found.append((relative.as_posix(), state))
        if len(found) > MANIFEST_FILES_MAX:
            break
    return found

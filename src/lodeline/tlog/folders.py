"""Where a tiled log lies as files: what a reader and a writer need of it, and a directory.

Reading and writing go through two small protocols, so that a directory, a web server and a bucket
are published to and checked by the same code.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from lodeline.errors import (
    FolderBusyError,
    FolderUnreachableError,
    UsageError,
)
from lodeline.limits import HTTP_TIMEOUT_SECONDS, LOG_FILE_BYTES_MAX

# Begun files lie in the log's root under this name until they are whole.
_BEGUN: Final = ".begun"


class LogFolder(Protocol):
    """A tiled log as files, to be read."""

    @property
    def name(self) -> str:
        """How the user names it."""

    def read(self, path: str) -> bytes | None:
        """Read a file, at most `LOG_FILE_BYTES_MAX` + 1 bytes; `None` where there is none.

        Raises:
            FolderUnreachableError: it cannot be told.
        """

    def paths(self) -> Iterator[str] | None:
        """List every file below the prefix; `None` where files cannot be listed."""


class WritableLogFolder(LogFolder, Protocol):
    """A tiled log as files, to be published to."""

    def writing(self) -> AbstractContextManager[None]:
        """Keep other writers out, as far as that is possible there.

        Raises:
            FolderBusyError: another writes.
        """

    def write(self, path: str, data: bytes) -> None:
        """Write a file; whole or not at all, durable only after `settle`."""

    def settle(self) -> None:
        """Wait until everything written is durable."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def remove_below(self, prefix: str) -> int:
        """Remove the files whose paths begin so; give their number."""


class Directory:
    """A log in a directory of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: set[Path] = set()

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def _unreachable(self, error: OSError) -> FolderUnreachableError:
        return FolderUnreachableError(self.name, f"{error.filename}: {error.strerror}")

    def read(self, path: str) -> bytes | None:
        """Read a file; `None` where there is none."""
        try:
            with (self.path / path).open("rb") as file:
                return file.read(LOG_FILE_BYTES_MAX + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise self._unreachable(error) from error

    def paths(self) -> Iterator[str]:
        """List every file, folders in order."""

        def fail(error: OSError) -> None:
            raise self._unreachable(error) from error

        for folder, folders, files in os.walk(self.path, onerror=fail):
            folders.sort()
            # A link to a folder would be a second place for the same files.
            linked = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in sorted(files + linked):
                path = (Path(folder) / name).relative_to(self.path).as_posix()
                if path != _BEGUN:
                    yield path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold an flock of the directory itself, which leaves no file behind."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FolderBusyError(self.name) from error
            self.remove(_BEGUN)
            yield
        finally:
            os.close(handle)

    def write(self, path: str, data: bytes) -> None:
        """Write beside, then rename: a reader finds the old file or the new one."""
        target, begun = self.path / path, self.path / _BEGUN
        try:
            if target.parent not in self._made:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(target.parent)
            with begun.open("wb") as file:
                file.write(data)
                if not path.startswith("tile/"):
                    # What names other files must itself be whole on disk before it takes its name.
                    file.flush()
                    os.fsync(file.fileno())
            begun.replace(target)
        except OSError as error:
            raise self._unreachable(error) from error

    def settle(self) -> None:
        """Make files and names durable: one sync of everything, not one for each of thousands."""
        os.sync()

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        try:
            (self.path / path).unlink(missing_ok=True)
        except OSError as error:
            raise self._unreachable(error) from error

    def remove_below(self, prefix: str) -> int:
        """Remove a folder of partial tiles."""
        folder = self.path / prefix
        if not folder.is_dir():
            return 0
        try:
            count = sum(1 for _ in folder.iterdir())
            shutil.rmtree(folder)
        except OSError as error:
            raise self._unreachable(error) from error
        return count


class WebFolder:
    """A log served over HTTP; it can be read, not listed."""

    def __init__(self, url: str) -> None:
        self.url = url if url.endswith("/") else f"{url}/"

    @property
    def name(self) -> str:
        """Its URL."""
        return self.url

    def read(self, path: str) -> bytes | None:
        """Fetch a file; `None` where the server has none."""
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import urlopen

        try:
            # The scheme is http or https: `open_folder` sees to it.
            with urlopen(self.url + path, timeout=HTTP_TIMEOUT_SECONDS) as response:  # noqa: S310
                data: bytes = response.read(LOG_FILE_BYTES_MAX + 1)
                return data
        except HTTPError as error:
            if error.code in {404, 410}:
                return None
            raise FolderUnreachableError(self.url + path, f"status {error.code}") from error
        except URLError as error:
            raise FolderUnreachableError(self.url + path, str(error.reason)) from error
        except (OSError, HTTPException) as error:
            raise FolderUnreachableError(self.url + path, repr(error)) from error

    def paths(self) -> None:
        """Say that a web server does not tell its files."""
        return


def open_folder(where: str) -> LogFolder:
    """Open a log's files for reading: a directory, `s3://bucket/prefix`, or `http(s)://…`.

    Raises:
        UsageError: a URL of another scheme, or no bucket.
        MissingExtraError: a bucket, without the extra `s3`.
        FolderUnreachableError: no such directory.
    """
    if where.startswith(("http://", "https://")):
        return WebFolder(where)
    folder = open_writable_folder(where)
    if isinstance(folder, Directory) and not folder.path.is_dir():
        # Nothing is there to say no about; a directory without a checkpoint is another matter.
        raise FolderUnreachableError(where, "no such directory")
    return folder


def open_writable_folder(where: str) -> WritableLogFolder:
    """Open a log's files for writing: a directory, or `s3://bucket/prefix`.

    Raises:
        UsageError: a URL of another scheme, or no bucket.
        MissingExtraError: a bucket, without the extra `s3`.
    """
    scheme, mark, rest = where.partition("://")
    if not mark:
        return Directory(Path(where))
    if scheme == "file":
        return Directory(Path(rest))
    if scheme != "s3":
        raise UsageError(f"{where}: a log is written to a directory or to s3://bucket/prefix")
    from lodeline.tlog.buckets import Bucket

    return Bucket(where)

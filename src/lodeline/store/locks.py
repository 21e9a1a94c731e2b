"""The writer's lock: one process appends to a store at a time, threads of it in turn.

flock on `<store>.lock` is released by the kernel when its holder dies, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodeline.errors import StoreUnreachableError
from lodeline.limits import WRITER_LOCK_SECONDS_MAX

# Between two attempts. A commit holds the lock for a few milliseconds.
_POLL_SECONDS = 0.002


class WriterLock:
    """Exclusive among the threads of this process and among processes. Not re-entrant."""

    def __init__(self, path: Path, *, url: str) -> None:
        self._path = path
        self._url = url
        self._thread_lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a block.

        Raises:
            StoreUnreachableError: another process kept it for `WRITER_LOCK_SECONDS_MAX`, or the
                lock file cannot be opened.
        """
        with self._thread_lock:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreUnreachableError(self._url, f"{self._path}: {error.strerror}") from error
            try:
                self._take(descriptor)
                yield
            finally:
                os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + WRITER_LOCK_SECONDS_MAX
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in {errno.EWOULDBLOCK, errno.EINTR}:
                    raise StoreUnreachableError(self._url, f"flock: {error.strerror}") from error
                if time.monotonic() > deadline:
                    raise StoreUnreachableError(
                        self._url,
                        f"another process has held {self._path} for {WRITER_LOCK_SECONDS_MAX:g} s",
                    ) from error
                time.sleep(_POLL_SECONDS)
            else:
                return

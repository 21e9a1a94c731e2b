"""The writing side: what an observed program may do with a spool, which is append.

Nothing here raises into the program: what cannot be written is counted, in the segment's header
where one could be made, else in memory. `append` hands bytes to the operating system, so they
survive the death of the process (kill -9), not of the machine; `flush` survives both.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lodeline.credentials import scrub_bytes
from lodeline.limits import (
    SPOOL_BYTES_MAX,
    SPOOL_MEASURE_BYTES,
    SPOOL_RECORD_BYTES_MAX,
    SPOOL_RETRY_SECONDS,
    SPOOL_SEGMENT_BYTES,
)
from lodeline.records import value
from lodeline.settings import number_setting
from lodeline.spool.segment import (
    HEADER,
    LOSS,
    LOSS_OFFSET,
    MAGIC,
    NEW_SUFFIX,
    SUFFIX,
    frame,
    read_header,
)
from lodeline.spool.state import read_state

_LIVE: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()
# Directory -> durable and lost records of writers of this process that were let go of.
_GONE: Final[dict[Path, list[int]]] = {}


@value
class Loss:
    """What did not make it: records dropped by writers, and damage skipped by the drain."""

    records: int = 0
    bytes: int = 0
    torn: int = 0

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.records + other.records, self.bytes + other.bytes, self.torn + other.torn)


class Spool:
    """One writer of a spool directory.

    Each process writes segments of its own, so writers never wait for each other; threads share
    one under a lock. A fork starts a new segment in the child at its first append.

    Args:
        directory: made at the first append, when missing.
        bytes_max: bound on the whole directory, by default that of the settings. Beyond it the
            oldest segments that nobody writes are dropped and counted; where there are none, the
            new record is.
    """

    def __init__(self, directory: Path | str, *, bytes_max: int | None = None) -> None:
        self.directory = Path(directory)
        if bytes_max is None:
            bytes_max = int(number_setting("spool_bytes", otherwise=SPOOL_BYTES_MAX))
        self.bytes_max = bytes_max
        _LIVE.add(self)
        self._start()

    def _start(self) -> None:
        # Reentrant: a destructor run by the garbage collector inside `append` may append too.
        self._lock = threading.RLock()
        self._writer = os.urandom(6).hex()
        self._sequence = 0
        self._file = -1
        self._path: Path | None = None
        self._offset = 0
        self._unmeasured = SPOOL_MEASURE_BYTES
        self._retry_at = 0.0
        self._appended = 0
        self._durable = 0
        self._lost_records = self._lost_bytes = 0
        self._lost_in_header = (0, 0)

    @property
    def writer(self) -> str:
        """Name of this writer: the same for all its segments, another one after a fork."""
        return self._writer

    @property
    def appended(self) -> int:
        """Records taken by this process."""
        return self._appended

    @property
    def loss(self) -> Loss:
        """What this process had to drop."""
        return Loss(self._lost_records, self._lost_bytes)

    def append(self, record: bytes) -> bool:
        """Hand one record to the operating system. Never raises.

        Args:
            record: 1 to `SPOOL_RECORD_BYTES_MAX` bytes of UTF-8 text.

        Returns:
            Whether it was taken; a record that was not is counted in `loss`.
        """
        # The last place that everything passes on its way out of the process.
        record = scrub_bytes(record)
        with self._lock:
            try:
                if self._make_room(len(record)):
                    self._write(frame(record))
                    self._appended += 1
                    return True
            except OSError:
                # Disk full, quota, directory gone, read-only: the next try waits.
                self._retry_at = time.monotonic() + SPOOL_RETRY_SECONDS
            self._count_loss(len(record))
            return False

    def flush(self) -> int:
        """Force what was appended onto the disk. Never raises.

        Returns:
            Records of this process that are durable now.
        """
        with self._lock:
            counted = self._appended
            if self._file >= 0:
                try:
                    os.fsync(self._file)
                except OSError:
                    return self._durable
                self._durable = counted
            return self._durable

    def close(self) -> None:
        """Flush, and let go of the segment, so that a drain may remove it."""
        with self._lock:
            self.flush()
            self._release()

    def __del__(self) -> None:
        """Leave the totals behind, so that a later flush still counts what this writer did."""
        totals = _GONE.setdefault(self.directory, [0, 0])
        totals[0] += self._durable
        totals[1] += self._lost_records

    def _make_room(self, size: int) -> bool:
        if not 0 < size <= SPOOL_RECORD_BYTES_MAX:
            return False
        if self._retry_at and time.monotonic() < self._retry_at:
            return False
        if self._unmeasured >= SPOOL_MEASURE_BYTES or self._retry_at:
            self._retry_at = 0.0
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._fits(size):
                self._retry_at = time.monotonic() + SPOOL_RETRY_SECONDS
                return False
            self._unmeasured = 0
        if self._file < 0 or self._offset + size > SPOOL_SEGMENT_BYTES:
            self._open_segment()
        return True

    def _fits(self, size: int) -> bool:
        excess = measure_bytes(self.directory) + size - self.bytes_max
        if excess <= 0:
            return True
        # Seldom needed, and never by a program whose records are delivered.
        from lodeline.spool.drain import drop_oldest

        return drop_oldest(self.directory, bytes_wanted=excess) >= excess

    def _open_segment(self) -> None:
        name = f"{time.time_ns() // 1000:016x}-{self._writer}-{self._sequence:06d}"
        path = self.directory / (name + SUFFIX)
        new = self.directory / (name + NEW_SUFFIX)
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # The lock says that the writer lives; the kernel drops it with the last descriptor.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(file, HEADER.pack(MAGIC, os.getpid(), 0, 0), 0)
            new.rename(path)
            _fsync_directory(self.directory)
        except OSError:
            os.close(file)
            new.unlink(missing_ok=True)
            raise
        # The next segment stands before the last is let go: a writer that lives always has one.
        self._release()
        self._sequence += 1
        self._file, self._path, self._offset = file, path, HEADER.size

    def _release(self) -> None:
        if self._file >= 0:
            try:
                os.fsync(self._file)
                self._durable = self._appended
            except OSError:
                pass
            os.close(self._file)
        self._file, self._path, self._offset = -1, None, 0
        self._lost_in_header = (self._lost_records, self._lost_bytes)

    def _write(self, data: bytes) -> None:
        # The place is taken before writing: a reentrant append then writes behind it.
        start = self._offset
        self._offset = start + len(data)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], start + written)
        except OSError:
            if self._offset == start + len(data):
                self._offset = start
                os.ftruncate(self._file, start)
            raise
        self._unmeasured += len(data)

    def _count_loss(self, size: int) -> None:
        self._lost_records += 1
        self._lost_bytes += size
        if self._file < 0:
            return
        before_records, before_bytes = self._lost_in_header
        counts = LOSS.pack(self._lost_records - before_records, self._lost_bytes - before_bytes)
        try:
            os.pwrite(self._file, counts, LOSS_OFFSET)
        except OSError:
            # Then memory alone knows; `loss` still tells whoever asks this process.
            return

    def _after_fork(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            # Closing a copy of the descriptor leaves the parent's lock alone.
            os.close(file)
        self._start()


def _restart_all() -> None:
    _GONE.clear()
    for spool in list(_LIVE):
        spool._after_fork()  # noqa: SLF001  # the module's own hook


os.register_at_fork(after_in_child=_restart_all)


def iter_spools_of_this_process() -> Iterator[Spool]:
    """List the writers that this process has open, as `flush` and exit hooks need them."""
    yield from list(_LIVE)


def count_past_records(directory: Path) -> tuple[int, int]:
    """Count the durable and the lost records of this process's writers that are gone already."""
    durable, lost = _GONE.get(directory, (0, 0))
    return durable, lost


def measure_bytes(directory: Path) -> int:
    """Sum the bytes that a spool takes on disk, with the folders that others keep in it."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            # Others remove files meanwhile, and `os.walk` passes over folders that are gone.
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{folder}/{name}").st_size  # as `os.walk`, no paths
    return total


def measure_loss(directory: Path | str) -> Loss:
    """Count what all writers of a spool lost, living and gone, and the damage the drain met."""
    directory = Path(directory)
    if not directory.is_dir():
        return Loss()
    state = read_state(directory)
    total = Loss(state.lost_records, state.lost_bytes, state.torn)
    for path in sorted(directory.glob("*" + SUFFIX)):
        try:
            with path.open("rb") as file:
                header = read_header(file.read(HEADER.size))
        except OSError:
            continue
        if header is not None and state.acknowledged.get(path.name) != -1:
            total += Loss(header.lost_records, header.lost_bytes)
    return total


def _fsync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)

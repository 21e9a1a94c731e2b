"""The reading side: one process at a time walks the records and acknowledges them.

Per segment records come in the order they were appended, and are acknowledged in that order. A
segment disappears when all of it is acknowledged and its writer has let it go. Whoever dies in
between leaves unacknowledged records behind; they come again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lodeline.records import value
from lodeline.spool.segment import HEADER, NEW_SUFFIX, SUFFIX, iter_frames, read_header
from lodeline.spool.state import State, read_state, write_state

_LOCK: Final = "drain.lock"
# Acknowledged offset of a segment whose losses are counted already: only its file is left.
_REMOVED: Final = -1
# A file is put in place within moments of its making.
_ABANDONED_SECONDS: Final = 60.0


@value
class SpooledRecord:
    """One record as appended.

    Attributes:
        segment: file name of its segment.
        end: offset behind it, as `Drain.acknowledge` takes it.
        body: the bytes.
    """

    segment: str
    end: int
    body: bytes

    @property
    def writer(self) -> str:
        """Name of the writer that appended it."""
        return writer_of(self.segment)


def writer_of(segment: str) -> str:
    """Name of the writer of a segment."""
    return segment.split("-")[1]


@contextlib.contextmanager
def open_drain(directory: Path | str) -> Iterator[Drain | None]:
    """Become the drain of a spool.

    Yields:
        `None` when another process drains it just now.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield Drain(directory)
    finally:
        os.close(file)


class Drain:
    """The one reader of a spool. Made by `open_drain`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state = read_state(directory)
        # Ends of damaged places met, by segment; counted when they are passed for good.
        self._torn: dict[str, set[int]] = {}

    @property
    def notes(self) -> dict[str, object]:
        """What the deliverer keeps beside the acknowledgements; written with the next of them."""
        return self._state.notes

    def keep_notes(self) -> None:
        """Write the notes now.

        Raises:
            OSError: the disk is full or not writable; the old notes stay.
        """
        write_state(self.directory, self._state)

    @property
    def state(self) -> State:
        """Acknowledgements and losses so far."""
        return self._state

    def iter_segments(self) -> Iterator[str]:
        """List the segments that stand now, oldest first."""
        yield from sorted(path.name for path in self.directory.glob("*" + SUFFIX))

    def iter_records(self, segment: str) -> Iterator[SpooledRecord]:
        """Walk the unacknowledged records of one segment, in order.

        Damage left by a writer that died is skipped, and counted once it is acknowledged.
        """
        start = self._state.acknowledged.get(segment, HEADER.size)
        if start == _REMOVED:
            return
        path = self.directory / segment
        closed = _is_let_go(path)
        try:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
        except FileNotFoundError:
            return
        for found in iter_frames(data, base=start, closed=closed):
            if found.body is None:
                self._torn.setdefault(segment, set()).add(found.end)
            else:
                yield SpooledRecord(segment, found.end, found.body)

    def acknowledge(self, ends: dict[str, int]) -> None:
        """Remember that all records up to these offsets were delivered, durably.

        Args:
            ends: `SpooledRecord.end` of the last delivered record, by segment.

        Raises:
            OSError: they could not be remembered; the records will come again.
        """
        self._state.acknowledged.update(ends)
        for segment, end in ends.items():
            self._count_torn(segment, end)
        write_state(self.directory, self._state)

    def _count_torn(self, segment: str, end: int) -> None:
        met = self._torn.get(segment, set())
        passed = {place for place in met if place <= end}
        self._state.torn += len(passed)
        met -= passed

    def remove_delivered(self) -> list[str]:
        """Remove what is wholly acknowledged and let go by its writer.

        Returns:
            Writers of which no segment is left.
        """
        self._remove_abandoned()
        segments = list(self.iter_segments())
        removed = [segment for segment in segments if self._is_done(segment)]
        if not removed:
            return []
        for segment in removed:
            if self._state.acknowledged.get(segment) != _REMOVED:
                self._count_removed(segment)
        # The losses are remembered before the file that counts them goes; after a crash in
        # between, the mark says that they are counted.
        write_state(self.directory, self._state)
        for segment in removed:
            (self.directory / segment).unlink(missing_ok=True)
            self._state.acknowledged.pop(segment, None)
        write_state(self.directory, self._state)
        left = {writer_of(segment) for segment in segments if segment not in removed}
        return sorted({writer_of(segment) for segment in removed} - left)

    def drop(self, segment: str) -> int:
        """Remove a segment with what was not delivered of it, which counts as lost.

        Returns:
            Bytes freed; 0 for a segment that somebody still writes.
        """
        path = self.directory / segment
        if not _is_let_go(path) or self._state.acknowledged.get(segment) == _REMOVED:
            return 0
        left = [len(record.body) for record in self.iter_records(segment)]
        size = path.stat().st_size
        self._count_removed(segment)
        self._state.lost_records += len(left)
        self._state.lost_bytes += sum(left)
        # As in `remove_delivered`: first the loss is remembered, then the file goes.
        write_state(self.directory, self._state)
        path.unlink(missing_ok=True)
        self._state.acknowledged.pop(segment, None)
        write_state(self.directory, self._state)
        return size

    def _count_removed(self, segment: str) -> None:
        with (self.directory / segment).open("rb") as file:
            header = read_header(file.read(HEADER.size))
        if header is not None:
            self._state.lost_records += header.lost_records
            self._state.lost_bytes += header.lost_bytes
        self._count_torn(segment, max(self._torn.get(segment, ()), default=0))
        self._state.acknowledged[segment] = _REMOVED

    def _remove_abandoned(self) -> None:
        """Remove files of writers that died before they were in place, and so are empty."""
        for path in self.directory.glob("*" + NEW_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS and _is_let_go(path):
                    path.unlink()

    def _is_done(self, segment: str) -> bool:
        path = self.directory / segment
        if not _is_let_go(path):
            return False
        end = self._state.acknowledged.get(segment, HEADER.size)
        if end == _REMOVED:
            return True
        size = path.stat().st_size
        # Damage that reaches the end of a finished segment hides nothing deliverable.
        return size <= end or (size in self._torn.get(segment, ()) and self._only_torn(segment))

    def _only_torn(self, segment: str) -> bool:
        return next(self.iter_records(segment), None) is None


def drop_oldest(
    directory: Path | str, *, bytes_wanted: int = 0, written_before: float | None = None
) -> int:
    """Drop the oldest segments that nobody writes; what they held counts as lost.

    Does nothing while another process delivers: it is about to make room by itself.

    Args:
        directory: of the spool.
        bytes_wanted: stop when so many are free.
        written_before: drop all that were last written before this time, and none else.

    Returns:
        Bytes freed.

    Raises:
        OSError: the loss could not be remembered, so nothing further was dropped.
    """
    freed = 0
    with open_drain(directory) as drain:
        for segment in () if drain is None else list(drain.iter_segments()):
            assert drain is not None
            if written_before is None:
                if freed >= bytes_wanted:
                    break
            elif (drain.directory / segment).stat().st_mtime >= written_before:
                continue
            freed += drain.drop(segment)
    return freed


def iter_pending(directory: Path | str) -> Iterator[tuple[str, int]]:
    """List the segments that hold unacknowledged bytes, and how many. Needs no lock."""
    directory = Path(directory)
    acknowledged = read_state(directory).acknowledged
    for path in sorted(directory.glob("*" + SUFFIX)):
        end = acknowledged.get(path.name, HEADER.size)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            continue
        if end != _REMOVED and size > end:
            yield path.name, size - end


def _is_let_go(path: Path) -> bool:
    """Whether no process writes a segment any more."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True

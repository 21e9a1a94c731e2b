"""The journal: what one observed process did, line by line, on disk before anything else happens.

A line is the `repr` of a tuple. `repr` needs no import, keeps file names that are not valid text,
and is read back by `ast.literal_eval`, which runs no code. Each line is one append to a file that
is opened for it and closed again: a descriptor kept open could be closed by a program that turns
into a daemon, and its number would then belong to one of the program's own files.

The first line counts what could not be written; overwriting it in place needs no disk space, so the
count survives a full disk. A journal without its `end` line belongs to a process that died, or
that still lives.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from typing import Any, Final

from lodeline.credentials import scrub_bytes
from lodeline.limits import JOURNAL_LINE_BYTES_MAX

SUFFIX: Final = ".journal"
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC

_LOSS: Final = b"# lost %012d\n"

Line = tuple[Any, ...]


def journal_directory(spool: str) -> str:
    """Where the journals of a spool lie."""
    return os.path.join(spool, "journals")


class Journal:
    """One run's journal in one process. Never raises; counts what it could not write.

    Args:
        directory: where journals lie; made when missing.
        root: UUID of the outermost run, by which its parent finds all journals under it.
        header: the first line's facts, written with the first append.
    """

    def __init__(self, directory: str, root: str, header: dict[str, Any]) -> None:
        self.directory = directory
        self.root = root
        self.header = header
        self.lost = 0
        self.path = ""
        self._torn = False
        _LIVE.add(self)

    def open(self) -> bool:
        """Write the header now; whether the journal stands."""
        return bool(self.path) or self._begin()

    def append(self, line: Line) -> bool:
        """Write one line; whether it is in the file now."""
        if (self.path or self._begin()) and self._write(line):
            return True
        self.lost += 1
        self._tell_loss()
        return False

    def _tell_loss(self) -> None:
        if not self.path:
            return
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(file, _LOSS % self.lost, 0)
            finally:
                os.close(file)
        except OSError:
            return

    def _begin(self) -> bool:
        pid = os.getpid()
        name = f"{self.root}.{pid}.{os.urandom(4).hex()}{SUFFIX}"
        self.path = os.path.join(self.directory, name)
        facts = {**self.header, "pid": pid, "ticks": start_ticks(pid)}
        header = ("run", time.time_ns() // 1000, facts)
        if self._write(header, begins=True):
            return True
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
        except OSError:
            self.path = ""
            return False
        if not self._write(header, begins=True):
            self.path = ""
        return bool(self.path)

    def _write(self, line: Line, *, begins: bool = False) -> bool:
        try:
            data = scrub_bytes((repr(line) + "\n").encode("utf-8", "backslashreplace"))
            if len(data) > JOURNAL_LINE_BYTES_MAX:
                return False
            if begins:
                data = _LOSS % 0 + data
            elif self._torn:
                data = b"\n" + data
            file = os.open(self.path, _FLAGS, 0o600)
            try:
                written = os.write(file, data)
            finally:
                os.close(file)
        except (OSError, ValueError, RecursionError):
            return False
        # When the disk is full the torn line has no end; the next one closes it, readers skip it.
        self._torn = 0 < written < len(data)
        return written == len(data)

    def _after_fork(self) -> None:
        # The child works for the same run, and says so in a journal of its own.
        self.path = ""
        self.header = {**self.header, "worker": True}


_LIVE: Final[weakref.WeakSet[Journal]] = weakref.WeakSet()


def _renew_all() -> None:
    for journal in list(_LIVE):
        journal._after_fork()  # noqa: SLF001  # the module's own hook


os.register_at_fork(after_in_child=_renew_all)


def start_ticks(pid: int) -> int:
    """When a process started, in the kernel's ticks: tells it from a later one of the same pid.

    Returns:
        0 where the kernel does not say, or the process is gone.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            # A zombie is gone: only its parent, or a slow init, has not taken notice.
            return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def iter_lines(path: str, *, offset: int = 0) -> Iterator[tuple[int, Line]]:
    """Read the whole lines of a journal from an offset on.

    Yields:
        The offset behind the line, and the line. Damaged lines are skipped.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                offset += len(raw)
                line = _parse(raw)
                if line is not None:
                    yield offset, line
    except OSError:
        return


def read_loss(path: str) -> int:
    """How many lines a journal's process could not write."""
    try:
        with open(path, "rb") as file:
            return int(file.readline().removeprefix(b"# lost ") or b"0")
    except (OSError, ValueError):
        return 0


def _parse(raw: bytes) -> Line | None:
    # Only readers need it; writers are observed programs, and start without.
    import ast

    try:
        value = ast.literal_eval(raw.decode("utf-8"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, tuple) and value and isinstance(value[0], str) else None

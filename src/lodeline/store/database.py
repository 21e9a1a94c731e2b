"""Connections to one SQLite file: a writer behind the lock, readers in snapshots, our errors.

WAL, so that readers never wait for the writer; `synchronous=FULL`, so that a commit is durable
when it returns.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lodeline.errors import (
    LodelineError,
    StoreCorruptError,
    StoreFullError,
    StoreUnreachableError,
)
from lodeline.limits import CHECKPOINT_TRIES, STORE_BUSY_MS, WAL_PAGES_MAX, WRITER_CACHE_KB
from lodeline.store.connections import Connection, many_rows
from lodeline.store.guards import Guard, Script
from lodeline.store.locks import WriterLock

# The write-ahead log can't be emptied under a reader; snapshots last milliseconds.
_CHECKPOINT_DELAY_SECONDS = 0.1
# Idle reader connections kept for reuse; more than threads usually asking at once.
_IDLE_READERS_MAX = 8

# Writing beyond a quota or a file size limit is an I/O error to SQLite, no full disk.
_FULL = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# The primary code is in the low byte of an extended code.
_PRIMARY = 0xFF


def translate_error(error: sqlite3.Error, url: str) -> LodelineError:
    """Give our error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY
    if primary == sqlite3.SQLITE_FULL or code in _FULL:
        return StoreFullError(url, str(error))
    if primary in _CORRUPT:
        return StoreCorruptError(url, str(error))
    if isinstance(error, sqlite3.IntegrityError) and "append-only" in str(error):
        return StoreCorruptError(url, str(error))
    return StoreUnreachableError(url, str(error))


def translate_os_error(error: OSError, url: str, path: Path) -> LodelineError:
    """Give our error for one of the system's about a file beside the store."""
    reason = f"{path}: {error.strerror}"
    if error.errno in _FULL_ERRNOS:
        return StoreFullError(url, reason)
    return StoreUnreachableError(url, reason)


def iter_statements(part: str | Guard) -> Iterator[str]:
    """Give the statements of a script's part. `executescript` would commit first."""
    if isinstance(part, str):
        yield from (one for one in part.split(";\n") if one.strip())
        return
    act = "INSERT" if part.act == "REPLACE" else part.act
    when = f"WHEN {part.when} " if part.when else ""
    yield (
        f"CREATE TRIGGER IF NOT EXISTS {part.name} BEFORE {act} ON {part.table} "
        f"{when}BEGIN SELECT RAISE(ABORT, '{part.message}'); END"
    )


class ManyRows(sqlite3.Connection):
    """A connection that adds many rows with one statement.

    `sqlite3.executemany` runs a statement a row, and lends the interpreter's lock to other threads
    around each: beside a busy event loop it waits for the lock thousands of times a batch.
    """

    def executemany(self, statement: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run one statement for each row of parameters; plain inserts, for many rows at a time."""
        statements = many_rows(statement, parameters)
        if statements is None:
            return super().executemany(statement, parameters)
        cursor = self.cursor()
        for whole, values in statements:
            cursor.execute(whole, values)
        return cursor


class SqliteDatabase:
    """One SQLite file.

    Attributes:
        path: of the file.
        url: as the user wrote it.
        observe_commit: told the seconds of each durable commit.
    """

    driver_error = sqlite3.Error

    def __init__(self, path: Path, *, url: str) -> None:
        self.path = path
        self.url = url
        self._lock = WriterLock(path.with_name(path.name + ".lock"), url=url)
        self._writer: sqlite3.Connection | None = None
        # How the writer's connection commits; unknown before its first transaction.
        self._durable: bool | None = None
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        self.observe_commit: Callable[[float], object] = lambda _: None

    def _connect(self) -> sqlite3.Connection:
        # rw, not rwc: a file that vanished must not come back empty.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=ManyRows,
            timeout=STORE_BUSY_MS / 1000,
        )
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate_error(error, self.url) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside one read snapshot; it refuses to write.

        Raises:
            StoreUnreachableError: the file cannot be opened or read.
            StoreCorruptError: it is no SQLite file, or a damaged one.
        """
        with self._translated():
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                # A deferred transaction has no snapshot before its first read.
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                yield connection
            finally:
                self._return_reader(connection)

    def _take_reader(self) -> sqlite3.Connection:
        with self._idle_lock:
            if self._closed:
                raise StoreUnreachableError(self.url, "the segment was closed")
            if self._idle:
                return self._idle.pop()
        connection = self._connect()
        connection.execute("PRAGMA query_only=ON")
        return connection

    def _return_reader(self, connection: sqlite3.Connection) -> None:
        try:
            connection.rollback()
        except sqlite3.Error:
            connection.close()
            return
        with self._idle_lock:
            if not self._closed and len(self._idle) < _IDLE_READERS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def locked(self) -> Iterator[sqlite3.Connection]:
        """Hold the writer's lock and lend its connection, outside any transaction."""
        with self._lock.held(), self._translated():
            if self._closed:
                raise StoreUnreachableError(self.url, "the segment was closed")
            if self._writer is None:
                self._writer = self._connect()
                self._durable = None
                self._writer.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KB}")
                self._writer.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX}")
            yield self._writer

    @contextmanager
    def transaction(self, connection: Connection, *, durable: bool = True) -> Iterator[Connection]:
        """Run a block as one transaction of the locked writer; undone whole if it raises.

        Without `durable` the commit is not fsynced: a power loss may undo it, never tear it, and
        never undoes an earlier durable one, since the write-ahead log is a sequence.
        """
        assert isinstance(connection, sqlite3.Connection)
        if durable is not self._durable:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            started = time.perf_counter()
            connection.execute("COMMIT")
            if durable:
                self.observe_commit(time.perf_counter() - started)
        except BaseException:
            # SQLite has already rolled back after some errors, such as a full disk.
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise

    @staticmethod
    def pipelined(connection: Connection, rows: int) -> AbstractContextManager[object]:  # noqa: ARG004  # the protocol's
        """Do nothing: there is no way to save."""
        return nullcontext()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Hold the writer's lock for one transaction. Not re-entrant."""
        with self.locked() as connection, self.transaction(connection, durable=durable):
            yield connection

    def prepare(self, connection: Connection) -> None:
        """Make sure of WAL mode: a crash may have come before it."""
        connection.execute("PRAGMA journal_mode=WAL")

    def create_tables(self, connection: Connection, script: Script) -> None:
        """Make tables and guards, inside the caller's transaction."""
        for part in script:
            for statement in iter_statements(part):
                connection.execute(statement)

    @contextmanager
    def purging(self) -> Iterator[sqlite3.Connection]:
        """Hold the writer's lock; freed bytes are overwritten."""
        with self.locked() as connection:
            connection.execute("PRAGMA secure_delete=ON")
            try:
                yield connection
            finally:
                connection.execute("PRAGMA secure_delete=OFF")

    def purge(self) -> bool:
        """Move everything into the database file; False where a reader held on for seconds.

        The write-ahead log keeps old forms of pages, so what is erased is gone only then.
        """
        with self.locked() as connection:
            for _ in range(CHECKPOINT_TRIES):
                (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return True
                time.sleep(_CHECKPOINT_DELAY_SECONDS)
        return False

    def iter_faults(self, connection: Connection) -> Iterator[str]:
        """Have SQLite look through its pages; at most five faults."""
        for (line,) in connection.execute("PRAGMA quick_check(5)"):
            if line != "ok":
                yield line

    def size_bytes(self) -> int:
        """Bytes of the file and its write-ahead log."""
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        return sum(file.stat().st_size for file in files if file.exists())

    def create(self) -> None:
        """Make the file, empty, in WAL mode. Does nothing to an existing one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise translate_os_error(error, self.url, self.path) from error
        with self.locked() as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    def __del__(self) -> None:
        if not self._closed:
            self.close()

    def close(self) -> None:
        """Close every idle connection and the writer's. Idempotent."""
        with self._idle_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

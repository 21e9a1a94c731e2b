"""Connections to one schema of a PostgreSQL database: a writer behind a lock, readers in snapshots.

- *The lock* of the writer is a session's advisory lock, named after the schema: one process at a
  time appends, and when it dies, its session ends and the next one goes on.
- *Snapshots* are REPEATABLE READ, READ ONLY. Tables are dropped and made again only under a lock
  that waits for snapshots taken before: making a table is not part of what a snapshot sees.
- *Durable* means `synchronous_commit`; views, which can be rebuilt, commit without.
- *A lost connection* is our own error, `StoreLostError`: a reader asks again, and a writer first
  finds out whether its commit was kept (`store.appending`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from hashlib import sha256
from typing import Any, LiteralString, cast

import psycopg
from psycopg import errors, sql
from psycopg.adapt import Loader
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from lodeline.errors import (
    LodelineError,
    StoreCorruptError,
    StoreFullError,
    StoreLostError,
    StoreUnreachableError,
    UsageError,
)
from lodeline.store.connections import Connection, Cursor, many_rows
from lodeline.store.guards import Guard, Script
from lodeline.store.postgres_bounds import PostgresBounds
from lodeline.store.postgres_dialect import (
    FUNCTIONS,
    copied_table,
    define,
    guard,
    is_definition,
    translate,
)

# Blobs lie beside the log: every process that has the database has them, and so has its backup.
# They are stored as they are, since their writers have compressed them.
BLOB_TABLE = """
CREATE TABLE IF NOT EXISTS blob(
    digest BLOB PRIMARY KEY,
    data BLOB NOT NULL
);
"""
# Between two attempts to reach a server that restarts.
_RECONNECT_DELAY_SECONDS = 0.1
# Rows of one table that are sent as statements of a pipeline; COPY takes two round trips a table,
# and less of the server's time a row.
PIPELINED_ROWS_MAX = 64
_FULL = (errors.DiskFull, errors.OutOfMemory)
_CORRUPT = (errors.DataCorrupted, errors.IndexCorrupted)
_DONE = (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK)
_STARTING = (errors.CannotConnectNow, errors.AdminShutdown, errors.CrashShutdown)


class _WholeNumber(Loader):
    """Reads what `sum` gives: PostgreSQL widens it to numeric, and it is whole here."""

    def load(self, data: Any) -> int:
        return int(bytes(data))


class _Flag(Int8Dumper):
    """Writes True as 1: flags are integers in every table."""

    def dump(self, obj: bool) -> bytes:  # noqa: FBT001  # psycopg calls it
        return b"1" if obj else b"0"


class _Numbers(str):
    """An array of numbers as PostgreSQL writes it."""

    __slots__ = ()


class _NumbersDumper(StrDumper):
    """Sends it as bigint[]."""

    oid = 1016


def _array_of(text: str) -> object:
    """Give a JSON array as a parameter; numbers, by the hundred, without a look at each."""
    if '"' in text or text == "[]":
        # Of what an empty one is, only the statement knows.
        return json.loads(text)
    return _Numbers("{" + text[1:-1] + "}")


class PostgresConnection:
    """A psycopg connection that takes our statements."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw
        raw.adapters.register_loader("numeric", _WholeNumber)
        raw.adapters.register_dumper(int, Int8Dumper)
        raw.adapters.register_dumper(bool, _Flag)
        raw.adapters.register_dumper(_Numbers, _NumbersDumper)
        # Of a group's inserts, which give no rows: making one costs as much as sending one.
        self._inserting = raw.cursor()

    def execute(
        self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> Cursor:
        """Run one statement."""
        if is_definition(statement):
            for one in define(statement):
                self.command(one)
            return self.raw.cursor()
        text, arrays = translate(statement)
        if arrays:
            assert isinstance(parameters, Mapping)
            decoded = {name: _array_of(parameters[name]) for name in arrays}
            parameters = {**parameters, **decoded}
        return self.raw.execute(_literal(text), parameters)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement for each row of parameters, without a round trip a row."""
        if self.raw.pgconn.pipeline_status != psycopg.pq.PipelineStatus.OFF:
            # COPY is a conversation of its own.
            return self._insert_many(statement, list(parameters))
        cursor = self.raw.cursor()
        table = copied_table(statement)
        if table is None:
            cursor.executemany(_literal(translate(statement)[0]), list(parameters))
            return cursor
        with cursor.copy(_literal(f"COPY {table} FROM STDIN")) as copy:
            for row in parameters:
                copy.write_row(row)
        return cursor

    def _insert_many(self, statement: str, rows: list[Sequence[Any]]) -> Cursor:
        cursor = self._inserting
        statements = many_rows(statement, rows)
        if statements is None:
            cursor.executemany(_literal(translate(statement)[0]), rows)
        else:
            for whole, values in statements:
                cursor.execute(_literal(translate(whole)[0]), values)
        return cursor

    def command(self, statement: str) -> None:
        """Run what is PostgreSQL's own; several statements in one round trip."""
        # Not prepared: nothing is to be planned, and several statements cannot be.
        self.raw.execute(_literal(statement), prepare=False)

    def control(self, statement: str) -> None:
        """Begin or end a transaction.

        By libpq's own call: psycopg would make a cursor, look whether to prepare it, and wait in
        steps so as to be interrupted, at five times the cost.
        """
        result = self.raw.pgconn.exec_(statement.encode())
        if result.status in _DONE:
            return
        error = errors.error_from_result(result)
        if error.sqlstate is None:
            # The server said nothing: libpq itself found the connection broken.
            self.raw.close()
        raise error

    @property
    def lost(self) -> bool:
        """Whether the server is gone."""
        return self.raw.closed or self.raw.pgconn.status != psycopg.pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        """Whether there is something to roll back."""
        return self.raw.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE


def _literal(statement: str) -> LiteralString:
    # Statements are constants of our modules; psycopg asks for literals to keep values out.
    return cast("Any", statement)  # type: ignore[no-any-return]


class PostgresDatabase:
    """One schema of a PostgreSQL database.

    Attributes:
        url: without its password.
        schema: the tables' home.
        observe_commit: told the seconds of each durable commit.
    """

    driver_error = psycopg.Error

    def __init__(self, conninfo: str, *, url: str, schema: str, bounds: PostgresBounds) -> None:
        self.url = url
        self.schema = schema
        self._conninfo = conninfo
        self._bounds = bounds
        digest = sha256(b"lodeline/writer/" + schema.encode()).digest()
        self._lock_key = int.from_bytes(digest[:8], "big", signed=True)
        self._thread_lock = threading.Lock()
        self._writer: PostgresConnection | None = None
        self._idle: list[PostgresConnection] = []
        self._idle_lock = threading.Lock()
        self._free = threading.BoundedSemaphore(bounds.connections)
        self._reached = False
        self._has_tables = False
        self._closed = False
        self.observe_commit: Callable[[float], object] = lambda _: None

    # Connections

    def _connect(self) -> PostgresConnection:
        idle_seconds = self._bounds.idle_transaction_seconds
        options = " ".join(
            f"-c {name}={value}"
            for name, value in {
                "search_path": self.schema,
                "statement_timeout": self._bounds.statement_seconds * 1000,
                "lock_timeout": self._bounds.lock_seconds * 1000,
                "idle_in_transaction_session_timeout": idle_seconds * 1000,
                # A client that vanished without a word must not keep the lock for hours.
                "tcp_keepalives_idle": 10,
                "tcp_keepalives_interval": 5,
                "tcp_keepalives_count": 3,
            }.items()
        )
        # Only one that was there before is waited for: it restarts; a wrong address does not.
        deadline = time.monotonic() + (self._bounds.reconnect_seconds if self._reached else 0)
        while True:
            try:
                raw = psycopg.connect(self._conninfo, autocommit=True, options=options)
            except psycopg.OperationalError:
                if time.monotonic() >= deadline or self._closed:
                    raise
                time.sleep(_RECONNECT_DELAY_SECONDS)
            else:
                self._reached = True
                return PostgresConnection(raw)

    @contextmanager
    def _translated(self, connection: PostgresConnection | None = None) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._translate(error, connection) from error

    def _translate(
        self, error: psycopg.Error, connection: PostgresConnection | None
    ) -> LodelineError:
        reason = " ".join(str(error).split())
        if isinstance(error, _FULL):
            return StoreFullError(self.url, reason)
        if isinstance(error, _CORRUPT):
            return StoreCorruptError(self.url, reason)
        if isinstance(error, psycopg.IntegrityError):
            return StoreCorruptError(self.url, reason)
        if isinstance(error, psycopg.DataError) and error.sqlstate is None:
            # The driver's, before anything is sent: PostgreSQL's texts hold no NUL, and so does
            # nothing that was recorded.
            return UsageError("no text of the record holds the character U+0000")
        if isinstance(error, _STARTING) or (connection is not None and connection.lost):
            return StoreLostError(self.url, reason)
        return StoreUnreachableError(self.url, reason)

    # Reading

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a connection inside one read snapshot; it refuses to write.

        Raises:
            StoreUnreachableError: the server cannot be reached, or refuses.
            StoreLostError: it went away meanwhile; asking again may succeed.
        """
        if not self._free.acquire(timeout=self._bounds.wait_seconds):
            raise StoreUnreachableError(
                self.url, f"all {self._bounds.connections} connections of this process are in use"
            )
        try:
            connection = self._begin_reading()
            try:
                with self._translated(connection):
                    yield connection
            finally:
                self._return_reader(connection)
        finally:
            self._free.release()

    def _begin_reading(self) -> PostgresConnection:
        """Take a connection and its snapshot; one that died while idle is thrown away."""
        while True:
            with self._idle_lock:
                if self._closed:
                    raise StoreUnreachableError(self.url, "the segment was closed")
                connection = self._idle.pop() if self._idle else None
            idle = connection is not None
            with self._translated():
                connection = connection or self._connect()
            try:
                self._take_snapshot(connection)
            except psycopg.Error as error:
                lost = connection.lost
                connection.raw.close()
                if not (idle and lost):
                    raise self._translate(error, connection) from error
            else:
                return connection

    def _take_snapshot(self, connection: PostgresConnection) -> None:
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
        if self._has_tables:
            # The lock comes before the snapshot; see `exclude_readers`.
            connection.control(begin + "LOCK TABLE meta IN ACCESS SHARE MODE; SELECT 1")
            return
        connection.control(begin + "SELECT 1")
        row = connection.raw.execute("SELECT to_regclass('meta') IS NOT NULL").fetchone()
        self._has_tables = bool(row and row[0])

    def _return_reader(self, connection: PostgresConnection) -> None:
        try:
            connection.control("ROLLBACK")
        except psycopg.Error:
            connection.raw.close()
            return
        with self._idle_lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.raw.close()

    @contextmanager
    def aside(self) -> Iterator[Connection]:
        """Run a block as one durable transaction beside the log, without the writer's lock."""
        with self.reading() as connection:
            assert isinstance(connection, PostgresConnection)
            connection.control("ROLLBACK; BEGIN; SET LOCAL synchronous_commit = on")
            yield connection
            connection.control("COMMIT")

    # Writing

    @contextmanager
    def locked(self) -> Iterator[PostgresConnection]:
        """Hold the writer's lock and lend its connection, outside any transaction."""
        with self._thread_lock:
            connection = self._take_lock()
            try:
                with self._translated(connection):
                    yield connection
            finally:
                self._release_lock(connection)

    def _take_lock(self) -> PostgresConnection:
        while True:
            if self._closed:
                raise StoreUnreachableError(self.url, "the segment was closed")
            connection = self._writer
            with self._translated():
                fresh = connection is None
                connection = connection or self._connect()
            self._writer = connection
            try:
                connection.command(f"SELECT pg_advisory_lock({self._lock_key})")
            except errors.LockNotAvailable as error:
                raise StoreUnreachableError(
                    self.url,
                    f"another process has held the writer's lock for {self._bounds.lock_seconds} s",
                ) from error
            except psycopg.Error as error:
                lost = connection.lost
                self._drop_writer()
                if fresh or not lost:
                    raise self._translate(error, connection) from error
            else:
                return connection

    def _release_lock(self, connection: PostgresConnection) -> None:
        try:
            connection.control(f"SELECT pg_advisory_unlock({self._lock_key})")
        except psycopg.Error:
            # The session's end releases it.
            self._drop_writer()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.raw.close()

    @contextmanager
    def transaction(
        self, connection: Connection, *, durable: bool = True
    ) -> Iterator[PostgresConnection]:
        """Run a block as one transaction of the locked writer; undone whole if it raises.

        Without `durable` the commit does not wait for the disk: a crash of the server may undo
        it, never tear it, and never undoes an earlier durable one, since the write-ahead log is
        a sequence.
        """
        assert isinstance(connection, PostgresConnection)
        mode = "on" if durable else "off"
        connection.control(f"BEGIN; SET LOCAL synchronous_commit = {mode}")
        try:
            yield connection
            started = time.perf_counter()
            connection.control("COMMIT")
            if durable:
                self.observe_commit(time.perf_counter() - started)
        except BaseException:
            if not connection.lost and connection.in_transaction:
                with suppress(psycopg.Error):
                    connection.control("ROLLBACK")
            raise

    @staticmethod
    def pipelined(connection: Connection, rows: int) -> AbstractContextManager[object]:
        """Send what a block changes in one round trip, unless there is so much that COPY pays."""
        assert isinstance(connection, PostgresConnection)
        return connection.raw.pipeline() if rows <= PIPELINED_ROWS_MAX else nullcontext()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[PostgresConnection]:
        """Hold the writer's lock for one transaction. Not re-entrant."""
        with self.locked() as connection, self.transaction(connection, durable=durable):
            yield connection

    # Tables

    def has_tables(self) -> bool:
        """Whether a segment was made here."""
        with self.reading():
            return self._has_tables

    def prepare(self, connection: Connection) -> None:
        """Make the schema, the functions that statements call, and the table of blobs."""
        assert isinstance(connection, PostgresConnection)
        schema = sql.Identifier(self.schema).as_string()
        connection.command(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for function in FUNCTIONS:
            connection.command(function)
        connection.execute(BLOB_TABLE.strip())

    def create_tables(self, connection: Connection, script: Script) -> None:
        """Make tables and guards, inside the caller's transaction."""
        assert isinstance(connection, PostgresConnection)
        for part in script:
            if isinstance(part, Guard):
                for statement in guard(part):
                    connection.command(statement)
                continue
            for statement in part.split(";\n"):
                if statement.strip():
                    connection.execute(statement.strip())

    @contextmanager
    def purging(self) -> Iterator[PostgresConnection]:
        """Hold the writer's lock. Old forms of rows go when `purge` has their tables vacuumed."""
        with self.locked() as connection:
            yield connection

    def purge(self) -> bool:
        """Vacuum what may hold old forms of erased rows.

        Reused space is overwritten as new rows come; the server's write-ahead log, replicas and
        backups keep old forms as long as their retention says.
        """
        with self.locked() as connection:
            for table in ("payload", "record_secret", "sealed_value", "field_salt", "dead_letter"):
                connection.command(f"VACUUM {table}")
        return True

    def iter_faults(self, connection: Connection) -> Iterator[str]:  # noqa: ARG002  # SQLite asks
        """Nothing: PostgreSQL checks pages as they are read, where checksums are on."""
        yield from ()

    def size_bytes(self) -> int:
        """Bytes of all tables and indexes of the schema."""
        with self.reading() as connection:
            (count,) = connection.execute(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = ? AND c.relkind = 'r'",
                (self.schema,),
            ).fetchone()
        return int(count)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def close(self) -> None:
        """Close every idle connection and the writer's. Idempotent."""
        with self._idle_lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.raw.close()
        self._drop_writer()

"""psycopg 3: statements, COPY and transactions of connections, with and without asyncio.

Tables are datasets as OpenLineage names them: `postgres://host:port`, `database.schema.table`.
Statements are told after they succeeded, writes when they are committed. The catalog is asked
through libpq directly, past the program's cursors, rows and adapters. Pipelines are a gap: in one,
nothing can be asked and success comes later.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from lodeline.capture.patches import Patches
from lodeline.capture.postgres_rows import REFUSED, PostgresRows, Rows, may_link
from lodeline.capture.recorder import Recorder
from lodeline.capture.sql_sessions import SqlSession
from lodeline.errors import UnsupportedQueryError

_INACTIVE: Final = 0
_IN_TRANSACTION: Final = 2


class PsycopgIntegration:
    """psycopg 3."""

    name = "psycopg"
    supports = "psycopg>=3.1,<4"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch cursors, connections and transaction blocks."""
        import psycopg

        patches = Patches("psycopg")
        observer = _Observer(recorder)
        for cursor in (psycopg.Cursor, psycopg.ServerCursor):
            if recorder.rows:
                patches.around(cursor, "execute", observer.before_execute, observer.after_linked)
            else:
                patches.after(cursor, "execute", observer.after_execute)
            patches.after(cursor, "executemany", observer.after_execute)
            patches.streaming(cursor, "stream", observer.after_execute)
            patches.after(cursor, "copy", observer.before_copy)
        for awaited in (psycopg.AsyncCursor, psycopg.AsyncServerCursor):
            for name in ("execute", "executemany"):
                patches.after_awaited(awaited, name, observer.after_execute)
            patches.streaming(awaited, "stream", observer.after_execute)
            patches.after(awaited, "copy", observer.before_copy)
        patches.after(psycopg.Copy, "__exit__", observer.after_copy)
        patches.after_awaited(psycopg.AsyncCopy, "__aexit__", observer.after_copy)
        for name, committed in (("commit", True), ("rollback", False)):
            act = observer.ending(committed=committed)
            patches.after(psycopg.Connection, name, act)
            patches.after_awaited(psycopg.AsyncConnection, name, act)
        patches.after(psycopg.Transaction, "__enter__", observer.after_enter)
        patches.after(psycopg.Transaction, "__exit__", observer.after_exit)
        patches.after_awaited(psycopg.AsyncTransaction, "__aenter__", observer.after_enter)
        patches.after_awaited(psycopg.AsyncTransaction, "__aexit__", observer.after_exit)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._sessions: weakref.WeakKeyDictionary[Any, SqlSession] = weakref.WeakKeyDictionary()
        self._copies: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._rows: weakref.WeakKeyDictionary[Any, PostgresRows] = weakref.WeakKeyDictionary()

    def _session(self, connection: Any) -> SqlSession:
        session = self._sessions.get(connection)
        if session is None:
            from lodeline.capture.postgres_catalog import PostgresCatalog

            info = connection.info
            catalog = PostgresCatalog(
                host=info.host, port=info.port, database=info.dbname, ask=_asker(connection)
            )
            rows = self._rows_of(connection, catalog.namespace)
            session = self._sessions[connection] = SqlSession(
                self._recorder,
                dialect="postgres",
                driver="psycopg",
                describe=catalog.describe,
                own_functions=catalog.own_functions,
                changed=rows.changed if rows is not None else lambda *_: None,
            )
        return session

    def _rows_of(self, connection: Any, namespace: str) -> PostgresRows | None:
        if not self._recorder.rows:
            return None
        rows = self._rows[connection] = PostgresRows(
            self._recorder, driver="psycopg", namespace=namespace, database=connection.info.dbname
        )
        return rows

    # Rows

    def before_execute(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Ask what the rows of a statement will be made of."""
        cursor = args[0]
        connection = cursor.connection
        self._session(connection)
        if self._recorder.local.sql_rows is not None:
            self._recorder.local.sql_rows.append((None, 0))
        if hasattr(cursor, "name"):  # The rows of a server's cursor come later.
            return None
        query = args[1] if len(args) > 1 else kwargs.get("query")
        values = args[2] if len(args) > 2 else kwargs.get("params")
        text = _text_of(query, connection)
        if values is not None:
            if not may_link(text, reads=self._recorder.local.sql_rows is not None):
                return None
            if not _is_plain(values):
                self._rows[connection].gap("parameter", "a value whose type PostgreSQL may widen")
                return None
            text = _with_values(connection, query, values)
        server = _Server(connection)
        if server.ready() is not None:
            return None
        with connection.lock:  # As the driver's own calls do.
            linking = self._rows[connection].before(text, server)
        return None if linking is None else (linking, server)

    def after_linked(
        self, told: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Claim what was asked, if it was so."""
        cursor = args[0]
        rows = self._rows.get(cursor.connection)
        if told is None or rows is None:
            self.after_execute(result, args, kwargs)
            return
        linking, server = told
        if linking.kind != "insert":
            ran, source = server.rows_of(cursor.pgresult), None
            if ran is not None:
                with cursor.connection.lock:
                    source = rows.after_query(linking, server, ran)
            reads = self._recorder.local.sql_rows
            if reads:
                reads[-1] = (source, len(linking.given.rows))
            self.after_execute(result, args, kwargs)
            return
        with cursor.connection.lock:
            linked = rows.after_insert(linking, server, cursor.rowcount)
        finish = None if linked is None else partial(rows.committed, linked)
        self.after_execute(result, args, kwargs, rows=finish)

    def after_execute(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, rows: Any = None
    ) -> None:
        del result
        cursor = args[0]
        query = args[1] if len(args) > 1 else kwargs.get("query", kwargs.get("statement"))
        session = self._session(cursor.connection)
        if cursor.connection.pgconn.pipeline_status:
            detail = "statements in a pipeline succeed or fail later; they are not read"
            self._recorder.gap("psycopg", "capture", detail)
            return
        session.ran(_text_of(query, cursor.connection), rows=rows)
        if cursor.connection.pgconn.transaction_status == _INACTIVE:
            session.ended(committed=not _rolls_back(query))

    def before_copy(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember the statement: only the end of the block tells whether it succeeded."""
        del result
        query = args[1] if len(args) > 1 else kwargs.get("statement")
        self._copies[args[0]] = query

    def after_copy(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        cursor = args[0].cursor
        query = self._copies.pop(cursor, None)
        if query is not None and (len(args) < 2 or args[1] is None):
            self.after_execute(result, (cursor, query), kwargs)

    def ending(self, *, committed: bool) -> Callable[..., None]:
        def after(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result, kwargs
            session = self._sessions.get(args[0])
            if session is not None:
                session.ended(committed=committed)

        return after

    def after_enter(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result, kwargs
        block = args[0]
        self._session(block.connection).mark(f"block {id(block)}")

    def after_exit(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result, kwargs
        block = args[0]
        session = self._session(block.connection)
        if args[1] is not None or block.force_rollback:
            session.roll_back_to(f"block {id(block)}")
        if block.connection.pgconn.transaction_status == _INACTIVE:
            # What was written before the block was its own transaction's; the block's own is left.
            session.ended(committed=True)


def _asker(connection: Any) -> Callable[[str, str], Sequence[Sequence[str | None]] | None]:
    held = weakref.ref(connection)

    def ask(query: str, value: str) -> Sequence[Sequence[str | None]] | None:
        pgconn = held().pgconn  # type: ignore[union-attr]  # asked only during its own statement
        if pgconn.transaction_status not in {_INACTIVE, _IN_TRANSACTION} or pgconn.pipeline_status:
            return None
        result = pgconn.exec_params(query.encode(), [value.encode()])
        if result.error_message:
            raise ValueError(result.error_message.decode("utf-8", "replace"))
        return [
            [
                None if cell is None else cell.decode()
                for cell in (result.get_value(row, column) for column in range(result.nfields))
            ]
            for row in range(result.ntuples)
        ]

    return ask


class _Server:
    """A connection for questions about rows; see `postgres_rows.Server`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn

    def ready(self) -> str | None:
        import psycopg

        if not isinstance(self._connection, psycopg.Connection) or self._pgconn.pipeline_status:
            return "asynchronous, or in a pipeline"
        if self._pgconn.transaction_status not in {_INACTIVE, _IN_TRANSACTION}:
            return "its transaction has failed"
        return None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Open a transaction or a savepoint that is undone."""
        alone = self._pgconn.transaction_status == _INACTIVE
        opening = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        notices, self._pgconn.notice_handler = self._pgconn.notice_handler, None
        try:
            self._run(opening if alone else "SAVEPOINT lodeline_rows")
            try:
                yield
            finally:
                if alone:
                    self._run("ROLLBACK")
                else:
                    self._run("ROLLBACK TO SAVEPOINT lodeline_rows")
                    self._run("RELEASE SAVEPOINT lodeline_rows")
        finally:
            self._pgconn.notice_handler = notices

    def ask(self, sql: str) -> Rows:
        from psycopg.pq import ExecStatus

        result = self._run(sql)
        rows = self.rows_of(result)
        if result.status != ExecStatus.TUPLES_OK or rows is None:
            raise UnsupportedQueryError(REFUSED, "gave no rows")
        return rows

    def _run(self, sql: str) -> Any:
        from psycopg.pq import DiagnosticField

        result = self._pgconn.exec_(sql.encode())
        if result.error_message:
            # What the server says may quote values.
            state = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
            raise UnsupportedQueryError(REFUSED, f"refused it: SQLSTATE {state}")
        return result

    def rows_of(self, result: Any) -> Rows | None:
        """Read a result as the server sent it; `None` where that is not text."""
        width = result.nfields
        if any(result.fformat(place) for place in range(width)):
            return None
        columns = tuple(
            ((result.fname(place) or b"").decode(), int(result.ftype(place)))
            for place in range(width)
        )
        rows = [
            tuple(
                None if cell is None else cell.decode()
                for cell in (result.get_value(row, place) for place in range(width))
            )
            for row in range(result.ntuples)
        ]
        return Rows(columns, rows)


# Types of which a literal in the text means what a bound value does. A float is none: it is bound
# as DOUBLE PRECISION, and written it would be NUMERIC.
_PLAIN: Final = frozenset({"int", "str", "Decimal", "date", "UUID", "NoneType"})


def _is_plain(values: Any) -> bool:
    members = values.values() if isinstance(values, Mapping) else values
    return all(type(one).__name__ in _PLAIN for one in members)


def _with_values(connection: Any, query: Any, values: Any) -> str:
    import psycopg

    text: str = psycopg.ClientCursor(connection).mogrify(query, values)
    return text


def _text_of(query: Any, connection: Any) -> str:
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    compose = getattr(query, "as_string", None)
    return str(compose(connection) if compose is not None else query)


def _rolls_back(query: Any) -> bool:
    return isinstance(query, str) and query.lstrip()[:8].lower().startswith(("rollback", "abort"))

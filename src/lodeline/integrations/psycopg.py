"""psycopg 3: statements, COPY and transactions of connections, with and without asyncio.

Tables are datasets as OpenLineage names them: `postgres://host:port`, `database.schema.table`.
Statements are told after they succeeded, writes when they are committed. The catalog is asked
through libpq directly, past the program's cursors, rows and adapters. Pipelines are a gap: in one,
nothing can be asked and success comes later.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.sql_sessions import SqlSession

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
            for name in ("execute", "executemany"):
                patches.after(cursor, name, observer.after_execute)
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

    def _session(self, connection: Any) -> SqlSession:
        session = self._sessions.get(connection)
        if session is None:
            from lodeline.capture.postgres_catalog import PostgresCatalog

            info = connection.info
            catalog = PostgresCatalog(
                host=info.host, port=info.port, database=info.dbname, ask=_asker(connection)
            )
            session = self._sessions[connection] = SqlSession(
                self._recorder,
                dialect="postgres",
                driver="psycopg",
                describe=catalog.describe,
                own_functions=catalog.own_functions,
            )
        return session

    def after_execute(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        cursor = args[0]
        query = args[1] if len(args) > 1 else kwargs.get("query", kwargs.get("statement"))
        session = self._session(cursor.connection)
        if cursor.connection.pgconn.pipeline_status:
            detail = "statements in a pipeline succeed or fail later; they are not read"
            self._recorder.gap("psycopg", "capture", detail)
            return
        session.ran(_text_of(query, cursor.connection))
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


def _text_of(query: Any, connection: Any) -> str:
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    compose = getattr(query, "as_string", None)
    return str(compose(connection) if compose is not None else query)


def _rolls_back(query: Any) -> bool:
    return isinstance(query, str) and query.lstrip()[:8].lower().startswith(("rollback", "abort"))

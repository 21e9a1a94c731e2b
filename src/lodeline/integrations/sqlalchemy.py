"""SQLAlchemy: the statements of engines whose driver has no integration of its own.

Core, the ORM and frames that are read and written through an engine end in statements of a driver.
Where that is sqlite3, psycopg or psycopg2, their integrations see them, with the schema; here are
the others, through SQLAlchemy's own events. Their schema is not asked for: what a statement's
columns are made of is followed as far as its text tells, and the rest is a gap.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lodeline.capture.datasets import Dataset
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder

if TYPE_CHECKING:
    from lodeline.capture.relations import Relation
    from lodeline.capture.sql_sessions import SqlSession

# Drivers with an integration of their own.
_OBSERVED: Final = frozenset({"pysqlite", "psycopg", "psycopg2"})
# Driver-wise the same; its connections run in a thread that opened them by `sqlite3.connect`.
_WRAPPED: Final = frozenset({"aiosqlite", "psycopg_async"})
_DIALECTS: Final = {"postgresql": "postgres", "mariadb": "mysql", "mssql": "tsql"}
_SCHEMES: Final = {"postgresql": "postgres", "mariadb": "mysql"}
_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521}
# Databases whose names have two parts: the database is the schema.
_TWO_PARTS: Final = frozenset({"mysql", "mariadb"})


class SqlalchemyIntegration:
    """SQLAlchemy 1.4 and 2."""

    name = "sqlalchemy"
    supports = "SQLAlchemy>=1.4,<3"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Listen to every engine."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        patches = Patches("sqlalchemy")
        observer = _Observer(recorder)
        for name, listener in (
            ("after_cursor_execute", observer.after_execute),
            ("commit", observer.committed),
            ("rollback", observer.rolled_back),
            ("savepoint", observer.savepoint),
            ("rollback_savepoint", observer.rolled_back_to),
        ):
            event.listen(Engine, name, listener)
            patches.on_undo(partial(event.remove, Engine, name, listener))
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._sessions: weakref.WeakKeyDictionary[Any, SqlSession] = weakref.WeakKeyDictionary()

    def after_execute(  # noqa: PLR0917  # as SQLAlchemy calls it
        self,
        connection: Any,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: Any,
    ) -> None:
        del cursor, parameters, context, executemany
        try:
            session = self._session(connection)
            if session is not None:
                session.ran(statement)
                if connection._is_autocommit_isolation():
                    session.ended(committed=True)
        except Exception as error:  # capture's outermost door
            self._recorder.trouble("sqlalchemy", error)

    def committed(self, connection: Any) -> None:
        self._end(connection, committed=True)

    def rolled_back(self, connection: Any) -> None:
        self._end(connection, committed=False)

    def savepoint(self, connection: Any, name: Any) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            session.mark(str(name))

    def rolled_back_to(self, connection: Any, name: Any, context: Any) -> None:
        del context
        session = self._sessions.get(connection)
        if session is not None:
            session.roll_back_to(str(name))

    def _end(self, connection: Any, *, committed: bool) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            try:
                session.ended(committed=committed)
            except Exception as error:  # capture's outermost door
                self._recorder.trouble("sqlalchemy", error)

    def _session(self, connection: Any) -> SqlSession | None:
        if connection.dialect.driver in _OBSERVED | _WRAPPED:
            return None
        session = self._sessions.get(connection)
        if session is None:
            from lodeline.capture.sql_sessions import SqlSession

            kind = connection.dialect.name
            session = self._sessions[connection] = SqlSession(
                self._recorder,
                dialect=_DIALECTS.get(kind, kind),
                driver=f"sqlalchemy {kind}",
                describe=_Naming(connection).describe,
            )
        return session


class _Naming:
    """Names tables by the engine's address and the text alone."""

    def __init__(self, connection: Any) -> None:
        url, dialect = connection.engine.url, connection.dialect
        self._kind = dialect.name
        self._schema = getattr(dialect, "default_schema_name", None) or ""
        self._database = url.database or ""
        port = url.port or _PORTS.get(self._kind)
        place = (url.host or "localhost") + (f":{port}" if port else "")
        self._namespace = f"{_SCHEMES.get(self._kind, self._kind)}://{place}"

    def describe(self, schema: str, name: str, text: str) -> Relation | None:
        from lodeline.capture.relations import Relation

        del text
        if schema.lower() in {"information_schema", "sys", "pg_catalog", "performance_schema"}:
            return Relation(f"{schema}.{name}", None, system=True)
        home = schema or (self._database if self._kind in _TWO_PARTS else self._schema)
        parts = [home, name] if self._kind in _TWO_PARTS else [self._database, home, name]
        dataset = Dataset(self._namespace, ".".join(part for part in parts if part))
        return Relation(f"{home}.{name}", dataset)

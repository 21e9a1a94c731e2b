"""sqlite3: the statements of each connection that `sqlite3.connect` opens.

Its types are of native code and cannot be patched, but `connect` takes the class to make: a
subclass of the one that the program wants, of the same name, that tells of each statement after it
succeeded. A table is a dataset named by the database's file: namespace `sqlite://<absolute path>`,
name of the table. Tables of a database in memory are none, and are composed through.

The schema is asked of the same connection on a cursor of the class as it comes, for that alone
sees what is not committed. A query neither begins nor ends a transaction of SQLite's. Trace
callbacks are silenced meanwhile; where there is an authorizer or a progress handler nothing is
asked.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lodeline.capture.datasets import Dataset, readable
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.subclassing import Subclasses, named_as, tell
from lodeline.limits import SQL_TABLES_MAX

if TYPE_CHECKING:
    from lodeline.capture.relations import Relation
    from lodeline.capture.sql_sessions import SqlSession

_Told = TypeVar("_Told")
# `connect(database, timeout, detect_types, isolation_level, check_same_thread, factory, …)`.
_FACTORY: Final = 5
_DATABASES: Final = "SELECT name, file FROM pragma_database_list"
_KIND: Final = "SELECT type, sql FROM {}.sqlite_master WHERE name = ? COLLATE NOCASE"
_TRIGGERS: Final = (
    "SELECT 1 FROM {}.sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE"
)
_TABLES: Final = (
    "SELECT name FROM {}.sqlite_master"
    " WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^'"
)
_VACUUM: Final = re.compile(
    r"\s*VACUUM\s+(?:(\w+)\s+)?INTO\s+(?:'((?:[^']|'')*)'|\S)", re.IGNORECASE
)
_COLUMNS: Final = "SELECT name, type FROM pragma_table_xinfo(?, ?) WHERE hidden <> 1"
_SYSTEM: Final = ("sqlite_", "pragma_", "json_")


class Sqlite3Integration:
    """sqlite3 of the standard library."""

    name = "sqlite3"
    supports = ""

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Have `connect` make connections that tell."""
        patches = Patches("sqlite3")
        factories = Subclasses(
            recorder,
            "sqlite3",
            connections=sqlite3.Connection,
            cursors=sqlite3.Cursor,
            make_connection=_connection_class,
            make_cursor=_cursor_class,
        )

        def make(original: Any) -> Any:
            def lodeline(*args: Any, **kwargs: Any) -> Any:
                if sys._getframe(1).f_globals.get("__name__", "").startswith("lodeline."):
                    return original(*args, **kwargs)
                if len(args) > _FACTORY:
                    wanted = factories.connection(args[_FACTORY])
                    args = (*args[:_FACTORY], wanted, *args[_FACTORY + 1 :])
                else:
                    wanted = factories.connection(kwargs.get("factory", sqlite3.Connection))
                    kwargs = {**kwargs, "factory": wanted}
                before, recorder.local.suspended = recorder.local.suspended, 1
                try:
                    return original(*args, **kwargs)
                finally:
                    recorder.local.suspended = before

            return lodeline

        for module in (sqlite3, sqlite3.dbapi2):
            patches.wrap(module, "connect", vars(module)["connect"], make)
        return patches.undo


def _connection_class(base: Any, factories: Subclasses, recorder: Recorder) -> Any:
    class Connection(base):  # type: ignore[misc]
        _lodeline: _Watched | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._lodeline = _Watched(self, recorder)

        def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
            return super().cursor(factories.cursor(factory))

        # As documented: each makes a cursor and calls its method. The original does so without
        # asking the cursor's class.
        def execute(self, *args: Any) -> Any:
            return self.cursor().execute(*args)

        def executemany(self, *args: Any) -> Any:
            return self.cursor().executemany(*args)

        def executescript(self, *args: Any) -> Any:
            return self.cursor().executescript(*args)

        def commit(self) -> None:
            super().commit()
            _tell(self, "ended", committed=True)

        def rollback(self) -> None:
            super().rollback()
            _tell(self, "ended", committed=False)

        def __exit__(self, *args: object) -> Any:
            result = super().__exit__(*args)
            _tell(self, "ended", committed=args[0] is None)
            return result

        def backup(self, *args: Any, **kwargs: Any) -> None:
            super().backup(*args, **kwargs)
            target = args[0] if args else kwargs.get("target")
            _tell(self, "copied", target, kwargs.get("name", "main"))

        def set_trace_callback(self, *args: Any) -> None:
            super().set_trace_callback(*args)
            if self._lodeline is not None:
                self._lodeline.trace = args[0] if args else None

        def set_authorizer(self, *args: Any) -> None:
            super().set_authorizer(*args)
            if self._lodeline is not None:
                self._lodeline.guarded = True

        def set_progress_handler(self, *args: Any) -> None:
            super().set_progress_handler(*args)
            if self._lodeline is not None:
                self._lodeline.guarded = True

    return named_as(Connection, base)


def _cursor_class(base: Any) -> Any:
    class Cursor(base):  # type: ignore[misc]
        def execute(self, *args: Any) -> Any:
            result = super().execute(*args)
            _tell(self.connection, "ran", args[0])
            return result

        def executemany(self, *args: Any) -> Any:
            result = super().executemany(*args)
            _tell(self.connection, "ran", args[0])
            return result

        def executescript(self, *args: Any) -> Any:
            # It commits what is open before anything else.
            result = super().executescript(*args)
            _tell(self.connection, "ended", committed=True)
            _tell(self.connection, "ran", args[0])
            return result

    return named_as(Cursor, base)


_tell = partial(tell, "sqlite3")


class _Watched:
    """What is known of one connection.

    Attributes:
        trace: the program's trace callback.
        guarded: the program is asked about, or told of, every statement.
    """

    def __init__(self, connection: Any, recorder: Recorder) -> None:
        self.recorder = recorder
        self.trace: Any = None
        self.guarded = False
        self._connection = connection
        self._session: SqlSession | None = None

    def ran(self, text: object) -> None:
        if not isinstance(text, str):
            return
        if self._session is None:
            from lodeline.capture.sql_sessions import SqlSession

            self._session = SqlSession(
                self.recorder, dialect="sqlite", driver="sqlite3", describe=self._describe
            )
        self._session.ran(text)
        if "into" in text.lower() and (found := _VACUUM.match(text)) is not None:
            self._vacuumed(found)
        if not self._connection.in_transaction:
            word = text.split(maxsplit=1)[0].strip(";").lower() if text.strip() else ""
            self._session.ended(committed=word != "rollback")

    def ended(self, *, committed: bool) -> None:
        if self._session is not None:
            self._session.ended(committed=committed)

    def copied(self, target: Any, schema: str) -> None:
        """A backup: each table of this database is in the other one."""
        files = dict(sqlite3.Cursor(target).execute(_DATABASES).fetchall())
        if files.get("main"):
            self._copies(files["main"], schema)

    def _vacuumed(self, found: re.Match[str]) -> None:
        schema, path = found.groups()
        if path is None:
            told = "where VACUUM INTO writes could not be told"
            self.recorder.gap("sqlite3", "capture", told)
        elif path:
            self._copies(path.replace("''", "'"), schema or "main")

    def _copies(self, path: str, schema: str) -> None:
        if self.guarded:
            told = "what it copies could not be told: statements are watched by the program"
            self.recorder.gap(path, "capture", told)
        else:
            self._quietly(self._tell_copies, path, schema)

    def _tell_copies(self, path: str, schema: str) -> None:
        quoted = '"' + schema.replace('"', '""') + '"'
        names = self._ask(_TABLES.format(quoted))
        if len(names) > SQL_TABLES_MAX:
            told = f"more than {SQL_TABLES_MAX} tables copied; the rest is not named"
            self.recorder.gap(path, "size", told)
        for (name,) in names[:SQL_TABLES_MAX]:
            relation = self._look_up(schema, name)
            target = Dataset(f"sqlite://{readable(os.path.abspath(path))}", name)
            source = None if relation is None else relation.dataset
            if relation is None or source is None:
                self.recorder.write(target)
                continue
            columns = [column for column, _ in relation.columns or ()]
            self.recorder.read(source)
            self.recorder.write(
                target, inputs=[source], fields={name: [(source, name)] for name in columns}
            )

    def _describe(self, schema: str, name: str, text: str) -> Relation | None:
        from lodeline.capture.relations import Relation

        del text
        if name.lower().startswith(_SYSTEM):
            return Relation(name.lower(), None, system=True)
        return None if self.guarded else self._quietly(self._look_up, schema.lower(), name)

    def _quietly(self, act: Callable[..., _Told], *args: str) -> _Told:
        """Ask the database while the program's trace callback is off."""
        if self.trace is not None:
            sqlite3.Connection.set_trace_callback(self._connection, None)
        try:
            return act(*args)
        finally:
            if self.trace is not None:
                sqlite3.Connection.set_trace_callback(self._connection, self.trace)

    def _look_up(self, schema: str, name: str) -> Relation | None:
        from lodeline.capture.relations import Relation

        files = dict(self._ask(_DATABASES))
        # Where a name has no schema, SQLite looks into `temp`, `main`, then what is attached.
        homes = [schema] if schema else [one for one in ("temp", *files) if one in files]
        for home in dict.fromkeys(homes):
            quoted = '"' + home.replace('"', '""') + '"'
            found = self._ask(_KIND.format(quoted), name)
            rows = [row for row in found if row[0] in {"table", "view"}]
            if not rows:
                continue
            kind, sql = rows[0]
            path = files.get(home) or ""
            dataset = None
            if path and home != "temp":
                dataset = Dataset(f"sqlite://{readable(os.path.abspath(path))}", name)
            return Relation(
                f"{home}.{name.lower()}",
                dataset,
                tuple(self._ask(_COLUMNS, name, home)),
                view=_query_of(sql) if kind == "view" else None,
                triggers=bool(self._ask(_TRIGGERS.format(quoted), name)),
            )
        return None

    def _ask(self, text: str, *values: str) -> list[Any]:
        # The class as it comes: neither the program's factory nor our own is in the way.
        cursor = sqlite3.Cursor(self._connection)
        cursor.row_factory = None
        try:
            return cursor.execute(text, values).fetchall()
        finally:
            cursor.close()


def _query_of(sql: str) -> str | None:
    """The query in `CREATE VIEW name AS query`."""
    found = re.search(r"\bAS\b", sql, re.IGNORECASE)
    return sql[found.end() :] if found else None

"""psycopg2: statements, COPY and transactions of the connections that `psycopg2.connect` opens.

Its types are of native code: the connection is made as a subclass of the class that the program
wants, and so are its cursors. Datasets and lookups are those of `psycopg`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lodeline.capture.patches import Patches
from lodeline.capture.postgres_rows import REFUSED, Linking, PostgresRows, Rows, may_link
from lodeline.capture.recorder import Recorder
from lodeline.capture.subclassing import Subclasses, named_as, tell
from lodeline.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from lodeline.capture.sql_sessions import SqlSession

_IDLE: Final = 0
_IN_TRANSACTION: Final = 2


class Psycopg2Integration:
    """psycopg2."""

    name = "psycopg2"
    supports = "psycopg2>=2.9,<3"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Have `connect` make connections that tell."""
        import psycopg2
        from psycopg2 import extensions

        patches = Patches("psycopg2")
        factories = Subclasses(
            recorder,
            "psycopg2",
            connections=object,
            cursors=object,
            make_connection=_connection_class,
            make_cursor=_cursor_class,
        )

        def make(original: Any) -> Any:
            def lodeline(
                dsn: Any = None,
                connection_factory: Any = None,
                cursor_factory: Any = None,
                **kwargs: Any,
            ) -> Any:
                wanted = factories.connection(connection_factory or extensions.connection)
                return original(dsn, wanted, cursor_factory, **kwargs)

            return lodeline

        patches.wrap(psycopg2, "connect", vars(psycopg2)["connect"], make)
        return patches.undo


def _connection_class(base: Any, factories: Subclasses, recorder: Recorder) -> Any:
    from psycopg2 import extensions

    class Connection(base):  # type: ignore[misc]
        _lodeline: _Watched | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._lodeline = _Watched(self, recorder)

        def cursor(
            self,
            name: Any = None,
            cursor_factory: Any = None,
            withhold: Any = False,  # noqa: FBT002  # as it is there
            scrollable: Any = None,
        ) -> Any:
            wanted = factories.cursor(cursor_factory or self.cursor_factory or extensions.cursor)
            return super().cursor(
                name=name, cursor_factory=wanted, withhold=withhold, scrollable=scrollable
            )

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

    return named_as(Connection, base)


def _cursor_class(base: Any) -> Any:
    class Cursor(base):  # type: ignore[misc]
        def execute(self, query: Any, vars: Any = None) -> Any:  # noqa: A002  # its name there
            told = _tell(self.connection, "will_run", self, query, vars)
            result = super().execute(query, vars)
            if told is None:
                _tell(self.connection, "ran", query)
            else:
                _tell(self.connection, "ran_linked", self, query, told)
            return result

        def executemany(self, query: Any, vars_list: Any) -> Any:
            result = super().executemany(query, vars_list)
            _tell(self.connection, "ran", query)
            return result

        def copy_expert(self, sql: Any, file: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().copy_expert(sql, file, *args, **kwargs)
            _tell(self.connection, "ran", sql)
            return result

        def copy_from(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().copy_from(file, table, *args, **kwargs)
            _tell(self.connection, "ran", f'COPY "{table}" FROM STDIN')
            return result

        def copy_to(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().copy_to(file, table, *args, **kwargs)
            _tell(self.connection, "ran", f'COPY "{table}" TO STDOUT')
            return result

    return named_as(Cursor, base)


_tell = partial(tell, "psycopg2")


class _Watched:
    """What is known of one connection."""

    def __init__(self, connection: Any, recorder: Recorder) -> None:
        self.recorder = recorder
        self._connection = connection
        self._session: SqlSession | None = None
        self._rows: PostgresRows | None = None

    # Rows

    def will_run(self, cursor: Any, query: Any, values: Any) -> Linking | None:
        """Ask what the rows of a statement will be made of."""
        if not self.recorder.rows:
            return None
        from psycopg2 import extensions

        reads = self.recorder.local.sql_rows
        if reads is not None:
            reads.append((None, 0))
        text = _text_of(query, self._connection)
        if cursor.name is not None or not may_link(text, reads=reads is not None):
            return None
        self._session = self._session or self._open()
        if values is not None:
            text = extensions.cursor.mogrify(cursor, query, values).decode()
        assert self._rows is not None
        return self._rows.before(text, _Server(self._connection))

    def ran_linked(self, cursor: Any, query: Any, linking: Linking) -> None:
        """Claim what was asked, if it was so."""
        server, rows = _Server(self._connection), self._rows
        assert rows is not None
        if linking.kind == "insert":
            linked = rows.after_insert(linking, server, cursor.rowcount)
            self.ran(query, rows=None if linked is None else partial(rows.committed, linked))
            return
        source = rows.after_query(linking, server, server.rows_of(cursor))
        reads = self.recorder.local.sql_rows
        if reads:
            reads[-1] = (source, len(linking.given.rows))
        self.ran(query)

    def ran(self, query: Any, *, rows: Any = None) -> None:
        text = _text_of(query, self._connection)
        session = self._session = self._session or self._open()
        session.ran(text, rows=rows)
        if self._connection.info.transaction_status == _IDLE:
            session.ended(committed=not text.lstrip()[:8].lower().startswith(("rollback", "abort")))

    def ended(self, *, committed: bool) -> None:
        if self._session is not None:
            self._session.ended(committed=committed)

    def _open(self) -> SqlSession:
        from lodeline.capture.postgres_catalog import PostgresCatalog
        from lodeline.capture.sql_sessions import SqlSession

        info = self._connection.info
        catalog = PostgresCatalog(
            host=info.host or "",
            port=info.port,
            database=info.dbname,
            ask=self._ask,
            parameter="%s",
        )
        if self.recorder.rows:
            self._rows = PostgresRows(
                self.recorder,
                driver="psycopg2",
                namespace=catalog.namespace,
                database=info.dbname,
            )
        return SqlSession(
            self.recorder,
            dialect="postgres",
            driver="psycopg2",
            describe=catalog.describe,
            own_functions=catalog.own_functions,
            changed=self._rows.changed if self._rows is not None else lambda *_: None,
        )

    def _ask(self, query: str, value: str) -> Sequence[Sequence[str | None]] | None:
        from psycopg2 import extensions

        connection = self._connection
        if connection.info.transaction_status not in {_IDLE, _IN_TRANSACTION}:
            return None
        if connection.info.transaction_status == _IDLE and not connection.autocommit:
            return None  # A question would begin a transaction.
        cursor = extensions.cursor(connection)
        try:
            extensions.cursor.execute(cursor, query, (value,))
            rows: Sequence[Sequence[str | None]] = cursor.fetchall()
            return rows
        finally:
            cursor.close()


class _Server:
    """A connection for questions about rows; see `postgres_rows.Server`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ready(self) -> str | None:
        if self._connection.async_:
            return "asynchronous"
        if self._connection.info.transaction_status not in {_IDLE, _IN_TRANSACTION}:
            return "its transaction has failed"
        return None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Open a transaction or a savepoint that is undone."""
        from psycopg2 import extensions

        connection = self._connection
        alone = connection.info.transaction_status == _IDLE
        notices = len(connection.notices)
        try:
            if not alone:
                self._run("SAVEPOINT lodeline_rows")
            elif connection.autocommit:
                self._run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield
            finally:
                if not alone:
                    self._run("ROLLBACK TO SAVEPOINT lodeline_rows")
                    self._run("RELEASE SAVEPOINT lodeline_rows")
                elif connection.autocommit:
                    self._run("ROLLBACK")
                else:
                    extensions.connection.rollback(connection)  # The driver began it by itself.
        finally:
            del connection.notices[notices:]

    def ask(self, sql: str) -> Rows:
        cursor = self._run(sql)
        try:
            columns = tuple((str(one[0]), int(one[1])) for one in cursor.description or ())
            return Rows(columns, cursor.fetchall())
        finally:
            cursor.close()

    def _run(self, sql: str) -> Any:
        import psycopg2
        from psycopg2 import extensions

        cursor = extensions.cursor(self._connection)
        try:
            extensions.cursor.execute(cursor, sql)
        except psycopg2.Error as error:
            # What the server says may quote values.
            raise UnsupportedQueryError(REFUSED, f"refused it: SQLSTATE {error.pgcode}") from None
        return cursor

    def rows_of(self, cursor: Any) -> Rows:
        """Read a cursor's rows, and wind it back to where it stood."""
        from psycopg2 import extensions

        columns = tuple((str(one[0]), int(one[1])) for one in cursor.description or ())
        factory, cursor.row_factory = cursor.row_factory, None
        try:
            rows = extensions.cursor.fetchall(cursor)
        finally:
            cursor.row_factory = factory
        if rows:
            extensions.cursor.scroll(cursor, 0, mode="absolute")
        return Rows(columns, rows)


def _text_of(query: Any, connection: Any) -> str:
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    compose = getattr(query, "as_string", None)
    return str(compose(connection) if compose is not None else query)

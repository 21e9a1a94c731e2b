"""The patches on DuckDB: statements on connections and on the module, and relations.

DuckDB finds Python variables in the innermost Python frame, which under a wrapper would be ours.
The original is therefore called from an expression evaluated with the caller's own variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlglot import exp

from lodeline.capture.datasets import find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.row_steps import ROW_STEPS, Anchor, file_anchor, memory_anchor
from lodeline.capture.row_tracking import TRACKING
from lodeline.errors import UnsupportedQueryError
from lodeline.integrations.duckdb.calls import CODE, Call, evaluate
from lodeline.integrations.duckdb.catalog import ConnectionCatalog
from lodeline.integrations.duckdb.changes import ChangeRunner
from lodeline.integrations.duckdb.databases import Content, Remembered, Session, Sessions
from lodeline.integrations.duckdb.observing import Observed, Observer
from lodeline.integrations.duckdb.rows import Materialised, RowRunner
from lodeline.sql import Statement, find_query_span, parse_statements

_EXECUTING: Final = ("execute", "executemany")
_RELATING: Final = ("sql", "query", "from_query")
_OPENING: Final = (
    *("read_parquet", "from_parquet", "read_csv", "from_csv_auto", "read_json"),
    *("table", "view", "from_df", "from_arrow", "values", "table_function"),
)
_RESULTS: Final = (
    *("df", "fetchdf", "fetch_df", "to_df", "pl", "arrow", "fetch_arrow_table", "to_arrow_table"),
    *("fetchnumpy", "fetch_record_batch", "to_arrow_reader", "fetch_arrow_reader"),
    "fetch_df_chunk",
)
_FRAMES: Final = frozenset({"df", "fetchdf", "fetch_df", "to_df"})
_TRANSFORMS: Final = (
    *("aggregate", "apply", "cross", "distinct", "except_", "filter", "intersect", "join", "limit"),
    *("order", "sort", "project", "select", "set_alias", "union", "unique", "query", "count"),
    *("sum", "min", "max", "mean", "avg", "select_types", "select_dtypes", "value_counts"),
    *("describe", "row_number", "rank", "lag", "lead", "first", "last", "median", "mode", "list"),
)


class DuckdbIntegration:
    """SQL on files, tables and frames."""

    name = "duckdb"
    supports = "duckdb>=1.3,<2"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the connection class, the relation class and the module."""
        import duckdb

        return _Installed(recorder, duckdb).install()


class _Installed:
    """The integration in effect."""

    def __init__(self, recorder: Recorder, duckdb: Any) -> None:
        self.recorder = recorder
        self.duckdb = duckdb
        self.connection_class = duckdb.DuckDBPyConnection
        self.relation_class = duckdb.DuckDBPyRelation
        self.sessions = Sessions()
        self.relations = Remembered()
        self.observer = Observer(recorder)
        self.connect = duckdb.connect
        self.default: Any = None
        self.originals = {
            name: vars(self.connection_class).get(name)
            for name in (*_EXECUTING, *_RELATING, "cursor", "df", "extract_statements", "fetchall")
        }
        self.runner = RowRunner(recorder, lambda: self.connect(":memory:"), TRACKING.find_anchor)
        self.changes = ChangeRunner(self.runner)
        self.patches = Patches("duckdb")
        self.patches.hide(CODE)

    def install(self) -> Callable[[], None]:
        connection, module, relation = self.connection_class, self.duckdb, self.relation_class
        recorder = self.recorder
        recorder.flow.holds_data(relation)
        for name in (*_EXECUTING, *_RELATING):
            self._patch(connection, name, self._run, method=True)
            self._patch(module, name, self._run, method=False)
        for name in _OPENING:
            self._patch(connection, name, self._open, method=True)
            self._patch(module, name, self._open, method=False)
        for name in _RESULTS:
            self._patch(connection, name, self._result, method=True)
            self._patch(relation, name, self._relation_result, method=True)
        for name in _TRANSFORMS:
            self._patch(relation, name, self._transform, method=True)
        for name in ("write_parquet", "to_parquet", "write_csv", "to_csv"):
            self._patch(relation, name, self._write, method=True)
        for name in ("create", "to_table", "insert_into", "insert", "update"):
            self._patch(relation, name, self._store, method=True)
        for name in ("register", "unregister", "begin", "commit", "rollback", "append"):
            self._patch(connection, name, self._change, method=True)
            self._patch(module, name, self._change, method=False)
        for name in ("cursor", "duplicate"):
            self._patch(connection, name, self._cursor, method=True)
        self._patch(connection, "create_function", self._function, method=True)
        self._patch(module, "create_function", self._function, method=False)
        self._patch(module, "connect", self._connect, method=False)
        for name in ("query_df", "write_csv"):
            self._patch(module, name, self._unfollowed, method=False)
        return self.patches.undo

    def _patch(self, owner: Any, name: str, act: Callable[..., Any], *, method: bool) -> None:
        original = vars(owner).get(name)
        if original is None:
            return
        local = self.recorder.local
        trouble = self.recorder.trouble

        def make(function: Any) -> Any:
            def lodeline(*args: Any, **kwargs: Any) -> Any:
                frame = sys._getframe(1)  # the caller's variables are DuckDB's tables
                call = Call(function, name, args, kwargs, frame, method=method)
                if local.suspended:
                    return call.run()
                local.suspended = 1
                try:
                    return act(call)
                finally:
                    local.suspended = 0
                    call.tell_trouble(trouble)

            return lodeline

        self.patches.wrap(owner, name, original, make)

    # Connections

    def _connection_of(self, call: Call) -> Any:
        if call.method:
            return call.args[0]
        given = call.kwargs.get("connection")
        if given is not None:
            return given
        # Kept, or its wrapper would die between two calls and what is known of it with it.
        self.default = self.duckdb.default_connection()
        return self.default

    def _connect(self, call: Call) -> Any:
        connection = call.run()
        with call.door():
            target = call.args[0] if call.args else call.kwargs.get("database", ":memory:")
            database = self.sessions.database_at(os.fspath(target))
            self.sessions.open(connection, database)
        return connection

    def _cursor(self, call: Call) -> Any:
        connection = call.run()
        with call.door():
            self.sessions.open(connection, self.sessions.of(call.args[0]).database)
        return connection

    def _change(self, call: Call) -> Any:
        result = call.run()
        with call.door():
            session = self.sessions.of(self._connection_of(call))
            words = [*call.args[1 if call.method else 0 :], *call.kwargs.values()]
            if call.name != "register":
                session.forget_rows()
            if call.name == "register":
                session.database.registered[str(words[0]).lower()] = words[1]
            elif call.name == "unregister":
                session.database.registered.pop(str(words[0]).lower(), None)
            elif call.name == "append":
                self._append(self._connection_of(call), session, str(words[0]), words[1])
            else:
                session.in_transaction = call.name == "begin"
                self.observer.tell_ended(session, kept=call.name != "rollback")
        return result

    def _append(self, connection: Any, session: Session, table: str, frame: object) -> None:
        """Rows of a frame were added to a table."""
        observed = self.observer.look(
            f"INSERT INTO {table} SELECT 1", self._catalog(connection, session, {}), None
        )
        observed.lineage, observed.flow = None, self.recorder.flow_of(frame)
        self.observer.tell(observed, session)

    # Statements

    def _run(self, call: Call) -> Any:
        connection = self._connection_of(call)
        text, parameters = self._text_of(call)
        if text is None:
            return call.run()
        statements: list[Any] = []
        if ";" in text.strip().rstrip(";") and not parameters:
            with call.door():
                statements = self.originals["extract_statements"](connection, text)
        if len(statements) > 1:
            # One by one, as DuckDB runs them: a later one may read what an earlier one made.
            for statement in statements[:-1]:
                self._run_one(call.with_text(statement.query), connection, None)
            call = call.with_text(statements[-1].query)
        return self._run_one(call, connection, parameters)

    def _text_of(self, call: Call) -> tuple[str | None, Any]:
        args = call.args[1 if call.method else 0 :]
        query = args[0] if args else call.kwargs.get("query")
        parameters = args[1] if len(args) > 1 else call.kwargs.get("parameters")
        if call.kwargs.get("params") is not None:
            parameters = call.kwargs["params"]
        if isinstance(query, self.duckdb.Statement):
            query = query.query
        if call.name in _RELATING and len(args) > 1:
            parameters = None  # The second word of `sql` is an alias.
        return (query if isinstance(query, str) else None), parameters

    def _run_one(self, call: Call, connection: Any, parameters: Any) -> Any:
        observed: Observed | None = None
        session = self.sessions.of(connection)
        text, _ = self._text_of(call)
        with call.door():
            observed = self._look(call, connection, session, text or "", bool(parameters))
            if observed is not None and parameters and _takes_in(observed.statement):
                observed.flow |= self.recorder.flow_of(parameters, data=True)
            if observed is not None and self._carries_rows(observed, session, parameters):
                handled, result = self._run_with_rows(call, connection, session, observed)
                if handled:
                    return result
            if observed is not None and self.recorder.rows and _is_change(observed.statement):
                handled, result = self._change_with_rows(
                    call, connection, session, observed, bool(parameters)
                )
                if handled:
                    return result
        result = call.run()
        with call.door():
            if observed is not None:
                self.observer.tell(observed, session)
                if isinstance(result, self.relation_class):
                    self.relations.put(result, (observed, connection))
                    self.recorder.tag(result, observed.flow)
                elif observed.statement is not None and observed.statement.kind == "select":
                    session.pending = observed
                if observed.statement is None or observed.statement.kind != "select":
                    session.pending = None
                if observed.catalog is not None:
                    observed.catalog.release()
        return result

    def _look(
        self,
        call: Call,
        connection: Any,
        session: Session,
        text: str,
        parameterised: bool,  # noqa: FBT001  # internal
    ) -> Observed | None:
        if not text.strip():
            return None
        catalog = self._catalog(connection, session, call.variables)
        query = None if parameterised else _query_text(text)
        return self.observer.look(text, catalog, query)

    def _catalog(
        self, connection: Any, session: Session, variables: Mapping[str, object]
    ) -> ConnectionCatalog:
        bind = self.originals["sql"]

        def bind_here(sql: str) -> Any:
            return evaluate(bind, (connection, sql), {}, catalog.variables)

        def ask(sql: str) -> list[tuple[Any, ...]]:
            cursor = self.originals["cursor"](connection)
            try:
                self.originals["execute"](cursor, sql)
                found: list[tuple[Any, ...]] = self.originals["fetchall"](cursor)
                return found
            finally:
                cursor.close()

        catalog = ConnectionCatalog(
            self.recorder, session, bind=bind_here, ask=ask, variables=variables
        )
        return catalog

    # Rows

    def _carries_rows(self, observed: Observed, session: Session, parameters: Any) -> bool:
        if not self.recorder.rows or observed.statement is None:
            return False
        if observed.statement.kind not in {"copy_to", "create_table"}:
            return False
        if observed.statement.tree.args.get("exists") or _splits_output(observed.statement.tree):
            self.runner.gap(observed.statement.kind, observed.masked)
            return False
        if session.in_transaction or parameters:
            operator = "transaction" if session.in_transaction else "parameter"
            self.runner.gap(operator, observed.masked)
            return False
        return True

    def _runner(self, connection: Any, variables: Mapping[str, object]) -> Callable[[str], Any]:
        execute = self.originals["execute"]
        return lambda sql: evaluate(execute, (connection, sql), {}, variables)

    def _run_with_rows(
        self, call: Call, connection: Any, session: Session, observed: Observed
    ) -> tuple[bool, Any]:
        """Run COPY … TO or CREATE TABLE … AS through a result that carries identities."""
        statement, catalog = observed.statement, observed.catalog
        assert statement is not None and catalog is not None and statement.query is not None
        span = find_query_span(observed.text, statement)
        if span is None:
            self.runner.gap(statement.kind, "its query could not be told from its text")
            return False, None
        text = observed.text[span[0] : span[1]]
        made = self._materialise(connection, call.variables, observed, text)
        if made is None:
            return False, None
        run = self._runner(connection, call.variables)
        spliced = f"{observed.text[: span[0]]} {made.visible} {observed.text[span[1] :]}"
        try:
            call.with_text(spliced).run()
        except self.duckdb.Error:
            # Whether the fault is the program's or ours: its own statement runs next, and tells.
            self.runner.drop(made, run)
            return False, None
        # From here on the statement is done, and nothing may lead to running it again.
        with call.door():
            (written,) = self.originals["fetchall"](connection)[0][:1]
            if written == made.rows:
                self._link(made, observed, statement, run)
            else:
                self.runner.gap(statement.kind, "the output is counted otherwise")
        self.runner.drop(made, run)
        with call.door():
            self.observer.tell(observed, session)
        session.pending = None
        result: Any = None
        with call.door():
            result = run(f'SELECT {made.rows}::BIGINT AS "Count"')
        return True, (result if call.name in _EXECUTING else None)

    def _change_with_rows(
        self,
        call: Call,
        connection: Any,
        session: Session,
        observed: Observed,
        parameterised: bool,  # noqa: FBT001  # internal
    ) -> tuple[bool, Any]:
        """Run INSERT, UPDATE, DELETE or MERGE beside the query whose rows it writes."""
        assert observed.statement is not None
        key, _ = self.observer.place(observed, observed.statement, session)
        alone = not (session.in_transaction or parameterised)
        prepared = self.changes.prepare(observed, session, key, alone=alone)
        if prepared is None:
            return False, None
        run = self._runner(connection, call.variables)
        applied = self.changes.apply(prepared, run)
        if applied is None:
            return False, None
        # From here on the statement is done, and nothing may lead to running it again.
        with call.door():
            self.observer.tell(observed, session)
            self.changes.keep(applied, session.table(key) or Content(), run)
        with call.door():
            self.changes.drop(applied, run)
        session.pending = None
        result: Any = None
        with call.door():
            result = run(f'SELECT {applied.count}::BIGINT AS "Count"')
        return True, (result if call.name in _EXECUTING else None)

    def _materialise(
        self, connection: Any, variables: Mapping[str, object], observed: Observed, text: str
    ) -> Materialised | None:
        assert observed.statement is not None and observed.statement.query is not None
        assert observed.catalog is not None
        plan = self.runner.plan(text, observed.columns, observed.catalog)
        if plan is None:
            return None
        return self.runner.materialise(plan, self._runner(connection, variables))

    def _link(
        self, made: Materialised, observed: Observed, statement: Any, run: Callable[[str], Any]
    ) -> None:
        self.runner.keep(made, run)
        if statement.kind == "create_table":
            output: Anchor | None = memory_anchor()
            observed.content.anchor, observed.content.rows = output, made.rows
        else:
            output = self._file_output(made, statement.path, run)
        if output is None:
            return
        self.runner.finish(made, output)
        if statement.kind == "copy_to":
            observed.rows_facet = ROW_STEPS.find_facet(output)

    def _file_output(
        self, made: Materialised, path: str | None, run: Callable[[str], Any]
    ) -> Anchor | None:
        dataset = find_dataset(path) if path else None
        if dataset is None or not os.path.isfile(dataset.name):  # strings in capture
            self.runner.gap("copy", "to something other than one local file")
            return None
        if dataset.name.endswith((".parquet", ".parq")) and not self.runner.check_file(
            made, dataset.name, run
        ):
            return None
        bound = file_anchor(dataset.name)
        return None if bound is None else bound[0]

    # Results and relations

    def _result(self, call: Call) -> Any:
        connection = call.args[0]
        session = self.sessions.of(connection)
        pending, session.pending = session.pending, None
        if isinstance(pending, Observed) and self.recorder.rows and call.name in _FRAMES:
            handled, result = self._frame_with_rows(call, connection, pending)
            if handled:
                return result
        result = call.run()
        with call.door():
            if session.result is not None:
                self.recorder.tag(result, session.result.flow)
        return result

    def _relation_result(self, call: Call) -> Any:
        relation = call.args[0]
        known = self.relations.find(relation)
        if known is not None and self.recorder.rows and call.name in _FRAMES:
            handled, result = self._frame_with_rows(call, known[1], known[0])
            if handled:
                return result
        result = call.run()
        with call.door():
            self.recorder.tag(result, self.recorder.flow_of(relation))
        return result

    def _frame_with_rows(self, call: Call, connection: Any, observed: Observed) -> tuple[bool, Any]:
        """Fetch a frame from a result that carries identities, and track the frame's rows."""
        variables = observed.catalog.frames if observed.catalog else {}
        run = self._runner(connection, variables)
        made: Materialised | None = None
        with call.door():
            session = self.sessions.of(connection)
            if observed.statement is not None and observed.statement.kind == "select":
                if session.in_transaction:
                    self.runner.gap("transaction", observed.masked)
                else:
                    made = self._materialise(connection, variables, observed, observed.text)
        if made is None:
            return False, None
        try:
            run(made.visible)
            frame = self.originals["df"](connection, *call.args[1:], **call.kwargs)
            with call.door():
                self.runner.keep(made, run)
                anchor = memory_anchor()
                self.runner.finish(made, anchor)
                self.recorder.tag(frame, observed.flow)
                TRACKING.begin(frame, anchor)
        finally:
            self.runner.drop(made, run)
        return True, frame

    def _open(self, call: Call) -> Any:
        relation = call.run()
        with call.door():
            if isinstance(relation, self.relation_class):
                self._adopt(call, relation)
        return relation

    def _adopt(self, call: Call, relation: Any) -> None:
        """Observe a relation that was made by a reader: it is a query, too."""
        connection = self._connection_of(call)
        session = self.sessions.of(connection)
        if call.name in {"from_df", "from_arrow"}:
            words = call.args[1 if call.method else 0 :]
            self.recorder.tag(relation, self.recorder.flow_of(*words))
            return
        catalog = self._catalog(connection, session, {})
        text = relation.sql_query()
        observed = self.observer.look(text, catalog, text)
        self.observer.tell(observed, session)
        self.relations.put(relation, (observed, connection))
        self.recorder.tag(relation, observed.flow)

    def _transform(self, call: Call) -> Any:
        result = call.run()
        with call.door():
            if isinstance(result, self.relation_class):
                flow = self.recorder.flow_of(*call.args)
                self.recorder.tag(result, flow)
                known = self.relations.find(call.args[0])
                if known is not None and not known[0].catalog.frames:
                    text = result.sql_query()
                    connection = known[1]
                    session = self.sessions.of(connection)
                    catalog = self._catalog(connection, session, {})
                    observed = self.observer.look(text, catalog, text)
                    observed.flow |= flow
                    self.relations.put(result, (observed, connection))
        return result

    def _write(self, call: Call) -> Any:
        relation = call.args[0]
        known = self.relations.find(relation)
        target = call.args[1] if len(call.args) > 1 else call.kwargs.get("file_name")
        if known is not None and self.recorder.rows:
            handled = self._write_with_rows(call, known, str(target))
            if handled:
                return None
        result = call.run()
        with call.door():
            dataset = find_dataset(target)
            if dataset is not None:
                observed = known[0] if known else Observed("")
                if known is None:
                    observed.flow = self.recorder.flow_of(relation)
                observed.rows_facet = None
                self.observer.write(dataset, observed)
        return result

    def _write_with_rows(self, call: Call, known: Any, target: str) -> bool:
        observed, connection = known
        variables = observed.catalog.frames if observed.catalog else {}
        run = self._runner(connection, variables)
        made: Materialised | None = None
        with call.door():
            if observed.statement is not None and not self.sessions.of(connection).in_transaction:
                made = self._materialise(connection, variables, observed, observed.text)
        if made is None:
            return False
        try:
            source = self.originals["sql"](connection, made.visible)
            call.original(source, *call.args[1:], **call.kwargs)
            with call.door():
                self.runner.keep(made, run)
                output = self._file_output(made, target, run)
                if output is not None:
                    self.runner.finish(made, output)
                    observed.rows_facet = ROW_STEPS.find_facet(output)
        finally:
            self.runner.drop(made, run)
        with call.door():
            dataset = find_dataset(target)
            if dataset is not None:
                self.observer.write(dataset, observed)
            observed.rows_facet = None
        return True

    def _store(self, call: Call) -> Any:
        """A relation stored as a table: its content flows on, without rows."""
        result = call.run()
        with call.door():
            relation = call.args[0]
            known = self.relations.find(relation)
            if known is not None:
                self.sessions.of(known[1]).forget_rows()
            if call.name in {"insert", "update"} or known is None:
                for database in self.sessions.iter_databases():
                    database.forget_rows()
                self.recorder.gap(f"duckdb: {call.name}", "capture", "of a relation")
                return result
            name = str(call.args[1] if len(call.args) > 1 else call.kwargs.get("table_name", ""))
            if name:
                word = "INSERT INTO" if "insert" in call.name else "CREATE TABLE"
                connection = known[1]
                session = self.sessions.of(connection)
                joint = " " if word == "INSERT INTO" else " AS "
                text = f"{word} {name}{joint}{known[0].text}"
                catalog = self._catalog(connection, session, known[0].catalog.frames)
                observed = self.observer.look(text, catalog, known[0].text)
                self.observer.tell(observed, session)
        return result

    def _function(self, call: Call) -> Any:
        result = call.run()
        with call.door():
            words = [*call.args[1 if call.method else 0 :], *call.kwargs.values()]
            if self.recorder.flow_of(*[word for word in words if callable(word)]):
                told = "what a function of the program brings into queries is not followed"
                self.recorder.gap("duckdb.create_function", "capture", told)
        return result

    def _unfollowed(self, call: Call) -> Any:
        result = call.run()
        with call.door():
            self.recorder.gap(f"duckdb.{call.name}", "capture", "is not followed")
        return result


# Options of COPY after which its output is not one file, or its result not a count.
_SPLITTING: Final = frozenset(
    {"partition_by", "per_thread_output", "file_size_bytes", "return_files", "return_stats"}
    | {"append", "filename_pattern", "write_partition_columns"}
)


def _is_change(statement: Statement | None) -> bool:
    if statement is None or statement.table is None:
        return False
    changing = isinstance(statement.tree, exp.Update | exp.Delete | exp.Merge)
    return statement.kind == "insert" or (statement.kind == "change" and changing)


# Where a parameter chooses rows instead of giving values.
_CHOOSING: Final = (exp.Where, exp.Having, exp.Qualify, exp.Join, exp.Limit, exp.Offset)


def _takes_in(statement: Statement | None) -> bool:
    """Whether parameters of a statement are data of its result, or of the table that it changes."""
    tree = None if statement is None else statement.tree
    given = () if tree is None else tree.find_all(exp.Placeholder, exp.Parameter)
    return any(one.find_ancestor(*_CHOOSING) is None for one in given)


def _splits_output(tree: Any) -> bool:
    options = tree.args.get("params") or ()
    return any(option.name.lower() in _SPLITTING for option in options)


def _query_text(text: str) -> str | None:
    """The query of a statement, as text to bind; `None` for statements without one."""
    try:
        statements = parse_statements(text)
    except UnsupportedQueryError:
        return None
    if len(statements) != 1:
        return None
    statement = statements[0]
    if statement.kind == "select":
        return text
    span = find_query_span(text, statement)
    if span is not None:
        return text[span[0] : span[1]]
    if statement.query is not None:
        sql: str = statement.query.sql(dialect="duckdb")
        return sql
    return None

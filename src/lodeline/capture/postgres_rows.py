"""Row links of statements on PostgreSQL: a second query, on the very data of the program's own.

The program's statement runs as it is. Beside it, and before it, its query runs once more, written
so that each row carries the keys of the rows that it was made of (`lodeline.sql.rewriting`), within
a transaction or a savepoint that is undone. Nothing is claimed unless all of these hold:

1. The server makes the same plan of the query and of what the rewriter makes of it unchanged.
2. The server's snapshot before and after shows that no transaction ended meanwhile but the
   program's own: both queries saw the same rows.
3. Both gave the same rows: names, types and values, in the same order, or, where the query has no
   order, as often as each other. For INSERT the rows are read back by key.
4. Nothing in the query may choose or count otherwise when it runs again: no volatile function, no
   clock, no function of the database's users, no ties that a LIMIT cuts.

Rows are named by the columns of a key that the server itself holds to: a primary key, or a unique
index over columns that are never null.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from lodeline.capture.datasets import Dataset
from lodeline.capture.recorder import Recorder
from lodeline.capture.row_steps import ROW_STEPS, Anchor, key_text, memory_anchor, write_keys
from lodeline.errors import UnsupportedQueryError
from lodeline.limits import (
    POSTGRES_KEYS_MAX,
    POSTGRES_LINK_MS_MAX,
    POSTGRES_LINK_ROWS_MAX,
    POSTGRES_LINK_STATEMENTS_MAX,
)

if TYPE_CHECKING:
    from sqlglot import exp

    from lodeline.capture.row_tracking import Source as TrackSource
    from lodeline.sql import Identity, Rewriting, Source, Statement

# What a key may be of: each value has one text, whatever the session's settings.
_KEY_TYPES: Final = frozenset(
    {"smallint", "integer", "bigint", "numeric", "text", "character varying", "character", "uuid"}
    | {"date", "timestamp without time zone"}
)
# They tell of the clock or of the transaction that asks, or change what is asked.
_OF_THE_MOMENT: Final = frozenset(
    {"now", "age", "current_date", "current_time", "current_timestamp", "localtime", "lastval"}
    | {"localtimestamp", "statement_timestamp", "transaction_timestamp", "current_setting"}
    | {"clock_timestamp", "timeofday", "currval", "nextval", "setval", "random", "set_config"}
)
# The operator of the error by which a server refuses a query.
REFUSED: Final = "server"
_CHANGES: Final = frozenset({"update", "delete", "merge"})
_MOMENTS: Final = frozenset({"now", "today", "tomorrow", "yesterday"})

_RELATION: Final = """
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text,
    c.relhassubclass AND c.relkind = 'r', c.relrowsecurity, c.relhasrules AND c.relkind <> 'v',
    CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
    EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod),
        format_type(a.atttypid, NULL), a.attgenerated <> '') ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT json_agg(a.attname ORDER BY k.place) FROM pg_catalog.pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
     WHERE k.place <= i.indnkeyatts AND i.indexrelid = (
        SELECT x.indexrelid FROM pg_catalog.pg_index x
        WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid
        AND x.indpred IS NULL AND x.indexprs IS NULL AND NOT EXISTS (
            SELECT 1 FROM pg_catalog.pg_attribute y WHERE y.attrelid = c.oid
            AND y.attnum = ANY (x.indkey::int2[]) AND NOT y.attnotnull)
        ORDER BY x.indisprimary DESC, x.indexrelid LIMIT 1))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass({})
"""
# From 16384 on objects are of users.
_FUNCTIONS: Final = """
SELECT p.proname::text FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = ANY ({}::text[])
AND (p.provolatile = 'v' OR n.nspname <> 'pg_catalog')
UNION ALL SELECT 'operator ' || o.oprname FROM pg_catalog.pg_operator o
JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode WHERE o.oid >= 16384 AND p.provolatile = 'v'
UNION ALL SELECT 'a cast' FROM pg_catalog.pg_cast c
JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc WHERE c.oid >= 16384 AND p.provolatile = 'v'
"""
_SNAPSHOT: Final = "SELECT txid_current_snapshot()::text"
_STATE: Final = (
    "SELECT current_setting('transaction_isolation'), pg_is_in_recovery()::text, "
    "current_setting('client_encoding'), current_setting('standard_conforming_strings'), "
    "set_config('statement_timeout', least(nullif((SELECT setting::int FROM pg_settings "
    f"WHERE name = 'statement_timeout'), 0), {POSTGRES_LINK_MS_MAX})::text, true)"
)


@dataclass(frozen=True)
class Rows:
    """What a query gave: (name, type) of each column, and the rows as the driver has them."""

    columns: tuple[tuple[str, int], ...]
    rows: list[tuple[Any, ...]]


class Server(Protocol):
    """One connection, past the program's cursors.

    `aside` opens what is undone at its end: a transaction where none is open, else a savepoint.
    What the server refuses raises `UnsupportedQueryError` with the operator `REFUSED`.
    """

    def ready(self) -> str | None:
        """Say why nothing can be asked now, if so."""

    def aside(self) -> AbstractContextManager[None]:
        """Open it; whatever is asked inside leaves no trace."""

    def ask(self, sql: str) -> Rows:
        """Run one query."""


@dataclass
class _Table:
    name: str
    dataset: Dataset
    columns: tuple[tuple[str, str, str, bool], ...]  # Name, type, bare type, generated.
    keys: tuple[str, ...]
    triggers: bool
    refusal: str
    view: str | None = None


@dataclass
class Linking:
    """The links of one statement, asked for before it ran.

    Attributes:
        kind: select, insert or create_table.
        given: visible columns and rows of the second query.
        sources: (source, operator, pairs of a row of the result and one of the source) of each.
        gaps: (operator, detail) of what is not among the links.
        snapshot: of the server before.
        ordered: the query fixes the order of its rows.
        target: of INSERT.
        names: columns of the target that the rows went into.
        keys: of INSERT: the key of each row.
    """

    kind: str
    given: Rows
    sources: list[tuple[TrackSource, str, list[tuple[int, int]]]]
    gaps: tuple[tuple[str, str], ...]
    snapshot: str
    ordered: bool
    target: _Table | None = None
    names: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # As JSON arrays.


@dataclass
class _Keys:
    """The rows of one table by key, numbered as they were met in this process."""

    anchor: Anchor
    columns: tuple[str, ...]
    numbers: dict[str, int] = field(default_factory=dict)
    changed: bool = False
    _written: tuple[int, str | None] = (0, None)

    def number(self, key: str) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def write(self) -> str | None:
        """Write the keys so far as a blob, once for each length."""
        if self._written[0] != len(self.numbers):
            self._written = (len(self.numbers), write_keys(list(self.numbers)))
        return self._written[1]


# Of this process: several connections may read and write one table.
_KEYS: Final[dict[Anchor, _Keys]] = {}
# Tables that rows were put into without links.
_UNLINKED: Final[set[Anchor]] = set()


def _keys_of(anchor: Anchor, columns: tuple[str, ...]) -> _Keys:
    known = _KEYS.get(anchor)
    if known is None or known.columns != columns:
        known = _KEYS[anchor] = _Keys(anchor, columns)
        ROW_STEPS.keep_keys(anchor, columns, known.write)
    return known


class PostgresRows:
    """The rows of one connection's statements.

    Args:
        recorder: of this process.
        driver: its name, for gaps.
        namespace: of the server's datasets.
        database: its name.
    """

    def __init__(self, recorder: Recorder, *, driver: str, namespace: str, database: str) -> None:
        self.recorder = recorder
        self._driver = driver
        self.namespace = namespace
        self.database = database
        self._count = 0

    def gap(self, operator: str, detail: str) -> None:
        """Tell what could not be followed."""
        self.recorder.gap(f"rows: {operator}", "capture", f"{self._driver}: {detail}"[:500])

    # Before the program's statement

    def before(self, text: str, server: Server) -> Linking | None:
        """Ask for the links of a statement that is about to run.

        Args:
            text: of the statement, with the values of its parameters; it is kept nowhere.
            server: that it will run on.
        """
        reads = self.recorder.local.sql_rows is not None
        word = (text.split(maxsplit=1) or [""])[0].lower()
        if word in _CHANGES:
            self.gap(word, "what the rows that it changed were before is told by nothing")
            return None
        if not may_link(text, reads=reads):
            return None
        self._count += 1
        try:
            if self._count > POSTGRES_LINK_STATEMENTS_MAX:
                detail = f"more than {POSTGRES_LINK_STATEMENTS_MAX} statements of one connection"
                _refuse("size", detail)
            return self._link(text, server, reads=reads)
        except UnsupportedQueryError as error:
            from lodeline.sql import mask_literals

            self.gap(error.operator, mask_literals(error.detail, dialect="postgres"))
        return None

    def _link(self, text: str, server: Server, *, reads: bool) -> Linking | None:
        from lodeline.sql import parse_statements

        statements = parse_statements(text, dialect="postgres")
        if len(statements) != 1:
            raise UnsupportedQueryError("statements", "several in one text")
        (statement,) = statements
        if statement.query is None or statement.kind not in {"select", "insert", "create_table"}:
            return None
        if statement.kind == "select" and not reads:
            return None
        if statement.kind == "create_table":
            raise UnsupportedQueryError(
                "create table", "the new table has no key yet: its rows have no name"
            )
        _check_statement(statement)
        busy = server.ready()
        if busy is not None:
            raise UnsupportedQueryError("connection", busy)
        for questions in (True, False):
            try:
                with server.aside():
                    return _Asked(self, server, statement, text).find(questions=questions)
            except UnsupportedQueryError as error:
                # Where the server takes no sub-queries: fewer links are better than none.
                if error.operator != REFUSED or not questions:
                    raise
        return None

    # After it

    def after_query(self, linking: Linking, server: Server, ran: Rows) -> TrackSource | None:
        """Hold the links of a query against the program's rows; give what has steps to them."""
        try:
            order = _order_of(linking, ran)
            if server.ask(_SNAPSHOT).rows[0][0] != linking.snapshot:
                _refuse("snapshot", "another transaction ended meanwhile")
            return _source_of(linking, memory_anchor(), order, len(ran.rows))
        except UnsupportedQueryError as error:
            self.gap(error.operator, error.detail)
        return None

    def after_insert(self, linking: Linking, server: Server, count: int) -> Linking | None:
        """Hold the links of an INSERT against the rows that are in the table now.

        Args:
            linking: of `before`.
            server: the same.
            count: of inserted rows, as the server told the program.

        Returns:
            The same, for `committed`; `None` where nothing can be claimed.
        """
        target = linking.target
        assert target is not None
        try:
            if count != len(linking.given.rows):
                _refuse("insert", "another number of rows was inserted")
            if not count:
                return None
            writers = _read_back(linking, target, server)
            after = server.ask(_SNAPSHOT).rows[0][0]
            if len(writers) != 1 or not ended_between(linking.snapshot, after) <= writers:
                _refuse("snapshot", "another transaction ended meanwhile")
        except UnsupportedQueryError as error:
            self.gap(error.operator, error.detail)
            return None
        return linking

    def committed(self, linking: Linking) -> dict[str, Any] | None:
        """Give the facet `lodeline_rows` of a table whose linked rows are committed."""
        from lodeline.capture.row_tracking import tell_steps

        target = linking.target
        assert target is not None
        anchor = Anchor(*target.dataset)
        keys = _keys_of(anchor, target.keys)
        if len(keys.numbers) + len(linking.keys) > POSTGRES_KEYS_MAX:
            self.gap("size", f"more than {POSTGRES_KEYS_MAX} rows of a table")
            return None
        order = [keys.number(_key_of(key)) for key in linking.keys]
        if not tell_steps(_source_of(linking, anchor, order, len(keys.numbers))):
            return None
        if anchor in _UNLINKED:
            self._end(keys)
        return ROW_STEPS.find_facet(anchor)

    def changed(self, dataset: Dataset, inserts: bool) -> dict[str, Any] | None:  # noqa: FBT001
        """Note that another statement changed a table: what is linked of it is not all any more."""
        anchor = Anchor(*dataset)
        keys = _KEYS.get(anchor)
        if inserts:
            _UNLINKED.add(anchor)
        if keys is None or keys.changed or not keys.numbers:
            return None
        self._end(keys)
        return ROW_STEPS.find_facet(anchor)

    def _end(self, keys: _Keys) -> None:
        if keys.changed:
            return
        import numpy as np

        from lodeline.capture.row_tracking import Pending, Source, tell_steps

        keys.changed = True
        told = (("change", "rows of the table were changed by another statement of the run"),)
        nothing: Any = np.full(len(keys.numbers), -1, np.int64)
        source = Source(memory_anchor())
        rows = len(keys.numbers)
        pending = Pending("change", source, None, nothing, rows, rows, told)
        tell_steps(Source(keys.anchor, [pending]))


@dataclass
class _Asked:
    """One statement whose links are asked for; also its catalog."""

    rows: PostgresRows
    server: Server
    statement: Statement
    text: str
    tables: dict[str, _Table] = field(default_factory=dict)
    known: dict[str, _Table | None] = field(default_factory=dict)

    def find(self, *, questions: bool) -> Linking | None:
        query, statement = self.statement.query, self.statement
        assert query is not None
        (state,) = self.server.ask(_STATE).rows
        isolation, recovering, encoding, strings = state[:4]
        if isolation == "serializable" or recovering == "true":
            raise UnsupportedQueryError("connection", "serializable, or of a standby")
        if (encoding, strings) != ("UTF8", "on"):
            raise UnsupportedQueryError("connection", "its encoding is not UTF8, or strings escape")
        ((snapshot,),) = self.server.ask(_SNAPSHOT).rows
        target, names = (None, ()) if statement.kind == "select" else self._target()
        rewriting = self._rewrite(query, questions=questions)
        if not rewriting.identities:
            return None
        self._check_functions()
        if not _is_settled(query, self):
            raise UnsupportedQueryError("order", "which rows are kept, or precede, may be tied")
        same = statement.tree.sql(dialect="postgres")
        if self._explain(self.text) != self._explain(same):
            raise UnsupportedQueryError("text", "is not reproduced faithfully")
        given, ids, keys = self._run(rewriting, target, names)
        sources, gaps = self._sources(rewriting, ids)
        return Linking(
            statement.kind, given, sources, gaps, snapshot, rewriting.ordered, target, names, keys
        )

    def _rewrite(self, query: exp.Query, *, questions: bool) -> Rewriting:
        from lodeline.sql import rewrite_rows

        made = rewrite_rows(query, self, dialect="postgres", questions=questions)
        links = 0
        for count in made.frames:
            links += int(self.server.ask(count).rows[0][0])
        if links > POSTGRES_LINK_ROWS_MAX:
            made = rewrite_rows(query, self, dialect="postgres", questions=questions, windows=False)
        return made

    # The catalog

    def find_source(self, table: exp.Expr) -> Source | None:
        """Resolve a table; see `lodeline.sql.Catalog`."""
        from sqlglot import exp

        from lodeline.sql import Source

        if not isinstance(table.this, exp.Identifier):
            return None
        found = self._describe(table.sql(dialect="postgres"))
        if found is None:
            return None
        if found.view is not None:
            return Source(found.name, view=found.view)
        columns = tuple((name, kind) for name, kind, *_ in found.columns)
        name = (found.dataset.namespace, found.dataset.name)
        if found.refusal:
            return Source(found.name, name, columns, reason=found.refusal)
        self.tables[found.name] = found
        return Source(found.name, name, columns, "key", keys=found.keys)

    def _describe(self, text: str) -> _Table | None:
        if text not in self.known:
            rows = self.server.ask(_RELATION.format(_literal(text))).rows
            self.known[text] = self._table(rows[0]) if rows else None
        return self.known[text]

    def _table(self, row: tuple[Any, ...]) -> _Table:
        home, title, kind, lasting, children, security, rules, view, triggers, columns, keys = row
        described = tuple(tuple(one) for one in _json(columns) or ())
        key = tuple(_json(keys) or ())
        types = {name: bare for name, _, bare, _ in described}
        refusal = ""
        if lasting not in {"p", "u"} or kind not in {"r", "p", "v"}:
            refusal = "is temporary, or no plain table"
        elif _true(children) or _true(security) or _true(rules):
            refusal = "has children, rules or row security"
        elif not key:
            refusal = "has no key whose values are unique and never null"
        elif any(types[name] not in _KEY_TYPES for name in key):
            refusal = f"has a key of {', '.join(types[name] for name in key)}"
        text = None if view is None else str(view).strip().rstrip(";")
        dataset = Dataset(self.rows.namespace, f"{self.rows.database}.{home}.{title}")
        owner = f"{dataset.namespace}:{dataset.name}"
        if any(self.rows.recorder.privacy.action(owner, name) != "keep" for name in key):
            refusal = "has a key of columns whose values are not recorded"
        if home in {"pg_catalog", "information_schema"}:
            refusal, text = "belongs to the database itself", None
        return _Table(f"{home}.{title}", dataset, described, key, _true(triggers), refusal, text)

    def _target(self) -> tuple[_Table, tuple[str, ...]]:
        assert self.statement.table is not None
        bare = self.statement.table.copy()
        bare.set("alias", None)
        target = self._describe(bare.sql(dialect="postgres"))
        if target is None or target.view is not None:
            raise UnsupportedQueryError("insert", "into what is no known table")
        if target.refusal or target.triggers:
            raise UnsupportedQueryError(
                "insert", f"{target.name} {target.refusal or 'has triggers'}"
            )
        listed = self.statement.columns or tuple(
            name for name, _, _, generated in target.columns if not generated
        )
        query = self.statement.query
        assert query is not None
        wide = len(query.selects) if not any(one.is_star for one in query.selects) else None
        names = tuple(listed) if self.statement.columns else tuple(listed)[:wide]
        if wide is not None and len(names) != wide:
            raise UnsupportedQueryError("insert", "the columns of its query are not told apart")
        missing = [key for key in target.keys if key not in names]
        if missing:
            raise UnsupportedQueryError(
                "insert", f"{target.name} makes its key itself: which row got which is not known"
            )
        return target, names

    # What is held before anything runs

    def _check_functions(self) -> None:
        import sqlglot
        from sqlglot import TokenType

        names: set[str] = set()
        texts = [self.text, *(one.view for one in self.known.values() if one and one.view)]
        for text in texts:
            tokens = sqlglot.tokenize(text, dialect="postgres")
            for token, following in zip(tokens, [*tokens[1:], None], strict=True):
                word = token.text.lower()
                if token.token_type == TokenType.STRING and word.strip() in _MOMENTS:
                    raise UnsupportedQueryError("unrepeatable function", word.strip())
                if following is not None and following.token_type == TokenType.L_PAREN:
                    names.add(word)
                if word in _OF_THE_MOMENT and token.token_type != TokenType.STRING:
                    raise UnsupportedQueryError("unrepeatable function", word)
        for name in names:
            if name.startswith(("pg_", "txid_")):
                raise UnsupportedQueryError("function", f"{name} tells of the connection")
        escaped = (name.replace("\\", "\\\\").replace('"', '\\"') for name in sorted(names))
        array = "{" + ",".join(f'"{name}"' for name in escaped) + "}"
        found = self.server.ask(_FUNCTIONS.format(_literal(array))).rows
        if found:
            raise UnsupportedQueryError("function", f"{found[0][0]} is volatile, or of a user")

    def _explain(self, sql: str) -> Any:
        ((plan,),) = self.server.ask(f"EXPLAIN (VERBOSE, FORMAT JSON) {sql}").rows
        return _json(plan)

    def _run(
        self, rewriting: Rewriting, target: _Table | None, names: tuple[str, ...]
    ) -> tuple[Rows, Rows, tuple[str, ...]]:
        """Run the rewritten query: what the program sees, the identities, and keys of a target."""
        sql, width = rewriting.sql, len(rewriting.columns)
        most = max(_planned(self._explain(sql)))
        if most > POSTGRES_LINK_ROWS_MAX:
            detail = f"{most} rows are expected, more than {POSTGRES_LINK_ROWS_MAX}"
            raise UnsupportedQueryError("size", detail)
        if target is not None:
            sql = _as_stored(sql, rewriting, target, names)
        found = self.server.ask(sql)
        if len(found.rows) > POSTGRES_LINK_ROWS_MAX:
            raise UnsupportedQueryError("size", f"more than {POSTGRES_LINK_ROWS_MAX} rows")
        keys: tuple[str, ...] = ()
        if target is not None:
            width += 1
            keys = tuple(str(row[-1]) for row in found.rows)
            if len(set(keys)) != len(keys):
                raise UnsupportedQueryError("insert", "keys are repeated")
        wide = len(found.columns) - width
        visible = Rows(found.columns[:wide], [row[:wide] for row in found.rows])
        count = len(rewriting.columns)
        return visible, Rows((), [row[wide : wide + count] for row in found.rows]), keys

    # Links

    def _sources(
        self, rewriting: Rewriting, ids: Rows
    ) -> tuple[list[tuple[TrackSource, str, Any]], tuple[tuple[str, str], ...]]:
        from lodeline.capture.row_tracking import Source

        shared: dict[str, TrackSource] = {}
        for one in rewriting.shared:
            if one.table is not None:
                raise UnsupportedQueryError("sub-query", "that a table would have to hold")
            names = ", ".join(_quoted(name) for name in one.columns)
            found = self.server.ask(f"SELECT {names} FROM ({one.sql}) AS shared")
            made = Source(memory_anchor())
            pairs = self._pairs(one.identities, one.columns, found.rows, shared)
            made.pending = _pending("sub-query", pairs, len(found.rows), ())
            shared[one.source.key] = made
        pairs = self._pairs(rewriting.identities, rewriting.columns, ids.rows, shared)
        operator = ", ".join(rewriting.operators)
        gaps = tuple((gap.operator, gap.detail) for gap in rewriting.gaps)
        for name, detail in gaps:
            self.rows.gap(name, detail)
        return [(source, operator, one) for source, one in pairs], gaps

    def _pairs(
        self,
        identities: Sequence[Identity],
        columns: Sequence[str],
        rows: list[tuple[Any, ...]],
        shared: dict[str, TrackSource],
    ) -> list[tuple[TrackSource, list[tuple[int, int]]]]:
        """Read identities: for each source pairs of a row of the result and a row of the source."""
        from lodeline.capture.row_tracking import Source

        places = {name: place for place, name in enumerate(columns)}
        pairs: dict[int, tuple[TrackSource, list[tuple[int, int]]]] = {}
        tagged: dict[tuple[int, int], tuple[_Keys | None, list[tuple[int, int]]]] = {}
        for one in identities:
            key = one.source.key
            table = self.tables.get(key)
            if key in shared:
                keys, source = None, shared[key]
            else:
                assert table is not None
                read = Anchor(*table.dataset, f"read:{self._run_id()}")
                keys = _keys_of(read, table.keys)
                source = Source(read)
            number = -1 if one.tag is None else one.tag
            found = pairs.setdefault(number, (source, []))
            tagged[places[one.name], number] = (keys, found[1])
        for output, row in enumerate(rows):
            for place, text in enumerate(row):
                for tag, value in _iter_identities(text):
                    keys, found_pairs = tagged[place, tag]
                    number = value[0] if keys is None else keys.number(_checked_key(value))
                    found_pairs.append((output, int(number)))
        for one_keys, _ in tagged.values():
            if one_keys is not None and len(one_keys.numbers) > POSTGRES_KEYS_MAX:
                _refuse("size", f"more than {POSTGRES_KEYS_MAX} rows of a table")
        return list(pairs.values())

    def _run_id(self) -> str:
        run = self.rows.recorder.run
        if run is None:
            raise UnsupportedQueryError("run", "there is none")
        return run.run_id


def _refuse(operator: str, detail: str) -> NoReturn:
    raise UnsupportedQueryError(operator, detail)


def may_link(text: str, *, reads: bool) -> bool:
    """Say at a glance whether a statement may have links that someone needs."""
    word = (text.split(maxsplit=1) or [""])[0].strip("(;").lower()
    if "pg_catalog." in text:
        return False  # A library asks about the server.
    if word in {"insert", "create"}:
        return re.search(r"\b(select|table)\b", text, re.IGNORECASE) is not None
    return reads and word in {"select", "with", "table"}


def _check_statement(statement: Statement) -> None:
    from sqlglot import exp

    tree = statement.tree
    if statement.kind == "insert" and any(
        tree.args.get(one) for one in ("conflict", "with_", "overwrite", "default")
    ):
        raise UnsupportedQueryError("insert", "with ON CONFLICT, WITH or the like")
    if tree.find(exp.Lock) is not None:
        raise UnsupportedQueryError("lock", "rows are locked")
    if statement.kind == "select" and (
        tree.args.get("into") or any(node is not tree for node in tree.find_all(exp.DML, exp.Into))
    ):
        raise UnsupportedQueryError("statement", "a query that writes")


def _is_settled(query: exp.Query, catalog: _Asked) -> bool:
    """Say whether two executions on the same rows certainly choose and order them alike."""
    from sqlglot import exp

    from lodeline.sql.found import is_choosing

    if query.find(exp.TableSample) is not None:
        return False
    if not is_choosing(query):
        return True
    tables = list(query.find_all(exp.Table))
    plain = isinstance(query, exp.Select) and len(tables) == 1 and not query.args.get("with_")
    if not plain or query.find(exp.Subquery) or query.args.get("distinct"):
        return False
    source = catalog.find_source(_bare(tables[0]))
    if source is None or not source.keys:
        return False
    orders = [window.args.get("order") for window in query.find_all(exp.Window)]
    if query.args.get("limit") or query.args.get("offset"):
        orders.append(query.args.get("order"))
    if query.args.get("group") and not query.find(exp.Window):
        return not (query.args.get("limit") or query.args.get("offset"))
    return all(_is_total(order, source.keys) for order in orders)


def _bare(table: exp.Table) -> exp.Table:
    from lodeline.sql.sources import bare_table

    return bare_table(table)


def _is_total(order: exp.Expr | None, keys: tuple[str, ...]) -> bool:
    from sqlglot import exp

    if order is None:
        return False
    named = {
        item.this.name.lower() for item in order.expressions if isinstance(item.this, exp.Column)
    }
    return {key.lower() for key in keys} <= named


def _as_stored(sql: str, rewriting: Rewriting, target: _Table, names: tuple[str, ...]) -> str:
    """Write the rows as the target's columns hold them, with the key that names each."""
    kinds = {name: kind for name, kind, *_ in target.columns}
    inner = [f"c{number}" for number in range(len(names))]
    values = {
        name: f"CAST(v.{one} AS {kinds[name]})" for one, name in zip(inner, names, strict=True)
    }
    visible = [f"{values[name]}::text" for name in names]
    ids = [f"v.{_quoted(name)}" for name in rewriting.columns]
    key = ", ".join(f"to_jsonb({values[name]})" for name in target.keys)
    listed = ", ".join([*inner, *(_quoted(name) for name in rewriting.columns)])
    columns = ", ".join([*visible, *ids, f"jsonb_build_array({key})::text"])
    return f"SELECT {columns} FROM ({sql}) AS v({listed})"


def _read_back(linking: Linking, target: _Table, server: Server) -> set[int]:
    """Compare the rows in the table with those that were linked; give who wrote them."""
    columns = ", ".join(f"t.{_quoted(name)}::text" for name in linking.names)
    key = ", ".join(f"to_jsonb(t.{_quoted(name)})" for name in target.keys)
    wanted = f"[{','.join(linking.keys)}]"
    home, _, title = target.name.partition(".")
    found = server.ask(
        f"SELECT {columns}, jsonb_build_array({key})::text, t.xmin::text "
        f"FROM {_quoted(home)}.{_quoted(title)} AS t WHERE jsonb_build_array({key}) IN "
        f"(SELECT value FROM jsonb_array_elements({_literal(wanted)}::jsonb))"
    ).rows
    width = len(linking.names)
    stored = {row[width]: (row[:width], row[width + 1]) for row in found}
    for one, row in zip(linking.keys, linking.given.rows, strict=True):
        if one not in stored or stored[one][0] != row:
            raise UnsupportedQueryError("insert", "a stored row is not the one that was linked")
    return {int(writer) for _, writer in stored.values()}


def _order_of(linking: Linking, ran: Rows) -> list[int]:
    """Give, for each linked row, its place in the program's result."""
    given = linking.given
    # The rewriter gives names to columns that have none.
    if [kind for _, kind in given.columns] != [kind for _, kind in ran.columns]:
        raise UnsupportedQueryError("result", "its columns differ")
    mine, theirs = list(map(repr, given.rows)), list(map(repr, ran.rows))
    if mine == theirs:
        return list(range(len(mine)))
    if linking.ordered or Counter(mine) != Counter(theirs):
        raise UnsupportedQueryError("result", "its rows differ")
    # Rows that are equal in all columns stand for each other.
    places: dict[str, list[int]] = {}
    for place, row in enumerate(theirs):
        places.setdefault(row, []).append(place)
    for some in places.values():
        some.reverse()
    return [places[row].pop() for row in mine]


def _source_of(linking: Linking, anchor: Anchor, order: list[int], rows: int) -> TrackSource:
    from lodeline.capture.row_tracking import Source

    made = Source(anchor)
    for number, (source, operator, pairs) in enumerate(linking.sources):
        moved = [(order[output], value) for output, value in pairs]
        gaps = linking.gaps if not number else ()
        made.pending += _pending(operator, [(source, moved)], rows, gaps)
    return made


def _pending(
    operator: str,
    sources: list[tuple[TrackSource, list[tuple[int, int]]]],
    rows: int,
    gaps: tuple[tuple[str, str], ...],
) -> list[Any]:
    from lodeline.capture.row_tracking import pending_of_pairs

    # A gap is told once, not for each source.
    told = [gaps, *[()] * len(sources)]
    return [
        pending_of_pairs(operator, source, pairs, rows, beside)
        for (source, pairs), beside in zip(sources, told, strict=False)
    ]


def _iter_identities(text: str | None) -> Iterator[tuple[int, list[Any]]]:
    """Read an identity column: the number of a source, and the values of a key, of each row."""
    if not text:
        return
    # Numbers stay text: a key of NUMERIC has more digits than a float.
    for number, *values in json.loads(f"[{text}]", parse_float=str):
        yield int(number), values


def _key_of(text: str) -> str:
    return _checked_key(json.loads(text, parse_float=str))


def _checked_key(values: list[Any]) -> str:
    key = key_text(values)
    if key is None:
        raise UnsupportedQueryError("key", "is null")
    return key


def ended_between(before: str, after: str) -> set[int]:
    """Name the transactions that ended between two snapshots, as `xmin` names them."""
    _, first, running = _snapshot(before)
    _, last, still = _snapshot(after)
    if last - first > POSTGRES_LINK_ROWS_MAX:
        return {-1}
    ended = {one for one in range(first, last) if one not in still}
    ended |= {one for one in running if one not in still}
    return {one & 0xFFFFFFFF for one in ended}


def _snapshot(text: str) -> tuple[int, int, set[int]]:
    low, high, running = text.split(":")
    return int(low), int(high), {int(one) for one in running.split(",") if one}


def _planned(plan: Any) -> Iterator[int]:
    if isinstance(plan, list):
        for one in plan:
            yield from _planned(one)
    elif isinstance(plan, dict):
        if "Plan Rows" in plan:
            yield int(plan["Plan Rows"])
        for value in plan.values():
            if isinstance(value, (dict, list)):
                yield from _planned(value)


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _true(value: Any) -> bool:
    return value is True or value == "t"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

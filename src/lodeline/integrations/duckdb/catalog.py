"""What the names in a statement mean to one connection, at the moment of a call.

DuckDB looks a name up among common table expressions, then tables and views, then Python variables
of the calling frame, then files. The same order here. Columns come from binding
`SELECT * FROM <name>`, which DuckDB does without running anything or disturbing a pending result.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlglot import exp

from lodeline.capture.datasets import Dataset, file_dataset, find_dataset
from lodeline.capture.recorder import Recorder
from lodeline.integrations.duckdb.databases import Content, Session, table_dataset
from lodeline.sql import Source
from lodeline.sql.spelling import function_name

# Files of one reader named one by one; more are named by their folder.
FILES_MAX: Final = 64

_READERS: Final = {
    "read_parquet": "parquet",
    "parquet_scan": "parquet",
    "read_csv": "csv",
    "read_csv_auto": "csv",
    "sniff_csv": "csv",
    "read_json": "json",
    "read_json_auto": "json",
    "read_json_objects": "json",
    "read_json_objects_auto": "json",
    "read_ndjson": "json",
    "read_ndjson_auto": "json",
    "read_ndjson_objects": "json",
    "read_text": "text",
    "read_blob": "text",
    "parquet_metadata": "metadata",
    "parquet_schema": "metadata",
    "parquet_file_metadata": "metadata",
}
_SUFFIXES: Final = {
    ".parquet": "parquet",
    ".parq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".csv.zst": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json.gz": "json",
    ".jsonl.gz": "json",
    ".ndjson.gz": "json",
}
_CONSTANT: Final = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row", "glob"})

_DATABASES: Final = (
    "SELECT database_name, path, database_name = current_database() "
    "FROM duckdb_databases() WHERE NOT internal"
)
_VIEWS: Final = """
SELECT sql FROM duckdb_views()
WHERE lower(view_name) = lower($1) AND NOT internal
    AND ($2 = '' OR lower(schema_name) = lower($2))
"""
_TABLES: Final = """
SELECT t.database_name, t.schema_name, t.table_name, d.path, d.type
FROM duckdb_tables() AS t JOIN duckdb_databases() AS d USING (database_name)
WHERE lower(t.table_name) = lower($1)
    AND ($2 = '' OR lower(t.schema_name) = lower($2) OR lower(t.database_name) = lower($2))
    AND ($3 = '' OR lower(t.database_name) = lower($3))
ORDER BY t.database_name = current_database() DESC, t.schema_name = current_schema() DESC
"""

Bind = Callable[[str], Any]


@dataclass(frozen=True)
class Reading:
    """What a source of a statement is: the detail of its `Source`.

    Attributes:
        flow: datasets that it holds.
        datasets: those it reads itself.
        path: of the one local file that it is.
        content: of the table that it is.
        frame: the Python object that it is.
        name: of the variable that holds the frame.
    """

    flow: int = 0
    datasets: tuple[Dataset, ...] = ()
    path: str | None = None
    content: Content | None = None
    frame: object = None
    name: str = ""


# Schemas that each database has.
_SYSTEM: Final = frozenset({"information_schema", "pg_catalog"})


class ConnectionCatalog:
    """Answers for one call on one connection.

    Args:
        recorder: names flows.
        session: of the connection.
        bind: binds SQL in the caller's frame and gives the relation; raises as DuckDB does.
        ask: runs a query of ours on a cursor and gives its rows.
        variables: of the caller's frame, locals before globals.

    Attributes:
        readings: of every source found.
        frames: Python objects that the statement names, by name.
    """

    def __init__(
        self,
        recorder: Recorder,
        session: Session,
        *,
        bind: Bind,
        ask: Callable[[str], list[tuple[Any, ...]]],
        variables: Mapping[str, object],
    ) -> None:
        self._recorder = recorder
        self._session = session
        self._bind = bind
        self.ask = ask
        self.variables = variables
        self._found: dict[str, Source | None] = {}
        self.readings: list[Reading] = []
        self.frames: dict[str, object] = {}

    def release(self) -> None:
        """Let go of the caller's variables but those that the statement names.

        What is known of a relation lives as long as the relation; the caller's locals must not.
        """
        self.variables = dict(self.frames)

    def find_source(self, table: exp.Expr) -> Source | None:
        """Resolve a table expression; see `lodeline.sql.Catalog`."""
        text = table.sql(dialect="duckdb")
        if text not in self._found:
            source = self._found[text] = self._find(table, text)
            if source is not None and isinstance(source.detail, Reading):
                self.readings.append(source.detail)
        return self._found[text]

    def columns_of(self, query: str) -> tuple[tuple[str, str], ...]:
        """Bind a query for the names and types of its columns; empty where that fails."""
        try:
            relation = self._bind(query)
            return tuple(zip(relation.columns, map(str, relation.types), strict=True))
        except Exception:  # as in _columns; the statement itself will raise it
            return ()

    def ask_here(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query of ours in the connection itself, which alone sees its temporary tables.

        Ends what the program has not fetched yet.
        """
        try:
            found: list[tuple[Any, ...]] = self._bind(query).fetchall()
        except Exception:  # as in _columns; who asks takes no answer for "not known"
            return []
        return found

    def find_place(self, table: exp.Table) -> tuple[str, str, str, str | None] | None:
        """Find an existing table: (catalog, schema, name, path of its database file)."""
        rows = self.ask(_filled(_TABLES, _table_words(table)))
        return rows[0][:4] if len(rows) == 1 else None

    def find_new_place(self, table: exp.Table) -> tuple[str, str, str, str | None] | None:
        """Tell where a table lies that other connections do not see yet, or not any more."""
        wanted = table.text("catalog").lower()
        for catalog, path, is_current in self.ask(_DATABASES):
            if catalog.lower() == wanted or (is_current and not wanted):
                return catalog, table.text("db") or "main", table.name, path
        return None

    def _find(self, table: exp.Expr, text: str) -> Source | None:
        if not isinstance(table.this, exp.Identifier):
            return self._find_function(table.this, text)
        name = table.name
        if not table.args.get("db"):
            registered = self._session.database.registered.get(name.lower())
            if registered is not None:
                return self._frame(registered, name, text)
        if table.text("db").lower() in _SYSTEM:
            # What a database says of itself is nobody's data.
            return Source(text, rows="constant", columns=self._columns(text), detail=Reading())
        known = self._find_table(table, text)
        if known is not None:
            return known
        if table.args.get("db"):
            return None
        if name in self.variables and not isinstance(self.variables[name], str):
            found = self._frame(self.variables[name], name, text)
            self.frames[name] = self.variables[name]
            return found
        kind = _kind_of(name)
        return self._files([name], kind, text) if kind else None

    # Tables

    def _find_table(self, table: exp.Expr, text: str) -> Source | None:
        name, schema = table.name, table.text("db")
        views = self.ask(_filled(_VIEWS, [name, schema]))
        rows = self.ask(_filled(_TABLES, _table_words(table)))
        temporary = self._session.temporary.get(name.lower())
        if not rows and views and views[0][0]:
            query = _view_query(views[0][0])
            if query:
                return Source(text, view=query)
        if temporary is not None and not rows:
            return self._memory(temporary, text)
        if not rows:
            return None
        if temporary is not None or len(rows) > 1:
            # Which of them is meant depends on the search path, which is not followed.
            return self._memory(Content(flow=self._recorder.flow.unknown()), text)
        catalog, schema, name, path, kind = rows[0]
        if kind != "duckdb":
            return None
        content = self._session.database.tables.get((catalog.lower(), schema.lower(), name.lower()))
        if path is None:
            return self._memory(content or Content(flow=self._recorder.flow.unknown()), text)
        dataset = table_dataset(path, catalog, schema, name)
        return self._table(dataset, content, text)

    def _memory(self, content: Content, text: str) -> Source:
        rowid = content.anchor is not None
        return Source(
            text,
            columns=self._columns(text),
            rows="rowid" if rowid else "unknown",
            reason="" if rowid else "its rows are not known to come from anywhere",
            lineage=content.lineage,
            detail=Reading(content.flow, content=content),
        )

    def _table(self, dataset: Dataset, content: Content | None, text: str) -> Source:
        rowid = content is not None and content.anchor is not None
        return Source(
            text,
            dataset=(dataset.namespace, dataset.name),
            columns=self._columns(text),
            rows="rowid" if rowid else "unknown",
            reason="" if rowid else "a table of an earlier run, whose snapshot has no digest",
            detail=Reading(self._recorder.flow.bit(dataset), (dataset,), content=content),
        )

    # Frames

    def _frame(self, thing: object, name: str, text: str) -> Source:
        flow = self._recorder.flow_of(thing)
        return Source(
            text,
            columns=self._columns(text),
            rows="ordinal",
            detail=Reading(flow, frame=thing, name=name),
        )

    # Files and functions

    def _find_function(self, function: exp.Expr, text: str) -> Source | None:
        name = function_name(function)
        kind = _READERS.get(name)
        if kind is None and isinstance(function, exp.ReadParquet):
            kind = "parquet"
        if kind is None and isinstance(function, exp.ReadCSV):
            kind = "csv"
        if kind == "metadata":
            kind = "text"
        if kind is not None:
            paths = _literal_paths(function)
            return None if paths is None else self._files(paths, kind, text)
        if name in _CONSTANT or name.startswith(("duckdb_", "pragma_")):
            return Source(text, rows="constant", columns=self._columns(text), detail=Reading())
        return None

    def _files(self, paths: list[str], kind: str, text: str) -> Source | None:
        found: list[str] = []
        for path in paths:
            if "://" in path or not glob.has_magic(path):
                found.append(path)
            else:
                found.extend(sorted(glob.glob(path, recursive=True)))  # paths stay text
        datasets = _datasets(found, paths)
        if not datasets:
            return None
        flow = 0
        for dataset in datasets:
            flow |= self._recorder.flow.bit(dataset)
        single = len(found) == 1 and "://" not in found[0] and os.path.isfile(found[0])  # as above
        rows = {"parquet": "file_row_number", "csv": "ordinal", "json": "ordinal"}.get(kind)
        if not single or rows is None:
            reason = "several files" if len(found) > 1 else "not a local file of rows"
            rows = "unknown"
        else:
            reason = ""
        first = datasets[0]
        return Source(
            text,
            dataset=(first.namespace, first.name),
            columns=self._columns(text),
            rows=rows,  # type: ignore[arg-type]  # one of RowIdentity, by the table above
            reason=reason,
            detail=Reading(flow, tuple(datasets), path=first.name if single else None),
        )

    def _columns(self, text: str) -> tuple[tuple[str, str], ...] | None:
        try:
            relation = self._bind(f"SELECT * FROM {text}")
            return tuple(zip(relation.columns, map(str, relation.types), strict=True))
        except Exception:  # DuckDB's errors have no common promise; unknown columns are a gap
            return None


def quoted_text(text: str) -> str:
    """Write a text as a SQL literal.

    Not bound as a parameter: DuckDB's conversion of Python values imports all of pandas.
    """
    return "'" + text.replace("'", "''") + "'"


def _filled(sql: str, words: list[str]) -> str:
    return re.sub(r"\$(\d)", lambda match: quoted_text(words[int(match[1]) - 1]), sql)


def _table_words(table: exp.Expr) -> list[str]:
    return [table.name, table.text("db"), table.text("catalog")]


def _datasets(found: list[str], given: list[str]) -> list[Dataset]:
    if len(found) > FILES_MAX:
        folders = {os.path.commonpath([os.path.abspath(path) for path in found])}  # as above
        return [file_dataset(folder) for folder in sorted(folders)]
    named = [find_dataset(path) for path in found or given]
    return [dataset for dataset in named if dataset is not None]


def _kind_of(name: str) -> str | None:
    lower = name.lower().partition("?")[0]
    for suffix, kind in _SUFFIXES.items():
        if lower.endswith(suffix):
            return kind
    return None


def _literal_paths(function: exp.Expr) -> list[str] | None:
    """Paths that a reader was given, when they are written out."""
    values = [function.this] if isinstance(function.this, exp.Expr) else []
    values += [value for value in function.expressions if not isinstance(value, exp.EQ)]
    if not values:
        return None
    first = values[0]
    items = first.expressions if isinstance(first, exp.Array) else [first]
    if not items or not all(isinstance(item, exp.Literal) and item.is_string for item in items):
        return None
    return [item.name for item in items]


def _view_query(sql: str) -> str | None:
    """Take the query out of DuckDB's text of a view."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return None
    columns = isinstance(tree.this, exp.Schema)
    if not isinstance(tree, exp.Create) or tree.expression is None or columns:
        return None
    text: str = tree.expression.sql(dialect="duckdb")
    return text

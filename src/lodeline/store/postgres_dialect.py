"""Our statements in PostgreSQL's words.

Statements are written for both databases; what is left to translate is small and lies here alone:

- placeholders: `?` and `:name` become psycopg's,
- `IN (SELECT value FROM json_each(:ids))` becomes `= ANY (array)`, its JSON an array of values,
- `LIKE` becomes `ILIKE`: SQLite's ignores the case of ASCII letters, and so does PostgreSQL's
  under the collation "C",
- `(:x IS NULL OR …)` is turned round,
- types; every text is of collation "C", so that it orders as its bytes do,
- keys over texts that may be long: an index entry of PostgreSQL holds 2,704 bytes, so unique keys
  are kept over digests, and questions are answered by another index,
- guards become plpgsql triggers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Final

from lodeline.store.guards import Guard

# Columns of texts that may be longer than an index entry holds; the same in whichever table.
_LONG_TEXTS: Final = frozenset(
    {"namespace", "name", "part", "version", "body", "facets", "pointer", "operator", "shape"}
    | {"producer", "caller", "deployment_namespace", "deployment_name", "deployment_version"}
    | {f"{end}_{what}" for end in ("input", "output") for what in ("namespace", "name", "version")}
)
# Those whose column's name is of short ones elsewhere.
_LONG_TEXTS_OF: Final = {
    "row_step": frozenset({"digest"}),
    "row_key": frozenset({"columns", "digest"}),
}
# Indexes whose columns hold long texts, by name: what PostgreSQL is to index instead.
_INDEXES: Final = {
    "write_of_version": "write (node_id)",
    "number_of_version": "number (node_id)",
    "row_step_output": "row_step USING hash (output_name)",
    "row_step_input": "row_step USING hash (input_name)",
    "prediction_block_deployment": "prediction_block USING hash (deployment_name)",
}
# Indexes in place of a unique key's, which is over digests and answers no question.
_LOOKUPS: Final = {
    "node": (
        "node_name ON node USING hash (name)",
        "node_namespace ON node USING hash (namespace)",
        "node_part ON node USING hash (part)",
    ),
    "detail": ("detail_body ON detail USING hash (body)",),
    "search_key": ("search_key_name ON search_key (name)",),
    "row_key": ("row_key_name ON row_key USING hash (name)",),
    "facet_set": ("facet_set_facets ON facet_set USING hash (facets)",),
}
# What our statements call that only SQLite has, and digests for keys. They lie in the schema.
FUNCTIONS: Final = (
    (
        "CREATE OR REPLACE FUNCTION instr(text, text) RETURNS integer LANGUAGE sql IMMUTABLE "
        "STRICT PARALLEL SAFE AS 'SELECT strpos($1, $2)'"
    ),
    (
        "CREATE OR REPLACE FUNCTION instr(bytea, bytea) RETURNS integer LANGUAGE sql IMMUTABLE "
        "STRICT PARALLEL SAFE AS 'SELECT position($2 IN $1)'"
    ),
    (
        "CREATE OR REPLACE FUNCTION text_digest(text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT "
        "PARALLEL SAFE AS $$SELECT pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8'))$$"
    ),
)

_AMONG: Final = re.compile(r"IN \(SELECT value FROM json_each\((:\w+)\)\)")
# A parameter's type follows from its first use, and IS NULL says nothing of it.
_PERHAPS: Final = re.compile(r"\((:\w+) IS NULL OR ([^()]*)\)")
# A key over long texts is kept over their digests, and a conflict is told of those.
_CONFLICT: Final = re.compile(r"ON CONFLICT ?\((?P<columns>[\w, ]+)\)")
_TOKEN: Final = re.compile(
    r"(?P<text>'(?:[^']|'')*'|\"[^\"]*\")|(?P<cast>::)|(?P<mark>\?)|:(?P<name>\w+)|(?P<percent>%)"
    r"|(?P<like>\bLIKE\b)"
)
_INSERT: Final = re.compile(r"INSERT INTO (?P<table>\w+) VALUES \([?, ]+\)")
_COMMENT: Final = re.compile(r"^\s*--.*\n", re.MULTILINE)
_DEFINITION: Final = re.compile(r"(?:\s*--.*\n)*\s*CREATE (?:TABLE|INDEX)\b")
_TABLE: Final = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(?P<table>\w+)", re.ASCII)
_INDEX: Final = re.compile(r"CREATE INDEX (?:IF NOT EXISTS )?(?P<index>\w+)\s+ON ", re.ASCII)
_KEY: Final = re.compile(r",?\s*(?:PRIMARY KEY|UNIQUE) ?\((?P<columns>[^)]*)\)")
_LONE_KEY: Final = re.compile(r"(?P<column>\w+) TEXT NOT NULL UNIQUE")
# Numbers that nobody gives: SQLite draws them for every INTEGER PRIMARY KEY.
_DRAWN: Final = re.compile(r"(letter_id|step_id) INTEGER PRIMARY KEY")
_TEXT_COLUMN: Final = re.compile(r"(\w+) TEXT\b")


@lru_cache(maxsize=2048)
def translate(sql: str) -> tuple[str, frozenset[str]]:
    """Give a question or change as psycopg takes it, and the parameters that are JSON arrays."""
    arrays = frozenset(name[1:] for name in _AMONG.findall(sql))
    sql = _AMONG.sub(r"= ANY (\1)", sql)
    sql = _PERHAPS.sub(r"(\2 OR \1 IS NULL)", sql)
    sql = _CONFLICT.sub(_replace_conflict, sql)
    return _TOKEN.sub(_replace, sql), arrays


def _replace_conflict(match: re.Match[str]) -> str:
    columns = [column.strip() for column in match["columns"].split(",")]
    return f"ON CONFLICT ({_keys_of(columns, _LONG_TEXTS)})"


def _keys_of(columns: Iterable[str], long: Collection[str]) -> str:
    return ", ".join(f"text_digest({one})" if one in long else one for one in columns)


def _replace(match: re.Match[str]) -> str:
    if match["mark"]:
        return "%s"
    if match["name"]:
        return f"%({match['name']})s"
    if match["percent"]:
        return "%%"
    if match["like"]:
        return "ILIKE"
    return match[0].replace("%", "%%")


@lru_cache(maxsize=256)
def copied_table(sql: str) -> str | None:
    """Name the table that a statement only adds whole rows to, which COPY does faster."""
    match = _INSERT.fullmatch(sql.strip())
    return None if match is None else match["table"]


def is_definition(sql: str) -> bool:
    """Whether a statement makes a table or an index."""
    return bool(_DEFINITION.match(sql))


def define(sql: str) -> list[str]:
    """Give the statements that make what a definition makes."""
    # Scripts explain their tables between statements.
    sql = _COMMENT.sub("", sql).strip()
    index = _INDEX.match(sql)
    if index is not None:
        columns = _INDEXES.get(index["index"], sql[index.end() :])
        return [f"CREATE INDEX IF NOT EXISTS {index['index']} ON {columns}"]
    table = _TABLE.match(sql)
    assert table is not None, sql
    return list(_define_table(table["table"], sql))


def _define_table(table: str, sql: str) -> Iterator[str]:
    long = set(_TEXT_COLUMN.findall(sql)) & (_LONG_TEXTS | _LONG_TEXTS_OF.get(table, frozenset()))
    unique: list[list[str]] = []

    def take_key(match: re.Match[str]) -> str:
        columns = [column.strip() for column in match["columns"].split(",")]
        if not long.intersection(columns):
            return match[0]
        unique.append(columns)
        return ""

    def take_lone_key(match: re.Match[str]) -> str:
        if match["column"] not in long:
            return match[0]
        unique.append([match["column"]])
        return f"{match['column']} TEXT NOT NULL"

    sql = _LONE_KEY.sub(take_lone_key, _KEY.sub(take_key, sql))
    sql = sql.replace(" WITHOUT ROWID", "")
    sql = _DRAWN.sub(r"\1 bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", sql)
    sql = re.sub(r"\bINTEGER\b", "bigint", sql)
    sql = re.sub(r"\bBLOB\b", "bytea", sql)
    yield re.sub(r"\bTEXT\b(?! COLLATE)", 'text COLLATE "C"', sql)
    for columns in unique:
        keys = _keys_of(columns, long)
        yield f"CREATE UNIQUE INDEX IF NOT EXISTS {table}_key ON {table} ({keys})"
    for lookup in _LOOKUPS.get(table, ()):
        yield f"CREATE INDEX IF NOT EXISTS {lookup}"


def guard(one: Guard) -> list[str]:
    """Give the function and the trigger of a guard; none where PostgreSQL has no such act.

    There is no INSERT OR REPLACE, and ON CONFLICT DO UPDATE fires the trigger of updates.
    """
    if one.act == "REPLACE":
        return []
    refuse = f"RAISE EXCEPTION '{one.message}' USING ERRCODE = 'integrity_constraint_violation';"
    body = f"IF {one.when} THEN {refuse} END IF;" if one.when else refuse
    made = [
        (
            f"CREATE OR REPLACE FUNCTION {one.name}() RETURNS trigger LANGUAGE plpgsql "
            f"SET search_path FROM CURRENT AS $$ BEGIN {body} "
            f"RETURN {'NEW' if one.act == 'UPDATE' else 'OLD'}; END $$"
        ),
        (
            f"CREATE OR REPLACE TRIGGER {one.name} BEFORE {one.act} ON {one.table} "
            f"FOR EACH ROW EXECUTE FUNCTION {one.name}()"
        ),
    ]
    if one.act == "DELETE":
        name = f"{one.table}_refuses_truncate"
        message = f"the log is append-only: TRUNCATE on {one.table} refused"
        made += [
            (
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; "
                "RETURN NULL; END $$"
            ),
            (
                f"CREATE OR REPLACE TRIGGER {name} BEFORE TRUNCATE ON {one.table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            ),
        ]
    return made

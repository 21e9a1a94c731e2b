"""Statements of a script, each reduced to what matters for lineage: its query and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.sources import (
    describe_error,
    parse_query,
    query_of_pivot,
    quiet_parser,
)

StatementKind = Literal[
    "select", "copy_to", "copy_from", "create_table", "create_view", "insert", "change", "other"
]


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement.

    Attributes:
        kind: `change` is an UPDATE, DELETE, MERGE, DROP or ALTER of `table`; `other` neither
            reads nor writes data that lineage follows.
        tree: as parsed.
        query: what it reads, for every kind that has a query.
        table: the table written or changed, without alias.
        path: the file written or read by COPY.
        columns: names listed for an INSERT.
        temporary: the table dies with the connection.
        replaces: the table's former content is gone (CREATE OR REPLACE).
    """

    kind: StatementKind
    tree: exp.Expr
    query: exp.Query | None = None
    table: exp.Table | None = None
    path: str | None = None
    columns: tuple[str, ...] = ()
    temporary: bool = False
    replaces: bool = False


def parse_statements(text: str, *, dialect: str = "duckdb") -> list[Statement]:
    """Parse a script.

    Args:
        text: of one statement or several.
        dialect: as sqlglot calls it.

    Raises:
        UnsupportedQueryError: sqlglot cannot parse it; what it reads and writes is unknown.
    """
    try:
        with quiet_parser():
            trees = sqlglot.parse(text, dialect=dialect)
    except (SqlglotError, RecursionError) as error:
        raise UnsupportedQueryError("parse", describe_error(error)) from error
    return [_statement(tree) for tree in trees if tree is not None]


def _statement(tree: exp.Expr) -> Statement:
    if isinstance(tree, exp.Query | exp.Subquery | exp.Pivot):
        return Statement("select", tree, query=_unwrapped(tree))
    if isinstance(tree, exp.Copy):
        return _copy(tree)
    if isinstance(tree, exp.Create):
        return _create(tree)
    if isinstance(tree, exp.Insert):
        return _insert(tree)
    if isinstance(
        tree, exp.Update | exp.Delete | exp.Merge | exp.Drop | exp.Alter | exp.TruncateTable
    ):
        table = tree.this if isinstance(tree.args.get("this"), exp.Table) else tree.find(exp.Table)
        return Statement("change", tree, table=table)
    return Statement("other", tree)


def _unwrapped(tree: exp.Expr | None) -> exp.Query | None:
    """Take the parentheses off a query, unless they carry clauses of their own."""
    while isinstance(tree, exp.Subquery) and not any(
        value for key, value in tree.args.items() if key != "this"
    ):
        tree = tree.this
    if isinstance(tree, exp.Pivot):
        tree = query_of_pivot(tree)
    return tree if isinstance(tree, exp.Query) else None


def _copy(tree: exp.Copy) -> Statement:
    files = tree.args.get("files") or []
    path = files[0].name if files and isinstance(files[0], exp.Literal) else None
    if tree.args.get("kind"):
        return Statement("copy_from", tree, table=tree.this.find(exp.Table), path=path)
    if isinstance(tree.this, exp.Table):
        query = exp.select("*").from_(tree.this.copy())
        return Statement("copy_to", tree, query=query, path=path)
    return Statement("copy_to", tree, query=_unwrapped(tree.this), path=path)


def _create(tree: exp.Create) -> Statement:
    query = _unwrapped(tree.expression) if tree.expression is not None else None
    table = tree.this.find(exp.Table) if tree.this is not None else None
    kind = (tree.args.get("kind") or "").upper()
    if query is None or kind not in {"TABLE", "VIEW"}:
        return Statement("other", tree, table=table)
    properties = tree.args.get("properties")
    temporary = properties is not None and properties.find(exp.TemporaryProperty) is not None
    return Statement(
        "create_table" if kind == "TABLE" else "create_view",
        tree,
        query=query,
        table=table,
        temporary=temporary,
        replaces=bool(tree.args.get("replace")),
    )


def _insert(tree: exp.Insert) -> Statement:
    table = tree.this.find(exp.Table) if tree.this is not None else None
    columns: tuple[str, ...] = ()
    if isinstance(tree.this, exp.Schema):
        columns = tuple(column.name for column in tree.this.expressions)
    query = _unwrapped(tree.expression)
    if isinstance(tree.expression, exp.Values):
        query = None
    return Statement("insert", tree, query=query, table=table, columns=columns)


def find_query_span(text: str, statement: Statement) -> tuple[int, int] | None:
    """Find where the query of a COPY … TO or CREATE TABLE … AS stands in its text.

    Cutting the query out of the text keeps the rest (options, names) as the program wrote it.

    Args:
        text: of this one statement.
        statement: as parsed from it.

    Returns:
        Start and end offsets, without the parentheses of COPY; `None` where this is not certain.
    """
    tokens = sqlglot.tokenize(text, dialect="duckdb")
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if statement.kind == "copy_to":
        if len(tokens) < 2 or tokens[1].token_type != TokenType.L_PAREN:
            return None
        close = _closing(tokens, 1)
        return None if close is None else (tokens[1].end + 1, tokens[close].start)
    if statement.kind == "create_table":
        depth = 0
        for token in tokens:
            depth += token.token_type == TokenType.L_PAREN
            depth -= token.token_type == TokenType.R_PAREN
            if depth == 0 and token.token_type == TokenType.ALIAS:
                return token.end + 1, tokens[-1].end + 1
    return None


def _closing(tokens: list[Token], opening: int) -> int | None:
    depth = 0
    for number in range(opening, len(tokens)):
        depth += tokens[number].token_type == TokenType.L_PAREN
        depth -= tokens[number].token_type == TokenType.R_PAREN
        if depth == 0:
            return number
    return None


__all__ = [
    "Statement",
    "StatementKind",
    "find_query_span",
    "parse_query",
    "parse_statements",
]

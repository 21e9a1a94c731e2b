"""Writing a parsed query back so that DuckDB reads exactly what the program wrote.

sqlglot writes some things in another way than they were written (`list` as `ARRAY_AGG`,
`x IS NOT NULL` as `NOT x IS NULL`, `~` as another function altogether). Mostly that means the same;
not always. So a query is written in several spellings, and whoever runs one takes the first that
DuckDB's own parser reads as the original. That is also why names of functions are hidden from
sqlglot where it would change them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

import sqlglot
from sqlglot import TokenType, exp

from lodeline.sql.sources import parse_query, quiet_parser

_MARK: Final = "lodeline_fn_"
_HIDDEN: Final = re.compile(rf"{_MARK}([0-9a-f]+)", re.IGNORECASE)

# Names that are more than functions (grammar of their own, tables), or that survive as they are.
_SHOWN: Final = frozenset(
    {
        "cast", "try_cast", "extract", "position", "substring", "trim", "overlay", "count", "sum",
        "min", "max", "avg", "coalesce", "unnest", "generate_series", "range", "read_parquet",
        "parquet_scan", "read_csv", "read_csv_auto", "read_json", "read_json_auto", "read_ndjson",
        "row_number", "rank", "dense_rank", "values", "exists", "in", "any", "all", "some", "map",
        "if", "case", "struct", "array", "row", "filter", "over", "columns", "grouping", "rollup",
        "cube", "exclude", "replace", "decimal", "numeric", "varchar", "char",
    }
)  # fmt: skip


def iter_spellings(text: str) -> Iterator[exp.Query]:
    """Parse a query into trees that `render` writes in different ways, the plainest first.

    Raises:
        UnsupportedQueryError: it cannot be parsed at all.
    """
    yield parse_query(text)
    hidden = _hide_functions(text)
    for joined in (False, True):
        yield _respelled(parse_query(text), joined=joined)
        yield _respelled(parse_query(hidden), joined=joined)


def render(tree: exp.Expr, dialect: str = "duckdb") -> str:
    """Write a tree of `iter_spellings`, or what was made of it, as SQL."""
    with quiet_parser():
        text = tree.sql(dialect=dialect)
    return _HIDDEN.sub(lambda match: bytes.fromhex(match[1]).decode(), text)


def function_name(function: exp.Expr) -> str:
    """Name a function in lower case, hidden or not."""
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()  # type: ignore[attr-defined]
    match = _HIDDEN.fullmatch(name)
    return (bytes.fromhex(match[1]).decode() if match else name).lower()


def _hide_functions(text: str) -> str:
    """Put marks in place of function names, so that sqlglot takes them for unknown ones."""
    tokens = sqlglot.tokenize(text, dialect="duckdb")
    pieces: list[str] = []
    end = 0
    for token, following in itertools.pairwise(tokens):
        if (
            following.token_type != TokenType.L_PAREN
            or following.start != token.end + 1
            or token.token_type in {TokenType.STRING, TokenType.IDENTIFIER, TokenType.R_PAREN}
            or not re.fullmatch(r"[A-Za-z_]\w*", token.text)
            or token.text.lower() in _SHOWN
        ):
            continue
        pieces += [text[end : token.start], _MARK, token.text.encode().hex()]
        end = token.end + 1
    return "".join([*pieces, text[end:]])


def _respelled(tree: exp.Query, *, joined: bool) -> exp.Query:
    """Write `IS NOT NULL` and intervals as people do."""
    for node in list(tree.walk()):
        if isinstance(node, exp.Not) and isinstance(node.this, exp.Is):
            inner = node.this
            if isinstance(inner.expression, exp.Null):
                node.replace(exp.Is(this=inner.this, expression=exp.Var(this="NOT NULL")))
        elif isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal):
            amount, unit = node.this.name, node.text("unit")
            if joined and unit:
                literal = exp.Literal.string(f"{amount} {unit.lower()}")
                node.replace(exp.cast(literal, "INTERVAL", dialect="duckdb"))
            elif amount.isdigit():
                node.set("this", exp.Literal.number(amount))
    return tree

"""What a query reads: the tables, files and frames behind the names of its FROM clauses.

A catalog answers for one name at a time and is given by the caller, since what a name means
depends on a connection, a file system or a caller's variables. Views are expanded here, so that
column lineage and row rewriting see base sources only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError, TokenError

from lodeline.errors import UnsupportedQueryError

if TYPE_CHECKING:
    from lodeline.sql.columns import ColumnLineage

# How the rows of a source are told apart: by a hidden column of the engine, by an ordinal that
# the rewriting adds, not at all (constants have no rows of their own), or unknown.
# A declared key is `key`: what PostgreSQL's `ctid` names moves with each update and vacuum.
RowIdentity = Literal["rowid", "file_row_number", "ordinal", "key", "constant", "unknown"]


@dataclass(frozen=True, eq=False)
class Source:
    """One table, file or frame that a query reads.

    Attributes:
        key: tells sources of one statement apart; the caller's choice.
        dataset: (namespace, name) as OpenLineage names it; None for what is no dataset
            (constants, in-memory tables, frames).
        columns: (name, type) in order; None when unknown.
        rows: how its rows are identified.
        reason: why `rows` is unknown.
        keys: the columns of the declared key, where `rows` is `key`: together unique, none null.
        view: SQL text when the name is a view; the other attributes are then unused.
        lineage: what the content of an in-memory table or frame was made from, when known.
        detail: facts of the caller's (a path, a frame), carried and not looked at.
    """

    key: str
    dataset: tuple[str, str] | None = None
    columns: tuple[tuple[str, str], ...] | None = None
    rows: RowIdentity = "unknown"
    reason: str = ""
    keys: tuple[str, ...] = ()
    view: str | None = None
    lineage: ColumnLineage | None = None
    detail: object = None


class Catalog(Protocol):
    """Answers what a table expression means."""

    def find_source(self, table: exp.Expr) -> Source | None:
        """Resolve a table expression (name, file literal or table function), without alias.

        Returns None for an unknown name. CTE names are never asked for.
        """


@dataclass(frozen=True)
class OperatorGap:
    """What could not be followed: an operator, named, and what about it."""

    operator: str
    detail: str


@dataclass
class Bindings:
    """The base tables of one query tree, resolved.

    Each bound table node carries the number of its source in its `meta`, which copies of the
    node keep; a table keyed by `id` would not survive copying or garbage collection.

    Attributes:
        ordered: each distinct source once, in order of first mention.
        unknown: SQL of table expressions that the catalog did not know.
    """

    ordered: list[Source] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def bind(self, table: exp.Table, source: Source) -> None:
        """Mark a table node as reading `source`."""
        if source not in self.ordered:
            self.ordered.append(source)
        table.meta[_META] = self.ordered.index(source)

    def find_source(self, table: exp.Expr) -> Source | None:
        """Give the source that a node was bound to."""
        number = table.meta.get(_META)
        return None if number is None else self.ordered[number]


# Views that mention views nest; more than this is a cycle that the engine would refuse too.
VIEW_DEPTH_MAX = 32

_META = "lodeline_source"

CONSTANT = Source(key="constant", rows="constant", columns=())


def bind_sources(tree: exp.Query, catalog: Catalog, *, dialect: str = "duckdb") -> Bindings:
    """Resolve every base table of a query in place; views become derived tables.

    Args:
        tree: is changed where it names views.
        catalog: asked once for each distinct table expression.
        dialect: of the views' text.

    Raises:
        UnsupportedQueryError: views nest too deeply or a view's text cannot be parsed.
    """
    bindings = Bindings()
    known: dict[str, Source | None] = {}
    _bind(tree, catalog, bindings, known, dialect=dialect)
    return bindings


def _bind(
    tree: exp.Expr,
    catalog: Catalog,
    bindings: Bindings,
    known: dict[str, Source | None],
    *,
    dialect: str,
    depth: int = 0,
) -> None:
    if depth > VIEW_DEPTH_MAX:
        raise UnsupportedQueryError("view", "nests too deeply")
    for table in list(tree.find_all(exp.Table)):
        if not _is_relation(table) or is_cte_reference(table):
            continue
        bare = bare_table(table)
        text = bare.sql(dialect=dialect)
        if text not in known:
            known[text] = catalog.find_source(bare)
        source = known[text]
        if source is None:
            bindings.unknown.append(text)
        elif source.view is not None:
            inner = parse_query(source.view, dialect=dialect)
            derived = exp.Subquery(this=inner, alias=_alias_of(table))
            for key in ("joins", "sample", "pivots"):
                if table.args.get(key):
                    derived.set(key, table.args[key])
            table.replace(derived)
            _bind(inner, catalog, bindings, known, dialect=dialect, depth=depth + 1)
        else:
            bindings.bind(table, source)


def _is_relation(table: exp.Table) -> bool:
    """Tell tables read from tables named in other places (a macro's name, a COPY target)."""
    return isinstance(table.parent, exp.From | exp.Join | exp.Subquery | exp.Table | exp.Pivot)


def bare_table(table: exp.Table) -> exp.Table:
    """Copy a table expression without alias, joins, samples and pivots."""
    bare = table.copy()
    for key in ("alias", "joins", "sample", "pivots", "laterals"):
        bare.set(key, None)
    return bare


def _alias_of(table: exp.Table) -> exp.TableAlias:
    alias = table.args.get("alias")
    if isinstance(alias, exp.TableAlias):
        return alias.copy()
    return exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))


def is_cte_reference(table: exp.Table) -> bool:
    """Say whether a table's name is that of a CTE in scope."""
    if table.args.get("db") or not isinstance(table.this, exp.Identifier):
        return False
    name = table.name.lower()
    inside: exp.Expr = table
    body: exp.CTE | None = None
    node = table.parent
    while node is not None:
        if isinstance(node, exp.CTE):
            body = node
        with_ = node.args.get("with_")
        if isinstance(with_, exp.With) and name in _visible_ctes(with_, inside, body):
            return True
        inside, node = node, node.parent
    return False


def _visible_ctes(with_: exp.With, inside: exp.Expr, body: exp.CTE | None) -> set[str]:
    """Name the CTEs of a WITH seen from `inside`.

    Its query sees all; the body of a CTE those before it, and itself where the WITH is recursive.
    """
    visible = set()
    for cte in with_.expressions:
        if body is not None and inside is with_ and cte is body:
            if with_.args.get("recursive"):
                visible.add(cte.alias.lower())
            break
        visible.add(cte.alias.lower())
    return visible


@contextmanager
def quiet_parser() -> Iterator[None]:
    """Keep sqlglot's warnings to itself: they would show in the output of an observed program."""
    logger = logging.getLogger("sqlglot")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def describe_error(error: Exception) -> str:
    """Say in a line what sqlglot said, without the query's text and so without its values."""
    if isinstance(error, TokenError):
        return "a string, a quoted name or a comment has no end"
    # "… but got <Token … text: …>" names the token, and that may be a literal.
    return str(error).partition("\n")[0].partition(" but got <Token")[0]


def parse_query(text: str, *, dialect: str = "duckdb") -> exp.Query:
    """Parse one query.

    Raises:
        UnsupportedQueryError: the text is no single query, or cannot be parsed.
    """
    try:
        with quiet_parser():
            trees = [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
    except (SqlglotError, RecursionError) as error:
        raise UnsupportedQueryError("parse", describe_error(error)) from error
    if len(trees) != 1:
        raise UnsupportedQueryError("parse", "more than one statement")
    query = query_of_pivot(trees[0])
    while isinstance(query, exp.Subquery) and set(_set_keys(query)) <= {"this"}:
        query = query.this
    if not isinstance(query, exp.Query):
        raise UnsupportedQueryError(query.key, "is no query")
    return query


def query_of_pivot(tree: exp.Expr) -> exp.Expr:
    """Write a PIVOT that is a whole statement as the query that it stands for.

    Its own form is kept in `meta`, under `STATEMENT`, to be written back.
    """
    if not isinstance(tree, exp.Pivot):
        return tree
    query = exp.select("*").from_(exp.Subquery(this=tree.copy()))
    query.meta[STATEMENT] = tree
    return query


# Where a tree keeps the form in which the program wrote it, when it is another.
STATEMENT = "lodeline_statement"


def _set_keys(node: exp.Expr) -> Sequence[str]:
    return [key for key, value in node.args.items() if value]

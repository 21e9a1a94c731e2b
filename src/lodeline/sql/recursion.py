"""Recursion by UNION, which keeps each row once, rewritten to carry identities.

A row is linked to all rows of every way that leads to it, as DISTINCT links to all rows that are
that row. Lists carried from step to step would make equal rows different, and a cycle endless. So
the recursion runs as it is; its rows are numbered; base and step are asked once more, over all of
them, for which row led to which; and the links are closed over that, as pairs, of which there are
finitely many.

The step has to read the recursion's rows one at a time, or asking it over all of them would give
others than asking it round by round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from sqlglot import exp

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.carried import PREFIX, Carried, quoted
from lodeline.sql.found import is_choosing, sources_of
from lodeline.sql.sources import Source

if TYPE_CHECKING:
    from lodeline.sql.rewriting import Rewriter, Scope, Twin


@dataclass(frozen=True)
class Fixpoint:
    """The names of the common table expressions that a recursion by UNION becomes.

    Attributes:
        rows: the recursion itself.
        numbered: its rows, with a number each.
        ways: which row led to which, and through which source rows.
        links: pairs of a row and a source row behind it.
    """

    rows: str
    numbered: str
    ways: str
    links: str


class _Facts(TypedDict):
    made: Fixpoint
    number: str
    columns: Sequence[str]
    rewriter: Rewriter


def check_step(step: exp.Select, name: str) -> None:
    """Refuse a step that does not take the recursion's rows one at a time."""
    for join in step.args.get("joins") or ():
        kind = (join.kind or "").upper()
        if join.side or join.method or kind not in {"", "INNER", "CROSS"}:
            raise UnsupportedQueryError("recursive query", f"{name}: a step with other joins")
    if any(step.args.get(key) for key in ("order", "limit", "offset", "sample", "laterals")):
        raise UnsupportedQueryError("recursive query", f"{name}: a step with clauses of its own")


def rewrite_fixpoint(
    cte: exp.CTE,
    union: exp.Union,
    *,
    columns: Sequence[str] | None,
    twin_of: type[Twin],
    scope: Scope,
    rewriter: Rewriter,
) -> tuple[list[exp.CTE], exp.Select, tuple[Carried, ...]]:
    """Write a recursion by UNION so that its rows carry the rows behind them.

    Args:
        cte: the recursion, left as it is.
        union: a copy of its query, of the form that is followed.
        columns: names of its columns.
        twin_of: makes what a rewritten common table expression is known as.
        scope: where it stands.
        rewriter: that it is part of.

    Returns:
        Common table expressions that have to stand before, the query that gives the columns and
        one identity, and that identity.
    """
    if columns is None or is_choosing(cte.this):
        raise UnsupportedQueryError(
            "recursive query", "that may choose other rows when asked again"
        )
    check_step(union.expression, cte.alias)
    made = Fixpoint(*(rewriter.fresh(word) for word in ("rows_", "numbered_", "ways_", "links_")))
    itself = _renamed(cte, made.rows, columns)
    number = rewriter.fresh("number_")
    count: exp.Expr = exp.maybe_parse("row_number() OVER () - 1", dialect="duckdb")
    numbered = exp.select("*", exp.alias_(count, number, quoted=True)).from_(_table(made.rows))
    within = replace(scope, repeatable=False)
    base = rewriter.rewrite(union.this, within)
    rewriter.project(union.this, base)
    parent = Source(f"recursion {made.rows}", rows="rowid")
    carried = Carried(number, (rewriter.number_of(parent),))
    twins = {**scope.twins, cte.alias.lower(): twin_of(made.numbered, (carried,), tuple(columns))}
    step = rewriter.rewrite(union.expression, replace(within, twins=twins))
    rewriter.project(union.expression, step)
    (before,) = [one for one in step if one.sources == carried.sources]
    after = [one for one in step if one is not before]
    facts: _Facts = {"made": made, "number": number, "columns": columns, "rewriter": rewriter}
    ways = exp.union(
        _ways(union.this, base, None, **facts),
        _ways(union.expression, after, before, **facts),
        distinct=False,
    )
    before_it = [
        itself,
        _cte(made.numbered, numbered, materialized=True),
        _cte(made.ways, ways, materialized=True),
        _cte(made.links, _closure(made, rewriter)),
    ]
    name = rewriter.fresh()
    final = _with_links(made, number, columns, name, rewriter)
    sources = sources_of([*base, *after])
    rewriter.note("recursive query")
    return before_it, final, (Carried(name, sources, "list", tagged=True),)


def _closure(made: Fixpoint, rewriter: Rewriter) -> exp.Expr:
    """Write which source rows are behind which row, through every way, once each."""
    member = rewriter.spelling.unnested("ids")
    links: exp.Expr = exp.maybe_parse(
        f'SELECT "child", {member} AS "link" FROM "{made.ways}" UNION '
        f'SELECT w."child", l."link" FROM "{made.links}" AS l JOIN "{made.ways}" AS w '
        'ON w."parent" = l."child"',
        dialect="duckdb",
    )
    return links


def _with_links(
    made: Fixpoint, number: str, columns: Sequence[str], name: str, rewriter: Rewriter
) -> exp.Select:
    """Write the recursion's rows, with one list of what is behind each."""
    visible = ", ".join(f'n."{one}"' for one in columns)
    listed = rewriter.spelling.relisted("link")
    final: exp.Select = exp.maybe_parse(
        f'SELECT {visible}, g."ids" AS "{name}" FROM "{made.numbered}" AS n LEFT JOIN '
        f'(SELECT "child", {listed} AS "ids" FROM "{made.links}" GROUP BY "child") AS g '
        f'ON g."child" = n."{number}"',
        dialect="duckdb",
    )
    return final


def _renamed(cte: exp.CTE, name: str, columns: Sequence[str]) -> exp.CTE:
    """Copy a recursion under another name."""
    copy = cte.copy()
    for table in copy.this.find_all(exp.Table):
        if table.name.lower() == cte.alias.lower() and not table.args.get("db"):
            if not table.alias:
                table.set("alias", exp.TableAlias(this=table.this.copy()))
            table.set("this", quoted(name))
    alias = exp.TableAlias(this=quoted(name), columns=[quoted(one) for one in columns])
    copy.set("alias", alias)
    return copy


def _ways(
    query: exp.Expr,
    ids: Sequence[Carried],
    before: Carried | None,
    *,
    made: Fixpoint,
    number: str,
    columns: Sequence[str],
    rewriter: Rewriter,
) -> exp.Select:
    """Write which rows a base or a step gives, each with what it came from."""
    spelling = rewriter.spelling
    order = [*([before] if before else []), *ids]
    inside = [f"{PREFIX}c{place}" for place in range(len(columns))]
    # Beside no rows of the recursion: so equal values are of equal type.
    nothing = exp.select(*(exp.column(quoted(one)) for one in columns))
    for one in order:
        null = _NO_NUMBER if one is before else spelling.null(one.form)
        nothing.append("expressions", null.copy())
    both = exp.union(query.copy(), nothing.from_(_table(made.rows)).where("FALSE"), distinct=False)
    asked = exp.Subquery(
        this=both,
        alias=exp.TableAlias(
            this=quoted("w"), columns=[quoted(one) for one in (*inside, *(o.name for o in order))]
        ),
    )
    lists = [
        value if one.tagged else spelling.tagged(value, one.form, one.sources[0])
        for one in ids
        for value in [exp.column(quoted(one.name), table=quoted("w"))]
    ]
    parent = _NO_NUMBER.copy() if before is None else exp.column(quoted(before.name), table="w")
    same = [
        exp.NullSafeEQ(
            this=exp.column(quoted(one), table=quoted("w")),
            expression=exp.column(quoted(name), table=quoted("n")),
        )
        for one, name in zip(inside, columns, strict=True)
    ]
    gathered = spelling.concatenated(lists) if lists else spelling.null("list")
    return (
        exp.select(
            exp.alias_(exp.column(quoted(number), table=quoted("n")), "child", quoted=True),
            exp.alias_(parent, "parent", quoted=True),
            exp.alias_(gathered, "ids", quoted=True),
        )
        .from_(asked)
        .join(
            exp.Table(this=quoted(made.numbered), alias=exp.TableAlias(this=quoted("n"))),
            on=exp.and_(*same),
        )
    )


_NO_NUMBER = exp.cast(exp.Null(), "BIGINT")


def _table(name: str) -> exp.Table:
    return exp.Table(this=quoted(name))


def _cte(name: str, query: exp.Expr, *, materialized: bool | None = None) -> exp.CTE:
    return exp.CTE(this=query, alias=exp.TableAlias(this=quoted(name)), materialized=materialized)

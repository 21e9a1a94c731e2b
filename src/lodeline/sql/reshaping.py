"""PIVOT and UNPIVOT, rewritten to carry identities.

UNPIVOT makes several rows of one: each is linked to it, so an identity goes along as one more
column that is kept. PIVOT makes one row of a group: it is linked to all rows of the group, whether
or not one of the listed values was theirs. Its groups are asked for once more and joined by their
keys, which are unique by construction, over one materialised copy of what is pivoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.carried import Carried, quoted

if TYPE_CHECKING:
    from lodeline.sql.rewriting import Rewriter, Scope


def pivot_of(source: exp.Expr) -> exp.Pivot | None:
    """Give the PIVOT or UNPIVOT that an item of FROM is, or None."""
    if isinstance(source, exp.Subquery) and isinstance(source.this, exp.Pivot):
        return source.this
    pivots = source.args.get("pivots") or ()
    if len(pivots) > 1:
        raise UnsupportedQueryError("pivot", "of a pivot")
    return pivots[0] if pivots else None


def rewrite_pivot(
    source: exp.Expr,
    pivot: exp.Pivot,
    scope: Scope,
    rewriter: Rewriter,
    hidden: dict[str, list[str]],
) -> list[Carried]:
    """Make a pivoted item of FROM expose identities.

    Raises:
        UnsupportedQueryError: it is not followed.
    """
    if not rewriter.spelling.stars:
        raise UnsupportedQueryError("pivot", "is no grammar of the engine")
    if source.args.get("joins") or source.args.get("sample"):
        raise UnsupportedQueryError("pivot", "joined or sampled where it stands")
    if isinstance(source.parent, exp.Join) and pivot.this is None:
        # `a JOIN b PIVOT (…)` pivots the join for DuckDB, and `b` for sqlglot.
        raise UnsupportedQueryError("pivot", "after a join, without parentheses")
    _check_names(pivot)
    word = "unpivot" if pivot.args.get("unpivot") else "pivot"
    holder, columns = _taken_out(source, pivot, scope, rewriter)
    inner = exp.select("*").from_(holder)
    ids = rewriter.rewrite(inner, scope)
    rewriter.project(inner, ids)
    rewriter.note(word)
    if not ids:
        _put_back(source, pivot, inner.subquery())
        return []
    if word == "unpivot":
        _put_back(source, pivot, inner.subquery())
        alias = source.alias or pivot.alias
        hidden.setdefault(alias, []).extend(one.name for one in ids)
        return [replace(one, table=alias, column="", made=None) for one in ids]
    keys = _keys_of(pivot, columns)
    return _pivoted(source, pivot, inner, ids, keys=keys, rewriter=rewriter, hidden=hidden)


def _check_names(pivot: exp.Pivot) -> None:
    """Refuse a pivot whose columns are not all named, or named otherwise."""
    starred = any(not isinstance(one.parent, exp.Count) for one in pivot.find_all(exp.Star))
    if starred or pivot.find(exp.Columns) is not None:
        raise UnsupportedQueryError("pivot", "of columns that are not named")
    alias = pivot.args.get("alias")
    if isinstance(alias, exp.TableAlias) and alias.args.get("columns"):
        raise UnsupportedQueryError("column list", "of a pivot")
    listed = [*(pivot.args.get("fields") or ())]
    if pivot.this is not None and not pivot.args.get("unpivot"):
        listed += pivot.expressions
    for one in listed:
        if not isinstance(one, exp.In) or not isinstance(one.this, exp.Column | exp.Identifier):
            raise UnsupportedQueryError("pivot", "by more than columns with their values listed")


def _taken_out(
    source: exp.Expr, pivot: exp.Pivot, scope: Scope, rewriter: Rewriter
) -> tuple[exp.Expr, tuple[str, ...]]:
    """Take what is pivoted out of an item of FROM; name its columns as far as they are known."""
    if pivot.this is not None:
        holder = pivot.this.copy()
    else:
        holder = source.copy()
        holder.set("pivots", None)
    if isinstance(holder, exp.Subquery) and not holder.alias:
        holder.set("alias", exp.TableAlias(this=quoted(rewriter.fresh("pivoted_"))))
    probe = exp.select("*").from_(holder.copy())
    columns = tuple(name for _, some in scope.columns_in(probe) for name in some)
    return holder, columns


def _put_back(source: exp.Expr, pivot: exp.Pivot, inner: exp.Subquery) -> None:
    """Have a pivot read from another table."""
    if pivot.this is not None:
        pivot.set("this", inner)
        return
    inner.set("pivots", [pivot.copy()])
    source.replace(inner)


def _keys_of(pivot: exp.Pivot, columns: Sequence[str]) -> list[str]:
    """Name the columns that rows of a pivot are grouped by.

    Those of GROUP BY; without one all that neither the pivot nor its aggregates name.
    """
    group = pivot.args.get("group")
    if group is not None:
        if not all(isinstance(one, exp.Column) for one in group.expressions):
            raise UnsupportedQueryError("pivot", "grouped by more than columns")
        return [one.name for one in group.expressions]
    if not columns:
        raise UnsupportedQueryError("pivot", "of columns that are not known")
    listed = [*(pivot.args.get("fields") or ()), *(pivot.args.get("using") or ())]
    named = {
        column.name.lower()
        for one in [*pivot.expressions, *listed]
        for column in one.find_all(exp.Column)
    }
    return [name for name in columns if name not in named]


def _pivoted(
    source: exp.Expr,
    pivot: exp.Pivot,
    inner: exp.Select,
    ids: Sequence[Carried],
    *,
    keys: Sequence[str],
    rewriter: Rewriter,
    hidden: dict[str, list[str]],
) -> list[Carried]:
    """Join the rows of a PIVOT with the identities of their groups."""
    held, made, groups = (rewriter.fresh(word) for word in ("held_", "pivot_", "groups_"))
    alias = source.alias or pivot.alias or rewriter.fresh("pivoted_")
    visible = exp.select(exp.Star(except_=[exp.column(quoted(one.name)) for one in ids]))
    reading = visible.from_(exp.Table(this=quoted(held))).subquery()
    bare = pivot.copy()
    bare.set("alias", None)
    if bare.this is not None:
        bare.set("this", reading)
        pivoted = exp.Subquery(this=bare, alias=exp.TableAlias(this=quoted(made)))
    else:
        bare.set("alias", exp.TableAlias(this=quoted(made)))
        reading.set("pivots", [bare])
        pivoted = reading
    names = [rewriter.fresh("key_") for _ in keys]
    gathered, found = _groups(held, ids, dict(zip(keys, names, strict=True)), alias, rewriter)
    same = [
        exp.NullSafeEQ(
            this=exp.column(quoted(key), table=quoted(made)),
            expression=exp.column(quoted(name), table=quoted(groups)),
        )
        for key, name in zip(keys, names, strict=True)
    ]
    joined = exp.select(
        exp.Column(this=exp.Star(), table=quoted(made)),
        *(exp.column(quoted(one.name), table=quoted(groups)) for one in found),
    ).from_(pivoted)
    joined = joined.join(
        gathered.subquery(quoted(groups)),
        on=exp.and_(*same) if same else exp.true(),
        join_type="LEFT",
        copy=False,
    )
    cte = exp.CTE(this=inner, alias=exp.TableAlias(this=quoted(held)), materialized=True)
    joined.set("with_", exp.With(expressions=[cte]))
    source.replace(joined.subquery(quoted(alias)))
    hidden.setdefault(alias, []).extend(one.name for one in found)
    return found


def _groups(
    held: str, ids: Sequence[Carried], keys: dict[str, str], alias: str, rewriter: Rewriter
) -> tuple[exp.Select, list[Carried]]:
    """Write the identities of each group, beside its keys under names of their own."""
    gathered = exp.select().from_(exp.Table(this=quoted(held)))
    for key, name in keys.items():
        gathered.append("expressions", exp.alias_(exp.column(quoted(key)), name, quoted=True))
    found = []
    for one in ids:
        name = rewriter.fresh()
        value = rewriter.spelling.gather(exp.column(quoted(one.name)), one.form)
        gathered.append("expressions", exp.alias_(value, name, quoted=True))
        form = rewriter.spelling.gathered_form(one.form)
        found.append(replace(one, name=name, form=form, table=alias, column="", made=None))
    if keys:
        gathered.set("group", exp.Group(expressions=[exp.column(quoted(key)) for key in keys]))
    return gathered, found

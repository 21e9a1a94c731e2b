"""DuckDB queries rewritten to carry the identities of the source rows behind each output row.

The rewritten query returns the original columns first, then one identity column for each source
occurrence: a BIGINT (one row of the source, or NULL where an outer join found none), or a list of
them once rows have been grouped. Meaning: *the rows whose combination is this row*: for a join
the joined rows, for a group all rows of the group, for UNION ALL the rows of the branch.

An operator whose rows this does not follow raises `UnsupportedQueryError`, naming it, and nothing
is claimed. A construct that only decides whether rows stay (a sub-query in WHERE, a semi join), or
that looks at neighbours (a window), leaves the links that are claimed exact, and leaves an
`OperatorGap` naming what is not among them.

The text is generated from sqlglot's tree. Whoever runs it checks first that sqlglot reproduces the
*original* text faithfully (`Rewriting.reproduced`, see `spelling`), for which DuckDB's own parser
is the judge.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.sources import (
    Bindings,
    Catalog,
    OperatorGap,
    Source,
    bind_sources,
    is_cte_reference,
)
from lodeline.sql.spelling import function_name, render

PREFIX = "__lodeline_"

# Marks a derived table that is a scan with an added ordinal.
_SCAN = "lodeline_scan"

# Their result differs from one execution to the next, so a second execution, or a plan changed
# by hidden columns, is visible to the program.
_UNREPEATABLE = frozenset(
    {
        "random",
        "rand",
        "uuid",
        "gen_random_uuid",
        "uuidv4",
        "uuidv7",
        "nextval",
        "currval",
        "setseed",
    }
)

# DuckDB aggregates that sqlglot does not know as such. One missing here costs a gap, not a wrong
# link: DuckDB then refuses an ungrouped identity column beside it.
_AGGREGATES = frozenset(
    {
        "product", "fsum", "kahan_sum", "sumkahan", "favg", "bit_and", "bit_or", "bit_xor",
        "bitstring_agg", "histogram", "histogram_exact", "kurtosis", "kurtosis_pop", "entropy",
        "mad", "reservoir_quantile", "sem", "geomean", "geometric_mean", "weighted_avg",
        "approx_top_k", "list", "max_by", "min_by", "arg_max_null", "arg_min_null", "any_value",
        "first", "last", "arbitrary", "count_if", "countif", "string_agg", "group_concat",
        "listagg", "regr_sxx", "regr_syy", "regr_sxy", "regr_count", "regr_avgx", "regr_avgy",
        "regr_r2", "regr_slope", "regr_intercept", "approx_quantile", "skewness", "bool_and",
        "bool_or", "mean", "stddev", "variance", "array_agg", "arg_max", "arg_min", "argmax",
        "argmin", "median", "mode", "quantile", "quantile_cont", "quantile_disc", "stddev_pop",
        "stddev_samp", "var_pop", "var_samp", "corr", "covar_pop", "covar_samp",
        "approx_count_distinct", "json_group_array", "json_group_object",
        "json_group_structure",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """One identity column of a rewritten query.

    Attributes:
        name: of the column.
        source: whose rows it holds.
        lists: whether a list of rows, or one row, or NULL.
    """

    name: str
    source: Source
    lists: bool


@dataclass(frozen=True)
class Rewriting:
    """A query that carries row identities.

    Attributes:
        sql: original columns first, then `identities` in order.
        reproduced: the original query as sqlglot writes it, for the check of faithfulness.
        identities: the identity columns.
        operators: what the query does, in words, for the step's name.
        gaps: what is not among the links.
        ordered: whether the query fixes the order of its rows.
    """

    sql: str
    reproduced: str
    identities: tuple[Identity, ...]
    operators: tuple[str, ...]
    gaps: tuple[OperatorGap, ...]
    ordered: bool


@dataclass(frozen=True)
class _Id:
    """An identity available in a scope: how to write it there."""

    name: str
    source: Source
    lists: bool
    table: str = ""
    column: str = ""

    def expression(self) -> exp.Expr:
        column = self.column or self.name
        table = exp.to_identifier(self.table, quoted=True) if self.table else None
        return exp.Column(this=exp.to_identifier(column, quoted=True), table=table)


@dataclass(frozen=True)
class _Twin:
    """The rewritten copy of a common table expression."""

    name: str
    ids: tuple[_Id, ...]


@dataclass
class _Rewriter:
    bindings: Bindings
    numbers: Iterator[int] = field(default_factory=itertools.count)
    gaps: list[OperatorGap] = field(default_factory=list)
    operators: list[str] = field(default_factory=list)
    # By id of the SELECT: the expression of each identity that the SELECT can project.
    projected: dict[int, dict[str, exp.Expr]] = field(default_factory=dict)

    def fresh(self, word: str = "") -> str:
        return f"{PREFIX}{word}{next(self.numbers)}"

    def note(self, operator: str) -> None:
        if operator not in self.operators:
            self.operators.append(operator)

    def gap(self, operator: str, detail: str) -> None:
        gap = OperatorGap(operator, detail)
        if gap not in self.gaps:
            self.gaps.append(gap)


def rewrite_rows(query: exp.Query, catalog: Catalog) -> Rewriting:
    """Rewrite a query to carry row identities.

    Args:
        query: left as it is.
        catalog: resolves the sources; see `Source.rows`.

    Raises:
        UnsupportedQueryError: naming the operator that is not followed.
    """
    reproduced = render(query)
    tree = query.copy()
    _refuse_what_cannot_be_repeated(tree)
    bindings = bind_sources(tree, catalog)
    if bindings.unknown:
        raise UnsupportedQueryError("table", f"{bindings.unknown[0]} is not known")
    holder = exp.Subquery(this=tree)  # So that even the outermost query can be replaced.
    rewriter = _Rewriter(bindings)
    ids = _rewrite_query(tree, {}, rewriter)
    _project(holder.this, ids, rewriter)
    final = holder.this
    return Rewriting(
        sql=render(final),
        reproduced=reproduced,
        identities=tuple(Identity(one.name, one.source, one.lists) for one in ids),
        operators=tuple(rewriter.operators) or ("projection",),
        gaps=tuple(rewriter.gaps),
        ordered=bool(final.args.get("order")),
    )


def _refuse_what_cannot_be_repeated(tree: exp.Expr) -> None:
    for function in tree.find_all(exp.Func):
        name = function_name(function)
        if name in _UNREPEATABLE:
            raise UnsupportedQueryError("unrepeatable function", name)
    for node in tree.walk():
        if isinstance(node, exp.TableSample) or node.args.get("sample"):
            raise UnsupportedQueryError("sample", "rows are drawn anew at each execution")
        if isinstance(node, exp.Parameter | exp.Placeholder):
            raise UnsupportedQueryError("parameter", "bound values are not carried over")
        if isinstance(node, exp.Identifier) and node.name.lower().startswith(PREFIX):
            raise UnsupportedQueryError("name", f"{node.name} is reserved")


def _rewrite_query(
    query: exp.Expr, env: Mapping[str, _Twin], rewriter: _Rewriter
) -> tuple[_Id, ...]:
    """Prepare a query to project identities, and name them; `_project` then adds them."""
    if isinstance(query, exp.Subquery):
        if any(value for key, value in query.args.items() if key != "this"):
            raise UnsupportedQueryError("parenthesised query", "with clauses of its own")
        return _rewrite_query(query.this, env, rewriter)
    if not isinstance(query, exp.Select | exp.Union):
        raise UnsupportedQueryError(query.key, "")
    env = _rewrite_ctes(query, env, rewriter)
    if isinstance(query, exp.Union):
        return _rewrite_union(query, env, rewriter)
    return _rewrite_select(query, env, rewriter)


def _rewrite_ctes(
    query: exp.Query, env: Mapping[str, _Twin], rewriter: _Rewriter
) -> dict[str, _Twin]:
    """Add a rewritten twin of each CTE; the originals stay, for sub-queries may read them."""
    inner = dict(env)
    with_ = query.args.get("with_")
    if not isinstance(with_, exp.With):
        return inner
    ctes: list[exp.CTE] = []
    for cte in list(with_.expressions):
        ctes.append(cte)
        if not _is_used(cte, query):
            continue
        if with_.args.get("recursive") and _mentions(cte.this, cte.alias):
            raise UnsupportedQueryError("recursive query", cte.alias)
        twin = cte.copy()
        ids = _rewrite_query(twin.this, inner, rewriter)
        _project(twin.this, ids, rewriter)
        name = rewriter.fresh("cte_")
        alias = twin.args["alias"]
        alias.set("this", exp.to_identifier(name, quoted=True))
        _extend_column_list(alias, cte.this, ids)
        ctes.append(twin)
        inner[cte.alias.lower()] = _Twin(name, ids)
    with_.set("expressions", ctes)
    return inner


def _extend_column_list(alias: exp.TableAlias, query: exp.Expr, ids: Sequence[_Id]) -> None:
    """Name the identities in a column list too, where the query has one.

    A list may name fewer columns than there are; ours would then take the next one's name.
    """
    listed = alias.args.get("columns")
    if not listed:
        return
    selects = query.selects if isinstance(query, exp.Query) else []
    if len(selects) != len(listed) or any(one.is_star for one in selects):
        raise UnsupportedQueryError("column list", "that may not name every column")
    alias.set("columns", [*listed, *(exp.to_identifier(one.name, quoted=True) for one in ids)])


def _is_used(cte: exp.CTE, query: exp.Query) -> bool:
    return _mentions(query, cte.alias)


def _mentions(tree: exp.Expr, name: str) -> bool:
    return any(table.name.lower() == name.lower() for table in tree.find_all(exp.Table))


def _rewrite_union(
    query: exp.Union, env: Mapping[str, _Twin], rewriter: _Rewriter
) -> tuple[_Id, ...]:
    ids = (
        *_rewrite_query(query.this, env, rewriter),
        *_rewrite_query(query.expression, env, rewriter),
    )
    rewriter.note("union all")
    _check_limit(query, rewriter, simple=False)
    if query.args.get("distinct"):
        return _group_distinct(query, ids, rewriter)
    return tuple(replace(one, table="", column="") for one in ids)


def _rewrite_select(
    select: exp.Select, env: Mapping[str, _Twin], rewriter: _Rewriter
) -> tuple[_Id, ...]:
    for clause, word in (("pivots", "pivot"), ("laterals", "lateral"), ("connect", "connect by"),
                         ("into", "into"), ("match", "match")):  # fmt: skip
        if select.args.get(clause):
            raise UnsupportedQueryError(word, "")
    hidden: dict[str, list[str]] = {}
    ids: list[_Id] = []
    from_ = select.args.get("from_")
    if from_ is not None:
        ids.extend(_rewrite_source(from_.this, env, rewriter, hidden))
    joins = list(select.args.get("joins") or ())
    for join in joins:
        ids.extend(_rewrite_join(join, env, rewriter, hidden))
    if hidden:
        _refuse_row_values(select, hidden, rewriter)
    _note_expressions(select, rewriter)
    _hide_from_stars(select, hidden)
    if select.args.get("where"):
        rewriter.note("filter")
    grouped = _is_grouped(select)
    expressions = {one.name: one.expression() for one in ids}
    if grouped:
        rewriter.note("group by")
        expressions = {one.name: _collected(one) for one in ids}
        ids = [replace(one, lists=True) for one in ids]
    plain = from_ is None or isinstance(from_.this, exp.Table) or bool(from_.this.meta.get(_SCAN))
    simple = plain and not grouped and not joins and not select.args.get("distinct")
    _check_limit(select, rewriter, simple=simple)
    rewriter.projected[id(select)] = expressions
    result = tuple(replace(one, table="", column="") for one in ids)
    distinct = select.args.get("distinct")
    if isinstance(distinct, exp.Distinct):
        if distinct.args.get("on"):
            raise UnsupportedQueryError("distinct on", "")
        select.set("distinct", None)
        return _group_distinct(select, result, rewriter)
    return result


def _rewrite_source(
    source: exp.Expr,
    env: Mapping[str, _Twin],
    rewriter: _Rewriter,
    hidden: dict[str, list[str]],
) -> list[_Id]:
    """Make one item of FROM expose identities; `hidden` learns which real columns it gained."""
    if source.args.get("pivots"):
        raise UnsupportedQueryError("pivot", "")
    if isinstance(source, exp.Table):
        ids = _rewrite_table(source, env, rewriter, hidden)
    elif isinstance(source, exp.Subquery) and isinstance(source.this, exp.Query):
        ids = _rewrite_derived(source, env, rewriter, hidden)
    elif isinstance(source, exp.Subquery) and not source.alias:
        ids = _rewrite_source(source.this, env, rewriter, hidden)  # (a JOIN b ON …)
    elif isinstance(source, exp.Values | exp.Unnest):
        ids = []  # Constants, or a row's own lists: no rows besides those already there.
    else:
        raise UnsupportedQueryError(source.key, source.sql(dialect="duckdb")[:80])
    for join in source.args.get("joins") or ():
        ids.extend(_rewrite_join(join, env, rewriter, hidden))
    return ids


def _rewrite_join(
    join: exp.Join, env: Mapping[str, _Twin], rewriter: _Rewriter, hidden: dict[str, list[str]]
) -> list[_Id]:
    kind = (join.kind or "").upper()
    if kind in {"SEMI", "ANTI"}:
        rewriter.note(f"{kind.lower()} join")
        rewriter.gap(f"{kind.lower()} join", f"rows of {_shown(join.this)} are not linked")
        return []
    side = (join.side or "").lower()
    method = (join.method or "").lower()
    if method not in {"", "natural", "asof", "positional"}:
        raise UnsupportedQueryError(f"{method} join", "")
    words = " ".join(word for word in (method, side, "join") if word)
    rewriter.note(words)
    return _rewrite_source(join.this, env, rewriter, hidden)


def _shown(node: exp.Expr) -> str:
    return node.sql(dialect="duckdb")[:80]


def _rewrite_table(
    table: exp.Table, env: Mapping[str, _Twin], rewriter: _Rewriter, hidden: dict[str, list[str]]
) -> list[_Id]:
    if is_cte_reference(table):
        return _rewrite_cte_reference(table, env, rewriter, hidden)
    source = rewriter.bindings.find_source(table)
    if source is None:
        raise UnsupportedQueryError("table", _shown(table))
    if source.rows == "constant":
        return []
    if source.rows == "unknown":
        raise UnsupportedQueryError("source", f"{source.key}: {source.reason or 'rows unknown'}")
    name = rewriter.fresh()
    if source.rows == "ordinal":
        alias = _set_alias(table, rewriter)
        _add_ordinal(table, name)
        hidden.setdefault(alias, []).append(name)
        return [_Id(name, source, lists=False, table=alias)]
    if source.columns is None or any(c.lower() == source.rows for c, _ in source.columns):
        raise UnsupportedQueryError("source", f"{source.key}: a column hides {source.rows}")
    alias = _set_alias(table, rewriter)
    listed = table.args["alias"].args.get("columns") or () if table.args.get("alias") else ()
    if any(column.name.lower() == source.rows for column in listed):
        raise UnsupportedQueryError("source", f"{source.key}: a column hides {source.rows}")
    return [_Id(name, source, lists=False, table=alias, column=source.rows)]


def _set_alias(table: exp.Table, rewriter: _Rewriter) -> str:
    """Find the name that a table answers to, giving it one as an alias where it needs it."""
    if table.alias:
        return table.alias
    plain = isinstance(table.this, exp.Identifier)
    if plain and table.args.get("db"):
        return table.name  # An alias would hide `schema.table.column`.
    # DuckDB's own name of a file scan is its path's stem; that name stays usable.
    shown = _file_stem(table.name) if plain else rewriter.fresh("source_")
    alias = table.args.get("alias") or exp.TableAlias()
    alias.set("this", exp.to_identifier(shown, quoted=True))
    table.set("alias", alias)
    return shown


def _file_stem(path: str) -> str:
    base = path.replace("\\", "/").rsplit("/", 1)[-1]
    return base.split(".", 1)[0] or base


def _add_ordinal(table: exp.Table, name: str) -> None:
    """Number the rows of a reader that has no row number of its own, in reading order."""
    bare = table.copy()
    alias = bare.args.pop("alias", None) or exp.TableAlias(
        this=exp.to_identifier(table.name, quoted=True)
    )
    joins = bare.args.pop("joins", None)
    ordinal: exp.Expr = exp.maybe_parse("row_number() OVER () - 1", dialect="duckdb")
    inner = exp.select("*", exp.alias_(ordinal, name, quoted=True)).from_(bare)
    derived = exp.Subquery(this=inner, alias=alias)
    if joins:
        derived.set("joins", joins)
    derived.meta[_SCAN] = True
    table.replace(derived)


def _rewrite_cte_reference(
    table: exp.Table, env: Mapping[str, _Twin], rewriter: _Rewriter, hidden: dict[str, list[str]]
) -> list[_Id]:
    twin = env.get(table.name.lower())
    if twin is None:
        raise UnsupportedQueryError("common table expression", table.name)
    alias = _set_alias(table, rewriter)
    table.set("this", exp.to_identifier(twin.name, quoted=True))
    hidden.setdefault(alias, []).extend(one.name for one in twin.ids)
    # A new name for each reference: two references of one CTE are two occurrences.
    return [replace(one, name=rewriter.fresh(), table=alias, column=one.name) for one in twin.ids]


def _rewrite_derived(
    derived: exp.Subquery,
    env: Mapping[str, _Twin],
    rewriter: _Rewriter,
    hidden: dict[str, list[str]],
) -> list[_Id]:
    original = derived.this.copy()
    ids = _rewrite_query(derived.this, env, rewriter)
    _project(derived.this, ids, rewriter)
    alias = derived.args.get("alias")
    if not isinstance(alias, exp.TableAlias) or not alias.this:
        alias = exp.TableAlias(this=exp.to_identifier(rewriter.fresh("derived_"), quoted=True))
        derived.set("alias", alias)
    _extend_column_list(alias, original, ids)
    name = alias.this.name
    hidden.setdefault(name, []).extend(one.name for one in ids)
    return [replace(one, table=name, column="") for one in ids]


def _hide_from_stars(select: exp.Select, hidden: Mapping[str, Sequence[str]]) -> None:
    """Keep hidden columns out of `*` and `table.*`."""
    names = [name for some in hidden.values() for name in some]
    for projection in select.expressions:
        if isinstance(projection, exp.Star):
            _exclude(projection, names)
        elif isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star):
            table = projection.table.lower()
            own = [n for alias, some in hidden.items() if alias.lower() == table for n in some]
            _exclude(projection.this, own)


def _exclude(star: exp.Star, names: Sequence[str]) -> None:
    if not names:
        return
    if star.args.get("rename"):
        raise UnsupportedQueryError("star", "with RENAME")
    before = list(star.args.get("except_") or ())
    star.set(
        "except_", before + [exp.column(exp.to_identifier(name, quoted=True)) for name in names]
    )


def _refuse_row_values(
    select: exp.Select, hidden: Mapping[str, Sequence[str]], rewriter: _Rewriter
) -> None:
    """Refuse what would show hidden columns: a table named as a value, stars inside functions."""
    items = [select.args["from_"].this] if select.args.get("from_") else []
    items += [join.this for join in select.args.get("joins") or ()]
    columns: set[str] = set()
    for item in items:
        source = rewriter.bindings.find_source(item)
        columns.update(name.lower() for name, _ in (source.columns or () if source else ()))
    names = {alias.lower() for alias in hidden} - columns
    for node in select.walk():
        if isinstance(node, exp.Columns):
            raise UnsupportedQueryError("COLUMNS", "over a source that carries identities")
        if isinstance(node, exp.Star) and not isinstance(
            node.parent, exp.Select | exp.Count | exp.Column
        ):
            raise UnsupportedQueryError("star", "inside an expression")
        if isinstance(node, exp.Column) and not node.table and node.name.lower() in names:
            raise UnsupportedQueryError("row value", f"{node.name} may name a whole row")


def _note_expressions(select: exp.Select, rewriter: _Rewriter) -> None:
    """Note windows and sub-queries of a SELECT's own clauses, whose rows are not linked."""
    for clause in ("expressions", "where", "having", "qualify", "order", "group", "windows"):
        value = select.args.get(clause)
        for root in value if isinstance(value, list) else [value]:
            if isinstance(root, exp.Expr):
                _note_expression(root, clause, rewriter)
    for join in select.args.get("joins") or ():
        condition = join.args.get("on")
        if condition is not None and condition.find(exp.Query):
            raise UnsupportedQueryError("join condition", "with a sub-query")


def _note_expression(root: exp.Expr, clause: str, rewriter: _Rewriter) -> None:
    for node in root.walk(prune=lambda node: isinstance(node, exp.Query)):
        if isinstance(node, exp.Window):
            rewriter.note("window")
            rewriter.gap("window", "rows of the frame are not linked")
        elif isinstance(node, exp.Query):
            place = {"expressions": "SELECT"}.get(clause, clause.upper())
            tables = sorted({table.name or _shown(table) for table in node.find_all(exp.Table)})
            rewriter.note("sub-query")
            rewriter.gap(
                "sub-query", f"in {place}: rows of {', '.join(tables) or 'it'} are not linked"
            )


def _is_grouped(select: exp.Select) -> bool:
    if select.args.get("group"):
        return True
    places = [*select.expressions, select.args.get("having"), select.args.get("order")]
    return any(_has_aggregate(place) for place in places if isinstance(place, exp.Expr))


def _has_aggregate(root: exp.Expr) -> bool:
    for node in root.walk(prune=lambda node: isinstance(node, exp.Query | exp.Subquery)):
        if isinstance(node, exp.Query | exp.Subquery):
            continue
        if _is_aggregate(node) and not _is_windowed(node):
            return True
    return False


def _is_aggregate(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        return function_name(node) in _AGGREGATES
    return isinstance(node, exp.AggFunc)


def _is_windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        node, parent = parent, parent.parent
    return isinstance(parent, exp.Window) and parent.this is node


def _collected(one: _Id) -> exp.Expr:
    """Collect an identity over a group."""
    value = one.expression()
    gathered = exp.Anonymous(this="list", expressions=[value])
    # NULLs of outer joins stay in the list: whoever reads it skips them, and a FILTER costs more.
    return exp.Anonymous(this="flatten", expressions=[gathered]) if one.lists else gathered


def _group_distinct(query: exp.Query, ids: Sequence[_Id], rewriter: _Rewriter) -> tuple[_Id, ...]:
    """Write DISTINCT as a grouping over all columns, which can collect identities."""
    rewriter.note("distinct")
    _project(query, ids, rewriter)
    alias = rewriter.fresh("distinct_")
    inner = query.copy()
    order, limit, offset, with_ = (
        inner.args.pop(key, None) for key in ("order", "limit", "offset", "with_")
    )
    if order is not None:
        _check_order_is_by_output(order, query)
    star = exp.Star(
        except_=[exp.column(exp.to_identifier(one.name, quoted=True)) for one in ids] or None
    )
    outer = exp.select(star).from_(
        exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    )
    expressions = {}
    result = []
    for one in ids:
        name = rewriter.fresh()
        expressions[name] = _collected(replace(one, table=alias, column=one.name))
        result.append(_Id(name, one.source, lists=True))
    outer.set("group", exp.Group(all=True))
    for key, value in (("order", order), ("limit", limit), ("offset", offset), ("with_", with_)):
        if value is not None:
            outer.set(key, value)
    rewriter.projected[id(outer)] = expressions
    query.replace(outer)
    return tuple(result)


def _check_order_is_by_output(order: exp.Expr, query: exp.Query) -> None:
    names = {name.lower() for name in query.named_selects}
    for item in order.expressions:
        key = item.this
        if isinstance(key, exp.Literal) and not key.is_string:
            continue
        if isinstance(key, exp.Column) and not key.table and key.name.lower() in names:
            continue
        raise UnsupportedQueryError("distinct", "ordered by more than its columns")


def _check_limit(query: exp.Query, rewriter: _Rewriter, *, simple: bool) -> None:
    """Without an order, which rows LIMIT keeps depends on the plan, except over a plain scan."""
    if not (query.args.get("limit") or query.args.get("offset")):
        return
    if not query.args.get("order") and not simple:
        raise UnsupportedQueryError("limit", "without ORDER BY")
    rewriter.note("limit")


def _project(query: exp.Expr, ids: Sequence[_Id], rewriter: _Rewriter) -> None:
    """Append the identities to a query's columns; NULL where a branch does not have one."""
    if isinstance(query, exp.Subquery):
        _project(query.this, ids, rewriter)
        return
    if isinstance(query, exp.Union):
        _project(query.this, ids, rewriter)
        _project(query.expression, ids, rewriter)
        return
    available = rewriter.projected.get(id(query), {})
    for one in ids:
        value = available.get(one.name)
        if value is None:
            kind = "BIGINT[]" if one.lists else "BIGINT"
            value = exp.cast(exp.Null(), kind, dialect="duckdb")
        query.append("expressions", exp.alias_(value.copy(), one.name, quoted=True))

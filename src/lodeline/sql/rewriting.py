"""Queries rewritten to carry the identities of the source rows behind each output row.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp
from sqlglot.errors import SqlglotError

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.bitmaps import Counts, choose_bitmaps, count_groups
from lodeline.sql.carried import (
    FILE_ROW,
    NUMBER,
    PREFIX,
    TAG,
    Carried,
    Identity,
    PostgresSpelling,
    Shared,
    SparkSpelling,
    Spelling,
    quoted,
)
from lodeline.sql.found import (
    Question,
    is_choosing,
    is_closed,
    is_query,
    links_of_question,
    links_of_window,
    questions_of,
    windows_of,
)
from lodeline.sql.recursion import rewrite_fixpoint
from lodeline.sql.reshaping import pivot_of, rewrite_pivot
from lodeline.sql.sources import (
    Bindings,
    Catalog,
    OperatorGap,
    Source,
    bind_sources,
    describe_error,
    quiet_parser,
)
from lodeline.sql.spelling import function_name, render
from lodeline.sql.taken import gathered

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
class Rewriting:
    """A query that carries row identities.

    Attributes:
        sql: original columns first, then `columns` in order.
        reproduced: the original query as sqlglot writes it, for the check of faithfulness.
        columns: names of the identity columns.
        identities: what they hold; a column of several sources has an entry for each.
        shared: sub-queries whose rows all output rows share; sources of `identities`, too.
        operators: what the query does, in words, for the step's name.
        gaps: what is not among the links.
        ordered: whether the query fixes the order of its rows.
        frames: a query each that counts the links of a window's frames.
    """

    sql: str
    reproduced: str
    columns: tuple[str, ...]
    identities: tuple[Identity, ...]
    shared: tuple[Shared, ...]
    operators: tuple[str, ...]
    gaps: tuple[OperatorGap, ...]
    ordered: bool
    frames: tuple[str, ...] = ()


@dataclass(frozen=True)
class Twin:
    """The rewritten copy of a common table expression.

    Attributes:
        columns: names of what the original has; None where a star hides them.
    """

    name: str
    ids: tuple[Carried, ...]
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Scope:
    """What names mean where a query stands, and whether it can be asked again elsewhere.

    Attributes:
        twins: rewritten common table expressions, by name.
        ctes: all definitions that `twins` need, in order.
        repeatable: none of them may choose other rows when it runs again.
        recursive: whether one of them is recursive.
        sources: of base tables.
    """

    bindings: Bindings
    twins: Mapping[str, Twin] = field(default_factory=dict)
    ctes: tuple[exp.CTE, ...] = ()
    repeatable: bool = True
    recursive: bool = False

    def find_twin(self, table: exp.Expr) -> Twin | None:
        """Give the rewritten CTE that a table's name means here."""
        if not isinstance(table, exp.Table) or table.args.get("db"):
            return None
        if self.bindings.find_source(table) is not None:
            return None
        return self.twins.get(table.name.lower())

    def columns_in(self, select: exp.Select) -> Iterator[tuple[str, frozenset[str]]]:
        """Name what a SELECT reads: aliases, with their columns as far as they are known."""
        items = [select.args["from_"].this] if select.args.get("from_") else []
        waiting = [*items, *(join.this for join in select.args.get("joins") or ())]
        while waiting:
            item = waiting.pop()
            waiting += [join.this for join in item.args.get("joins") or ()]
            yield item.alias_or_name.lower(), frozenset(self._columns_of(item))

    def _columns_of(self, item: exp.Expr) -> Iterator[str]:
        alias = item.args.get("alias")
        listed = alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None
        if listed:
            yield from (one.name.lower() for one in listed)
        elif isinstance(item, exp.Subquery | exp.Lateral) and isinstance(item.this, exp.Query):
            yield from (name.lower() for name in item.this.named_selects if name != "*")
        elif isinstance(item, exp.Table):
            source, twin = self.bindings.find_source(item), self.find_twin(item)
            if source is not None:
                yield from (name.lower() for name, _ in source.columns or ())
            elif twin is not None:
                yield from (name.lower() for name in twin.columns or ())


@dataclass
class Rewriter:
    """What one rewriting has found so far.

    Attributes:
        bindings: of the query's tables; `sources` also has the shared sub-queries.
        windows: whether the rows of frames are linked.
        questions: whether the rows of sub-queries in expressions are linked.
        where: whether a group is linked to the rows that its values were taken from.
        counts: of tables and of the query, by which bitmaps are chosen; without it there are none.
        outermost: the query itself.
        projected: by id of the SELECT: the expression of each identity that it can project.
    """

    bindings: Bindings
    windows: bool = True
    questions: bool = True
    where: bool = False
    spelling: Spelling = field(default_factory=Spelling)
    counts: Counts | None = None
    outermost: exp.Expr | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    gaps: list[OperatorGap] = field(default_factory=list)
    operators: list[str] = field(default_factory=list)
    shared: list[Shared] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    asked: int = 0  # How many sub-queries of expressions we are in.
    projected: dict[int, dict[str, exp.Expr]] = field(default_factory=dict)
    kept: list[exp.Expr] = field(default_factory=list)  # So that no id is used twice.

    def fresh(self, word: str = "") -> str:
        """Make a name that nothing else has."""
        return f"{PREFIX}{word}{next(self.numbers)}"

    def note(self, operator: str) -> None:
        """Add to what the query does."""
        if operator not in self.operators:
            self.operators.append(operator)

    def gap(self, operator: str, detail: str) -> None:
        """Add to what is not among the links."""
        gap = OperatorGap(operator, detail)
        if gap not in self.gaps:
            self.gaps.append(gap)

    def render(self, tree: exp.Expr) -> str:
        """Write a tree for the engine."""
        return render(tree, self.spelling.dialect)

    def check_questions(self) -> None:
        """Refuse to ask what sub-queries found, where the engine does not take that."""
        if not self.questions:
            raise UnsupportedQueryError("engine", "does not take the question where it stands")

    def number_of(self, source: Source) -> int:
        """Number a source."""
        if source not in self.bindings.ordered:
            self.bindings.ordered.append(source)
        number = self.bindings.ordered.index(source)
        if number >= TAG:
            raise UnsupportedQueryError("sources", "too many of them")
        return number

    def rewrite(self, query: exp.Expr, scope: Scope) -> tuple[Carried, ...]:
        """Prepare a query to project identities, and name them."""
        return _rewrite_query(query, scope, self)

    def project(self, query: exp.Expr, ids: Sequence[Carried]) -> None:
        """Add identities to the columns of a query that `rewrite` prepared."""
        _project(query, ids, self)

    def share(
        self, select: exp.Select, ids: Sequence[Carried], scope: Scope, operator: str
    ) -> Carried:
        """Have all rows that meet a query share one row, which stands for all rows behind it."""
        gathered = []
        for one in ids:
            name = self.fresh()
            value = self.spelling.gather(one.expression(), one.form)
            select.append("expressions", exp.alias_(value, name, quoted=True))
            form = self.spelling.gathered_form(one.form)
            gathered.append(replace(one, name=name, form=form, column=""))
        number = self._add_shared(select, gathered, scope, operator, None)
        made = self.spelling.shared_row(number)
        tagged = self.spelling.tags_all
        return Carried(self.fresh(), (number,), "shared", tagged=tagged, made=made)

    def stage(
        self,
        select: exp.Select,
        values: Sequence[str],
        ids: Sequence[Carried],
        scope: Scope,
        operator: str,
    ) -> Carried:
        """Have the rows of a query in a table, to be named by their number."""
        select.set("expressions", [exp.column(quoted(name)) for name in values])
        for one in ids:
            select.append("expressions", exp.alias_(one.expression(), one.name, quoted=True))
        table = self.fresh("shared_")
        # Numbered by a column: within the transaction that made it, DuckDB's own `rowid` is not
        # what it will be.
        ordinal: exp.Expr = exp.maybe_parse("row_number() OVER () - 1", dialect="duckdb")
        numbered = (
            exp.select(exp.alias_(ordinal, NUMBER, quoted=True), "*")
            .from_(select.subquery(self.fresh("numbered_")))
            .order_by(exp.column(quoted(NUMBER)))
        )
        number = self._add_shared(numbered, ids, scope, operator, table)
        return Carried(self.fresh(), (number,), table=table, column=NUMBER)

    def _add_shared(
        self,
        select: exp.Select,
        ids: Sequence[Carried],
        scope: Scope,
        operator: str,
        table: str | None,
    ) -> int:
        source = Source(f"{operator} {len(self.shared)}", rows="rowid", detail=SHARED)
        if scope.ctes:
            ctes = [one.copy() for one in scope.ctes]
            select.set("with_", exp.With(expressions=ctes, recursive=scope.recursive))
        columns = tuple(one.name for one in ids)
        identities = self.identities(ids)
        sql = self.render(select)
        self.shared.append(Shared(source, sql, columns, identities, operator, table))
        return self.number_of(source)

    def identities(self, ids: Iterable[Carried]) -> tuple[Identity, ...]:
        """Say what identity columns hold."""
        return tuple(
            Identity(
                one.name,
                self.bindings.ordered[number],
                one.form == "list",
                number if one.tagged else None,
                one.form == "bitmap",
            )
            for one in ids
            for number in one.sources
        )


# The detail of a source that stands for a shared sub-query.
SHARED = object()


def rewrite_rows(
    query: exp.Query,
    catalog: Catalog,
    *,
    dialect: str = "duckdb",
    windows: bool = True,
    questions: bool = True,
    where: bool = False,
    counts: Counts | None = None,
) -> Rewriting:
    """Rewrite a query to carry row identities.

    Args:
        query: left as it is.
        catalog: resolves the sources; see `Source.rows`.
        dialect: of the engine: `duckdb`; `postgres`, whose rows are named by primary keys; or
            `spark`, whose rows are named by declared keys, or by their place in a Parquet file.
        windows: whether the rows of window frames are linked, or are a gap: a running sum of n
            rows has n * n / 2 of them.
        questions: whether the rows of sub-queries in expressions are linked, or are a gap: for an
            engine that does not take them in every place where they can be asked.
        where: where-provenance: a group all of whose aggregates take a value from a row (`min`,
            `max`, `arg_min`, `arg_max`, `first`, `last`) is linked to the rows that have it, and
            not to all rows of the group. DuckDB only.
        counts: by which identities that the outermost grouping collects may be bitmaps. DuckDB
            only.

    Raises:
        UnsupportedQueryError: naming the operator that is not followed.
    """
    spelling = _spelling_of(dialect)
    reproduced = render(query, dialect)
    tree = query.copy()
    _refuse_what_cannot_be_repeated(tree)
    bindings = bind_sources(tree, catalog, dialect=dialect)
    if bindings.unknown:
        raise UnsupportedQueryError("table", f"{bindings.unknown[0]} is not known")
    _check_samples(tree, bindings)
    if not spelling.stars:
        tree = _spelled_out(tree, bindings, dialect)
    holder = exp.Subquery(this=tree)  # So that even the outermost query can be replaced.
    rewriter = Rewriter(
        bindings, windows=windows, questions=questions, where=where, spelling=spelling,
        counts=counts, outermost=tree,
    )  # fmt: skip
    ids = _rewrite_query(tree, Scope(bindings), rewriter)
    _project(holder.this, ids, rewriter)
    final = holder.this
    return Rewriting(
        sql=rewriter.render(final),
        reproduced=reproduced,
        columns=tuple(one.name for one in ids),
        identities=rewriter.identities(ids),
        shared=tuple(rewriter.shared),
        operators=tuple(rewriter.operators) or ("projection",),
        gaps=tuple(rewriter.gaps),
        ordered=bool(final.args.get("order")),
        frames=tuple(rewriter.frames),
    )


def _spelling_of(dialect: str) -> Spelling:
    spellings: dict[str, type[Spelling]] = {
        "duckdb": Spelling, "postgres": PostgresSpelling, "spark": SparkSpelling,
    }  # fmt: skip
    if dialect not in spellings:
        raise UnsupportedQueryError("dialect", f"{dialect} is not written")
    return spellings[dialect]()


def _spelled_out(tree: exp.Query, bindings: Bindings, dialect: str) -> exp.Query:
    """Write out stars, and which table a column is of, for an engine that cannot leave out columns.

    Identities would else come out of `*`.
    """
    from sqlglot.optimizer.qualify import qualify  # Loaded by few: DuckDB needs none of it.

    schema: dict[str, object] = {}
    for table in tree.find_all(exp.Table):
        source = bindings.find_source(table)
        if source is None or table.args.get("db"):
            continue
        if source.columns is None:
            raise UnsupportedQueryError("source", f"{source.key}: its columns are not known")
        schema[table.name] = {name: kind or "TEXT" for name, kind in source.columns}
    try:
        with quiet_parser():
            made = qualify(
                tree, schema=schema, dialect=dialect, quote_identifiers=False,
                validate_qualify_columns=False,
            )  # fmt: skip
    except SqlglotError as error:
        raise UnsupportedQueryError("names", describe_error(error)) from error
    if any(isinstance(one, exp.Select) and one.is_star for one in made.walk()):
        raise UnsupportedQueryError("star", "whose columns are not known")
    if not isinstance(made, exp.Query):
        raise UnsupportedQueryError(made.key, "is no query")
    return made


def _refuse_what_cannot_be_repeated(tree: exp.Expr) -> None:
    for function in tree.find_all(exp.Func):
        name = function_name(function)
        if name in _UNREPEATABLE:
            raise UnsupportedQueryError("unrepeatable function", name)
    for node in tree.walk():
        if isinstance(node, exp.Parameter | exp.Placeholder):
            raise UnsupportedQueryError("parameter", "bound values are not carried over")
        if isinstance(node, exp.Identifier) and node.name.lower().startswith(PREFIX):
            raise UnsupportedQueryError("name", f"{node.name} is reserved")


def _check_samples(tree: exp.Expr, bindings: Bindings) -> None:
    """Let pass a sample that a plain run may have drawn as well.

    One execution gives rows and links, so any draw is as good as another. A seeded one is the same
    in each run, and stays so only over the scan of a table, which carrying rows does not change.
    """
    for sample in tree.find_all(exp.TableSample):
        if sample.args.get("seed") is None:
            continue
        owner = sample.parent
        if isinstance(owner, exp.Select):
            from_ = owner.args.get("from_")
            many = owner.args.get("joins") or owner.args.get("laterals")
            owner = None if many or from_ is None else from_.this
        source = None if owner is None or owner.args.get("joins") else bindings.find_source(owner)
        if source is None or source.rows not in {"rowid", "file_row_number", "key"}:
            raise UnsupportedQueryError("sample", "with a seed, over more than the scan of a table")


def _rewrite_query(query: exp.Expr, scope: Scope, rewriter: Rewriter) -> tuple[Carried, ...]:
    """Prepare a query to project identities, and name them; `_project` then adds them."""
    rewriter.kept.append(query)
    if isinstance(query, exp.Subquery):
        if any(value for key, value in query.args.items() if key != "this"):
            raise UnsupportedQueryError("parenthesised query", "with clauses of its own")
        return _rewrite_query(query.this, scope, rewriter)
    if not isinstance(query, exp.Select | exp.SetOperation):
        raise UnsupportedQueryError(query.key, "")
    scope = _rewrite_ctes(query, scope, rewriter)
    if isinstance(query, exp.SetOperation):
        return _rewrite_set_operation(query, scope, rewriter)
    return _rewrite_select(query, scope, rewriter)


def _rewrite_nested(query: exp.Expr, scope: Scope, rewriter: Rewriter) -> tuple[Carried, ...]:
    """Rewrite a query in FROM, and share one that is always one row.

    Joined with n rows, the rows behind it would be repeated n times.
    """
    closed = scope.repeatable and not query.args.get("limit")
    closed = closed and isinstance(query, exp.Select) and is_closed(query, scope)
    if not (closed and _is_one_row(query) and not is_choosing(query)):
        return _rewrite_query(query, scope, rewriter)
    outer = exp.Subquery(this=query.copy())
    ids = _rewrite_query(outer.this, scope, rewriter)
    _project(outer.this, ids, rewriter)
    if not ids:
        return ()
    alias = rewriter.fresh("shared_")
    outer.set("alias", exp.TableAlias(this=quoted(alias)))
    inside = [replace(one, table=alias, column="", made=None) for one in ids]
    shared = rewriter.share(exp.select().from_(outer), inside, scope, "one row")
    rewriter.kept.append(query)
    rewriter.projected[id(query)] = {shared.name: shared.expression()}
    return (replace(shared, made=None),)


def _is_one_row(query: exp.Expr) -> bool:
    """Say whether a query gives one row at most, by its form."""
    if isinstance(query, exp.Subquery):
        return _is_one_row(query.this)
    if not isinstance(query, exp.Select):
        return False
    if any(query.args.get(key) for key in ("group", "qualify", "laterals")) or _unnests(query):
        return False
    if _is_grouped(query):
        return True
    items = [query.args["from_"].this] if query.args.get("from_") else []
    items += [join.this for join in query.args.get("joins") or ()]
    return bool(items) and all(
        isinstance(item, exp.Subquery) and not item.args.get("joins") and _is_one_row(item)
        for item in items
    )


def _unnests(query: exp.Select) -> bool:
    return any(one.find(exp.Unnest, exp.Explode) is not None for one in query.expressions)


def _rewrite_ctes(query: exp.Query, scope: Scope, rewriter: Rewriter) -> Scope:
    """Put a rewritten twin before each CTE, and read the CTE from it.

    So whoever reads the original (a sub-query of an expression) sees the rows of the twin, even
    where a second run might choose others.
    """
    with_ = query.args.get("with_")
    if not isinstance(with_, exp.With):
        return scope
    ctes: list[exp.CTE] = []
    for cte in list(with_.expressions):
        if not _is_used(cte, query):
            ctes.append(cte)
            continue
        names = _names_of(cte)
        name = rewriter.fresh("cte_")
        before: list[exp.CTE] = []
        if with_.args.get("recursive") and _mentions(cte.this, cte.alias):
            before, twin, ids = _rewrite_recursive(cte, name, scope, rewriter)
        else:
            twin = cte.copy()
            ids = _rewrite_nested(twin.this, scope, rewriter)
            _project(twin.this, ids, rewriter)
            ids = tuple(replace(one, table="", column="", made=None) for one in ids)
            _extend_column_list(twin.args["alias"], cte.this, ids)
        twin.args["alias"].set("this", quoted(name))
        choosing = is_choosing(cte.this)
        if choosing and not rewriter.spelling.materializes:
            raise UnsupportedQueryError("common table expression", "that may choose again")
        if choosing and not with_.args.get("recursive"):
            twin.set("materialized", True)
        visible = _all_but([one.name for one in ids], names, name, rewriter)
        cte.set("this", exp.select(*visible).from_(exp.Table(this=quoted(name))))
        cte.args["alias"].set("columns", None)
        cte.set("materialized", None)
        ctes += [*before, twin, cte]
        scope = replace(
            scope,
            twins={**scope.twins, cte.alias.lower(): Twin(name, ids, names)},
            ctes=(*(one for one in scope.ctes if one.alias != cte.alias), *before, twin, cte),
            # An inner name that hides an outer one: asked elsewhere, they would be confused.
            repeatable=scope.repeatable and not choosing and cte.alias.lower() not in scope.twins,
            recursive=scope.recursive or bool(with_.args.get("recursive")),
        )
    with_.set("expressions", ctes)
    return scope


def _all_but(
    hidden: Sequence[str], names: Sequence[str] | None, table: str, rewriter: Rewriter
) -> list[exp.Expr]:
    """Write the columns of a table that a program sees."""
    if rewriter.spelling.stars:
        return [exp.Star(except_=[exp.column(quoted(one)) for one in hidden] or None)]
    if names is None:
        raise UnsupportedQueryError("star", f"of {table}")
    return [exp.Column(this=quoted(one), table=quoted(table)) for one in names]


def _names_of(cte: exp.CTE) -> tuple[str, ...] | None:
    listed = cte.args["alias"].args.get("columns")
    if listed:
        return tuple(one.name for one in listed)
    query = cte.this
    if not isinstance(query, exp.Query) or any(one.is_star for one in query.selects):
        return None
    return tuple(query.named_selects)


def _rewrite_recursive(
    cte: exp.CTE, name: str, scope: Scope, rewriter: Rewriter
) -> tuple[list[exp.CTE], exp.CTE, tuple[Carried, ...]]:
    """Have each row carry the rows of all steps that led to it, as lists."""
    twin = cte.copy()
    union = _recursive_union(twin, cte.alias)
    if union.args.get("distinct"):
        others, query, found = rewrite_fixpoint(
            cte, union, columns=_names_of(cte), twin_of=Twin, scope=scope, rewriter=rewriter
        )
        twin.set("this", query)
        twin.args["alias"].set("columns", None)
        return others, twin, found
    within = replace(scope, repeatable=False)
    first = _rewrite_query(union.this, within, rewriter)
    base = union.this  # As rewriting may have replaced it.
    expressions = rewriter.projected[id(base)]
    for one in first:
        if one.form == "row":
            expressions[one.name] = rewriter.spelling.as_list(expressions[one.name])
    first = tuple(replace(one, form="list") for one in first)
    inner = replace(
        within, twins={**scope.twins, cte.alias.lower(): Twin(name, first, _names_of(cte))}
    )
    step = union.expression
    added = _rewrite_query(step, inner, rewriter)
    (itself,) = [one for one in step.find_all(exp.Table) if one.name == name]
    expressions = rewriter.projected[id(step)]
    known = {one.name for one in first}
    ids = list(first)
    for one in added:
        value = expressions.pop(one.name)
        if isinstance(value, exp.Column) and value.name in known:
            expressions[value.name] = value
            continue
        before = exp.Column(this=quoted(one.name), table=quoted(itself.alias_or_name))
        mine = rewriter.spelling.as_list(value) if one.form == "row" else value
        expressions[one.name] = rewriter.spelling.concatenated([before, mine])
        ids.append(replace(one, form="list"))
    _project(base, ids, rewriter)
    _project(step, ids, rewriter)
    _extend_column_list(twin.args["alias"], cte.this, ids)
    rewriter.note("recursive query")
    return [], twin, tuple(replace(one, table="", column="", made=None) for one in ids)


def _recursive_union(cte: exp.CTE, name: str) -> exp.Union:
    """Give the UNION of a recursive query of the form that is followed."""
    union = cte.this
    if not isinstance(union, exp.Union):
        raise UnsupportedQueryError("recursive query", f"{name}: other than by UNION")
    if cte.args.get("key_expressions") or any(
        union.args.get(key) for key in ("order", "limit", "offset", "with_")
    ):
        raise UnsupportedQueryError("recursive query", f"{name}: with clauses of its own")
    base, step = union.this, union.expression
    if not isinstance(base, exp.Select) or not isinstance(step, exp.Select):
        raise UnsupportedQueryError("recursive query", f"{name}: other than one base and one step")
    mentions = [one for one in step.find_all(exp.Table) if one.name.lower() == name.lower()]
    if _mentions(base, name) or len(mentions) != 1 or mentions[0].parent_select is not step:
        raise UnsupportedQueryError("recursive query", f"{name} is not read once, by the step")
    if _is_grouped(step) or step.args.get("distinct") or any(one.is_star for one in step.selects):
        raise UnsupportedQueryError("recursive query", f"{name}: a step that groups, or a star")
    if step.find(exp.Window):
        raise UnsupportedQueryError("recursive query", f"{name}: a step with windows")
    return union


def _extend_column_list(alias: exp.TableAlias, query: exp.Expr, ids: Sequence[Carried]) -> None:
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


def _rewrite_set_operation(
    query: exp.SetOperation, scope: Scope, rewriter: Rewriter
) -> tuple[Carried, ...]:
    if query.args.get("by_name") and not isinstance(query, exp.Union):
        raise UnsupportedQueryError(query.key, "by name")
    if isinstance(query, exp.Union):
        ids = (
            *_rewrite_query(query.this, scope, rewriter),
            *_rewrite_query(query.expression, scope, rewriter),
        )
        rewriter.note("union all")
        _check_limit(query, rewriter, simple=False)
        if query.args.get("distinct"):
            return _group_distinct(query, ids, rewriter)
        return tuple(replace(one, table="", column="", made=None) for one in ids)
    return _rewrite_comparison(query, scope, rewriter)


def _rewrite_comparison(
    query: exp.SetOperation, scope: Scope, rewriter: Rewriter
) -> tuple[Carried, ...]:
    """Write INTERSECT and EXCEPT as a grouping of both sides, which can collect identities.

    A row is linked to all rows that are equal to it: of both sides for INTERSECT, of the left one
    for EXCEPT. With ALL each of its copies is.
    """
    both = isinstance(query, exp.Intersect)
    rewriter.note("intersect" if both else "except")
    _check_limit(query, rewriter, simple=False)
    ids = _rewrite_query(query.this, scope, rewriter)
    if both:
        ids = (*ids, *_rewrite_query(query.expression, scope, rewriter))
    side = rewriter.fresh("side_")
    left, right = query.this, query.expression
    for number, branch in enumerate((left, right)):
        _mark_side(branch, side, number, rewriter)
    union = exp.Union(this=left, expression=right, distinct=False)
    for key in ("order", "limit", "offset", "with_"):
        value = query.args.get(key)
        if value is not None:
            union.set(key, value)
    query.replace(union)
    every = query.args.get("distinct") is False
    return _group_distinct(union, ids, rewriter, sides=(side, both, every))


def _mark_side(branch: exp.Expr, side: str, number: int, rewriter: Rewriter) -> None:
    if isinstance(branch, exp.Subquery):
        _mark_side(branch.this, side, number, rewriter)
    elif isinstance(branch, exp.SetOperation):
        _mark_side(branch.this, side, number, rewriter)
        _mark_side(branch.expression, side, number, rewriter)
    else:
        value = exp.Literal.number(number)
        branch.append("expressions", exp.alias_(value, side, quoted=True))


def _rewrite_select(select: exp.Select, scope: Scope, rewriter: Rewriter) -> tuple[Carried, ...]:
    for clause, word in (("pivots", "pivot"), ("laterals", "lateral"), ("connect", "connect by"),
                         ("into", "into"), ("match", "match")):  # fmt: skip
        if select.args.get(clause):
            raise UnsupportedQueryError(word, "")
    hidden: dict[str, list[str]] = {}
    ids: list[Carried] = []
    windows = list(windows_of(select))
    grouped = _is_grouped(select)
    surviving = _surviving_groups(select, scope, rewriter)
    groups = _groups_to_map(select, scope, rewriter) if grouped and not windows else None
    if windows:
        rewriter.note("window")
        _count_frames(select, windows, scope, rewriter)
    before, after = _rewrite_questions(select, scope, rewriter, grouped=grouped)
    from_ = select.args.get("from_")
    if from_ is not None:
        ids.extend(_rewrite_source(from_.this, scope, rewriter, hidden))
    joins = list(select.args.get("joins") or ())
    for join in joins:
        ids.extend(_rewrite_join(join, scope, rewriter, hidden))
    if hidden:
        _refuse_row_values(select, hidden, rewriter)
    _hide_from_stars(select, hidden)
    if select.args.get("where"):
        rewriter.note("filter")
    if surviving is not None:
        select.where(surviving, copy=False)
    if grouped and before and rewriter.asked and not rewriter.spelling.stars:
        # PostgreSQL takes an aggregate of outer columns alone for one of the outer query.
        rewriter.gap("sub-query", "inside of one that groups: its rows are not linked")
        before = []
    ids += before
    if grouped:
        rewriter.note("group by")
        ids = gathered(select, ids, rewriter, _bitmaps(groups, ids, after, rewriter))
    ids += _looked_at(windows, ids, rewriter)
    ids += after
    plain = from_ is None or isinstance(from_.this, exp.Table) or bool(from_.this.meta.get(_SCAN))
    simple = plain and not grouped and not joins and not select.args.get("distinct")
    if select.find(exp.TableSample) is not None:
        rewriter.note("sample")
        simple = False
    _check_limit(select, rewriter, simple=simple and not windows)
    rewriter.projected[id(select)] = {one.name: one.expression() for one in ids}
    result = tuple(replace(one, table="", column="", made=None) for one in ids)
    distinct = select.args.get("distinct")
    if isinstance(distinct, exp.Distinct):
        if distinct.args.get("on") and not rewriter.spelling.stars:
            _check_first_of_each(select, rewriter.spelling)
            return result  # The engine itself keeps whole rows.
        if distinct.args.get("on"):
            _keep_first_of_each(select, distinct, rewriter)
            return result
        select.set("distinct", None)
        return _group_distinct(select, result, rewriter)
    return result


def _groups_to_map(
    select: exp.Select, scope: Scope, rewriter: Rewriter
) -> tuple[int | None] | None:
    """Estimate the groups of a SELECT that may collect bitmaps: of nothing that is composed on."""
    if rewriter.counts is None or select is not rewriter.outermost or not rewriter.spelling.stars:
        return None
    if select.args.get("distinct"):
        return None
    return (count_groups(select, scope, rewriter.counts),)


def _bitmaps(
    groups: tuple[int | None] | None,
    ids: Sequence[Carried],
    others: Sequence[Carried],
    rewriter: Rewriter,
) -> Mapping[str, int]:
    if groups is None or rewriter.counts is None:
        return {}
    return choose_bitmaps(ids, others, groups[0], rewriter.bindings.ordered, rewriter.counts)


def _surviving_groups(select: exp.Select, scope: Scope, rewriter: Rewriter) -> exp.Expr | None:
    """Write the condition that a row is of a group that HAVING keeps, where that costs less.

    Lists are gathered for each group before HAVING drops it, and many small lists are what costs
    most. So the groups are asked for first, plainly, and identities gathered of their rows alone.
    The groups are told by a hash: rows of another group with an equal one are dropped by HAVING
    itself, which stays where it is.
    """
    group, having = select.args.get("group"), select.args.get("having")
    if not rewriter.spelling.stars or having is None or group is None:
        return None
    others = any(value for key, value in group.args.items() if key != "expressions")
    aliases = {one.alias.lower() for one in select.expressions if isinstance(one, exp.Alias)}
    for key in group.expressions:
        if not isinstance(key, exp.Column) or (not key.table and key.name.lower() in aliases):
            return None
    for column in having.find_all(exp.Column):
        if not column.table and column.name.lower() in aliases:
            return None
    if others or not group.expressions or select.args.get("sample") or select.find(exp.Subquery):
        return None
    if not scope.repeatable or is_choosing(select) or not is_closed(select, scope):
        return None
    if any(isinstance(one, exp.Query) and one is not select for one in select.walk()):
        return None
    asked = select.copy()
    for part in ("order", "limit", "offset", "distinct", "qualify", "windows", "with_"):
        asked.set(part, None)
    key = exp.Anonymous(this="hash", expressions=[one.copy() for one in group.expressions])
    asked.set("expressions", [key.copy()])
    return exp.In(this=key, query=exp.Subquery(this=asked))


def _rewrite_questions(
    select: exp.Select, scope: Scope, rewriter: Rewriter, *, grouped: bool
) -> tuple[list[Carried], list[Carried]]:
    """Ask what sub-queries found: for each row of FROM, and for each row of the result.

    What an item of SELECT found is of its own row alone, and of no other whose window sees it.
    """
    before: list[exp.Expr] = []
    after: list[exp.Expr] = []
    where, group = select.args.get("where"), select.args.get("group")
    before += [one for one in (where, group) if one is not None]
    items = [*select.expressions, select.args.get("having"), select.args.get("qualify")]
    for item in items:
        if not isinstance(item, exp.Expr):
            continue
        after.append(item)
        if grouped:
            before += list(_aggregates(item))
    found: list[Carried] = []
    for root in before:
        found += _answers(root, scope, rewriter, stop=exp.Window)
    groups: list[Carried] = []
    for root in after:
        stop = (exp.Window, exp.AggFunc) if grouped else exp.Window
        groups += _answers(root, scope, rewriter, stop=stop)
    for join in select.args.get("joins") or ():
        found += _join_questions(join, select, scope, rewriter)
    for item in items:
        for window in item.find_all(exp.Window) if isinstance(item, exp.Expr) else ():
            if window.parent_select is select and window.find(exp.Query):
                rewriter.gap("window", "over a sub-query")
    return found, groups


def _aggregates(root: exp.Expr) -> Iterator[exp.Expr]:
    for node in root.walk(prune=lambda node: isinstance(node, exp.Query | exp.Window)):
        if _is_aggregate(node):
            yield node


def _answers(
    root: exp.Expr,
    scope: Scope,
    rewriter: Rewriter,
    *,
    stop: type[exp.Expr] | tuple[type[exp.Expr], ...],
) -> list[Carried]:
    inside = root if not isinstance(root, exp.AggFunc) else None
    roots = [inside] if inside is not None else list(root.iter_expressions())
    answers: list[Carried] = []
    for one in roots:
        questions = questions_of(one, stop=stop)
        for operator, detail in questions.gaps:
            rewriter.gap(operator, detail)
        for question in questions.found:
            if _is_denied(question, root):
                rewriter.note("anti join")
            else:
                answers += _answer(question, scope, rewriter)
    return answers


def _is_denied(question: Question, root: exp.Expr) -> bool:
    """Whether WHERE keeps a row only if the sub-query found nothing, so that nothing is added."""
    if not isinstance(root, exp.Where) or question.operator not in {"exists", "in"}:
        return False
    node: exp.Expr | None = question.node
    denials = 0
    while node is not None and node.parent is not root:
        node = node.parent
        denials += isinstance(node, exp.Not)
        if not isinstance(node, exp.Not | exp.Paren | exp.And) or (
            isinstance(node, exp.And) and denials
        ):
            return False
    return denials == 1


def _answer(question: Question, scope: Scope, rewriter: Rewriter) -> list[Carried]:
    word = {"exists": "semi join", "in": "semi join", "any": "semi join"}
    rewriter.note(word.get(question.operator, "sub-query"))
    shared, known = len(rewriter.shared), len(rewriter.bindings.ordered)
    rewriter.asked += 1
    try:
        rewriter.check_questions()
        return links_of_question(question, scope, rewriter)
    except UnsupportedQueryError as error:
        del rewriter.shared[shared:], rewriter.bindings.ordered[known:]
        tables = sorted({table.name for table in question.query.find_all(exp.Table)})
        rewriter.gap(
            "sub-query",
            f"rows of {', '.join(tables) or 'it'} are not linked: {error.operator}: {error.detail}",
        )
        return []
    finally:
        rewriter.asked -= 1


def _join_questions(
    join: exp.Join, select: exp.Select, scope: Scope, rewriter: Rewriter
) -> list[Carried]:
    """Ask what a semi join found, and sub-queries of a join's condition."""
    kind = (join.kind or "").upper()
    if kind == "ANTI":
        rewriter.note("anti join")
        return []
    if kind == "SEMI":
        condition = join.args.get("on") or _condition_of_using(join, select, scope)
        if condition is None:
            rewriter.gap("semi join", f"rows of {_shown(join.this)} are not linked")
            return []
        inner = exp.select("1").from_(join.this.copy()).where(condition.copy())
        question = Question(inner, (), exp.EQ, inner, (), "exists")
        return _answer(question, scope, rewriter)
    condition = join.args.get("on")
    if condition is None or not condition.find(exp.Query):
        return []
    if join.side:
        rewriter.gap("join condition", "rows of a sub-query in it are not linked")
        return []
    return _answers(condition, scope, rewriter, stop=exp.Window)


def _condition_of_using(join: exp.Join, select: exp.Select, scope: Scope) -> exp.Expr | None:
    """Write USING (…) as a condition, where it is clear whose columns are meant."""
    right = join.this.alias_or_name
    parts: list[exp.Expr] = []
    for identifier in join.args.get("using") or ():
        name = identifier.name.lower()
        owners = [
            alias
            for alias, columns in scope.columns_in(select)
            if name in columns and alias != right.lower()
        ]
        if len(owners) != 1 or not right:
            return None
        parts.append(
            exp.EQ(
                this=exp.Column(this=identifier.copy(), table=quoted(owners[0])),
                expression=exp.Column(this=identifier.copy(), table=quoted(right)),
            )
        )
    return exp.and_(*parts) if parts else None


def _looked_at(
    windows: Sequence[exp.Window], ids: Sequence[Carried], rewriter: Rewriter
) -> list[Carried]:
    """Write the rows that windows looked at, once for windows that look at the same."""
    if not rewriter.windows:
        if windows:
            rewriter.gap("window", "rows of the frame are not linked")
        return []
    found: dict[str, Carried] = {}
    for window in windows:
        try:
            links = links_of_window(window, ids, rewriter)
        except UnsupportedQueryError as error:
            rewriter.gap(error.operator, error.detail)
            continue
        for one in links:
            found.setdefault(rewriter.render(one.expression()), one)
    return list(found.values())


def _count_frames(
    select: exp.Select, windows: Sequence[exp.Window], scope: Scope, rewriter: Rewriter
) -> None:
    """Write the query that counts the links of a SELECT's frames, if it can be asked apart."""
    if rewriter.asked or not rewriter.windows:
        return
    counting = select.copy()
    for key in ("order", "limit", "offset", "distinct", "qualify", "windows", "with_"):
        counting.set(key, None)
    counts: list[exp.Expr] = []
    for window in windows:
        over = window.copy()
        over.set("this", exp.Count(this=exp.Star()))
        counts.append(over)
    total: exp.Expr = counts[0]
    for one in counts[1:]:
        total = exp.Add(this=total, expression=one)
    counting.set("expressions", [exp.alias_(total, "n")])
    outer = exp.select("coalesce(sum(n), 0)::BIGINT").from_(counting.subquery("frames"))
    if scope.ctes:
        outer.set(
            "with_",
            exp.With(expressions=[one.copy() for one in scope.ctes], recursive=scope.recursive),
        )
    rewriter.frames.append(rewriter.render(outer))


def _check_first_of_each(select: exp.Select, spelling: Spelling) -> exp.Order:
    if isinstance(spelling, SparkSpelling):
        raise UnsupportedQueryError("distinct on", "is no grammar of the engine")
    order = select.args.get("order")
    if not isinstance(order, exp.Order) or select.args.get("qualify"):
        raise UnsupportedQueryError("distinct on", "without ORDER BY, or beside QUALIFY")
    if _is_grouped(select) or select.find(exp.Window):
        raise UnsupportedQueryError("distinct on", "of groups or windows")
    return order


def _keep_first_of_each(select: exp.Select, distinct: exp.Distinct, rewriter: Rewriter) -> None:
    """Write DISTINCT ON as a choice of whole rows, so that values and identity are of one row."""
    order = _check_first_of_each(select, rewriter.spelling)
    on = distinct.args["on"]
    keys = list(on.expressions) if isinstance(on, exp.Tuple) else [on]
    aliases = {one.alias.lower() for one in select.expressions if isinstance(one, exp.Alias)}
    for one in [*keys, *(item.this for item in order.expressions)]:
        plain = isinstance(one, exp.Paren) and isinstance(one.this, exp.Literal)
        for column in one.find_all(exp.Column):
            if not column.table and column.name.lower() in aliases:
                raise UnsupportedQueryError("distinct on", "by a name that SELECT gives")
        if isinstance(one, exp.Literal) or plain:
            raise UnsupportedQueryError("distinct on", "by position")
    rewriter.note("distinct on")
    number = exp.Window(
        this=exp.RowNumber(), partition_by=[key.copy() for key in keys], order=order.copy(),
        over="OVER",
    )  # fmt: skip
    select.set("distinct", None)
    select.set("qualify", exp.Qualify(this=exp.EQ(this=number, expression=exp.Literal.number(1))))


def _rewrite_source(
    source: exp.Expr,
    scope: Scope,
    rewriter: Rewriter,
    hidden: dict[str, list[str]],
) -> list[Carried]:
    """Make one item of FROM expose identities; `hidden` learns which real columns it gained."""
    pivot = pivot_of(source)
    if pivot is not None:
        return rewrite_pivot(source, pivot, scope, rewriter, hidden)
    if isinstance(source, exp.Table):
        ids = _rewrite_table(source, scope, rewriter, hidden)
    elif isinstance(source, exp.Subquery) and isinstance(source.this, exp.Query):
        ids = _rewrite_derived(source, scope, rewriter, hidden)
    elif isinstance(source, exp.Lateral) and is_query(source.this) and not source.args.get("view"):
        ids = _rewrite_lateral(source, scope, rewriter, hidden)
    elif isinstance(source, exp.Subquery) and not source.alias:
        ids = _rewrite_source(source.this, scope, rewriter, hidden)  # (a JOIN b ON …)
    elif isinstance(source, exp.Values | exp.Unnest):
        ids = []  # Constants, or a row's own lists: no rows besides those already there.
    else:
        raise UnsupportedQueryError(source.key, source.sql(dialect="duckdb")[:80])
    for join in source.args.get("joins") or ():
        ids.extend(_rewrite_join(join, scope, rewriter, hidden))
    return ids


def _rewrite_join(
    join: exp.Join, scope: Scope, rewriter: Rewriter, hidden: dict[str, list[str]]
) -> list[Carried]:
    kind = (join.kind or "").upper()
    if kind in {"SEMI", "ANTI"}:
        if not rewriter.spelling.semi_joins:
            # To PostgreSQL these words are an alias.
            raise UnsupportedQueryError(f"{kind.lower()} join", "is no grammar of the engine")
        return []  # It stays as it is; what a semi join found is asked apart.
    side = (join.side or "").lower()
    method = (join.method or "").lower()
    if method not in {"", "natural", "asof", "positional"}:
        raise UnsupportedQueryError(f"{method} join", "")
    words = " ".join(word for word in (method, side, "join") if word)
    rewriter.note(words)
    return _rewrite_source(join.this, scope, rewriter, hidden)


def _shown(node: exp.Expr) -> str:
    return node.sql(dialect="duckdb")[:80]


def _rewrite_table(
    table: exp.Table, scope: Scope, rewriter: Rewriter, hidden: dict[str, list[str]]
) -> list[Carried]:
    twin = scope.find_twin(table)
    if twin is not None:
        return _rewrite_cte_reference(table, twin, rewriter, hidden)
    source = rewriter.bindings.find_source(table)
    if source is None:
        raise UnsupportedQueryError("table", _shown(table))
    if source.rows == "constant":
        return []
    if source.rows == "unknown":
        raise UnsupportedQueryError("source", f"{source.key}: {source.reason or 'rows unknown'}")
    name, number = rewriter.fresh(), rewriter.number_of(source)
    if isinstance(rewriter.spelling, PostgresSpelling):
        return [_keyed_row(table, source, name, number, rewriter)]
    if source.rows == "ordinal":
        alias = _set_alias(table, rewriter)
        _add_ordinal(table, name)
        hidden.setdefault(alias, []).append(name)
        return [Carried(name, (number,), table=alias)]
    if source.columns is None or any(c.lower() == source.rows for c, _ in source.columns):
        raise UnsupportedQueryError("source", f"{source.key}: a column hides {source.rows}")
    alias = _set_alias(table, rewriter)
    listed = table.args["alias"].args.get("columns") or () if table.args.get("alias") else ()
    if any(column.name.lower() == source.rows for column in listed):
        raise UnsupportedQueryError("source", f"{source.key}: a column hides {source.rows}")
    return [Carried(name, (number,), table=alias, column=source.rows)]


def _keyed_row(
    table: exp.Table, source: Source, name: str, number: int, rewriter: Rewriter
) -> Carried:
    assert isinstance(rewriter.spelling, PostgresSpelling)
    keys = source.keys if source.rows == "key" else ()
    if source.rows == "file_row_number" and isinstance(rewriter.spelling, SparkSpelling):
        keys = FILE_ROW
    if not keys:
        raise UnsupportedQueryError("source", f"{source.key}: has no declared key")
    alias = table.args.get("alias")
    if isinstance(alias, exp.TableAlias) and alias.args.get("columns"):
        raise UnsupportedQueryError("column list", "of a table")
    shown = table.alias or table.name
    made = rewriter.spelling.row(shown, keys, number)
    if keys is FILE_ROW:
        # Of a table of its own, or Spark loses hidden columns on the way through grouping sets.
        _add_column(table, made, name, within=shown)
        return Carried(name, (number,), tagged=True, table=shown)
    return Carried(name, (number,), tagged=True, made=made)


def _set_alias(table: exp.Table, rewriter: Rewriter) -> str:
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
    _add_column(table, exp.maybe_parse("row_number() OVER () - 1", dialect="duckdb"), name)


def _add_column(table: exp.Table, value: exp.Expr, name: str, *, within: str = "") -> None:
    """Read a table through a derived one that has one more column.

    Args:
        table: is replaced.
        value: of the column.
        name: of the column.
        within: what `value` calls the table.
    """
    bare = table.copy()
    alias = bare.args.pop("alias", None) or exp.TableAlias(
        this=exp.to_identifier(table.name, quoted=True)
    )
    joins, sample = bare.args.pop("joins", None), bare.args.pop("sample", None)
    if within:
        bare.set("alias", exp.TableAlias(this=quoted(within)))
    inner = exp.select("*", exp.alias_(value, name, quoted=True)).from_(bare)
    derived = exp.Subquery(this=inner, alias=alias)
    if joins:
        derived.set("joins", joins)
    if sample is not None:
        derived.set("sample", sample)  # Of rows that have their numbers.
    derived.meta[_SCAN] = True
    table.replace(derived)


def _rewrite_cte_reference(
    table: exp.Table, twin: Twin, rewriter: Rewriter, hidden: dict[str, list[str]]
) -> list[Carried]:
    alias = _set_alias(table, rewriter)
    table.set("this", exp.to_identifier(twin.name, quoted=True))
    hidden.setdefault(alias, []).extend(one.name for one in twin.ids)
    # A new name for each reference: two references of one CTE are two occurrences.
    return [replace(one, name=rewriter.fresh(), table=alias, column=one.name) for one in twin.ids]


def _rewrite_derived(
    derived: exp.Subquery,
    scope: Scope,
    rewriter: Rewriter,
    hidden: dict[str, list[str]],
) -> list[Carried]:
    original = derived.this.copy()
    ids = _rewrite_nested(derived.this, scope, rewriter)
    _project(derived.this, ids, rewriter)
    alias = derived.args.get("alias")
    if not isinstance(alias, exp.TableAlias) or not alias.this:
        alias = exp.TableAlias(this=exp.to_identifier(rewriter.fresh("derived_"), quoted=True))
        derived.set("alias", alias)
    _extend_column_list(alias, original, ids)
    name = alias.this.name
    hidden.setdefault(name, []).extend(one.name for one in ids)
    return [replace(one, table=name, column="", made=None) for one in ids]


def _rewrite_lateral(
    lateral: exp.Lateral, scope: Scope, rewriter: Rewriter, hidden: dict[str, list[str]]
) -> list[Carried]:
    """A derived table that may name what stands before it: its rows, as those of any other."""
    derived = lateral.this
    original = derived.this.copy()
    if not isinstance(derived, exp.Subquery) or not isinstance(derived.this, exp.Query):
        raise UnsupportedQueryError("lateral", _shown(lateral))
    rewriter.note("lateral join")
    # What a sub-query inside finds may depend on the row that it stands beside.
    ids = _rewrite_query(derived.this, scope, rewriter)
    _project(derived.this, ids, rewriter)
    alias = lateral.args.get("alias")
    if not isinstance(alias, exp.TableAlias) or not alias.this:
        alias = exp.TableAlias(this=quoted(rewriter.fresh("lateral_")))
        lateral.set("alias", alias)
    _extend_column_list(alias, original, ids)
    name = alias.this.name
    hidden.setdefault(name, []).extend(one.name for one in ids)
    return [replace(one, table=name, column="", made=None) for one in ids]


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
    select: exp.Select, hidden: Mapping[str, Sequence[str]], rewriter: Rewriter
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


def _group_distinct(
    query: exp.Query,
    ids: Sequence[Carried],
    rewriter: Rewriter,
    sides: tuple[str, bool, bool] | None = None,
) -> tuple[Carried, ...]:
    """Write DISTINCT as a grouping over all columns, which can collect identities.

    Args:
        query: whose rows are grouped.
        ids: that it has.
        rewriter: in which it is rewritten.
        sides: for INTERSECT and EXCEPT: the column that says which side a row is of, whether both
            sides must have it, and whether copies count.
    """
    if sides is None:
        rewriter.note("distinct")
    _project(query, ids, rewriter)
    alias = rewriter.fresh("distinct_")
    inner = query.copy()
    order, limit, offset, with_ = (
        inner.args.pop(key, None) for key in ("order", "limit", "offset", "with_")
    )
    if order is not None:
        _check_order_is_by_output(order, query)
    hidden = ([sides[0]] if sides else []) + [one.name for one in ids]
    table = exp.TableAlias(this=quoted(alias))
    names = _visible_names(query)
    inside = names
    if not rewriter.spelling.stars:
        # By position: names may be repeated.
        inside = [f"{PREFIX}c{number}" for number in range(len(names))]
        table.set("columns", [quoted(name) for name in (*inside, *hidden)])
    visible = _all_but(hidden, inside, alias, rewriter)
    if not rewriter.spelling.stars:
        visible = [
            exp.alias_(one, name, quoted=True) for one, name in zip(visible, names, strict=True)
        ]
    outer = exp.select(*visible).from_(exp.Subquery(this=inner, alias=table))
    expressions = {}
    result = []
    for one in ids:
        name = rewriter.fresh()
        there = replace(one, table=alias, column=one.name, made=None).expression()
        expressions[name] = rewriter.spelling.gather(there, one.form)
        form = rewriter.spelling.gathered_form(one.form)
        result.append(replace(one, name=name, form=form, table="", column="", made=None))
    outer.set("group", _grouping_of(names, rewriter))
    rewriter.projected[id(outer)] = expressions
    rewriter.kept.append(outer)
    if sides is not None:
        outer = _compare_sides(outer, alias, sides, tuple(result), rewriter)
    for key, value in (("order", order), ("limit", limit), ("offset", offset), ("with_", with_)):
        if value is not None:
            outer.set(key, value)
    query.replace(outer)
    return tuple(result)


def _grouping_of(names: Sequence[str], rewriter: Rewriter) -> exp.Group:
    """Write a grouping by all columns that are no aggregates."""
    if rewriter.spelling.stars:
        return exp.Group(all=True)
    return exp.Group(expressions=[exp.Literal.number(n + 1) for n in range(len(names))])


def _visible_names(query: exp.Expr) -> list[str]:
    """Name the columns of a query, without those that rewriting added."""
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    assert isinstance(query, exp.Select)
    return [name for name in query.named_selects if not name.startswith(PREFIX)]


def _compare_sides(
    outer: exp.Select,
    alias: str,
    sides: tuple[str, bool, bool],
    ids: tuple[Carried, ...],
    rewriter: Rewriter,
) -> exp.Select:
    """Keep the groups that INTERSECT or EXCEPT keeps, as often as ALL says."""
    side, both, every = sides

    def counted(number: int) -> str:
        return f'count(*) FILTER (WHERE "{alias}"."{side}" = {number})'

    # Columns are told from aggregates by GROUP BY ALL; HAVING adds none.
    if not every:
        there = ">" if both else "="
        kept = f"{counted(0)} > 0 AND {counted(1)} {there} 0"
        return outer.having(kept, dialect="duckdb", copy=False)
    copies = f"least({counted(0)}, {counted(1)})" if both else f"{counted(0)} - {counted(1)}"
    many, name = rewriter.fresh("copies_"), rewriter.fresh("compared_")
    _project(outer, ids, rewriter)
    made = f'{rewriter.spelling.copies(copies)} AS "{many}"'
    outer.select(made, dialect="duckdb", copy=False)
    hidden = [*(one.name for one in ids), many]
    visible = _all_but(hidden, _visible_names(outer), name, rewriter)
    copied = exp.select(*visible).from_(outer.subquery(exp.to_identifier(name, quoted=True)))
    rewriter.projected[id(copied)] = {
        one.name: replace(one, table=name).expression() for one in ids
    }
    rewriter.kept.append(copied)
    return copied


def _check_order_is_by_output(order: exp.Expr, query: exp.Query) -> None:
    names = {name.lower() for name in query.named_selects}
    for one in query.selects:
        inner = one.unnest()
        if isinstance(inner, exp.Column):
            names.add(inner.name.lower())
    for item in order.expressions:
        key = item.this
        if isinstance(key, exp.Literal) and not key.is_string:
            continue
        if isinstance(key, exp.Column) and not key.table and key.name.lower() in names:
            continue
        raise UnsupportedQueryError("distinct", "ordered by more than its columns")


def _check_limit(query: exp.Query, rewriter: Rewriter, *, simple: bool) -> None:
    """Without an order, which rows LIMIT keeps depends on the plan, except over a plain scan."""
    if not (query.args.get("limit") or query.args.get("offset")):
        return
    if not query.args.get("order") and not simple and not _is_one_row(query):
        raise UnsupportedQueryError("limit", "without ORDER BY")
    rewriter.note("limit")


def _project(query: exp.Expr, ids: Sequence[Carried], rewriter: Rewriter) -> None:
    """Append the identities to a query's columns; NULL where a branch does not have one."""
    if isinstance(query, exp.Subquery):
        _project(query.this, ids, rewriter)
        return
    if isinstance(query, exp.SetOperation):
        _project(query.this, ids, rewriter)
        _project(query.expression, ids, rewriter)
        return
    available = rewriter.projected.get(id(query), {})
    for one in ids:
        value = available.get(one.name)
        if value is None:
            value = rewriter.spelling.null(one.form)
        query.append("expressions", exp.alias_(value.copy(), one.name, quoted=True))

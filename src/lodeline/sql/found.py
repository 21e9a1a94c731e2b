"""What the expressions of a SELECT look at besides the row itself: sub-queries, windows.

Each sub-query of an expression adds to a row the rows that it found for it, whatever the rest of
the expression makes of that: EXISTS all its rows, IN and ANY those that match, a scalar sub-query
the row it gave. ALL adds none (it says that no row is otherwise), and so do NOT EXISTS and NOT IN
where they hold, since nothing was found. Of a CASE only what was evaluated counts.

A window function adds the rows that it looked at: an aggregate its frame, `rank` and its kin the
rows up to the row's peers, `ntile` and its kin the partition, `lag`, `first_value` and theirs the
row whose value they took.

The original expressions stay as they are. What a sub-query found is asked by a copy of it, in the
same statement and for the rows that are left. So a sub-query that may choose differently when it
runs again (LIMIT, a sample, row numbers among ties) is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.carried import PREFIX, Carried, Form, quoted
from lodeline.sql.spelling import function_name

if TYPE_CHECKING:
    from lodeline.sql.rewriting import Rewriter, Scope

# Aggregates and window functions that may choose among rows that are equal to them.
_CHOOSING = frozenset(
    {
        "first", "last", "any_value", "arbitrary", "arg_max", "arg_min", "argmax", "argmin",
        "max_by", "min_by", "arg_max_null", "arg_min_null", "list", "array_agg", "string_agg",
        "group_concat", "listagg", "mode", "reservoir_quantile", "approx_quantile",
        "row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value",
    }
)  # fmt: skip
_RANKS = frozenset({"row_number", "rank", "dense_rank", "rank_dense"})
_PLACES = frozenset({"ntile", "percent_rank", "cume_dist"})
_TAKING = frozenset({"lag", "lead", "first_value", "last_value", "nth_value"})

Guard = tuple[tuple[exp.Expr, ...], exp.Expr | None]


@dataclass(frozen=True)
class Question:
    """A sub-query in an expression.

    Attributes:
        query: itself.
        matching: what it is compared with, column by column; empty where all its rows count.
        word: the comparison.
        node: the expression that it is part of.
        guards: the branches of CASE that it stands in.
        operator: what it is, in words.
    """

    query: exp.Query
    matching: tuple[exp.Expr, ...]
    word: type[exp.Binary]
    node: exp.Expr
    guards: tuple[Guard, ...]
    operator: str


@dataclass
class Questions:
    """The sub-queries of an expression, and what is not understood of it."""

    found: list[Question] = field(default_factory=list)
    gaps: list[tuple[str, str]] = field(default_factory=list)
    denied: bool = False  # Whether there is one that adds nothing.


def is_query(node: object) -> bool:
    """Say whether a node is a query, in parentheses or not."""
    while isinstance(node, exp.Subquery):
        node = node.this
    return isinstance(node, exp.Query)


def unwrapped(node: exp.Expr) -> exp.Query:
    """Take the parentheses off a query."""
    while isinstance(node, exp.Subquery) and not any(
        value for key, value in node.args.items() if key not in {"this", "alias"}
    ):
        node = node.this
    if not isinstance(node, exp.Query) or isinstance(node, exp.Subquery):
        raise UnsupportedQueryError("parenthesised query", "with clauses of its own")
    return node


def questions_of(
    root: exp.Expr, *, stop: type[exp.Expr] | tuple[type[exp.Expr], ...] = ()
) -> Questions:
    """Find the sub-queries of an expression, but not those inside of them.

    Args:
        root: the expression.
        stop: nodes that are not gone into.
    """
    questions = Questions()
    _look(root, (), questions, stop)
    return questions


def _look(
    node: exp.Expr,
    guards: tuple[Guard, ...],
    questions: Questions,
    stop: type[exp.Expr] | tuple[type[exp.Expr], ...],
) -> None:
    if stop and isinstance(node, stop):
        return
    if isinstance(node, exp.Case):
        _look_at_case(node, guards, questions, stop)
        return
    if isinstance(node, exp.Exists) and is_query(node.this):
        _ask(questions, node.this, node, guards, "exists")
        return
    if isinstance(node, exp.In) and node.args.get("query") is not None:
        left = node.this
        parts = tuple(left.expressions) if isinstance(left, exp.Tuple) else (left,)
        _look(left, guards, questions, stop)
        _ask(questions, node.args["query"], node, guards, "in", matching=parts)
        return
    right = node.args.get("expression")
    if isinstance(node, exp.Binary) and isinstance(right, exp.Any | exp.All):
        _look(node.this, guards, questions, stop)
        if not is_query(right.this):
            _look(right.this, guards, questions, stop)
        elif isinstance(right, exp.All):
            questions.denied = True
        else:
            _ask(questions, right.this, node, guards, "any", matching=(node.this,), word=type(node))
        return
    if is_query(node):
        if isinstance(node.parent, exp.Any | exp.All):
            questions.gaps.append(("any", "of a sub-query, written otherwise than `x = ANY (…)`"))
            return
        operator = "array" if isinstance(node.parent, exp.Array) else "scalar"
        _ask(questions, node, node, guards, operator)
        return
    for child in node.iter_expressions():
        _look(child, guards, questions, stop)


def _look_at_case(
    node: exp.Case,
    guards: tuple[Guard, ...],
    questions: Questions,
    stop: type[exp.Expr] | tuple[type[exp.Expr], ...],
) -> None:
    """Conditions count as far as they were evaluated, and of the branches the one taken."""
    base = node.this
    if base is not None:
        _look(base, guards, questions, stop)
    before: tuple[exp.Expr, ...] = ()
    for branch in node.args.get("ifs") or ():
        condition = branch.this
        here = (*guards, (before, None)) if before else guards
        _look(condition, here, questions, stop)
        asked = condition if base is None else exp.EQ(this=base, expression=condition)
        _look(branch.args["true"], (*guards, (before, asked)), questions, stop)
        before = (*before, asked)
    default = node.args.get("default")
    if default is not None:
        _look(default, (*guards, (before, None)), questions, stop)


def _ask(
    questions: Questions,
    node: exp.Expr,
    whole: exp.Expr,
    guards: tuple[Guard, ...],
    operator: str,
    *,
    matching: tuple[exp.Expr, ...] = (),
    word: type[exp.Binary] = exp.EQ,
) -> None:
    try:
        query = unwrapped(node)
    except UnsupportedQueryError as error:
        questions.gaps.append((error.operator, error.detail))
        return
    questions.found.append(Question(query, matching, word, whole, guards, operator))


def is_choosing(tree: exp.Expr) -> bool:
    """Say whether a query may choose other rows when it runs again."""
    for node in tree.walk():
        if isinstance(node, exp.Limit | exp.Offset | exp.Fetch | exp.TableSample):
            return True
        if isinstance(node, exp.Distinct) and node.args.get("on"):
            return True
        if isinstance(node, exp.WindowSpec) and (node.args.get("kind") or "").upper() == "ROWS":
            return True
        if isinstance(node, exp.Func) and function_name(node) in _CHOOSING:
            return True
    return False


def guarded(value: exp.Expr, guards: Sequence[Guard]) -> exp.Expr:
    """Write a value that is NULL where a branch of CASE was not taken."""
    for before, condition in reversed(guards):
        case = exp.Case(ifs=[exp.If(this=one.copy(), true=exp.Null()) for one in before])
        if condition is None:
            case.set("default", value)
        else:
            case.append("ifs", exp.If(this=condition.copy(), true=value))
        value = case
    return value


def links_of_question(question: Question, scope: Scope, rewriter: Rewriter) -> list[Carried]:
    """Write what a sub-query finds for the row where it stands.

    Raises:
        UnsupportedQueryError: it is not followed.
    """
    query = question.query.copy()
    if question.operator == "exists":
        _drop_limit(query)
    if is_choosing(query):
        raise UnsupportedQueryError("sub-query", "may choose other rows when it runs again")
    closed = scope.repeatable and is_closed(query, scope)
    outer = exp.Subquery(this=query)
    ids = rewriter.rewrite(query, scope)
    rewriter.project(outer.this, ids)
    if not ids:
        return []
    alias = rewriter.fresh("found_")
    table = exp.TableAlias(this=quoted(alias))
    outer.set("alias", table)
    select = exp.select().from_(outer)
    values = [f"{PREFIX}v{number}" for number in range(len(question.matching))]
    if values:
        table.set("columns", [quoted(name) for name in (*values, *(one.name for one in ids))])
    inside = [replace(one, table=alias, column="", made=None) for one in ids]
    if closed and not values:
        shared = rewriter.share(select, inside, scope, question.operator)
        return [replace(shared, made=guarded(shared.expression(), question.guards))]
    if closed and rewriter.spelling.stars and any(one.form == "list" for one in ids):
        # Its rows stand for many each: they are named, not repeated for each row that they match.
        staged = rewriter.stage(select, values, inside, scope, question.operator)
        select = exp.select().from_(
            exp.Table(this=quoted(staged.table), alias=exp.TableAlias(this=quoted(alias)))
        )
        inside = [replace(staged, table=alias)]
    for name, part in zip(values, question.matching, strict=True):
        column = exp.Column(this=quoted(name), table=quoted(alias))
        # As written: `x < ANY (…)` has x on the left.
        select.where(question.word(this=part.copy(), expression=column), copy=False)
    return [_one_list(select, inside, question, rewriter)]


def sources_of(ids: Sequence[Carried]) -> tuple[int, ...]:
    """Give the numbers of the sources that some identities may hold, each once."""
    return tuple(dict.fromkeys(number for one in ids for number in one.sources))


def _drop_limit(query: exp.Query) -> None:
    limit, offset = query.args.get("limit"), query.args.get("offset")
    many = limit.expression if isinstance(limit, exp.Limit) else None
    if query.args.get("order"):
        return  # Then the rows that it lets through are meant, and may be others next time.
    if offset is None and isinstance(many, exp.Literal) and many.name.isdigit() and int(many.name):
        # Whether there is a row doesn't depend on how many are looked at.
        query.set("limit", None)


def _one_list(
    select: exp.Select, ids: Sequence[Carried], question: Question, rewriter: Rewriter
) -> Carried:
    """Collect what a sub-query found as one list, tagged where there are several sources."""
    spelling = rewriter.spelling
    name = rewriter.fresh()
    sources = sources_of(ids)
    if len(ids) == 1:
        (only,) = ids
        value = spelling.gather(only.expression(), only.form)
        form: Form = spelling.gathered_form(only.form)
        tagged = only.tagged
    else:
        lists = [
            one.expression()
            if one.tagged
            else spelling.tagged(one.expression(), one.form, one.sources[0])
            for one in ids
        ]
        value = spelling.gather(spelling.concatenated(lists), "list")
        form, tagged = "list", True
    select.set("expressions", [exp.alias_(value, name, quoted=True)])
    made = guarded(exp.Subquery(this=select), question.guards)
    return Carried(name, sources, form, tagged, made=made)


def is_closed(query: exp.Query, scope: Scope) -> bool:
    """Say whether a sub-query certainly names no column of the queries around it."""
    return all(
        _is_inside(column, query, scope)
        for column in query.find_all(exp.Column)
        if not isinstance(column.this, exp.Star)
    )


def _is_inside(column: exp.Column, query: exp.Query, scope: Scope) -> bool:
    name, table = column.name.lower(), column.table.lower()
    node: exp.Expr | None = column
    while node is not None:
        if isinstance(node, exp.Select):
            for alias, columns in scope.columns_in(node):
                if (table and alias == table) or (not table and name in columns):
                    return True
            if not table and name in {one.lower() for one in node.named_selects}:
                return True
        if isinstance(node, exp.SetOperation) and not table:
            left = node.find(exp.Select)
            if left is not None and name in {one.lower() for one in left.named_selects}:
                return True
        if node is query:
            return False
        node = node.parent
    return False


def windows_of(select: exp.Select) -> Iterator[exp.Window]:
    """Find the windows of a SELECT's items and of QUALIFY, with named ones written out."""
    named = {one.name.lower(): one for one in select.args.get("windows") or ()}
    roots = [*select.expressions, select.args.get("qualify")]
    for root in roots:
        if not isinstance(root, exp.Expr):
            continue
        for node in root.walk(prune=lambda node: isinstance(node, exp.Query)):
            if isinstance(node, exp.Window):
                yield _written_out(node, named)


def _written_out(window: exp.Window, named: dict[str, exp.Window]) -> exp.Window:
    made = window.copy()
    seen: set[str] = set()
    while made.args.get("alias") is not None:
        name = made.args["alias"].name.lower()
        made.set("alias", None)
        if name in seen or name not in named:
            raise UnsupportedQueryError("window", f"{name} is not known")
        seen.add(name)
        for key in ("partition_by", "order", "spec", "alias"):
            value = named[name].args.get(key)
            if value and not made.args.get(key):
                copied = [one.copy() for one in value] if isinstance(value, list) else value.copy()
                made.set(key, copied)
    return made


def links_of_window(
    window: exp.Window, ids: Sequence[Carried], rewriter: Rewriter
) -> list[Carried]:
    """Write the rows that a window function looked at."""
    call = window.this
    ignoring = False
    while isinstance(call, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        ignoring = ignoring or isinstance(call, exp.IgnoreNulls)
        call = call.this
    word = function_name(call) if isinstance(call, exp.Func) else ""
    if word in _TAKING:
        return [_taken(window, call, one, rewriter, ignoring=ignoring) for one in ids]
    over = window.copy()
    if word in _RANKS or word in _PLACES:
        over.set("spec", None)
    if word in _PLACES:
        over.set("order", None)
    spelling = rewriter.spelling
    return [
        replace(
            one,
            name=rewriter.fresh(),
            form=spelling.gathered_form(one.form),
            made=spelling.gather(one.expression(), one.form, over),
        )
        for one in ids
    ]


def _taken(
    window: exp.Window, call: exp.Expr, one: Carried, rewriter: Rewriter, *, ignoring: bool
) -> Carried:
    """Write which row `lag` and the like took their value from: theirs, of the row's identity."""
    value = one.expression()
    looked = call.this
    taking = call.copy()
    if ignoring:
        # Packed, or an identity that is NULL would be skipped where the value isn't.
        packed = rewriter.spelling.packed(value)
        there = exp.Not(this=exp.Is(this=looked.copy(), expression=exp.Null()))
        value = exp.Case(ifs=[exp.If(this=there, true=packed)])
    taking.set("this", value)
    taking.set("default", None)
    over = window.copy()
    over.set("this", exp.IgnoreNulls(this=taking) if ignoring else taking)
    made: exp.Expr = over
    if ignoring:
        made = rewriter.spelling.unpacked(over)
    return replace(one, name=rewriter.fresh(), made=made)

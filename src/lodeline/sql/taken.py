"""What a group is linked to: all of its rows, or, on request, those its values were taken from.

The latter is where-provenance. `min` and `max` take their value from every row that has it, as do
`arg_min` and `arg_max` from every row that has both the extreme and the value given beside it;
`first` and `last` from one row, whose identity is taken along with the value, by one call. A group
with an aggregate that makes a value of many (`sum`, `count`) is linked to all of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from lodeline.sql.carried import PREFIX, Carried
from lodeline.sql.spelling import function_name

if TYPE_CHECKING:
    from lodeline.sql.rewriting import Rewriter

_EXTREMES: Final = frozenset({"min", "max"})
_BESIDE: Final = {
    "arg_min": "min", "argmin": "min", "min_by": "min",
    "arg_max": "max", "argmax": "max", "max_by": "max",
}  # fmt: skip
_ONE: Final = f"{PREFIX}one"
_PLACED: Final = frozenset({"first", "last"})


def gathered(
    select: exp.Select, ids: Sequence[Carried], rewriter: Rewriter, bitmaps: Mapping[str, int]
) -> list[Carried]:
    """Collect identities over the groups of a SELECT, some of them in bitmaps of so many bits."""
    spelling = rewriter.spelling
    calls = _taking(select) if rewriter.where and spelling.stars else None
    found = []
    for one in ids:
        if one.name in bitmaps and not calls:
            made = spelling.bitmap(one.expression(), bitmaps[one.name])
            found.append(replace(one, form="bitmap", made=made))
            continue
        made = spelling.gather(one.expression(), one.form)
        if calls and one.form == "row":
            lists = [_rows_taken(call, one.expression(), rewriter) for call in calls]
            made = spelling.concatenated(lists)
        found.append(replace(one, form=spelling.gathered_form(one.form), made=made))
    return found


def _taking(select: exp.Select) -> list[exp.Expr] | None:
    """Give the aggregates of a SELECT's items, if each takes its value from rows."""
    group = select.args.get("group")
    if group is not None and any(v for key, v in group.args.items() if key != "expressions"):
        return None
    others = (exp.Window, exp.Filter, exp.WithinGroup, exp.Order, exp.Distinct)
    if any(item.find(*others) is not None for item in select.expressions):
        return None
    calls: list[exp.Expr] = []
    for item in select.expressions:
        inner = item.this if isinstance(item, exp.Alias) else item
        if isinstance(inner, exp.Column):
            continue
        name = function_name(inner) if isinstance(inner, exp.Func) else ""
        words = 2 if name in _BESIDE else 1
        if name not in _EXTREMES | _PLACED and name not in _BESIDE:
            return None
        if len(_arguments(inner)) != words or inner.find(exp.Query) is not None:
            return None
        calls.append(inner)
    return calls


def _arguments(call: exp.Expr) -> list[exp.Expr]:
    return list(call.iter_expressions())


def _rows_taken(call: exp.Expr, identity: exp.Expr, rewriter: Rewriter) -> exp.Expr:
    """Write the rows of the group that an aggregate took its value from, as a list."""
    name = function_name(call)
    value, *beside = (rewriter.render(one) for one in _arguments(call))
    given, row = rewriter.render(call), rewriter.render(identity)
    packed = f"{{'v': {value}, 'r': {row}}}"
    if name in _PLACED:
        text = _chosen(f"[{name}({packed})]", f"{_ONE}.v IS NOT DISTINCT FROM {given}")
    elif name in _EXTREMES:
        text = _chosen(f"list({packed})", f"{_ONE}.v = {given}")
    else:
        (order,) = beside
        packed = f"{{'v': {value}, 'o': {order}, 'r': {row}}}"
        extreme = f"{_BESIDE[name]}({order}) FILTER (WHERE NOT ({value}) IS NULL)"
        text = _chosen(f"list({packed})", f"{_ONE}.v = {given} AND {_ONE}.o = {extreme}")
    made: exp.Expr = exp.maybe_parse(text, dialect="duckdb")
    # None of an empty group, where the aggregate is null.
    return exp.Anonymous(
        this="coalesce", expressions=[made, exp.maybe_parse("[]::BIGINT[]", dialect="duckdb")]
    )


def _chosen(listed: str, condition: str) -> str:
    return f"[{_ONE}.r FOR {_ONE} IN {listed} IF {condition}]"

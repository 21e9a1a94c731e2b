"""Whether the rows of groups are collected as bitmaps or as lists: chosen by cost, from counts.

A list costs an append for each row and is written row by row; a bitmap has a bit for each row of
the source, in every group, and costs that many bits to clear, join and write. So bitmaps pay where
groups are few or the source is small, and many rows are met. How many groups there are at most is
estimated from how many values their keys have; how many rows are met, by the engine.

An estimate that is wrong costs time or memory, never a link: a number outside of a bitmap is an
error of the engine, which then runs the query with lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from sqlglot import exp

from lodeline.limits import ROW_BITMAPS_MAX
from lodeline.sql.carried import Carried
from lodeline.sql.sources import Source

if TYPE_CHECKING:
    from lodeline.sql.rewriting import Scope

# Of a group, in bytes: less than an empty list takes.
_ALWAYS: Final = 32
# Of all groups: not worth asking the engine for an estimate.
_SMALL: Final = 1 << 16
# Of a row in a list.
_LISTED: Final = 8
# With more groups only sources as small as `_ALWAYS` are mapped, and less has to be asked.
_GROUPS_MAX: Final = 4_096


class Counts(Protocol):
    """What is known of tables before a query runs; `None` where it is not."""

    def rows(self, source: Source, most: int | None) -> int | None:
        """Give a number that all row numbers of a source are below; `None` above a limit, too."""

    def values(self, source: Source, column: str) -> int | None:
        """Estimate how many values a column has, NULL among them."""

    def years(self, source: Source, column: str) -> int | None:
        """Say how many years the dates of a column span."""

    def met(self) -> int | None:
        """Estimate how many rows the outermost grouping of the query takes in."""


def count_groups(select: exp.Select, scope: Scope, counts: Counts) -> int | None:
    """Estimate how many groups a SELECT makes at most; `None` where that is not known."""
    group = select.args.get("group")
    if group is None:
        return 1
    if any(value for key, value in group.args.items() if key != "expressions") or group.find(
        exp.Rollup, exp.Cube, exp.GroupingSets
    ):
        return None
    total = 1
    for key in group.expressions:
        values = _values_of(_meant(key, select, scope), select, scope, counts)
        if values is None:
            return None
        total *= values
        if total > _GROUPS_MAX:
            return None  # Too many, whatever the other keys are.
    return total


def _meant(key: exp.Expr, select: exp.Select, scope: Scope) -> exp.Expr:
    """Find the item of SELECT that a key names by its place or its alias."""
    if isinstance(key, exp.Literal) and not key.is_string:
        place = int(key.name) - 1 if key.name.isdigit() else -1
        return select.expressions[place] if 0 <= place < len(select.expressions) else key
    if isinstance(key, exp.Column) and not key.table:
        name = key.name.lower()
        if not any(name in columns for _, columns in scope.columns_in(select)):
            for item in select.expressions:
                if isinstance(item, exp.Alias) and item.alias.lower() == name:
                    return item
    return key


def _values_of(node: exp.Expr, select: exp.Select, scope: Scope, counts: Counts) -> int | None:
    """Estimate how many values an expression has at most: as many as what it is made of."""
    if node.find(exp.Query, exp.AggFunc, exp.Window) is not None:
        return None
    inner = node.unalias()
    if isinstance(inner, exp.Extract) and inner.name.upper() == "YEAR":
        inner = exp.Year(this=inner.expression)
    years = isinstance(inner, exp.Year) and isinstance(inner.this, exp.Column)
    total = 1
    columns = {column.sql(): column for column in inner.find_all(exp.Column)}
    for column in columns.values():
        values = _values_of_column(column, select, scope, counts, years=years)
        if values is None:
            return None
        total *= values
    return total


def _values_of_column(
    column: exp.Column, select: exp.Select, scope: Scope, counts: Counts, *, years: bool
) -> int | None:
    name, table = column.name.lower(), column.table.lower()
    for item in _items(select):
        if table and item.alias_or_name.lower() != table:
            continue
        if isinstance(item, exp.Table):
            source = scope.bindings.find_source(item)
            if source is None:
                return None  # Perhaps the column's; what it holds is not known.
            if name in {one.lower() for one, _ in source.columns or ()}:
                ask = counts.years if years else counts.values
                return ask(source, column.name)
        elif isinstance(item, exp.Subquery) and isinstance(item.this, exp.Select):
            for one in item.this.expressions:
                if one.alias_or_name.lower() == name and not item.args["alias"].args.get("columns"):
                    return _values_of(one, item.this, scope, counts)
        else:
            return None
    return None


def _items(select: exp.Select) -> Iterator[exp.Expr]:
    if select.args.get("from_"):
        yield select.args["from_"].this
    for join in select.args.get("joins") or ():
        yield join.this


def choose_bitmaps(
    ids: Sequence[Carried],
    others: Sequence[Carried],
    groups: int | None,
    sources: Sequence[Source],
    counts: Counts,
) -> dict[str, int]:
    """Choose the identities that a grouping collects as bitmaps.

    Args:
        ids: that it collects.
        others: that stand beside them: a source is written in one way.
        groups: how many there are, as `count_groups` says.
        sources: by number.
        counts: of the sources and the query.

    Returns:
        Names of identities, each with the bits that its bitmap has.
    """
    plain = [one for one in ids if one.form == "row" and not one.tagged]
    most = 8 * _ALWAYS if groups is None else None
    listed = {number for one in (*ids, *others) if one not in plain for number in one.sources}
    chosen: dict[str, int] = {}
    for one in plain:
        (number,) = one.sources
        rows = None if number in listed else counts.rows(sources[number], most)
        if rows and _pays(-(-rows // 8), groups, counts):
            chosen[one.name] = 8 * -(-rows // 8)
    return chosen


def _pays(size: int, groups: int | None, counts: Counts) -> bool:
    if size <= _ALWAYS:
        return True
    if groups is None or groups * size > ROW_BITMAPS_MAX:
        return False
    if groups * size <= _SMALL:
        return True
    met = counts.met()
    return met is not None and groups * size <= _LISTED * met


__all__ = ["Counts", "choose_bitmaps", "count_groups"]

"""Random INSERT, UPDATE, DELETE and MERGE, and what rows they leave, annotated as queries are.

A row that a change writes stands for the rows whose combination it is: an inserted row for those
behind the row of the query; an updated one for the row that it was, the rows it was joined with and
those that its sub-queries found; a row that is left alone for itself. What is deleted is none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from annotated_sql import (
    Base,
    Column,
    Comparison,
    Derived,
    Expression,
    Item,
    Place,
    Query,
    Row,
    Value,
    Why,
    World,
    together,
)
from drawn_queries import TABLES, Drawing, Names

Assigned = list[tuple[str, Expression]]


class Ambiguous(Exception):
    """Several rows change one, and the engine picks."""


def base_rows(table: str, world: World) -> list[Row]:
    return Base(table, TABLES[table], table).rows(world)


def bound_to(alias: str, columns: tuple[str, ...], row: Row) -> dict[str, dict[str, Value]]:
    return {alias: dict(zip(columns, row.values, strict=True))}


def given(row: Row, table: str, assigned: Assigned, place: Place) -> Row:
    """Give a row new values."""
    values = dict(zip(TABLES[table], row.values, strict=True))
    why: Why = row.why | place.why
    for column, expression in assigned:
        value, found = expression.find(place)
        values[column] = value
        why |= found
    return Row(tuple(values.values()), why)


@dataclass(eq=False)
class Inserting:
    table: str
    query: Query
    listed: tuple[str, ...] = ()

    def sql(self) -> str:
        names = f" ({', '.join(self.listed)})" if self.listed else ""
        return f"INSERT INTO {self.table}{names} {self.query.sql()}"

    def rows(self, world: World) -> list[Row]:
        rows = base_rows(self.table, world)
        for row in self.query.rows(world):
            columns = self.listed or TABLES[self.table]
            values = dict(zip(columns, row.values, strict=True))
            rows.append(Row(tuple(values.get(one) for one in TABLES[self.table]), row.why))
        return rows


@dataclass(eq=False)
class Updating:
    table: str
    alias: str
    assigned: Assigned
    item: Item | None = None
    where: Expression | None = None

    def sql(self) -> str:
        assigned = ", ".join(f"{column} = {e.sql()}" for column, e in self.assigned)
        text = f"UPDATE {self.table} AS {self.alias} SET {assigned}"
        text += f" FROM {self.item.sql()}" if self.item else ""
        return text + (f" WHERE {self.where.sql()}" if self.where else "")

    def rows(self, world: World) -> list[Row]:
        out = []
        for row in base_rows(self.table, world):
            bound = bound_to(self.alias, TABLES[self.table], row)
            places = [Place(world, bound, row.why)]
            if self.item is not None:
                places = [
                    Place(
                        world,
                        {**bound, **bound_to(self.item.alias, self.item.columns, other)},
                        row.why | other.why,
                    )
                    for other in self.item.rows(world)
                ]
            kept = []
            for place in places:
                holds, why = self.where.find(place) if self.where else (1, frozenset())
                if holds == 1:
                    place.why |= why
                    kept.append(place)
            if len(kept) > 1:
                raise Ambiguous
            out.append(given(row, self.table, self.assigned, kept[0]) if kept else row)
        return out


@dataclass(eq=False)
class Deleting:
    table: str
    alias: str
    where: Expression | None = None

    def sql(self) -> str:
        where = f" WHERE {self.where.sql()}" if self.where else ""
        return f"DELETE FROM {self.table} AS {self.alias}{where}"

    def rows(self, world: World) -> list[Row]:
        out = []
        for row in base_rows(self.table, world):
            place = Place(world, bound_to(self.alias, TABLES[self.table], row), row.why)
            if self.where is not None and self.where.find(place)[0] != 1:
                out.append(row)
        return out


@dataclass(eq=False)
class When:
    matched: bool
    act: str
    condition: Expression | None = None
    assigned: Assigned = field(default_factory=list)

    def sql(self) -> str:
        text = f"WHEN {'' if self.matched else 'NOT '}MATCHED"
        text += f" AND {self.condition.sql()}" if self.condition else ""
        if self.act == "update":
            return f"{text} THEN UPDATE SET " + ", ".join(
                f"{column} = {e.sql()}" for column, e in self.assigned
            )
        if self.act == "insert":
            names = ", ".join(column for column, _ in self.assigned)
            values = ", ".join(e.sql() for _, e in self.assigned)
            return f"{text} THEN INSERT ({names}) VALUES ({values})"
        return f"{text} THEN {self.act.upper()}"

    def holds(self, place: Place, *, matched: bool) -> bool:
        if matched != self.matched:
            return False
        return self.condition is None or self.condition.find(place)[0] == 1


@dataclass(eq=False)
class Merging:
    table: str
    alias: str
    item: Item
    on: Expression
    whens: list[When]

    def sql(self) -> str:
        whens = " ".join(when.sql() for when in self.whens)
        return (
            f"MERGE INTO {self.table} AS {self.alias} USING {self.item.sql()} "
            f"ON {self.on.sql()} {whens}"
        )

    def rows(self, world: World) -> list[Row]:
        rows = base_rows(self.table, world)
        done: dict[int, Row | None] = {}
        added: list[Row] = []
        nothing = {self.alias: dict.fromkeys(TABLES[self.table])}
        for other in self.item.rows(world):
            there = bound_to(self.item.alias, self.item.columns, other)
            matches = []
            for number, row in enumerate(rows):
                bound = {**bound_to(self.alias, TABLES[self.table], row), **there}
                place = Place(world, bound, row.why | other.why)
                if self.on.find(place)[0] == 1:
                    matches.append((number, row, place))
            for number, row, place in matches:
                when = next((w for w in self.whens if w.holds(place, matched=True)), None)
                if number in done:
                    raise Ambiguous
                if when is not None:
                    kept = when.act == "update"
                    done[number] = given(row, self.table, when.assigned, place) if kept else None
                else:
                    done[number] = row
            if not matches:
                place = Place(world, {**nothing, **there}, other.why)
                when = next((w for w in self.whens if w.holds(place, matched=False)), None)
                if when is not None:
                    empty = Row((None,) * len(TABLES[self.table]), frozenset())
                    added.append(given(empty, self.table, when.assigned, place))
        left = [done.get(number, row) for number, row in enumerate(rows)]
        return [row for row in left if row is not None] + added


Changing = Inserting | Updating | Deleting | Merging


def draw_change(rng: random.Random) -> Changing:
    """Draw a change of one of the tables."""
    drawing = Drawing(rng)
    table = rng.choice(list(TABLES))
    makers: list[Callable[[Drawing, str], Changing]] = [_inserting, _updating, _deleting, _merging]
    return rng.choice(makers)(drawing, table)


def _inserting(drawing: Drawing, table: str) -> Changing:
    columns = TABLES[table]
    listed: tuple[str, ...] = ()
    if drawing.chance(0.4):
        listed = tuple(drawing.rng.sample(columns, drawing.rng.randrange(1, len(columns) + 1)))
    query: Query = drawing.select(1, [], width=len(listed or columns))
    return Inserting(table, query, listed)


def _assigned(drawing: Drawing, columns: list[str], scope: Names) -> Assigned:
    found: Assigned = []
    for column in columns:
        roll = drawing.rng.random()
        expression = drawing._operand(scope, [])
        if roll < 0.2:
            expression = drawing._scalar([scope], 1)
        found.append((column, expression))
    return found


def _item(drawing: Drawing) -> Item:
    alias = drawing.fresh("s")
    if drawing.chance(0.4):
        query = drawing.select(1, [])
        return Derived(alias, query.columns, query)
    table = drawing.pick(*TABLES)
    return Base(alias, TABLES[table], table)


def _qualified(column: Column) -> Column:
    column.bare = False
    return column


def _updating(drawing: Drawing, table: str) -> Changing:
    alias = drawing.fresh("s")
    scope: Names = {alias: TABLES[table]}
    item = _item(drawing) if drawing.chance(0.4) else None
    if item is not None:
        scope[item.alias] = item.columns
    width = drawing.rng.randrange(1, len(TABLES[table]) + 1)
    columns = drawing.rng.sample(TABLES[table], width)
    where = drawing._condition(scope, [], 1) if drawing.chance(0.8) else None
    if item is not None:
        mine = _qualified(drawing._column({alias: TABLES[table]}, []))
        theirs = _qualified(drawing._column({item.alias: item.columns}, []))
        where = Comparison("=", mine, theirs)
    return Updating(table, alias, _assigned(drawing, columns, scope), item, where)


def _deleting(drawing: Drawing, table: str) -> Changing:
    alias = drawing.fresh("s")
    where = drawing._condition({alias: TABLES[table]}, [], 1) if drawing.chance(0.9) else None
    return Deleting(table, alias, where)


def _merging(drawing: Drawing, table: str) -> Changing:
    alias, item = drawing.fresh("s"), _item(drawing)
    here: Names = {alias: TABLES[table]}
    there: Names = {item.alias: item.columns}
    both = {**here, **there}
    on = Comparison(
        "=", _qualified(drawing._column(here, [])), _qualified(drawing._column(there, []))
    )
    whens: list[When] = []
    for _ in range(drawing.rng.randrange(1, 4)):
        matched = drawing.chance(0.6)
        if any(when.matched == matched and when.condition is None for when in whens):
            continue  # DuckDB takes a clause without a condition last, wherever it stands.
        scope = both if matched else there
        condition = drawing._simple(scope, []) if drawing.chance(0.5) else None
        act = drawing.pick("update", "update", "delete") if matched else "insert"
        width = drawing.rng.randrange(1, len(TABLES[table]) + 1)
        columns = drawing.rng.sample(TABLES[table], width)
        assigned = (
            [] if act == "delete" else [(column, drawing._operand(scope, [])) for column in columns]
        )
        whens.append(When(matched, act, condition, assigned))
    return Merging(table, alias, item, on, whens)


__all__ = ["Ambiguous", "Changing", "draw_change", "together"]

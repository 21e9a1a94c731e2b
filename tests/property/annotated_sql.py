"""SQL evaluated by nested loops, each row annotated with the source rows that it stands for.

A second opinion on `lodeline.sql.rewriting`, which it does not share a line with: its own syntax
tree, which it writes as SQL for an engine and evaluates itself. What an annotation means stands in
docs/explanation/rows.md; each operator here says its part of it.

Values are None, numbers, and one NaN, which equals itself and is the greatest number, as in DuckDB,
PostgreSQL and Spark.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any

NAN = math.nan
Value = int | float | None
Why = frozenset[tuple[str, int]]
NOTHING: Why = frozenset()
Bound = dict[str, dict[str, Value]]


@dataclass(frozen=True)
class Row:
    """Values, and the source rows behind them."""

    values: tuple[Value, ...]
    why: Why


@dataclass
class World:
    """What names mean: the tables, the common table expressions, and the rows of outer queries."""

    tables: dict[str, tuple[tuple[str, ...], list[tuple[Value, ...]]]]
    named: dict[str, tuple[tuple[str, ...], list[Row]]] = field(default_factory=dict)
    outer: Bound = field(default_factory=dict)

    def within(self, bound: Bound) -> World:
        return World(self.tables, self.named, {**self.outer, **bound})

    def naming(self, name: str, columns: tuple[str, ...], rows: list[Row]) -> World:
        return World(self.tables, {**self.named, name: (columns, rows)}, self.outer)


@dataclass
class Place:
    """Where an expression is evaluated: one row, or one group of rows.

    `windows` has, by window and number of the row, its value and the rows of its frame.
    """

    world: World
    bound: Bound
    why: Why = NOTHING
    members: list[Place] | None = None
    gone: frozenset[tuple[str, str]] = frozenset()  # Keys that a grouping set leaves out.
    number: int = 0
    windows: dict[int, list[tuple[Value, Why]]] = field(default_factory=dict)


def plain(value: Any) -> Value:
    """Bring an engine's value into the interpreter's form."""
    if value is None or isinstance(value, bool):
        return None if value is None else int(value)
    if isinstance(value, int):
        return value
    number = float(value)
    if math.isnan(number):
        return NAN
    return int(number) if number.is_integer() else round(number, 9)


def rank(value: Value) -> tuple[int, float]:
    """Order numbers, NaN after all others."""
    assert value is not None
    return (1, 0.0) if value != value else (0, float(value))  # NaN is not itself.


def together(whys: Iterable[Why]) -> Why:
    return frozenset().union(*whys)


# Expressions: each gives its value, and the rows that its sub-queries found.


class Expression:
    def sql(self) -> str:
        raise NotImplementedError

    def find(self, place: Place) -> tuple[Value, Why]:
        raise NotImplementedError

    def parts(self) -> Sequence[Expression]:
        return ()


@dataclass(eq=False)
class Column(Expression):
    alias: str
    name: str
    bare: bool = False

    def sql(self) -> str:
        return self.name if self.bare else f"{self.alias}.{self.name}"

    def find(self, place: Place) -> tuple[Value, Why]:
        if place.members is not None and self.alias not in place.world.outer:
            # A key of a group: the same in all its members; null where there are none.
            if not place.members or (self.alias, self.name) in place.gone:
                return None, NOTHING
            place = place.members[0]
        bound = place.bound if self.alias in place.bound else place.world.outer
        return bound[self.alias][self.name], NOTHING


@dataclass(eq=False)
class Constant(Expression):
    value: Value

    def sql(self) -> str:
        return "NULL" if self.value is None else str(self.value)

    def find(self, place: Place) -> tuple[Value, Why]:
        return self.value, NOTHING


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, ">=": operator.ge, "<>": operator.ne, ">": operator.gt,
}  # fmt: skip


def compared(word: str, left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    return int(_COMPARISONS[word](rank(left), rank(right)))


@dataclass(eq=False)
class Comparison(Expression):
    word: str
    left: Expression
    right: Expression

    def sql(self) -> str:
        return f"({self.left.sql()} {self.word} {self.right.sql()})"

    def parts(self) -> Sequence[Expression]:
        return self.left, self.right

    def find(self, place: Place) -> tuple[Value, Why]:
        (one, why), (two, also) = self.left.find(place), self.right.find(place)
        return compared(self.word, one, two), why | also


@dataclass(eq=False)
class Sum(Expression):
    left: Expression
    right: Expression

    def sql(self) -> str:
        return f"({self.left.sql()} + {self.right.sql()})"

    def parts(self) -> Sequence[Expression]:
        return self.left, self.right

    def find(self, place: Place) -> tuple[Value, Why]:
        (one, why), (two, also) = self.left.find(place), self.right.find(place)
        total = None if one is None or two is None else plain(one + two)
        return total, why | also


@dataclass(eq=False)
class Twice(Expression):
    """A scalar function of the program's own: a function of its argument.

    It is written in Python, whose NaN DuckDB takes for NULL.
    """

    inner: Expression

    def sql(self) -> str:
        return f"twice({self.inner.sql()})"

    def parts(self) -> Sequence[Expression]:
        return (self.inner,)

    def find(self, place: Place) -> tuple[Value, Why]:
        value, why = self.inner.find(place)
        gone = value is None or value != value  # NaN is not itself.
        return (None if gone else plain(2 * value)), why


@dataclass(eq=False)
class Logic(Expression):
    """AND, OR; a sub-query's rows count whatever the other side says."""

    word: str
    left: Expression
    right: Expression

    def sql(self) -> str:
        return f"({self.left.sql()} {self.word} {self.right.sql()})"

    def parts(self) -> Sequence[Expression]:
        return self.left, self.right

    def find(self, place: Place) -> tuple[Value, Why]:
        (one, why), (two, also) = self.left.find(place), self.right.find(place)
        deciding = 0 if self.word == "AND" else 1
        if deciding in {one, two}:
            return deciding, why | also
        return (None if None in {one, two} else 1 - deciding), why | also


@dataclass(eq=False)
class Not(Expression):
    inner: Expression

    def sql(self) -> str:
        return f"(NOT {self.inner.sql()})"

    def parts(self) -> Sequence[Expression]:
        return (self.inner,)

    def find(self, place: Place) -> tuple[Value, Why]:
        value, why = self.inner.find(place)
        return (None if value is None else 1 - value), why


@dataclass(eq=False)
class IsNull(Expression):
    inner: Expression

    def sql(self) -> str:
        return f"({self.inner.sql()} IS NULL)"

    def parts(self) -> Sequence[Expression]:
        return (self.inner,)

    def find(self, place: Place) -> tuple[Value, Why]:
        value, why = self.inner.find(place)
        return int(value is None), why


@dataclass(eq=False)
class Case(Expression):
    """CASE: the rows of its condition, and those of the branch that was taken."""

    condition: Expression
    then: Expression
    otherwise: Expression

    def sql(self) -> str:
        return (
            f"CASE WHEN {self.condition.sql()} THEN {self.then.sql()} "
            f"ELSE {self.otherwise.sql()} END"
        )

    def parts(self) -> Sequence[Expression]:
        return self.condition, self.then, self.otherwise

    def find(self, place: Place) -> tuple[Value, Why]:
        holds, why = self.condition.find(place)
        value, also = (self.then if holds else self.otherwise).find(place)
        return value, why | also


def ask(query: Query, place: Place) -> list[Row]:
    """Evaluate a sub-query where it stands."""
    if place.members is not None and place.members:
        return query.rows(place.world.within(place.members[0].bound))
    return query.rows(place.world.within(place.bound))


@dataclass(eq=False)
class Exists(Expression):
    """EXISTS: all rows that the sub-query found; none where it found none, so NOT EXISTS has none."""

    query: Query

    def sql(self) -> str:
        return f"EXISTS ({self.query.sql()})"

    def find(self, place: Place) -> tuple[Value, Why]:
        found = ask(self.query, place)
        return int(bool(found)), together(row.why for row in found)


@dataclass(eq=False)
class Among(Expression):
    """IN and ANY: the rows that match. ALL (`every`): none; it says that no row is otherwise."""

    left: Expression
    word: str
    query: Query
    every: bool = False

    def sql(self) -> str:
        if self.every:
            return f"({self.left.sql()} {self.word} ALL ({self.query.sql()}))"
        joint = "IN" if self.word == "=" else f"{self.word} ANY"
        return f"({self.left.sql()} {joint} ({self.query.sql()}))"

    def parts(self) -> Sequence[Expression]:
        return (self.left,)

    def find(self, place: Place) -> tuple[Value, Why]:
        left, why = self.left.find(place)
        answers = [
            (compared(self.word, left, row.values[0]), row.why) for row in ask(self.query, place)
        ]
        deciding = 0 if self.every else 1
        value: Value = 1 - deciding
        if any(answer == deciding for answer, _ in answers):
            value = deciding
        elif any(answer is None for answer, _ in answers):
            value = None
        if self.every:
            return value, why
        return value, why | together(also for answer, also in answers if answer == 1)


@dataclass(eq=False)
class Scalar(Expression):
    """A sub-query as a value: the row that it gave."""

    query: Query

    def sql(self) -> str:
        return f"({self.query.sql()})"

    def find(self, place: Place) -> tuple[Value, Why]:
        found = ask(self.query, place)
        assert len(found) <= 1
        return (found[0].values[0], found[0].why) if found else (None, NOTHING)


def aggregate(word: str, values: list[Value]) -> Value:
    kept = [value for value in values if value is not None]
    if word == "count":
        return len(kept)
    if word == "count(DISTINCT":
        return len({rank(value) for value in kept})
    if not kept:
        return None
    if word == "min":
        return min(kept, key=rank)
    if word == "max":
        return max(kept, key=rank)
    return plain(sum(kept)) if word == "sum" else plain(sum(kept) / len(kept))


@dataclass(eq=False)
class Aggregate(Expression):
    """Any aggregate: its own rows are the group's; a FILTER leaves out none of them."""

    word: str
    inner: Expression | None
    only: Expression | None = None

    def sql(self) -> str:
        inner = "*" if self.inner is None else self.inner.sql()
        if self.word == "avg":
            inner = f"CAST({inner} AS DOUBLE PRECISION)"
        text = f"{self.word} {inner})" if "(" in self.word else f"{self.word}({inner})"
        return text + (f" FILTER (WHERE {self.only.sql()})" if self.only else "")

    def find(self, place: Place) -> tuple[Value, Why]:
        assert place.members is not None
        kept = [m for m in place.members if self.only is None or self.only.find(m)[0]]
        if self.inner is None:
            return len(kept), NOTHING
        return aggregate(self.word, [self.inner.find(member)[0] for member in kept]), NOTHING


@dataclass(eq=False)
class Window(Expression):
    """A window function: the row itself, and the rows that the function looked at.

    For an aggregate those of the frame; for `rank` and its kin those up to the row and its peers;
    for `ntile` the partition; for `lag`, `first_value` and theirs the one whose value it took.
    """

    word: str
    inner: Expression | None
    partition: list[Expression]
    order: list[tuple[Expression, bool]]
    frame: tuple[int | None, int | None] | None = None
    argument: int | None = None

    def sql(self) -> str:
        words = [] if self.inner is None else [self.inner.sql()]
        if self.argument is not None:
            words.append(str(self.argument))
        inner = ", ".join(words) or ("*" if self.word == "count" else "")
        parts = []
        if self.partition:
            parts.append("PARTITION BY " + ", ".join(one.sql() for one in self.partition))
        if self.order:
            parts.append("ORDER BY " + ordering(self.order))
        if self.frame:
            low, high = self.frame
            first = "UNBOUNDED PRECEDING" if low is None else f"{low} PRECEDING"
            last = "UNBOUNDED FOLLOWING" if high is None else f"{high} FOLLOWING"
            parts.append(f"ROWS BETWEEN {first} AND {last}")
        return f"{self.word}({inner}) OVER ({' '.join(parts)})"

    def find(self, place: Place) -> tuple[Value, Why]:
        return place.windows[id(self)][place.number]

    def look(self, places: list[Place]) -> list[tuple[Value, Why]]:
        """Evaluate for every row at once."""
        partitions: dict[Any, list[int]] = {}
        for number, place in enumerate(places):
            partitions.setdefault(
                tuple(key_of(one.find(place)[0]) for one in self.partition), []
            ).append(number)
        found: list[tuple[Value, Why]] = [(None, NOTHING)] * len(places)
        for members in partitions.values():
            ordered = sorted(
                members, key=cmp_to_key(lambda x, y: self._before(places[x], places[y]))
            )
            for at in range(len(ordered)):
                found[ordered[at]] = self._one([places[i] for i in ordered], at)
        return found

    def _before(self, one: Place, two: Place) -> int:
        return compare_by([(e.find(one)[0], e.find(two)[0], down) for e, down in self.order])

    def _one(self, rows: list[Place], at: int) -> tuple[Value, Why]:
        peers = [i for i in range(len(rows)) if self._before(rows[i], rows[at]) == 0]
        upto = rows[: peers[-1] + 1] if self.order else rows
        frame = upto
        if self.frame:
            low = 0 if self.frame[0] is None else max(0, at - self.frame[0])
            high = len(rows) if self.frame[1] is None else at + self.frame[1] + 1
            frame = rows[low:high]
        if self.word in {"row_number", "rank", "dense_rank"}:
            groups = [i for i in range(at + 1) if i == 0 or self._before(rows[i - 1], rows[i])]
            value = {"row_number": at + 1, "rank": peers[0] + 1, "dense_rank": len(groups)}
            return value[self.word], together(row.why for row in upto)
        if self.word == "ntile":
            assert self.argument is not None
            size, more = divmod(len(rows), self.argument)
            ends, total = [], 0
            for tile in range(self.argument):
                total += size + (tile < more)
                ends.append(total)
            return next(n + 1 for n, end in enumerate(ends) if at < end), together(
                row.why for row in rows
            )
        if self.word in {"lag", "lead"}:
            assert self.argument is not None
            target = at - self.argument if self.word == "lag" else at + self.argument
            return self._taken(rows[target] if 0 <= target < len(rows) else None)
        if self.word in {"first_value", "last_value", "nth_value"}:
            target = {"first_value": 0, "last_value": len(frame) - 1}.get(
                self.word, (self.argument or 1) - 1
            )
            return self._taken(frame[target] if 0 <= target < len(frame) else None)
        why = together(row.why for row in frame)
        if self.inner is None:
            return len(frame), why
        return aggregate(self.word, [self.inner.find(row)[0] for row in frame]), why

    def _taken(self, row: Place | None) -> tuple[Value, Why]:
        assert self.inner is not None
        return (None, NOTHING) if row is None else (self.inner.find(row)[0], row.why)


def key_of(value: Value) -> Any:
    """Nulls are one group, and so are NaNs."""
    return None if value is None else rank(value)


def compare_by(pairs: Sequence[tuple[Value, Value, bool]]) -> int:
    """Compare by several values, nulls last whatever the direction."""
    for one, two, down in pairs:
        if one is None or two is None:
            if (one is None) != (two is None):
                return 1 if one is None else -1
        elif rank(one) != rank(two):
            return 1 if (rank(one) > rank(two)) != down else -1
    return 0


def ordering(order: list[tuple[Expression, bool]]) -> str:
    return ", ".join(f"{e.sql()} {'DESC' if down else 'ASC'} NULLS LAST" for e, down in order)


# What stands in FROM: each gives bindings of its alias, annotated.


@dataclass(eq=False)
class Item:
    alias: str
    columns: tuple[str, ...]

    def sql(self) -> str:
        raise NotImplementedError

    def rows(self, world: World) -> list[Row]:
        raise NotImplementedError


@dataclass(eq=False)
class Base(Item):
    """A table: each row stands for itself."""

    table: str
    sample: str = ""  # One that draws every row, in the engine's words.

    def sql(self) -> str:
        return f"{self.table} AS {self.alias}{self.sample}"

    def rows(self, world: World) -> list[Row]:
        return [
            Row(values, frozenset({(self.table, i)}))
            for i, values in enumerate(world.tables[self.table][1])
        ]


@dataclass(eq=False)
class Pivoted(Item):
    """PIVOT of a table: all rows of the group, whether or not their value is listed."""

    table: str
    on: str
    values: list[int]
    word: str
    using: str
    key: str

    def sql(self) -> str:
        listed = ", ".join(
            f"{value} AS {name}" for value, name in zip(self.values, self.columns[1:], strict=True)
        )
        return (
            f"{self.table} PIVOT ({self.word}({self.using}) FOR {self.on} IN ({listed}) "
            f"GROUP BY {self.key}) AS {self.alias}"
        )

    def rows(self, world: World) -> list[Row]:
        columns, rows = world.tables[self.table]
        on, using, key = (columns.index(one) for one in (self.on, self.using, self.key))
        groups: dict[Any, list[int]] = {}
        for number, row in enumerate(rows):
            groups.setdefault(key_of(row[key]), []).append(number)
        out = []
        for members in groups.values():
            found = [
                aggregate(self.word, [rows[m][using] for m in members if rows[m][on] == value])
                for value in self.values
            ]
            why = frozenset((self.table, member) for member in members)
            out.append(Row((rows[members[0]][key], *found), why))
        return out


@dataclass(eq=False)
class Unpivoted(Item):
    """UNPIVOT of a table: the row that each is made of."""

    table: str
    over: list[str]
    nulls: bool
    named: str  # The column of names, which nothing asks for.

    def sql(self) -> str:
        nulls = "INCLUDE NULLS " if self.nulls else ""
        return (
            f"{self.table} UNPIVOT {nulls}({self.columns[-1]} FOR {self.named} IN "
            f"({', '.join(self.over)})) AS {self.alias}"
        )

    def rows(self, world: World) -> list[Row]:
        columns, rows = world.tables[self.table]
        out = []
        for number, row in enumerate(rows):
            values = dict(zip(columns, row, strict=True))
            kept = tuple(values[name] for name in self.columns[:-1])
            for name in self.over:
                if self.nulls or values[name] is not None:
                    out.append(Row((*kept, values[name]), frozenset({(self.table, number)})))
        return out


@dataclass(eq=False)
class Derived(Item):
    query: Query
    lateral: bool = False

    def sql(self) -> str:
        return f"{'LATERAL ' if self.lateral else ''}({self.query.sql()}) AS {self.alias}"

    def rows(self, world: World) -> list[Row]:
        return self.query.rows(world)


@dataclass(eq=False)
class Named(Item):
    """A common table expression, mentioned."""

    name: str

    def sql(self) -> str:
        return f"{self.name} AS {self.alias}"

    def rows(self, world: World) -> list[Row]:
        return world.named[self.name][1]


@dataclass(eq=False)
class Constants(Item):
    """VALUES: rows that come from nowhere."""

    listed: list[tuple[int, ...]]

    def sql(self) -> str:
        rows = ", ".join("(" + ", ".join(map(str, row)) + ")" for row in self.listed)
        return f"(VALUES {rows}) AS {self.alias}({', '.join(self.columns)})"

    def rows(self, world: World) -> list[Row]:
        return [Row(row, NOTHING) for row in self.listed]


@dataclass(eq=False)
class Join:
    """A join: the joined rows; without a match in an outer join nothing on that side.

    Semi: the row and all that match it. Anti: the row alone. Asof: of those that match, the one
    with the greatest `k`, which is unique.
    """

    kind: str
    item: Item
    on: Expression | None = None
    using: tuple[str, str] | None = None  # A column, and the alias that has it on the left.

    def sql(self) -> str:
        item = self.item.sql()
        if isinstance(self.item, Pivoted | Unpivoted):
            item = f"(SELECT * FROM {item}) AS {self.item.alias}"  # Or it pivots the whole join.
        if self.using is not None:
            return f"{self.kind} JOIN {item} USING ({self.using[0]})"
        on = f" ON {self.on.sql()}" if self.on is not None else ""
        return f"{self.kind} JOIN {item}{on}"

    def _holds(self, place: Place) -> bool:
        if self.using is not None:
            name, alias = self.using
            left, right = place.bound[alias][name], place.bound[self.item.alias][name]
            return compared("=", left, right) == 1
        return self.on is None or self.on.find(place)[0] == 1

    def apply(
        self, left: list[Place], aliases: dict[str, tuple[str, ...]], world: World
    ) -> list[Place]:
        alias, columns = self.item.alias, self.item.columns
        if self.kind == "POSITIONAL":
            return self._by_place(left, aliases, world)
        lateral = isinstance(self.item, Derived) and self.item.lateral
        fixed = None if lateral else self.item.rows(world)
        out: list[Place] = []
        used: set[int] = set()
        for place in left:
            rows = self.item.rows(world.within(place.bound)) if fixed is None else fixed
            matches: list[Place] = []
            for number, row in enumerate(rows):
                bound = {**place.bound, alias: dict(zip(columns, row.values, strict=True))}
                joined = Place(world, bound, place.why | row.why)
                if self._holds(joined):
                    matches.append(joined)
                    used.add(number)
            if self.kind == "SEMI":
                if matches:
                    out.append(Place(world, place.bound, together(m.why for m in matches)))
            elif self.kind == "ANTI":
                out.extend([] if matches else [place])
            elif self.kind.startswith("ASOF"):
                matches.sort(key=lambda match: rank(match.bound[alias]["k"]))
                empty = Place(world, {**place.bound, alias: dict.fromkeys(columns)}, place.why)
                out.extend(matches[-1:] or ([empty] if "LEFT" in self.kind else []))
            elif not matches and self.kind in {"LEFT", "FULL"}:
                out.append(Place(world, {**place.bound, alias: dict.fromkeys(columns)}, place.why))
            else:
                out.extend(matches)
        if self.kind in {"RIGHT", "FULL"} and fixed is not None:
            nothing: Bound = {name: dict.fromkeys(some) for name, some in aliases.items()}
            for number, row in enumerate(fixed):
                if number not in used:
                    bound = {**nothing, alias: dict(zip(columns, row.values, strict=True))}
                    out.append(Place(world, bound, row.why))
        return out

    def _by_place(
        self, left: list[Place], aliases: dict[str, tuple[str, ...]], world: World
    ) -> list[Place]:
        """POSITIONAL: row by row, and nothing on the side that has fewer."""
        rows = self.item.rows(world)
        out = []
        for number in range(max(len(left), len(rows))):
            bound: Bound = {name: dict.fromkeys(some) for name, some in aliases.items()}
            why = NOTHING
            if number < len(left):
                bound, why = dict(left[number].bound), left[number].why
            bound[self.item.alias] = dict.fromkeys(self.item.columns)
            if number < len(rows):
                values = zip(self.item.columns, rows[number].values, strict=True)
                bound[self.item.alias] = dict(values)
                why |= rows[number].why
            out.append(Place(world, bound, why))
        return out


# Queries


class Query:
    columns: tuple[str, ...]

    def sql(self) -> str:
        raise NotImplementedError

    def rows(self, world: World) -> list[Row]:
        raise NotImplementedError


@dataclass(eq=False)
class Select(Query):
    """SELECT, clause by clause in the order that SQL gives them."""

    source: Item
    items: list[tuple[Expression, str]]
    joins: list[Join] = field(default_factory=list)
    where: Expression | None = None
    keys: list[Expression] | None = None  # Grouped, where not None.
    sets: tuple[str, list[list[int]]] | None = None  # The word, and the keys of each set.
    having: Expression | None = None
    qualify: Expression | None = None
    distinct: bool = False
    on: list[Expression] = field(default_factory=list)
    order: list[tuple[Expression, bool]] = field(default_factory=list)
    limit: int | None = None
    star: bool = False

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(name for _, name in self.items)

    def sql(self) -> str:
        word = "SELECT"
        if self.on:
            word += f" DISTINCT ON ({', '.join(one.sql() for one in self.on)})"
        elif self.distinct:
            word += " DISTINCT"
        items = "*" if self.star else ", ".join(f"{e.sql()} AS {name}" for e, name in self.items)
        text = f"{word} {items} FROM {self.source.sql()}"
        for join in self.joins:
            text += " " + join.sql()
        if self.where is not None:
            text += f" WHERE {self.where.sql()}"
        if self.keys:
            names = [key.sql() for key in self.keys]
            if self.sets is None:
                text += f" GROUP BY {', '.join(names)}"
            elif self.sets[0] == "GROUPING SETS":
                sets = ", ".join(f"({', '.join(names[i] for i in some)})" for some in self.sets[1])
                text += f" GROUP BY GROUPING SETS ({sets})"
            else:
                text += f" GROUP BY {self.sets[0]} ({', '.join(names)})"
        if self.having is not None:
            text += f" HAVING {self.having.sql()}"
        if self.qualify is not None:
            text += f" QUALIFY {self.qualify.sql()}"
        if self.order:
            text += f" ORDER BY {ordering(self.order)}"
        return text + (f" LIMIT {self.limit}" if self.limit is not None else "")

    def rows(self, world: World) -> list[Row]:
        places = self._joined(world)
        if self.where is not None:
            places = self._kept(self.where, places)
        if self.keys is not None:
            places = self._grouped(places, world)
            if self.having is not None:
                places = self._kept(self.having, places)
        self._look(places)
        if self.qualify is not None:
            places = self._kept(self.qualify, places)
        made = [self._projected(place) for place in places]
        if self.on:
            made = self._first_of_each(places, made)
        elif self.distinct:
            made = merged(made)
        elif self.order:
            pairs = sorted(
                zip(places, made, strict=True),
                key=cmp_to_key(lambda x, y: self._before(x[0], y[0])),
            )
            made = [row for _, row in pairs]
        return made if self.limit is None else made[: self.limit]

    def _joined(self, world: World) -> list[Place]:
        alias, columns = self.source.alias, self.source.columns
        places = [
            Place(world, {alias: dict(zip(columns, row.values, strict=True))}, row.why)
            for row in self.source.rows(world)
        ]
        aliases = {alias: columns}
        for join in self.joins:
            places = join.apply(places, aliases, world)
            if join.kind not in {"SEMI", "ANTI"}:
                aliases[join.item.alias] = join.item.columns
        return places

    def _kept(self, condition: Expression, places: list[Place]) -> list[Place]:
        kept = []
        for place in places:
            holds, why = condition.find(place)
            if holds == 1:
                place.why |= why
                kept.append(place)
        return kept

    def _grouped(self, places: list[Place], world: World) -> list[Place]:
        """A group: all rows that are in it, with what sub-queries inside aggregates found."""
        assert self.keys is not None
        for place in places:
            for one in iter_parts([e for e, _ in self.items]):
                if isinstance(one, Aggregate) and one.inner is not None:
                    place.why |= one.inner.find(place)[1]
        out = []
        for some in self.sets[1] if self.sets else [list(range(len(self.keys)))]:
            groups: dict[Any, list[Place]] = {}
            for place in places:
                key = tuple(key_of(self.keys[i].find(place)[0]) for i in some)
                groups.setdefault(key, []).append(place)
            if not some:
                groups.setdefault((), [])
            for members in groups.values():
                why = together(member.why for member in members)
                out.append(Place(world, {}, why, members, self._left_out(some)))
        return out

    def _left_out(self, some: list[int]) -> frozenset[tuple[str, str]]:
        """Name the keys that a grouping set leaves out: null, but not inside of aggregates."""
        assert self.keys is not None
        names = [(key.alias, key.name) for key in self.keys if isinstance(key, Column)]
        there = {names[i] for i in some}
        return frozenset(name for name in names if name not in there)

    def _look(self, places: list[Place]) -> None:
        parts = [e for e, _ in self.items] + ([self.qualify] if self.qualify else [])
        windows = [one for one in iter_parts(parts) if isinstance(one, Window)]
        found = {id(window): window.look(places) for window in windows}
        for number, place in enumerate(places):
            place.windows, place.number = found, number

    def _projected(self, place: Place) -> Row:
        found = [expression.find(place) for expression, _ in self.items]
        return Row(tuple(v for v, _ in found), place.why | together(why for _, why in found))

    def _before(self, one: Place, two: Place) -> int:
        return compare_by([(e.find(one)[0], e.find(two)[0], down) for e, down in self.order])

    def _first_of_each(self, places: list[Place], made: list[Row]) -> list[Row]:
        """DISTINCT ON: the row that was kept, and none of those it stands before."""
        pairs = sorted(
            zip(places, made, strict=True), key=cmp_to_key(lambda x, y: self._before(x[0], y[0]))
        )
        first: dict[Any, Row] = {}
        for place, row in pairs:
            first.setdefault(tuple(key_of(one.find(place)[0]) for one in self.on), row)
        return list(first.values())


def iter_parts(roots: Sequence[Expression]) -> Iterable[Expression]:
    """Walk expressions, without going into sub-queries."""
    for root in roots:
        yield root
        yield from iter_parts(root.parts())


def merged(rows: Iterable[Row]) -> list[Row]:
    """DISTINCT: a row stands for all rows that are it."""
    whys: dict[Any, Why] = {}
    values: dict[Any, tuple[Value, ...]] = {}
    for row in rows:
        key = tuple(map(key_of, row.values))
        whys[key] = whys.get(key, NOTHING) | row.why
        values.setdefault(key, row.values)
    return [Row(values[key], why) for key, why in whys.items()]


@dataclass(eq=False)
class SetOperation(Query):
    """UNION, INTERSECT, EXCEPT.

    UNION ALL: the rows of the branch. INTERSECT: all equal rows of both sides. EXCEPT: all equal
    rows of the left; that the right has none says no row of it. With ALL each copy is linked so.
    """

    word: str
    every: bool
    left: Query
    right: Query

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.left.columns

    def sql(self) -> str:
        return f"{self.left.sql()} {self.word}{' ALL' if self.every else ''} {self.right.sql()}"

    def rows(self, world: World) -> list[Row]:
        one, two = self.left.rows(world), self.right.rows(world)
        if self.word == "UNION":
            return one + two if self.every else merged(one + two)
        counts: dict[Any, list[int]] = {}
        for side, rows in enumerate((one, two)):
            for row in rows:
                counts.setdefault(tuple(map(key_of, row.values)), [0, 0])[side] += 1
        out = []
        for row in merged(one + two if self.word == "INTERSECT" else one):
            here, there = counts[tuple(map(key_of, row.values))]
            copies = min(here, there) if self.word == "INTERSECT" else here - there
            if not self.every:
                copies = int(here > 0 and (there > 0) == (self.word == "INTERSECT"))
            out.extend([row] * max(0, copies))
        return out


@dataclass(eq=False)
class With(Query):
    """A common table expression: evaluated once, whoever mentions it."""

    name: str
    inner: Query
    body: Query
    listed: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.body.columns

    def sql(self) -> str:
        listed = f"({', '.join(self.listed)})" if self.listed else ""
        return f"WITH {self.name}{listed} AS ({self.inner.sql()}) {self.body.sql()}"

    def rows(self, world: World) -> list[Row]:
        columns = self.listed or self.inner.columns
        return self.body.rows(world.naming(self.name, columns, self.inner.rows(world)))


@dataclass(eq=False)
class Recursive(Query):
    """WITH RECURSIVE … UNION ALL: the rows on the way to a row, of every step.

    By UNION: the rows on every way to a row, however it goes round.
    """

    name: str
    listed: tuple[str, ...]
    base: Query
    step: Query
    body: Query
    every: bool = True

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.body.columns

    def sql(self) -> str:
        return (
            f"WITH RECURSIVE {self.name}({', '.join(self.listed)}) AS "
            f"({self.base.sql()} UNION {'ALL ' if self.every else ''}{self.step.sql()}) "
            f"{self.body.sql()}"
        )

    def rows(self, world: World) -> list[Row]:
        if not self.every:
            return self.body.rows(world.naming(self.name, self.listed, self._closed(world)))
        found = last = self.base.rows(world)
        while last:
            last = self.step.rows(world.naming(self.name, self.listed, last))
            found = found + last
        return self.body.rows(world.naming(self.name, self.listed, found))

    def _closed(self, world: World) -> list[Row]:
        base = self.base.rows(world)
        found = merged(base)
        while True:
            after = merged([*base, *self.step.rows(world.naming(self.name, self.listed, found))])
            if {row.values: row.why for row in map(_keyed, after)} == {
                row.values: row.why for row in map(_keyed, found)
            }:
                return found
            found = after


def _keyed(row: Row) -> Row:
    return Row(tuple(map(key_of, row.values)), row.why)

"""Random tables, and random queries over every operator, drawn by a seeded generator."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from annotated_sql import (
    NAN,
    Aggregate,
    Among,
    Base,
    Case,
    Column,
    Comparison,
    Constant,
    Constants,
    Derived,
    Exists,
    Expression,
    IsNull,
    Item,
    Join,
    Logic,
    Named,
    Not,
    Pivoted,
    Query,
    Recursive,
    Scalar,
    Select,
    SetOperation,
    Sum,
    Twice,
    Unpivoted,
    Value,
    Window,
    With,
)

# `k` is unique where it is there; `t2` has none, so its rows may be equal. `x` may be NaN.
TABLES: dict[str, tuple[str, ...]] = {
    "t0": ("k", "a", "b", "x"),
    "t1": ("k", "a", "c"),
    "t2": ("a", "b", "x"),
    "t3": ("c", "d"),
}
Tables = dict[str, tuple[tuple[str, ...], list[tuple[Value, ...]]]]
Names = dict[str, tuple[str, ...]]  # Columns by alias.


def draw_tables(rng: random.Random) -> Tables:
    def value(name: str, number: int) -> Value:
        if name == "k":
            return number
        if rng.random() < 0.15:
            return None
        return NAN if name == "x" and rng.random() < 0.15 else rng.randrange(4)

    tables: Tables = {}
    for table, columns in TABLES.items():
        numbers = list(range(rng.randrange(7)))
        rng.shuffle(numbers)
        tables[table] = (
            columns, [tuple(value(name, number) for name in columns) for number in numbers]
        )  # fmt: skip
    return tables


# What engines other than DuckDB have no grammar for.
DUCKDB_ONLY = frozenset(
    {"SEMI", "ANTI", "ASOF", "POSITIONAL", "qualify", "pivot", "sample", "twice"}
)
# What Spark has none for.
NOT_SPARK = frozenset(
    {"ASOF", "POSITIONAL", "pivot", "sample", "twice", "any", "all", "distinct on"}
    | {"recursive distinct"}
)


@dataclass
class Drawing:
    """Draws queries.

    Args:
        rng: seeded.
        without: features that the engine does not have.
    """

    rng: random.Random
    without: frozenset[str] = frozenset()
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    named: Names = field(default_factory=dict)  # Common table expressions in scope.

    def fresh(self, letter: str) -> str:
        return f"{letter}{next(self.numbers)}"

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, *choices):
        return self.rng.choice(choices)

    # Queries

    def query(self, depth: int = 2) -> Query:
        roll = self.rng.random()
        if depth > 0 and roll < 0.15:
            return self._set_operation(depth)
        if depth > 0 and roll < 0.3:
            return self._with(depth)
        if depth > 1 and roll < 0.36:
            return self._recursive(depth)
        return self.select(depth, [])

    def _set_operation(self, depth: int) -> Query:
        width = self.rng.randrange(1, 3)
        word = self.pick("UNION", "INTERSECT", "EXCEPT", "INTERSECT", "EXCEPT")
        left = self.select(depth - 1, [], width=width, ordered=False)
        right = self.select(depth - 1, [], width=width, ordered=False)
        return SetOperation(word, self.chance(0.5), left, right)

    def _with(self, depth: int) -> Query:
        inner = self.query(depth - 1)
        if isinstance(inner, With | Recursive):
            return inner
        name = self.fresh("w")
        listed = tuple(self.fresh("n") for _ in inner.columns) if self.chance(0.3) else ()
        before = self.named
        self.named = {**before, name: listed or inner.columns}
        body = self.select(depth, [])
        self.named = before
        return With(name, inner, body, listed)

    def _recursive(self, depth: int) -> Query:
        """Walk from rows of one table along another, at most three steps."""
        name, n, d = self.fresh("r"), self.fresh("n"), self.fresh("n")
        if "recursive distinct" not in self.without and self.chance(0.4):
            return self._closure(depth, name)
        table = self.pick("t0", "t2")
        base = self.fresh("s")
        start = Select(
            Base(base, TABLES[table], table),
            [(Column(base, "a"), self.fresh("o")), (Constant(0), self.fresh("o"))],
        )
        one, two = self.fresh("s"), self.fresh("s")
        column = self.pick("c", "d")
        step = Select(
            Named(one, (n, d), name),
            [(Column(two, column), self.fresh("o")),
             (Sum(Column(one, d), Constant(1)), self.fresh("o"))],
            [Join("INNER", Base(two, TABLES["t3"], "t3"),
                  Comparison("=", Column(two, "c"), Column(one, n)))],
            Comparison("<", Column(one, d), Constant(2)),
        )  # fmt: skip
        before = self.named
        self.named = {**before, name: (n, d)}
        body = self.select(depth - 1, [])
        self.named = before
        return Recursive(name, (n, d), start, step, body)

    def _closure(self, depth: int, name: str) -> Recursive:
        """Walk along a table as far as it goes, round and round if it does."""
        n, base, one, two = self.fresh("n"), self.fresh("s"), self.fresh("s"), self.fresh("s")
        table = self.pick("t0", "t1", "t2")
        start = Select(Base(base, TABLES[table], table), [(Column(base, "a"), self.fresh("o"))])
        if self.chance(0.5):
            start.where = self._simple({base: TABLES[table]}, [])
        along = self.pick("t1", "t3")
        here, there = ("a", "c") if along == "t1" else ("c", "d")
        if self.chance(0.3):
            here, there = there, here
        item = Base(two, TABLES[along], along)
        on = Comparison("=", Column(two, here), Column(one, n))
        step = Select(
            Named(one, (n,), name), [(Column(two, there), self.fresh("o"))],
            [Join("INNER", item, on)],
        )  # fmt: skip
        if self.chance(0.4):
            step.where = self._condition({two: TABLES[along]}, [], depth - 1)
        before = self.named
        self.named = {**before, name: (n,)}
        body = self.select(depth - 1, [])
        self.named = before
        return Recursive(name, (n,), start, step, body, every=False)

    # FROM

    def _reshaped(self, alias: str) -> Item:
        table = self.pick("t0", "t2")
        if self.chance(0.5):
            names = [self.fresh("v"), self.fresh("v")]
            key, on, using = self.rng.sample(["a", "b", "x"], 3)
            on, using = (using, on) if on == "x" else (on, using)
            if on == "x":
                on, key = key, on
            word = self.pick("sum", "min", "count")
            return Pivoted(
                alias, (key, *names), table, on, self.rng.sample(range(4), 2), word, using, key
            )
        kept = tuple(name for name in TABLES[table] if name not in {"a", "b"})
        columns = (*kept, self.fresh("v"))
        over = self.rng.sample(["a", "b"], 2)
        return Unpivoted(alias, columns, table, over, self.chance(0.5), self.fresh("n"))

    def _matched(self, source: Item) -> Join | None:
        """A join to the row that comes before, or stands at the same place."""
        plainly = isinstance(source, Base) and not source.sample
        kinds = ["ASOF", "ASOF LEFT", *(["POSITIONAL"] if plainly else [])]
        kind = self.rng.choice(kinds)
        if kind.split()[0] in self.without:
            return None
        table = self.pick("t0", "t1")
        item = Base(self.fresh("s"), TABLES[table], table)
        if kind == "POSITIONAL":
            return Join(kind, item)
        mine = Column(source.alias, self.rng.choice(source.columns))
        return Join(kind, item, Comparison(">=", mine, Column(item.alias, "k")))

    def _item(self, depth: int, chain: list[Names]) -> Item:
        roll = self.rng.random()
        alias = self.fresh("s")
        if self.named and roll < 0.4:
            name = self.rng.choice(list(self.named))
            return Named(alias, self.named[name], name)
        if depth > 0 and roll < 0.6:
            inner = self.query(depth - 1)
            return Derived(alias, inner.columns, inner)
        if roll > 0.95:
            columns = (self.fresh("v"),)
            return Constants(alias, columns, [(self.rng.randrange(4),) for _ in range(2)])
        if "pivot" not in self.without and self.chance(0.08):
            return self._reshaped(alias)
        table = self.pick(*TABLES)
        if "sample" not in self.without and self.chance(0.02):
            sample = self.pick(
                "bernoulli(100 PERCENT)", "reservoir(100 PERCENT)", "system(100 PERCENT)"
            )
            return Base(alias, TABLES[table], table, f" TABLESAMPLE {sample}")
        return Base(alias, TABLES[table], table)

    def _join(self, scope: Names, depth: int, chain: list[Names]) -> Join:
        kinds = ["INNER", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "SEMI", "ANTI", "lateral"]
        kind = self.rng.choice([kind for kind in kinds if kind not in self.without])
        if kind == "lateral":
            inner = self.select(max(0, depth - 1), [*chain, scope])
            item: Item = Derived(self.fresh("s"), inner.columns, inner, lateral=True)
            if self.chance(0.5):
                return Join("CROSS", item)
            return Join("LEFT", item, Comparison("=", Constant(1), Constant(1)))
        item = self._item(depth - 1, chain)
        if kind == "CROSS":
            return Join(kind, item)
        inside = {**scope, item.alias: item.columns}
        mine = self._column(scope, [])
        mine.bare = False  # It may be a name of the other side, too.
        theirs = Column(item.alias, self.rng.choice(item.columns))
        shared = [c for c in item.columns if sum(c in some for some in scope.values()) == 1]
        if shared and self.chance(0.3) and kind != "ANTI":
            column = self.rng.choice(shared)
            (owner,) = [alias for alias, some in scope.items() if column in some]
            return Join(kind, item, using=(column, owner))
        on: Expression = Comparison("=", mine, theirs)
        if kind in {"INNER", "LEFT", "SEMI", "ANTI"} and self.chance(0.3):
            on = Comparison(self.pick("<", ">="), mine, theirs)
        if kind in {"INNER", "LEFT"} and self.chance(0.2):
            on = Logic("AND", on, self._simple(inside, []))
        return Join(kind, item, on)

    # Expressions

    def _column(self, scope: Names, chain: list[Names]) -> Column:
        """Draw a column of the scope, or now and then of an outer query; bare where that is clear."""
        level = scope
        inner: list[Names] = []
        if chain and self.chance(0.4):
            at = self.rng.randrange(len(chain))
            level, inner = chain[at], [*chain[at + 1 :], scope]
        alias = self.rng.choice(list(level))
        name = self.rng.choice(level[alias])
        clear = sum(name in some for some in level.values()) == 1
        hidden = any(name in some for names in inner for some in names.values())
        return Column(alias, name, bare=clear and not hidden and self.chance(0.4))

    def _operand(self, scope: Names, chain: list[Names]) -> Expression:
        column = self._column(scope, chain)
        if "twice" not in self.without and self.chance(0.04):
            return Twice(column)
        return Sum(column, Constant(self.rng.randrange(3))) if self.chance(0.2) else column

    def _simple(self, scope: Names, chain: list[Names]) -> Expression:
        if self.chance(0.15):
            found: Expression = IsNull(self._column(scope, chain))
            return Not(found) if self.chance(0.5) else found
        right = Constant(self.rng.randrange(4)) if self.chance(0.6) else self._operand(scope, chain)
        return Comparison(self.pick("=", "<", ">=", "<>"), self._operand(scope, chain), right)

    def _condition(self, scope: Names, chain: list[Names], depth: int) -> Expression:
        roll = self.rng.random()
        if roll < 0.25:
            word = self.pick("AND", "OR")
            return Logic(
                word,
                self._condition(scope, chain, depth - 1),
                self._condition(scope, chain, depth - 1),
            )
        if roll < 0.32:
            return Not(self._condition(scope, chain, depth - 1))
        if depth > 0 and roll < 0.75:
            return self._questioning(scope, chain, depth)
        return self._simple(scope, chain)

    def _questioning(self, scope: Names, chain: list[Names], depth: int) -> Expression:
        inner = [*chain, scope]
        kinds = ["exists", "in", "in", "scalar", "any", "all"]
        kind = self.rng.choice([kind for kind in kinds if kind not in self.without])
        if kind == "exists":
            return Exists(self.select(depth - 1, inner))
        if kind == "scalar":
            return Comparison(
                self.pick("=", "<", ">="), self._operand(scope, chain), self._scalar(inner, depth)
            )
        query = self.select(depth - 1, inner, width=1)
        left = self._operand(scope, chain)
        if kind == "in":
            return Among(left, "=", query)
        return Among(left, self.pick("<", ">=", ">"), query, every=kind == "all")

    def _scalar(self, chain: list[Names], depth: int) -> Expression:
        """A sub-query that gives one row: it aggregates, or is the first by a unique column."""
        return Scalar(self.select(max(0, depth - 1), chain, width=1, total=True))

    # SELECT

    def select(
        self,
        depth: int,
        chain: list[Names],
        *,
        width: int | None = None,
        total: bool = False,
        ordered: bool = True,
    ) -> Select:
        source = self._item(depth, chain)
        scope: Names = {source.alias: source.columns}
        joins: list[Join] = []
        if self.chance(0.05):
            matched = self._matched(source)
            if matched is not None:
                joins.append(matched)
                scope = {**scope, matched.item.alias: matched.item.columns}
        while self.chance(0.35) and len(joins) < 3:
            join = self._join(scope, depth, chain)
            joins.append(join)
            if join.kind not in {"SEMI", "ANTI"}:
                scope = {**scope, join.item.alias: join.item.columns}
        made = Select(source, [], joins)
        if self.chance(0.55):
            made.where = self._condition(scope, chain, depth)
        width = width or self.rng.randrange(1, 4)
        if total or self.chance(0.3):
            self._group(made, scope, chain, width, depth, total=total)
        else:
            self._plain(made, scope, chain, width, depth, ordered=ordered)
        return made

    def _group(
        self, made: Select, scope: Names, chain: list[Names], width: int, depth: int, *, total: bool
    ) -> None:
        keys: list[Expression] = []
        if not total:
            keys = [self._column(scope, []) for _ in range(self.rng.randrange(3))]
            for key in keys:
                key.bare = False  # type: ignore[attr-defined]
        made.keys = keys
        distinct = {key.sql() for key in keys}
        if len(distinct) == len(keys) and keys and self.chance(0.25):
            made.sets = self._sets(len(keys))
        items: list[Expression] = [key for key in keys if self.chance(0.8)][:width]
        while len(items) < width:
            items.append(self._aggregate(scope, chain, depth))
        if keys and depth > 0 and made.sets is None and self.chance(0.2):
            level = {key.alias: () for key in keys}  # type: ignore[attr-defined]
            for key in keys:
                level[key.alias] += (key.name,)  # type: ignore[attr-defined]
            items[-1] = self._scalar([*chain, level], depth)
        if total is False and self.chance(0.3):
            made.having = Comparison(">=", Aggregate("count", None), Constant(self.pick(1, 2)))
            if depth > 0 and self.chance(0.4):
                made.having = Logic(
                    "AND", made.having,
                    Comparison(">=", self._aggregate(scope, chain, 0), self._scalar([], depth)),
                )  # fmt: skip
        made.items = [(item, self.fresh("o")) for item in items]

    def _sets(self, count: int) -> tuple[str, list[list[int]]]:
        word = self.pick("ROLLUP", "CUBE", "GROUPING SETS")
        if word == "ROLLUP":
            return word, [list(range(n)) for n in range(count, -1, -1)]
        subsets = [
            list(some)
            for size in range(count, -1, -1)
            for some in itertools.combinations(range(count), size)
        ]
        if word == "CUBE":
            return word, subsets
        return word, [self.rng.choice(subsets) for _ in range(2)]

    def _aggregate(self, scope: Names, chain: list[Names], depth: int) -> Expression:
        if self.chance(0.2):
            return Aggregate("count", None)
        inner = self._operand(scope, [])
        if depth > 0 and self.chance(0.1):
            inner = self._case(scope, depth)
        only = self._simple(scope, []) if self.chance(0.15) else None
        return Aggregate(
            self.pick("count", "sum", "min", "max", "avg", "count(DISTINCT"), inner, only
        )

    def _case(self, scope: Names, depth: int) -> Expression:
        inner = [scope]
        condition = (
            Exists(self.select(depth - 1, inner)) if self.chance(0.5) else self._simple(scope, [])
        )
        then = self._scalar(inner, depth) if self.chance(0.6) else self._column(scope, [])
        return Case(condition, then, self._column(scope, []))

    def _plain(
        self,
        made: Select,
        scope: Names,
        chain: list[Names],
        width: int,
        depth: int,
        *,
        ordered: bool,
    ) -> None:
        unique = self._unique(made)
        items: list[Expression] = []
        for _ in range(width):
            roll = self.rng.random()
            if depth > 0 and roll < 0.1:
                items.append(self._scalar([*chain, scope], depth))
            elif depth > 0 and roll < 0.18:
                items.append(self._case(scope, depth))
            elif roll < 0.3:
                items.append(self._window(scope, unique))
            else:
                items.append(self._operand(scope, chain))
        made.items = [(item, self.fresh("o")) for item in items]
        windowed = any(isinstance(item, Window) for item in items)
        if self.chance(0.15) and "qualify" not in self.without:
            window = self._window(scope, unique)
            made.qualify = Comparison(self.pick("<", ">="), window, Constant(self.pick(1, 2)))
        elif (
            unique is not None and not windowed and ordered
            and "distinct on" not in self.without and self.chance(0.3)
        ):  # fmt: skip
            key = self._column(scope, [])
            key.bare = False
            made.on = [key]
            made.order = [(key, False), (unique, self.chance(0.5))]
            return
        elif self.chance(0.2):
            made.distinct = True
            return
        if unique is not None and ordered and self.chance(0.4):
            made.order = [(unique, self.chance(0.5))]
            made.limit = self.pick(None, 1, 2)

    def _unique(self, made: Select) -> Column | None:
        """A column that orders all rows, where there is one."""
        many = [join for join in made.joins if join.kind not in {"SEMI", "ANTI"}]
        if many or not isinstance(made.source, Base) or "k" not in made.source.columns:
            return None  # Rows that UNPIVOT made have a `k` that is not unique.
        return Column(made.source.alias, "k")

    def _window(self, scope: Names, unique: Column | None) -> Window:
        partition: list[Expression] = [self._column(scope, []) for _ in range(self.pick(0, 1, 1))]
        order: list[tuple[Expression, bool]] = []
        if self.chance(0.7):
            order = [(self._column(scope, []), self.chance(0.3))]
        words = ["count", "sum", "min", "max", "rank", "dense_rank"]
        frame = None
        if unique is not None and order:
            order.append((unique, self.chance(0.5)))
            words += [
                "row_number",
                "ntile",
                "lag",
                "lead",
                "first_value",
                "last_value",
                "nth_value",
            ]
            frame = self.pick(None, (None, 0), (1, 1), (None, None), (2, 0))
        word = self.rng.choice(words)
        if word in {"rank", "dense_rank"} and not order:
            word = "count"
        argument = None
        if word in {"lag", "lead", "nth_value", "ntile"}:
            argument = self.pick(1, 2)
        plainly = word in {"rank", "dense_rank", "row_number", "ntile"}
        inner = None if plainly else self._column(scope, [])
        if plainly or word in {"lag", "lead"}:
            frame = None
        return Window(word, inner, partition, order, frame, argument)

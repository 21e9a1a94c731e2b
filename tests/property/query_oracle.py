"""A second opinion on row provenance: random queries, evaluated row by row in plain Python.

Shares nothing with `lodeline.sql`: a query is generated as a small tree, written as SQL for DuckDB,
and evaluated here by nested loops that carry the set of source rows along.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Value = int | None
Provenance = frozenset[tuple[str, int]]
Row = tuple[tuple[Value, ...], Provenance]
Tables = dict[str, list[tuple[Value, ...]]]

COLUMNS = ("a", "b", "c")


@dataclass
class Relation:
    """Columns and rows, each row with its provenance."""

    columns: list[str]
    rows: list[Row]


@dataclass
class Query:
    """SQL text, and the function that evaluates it."""

    sql: str
    columns: list[str]
    evaluate: Callable[[Tables], Relation]


def random_tables(rng: random.Random) -> Tables:
    def value() -> Value:
        return None if rng.random() < 0.15 else rng.randrange(4)

    return {
        name: [tuple(value() for _ in COLUMNS) for _ in range(rng.randrange(9))]
        for name in ("t0", "t1", "t2")
    }


def random_query(rng: random.Random, depth: int = 2) -> Query:
    """Draw a query of at most `depth` nested levels."""
    roll = rng.random()
    if depth > 0 and roll < 0.2:
        return _union(rng, depth)
    if depth > 0 and roll < 0.35:
        return _with(rng, depth)
    return _select(rng, depth)


def _base(name: str) -> Query:
    def evaluate(tables: Tables) -> Relation:
        rows = [(row, frozenset({(name, i)})) for i, row in enumerate(tables[name])]
        return Relation(list(COLUMNS), rows)

    return Query(name, list(COLUMNS), evaluate)


def _source(rng: random.Random, depth: int) -> Query:
    if depth > 0 and rng.random() < 0.35:
        inner = random_query(rng, depth - 1)
        return Query(f"({inner.sql})", inner.columns, inner.evaluate)
    return _base(rng.choice(["t0", "t1", "t2"]))


def _union(rng: random.Random, depth: int) -> Query:
    distinct = rng.random() < 0.3
    left = _select(rng, depth - 1)
    right = _select(rng, depth - 1, width=len(left.columns))
    word = "UNION" if distinct else "UNION ALL"

    def evaluate(tables: Tables) -> Relation:
        one, two = left.evaluate(tables), right.evaluate(tables)
        rows = one.rows + two.rows
        return Relation(left.columns, _distinct(rows) if distinct else rows)

    return Query(f"{left.sql} {word} {right.sql}", left.columns, evaluate)


def _with(rng: random.Random, depth: int) -> Query:
    """A common table expression read twice: joined with itself."""
    inner = random_query(rng, depth - 1)
    name = f"w{rng.randrange(10**9)}"
    column = rng.choice(inner.columns)
    other = rng.choice(inner.columns)
    sql = (
        f"WITH {name} AS ({inner.sql}) SELECT x.{column} AS p, y.{other} AS q "
        f"FROM {name} AS x JOIN {name} AS y ON x.{column} = y.{other}"
    )

    def evaluate(tables: Tables) -> Relation:
        found = inner.evaluate(tables)
        i, j = inner.columns.index(column), inner.columns.index(other)
        rows = [
            ((x[i], y[j]), px | py)
            for x, px in found.rows
            for y, py in found.rows
            if x[i] is not None and x[i] == y[j]
        ]
        return Relation(["p", "q"], rows)

    return Query(sql, ["p", "q"], evaluate)


def _distinct(rows: list[Row]) -> list[Row]:
    merged: dict[tuple[Value, ...], Provenance] = {}
    for values, provenance in rows:
        merged[values] = merged.get(values, frozenset()) | provenance
    return list(merged.items())


_COMPARE = {
    "=": lambda x, y: x == y,
    "<": lambda x, y: x < y,
    ">=": lambda x, y: x >= y,
    "<>": lambda x, y: x != y,
}


def _compare(word: str, left: Value, right: Value) -> bool:
    return left is not None and right is not None and _COMPARE[word](left, right)


def _join(rng: random.Random, left: Query, depth: int) -> Query:
    """Join `left` (its columns already qualified) with another source."""
    right = _source(rng, depth)
    alias = f"j{rng.randrange(10**9)}"
    kind = rng.choice(["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
    word = rng.choice(["=", "=", "=", "<", ">="]) if kind in {"JOIN", "LEFT JOIN"} else "="
    mine, theirs = rng.choice(left.columns), rng.choice(right.columns)
    columns = left.columns + [f"{alias}.{name}" for name in right.columns]
    sql = f"{left.sql} {kind} {right.sql} AS {alias} ON {mine} {word} {alias}.{theirs}"

    def evaluate(tables: Tables) -> Relation:
        one, two = left.evaluate(tables), right.evaluate(tables)
        i, j = left.columns.index(mine), right.columns.index(theirs)
        rows: list[Row] = []
        used: set[int] = set()
        for x, px in one.rows:
            matches = [k for k, (y, _) in enumerate(two.rows) if _compare(word, x[i], y[j])]
            used.update(matches)
            rows.extend(((*x, *two.rows[k][0]), px | two.rows[k][1]) for k in matches)
            if not matches and kind in {"LEFT JOIN", "FULL JOIN"}:
                rows.append(((*x, *[None] * len(right.columns)), px))
        if kind in {"RIGHT JOIN", "FULL JOIN"}:
            rows.extend(
                ((*[None] * len(left.columns), *y), py)
                for k, (y, py) in enumerate(two.rows)
                if k not in used
            )
        return Relation(columns, rows)

    return Query(sql, columns, evaluate)


def _select(rng: random.Random, depth: int, width: int | None = None) -> Query:
    first = _source(rng, depth)
    alias = f"s{rng.randrange(10**9)}"
    rows = Query(
        f"{first.sql} AS {alias}", [f"{alias}.{name}" for name in first.columns], first.evaluate
    )
    while rng.random() < 0.4:
        rows = _join(rng, rows, depth - 1)
    column, constant = rng.choice(rows.columns), rng.randrange(4)
    word = rng.choice([None, "=", "<", ">=", "<>"])
    where = f" WHERE {column} {word} {constant}" if word else ""

    def filtered(tables: Tables) -> Relation:
        found = rows.evaluate(tables)
        i = rows.columns.index(column)
        kept = [row for row in found.rows if word is None or _compare(word, row[0][i], constant)]
        return Relation(rows.columns, kept)

    width = width or rng.randrange(1, 4)
    if rng.random() < 0.4:
        return _grouped(rng, rows, where, filtered, width)
    return _projected(rng, rows, where, filtered, width)


def _projected(rng, rows: Query, where: str, filtered, width: int) -> Query:
    distinct = rng.random() < 0.25
    picks = [(rng.choice(rows.columns), rng.choice([None, None, 1, 2])) for _ in range(width)]
    texts = [
        f"{name} + {add} AS o{k}" if add else f"{name} AS o{k}"
        for k, (name, add) in enumerate(picks)
    ]
    word = "SELECT DISTINCT" if distinct else "SELECT"
    columns = [f"o{k}" for k in range(width)]

    def evaluate(tables: Tables) -> Relation:
        found = filtered(tables)
        out = []
        for values, provenance in found.rows:
            row = []
            for name, add in picks:
                value = values[rows.columns.index(name)]
                row.append(value + add if add and value is not None else value)
            out.append((tuple(row), provenance))
        return Relation(columns, _distinct(out) if distinct else out)

    return Query(f"{word} {', '.join(texts)} FROM {rows.sql}{where}", columns, evaluate)


_AGGREGATES = {
    "count": len,
    "sum": lambda values: sum(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
}


def _grouped(rng, rows: Query, where: str, filtered, width: int) -> Query:
    keys = [rng.choice(rows.columns) for _ in range(rng.randrange(width))]
    measures = [
        (rng.choice(list(_AGGREGATES)), rng.choice(rows.columns)) for _ in range(width - len(keys))
    ]
    having = rng.choice([None, None, 1, 2])
    texts = [f"{name} AS o{k}" for k, name in enumerate(keys)]
    texts += [
        f"{word}({name})::BIGINT AS o{len(keys) + k}" for k, (word, name) in enumerate(measures)
    ]
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    tail = f" HAVING count(*) >= {having}" if having is not None else ""
    columns = [f"o{k}" for k in range(width)]

    def evaluate(tables: Tables) -> Relation:
        found = filtered(tables)
        groups: dict[tuple[Value, ...], list[Row]] = {}
        for values, provenance in found.rows:
            key = tuple(values[rows.columns.index(name)] for name in keys)
            groups.setdefault(key, []).append((values, provenance))
        if not keys:
            groups.setdefault((), [])
        out = []
        for key, members in groups.items():
            if having is not None and len(members) < having:
                continue
            made = []
            for word, name in measures:
                i = rows.columns.index(name)
                made.append(_AGGREGATES[word]([v[i] for v, _ in members if v[i] is not None]))
            provenance = frozenset().union(*(p for _, p in members)) if members else frozenset()
            out.append(((*key, *made), provenance))
        return Relation(columns, out)

    return Query(
        f"SELECT {', '.join(texts)} FROM {rows.sql}{where}{group}{tail}", columns, evaluate
    )

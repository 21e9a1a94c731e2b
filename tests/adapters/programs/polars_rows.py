"""Random programs of polars operations, their links checked against the reference interpreter.

    python polars_rows.py FOLDER eager|lazy FIRST LAST   programs by seed; prints faults as JSON
    python polars_rows.py FOLDER eager|lazy cells        each operation alone, by name

Runs in whatever release of polars the interpreter has.
"""

from __future__ import annotations

import json
import math
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import polars as pl
from row_programs import Skip, State, begin, need
from row_reference import (
    COLUMNS,
    Row,
    Table,
    asof,
    filled,
    groups,
    join,
    links_of,
    maximum,
    random_table,
    windowed,
)

from lodeline.capture.polars_rows import TWINS, follow_polars
from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_tracking import TRACKING, find_origins

warnings.simplefilter("ignore")
SCHEMA = {"k": pl.Int64, "a": pl.Int64, "x": pl.Float64, "s": pl.String, "u": pl.Float64}
_LEAST = (
    "min_samples" if tuple(map(int, pl.__version__.split(".")[:2])) >= (1, 21) else "min_periods"
)
VERSION = tuple(int(part) for part in pl.__version__.split(".")[:2])
LAZY = False
# Operations whose result has no order of its own.
UNORDERED: set[str] = set()
OPERATIONS: dict[str, Any] = {}


def operation(function: Any) -> Any:
    OPERATIONS[function.__name__] = function
    return function


def unordered(function: Any) -> Any:
    UNORDERED.add(function.__name__)
    return operation(function)


def shaped(frame: Any) -> Any:
    return frame.select(*COLUMNS)


def eager() -> None:
    need(not LAZY)


@operation
def read(s: State) -> Any:
    return s.frame, s.table


@operation
def filtered(s: State) -> Any:
    n = s.rng.randrange(4)
    return s.frame.filter(pl.col("a") > n, k=1), [
        r for r in s.table if r.values["a"] > n and r.values["k"] == 1
    ]


@operation
def filtered_by_all(s: State) -> Any:
    frame = s.frame.filter(pl.all_horizontal(pl.all().is_not_null()))
    return frame, [r for r in s.table if None not in r.values.values()]


@operation
def filtered_by_aggregate(s: State) -> Any:
    need(s.table)
    top = max(r.values["a"] for r in s.table)
    return s.frame.filter(pl.col("a") == pl.col("a").max()), [
        r for r in s.table if r.values["a"] == top
    ]


@operation
def head(s: State) -> Any:
    return s.frame.head(4), s.table[:4]


@operation
def tail(s: State) -> Any:
    return s.frame.tail(3), s.table[-3:]


@operation
def slices(s: State) -> Any:
    return s.frame.slice(1, 4), s.table[1:5]


@operation
def items(s: State) -> Any:
    eager()
    return s.frame[1::2], s.table[1::2]


@operation
def sample(s: State) -> Any:
    eager()
    need(s.table)
    rows = pl.Series(range(len(s.table))).to_frame("n").sample(fraction=0.7, seed=3)["n"]
    return s.frame.sample(fraction=0.7, seed=3), [s.table[n] for n in rows]


@operation
def sort(s: State) -> Any:
    frame = s.frame.sort("x", "a", nulls_last=True, maintain_order=True)
    return frame, sorted(
        s.table, key=lambda r: (r.values["x"] is None, r.values["x"] or 0, r.values["a"])
    )


@operation
def reverse(s: State) -> Any:
    return s.frame.reverse(), s.table[::-1]


@operation
def unique(s: State) -> Any:
    seen: dict[Any, Row] = {}
    for row in s.table:
        seen.setdefault((row.values["a"], row.values["s"]), row)
    frame = s.frame.unique(["a", "s"], keep="first", maintain_order=True)
    return frame, list(seen.values())


@operation
def unique_whole(s: State) -> Any:
    seen: dict[Any, Row] = {}
    for row in s.table:
        seen.setdefault(tuple(row.values.values()), row)
    return s.frame.unique(keep="first", maintain_order=True), list(seen.values())


@operation
def drop_nulls(s: State) -> Any:
    return s.frame.drop_nulls(), [r for r in s.table if None not in r.values.values()]


@operation
def with_columns(s: State) -> Any:
    frame = s.frame.with_columns(
        (pl.col("a") * 2 + pl.col("k")).clip(0, 4).alias("a"),
        s=pl.col("s").str.to_uppercase().str.to_lowercase(),
    )
    return frame, [r.but(a=min(r.values["a"] * 2 + r.values["k"], 4)) for r in s.table]


@operation
def conditional(s: State) -> Any:
    flag = pl.when(pl.col("x") > 1).then(1).otherwise(pl.col("a")).alias("a")
    return s.frame.with_columns(flag.cast(pl.Int64)), [
        r.but(a=1 if (r.values["x"] or 0) > 1 else r.values["a"]) for r in s.table
    ]


@operation
def wildcard(s: State) -> Any:
    return s.frame.with_columns(pl.col(pl.Float64).fill_null(0.0)), [
        r.but(x=r.values["x"] or 0.0, u=r.values["u"] or 0.0) for r in s.table
    ]


@operation
def select(s: State) -> Any:
    frame = s.frame.select("u", pl.all().exclude("u", "a"), (pl.col("a") % 2).alias("a"))
    return shaped(frame), [r.but(a=r.values["a"] % 2) for r in s.table]


@operation
def rename(s: State) -> Any:
    frame = s.frame.rename({"a": "b"}).drop("x").with_columns(x=pl.lit(None, pl.Float64))
    return shaped(frame.rename({"b": "a"})), [r.but(x=None) for r in s.table]


@operation
def cast(s: State) -> Any:
    return s.frame.cast({"a": pl.Float64}).cast({"a": pl.Int64}), s.table


@operation
def fill_null(s: State) -> Any:
    return s.frame.fill_null(0.0).cast({"k": pl.Int64, "a": pl.Int64}), [
        r.but(**{n: 0.0 for n in ("x", "u") if r.values[n] is None}) for r in s.table
    ]


@operation
def with_row_index(s: State) -> Any:
    return shaped(s.frame.with_row_index("n")), s.table


def _joined(s: State, how: str, **options: Any) -> Any:
    need(len(s.table) * len(s.other_table) < 120)
    right = s.other.select("k", pl.col("x").alias("w"))
    keys = {} if how == "cross" else {"on": "k"}
    frame = s.frame.drop("x")
    if how == "cross":
        right = right.drop("k")
    frame = frame.join(right, how=how, **keys, **options).rename({"w": "x"})
    table = [row.but(w=row.values["x"]) for row in s.other_table]
    made = join(s.table, table, "outer" if how == "full" else how, ["w"])
    return _complete(frame, [r.but(x=r.values["w"]) for r in made])


def _complete(frame: Any, table: Table) -> Any:
    holes = {"a": 0, "k": 0, "s": "u", "u": -1.0}
    full = shaped(frame).with_columns(*(pl.col(n).fill_null(v) for n, v in holes.items()))
    made = []
    for row in table:
        made.append(row.but(**{n: d for n, d in holes.items() if row.values[n] is None}))
    return full, made


@unordered
def join_inner(s: State) -> Any:
    return _joined(s, "inner")


@unordered
def join_left(s: State) -> Any:
    return _joined(s, "left")


@unordered
def join_right(s: State) -> Any:
    need(VERSION >= (1, 10))
    return _joined(s, "right")


@unordered
def join_full(s: State) -> Any:
    return _joined(s, "full", coalesce=True)


@unordered
def join_cross(s: State) -> Any:
    return _joined(s, "cross")


@unordered
def join_semi(s: State) -> Any:
    keys = {r.values["k"] for r in s.other_table}
    frame = s.frame.join(s.other, on="k", how="semi")
    return frame, [r for r in s.table if r.values["k"] in keys]


@unordered
def join_anti(s: State) -> Any:
    keys = {r.values["k"] for r in s.other_table}
    frame = s.frame.join(s.other, on="k", how="anti")
    return frame, [r for r in s.table if r.values["k"] not in keys]


@unordered
def join_itself(s: State) -> Any:
    need(len(s.table) < 9)
    right = s.frame.select("k", pl.col("x").alias("w"))
    frame = s.frame.drop("x").join(right, on="k").rename({"w": "x"})
    made = join(s.table, [r.but(w=r.values["x"]) for r in s.table], "inner", ["w"])
    return shaped(frame), [r.but(x=r.values["w"]) for r in made]


@operation
def join_asof(s: State) -> Any:
    need(s.table and s.other_table)
    left = s.frame.sort("u", maintain_order=True)
    right = s.other.sort("u", maintain_order=True).select("u", pl.col("x").alias("w"))
    frame = left.drop("x").join_asof(right, on="u").rename({"w": "x"})
    ordered = sorted(s.other_table, key=lambda r: r.values["u"])
    mine = sorted(s.table, key=lambda r: r.values["u"])
    made = asof(mine, [r.but(w=r.values["x"]) for r in ordered], ["w"])
    return shaped(frame), [r.but(x=r.values["w"]) for r in made]


@operation
def concat(s: State) -> Any:
    both = [*s.table, *s.other_table, *s.table]
    return pl.concat([s.frame, s.other, s.frame]), both


@operation
def concat_diagonal(s: State) -> Any:
    frame = pl.concat([s.frame.drop("x"), s.other], how="diagonal")
    return shaped(frame), [*(r.but(x=None) for r in s.table), *s.other_table]


@operation
def vstack(s: State) -> Any:
    eager()
    return s.frame.vstack(s.other), [*s.table, *s.other_table]


def _grouped(parts: Any) -> Table:
    return [
        Row(
            {
                "k": key,
                "a": min(sum(r.values["a"] for r in rows), 4),
                "x": maximum(r.values["x"] for r in rows),
                "s": min(r.values["s"] for r in rows),
                "u": max(r.values["u"] for r in rows),
            },
            links_of(rows),
        )
        for key, rows in parts
    ]


@operation
def group_by(s: State) -> Any:
    need(s.table)
    frame = s.frame.group_by("k", maintain_order=True).agg(
        pl.col("a").sum().clip(0, 4), pl.col("x").max(), pl.col("s").min(), u=pl.col("u").max()
    )
    return shaped(frame), _grouped(groups(s.table, lambda r: r.values["k"], ordered=False))


@unordered
def group_by_max(s: State) -> Any:
    need(s.table)
    made = [
        Row({n: r.values[n] if n == "k" else None for n in COLUMNS}, r.links)
        for r in _grouped(groups(s.table, lambda r: r.values["k"]))
    ]
    by_key = dict(groups(s.table, lambda r: r.values["k"]))
    made = [
        row.but(
            **{
                n: maximum(r.values[n] for r in by_key[row.values["k"]])
                for n in COLUMNS
                if n != "k"
            }
        )
        for row in made
    ]
    return shaped(s.frame.group_by("k").max()), made


@operation
def group_by_twice(s: State) -> Any:
    need(s.table)
    inner = s.frame.group_by("k", "s", maintain_order=True).agg(
        pl.col("a").sum(), pl.col("x").max(), pl.col("u").max()
    )
    frame = inner.group_by("k", maintain_order=True).agg(
        pl.col("a").sum().clip(0, 4), pl.col("x").max(), pl.col("s").min(), pl.col("u").max()
    )
    return shaped(frame), _grouped(groups(s.table, lambda r: r.values["k"], ordered=False))


@operation
def pivot(s: State) -> Any:
    eager()
    need(s.table)
    frame = s.frame.pivot(on="s", index="k", values="a", aggregate_function="sum")
    frame = frame.select("k").with_columns(a=pl.lit(0, pl.Int64), x=pl.lit(None, pl.Float64))
    frame = frame.with_columns(s=pl.lit("u"), u=pl.lit(0.0))
    made = [
        Row({"k": k, "a": 0, "x": None, "s": "u", "u": 0.0}, links_of(rows))
        for k, rows in groups(s.table, lambda r: r.values["k"], ordered=False)
    ]
    return shaped(frame), made


@unordered
def unpivot(s: State) -> Any:
    frame = s.frame.unpivot(on=["x", "u"], index=["k", "a", "s"], value_name="v")
    frame = frame.select("k", "a", pl.col("v").alias("x"), "s", pl.lit(0.0).alias("u"))
    return frame, [
        *(r.but(u=0.0) for r in s.table),
        *(r.but(x=r.values["u"], u=0.0) for r in s.table),
    ]


@operation
def explode(s: State) -> Any:
    need(s.table)  # Early releases fail on lists of no rows.
    lists = pl.concat_list(pl.col("a"), pl.col("k")).alias("a")
    frame = s.frame.with_columns(lists).explode("a")
    return shaped(frame), [row.but(a=row.values[n]) for row in s.table for n in ("a", "k")]


@operation
def shift(s: State) -> Any:
    need(len(s.table) > 1)
    return s.frame.shift(1).slice(1), s.table[:-1]


@operation
def rolling(s: State) -> Any:
    need(s.table)
    frame = s.frame.with_row_index("n").with_columns(pl.col("n").cast(pl.Int64))
    frame = frame.rolling("n", period="3i").agg(
        pl.col("k").last(),
        pl.col("a").last(),
        pl.col("a").sum().cast(pl.Float64).alias("x"),
        pl.col("s").last(),
        pl.col("u").last(),
    )
    made = []
    for row, rows in zip(s.table, windowed(s.table, lambda i: i - 2, lambda i: i + 1), strict=True):
        made.append(row.but(x=float(sum(r.values["a"] for r in rows))).also(*rows))
    return shaped(frame), made


@operation
def dynamic(s: State) -> Any:
    need(s.table)
    # In plans of polars 1.0 the numbers get lost on the way, with capture and without.
    need(not LAZY or VERSION >= (1, 10))
    frame = s.frame.with_row_index("n").with_columns(pl.col("n").cast(pl.Int64))
    frame = frame.group_by_dynamic("n", every="3i", include_boundaries=False).agg(
        pl.col("k").last(),
        pl.col("a").last(),
        pl.col("a").sum().cast(pl.Float64).alias("x"),
        pl.col("s").last(),
        pl.col("u").last(),
    )
    made = []
    for start in range(0, len(s.table), 3):
        rows = s.table[start : start + 3]
        x = float(sum(r.values["a"] for r in rows))
        made.append(rows[-1].but(x=x).also(*rows))
    return shaped(frame), made


@operation
def shift_column(s: State) -> Any:
    made = []
    for number, row in enumerate(s.table):
        before = s.table[number - 1] if number else None
        x = None if before is None else before.values["x"]
        made.append(row.but(x=x) if before is None else row.but(x=x).also(before))
    return s.frame.with_columns(pl.col("x").shift(1)), made


@operation
def over(s: State) -> Any:
    by_key = dict(groups(s.table, lambda r: r.values["k"]))
    made = []
    for row in s.table:
        rows = by_key[row.values["k"]]
        made.append(row.but(a=max(r.values["a"] for r in rows)).also(*rows))
    return s.frame.with_columns(pl.col("a").max().over("k")), made


@operation
def rolling_column(s: State) -> Any:
    made = []
    for number, row in enumerate(s.table):
        rows = s.table[max(number - 1, 0) : number + 1]
        x = float(sum(r.values["a"] for r in rows)) if len(rows) == 2 else None
        made.append(row.but(x=x).also(*rows))
    return s.frame.with_columns(x=pl.col("a").rolling_sum(2).cast(pl.Float64)), made


def _pieces(s: State) -> list[tuple[int, Table, int]]:
    """Each row's number, the rows of its group, and its place among them."""
    by_key = dict(groups(s.table, lambda r: r.values["k"]))
    met: dict[Any, int] = {}
    found = []
    for number, row in enumerate(s.table):
        place = met.setdefault(row.values["k"], 0)
        met[row.values["k"]] += 1
        found.append((number, by_key[row.values["k"]], place))
    return found


@operation
def shift_over(s: State) -> Any:
    made = []
    for number, rows, place in _pieces(s):
        after = rows[place + 1] if place + 1 < len(rows) else None
        row = s.table[number].but(x=None if after is None else after.values["u"])
        made.append(row if after is None else row.also(after))
    return s.frame.with_columns(x=pl.col("u").shift(-1).over("k")), made


@operation
def cumulated(s: State) -> Any:
    made = [
        row.but(x=float(max(r.values["a"] for r in s.table[: n + 1]))).also(*s.table[: n + 1])
        for n, row in enumerate(s.table)
    ]
    return s.frame.with_columns(x=pl.col("a").cum_max().cast(pl.Float64)), made


@operation
def cumulated_over(s: State) -> Any:
    made = []
    for number, rows, place in _pieces(s):
        x = float(sum(r.values["a"] for r in rows[place:]))
        made.append(s.table[number].but(x=x).also(*rows[place:]))
    running = pl.col("a").cum_sum(reverse=True).over("k").cast(pl.Float64)
    return s.frame.with_columns(x=running), made


@operation
def rolling_centred(s: State) -> Any:
    made = []
    for number, row in enumerate(s.table):
        rows = s.table[max(number - 2, 0) : number + 2]
        x = float(max(r.values["a"] for r in rows))
        made.append(row.but(x=x).also(*rows))
    window = pl.col("a").rolling_max(4, center=True, **{_LEAST: 1}).cast(pl.Float64)
    return s.frame.with_columns(x=window), made


@operation
def of_the_whole(s: State) -> Any:
    need(s.table)
    top = max(r.values["a"] for r in s.table)
    made = [row.but(a=top - row.values["a"]).also(*s.table) for row in s.table]
    frame = s.frame.select("k", pl.col("a").max() - pl.col("a"), *COLUMNS[2:])
    return shaped(frame), made


@operation
def filled_over(s: State) -> Any:
    made = []
    for number, rows, place in _pieces(s):
        row, before = s.table[number], [r for r in rows[:place] if r.values["x"] is not None]
        hole = row.values["x"] is None and before
        made.append(row.but(x=before[-1].values["x"]).also(before[-1]) if hole else row)
    return s.frame.with_columns(pl.col("x").forward_fill().over("k")), made


@operation
def shifted_beside_over(s: State) -> Any:
    made = []
    for number, rows, _ in _pieces(s):
        before = s.table[number - 1] if number else None
        top = max(r.values["a"] for r in rows)
        row = s.table[number].but(a=top, x=None if before is None else before.values["u"])
        made.append(row.also(*rows, *([] if before is None else [before])))
    return s.frame.with_columns(
        [pl.col("u").shift(1).alias("x"), pl.col("a").max().over("k")]
    ), made


@operation
def over_twice(s: State) -> Any:
    """A window over rows that looked at others: of lazy plans what those saw is a gap."""
    frame, table = over(s)
    made = []
    for number, row in enumerate(table):
        rows = table[max(number - 1, 0) : number + 1]
        made.append(row.but(x=float(max(r.values["a"] for r in rows))).also(*rows))
    window = pl.col("a").rolling_max(2, **{_LEAST: 1}).cast(pl.Float64)
    return frame.with_columns(x=window), made


@operation
def over_and_filtered(s: State) -> Any:
    """Rows go after a window was taken over them: of lazy plans the others' part is a gap."""
    frame, made = over(s)
    return frame.filter(pl.col("s") != "u"), [r for r in made if r.values["s"] != "u"]


# Rows of which some are a gap


@operation
def map_elements(s: State) -> Any:
    function = pl.col("a").map_elements(lambda v: (v + 1) % 5, return_dtype=pl.Int64)
    return s.frame.with_columns(function), [r.but(a=(r.values["a"] + 1) % 5) for r in s.table]


@operation
def forward_fill(s: State) -> Any:
    need(all(r.values[n] is not None for r in s.table for n in ("u",)))
    return s.frame.fill_null(strategy="forward"), filled(s.table, "x")


@operation
def interpolate(s: State) -> Any:
    need(all(r.values["u"] is not None for r in s.table))
    return s.frame.select("k", "a", pl.col("u").alias("x"), "s", "u").interpolate().cast(
        {"k": pl.Int64, "a": pl.Int64}
    ), [r.but(x=r.values["u"]) for r in s.table]


@operation
def map_batches(s: State) -> Any:
    if LAZY:
        return s.frame.map_batches(lambda f: f.reverse()), s.table[::-1]
    return s.frame.pipe(lambda f: pl.DataFrame(f.rows()[::-1], schema=SCHEMA, orient="row")), (
        s.table[::-1]
    )


# Running


def load(folder: Path, name: str, table: Table, kind: str) -> Any:
    """A frame of a reference's table, read from a file."""
    columns = {n: [row.values[n] for row in table] for n in COLUMNS}
    plain = pl.DataFrame(columns, schema=SCHEMA)
    path = folder / f"{name}.{kind}"
    if kind == "csv":
        plain.write_csv(path)
        return (pl.scan_csv if LAZY else pl.read_csv)(path, schema=SCHEMA)
    if kind == "ndjson":
        plain.write_ndjson(path)
        return (pl.scan_ndjson if LAZY else pl.read_ndjson)(path, schema=SCHEMA)
    plain.write_parquet(path)
    return (pl.scan_parquet if LAZY else pl.read_parquet)(path)


def claimed(frame: Any) -> tuple[str, list[Any]]:
    track = TRACKING.find(frame)
    if track is None or not TRACKING.verify(frame, track):
        return "gap", []
    found, gaps = find_origins(track)
    links = [frozenset((Path(a.name).stem, row) for a, row in some) for some in found]
    return ("partial" if gaps else "exact"), links


def collect(frame: Any) -> Any:
    """Run a plan; early releases fail on some of their own, of which there is no twin."""
    if not LAZY:
        return frame
    followed = TWINS.find(frame) is not None
    try:
        return frame.collect()
    except BaseException as error:
        if followed or type(error).__name__ != "PanicException":
            raise
        raise Skip from None


def _key(values: dict[str, Any], links: Any) -> Any:
    return str([values[n] for n in COLUMNS]), sorted(links)


def check(name: str, frame: Any, table: Table) -> tuple[str, Table]:
    """What is wrong with values or links, in words; and the table in the result's order."""
    made = collect(frame)
    if made.columns != list(COLUMNS):
        return f"columns {made.columns}", table
    rows = [
        {n: None if isinstance(v, float) and math.isnan(v) else v for n, v in one.items()}
        for one in made.rows(named=True)
    ]
    kind, links = claimed(made)
    if name in UNORDERED and kind == "exact" and len(rows) == len(table):
        found = [Row(values, some) for values, some in zip(rows, links, strict=True)]
        if sorted(_key(r.values, r.links) for r in found) == sorted(
            _key(r.values, r.links) for r in table
        ):
            return "", found
    if name in UNORDERED and kind != "exact":
        raise Skip
    plain = [{n: row.values[n] for n in COLUMNS} for row in table]
    if rows != plain:
        return f"values {rows}, the reference has {plain}", table
    truth = [row.links for row in table]
    if kind == "exact" and links != truth:
        return f"links {[sorted(one) for one in links]}, truth {[sorted(t) for t in truth]}", table
    if kind == "partial" and not all(a <= b for a, b in zip(links, truth, strict=True)):
        return f"links {[sorted(one) for one in links]} beyond {[sorted(t) for t in truth]}", table
    return "", table


def start(folder: Path, rng: random.Random) -> State:
    tables = [random_table(rng, "one", 0), random_table(rng, "two", 100)]
    kinds = [rng.choice(["csv", "parquet", "ndjson"]) for _ in range(2)]
    pairs = [
        (load(folder, name, table, kind), table)
        for name, table, kind in zip(("one", "two"), tables, kinds, strict=True)
    ]
    return State(rng, pairs)


def run(folder: Path, seed: int) -> tuple[str, list[str], str]:
    rng = random.Random(seed)
    state = start(folder, rng)
    names: list[str] = []
    for _ in range(rng.randrange(1, 6)):
        name = rng.choice(list(OPERATIONS))
        # A plan without an order may be run in another one next time.
        if LAZY and name in UNORDERED and len(names) < 4:
            continue
        try:
            frame, table = OPERATIONS[name](state)
            names.append(name)
            if len(table) > 60:
                continue
            wrong, table = check(name, frame, table)
        except Skip:
            continue
        if wrong:
            return wrong, names, ""
        if name in UNORDERED and LAZY:
            break
        if rng.random() < 0.3:
            state.other, state.other_table = state.frame, state.table
        state.frame, state.table = frame, table
    made = state.frame.collect() if LAZY else state.frame
    return "", names, claimed(made)[0]


def cells(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, act in OPERATIONS.items():
        for seed in range(30):
            state = start(folder, random.Random(seed))
            if len(state.table) < 4:
                continue
            try:
                frame, table = act(state)
                wrong, _ = check(name, frame, table)
            except Skip:
                continue
            assert not wrong, (name, wrong)
            found[name] = claimed(frame.collect() if LAZY else frame)[0]
            break
    return found


def main() -> None:
    global LAZY
    folder, LAZY = Path(sys.argv[1]), sys.argv[2] == "lazy"
    begin(folder, follow_polars, "polars")
    if sys.argv[3] == "cells":
        print(json.dumps(cells(folder)))
        return
    faults, counts = [], {"exact": 0, "partial": 0, "gap": 0}
    for seed in range(int(sys.argv[3]), int(sys.argv[4])):
        wrong, names, kind = run(folder, seed)
        if wrong:
            faults.append([seed, names, wrong])
        else:
            counts[kind] += 1
    print(json.dumps({"faults": faults, "counts": counts, "troubles": RECORDER.troubles}))


if __name__ == "__main__":
    main()

"""Random programs of pandas operations, their links checked against the reference interpreter.

    python pandas_rows.py FOLDER FIRST LAST    programs by seed; prints faults and counts as JSON
    python pandas_rows.py FOLDER cells         each operation alone; prints exact or gap by name

Runs in whatever release of pandas the interpreter has.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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

from lodeline.capture.frame_rows import follow_pandas
from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_tracking import LOCAL, TRACKING, find_origins

warnings.simplefilter("ignore")
MAJOR = int(pd.__version__.partition(".")[0])


def select(table: Table, chosen: Any) -> Table:
    return [row for row in table if chosen(row)]


def by(*names: str, **descending: bool) -> Any:
    """A key for sorting: holes last."""
    return lambda row: tuple((row.values[name] is None, row.values[name] or 0) for name in names)


def some(state: State) -> list[int]:
    return [n for n in range(len(state.table)) if state.rng.random() < 0.7]


OPERATIONS: dict[str, Any] = {}


def operation(function: Any) -> Any:
    OPERATIONS[function.__name__] = function
    return function


# Rows chosen


@operation
def mask(s: State) -> Any:
    n = s.rng.randrange(4)
    return s.frame[s.frame["a"] > n], select(s.table, lambda r: r.values["a"] > n)


@operation
def query(s: State) -> Any:
    return s.frame.query("a < 3"), select(s.table, lambda r: r.values["a"] < 3)


@operation
def isin(s: State) -> Any:
    return (
        s.frame[s.frame["s"].isin(["u", "v"])],
        select(s.table, lambda r: r.values["s"] in "uv"),
    )


@operation
def slices(s: State) -> Any:
    return s.frame[1::2], s.table[1::2]


@operation
def iloc(s: State) -> Any:
    rows = some(s)
    s.rng.shuffle(rows)
    return s.frame.iloc[rows], [s.table[n] for n in rows]


@operation
def loc(s: State) -> Any:
    return (
        s.frame.loc[s.frame["a"] != 2, list(COLUMNS)],
        select(s.table, lambda r: r.values["a"] != 2),
    )


@operation
def loc_labels(s: State) -> Any:
    need(s.frame.index.is_unique)
    rows = some(s)
    return s.frame.loc[[s.frame.index[n] for n in rows]], [s.table[n] for n in rows]


@operation
def head(s: State) -> Any:
    return s.frame.head(4), s.table[:4]


@operation
def tail(s: State) -> Any:
    return s.frame.tail(3), s.table[-3:]


@operation
def sample(s: State) -> Any:
    need(s.table)
    rows = pd.Series(range(len(s.table))).sample(frac=0.7, random_state=3)
    return s.frame.sample(frac=0.7, random_state=3), [s.table[n] for n in rows]


@operation
def sample_again(s: State) -> Any:
    need(s.table)
    rows = pd.Series(range(len(s.table))).sample(n=5, replace=True, random_state=3)
    frame = s.frame.sample(n=5, replace=True, random_state=3, ignore_index=True)
    return frame, [s.table[n] for n in rows]


@operation
def sort_values(s: State) -> Any:
    return (
        s.frame.sort_values(["x", "a"], kind="stable"),
        sorted(s.table, key=by("x", "a")),
    )


@operation
def sort_anew(s: State) -> Any:
    frame = s.frame.sort_values("s", kind="stable", ignore_index=True)
    return frame, sorted(s.table, key=lambda r: r.values["s"])


@operation
def sort_index(s: State) -> Any:
    need(s.frame.index.is_unique and s.frame.index.dtype.kind == "i")
    order = sorted(range(len(s.table)), key=lambda n: s.frame.index[n])
    return s.frame.sort_index(), [s.table[n] for n in order]


@operation
def drop(s: State) -> Any:
    need(s.frame.index.is_unique and s.table)
    return s.frame.drop(index=s.frame.index[:1]), s.table[1:]


@operation
def dropna(s: State) -> Any:
    return s.frame.dropna(), select(s.table, lambda r: None not in r.values.values())


@operation
def drop_duplicates(s: State) -> Any:
    seen: dict[Any, Row] = {}
    for row in s.table:
        seen.setdefault((row.values["a"], row.values["s"]), row)
    again = s.rng.random() < 0.5
    return s.frame.drop_duplicates(["a", "s"], ignore_index=again), list(seen.values())


@operation
def nlargest(s: State) -> Any:
    need(s.frame["u"].is_unique and s.frame["u"].notna().all())
    return s.frame.nlargest(3, "u"), sorted(s.table, key=lambda r: -r.values["u"])[:3]


@operation
def reindex(s: State) -> Any:
    need(s.frame.index.is_unique)
    return s.frame.reindex(s.frame.index[::-1]), s.table[::-1]


@operation
def inplace(s: State) -> Any:
    frame = s.frame.copy()
    frame.sort_values("a", kind="stable", inplace=True)
    frame.reset_index(drop=True, inplace=True)
    frame.drop_duplicates("a", inplace=True)
    seen: dict[Any, Row] = {}
    for row in sorted(s.table, key=lambda r: r.values["a"]):
        seen.setdefault(row.values["a"], row)
    return frame, list(seen.values())


# Rows kept


@operation
def columns(s: State) -> Any:
    return s.frame[list(COLUMNS)], s.table


@operation
def reset_index(s: State) -> Any:
    return s.frame.reset_index(drop=True), s.table


@operation
def set_index(s: State) -> Any:
    return s.frame.set_index("s", drop=False).rename_axis(None), s.table


@operation
def assign(s: State) -> Any:
    frame = s.frame.assign(a=lambda f: f["a"] + 1)
    return frame, [r.but(a=r.values["a"] + 1) for r in s.table]


@operation
def set_item(s: State) -> Any:
    frame = s.frame.copy()
    frame["a"] = frame["u"] * 2
    frame["a"] = 1
    return frame, [r.but(a=1) for r in s.table]


@operation
def set_cells(s: State) -> Any:
    frame = s.frame.copy()
    frame.loc[frame["a"] > 2, "a"] = 0
    return frame, [r.but(a=0) if r.values["a"] > 2 else r for r in s.table]


@operation
def astype(s: State) -> Any:
    return s.frame.astype({"a": "float64"}).astype({"a": "int64"}), s.table


@operation
def fillna(s: State) -> Any:
    return s.frame.fillna({"x": 0.0}), [r.but(x=r.values["x"] or 0.0) for r in s.table]


@operation
def rename(s: State) -> Any:
    frame = s.frame.rename(columns={"a": "b", "x": "a"}).rename(columns={"a": "x", "b": "a"})
    return frame[list(COLUMNS)], s.table


@operation
def arithmetic(s: State) -> Any:
    frame = s.frame.copy()
    frame["a"] = (frame["a"] * 2 + frame["k"]).clip(0, 4)
    values = [min(r.values["a"] * 2 + r.values["k"], 4) for r in s.table]
    return frame, [r.but(a=a) for r, a in zip(s.table, values, strict=True)]


@operation
def map_values(s: State) -> Any:
    frame = s.frame.assign(s=s.frame["s"].map({"u": "v", "v": "w", "w": "u"}))
    return frame, [r.but(s={"u": "v", "v": "w", "w": "u"}[r.values["s"]]) for r in s.table]


@operation
def text(s: State) -> Any:
    frame = s.frame.assign(s=s.frame["s"].str.upper().str.lower())
    return frame, s.table


@operation
def apply_by_rows(s: State) -> Any:
    need(s.table)
    frame = s.frame.copy()
    frame["a"] = s.frame.apply(lambda row: (row["a"] + row["k"]) % 5, axis=1)
    return frame, [r.but(a=(r.values["a"] + r.values["k"]) % 5) for r in s.table]


@operation
def get_dummies(s: State) -> Any:
    frame = pd.get_dummies(s.frame, columns=["s"])
    return frame.assign(s="u")[list(COLUMNS)], [r.but(s="u") for r in s.table]


@operation
def cut(s: State) -> Any:
    binned = pd.cut(s.frame["a"], [-1, 2, 99], labels=[0, 1]).astype("int64")
    return s.frame.assign(a=binned), [r.but(a=int(r.values["a"] > 2)) for r in s.table]


# Rows joined


def _merge(s: State, how: str, **options: Any) -> Any:
    need(len(s.table) * len(s.other_table) < 200)
    right = s.other[["k", "x"]].rename(columns={"x": "w"})
    frame = s.frame.merge(right, how=how, on="k", **options)
    table = [row.but(w=row.values["x"]) for row in s.other_table]
    made = join(s.table, table, how, ["w"], ordered=MAJOR >= 3)
    frame = frame.rename(columns={"x": "y"}).rename(columns={"w": "x"})
    return _complete(frame, [r.but(x=r.values["w"]) for r in made])


def _complete(frame: Any, table: Table) -> Any:
    """Holes that a join left in columns without holes, filled in both."""
    frame = frame[list(COLUMNS)].fillna({"a": 0, "k": 0, "s": "u", "u": -1.0})
    made = []
    for row in table:
        v = row.values
        holes = {"a": 0, "k": 0, "s": "u", "u": -1.0}
        made.append(row.but(**{n: d for n, d in holes.items() if v[n] is None}))
    return frame.astype({"a": "int64", "k": "int64"}), made


@operation
def merge_inner(s: State) -> Any:
    return _merge(s, "inner")


@operation
def merge_left(s: State) -> Any:
    return _merge(s, "left", indicator=True)


@operation
def merge_right(s: State) -> Any:
    return _merge(s, "right")


@operation
def merge_outer(s: State) -> Any:
    need(MAJOR >= 3)
    return _merge(s, "outer")


@operation
def merge_cross(s: State) -> Any:
    need(len(s.table) * len(s.other_table) < 60)
    right = s.other[["x"]].rename(columns={"x": "w"})
    frame = s.frame.merge(right, how="cross")
    table = [row.but(w=row.values["x"]) for row in s.other_table]
    made = [r.but(x=r.values["w"]) for r in join(s.table, table, "cross", ["w"])]
    return _complete(frame.drop(columns="x").rename(columns={"w": "x"}), made)


@operation
def merge_index(s: State) -> Any:
    need(len(s.table) * len(s.other_table) < 200)
    right = s.other[["k", "x"]].rename(columns={"x": "w"}).set_index("k")
    frame = s.frame.join(right, on="k")
    table = [row.but(w=row.values["x"]) for row in s.other_table]
    made = [r.but(x=r.values["w"]) for r in join(s.table, table, "left", ["w"])]
    return _complete(frame.drop(columns="x").rename(columns={"w": "x"}), made)


@operation
def merge_asof(s: State) -> Any:
    need(s.table and s.other_table)
    left = s.frame.sort_values("u", kind="stable")
    right = s.other.sort_values("u", kind="stable")[["u", "x"]].rename(columns={"x": "w"})
    frame = pd.merge_asof(left, right, on="u")
    ordered = sorted(s.other_table, key=by("u"))
    made = asof(sorted(s.table, key=by("u")), [r.but(w=r.values["x"]) for r in ordered], ["w"])
    made = [r.but(x=r.values["w"]) for r in made]
    return _complete(frame.drop(columns="x").rename(columns={"w": "x"}), made)


@operation
def concat(s: State) -> Any:
    again = s.rng.random() < 0.5
    return pd.concat([s.frame, s.other, s.frame], ignore_index=again), [
        *s.table,
        *s.other_table,
        *s.table,
    ]


@operation
def concat_columns(s: State) -> Any:
    need(s.frame.index.is_unique)
    shifted = s.frame["x"].iloc[::-1].rename("w")
    frame = pd.concat([s.frame, shifted], axis=1)
    return frame[list(COLUMNS)], s.table


@operation
def set_aligned(s: State) -> Any:
    need(s.frame.index.is_unique)
    frame = s.frame.copy()
    frame["x"] = s.frame["x"].iloc[::-1]
    return frame, s.table


@operation
def set_from_other(s: State) -> Any:
    need(s.other.index.is_unique and s.frame.index.is_unique)
    frame = s.frame.copy()
    frame["x"] = s.other["x"]
    found = dict(zip(s.other.index, s.other_table, strict=True))
    made = []
    for label, row in zip(s.frame.index, s.table, strict=True):
        theirs = found.get(label)
        x = None if theirs is None else theirs.values["x"]
        made.append(row.but(x=x) if theirs is None else row.but(x=x).also(theirs))
    return frame, made


# Rows grouped


def _grouped(parts: Any, **made: Any) -> Table:
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
def groupby_agg(s: State) -> Any:
    need(s.table)
    sort = s.rng.random() < 0.5
    grouped = s.frame.groupby("k", sort=sort)
    frame = grouped.agg({"a": "sum", "x": "max", "s": "min", "u": "max"}).reset_index()
    return frame.assign(a=frame["a"].clip(upper=4)), _grouped(
        groups(s.table, lambda r: r.values["k"], ordered=sort)
    )


@operation
def groupby_flat(s: State) -> Any:
    need(s.table)
    grouped = s.frame.groupby(["s", "k"], as_index=False)
    frame = grouped.agg(a=("a", "sum"), x=("x", "max"), u=("u", "max"))
    parts = groups(s.table, lambda r: (r.values["s"], r.values["k"]))
    return frame.assign(a=frame["a"].clip(upper=4))[list(COLUMNS)], [
        row.but(k=row.values["k"][1]) for row in _grouped(parts)
    ]


@operation
def groupby_size(s: State) -> Any:
    need(s.table)
    frame = s.frame.groupby("k").size().rename("a").reset_index()
    made = [
        Row({"k": k, "a": min(len(rows), 4), "x": None, "s": "u", "u": 0.0}, links_of(rows))
        for k, rows in groups(s.table, lambda r: r.values["k"])
    ]
    return frame.assign(a=frame["a"].clip(upper=4), x=np.nan, s="u", u=0.0), made


@operation
def groupby_transform(s: State) -> Any:
    need(s.table)
    frame = s.frame.copy()
    frame["a"] = frame.groupby("k")["a"].transform("max")
    by_key = dict(groups(s.table, lambda r: r.values["k"]))
    made = []
    for row in s.table:
        rows = by_key[row.values["k"]]
        made.append(row.but(a=max(r.values["a"] for r in rows)).also(*rows))
    return frame, made


@operation
def groupby_running(s: State) -> Any:
    need(s.table)
    frame = s.frame.copy()
    frame["a"] = frame.groupby("k")["a"].cummax()
    made = []
    for number, row in enumerate(s.table):
        rows = [r for r in s.table[: number + 1] if r.values["k"] == row.values["k"]]
        made.append(row.but(a=max(r.values["a"] for r in rows)).also(*rows))
    return frame, made


@operation
def groupby_shift(s: State) -> Any:
    need(s.table)
    frame = s.frame.copy()
    frame["x"] = frame.groupby("k")["x"].shift(1)
    made, last = [], {}
    for row in s.table:
        before = last.get(row.values["k"])
        x = None if before is None else before.values["x"]
        made.append(row.but(x=x) if before is None else row.but(x=x).also(before))
        last[row.values["k"]] = row
    return frame, made


@operation
def groupby_head(s: State) -> Any:
    need(s.table and s.frame.index.is_unique)
    seen: dict[Any, int] = {}
    made = []
    for row in s.table:
        seen[row.values["k"]] = seen.get(row.values["k"], 0) + 1
        if seen[row.values["k"]] <= 2:
            made.append(row)
    return s.frame.groupby("k").head(2), made


@operation
def groupby_filter(s: State) -> Any:
    need(s.table and s.frame.index.is_unique)
    sizes = {key: len(rows) for key, rows in groups(s.table, lambda r: r.values["k"])}
    frame = s.frame.groupby("k").filter(lambda g: len(g) > 1)
    return frame, select(s.table, lambda r: sizes[r.values["k"]] > 1)


@operation
def groupby_apply(s: State) -> Any:
    need(s.table)
    grouped = s.frame.groupby("k")[["a", "u"]]
    frame = grouped.apply(lambda g: pd.Series({"a": g["a"].min(), "u": g["u"].max()}))
    made = [
        Row(
            {
                "k": k,
                "a": min(r.values["a"] for r in rows),
                "x": None,
                "s": "u",
                "u": max(r.values["u"] for r in rows),
            },
            links_of(rows),
        )
        for k, rows in groups(s.table, lambda r: r.values["k"])
    ]
    frame = frame.reset_index().astype({"a": "int64"}).assign(x=np.nan, s="u")
    return frame[list(COLUMNS)], made


@operation
def groupby_iteration(s: State) -> Any:
    need(s.table and s.frame.index.is_unique)
    parts = [part for _, part in s.frame.groupby("k")]
    made = [row for _, rows in groups(s.table, lambda r: r.values["k"]) for row in rows]
    return pd.concat(parts), made


# Shapes


@operation
def pivot_table(s: State) -> Any:
    need(s.table)
    frame = s.frame.pivot_table(index="k", columns="s", values="a", aggfunc="sum")
    made = [
        Row({"k": k, "a": 0, "x": None, "s": "u", "u": 0.0}, links_of(rows))
        for k, rows in groups(s.table, lambda r: r.values["k"])
    ]
    frame = frame.reset_index()[["k"]]
    return frame.assign(a=0, x=np.nan, s="u", u=0.0), made


@operation
def pivot(s: State) -> Any:
    need(s.table)
    once: dict[Any, Row] = {}
    for row in s.table:
        once.setdefault((row.values["k"], row.values["s"]), row)
    unique = s.frame.drop_duplicates(["k", "s"])
    frame = unique.pivot(index="k", columns="s", values="a")
    made = [
        Row({"k": k, "a": 0, "x": None, "s": "u", "u": 0.0}, links_of(rows))
        for k, rows in groups(list(once.values()), lambda r: r.values["k"])
    ]
    return frame.reset_index()[["k"]].assign(a=0, x=np.nan, s="u", u=0.0), made


@operation
def melt(s: State) -> Any:
    frame = s.frame.melt(
        id_vars=["k", "s", "u"], value_vars=["a", "x"], var_name="n", value_name="v"
    )
    frame = frame.rename(columns={"v": "x"}).assign(a=0)[list(COLUMNS)]
    made = [r.but(x=float(r.values["a"]), a=0) for r in s.table]
    return frame, made + [r.but(a=0) for r in s.table]


@operation
def explode(s: State) -> Any:
    need(s.table)
    frame = s.frame.assign(a=s.frame["a"].map(lambda v: [v % 3] * (v % 3)))
    frame = frame.explode("a", ignore_index=s.rng.random() < 0.5)
    made = []
    for row in s.table:
        n = row.values["a"] % 3
        made += [row.but(a=n)] * n or [row.but(a=0)]
    return frame.fillna({"a": 0}).astype({"a": "int64"}), made


@operation
def stack(s: State) -> Any:
    need(s.table and s.frame.index.is_unique and s.frame.index.nlevels == 1)
    stacked = s.frame[["a", "u"]].stack()
    frame = stacked.rename("u").reset_index(drop=True).to_frame()
    frame = frame.assign(k=0, a=0, x=np.nan, s="u")[list(COLUMNS)]
    made = []
    for row in s.table:
        base = row.but(k=0, a=0, x=None, s="u")
        made += [base.but(u=float(row.values["a"])), base.but(u=row.values["u"])]
    return frame, made


@operation
def unstack(s: State) -> Any:
    need(s.table)
    once: dict[Any, Row] = {}
    for row in s.table:
        once.setdefault((row.values["k"], row.values["s"]), row)
    series = s.frame.drop_duplicates(["k", "s"]).set_index(["k", "s"])["a"]
    frame = series.unstack().reset_index()[["k"]]
    made = [
        Row({"k": k, "a": 0, "x": None, "s": "u", "u": 0.0}, links_of(rows))
        for k, rows in groups(list(once.values()), lambda r: r.values["k"])
    ]
    return frame.assign(a=0, x=np.nan, s="u", u=0.0), made


# Windows


@operation
def shift(s: State) -> Any:
    frame = s.frame.copy()
    frame["x"] = s.frame["x"].shift(2)
    made = []
    for number, row in enumerate(s.table):
        if number < 2:
            made.append(row.but(x=None))
        else:
            before = s.table[number - 2]
            made.append(row.but(x=before.values["x"]).also(before))
    return frame, made


@operation
def shift_whole(s: State) -> Any:
    need(len(s.table) > 1)
    frame = s.frame.shift(1).iloc[1:].astype({"a": "int64", "k": "int64"})
    return frame, s.table[:-1]


@operation
def diff(s: State) -> Any:
    frame = s.frame.assign(x=s.frame["u"].diff())
    made = []
    for number, row in enumerate(s.table):
        if not number:
            made.append(row.but(x=None))
        else:
            before = s.table[number - 1]
            made.append(row.but(x=row.values["u"] - before.values["u"]).also(before))
    return frame, made


def _windows(s: State, values: Any, low: Any, high: Any, number: Any = sum) -> Any:
    made = []
    for row, rows in zip(s.table, windowed(s.table, low, high), strict=True):
        made.append(row.but(x=float(number(r.values["a"] for r in rows))).also(*rows))
    return s.frame.assign(x=values), made


@operation
def rolling(s: State) -> Any:
    need(s.table)
    values = s.frame["a"].rolling(3, min_periods=1).sum()
    return _windows(s, values, lambda i: i - 2, lambda i: i + 1)


@operation
def rolling_centred(s: State) -> Any:
    need(s.table)
    values = s.frame["a"].rolling(3, min_periods=1, center=True).max()
    return _windows(s, values, lambda i: i - 1, lambda i: i + 2, max)


@operation
def expanding(s: State) -> Any:
    need(s.table)
    values = s.frame["a"].expanding().sum()
    return _windows(s, values, lambda i: 0, lambda i: i + 1)


@operation
def cumulated(s: State) -> Any:
    need(s.table)
    values = s.frame["a"].cumsum().astype("float64")
    return _windows(s, values, lambda i: 0, lambda i: i + 1)


@operation
def ewm(s: State) -> Any:
    need(s.table)
    values = s.frame["a"].ewm(com=1).mean() * 0
    return _windows(s, values, lambda i: 0, lambda i: i + 1, lambda _: 0)


@operation
def ffill(s: State) -> Any:
    return s.frame.ffill(), filled(s.table, "x")


@operation
def bfill(s: State) -> Any:
    return s.frame.assign(x=s.frame["x"].bfill()), filled(s.table, "x", backwards=True)


@operation
def ranked(s: State) -> Any:
    need(s.table)
    values = s.frame["a"].rank(method="min") * 0
    return s.frame.assign(x=values), [r.but(x=0.0).also(*s.table) for r in s.table]


# What must be a gap, or must not be claimed


@operation
def interpolate(s: State) -> Any:
    frame = s.frame.assign(x=s.frame["u"].interpolate())
    return frame, [r.but(x=r.values["u"]) for r in s.table]


@operation
def array_reversed(s: State) -> Any:
    frame = s.frame.assign(x=s.frame["x"].to_numpy()[::-1])
    back = s.table[::-1]
    pairs = zip(s.table, back, strict=True)
    return frame, [r.but(x=o.values["x"]).also(o) for r, o in pairs]


@operation
def written_through_a_view(s: State) -> Any:
    frame = s.frame.copy()
    try:
        frame["u"].values[:] = frame["u"].to_numpy()[::-1].copy()
    except ValueError:
        return frame, s.table
    same = list(frame["u"]) == list(s.frame["u"])
    pairs = zip(s.table, s.table[::-1], strict=True)
    return frame, s.table if same else [r.but(u=o.values["u"]).also(o) for r, o in pairs]


@operation
def shuffled_through_a_view(s: State) -> Any:
    frame = s.frame[["u", "x"]].copy()
    need(list(frame["x"].fillna(0)) != list(frame["x"].fillna(0))[::-1])
    try:
        frame.values[:] = frame.values[::-1].copy()
    except ValueError:
        raise Skip from None
    made = s.table if list(frame["u"]) == list(s.frame["u"]) else s.table[::-1]
    made = [r.but(k=0, a=0, s="u") for r in made]
    return frame.assign(k=0, a=0, s="u")[list(COLUMNS)], made


@operation
def through_numpy(s: State) -> Any:
    frame = s.frame.copy()
    frame["x"] = s.frame["u"].to_numpy()
    return frame, [r.but(x=r.values["u"]) for r in s.table]


@operation
def overwritten(s: State) -> Any:
    frame = s.frame.copy()
    frame[:] = s.frame.iloc[::-1].to_numpy()
    return frame.astype(s.frame.dtypes), s.table[::-1]


@operation
def relabelled(s: State) -> Any:
    frame = s.frame.copy()
    frame.index = list(range(len(frame)))[::-1]
    return frame, s.table


@operation
def combined(s: State) -> Any:
    need(s.frame.index.is_unique)
    frame = s.frame.combine_first(s.frame.iloc[::-1])
    order = sorted(range(len(s.table)), key=lambda n: s.frame.index[n])
    need(s.frame.index.dtype.kind == "i")
    return frame[list(COLUMNS)], [s.table[n] for n in order]


@operation
def updated(s: State) -> Any:
    need(s.table)
    need(s.frame.index.is_unique)
    frame = s.frame.copy()
    frame.update(s.frame[["a"]].iloc[:1] + 1)
    first = s.table[0]
    return frame.astype(s.frame.dtypes), [first.but(a=first.values["a"] + 1), *s.table[1:]]


@operation
def rebuilt(s: State) -> Any:
    frame = pd.DataFrame({name: list(s.frame[name]) for name in COLUMNS}).astype(s.frame.dtypes)
    return frame, s.table


# Running


def read(folder: Path, name: str, table: Table, kind: str) -> Any:
    """A frame of a reference's table, read from a file."""
    plain = pd.DataFrame([row.values for row in table], columns=list(COLUMNS))
    plain = plain.astype(
        {"k": "int64", "a": "int64", "x": "float64", "s": "object", "u": "float64"}
    )
    path = folder / f"{name}.{kind}"
    if kind == "csv":
        plain.to_csv(path, index=False)
        return pd.read_csv(path, dtype={"x": "float64", "u": "float64"})
    if kind == "json":
        plain.to_json(path, orient="records", lines=True)
        return pd.read_json(path, lines=True, dtype={"x": "float64", "u": "float64"})
    plain.to_parquet(path)
    return pd.read_parquet(path)


def claimed(frame: Any) -> tuple[str, list[Any]]:
    """What is claimed of a frame: exact links, some with a gap, or none."""
    track = TRACKING.find(frame)
    if track is None or not TRACKING.verify(frame, track):
        return "gap", []
    found, gaps = find_origins(track)
    links = [frozenset((Path(a.name).stem, row) for a, row in some) for some in found]
    return ("partial" if gaps else "exact"), links


def fault(frame: Any, table: Table) -> str:
    """What is wrong with a frame's values or links, in words; nothing if all is well."""
    if len(frame) != len(table):
        return f"{len(frame)} rows, the reference has {len(table)}"
    for name in COLUMNS:
        mine = [None if pd.isna(v) else v for v in frame[name]]
        theirs = [row.values[name] for row in table]
        if mine != theirs:
            return f"column {name}: {mine}, the reference has {theirs}"
    kind, links = claimed(frame)
    truth = [row.links for row in table]
    if kind == "exact" and links != truth:
        return f"links {[sorted(one) for one in links]}, the truth is {[sorted(t) for t in truth]}"
    if kind == "partial" and not all(a <= b for a, b in zip(links, truth, strict=True)):
        return f"links {[sorted(one) for one in links]} beyond {[sorted(t) for t in truth]}"
    return ""


def start(folder: Path, rng: random.Random) -> State:
    kinds = [rng.choice(["csv", "parquet", "json"]) for _ in range(2)]
    tables = [random_table(rng, "one", 0), random_table(rng, "two", 100)]
    pairs = [
        (read(folder, name, table, kind), table)
        for name, table, kind in zip(("one", "two"), tables, kinds, strict=True)
    ]
    return State(rng, pairs)


def attempt(name: str, state: State) -> Any:
    """Do an operation. What fails without being followed, too, is pandas' own business."""
    before = state.rng.getstate()
    try:
        return OPERATIONS[name](state)
    except (KeyError, ValueError, TypeError) as error:
        state.rng.setstate(before)
        LOCAL.busy = 1
        try:
            OPERATIONS[name](state)
        except type(error):
            raise Skip from None
        finally:
            LOCAL.busy = 0
        raise


def run(folder: Path, seed: int) -> tuple[str, list[str], str]:
    """One program; gives its fault, its operations and what was claimed in the end."""
    rng = random.Random(seed)
    state = start(folder, rng)
    names: list[str] = []
    for _ in range(rng.randrange(1, 6)):
        name = rng.choice(list(OPERATIONS))
        try:
            frame, table = attempt(name, state)
        except Skip:
            continue
        if len(table) > 60:
            continue
        names.append(name)
        wrong = fault(frame, table)
        if wrong:
            return wrong, names, ""
        if rng.random() < 0.3:
            state.other, state.other_table = state.frame, state.table
        state.frame, state.table = frame, table
    return "", names, claimed(state.frame)[0]


def cells(folder: Path) -> dict[str, str]:
    """Each operation alone, on the first tables on which it can be done."""
    found: dict[str, str] = {}
    for name, act in OPERATIONS.items():
        for seed in range(30):
            state = start(folder, random.Random(seed))
            if len(state.table) < 4:
                continue
            try:
                frame, table = act(state)
            except Skip:
                continue
            assert not fault(frame, table), (name, fault(frame, table))
            found[name] = claimed(frame)[0]
            break
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    begin(folder, follow_pandas, "pandas")
    if sys.argv[2] == "cells":
        print(json.dumps(cells(folder)))
        return
    faults, counts = [], {"exact": 0, "partial": 0, "gap": 0}
    for seed in range(int(sys.argv[2]), int(sys.argv[3])):
        wrong, names, kind = run(folder, seed)
        if wrong:
            faults.append([seed, names, wrong])
        else:
            counts[kind] += 1
    print(json.dumps({"faults": faults, "counts": counts, "troubles": RECORDER.troubles}))


if __name__ == "__main__":
    main()

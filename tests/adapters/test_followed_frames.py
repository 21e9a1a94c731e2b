"""Rows through data frames: random programs against the reference interpreter, and the table.

The reference (`programs/row_reference.py`) is plain Python over lists of dicts; it says of each row
which rows it was made of, and shares nothing with what is tested.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from frameworks import ROOT, interpreter_of
from observing import environment, run_plain

PROGRAMS = Path(__file__).with_name("programs")
# Random programs for each test; more of them where there is time, as before a release.
SEEDS = int(os.environ.get("TEST_FRAME_SEEDS", "60"))
# Columns of the table: by which program they are tested, and in which environments.
COLUMNS = {
    "pandas 2": ("pandas_rows.py", (), ("oldest",)),
    "pandas 3": ("pandas_rows.py", (), ("newest",)),
    "polars eager": ("polars_rows.py", ("eager",), ("oldest", "newest")),
    "polars lazy": ("polars_rows.py", ("lazy",), ("oldest", "newest")),
}


def run_program(name: str, interpreter: str, folder: Path, *words: str) -> Any:
    done = subprocess.run(
        [interpreter, str(PROGRAMS / name), str(folder), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_what_is_claimed_of_pandas_frames_is_what_the_reference_says(
    tmp_path: Path, interpreter: str
) -> None:
    found = run_program("pandas_rows.py", interpreter, tmp_path, "0", str(SEEDS))
    assert found["faults"] == []
    assert not found["troubles"]
    # A recorder that claims nothing would pass the lines above.
    assert found["counts"]["exact"] > SEEDS / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["eager", "lazy"])
def test_what_is_claimed_of_polars_frames_is_what_the_reference_says(
    tmp_path: Path, interpreter: str, kind: str
) -> None:
    found = run_program("polars_rows.py", interpreter, tmp_path, kind, "0", str(SEEDS))
    assert found["faults"] == []
    assert not found["troubles"]
    assert found["counts"]["exact"] > SEEDS / 2


def read_table() -> dict[str, dict[str, str]]:
    """The table of operations in the documentation: cells by operator and column."""
    text = (ROOT / "docs" / "explanation" / "rows.md").read_text()
    text = text.partition("## Which frame operations are followed")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = rows[0]
    return {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows[2:]}


# Which operations of the programs, of pandas and of polars, stand for a row of the table.
CASES = {
    "reading one whole CSV, Parquet or JSON lines file": ("columns", "read"),
    "masks, `query`, `isin`, `filter`": (
        "mask query isin",
        "filtered filtered_by_all filtered_by_aggregate",
    ),
    "slices, `iloc`, `loc`, `head`, `tail`, `reverse`": (
        "slices iloc loc loc_labels head tail",
        "head tail slices items reverse",
    ),
    "`sample`, also with replacement": ("sample sample_again", "sample"),
    "sorts, `nlargest`; `ignore_index=True`": (
        "sort_values sort_anew sort_index nlargest",
        "sort",
    ),
    "`dropna`, `drop_nulls`, `drop`, `drop_duplicates`, `unique`": (
        "dropna drop drop_duplicates",
        "drop_nulls unique unique_whole",
    ),
    "`reindex`; `inplace=True`": ("reindex inplace", ""),
    "choosing, adding, converting, renaming columns; holes filled with a value": (
        "columns assign set_item set_cells astype fillna rename",
        "select rename cast fill_null with_row_index",
    ),
    "`set_index`, `reset_index`, an index put in": ("set_index reset_index relabelled", ""),
    "arithmetic, comparisons, conditions, text, times": (
        "arithmetic map_values text",
        "with_columns conditional",
    ),
    "wildcards and selectors": ("", "wildcard select filtered_by_all"),
    "`apply` by rows, `map`": ("apply_by_rows map_values", ""),
    "`get_dummies`, `cut`": ("get_dummies cut", ""),
    "joins: inner, left, right, full, cross, semi, anti; by index": (
        "merge_inner merge_left merge_right merge_outer merge_cross merge_index",
        "join_inner join_left join_right join_full join_cross join_semi join_anti join_itself",
    ),
    "`merge_asof`, `join_asof`": ("merge_asof", "join_asof"),
    "`concat`, `vstack`": ("concat concat_columns", "concat concat_diagonal vstack"),
    "columns from another frame, by labels": ("set_aligned set_from_other", ""),
    "groups: aggregates, sizes, `apply` of a row a group": (
        "groupby_agg groupby_flat groupby_size groupby_apply",
        "group_by group_by_max group_by_twice",
    ),
    "groups: `transform`, running sums, `shift`": (
        "groupby_transform groupby_running groupby_shift",
        "",
    ),
    "groups: `head`, `filter`, going through them": (
        "groupby_head groupby_filter groupby_iteration",
        "",
    ),
    "`pivot`, `pivot_table`, `unstack`": ("pivot pivot_table unstack", "pivot"),
    "`melt`, `unpivot`, `stack`": ("melt stack", "unpivot"),
    "`explode`": ("explode", "explode"),
    "windows: `rolling`, `expanding`, `ewm`, `cumsum`; polars `rolling(…)`, `group_by_dynamic(…)`": (
        "rolling rolling_centred expanding ewm cumulated",
        "rolling dynamic",
    ),
    "`shift` of a frame; `diff`": ("shift shift_whole diff", "shift"),
    "`ffill`, `bfill`; `rank`": ("ffill bfill ranked", ""),
    "expressions over other rows: `over`, `shift`, `diff`, `rolling_…`, `cum_…`, filling holes": (
        "",
        "shift_column shift_over over rolling_column rolling_centred cumulated cumulated_over",
    ),
    "the same over all rows, several at once, holes of a whole frame": (
        "",
        "of_the_whole filled_over shifted_beside_over forward_fill",
    ),
    "the same in one plan after another of them, or before rows go": (
        "",
        "over_twice over_and_filtered",
    ),
    "`map_elements`": ("", "map_elements"),
    "`to_numpy` and back, unchanged": ("through_numpy", ""),
    "arrays that numpy computed, put into a column": ("array_reversed", ""),
    "`interpolate`": ("interpolate", "interpolate"),
    "`combine_first`, `update`": ("combined updated", ""),
    "functions over whole frames (`map_batches`), frames made of lists": (
        "rebuilt",
        "map_batches",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "name"), [(one, name) for one, spec in COLUMNS.items() for name in spec[2]]
)
def test_each_cell_of_the_table_says_what_the_operation_does(
    tmp_path: Path, column: str, name: str
) -> None:
    program, words, _ = COLUMNS[column]
    found = run_program(program, interpreter_of(name), tmp_path, *words, "cells")
    table = read_table()
    assert table.keys() == CASES.keys()
    for title, both in CASES.items():
        cell = table[title][column]
        names = both[0 if program.startswith("pandas") else 1].split()
        seen = {found[one] == "exact" for one in names if one in found}
        if cell == "not applicable":
            assert not seen, (title, column)
        else:
            assert re.match("exact|gap", cell), (title, column)
            assert seen == {cell.startswith("exact")}, (title, column, found)


PROGRAM = """
import sys
import pandas as pd

orders = pd.read_csv("orders.csv")
people = pd.read_json("people.json", orient="records", lines=True)
late = orders[orders.amount > 10].copy()
late["share"] = late.amount / late.groupby("who").amount.transform("sum")
joined = late.merge(people, on="who", how="left", indicator=True)
joined["before"] = joined.amount.shift(1)
joined["mean"] = joined.amount.rolling(2, min_periods=1).mean()
totals = joined.groupby("town", as_index=False).agg(total=("amount", "sum"))
joined.to_csv("joined.csv", index=False)
totals.to_parquet("totals.parquet")
totals.sort_values("total").to_json("totals.json", orient="records", lines=True)
frame = pd.concat([late, late.head(1)])
frame.to_pickle("late.pkl")
print(joined.to_string(), totals.describe().to_string())
try:
    late.merge(people, on="nothing")
except KeyError as error:
    print("no column", error)
"""


def write_inputs(folder: Path) -> None:
    (folder / "orders.csv").write_text("who,amount\na,5\na,20\nb,30\nc,40\na,50\n")
    people = [{"who": "a", "town": "X"}, {"who": "b", "town": "Y"}, {"who": "d", "town": "Z"}]
    (folder / "people.json").write_text("".join(json.dumps(one) + "\n" for one in people))


def behind(interpreter: str, folder: Path, name: str, where: str) -> dict[str, set[int]]:
    """The rows behind rows of a file, by file, as `lodeline rows` says."""
    import sys

    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    words = [sys.executable, "-m", "lodeline.cli.main", "rows", f"dataset:file:{folder / name}"]
    words += ["--back", "--where", where, "--json", "--store", store]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=100)
    assert done.returncode in {0, 3}, done.stderr
    found: dict[str, set[int]] = {}
    for row in json.loads(done.stdout)["rows"]:
        if not row["dataset"].startswith("dataset:memory:"):
            name = Path(row["dataset"].partition("#")[0]).name
            found.setdefault(name, set()).add(int(row["key"]))
    return found


def test_a_program_run_with_rows_leads_each_record_to_its_sources(
    tmp_path: Path, interpreter: str
) -> None:
    write_inputs(tmp_path)
    seen = run_rows(tmp_path, interpreter)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    plain = run_plain(tmp_path, interpreter, "script.py")
    assert (plain.status, plain.stdout, plain.stderr) == (seen.status, seen.stdout, seen.stderr)
    assert made == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert behind(interpreter, tmp_path, "totals.parquet", "town = 'X'") == {
        "orders.csv": {1, 2, 3, 4},
        "people.json": {0, 1},
    }
    assert [gap["detail"] for gap in seen.gaps] == ["its rows are not the frame's, in order"]


POLARS = """
import polars as pl

orders = pl.scan_csv("orders.csv")
people = pl.read_ndjson("people.json")
late = orders.filter(pl.col("amount") > 10).with_columns(half=pl.col("amount") / 2)
joined = late.join(people.lazy(), on="who", how="left").sort("amount").collect()
totals = joined.group_by("town", maintain_order=True).agg(pl.col("amount").sum(), pl.len())
joined.write_csv("joined.csv")
totals.write_parquet("totals.parquet")
late.select(pl.all().exclude("half")).collect().write_ndjson("late.json")
print(joined, totals)
try:
    joined.select("nothing")
except pl.exceptions.ColumnNotFoundError as error:
    print("no column", error)
try:
    late.select(pl.col("who").cast(pl.Int64)).collect()
except pl.exceptions.PolarsError as error:
    print("no number", error)
"""


def test_a_program_of_polars_run_with_rows_leads_each_record_to_its_sources(
    tmp_path: Path, interpreter: str
) -> None:
    write_inputs(tmp_path)
    seen = run_rows(tmp_path, interpreter, POLARS)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    plain = run_plain(tmp_path, interpreter, "script.py")
    assert (plain.status, plain.stdout, plain.stderr) == (seen.status, seen.stdout, seen.stderr)
    assert made == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    found = behind(interpreter, tmp_path, "totals.parquet", "town = 'X'")
    assert found == {"orders.csv": {1, 4}, "people.json": {0}}
    assert not seen.gaps


def run_rows(folder: Path, interpreter: str, program: str = PROGRAM) -> Any:
    from observing import run_observed

    (folder / "script.py").write_text(program)
    return run_observed(
        folder, interpreter, "script.py", options=("--rows",), interpreter=interpreter
    )

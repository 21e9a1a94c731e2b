"""What does it cost to follow rows through pandas and polars?

Workload: a table of orders joined with one of people, filtered, given columns, grouped and sorted,
read from Parquet and written to it. Each round runs every variant once, each in a process of its
own, and counts its CPU time (user and system):

- `plain`: the program as it is.
- `run`: under `lodeline run`.
- `rows`: under `lodeline run --rows`.

    python bench/frame_rows.py --rows 200000 --rounds 3 --out bench/results/frame_rows.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PANDAS = """
import pandas as pd
orders = pd.read_parquet("orders.parquet")
people = pd.read_parquet("people.parquet")
late = orders[orders["amount"] > 10].copy()
late["half"] = late["amount"] / 2
joined = late.merge(people, on="who", how="left")
joined["mean"] = joined.groupby("who")["amount"].transform("mean")
joined = joined.sort_values("amount", kind="stable")
joined.to_parquet("joined.parquet")
joined.groupby("town", as_index=False)["amount"].sum().to_parquet("totals.parquet")
"""
POLARS = """
import polars as pl
orders = pl.scan_parquet("orders.parquet")
people = pl.read_parquet("people.parquet")
late = orders.filter(pl.col("amount") > 10).with_columns(half=pl.col("amount") / 2)
joined = late.join(people.lazy(), on="who", how="left").sort("amount").collect()
joined.write_parquet("joined.parquet")
joined.group_by("town").agg(pl.col("amount").sum()).write_parquet("totals.parquet")
"""
VARIANTS = {"plain": None, "run": (), "rows": ("--rows",)}


def make_inputs(folder: Path, rows: int) -> None:
    """Write the two tables."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(7)
    people = max(rows // 100, 1)
    orders = {"who": rng.integers(0, people, rows), "amount": rng.random(rows) * 100}
    pd.DataFrame(orders).to_parquet(folder / "orders.parquet")
    towns = rng.integers(0, 50, people)
    pd.DataFrame({"who": range(people), "town": towns}).to_parquet(folder / "people.parquet")


def measure(folder: Path, options: tuple[str, ...] | None) -> float:
    """Run the program once; gives CPU seconds of all its processes."""
    command = [sys.executable, "script.py"]
    if options is not None:
        store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
        words = [sys.executable, "-m", "lodeline.cli.main", "run", "--store", store, *options]
        command = [*words, "--", *command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure, and print or write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    options = parser.parse_args()
    seconds: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder, options.rows)
        for _ in range(options.rounds):
            for library, program in (("pandas", PANDAS), ("polars", POLARS)):
                (folder / "script.py").write_text(program)
                for variant, words in VARIANTS.items():
                    taken = seconds.setdefault(library, {}).setdefault(variant, [])
                    taken.append(measure(folder, words))
    medians = {
        library: {variant: round(statistics.median(taken), 3) for variant, taken in one.items()}
        for library, one in seconds.items()
    }
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "rows": options.rows,
        "rounds": options.rounds,
        "cpu_seconds": medians,
    }
    text = json.dumps(result, indent=2) + "\n"
    if options.out:
        Path(options.out).write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()

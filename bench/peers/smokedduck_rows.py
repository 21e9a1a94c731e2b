"""TPC-H in SmokedDuck, a DuckDB with lineage built in, plain and with lineage captured.

Runs in an interpreter that has `smokedduck` installed (a pre-release wheel for Python 3.11), since
it is a DuckDB of its own; `bench/rows.py --smokedduck PYTHON` starts it. Its lineage stays in
memory: nothing is made of it, and nothing is written.

    python bench/peers/smokedduck_rows.py FOLDER ROUNDS

FOLDER has the tables as Parquet, and `queries.json`. The last line is JSON: CPU ms by query.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any


def measure(connection: Any, sql: str, rounds: int) -> dict[str, Any]:
    """Measure one query in both forms, in turns."""
    made = f"CREATE OR REPLACE TEMP TABLE made AS {sql}"
    times: dict[str, list[float]] = {"plain": [], "lineage": []}
    for _ in range(rounds):
        for form, seconds in times.items():
            if form == "lineage":
                connection.execute("PRAGMA enable_lineage")
            begin = time.process_time()
            connection.execute(made)
            seconds.append(time.process_time() - begin)
            if form == "lineage":
                connection.execute("PRAGMA disable_lineage")
    return {f"{f}_cpu_ms": round(statistics.median(s) * 1000, 1) for f, s in times.items()}


def main() -> None:
    import smokedduck.duckdb as duckdb  # type: ignore[import-not-found]

    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    found: dict[str, Any] = {}
    for name, sql in json.loads((folder / "queries.json").read_text()).items():
        # One a query: what it captured stays, and clearing it breaks what is captured next.
        connection = duckdb.connect(":memory:")
        connection.execute("PRAGMA threads=1")  # As SmokedDuck itself sets.
        for path in sorted(folder.glob("*.parquet")):
            connection.execute(f"CREATE TABLE {path.stem} AS SELECT * FROM '{path}'")
        try:
            found[name] = measure(connection, sql, rounds)
        except Exception as error:  # a query that it has no plan for is told
            found[name] = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        connection.close()
    print("\n" + json.dumps(found))  # On a line of its own: its pragmas print, too.


if __name__ == "__main__":
    main()

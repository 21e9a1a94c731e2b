"""What does it cost to record the source rows of every result row?

Workload: the TPC-H queries, over tables in one DuckDB database, made by the `tpch` extension. For
each query, in turns within each round:

- `plain`: CREATE TEMP TABLE AS the query.
- `rows`: CREATE TEMP TABLE AS the rewritten query (identity columns carried along).
- `rows_kept`: the same, with the links written as blobs, as capture does.
- `two_queries`: plain, then the rewritten query once more for its identities, written likewise;
  what a rewriting without a shared execution costs at least.

`--smokedduck PYTHON` measures SmokedDuck beside, in an interpreter that has it (`pip install --pre
smokedduck`, a wheel for Python 3.11): plain, and with lineage captured in memory, not written.

    python bench/rows.py --scale 0.1 --rounds 3 --out bench/results/rows.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_tpch
import pyarrow.parquet as pq

from lodeline.integrations.duckdb.counting import EngineCounts
from lodeline.integrations.duckdb.links import keep_links
from lodeline.sql import Rewriting, Source, rewrite_rows
from lodeline.sql.sources import parse_query
from lodeline.store.link_blocks import read_links, shaped


class Tables:
    """Tables of one connection, by rowid."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def find_source(self, table: Any) -> Source:
        """Resolve a table; see `lodeline.sql.Catalog`."""
        relation = self._connection.sql(f"SELECT * FROM {table.sql('duckdb')}")
        columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
        return Source(table.name, ("tpch", table.name), columns, "rowid")


def write_links(connection: Any, rewriting: Rewriting, folder: Path) -> tuple[int, int]:
    """Write the links of the tables that `make_rows` made; give (members, bytes)."""
    paths: list[Path] = []
    members = 0

    def draft() -> Path:
        paths.append(folder / f"{len(paths)}.parquet")
        return paths[-1]

    parts = [("made", rewriting.identities)]
    for shared, table in zip(rewriting.shared, tables_of(rewriting), strict=True):
        parts.append((table, shared.identities))
    for table, identities in parts:
        grouped: dict[str, list[Any]] = {}
        for identity in identities:
            grouped.setdefault(identity.source.key, []).append(identity)
        for _, facts in keep_links(table, grouped, connection.execute, draft=draft, keep=str):
            members += 0 if facts is None else facts["count"]
    return members, sum(path.stat().st_size for path in paths)


def count_links(folder: Path) -> int:
    """Count the links that were written, each once, as a block of them would."""
    return sum(
        shaped(read_links(path.read_bytes(), form_of(path))).count for path in folder.iterdir()
    )


def form_of(path: Path) -> str:
    """Name the form in which links were written."""
    (column,) = pq.read_schema(path).names
    return {"input": "array", "inputs": "lists", "bitmaps": "bitmaps"}[column]


def tables_of(rewriting: Rewriting) -> list[str]:
    """Name the tables of what a rewriting shares."""
    return [f'"{one.table or f"shared{n}"}"' for n, one in enumerate(rewriting.shared)]


def make_rows(connection: Any, rewriting: Rewriting) -> None:
    """Run a rewriting into the table `made`, and what it shares into tables of their own."""
    for shared, table in zip(rewriting.shared, tables_of(rewriting), strict=True):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {shared.sql}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {rewriting.sql}")


def measure(connection: Any, sql: str, rounds: int) -> dict[str, Any]:
    """Measure one query in all its forms, in turns."""
    begin = time.process_time()
    asked: list[str] = []

    def ask(text: str) -> Any:
        asked.append(text)
        return connection.execute(text).fetchall()

    counts = EngineCounts(ask, sql.strip().rstrip(";"))
    rewriting = rewrite_rows(parse_query(sql), Tables(connection), counts=counts)
    found: dict[str, Any] = {
        "gaps": [gap.operator for gap in rewriting.gaps],
        "rewriting_cpu_ms": round((time.process_time() - begin) * 1000, 1),
    }

    def make(query: str) -> None:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE made AS {query}")

    with tempfile.TemporaryDirectory() as folder:

        def rows() -> None:
            for text in asked:  # By which bitmaps or lists were chosen.
                connection.execute(text).fetchall()
            make_rows(connection, rewriting)

        def kept() -> None:
            rows()
            found["members"], found["bytes"] = write_links(connection, rewriting, Path(folder))

        def twice() -> None:
            make(sql)
            kept()

        forms: dict[str, Callable[[], None]] = {
            "plain": lambda: make(sql),
            "rows": rows,
            "rows_kept": kept,
            "two_queries": twice,
        }
        times: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(rounds):
            for name, form in forms.items():
                begin = time.process_time()
                form()
                times[name].append(time.process_time() - begin)
        found["links"] = count_links(Path(folder))
    for name, seconds in times.items():
        found[f"{name}_cpu_ms"] = round(statistics.median(seconds) * 1000, 1)
    return found


def measure_smokedduck(connection: Any, queries: list[Any], python: str, rounds: int) -> Any:
    """Measure the same queries over the same tables in SmokedDuck, a DuckDB with lineage."""
    with tempfile.TemporaryDirectory() as folder:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            connection.execute(f"COPY {table} TO '{folder}/{table}.parquet' (FORMAT parquet)")
        texts = {f"Q{number}": sql.strip().rstrip(";") for number, sql in queries}
        (Path(folder) / "queries.json").write_text(json.dumps(texts))
        program = Path(__file__).parent / "peers" / "smokedduck_rows.py"
        command = [python, str(program), folder, str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    ratios = [r["lineage_cpu_ms"] / r["plain_cpu_ms"] for r in found.values() if "error" not in r]
    return {"overhead_geometric_mean": geometric(ratios), "of": len(ratios), "queries": found}


def geometric(ratios: list[float]) -> float:
    return round(statistics.geometric_mean(ratios), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of queries; all without")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smokedduck", help="a Python that has SmokedDuck, to measure it beside")
    arguments = parser.parse_args()
    (extension,) = Path(duckdb_extension_tpch.__file__).parent.rglob("tpch.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    connection.execute(f"CALL dbgen(sf = {arguments.scale})")
    queries = connection.execute("SELECT query_nr, query FROM tpch_queries()").fetchall()
    queries = [one for one in queries if not arguments.only or one[0] in arguments.only]
    load = os.getloadavg()[0]
    results = {f"Q{number}": measure(connection, sql, arguments.rounds) for number, sql in queries}
    links = sum(result["links"] for result in results.values())
    size = sum(result["bytes"] for result in results.values())
    report = {
        "question": "What does it cost to record the source rows of every result row?",
        "command": f"python bench/rows.py --scale {arguments.scale} --rounds {arguments.rounds}",
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "load_average_before": load,
        },
        "overhead_geometric_mean": {
            form: geometric([r[f"{form}_cpu_ms"] / r["plain_cpu_ms"] for r in results.values()])
            for form in ("rows", "rows_kept", "two_queries")
        },
        "smokedduck": arguments.smokedduck
        and measure_smokedduck(connection, queries, arguments.smokedduck, arguments.rounds),
        "links": links,
        "bytes_per_link": round(size / links, 2),
        "queries": results,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""Sub-queries, windows and set operations under `lodeline run --rows`, asked about afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("duckdb")

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "lodeline.cli.main"]

PROGRAM = """
import duckdb
connection = duckdb.connect()
connection.execute("COPY (SELECT range AS a, range % 3 AS b FROM range(9)) TO 't.parquet'")
connection.execute("COPY (SELECT range * 2 AS a, range AS c FROM range(4)) TO 'u.parquet'")
for name, query in {
    "shared": "SELECT a FROM 't.parquet' WHERE a > (SELECT max(a) FROM 'u.parquet')",
    "grouped": "SELECT a FROM 't.parquet' WHERE a IN (SELECT max(a) FROM 'u.parquet' GROUP BY c > 1)",
    "several": "SELECT a FROM 't.parquet' AS t WHERE EXISTS (SELECT 1 FROM 'u.parquet' AS u "
               "JOIN 't.parquet' AS v ON u.c = v.a WHERE u.a = t.a AND v.a > 1)",
    "framed": "SELECT a, sum(a) OVER (PARTITION BY b ORDER BY a) AS s FROM 't.parquet'",
    "same": "SELECT b FROM 't.parquet' INTERSECT SELECT c FROM 'u.parquet' WHERE c > 1",
}.items():
    connection.execute(f"COPY ({query} ORDER BY 1) TO '{name}.parquet'")
    print(connection.execute(f"SELECT count(*) FROM '{name}.parquet'").fetchone())
connection.execute("CREATE MACRO most() AS (SELECT max(c) FROM 'u.parquet')")
connection.execute("COPY (SELECT a, most() AS m FROM 't.parquet') TO 'macro.parquet'")
"""


def run(directory: Path, *words: str, status: int = 0) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE", "OPENLINEAGE"))}
    store = f"sqlite:///{directory / 'lodeline.db'}"
    environment = {**kept, "PYTHONPATH": str(ROOT / "src"), "LODELINE_STORE": store}
    done = subprocess.run(
        words, cwd=directory, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("queries")
    (directory / "program.py").write_text(PROGRAM)
    plain = run(directory, sys.executable, "program.py")
    assert run(directory, *CLI, "run", "--rows", "--", sys.executable, "program.py") == plain
    return directory


def asked(directory: Path, name: str, column: str, value: int, way: str) -> set[str]:
    dataset = f"dataset:file:{directory / name}.parquet"
    words = ("rows", dataset, way, "--where", f"{column} = {value}", "--json")
    answer = json.loads(run(directory, *CLI, *words))
    assert answer["complete"], answer["gaps"]
    return {f"{Path(row['dataset']).stem.split(':')[-1]}{row['key']}" for row in answer["rows"]}


@pytest.mark.parametrize(
    ("name", "column", "value", "behind"),
    [
        ("shared", "a", 7, {"t7", "u0", "u1", "u2", "u3"}),
        ("grouped", "a", 2, {"t2", "u0", "u1"}),
        ("several", "a", 4, {"t4", "u2", "t2"}),
        ("framed", "a", 7, {"t7", "t4", "t1"}),
        ("same", "b", 2, {"t2", "t5", "t8", "u2"}),
    ],
)
def test_a_row_leads_back_to_the_rows_that_sub_queries_windows_and_sets_found(
    observed: Path, name: str, column: str, value: int, behind: set[str]
) -> None:
    found = {one for one in asked(observed, name, column, value, "--back") if one[:1] in "tu"}
    assert found == behind


def test_rows_of_a_query_that_calls_a_macro_are_not_claimed(observed: Path) -> None:
    words = ("rows", f"dataset:file:{observed / 'macro'}.parquet", "--back", "--json")
    said = run(observed, *CLI, *words, status=1)
    assert "no row provenance is recorded for it" in said


def test_a_row_leads_forward_through_what_all_rows_share(observed: Path) -> None:
    found = asked(observed, "u", "c", 3, "--forward")
    assert {"shared0", "shared1"} <= found

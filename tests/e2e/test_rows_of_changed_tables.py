"""Tables that a program changes under `lodeline run --rows`: what is in them leads back to its rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from test_rows_of_queries import CLI, run

from lodeline.store import open_segment

pytest.importorskip("duckdb")

PROGRAM = """
import duckdb
prepare = duckdb.connect()
prepare.execute("COPY (SELECT range AS id, range % 5 AS g FROM range(100)) TO 'a.parquet'")
prepare.execute("COPY (SELECT range AS g, range * 7 AS v FROM range(4)) TO 'b.parquet'")
c = duckdb.connect("w.db")
def do(sql):
    try:
        print(c.execute(sql).fetchall())
    except duckdb.Error as error:
        print(type(error).__name__)
do("CREATE TABLE t (id BIGINT, x BIGINT)")
do("INSERT INTO t SELECT id, 0 FROM 'a.parquet' WHERE id < 10")
do("INSERT INTO t (x, id) SELECT count(*), g FROM 'a.parquet' WHERE id > 90 AND g = 3 GROUP BY g")
do("UPDATE t SET x = b.v FROM 'b.parquet' AS b WHERE b.g = t.id AND b.g = 2")
do("DELETE FROM t WHERE id IN (SELECT g FROM 'b.parquet' WHERE g < 2)")
do("MERGE INTO t USING (SELECT * FROM 'a.parquet' WHERE id IN (7, 8, 50)) AS s ON s.id = t.id "
   "WHEN MATCHED AND s.id = 7 THEN DELETE WHEN MATCHED THEN UPDATE SET x = s.g "
   "WHEN NOT MATCHED THEN INSERT (id, x) VALUES (s.id, 1)")
do("INSERT INTO t VALUES (1000, 1)")
do("INSERT INTO t SELECT 'x', 1")
do("SELECT * FROM t ORDER BY ALL")
do("COPY (SELECT id, x FROM t) TO 'out.parquet'")
do("CREATE TABLE k (id BIGINT PRIMARY KEY)")
do("INSERT INTO k SELECT id FROM 'a.parquet' WHERE id < 3")
do("INSERT INTO k SELECT id FROM 'a.parquet' WHERE id < 2")
do("UPDATE k SET id = id + 10 WHERE id = 1")
do("COPY k TO 'moved.parquet'")
do("CREATE TABLE m AS SELECT id, g FROM 'a.parquet'")
do("DELETE FROM m WHERE id < 99")
do("CHECKPOINT")
do("COPY m TO 'compacted.parquet'")
do("COPY (SELECT g, max(id) AS m FROM 'a.parquet' GROUP BY g ORDER BY g) TO 'most.parquet'")
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plainly = tmp_path_factory.mktemp("plain")
    directory = tmp_path_factory.mktemp("changes")
    for folder in (plainly, directory):
        (folder / "program.py").write_text(PROGRAM)
    plain = run(plainly, sys.executable, "program.py")
    (directory / "lodeline.toml").write_text("rows_where = true\n")
    assert run(directory, *CLI, "run", "--rows", "--", sys.executable, "program.py") == plain
    return directory


def behind(directory: Path, where: str, name: str = "out") -> set[str]:
    words = ("rows", f"dataset:file:{directory / name}.parquet", "--back", "--where", where)
    answer = json.loads(run(directory, *CLI, *words, "--json"))
    assert answer["complete"], answer["gaps"]
    files = [row for row in answer["rows"] if row["dataset"].startswith("dataset:file:")]
    return {f"{Path(row['dataset'].split('#')[0]).stem}{row['key']}" for row in files}


def test_rows_that_were_inserted_updated_and_merged_lead_back_to_their_own(observed: Path) -> None:
    assert behind(observed, "id = 2") == {"a2", "b2"}
    assert behind(observed, "id = 3 AND x > 0") == {"a93", "a98"}
    assert behind(observed, "id = 50") == {"a50"}
    assert behind(observed, "id IN (8, 1000)") == {"a8"}


def test_rows_that_moved_are_a_gap_and_not_linked(observed: Path) -> None:
    for name in ("moved", "compacted"):
        words = ("rows", f"dataset:file:{observed / name}.parquet", "--back", "--json")
        assert "no row provenance is recorded for it" in run(observed, *CLI, *words, status=1)


def test_a_group_can_be_linked_to_the_row_that_its_greatest_value_was_taken_from(
    observed: Path,
) -> None:
    assert behind(observed, "g = 3", "most") == {"a98"}


def test_a_table_that_an_earlier_run_made_has_no_rows_to_name_and_that_is_said(
    observed: Path,
) -> None:
    text = "COPY (SELECT * FROM t) TO 'later.parquet'"
    text = f'import duckdb; duckdb.connect("w.db").execute("{text}")'
    (observed / "later.py").write_text(text)
    run(observed, *CLI, "run", "--rows", "--", sys.executable, "later.py")
    file = f"dataset:file:{observed / 'later.parquet'}"
    words = ("rows", file, "--back", "--json")
    assert "no row provenance is recorded for it" in run(observed, *CLI, *words, status=1)
    # The table itself is known as what the file was made of, and its rows as what is missing.
    trace = json.loads(run(observed, *CLI, "trace", file, "--up", "--json"))
    assert any(node["id"].endswith("w.db:w.main.t") for node in trace["nodes"]), trace["nodes"]
    gaps = []
    with open_segment(f"sqlite:///{observed / 'lodeline.db'}", create=False) as segment:
        for entry in segment.iter_entries(kinds=("event",)):
            facets = json.loads(entry.payload or b"{}").get("run", {}).get("facets", {})
            gaps += facets.get("lodeline_capture", {}).get("gaps", [])
    assert {"rows: source"} == {gap["at"] for gap in gaps if "of an earlier run" in gap["detail"]}

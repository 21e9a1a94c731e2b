"""What capture notes of DuckDB, with columns and rows, and that it leaves it as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from observing import python, run_observed, run_plain

pytest.importorskip("duckdb")

PREPARE = """
import duckdb
duckdb.sql("COPY (SELECT range AS id, range % 5 AS g, range * 2 AS x FROM range(100)) TO 'a.parquet'")
duckdb.sql("COPY (SELECT range AS g, 'n' || range AS name FROM range(4)) TO 'b.csv'")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prepare.py").write_text(PREPARE)
    assert run_plain(tmp_path, sys.executable, "prepare.py").status == 0
    return tmp_path


def columns(seen, name: str) -> dict[str, set[tuple[str, str, str]]]:
    facet = seen.output(name)["facets"]["columnLineage"]
    return {
        output: {
            (Path(item["name"]).name, item["field"], step["subtype"])
            for item in body["inputFields"]
            for step in item["transformations"]
        }
        for output, body in facet["fields"].items()
    }


def test_a_copy_of_a_join_names_its_files_and_columns(folder: Path) -> None:
    seen = python(
        folder,
        "import duckdb\n"
        "with duckdb.connect() as connection:\n"
        "    connection.execute('''COPY (SELECT b.name, sum(a.x) AS total FROM 'a.parquet' AS a\n"
        "        JOIN read_csv('b.csv') AS b USING (g) GROUP BY b.name) TO 'out.parquet' ''')\n",
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("out.parquet") == {"a.parquet", "b.csv"}
    assert columns(seen, "out.parquet") == {
        "name": {("b.csv", "name", "IDENTITY")},
        "total": {("a.parquet", "x", "AGGREGATION")},
    }
    fields = seen.output("out.parquet")["facets"]["schema"]["fields"]
    assert fields == [
        {"name": "name", "type": "VARCHAR"},
        {"name": "total", "type": "HUGEINT"},
    ]


def test_tables_in_memory_are_composed_through_and_are_no_datasets(folder: Path) -> None:
    seen = python(
        folder,
        "import duckdb\n"
        "connection = duckdb.connect()\n"
        "connection.execute(\"CREATE TABLE t AS SELECT g, x + 1 AS y FROM 'a.parquet'\")\n"
        "connection.execute('CREATE VIEW v AS SELECT g, y * 2 AS z FROM t')\n"
        "connection.sql('SELECT sum(z) AS s FROM v').write_parquet('out.parquet')\n",
    )
    assert seen.names("outputs") == {"out.parquet"}
    assert columns(seen, "out.parquet") == {"s": {("a.parquet", "x", "AGGREGATION")}}


def test_a_table_of_a_database_file_is_a_dataset_that_a_later_run_reads(folder: Path) -> None:
    made = python(
        folder,
        "import duckdb\n"
        "with duckdb.connect('shop.duckdb') as connection:\n"
        "    connection.execute(\"CREATE TABLE t AS SELECT id, x FROM 'a.parquet'\")\n"
        "    connection.execute('INSERT INTO t SELECT g, g FROM read_csv(\\'b.csv\\')')\n",
    )
    table = made.output("shop.main.t")
    assert table["namespace"] == f"duckdb://{folder / 'shop.duckdb'}"
    assert made.flowed("shop.main.t") == {"a.parquet", "b.csv"}
    used = python(
        folder,
        "import duckdb\n"
        "with duckdb.connect('shop.duckdb', read_only=True) as connection:\n"
        "    connection.sql('SELECT x FROM t').df().to_csv('out.csv')\n",
    )
    assert used.flowed("out.csv") == {"shop.main.t"}


def test_a_table_of_an_attached_file_has_the_name_that_the_file_gives_it(folder: Path) -> None:
    seen = python(
        folder,
        "import duckdb\n"
        "with duckdb.connect() as one:\n"
        "    for path, alias in (('ä b.x.db', 'first'), ('.main.db', 'second'), ('temp.db', 'o')):\n"
        "        one.execute(f\"ATTACH '{path}' AS {alias}\")\n"
        "        one.execute(f'CREATE TABLE {alias}.t AS SELECT 1 AS a')\n"
        "with duckdb.connect('temp.db') as two:\n"
        "    print(two.sql('SELECT current_database()').fetchone())\n"
        "    two.sql('SELECT a FROM t').write_csv('out.csv')\n",
    )
    assert (seen.status, seen.stdout) == (0, "('temp_db',)\n"), seen.stderr
    told = {dataset["name"] for dataset in seen.last["outputs"] if "/" not in dataset["name"]}
    assert told == {"ä b.main.t", "main_db.main.t", "temp_db.main.t"}
    assert seen.flowed("out.csv") == {"temp_db.main.t"}


def test_tables_of_a_transaction_count_when_committed_and_under_their_last_name(
    folder: Path,
) -> None:
    seen = python(
        folder,
        "import duckdb\n"
        "con = duckdb.connect('kept.duckdb').cursor()\n"
        "con.execute('CREATE TABLE raw AS SELECT 1 AS a')\n"
        "con.execute('BEGIN')\n"
        "con.execute('CREATE TABLE made__tmp AS SELECT a + 1 AS b FROM raw')\n"
        "con.execute('ALTER TABLE made__tmp RENAME TO made')\n"
        "con.execute('COMMIT')\n"
        "con.execute('BEGIN')\n"
        "con.execute('CREATE TABLE undone AS SELECT a FROM raw')\n"
        "con.execute('ROLLBACK')\n"
        "print(con.sql('SHOW TABLES').fetchall())\n",
    )
    assert (seen.status, seen.stdout) == (0, "[('made',), ('raw',)]\n"), seen.stderr
    told = {dataset["name"] for dataset in seen.last["outputs"]}
    assert told == {"kept.main.raw", "kept.main.made"}
    assert seen.flowed("kept.main.made") == {"kept.main.raw"}


def test_frames_named_in_sql_and_frames_that_come_out_of_it_carry_their_sources(
    folder: Path,
) -> None:
    seen = python(
        folder,
        "import duckdb, pandas as pd\n"
        "def load():\n"
        "    frame = pd.read_parquet('a.parquet')\n"
        "    return duckdb.sql('SELECT g, count(*) AS n FROM frame GROUP BY g').df()\n"
        "load().to_parquet('out.parquet')\n"
        "duckdb.register('named', pd.read_csv('b.csv'))\n"
        "duckdb.execute('SELECT * FROM named').df().to_csv('two.csv')\n",
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("out.parquet") == {"a.parquet"}
    assert seen.flowed("two.csv") == {"b.csv"}


def test_sql_that_cannot_be_read_is_a_gap_and_its_output_has_a_bound(folder: Path) -> None:
    seen = python(
        folder,
        "import duckdb\n"
        "duckdb.execute(\"COPY (SELECT * FROM 'a.parquet') TO 'out.parquet'\")\n"
        "duckdb.execute(\"EXPORT DATABASE 'somewhere'\")\n",
    )
    assert seen.flowed("out.parquet") == {"a.parquet"}
    assert any(gap["at"].startswith("duckdb: parse") for gap in seen.gaps)


PROGRAM = """
import duckdb
connection = duckdb.connect()
print(connection.execute('''COPY (SELECT g, sum(x) AS s, count(*) AS n FROM 'a.parquet'
    WHERE id > 3 AND x IS NOT NULL GROUP BY g ORDER BY g) TO 'sums.parquet' ''').fetchall())
print(connection.execute('''CREATE TABLE t AS SELECT a.id, a.g, s.n FROM 'a.parquet' AS a
    LEFT JOIN 'sums.parquet' AS s ON s.g = a.g AND a.id < 50 ORDER BY a.id DESC''').fetchone())
print(connection.sql('SHOW TABLES').fetchall(), connection.description)
print(connection.execute('SELECT count(*) FROM t').fetchone())
frame = connection.sql('SELECT id, n FROM t WHERE id % 10 = 0').df()
print(frame, frame.dtypes)
frame[frame.id > 30].sort_values('id').reset_index(drop=True).to_parquet('some.parquet')
connection.sql("SELECT name FROM read_csv('b.csv') WHERE g > 1").write_csv('names.csv')
connection.execute('BEGIN')
connection.execute("COPY (SELECT * FROM t) TO 'inside.parquet'")
connection.execute('COMMIT')
try:
    connection.execute('COPY (SELECT nothing FROM t) TO \\'x.parquet\\'')
except duckdb.Error as error:
    print(type(error).__name__, error)
def inner():
    mine = frame
    return connection.sql('SELECT sum(id) FROM mine').fetchall()
print(inner())
"""


TRAPS = """
import duckdb
connection = duckdb.connect()
connection.execute("CREATE TABLE t AS SELECT id FROM 'a.parquet' WHERE id > 50")
try:
    connection.execute("INSERT INTO t VALUES (1); COPY (SELECT nothing FROM t) TO 'x.parquet'")
except duckdb.Error as error:
    print(type(error).__name__)
print(connection.execute('SELECT count(*) FROM t').fetchone())
print(connection.execute("CREATE TABLE u AS SELECT id FROM 'a.parquet' WHERE id > 90").fetchall())
connection.execute("CREATE TABLE IF NOT EXISTS u AS SELECT id FROM 'a.parquet' WHERE id < 5")
connection.execute("COPY (SELECT id FROM u) TO 'u.parquet'")
connection.execute("CREATE TABLE v AS SELECT id FROM 'a.parquet' WHERE id > 90")
other = connection.cursor()
other.execute("CREATE TEMP TABLE v AS SELECT id FROM 'a.parquet' WHERE id < 9")
connection.execute("COPY (SELECT id FROM v) TO 'v.parquet'")
other.execute("COPY (SELECT id FROM v) TO 'w.parquet'")
connection.execute("DELETE FROM v WHERE id = 95")
connection.execute("COPY (SELECT id FROM v) TO 'deleted.parquet'")
print(connection.execute("COPY (SELECT id FROM v) TO 'some.parquet' (RETURN_FILES)").fetchall())
print(connection.sql("SELECT id FROM 'u.parquet' ORDER BY id").fetchall())
"""


def test_no_row_is_linked_where_a_name_or_a_table_may_be_another_one_by_now(folder: Path) -> None:
    (folder / "program.py").write_text(TRAPS)
    plain = run_plain(folder, sys.executable, "program.py")
    seen = run_observed(folder, sys.executable, "program.py", options=("--rows",))
    assert (seen.status, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr)
    starts = {
        Path(output["name"]).name: {step.get("start", 0) for step in facet["steps"][:1]}
        for event in seen.events
        for output in event["outputs"]
        if (facet := output["outputFacets"].get("lodeline_rows"))
    }
    assert "u.parquet" not in starts
    assert "some.parquet" not in starts
    # What a DELETE left is no longer the range that it was.
    assert starts.get("deleted.parquet", {0}) == {0}
    # Each connection's `v` is its own: claimed rightly, or not at all.
    rows = read_steps(seen)
    assert rows.get("v.parquet", set()) <= {91}
    assert rows.get("w.parquet", set()) <= {0}


def test_a_relation_does_not_keep_the_callers_variables_alive(folder: Path) -> None:
    seen = python(
        folder,
        "import duckdb, gc, weakref, pandas as pd\n"
        "def make():\n"
        "    large, named = pd.DataFrame({'x': [1]}), pd.DataFrame({'y': [2]})\n"
        "    return duckdb.sql('SELECT * FROM named'), weakref.ref(large)\n"
        "relation, large = make()\n"
        "gc.collect()\n"
        "print(large() is None, relation.fetchall())\n",
    )
    assert seen.stdout == "True [(2,)]\n"


def read_steps(seen) -> dict[str, set[int]]:
    """First row of a.parquet behind each output, through tables in memory."""
    found: dict[str, set[int]] = {}
    for event in seen.events:
        for output in event["outputs"]:
            for step in output["outputFacets"].get("lodeline_rows", {}).get("steps", ()):
                if step["input"]["namespace"] == "file":
                    found.setdefault(Path(output["name"]).name, set()).add(step.get("start", 0))
    return found


def test_a_program_under_row_capture_prints_and_writes_what_it_does_without(folder: Path) -> None:
    (folder / "program.py").write_text(PROGRAM)
    plain = run_plain(folder, sys.executable, "program.py")
    before = (folder / "sums.parquet").read_bytes(), (folder / "names.csv").read_bytes()
    seen = run_observed(folder, sys.executable, "program.py", options=("--rows",))
    assert (seen.status, seen.stdout, seen.stderr) == (0, plain.stdout, plain.stderr)
    assert (folder / "sums.parquet").read_bytes() == before[0]
    assert (folder / "names.csv").read_bytes() == before[1]
    steps = {
        (Path(step["output"]["name"]).name, step["operator"], step["shape"])
        for event in seen.events
        for output in event["outputs"]
        for step in output["outputFacets"].get("lodeline_rows", {}).get("steps", ())
        if step["output"]["namespace"] == "file"
    }
    assert steps == {
        ("sums.parquet", "filter, group by", "bitmaps"),
        ("some.parquet", "filter, sort, columns", "array"),
        ("names.csv", "filter", "range"),
    }
    assert any(gap["at"] == "rows: transaction" for gap in seen.gaps)

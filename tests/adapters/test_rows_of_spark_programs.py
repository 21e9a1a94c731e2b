"""Rows of PySpark programs under `lodeline run --rows`, checked against the tables themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from frameworks import interpreter_of  # noqa: E402
from lodeline.cli.main import main  # noqa: E402
from lodeline.query import ask  # noqa: E402
from lodeline.store import open_segment  # noqa: E402
from observing import Observed, run_observed, run_plain  # noqa: E402

# Column `id` of the orders is the number of the row, as is `person` of the people.
PROGRAM = """
from pyspark.sql import SparkSession, functions as F
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2").config("spark.log.level", "ERROR")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.showConsoleProgress", "false")
    .getOrCreate())
orders, people = spark.read.parquet("orders.parquet"), spark.read.parquet("people")

def write(frame, name):
    frame.write.mode("overwrite").parquet(name)

large = orders.filter((F.col("amount") > 20) & ~F.col("person").isin(1, 2))
write(large.select("id", (F.col("amount") * 2).alias("twice")), "filtered")
write(orders.join(people, "person").drop("person").repartition(3), "joined")
both = orders.join(people, orders.person == people.person, "left").select("id", "city")
write(both.where("id < 9"), "sided")
totals = orders.groupBy("person").agg(F.sum("amount").alias("total"), F.count("*").alias("n"))
write(totals.coalesce(1), "totals")
again = spark.read.parquet("totals").withColumn("rich", F.col("total") > 150)
write(again.filter("rich").orderBy(F.col("total").desc()), "rich")
orders.createOrReplaceTempView("o")
people.createOrReplaceTempView("p")
write(spark.sql("SELECT city, max(amount) AS most FROM o JOIN p USING (person) "
                "WHERE o.id NOT IN (SELECT person FROM p) GROUP BY city HAVING count(*) > 2"), "asked")
write(orders.select("person").union(people.select("person")).distinct(), "persons")
write(orders.select("person"), "equal")
write(orders.orderBy("amount").limit(3), "tied")
write(orders.sample(1.0, seed=1), "sampled")
write(orders.withColumn("r", F.rand(1)), "drawn")
write(spark.read.csv("plain.csv", header=True), "plain")
orders.write.mode("overwrite").json("as_json")
orders.write.mode("overwrite").format("csv").save("as_csv")
write(orders.join(people, orders.person == people.person).select(orders.person, "city"), "vague")
print(spark.catalog.listTables(), spark.read.parquet("totals").count())
spark.stop()
"""
QUIET = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


def parts(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder of Parquet as they are numbered: by the names of its files."""
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


class Run:
    """An observed run, and what its store answers."""

    def __init__(self, folder: Path, seen: Observed) -> None:
        self.folder, self.seen = folder, seen
        store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
        # Whatever waits in the spool still, on a busy machine.
        assert main(["stats", "--store", store]) == 0
        self.segment = open_segment(store, create=False)

    def behind(self, name: str, row: int) -> tuple[set[str], list[dict[str, Any]]]:
        told = ask(
            self.segment, "rows", {"id": f"row:file:{self.folder / name}:{row}", "back": True}
        )
        assert not told["gaps"], (name, told["gaps"])
        found = {f"{Path(one['dataset']).name}:{one['key']}" for one in told["rows"]}
        return found, [one["values"] for one in told["rows"]]


def some(rows: list[Any]) -> list[tuple[int, Any]]:
    """Rows to ask about, by number: of many every seventh."""
    return list(enumerate(rows))[:: 7 if len(rows) > 8 else 1]


def orders_of(run: Run, person: int, above: int = -1) -> set[str]:
    rows = parts(run.folder / "orders.parquet")
    return {
        f"orders.parquet:{row['id']}"
        for row in rows
        if row["person"] == person and row["amount"] > above
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    orders = {
        "id": range(40),
        "person": [n * 3 % 7 for n in range(40)],
        "amount": [n * 11 % 50 for n in range(40)],
    }
    pq.write_table(pa.table(orders), tmp_path / "orders.parquet", row_group_size=16)
    (tmp_path / "people").mkdir()
    for name, start in (("a", 0), ("b", 4)):
        persons = range(start, start + 4)
        cities = [["Oslo", "Rome", "Lima"][n % 3] for n in persons]
        table = pa.table({"person": persons, "city": cities})
        pq.write_table(table, tmp_path / "people" / f"{name}.parquet")
    (tmp_path / "plain.csv").write_text("a\n1\n")
    return tmp_path


def observe(folder: Path) -> Run:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    interpreter = interpreter_of("spark")
    if subprocess.run([interpreter, "-c", "import numpy, pyarrow"], check=False).returncode:
        pytest.skip(
            "the environment of Spark is older than tests/adapters/spark.txt: no NumPy or PyArrow"
        )
    (folder / "script.py").write_text(PROGRAM)
    plain = run_plain(folder, interpreter, "script.py", **QUIET)
    names = [path.parent.name for path in folder.glob("*/_SUCCESS")]
    before = {name: sorted(map(repr, parts(folder / name))) for name in names}
    seen = run_observed(
        folder, interpreter, "script.py", interpreter=interpreter, options=("--rows",), **QUIET
    )
    assert (seen.status, seen.stdout) == (0, plain.stdout), seen.stderr
    assert "UNRESOLVED" not in seen.stderr, "what Spark refused of our own questions"
    assert {name: sorted(map(repr, parts(folder / name))) for name in names} == before
    return Run(folder, seen)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_that_spark_wrote_lead_to_the_rows_of_the_files_that_it_read(folder: Path) -> None:
    run = observe(folder)
    for number, row in some(parts(folder / "filtered")):
        found, values = run.behind("filtered", number)
        assert found == {f"orders.parquet:{row['id']}"}
        assert values[0]["amount"] * 2 == row["twice"]
    persons = [row["person"] for row in parts(folder / "orders.parquet")]
    for name in ("joined", "sided"):
        for number, row in some(parts(folder / name)):
            found, _ = run.behind(name, number)
            person = persons[row["id"]]
            assert found == {f"orders.parquet:{row['id']}", f"people:{person}"}, name
    cities = [row["city"] for row in parts(folder / "people")]
    for number, row in some(parts(folder / "asked")):
        mine = [n for n in range(8, 40) if cities[persons[n]] == row["city"]]
        found, _ = run.behind("asked", number)
        assert found == {f"orders.parquet:{n}" for n in mine} | {
            f"people:{persons[n]}" for n in mine
        }
    check_groups(run)
    check_gaps(run)


def check_groups(run: Run) -> None:
    for name in ("totals", "rich"):
        rows = parts(run.folder / name)
        assert rows
        for number, row in some(rows):
            found, _ = run.behind(name, number)
            own = orders_of(run, row["person"])
            # What was written and read again lies between.
            assert {one for one in found if not one.startswith("totals")} == own
    for number, row in some(parts(run.folder / "persons")):
        found, _ = run.behind("persons", number)
        assert found == orders_of(run, row["person"]) | {f"people:{row['person']}"}


def check_gaps(run: Run) -> None:
    """What is not followed is said by name, and nothing is claimed of it."""
    told = {
        (gap["at"].removeprefix("rows: "), gap["detail"])
        for gap in run.seen.gaps
        if gap["at"].startswith("rows: ")
    }
    said = {operator for operator, _ in told}
    named = {"result", "order", "Sample", "csv", "json", "write", "engine"}
    assert {*named, "unrepeatable function"} == said, told
    for name in ("equal", "tied", "sampled", "drawn", "plain", "as_json", "vague"):
        assert "lodeline_rows" not in run.seen.output(name)["outputFacets"], name
    # What was read to count and to compare is no input.
    assert run.seen.names("inputs") == {"orders.parquet", "people", "plain.csv"}
    assert run.seen.flowed("rich") == {"totals"}

"""Spark's own account of its actions, read from its plans: PySpark 3.5 and 4, real sessions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frameworks import interpreter_of
from observing import Observed, python, run_plain

# One session of a few rows: compiling for speed would cost more than it saves.
QUIET = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
BEGIN = """
from pyspark.sql import SparkSession, functions as F
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "1").config("spark.log.level", "ERROR")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .getOrCreate())
orders = spark.read.csv("orders.csv", header=True, inferSchema=True)
people = spark.read.csv("people.csv", header=True, inferSchema=True)
"""


@pytest.fixture(params=["spark-oldest", "spark"])
def spark_python(request: pytest.FixtureRequest) -> str:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    return interpreter_of(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orders.csv").write_text("id,person,amount\n1,1,2\n2,1,3\n3,2,5\n")
    (tmp_path / "people.csv").write_text("person,city\n1,Oslo\n2,Rome\n")
    return tmp_path


def run(folder: Path, interpreter: str, text: str) -> Observed:
    seen = python(folder, BEGIN + text, interpreter, **QUIET)
    assert seen.status == 0, seen.stderr
    return seen


def fields(seen: Observed, name: str) -> dict[str, set[tuple[str, str]]]:
    """Output column -> the base names of datasets and the columns that it was made of."""
    found: dict[str, set[tuple[str, str]]] = {}
    for source in seen.output(name)["outputFacets"]["lodeline_observed"]["inputs"]:
        for column, told in source.get("fields", {}).items():
            names = {(Path(source["name"]).name, one["field"]) for one in told}
            found[column] = found.get(column, set()) | names
    return found


@pytest.mark.slow
def test_written_files_name_what_they_were_made_of_column_by_column(
    folder: Path, spark_python: str
) -> None:
    seen = run(
        folder,
        spark_python,
        """
joined = orders.join(people, "person").groupBy("city").agg(F.sum("amount").alias("total"))
joined.write.mode("overwrite").parquet("totals")
orders.createOrReplaceTempView("orders")
people.createOrReplaceTempView("people")
spark.sql('''with big as (select * from orders where amount > 2)
    select id, (select max(city) from people p where p.person = big.person) as city from big
    union all select person, concat(city, person) from people''').write.csv("union", header=True)
spark.sql("create table kept using parquet as select amount * 2 as twice from orders")
""",
    )
    assert seen.flowed("totals") == {"orders.csv", "people.csv"}
    assert fields(seen, "totals") == {
        "city": {("people.csv", "city")},
        "total": {("orders.csv", "amount")},
    }
    assert fields(seen, "union") == {
        "id": {("orders.csv", "id"), ("people.csv", "person")},
        "city": {("people.csv", "city"), ("people.csv", "person")},
    }
    assert fields(seen, "kept") == {"twice": {("orders.csv", "amount")}}
    schema = seen.output("totals")["facets"]["schema"]["fields"]
    assert [(field["name"], field["type"]) for field in schema] == [
        ("city", "string"),
        ("total", "long"),
    ]
    assert not seen.gaps, seen.gaps


@pytest.mark.slow
def test_rows_flow_between_python_and_spark_and_what_is_not_followed_is_said(
    folder: Path, spark_python: str
) -> None:
    (folder / "extra.txt").write_text("7\n")
    seen = run(
        folder,
        spark_python,
        """
rows = orders.filter("amount > 2").collect()
open("rows.txt", "w").write(str(rows))
spark.createDataFrame([(1, "x")], ["person", "tag"]).join(people, "person").write.orc("tagged")
spark.sparkContext.textFile("extra.txt").map(lambda line: line * 2).saveAsTextFile("doubled")
people.unpivot("person", ["city"], "name", "value").write.json("long")
try:
    spark.range(3).select(F.raise_error(F.lit("no"))).write.parquet("never")
except Exception as error:
    print(type(error).__name__)
""",
    )
    assert "orders.csv" in seen.flowed("rows.txt")
    assert seen.flowed("tagged") == {"people.csv"}
    assert "extra.txt" in seen.flowed("doubled")
    assert seen.flowed("long") == {"people.csv"}
    assert set(fields(seen, "long")) == {"person"}
    assert any("through Expand" in gap["detail"] for gap in seen.gaps), seen.gaps
    assert "never" not in seen.names("outputs")


@pytest.mark.slow
def test_a_program_prints_and_ends_as_it_does_unobserved(folder: Path) -> None:
    interpreter = interpreter_of("spark")
    text = """
print(orders.groupBy("person").count().orderBy("person").collect())
orders.write.csv("copy")
print(spark.read.csv("copy").count())
spark.stop()
raise SystemExit(7)
"""
    seen = python(folder, BEGIN + text, interpreter, **QUIET)
    shutil.rmtree(folder / "copy")
    plain = run_plain(folder, interpreter, "script.py", **QUIET)
    assert (seen.status, seen.stdout) == (plain.status, plain.stdout)
    assert seen.status == 7
    assert seen.flowed("copy") == {"orders.csv"}

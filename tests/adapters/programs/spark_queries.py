"""Runs queries in one Spark session: `spark_queries.py TASKS ANSWERS`.

TASKS is a list of groups, each with tables and the queries to run over them; ANSWERS gives each
query's rows, or the name of the exception.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.log.level", "OFF")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.sql.adaptive.enabled", "false")
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    .config("spark.sql.files.maxPartitionBytes", "1g")
    .getOrCreate()
)


def open_table(name, table):
    """Make a view of Parquet files, those of a Delta table's snapshot among them, or of values."""
    if table.get("delta"):
        from deltalake import DeltaTable

        table = {"files": DeltaTable(table["delta"]).file_uris()}
    if "files" in table:
        spark.read.parquet(*table["files"]).createOrReplaceTempView(name)
        return
    rows = table["rows"] or [["NULL"] * len(table["columns"])]
    kinds = ", ".join(f"CAST({c} AS {kind}) AS {c}" for c, kind in table["columns"])
    values = ", ".join("(" + ", ".join(row) + ")" for row in rows)
    names = ", ".join(c for c, _ in table["columns"])
    only = "" if table["rows"] else " WHERE false"
    spark.sql(
        f"CREATE OR REPLACE TEMPORARY VIEW {name} AS "
        f"SELECT {kinds} FROM VALUES {values} AS v({names}){only}"
    )


def plain(value):
    return float(value) if type(value).__name__ == "Decimal" else value


def run(sql):
    try:
        return [[plain(value) for value in row] for row in spark.sql(sql).collect()]
    except Exception as error:
        return {"error": type(error).__name__, "said": str(error)[:2000]}


answers = []
for group in json.loads(Path(sys.argv[1]).read_text()):
    for name, table in group["tables"].items():
        open_table(name, table)
    answers.append({sql: run(sql) for sql in group["queries"]})
Path(sys.argv[2]).write_text(json.dumps({"version": spark.version, "answers": answers}))
spark.stop()

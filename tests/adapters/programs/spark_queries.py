"""Runs queries in one Spark session: `spark_queries.py TASKS ANSWERS`.

TASKS is a list of groups: tables, and lists of alternatives, each a list of queries. Of alternatives
the first whose queries all run counts; where none does, the query itself is run. ANSWERS gives
each query's rows, or what Spark said.
"""

import json
import logging
import sys
from pathlib import Path

from pyspark.sql import SparkSession

logging.disable()  # Else Spark 4 logs each refusal, with a page of Java.
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.log.level", "OFF")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.sql.adaptive.enabled", "false")
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    .config("spark.sql.catalogImplementation", "in-memory")
    .config("spark.sql.warehouse.dir", str(Path.cwd() / "warehouse"))
    .config("spark.sql.pyspark.jvmStacktrace.enabled", "false")
    .getOrCreate()
)


def files_of(folder):
    """List the files of a Delta table's newest version; without `deltalake` those of the folder."""
    try:
        from deltalake import DeltaTable, convert_to_deltalake
    except ImportError:
        return [folder]
    convert_to_deltalake(folder)
    return DeltaTable(folder).file_uris()


def open_table(name, table):
    """Make a table of a folder of Parquet, a view of a Delta table's files, or of values."""
    if "folder" in table:
        spark.sql(f"CREATE TABLE {name} USING parquet LOCATION '{table['folder']}'")
        return
    if "delta" in table:
        frame = spark.read.parquet(*files_of(table["delta"]))
        columns = [*frame.columns, "_metadata.file_path AS file", "_metadata.row_index AS place"]
        frame.selectExpr(*columns).createOrReplaceTempView(name)
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


def answer(alternatives, said):
    for queries in alternatives:
        for sql in queries:
            said[sql] = run(sql)
            if isinstance(said[sql], dict):
                break
        else:
            return True
    return False


answers = []
for group in json.loads(Path(sys.argv[1]).read_text()):
    for name, table in group["tables"].items():
        open_table(name, table)
    said = {}
    for sql, alternatives in group["queries"]:
        if not answer(alternatives, said):
            answer([[sql]], said)
    answers.append(said)
Path(sys.argv[2]).write_text(json.dumps({"version": spark.version, "answers": answers}))
spark.stop()

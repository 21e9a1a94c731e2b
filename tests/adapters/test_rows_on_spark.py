"""Row lineage on a Spark cluster of two workers, composed from an archive and of queries.

What is composed equals what the store answers; what a rewritten query gives, and its links, equal
what the embedded engine gives.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from frameworks import ROOT, interpreter_of

duckdb = pytest.importorskip("duckdb")
pq = pytest.importorskip("pyarrow.parquet")

from lodeline.sql import Rewriting, Source, rewrite_rows  # noqa: E402
from lodeline.sql.sources import parse_query  # noqa: E402
from row_links import links_of  # noqa: E402

JOB = ROOT / "src" / "lodeline" / "exports" / "spark_rows.py"
CLI = [sys.executable, "-m", "lodeline.cli.main"]
# A sort with a filter, a join and a group, in steps of files.
PIPELINE = """
import duckdb
db = duckdb.connect()
db.execute('''COPY (SELECT i AS id, i % 7 AS kind, (i * 37) % 101 AS value
    FROM range(400) t(i)) TO 'raw.parquet' ''')
db.execute('''COPY (SELECT i AS kind, 'kind ' || i AS name FROM range(6) t(i))
    TO 'kinds.parquet' ''')
db.execute("COPY (SELECT * FROM 'raw.parquet' WHERE value > 20 ORDER BY value) TO 'some.parquet'")
db.execute('''COPY (SELECT name, sum(value) AS total FROM 'some.parquet' JOIN 'kinds.parquet'
    USING (kind) GROUP BY name ORDER BY name) TO 'totals.parquet' ''')
"""
# The classes of Spark are not verified again each time: each Java here loads thousands.
QUICK = (
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)
JAVA = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_DAEMON_JAVA_OPTS": QUICK,
    "SPARK_SUBMIT_OPTS": QUICK,
    # Of the Java that only finds out the command of another.
    "SPARK_LAUNCHER_OPTS": QUICK,
}
# Queries of both engines; each links its rows in another way.
QUERIES = {
    "join and group": "SELECT name, sum(value) AS total, count(*) AS n "
    "FROM raw JOIN kinds USING (kind) GROUP BY name",
    "outer join": "SELECT r.id, k.name FROM raw AS r LEFT JOIN kinds AS k ON r.kind = k.kind "
    "WHERE r.id % 9 = 0",
    "window": "SELECT id, sum(value) OVER (PARTITION BY kind ORDER BY id) AS so_far "
    "FROM raw WHERE id % 9 = 0",
    "union": "SELECT kind FROM raw WHERE id > 200 UNION SELECT kind FROM kinds",
    "union all": "SELECT kind, id FROM raw WHERE id % 40 = 0 UNION ALL SELECT kind, 0 FROM kinds",
    "semi-join": "SELECT id FROM raw SEMI JOIN kinds ON raw.kind = kinds.kind WHERE id % 9 = 0",
    "semi-join by IN": "SELECT id * 2 AS twice FROM raw "
    "WHERE id % 9 = 0 AND kind IN (SELECT kind FROM kinds WHERE name <> 'kind 2')",
    "anti-join": "SELECT id FROM raw WHERE kind NOT IN (SELECT kind FROM kinds)",
}
COLUMNS = {
    "raw": (("id", "BIGINT"), ("kind", "BIGINT"), ("value", "BIGINT")),
    "kinds": (("kind", "BIGINT"), ("name", "STRING")),
}
# The files of the tables on the cluster, and the number of the first row of each.
FILES = {"raw": {"a.parquet": 0, "b.parquet": 250}, "kinds": {"all.parquet": 0}}
# Every question of the test in one application: starting one takes longer than all of them.
QUESTIONS = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import spark_rows as job
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
deadline = time.monotonic() + 180
while (workers := spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1) < 2:
    assert time.monotonic() < deadline, "a worker has no executor"
    time.sleep(0.1)
archive = job.Archive(spark, sys.argv[2])
found = []
for name, version, rows, back in json.loads(Path(sys.argv[3]).read_text()):
    root = job.Node(name, version)
    answer = job.compose(archive, root, rows, back=back)
    assert not answer.missing
    table = job.to_table(archive, answer, without=root)
    found.append(sorted([row.dataset, row.version, row.row] for row in table.collect()))
tables = job.Archive(spark, "tables")
for name in ("raw", "kinds"):
    columns = ["*", "_metadata.file_path AS file", "_metadata.row_index AS place"]
    tables.table(name).selectExpr(*columns).createOrReplaceTempView(name)
parts = spark.table("raw").rdd.getNumPartitions()
texts = json.loads(Path("texts.json").read_text())
rows = {text: [list(row) for row in spark.sql(text).collect()] for text in texts}
told = {"workers": workers, "found": found, "parts": parts, "rows": rows}
Path(sys.argv[4]).write_text(json.dumps(told))
# The command, of Delta tables into one; it ends the session.
name, version, rows, _ = json.loads(Path(sys.argv[3]).read_text())[0]
asked = ["--id", f"{name}#{version}", "--rows", ",".join(map(str, rows))]
assert job.main(["delta", *asked, "--out", "answer", "--delta"]) == 0
"""


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE", "OPENLINEAGE"))}
    store = f"sqlite:///{folder / 'lodeline.db'}"
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "LODELINE_STORE": store}


def lodeline(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run(
        [*CLI, *words], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline's store, and its archive in `archive`."""
    folder = tmp_path_factory.mktemp("rows")
    (folder / "pipeline.py").write_text(PIPELINE)
    lodeline(folder, "run", "--rows", "--", sys.executable, "pipeline.py")
    lodeline(folder, "export", "--format", "parquet", "--output", "archive")
    return folder


@dataclass(frozen=True)
class Cluster:
    """A standalone master with two workers: its address; Python that has Spark, and Spark."""

    master: str
    interpreter: str
    home: str

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, **JAVA, "SPARK_HOME": self.home, "PYSPARK_PYTHON": self.interpreter}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    interpreter = interpreter_of("spark")
    # Found without importing it, which takes a second.
    find = "import importlib.util as u; print(u.find_spec('pyspark').submodule_search_locations[0])"
    home = subprocess.check_output([interpreter, "-c", find], text=True).strip()
    folder = tmp_path_factory.mktemp("cluster")
    port, *others = free_ports(6)
    made = Cluster(f"spark://127.0.0.1:{port}", interpreter, home)
    wanted = [
        ["master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", others[0]],
        *(
            f"worker.Worker {made.master} --host 127.0.0.1 --cores 1 --memory 512m"
            f" --port {others[i]} --webui-port {others[i + 2]} --work-dir {folder / f'w{i}'}".split()
            for i in (1, 2)
        ),
    ]
    running = []
    try:
        for kind, *words in wanted:
            log = (folder / f"{len(running)}.log").open("w")
            deploy = [f"{home}/bin/spark-class", f"org.apache.spark.deploy.{kind}"]
            running.append(
                subprocess.Popen([*deploy, *words], env=made.env, stdout=log, stderr=log)
            )
        wait_for_workers(folder / "0.log", running)
        yield made
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def free_ports(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for_workers(log: Path, running: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 120
    while log.read_text().count("Registering worker") < 2:
        assert all(one.poll() is None for one in running), log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def version_of(folder: Path, name: str) -> tuple[str, str]:
    path = folder / name
    shown = json.loads(lodeline(folder, "show", f"dataset:file:{path}", "--json"))
    return f"dataset:file:{path}", shown["version"]


def answered(folder: Path, name: str, version: str, rows: list[int] | None, back: bool) -> Any:
    """Ask the store the same: a row each, since its questions name one row."""
    found: set[tuple[str, str, int]] = set()
    direction = "--back" if back else "--forward"
    ids = [f"{name}#{version}"]
    if rows is not None:
        place = name.removeprefix("dataset:")
        ids = [f"row:{place}:{row}#{version}" for row in rows]
    for one in ids:
        told = json.loads(lodeline(folder, "rows", one, direction, "--limit", "10000", "--json"))
        assert told["next"] is None
        found |= {(row["dataset"], row["version"], int(row["key"])) for row in told["rows"]}
    return sorted([list(one) for one in found])


@dataclass(frozen=True)
class Told:
    """What the cluster gave."""

    questions: list[tuple[str, str, list[int] | None, bool]]
    answers: dict[str, Any]
    delta: list[list[Any]]


@pytest.fixture(scope="module")
def told(recorded: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("application")
    names = {name: version_of(recorded, f"{name}.parquet") for name in ("raw", "totals")}
    questions: list[tuple[str, str, list[int] | None, bool]] = [
        (*names["totals"], [0, 3], True),
        (*names["raw"], [1, 34], False),
    ]
    shutil.copytree(recorded / "archive", folder / "delta")
    write_tables(recorded, folder / "tables")
    as_delta(cluster.interpreter, folder)
    (folder / "ask.py").write_text(QUESTIONS)
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "texts.json").write_text(json.dumps([t for q in QUERIES for t in texts_of(q)]))
    submit(cluster, folder, "ask.py", JOB.parent, recorded / "archive", "questions.json", "out")
    answers = json.loads((folder / "out").read_text())
    return Told(questions, answers, read_delta(cluster.interpreter, folder / "answer"))


# The time of the first test is that of the fixtures: of a cluster, on a machine with much to do.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_gives_the_rows_that_the_store_gives(recorded: Path, told: Told) -> None:
    assert told.answers["workers"] == 2
    for question, rows in zip(told.questions, told.answers["found"], strict=True):
        assert rows, question
        assert rows == answered(recorded, *question), question
    assert told.delta == told.answers["found"][0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", QUERIES)
def test_a_rewritten_query_gives_on_a_cluster_what_the_embedded_engine_gives(
    recorded: Path, told: Told, name: str
) -> None:
    assert told.answers["parts"] == 2, "a task a worker"
    rewriting = rewritten(name, "spark")
    assert not rewriting.gaps
    rows = told.answers["rows"]
    found = links_of(rewriting, lambda text: [tuple(row) for row in rows[text]], quote="`")
    links = Counter(
        (
            values,
            frozenset((key, FILES[key][Path(file).name] + place) for key, (file, place) in why),
        )
        for values, why in found
    )
    values, embedded = on_the_embedded_engine(recorded, name)
    assert Counter(values for values, _ in found) == values
    assert links == embedded
    assert all(why for _, why in links)


class Tables:
    """The tables: on the cluster of files and places in them, embedded of numbered rows."""

    def __init__(self, dialect: str) -> None:
        self._spark = dialect == "spark"

    def find_source(self, table: Any) -> Source:
        name, columns = table.name, COLUMNS[table.name]
        if not self._spark:
            return Source(name, ("file", name), columns, "rowid")
        # A view has no hidden columns: it gives them as others.
        columns = (*columns, ("file", "STRING"), ("place", "BIGINT"))
        return Source(name, ("file", name), columns, "key", keys=("file", "place"))


def rewritten(name: str, dialect: str) -> Rewriting:
    tree = parse_query(QUERIES[name], dialect=dialect)
    return rewrite_rows(tree, Tables(dialect), dialect=dialect)


def texts_of(name: str) -> list[str]:
    """What the cluster has to be asked for one query."""
    texts: list[str] = []

    def ask(text: str) -> list[tuple[Any, ...]]:
        texts.append(text)
        return []

    links_of(rewritten(name, "spark"), ask, quote="`")
    return texts


def on_the_embedded_engine(folder: Path, name: str) -> tuple[Counter[Any], Counter[Any]]:
    """Give the rows of the query as it is, and those of the rewritten one with their links."""
    with duckdb.connect() as connection:
        for table in COLUMNS:
            connection.execute(f"CREATE TABLE {table} AS FROM '{folder / table}.parquet'")
        plain = connection.execute(QUERIES[name]).fetchall()
        rewriting = rewritten(name, "duckdb")
        found = links_of(rewriting, lambda text: connection.execute(text).fetchall())
    assert not rewriting.gaps
    return Counter(plain), Counter(found)


def write_tables(recorded: Path, target: Path) -> None:
    """Write tables of the pipeline as folders: one in two files, so that two workers read it."""
    for name, files in FILES.items():
        (target / name).mkdir(parents=True)
        table = pq.read_table(recorded / f"{name}.parquet")
        ends = [*list(files.values())[1:], table.num_rows]
        for (file, start), end in zip(files.items(), ends, strict=True):
            pq.write_table(table.slice(start, end - start), target / name / file)


def as_delta(interpreter: str, folder: Path) -> None:
    """Make Delta tables of those of an archive, and of one that queries read."""
    convert = (
        "from deltalake import convert_to_deltalake as convert\n"
        "from deltalake.schema import Field, PrimitiveType, Schema\n"
        "for table, key in (('row_steps', 'date'), ('row_links', 'links')):\n"
        "    text = Schema([Field(key, PrimitiveType('string'))])\n"
        "    convert(f'delta/{table}', partition_by=text, partition_strategy='hive')\n"
        "convert('tables/kinds')\n"
    )
    subprocess.run([interpreter, "-c", convert], cwd=folder, check=True, timeout=60)


def read_delta(interpreter: str, folder: Path) -> list[list[Any]]:
    """Read a Delta table's rows."""
    read = (
        "import json; from deltalake import DeltaTable\n"
        "print(json.dumps(DeltaTable('.').file_uris()))"
    )
    files = subprocess.check_output([interpreter, "-c", read], cwd=folder, timeout=60)
    rows = pq.ParquetDataset(json.loads(files)).read().to_pylist()
    return sorted([row["dataset"], row["version"], row["row"]] for row in rows)


def submit(cluster: Cluster, folder: Path, program: str, *words: object) -> None:
    conf = ["spark.ui.enabled=false", "spark.log.level=ERROR", "spark.sql.shuffle.partitions=2"]
    conf += ["spark.sql.codegen.wholeStage=false", "spark.sql.adaptive.enabled=false"]
    conf += ["spark.sql.codegen.factoryMode=NO_CODEGEN"]
    conf += [f"spark.executor.extraJavaOptions={QUICK}"]
    conf += ["spark.executor.memory=512m", "spark.driver.bindAddress=127.0.0.1"]
    command = [f"{cluster.home}/bin/spark-submit", "--master", cluster.master]
    command += [word for one in conf for word in ("--conf", one)]
    done = subprocess.run(
        [*command, program, *map(str, words)],
        cwd=folder,
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert done.returncode == 0, done.stderr[-4000:]

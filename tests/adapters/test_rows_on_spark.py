"""Row lineage of an archive on a Spark cluster of two workers equals what the store answers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frameworks import ROOT, interpreter_of

pytest.importorskip("duckdb")
pq = pytest.importorskip("pyarrow.parquet")

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
JAVA = {
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
# Every question of the test in one application: starting one takes longer than all of them.
QUESTIONS = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import spark_rows as job
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
deadline = time.monotonic() + 60
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
Path(sys.argv[4]).write_text(json.dumps({"workers": workers, "found": found}))
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A standalone master with two workers: its address, and the interpreter that has Spark."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    interpreter = interpreter_of("spark")
    home = subprocess.check_output(
        [interpreter, "-c", "import pyspark; print(pyspark.__path__[0])"], text=True
    ).strip()
    folder = tmp_path_factory.mktemp("cluster")
    port, *others = free_ports(6)
    master = f"spark://127.0.0.1:{port}"
    wanted = [
        ["master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", others[0]],
        *(
            f"worker.Worker {master} --host 127.0.0.1 --cores 1 --memory 512m --port {others[i]}"
            f" --webui-port {others[i + 2]} --work-dir {folder / f'w{i}'}".split()
            for i in (1, 2)
        ),
    ]
    env = {**os.environ, **JAVA, "SPARK_HOME": home, "PYSPARK_PYTHON": interpreter}
    running = []
    try:
        for kind, *words in wanted:
            log = (folder / f"{len(running)}.log").open("w")
            deploy = [f"{home}/bin/spark-class", f"org.apache.spark.deploy.{kind}"]
            running.append(subprocess.Popen([*deploy, *words], env=env, stdout=log, stderr=log))
        wait_for_workers(folder / "0.log", running)
        yield master, interpreter
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_gives_the_rows_that_the_store_gives(
    recorded: Path, cluster: tuple[str, str], tmp_path: Path
) -> None:
    names = {name: version_of(recorded, f"{name}.parquet") for name in ("raw", "totals")}
    questions: list[tuple[str, str, list[int] | None, bool]] = [
        (*names["totals"], [0, 3], True),
        (*names["raw"], [1, 34], False),
    ]
    as_delta(cluster[1], recorded / "archive", tmp_path / "delta")
    (tmp_path / "ask.py").write_text(QUESTIONS)
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    submit(cluster, tmp_path, "ask.py", JOB.parent, recorded / "archive", "questions.json", "out")
    told = json.loads((tmp_path / "out").read_text())
    assert told["workers"] == 2
    for question, rows in zip(questions, told["found"], strict=True):
        assert rows, question
        assert rows == answered(recorded, *question), question
    assert read_delta(cluster[1], tmp_path / "answer") == told["found"][0]


def as_delta(interpreter: str, archive: Path, target: Path) -> None:
    """Make Delta tables of a copy of an archive."""
    shutil.copytree(archive, target)
    convert = (
        "from deltalake import convert_to_deltalake as convert\n"
        "from deltalake.schema import Field, PrimitiveType, Schema\n"
        "for table, key in (('row_steps', 'date'), ('row_links', 'links')):\n"
        "    text = Schema([Field(key, PrimitiveType('string'))])\n"
        "    convert(table, partition_by=text, partition_strategy='hive')\n"
    )
    subprocess.run([interpreter, "-c", convert], cwd=target, check=True, timeout=60)


def read_delta(interpreter: str, folder: Path) -> list[list[Any]]:
    """Read a Delta table's rows."""
    read = (
        "import json; from deltalake import DeltaTable\n"
        "print(json.dumps(DeltaTable('.').file_uris()))"
    )
    files = subprocess.check_output([interpreter, "-c", read], cwd=folder, timeout=60)
    rows = pq.ParquetDataset(json.loads(files)).read().to_pylist()
    return sorted([row["dataset"], row["version"], row["row"]] for row in rows)


def submit(cluster: tuple[str, str], folder: Path, program: str, *words: object) -> None:
    master, interpreter = cluster
    conf = ["spark.ui.enabled=false", "spark.log.level=ERROR", "spark.sql.shuffle.partitions=2"]
    conf += ["spark.sql.codegen.wholeStage=false", "spark.sql.adaptive.enabled=false"]
    conf += [f"spark.executor.extraJavaOptions={JAVA['SPARK_SUBMIT_OPTS']}"]
    conf += ["spark.executor.memory=512m", "spark.driver.bindAddress=127.0.0.1"]
    home = subprocess.check_output(
        [interpreter, "-c", "import pyspark; print(pyspark.__path__[0])"], text=True
    ).strip()
    command = [f"{home}/bin/spark-submit", "--master", master]
    command += [word for one in conf for word in ("--conf", one)]
    done = subprocess.run(
        [*command, program, *map(str, words)],
        cwd=folder,
        env={**os.environ, **JAVA, "SPARK_HOME": home, "PYSPARK_PYTHON": interpreter},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]

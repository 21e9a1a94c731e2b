"""How long does a lineage question take: ours, and Marquez's own SQL over the same graph?

Workload: jobs that each read two datasets of those written shortly before and write one, so that
the graph is deep. Marquez's query is read from a checkout of Marquez (`--marquez` names its
`LineageDao.java`); it runs on PostgreSQL over the two tables that it reads, filled with the same
jobs. Ours answers `trace` (whole answers, with nodes, edges and owners) from SQLite, and from the
same PostgreSQL. Marquez's walk is undirected and finds siblings, ours is directed: each one's
number of jobs is told beside its time. A question that takes longer than `--timeout` is ended.

    python bench/marquez_lineage.py --marquez LineageDao.java --out FILE
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from http_ingest import DEBIAN, postgresql
from lodeline.ingest import accept
from lodeline.ingest.projection import fold_pending
from lodeline.query import ask
from lodeline.store import open_segment

DEPTHS = (1, 2, 3, 5)
TABLES = """
CREATE TABLE jobs (uuid UUID PRIMARY KEY, symlink_target_uuid UUID, name TEXT);
CREATE VIEW jobs_view AS SELECT * FROM jobs;
CREATE TABLE job_versions_io_mapping (
    job_uuid UUID, job_symlink_target_uuid UUID, dataset_uuid UUID, io_type TEXT,
    is_current_job_version BOOLEAN
);
CREATE INDEX ON job_versions_io_mapping (job_uuid);
CREATE INDEX ON job_versions_io_mapping (dataset_uuid);
"""


def make_jobs(count: int, seed: int) -> list[tuple[list[int], int]]:
    """Draw the datasets that each job reads, and the one that it writes: its own number."""
    chance = random.Random(seed)
    jobs: list[tuple[list[int], int]] = []
    for number in range(count):
        near = range(max(0, number - 1_000), number)
        reads = sorted(chance.sample(near, min(2, len(near))))
        jobs.append((reads, number))
    return jobs


def read_query(dao: Path) -> str:
    """Find the lineage query in Marquez's source, as its driver would send it."""
    found = re.search(
        r'"""(?P<sql>[^"]*?)"""\)\s*Set<JobData> getLineage', dao.read_text(encoding="utf-8")
    )
    if found is None:
        raise SystemExit(f"no lineage query in {dao}")
    return found["sql"].replace("<jobIds>", "%(job)s").replace(":depth", "%(depth)s")


def fill_marquez(connection: Any, jobs: list[tuple[list[int], int]]) -> None:
    """Write the jobs as Marquez's tables hold them."""
    connection.execute(TABLES)
    with connection.cursor().copy("COPY jobs FROM STDIN") as copy:
        for _, number in jobs:
            copy.write_row((UUID(int=number), None, f"job_{number}"))
    with connection.cursor().copy("COPY job_versions_io_mapping FROM STDIN") as copy:
        for reads, number in jobs:
            for dataset, kind in [*((one, "INPUT") for one in reads), (number, "OUTPUT")]:
                row = (UUID(int=number), None, UUID(int=1 << 64 | dataset), kind, True)
                copy.write_row(row)
    connection.execute("ANALYZE")
    connection.commit()


def fill_lodeline(segment: Any, jobs: list[tuple[list[int], int]]) -> None:
    """Bring the same jobs as events."""
    events = []
    for reads, number in jobs:
        event = {
            "eventTime": "2026-01-01T00:00:00Z",
            "producer": "https://example.com/bench",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent",
            "job": {"namespace": "b", "name": f"job_{number}"},
            "inputs": [{"namespace": "b", "name": f"d{one}"} for one in reads],
            "outputs": [{"namespace": "b", "name": f"d{number}"}],
        }
        events.append(json.dumps(event).encode())
    for start in range(0, len(events), 2_000):
        accept(segment, events[start : start + 2_000])
        fold_pending(segment)


def timed(run: Callable[[], int], repeats: int) -> dict[str, Any]:
    """Give the median time of a question, and how many jobs it found."""
    took = []
    found = 0
    for _ in range(repeats):
        begun = time.perf_counter()
        try:
            found = run()
        except psycopg.errors.QueryCanceled:
            return {"over_ms": round((time.perf_counter() - begun) * 1000)}
        took.append((time.perf_counter() - begun) * 1000)
    return {"median_ms": round(statistics.median(took), 2), "jobs": found}


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask both, depth by depth, from the job that was written last."""
    jobs = make_jobs(arguments.jobs, seed=1)
    query = read_query(arguments.marquez)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "postgresql").mkdir()
        with postgresql(folder / "postgresql") as url, psycopg.connect(url) as connection:
            fill_marquez(connection, jobs)
            connection.execute(f"SET statement_timeout = {arguments.timeout * 1000}")
            connection.commit()
            job = UUID(int=arguments.jobs - 1)

            def theirs(depth: int) -> int:
                connection.rollback()
                parameters = {"job": job, "depth": depth}
                return len(connection.execute(query, parameters).fetchall())

            results["marquez sql"] = {
                f"depth {depth}": timed(lambda depth=depth: theirs(depth), 3) for depth in DEPTHS
            }
            stores = {
                "lodeline sqlite": f"sqlite:///{folder}/l.db",
                "lodeline postgresql": f"{url}?schema=lodeline&folder={folder}/lodeline",
            }
            for label, store in stores.items():
                segment = open_segment(store, create=True)
                fill_lodeline(segment, jobs)

                def ours(depth: int | None, segment: Any = segment) -> int:
                    root = f"dataset:b:d{arguments.jobs - 1}"
                    answer = ask(segment, "trace", {"id": root, "depth": depth})
                    return sum(node["kind"] == "job" for node in answer["nodes"])

                results[label] = {
                    f"depth {depth or 'unlimited'}": timed(lambda depth=depth: ours(depth), 5)
                    for depth in (*DEPTHS, None)
                }
                segment.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marquez", type=Path, required=True, help="Marquez's LineageDao.java")
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one question")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not (DEBIAN / "initdb").exists():
        raise SystemExit(f"no PostgreSQL in {DEBIAN}")
    report = {
        "question": "How long does a lineage question take, ours and Marquez's own SQL?",
        "command": "python bench/marquez_lineage.py --marquez LineageDao.java --out "
        "bench/results/marquez_lineage.json",
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_average_before": round(os.getloadavg()[0], 2),
        },
        "jobs": arguments.jobs,
        "timeout_seconds": arguments.timeout,
        "results": measure(arguments),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""How fast does the log become the graph, beside the bare insert of the same rows?

Two seeded workloads of START and COMPLETE pairs, with schemas and a parent run as dbt sends them:
`repeated`, 200 jobs that run again and again; `new`, every run a new job over new datasets.
Only folding is timed; the events are in the log before. The floor copies the rows of the finished
view, table by table, into an empty file with the same tables and indexes, in batches of as many
events.

    python bench/fold.py --events 40000 --out bench/results/fold.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from lodeline import ingest
from lodeline.limits import FOLD_EVENTS_MAX
from lodeline.model import format_time
from lodeline.store import open_segment
from lodeline.store.graph_tables import TABLES, create_graph_tables

JOBS = 200
BEGIN_US = 1_790_000_000 * 1_000_000
SCHEMA_URL = "https://openlineage.io/spec/facets/1-1-1/SchemaDatasetFacet.json"


def dataset(name: str) -> dict[str, object]:
    fields = [{"name": f"column_{i}", "type": "VARCHAR"} for i in range(8)]
    facet = {"_producer": "https://example.org", "_schemaURL": SCHEMA_URL, "fields": fields}
    return {"namespace": "warehouse", "name": name, "facets": {"schema": facet}}


def generate(workload: str, events: int, seed: int) -> Iterator[bytes]:
    dice = random.Random(seed)
    for number in range(events // 2):
        job = number % JOBS if workload == "repeated" else number
        run = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        parent = {"run": {"runId": run}, "job": {"namespace": "etl", "name": "pipeline"}}
        for kind, after_us in (("START", 0), ("COMPLETE", 30_000_000)):
            event = {
                "eventTime": format_time(BEGIN_US + number * 1_000_000 + after_us),
                "eventType": kind,
                "run": {"runId": run, "facets": {"parent": parent}},
                "job": {"namespace": "etl", "name": f"job_{job}"},
                "inputs": [dataset(f"table_{job}_a"), dataset(f"table_{job}_b")],
                "outputs": [dataset(f"table_{job}_c")],
                "producer": "https://example.org",
                "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            }
            yield json.dumps(event).encode()


# Arrival order: rows sorted by their keys would be appended, which no writer of a log can do.
ARRIVAL = {
    "uses_assertion": "uses_id, derivation_id",
    "uses_read": "uses_id, node_id",
    "group_uses": "position_from",
    "write": "position_from, node_id",
    "run_state": "position_from",
    "parent": "position_from",
    "run_event": "position",
    "mention": "position, node_id",
    "sighting": "position, node_id",
}


def measure_floor(path: Path, folder: Path, events: int) -> tuple[float, float, int]:
    """Insert the rows of a finished view again; seconds, seconds of processor, and rows."""
    source = sqlite3.connect(path)
    rows = {
        name: source.execute(
            f"SELECT * FROM {name} ORDER BY {ARRIVAL.get(name, 'rowid')}"
        ).fetchall()
        for name in TABLES
        if name in ARRIVAL or "WITHOUT ROWID" not in TABLES[name]
    }
    source.close()
    target = sqlite3.connect(folder / "floor.db", isolation_level=None)
    target.execute("PRAGMA journal_mode=WAL")
    target.execute("PRAGMA synchronous=NORMAL")
    create_graph_tables(target)
    batches = max(1, events // FOLD_EVENTS_MAX)
    begin, busy = time.perf_counter(), time.process_time()
    for batch in range(batches):
        target.execute("BEGIN")
        for name, found in rows.items():
            part = found[len(found) * batch // batches : len(found) * (batch + 1) // batches]
            if part:
                marks = ", ".join("?" * len(part[0]))
                target.executemany(f"INSERT INTO {name} VALUES ({marks})", part)
        target.execute("COMMIT")
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    target.close()
    return seconds, busy, sum(len(found) for found in rows.values())


def measure(workload: str, events: int, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        segment = open_segment(f"sqlite:///{folder / 'bench.db'}")
        ingest.accept(segment, generate(workload, events, seed), fold=False)
        before = (folder / "bench.db").stat().st_size
        begin, busy = time.perf_counter(), time.process_time()
        ingest.fold_pending(segment)
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        segment.close()
        grown = (folder / "bench.db").stat().st_size - before
        floor, floor_busy, rows = measure_floor(folder / "bench.db", folder, events)
    return {
        "events_per_second": events / seconds,
        "floor_events_per_second": events / floor,
        "cpu_us_per_event": busy / events * 1e6,
        "floor_cpu_us_per_event": floor_busy / events * 1e6,
        "of_floor_by_cpu": floor_busy / busy,
        "events_per_cpu_second": events / busy,
        "view_rows_per_event": rows / events,
        "view_bytes_per_event": grown / events,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, object] = {
        "question": "events folded into the view a second, beside the bare insert of its rows",
        "command": f"python bench/fold.py --events {options.events} --rounds {options.rounds}",
        "machine": f"{platform.machine()}, {platform.system()}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores, SQLite {sqlite3.sqlite_version}",
        "load_average": round(os.getloadavg()[0], 1),
        "events": options.events,
        "seed": options.seed,
    }
    for workload in ("repeated", "new"):
        rounds = [measure(workload, options.events, options.seed) for _ in range(options.rounds)]
        medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        worst = min(one["events_per_second"] for one in rounds)
        result[workload] = {
            **{key: round(value, 2) for key, value in medians.items()},
            "events_per_second_worst": round(worst, 2),
        }
        print(workload, json.dumps(result[workload]))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

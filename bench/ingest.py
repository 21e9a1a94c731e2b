"""How fast does a batch come in, and what of its cost is decoding, commitment, log, fold?

Workload: seeded OpenLineage run events of about 2 kB. `new`: every run is of a job of its own
between datasets of its own, so every edge is new. `repeated`: 200 jobs run again and again, as
real jobs do. Floors, in the same run and on the same file system: the bare insert of the same
rows (every row that the ingest left in every table, into the same tables and indexes without
triggers, in as many durable transactions), and one fdatasync.

    python bench/ingest.py --out bench/results/ingest.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lodeline.ingest import accept, prepare_event
from lodeline.ingest.projection import fold_pending
from lodeline.limits import COMMIT_EVENTS_MAX
from lodeline.proof import (
    LeafRecord,
    Signer,
    TreeHead,
    commit_fields,
    encode_leaf,
    format_tree_head,
    hash_leaf,
    record_id,
    sign_note,
)
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.tlog import GrowingTree

REPEATED_JOBS = 200
COLUMNS = 8
SCHEMA_URL = "https://openlineage.io/spec/facets/1-1-1/{}.json#/$defs/{}"


def make_events(count: int, *, repeated: bool, seed: int) -> list[bytes]:
    """Draw START and COMPLETE events of `count / 2` runs."""
    chance = random.Random(seed)
    events = []
    for number in range(count):
        run = number // 2
        job = chance.randrange(REPEATED_JOBS) if repeated and number % 2 == 0 else run
        if repeated and number % 2:
            job = json.loads(events[-1])["job"]["name"].removeprefix("job_")
        events.append(json.dumps(make_event(number, run, job)).encode())
    return events


def make_event(number: int, run: int, job: int | str) -> dict[str, Any]:
    """Give one event of a job that reads two datasets and writes one, with columns."""
    start = number % 2 == 0
    fields = [{"name": f"column_{i}", "type": "BIGINT"} for i in range(COLUMNS)]
    schema = {
        "_producer": "https://example.com/bench",
        "_schemaURL": SCHEMA_URL.format("SchemaDatasetFacet", "SchemaDatasetFacet"),
        "fields": fields,
    }
    inputs = [
        {"namespace": "warehouse", "name": f"source_{job}_{i}", "facets": {"schema": schema}}
        for i in range(2)
    ]
    column_lineage = {
        "_producer": "https://example.com/bench",
        "_schemaURL": SCHEMA_URL.format("ColumnLineageDatasetFacet", "ColumnLineageDatasetFacet"),
        "fields": {
            f"column_{i}": {
                "inputFields": [
                    {
                        "namespace": "warehouse",
                        "name": f"source_{job}_{i % 2}",
                        "field": f"column_{i}",
                    }
                ]
            }
            for i in range(3)
        },
    }
    output = {
        "namespace": "warehouse",
        "name": f"target_{job}",
        "facets": {"schema": schema, "columnLineage": column_lineage},
    }
    seconds = number % 86_400
    return {
        "eventType": "START" if start else "COMPLETE",
        "eventTime": (
            f"2026-{1 + number // 86_400 % 12:02d}-01T"
            f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"
        ),
        "producer": "https://example.com/bench",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": f"00000000-0000-4000-8000-{run:012x}",
            "facets": {
                "processing_engine": {
                    "_producer": "https://example.com/bench",
                    "_schemaURL": SCHEMA_URL.format(
                        "ProcessingEngineRunFacet", "ProcessingEngineRunFacet"
                    ),
                    "version": "3.5.1",
                    "name": "bench",
                }
            },
        },
        "job": {"namespace": "bench", "name": f"job_{job}"},
        "inputs": [] if start else inputs,
        "outputs": [] if start else [output],
    }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Run once; give wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def fdatasync_seconds(folder: Path) -> float:
    """Median of 100 appends of a page, each followed by fdatasync."""
    times = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def copy_tables(source: Path, target: Path) -> list[tuple[str, str, list[tuple[Any, ...]]]]:
    """Make the tables and indexes of a store, empty and without triggers; give its rows."""
    reader = sqlite3.connect(source)
    writer = sqlite3.connect(target, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    statements = reader.execute(
        "SELECT type, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index') "
        "AND name NOT LIKE 'sqlite_%' ORDER BY type DESC"
    ).fetchall()
    for _, statement in statements:
        writer.execute(statement)
    writer.close()
    rows = []
    for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        if name.startswith("sqlite_"):
            continue
        found = reader.execute(f"SELECT * FROM {name}").fetchall()
        if found:
            marks = ",".join("?" * len(found[0]))
            rows.append((name, f"INSERT INTO {name} VALUES ({marks})", found))
    reader.close()
    return rows


def insert_bare(
    target: Path, rows: Sequence[tuple[str, str, list[tuple[Any, ...]]]], commits: int
) -> None:
    """Insert the rows in so many durable transactions, each with its share of every table."""
    writer = sqlite3.connect(target, isolation_level=None, cached_statements=256)
    writer.execute("PRAGMA synchronous=FULL")
    for number in range(commits):
        writer.execute("BEGIN IMMEDIATE")
        for _, statement, found in rows:
            share = slice(len(found) * number // commits, len(found) * (number + 1) // commits)
            writer.executemany(statement, found[share])
        writer.execute("COMMIT")
    writer.close()


def log_alone(segment_id: str, prepared: Sequence[AcceptedEvent], *, committed: bool) -> None:
    """Identifiers, commitments, leaves, tree and signatures, without a store."""
    signer = Signer("bench", b"b" * 32)
    tree = GrowingTree()
    for start in range(0, len(prepared), COMMIT_EVENTS_MAX):
        secrets = os.urandom(32 * COMMIT_EVENTS_MAX)
        hashes = []
        for i, event in enumerate(prepared[start : start + COMMIT_EVENTS_MAX]):
            secret = secrets[32 * i : 32 * i + 32]
            commitment = commit_fields(secret, event.fields) if committed else secret
            identifier = record_id(b"k" * 32, event.canonical)
            leaf = encode_leaf(LeafRecord(segment_id, 1, "event", identifier, commitment))
            hashes.append(hash_leaf(leaf))
        tree.extend(hashes)
        sign_note(format_tree_head(TreeHead("bench", tree.size, tree.root())), [signer])


def page_bytes(segment: SqliteSegment) -> dict[str, int]:
    """Bytes of each table, its indexes included; empty where SQLite cannot tell."""
    with segment.reading() as connection:
        try:
            return dict(
                connection.execute(
                    "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_master USING(name) "
                    "GROUP BY tbl_name"
                ).fetchall()
            )
        except sqlite3.Error:
            return {}


def measure_batch(raws: list[bytes], folder: Path) -> dict[str, Any]:
    """Ingest once into a fresh store, then insert its rows bare into another."""
    path = folder / "lodeline.db"
    segment = open_segment(f"sqlite:///{path}")
    appended = timed(lambda: accept(segment, raws, fold=False))
    folded = timed(lambda: fold_pending(segment))
    commits = -(-len(raws) // COMMIT_EVENTS_MAX)
    sizes = page_bytes(segment)
    segment.close()
    result = {
        "append_seconds": appended,
        "fold_seconds": folded,
        "bytes_by_table": sizes,
        "file_bytes": path.stat().st_size,
    }
    for name, kept in (("bare", None), ("bare_log", LOG_TABLES)):
        rows = [row for row in copy_tables(path, folder / name) if not kept or row[0] in kept]
        result[name + "_rows"] = sum(len(found) for _, _, found in rows)
        target = folder / name
        result[name + "_seconds"] = timed(lambda t=target, r=rows: insert_bare(t, r, commits))
    return result


LOG_TABLES = {
    "entry", "payload", "record_secret", "event_id", "tile", "tile_edge", "checkpoint", "meta",
}  # fmt: skip


def measure_single(raws: list[bytes], folder: Path, fdatasync: float) -> dict[str, float]:
    """Append durable events one by one."""
    segment = open_segment(f"sqlite:///{folder / 'single.db'}")
    times = []
    for raw in raws[:300]:
        start = time.perf_counter()
        segment.append([prepare_event(raw)])
        times.append(time.perf_counter() - start)
    segment.close()
    times.sort()
    return {
        "median_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
        "events_per_s": len(times) / sum(times),
        "ratio_to_fdatasync": len(times) / sum(times) * fdatasync,
    }


def measure(raws: list[bytes], repeats: int) -> dict[str, Any]:
    """Measure one workload; medians over the repeats."""
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
            runs.append(measure_batch(raws, Path(name)))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        fdatasync = fdatasync_seconds(Path(name))
        single = measure_single(raws, Path(name), fdatasync)
    count = len(raws)
    prepared = [prepare_event(raw) for raw in raws]
    median = statistics.median
    append = [median(run["append_seconds"][i] for run in runs) for i in range(2)]
    fold = [median(run["fold_seconds"][i] for run in runs) for i in range(2)]
    bare = median(run["bare_seconds"][0] for run in runs)
    bare_log = median(run["bare_log_seconds"][0] for run in runs)
    # Into a list of nothing: kept documents would be the garbage collector's cost, not decoding's.
    decode = median(timed(lambda: [prepare_event(raw) and 0 for raw in raws])[1] for _ in range(3))
    log = median(timed(lambda: log_alone("0" * 32, prepared, committed=True))[1] for _ in range(3))
    uncommitted = median(
        timed(lambda: log_alone("0" * 32, prepared, committed=False))[1] for _ in range(3)
    )
    last = runs[-1]
    return {
        "events": count,
        "raw_bytes_an_event": sum(map(len, raws)) / count,
        "fields_an_event": sum(len(one.fields) for one in prepared) / count,
        "append_events_per_s": count / append[0],
        "folded_events_per_s": count / (append[0] + fold[0]),
        "bare_insert_events_per_s": count / bare,
        "bare_insert_of_log_rows_events_per_s": count / bare_log,
        "rows_an_event": last["bare_rows"] / count,
        "ratio_folded_to_bare": bare / (append[0] + fold[0]),
        "ratio_append_to_bare_log": bare_log / append[0],
        "cpu_us_an_event": {
            "append": append[1] / count * 1e6,
            "of it decode, with canonical form and fields": decode / count * 1e6,
            "of it log": log / count * 1e6,
            "of that commitments": (log - uncommitted) / count * 1e6,
            "fold": fold[1] / count * 1e6,
        },
        "share_of_ingest_cpu": {
            "decode": decode / (append[1] + fold[1]),
            "commitments": (log - uncommitted) / (append[1] + fold[1]),
            "log": log / (append[1] + fold[1]),
        },
        "log_alone_entries_per_s": count / log,
        "bytes_an_event": {
            "file": last["file_bytes"] / count,
            **{name: size / count for name, size in sorted(last["bytes_by_table"].items())},
        },
        "fdatasync_ms": fdatasync * 1e3,
        "single_durable_append": single,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--collector", action="store_true", help="leave the cyclic collector on during batches"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.collector:
        # Pausing it then does nothing.
        gc.disable = lambda: None  # type: ignore[assignment]
    results: dict[str, Any] = {
        "question": "How fast does a batch come in, beside the bare insert of the same rows?",
        "command": "python bench/ingest.py " + " ".join(sys.argv[1:]),
        "workload": (
            f"{arguments.events} run events of about 1.6 kB, seed {arguments.seed}; `new`: every "
            f"edge is new; `repeated`: {REPEATED_JOBS} jobs run again and again; medians of "
            f"{arguments.repeats} runs"
        ),
        "machine": {
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        },
        "collector_paused_in_batches": not arguments.collector,
        "load_average_before": os.getloadavg()[0],
    }
    for name in ("new", "repeated"):
        raws = make_events(arguments.events, repeated=name == "repeated", seed=arguments.seed)
        results[name] = measure(raws, arguments.repeats)
    results["load_average_after"] = os.getloadavg()[0]
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""How long do graph answers take, as the graph grows: on the index, in SQL, and over HTTP?

Workload, at each size: a seeded graph of datasets with five sources each, among the datasets
shortly before; one job and one run a dataset. The view's tables are filled as the fold leaves
them; folding itself is measured elsewhere. Roots are chosen so that about 10, 1 k and 86 k datasets
lie downstream (where the graph has as many). Every method must reach the same datasets.

`in_index` is the closure itself, in the index of the store: datasets as numbers. `closure` is what
the question's own code reaches, from the name of its root on: datasets, jobs and derivations with
depths, in a snapshot of the store; `answer` writes a page of 1,000 nodes besides, with its edges
described. Beside them: igraph's `subcomponent` (datasets as numbers alone), and recursive SQL over
the store's own tables. `restart` is a new process: open the store and the snapshot, check it,
answer the largest closure. `over_http` asks `lodeline serve` for a closure of about 1,000 nodes,
whole, each time with another `limit`, so that it is computed; `again` is the same question again
while the log does not move. Searches are not asked here, so their index is taken for complete and
nothing runs beside.
`runs` is apart: real events, folded; ten layers of thirty jobs, fourteen days; the graph of a run
at depth 10.

At 10 M edges the store takes some 3 GB of disk, among temporary files; see `peak_rss_mb`.

    python bench/graph.py --out bench/results/graph.json
    python bench/graph.py --edges 10000000 --no-runs --out bench/results/graph-10m.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import igraph
import numpy as np
import psutil

from closure import find_root, make_graph
from lodeline.ingest import accept
from lodeline.limits import ANSWER_NODES_MAX
from lodeline.query import ask, reach
from lodeline.query.asking import find_inquiry
from lodeline.query.compressed import Rows, Walker
from lodeline.query.graph_index import build_snapshot, folder_of, index_of
from lodeline.query.parameters import TraceQuestion
from lodeline.query.permission import OPEN
from lodeline.query.search_terms import TERMS_VERSION
from lodeline.query.trace import walk
from lodeline.store import Segment, open_segment
from lodeline.store.search_tables import create_search_tables

WANTED = (10, 1_000, 86_000)
PAGE = 1_000
# Numbers of the made nodes begin after those of the one real event.
BASE = 100
# Edges made of arrays at a time.
PAIRS_AT_A_TIME = 500_000
RECURSIVE = """
WITH RECURSIVE down(node) AS (
    SELECT :root UNION SELECT d.target FROM derivation d JOIN down ON d.source = down.node
    WHERE d.columns = 0 AND d.target IS NOT NULL AND EXISTS (
        SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id
        AND a.position_to IS NULL AND a.valid_to IS NULL)
) SELECT node FROM down
"""


def event(run: int, job: str, inputs: list[str], outputs: list[str], at: str) -> bytes:
    def named(names: list[str]) -> list[dict[str, str]]:
        return [{"namespace": "warehouse", "name": name} for name in names]

    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": at,
            "producer": "https://example.org/bench",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-0000-0000-{run:012x}"},
            "job": {"namespace": "etl", "name": job},
            "inputs": named(inputs),
            "outputs": named(outputs),
        }
    ).encode()


def fill(segment: Segment, nodes: int, source: Any, target: Any) -> None:
    """Fill the view's tables: a job and a run a dataset, an assertion a derivation."""
    accept(segment, [event(0, "first", ["a"], ["b"], "2026-11-01T00:00:00Z")])
    jobs, begin = BASE + nodes, 1_793_500_000_000_000
    position = segment.size() - 1
    still, first = (None, position, None), (position, begin)
    live = ("inferred", begin, begin)
    order = np.argsort(target, kind="stable")

    def pairs() -> Iterator[tuple[int, tuple[int, int]]]:
        for start in range(0, len(order), PAIRS_AT_A_TIME):
            some = order[start : start + PAIRS_AT_A_TIME]
            ends = zip(source[some].tolist(), target[some].tolist(), strict=True)
            yield from enumerate(ends, start)

    rows: dict[str, Iterator[tuple[Any, ...]]] = {
        "node": (
            row
            for i in range(nodes)
            for row in (
                (BASE + i, "dataset", "warehouse", f"schema_{i % 100}.table_{i}", "", *first),
                (jobs + i, "job", "etl", f"build_{i}", "", *first),
            )
        ),
        "run_group": (
            (BASE + i, f"00000000-0000-0001-0000-{i:012x}", jobs + i, 0, "run")
            for i in range(nodes)
        ),
        "run_event": (
            (BASE + i, position, begin + i, "COMPLETE", i.to_bytes(8, "big")) for i in range(nodes)
        ),
        "run_state": (
            (BASE + i, jobs + i, "COMPLETE", 1, *[begin + i] * 4, *still, begin + i, None)
            for i in range(nodes)
        ),
        "derivation": (
            (BASE + k, BASE + near, BASE + far, "derives", jobs + far, 0, *live, 1)
            for k, (near, far) in pairs()
        ),
        "uses": ((BASE + i, i.to_bytes(32, "big")) for i in range(nodes)),
        "uses_assertion": (
            (BASE + k, BASE + far, "inferred", None) for k, (_, far) in pairs()
        ),
        "group_uses": (
            (BASE + i, BASE + i, position, None, begin + i, None) for i in range(nodes)
        ),
    }  # fmt: skip
    with segment.writing(durable=False) as connection:
        for table, values in rows.items():
            one = next(values)
            marks = ", ".join("?" * len(one))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", [one])
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
        create_search_tables(connection)
        connection.execute(
            "INSERT INTO search_state SELECT epoch, ?, ? FROM fold_state",
            (TERMS_VERSION, BASE + 2 * nodes),
        )


def name_of(node: int) -> str:
    return f"dataset:warehouse:schema_{node % 100}.table_{node}"


@contextmanager
def sql_alone() -> Iterator[None]:
    """Keep every level off the index."""
    least = reach.SWEEP_FRONTIER_MIN
    reach.SWEEP_FRONTIER_MIN = 1 << 60
    try:
        yield
    finally:
        reach.SWEEP_FRONTIER_MIN = least


def measure(call: Callable[[], object], seconds: float, least: int = 3) -> dict[str, float]:
    """Repeat a call; give median and 99th percentile in milliseconds, and the CPU's least."""
    times, cpu = [], []
    end = time.perf_counter() + seconds
    while len(times) < least or (time.perf_counter() < end and len(times) < 1_000):
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - start_cpu) * 1e3)
    times.sort()
    return {
        "median_ms": round(statistics.median(times), 3),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 3),
        "cpu_min_ms": round(min(cpu), 3),
        "repeats": len(times),
    }


def closure_of(segment: Segment, root: int) -> reach.Reach:
    """Reach as the question's own code does."""
    question = TraceQuestion(id=name_of(root), down=True)
    with segment.reading() as connection:
        inquiry = find_inquiry(segment, connection, question, pinned=None, authoriser=OPEN)
        inquiry.budget.seconds = 600
        found, _ = walk(inquiry, inquiry.resolve(question.id), question, direction="down")
        assert isinstance(found, reach.Reach)
        return found


def walker_of(segment: Segment) -> Walker:
    """Give what walks the store's index downward."""
    with segment.reading() as connection:
        question = TraceQuestion(id=name_of(0), down=True)
        inquiry = find_inquiry(segment, connection, question, pinned=None, authoriser=OPEN)
        graph = index_of(segment).at(inquiry.view)
        assert graph is not None
        return graph.walker("down")


def datasets_of(found: reach.Reach, nodes: int) -> set[int]:
    """Give the datasets reached, by their number in the workload."""
    return {number - BASE for number in found.numbers() if BASE <= number < BASE + nodes}


def restart(store: Path, root: int) -> dict[str, float]:
    """Answer from a new process, the snapshot's files in the system's cache."""
    code = (
        "import sys, time; began = time.perf_counter()\n"
        "from lodeline.store import open_segment\n"
        "from lodeline.query import ask\n"
        "segment = open_segment(sys.argv[1], create=False); opened = time.perf_counter()\n"
        f"ask(segment, 'trace', dict(id=sys.argv[2], down=True, limit={PAGE}))\n"
        "print(opened - began, time.perf_counter() - began)"
    )
    asked = [sys.executable, "-c", code, f"sqlite:///{store}", name_of(root)]
    took = [
        [float(part) for part in subprocess.check_output(asked, text=True).split()]
        for _ in range(3)
    ]
    return {
        "opened_s": round(min(one[0] for one in took), 3),
        "first_answer_s": round(min(one[1] for one in took), 3),
    }


def over_http(store: Path, root: int, seconds: float) -> dict[str, Any]:
    """Ask a served store over one kept-alive connection."""
    command = [sys.executable, "-m", "lodeline", "serve", "--store", str(store), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        port = None
        for line in process.stdout:
            found = re.search(r"http://[^:]+:(\d+)", line)
            if found is not None:
                port = int(found[1])
                break
        assert port is not None, "the service did not say where it listens"
        connection = HTTPConnection("127.0.0.1", port)

        limits = iter(range(ANSWER_NODES_MAX, 0, -1))

        def get(limit: int = ANSWER_NODES_MAX) -> bytes:
            asked = f"/api/v2/trace?id={name_of(root)}&down=true&limit={limit}"
            connection.request("GET", asked)
            return connection.getresponse().read()

        def get_anew() -> bytes:
            return get(next(limits))

        body = get()
        answer = json.loads(body)
        served = psutil.Process(process.pid)

        def measure_served(call: Callable[[], object]) -> dict[str, float]:
            before = sum(served.cpu_times()[:2])
            told = measure(call, seconds, least=30)
            spent = sum(served.cpu_times()[:2]) - before
            return told | {"server_cpu_ms": round(spent * 1e3 / told["repeats"], 1)}

        get_anew()
        told: dict[str, Any] = measure_served(get_anew)
        told["again"] = measure_served(get)
        process.terminate()
    return {
        "nodes": len(answer["nodes"]),
        "edges": len(answer["edges"]),
        "bytes": len(body),
        **told,
    }


def at_size(edges: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one size of graph."""
    nodes = edges // 5
    source, target = make_graph(nodes, edges, options.seed)
    store = folder / "lodeline.db"
    segment = open_segment(f"sqlite:///{store}", create=True)
    fill(segment, nodes, source, target)
    began = time.perf_counter()
    build_snapshot(segment)
    build_s = time.perf_counter() - began
    index = folder_of(segment)
    assert index is not None
    walker = Walker(Rows.build(nodes, source, target))
    graph = igraph.Graph(n=nodes, directed=True)
    graph.add_edges(np.stack([source, target], axis=1))
    results = []
    root = 0
    for wanted in WANTED:
        if wanted > nodes // 2:
            continue
        root = find_root(walker, nodes, wanted)
        results.append(at_root(segment, root, nodes, graph, options))
        print(json.dumps(results[-1]), flush=True)
    # Datasets and their jobs are nodes alike: half of a thousand.
    told = over_http(store, find_root(walker, nodes, 500), options.seconds)
    report = {
        "edges": len(source),
        "datasets": nodes,
        "store_mb": round(store.stat().st_size / 1e6, 1),
        "snapshot_mb": round(sum(path.stat().st_size for path in index.iterdir()) / 1e6, 1),
        "snapshot_s": round(build_s, 2),
        "restart": restart(store, root),
        "over_http": told,
        "closures": results,
    }
    segment.close()
    return report


def at_root(
    segment: Segment, root: int, nodes: int, graph: Any, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one closure by every method, once they agree."""
    question = {"id": name_of(root), "down": True, "limit": PAGE}

    def recursive() -> list[Any]:
        with segment.reading() as connection:
            return connection.execute(RECURSIVE, {"root": BASE + root}).fetchall()

    theirs = set(graph.subcomponent(root, mode="out"))
    assert {row[0] - BASE for row in recursive()} == theirs
    assert datasets_of(closure_of(segment, root), nodes) == theirs
    walker = walker_of(segment)
    assert {number - BASE for number in walker.reach(BASE + root).tolist()} == theirs
    told: dict[str, Any] = {
        "in_index": measure(lambda: walker.reach(BASE + root), options.seconds),
        "closure": measure(lambda: closure_of(segment, root), options.seconds),
        "answer": measure(lambda: ask(segment, "trace", question), options.seconds),
        "igraph": measure(lambda: graph.subcomponent(root, mode="out"), options.seconds),
        "recursive_sql": measure(recursive, options.seconds),
    }
    with sql_alone():
        assert datasets_of(closure_of(segment, root), nodes) == theirs
        told["closure_in_sql"] = measure(lambda: closure_of(segment, root), options.seconds)
    walked, asked = told["in_index"]["median_ms"], told["closure"]["median_ms"]
    igraphs = told["igraph"]["median_ms"]
    return {
        "results": len(theirs) - 1,
        **told,
        "in_index_to_igraph": round(walked / igraphs, 2),
        "closure_to_igraph": round(asked / igraphs, 2),
        "recursive_sql_to_in_index": round(told["recursive_sql"]["median_ms"] / walked, 1),
        "recursive_sql_to_closure": round(told["recursive_sql"]["median_ms"] / asked, 1),
        "closure_in_sql_to_closure": round(told["closure_in_sql"]["median_ms"] / asked, 1),
    }


def of_runs(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the graph of a run: real events, ten layers of thirty jobs, fourteen days."""
    dice = random.Random(options.seed)
    segment = open_segment(f"sqlite:///{folder}/runs.db", create=True)
    events, run = [], 0
    for day in range(1, 15):
        for layer in range(10):
            for job in range(30):
                run += 1
                inputs = sorted({f"layer_{layer}.table_{dice.randrange(30)}" for _ in range(5)})
                at = f"2026-11-{day:02d}T{layer:02d}:{job:02d}:00Z"
                outputs = [f"layer_{layer + 1}.table_{job}"]
                events.append(event(run, f"job_{layer}_{job}", inputs, outputs, at))
    accept(segment, events)
    results = {}
    for direction, root in (("up", run), ("down", run - 299)):
        question = {
            "id": f"run:00000000-0000-0000-0000-{root:012x}",
            "direction": direction,
            "depth": 10,
        }
        answer = ask(segment, "trace", question)
        kinds = [node["kind"] for node in answer["nodes"]]
        times = []
        for _ in range(40):
            began = time.perf_counter()
            ask(segment, "trace", question)
            times.append((time.perf_counter() - began) * 1e3)
        times.sort()
        results[direction] = {
            "runs": kinds.count("run"),
            "nodes": len(kinds),
            "edges": len(answer["edges"]),
            "median_ms": round(statistics.median(times), 1),
            "p95_ms": round(times[int(len(times) * 0.95)], 1),
        }
    segment.close()
    return {"events": len(events), **results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="per measurement")
    parser.add_argument("--no-runs", action="store_true", help="leave the graph of runs out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    sizes = []
    for edges in options.edges:
        with tempfile.TemporaryDirectory() as folder:
            sizes.append(at_size(edges, Path(folder), options))
            print(json.dumps(sizes[-1]), flush=True)
    runs = None
    if not options.no_runs:
        with tempfile.TemporaryDirectory() as folder:
            runs = of_runs(Path(folder), options)
    report = {
        "question": __doc__.splitlines()[0],
        "command": "python bench/graph.py " + " ".join(sys.argv[1:]),
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": round(load, 1),
        },
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "runs": runs,
        "sizes": sizes,
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

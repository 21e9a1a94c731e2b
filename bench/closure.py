"""How long does a downstream closure take: ours, igraph's, recursive SQL's?

Workload: a seeded graph of 1 M datasets and 5 M edges; each dataset has up to ten sources among
the datasets shortly before it. Roots are chosen by bisection so that about 10, 1 k and 86 k
datasets lie downstream. Every method must find the same set.

    python bench/closure.py --out bench/results/closure.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import igraph
import numpy as np

from lodeline.query.compressed import Rows, Walker

SIZES = (10, 1_000, 86_000)
RECURSIVE = """
WITH RECURSIVE down(node) AS (
    SELECT :root UNION SELECT edge.target FROM edge JOIN down ON edge.source = down.node
) SELECT node FROM down
"""


def make_graph(nodes: int, edges: int, seed: int) -> tuple[Any, Any]:
    """Draw distinct (source, target) pairs, source before target."""
    rng = np.random.default_rng(seed)
    target = rng.integers(1, nodes, size=int(edges * 1.05))
    window = np.minimum(target, max(nodes // 20, 2))
    source = target - 1 - (rng.random(len(target)) * window).astype(np.int64)
    pairs = np.unique(source * nodes + target)
    pairs = rng.permutation(pairs)[:edges]
    return (pairs // nodes).astype(np.int32), (pairs % nodes).astype(np.int32)


def find_root(walker: Walker, nodes: int, wanted: int) -> int:
    """Find a node with about that many datasets downstream; later nodes have fewer."""
    best, error = 0, float("inf")
    low, high = 0, nodes - 1
    while low <= high:
        middle = (low + high) // 2
        found = len(walker.reach(middle)) - 1
        if abs(found - wanted) < error:
            best, error = middle, abs(found - wanted)
        low, high = (middle + 1, high) if found > wanted else (low, middle - 1)
    for near in range(max(best - 200, 0), min(best + 200, nodes)):
        distance = abs(len(walker.reach(near)) - 1 - wanted)
        if distance < error:
            best, error = near, distance
    return best


def measure(call: Callable[[], object], seconds: float) -> dict[str, float]:
    """Repeat a call for a while; give median and 99th percentile in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 5_000):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return {
        "median_ms": round(statistics.median(times), 4),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 4),
        "repeats": len(times),
    }


def sqlite_graph(source: Any, target: Any) -> sqlite3.Connection:
    """Put the edges in SQLite, indexed as the store does."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE edge (source INTEGER, target INTEGER)")
    rows = zip(source.tolist(), target.tolist(), strict=True)
    connection.executemany("INSERT INTO edge VALUES (?, ?)", rows)
    connection.execute("CREATE INDEX edge_source ON edge (source, target)")
    connection.execute("ANALYZE")
    return connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="per measurement")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    source, target = make_graph(options.nodes, options.edges, options.seed)
    start = time.perf_counter()
    rows = Rows.build(options.nodes, source, target)
    build_s = time.perf_counter() - start
    walker = Walker(rows)
    graph = igraph.Graph(n=options.nodes, directed=True)
    graph.add_edges(np.stack([source, target], axis=1))
    database = sqlite_graph(source, target)
    results = []
    for wanted in SIZES:
        root = find_root(walker, options.nodes, wanted)
        found = set(walker.reach(root).tolist())
        by_levels = [node for level in walker.levels({root}) for node in level.tolist()]
        by_sql = {row[0] for row in database.execute(RECURSIVE, {"root": root})}
        assert found == set(graph.subcomponent(root, mode="out")) == by_sql == set(by_levels)
        assert len(by_levels) == len(found)
        measured = {
            "lodeline": measure(lambda root=root: walker.reach(root), options.seconds),
            "lodeline_levels": measure(lambda root=root: walker.levels({root}), options.seconds),
            "igraph": measure(
                lambda root=root: graph.subcomponent(root, mode="out"), options.seconds
            ),
            "recursive_sql": measure(
                lambda root=root: database.execute(RECURSIVE, {"root": root}).fetchall(),
                options.seconds,
            ),
        }
        ours = measured["lodeline"]["median_ms"]
        results.append(
            {
                "results": len(found) - 1,
                **measured,
                "ratio_to_igraph": round(ours / measured["igraph"]["median_ms"], 2),
                "ratio_of_recursive_sql": round(measured["recursive_sql"]["median_ms"] / ours, 1),
            }
        )
        print(json.dumps(results[-1]))
    report = {
        "question": __doc__.splitlines()[0],
        "command": "python bench/closure.py " + " ".join(sys.argv[1:]),
        "workload": {"nodes": options.nodes, "edges": len(source), "seed": options.seed},
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "build_s": round(build_s, 2),
        "array_bytes": int(rows.starts.nbytes + rows.neighbours.nbytes + rows.edges.nbytes),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "results": results,
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

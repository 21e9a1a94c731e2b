"""Answers have the contract's keys and types, on events of real producers and at the edges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from lodeline.errors import (
    AmbiguousIdentifierError,
    MissingPredictionError,
    UnknownNodeError,
    UsageError,
)
from lodeline.ingest import accept
from lodeline.ingest.predictions import accept_predictions
from lodeline.model import PredictionId, ticks_of
from lodeline.query import ask
from lodeline.query.asking import find_inquiry
from lodeline.query.bounds import Budget
from lodeline.query.parameters import TraceQuestion
from lodeline.query.permission import OPEN
from lodeline.query.trace import walk
from lodeline.store import Segment, open_segment

EVENTS = Path(__file__).parents[1] / "fixtures" / "events"
TEXT, NULLABLE = {"type": "string"}, {"type": ["string", "null"]}
TIME = {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
GAP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["at", "reason", "detail"],
    "properties": {
        "at": TEXT,
        "reason": {
            "enum": [
                *("depth", "size", "time", "permission", "retention", "erased", "capture"),
                *("sampled", "summarised", "unsequenced", "pending", "lost"),
            ]
        },
        "detail": TEXT,
    },
}
NODE = {
    "type": "object",
    "required": ["id", "kind", "namespace", "name", "version", "depth"],
    "properties": {
        "id": TEXT,
        "kind": TEXT,
        "namespace": NULLABLE,
        "name": TEXT,
        "version": NULLABLE,
        "depth": {"type": "integer", "minimum": 0},
    },
}
EDGE = {
    "type": "object",
    "required": [
        *("source", "target", "kind", "status", "basis", "restricted"),
        *("asserted_by", "first_seen", "last_seen", "job"),
    ],
    "properties": {
        "source": TEXT,
        "target": TEXT,
        "kind": {
            "enum": [
                *("derives", "trains", "deploys", "predicts"),
                *("reads", "writes", "parent", "row"),
            ]
        },
        "status": {"enum": ["current", "stale"]},
        "basis": {"enum": ["lineage", "columnLineage", "observed", "inferred", "content"]},
        "restricted": {"type": "boolean"},
        "asserted_by": {"type": "array", "items": TEXT},
        "entries": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "first_seen": TIME,
        "last_seen": TIME,
        "job": NULLABLE,
    },
}
GRAPH = {
    "type": "object",
    "required": [
        *("root", "direction", "as_of", "trees", "complete", "gaps", "nodes", "edges", "next")
    ],
    "properties": {
        "root": TEXT,
        "direction": {"enum": ["up", "down", "both"]},
        "as_of": {
            "type": "object",
            "required": ["time", "tree_size"],
            "properties": {"time": TIME, "tree_size": {"type": "integer"}},
        },
        "trees": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["segment", "origin", "size", "root_hash"],
                "properties": {"root_hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
            },
        },
        "complete": {"type": "boolean"},
        "gaps": {"type": "array", "items": GAP},
        "nodes": {"type": "array", "items": NODE},
        "edges": {"type": "array", "items": EDGE},
        "next": NULLABLE,
    },
}
SEARCH = {
    "type": "object",
    "required": ["total", "results", "next"],
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "required": [*("id", "kind", "namespace", "name", "version", "matched", "updated")]
            },
        }
    },
}
SHOW = {
    "type": "object",
    "required": [
        *("id", "kind", "namespace", "name", "version"),
        *("aliases", "versions", "facets", "labels", "owners"),
    ],
}


def event(name: str, *, namespace: str = "n", job: str = "j") -> bytes:
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": "2026-11-01T10:00:00Z",
            "producer": "https://example.org/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": "00000000-0000-0000-0000-000000000001"},
            "job": {"namespace": "n", "name": job},
            "inputs": [{"namespace": "n", "name": "source"}],
            "outputs": [{"namespace": namespace, "name": name}],
        }
    ).encode()


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    """A store of what Airflow, dbt and Dagster sent."""
    found = []
    for path in sorted(EVENTS.glob("**/*.jsonl")):
        for line in path.read_text().splitlines():
            stated = json.loads(line)
            wrapped = "body" in stated and "path" in stated
            found.append(json.dumps(stated["body"] if wrapped else stated).encode())
    if not found:
        pytest.skip(f"no recorded events at {EVENTS}")
    opened = open_segment(f"sqlite:///{tmp_path_factory.mktemp('real')}/lodeline.db")
    accept(opened, found)
    yield opened
    opened.close()


def ids_of(segment: Segment, *kinds: str) -> list[str]:
    found = []
    for kind in kinds:
        with segment.reading() as connection:
            rows = connection.execute("SELECT name FROM node WHERE kind = ? LIMIT 12", (kind,))
            words = {name.split(".")[-1].split("/")[-1] for (name,) in rows}
        for word in sorted(words)[:6]:
            answer = ask(segment, "search", {"q": word, "kind": kind, "limit": 3})
            jsonschema.validate(answer, SEARCH)
            found += [one["id"] for one in answer["results"]]
    return found


def test_every_answer_on_real_events_has_the_contract_s_shape(real: Segment) -> None:
    ids = ids_of(real, "dataset", "job", "datasetField")
    assert len(ids) > 10
    for identifier in ids:
        for direction in ("up", "down", "both"):
            answer = ask(real, "trace", {"id": identifier, "direction": direction})
            jsonschema.validate(answer, GRAPH)
            assert answer["complete"] is (not answer["gaps"])
            ends = {end for edge in answer["edges"] for end in (edge["source"], edge["target"])}
            assert ends <= {node["id"] for node in answer["nodes"]}
        jsonschema.validate(ask(real, "show", {"id": identifier}), SHOW)
        impact = ask(real, "impact", {"id": identifier})
        jsonschema.validate(impact, GRAPH)
        assert sum(impact["counts"].values()) == len(impact["nodes"]) - 1


def test_versions_and_runs_of_real_events_are_answered(real: Segment) -> None:
    for identifier in ids_of(real, "dataset"):
        for version in ask(real, "show", {"id": identifier})["versions"][:2]:
            versioned = f"{identifier}#{version['version']}"
            answer = ask(real, "trace", {"id": versioned, "direction": "both"})
            jsonschema.validate(answer, GRAPH)
            assert f"run:{version['run']}" in {node["id"] for node in answer["nodes"]}
            jsonschema.validate(ask(real, "trace", {"id": f"run:{version['run']}"}), GRAPH)


def test_a_job_that_ran_twice_does_not_join_its_runs(segment: Segment) -> None:
    def ran(number: int, used: str, made: str) -> bytes:
        body = json.loads(event(made))
        body["run"]["runId"] = f"00000000-0000-0000-0000-00000000000{number}"
        body["inputs"] = [{"namespace": "n", "name": used}]
        return json.dumps(body).encode()

    accept(segment, [ran(1, "A", "X"), ran(2, "B", "Y")])
    above = ask(segment, "trace", {"id": "dataset:n:X"})
    assert "dataset:n:B" not in {node["id"] for node in above["nodes"]}


def test_a_raw_identifier_with_colons_is_found(segment: Segment) -> None:
    accept(segment, [event("schema:table", namespace="pg://host:5432")])
    answer = ask(segment, "trace", {"id": "dataset:pg://host:5432:schema:table"})
    assert answer["root"] == "dataset:pg://host:5432:schema%3Atable"


def test_a_raw_identifier_of_several_nodes_lists_them(segment: Segment) -> None:
    accept(segment, [event("b:c", namespace="a"), event("c", namespace="a:b", job="k")])
    # The canonical reading exists here, and wins.
    assert ask(segment, "trace", {"id": "dataset:a:b:c"})["root"] == "dataset:a:b:c"
    accept(segment, [event("y:z:w", namespace="x", job="l"), event("z:w", namespace="x:y")])
    with pytest.raises(AmbiguousIdentifierError) as caught:
        ask(segment, "trace", {"id": "dataset:x:y:z:w"})
    assert caught.value.candidates == ("dataset:x:y%3Az%3Aw", "dataset:x:y:z%3Aw")


def test_a_hash_may_belong_to_a_name(segment: Segment) -> None:
    accept(segment, [event("t#1")])
    assert ask(segment, "trace", {"id": "dataset:n:t#1"})["root"] == "dataset:n:t%231"


def test_an_unknown_node_names_the_three_nearest(segment: Segment) -> None:
    accept(segment, [event(name) for name in ("orders", "order_items", "orders_old", "zebra")])
    with pytest.raises(UnknownNodeError) as caught:
        ask(segment, "trace", {"id": "dataset:n:order"})
    assert len(caught.value.nearest) == 3
    assert "dataset:n:orders" in caught.value.nearest
    assert "dataset:n:zebra" not in caught.value.nearest


def test_a_prediction_of_a_reserved_block_is_pending_then_lost(segment: Segment) -> None:
    accept(segment, [event("x")])
    drawn = PredictionId(ticks_of(1_793_000_000_000_000_000), 77, 3)
    reservation = {
        "type": "reservation",
        "block": drawn.block_text,
        "time": str(drawn.time_us - 1000),
        "deployment": {"namespace": "prod", "name": "api"},
    }
    with pytest.raises(UnknownNodeError):
        ask(segment, "trace", {"id": f"prediction:{drawn}"})
    assert accept_predictions(segment, [reservation]) == [None]
    accept(segment, [event("y")])
    for reason in ("pending", "lost"):
        with pytest.raises(MissingPredictionError) as caught:
            ask(segment, "trace", {"id": f"prediction:{drawn}"})
        assert caught.value.reason == reason
        assert caught.value.exit_status == 3
        end = {"type": "end", "block": drawn.block_text, "clean": False}
        accept_predictions(segment, [end])
        accept(segment, [event("z")])


def test_a_recorded_prediction_stands_below_its_deployment(segment: Segment) -> None:
    drawn = PredictionId(ticks_of(1_793_000_000_000_000_000), 78, 3)
    reservation = {
        "type": "reservation",
        "block": drawn.block_text,
        "time": str(drawn.time_us - 1000),
        "deployment": {"namespace": "prod", "name": "api"},
    }
    rows = [{"id": str(drawn), "status": 200, "output": [0.5]}]
    predictions = {"type": "predictions", "block": drawn.block_text, "rows": rows}
    assert accept_predictions(segment, [reservation, predictions]) == [None, None]
    accept(segment, [event("x")])
    answer = ask(segment, "trace", {"id": f"prediction:{drawn}"})
    jsonschema.validate(answer, GRAPH)
    [edge] = [edge for edge in answer["edges"] if edge["kind"] == "predicts"]
    assert (edge["source"], edge["target"]) == ("deployment:prod:api", f"prediction:{drawn}")
    assert edge["job"] is None
    below = ask(segment, "trace", {"id": f"prediction:{drawn}", "down": True})
    assert [node["id"] for node in below["nodes"]] == [f"prediction:{drawn}"]
    shown = ask(segment, "show", {"id": f"prediction:{drawn}"})
    assert shown["record"]["output"] == [0.5]


def test_a_row_stands_in_a_version_of_its_dataset(segment: Segment) -> None:
    accept(segment, [event("x")])
    version = "run:00000000-0000-0000-0000-000000000001"
    for identifier in ("row:n:x:17", f"row:n:x:17#{version}"):
        answer = ask(segment, "trace", {"id": identifier})
        jsonschema.validate(answer, GRAPH)
        assert answer["root"] == f"row:n:x:17#{version}"
        kinds = {edge["kind"]: edge for edge in answer["edges"]}
        assert kinds["row"]["source"] == f"dataset:n:x#{version}"
        assert "derives" in kinds
    with pytest.raises(UnknownNodeError):
        ask(segment, "trace", {"id": "row:n:nowhere:17"})


def test_a_question_out_of_time_says_so(segment: Segment) -> None:
    accept(segment, [event("x")])
    question = TraceQuestion(id="dataset:n:x")
    ticks = iter(range(0, 10_000, 100))
    with segment.reading() as connection:
        inquiry = find_inquiry(segment, connection, question, pinned=None, authoriser=OPEN)
        inquiry.budget = Budget(seconds=50, clock=lambda: next(ticks))
        root = inquiry.resolve(question.id)
        graph, _ = walk(inquiry, root, question, direction="up")
    assert [gap.reason for gap in graph.gaps] == ["time"]


def test_a_position_beyond_the_log_is_wrong_usage(segment: Segment) -> None:
    accept(segment, [event("x")])
    with pytest.raises(UsageError):
        ask(segment, "trace", {"id": "dataset:n:x", "as_of": segment.size() + 1})


def test_a_time_before_the_log_knows_nothing(segment: Segment) -> None:
    accept(segment, [event("x")])
    with pytest.raises(UnknownNodeError):
        ask(segment, "trace", {"id": "dataset:n:x", "as_of": "1999-01-01T00:00:00Z"})
    assert ask(segment, "stats", {"as_of": 0})["nodes"] == {}

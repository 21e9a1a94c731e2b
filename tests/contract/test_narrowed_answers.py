"""Answers show the part that is asked for, and the graph of two times can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import UnknownNodeError, UsageError
from lodeline.ingest import accept
from lodeline.query import ask
from lodeline.store import Segment, open_segment


def facet(**body: Any) -> dict[str, Any]:
    return {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s", **body}


def event(
    day: int, inputs: list[Any], outputs: list[Any], *, job: str, code: str = "1", hour: int = 10
) -> bytes:
    def dataset(one: Any) -> dict[str, Any]:
        name, facets = one if isinstance(one, tuple) else (one, {})
        namespace, _, name = name.rpartition("/")
        return {"namespace": namespace or "n", "name": name, "facets": facets}

    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-11-{day:02d}T{hour}:00:00Z",
            "producer": "https://example.org/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {
                "runId": f"00000000-0000-0000-0000-{day:02d}{hour:02d}{sum(job.encode()):08d}",
                "facets": {"lodeline_code": facet(version=code)},
            },
            "job": {"namespace": "n", "name": job},
            "inputs": [dataset(one) for one in inputs],
            "outputs": [dataset(one) for one in outputs],
        }
    ).encode()


PERSONAL = facet(tags=[{"key": "pii", "value": "high"}, {"key": "gdpr", "field": "mail"}])


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    segment = open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True)
    accept(
        segment,
        [
            event(1, ["raw"], [("other/clean", {"tags": PERSONAL})], job="clean"),
            event(2, ["other/clean"], ["report"], job="report"),
        ],
    )
    yield segment
    segment.close()


def nodes(answer: dict[str, Any]) -> list[str]:
    return [node["id"] for node in answer["nodes"]]


def test_what_lies_behind_a_hidden_node_is_still_found(segment: Segment) -> None:
    answer = ask(segment, "trace", {"id": "dataset:n:raw", "down": True, "namespaces": "n"})
    assert nodes(answer) == [
        "dataset:n:raw", "job:n:clean", "dataset:n:report", "job:n:report",
    ]  # fmt: skip
    kinds = ask(segment, "impact", {"id": "dataset:n:raw", "kinds": "dataset"})
    assert kinds["counts"] == {"dataset": 2}
    assert {edge["kind"] for edge in kinds["edges"]} == {"derives"}
    assert kinds["complete"]


@pytest.mark.parametrize("tag", ["pii", "pii=high", "gdpr", '["pii", "none"]'])
def test_nodes_are_found_by_tag(segment: Segment, tag: str) -> None:
    answer = ask(segment, "impact", {"id": "dataset:n:raw", "tags": tag})
    assert nodes(answer) == ["dataset:n:raw", "dataset:other:clean"]
    assert ask(segment, "impact", {"id": "dataset:n:raw", "tags": "pii=low"})["counts"] == {}


def test_pages_of_a_narrowed_answer_are_the_whole_of_it(segment: Segment) -> None:
    question = {"id": "dataset:n:raw", "down": True, "kinds": "dataset", "limit": 1}
    found, cursor = [], None
    for _ in range(3):
        answer = ask(segment, "trace", question | {"cursor": cursor})
        found += nodes(answer)
        cursor = answer["next"]
    assert cursor is None
    assert found == ["dataset:n:raw", "dataset:other:clean", "dataset:n:report"]
    with pytest.raises(UsageError):
        first = ask(segment, "trace", question)["next"]
        ask(segment, "trace", question | {"kinds": "job", "cursor": first})


@pytest.mark.parametrize(
    "wrong",
    [{"kinds": "table"}, {"edge_kinds": "joins"}, {"status": "old"}, {"tags": "[1]"}],
)
def test_a_kind_or_status_that_is_none_is_wrong_usage(
    segment: Segment, wrong: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        ask(segment, "trace", {"id": "dataset:n:raw", **wrong})


def rewrite_report(segment: Segment) -> int:
    """Let the report come from elsewhere, by new code; give the log's size before."""
    before = segment.size()
    accept(segment, [event(3, ["raw"], ["report"], job="report", code="2")])
    return before


def test_a_path_along_current_edges_does_not_use_stale_ones(segment: Segment) -> None:
    rewrite_report(segment)
    question = {"a": "dataset:other:clean", "b": "dataset:n:report"}
    assert ask(segment, "path", question)["paths"]
    assert ask(segment, "path", question | {"status": "current"})["paths"] == []
    up = ask(segment, "trace", {"id": "dataset:n:report", "status": "current"})
    assert "dataset:other:clean" not in nodes(up)
    stale = ask(segment, "trace", {"id": "dataset:n:report", "status": "stale"})
    assert {(edge["source"], edge["status"]) for edge in stale["edges"]} == {
        ("dataset:other:clean", "stale")
    }


def test_the_graph_of_two_times_is_compared_edge_by_edge(segment: Segment) -> None:
    before = rewrite_report(segment)
    for subject in ({"a": "dataset:n:report"}, {}):
        answer = ask(segment, "diff", {"since": before, **subject})
        assert answer["complete"]
        assert answer["since"]["tree_size"] == before
        [came, went] = answer["changes"]
        assert went["at"] == "dataset:other:clean -> dataset:n:report (derives by job:n:report)"
        assert (went["before"]["status"], went["after"]["status"]) == ("current", "stale")
        assert came["before"] is None
        assert came["after"]["source"] == "dataset:n:raw"
    assert ask(segment, "diff", {"since": segment.size()})["same"]
    paged = ask(segment, "diff", {"since": before, "limit": 1})
    rest = ask(segment, "diff", {"since": before, "limit": 1, "cursor": paged["next"]})
    assert [*paged["changes"], *rest["changes"]] == answer["changes"]
    assert rest["next"] is None


def test_event_times_are_compared_too(segment: Segment) -> None:
    rewrite_report(segment)
    answer = ask(segment, "diff", {"valid_since": "2026-11-02", "valid_at": "2026-11-02T23:00:00Z"})
    [change] = answer["changes"]
    assert change["before"] is None
    assert change["after"]["target"] == "dataset:n:report"


def test_a_node_that_came_since_has_all_its_edges_new(segment: Segment) -> None:
    before = segment.size()
    accept(segment, [event(4, ["report"], ["mail"], job="send")])
    answer = ask(segment, "diff", {"a": "dataset:n:mail", "since": before, "direction": "up"})
    assert answer["a"] is None
    assert {change["before"] for change in answer["changes"]} == {None}
    assert len(answer["changes"]) == 3
    with pytest.raises(UnknownNodeError):
        ask(segment, "diff", {"a": "dataset:n:nowhere", "since": before})


def test_two_nodes_and_two_times_are_not_compared_at_once(segment: Segment) -> None:
    with pytest.raises(UsageError):
        ask(segment, "diff", {"a": "dataset:n:raw", "b": "dataset:n:report", "since": 3})
    with pytest.raises(UsageError):
        ask(segment, "diff", {"a": "dataset:n:raw"})

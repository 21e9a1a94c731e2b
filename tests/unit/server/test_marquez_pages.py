"""Pages of the Marquez API cost a fixed number of statements, and show what the reader may see."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import UnknownEntryError, UnknownNodeError
from lodeline.ingest import accept
from lodeline.model import NodeId
from lodeline.query import ask
from lodeline.query.consulting import consult
from lodeline.query.permission import OPEN, Authoriser
from lodeline.server.marquez import datasets, events, jobs, lineage, search, spaces, stats
from lodeline.server.marquez.calls import Answering, Call
from lodeline.store import Segment, open_segment
from marquez_pipelines import call, pipeline

COUNT = 40


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    path = tmp_path_factory.mktemp("pages") / "lodeline.db"
    with open_segment(f"sqlite:///{path}", create=True) as segment:
        stated = [event for number in range(COUNT) for event in pipeline(number)]
        accept(segment, [json.dumps(event).encode() for event in stated])
        yield segment


def statements(segment: Segment, answer: Answering, asked: Call) -> int:
    """Count the statements of one answer."""
    seen: list[str] = []
    with consult(segment) as inquiry:
        connection = inquiry.connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(seen.append)
        try:
            answer(inquiry, asked)
        finally:
            connection.set_trace_callback(None)
    assert seen
    return len(seen)


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (datasets.list_datasets, {"namespace": "n"}),
        (jobs.list_jobs, {"namespace": "n"}),
        (jobs.list_jobs, {}),
        (spaces.list_namespaces, {}),
        (spaces.list_sources, {}),
        (spaces.list_tags, {}),
        (events.list_lineage_events, {}),
        (search.search, {}),
    ],
)
def test_a_longer_page_costs_no_more_statements(
    segment: Segment, answer: Answering, path: dict[str, str]
) -> None:
    # What the first question of all looks up is kept for those after it.
    statements(segment, answer, call(path, limit=1, q="o"))
    few = statements(segment, answer, call(path, limit=4, q="o"))
    many = statements(segment, answer, call(path, limit=COUNT, q="o"))
    assert few == many
    assert many <= 40


def test_more_runs_and_versions_cost_no_more_statements(tmp_path: Path) -> None:
    def lists(count: int) -> list[int]:
        path = tmp_path / f"{count}.db"
        with open_segment(f"sqlite:///{path}", create=True) as segment:
            stated = []
            for number in range(count):
                [event, _] = pipeline(0)
                event["run"]["runId"] = str(uuid.UUID(int=number))
                event["eventTime"] = f"2026-11-01T10:{number:02}:00Z"
                stated.append(json.dumps(event).encode())
            accept(segment, stated)
            job = {"namespace": "n", "job": "job00"}
            dataset = {"namespace": "n", "dataset": "out00"}
            return [
                statements(segment, jobs.list_job_runs, call(job)),
                statements(segment, jobs.get_job, call(job)),
                statements(segment, datasets.list_dataset_versions, call(dataset)),
            ]

    assert lists(3) == lists(30)


def test_a_larger_graph_costs_no_more_statements_to_describe(tmp_path: Path) -> None:
    """Walking costs statements a step; describing what was found does not, however much."""

    def described(width: int) -> int:
        path = tmp_path / f"{width}.db"
        with open_segment(f"sqlite:///{path}", create=True) as segment:
            stated = []
            for number in range(width):
                for event in pipeline(number):
                    event["inputs"] = [{"namespace": "n", "name": "root"}]
                    stated.append(json.dumps(event).encode())
            accept(segment, stated)
            return statements(segment, lineage.get_lineage, call(nodeId="dataset:n:root"))

    assert described(3) == described(30)


class Only:
    """Lets a reader see what has a name of its own."""

    sees_all = False

    def __init__(self, *names: str) -> None:
        self.names = names

    def may_see(self, node: NodeId) -> bool:
        return node.name in self.names


def read(
    segment: Segment, authoriser: Authoriser, answer: Answering, asked: Call
) -> dict[str, Any]:
    with consult(segment, authoriser=authoriser) as inquiry:
        found: dict[str, Any] = answer(inquiry, asked)
        return found


def test_runs_that_ran_a_hidden_job_too_are_neither_listed_nor_counted(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        ran = [("seen", 1), ("seen", 2), ("secret", 2), ("seen", 3), ("beside", 3)]
        accept(segment, [json.dumps(run_of(job, number)).encode() for job, number in ran])
        of_job = {"namespace": "n", "job": "seen"}
        for reader, numbers in (
            (Only("seen", "beside"), [3, 1]),
            (Only("seen"), [1]),
            (OPEN, [3, 2, 1]),
        ):
            found = read(segment, reader, jobs.list_job_runs, call(of_job))
            assert [uuid.UUID(one["id"]).int for one in found["runs"]] == numbers
            assert found["totalCount"] == len(numbers)
        page = read(segment, Only("seen", "beside"), jobs.list_job_runs, call(of_job, offset=1))
        assert [uuid.UUID(one["id"]).int for one in page["runs"]] == [1]
        asked = {"id": "job:n:seen", "limit": 1}
        answer = ask(segment, "runs", asked, authoriser=Only("seen", "beside"))
        assert (answer["total"], len(answer["runs"])) == (2, 1)


def run_of(job: str, number: int) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-01T00:00:{number:02d}Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": str(uuid.UUID(int=number))},
        "job": {"namespace": "n", "name": job},
    }


def test_a_reader_is_shown_only_what_they_may_see(segment: Segment) -> None:
    some = Only("in00", "job00")
    listed = read(segment, some, datasets.list_datasets, call({"namespace": "n"}))
    assert ([one["name"] for one in listed["datasets"]], listed["totalCount"]) == (["in00"], 1)
    [job] = read(segment, some, jobs.list_jobs, call({"namespace": "n"}))["jobs"]
    assert (job["name"], job["outputs"]) == ("job00", [])
    assert job["latestRun"]["outputDatasetVersions"] == []
    assert [one["name"] for one in job["inputs"]] == ["in00"]
    with pytest.raises(UnknownEntryError):
        read(segment, some, datasets.get_dataset, call({"namespace": "n", "dataset": "out00"}))
    with pytest.raises(UnknownEntryError):
        read(segment, some, jobs.get_run, call({"id": str(uuid.UUID(int=101))}))
    found = read(segment, some, search.search, call(q="0"))
    assert {one["name"] for one in found["results"]} == {"in00", "job00"}
    graph = read(segment, some, lineage.get_lineage, call(nodeId="job:n:job00"))["graph"]
    hidden = {one["id"]: one["data"] for one in graph if one["id"].startswith("restricted:")}
    assert list(hidden.values()) == [None]
    assert {node["id"] for node in graph} - hidden.keys() == {"dataset:n:in00", "job:n:job00"}
    column = lineage.get_column_lineage
    [node] = read(segment, some, column, call(nodeId="datasetField:n:in00:k"))["graph"]
    assert node["id"] == "datasetField:n:in00:k"
    with pytest.raises(UnknownNodeError):
        read(segment, some, column, call(nodeId="dataset:n:out00"))
    page = read(segment, some, events.list_lineage_events, call(limit=1000))
    assert page["totalCount"] == len(page["events"]) == 2
    assert all(one["outputs"] == [] for one in page["events"])
    tags = read(segment, some, spaces.list_tags, call())["tags"]
    assert tags == []
    sources = read(segment, some, spaces.list_sources, call())["sources"]
    assert [one["name"] for one in sources] == ["default"]
    counts: Any = read(segment, some, stats.jobs, call(period="DAY"))
    assert counts[-1]["count"] == 1


def test_a_reader_of_nothing_sees_no_namespace(segment: Segment) -> None:
    spaced = read(segment, Only(), spaces.list_namespaces, call())["namespaces"]
    assert [one["name"] for one in spaced] == ["default"]
    with pytest.raises(UnknownEntryError):
        read(segment, Only(), spaces.get_namespace, call({"namespace": "n"}))
    spaced = read(segment, OPEN, spaces.list_namespaces, call())["namespaces"]
    assert [one["name"] for one in spaced] == ["alias", "default", "n"]

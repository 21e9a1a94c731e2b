"""Lineage in Marquez's shape where Marquez is known to be wrong, and what is taken off its lists."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from marquez_calls import Service, data, event


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("marquez-lineage") / "lodeline.db")
    yield service
    service.stop()


def ids(graph: dict[str, Any]) -> set[str]:
    return {node["id"] for node in graph["graph"]}


def run(space: str, job: str, reads: str, writes: str, **more: Any) -> dict[str, Any]:
    return event(
        namespace=space,
        job=job,
        inputs=[data(name, space) for name in reads.split()],
        outputs=[data(name, space) for name in writes.split()],
        **more,
    )


def test_siblings_are_not_part_of_the_lineage(service: Service) -> None:
    service.send(
        run("sib", "make", "raw", "clean"),
        run("sib", "use", "clean", "report"),
        run("sib", "other", "raw", "sibling"),
    )
    found = service.ask("/api/v1/lineage", nodeId="dataset:sib:clean")
    assert ids(found) == {
        "dataset:sib:raw",
        "dataset:sib:clean",
        "dataset:sib:report",
        "job:sib:make",
        "job:sib:use",
    }
    assert (found["direction"], found["complete"]) == ("both", True)
    up = service.ask("/api/v1/lineage", nodeId="dataset:sib:clean", direction="up")
    assert ids(up) == {"dataset:sib:raw", "dataset:sib:clean", "job:sib:make"}
    down = service.ask("/api/v1/lineage", nodeId="dataset:sib:raw", direction="down", depth=1)
    assert ids(down) == ids(up) | {"dataset:sib:sibling", "job:sib:other"}
    assert [gap["reason"] for gap in down["gaps"]] == ["depth"]
    status, body = service.status("/api/v1/lineage", nodeId="job:sib:use", direction="sideways")
    assert (status, body["code"]) == (400, 400)


def test_no_edge_of_an_earlier_run_is_lost(service: Service) -> None:
    service.send(
        run("multi", "j", "a", "x", at="2026-11-01T10:00:00Z"),
        run("multi", "j", "b", "y", at="2026-11-02T10:00:00Z"),
    )
    job = service.ask("/api/v1/namespaces/multi/jobs/j")
    assert [one["name"] for one in job["inputs"]] == ["a", "b"]
    assert [one["name"] for one in job["outputs"]] == ["x", "y"]
    graph = service.ask("/api/v1/lineage", nodeId="job:multi:j")["graph"]
    [node] = [one for one in graph if one["type"] == "JOB"]
    assert [edge["origin"][-1] for edge in node["inEdges"]] == ["a", "b"]
    assert [edge["destination"][-1] for edge in node["outEdges"]] == ["x", "y"]
    # And no path is made of halves of two runs.
    assert "dataset:multi:b" not in ids(service.ask("/api/v1/lineage", nodeId="dataset:multi:x"))


def test_a_version_and_a_run_are_answered_between_runs(service: Service) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    service.send(
        run("ver", "make", "in", "out", run=first, at="2026-11-01T10:00:00Z"),
        run("ver", "make", "in", "out", run=second, at="2026-11-02T10:00:00Z"),
    )
    versions = service.ask("/api/v1/namespaces/ver/datasets/out/versions")["versions"]
    assert [one["createdByRun"]["id"] for one in versions] == [second, first]
    node = f"dataset:ver:out#{versions[1]['version']}"
    found = service.ask("/api/v1/lineage", nodeId=node)
    assert {node, f"run:{first}"} <= ids(found)
    assert f"run:{second}" not in ids(found)
    assert ids(service.ask("/api/v1/lineage", nodeId=f"dataset:ver:out#run:{first}")) == ids(found)
    by_run = {
        one["id"]: one for one in service.ask("/api/v1/lineage", nodeId=f"run:{first}")["graph"]
    }
    assert by_run[f"run:{first}"]["type"] == "RUN"
    assert by_run[f"run:{first}"]["data"]["state"] == "COMPLETED"
    assert by_run[node]["data"]["version"] == versions[1]["version"]
    status, body = service.status("/api/v1/lineage", nodeId=f"dataset:ver:out#{uuid.uuid4()}")
    assert (status, body["code"]) == (404, 404)


def test_upstream_runs_are_named_with_what_they_read(service: Service) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    service.send(
        run("up", "one", "a", "b", run=first, at="2026-11-01T10:00:00Z"),
        run("up", "two", "b", "c", run=second, at="2026-11-02T10:00:00Z"),
    )
    runs = service.ask("/api/v1/runlineage/upstream", runId=second)["runs"]
    assert [one["run"]["id"] for one in runs] == [second, first]
    assert [one["job"]["name"] for one in runs] == ["two", "one"]
    assert runs[0]["inputs"][0]["producedByRunId"] == first
    assert runs[1]["inputs"][0]["producedByRunId"] is None


def test_everything_is_answered_as_it_stood(service: Service) -> None:
    service.send(run("then", "one", "a", "b"))
    size = service.ask("/api/v1/lineage", nodeId="dataset:then:b")["as_of"]["tree_size"]
    service.send(run("then", "two", "b", "c"))
    assert "dataset:then:c" in ids(service.ask("/api/v1/lineage", nodeId="dataset:then:b"))
    then = service.ask("/api/v1/lineage", nodeId="dataset:then:b", asOf=size)
    assert "dataset:then:c" not in ids(then)
    assert service.ask("/api/v1/namespaces/then/jobs", asOf=size)["totalCount"] == 1
    assert service.ask("/api/v1/namespaces/then/datasets", asOf=size)["totalCount"] == 2
    status, body = service.status("/api/v1/namespaces/then", asOf=10**9)
    assert (status, body["code"]) == (400, 400)


def test_models_and_deployments_are_datasets(service: Service) -> None:
    model = data("churn", "ml", lodeline_model={"digest": "sha256:aa", "features": ["a"]})
    service.send(
        event(namespace="ml", job="train", inputs=[data("features", "ml")], outputs=[model])
    )
    assert service.ask("/api/v1/namespaces/ml/datasets/churn")["lodelineVersion"] == "sha256:aa"
    assert service.ask("/api/v1/namespaces/ml/datasets")["totalCount"] == 2
    found = service.ask("/api/v1/lineage", nodeId="dataset:ml:churn")
    assert any(one.startswith("model:ml:churn") for one in ids(found))


def test_names_that_are_one_dataset_are_listed_once(service: Service) -> None:
    other = {"identifiers": [{"namespace": "hive", "name": "orders", "type": "TABLE"}]}
    path = data("/data/orders", "s3://lake", symlinks=other)
    service.send(
        event(namespace="alias", job="load", outputs=[path]),
        event(namespace="alias", job="use", inputs=[data("orders", "hive")]),
    )
    assert service.ask("/api/v1/namespaces/hive/datasets")["totalCount"] == 1
    assert service.ask("/api/v1/namespaces/s3%3A%2F%2Flake/datasets")["totalCount"] == 0
    by_path = service.ask("/api/v1/namespaces/s3%3A%2F%2Flake/datasets/%2Fdata%2Forders")
    assert by_path["id"] == {"namespace": "hive", "name": "orders"}
    assert "symlinks" in by_path["facets"]
    job = service.ask("/api/v1/namespaces/alias/jobs/load")
    assert job["outputs"] == [{"namespace": "hive", "name": "orders"}]


def test_what_was_deleted_is_off_the_lists_until_an_event_names_it(service: Service) -> None:
    service.send(run("del", "j", "a", "b"), run("del", "k", "a", "c"))
    base = "/api/v1/namespaces/del"
    assert service.ask(f"{base}/datasets/b", "DELETE")["name"] == "b"
    assert service.ask(f"{base}/jobs/j", "DELETE")["name"] == "j"
    assert service.status(f"{base}/datasets/b")[0] == 404
    assert service.status(f"{base}/jobs/j")[0] == 404
    assert service.status(f"{base}/jobs/j", "DELETE")[0] == 404
    found = service.ask(f"{base}/datasets")
    assert ([one["name"] for one in found["datasets"]], found["totalCount"]) == (["a", "c"], 2)
    assert service.ask(f"{base}/jobs")["totalCount"] == 1
    assert [one["name"] for one in service.ask("/api/v1/search", q="b")["results"]] != ["b"]
    # History is not undone: the record still tells where it came from.
    assert "dataset:del:a" in ids(service.ask("/api/v1/lineage", nodeId="dataset:del:b"))
    service.send(event(namespace="del", job="j", at=_now(), outputs=[data("b", "del")]))
    assert service.ask(f"{base}/datasets/b")["name"] == "b"
    assert service.ask(f"{base}/jobs")["totalCount"] == 2


def test_a_deleted_namespace_takes_its_members_with_it(service: Service) -> None:
    service.send(run("gone", "j", "a", "b"))
    assert service.ask("/api/v1/namespaces/gone", "DELETE")["isHidden"] is True
    assert service.status("/api/v1/namespaces/gone")[0] == 404
    assert service.status("/api/v1/namespaces/gone/datasets/a")[0] == 404
    names = [one["name"] for one in service.ask("/api/v1/namespaces", limit=1000)["namespaces"]]
    assert "gone" not in names
    service.send(event(namespace="gone", job="j", at=_now(), outputs=[data("b", "gone")]))
    assert service.ask("/api/v1/namespaces/gone")["name"] == "gone"
    assert [one["name"] for one in service.ask("/api/v1/namespaces/gone/datasets")["datasets"]] == [
        "b"
    ]
    service.ask("/api/v1/namespaces/empty", "PUT", {"ownerName": "me"})
    service.ask("/api/v1/namespaces/empty", "DELETE")
    assert service.status("/api/v1/namespaces/empty")[0] == 404
    service.ask("/api/v1/namespaces/empty", "PUT", {"ownerName": "me"})
    assert service.ask("/api/v1/namespaces/empty")["ownerName"] == "me"


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("/namespaces/x", "PUT", {}),
        ("/namespaces/x", "PUT", [1]),
        ("/namespaces/lodeline%3Atags", "PUT", {"ownerName": "me"}),
        ("/sources/x", "PUT", {"type": "T"}),
        ("/namespaces/default/datasets/x", "PUT", {"type": "FILE", "sourceName": "default"}),
        ("/namespaces/default/datasets/x", "PUT", {"type": "DB_TABLE", "sourceName": "default"}),
        ("/namespaces/default/jobs/x", "PUT", {"type": "BATCH", "inputs": [{"name": "x"}]}),
        ("/namespaces/default/jobs/x", "PUT", {"inputs": [], "outputs": []}),
        ("/jobs/runs/7", "GET", None),
        ("/lineage", "GET", None),
        ("/column-lineage?nodeId=nothing", "GET", None),
        ("/events/lineage?before=then", "GET", None),
    ],
)
def test_a_malformed_call_is_refused(
    service: Service, path: str, method: str, body: object
) -> None:
    status, found = service.status(f"/api/v1{path}", method, body)
    assert (status, found["code"]) == (400, 400)
    assert found["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/namespaces/none/datasets/x", {"type": "DB_TABLE"}),
        ("/namespaces/default/datasets/x", {"type": "DB_TABLE", "sourceName": "none"}),
        (
            "/namespaces/default/jobs/x",
            {"type": "BATCH", "inputs": [{"namespace": "n", "name": "x"}]},
        ),
        ("/namespaces/default/jobs/x", {"type": "BATCH", "runId": str(uuid.UUID(int=1))}),
    ],
)
def test_what_a_call_refers_to_must_be_there(
    service: Service, path: str, body: dict[str, Any]
) -> None:
    named = {"sourceName": "default", "physicalName": "x"} if "datasets" in path else {}
    status, found = service.status(f"/api/v1{path}", "PUT", named | body)
    assert (status, found["code"]) == (404, 404)


def test_a_rebuild_arrives_at_the_same_catalogue(service: Service) -> None:
    """What was put, tagged and deleted above is in the log, and nowhere else."""
    service.ask("/api/v1/sources/kept", "PUT", {"type": "S3", "connectionUrl": "s3://b"})
    paths = [
        "/api/v1/namespaces?limit=1000",
        "/api/v1/sources",
        "/api/v1/jobs",
        "/api/v1/namespaces/del/datasets",
        "/api/v1/namespaces/multi/jobs/j/versions",
    ]
    before = [service.ask(path) for path in paths]
    command = [sys.executable, "-m", "lodeline", "rebuild", "--json", "--store", str(service.store)]
    rebuilt = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert rebuilt["tree_size"] == service.ask("/api/v2/stats")["as_of"]["tree_size"]
    assert [service.ask(path) for path in paths] == before


def _now() -> str:
    return datetime.now(UTC).isoformat()

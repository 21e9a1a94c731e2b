"""Marquez's routes and shapes, as facts of its published description, against what is served.

Read from `spec/openapi.yml` and the resources of Marquez at a89b89c (0.51.2-SNAPSHOT, March 2025).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from marquez_calls import Service, data, event

from lodeline.server.assembly import build_application

ROOT = Path(__file__).parents[2]

PUBLISHED = """
PUT /namespaces/{namespace}
GET /namespaces/{namespace}
DELETE /namespaces/{namespace}
GET /namespaces
GET /events/lineage
PUT /sources/{source}
GET /sources/{source}
GET /sources
PUT /namespaces/{namespace}/datasets/{dataset}
GET /namespaces/{namespace}/datasets/{dataset}
DELETE /namespaces/{namespace}/datasets/{dataset}
GET /namespaces/{namespace}/datasets/{dataset}/versions/{version}
GET /namespaces/{namespace}/datasets/{dataset}/versions
GET /namespaces/{namespace}/datasets
POST /namespaces/{namespace}/datasets/{dataset}/tags/{tag}
POST /namespaces/{namespace}/datasets/{dataset}/fields/{field}/tags/{tag}
PUT /namespaces/{namespace}/jobs/{job}
GET /namespaces/{namespace}/jobs/{job}
DELETE /namespaces/{namespace}/jobs/{job}
GET /namespaces/{namespace}/jobs
GET /namespaces/{namespace}/jobs/{job}/versions/{version}
GET /namespaces/{namespace}/jobs/{job}/versions
POST /namespaces/{namespace}/jobs/{job}/runs
GET /namespaces/{namespace}/jobs/{job}/runs
GET /jobs/runs/{id}
GET /jobs/runs/{id}/facets
POST /jobs/runs/{id}/start
POST /jobs/runs/{id}/complete
POST /jobs/runs/{id}/fail
POST /jobs/runs/{id}/abort
POST /lineage
GET /lineage
GET /runlineage/upstream
GET /column-lineage
PUT /tags/{tag}
GET /tags
GET /search
"""
# In its resources, not in its description.
UNPUBLISHED = """
GET /jobs
DELETE /namespaces/{namespace}/datasets/{dataset}/tags/{tag}
DELETE /namespaces/{namespace}/datasets/{dataset}/fields/{field}/tags/{tag}
POST /namespaces/{namespace}/jobs/{job}/tags/{tag}
DELETE /namespaces/{namespace}/jobs/{job}/tags/{tag}
GET /stats/lineage-events
GET /stats/jobs
GET /stats/datasets
GET /stats/sources
"""
ROUTES = [tuple(line.split()) for line in (PUBLISHED + UNPUBLISHED).split("\n") if line]

RUN = """id createdAt updatedAt nominalStartTime nominalEndTime state startedAt endedAt durationMs args
    jobVersion inputDatasetVersions outputDatasetVersions facets"""
JOB = """id type name simpleName parentJobName parentJobUuid createdAt updatedAt namespace inputs
    outputs location description latestRun"""
DATASET = """id type name physicalName createdAt updatedAt namespace sourceName fields tags
    lastModifiedAt lastLifecycleState description"""
SHAPES = {
    "namespace": "name createdAt updatedAt ownerName description",
    "source": "type name createdAt updatedAt connectionUrl description",
    "dataset": f"{DATASET} facets currentVersion deleted",
    "dataset version": """id type name physicalName createdAt version namespace sourceName fields
        tags lifecycleState description createdByRun facets""",
    "field": "name type tags description",
    "job": f"{JOB} latestRuns facets currentVersion labels tags",
    "job version": "id name createdAt version namespace location inputs outputs latestRun",
    "run": RUN,
    "tag": "name description",
    "search result": "type name updatedAt namespace nodeId",
    "graph node": "id type data inEdges outEdges",
    "edge": "origin destination",
    "dataset node": DATASET,
    "job node": JOB,
    "column node": """namespace dataset datasetVersion field fieldType transformationDescription
        transformationType inputFields""",
    "input field": """namespace dataset datasetVersion field transformationDescription
        transformationType""",
    "version id": "namespace name version",
    "input version": "datasetVersionId facets",
    "upstream run": "job run inputs",
    "metric": "startInterval endInterval fail start complete abort",
    "interval": "startInterval endInterval count",
}


def assert_shape(name: str, found: dict[str, Any]) -> None:
    missing = set(SHAPES[name].split()) - found.keys()
    assert not missing, f"{name} lacks {sorted(missing)}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("marquez-routes") / "lodeline.db")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    store = tmp_path_factory.mktemp("routes") / "lodeline.db"
    endpoints = build_application(f"sqlite:///{store}").endpoints
    return {(one.method, one.path) for one in endpoints}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_route_of_marquez_is_served(served: set[tuple[str, str]], method: str, path: str) -> None:
    assert (method, f"/api/v1{path}") in served


def test_the_reference_lists_every_route_that_is_served(served: set[tuple[str, str]]) -> None:
    page = (ROOT / "docs" / "reference" / "marquez.md").read_text()
    listed = set(re.findall(r"^\| `(GET|PUT|POST|DELETE) (/\S+)` \|", page, re.MULTILINE))
    ours = {
        (method, path.removeprefix(base))
        for method, path in served
        for base in ("/api/v1", "/api/v2beta")
        if path.startswith(f"{base}/")
    }
    assert ours == listed


FLOW = {
    "fields": {"b": {"inputFields": [{"namespace": "n", "name": "in", "field": "a"}]}},
}


@pytest.fixture(scope="module")
def recorded(service: Service) -> str:
    """A run of a job, with its facets; its identifier."""
    run = str(uuid.uuid4())
    schema = {"fields": [{"name": "b", "type": "TEXT", "description": "d"}]}
    made = data("out", "n", schema=schema, columnLineage=FLOW)
    made["outputFacets"] = {"outputStatistics": {"rowCount": 7}}
    used = data("in", "n", dataSource={"name": "db", "uri": "postgres://h/db"})
    used["inputFacets"] = {"inputStatistics": {"rowCount": 3}}
    nominal = {"nominalStartTime": "2026-11-01T00:00:00Z"}
    events = []
    for kind, at in (("START", "2026-11-01T10:00:00Z"), ("COMPLETE", "2026-11-01T10:01:00Z")):
        one = event(
            namespace="n", job="j", run=run, kind=kind, at=at, inputs=[used], outputs=[made]
        )
        one["run"]["facets"]["nominalTime"] = nominal
        one["job"]["facets"] = {
            "jobType": {"processingType": "BATCH", "integration": "SPARK", "jobType": "JOB"},
            "sourceCodeLocation": {"type": "git", "url": "https://e/x", "version": "c0ffee"},
            "documentation": {"description": "Does it"},
        }
        events.append(one)
    service.send(*events)
    return run


def test_datasets_and_versions_have_marquez_shape(service: Service, recorded: str) -> None:
    [used, made] = service.ask("/api/v1/namespaces/n/datasets")["datasets"]
    for one in (used, made):
        assert_shape("dataset", one)
        assert one["id"] == {"namespace": "n", "name": one["name"]}
    assert used["sourceName"] == "db"
    [field] = made["fields"]
    assert_shape("field", field)
    assert made["lastModifiedAt"] == "2026-11-01T10:01:00.000000Z"
    [version] = service.ask("/api/v1/namespaces/n/datasets/out/versions")["versions"]
    assert_shape("dataset version", version)
    assert_shape("version id", version["id"])
    assert_shape("run", version["createdByRun"])
    assert version["createdByRun"]["id"] == recorded
    assert version["version"] == made["currentVersion"]
    path = f"/api/v1/namespaces/n/datasets/out/versions/run%3A{recorded}"
    assert service.ask(path) == version
    status, body = service.status(f"/api/v1/namespaces/n/datasets/out/versions/{uuid.uuid4()}")
    assert (status, body["code"]) == (404, 404)


def test_jobs_versions_and_runs_have_marquez_shape(service: Service, recorded: str) -> None:
    [job] = service.ask("/api/v1/namespaces/n/jobs")["jobs"]
    assert_shape("job", job)
    assert job == service.ask("/api/v1/namespaces/n/jobs/j")
    assert (job["location"], job["description"]) == ("https://e/x", "Does it")
    assert job["labels"] == ["JOB", "SPARK"]
    [version] = service.ask("/api/v1/namespaces/n/jobs/j/versions")["versions"]
    assert_shape("job version", version)
    assert version["version"] == job["currentVersion"] == job["latestRun"]["jobVersion"]["version"]
    assert version["inputs"] == [{"namespace": "n", "name": "in"}]
    assert version["location"] == "https://e/x"
    assert service.ask("/api/v1/namespaces/n/jobs/j/versions/c0ffee") == version
    [run] = service.ask("/api/v1/namespaces/n/jobs/j/runs")["runs"]
    assert_shape("run", run)
    assert run == service.ask(f"/api/v1/jobs/runs/{recorded}") == job["latestRuns"][0]
    assert (run["state"], run["durationMs"]) == ("COMPLETED", 60_000)
    assert run["nominalStartTime"] == "2026-11-01T00:00:00Z"
    [used] = run["inputDatasetVersions"]
    assert_shape("input version", used)
    assert used["facets"]["inputStatistics"] == {"rowCount": 3}
    assert run["outputDatasetVersions"][0]["facets"]["outputStatistics"] == {"rowCount": 7}
    facets = service.ask(f"/api/v1/jobs/runs/{recorded}/facets", type="run")
    assert (facets["runId"], list(facets["facets"])) == (recorded, ["nominalTime"])
    facets = service.ask(f"/api/v1/jobs/runs/{recorded}/facets", type="job")
    assert facets["facets"]["jobType"]["integration"] == "SPARK"


def test_jobs_are_listed_by_the_state_of_their_last_run(service: Service, recorded: str) -> None:
    service.send(
        event(namespace="n2", job="failed", kind="FAIL"),
        event(namespace="n2", job="running", kind="START"),
        event(namespace="n2", job="once-failed", kind="FAIL", at="2026-11-01T09:00:00Z"),
        event(namespace="n2", job="once-failed", kind="COMPLETE", at="2026-11-01T11:00:00Z"),
    )

    def named(**query: object) -> set[str]:
        return {job["name"] for job in service.ask("/api/v1/namespaces/n2/jobs", **query)["jobs"]}

    assert named(lastRunStates="FAILED") == {"failed"}
    assert named(lastRunStates=["RUNNING", "COMPLETED"]) == {"running", "once-failed"}
    everywhere = service.ask("/api/v1/jobs", limit=1)
    assert (everywhere["totalCount"], everywhere["jobs"][0]["name"]) == (4, "once-failed")
    status, body = service.status("/api/v1/jobs", lastRunStates="LOST")
    assert (status, body["code"]) == (400, 400)


def test_namespaces_sources_and_tags_have_marquez_shape(service: Service, recorded: str) -> None:
    for one in service.ask("/api/v1/namespaces")["namespaces"]:
        assert_shape("namespace", one)
    sources = {one["name"]: one for one in service.ask("/api/v1/sources")["sources"]}
    for one in sources.values():
        assert_shape("source", one)
    assert sources["db"] == service.ask("/api/v1/sources/db")
    assert (sources["db"]["type"], sources["db"]["connectionUrl"]) == (
        "POSTGRES",
        "postgres://h/db",
    )
    service.ask("/api/v1/tags/T", "PUT", {"description": "d"})
    [tag] = service.ask("/api/v1/tags")["tags"]
    assert_shape("tag", tag)


def test_graphs_have_marquez_shape(service: Service, recorded: str) -> None:
    graph = service.ask("/api/v1/lineage", nodeId="job:n:j")["graph"]
    nodes = {node["id"]: node for node in graph}
    assert list(nodes) == ["dataset:n:in", "dataset:n:out", "job:n:j"]
    assert [node["type"] for node in graph] == ["DATASET", "DATASET", "JOB"]
    for node in graph:
        assert_shape("graph node", node)
        assert_shape("job node" if node["type"] == "JOB" else "dataset node", node["data"])
        for edge in (*node["inEdges"], *node["outEdges"]):
            assert_shape("edge", edge)
    assert nodes["job:n:j"]["data"]["latestRun"]["id"] == recorded
    for node in service.ask("/api/v1/column-lineage", nodeId="dataset:n:out")["graph"]:
        assert_shape("graph node", node)
        assert_shape("column node", node["data"])
        for field in node["data"]["inputFields"]:
            assert_shape("input field", field)
    [run] = service.ask("/api/v1/runlineage/upstream", runId=recorded)["runs"]
    assert_shape("upstream run", run)
    assert run["run"]["id"] == recorded
    assert run["inputs"][0]["name"] == "in"


def test_search_matches_parts_of_names_and_wildcards(service: Service, recorded: str) -> None:
    service.send(
        event(
            namespace="find",
            job="Load_Customers",
            at="2026-10-01T10:00:00Z",
            outputs=[data("public.customers", "find"), data("public.custom", "find")],
        )
    )

    def named(**query: object) -> list[str]:
        found = service.ask("/api/v1/search", **query)
        for one in found["results"]:
            assert_shape("search result", one)
        assert found["totalCount"] >= len(found["results"])
        return [one["name"] for one in found["results"]]

    every = ["Load_Customers", "public.custom", "public.customers"]
    assert named(q="custom", namespace="find") == every
    assert named(q="cUsTomers", namespace="find") == [every[0], every[2]]
    assert named(q="public%mers") == ["public.customers"]
    assert named(q="custo_ers", filter="dataset") == ["public.customers"]
    assert named(q="custom", filter="JOB") == ["Load_Customers"]
    assert named(q="custom", limit=1) == ["Load_Customers"]
    assert named(q="custom", before="2026-10-01") == []
    assert named(q="custom", after="2026-10-01", sort="updated_at") == every
    results = service.ask("/api/v1/search", q="load_c")["results"]
    assert results[0]["nodeId"] == "job:find:Load_Customers"
    assert service.status("/api/v1/search")[0] == 400
    found = service.ask("/api/v2beta/search/jobs", q="load")
    assert [hit["name"] for hit in found["hits"]] == ["Load_Customers"]
    assert found["highlights"] == [{"name": ["<em>Load</em>_Customers"]}]
    assert len(service.ask("/api/v2beta/search/datasets", q="custom")["hits"]) == 2


def test_statistics_count_by_hour_and_by_day(service: Service) -> None:
    now = datetime.now(UTC).isoformat()
    service.send(event(namespace="now", job="a", kind="START", at=now))
    service.send(event(namespace="now", job="b", kind="FAIL", at=now))
    hours = service.ask("/api/v1/stats/lineage-events", period="DAY")
    assert len(hours) == 24
    # The last but one when the hour has turned meanwhile.
    assert sum(hour["start"] for hour in hours[-2:]) == 1
    assert sum(hour["fail"] for hour in hours[-2:]) == 1
    days = service.ask("/api/v1/stats/lineage-events", period="WEEK", timezone="Asia/Kathmandu")
    assert len(days) == 7
    for metric in (*hours, *days):
        assert_shape("metric", metric)
    begin = datetime.fromisoformat(days[0]["startInterval"])
    assert datetime.fromisoformat(days[0]["endInterval"]) - begin == timedelta(days=1)
    assert (begin.hour, begin.minute) == (18, 15)
    for what in ("jobs", "datasets", "sources"):
        counts = service.ask(f"/api/v1/stats/{what}", period="WEEK", timezone="UTC")
        for interval in counts:
            assert_shape("interval", interval)
        values = [interval["count"] for interval in counts]
        assert values == sorted(values)
    assert service.ask("/api/v1/stats/jobs", period="DAY")[-1]["count"] >= 2
    assert service.status("/api/v1/stats/jobs", period="YEAR")[0] == 400
    assert service.status("/api/v1/stats/jobs", period="WEEK", timezone="Moon/Sea")[0] == 400


def test_pages_are_cut_by_limit_and_offset(service: Service) -> None:
    names = [f"d{i:02}" for i in range(12)]
    service.send(
        event(namespace="pages", outputs=[data(name, "pages") for name in names]),
    )
    path = "/api/v1/namespaces/pages/datasets"
    found = service.ask(path, limit=5, offset=10)
    assert [one["name"] for one in found["datasets"]] == names[10:]
    assert found["totalCount"] == 12
    assert service.ask(path, limit=0) == {"datasets": [], "totalCount": 12}
    for wrong in ({"limit": -1}, {"limit": 10_001}, {"offset": "x"}):
        status, body = service.status(path, **wrong)
        assert (status, body["code"], body["error"]) == (400, 400, "usage")

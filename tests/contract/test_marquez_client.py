"""Marquez's own Python client, unchanged, against a running service: every method that it has."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from marquez_calls import Service, data, event

marquez_client = pytest.importorskip("marquez_client", reason="pip install marquez-python pytz")

from marquez_client import MarquezClient  # noqa: E402
from marquez_client.errors import APIError  # noqa: E402
from marquez_client.models import DatasetId, DatasetType, JobType  # noqa: E402

# The client calls much of itself deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROOT = Path(__file__).parents[2]

# Called by the tests below; a method that the client gains is missed here first.
CALLED: set[str] = set()


class Recording:
    """The client, remembering which of its methods were called."""

    def __init__(self, client: MarquezClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        CALLED.add(name)
        return getattr(self._client, name)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("marquez") / "lodeline.db")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return Recording(MarquezClient(service.url, timeout_ms=60_000))


@pytest.fixture(scope="module")
def shop(client: Any) -> str:
    """A namespace with a job that reads one dataset and writes another, put by the client."""
    client.create_namespace("shop", "anna", "Orders and their sums")
    client.create_source("shop-db", "postgresql", "jdbc:postgresql://db:5432/shop", "the shop's")
    client.create_dataset(
        "shop",
        "public.orders",
        DatasetType.DB_TABLE,
        "public.orders_2026",
        "shop-db",
        description="One row an order",
        fields=[
            {"name": "id", "type": "INTEGER", "tags": ["KEY"]},
            {"name": "amount", "type": "NUMERIC", "description": "in cents"},
        ],
        tags=["RAW"],
    )
    client.create_dataset("shop", "sums", DatasetType.DB_TABLE, "sums", "shop-db")
    client.create_job(
        "shop",
        "sum_orders",
        JobType.BATCH,
        location="https://example.org/jobs/sum.py",
        inputs=[DatasetId("shop", "public.orders")],
        outputs=[DatasetId("shop", "sums")],
        description="Sums orders",
        context={"sql": "SELECT sum(amount) FROM orders", "team": "finance"},
    )
    return "shop"


def test_a_namespace_that_was_created_is_found_and_listed(client: Any, shop: str) -> None:
    found = client.get_namespace(shop)
    assert (found["name"], found["ownerName"]) == ("shop", "anna")
    assert found["description"] == "Orders and their sums"
    assert found["createdAt"].endswith("Z")
    names = [one["name"] for one in client.list_namespaces()["namespaces"]]
    assert names == sorted(names)
    assert {"default", shop} <= set(names)
    client.create_namespace(shop, "ben")
    assert client.get_namespace(shop)["ownerName"] == "ben"


def test_an_empty_namespace_exists(client: Any) -> None:
    client.create_namespace("s3://empty/space", "anna")
    assert client.get_namespace("s3://empty/space")["ownerName"] == "anna"
    assert client.list_datasets("s3://empty/space") == {"datasets": [], "totalCount": 0}
    assert client.list_jobs("s3://empty/space") == {"jobs": [], "totalCount": 0}


def test_a_source_that_was_created_is_found_and_listed(client: Any, shop: str) -> None:
    found = client.get_source("shop-db")
    assert found["type"] == "POSTGRESQL"
    assert found["connectionUrl"] == "jdbc:postgresql://db:5432/shop"
    assert found["description"] == "the shop's"
    assert "shop-db" in [one["name"] for one in client.list_sources()["sources"]]


def test_a_dataset_has_what_it_was_created_with(client: Any, shop: str) -> None:
    found = client.get_dataset(shop, "public.orders")
    assert found["id"] == {"namespace": "shop", "name": "public.orders"}
    assert (found["type"], found["physicalName"]) == ("DB_TABLE", "public.orders_2026")
    assert (found["sourceName"], found["description"]) == ("shop-db", "One row an order")
    assert [field["name"] for field in found["fields"]] == ["id", "amount"]
    assert found["fields"][0]["tags"] == ["KEY"]
    assert found["fields"][1]["description"] == "in cents"
    assert "RAW" in found["tags"]
    assert found["deleted"] is False
    listed = client.list_datasets(shop)
    names = [one["name"] for one in listed["datasets"]]
    assert {"public.orders", "sums"} <= set(names)
    assert (names, listed["totalCount"]) == (sorted(names), len(names))


def test_a_declared_dataset_has_a_version_from_the_start(client: Any, shop: str) -> None:
    current = client.get_dataset(shop, "public.orders")["currentVersion"]
    assert uuid.UUID(current)
    version = client.get_dataset_version(shop, "public.orders", current)
    assert version["version"] == version["id"]["version"] == current
    assert [field["name"] for field in version["fields"]] == ["id", "amount"]
    assert version["createdByRun"] is None
    listed = client.list_dataset_versions(shop, "public.orders")
    assert [one["version"] for one in listed["versions"]] == [current]
    assert listed["totalCount"] == 1


def test_a_stream_keeps_where_its_schema_is(client: Any, shop: str) -> None:
    client.create_namespace("streams", "anna")
    found = client.create_dataset(
        "streams", "clicks", DatasetType.STREAM, "t1", "shop-db", schema_location="http://r/1"
    )
    assert (found["type"], found["schemaLocation"]) == ("STREAM", "http://r/1")


def test_tags_are_put_on_datasets_and_fields_and_listed(client: Any, shop: str) -> None:
    assert client.create_tag("PII", "Personal") == {"name": "PII", "description": "Personal"}
    assert "PII" in client.tag_dataset(shop, "public.orders", "PII")["tags"]
    found = client.tag_dataset_field(shop, "public.orders", "amount", "MONEY")
    assert [field["tags"] for field in found["fields"]] == [["KEY"], ["MONEY"]]
    assert {"PII", "RAW"} <= set(found["tags"])
    tags = {one["name"]: one["description"] for one in client.list_tags()["tags"]}
    assert tags["PII"] == "Personal"
    assert {"MONEY", "KEY", "RAW"} <= tags.keys()
    with pytest.raises(APIError):
        client.tag_dataset_field(shop, "public.orders", "nobody", "MONEY")


def test_a_tag_is_taken_off_again(client: Any, service: Service, shop: str) -> None:
    client.tag_dataset(shop, "sums", "GONE")
    found = service.ask("/api/v1/namespaces/shop/datasets/sums/tags/GONE", "DELETE")
    assert "GONE" not in found["tags"]
    assert (
        "KEPT" in service.ask("/api/v1/namespaces/shop/jobs/sum_orders/tags/KEPT", "POST")["tags"]
    )
    found = service.ask("/api/v1/namespaces/shop/jobs/sum_orders/tags/KEPT", "DELETE")
    assert "KEPT" not in found["tags"]


def test_a_job_has_what_it_was_created_with(client: Any, shop: str) -> None:
    found = client.get_job(shop, "sum_orders")
    assert found["id"] == {"namespace": "shop", "name": "sum_orders"}
    assert (found["type"], found["simpleName"]) == ("BATCH", "sum_orders")
    assert found["inputs"] == [{"namespace": "shop", "name": "public.orders"}]
    assert found["outputs"] == [{"namespace": "shop", "name": "sums"}]
    assert found["location"] == "https://example.org/jobs/sum.py"
    assert found["description"] == "Sums orders"
    assert found["facets"]["sql"]["query"] == "SELECT sum(amount) FROM orders"
    assert found["facets"]["lodeline_context"]["context"] == {"team": "finance"}
    assert "sum_orders" in [one["name"] for one in client.list_jobs(shop)["jobs"]]


def test_a_run_goes_from_new_to_running_to_completed(client: Any, shop: str) -> None:
    run_id = str(uuid.uuid4())
    created = client.create_job_run(
        shop,
        "sum_orders",
        run_id=run_id,
        nominal_start_time="2026-11-01T00:00:00Z",
        nominal_end_time="2026-11-02T00:00:00Z",
        run_args={"day": "2026-11-01"},
    )
    assert (created["id"], created["state"]) == (run_id, "NEW")
    assert created["startedAt"] is created["endedAt"] is None
    assert created["args"] == {"day": "2026-11-01"}
    assert created["nominalStartTime"] == "2026-11-01T00:00:00Z"
    started = client.mark_job_run_as_started(run_id, at="2026-11-01T10:00:00Z")
    assert (started["state"], started["startedAt"]) == ("RUNNING", "2026-11-01T10:00:00.000000Z")
    ended = client.mark_job_run_as_completed(run_id, at="2026-11-01T10:01:30.5Z")
    assert (ended["state"], ended["durationMs"]) == ("COMPLETED", 90_500)
    assert client.get_job_run(run_id) == ended
    assert ended["jobVersion"]["name"] == "sum_orders"
    [made] = ended["outputDatasetVersions"]
    assert made["datasetVersionId"]["name"] == "sums"
    [used] = ended["inputDatasetVersions"]
    assert used["datasetVersionId"]["name"] == "public.orders"
    assert run_id in [run["id"] for run in client.list_job_runs(shop, "sum_orders")["runs"]]


def test_the_dataset_that_a_run_writes_has_a_version_made_by_it(client: Any, shop: str) -> None:
    run = client.create_job_run(shop, "sum_orders", mark_as_running=True)
    assert run["state"] == "RUNNING"
    client.mark_job_run_as_completed(run["id"])
    newest = client.list_dataset_versions(shop, "sums")["versions"][0]
    assert newest["createdByRun"]["id"] == run["id"]
    assert client.get_dataset(shop, "sums")["currentVersion"] == newest["version"]
    assert client.get_dataset_version(shop, "sums", newest["version"]) == newest


@pytest.mark.parametrize(("mark", "state"), [("failed", "FAILED"), ("aborted", "ABORTED")])
def test_a_run_may_fail_or_be_aborted(client: Any, shop: str, mark: str, state: str) -> None:
    run = client.create_job_run(shop, "sum_orders", mark_as_running=True)
    assert getattr(client, f"mark_job_run_as_{mark}")(run["id"])["state"] == state
    assert client.get_job_run(run["id"])["outputDatasetVersions"] == []
    assert client.get_job(shop, "sum_orders")["latestRun"]["id"] == run["id"]


def test_creating_a_run_again_gives_the_same_run(client: Any, service: Service, shop: str) -> None:
    run = client.create_job_run(shop, "sum_orders", run_id=str(uuid.uuid4()))
    size = service.ask("/api/v2/stats")["as_of"]["tree_size"]
    assert client.create_job_run(shop, "sum_orders", run_id=run["id"]) == run
    assert service.ask("/api/v2/stats")["as_of"]["tree_size"] == size
    client.create_job(shop, "another", JobType.SERVICE)
    status, body = service.status(
        "/api/v1/namespaces/shop/jobs/another/runs", "POST", {"id": run["id"]}
    )
    assert (status, body["code"]) == (409, 409)


def test_a_dataset_is_put_as_the_output_of_a_run(client: Any, shop: str) -> None:
    client.create_job(shop, "exporter", JobType.BATCH)
    run = client.create_job_run(shop, "exporter", mark_as_running=True)
    client.create_dataset(
        shop, "exported", DatasetType.DB_TABLE, "exported", "shop-db", run_id=run["id"]
    )
    client.mark_job_run_as_completed(run["id"])
    [made] = client.get_job_run(run["id"])["outputDatasetVersions"]
    assert made["datasetVersionId"]["name"] == "exported"
    assert client.get_job(shop, "exporter")["outputs"] == [{"namespace": shop, "name": "exported"}]


def test_events_come_back_as_they_were_sent(client: Any, service: Service) -> None:
    first = event(at="2001-01-01T10:00:00Z", job="old", namespace="events://old")
    second = event(at="2001-01-02T10:00:00Z", job="old", namespace="events://old", x={"a": [1]})
    service.send(first, second)
    window = {"before": "2001-06-01T00:00:00Z", "after": "2000-01-01T00:00:00Z"}
    page = service.ask("/api/v1/events/lineage", **window)
    assert page["totalCount"] == 2
    assert page["events"] == [second, first]
    page = service.ask("/api/v1/events/lineage", **window, sortDirection="asc", limit=1, offset=1)
    assert (page["totalCount"], page["events"]) == (2, [second])
    assert client.list_events("events://old")["events"] == [second, first]
    assert client.list_events(limit=1)["totalCount"] > 2


def test_column_lineage_is_answered_for_a_dataset_a_field_and_a_job(
    client: Any, service: Service
) -> None:
    flow = {
        "fields": {
            "total": {
                "inputFields": [
                    {
                        "namespace": "warehouse",
                        "name": "orders",
                        "field": "amount",
                        "transformations": [
                            {"type": "DIRECT", "subtype": "AGGREGATION", "description": "sum"}
                        ],
                    }
                ]
            }
        }
    }
    schema = {"fields": [{"name": "total", "type": "BIGINT"}]}
    service.send(
        event(
            namespace="warehouse",
            job="summing",
            inputs=[data("orders", "warehouse")],
            outputs=[data("totals", "warehouse", columnLineage=flow, schema=schema)],
        )
    )
    by_dataset = client.get_column_lineage_by_dataset("warehouse", "totals")
    by_field = client.get_column_lineage_by_dataset_field("warehouse", "totals", "total")
    by_job = client.get_column_lineage_by_job("warehouse", "summing")
    assert by_dataset["graph"] == by_field["graph"] == by_job["graph"]
    nodes = {node["id"]: node for node in by_dataset["graph"]}
    source, target = "datasetField:warehouse:orders:amount", "datasetField:warehouse:totals:total"
    assert nodes.keys() == {source, target}
    assert nodes[target]["type"] == "DATASET_FIELD"
    assert nodes[target]["data"]["fieldType"] == "BIGINT"
    [used] = nodes[target]["data"]["inputFields"]
    assert (used["dataset"], used["field"]) == ("orders", "amount")
    assert (used["transformationType"], used["transformationDescription"]) == ("DIRECT", "sum")
    assert nodes[target]["inEdges"] == [{"origin": source, "destination": target}]
    assert nodes[source]["outEdges"] == [{"origin": source, "destination": target}]
    up = client.get_column_lineage_by_dataset("warehouse", "orders")
    assert target not in {node["id"] for node in up["graph"]}
    down = client.get_column_lineage_by_dataset("warehouse", "orders", with_downstream=True)
    assert target in {node["id"] for node in down["graph"]}
    version = client.get_dataset("warehouse", "totals")["currentVersion"]
    versioned = client.get_column_lineage_by_dataset("warehouse", "totals", version=version)
    assert f"{target}#{version}" in {node["id"] for node in versioned["graph"]}
    found = client.get_dataset("warehouse", "totals")
    assert found["columnLineage"][0]["name"] == "total"
    assert found["columnLineage"][0]["inputFields"][0]["field"] == "amount"


def test_names_with_slashes_colons_and_percent_signs_are_found(
    client: Any, service: Service
) -> None:
    name, job = "a/b:c#d %2F é", "task/with:signs"
    service.send(event(job=job, inputs=[data("plain")], outputs=[data(name)]))
    found = client.get_dataset("s3://bucket/x", name)
    assert found["id"] == {"namespace": "s3://bucket/x", "name": name}
    assert client.get_job("s3://bucket/x", job)["outputs"] == [found["id"]]
    assert client.list_job_runs("s3://bucket/x", job)["totalCount"] == 1
    raw = f"dataset:s3://bucket/x:{name}"
    graph = service.ask("/api/v1/lineage", nodeId=raw)["graph"]
    assert {node["id"] for node in graph} == {
        raw,
        "dataset:s3://bucket/x:plain",
        f"job:s3://bucket/x:{job}",
    }
    encoded = "dataset:s3://bucket/x:a/b%3Ac%23d %252F é"
    assert service.ask("/api/v1/lineage", nodeId=encoded)["graph"] == graph
    assert service.ask(f"/api/v1/lineage?nodeId={quote(raw, safe='')}")["graph"] == graph


def test_what_is_not_there_is_refused_as_marquez_does(client: Any, service: Service) -> None:
    missing = {
        "/api/v1/namespaces/none": "Namespace 'none' not found.",
        "/api/v1/namespaces/none/datasets": "Namespace 'none' not found.",
        "/api/v1/namespaces/default/datasets/none": "Dataset 'none' not found.",
        "/api/v1/namespaces/default/jobs/none": "Job 'none' not found.",
        "/api/v1/sources/none": "Source 'none' not found.",
        f"/api/v1/jobs/runs/{uuid.UUID(int=7)}": f"Run '{uuid.UUID(int=7)}' not found.",
    }
    for path, message in missing.items():
        status, body = service.status(path)
        assert (status, body["code"], body["message"]) == (404, 404, message)
    status, body = service.status("/api/v1/lineage", nodeId="dataset:none:none")
    assert (status, body["code"]) == (404, 404)
    with pytest.raises(APIError):
        client.get_dataset("none", "none")


def test_the_script_of_the_guide_runs(service: Service) -> None:
    page = (ROOT / "docs" / "guides" / "from-marquez.md").read_text()
    [script] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = script.replace("http://127.0.0.1:5633", service.url).replace('"shop', '"guide')
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "'totalCount': 2" in ran.stdout
    graph = service.ask("/api/v1/lineage", nodeId="dataset:guide:sums")["graph"]
    assert [node["id"] for node in graph] == [
        "dataset:guide:orders",
        "dataset:guide:sums",
        "job:guide:sum_orders",
    ]


def test_every_method_of_the_client_was_called(client: Any, request: pytest.FixtureRequest) -> None:
    """Last in this module: what the others called is what was tried."""
    here = request.module
    ran = {item.originalname for item in request.session.items if item.module is here}
    if {name for name in vars(here) if name.startswith("test_")} - ran:
        pytest.skip("only some tests of this module were asked for")
    public = {name for name in dir(MarquezClient) if not name.startswith("_")}
    assert public - CALLED == set()

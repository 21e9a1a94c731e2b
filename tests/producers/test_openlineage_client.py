"""`openlineage-python` as it comes: each of its transports brings all three event types."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_real_pipelines import edges, own_environment, program

from service import Service, serving

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as one:
        yield one


def emit(name: str, folder: Path, **settings: str) -> None:
    python = program(".venv-airflow", "python")
    done = subprocess.run(
        [python, HERE / "openlineage_emit.py", name],
        cwd=folder,
        env=own_environment(python.parent, **settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def assert_known(service: Service, name: str) -> None:
    """The view has the run's edge, its columns, and the dataset that only a DatasetEvent named."""
    space = "s3://bucket:"
    tables = service.get("/api/v2/trace", id=f"dataset:{space}{name}/out")
    assert edges(tables, f"dataset:{space}") == {(f"{name}/in", f"{name}/out")}
    root = f"datasetField:{space}{name}/out:b"
    columns = service.get("/api/v2/trace", id=root, columns="true")
    assert edges(columns, f"datasetField:{space}") == {(f"{name}/in:a", f"{name}/out:b")}
    assert service.get("/api/v2/show", id=f"dataset:{space}{name}/described")["kind"] == "dataset"


def wait_until_folded(service: Service) -> None:
    """An event that waits for the fold: then all before it are folded, too."""
    event = {
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent",
        "job": {"namespace": "clients", "name": "barrier"},
    }
    status, body, _ = service.post("/api/v1/lineage?wait=folded", json.dumps(event).encode())
    assert status == 201, body


HTTP: dict[str, dict[str, Any]] = {
    "http": {"type": "http"},
    "http_gzip": {"type": "http", "compression": "gzip"},
    "async_http": {"type": "async_http"},
    "composite": {
        "type": "composite",
        "transports": {"a": {"type": "http"}, "b": {"type": "console"}},
    },
}


@pytest.mark.parametrize("name", sorted(HTTP))
def test_the_http_transports_deliver_unchanged(service: Service, tmp_path: Path, name: str) -> None:
    transport = json.loads(json.dumps(HTTP[name]))
    for one in [transport, *transport.get("transports", {}).values()]:
        if "http" in one["type"]:
            one["url"] = service.url
    emit(name, tmp_path, OPENLINEAGE__TRANSPORT=json.dumps(transport))
    wait_until_folded(service)
    assert_known(service, name)


def test_a_url_in_the_environment_is_all_that_the_client_needs(
    service: Service, tmp_path: Path
) -> None:
    emit("by_url", tmp_path, OPENLINEAGE_URL=service.url)
    wait_until_folded(service)
    assert_known(service, "by_url")


def test_what_the_file_transport_writes_is_imported(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(path), "append": True}
    emit("file", tmp_path, OPENLINEAGE__TRANSPORT=json.dumps(transport))
    assert len(path.read_text().splitlines()) == 4
    store = f"sqlite:///{tmp_path}/lodeline.db"
    command = [sys.executable, "-m", "lodeline", "import", path, "--store", store, "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["accepted"] == 4
    with serving(tmp_path, store=store) as over_the_store:
        assert_known(over_the_store, "file")

"""The service exports what the command line does, and to nobody more than they may see."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from lodeline.ingest import accept
from lodeline.server.assembly import build_application
from lodeline.server.key_gate import KeyGate
from lodeline.store import open_segment
from lodeline.store.api_keys import create_api_key

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def event(number: int, namespace: str) -> bytes:
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": "2026-01-01T00:00:00Z",
            "producer": "https://example.org",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-4000-8000-{number:012d}"},
            "job": {"namespace": namespace, "name": "job"},
            "outputs": [{"namespace": namespace, "name": "made"}],
        }
    ).encode()


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/lodeline.db"
    segment = open_segment(url)
    accept(segment, [event(1, "open"), event(2, "closed")])
    segment.close()
    return url


@pytest.fixture
async def client(store: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_application(store))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as one:
        yield one


async def test_events_come_a_line_each_with_the_size_to_go_on_from(
    client: httpx.AsyncClient,
) -> None:
    reply = await client.get("/api/v2/export")
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    assert len(reply.text.splitlines()) == 2
    size = reply.headers["Lodeline-Tree-Size"]
    again = await client.get("/api/v2/export", params={"since": size})
    assert (again.text, again.headers["Lodeline-Tree-Size"]) == ("", size)


async def test_tables_come_as_an_archive(client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/v2/export", params={"format": "csv"})
    archive = zipfile.ZipFile(io.BytesIO(reply.content))
    assert archive.namelist() == ["nodes.csv", "edges.csv"]
    assert b"dataset:open:made" in archive.read("nodes.csv")


async def test_a_dataset_is_described(client: httpx.AsyncClient) -> None:
    reply = await client.get(
        "/api/v2/export", params={"format": "croissant", "id": "dataset:open:made"}
    )
    assert reply.json()["identifier"].startswith("dataset:open:made")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("format=parquet", 400),
        ("format=cyclonedx", 400),
        ("since=x", 400),
        ("since=99", 400),
        ("since=1&since=2", 400),
        ("other=1", 400),
        ("format=croissant&id=dataset:n:none", 404),
    ],
)
async def test_a_malformed_question_has_a_status_of_its_own(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    reply = await client.get(f"/api/v2/export?{query}")
    assert reply.status_code == status
    assert reply.json()["code"]


async def test_a_confined_key_gets_tables_of_what_it_may_see(store: str) -> None:
    segment = open_segment(store)
    given = {"name": "reader", "now_us": 0, "expires_us": None, "namespaces": ["open"]}
    token = create_api_key(segment, scopes=("read",), **given)[1]
    app = build_application(store, make_gate=KeyGate)
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as one:
        for form in ("openlineage", "prov-json"):
            reply = await one.get("/api/v2/export", params={"format": form})
            assert reply.status_code == 403
        reply = await one.get("/api/v2/export", params={"format": "csv"})
        assert reply.status_code == 200
        text = zipfile.ZipFile(io.BytesIO(reply.content)).read("nodes.csv")
        assert b"dataset:open:made" in text
        assert b"closed" not in text
        assert "hidden=0" not in reply.headers["Lodeline-Left-Out"]
        hidden = {"format": "croissant", "id": "dataset:closed:made"}
        assert (await one.get("/api/v2/export", params=hidden)).status_code == 404
    segment.close()

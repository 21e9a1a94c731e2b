"""Names that mean something to SQL, URLs, terminals or files are names, on every store.

They come in over HTTP, and every way of asking finds them again, unchanged; as values of parameters
they break nothing.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from lodeline.model import NodeId
from lodeline.server.assembly import build_application
from stores import Place

pytestmark = pytest.mark.anyio

NAMES = [
    "Größe-表-🦓",
    "a\u202eb\u200f\u0645 \u200d\ufeff",
    "s3://bucket/a%2Fb#c?d=e&f",
    "%2F%00%23",
    "a#b##c",
    "::a:b:",
    "/../../etc/passwd",
    "..",
    "'; DROP TABLE node; --",
    '" OR 1=1 --',
    "%s %(size)s :size ? $1 {x} %_%",
    "\\u0000\\x00\\'",
    "a\nb\r\t\x01\x7f",
    "L" * 4096,
    "表" * 1300,
]
PAYLOADS = ["'; DROP TABLE node; --", "%(size)s :size ?", "\x00\u202e", "9" * 30]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def event(name: str) -> bytes:
    def facet(**body: Any) -> dict[str, Any]:
        return {"_producer": "https://example.org/p", "_schemaURL": "https://e.org/s", **body}

    columns = {name: {"inputFields": [{"namespace": name, "name": name + "in", "field": name}]}}
    facets = {
        "schema": facet(fields=[{"name": name, "type": name}]),
        "tags": facet(tags=[{"key": name, "value": name}]),
        "ownership": facet(owners=[{"name": name, "type": name}]),
        "documentation": facet(description=name),
        "columnLineage": facet(fields=columns),
    }
    body = {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-01T10:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, name))},
        "job": {"namespace": name, "name": name},
        "inputs": [{"namespace": name, "name": name + "in"}],
        "outputs": [{"namespace": name, "name": name, "facets": facets}],
    }
    return json.dumps(body).encode()


@asynccontextmanager
async def client(place: Place) -> AsyncIterator[httpx.AsyncClient]:
    app = build_application(place.url)
    app._writer.start()
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as one:
            yield one
    finally:
        app._writer.stop(5)
        app.close()


async def test_a_hostile_name_is_taken_and_found_again_unchanged(place: Place) -> None:
    async with client(place) as http:
        batch = b"[" + b",".join(map(event, NAMES)) + b"]"
        answer = await http.post("/api/v1/lineage/batch?wait=folded", content=batch)
        assert answer.status_code == 204, answer.text
        for name in NAMES:
            dataset, source = NodeId("dataset", name, name), NodeId("dataset", name, name + "in")
            for node in (
                dataset,
                NodeId("job", name, name),
                NodeId("datasetField", name, name, name),
            ):
                shown = await http.get("/api/v2/show?" + urlencode({"id": str(node)}))
                assert shown.status_code == 200, (name, node.kind, shown.text)
                assert (shown.json()["namespace"], shown.json()["name"]) == (name, name)
            asked = urlencode({"a": str(source), "b": str(dataset)})
            assert (await http.get(f"/api/v2/path?{asked}")).json()["paths"], name
            inside = quote(name, safe="")
            if name == "..":
                continue  # which clients take for a step up in a path
            for route in (
                f"/api/v1/namespaces/{inside}/datasets/{inside}",
                f"/api/v1/namespaces/{inside}/jobs/{inside}/runs",
                f"/api/v1/lineage?nodeId={quote(str(dataset), safe='')}",
            ):
                answer = await http.get(route)
                assert answer.status_code == 200, (route[:200], answer.text)
                assert json.dumps(name)[1:-1] in json.dumps(answer.json()), route[:200]


async def test_sql_and_control_characters_in_every_parameter_break_nothing(place: Place) -> None:
    async with client(place) as http:
        first = NAMES[0]
        assert (await http.post("/api/v1/lineage?wait=folded", content=event(first))).is_success
        before = (await http.get("/api/v2/stats")).json()
        asked = 0
        for path, operations in (await http.get("/api/openapi.json")).json()["paths"].items():
            if "get" not in operations or "text/event-stream" in json.dumps(operations["get"]):
                continue
            named = [one["name"] for one in operations["get"].get("parameters", [])]
            known = {"id": "dataset:n:n", "a": "run:x", "b": "run:x", "q": "n", "nodeId": "job:n:n"}
            for payload in PAYLOADS:
                inside = quote(payload, safe="")
                urls = [re.sub(r"{\w+}", lambda _, i=inside: i, path)] if "{" in path else []
                for name in named:
                    given = {k: v for k, v in known.items() if k in named} | {name: payload}
                    urls.append(re.sub(r"{\w+}", "n", path) + "?" + urlencode(given))
                for url in urls:
                    answer = await http.get(url)
                    asked += 1
                    assert answer.status_code < 500, (url, answer.text)
        assert asked > 300
        after = (await http.get("/api/v2/stats")).json()
        # Whoever asks for a pack has the log's map published, and nothing else written.
        for what in ("nodes", "derivations", "runs", "versions"):
            assert after[what] == before[what]

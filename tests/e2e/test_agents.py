"""Agents ask over the Model Context Protocol, with its own client, by stdio and by HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import Service, serving

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

pytestmark = pytest.mark.anyio

TOOLS = {"search", "show", "trace", "impact", "path", "diff", "rows"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def event(job: str, source: str, target: str, number: int, sql: str = "") -> dict[str, Any]:
    facet = {"_producer": "https://example.com", "_schemaURL": "https://example.com/f.json"}
    return {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z",
        "producer": "https://example.com/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-4000-8000-{number:012d}"},
        "job": {"namespace": "n", "name": job, "facets": {"sql": facet | {"query": sql}}},
        "inputs": [{"namespace": "n", "name": source}],
        "outputs": [{"namespace": "n", "name": target}],
    }


EVENTS = [
    event("first", "raw", "clean", 0, "SELECT 1" + " " * 20_000),
    event("second", "clean", "report", 1),
]
EVENTS += [event(f"wide{i}", "report", f"out{i:03d}", 2 + i) for i in range(120)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    path = folder / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, EVENTS)))
    store = f"sqlite:///{folder}/lodeline.db"
    command = [sys.executable, "-m", "lodeline", "import", path, "--store", store]
    subprocess.run(command, check=True, capture_output=True)
    return store


def by_stdio(store: str) -> Client:
    return Client(
        stdio_client(
            StdioServerParameters(
                command=sys.executable,
                args=["-m", "lodeline", "mcp", "--store", store],
                env={k: v for k, v in os.environ.items() if k == "PYTHONPATH"},
            )
        )
    )


@pytest.fixture(scope="module")
def service(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, store=store, LODELINE_SERVER_MCP="true") as one:
        yield one


@pytest.fixture(scope="module")
def printed(store: str) -> Any:
    """What the command line answers."""
    command = [sys.executable, "-m", "lodeline", "trace", "dataset:n:report", "--json"]
    return json.loads(subprocess.check_output([*command, "--store", store]))


async def test_every_question_is_a_tool_by_stdio_and_answers_as_the_command_line(
    store: str, printed: Any
) -> None:
    async with by_stdio(store) as client:
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == TOOLS
        assert all(
            tool.annotations is not None and tool.annotations.read_only_hint for tool in listed
        )
        answer = await client.call_tool("trace", {"id": "dataset:n:report"})
    assert not answer.is_error
    said = answer.structured_content
    assert said == printed
    [text] = [block.text for block in answer.content]
    assert "dataset:n:raw" in text
    assert "complete: " in text


async def test_answers_are_pages_that_tell_of_the_next_and_facets_are_cut(service: Service) -> None:
    async with Client(f"{service.url}/mcp") as client:
        first = (await client.call_tool("impact", {"id": "dataset:n:raw"})).structured_content
        assert len(first["nodes"]) == 50
        seen = {node["id"] for node in first["nodes"]}
        cursor = first["next"]
        while cursor:
            page = (
                await client.call_tool("impact", {"id": "dataset:n:raw", "cursor": cursor})
            ).structured_content
            seen |= {node["id"] for node in page["nodes"]}
            cursor = page["next"]
        assert {f"dataset:n:out{i:03d}" for i in range(120)} <= seen
        shown = (await client.call_tool("show", {"id": "job:n:first"})).structured_content
        assert shown["facets"]["sql"]["omitted_bytes"] > 20_000


async def test_a_wrong_question_is_answered_with_the_error_and_the_next_step(
    service: Service,
) -> None:
    async with Client(f"{service.url}/mcp") as client:
        for name, arguments, code in [
            ("trace", {"id": "dataset:n:nothing"}, "no.unknown_node"),
            ("trace", {"id": "dataset:n:raw", "sideways": True}, "usage"),
            ("trace", {"id": "dataset:n:raw", "limit": "many"}, "usage"),
            ("drop", {}, "usage"),
        ]:
            answer = await client.call_tool(name, arguments)
            assert answer.is_error, name
            assert answer.structured_content["code"] == code, answer.structured_content


async def test_a_large_answer_is_asked_for_again_in_smaller_pages(service: Service) -> None:
    async with Client(f"{service.url}/mcp") as client:
        arguments = {"id": "dataset:n:raw", "limit": 1000}
        said = (await client.call_tool("impact", arguments)).structured_content
    assert len(json.dumps(said, ensure_ascii=False)) <= 64 * 1024
    assert said["next"]


async def test_a_page_of_another_origin_cannot_ask(service: Service) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{service.url}/mcp", json=body, headers=headers)
        assert answer.status_code == 200
        for name, value in (("Host", "evil.example"), ("Origin", "http://evil.example")):
            refused = await client.post(
                f"{service.url}/mcp", json=body, headers=headers | {name: value}
            )
            assert refused.status_code in {403, 421}


def test_a_service_without_the_setting_has_no_such_route(store: str, tmp_path: Path) -> None:
    with serving(tmp_path, store=store) as service:
        assert service.post("/mcp", b"{}")[0] == 404

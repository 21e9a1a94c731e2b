"""Every route passes the gate, and paths are matched as they were sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lodeline.errors import StoreUnreachableError, UsageError
from lodeline.server.application import Application
from lodeline.server.assembly import build_application
from lodeline.server.endpoints import (
    ANYONE,
    Caller,
    Endpoint,
    OpenGate,
    Permission,
    as_sent,
    route_all,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ClosedGate:
    """Refuses everyone, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Permission] = []

    def admit(self, scope: Any, permission: Permission) -> Caller:
        self.asked.append(permission)
        raise UsageError("closed")


def application(tmp_path: Path, gate: Any) -> Application:
    return build_application(f"sqlite:///{tmp_path}/lodeline.db", gate=gate)


async def test_no_route_answers_without_the_gate(tmp_path: Path) -> None:
    gate = ClosedGate()
    app = application(tmp_path, gate)
    routes = [(one.method, one.path, one.permission) for one in app.endpoints]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        for method, path, permission in routes:
            sent = path.replace("{", "").replace(":path}", "").replace("}", "")
            answer = await client.request(method, sent)
            assert (answer.status_code, answer.json()["message"]) == (400, "closed"), path
            assert gate.asked.pop() is permission, path
    assert len({(method, path) for method, path, _ in routes}) == len(routes) > 12


async def test_an_encoded_slash_does_not_end_a_parameter() -> None:
    async def tell(request: Request, caller: Caller) -> Response:
        assert caller is ANYONE
        return PlainTextResponse("|".join(request.path_params.values()))

    pattern = "/namespaces/{namespace}/jobs/{job}"
    one = Endpoint("GET", pattern, Permission.READ, tell, "Tell the parameters")
    starlette = Starlette(routes=route_all([one], OpenGate()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await starlette(as_sent(scope), receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        encoded = await client.get("/namespaces/s3%3A%2F%2Fbucket/jobs/a%2Fb%20%C3%BC%2525")
        assert encoded.text == "s3://bucket|a/b ü%25"
        assert (await client.get("/namespaces/s3://bucket/jobs/a")).status_code == 404
        broken = await client.get("/namespaces/%ff/jobs/a")
        assert (broken.status_code, broken.json()["code"]) == (400, "usage")


async def test_an_error_of_ours_that_a_handler_raises_is_the_answer() -> None:
    async def fail(_: Request, __: Caller) -> Response:
        raise StoreUnreachableError("x", "no store today")

    one = Endpoint("GET", "/", Permission.READ, fail, "Fail")
    app = Starlette(routes=route_all([one], OpenGate()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["code"]) == (503, "could_not_tell.store_unreachable")


async def test_a_page_of_another_site_brings_nothing_to_an_open_service(tmp_path: Path) -> None:
    app = application(tmp_path, OpenGate())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        for path in ("/api/v1/lineage", "/api/v2/predictions"):
            for site in ("cross-site", "same-site"):
                answer = await client.post(path, json=[], headers={"Sec-Fetch-Site": site})
                assert answer.status_code == 403, (path, site)
                assert answer.json()["code"] == "could_not_tell.forbidden"
            own = await client.post(path, json=[], headers={"Sec-Fetch-Site": "same-origin"})
            assert own.status_code != 403
        read = await client.get("/healthz", headers={"Sec-Fetch-Site": "cross-site"})
        assert read.status_code == 200

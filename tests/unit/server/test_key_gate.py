"""Keys open the gate for what they are meant for, while they count; tokens are told to nobody."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from lodeline.errors import UsageError
from lodeline.limits import API_KEY_CACHE_SECONDS
from lodeline.model import PredictionId
from lodeline.server.assembly import build_application
from lodeline.server.endpoints import Permission
from lodeline.server.key_gate import KeyGate
from lodeline.store import open_segment
from lodeline.store.api_keys import SCOPES, create_api_key, list_api_keys, revoke_api_key

pytestmark = pytest.mark.anyio
NOW_US = 1_790_000_000 * 1_000_000
HOUR_US = 3_600 * 1_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    """A service with keys, and a clock that tests set."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lodeline.db"
        self.url = f"sqlite:///{self.path}"
        self.segment = open_segment(self.url)
        self.now_us = NOW_US

    def key(self, *scopes: str, **given: Any) -> str:
        expires_us = given.pop("expires_us", None)
        made = {"name": "airflow", "now_us": self.now_us, "expires_us": expires_us, **given}
        return create_api_key(self.segment, scopes=scopes, **made)[1]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        def run(act: Callable[[], None]) -> None:
            act()

        app = build_application(
            self.url,
            make_gate=lambda segment: KeyGate(segment, clock_us=lambda: self.now_us, run=run),
        )
        app._writer.start()
        try:
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://x"
            ) as client:
                yield client
        finally:
            app._writer.stop(5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def event(namespace: str = "default", name: str = "job") -> dict[str, Any]:
    return {
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent",
        "job": {"namespace": namespace, "name": name},
        "outputs": [{"namespace": "w", "name": name}],
    }


async def test_without_a_key_only_public_routes_answer(world: World) -> None:
    async with world.client() as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        for path in ("/", "/api/v2/stats", "/log/x/checkpoint"):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="lodeline"'
            assert set(answer.json()) == {"code", "message", "next"}
            assert answer.json()["code"] == "could_not_tell.unauthenticated"
        for path in ("/api/v1/lineage", "/api/v1/lineage/batch", "/api/v2/predictions"):
            assert (await client.post(path, json=event())).status_code == 401


async def test_a_key_may_do_what_its_scopes_say_and_nothing_else(world: World) -> None:
    routes = {
        "ingest": ("POST", "/api/v1/lineage"),
        "read": ("GET", "/api/v2/stats"),
        "log": ("GET", f"/log/{world.segment.segment_id}/checkpoint"),
    }
    async with world.client() as client:
        for scope in routes:
            headers = bearer(world.key(scope))
            for needed, (method, path) in routes.items():
                body = json.dumps(event()) if method == "POST" else None
                answer = await client.request(method, path, headers=headers, content=body)
                if needed == scope:
                    assert answer.status_code in {200, 201}, (scope, answer.text)
                    continue
                assert answer.status_code == 403
                assert answer.json()["code"] == "could_not_tell.forbidden"
                assert f'scope="{needed}"' in answer.headers["WWW-Authenticate"]


async def test_the_scopes_are_the_permissions_that_somebody_must_have() -> None:
    assert set(SCOPES) == {str(one) for one in Permission} - {"public"}


async def test_an_expired_key_counts_no_more_and_its_holder_is_told(world: World) -> None:
    token = world.key("read", expires_us=NOW_US + HOUR_US)
    async with world.client() as client:
        assert (await client.get("/api/v2/stats", headers=bearer(token))).status_code == 200
        world.now_us += HOUR_US
        answer = await client.get("/api/v2/stats", headers=bearer(token))
        assert answer.status_code == 401
        assert "expired at" in answer.json()["message"]
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_a_revoked_key_counts_no_more_at_once(world: World) -> None:
    token = world.key("read")
    async with world.client() as client:
        assert (await client.get("/api/v2/stats", headers=bearer(token))).status_code == 200
        # Another process would do it; the service has no other way to learn of it than the store.
        with open_segment(world.url) as other:
            revoke_api_key(other, "airflow", now_us=NOW_US)
        await asyncio.sleep(API_KEY_CACHE_SECONDS)
        answer = await client.get("/api/v2/stats", headers=bearer(token))
        assert answer.status_code == 401
        assert "was revoked at" in answer.json()["message"]


async def test_who_lacks_the_secret_is_told_nothing_of_the_key(world: World) -> None:
    token = world.key("read", expires_us=NOW_US - 1)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    unknown = token.replace(token.split("_")[1], "0" * 16)
    async with world.client() as client:
        said = [
            (await client.get("/api/v2/stats", headers=bearer(one))).json()["message"]
            for one in (wrong, unknown)
        ]
    assert said == ["not authenticated: no such key"] * 2


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic bG9kZWxpbmU6eA==",
        "Bearer lodeline_",
        "Bearer lodeline_00_11",
        "Bearer lodeline_" + "é" * 16 + "_" + "0" * 64,
        "Bearer github_" + "0" * 16 + "_" + "0" * 64,
        "Bearer lodeline_' OR 1=1 --____",
    ],
)
async def test_what_is_no_key_is_refused(world: World, header: str) -> None:
    world.key("read")
    async with world.client() as client:
        answer = await client.get(
            "/api/v2/stats", headers={"Authorization": header.encode("latin-1")}
        )
        assert answer.status_code == 401
        assert header.partition(" ")[2] in {"", " "} or header not in answer.text


async def test_two_authorization_headers_are_refused(world: World) -> None:
    token = world.key("read")
    async with world.client() as client:
        headers = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer x")]
        assert (await client.get("/api/v2/stats", headers=headers)).status_code == 401


async def test_a_confined_key_brings_events_of_its_namespaces_alone(world: World) -> None:
    headers = bearer(world.key("ingest", "read", namespaces=["team-a", "lake-*"]))
    async with world.client() as client:
        for namespace, status in (("team-a", 201), ("lake-7", 201), ("team-ab", 403), ("b", 403)):
            answer = await client.post("/api/v1/lineage", headers=headers, json=event(namespace))
            assert answer.status_code == status, namespace
        batch = [event("team-a", "x"), event("b"), {"no": "event"}, event("lake-", "y")]
        answer = await client.post("/api/v1/lineage/batch", headers=headers, json=batch)
    body = answer.json()
    assert body["summary"]["successful"] == 2
    failed = {one["index"]: (one["code"], one["retriable"]) for one in body["failed_events"]}
    assert failed[1] == ("could_not_tell.forbidden", False)
    assert set(failed) == {1, 2}
    assert failed[2][0].startswith("event.")
    letters = [letter.code for letter in world.segment.iter_dead_letters()]
    assert letters == [failed[2][0]]  # what a caller may not bring is not kept


async def test_a_confined_key_cannot_smuggle_a_namespace_by_saying_it_twice(world: World) -> None:
    headers = bearer(world.key("ingest", namespaces=["team-a"]))
    told = json.dumps(event("b"))
    twice = told.replace('"job":', '"job": {"namespace": "team-a", "name": "x"}, "job":')
    last = told[:-1] + ', "job": {"namespace": "team-a", "name": "x"}}'
    async with world.client() as client:
        for body in (twice, last):
            answer = await client.post("/api/v1/lineage", headers=headers, content=body)
            assert answer.status_code in {400, 403}
    assert world.segment.size() == 2


@pytest.mark.parametrize("beside", ['"x"', "5", "{}", '{"namespace": 5}', "[]"])
async def test_a_confined_key_cannot_smuggle_a_namespace_beside_what_is_unreadable(
    world: World, beside: str
) -> None:
    headers = bearer(world.key("ingest", namespaces=["team-a"]))
    before = world.segment.size()
    body = json.dumps(event("b"))[:-1] + f', "dataset": {beside}}}'
    async with world.client() as client:
        answer = await client.post("/api/v1/lineage", headers=headers, content=body)
    assert answer.status_code == 403
    assert world.segment.size() == before


async def test_a_confined_key_takes_nothing_of_others_off_the_catalogue(world: World) -> None:
    headers = bearer(world.key("ingest", namespaces=["team-a"]))
    sent = event("team-a")
    sent["outputs"] = [{"namespace": "lodeline:removed", "name": "dataset/1/b/orders"}]
    async with world.client() as client:
        answer = await client.post("/api/v1/lineage", headers=headers, json=sent)
    assert answer.status_code == 403


async def test_a_key_that_may_only_bring_is_told_nothing_by_what_it_changes(world: World) -> None:
    sent = event("default", "secret")
    facet = {"_producer": "https://example.org", "_schemaURL": "https://example.org/f.json"}
    sent["job"]["facets"] = {"sql": facet | {"query": "SELECT hidden"}}
    headers = bearer(world.key("ingest"))
    async with world.client() as client:
        posted = await client.post("/api/v1/lineage?wait=folded", headers=headers, json=sent)
        assert posted.status_code == 201
        both = bearer(world.key("ingest", "read"))
        read = await client.post("/api/v1/namespaces/default/jobs/secret/tags/y", headers=both)
        assert "hidden" in read.text
        changes = [
            ("POST", "jobs/secret/tags/x", None),
            ("PUT", "jobs/secret", {"type": "BATCH", "inputs": [], "outputs": []}),
            ("DELETE", "jobs/secret", None),
        ]
        for method, path, body in changes:
            answer = await client.request(
                method, f"/api/v1/namespaces/default/{path}", headers=headers, json=body
            )
            assert answer.status_code < 300, (path, answer.text)
            assert set(answer.json()) <= {"id", "namespace", "name", "state"}
            assert "hidden" not in answer.text


async def test_a_confined_key_reserves_predictions_of_its_namespaces_alone(world: World) -> None:
    headers = bearer(world.key("ingest", namespaces=["team-a"]))
    record = {"type": "reservation", "deployment": {"namespace": "b", "name": "churn"}}
    async with world.client() as client:
        answer = await client.post("/api/v2/predictions", headers=headers, json=[record])
    assert answer.json()["failed_events"][0]["reason"].startswith("not allowed:")


async def test_the_store_holds_a_digest_of_the_secret_and_when_a_key_was_used(world: World) -> None:
    token = world.key("read")
    async with world.client() as client:
        await client.get("/api/v2/stats", headers=bearer(token))
        world.now_us += HOUR_US // 2
        await client.get("/api/v2/stats", headers=bearer(token))
    [key] = list_api_keys(world.segment)
    assert key.used_us == NOW_US
    secret = token.rpartition("_")[2]
    assert key.digest == sha256(secret.encode()).digest()
    world.segment.close()
    files = [path for path in world.path.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]


async def test_keys_are_no_part_of_the_log(world: World) -> None:
    size = world.segment.size()
    world.key("read")
    assert world.segment.size() == size
    with sqlite3.connect(world.path) as connection:
        assert connection.execute("SELECT count(*) FROM api_key").fetchone() == (1,)


@pytest.mark.parametrize(
    ("scopes", "given"),
    [
        ([], {}),
        (["write"], {}),
        (["operate"], {"namespaces": ["a"]}),
        (["read"], {"namespaces": ["a*b"]}),
        (["read"], {"namespaces": [""]}),
        (["read"], {"name": "x" * 101}),
        (["read"], {"name": "a\nb"}),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(
    world: World, scopes: list[str], given: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        world.key(*scopes, **given)
    assert list_api_keys(world.segment) == []


RUN = "00000000-0000-4000-8000-000000000001"


def run_event(day: int) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-0{day}T00:00:00Z",
        "producer": "https://example.org/claims-to-be-somebody",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": RUN},
        "job": {"namespace": "n", "name": "j"},
    }


async def test_a_run_tells_which_keys_delivered_it_beside_what_it_claims(world: World) -> None:
    ours, theirs = world.key("ingest", "read", name="ours"), world.key("ingest", name="theirs")
    path = "/api/v1/lineage"
    async with world.client() as client:
        await client.post(f"{path}?wait=folded", headers=bearer(ours), json=run_event(1))
        shown = await client.get(f"/api/v2/show?id=run:{RUN}", headers=bearer(ours))
        assert [one["name"] for one in shown.json()["senders"]] == ["ours"]
        # Another event in a batch with one of somebody else, and one that was there already.
        batch = [run_event(2), event("other"), run_event(1)]
        answer = await client.post(f"{path}/batch?wait=folded", headers=bearer(theirs), json=batch)
        assert answer.status_code == 204
        shown = await client.get(f"/api/v2/show?id=run:{RUN}", headers=bearer(ours))
    body = shown.json()
    assert [one["name"] for one in body["senders"]] == ["ours", "theirs"]
    keys = {key.name: key.key_id for key in list_api_keys(world.segment)}
    assert {one["name"]: one["key"] for one in body["senders"]} == keys
    assert body["producers"] == ["https://example.org/claims-to-be-somebody"]
    with world.segment.reading() as connection:
        rows = connection.execute("SELECT position, key_id FROM entry_sender").fetchall()
    assert sorted(rows) == sorted(
        [(2, keys["ours"]), (2, keys["theirs"]), (3, keys["theirs"]), (4, keys["theirs"])]
    )


async def test_a_prediction_tells_which_keys_delivered_it_beside_what_it_claims(
    world: World,
) -> None:
    ours, theirs = world.key("ingest", "read", name="ours"), world.key("ingest", name="theirs")
    block, start_ms = 0x12345678AB, 1_700_000_000_000
    ids = [str(PredictionId((start_ms + counter) * 4096, block, counter)) for counter in range(2)]
    shared = {"block": f"{block:010x}"}
    deployment = {"namespace": "claims-to-be", "name": "somebody"}
    reservation = {"type": "reservation", "time": start_ms * 1000, "deployment": deployment}
    rows = [{"id": one, "time": 0, "status": 200, "output": 1} for one in ids]

    async def deliver(token: str, *records: dict[str, Any]) -> None:
        batch = [shared | record for record in records]
        answer = await client.post("/api/v2/predictions", headers=bearer(token), json=batch)
        assert answer.status_code == 204, answer.text

    async def senders(identifier: str) -> list[str]:
        shown = await client.get(f"/api/v2/show?id=prediction:{identifier}", headers=bearer(ours))
        assert shown.json()["deployment"] == "deployment:claims-to-be:somebody"
        told = shown.json()["senders"]
        keys = {key.name: key.key_id for key in list_api_keys(world.segment)}
        assert told == [{"key": keys[one["name"]], "name": one["name"]} for one in told]
        return [one["name"] for one in told]

    async with world.client() as client:
        await deliver(ours, reservation, {"type": "predictions", "rows": rows[:1]})
        assert await senders(ids[0]) == ["ours"]
        # One that is here already, and a new one, of somebody else.
        await deliver(theirs, {"type": "predictions", "rows": rows})
        assert await senders(ids[0]) == ["ours", "theirs"]
        assert await senders(ids[1]) == ["theirs"]
        page = await client.get(f"/node/prediction:{ids[0]}", headers=bearer(ours))
        assert "Delivered by <bdi>ours</bdi>, <bdi>theirs</bdi>." in page.text


async def test_what_comes_without_a_key_has_no_sender(tmp_path: Path) -> None:
    app = build_application(f"sqlite:///{tmp_path}/lodeline.db")
    app._writer.start()
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.post("/api/v1/lineage?wait=folded", json=run_event(1))
            shown = await client.get(f"/api/v2/show?id=run:{RUN}")
            assert shown.json()["senders"] == []
    finally:
        app._writer.stop(5)

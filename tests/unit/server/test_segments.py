"""Several segments in one service: events go where rules say, questions go wherever data does."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.requests import Request

from lodeline.errors import UsageError
from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.ingest.predictions import find_prediction
from lodeline.model import PredictionId, ticks_of
from lodeline.server.assembly import build_application
from lodeline.server.configuration import ServerConfiguration
from lodeline.server.hosting import segment_of_request
from lodeline.server.key_gate import KeyGate
from lodeline.server.segments import Router, SegmentRule, read_segments, segment_stores
from lodeline.server.spooled import RoutedTransport
from lodeline.store import open_segment
from lodeline.store.api_keys import create_api_key
from lodeline.store.backups import Backup, write_backup
from lodeline.store.expiring import expire_blocks
from lodeline.store.restoring import restore
from lodeline.store.verification import verify_segment

pytestmark = pytest.mark.anyio
ONE, BATCH = "/api/v1/lineage?wait=folded", "/api/v1/lineage/batch?wait=folded"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def event(job: str, inputs: str = "", outputs: str = "") -> dict[str, Any]:
    def named(text: str) -> dict[str, str]:
        return dict(zip(("namespace", "name"), text.split("/"), strict=True))

    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-01T10:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, job))},
        "job": named(job),
        "inputs": [named(one) for one in inputs.split()],
        "outputs": [named(one) for one in outputs.split()],
    }


# Raw → orders in the default segment; orders → risk in `pay`; risk → report in `law`.
HISTORY = [
    event("etl/load", "w/raw", "w/orders"),
    event("pay-eu/score", "w/orders", "pay-eu/risk"),
    event("law/tell", "pay-eu/risk", "law/report"),
]


class World:
    """A service with three segments, asked with keys."""

    def __init__(self, folder: Path) -> None:
        self.urls = {name: f"sqlite:///{folder}/{name}.db" for name in ("default", "pay", "law")}
        table = [
            {"name": "pay", "store": self.urls["pay"], "namespaces": ["pay-*"]},
            {"name": "law", "store": self.urls["law"], "namespaces": ["court-*", "law", "pay-old"]},
        ]
        self.configuration = ServerConfiguration(tables={"segments": table})

    def key(self, *segments: str, **given: Any) -> dict[str, str]:
        with open_segment(self.urls["default"]) as segment:
            scopes = ("ingest", "read", "log")
            _, token = create_api_key(
                segment,
                name="k",
                scopes=scopes,
                now_us=1,
                expires_us=None,
                segments=segments,
                **given,
            )
        return {"Authorization": f"Bearer {token}"}

    def jobs(self, name: str) -> list[str]:
        with open_segment(self.urls[name]) as segment:
            payloads = [entry.payload for entry in segment.iter_entries(kinds={"event"})]
        return [json.loads(payload)["job"]["name"] for payload in payloads if payload is not None]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        app = build_application(
            self.urls["default"], make_gate=KeyGate, configuration=self.configuration
        )
        app._writer.start()
        try:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                yield client
        finally:
            app._writer.stop(5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_an_event_lies_in_the_segment_of_its_job_and_in_no_other(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        answer = await client.post(BATCH, headers=key, json=HISTORY)
        assert answer.status_code == 204, answer.text
        assert len(answer.headers["Lodeline-Receipt"].split(",")) == 3
        dataset = {**event("x/y"), "dataset": {"namespace": "pay-us", "name": "d"}}
        for name in ("job", "run", "inputs", "outputs", "eventType"):
            del dataset[name]
        assert (await client.post(ONE, headers=key, json=dataset)).status_code == 201
        proof = await client.post(
            "/api/v1/lineage?wait=sequenced", headers=key, json=event("law/more", "", "law/d")
        )
        assert proof.status_code == 201
        assert "c2sp.org/tlog-proof" in proof.text
    assert world.jobs("default") == ["load"]
    assert world.jobs("law") == ["tell", "more"]
    with open_segment(world.urls["pay"]) as segment:
        kinds = [json.loads(e.payload or b"") for e in segment.iter_entries(kinds={"event"})]
    assert ["dataset" in one for one in kinds] == [False, True]


async def test_a_closure_goes_through_all_segments(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        await client.post(BATCH, headers=key, json=HISTORY)
        for question in ("trace", "impact"):
            more = "&down" if question == "trace" else ""
            answer = (
                await client.get(f"/api/v2/{question}?id=dataset:w:raw{more}", headers=key)
            ).json()
            data = [one["id"] for one in answer["nodes"] if one["kind"] == "dataset"]
            assert data == [
                "dataset:w:raw",
                "dataset:w:orders",
                "dataset:pay-eu:risk",
                "dataset:law:report",
            ]
            assert [one["depth"] for one in answer["nodes"] if one["kind"] == "dataset"] == [
                0,
                1,
                2,
                3,
            ]
            assert len(answer["trees"]) == 3
            assert answer["as_of"]["tree_size"] is None
            assert not any(edge["restricted"] for edge in answer["edges"])
        path = await client.get("/api/v2/path?a=dataset:w:raw&b=dataset:law:report", headers=key)
        assert len(path.json()["paths"][0]) == 4
        found = (await client.get("/api/v2/search?q=r", headers=key)).json()
        assert found["total"] >= 3
        stats = (await client.get("/api/v2/stats", headers=key)).json()
        assert stats["entries"]["event"] == 3
        assert set(stats["segments"]) == {"default", "pay", "law"}
        shown = (await client.get("/api/v2/show?id=dataset:pay-eu:risk", headers=key)).json()
        assert shown["segments"] == ["law", "pay"]
        assert len(shown["versions"]) == 1


async def test_pages_over_segments_are_the_whole_answer(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        await client.post(BATCH, headers=key, json=HISTORY)
        url = "/api/v2/trace?id=dataset:law:report&limit=2"
        nodes, cursor = [], ""
        while cursor is not None:
            page = (
                await client.get(f"{url}&cursor={cursor}" if cursor else url, headers=key)
            ).json()
            nodes += [one["id"] for one in page["nodes"]]
            cursor = page["next"]
        whole = (await client.get("/api/v2/trace?id=dataset:law:report", headers=key)).json()
        assert nodes == [one["id"] for one in whole["nodes"]]


async def test_a_tree_size_needs_one_segment_and_a_time_does_not(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        await client.post(BATCH, headers=key, json=HISTORY)
        url = "/api/v2/trace?id=dataset:w:orders&down&as_of="
        answer = await client.get(f"{url}3", headers=key)
        assert (answer.status_code, answer.json()["code"]) == (400, "usage")
        assert (await client.get(f"{url}2099-01-01T00:00:00Z", headers=key)).status_code == 200
        narrow = world.key("default")
        assert (await client.get(f"{url}3", headers=narrow)).status_code == 200


async def test_a_key_of_one_segment_brings_and_sees_nothing_of_the_others(world: World) -> None:
    async with world.client() as client:
        await client.post(BATCH, headers=world.key(), json=HISTORY)
        key = world.key("pay")
        answer = await client.post(BATCH, headers=key, json=[event("pay-eu/x"), event("etl/y")])
        [failed] = answer.json()["failed_events"]
        assert (failed["index"], failed["code"]) == (1, "could_not_tell.forbidden")
        answer = (await client.get("/api/v2/trace?id=dataset:pay-eu:risk&both", headers=key)).json()
        text = json.dumps(answer)
        assert "law" not in text.replace(answer["trees"][0]["origin"], "")
        assert "raw" not in text
        assert len(answer["trees"]) == 1
        stubs = [one for one in answer["nodes"] if one.get("restricted")]
        restricted = [one for one in answer["edges"] if one["restricted"]]
        # On to the report, and up to what orders are made of: into two segments.
        assert len(stubs) == len(restricted) == 2
        assert {gap["reason"] for gap in answer["gaps"]} == {"permission"}
        ends = {(one["source"], one["target"]) for one in restricted}
        assert ("dataset:pay-eu:risk", stubs[0]["id"]) in ends or (
            "dataset:pay-eu:risk",
            stubs[1]["id"],
        ) in ends
        with open_segment(world.urls["law"]) as law, open_segment(world.urls["pay"]) as pay:
            ids = law.segment_id, pay.segment_id
        statuses = [
            (await client.get(f"/log/{one}/checkpoint", headers=key)).status_code for one in ids
        ]
        assert statuses == [404, 200]
        for route, status in (
            ("/api/v1/namespaces/pay-eu/jobs", 200),
            ("/api/v1/namespaces/law/jobs", 403),
            ("/api/v2/export", 403),
            ("/api/v2/show?id=dataset:law:report", 404),
            ("/api/v2/search?q=report", 200),
        ):
            answer = await client.get(route, headers=key)
            assert answer.status_code == status, route
        assert answer.json()["total"] == 0


async def test_a_caller_is_told_no_name_of_a_segment_that_it_may_not_use(world: World) -> None:
    async with world.client() as client:
        await client.post(BATCH, headers=world.key(), json=HISTORY)
        key = world.key("pay")
        answers = [
            await client.get(f"/api/v2/events?segment={name}", headers=key)
            for name in ("law", "nix", "default")
        ]
        assert [one.status_code for one in answers] == [404] * 3
        told = [
            one.text.replace(name, "NAME")
            for one, name in zip(answers, ("law", "nix", "default"), strict=True)
        ]
        assert len(set(told)) == 1  # one that exists is as unknown as one that does not
        assert "pay" in told[0]
        for route in ("/api/v1/namespaces/court-1/jobs", "/api/v2/export?id=dataset:court-1:d"):
            answer = await client.get(route, headers=key)
            assert (answer.status_code, "law" in answer.text) == (403, False), answer.text
        answer = await client.post(ONE, headers=key, json=event("court-1/j"))
        assert (answer.status_code, "law" in answer.text) == (403, False), answer.text
        answer = await client.get("/api/v2/events?segment=nix", headers=world.key())
        assert all(name in answer.text for name in ("pay", "law", "default"))


async def test_names_of_other_segments_nodes_are_hidden_on_every_route(world: World) -> None:
    both = event("pay-eu/both", "court-1/zebra", "pay-eu/mixed")
    async with world.client() as client:
        await client.post(BATCH, headers=world.key(), json=[*HISTORY, both])
        key = world.key("pay")
        run = both["run"]["runId"]
        csv = await client.get("/api/v2/export?format=csv&id=dataset:pay-eu:risk", headers=key)
        assert csv.status_code == 400  # csv has no id, so that it is the default segment's
        for route in (
            "/api/v1/namespaces/pay-eu/jobs/both",
            "/api/v1/namespaces/pay-eu/jobs/both/runs",
            "/api/v1/lineage?nodeId=job:pay-eu:both",
            "/api/v1/lineage?nodeId=dataset:pay-eu:mixed",
            "/api/v2/show?id=job:pay-eu:both",
            "/api/v2/show?id=run:" + run,
            "/api/v2/trace?id=dataset:pay-eu:mixed",
        ):
            answer = await client.get(route, headers=key)
            assert (answer.status_code, "zebra" in answer.text) == (200, False), (
                route,
                answer.text,
            )
        assert "zebra" in (await client.get(route, headers=world.key())).text


V1 = "sha256:" + "1" * 64


def facet(**body: Any) -> dict[str, Any]:
    return {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s", **body}


def with_rows(job: str, source: str, target: str, tag: str) -> dict[str, Any]:
    """A run whose rows are recorded, one to one, and whose output carries a tag."""
    made = event(job, source, target)
    version = facet(datasetVersion=V1)
    ends = []
    for side, name in (("inputs", source), ("outputs", target)):
        namespace, _, short = name.partition("/")
        made[side][0]["facets"] = {"version": version}
        ends.append({"namespace": namespace, "name": short, "version": V1})
    step = {"input": ends[0], "output": ends[1], "operator": "identity", "shape": "identity"}
    step |= {"count": 2, "rows": 2, "digest": None}
    made["outputs"][0]["facets"]["tags"] = facet(tags=[{"key": tag, "value": "true"}])
    made["outputs"][0]["outputFacets"] = {"lodeline_rows": facet(steps=[step])}
    return made


ROWS = [
    with_rows("etl/load", "w/raw", "w/orders", "bronze"),
    with_rows("pay-eu/score", "w/orders", "pay-eu/risk", "gold"),
]


async def test_rows_are_followed_through_all_segments(world: World) -> None:
    pytest.importorskip("duckdb")
    async with world.client() as client:
        key = world.key()
        # The links of each step lie beside its own segment's store.
        data = links(1, 0)
        digest = digest_of(data)
        for namespace in ("etl", "pay-eu"):
            blob = f"/api/v2/blobs/{digest}?namespace={namespace}"
            assert (await client.put(blob, headers=key, content=data)).status_code == 204
        load = joined("w/raw", "w/orders", digest, job="etl/load")
        score = joined("w/orders", "pay-eu/risk", digest)
        assert (await client.post(BATCH, headers=key, json=[load, score])).status_code == 204
        url = f"/api/v2/rows?id=row:pay-eu:risk:1%23{V1}"
        answer = (await client.get(url, headers=key)).json()
        ends = [(step["input"], step["output"]) for step in answer["steps"]]
        assert ends == [
            (f"dataset:w:orders#{V1}", f"dataset:pay-eu:risk#{V1}"),
            (f"dataset:w:raw#{V1}", f"dataset:w:orders#{V1}"),
        ]
        assert [row["id"] for row in answer["rows"]] == [
            f"row:w:orders:0#{V1}",
            f"row:w:raw:1#{V1}",
        ]
        assert "depth" not in {gap["reason"] for gap in answer["gaps"]}
        assert (len(answer["trees"]), answer["as_of"]["tree_size"]) == (3, None)
        # Page by page, at the same moments; and a tree size is of one segment.
        first = (await client.get(f"{url}&limit=1", headers=key)).json()
        rest = (await client.get(f"{url}&limit=1&cursor={first['next']}", headers=key)).json()
        assert first["rows"] + rest["rows"] == answer["rows"]
        assert rest["next"] is None
        assert (await client.get(f"{url}&as_of=3", headers=key)).status_code == 400
        forward = f"/api/v2/rows?id=row:w:raw:1%23{V1}&forward=true"
        ahead = (await client.get(forward, headers=key)).json()
        assert [row["id"] for row in ahead["rows"]] == [
            f"row:w:orders:0#{V1}",
            f"row:pay-eu:risk:1#{V1}",
        ]
        reached = (await client.get(f"/api/v2/cohort?id=row:w:raw:1%23{V1}", headers=key)).json()
        assert reached["counts"] == ahead["counts"]
        # A trace tells the same rows beside its graph.
        url_of_trace = f"/api/v2/trace?id=row:pay-eu:risk:1%23{V1}&rows=true"
        traced = (await client.get(url_of_trace, headers=key)).json()
        assert traced["steps"] == answer["steps"]
        assert traced["row_counts"] == answer["counts"]


async def test_a_cohort_is_of_the_segment_that_learnt_and_the_one_that_decides(
    world: World,
) -> None:
    pytest.importorskip("duckdb")
    digest = "sha256:" + "e" * 64
    train = with_rows("etl/train", "w/orders", "ml/churn", "gold")
    train["outputs"][0]["facets"] = {"lodeline_model": facet(digest=digest)}
    [step] = train["outputs"][0]["outputFacets"]["lodeline_rows"]["steps"]
    step |= {"operator": "fit", "shape": "set", "rows": 1}
    step["output"] = {"namespace": "ml", "name": "churn", "version": ""}
    drawn = PredictionId(ticks_of(1_793_000_000_000_000_000), 77, 3)
    block = {"block": drawn.block_text}
    reservation = {
        "type": "reservation",
        "time": drawn.time_us - 1000,
        **block,
        "deployment": {"namespace": "pay-eu", "name": "api"},
        "model": {"namespace": "ml", "name": "churn", "version": digest},
    }
    made = {"id": str(drawn), "status": 200, "output": 1}
    fed = {"dataset": "dataset:w:orders", "version": V1, "key": "1"}
    rows = [{**made, "featureRows": [fed]}]
    async with world.client() as client:
        key = world.key()
        assert (await client.post(BATCH, headers=key, json=[ROWS[0], train])).status_code == 204
        predictions = [reservation, {"type": "predictions", "rows": rows, **block}]
        told = await client.post("/api/v2/predictions", headers=key, json=predictions)
        assert told.status_code == 204, told.text
        answer = (await client.get(f"/api/v2/cohort?id=prediction:{drawn}", headers=key)).json()
        assert answer["counts"] == {f"dataset:w:orders#{V1}": 2, "predictions": 1}
        behind = (await client.get(f"/api/v2/rows?id=prediction:{drawn}", headers=key)).json()
        assert [row["id"] for row in behind["rows"]] == [
            f"row:w:orders:1#{V1}",
            f"row:w:raw:1#{V1}",
        ]
        assert behind["trained_on"] == {f"dataset:w:orders#{V1}": 2}
        url = f"/api/v2/rows?id=row:w:raw:1%23{V1}&forward=true"
        ahead = (await client.get(url, headers=key)).json()
        assert f"prediction:{drawn}" in ahead["counts"]
        # Who brought a prediction is told beside who made it.
        shown = (await client.get(f"/api/v2/show?id=prediction:{drawn}", headers=key)).json()
        assert [one["name"] for one in shown["senders"]] == ["k"]


async def test_rows_end_with_a_stub_where_a_segment_is_hidden(world: World) -> None:
    pytest.importorskip("duckdb")
    async with world.client() as client:
        await client.post(BATCH, headers=world.key(), json=ROWS)
        url = f"id=dataset:pay-eu:risk%23{V1}"
        for key, more in ((world.key("pay"), ""), (world.key(), "&segment=pay")):
            asked = await client.get(f"/api/v2/rows?{url}{more}", headers=key)
            answer = asked.json()
            # One that is not hidden from the caller is only not asked.
            assert [step["input"] for step in answer["steps"]] == [f"dataset:w:orders#{V1}"]
            [gap] = [one for one in answer["gaps"] if one["reason"] == "permission"]
            assert gap["at"] == "dataset:w:orders"
            assert not answer["complete"]
            assert "w:raw" not in asked.text
            traced = (await client.get(f"/api/v2/trace?{url}&rows=true{more}", headers=key)).json()
            assert traced["steps"] == answer["steps"]
            assert gap in traced["gaps"]
            # The same stub as in the graph.
            stub = gap["detail"].rpartition(": ")[2]
            assert stub in {node["id"] for node in traced["nodes"] if node.get("restricted")}
        ahead = f"/api/v2/rows?id=row:w:raw:1%23{V1}&forward=true"
        answer = (await client.get(ahead, headers=world.key("default"))).json()
        assert {gap["at"] for gap in answer["gaps"] if gap["reason"] == "permission"} == {
            "dataset:w:orders"
        }
        assert "risk" not in json.dumps(answer)


async def test_a_question_asks_one_segment_alone_where_it_is_named(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        await client.post(BATCH, headers=key, json=[*HISTORY, *ROWS])
        url = "/api/v2/trace?id=dataset:pay-eu:risk"
        assert (await client.get(f"{url}&segment=pay&as_of=3", headers=key)).status_code == 200
        answer = (await client.get(f"{url}&segment=pay", headers=key)).json()
        assert len(answer["trees"]) == 1
        # That data comes from elsewhere is told all the same.
        assert "permission" in {gap["reason"] for gap in answer["gaps"]}
        answer = await client.get(f"{url}&segment=nix", headers=key)
        assert (answer.status_code, answer.json()["code"]) == (404, "no.unknown_segment")
        for verb, query in (("evidence", "id=dataset:w:orders"), ("diff", "since=3")):
            refused = await client.get(f"/api/v2/{verb}?{query}", headers=key)
            assert (refused.status_code, "segment" in refused.text) == (400, True), refused.text
            named = await client.get(f"/api/v2/{verb}?{query}&segment=default", headers=key)
            assert named.status_code == 200, named.text
        alone = await client.get("/api/v2/evidence?id=job:law:tell", headers=key)
        assert alone.status_code == 200


async def test_two_nodes_of_different_segments_are_not_compared(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        await client.post(BATCH, headers=key, json=HISTORY)
        runs = [f"run:{one['run']['runId']}" for one in HISTORY]
        answer = await client.get(f"/api/v2/diff?a={runs[0]}&b={runs[1]}", headers=key)
        assert (answer.status_code, "default and pay" in answer.text) == (400, True), answer.text
        answer = await client.get(f"/api/v2/diff?a={runs[1]}&b={runs[1]}", headers=key)
        assert answer.json()["same"] is True
        # Known in two segments and written in one: that one compares its versions.
        url = "/api/v2/diff?a=dataset:w:orders&b=dataset:w:orders"
        assert (await client.get(url, headers=key)).json()["same"] is True


async def test_tags_of_all_segments_choose_what_is_shown(world: World) -> None:
    async with world.client() as client:
        key = world.key()
        await client.post(BATCH, headers=key, json=ROWS)
        for tag, shown in (("bronze", "dataset:w:orders"), ("gold", "dataset:pay-eu:risk")):
            url = f"/api/v2/trace?id=dataset:w:raw&down&tags={tag}"
            answer = (await client.get(url, headers=key)).json()
            nodes = [one["id"] for one in answer["nodes"] if one["kind"] == "dataset"]
            assert nodes == ["dataset:w:raw", shown]


async def test_the_first_rule_that_matches_wins_and_the_rest_is_the_default_ones() -> None:
    router = Router(
        [
            SegmentRule("a", "x", ["n-*", "m"]),
            SegmentRule("b", "y", ["n-1", "k"]),
        ]
    )
    found = [router.of_namespace(one) for one in ("n-1", "m", "k", "n", "")]
    assert found == ["a", "a", "b", "default", "default"]
    assert router.of_event(b"no json") == "default"


@pytest.mark.parametrize(
    "table",
    [
        7,
        [{"name": "a"}],
        [{"name": "default", "store": "x", "namespaces": ["n"]}],
        [{"name": "A b", "store": "x", "namespaces": ["n"]}],
        [{"name": "a", "store": "x", "namespaces": []}],
        [{"name": "a", "store": "x", "namespaces": ["n*m"]}],
        [{"name": "a", "store": "x", "namespaces": ["n"], "colour": "red"}],
        [{"name": name, "store": "x", "namespaces": ["n"]} for name in ("a", "b")],
        [{"name": f"s{i}", "store": f"x{i}", "namespaces": ["n"]} for i in range(64)],
    ],
)
async def test_segments_that_make_no_sense_are_refused(table: object) -> None:
    with pytest.raises(UsageError, match="segments"):
        read_segments(table)


async def test_what_is_spooled_goes_to_its_segments_too(world: World) -> None:
    stores = segment_stores(world.urls["default"], world.configuration.tables["segments"])
    router = Router(read_segments(world.configuration.tables["segments"]))
    transport = RoutedTransport(stores, router)
    drawn = PredictionId(ticks_of(1_793_000_000_000_000_000), 77, 3)
    reservation = {
        "type": "reservation",
        "block": drawn.block_text,
        "time": str(drawn.time_us - 1000),
        "deployment": {"namespace": "pay-eu", "name": "api"},
    }
    rows = [{"id": str(drawn), "status": 200, "output": 1}]
    predictions = {"type": "predictions", "block": drawn.block_text, "rows": rows}
    records = [("event", json.dumps(one).encode()) for one in [*HISTORY, {"no": "event"}]]
    records += [("predictions", json.dumps(one).encode()) for one in (reservation, predictions)]
    outcomes = transport.deliver(records)
    assert [outcome is None for outcome in outcomes] == [True] * 3 + [False] + [True] * 2
    transport.close()
    assert world.jobs("default") == ["load"]
    assert world.jobs("law") == ["tell"]
    with open_segment(world.urls["pay"]) as segment:
        assert find_prediction(segment, str(drawn)).status == "record"
    # Another process, which did not see the reservation, finds its block.
    again = RoutedTransport(stores, router)
    later = PredictionId(ticks_of(1_793_000_000_000_000_000), 77, 4)
    more = {**predictions, "rows": [{"id": str(later), "status": 200, "output": 2}]}
    assert again.deliver([("predictions", json.dumps(more).encode())]) == [None]
    again.close()
    with open_segment(world.urls["pay"]) as segment:
        assert find_prediction(segment, str(later)).status == "record"


def joined(source: str, target: str, digest: str, job: str = "pay-eu/score") -> dict[str, Any]:
    """A run whose step has its links in a blob."""
    made = with_rows(job, source, target, "gold")
    [step] = made["outputs"][0]["outputFacets"]["lodeline_rows"]["steps"]
    step |= {"operator": "join", "shape": "array", "digest": digest}
    return made


def links(*rows: int) -> bytes:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = io.BytesIO()
    pq.write_table(pa.table({"input": pa.array(rows, pa.int64())}), data)
    return data.getvalue()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blobs_of(world: World, name: str) -> list[str]:
    with open_segment(world.urls[name]) as segment:
        return segment.blobs.list_digests()


async def test_a_blob_lies_in_the_segment_of_the_event_that_refers_to_it(world: World) -> None:
    data = links(1, 0)
    digest = digest_of(data)
    url = f"/api/v2/blobs/{digest}"
    async with world.client() as client:
        key, pay, law = world.key(), world.key("pay"), world.key("law")
        unnamed = await client.put(url, headers=key, content=data)
        assert (unnamed.status_code, unnamed.json()["code"]) == (400, "usage")
        forbidden = await client.put(f"{url}?namespace=pay-eu", headers=law, content=data)
        assert (forbidden.status_code, forbidden.json()["path"]) == (403, "namespace")
        eu = world.key("pay", namespaces=("pay-eu",))
        others = await client.put(f"{url}?namespace=pay-us", headers=eu, content=data)
        assert others.status_code == 403
        assert [blobs_of(world, name) for name in world.urls] == [[], [], []]
        kept = await client.put(f"{url}?namespace=pay-eu", headers=pay, content=data)
        assert kept.status_code == 204
        assert [blobs_of(world, name) for name in world.urls] == [[], [digest], []]
        sent = await client.post(ONE, headers=pay, json=joined("w/orders", "pay-eu/risk", digest))
        assert sent.status_code == 201
        pytest.importorskip("duckdb")
        question = f"/api/v2/rows?id=row:pay-eu:risk:0%23{V1}"
        answer = (await client.get(question, headers=key)).json()
        assert [row["id"] for row in answer["rows"]] == [f"row:w:orders:1#{V1}"]
        assert (await client.get(question, headers=law)).status_code == 404


async def test_a_segments_blobs_are_verified_backed_up_and_expired_with_it(
    world: World, tmp_path: Path
) -> None:
    pytest.importorskip("duckdb")
    data = links(1, 0)
    path = tmp_path / "links"
    path.write_bytes(data)
    blob = {"digest": digest_of(data), "path": str(path), "namespace": "pay-eu"}
    unnamed = {"digest": digest_of(data), "path": str(path)}
    event = joined("w/orders", "pay-eu/risk", digest_of(data))
    stores = segment_stores(world.urls["default"], world.configuration.tables["segments"])
    transport = RoutedTransport(
        stores, Router(read_segments(world.configuration.tables["segments"]))
    )
    records = [("blob", unnamed), ("blob", blob), ("event", event)]
    told = transport.deliver([(kind, json.dumps(one).encode()) for kind, one in records])
    transport.close()
    assert [outcome is None for outcome in told] == [False, True, True]
    # The block that took the blob's place is of the same segment, and the others have nothing.
    [block] = blobs_of(world, "pay")
    assert [blobs_of(world, name) for name in ("default", "law")] == [[], []]
    with open_segment(world.urls["pay"]) as segment:
        assert write_backup(segment, tmp_path / "backup").blobs == (block,)
        assert verify_pack(build_pack(segment, {"id": f"dataset:pay-eu:risk#{V1}"})).failures == []
        assert verify_segment(segment).failures == []
        _, doomed = expire_blocks(segment, 2_000_000_000_000_000)
        assert (doomed, segment.blobs.list_digests()) == ([block], [])
        assert verify_segment(segment).failures == []
    restored = f"sqlite:///{tmp_path}/restored.db"
    with restore(restored, Backup(tmp_path / "backup")) as segment:
        assert segment.blobs.list_digests() == [block]
        assert verify_segment(segment).failures == []
        segment.blobs.remove(block)
        assert {one.code for one in verify_segment(segment).failures} == {"blob.missing"}


async def test_what_is_ignored_beside_an_events_job_does_not_send_it_elsewhere() -> None:
    router = Router([SegmentRule("pay", "sqlite:///pay.db", ["pay-*"])])
    for beside in ("x", 5, {}, {"namespace": 5}, {"namespace": "etl", "name": "d"}):
        raw = json.dumps({**event("pay-eu/score"), "dataset": beside}).encode()
        assert router.of_event(raw) == "pay"


@pytest.mark.parametrize(
    ("node", "segment"),
    [
        ("dataset:s3://pay:orders", "pay"),
        ("dataset:s3://pay:orders#sha256:abc", "pay"),
        ("datasetField:s3://pay:orders:amount", "pay"),
        ("dataset:s3://pay-not:orders", "default"),
        ("no identifier", "default"),
    ],
)
async def test_a_request_about_a_node_asks_the_segment_of_its_namespace(
    node: str, segment: str
) -> None:
    router = Router([SegmentRule("pay", "sqlite:///pay.db", ["s3://pay"])])
    query = urlencode({"nodeId": node}).encode()
    request = Request({"type": "http", "path_params": {}, "query_string": query, "headers": []})
    assert segment_of_request(router, request) == segment

"""A reader who may not see a namespace finds no name of it in any answer, whatever is asked.

The hidden names all hold one word. Every verb is asked about every node, and every route of reading
is called; the word must stand nowhere in what comes back.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

from lodeline.errors import LodelineError, UnknownNodeError
from lodeline.ingest import accept
from lodeline.ingest.predictions import accept_predictions
from lodeline.model import NodeId, PredictionId, ticks_of
from lodeline.query import ask
from lodeline.query.door import VERBS
from lodeline.query.permission import CLOSED, OPEN, NamespaceAuthoriser, NamespacePatterns
from lodeline.query.registry import FOREIGN_VERBS
from lodeline.query.search_index import catch_up
from lodeline.server.assembly import build_application
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.entry_events import EntryEvents
from lodeline.server.marquez.recording import declaration
from lodeline.store import Segment, open_segment

WORD = "zebra"
HIDDEN, FIRST = f"{WORD}-ns", f"aaa-{WORD}"  # one sorts after, one before what is visible
READER = NamespaceAuthoriser(NamespacePatterns(["plain", "memory"]))
RUNS = [str(uuid.UUID(int=i)) for i in range(1, 12)]
# Of the hidden job, alone or beside a visible one.
HIDDEN_RUNS = [RUNS[0], RUNS[2], RUNS[4], RUNS[8]]
# A version of something visible that a hidden run wrote is known by that run: its name for all.
VERSION = re.compile(r"run:[0-9a-f-]{36}")
V1 = "sha256:" + "1" * 64


def facet(**body: Any) -> dict[str, Any]:
    return {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s", **body}


def dataset(name: str, namespace: str = "plain", **facets: Any) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "facets": facets}


def event(
    number: int, of: tuple[str, str], inputs: Any = (), outputs: Any = (), **more: Any
) -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-{number + 1:02}T00:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": RUNS[number], "facets": more.get("run", {})},
        "job": {"namespace": of[0], "name": of[1], "facets": more.get("job", {})},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }
    return json.dumps(body).encode()


def flow(name: str, namespace: str, field: str) -> dict[str, Any]:
    source = {"namespace": namespace, "name": name, "field": field}
    return facet(fields={"amount": {"inputFields": [source]}})


def rows_step(source: dict[str, str], target: dict[str, str]) -> dict[str, Any]:
    ends = {"input": source, "output": target}
    return {
        "operator": "identity",
        "shape": "identity",
        "count": 2,
        "rows": 2,
        "digest": None,
    } | ends


def features_of_both() -> dict[str, Any]:
    """A visible dataset whose facets name what it was made of, some of it hidden."""
    steps = facet(
        steps=[
            rows_step(
                {"namespace": HIDDEN, "name": f"{WORD}_orders", "version": V1},
                {"namespace": "plain", "name": "features", "version": V1},
            ),
            rows_step(
                {"namespace": "plain", "name": "customers", "version": V1},
                {"namespace": "plain", "name": "features", "version": V1},
            ),
        ]
    )
    made = dataset(
        "features",
        columnLineage=flow(f"{WORD}_orders", HIDDEN, f"{WORD}_amount"),
        documentation=facet(description=f"made of {WORD}_orders"),
        version=facet(datasetVersion=V1),
    )
    made["outputFacets"] = {"lodeline_rows": steps}
    return made


def events() -> list[bytes]:
    """A pipeline that goes in and out of what is hidden, named in every way that events have."""
    orders, report = dataset(f"{WORD}_orders", HIDDEN), dataset(f"{WORD}_report", HIDDEN)
    hidden_job = (HIDDEN, f"{WORD}_job")
    version = {"version": facet(datasetVersion=V1)}
    parent = facet(run={"runId": RUNS[0]}, job={"namespace": HIDDEN, "name": f"{WORD}_job"})
    sql = {"sql": facet(query=f"SELECT * FROM {WORD}_orders JOIN customers")}
    model = dataset("churn", lodeline_model=facet(digest="sha256:" + "a" * 64, features=["amount"]))
    return [
        event(0, hidden_job, [dataset(f"{WORD}_raw", HIDDEN)], [orders]),
        event(
            1,
            ("plain", "build"),
            [dataset(f"{WORD}_orders", HIDDEN, **version), dataset("customers", **version)],
            [features_of_both()],
            job={**sql, "documentation": facet(description=f"started by {WORD}_job")},
            run={"parent": parent, "errorMessage": facet(message=f"no {WORD}_job, no run")},
        ),
        event(2, hidden_job, [dataset("features")], [report]),
        event(3, ("plain", "train"), [dataset("features")], [model]),
        event(4, hidden_job, [report], [dataset("mart")]),
        event(5, ("plain", "copy"), [dataset("mart")], [dataset("copied"), report]),
        # A visible name beside a hidden one of the same dataset, and the other way round.
        event(
            6,
            ("plain", "name"),
            [dataset("copied")],
            [
                dataset(
                    "alias",
                    documentation=facet(description=f"formerly {WORD}_alias"),
                    symlinks=facet(
                        identifiers=[
                            {"namespace": HIDDEN, "name": f"{WORD}_alias", "type": "TABLE"}
                        ]
                    ),
                ),
                dataset(
                    "also",
                    symlinks=facet(
                        identifiers=[{"namespace": FIRST, "name": f"{WORD}_x", "type": "TABLE"}]
                    ),
                ),
            ],
        ),
        event(7, ("plain", "after"), [dataset("also"), dataset("alias")], [dataset("end")]),
        # One run of two jobs.
        event(8, ("plain", "half"), [dataset("end")], [dataset("whole")]),
        event(8, hidden_job, [dataset(f"{WORD}_half", HIDDEN)], []),
        event(9, ("plain", "build"), [dataset("customers")], [dataset("features")], job=sql),
    ]


def declarations() -> list[bytes]:
    """What a catalogue says beside events: a namespace, a source and a tag of others."""
    told = [
        declaration("namespace", f"{WORD}-declared", 1_790_000_000_000_000, owner=WORD),
        declaration(
            "source", f"{WORD}-source", 1_790_000_000_000_000, connectionUrl=f"db://{WORD}"
        ),
        declaration("tag", f"{WORD}-tag", 1_790_000_000_000_000, description=WORD),
    ]
    return [json.dumps(one).encode() for one in told]


def served(segment: Segment, namespace: str, name: str, block: int) -> PredictionId:
    drawn = PredictionId(ticks_of(1_793_000_000_000_000_000), block, 3)
    reservation = {
        "type": "reservation",
        "block": drawn.block_text,
        "time": str(drawn.time_us - 1000),
        "deployment": {"namespace": namespace, "name": name},
        "model": {"namespace": HIDDEN, "name": f"{WORD}_model", "version": "sha256:" + "b" * 64},
    }
    rows = [{"id": str(drawn), "status": 200, "output": [0.5]}]
    predictions = {"type": "predictions", "block": drawn.block_text, "rows": rows}
    assert accept_predictions(segment, [reservation, predictions]) == [None, None]
    return drawn


class World:
    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/lodeline.db"
        self.segment = open_segment(self.url)
        self.seen = served(self.segment, "plain", "api", 77)
        self.unseen = served(self.segment, HIDDEN, f"{WORD}_api", 78)
        # After them, so that all is folded.
        sent = [*events(), *declarations()]
        assert accept(self.segment, sent).accepted == len(sent)
        catch_up(self.segment, seconds=60)
        with self.segment.reading() as connection:
            rows = connection.execute("SELECT kind, namespace, name, part FROM node").fetchall()
        self.nodes = [NodeId(*row) for row in rows]
        self.names = sorted(
            [
                *map(str, self.nodes),
                *(f"run:{run}" for run in RUNS),
                f"prediction:{self.seen}",
                f"prediction:{self.unseen}",
                f"dataset:plain:features#{V1}",
                f"row:plain:features:1#{V1}",
                f"row:{HIDDEN}:{WORD}_orders:1#{V1}",
                # Raw and nearly right: what is near is told of errors.
                f"dataset:{HIDDEN}:{WORD}_order",
                f"job:{HIDDEN}:{WORD}",
                "dataset:plain:feature",
            ]
        )

    def ask(self, verb: str, authoriser: Any = READER, **parameters: object) -> str:
        """Give the text of an answer, or of an error, without what was asked itself."""
        try:
            text = json.dumps(
                ask(self.segment, verb, parameters, authoriser=authoriser), ensure_ascii=False
            )
        except LodelineError as error:
            text = f"{error} {getattr(error, 'nearest', '')} {getattr(error, 'candidates', '')}"
            for value in parameters.values():
                text = text.replace(str(value), "")
        return text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    for package in ("numpy", "pyarrow", "duckdb"):
        pytest.importorskip(package)
    return World(tmp_path_factory.mktemp("hidden"))


def hidden_runs_in(text: str) -> list[str]:
    """Give the hidden runs that a text names, but for versions of what they wrote."""
    rest = VERSION.sub("", text)
    return [run for run in HIDDEN_RUNS if run in rest]


def questions(world: World, verb: str) -> Iterator[dict[str, object]]:
    """Everything that can be asked of a verb, with the options that lead elsewhere."""
    if verb == "stats":
        yield {}
    elif verb == "search":
        for words in (
            "zebra",
            "plain",
            "features",
            "a",
            "e",
            "churn",
            "amount",
            "orders",
            "made",
            "zebrq",
        ):
            yield {"q": words}
        yield {"q": "a", "namespace": HIDDEN}
    elif verb in {"path", "diff"}:
        for a in world.names:
            for b in world.names:
                yield {"a": a, "b": b}
        if verb == "diff":
            for a in world.names:
                yield {"a": a, "since": "4"}
            yield {"since": "4"}
            yield {"since": "4", "columns": True}
    else:
        for name in world.names:
            yield {"id": name}
            if verb in {"rows", "cohort"}:
                yield {"id": name, "forward": True}
            if verb in {"trace", "impact"}:
                yield {"id": name, "columns": True}
                yield {"id": name, "namespaces": HIDDEN}
                yield {"id": name, "limit": 2}
            if verb == "trace":
                for more in ("down", "both", "rows"):
                    yield {"id": name, more: True}
                yield {"id": name, "both": True, "columns": True}
                yield {"id": name, "depth": 1, "both": True}


def test_the_word_is_found_where_nothing_is_hidden(world: World) -> None:
    assert WORD in world.ask("trace", OPEN, id="dataset:plain:features")
    assert WORD in world.ask("show", OPEN, id="dataset:plain:features")
    assert WORD in world.ask("search", OPEN, q="orders")
    assert WORD in world.ask("rows", OPEN, id=f"dataset:plain:features#{V1}")


@pytest.mark.parametrize("verb", [*VERBS, *FOREIGN_VERBS])
def test_no_answer_of_any_verb_holds_a_hidden_name(world: World, verb: str) -> None:
    count = 0
    for parameters in questions(world, verb):
        text = world.ask(verb, **parameters)
        found = re.search(rf".{{0,120}}{WORD}.{{0,80}}", text)
        assert found is None, (verb, parameters, found and found[0])
        asked_for = set(VERSION.findall(" ".join(map(str, parameters.values()))))
        runs = [run for run in hidden_runs_in(text) if f"run:{run}" not in asked_for]
        assert runs == [], (verb, parameters, text)
        count += 1
    assert count > 0


@pytest.mark.parametrize("verb", ["trace", "impact", "show", "rows"])
def test_what_is_hidden_is_unknown_to_who_asks_for_it(world: World, verb: str) -> None:
    for node in (f"dataset:{HIDDEN}:{WORD}_orders", f"dataset:{FIRST}:{WORD}_x", f"run:{RUNS[8]}"):
        with pytest.raises(UnknownNodeError) as caught:
            ask(world.segment, verb, {"id": node}, authoriser=READER)
        assert caught.value.nearest == () or WORD not in str(caught.value.nearest)


def test_an_edge_into_what_is_hidden_is_a_restricted_stub_with_a_gap(world: World) -> None:
    answer = ask(world.segment, "trace", {"id": "dataset:plain:features"}, authoriser=READER)
    stubs = {node["id"]: node for node in answer["nodes"] if node.get("restricted")}
    assert all(one.startswith("restricted:") for one in stubs)
    restricted = [edge for edge in answer["edges"] if edge["restricted"]]
    derived = [edge for edge in restricted if edge["kind"] == "derives"]
    assert [edge["target"] for edge in derived] == ["dataset:plain:features"]
    assert derived[0]["source"] in stubs
    assert derived[0]["job"] == "job:plain:build"
    assert {"at": "dataset:plain:features", "reason": "permission"}.items() <= answer["gaps"][
        0
    ].items()
    assert not answer["complete"]
    # And the same stub wherever it appears, to whoever asks.
    again = ask(world.segment, "trace", {"id": "job:plain:build"}, authoriser=READER)
    assert derived[0]["source"] in {node["id"] for node in again["nodes"]}


def test_what_lies_behind_something_hidden_is_not_reached(world: World) -> None:
    below = ask(
        world.segment, "trace", {"id": "dataset:plain:features", "down": True}, authoriser=READER
    )
    names = {node["id"] for node in below["nodes"]}
    assert any(
        name.startswith("model:plain:churn") or name == "dataset:plain:churn" for name in names
    )
    assert "dataset:plain:mart" not in names  # made of the hidden report
    path = {"a": "dataset:plain:features", "b": "dataset:plain:mart"}
    assert ask(world.segment, "path", path)["paths"]
    answer = ask(world.segment, "path", path, authoriser=READER)
    assert answer["paths"] == []
    assert "permission" in {gap["reason"] for gap in answer["gaps"]}


def test_all_pages_of_a_restricted_answer_are_the_whole_one(world: World) -> None:
    question = {"id": "dataset:plain:features", "both": True}
    whole = ask(world.segment, "trace", question, authoriser=READER)
    nodes, edges, cursor = [], [], None
    while True:
        page = ask(
            world.segment, "trace", {**question, "limit": 2, "cursor": cursor}, authoriser=READER
        )
        nodes += page["nodes"]
        edges += page["edges"]
        cursor = page["next"]
        if cursor is None:
            break
    assert nodes == whole["nodes"]
    key = ("source", "target", "kind", "job")
    assert sorted(str([e[k] for k in key]) for e in edges) == sorted(
        str([e[k] for k in key]) for e in whole["edges"]
    )


def test_stats_count_what_the_reader_may_see(world: World) -> None:
    whole = ask(world.segment, "stats", {})
    seen = ask(world.segment, "stats", {}, authoriser=READER)
    visible = [node for node in world.nodes if READER.may_see(node)]
    assert sum(seen["nodes"].values()) == len(visible) < sum(whole["nodes"].values())
    nothing = ask(world.segment, "stats", {}, authoriser=CLOSED)
    assert (nothing["nodes"], nothing["runs"], nothing["versions"]) == ({}, {}, 0)


class ConfinedGate:
    """Everyone reads, and sees what `READER` does."""

    def admit(self, scope: Any, permission: Permission) -> Caller:
        return Caller("reader", frozenset(Permission) - {Permission.OPERATE}, READER, key_id="k")


@contextmanager
def service(world: World) -> Iterator[Any]:
    app = build_application(world.url, gate=ConfinedGate())
    app._writer.start()
    try:
        yield app
    finally:
        app._writer.stop(5)


def requests_of(world: World, endpoint: Endpoint) -> Iterator[str]:
    """Fill a route with visible and hidden names: in its path, and as its parameters."""
    parts = re.findall(r"{(\w+)(?::\w+)?}", endpoint.path)
    fillings = [
        {"namespace": "plain", "dataset": "features", "job": "build", "name": "features"},
        {"namespace": HIDDEN, "dataset": f"{WORD}_orders", "job": f"{WORD}_job", "name": WORD},
        {"namespace": "plain", "dataset": "alias", "job": "copy", "name": "alias"},
        {"namespace": f"{WORD}-declared", "source": f"{WORD}-source", "tag": f"{WORD}-tag"},
    ]
    for filling in fillings:
        values = {"id": RUNS[1], "run": RUNS[1], "version": V1, "segment": "x", **filling}
        path = endpoint.path
        for part in parts:
            value = quote(values.get(part, "features"), safe="")
            path = re.sub(rf"{{{part}(?::\w+)?}}", lambda _, v=value: v, path)
        yield path
        for query in (
            {"id": f"dataset:{values['namespace']}:{values.get('dataset', 'd')}"},
            {"id": "dataset:plain:features"},
            {"nodeId": "dataset:plain:features", "depth": 20},
            {"nodeId": "job:plain:build"},
            {"nodeId": f"dataset:{HIDDEN}:{WORD}_orders"},
            {"a": "dataset:plain:features", "b": "dataset:plain:mart"},
            {"q": "a"},
            {"q": "zebra"},
            {"format": "json"},
            {"format": "csv"},
            {"format": "openlineage"},
            {"limit": 1000},
        ):
            yield f"{path}?{httpx.QueryParams(query)}"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_answer_of_any_reading_route_holds_a_hidden_name(world: World) -> None:
    asked = 0
    with service(world) as app:
        reading = [
            one
            for one in app.endpoints
            if one.method == "GET"
            and one.permission is not Permission.OPERATE
            # It has no end; what it tells is asked below.
            and "text/event-stream" not in json.dumps(one.operation)
        ]
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            for endpoint in reading:
                for url in requests_of(world, endpoint):
                    answer = await client.get(url)
                    asked += 1
                    body = answer.content.decode("utf-8", "replace")
                    # What the caller sent may come back in an error, and a page repeats its address.
                    page = not endpoint.path.startswith(("/api/", "/log/"))
                    for sent in set(re.findall(rf"[\w-]*{WORD}[\w-]*", unquote(url))):
                        if page or answer.status_code >= 400:
                            body = body.replace(sent, "")
                    found = re.search(rf".{{0,200}}{WORD}.{{0,80}}", body, re.DOTALL)
                    assert found is None, (url, answer.status_code, found and found[0])
                    assert hidden_runs_in(body) == [], (url, answer.status_code, body)
    assert asked > 100


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_confined_reader_gets_no_evidence_pack(world: World) -> None:
    with service(world) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.get("/api/v2/evidence?id=dataset:plain:features")
    assert answer.status_code == 403


def test_the_stream_of_entries_tells_no_hidden_name(world: World) -> None:
    events = EntryEvents(world.segment, streams_max=1)
    told = events._tell(0, world.segment.size(), READER).decode()
    assert "job:plain:build" in told
    assert WORD not in told
    # Neither a parent that is hidden, nor a run of which another entry names a hidden job.
    assert [run for run in HIDDEN_RUNS if run in told] == []
    assert RUNS[1] in told
    assert WORD in events._tell(0, world.segment.size(), OPEN).decode()

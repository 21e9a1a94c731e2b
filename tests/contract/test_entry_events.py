"""Server-sent events: in order, resumable, bounded, and nothing of what a reader may not see."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from services import Service, command, environment, event, serving


@contextmanager
def listening(service: Service, query: str = "", **headers: str) -> Iterator[HTTPResponse]:
    connection = service.connect()
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", f"/api/v2/events{query}", headers=named)
        response = connection.getresponse()
        yield response
    finally:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()


def messages(response: HTTPResponse, count: int) -> list[dict[str, Any]]:
    """Read so many messages; comments and the first `retry` are none."""
    found: list[dict[str, Any]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = response.readline().decode()
        assert line, "the stream ended"
        if line == "\n":
            if "data" in fields:
                found.append(
                    {"id": fields["id"], "event": fields["event"]} | json.loads(fields["data"])
                )
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("events") / "s.db") as one:
        yield one
        assert one.stop() == 0


def test_each_entry_is_told_once_in_order_with_its_nodes(service: Service) -> None:
    with listening(service) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for name in ("x", "y", "z"):
            service.post(event(inputs="a", outputs=name))
        told = messages(response, 3)
    assert [one["event"] for one in told] == ["event"] * 3
    assert [int(one["id"]) for one in told] == [one["position"] for one in told]
    assert [one["position"] - told[0]["position"] for one in told] == [0, 1, 2]
    for one, name in zip(told, "xyz", strict=True):
        assert {"dataset:n:a", f"dataset:n:{name}", "job:n:j"} < set(one["nodes"])


def test_a_reader_that_comes_back_goes_on_after_the_last_it_saw(service: Service) -> None:
    service.post([event(outputs=f"r{n}") for n in range(5)], "/api/v1/lineage/batch?wait=folded")
    with listening(service, "?since=0") as response:
        first = messages(response, 4)
    assert [one["position"] for one in first] == [0, 1, 2, 3]
    assert [one["event"] for one in first[:2]] == ["key", "fold"]
    with listening(service, "?since=0", Last_Event_ID=first[-1]["id"]) as response:
        assert messages(response, 1)[0]["position"] == 4


def test_what_is_no_position_is_refused(service: Service) -> None:
    assert service.send("GET", "/api/v2/events?since=x").status == 400
    assert service.send("GET", "/api/v2/events", Last_Event_ID="-1").status == 400
    assert service.send("GET", "/api/v2/events?until=3").status == 400


def test_listeners_are_bounded_and_a_place_is_free_when_one_leaves(tmp_path: Path) -> None:
    variables = {"LODELINE_SERVER_LIMITS_EVENT_STREAMS": "2"}
    with serving(tmp_path / "s.db", variables=variables) as service:
        with listening(service) as one, listening(service) as two:
            assert (one.status, two.status) == (200, 200)
            refused = service.send("GET", "/api/v2/events")
            assert (refused.status, refused.json["code"]) == (503, "could_not_tell.event_streams")
            assert refused.headers["retry-after"]
        while True:  # the service notices when it next writes to whoever left
            service.post(event(outputs="o"))
            with listening(service) as three:
                if three.status == 200:
                    break
        assert service.stop() == 0


def test_open_streams_end_when_the_service_stops(tmp_path: Path) -> None:
    with serving(tmp_path / "s.db") as service, listening(service) as response:
        response.readline()
        assert service.stop() == 0
        assert response.read().strip() == b""


def test_a_reader_confined_to_a_namespace_hears_of_nothing_else(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    keys = {}
    for name, more in (("all", []), ("one", ["--namespace", "mine"])):
        words = command("key", "create", "--name", name, "--scope", "ingest,read", *more)
        done = subprocess.run(
            [*words, "--store", str(store)],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        keys[name] = f"Bearer {done.stdout.strip()}"
    secret = event(outputs="secret")
    mine = event()
    mine["job"]["namespace"] = "mine"
    mine["inputs"] = [{"namespace": "n", "name": "hidden"}]
    mine["outputs"] = [{"namespace": "mine", "name": "shown"}]
    with serving(store, variables={"LODELINE_AUTHENTICATION": "keys"}) as service:
        assert service.send("GET", "/api/v2/events").status == 401
        with listening(service, Authorization=keys["one"]) as response:
            for sent in (secret, mine):
                body = json.dumps(sent).encode()
                reply = service.send("POST", "/api/v1/lineage", body, Authorization=keys["all"])
                assert reply.status == 201
            [told] = messages(response, 1)
    assert told["nodes"] == ["dataset:mine:shown", "job:mine:j", f"run:{mine['run']['runId']}"]

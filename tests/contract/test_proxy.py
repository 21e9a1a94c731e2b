"""The proxy passes what clients and model servers say, and records what the model predicted."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import LodelineError
from lodeline.ingest.predictions import find_prediction
from lodeline.store import open_segment
from proxies import Proxy, proxying
from upstreams import Asked, ModelServer, model_server

JSON = "Content-Type: application/json"
MODEL = "model:ml:m#sha256:" + "0" * 64


async def predict(asked: Asked) -> None:
    """A model server as others write it; paths choose what it does."""
    path = asked.line.split()[1]
    if path == "/early":
        asked.answer(b'{"error": "too large"}', JSON, "Connection: close", status="413 Large")
        await asked.writer.drain()
        asked.writer.close()
        return
    if path == "/slow":
        for _ in range(100):
            if len(asked.body) < 65_536 * 4:
                asked.body += await asked.reader.read(65_536)
        await asyncio.sleep(3600)
    body = await asked.read_body()
    if path == "/events":
        asked.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        asked.writer.write(b"Transfer-Encoding: chunked\r\n\r\n6\r\ndata:1\r\n")
        await asked.writer.drain()
        await asyncio.sleep(0.5)
        asked.writer.write(b"6\r\ndata:2\r\n0\r\n\r\n")
    elif path == "/endless":
        asked.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            asked.writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await asked.writer.drain()
            asked.body += b"."
    elif path == "/broken":
        asked.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asked.writer.drain()
        asked.writer.close()
    elif path == "/closing":
        asked.writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall")
        await asked.writer.drain()
        asked.writer.close()
    elif path == "/garbage":
        asked.writer.write(b"220 smtp.example.org ready\r\n\r\n")
    elif path == "/interim":
        asked.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        asked.answer(b'{"y": 1}', JSON)
    elif path == "/nowhere":
        asked.answer(b"no", status="404 Not Found")
    elif path == "/hops":
        asked.answer(
            b"{}", JSON, "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=9", "X-End: 2"
        )
    else:
        size = str(len(body)).encode()
        asked.answer(b'{"y": 2, "size": ' + size + b"}", JSON, "Server: tfserving")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, ModelServer]]:
    store = tmp_path_factory.mktemp("proxy") / "lodeline.db"
    with model_server(predict) as upstream:
        options = ("--deployment", "api", "--model", MODEL, "--timeout", "5")
        with proxying(upstream.url, store, *options) as proxy:
            yield proxy, upstream


def recorded(store: Path, drawn: str) -> dict[str, Any]:
    """The record of a prediction, once it is delivered."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # Until its tables are made, the store is none.
        with contextlib.suppress(LodelineError):
            segment = open_segment(f"sqlite:///{store}", create=False)
            found = find_prediction(segment, drawn)
            segment.close()
            if found.status == "record":
                assert found.record is not None
                return found.record
        time.sleep(0.2)
    raise AssertionError(f"{drawn} is not recorded")


def test_a_prediction_of_a_foreign_server_is_recorded(place: tuple[Proxy, ModelServer]) -> None:
    proxy, upstream = place
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    reply = proxy.predict(b'{"x": 3}', traceparent=parent, baggage="tenant=9")
    drawn = reply.headers["lodeline-prediction-id"]
    assert (reply.status, reply.json["y"]) == (200, 2)
    assert reply.headers["server"] == "tfserving"
    asked = upstream.asked[-1].headers
    assert asked["traceparent"] == parent
    assert asked["baggage"] == f"tenant=9,lodeline.prediction_id={drawn}"
    assert asked["x-forwarded-for"] == "127.0.0.1"
    assert asked["x-forwarded-host"] == f"127.0.0.1:{proxy.port}"
    assert asked["host"] == f"127.0.0.1:{upstream.port}"
    record = recorded(proxy.store, drawn)
    assert (record["features"], record["output"]) == ({"x": 3}, {"y": 2, "size": 8})
    assert (record["status"], record["traceparent"]) == (200, parent)


def test_a_request_without_a_trace_begins_one(place: tuple[Proxy, ModelServer]) -> None:
    proxy, upstream = place
    drawn = proxy.predict().headers["lodeline-prediction-id"]
    begun = upstream.asked[-1].headers["traceparent"]
    assert recorded(proxy.store, drawn)["traceparent"] == begun


def test_bodies_that_are_no_json_are_recorded_as_digests(
    place: tuple[Proxy, ModelServer],
) -> None:
    proxy, _ = place
    image = bytes(range(256)) * 2_000
    reply = proxy.send("POST", "/predict", image, Content_Type="image/png")
    record = recorded(proxy.store, reply.headers["lodeline-prediction-id"])
    assert record["featuresDigest"] == f"sha256:{hashlib.sha256(image).hexdigest()}"
    assert record["output"]["size"] == len(image)


def test_headers_of_one_hop_stay_on_it(place: tuple[Proxy, ModelServer]) -> None:
    proxy, upstream = place
    more = {"Connection": "X-Secret", "X-Secret": "1", "TE": "trailers", "X-End": "2"}
    reply = proxy.send("GET", "/hops", None, **more)
    asked = upstream.asked[-1].headers
    assert not {"connection", "x-secret", "te"} & set(asked)
    assert asked["x-end"] == "2"
    assert "x-hop" not in reply.headers
    assert "keep-alive" not in reply.headers
    assert (reply.headers["x-end"], reply.headers["via"]) == ("2", "1.1 lodeline")


def test_what_is_no_post_and_what_is_not_found_is_no_prediction(
    place: tuple[Proxy, ModelServer],
) -> None:
    proxy, _ = place
    reply = proxy.send("GET", "/v1/models/m?verbose=1")
    assert (reply.status, "lodeline-prediction-id" in reply.headers) == (200, False)
    assert proxy.send("HEAD", "/v1/models/m").status == 200
    assert proxy.send("GET", "/closing").body == b"all"


def test_a_stream_of_events_arrives_as_it_is_sent(place: tuple[Proxy, ModelServer]) -> None:
    proxy, _ = place
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        first = b""
        while b"data:1" not in first:
            first += client.recv(65_536)
        assert b"data:2" not in first
        assert b"text/event-stream" in first
        rest = b""
        while b"0\r\n\r\n" not in rest:
            rest += client.recv(65_536)
        assert b"data:2" in rest


def test_a_large_upload_streams_and_is_not_held(place: tuple[Proxy, ModelServer]) -> None:
    proxy, upstream = place
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        head = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        client.sendall(head)
        client.settimeout(2)
        sent = 0
        with pytest.raises(TimeoutError):
            # The upstream reads a quarter of a megabyte and stops; so must we be made to.
            while sent < 400_000_000:
                sent += client.send(b"x" * 65_536)
        assert len(upstream.asked[-1].body) >= 65_536 * 4
    # Buffers of three sockets and the proxy's own, none of which holds the upload.
    assert sent < 40_000_000


def test_a_client_that_stops_reading_stops_the_upstream(
    place: tuple[Proxy, ModelServer],
) -> None:
    proxy, upstream = place
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(65_536)
        asked = upstream.asked[-1]
        before = -1
        deadline = time.monotonic() + 30
        while len(asked.body) != before and time.monotonic() < deadline:
            before = len(asked.body)
            time.sleep(0.5)
        assert len(asked.body) * 65_536 < 40_000_000
        assert not asked.writer.is_closing()
        # Gone without a word: the upstream must be freed.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + 30
    while not asked.writer.is_closing() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert asked.writer.is_closing()


def test_an_answer_before_the_request_is_whole_is_passed_on(
    place: tuple[Proxy, ModelServer],
) -> None:
    proxy, _ = place
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n{")
        client.settimeout(10)
        said = b""
        while b"too large" not in said:
            piece = client.recv(65_536)
            assert piece, said
            said += piece
        assert said.startswith(b"HTTP/1.1 413")


def test_an_upload_in_chunks_arrives_whole(place: tuple[Proxy, ModelServer]) -> None:
    proxy, upstream = place
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            client.sendall(b"5\r\nhello\r\n")
            time.sleep(0.05)
        client.sendall(b"0\r\n\r\n")
        said = b""
        while b"}" not in said:
            said += client.recv(65_536)
        assert b'"size": 15' in said
    assert upstream.asked[-1].body == b"hello" * 3


@pytest.mark.parametrize("path", ["/garbage", "/broken"])
def test_an_upstream_that_talks_nonsense_is_told_apart(
    place: tuple[Proxy, ModelServer], path: str
) -> None:
    proxy, _ = place
    if path == "/garbage":
        reply = proxy.send("POST", path, b"{}")
        assert (reply.status, reply.json["code"]) == (502, "proxy.upstream_unreachable")
    else:
        # Half an answer must not look like a whole one.
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
            said = b""
            while piece := client.recv(65_536):
                said += piece
            assert said.endswith(b"half")


def test_interim_answers_are_skipped_and_connections_are_used_again(
    place: tuple[Proxy, ModelServer],
) -> None:
    proxy, upstream = place
    before = upstream.connections
    for _ in range(5):
        assert proxy.send("POST", "/interim", b"{}").json == {"y": 1}
    assert upstream.connections - before <= 1


def test_a_silent_upstream_is_a_timeout(tmp_path: Path) -> None:
    async def silent(asked: Asked) -> None:
        await asyncio.sleep(3600)

    with (
        model_server(silent) as upstream,
        proxying(
            upstream.url, tmp_path / "l.db", "--deployment", "api", "--timeout", "0.5"
        ) as proxy,
    ):
        reply = proxy.predict()
        assert (reply.status, reply.json["code"]) == (504, "proxy.upstream_silent")


def test_a_web_socket_is_refused_in_words(place: tuple[Proxy, ModelServer]) -> None:
    proxy, _ = place
    reply = proxy.send("GET", "/chat", None, Connection="Upgrade", Upgrade="websocket")
    assert (reply.status, reply.json["code"]) == (501, "proxy.upgrade")


def test_an_upstream_that_is_down_gives_a_502_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with proxying(url, tmp_path / "lodeline.db", "--deployment", "api") as proxy:
        reply = proxy.predict()
        assert (reply.status, reply.json["url"]) == (502, url)
        assert reply.headers["content-type"] == "application/json"


def test_what_was_recorded_is_there_when_the_proxy_has_stopped(tmp_path: Path) -> None:
    store = tmp_path / "lodeline.db"
    with (
        model_server(predict) as upstream,
        proxying(upstream.url, store, "--deployment", "api", "--model", MODEL) as proxy,
    ):
        drawn = [proxy.predict().headers["lodeline-prediction-id"] for _ in range(20)]
        assert proxy.stop() == 0
    segment = open_segment(f"sqlite:///{store}", create=False)
    found = [find_prediction(segment, one) for one in drawn]
    segment.close()
    assert {one.status for one in found} == {"record"}
    assert found[0].block is not None
    assert str(found[0].block.model) == MODEL
    assert json.loads(json.dumps(found[0].record))["features"] == {"x": 1}

"""Clients that are slow, silent, numerous, huge or malicious: refused cleanly, others served."""

from __future__ import annotations

import gzip
import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlencode

import guarded_server
import pytest
from running_services import RunningService, event, read_to_end, serving

from lodeline.limits import HEAD_BYTES_MAX, PIPELINED_REQUESTS_MAX

ONE = "/api/v1/lineage"
BATCH = "/api/v1/lineage/batch"
HOSTILE = [
    "'",
    "' OR '1'='1",
    "'; DROP TABLE node; --",
    '" UNION SELECT payload FROM payload --',
    "dataset:n:x' --",
    "%' OR name LIKE '%",
    "../../../../etc/passwd",
    "..\\..\\windows",
    "\x00",
    "dataset:n:\x00",
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    "{{7*7}}",
    "<script>alert(1)</script>",
    "1e400",
    "9" * 5000,
    "-1",
    "ı" * 4000,
    "dataset:" + "n" * 60_000,
    "*" * 1000,
    "((((((((((a*)*)*)*)*)*)*)*)*)*$",
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with serving(tmp_path_factory.mktemp("hostile") / "lodeline.db") as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with the same guard and smaller bounds."""
    store = tmp_path_factory.mktemp("impatient") / "lodeline.db"
    with serving(store, guarded_server.__file__, f"sqlite:///{store}") as running:
        yield running


def head_of(answer: bytes) -> tuple[int, str]:
    """Status and code of a refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


# Slow clients


def test_a_head_that_drips_is_cut_off(impatient: RunningService) -> None:
    with impatient.connect() as client:
        client.sendall(b"POST /api/v1/lineage HTTP/1.1\r\nHost: h\r\n")
        for _ in range(8):
            time.sleep(0.25)
            try:
                client.sendall(b"X-Slow: 1\r\n")
            except ConnectionError:
                break
        assert head_of(read_to_end(client)) == (408, "usage.too_slow")


def test_a_body_that_drips_is_cut_off(impatient: RunningService) -> None:
    with impatient.connect() as client:
        client.sendall(
            b"POST /api/v1/lineage HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n{"
        )
        for _ in range(8):
            time.sleep(0.25)
            try:
                client.sendall(b" ")
            except ConnectionError:
                break
        assert head_of(read_to_end(client)) == (408, "usage.too_slow")


def test_a_silent_connection_is_closed(impatient: RunningService) -> None:
    with impatient.connect(10) as silent, impatient.connect(10) as done:
        done.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        assert read_to_end(done).startswith(b"HTTP/1.1 200")
        assert read_to_end(silent) == b""


def test_a_client_that_reads_nothing_is_cut_off(impatient: RunningService) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(20)
        client.connect(("127.0.0.1", impatient.port))
        request = b"GET /openapi-or-not HTTP/1.1\r\nHost: h\r\n\r\n"
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(request * 60)
                time.sleep(0.01)
    assert impatient.send("GET", "/healthz").status == 200


def test_the_quietest_connection_makes_room_for_a_new_one(impatient: RunningService) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(impatient.connect())
        rest = [stack.enter_context(impatient.connect()) for _ in range(60)]
        assert impatient.send("GET", "/healthz").status == 200
        assert read_to_end(first) == b""
        rest[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        assert rest[-1].recv(10_000).startswith(b"HTTP/1.1 200")


# Many clients


@pytest.mark.slow
def test_ten_thousand_idle_connections_keep_nobody_out(service: RunningService) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10_000, hard - 500)
    before = service.resident_bytes()
    try:
        with ExitStack() as stack:
            for number in range(count):
                stack.enter_context(service.connect())
                if number % 1000 == 0:
                    assert service.post(event(f"among_{number}")).status == 201
            assert service.post(event("among_all"), ONE + "?wait=folded").status == 201
            assert service.ask("show?id=dataset:n:among_all")["name"] == "among_all"
            assert service.resident_bytes() - before < 256 << 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert service.post(event("after_all")).status == 201


# Malformed and huge requests


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"hello\r\n\r\n", 400, "usage.http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "usage.http"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400, "usage.http"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nBad header\r\n\r\n", 400, "usage.http"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX, 431, "usage.head_too_large"),
        (b"GET /" + b"x" * HEAD_BYTES_MAX, 431, "usage.head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431, "usage.head_too_large"),
        (
            b"POST /api/v1/lineage HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\n{\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
            431,
            "usage.head_too_large",
        ),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            400,
            "usage.http",
        ),
    ],
)
def test_what_is_no_sound_request_is_refused_in_our_words(
    service: RunningService, request_bytes: bytes, status: int, code: str
) -> None:
    assert head_of(service.say(request_bytes)) == (status, code)


def test_an_endless_pipeline_is_cut_off(service: RunningService) -> None:
    answer = service.say(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" * 5000)
    assert answer.count(b"HTTP/1.1 200 ") <= PIPELINED_REQUESTS_MAX + 1
    assert service.send("GET", "/healthz").status == 200


def test_bombs_do_not_grow_the_process(service: RunningService) -> None:
    bomb = gzip.compress(b"[" + b"[]," * (20 << 20) + b"0]", 1)
    empty = gzip.compress(b"") * 50_000
    service.post(event("before_bombs"))
    before = service.resident_bytes()
    for body in (bomb, empty, gzip.compress(b" " * (200 << 20), 1)):
        for path in (ONE, BATCH):
            reply = service.send("POST", path, body, Content_Encoding="gzip")
            assert reply.status in {400, 413}
    assert service.resident_bytes() - before < 300 << 20
    assert service.post(event("after_bombs")).status == 201


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (b'"x": ' + b"[" * 100_000 + b"]" * 100_000, "event.depth"),
        (b'"x": ' + b'{"a":' * 70 + b"1" + b"}" * 70, "event.depth"),
        (b",".join(b'"k": 1' for _ in range(10_000)), "event.duplicate_key"),
        (b'"x": "\\u0000"', "event.nul"),
        (b'"x\\u0000": 1', "event.nul"),
        (b'"x": "\\ud800"', "event.surrogate"),
        (b'"x": "\xed\xa0\x80"', "event.encoding"),
        (b'"x": "\xff"', "event.encoding"),
        (b'"x": 1e400', "event.number"),
        (b'"x": ' + b"9" * 5000, "event.number"),
        (b'"x": NaN', "event.json"),
    ],
)
def test_an_event_of_hostile_json_is_refused_with_its_fault(
    service: RunningService, member: bytes, code: str
) -> None:
    raw = json.dumps(event("json"))[:-1].encode() + b", " + member + b"}"
    reply = service.send("POST", ONE, raw)
    assert (reply.status, reply.json["code"]) == (400, code)
    sound = json.dumps(event("beside")).encode()
    batch = service.send("POST", BATCH, b"[" + raw + b"," + sound + b"]")
    if batch.status == 200:
        assert [one["code"] for one in batch.json["failed_events"]] == [code]
    else:
        # What no parser can walk over hides where it ends.
        assert (batch.status, batch.json["code"]) == (400, "event.json")


def test_long_names_are_taken_up_to_the_bound(service: RunningService) -> None:
    name = "é" * 4000
    stated = event("long", job={"namespace": "n", "name": name})
    assert service.post(stated, ONE + "?wait=folded").status == 201
    assert service.ask(f"show?id={quote('job:n:' + name)}")["name"] == name
    stated["job"]["name"] = "é" * 5000
    assert service.post(stated).json["code"] == "event.name_too_long"


# Hostile parameters and paths


def parameters() -> list[tuple[str, str]]:
    """Every parameter that the documentation tells, by path."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text()
    found = []
    for path, told in re.findall(r"^\| `GET (/api/v2/[a-z-]+)` \| (.*) \|$", text, re.MULTILINE):
        names = set(re.findall(r"`([a-z_]+)`", told)) | {
            "id",
            "as_of",
            "valid_at",
            "cursor",
            "limit",
        }
        found += [(path, name) for name in sorted(names)]
    return found


def test_sql_in_any_parameter_is_a_word_like_others(service: RunningService) -> None:
    service.post(
        event("victim", inputs=[{"namespace": "n", "name": "source"}]), ONE + "?wait=folded"
    )
    before = service.ask("trace?id=dataset:n:victim")
    assert len(before["nodes"]) >= 2
    asked = parameters()
    assert len({path for path, _ in asked}) >= 10
    for path, name in asked:
        for text in HOSTILE:
            query = urlencode({**_needed(path), name: text})
            reply = service.send("GET", f"{path}?{query}")
            assert reply.status in {200, 400, 404, 431}, (path, name, text, reply.body[:200])
            if reply.status != 200:
                assert {"code", "message"} <= reply.json.keys()
    assert service.ask("trace?id=dataset:n:victim")["nodes"] == before["nodes"]


def _needed(path: str) -> dict[str, str]:
    """What a sound question at a path gives."""
    verb = path.rpartition("/")[2]
    if verb in {"path", "diff"}:
        return {"a": "dataset:n:victim", "b": "dataset:n:source"}
    if verb == "stats":
        return {}
    return {"q": "victim"} if verb == "search" else {"id": "dataset:n:victim"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "OPTIONS"])
def test_no_path_leads_out_of_what_is_served(service: RunningService, method: str) -> None:
    steps = ["..", "%2e%2e", "..%2f", "%252e%252e", "..%5c", ".%00.", "%c0%ae%c0%ae"]
    bases = [
        "/",
        "/log/",
        "/log/x/",
        "/api/v2/blobs/",
        "/api/v1/",
        "/api/v1/lineage/",
        "/static/",
        "/node/",
        "/lineage/",
    ]
    for base in bases:
        for step in steps:
            path = base + f"{step}/" * 6 + "etc/passwd"
            reply = service.send(method, path)
            assert reply.status in {400, 404, 405, 415}, (method, path)
            assert b"root:" not in reply.body
            if method != "HEAD":
                assert {"code", "message"} <= reply.json.keys(), (method, path)

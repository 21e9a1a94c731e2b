"""Ingestion over HTTP to the letter of OpenLineage's specification, and beyond where it is silent."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from running_services import RunningService, event, read_to_end, serving

from lodeline import limits
from lodeline.limits import BATCH_EVENTS_MAX, EVENT_BYTES_MAX
from lodeline.proof import hash_leaf, verify_receipt
from lodeline.store import open_segment
from lodeline.wire.reading import iter_raw_events

ONE = "/api/v1/lineage"
BATCH = "/api/v1/lineage/batch"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with serving(tmp_path_factory.mktemp("ingestion") / "lodeline.db") as running:
        yield running


@pytest.fixture
def batch_schema(vectors: Callable[[str], Path]) -> dict[str, Any]:
    """The specification's schema of the 200 that answers a batch."""
    text = (vectors("openlineage-spec") / "OpenLineage.yml").read_text(encoding="utf-8")
    batch = yaml.safe_load(text)["paths"]["/lineage/batch"]["post"]
    return batch["responses"]["200"]["content"]["application/json"]["schema"]


def letters(service: RunningService) -> list[Any]:
    with open_segment(f"sqlite:///{service.store}") as segment:
        return list(segment.iter_dead_letters())


@pytest.mark.parametrize("faulty", [1, 3])
def test_a_batch_with_faults_is_answered_as_the_specification_says(
    service: RunningService, batch_schema: dict[str, Any], faulty: int
) -> None:
    batch = [{"no": "event"}] * faulty + [event(f"spec_{i}") for i in range(3 - faulty)]
    reply = service.post(batch, BATCH)
    assert reply.status == 200
    jsonschema.validate(reply.json, batch_schema)
    assert reply.json["status"] == "partial_success"
    assert reply.json["summary"] == {
        "received": 3,
        "successful": 3 - faulty,
        "failed": faulty,
        "retriable": 0,
        "non_retriable": faulty,
    }
    assert [failed["index"] for failed in reply.json["failed_events"]] == list(range(faulty))


def test_the_receipt_of_a_batch_is_over_its_leaf_hashes_in_order(
    service: RunningService, batch_schema: dict[str, Any]
) -> None:
    service.post(event("receipt_1"))
    batch = [event("receipt_0"), {"no": "event"}, event("receipt_1"), event("receipt_2")]
    reply = service.post(batch, BATCH)
    with open_segment(f"sqlite:///{service.store}") as segment:
        receipt = verify_receipt(reply.headers["lodeline-receipt"], segment.verifiers("receipt"))
        hashes = {
            json.loads(entry.payload)["outputs"][0]["name"]: hash_leaf(entry.leaf)
            for entry in segment.iter_entries(kinds={"event"})
            if entry.payload is not None
        }
    assert receipt.leaf_hashes == tuple(hashes[f"receipt_{i}"] for i in range(3))
    again = service.post([batch[0], batch[2], batch[3]], BATCH)
    assert again.status == 204
    assert again.headers["lodeline-receipt"] == reply.headers["lodeline-receipt"]
    asked = service.post([batch[0], batch[2], batch[3]], BATCH + "?receipt=body")
    assert asked.json["receipt"] == reply.headers["lodeline-receipt"]
    assert asked.json["status"] == "success"
    jsonschema.validate(asked.json, batch_schema)


def test_the_receipt_of_a_large_batch_stands_in_the_body_when_asked_for(
    service: RunningService,
) -> None:
    batch = [event(f"large_{i}") for i in range(200)]
    reply = service.post(batch, BATCH)
    assert reply.status == 204
    assert "lodeline-receipt" not in reply.headers
    found = service.post(batch, BATCH + "?receipt=body").json["receipt"]
    with open_segment(f"sqlite:///{service.store}") as segment:
        receipt = verify_receipt(found, segment.verifiers("receipt"))
    assert len(receipt.leaf_hashes) == 200


def test_all_three_kinds_of_event_are_taken(service: RunningService) -> None:
    job = {"eventTime": "2026-11-01T10:00:00Z", "job": {"namespace": "n", "name": "stated"}}
    dataset = {
        "eventTime": "2026-11-01T10:00:00Z",
        "dataset": {"namespace": "n", "name": "stated_dataset"},
    }
    for stated in (event("of_a_run"), job, dataset):
        assert service.post(stated, ONE + "?wait=folded").status == 201
    assert service.ask("show?id=job:n:stated")["kind"] == "job"
    assert service.ask("show?id=dataset:n:stated_dataset")["kind"] == "dataset"
    assert service.post([event("of_a_run"), job, dataset], BATCH).status == 204


@pytest.mark.parametrize(
    "content",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/x-ndjson",
        "text/plain",
        None,
    ],
)
def test_the_content_type_decides_nothing(service: RunningService, content: str | None) -> None:
    headers = {} if content is None else {"Content_Type": content}
    assert service.post(event("typed"), **headers).status == 201
    assert service.post([event("typed")], BATCH, **headers).status == 204


@pytest.mark.parametrize("path", [ONE + "/", BATCH + "/"])
def test_a_slash_at_the_end_is_forgiven(service: RunningService, path: str) -> None:
    stated = event("slash")
    assert service.post([stated] if "batch" in path else stated, path).status in {201, 204}


@pytest.mark.parametrize("path", [ONE, BATCH])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_told_which_is_allowed(
    service: RunningService, path: str, method: str
) -> None:
    reply = service.send(method, path, b"{}")
    assert (reply.status, reply.json["code"]) == (405, "usage.method")
    assert "POST" in reply.headers["allow"]


def test_a_body_may_come_in_chunks(service: RunningService) -> None:
    raw = json.dumps(event("chunked")).encode()
    pieces = (raw[i : i + 7] for i in range(0, len(raw), 7))
    assert service.send("POST", ONE, pieces, Transfer_Encoding="chunked").status == 201


def test_a_client_that_expects_100_is_told_to_continue(service: RunningService) -> None:
    raw = json.dumps(event("expected")).encode()
    head = f"POST {ONE} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(raw)}\r\n"
    with service.connect() as client:
        client.sendall(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(raw)
        assert read_to_end(client).startswith(b"HTTP/1.1 201 ")


def test_one_connection_serves_many_requests(service: RunningService) -> None:
    raw = json.dumps(event("kept_alive")).encode()
    request = f"POST {ONE} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw
    last = request.replace(b"Host: h", b"Host: h\r\nConnection: close", 1)
    assert service.say(request * 3 + last).count(b"HTTP/1.1 201 ") == 4


@pytest.mark.parametrize("members", [1, 2, 5])
def test_gzip_may_have_several_members(service: RunningService, members: int) -> None:
    raw = json.dumps([event("members")]).encode()
    step = -(-len(raw) // members)
    body = b"".join(gzip.compress(raw[i : i + step]) for i in range(0, len(raw), step))
    assert service.send("POST", BATCH, body, Content_Encoding="GZIP").status == 204


# Made when needed: some are large, and gzip's bytes tell the time.
WHOLE_BODIES: dict[str, tuple[Callable[[], bytes], str, int, str]] = {
    "in brotli": (lambda: b"{}", "br", 415, "event.content_encoding"),
    "gzip twice in the header": (lambda: b"{}", "gzip, gzip", 415, "event.content_encoding"),
    "not gzip": (lambda: b"{}", "gzip", 400, "event.encoding"),
    "no gzip at all": (lambda: b"", "gzip", 400, "event.encoding"),
    "gzip cut off": (lambda: gzip.compress(b"[]")[:-3], "gzip", 400, "event.encoding"),
    "gzip and more": (lambda: gzip.compress(b"[]") + b"more", "gzip", 400, "event.encoding"),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(b"[]")), "gzip", 400, "event.json"),
    "empty members": (lambda: gzip.compress(b"") * 1001, "gzip", 400, "event.encoding"),
    "a bomb": (lambda: gzip.compress(b" " * (65 << 20), 1), "gzip", 413, "event.too_large"),
    "empty": (lambda: b"", "identity", 400, "event.json"),
    "cut off": (lambda: b"[1,", "identity", 400, "event.json"),
    "too many": (lambda: _zeros(BATCH_EVENTS_MAX + 1), "identity", 413, "event.too_large"),
    "far too many": (lambda: _zeros(9_000_000), "identity", 413, "event.too_large"),
    "a page": (lambda: b"<html>", "identity", 400, "event.json"),
    "too many lines": (lambda: b"{}\n" * 30_000, "identity", 413, "event.too_large"),
}


def _zeros(count: int) -> bytes:
    return b"[" + b"0," * (count - 1) + b"0]"


@pytest.mark.parametrize("name", WHOLE_BODIES)
def test_a_body_that_is_no_batch_is_refused_whole(service: RunningService, name: str) -> None:
    make, encoding, status, code = WHOLE_BODIES[name]
    reply = service.send("POST", BATCH, make(), Content_Encoding=encoding)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert reply.json["path"] == ""
    assert reply.json["message"]


def test_a_refused_body_is_kept_as_a_dead_letter(service: RunningService) -> None:
    for path, body in ((BATCH, b"[ no batch"), (ONE, b"no event")):
        assert service.send("POST", path, body).status == 400
        [letter] = [one for one in letters(service) if one.byte_count == len(body)]
        assert (letter.source, letter.code, letter.kept) == (f"POST {path}", "event.json", True)
    too_large = b"x" * (EVENT_BYTES_MAX + 5_000)
    assert service.send("POST", ONE, too_large).status == 413
    [letter] = [one for one in letters(service) if one.byte_count == len(too_large)]
    assert (letter.code, letter.kept) == ("event.too_large", False)


def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind(service: RunningService) -> None:
    before = service.ask("stats")["as_of"]["tree_size"]
    for _ in range(20):
        with service.connect() as client:
            client.sendall(
                f"POST {ONE} HTTP/1.1\r\nHost: h\r\nContent-Length: 999\r\n\r\n{{".encode()
            )
            client.shutdown(socket.SHUT_WR)
    assert service.ask("stats")["as_of"]["tree_size"] == before
    assert service.post(event("after_leaving")).status == 201


@pytest.mark.parametrize("query", ["wait=signed", "receipt=gold", "wait=folded&wait=x"])
def test_an_unknown_wish_is_refused_before_the_body_is_read(
    service: RunningService, query: str
) -> None:
    reply = service.post(event("wish"), f"{ONE}?{query}")
    assert (reply.status, reply.json["code"]) == (400, "usage")


def test_lines_may_be_an_event_printed_over_many_lines(service: RunningService) -> None:
    printed = json.dumps(event("printed"), indent=2).encode()
    assert service.send("POST", BATCH, printed).status == 204


def test_what_real_producers_sent_is_taken_and_served_back_unchanged(
    service: RunningService, vectors: Callable[[str], Path]
) -> None:
    sent: dict[str, Path] = {}
    events = Path(__file__).parents[1] / "fixtures" / "events"
    for path in sorted(events.glob("*/*.jsonl")):
        with path.open("rb") as lines:
            stated = [json.loads(one.raw) for one in iter_raw_events(lines)]
        body = b"\n".join(json.dumps(one).encode() for one in stated)
        assert service.send("POST", BATCH, body).status == 204, path
        sent |= {as_text(one): path for one in stated}
    assert len(sent) >= 400
    instances = sorted((vectors("openlineage-spec") / "tests").glob("*/*.json"))
    for path in instances:
        one = carrying(path.parent.name, json.loads(path.read_bytes()))
        assert service.post(one).status == 201, path
        sent[as_text(one)] = path
    assert len(instances) >= 40
    kept = payloads(service)
    assert [path for text, path in sent.items() if text not in kept] == []


def as_text(stated: object) -> str:
    return json.dumps(stated, sort_keys=True)


def payloads(service: RunningService) -> set[str]:
    with open_segment(f"sqlite:///{service.store}") as segment:
        return {
            as_text(json.loads(entry.payload))
            for entry in segment.iter_entries(kinds={"event"})
            if entry.payload is not None
        }


def carrying(kind: str, facets: dict[str, Any]) -> dict[str, Any]:
    """An event with an instance of the specification at the place of its kind."""
    stated = event(f"carrying_{kind}")
    if kind.endswith("RunFacet"):
        stated["run"]["facets"] = facets
    elif kind.endswith("JobFacet"):
        stated["job"]["facets"] = facets
    elif kind.endswith("InputDatasetFacet"):
        stated["inputs"] = [{"namespace": "n", "name": "in", "inputFacets": facets}]
    elif kind.endswith("OutputDatasetFacet"):
        stated["outputs"][0]["outputFacets"] = facets
    else:
        stated["outputs"][0]["facets"] = facets
    return stated


def test_the_documented_limits_are_those_of_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "http-ingestion.md"
    rows = dict(re.findall(r"^\| ([a-z][^|]+) \| ([^|]+) \|", page.read_text(), re.MULTILINE))
    for name, value in {
        "one event": f"{limits.EVENT_BYTES_MAX >> 20} MiB",
        "one batch, also decompressed": f"{limits.BATCH_BYTES_MAX >> 20} MiB",
        "events of a batch": f"{limits.BATCH_EVENTS_MAX:,}",
        "members of one gzip body": f"{limits.GZIP_MEMBERS_MAX:,}",
        "nesting of JSON": f"{limits.EVENT_DEPTH_MAX}",
        "a namespace or name": f"{limits.NAME_BYTES_MAX:,} bytes",
        "a request's target and header fields": f"{limits.HEAD_BYTES_MAX:,} bytes",
        "time for a request's head": f"{limits.HEAD_SECONDS_MAX} s",
        "time for a body, and the pace of a longer one": (
            f"{limits.BODY_SECONDS_MAX} s, {limits.BODY_BYTES_PER_SECOND_MIN:,} bytes a second"
        ),
        "one request as sent, chunks included": f"{limits.REQUEST_BYTES_MAX >> 30} GiB",
        "requests waiting on one connection": f"{limits.PIPELINED_REQUESTS_MAX}",
        "silence between requests": f"{limits.IDLE_SECONDS_MAX} s",
        "an answer that is not read": f"{limits.UNREAD_SECONDS_MAX} s",
        "connections": (
            f"{limits.CONNECTIONS_MAX:,}, or what `ulimit -n` grants less "
            f"{limits.DESCRIPTORS_RESERVED}"
        ),
        "bytes of all bodies being received": f"{limits.BODIES_BYTES_MAX >> 20} MiB",
        "events waiting for the writer": f"{limits.QUEUE_EVENTS_MAX:,}",
        "bytes waiting for the writer": f"{limits.QUEUE_BYTES_MAX >> 20} MiB",
    }.items():
        assert rows[name] == value, name
    assert f"at most {limits.DEAD_LETTERS_BYTES_MAX >> 30} GiB" in page.read_text()
    assert f"at most {limits.DEAD_LETTERS_MAX:,} of them" in page.read_text()
    assert f"{limits.ACCOUNTS_MAX:,} accounts" in page.read_text()
    assert f"{limits.RECEIPT_HEADER_BYTES_MAX:,} bytes" in page.read_text()
    assert f"at most {limits.WAIT_SECONDS_MAX} seconds" in page.read_text()


def both_ways(service: RunningService, stated: object) -> list[tuple[int, Any, set[str]]]:
    """Send the same to the short way and, with a query, to the ordinary one."""
    raw = stated if isinstance(stated, bytes) else json.dumps(stated).encode()
    found = []
    for path in (ONE, ONE + "?wait="):
        reply = service.send("POST", path, raw)
        names = set(reply.headers) - {"date"}
        body = reply.json if reply.body else None
        found.append((reply.status, body, names))
    return found


@pytest.mark.parametrize(
    "stated",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param({"no": "event"}, id="no event"),
        pytest.param(event("both", eventType="DONE"), id="a fault"),
        pytest.param(event("both ways"), id="an event, and then its duplicate"),
    ],
)
def test_the_short_way_answers_as_the_ordinary_one(service: RunningService, stated: object) -> None:
    short, ordinary = both_ways(service, stated)
    assert short == ordinary


def test_a_receipt_of_the_short_way_is_that_of_the_ordinary_one(service: RunningService) -> None:
    stated = event("short and ordinary")
    replies = [service.post(stated, path) for path in (ONE, ONE + "?wait=", ONE)]
    assert len({reply.headers["lodeline-receipt"] for reply in replies}) == 1


def test_requests_in_a_pipeline_are_answered_in_their_order(service: RunningService) -> None:
    bodies = [json.dumps(event(f"pipelined {i}")).encode() for i in range(6)]
    bodies[3] = b"[]"
    head = f"POST {ONE} HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n"
    last = "Connection: close\r\n"
    sent = b"".join(
        (head % (len(body), last if body is bodies[-1] else "")).encode() + body for body in bodies
    )
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", service.say(sent))
    assert statuses == [b"201", b"201", b"201", b"400", b"201", b"201"]


@pytest.mark.parametrize("path", [ONE, ONE + "?wait=", BATCH], ids=["short", "ordinary", "batch"])
def test_identifiers_in_headers_lie_beside_the_events_of_a_request(
    service: RunningService, path: str
) -> None:
    stated = event(f"correlated by {path}")
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_id": "b7ad6b7169203331"}
    headers = {
        "traceparent": f"00-{trace['trace_id']}-{trace['parent_id']}-01",
        "baggage": "who=alice,lodeline.model_version=v%201",
    }
    body = json.dumps([stated] if path == BATCH else stated).encode()
    assert service.send("POST", path, body, **headers).status in {201, 204}
    # Other headers make no other event, and change nothing of what was told first.
    other = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00"}
    assert service.send("POST", path, body, **other).status in {201, 204}
    assert (
        service.send("POST", path + f"{'&' if '?' in path else '?'}wait=folded", body).status < 300
    )
    shown = service.send("GET", f"/api/v2/show?id=run:{stated['run']['runId']}").json
    assert shown["correlations"] == [{**trace, "model_version": "v 1"}]

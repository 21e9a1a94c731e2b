"""The service over real sockets: events in, answers out, and how it refuses."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from lodeline.fold.evidence import verify_pack
from lodeline.proof import hash_leaf, verify_receipt, verify_tlog_proof
from lodeline.proof.packs import decode_pack
from lodeline.questions import connect
from lodeline.spool import Spool, spool_directory
from lodeline.store import open_segment
from services import Service, command, event, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service") / "lodeline.db") as one:
        yield one
        assert one.stop() == 0


def status_of(*options: str) -> int:
    """The exit status of a service that does not come to serve."""
    return subprocess.run(command("serve", *options), timeout=60, check=False).returncode


def test_an_accepted_event_is_answered_by_a_receipt_and_an_empty_body(service: Service) -> None:
    reply = service.post(event(inputs="a", outputs="b"))
    assert (reply.status, reply.body) == (201, b"")
    assert reply.headers["lodeline-receipt"]


def test_who_waits_until_an_event_is_sequenced_gets_its_proof(service: Service) -> None:
    stated = event(inputs="a", outputs="sequenced")
    reply = service.post(stated, "/api/v1/lineage?wait=sequenced")
    assert reply.status == 201
    with open_segment(f"sqlite:///{service.store}") as segment:
        keys, origin = segment.verifiers(), segment.origin
        receipt_keys = segment.verifiers("receipt")
    proof, head = verify_tlog_proof(reply.body, keys, origin=origin)
    receipt = verify_receipt(reply.headers["lodeline-receipt"], receipt_keys)
    assert receipt.leaf_hashes == (hash_leaf(proof.extra or b""),)
    assert proof.index < head.size
    again, later = verify_tlog_proof(
        service.post(stated, "/api/v1/lineage?wait=sequenced").body, keys, origin=origin
    )
    assert (again.index, again.extra) == (proof.index, proof.extra)
    assert later.size >= head.size
    assert service.post([stated], "/api/v1/lineage/batch?wait=sequenced").status == 204
    assert service.post(stated, "/api/v1/lineage?wait=signed").status == 400


def test_an_event_sent_twice_gets_the_first_receipt(service: Service) -> None:
    stated = event(inputs="a", outputs="twice")
    first, second = service.post(stated), service.post(stated)
    assert second.status == 201
    assert second.headers["lodeline-receipt"] == first.headers["lodeline-receipt"]


def test_what_was_folded_is_traced_over_http(service: Service) -> None:
    service.post(event(inputs="raw", outputs="clean"), "/api/v1/lineage?wait=folded")
    reply = service.send("GET", "/api/v2/trace?id=dataset:n:clean&up=true")
    assert reply.status == 200
    assert "dataset:n:raw" in {node["id"] for node in reply.json["nodes"]}


def test_the_service_hands_out_the_evidence_of_an_answer(service: Service) -> None:
    service.post(event(inputs="e1", outputs="e2"), "/api/v1/lineage?wait=folded")
    reply = service.send("GET", "/api/v2/evidence?id=dataset:n:e2")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/zip")
    files = decode_pack(reply.body)
    assert verify_pack(files).ok
    nodes = {node["id"] for node in json.loads(files["answer.json"])["nodes"]}
    assert {"dataset:n:e1", "dataset:n:e2"} <= nodes
    assert service.send("GET", "/api/v2/evidence?id=dataset:n:none").status == 404
    assert service.send("GET", "/api/v2/evidence?id=dataset:n:e2&rows=true").status == 400


def test_the_service_and_the_command_line_give_the_same_answer(service: Service) -> None:
    service.post(event(inputs="p", outputs="q"), "/api/v1/lineage?wait=folded")
    here = connect(store=f"sqlite:///{service.store}")
    there = connect(server=service.url)
    for verb, parameters in [
        ("trace", {"id": "dataset:n:q", "direction": "both"}),
        ("impact", {"id": "dataset:n:p"}),
        ("path", {"a": "dataset:n:p", "b": "dataset:n:q"}),
        ("show", {"id": "dataset:n:q"}),
        ("search", {"q": "q"}),
        ("stats", {}),
    ]:
        size = here.ask("stats")["as_of"]["tree_size"]
        assert there.ask(verb, as_of=size, **parameters) == here.ask(verb, as_of=size, **parameters)


def test_a_compressed_event_is_accepted(service: Service) -> None:
    body = gzip.compress(json.dumps(event(outputs="zipped")).encode())
    reply = service.send("POST", "/api/v1/lineage", body, Content_Encoding="gzip")
    assert reply.status == 201


def test_a_decompression_bomb_is_refused(service: Service) -> None:
    body = gzip.compress(b" " * (32 * 1024 * 1024))
    reply = service.send("POST", "/api/v1/lineage", body, Content_Encoding="gzip")
    assert (reply.status, reply.json["code"]) == (413, "event.too_large")


def test_an_event_of_25_megabytes_is_refused(service: Service) -> None:
    stated = event(outputs="big")
    stated["producer"] = "x" * 25_000_000
    reply = service.post(stated)
    assert (reply.status, reply.json["code"]) == (413, "event.too_large")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"{", "event.json", ""),
        (b'{"eventTime": 7}', None, None),
        (b"\xff\xfe", None, None),
        (json.dumps({**event(), "run": {}}).encode(), "event.missing", "/run"),
    ],
)
def test_a_faulty_event_is_refused_with_code_message_and_path(
    service: Service, body: bytes, code: str | None, path: str | None
) -> None:
    reply = service.send("POST", "/api/v1/lineage", body)
    assert reply.status == 400
    assert {"code", "message", "path"} <= reply.json.keys()
    assert code is None or reply.json["code"] == code
    assert path is None or reply.json["path"].startswith(path)


def test_a_sound_batch_is_answered_by_204(service: Service) -> None:
    reply = service.post([event(outputs="b1"), event(outputs="b2")], "/api/v1/lineage/batch")
    assert (reply.status, reply.body) == (204, b"")


def test_an_empty_batch_waits_for_nothing(service: Service) -> None:
    reply = service.post([], "/api/v1/lineage/batch?wait=folded")
    assert reply.status in {200, 204}
    assert "lodeline-pending" not in reply.headers


def test_a_batch_of_lines_is_taken_like_an_array(service: Service) -> None:
    lines = b"\n".join(json.dumps(event(outputs=name)).encode() for name in ("l1", "l2"))
    assert service.send("POST", "/api/v1/lineage/batch", lines).status == 204


def test_a_faulty_event_of_a_batch_harms_no_other(service: Service) -> None:
    batch = [event(outputs="good"), {"no": "event"}, event(outputs="fine")]
    reply = service.post(batch, "/api/v1/lineage/batch?wait=folded")
    assert reply.status == 200
    assert reply.json["status"] == "partial_success"
    assert reply.json["summary"]["received"] == 3
    assert reply.json["summary"]["failed"] == 1
    [failure] = reply.json["failed_events"]
    assert failure["index"] == 1
    assert failure["reason"]
    assert failure["retriable"] is False
    assert service.send("GET", "/api/v2/show?id=dataset:n:fine").status == 200


def test_an_unknown_node_is_404_with_the_nearest_names(service: Service) -> None:
    service.post(event(outputs="orders"), "/api/v1/lineage?wait=folded")
    reply = service.send("GET", "/api/v2/trace?id=dataset:n:ordes")
    assert (reply.status, reply.json["code"]) == (404, "no.unknown_node")
    assert "dataset:n:orders" in reply.json["nearest"]


@pytest.mark.parametrize(
    "query",
    [
        "trace",
        "trace?id=nonsense",
        "trace?id=dataset:n:a&depth=x",
        "trace?id=dataset:n:a&depth=-1",
        "trace?id=dataset:n:a&up=true&down=true&direction=up",
        "trace?id=dataset:n:a&colour=red",
        "trace?id=dataset:n:a&id=dataset:n:b",
        "trace?id=dataset:n:a&as_of=yesterday",
        "trace?id=dataset:n:a&as_of=99999999",
        "trace?id=dataset:n:a&cursor=abc",
        "search?q=%20",
        "search?q=a&kind=thing",
    ],
)
def test_a_malformed_question_is_400(service: Service, query: str) -> None:
    service.post(event(inputs="a", outputs="b"), "/api/v1/lineage?wait=folded")
    reply = service.send("GET", f"/api/v2/{query}")
    assert reply.status == 400, reply.body
    assert reply.json["code"].startswith("usage")


def test_a_flag_may_stand_alone(service: Service) -> None:
    service.post(event(inputs="a", outputs="b"), "/api/v1/lineage?wait=folded")
    reply = service.send("GET", f"/api/v2/trace?id={quote('dataset:n:a')}&down")
    assert reply.json["direction"] == "down"


def test_many_requests_at_a_time_are_all_durable(service: Service) -> None:
    statuses: list[int] = []

    def work(number: int) -> None:
        connection = HTTPConnection(service.host, service.port, timeout=60)
        for i in range(20):
            body = json.dumps(event(outputs=f"many_{number}_{i}")).encode()
            connection.request("POST", "/api/v1/lineage", body)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 160
    found = connect(store=f"sqlite:///{service.store}").ask("search", q="many_", limit=500)
    assert found["total"] == 160


def test_the_store_may_be_written_by_another_process_meanwhile(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_text(json.dumps(event(inputs="elsewhere", outputs="here")))
    words = command("import", "--store", str(service.store), str(tmp_path / "events.jsonl"))
    subprocess.run(words, check=True, capture_output=True)
    reply = service.send("GET", "/api/v2/trace?id=dataset:n:here")
    assert "dataset:n:elsewhere" in {node["id"] for node in reply.json["nodes"]}


def test_what_is_spooled_beside_the_store_is_delivered_meanwhile(service: Service) -> None:
    spool = Spool(spool_directory(f"sqlite:///{service.store}"))
    record = {"type": "event", "event": event(inputs="spooled", outputs="drained")}
    assert spool.append(json.dumps(record).encode())
    spool.flush()
    for _ in range(100):
        reply = service.send("GET", "/api/v2/trace?id=dataset:n:drained")
        if reply.status == 200:
            break
        time.sleep(0.2)
    assert "dataset:n:spooled" in {node["id"] for node in reply.json["nodes"]}


def test_the_service_says_that_it_is_alive_and_ready(service: Service) -> None:
    assert service.send("GET", "/healthz").status == 200
    assert service.send("GET", "/readyz").json == {"ready": True, "problems": []}


@pytest.mark.parametrize("path", ["/nowhere", "/api/v2/nothing", "/api/v1/lineage/batch"])
def test_what_is_not_served_is_said_as_an_error_object(service: Service, path: str) -> None:
    reply = service.send("GET", path)
    assert reply.status in {404, 405}
    assert {"code", "message"} <= reply.json.keys()


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_the_open_network_is_refused(tmp_path: Path, host: str) -> None:
    assert status_of("--store", str(tmp_path / "s.db"), "--host", host, "--port", "0") == 2


def test_a_check_serves_nothing(tmp_path: Path) -> None:
    assert status_of("--store", str(tmp_path / "s.db"), "--port", "0", "--check") == 0


def test_a_taken_port_is_said(service: Service) -> None:
    assert status_of("--store", str(service.store), "--port", str(service.port)) == 3


def test_acknowledged_events_survive_a_kill(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    with serving(store) as doomed:
        for number in range(5):
            assert doomed.post(event(outputs=f"kept_{number}")).status == 201
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait(20)
    assert connect(store=f"sqlite:///{store}").ask("search", q="kept_")["total"] == 5

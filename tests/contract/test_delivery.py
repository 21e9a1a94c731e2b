"""Every transport gets each spooled record once, whole, and in order, whatever fails meanwhile."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import UsageError
from lodeline.ingest.predictions import find_prediction, iter_blocks
from lodeline.model import PredictionId
from lodeline.query import ask
from lodeline.spool import Spool, open_drain, spool_directory
from lodeline.store import open_segment
from lodeline.transport import deliver, drain_into, flush, follow, open_transport
from lodeline.transport.http import HttpTransport

BLOCK = "00000000ab"


def run_event(run: int, kind: str = "COMPLETE", **members: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": "2026-11-22T10:00:00Z",
        "producer": "https://example.org",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-4000-8000-{run:012d}"},
        "job": {"namespace": "default", "name": "job"},
        "inputs": [],
        "outputs": [],
        **members,
    }


def draft(path: Path) -> dict[str, Any]:
    now = path.stat()
    pending = {
        "path": str(path),
        "inode": now.st_ino,
        "mtimeNs": now.st_mtime_ns,
        "size": now.st_size,
    }
    digest = {"algorithm": "sha256", "source": "bytes", "value": None, "pending": pending}
    model = {"digest": None, "pending": pending, "framework": "sklearn"}
    first = path.open().readline().rstrip() if path.suffix == ".csv" else ""
    fields = [{"name": name} for name in first.split(",") if name]
    outputs = [
        {
            "namespace": "file",
            "name": str(path),
            "facets": {"lodeline_digest": digest, "schema": {"fields": fields}},
        },
        {"namespace": "ml", "name": "m", "facets": {"lodeline_model": model}},
    ]
    return run_event(1, outputs=outputs)


def spool_events(spool: Spool, *events: dict[str, Any]) -> None:
    for event in events:
        assert spool.append(json.dumps({"type": "event", "event": event}).encode())


class Receiver(ThreadingHTTPServer):
    """A server outside our code that answers as told."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.bodies: list[tuple[str, list[Any]]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def received(self, path: str = "/api/v1/lineage/batch") -> list[Any]:
        return [item for to, body in self.bodies if to == path for item in body]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.raw.append(body)
        items = json.loads(body)
        status, headers, answer = 204, {}, b""
        if self.server.answers:
            status, headers, answer = self.server.answers.pop(0)
        elif any(isinstance(item, dict) and item.get("poison") for item in items):
            status, answer = 400, b'{"code": "event.shape", "message": "poison"}'
        if status < 300:
            self.server.bodies.append((self.path, items))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lodeline.db"


@pytest.fixture
def spool(store: str) -> Iterator[Spool]:
    opened = Spool(spool_directory(store))
    yield opened
    opened.close()


def payloads(store: str) -> list[dict[str, Any]]:
    segment = open_segment(store)
    try:
        return [json.loads(entry.payload or b"") for entry in segment.iter_entries(kinds={"event"})]
    finally:
        segment.close()


def test_what_was_spooled_is_in_the_store_and_no_longer_in_the_spool(
    store: str, spool: Spool
) -> None:
    spool_events(spool, *[run_event(i) for i in range(1200)])
    report = drain_into(store, None)
    assert (report.delivered, report.complete, report.reason) == (1200, True, "")
    assert [event["run"]["runId"] for event in payloads(store)] == [
        run_event(i)["run"]["runId"] for i in range(1200)
    ]
    spool.close()
    drain_into(store)
    assert not list(spool.directory.glob("*.segment"))


def test_pending_digests_are_computed_on_the_way(store: str, spool: Spool, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    spool_events(spool, draft(path))
    drain_into(store, None)
    dataset, model = payloads(store)[0]["outputs"]
    digest = dataset["facets"]["lodeline_digest"]
    assert "pending" not in digest
    assert digest["value"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest["logicalSchema"] == [
        {"name": "a", "type": "int64"},
        {"name": "b", "type": "utf8"},
    ]
    assert model["facets"]["lodeline_model"]["digest"] == f"sha256:{digest['value']}"
    assert "lodeline_capture" not in payloads(store)[0]["run"].get("facets", {})


def test_a_file_that_changed_since_loses_its_digest_and_leaves_a_gap(
    store: str, spool: Spool, tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a\n1\n")
    spool_events(spool, draft(path))
    path.write_text("a\n22\n")
    drain_into(store, None)
    (event,) = payloads(store)
    assert event["outputs"][0]["facets"]["lodeline_digest"]["value"] is None
    assert event["outputs"][1]["facets"]["lodeline_model"]["digest"] is None
    gaps = event["run"]["facets"]["lodeline_capture"]["gaps"]
    assert [(gap["at"], gap["reason"]) for gap in gaps] == [
        (f"dataset:file:{path}", "capture"),
        ("model:ml:m", "capture"),
    ]
    assert "changed after it was closed" in gaps[0]["detail"]


def test_an_event_without_anything_pending_is_delivered_byte_for_byte(
    receiver: Receiver, spool: Spool
) -> None:
    spool.append(b'{"type": "event", "event": {"b" : 1.50,  "a":"\\u00e9"}}')
    deliver(spool.directory, lambda: open_transport(receiver.url))
    assert receiver.raw == [b'[{"b" : 1.50,  "a":"\\u00e9"}]']


def test_while_the_receiver_is_down_everything_stays(receiver: Receiver, spool: Spool) -> None:
    spool_events(spool, run_event(1), run_event(2))
    receiver.answers = [(503, {"Retry-After": "0"}, b"")] * 3
    pauses: list[float] = []
    report = deliver(
        spool.directory,
        lambda: open_transport(receiver.url),
        sleep=pauses.append,
        jitter=lambda: 1.0,
    )
    assert pauses == [0.1, 0.2, 0.4]
    assert (report.delivered, report.complete) == (2, True)
    receiver.answers = [(503, {}, b"")] * 100
    spool_events(spool, run_event(3))
    report = deliver(spool.directory, lambda: open_transport(receiver.url), sleep=pauses.append)
    assert report.delivered == 0
    assert report.pending_bytes > 0
    assert "503" in report.reason
    receiver.answers = []
    assert deliver(spool.directory, lambda: open_transport(receiver.url)).complete
    assert len(receiver.received()) == 3


def test_retry_after_is_honoured_and_the_time_bound_too(receiver: Receiver, spool: Spool) -> None:
    spool_events(spool, run_event(1))
    receiver.answers = [(503, {"Retry-After": "3"}, b""), (503, {"Retry-After": "60"}, b"")]
    pauses: list[float] = []
    report = deliver(
        spool.directory, lambda: open_transport(receiver.url), seconds=20, sleep=pauses.append
    )
    assert pauses == [3.0]
    assert not report.complete


def test_nobody_listening_is_no_error_for_the_caller(spool: Spool) -> None:
    spool_events(spool, run_event(1))
    report = deliver(
        spool.directory, lambda: open_transport("http://127.0.0.1:9"), sleep=lambda _: None
    )
    assert "cannot deliver" in report.reason
    assert not report.complete


def test_one_poisoned_record_is_kept_aside_and_the_others_arrive(
    receiver: Receiver, spool: Spool
) -> None:
    spool_events(spool, run_event(1), {"poison": True}, run_event(2), run_event(3))
    report = deliver(spool.directory, lambda: open_transport(receiver.url))
    assert (report.delivered, report.refused, report.complete) == (3, 1, True)
    assert [event["run"]["runId"][-1] for event in receiver.received()] == ["1", "2", "3"]
    kept = json.loads((spool.directory / "refused.ndjson").read_text())
    assert kept == {"reason": "poison", "record": '{"poison": true}'}


def test_single_failures_reported_by_the_server_are_told_apart(
    receiver: Receiver, spool: Spool
) -> None:
    failed = {"index": 1, "reason": "no run", "retriable": False}
    body = json.dumps({"status": "partial_success", "failed_events": [failed]}).encode()
    receiver.answers = [(200, {}, body)]
    spool_events(spool, run_event(1), run_event(2), run_event(3))
    report = deliver(spool.directory, lambda: open_transport(receiver.url))
    assert (report.delivered, report.refused) == (2, 1)


def test_an_invalid_event_becomes_a_dead_letter_and_harms_no_other(
    store: str, spool: Spool
) -> None:
    broken = run_event(1)
    del broken["run"]
    spool_events(spool, broken, run_event(2))
    spool.append(b"not even a record")
    report = drain_into(store, None)
    assert (report.delivered, report.refused, report.complete) == (1, 2, True)
    segment = open_segment(store)
    assert len(list(segment.iter_dead_letters())) == 1
    segment.close()


def test_a_second_deliverer_leaves_the_first_alone(store: str, spool: Spool) -> None:
    spool_events(spool, run_event(1))
    with open_drain(spool.directory) as first:
        assert first is not None
        report = drain_into(store, 0.1)
        assert (report.busy, report.complete) == (True, False)
    assert drain_into(store).complete


def test_predictions_follow_their_reservation_and_are_found(store: str, spool: Spool) -> None:
    identifier = PredictionId(1_700_000_000_000 * 4096, int(BLOCK, 16), 0)
    reservation = {
        "type": "reservation",
        "block": BLOCK,
        "time": identifier.time_us,
        "writer": spool.writer,
        "deployment": {"namespace": "prod", "name": "api", "configuration": {}, "pending": True},
    }
    row = {"id": str(identifier), "time": identifier.time_us, "status": 200}
    for record in (reservation, {"type": "predictions", "block": BLOCK, "rows": [row]}):
        spool.append(json.dumps(record).encode())
    drain_into(store, None)
    segment = open_segment(store)
    found = find_prediction(segment, str(identifier))
    assert found.status == "record"
    assert found.block is not None
    assert found.block.deployment.version.startswith("sha256:")
    lost = PredictionId(identifier.time_ticks, identifier.block, 1)
    assert find_prediction(segment, str(lost)).status == "pending"
    spool.close()
    drain_into(store, None)
    assert find_prediction(segment, str(lost)).status == "lost"
    (block,) = iter_blocks(segment)
    assert (block.ended, block.ended_clean) == (True, False)
    segment.close()


def test_predictions_go_to_a_server_by_its_own_route(receiver: Receiver, spool: Spool) -> None:
    spool_events(spool, run_event(1))
    spool.append(b'{"type":"predictions","block":"00000000ab","rows":[]}')
    assert deliver(spool.directory, lambda: open_transport(receiver.url)).delivered == 2
    assert len(receiver.received("/api/v2/predictions")) == 1
    assert len(receiver.received()) == 1


def test_a_plain_openlineage_receiver_gets_the_events_and_the_rest_is_kept(
    receiver: Receiver, spool: Spool
) -> None:
    spool.append(b'{"type":"predictions","block":"00000000ab","rows":[]}')
    spool_events(spool, run_event(1))
    receiver.answers = [(404, {}, b"")]
    report = deliver(spool.directory, lambda: open_transport(receiver.url))
    assert (report.delivered, report.refused, report.complete) == (1, 1, True)
    assert "takes no predictions" in (spool.directory / "refused.ndjson").read_text()


def test_blobs_are_delivered_and_removed_from_the_spool(
    store: str, spool: Spool, tmp_path: Path
) -> None:
    blob = tmp_path / "rows.blob"
    blob.write_bytes(b"rows")
    segment = open_segment(store)
    digest = f"sha256:{hashlib.sha256(b'rows').hexdigest()}"
    spool.append(json.dumps({"type": "blob", "digest": digest, "path": str(blob)}).encode())
    assert drain_into(store, None).delivered == 1
    assert segment.get_blob(digest) == b"rows"
    assert not blob.exists()
    # After a crash the record may come again, its bytes stored already.
    spool.append(json.dumps({"type": "blob", "digest": digest, "path": str(blob)}).encode())
    assert drain_into(store, None).refused == 0
    segment.close()


def test_time_up_while_hashing_leaves_the_record_for_later(
    store: str, spool: Spool, tmp_path: Path
) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(64 * 1024 * 1024))
    spool_events(spool, run_event(1), draft(path), run_event(2))
    report = drain_into(store, 0.005)
    assert not report.complete
    assert report.reason
    assert drain_into(store, None).complete
    assert len(payloads(store)) == 3


def test_flush_makes_durable_and_delivers_what_this_process_spooled(
    store: str, spool: Spool
) -> None:
    spool_events(spool, run_event(1), run_event(2))
    found = flush(5, store=store)
    assert found["delivered"] == 2
    assert found["durable"] >= 2
    assert found["lost"] >= 0


def test_draining_an_empty_spool_opens_no_store(store: str, tmp_path: Path) -> None:
    assert drain_into(store).complete
    Spool(spool_directory(store))
    (tmp_path / "lodeline.db.spool").mkdir()
    assert drain_into(store).complete
    assert not (tmp_path / "lodeline.db").exists()


def test_an_unknown_scheme_is_wrong_usage() -> None:
    with pytest.raises(UsageError):
        open_transport("gopher://somewhere")


class DyingTransport(HttpTransport):
    """Sends, and then the process is interrupted before it could acknowledge."""

    def deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        super().deliver(records)
        raise KeyboardInterrupt


def test_a_crash_between_sending_and_acknowledging_sends_the_same_bytes_again(
    receiver: Receiver, spool: Spool, tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a\n1\n")
    spool_events(spool, draft(path))
    with pytest.raises(KeyboardInterrupt):
        deliver(spool.directory, lambda: DyingTransport(receiver.url))
    path.write_text("a\n22\n")
    assert deliver(spool.directory, lambda: open_transport(receiver.url)).complete
    first, again = receiver.received()
    assert first == again
    assert first["outputs"][0]["facets"]["lodeline_digest"]["value"] is not None


def test_a_background_deliverer_goes_on_after_its_receiver_came_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool_events(spool, run_event(1))
    receiver = f"sqlite:///{tmp_path}/place/lodeline.db"
    (tmp_path / "place").write_text("a file where a folder should be")
    pauses: list[float] = []
    reports = []

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            (tmp_path / "place").unlink()
        if len(pauses) == 4:
            spool_events(spool, run_event(2))

    following = follow(receiver, spool.directory, should_stop=lambda: len(pauses) >= 5, wait=wait)
    for report in following:
        reports.append((report.delivered, bool(report.reason)))
    assert reports == [(0, True)] * 3 + [(1, False), (1, False)]
    # Growing while the receiver is away, each at least half of its bound, short again afterwards.
    assert all(2**n <= pause <= 2 ** (n + 1) for n, pause in enumerate(pauses[:3]))
    assert pauses[3] <= 1
    assert len(runs_in(receiver)) == 2


def runs_in(store: str) -> set[str]:
    with open_segment(store) as segment:
        entries = segment.iter_entries(kinds={"event"})
        return {json.loads(entry.payload or b"")["run"]["runId"] for entry in entries}


def test_what_is_meant_for_another_receiver_is_not_taken_by_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool = Spool(spool_directory(store))
    spool_events(spool, run_event(1))
    monkeypatch.setenv("LODELINE_DELIVER", "kafka://broker.example/lineage")
    report = drain_into(store)
    assert (report.complete, report.delivered) == (False, 0)
    assert "delivered elsewhere" in report.reason
    monkeypatch.setenv("LODELINE_DELIVER", store)
    assert drain_into(store).delivered == 1


def test_logical_digests_beyond_their_time_are_told_by_the_next_delivery(
    store: str, spool: Spool, tmp_path: Path
) -> None:
    kept, rewritten = tmp_path / "kept.csv", tmp_path / "rewritten.csv"
    for path in (kept, rewritten):
        path.write_text("a,b\n1,x\n2,y\n")
    spool_events(spool, draft(kept), {**draft(rewritten), "run": run_event(2)["run"]})
    assert drain_into(store, None, logical_seconds=0.0).complete
    digests = [event["outputs"][0]["facets"]["lodeline_digest"] for event in payloads(store)]
    assert [("value" in one, "logical" in one) for one in digests] == [(True, False)] * 2
    rewritten.write_text("a,b\n3,z\n")
    for _ in range(2):
        drain_into(store, None)
    (told,) = payloads(store)[2:]
    assert (told["run"], told["eventType"]) == ({"runId": run_event(1)["run"]["runId"]}, "RUNNING")
    (output,) = told["outputs"]
    assert output["name"] == str(kept)
    digest = output["facets"]["lodeline_digest"]
    assert digest == digests[0] | {name: digest[name] for name in ("logical", "logicalSchema")}
    assert [column["name"] for column in digest["logicalSchema"]] == ["a", "b"]


def test_a_late_logical_digest_leaves_the_version_as_it_was(
    store: str, spool: Spool, tmp_path: Path
) -> None:
    path = tmp_path / "kept.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    spool_events(spool, draft(path))
    drain_into(store, None, logical_seconds=0.0)
    answers = []
    for _ in range(2):
        segment = open_segment(store)
        answers.append(ask(segment, "show", {"id": f"dataset:file:{path}"}))
        segment.close()
        drain_into(store, None)
    assert answers[0]["versions"] == answers[1]["versions"]
    shown = [answer["facets"]["lodeline_digest"] for answer in answers]
    assert ["logical" in facet for facet in shown] == [False, True]

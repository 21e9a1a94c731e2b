"""A spool delivered to a real service over a real socket ends up as it would in a local store."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from lodeline.ingest.predictions import find_prediction
from lodeline.model import PredictionId
from lodeline.server.assembly import build_application
from lodeline.spool import Spool
from lodeline.store import open_segment
from lodeline.transport import drain_into

BLOCK = "00000000ab"


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lodeline.db"


@pytest.fixture
def url(store: str) -> Iterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(build_application(store), log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


def identifier(counter: int) -> PredictionId:
    return PredictionId(1_700_000_000_000 * 4096 + counter, int(BLOCK, 16), counter)


def test_events_predictions_and_blobs_arrive_over_http(
    store: str, url: str, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")
    blob = tmp_path / "rows"
    blob.write_bytes(b"rows")
    digest = f"sha256:{hashlib.sha256(b'rows').hexdigest()}"
    rows = [{"id": str(identifier(i)), "status": 200, "output": i} for i in range(3)]
    event = {
        "eventTime": "2026-11-22T10:00:00Z",
        "producer": "https://example.org",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "eventType": "COMPLETE",
        "run": {"runId": "00000000-0000-4000-8000-000000000001"},
        "job": {"namespace": "default", "name": "job"},
    }
    records = [
        {"type": "event", "event": event},
        {"type": "event", "event": {**event, "run": {}}},
        {
            "type": "reservation",
            "block": BLOCK,
            "time": identifier(0).time_us,
            "deployment": {"namespace": "prod", "name": "api", "digest": "sha256:0"},
        },
        {"type": "predictions", "block": BLOCK, "rows": rows},
        {"type": "predictions", "block": BLOCK, "rows": [{"id": "no"}]},
        {"type": "blob", "digest": digest, "path": str(blob)},
    ]
    for record in records:
        spool.append(json.dumps(record).encode())
    spool.close()
    report = drain_into(url, None, directory=spool.directory)
    # The end of the block is sent on behalf of the writer that went away.
    assert (report.delivered, report.refused, report.complete) == (5, 2, True)
    segment = open_segment(store)
    assert find_prediction(segment, str(identifier(2))).status == "record"
    assert find_prediction(segment, str(identifier(3))).status == "lost"
    assert segment.get_blob(digest) == b"rows"
    assert len(list(segment.iter_entries(kinds={"event"}))) == 1
    assert len(list(segment.iter_dead_letters())) == 1
    segment.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/api/v2/predictions", b"{", "event.type"),
        ("POST", "/api/v2/predictions", b'["a"]', "event.type"),
        ("PUT", "/api/v2/blobs/sha256:00", b"x", "invalid.digest"),
    ],
)
def test_what_is_no_deposit_is_refused_with_a_code(
    url: str, method: str, path: str, body: bytes, code: str
) -> None:
    request = urllib.request.Request(url + path, body, method=method)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    with refusal.value as answer:
        assert answer.status == 400
        assert json.loads(answer.read())["code"] == code

"""`lodeline flush` delivers what is in the spool, and says what it could not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lodeline.cli.main import main
from lodeline.spool import Spool, open_drain, spool_directory

EVENT = {
    "eventType": "COMPLETE",
    "eventTime": "2026-11-22T10:00:00Z",
    "producer": "https://example.org",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "run": {"runId": "00000000-0000-4000-8000-000000000001"},
    "job": {"namespace": "default", "name": "job"},
}


def spool_one(store: str, event: object = EVENT) -> None:
    spool = Spool(spool_directory(store))
    spool.append(json.dumps({"type": "event", "event": event}).encode())
    spool.close()


def test_flush_delivers_everything_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool_one(store)
    assert main(["flush", "--store", store, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "delivered": 1,
        "refused": 0,
        "pending_bytes": 0,
        "complete": True,
        "lost": 0,
        "torn": 0,
        "reason": None,
    }
    assert main(["flush", "--store", store]) == 0
    assert capsys.readouterr().out == "delivered 0 records\n"


def test_flush_of_a_refused_event_answers_no(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool_one(store, {"no": "event"})
    assert main(["flush", "--store", store]) == 1
    assert "refused 1" in capsys.readouterr().out


def test_flush_to_a_server_that_is_away_cannot_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool_one(store)
    monkeypatch.setenv("LODELINE_STORE", store)
    assert main(["flush", "--server", "http://127.0.0.1:9", "--seconds", "0.1"]) == 3
    assert "cannot deliver to http://127.0.0.1:9" in capsys.readouterr().out


def test_flush_beside_another_deliverer_leaves_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool_one(store)
    with open_drain(spool_directory(store)):
        assert main(["flush", "--store", store]) == 3
    assert "another process is delivering" in capsys.readouterr().out

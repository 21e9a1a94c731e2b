"""Refused input over HTTP and by command: seen, mended, sent again; and who sent what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running_services import RunningService, event, serving

BATCH = "/api/v1/lineage/batch"
LETTERS = "/api/v2/dead-letters"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with serving(tmp_path / "lodeline.db") as running:
        yield running


def command(service: RunningService, *words: str, remote: bool = True) -> tuple[int, bytes]:
    where = ["--server", f"http://127.0.0.1:{service.port}"]
    if not remote:
        where = ["--store", f"sqlite:///{service.store}"]
    line = [sys.executable, "-m", "lodeline.cli.main", *words, *where]
    done = subprocess.run(line, capture_output=True, check=False)
    return done.returncode, done.stdout


def listed(service: RunningService) -> list[dict[str, Any]]:
    return service.send("GET", LETTERS).json["dead_letters"]


def test_a_refused_event_is_seen_mended_and_sent_again(service: RunningService) -> None:
    faulty = event("mended", run={})
    service.post([faulty, event("sound")], BATCH)
    [letter] = listed(service)
    assert (letter["code"], letter["path"]) == ("event.missing", "/run/runId")
    one = f"{LETTERS}/{letter['id']}"
    assert service.send("GET", one).json == letter
    assert json.loads(service.send("GET", f"{one}/bytes").body) == faulty
    again = service.send("POST", f"{one}/retry").json
    assert (again["accepted"], again["refused"]) == (0, 1)
    mended = service.post(event("mended"), f"{one}/retry").json
    assert (mended["accepted"], mended["refused"]) == (1, 0)
    assert service.send("GET", LETTERS).json == {"total": 0, "dead_letters": [], "next": None}
    assert service.send("GET", one).status == 404
    assert service.ask("show?id=dataset:n:mended")["name"] == "mended"


def test_a_refused_batch_is_mended_whole(service: RunningService) -> None:
    body = json.dumps([event("first"), event("second")]).encode()
    assert service.send("POST", BATCH, body[:-1]).status == 400
    [letter] = listed(service)
    answer = service.send("POST", f"{LETTERS}/{letter['id']}/retry", body[:-1] + b", {}]").json
    assert (answer["accepted"], answer["refused"]) == (2, 1)
    [rest] = listed(service)
    assert (rest["bytes"], rest["id"] == letter["id"]) == (2, False)


def test_letters_come_in_pages(service: RunningService) -> None:
    service.post([{"number": number} for number in range(5)], BATCH)
    first = service.send("GET", f"{LETTERS}?limit=3").json
    rest = service.send("GET", f"{LETTERS}?limit=3&cursor={first['next']}").json
    assert [len(page["dead_letters"]) for page in (first, rest)] == [3, 2]
    assert (first["total"], rest["next"]) == (5, None)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{LETTERS}/7", 404),
        ("GET", f"{LETTERS}/7/bytes", 404),
        ("POST", f"{LETTERS}/7/retry", 404),
        ("POST", f"{LETTERS}/7/resolve", 404),
        ("GET", f"{LETTERS}/x", 400),
        ("GET", f"{LETTERS}/{'9' * 5000}", 400),
        ("GET", f"{LETTERS}?limit=0", 400),
        ("GET", f"{LETTERS}?limit=1001", 400),
        ("GET", f"{LETTERS}?cursor=-1", 400),
    ],
)
def test_a_letter_that_is_not_there_is_said(
    service: RunningService, method: str, path: str, status: int
) -> None:
    reply = service.send(method, path)
    assert reply.status == status
    assert {"code", "message"} <= reply.json.keys()


@pytest.mark.parametrize("remote", [True, False])
def test_the_command_does_the_same_at_a_server_and_in_a_store(
    service: RunningService, tmp_path: Path, remote: bool
) -> None:
    service.post([{"faulty": 1}, {"faulty": 2}], BATCH)
    status, answer = command(service, "dead-letter", "list", "--json", remote=remote)
    found = json.loads(answer)["dead_letters"]
    assert (status, len(found)) == (0, 2)
    first, second = (str(letter["id"]) for letter in found)
    shown = command(service, "dead-letter", "show", first, remote=remote)
    assert shown == (0, b'{"faulty": 1}')
    (tmp_path / "fixed.json").write_text(json.dumps(event("fixed")))
    words = ["dead-letter", "retry", first, "--edit", str(tmp_path / "fixed.json")]
    assert command(service, *words, remote=remote)[0] == 0
    assert command(service, "dead-letter", "retry", remote=remote)[0] == 1
    assert command(service, "dead-letter", "resolve", second, remote=remote)[0] == 0
    assert command(service, "dead-letter", "list", remote=remote)[1] == b"nothing was refused\n"
    assert command(service, "dead-letter", "resolve", second, remote=remote)[0] == 1


def test_what_each_producer_sent_is_counted_and_survives_a_kill(tmp_path: Path) -> None:
    store = tmp_path / "lodeline.db"
    with serving(store) as service:
        service.post(event("a"))
        service.post(event("a"))
        service.post([event("b"), event("c", producer="https://example.org/other")], BATCH)
        service.post({"producer": "https://example.org/p", "job": {"namespace": "n"}})
        service.send("POST", BATCH, b"no batch")
        asked = service.ask("producers")["producers"]
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait()
        status, printed = command(service, "stats", "--producers", "--json", remote=False)
    assert status == 0
    assert json.loads(printed)["producers"] == asked
    counts = {
        one["producer"]: (one["accepted"], one["duplicates"], one["refused"]) for one in asked
    }
    assert counts == {
        "https://example.org/p": (2, 1, 1),
        "https://example.org/other": (1, 0, 0),
        None: (0, 0, 1),
    }
    [one] = [one for one in asked if one["producer"] == "https://example.org/p"]
    assert one["bytes"] == sum(len(json.dumps(event(name))) for name in "aab") + len(
        json.dumps({"producer": "https://example.org/p", "job": {"namespace": "n"}})
    )
    assert one["event_time"] == "2026-11-01T10:00:00.000000Z"
    assert one["lag_seconds"] > 0

"""Two services on one PostgreSQL database take events and answer as one; one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from postgres_servers import Server
from service import Service, _read_url, serving
from stores import Place


def event(number: int) -> bytes:
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-01-01T00:00:{number % 60:02d}Z",
            "producer": "https://example.com/producer",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": f"00000000-0000-4000-8000-{number:012x}"},
            "job": {"namespace": "n", "name": f"j{number}"},
            "inputs": [{"namespace": "n", "name": f"d{number}"}],
            "outputs": [{"namespace": "n", "name": f"d{number + 1}"}],
        }
    ).encode()


def command(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "lodeline", *words, "--store", url, "--json"]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def assert_sound(url: str, *, at_least: int) -> None:
    done = command(url, "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    done = command(url, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["log"]["size"] >= at_least
    live = facts["graph_digest"]
    assert command(url, "rebuild").returncode == 0
    assert json.loads(command(url, "doctor").stdout)["graph_digest"] == live


@pytest.mark.slow
@pytest.mark.parametrize("version", ["18"])
def test_two_services_answer_as_one_and_one_goes_on_when_the_other_is_killed(
    tmp_path: Path, postgres_of: Callable[[str], Server], version: str
) -> None:
    place = Place("postgres", tmp_path, postgres_of(version))
    accepted: set[int] = set()

    def send(service: Service, numbers: range) -> None:
        for number in numbers:
            try:
                status, _, _ = service.post("/api/v1/lineage", event(number))
            except OSError:
                return  # It was killed, and said nothing of this one.
            if status == 201:
                accepted.add(number)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    # The second finds the keys of the first in the folder that the URL names.
    with serving(tmp_path / "a", store=place.url) as first:
        log = tmp_path / "b" / "serve.log"
        line = [sys.executable, "-m", "lodeline", "serve", "--port", "0", "--store", place.url]
        with log.open("w") as errors:
            process = subprocess.Popen(
                line,
                cwd=tmp_path / "b",
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        second = Service(_read_url(process, log), process, log)
        senders = [
            threading.Thread(target=send, args=(first, range(0, 60, 2))),
            threading.Thread(target=send, args=(second, range(1, 20_001, 2))),
        ]
        for sender in senders:
            sender.start()
        senders[0].join()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        senders[1].join()
        assert len(accepted) > 31
        # What the killed one took is answered by the other, and it takes what comes.
        send(first, range(1, 60, 2))
        assert set(range(60)) <= accepted
        status, _, _ = first.post("/api/v1/lineage?wait=folded", event(60))
        assert status == 201
        answer = first.get("/api/v2/trace", id="dataset:n:d61")
        assert {node["name"] for node in answer["nodes"] if node["kind"] == "dataset"} >= {
            f"d{number}" for number in range(62)
        }
        assert answer["complete"]
        head = answer["trees"][0]

    assert_sound(place.url, at_least=max(head["size"], len(accepted)))
    place.drop()


def test_a_password_is_never_printed(tmp_path: Path, postgres_of: Callable[[str], Server]) -> None:
    place = Place("postgres", tmp_path, postgres_of("18"))
    url = place.url.replace("lodeline@", "lodeline:s3cret@") + "&password=s3cret"
    place.open().close()
    for words in (["doctor"], ["stats"], ["verify"]):
        done = command(url, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "s3cret" not in done.stdout + done.stderr
    gone = url.replace(str(place.folder), "/nowhere").replace("lodeline-pg-", "nowhere-")
    for words in (["doctor"], ["stats"]):
        done = command(gone, *words)
        assert done.returncode == 3
        assert "s3cret" not in done.stdout + done.stderr
    place.drop()

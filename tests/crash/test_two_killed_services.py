"""Two services on one SQLite store, both killed in mid-traffic: what they acknowledged is there."""

from __future__ import annotations

import json
import signal
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from lodeline.cli.main import main
from lodeline.store import open_segment
from services import Service, event, serving

ACKNOWLEDGED_BEFORE_A_KILL = 40


class Traffic:
    """Events that clients send to several services at once, until these are gone."""

    def __init__(self, services: list[Service]) -> None:
        self.acknowledged: list[str] = []
        self._enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(service, f"{number}.{client}"))
            for number, service in enumerate(services)
            for client in range(2)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, service: Service, client: str) -> None:
        for number in range(10_000):
            name = f"{client}.{number}"
            try:
                reply = service.post(event(inputs="a", outputs=name))
            except (OSError, HTTPException):
                return  # killed
            if reply.status == 201:
                self.acknowledged.append(name)
            if len(self.acknowledged) >= ACKNOWLEDGED_BEFORE_A_KILL:
                self._enough.set()

    def wait(self) -> None:
        """Wait until enough is acknowledged to kill something."""
        assert self._enough.wait(120)
        self._enough.clear()

    def end(self) -> None:
        """Wait for the clients, which end with their services."""
        for thread in self._threads:
            thread.join(120)


def test_two_services_killed_one_after_the_other_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "s.db"
    with serving(store) as one, serving(store) as two:
        traffic = Traffic([one, two])
        traffic.wait()
        one.process.send_signal(signal.SIGKILL)
        traffic.wait()  # the other goes on
        two.process.send_signal(signal.SIGKILL)
        traffic.end()
    with open_segment(f"sqlite:///{store}") as segment:
        payloads = [entry.payload for entry in segment.iter_entries(kinds={"event"})]
    held = {json.loads(payload)["outputs"][0]["name"] for payload in payloads if payload}
    assert set(traffic.acknowledged) <= held
    found = {}
    for words in (["verify"], ["doctor"], ["rebuild"]):
        assert main([*words, "--store", str(store), "--json"]) == 0
        found[words[0]] = json.loads(capsys.readouterr().out)
    assert found["verify"]["ok"]
    assert found["doctor"]["graph_digest"] == found["rebuild"]["graph_digest"]

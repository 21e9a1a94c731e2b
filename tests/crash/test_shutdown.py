"""A service that is told to stop loses nothing that it acknowledged, and ends what it began."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from lodeline.store import open_segment
from services import Service, event, serving

CONNECTIONS = 32


@dataclass
class Client:
    """One connection that sends events until the service refuses or leaves."""

    service: Service
    acknowledged: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def work(self) -> None:
        connection = self.service.connect()
        try:
            while not self.statuses or self.statuses[-1] == 201:
                sent = event(outputs="o")
                connection.request("POST", "/api/v1/lineage", json.dumps(sent).encode())
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
                if response.status == 201:
                    self.acknowledged.append(sent["run"]["runId"])
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()


def recorded_runs(store: Path) -> list[str]:
    with open_segment(f"sqlite:///{store}", create=False) as segment:
        return [
            json.loads(entry.payload or b"{}")["run"]["runId"]
            for entry in segment.iter_entries(kinds={"event"})
        ]


def test_sigterm_under_load_loses_no_acknowledged_event(tmp_path: Path) -> None:
    with serving(tmp_path / "s.db") as service:
        clients = [Client(service) for _ in range(CONNECTIONS)]
        threads = [threading.Thread(target=client.work) for client in clients]
        for thread in threads:
            thread.start()
        while sum(len(client.acknowledged) for client in clients) < 10 * CONNECTIONS:
            time.sleep(0.01)
        assert service.stop() == 0
        for thread in threads:
            thread.join(60)
    acknowledged = [run for client in clients for run in client.acknowledged]
    recorded = recorded_runs(tmp_path / "s.db")
    assert set(acknowledged) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    assert {status for client in clients for status in client.statuses} <= {201, 503}


def test_a_request_under_way_is_answered_and_new_ones_find_nobody(tmp_path: Path) -> None:
    sent = event(outputs="last")
    body = json.dumps(sent).encode()
    head = f"POST /api/v1/lineage HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(tmp_path / "s.db") as service:
        with socket.create_connection((service.host, service.port), timeout=60) as begun:
            begun.sendall(head.encode() + body[:10])
            # Another request, so that the first has certainly been read.
            assert service.send("GET", "/healthz").status == 200
            service.process.send_signal(signal.SIGTERM)
            while is_listening(service):
                time.sleep(0.01)
            begun.sendall(body[10:])
            answer = begun.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert service.process.wait(60) == 0
    assert recorded_runs(tmp_path / "s.db") == [sent["run"]["runId"]]


def test_a_client_that_never_finishes_does_not_hold_the_service_up_for_ever(
    tmp_path: Path,
) -> None:
    variables = {"LODELINE_SERVER_LIMITS_SHUTDOWN_SECONDS": "1"}
    begun = b"POST /api/v1/lineage HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
    with (
        serving(tmp_path / "s.db", variables=variables) as service,
        socket.create_connection((service.host, service.port), timeout=60) as connection,
    ):
        connection.sendall(begun)
        assert service.send("GET", "/healthz").status == 200
        assert service.stop() == 0
    assert recorded_runs(tmp_path / "s.db") == []


def is_listening(service: Service) -> bool:
    try:
        socket.create_connection((service.host, service.port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True

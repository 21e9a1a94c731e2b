"""A service as its clients meet it: a process, a port, raw bytes if need be."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from services import Reply


def event(name: str, **members: Any) -> dict[str, Any]:
    """A run that wrote one dataset."""
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-01T10:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, name))},
        "job": {"namespace": "n", "name": "j"},
        "outputs": [{"namespace": "n", "name": name}],
        **members,
    }


@dataclass
class RunningService:
    process: subprocess.Popen[str]
    port: int
    store: Path

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=True)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def post(self, stated: object, path: str = "/api/v1/lineage", **headers: str) -> Reply:
        return self.send("POST", path, json.dumps(stated).encode(), **headers)

    def connect(self, timeout: float = 30) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def say(self, data: bytes) -> bytes:
        """Send raw bytes and read until the service closes."""
        with self.connect() as client:
            client.sendall(data)
            return read_to_end(client)

    def ask(self, query: str) -> Any:
        return self.send("GET", f"/api/v2/{query}").json

    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096


def read_to_end(client: socket.socket) -> bytes:
    """Read until the other side closes, or cuts."""
    found = b""
    try:
        while part := client.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found


@contextmanager
def serving(store: Path, *words: str) -> Iterator[RunningService]:
    """Run a service: `lodeline serve`, or what the words say."""
    command = [*words] or ["-m", "lodeline.cli.main", "serve", "--store", str(store), "--port", "0"]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().rpartition(":")[2])
        yield RunningService(process, port, store)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)

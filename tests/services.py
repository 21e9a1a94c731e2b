"""A real `lodeline serve` for tests, and what they send to it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def event(
    *, run: str | None = None, kind: str = "COMPLETE", inputs: str = "", outputs: str = ""
) -> dict[str, Any]:
    """An OpenLineage event of the job `n/j`; inputs and outputs are names with blanks between."""
    return {
        "eventType": kind,
        "eventTime": "2026-11-01T10:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": run or str(uuid.uuid4())},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": name} for name in inputs.split()],
        "outputs": [{"namespace": "n", "name": name} for name in outputs.split()],
    }


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    process: subprocess.Popen[str]
    host: str
    port: int
    store: Path
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}"

    def connect(self) -> HTTPConnection:
        if self.tls is not None:
            return HTTPSConnection(self.host, self.port, timeout=60, context=self.tls)
        return HTTPConnection(self.host, self.port, timeout=60)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def post(self, stated: object, path: str = "/api/v1/lineage") -> Reply:
        return self.send("POST", path, json.dumps(stated).encode())

    def stop(self) -> int:
        """Ask it to stop, and wait for its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "lodeline", *words]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE_", "OTEL_"))}
    return kept | {"PYTHONPATH": str(ROOT / "src")} | dict(variables or {})


@contextmanager
def serving(
    store: Path,
    *options: str,
    variables: Mapping[str, str] | None = None,
    diagnostics: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Service]:
    """Serve a store on a free port, from its own folder; killed if the test left it running."""
    store.parent.mkdir(parents=True, exist_ok=True)
    words = command("serve", "--store", str(store), "--port", "0", *options)
    stderr = None if diagnostics is None else diagnostics.open("w")
    process = subprocess.Popen(
        words,
        cwd=store.parent,
        env=environment(variables),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        host, _, port = line.strip().rpartition("://")[2].rpartition(":")
        assert port, f"it said {line!r}"
        yield Service(process, host.strip("[]"), int(port), store, tls)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
        if stderr is not None:
            stderr.close()

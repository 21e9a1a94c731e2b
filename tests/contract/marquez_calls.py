"""A running service, and events for it, for the tests of the Marquez API."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


class Service:
    def __init__(self, store: Path) -> None:
        self.store = store
        command = [sys.executable, "-m", "lodeline.cli.main", "serve", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--store", str(store)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = "http://" + self.process.stdout.readline().strip().rpartition("http://")[2]

    def ask(self, path: str, method: str = "GET", body: object = None, **query: object) -> Any:
        status, found = self.status(path, method, body, **query)
        assert status < 300, (status, found)
        return found

    def status(
        self, path: str, method: str = "GET", body: object = None, **query: object
    ) -> tuple[int, Any]:
        url = f"{self.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(url, data, method=method), timeout=60) as response:
                text = response.read()
                return response.status, json.loads(text) if text else None
        except HTTPError as error:
            return error.code, json.loads(error.read())

    def send(self, *events: dict[str, Any]) -> None:
        self.ask("/api/v1/lineage/batch", "POST", list(events), wait="folded")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


def event(
    *,
    job: str = "etl",
    run: str | None = None,
    kind: str = "COMPLETE",
    at: str = "2026-11-01T10:00:00Z",
    inputs: list[dict[str, Any]] | None = None,
    outputs: list[dict[str, Any]] | None = None,
    namespace: str = "s3://bucket/x",
    **facets: Any,
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run or str(uuid.uuid4()), "facets": facets},
        "job": {"namespace": namespace, "name": job},
        "inputs": inputs or [],
        "outputs": outputs or [],
    }


def data(name: str, namespace: str = "s3://bucket/x", **facets: Any) -> dict[str, Any]:
    own = {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s"}
    found = {key: {**own, **body} for key, body in facets.items()}
    return {"namespace": namespace, "name": name, "facets": found}

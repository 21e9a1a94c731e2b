"""A real `lodeline serve` process, for tests that talk to it as others would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Service:
    """One that runs.

    Attributes:
        url: where, without a slash at the end.
        process: of `lodeline serve`.
        log: what it wrote to its standard error.
    """

    url: str
    process: subprocess.Popen[str]
    log: Path

    def get(self, path: str, **parameters: object) -> Any:
        """Ask, and give the JSON of the answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=60) as response:
            return json.loads(response.read())

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Send; give status, body and headers, whatever the status."""
        request = urllib.request.Request(f"{self.url}{path}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers


@contextmanager
def serving(
    folder: Path, *arguments: str, store: str | None = None, **environment: str
) -> Iterator[Service]:
    """Run a service on a free port; stopped by SIGTERM at the end, and must then exit with 0."""
    store = store or f"sqlite:///{folder}/lodeline.db"
    log = folder / "serve.log"
    settings = {
        k: v for k, v in os.environ.items() if not k.startswith(("LODELINE_", "OPENLINEAGE"))
    }
    command = [sys.executable, "-m", "lodeline", "serve", "--port", "0", "--store", store]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=settings | {"PYTHONUNBUFFERED": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Service(_read_url(process, log), process, log)
    finally:
        process.terminate()
        status = process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
    assert status == 0, log.read_text()


def _read_url(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        for word in line.split():
            if word.startswith(("http://", "https://")):
                return word.rstrip("/.,")
    raise AssertionError(f"the service did not start: {log.read_text()}")

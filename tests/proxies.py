"""A real `lodeline proxy` for tests."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from services import Reply, command, environment


@dataclass
class Proxy:
    process: subprocess.Popen[str]
    port: int
    store: Path

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def predict(self, body: bytes = b'{"x": 1}', **headers: str) -> Reply:
        return self.send("POST", "/predict", body, Content_Type="application/json", **headers)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def proxying(upstream: str, store: Path, *options: str, server: str = "") -> Iterator[Proxy]:
    """Pass a free port on to an upstream; killed if the test left it running."""
    store.parent.mkdir(parents=True, exist_ok=True)
    words = command("proxy", "--upstream", upstream, "--listen", "127.0.0.1:0", *options)
    variables = {"LODELINE_STORE": f"sqlite:///{store}", "LODELINE_NAMESPACE": "prod"}
    process = subprocess.Popen(
        words,
        cwd=store.parent,
        env=environment(variables | ({"LODELINE_URL": server} if server else {})),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = line.partition(" on to ")[0].rpartition(":")[2]
        assert port.isdigit(), f"it said {line!r}"
        yield Proxy(process, int(port), store)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()

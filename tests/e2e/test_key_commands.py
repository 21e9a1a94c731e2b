"""Keys as their users meet them: made on the store, asked for by the service, sent by clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from black_box import Shell

EVENT = {
    "eventTime": "2026-11-22T10:00:00Z",
    "producer": "https://example.org",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "eventType": "COMPLETE",
    "run": {"runId": "00000000-0000-4000-8000-000000000001"},
    "job": {"namespace": "default", "name": "job"},
    "outputs": [{"namespace": "w", "name": "orders"}],
}
KEYS = {"LODELINE_AUTHENTICATION": "keys"}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@contextmanager
def serving(shell: Shell, **environment: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lodeline", "serve", "--port", "0"],
        cwd=shell.folder,
        env=shell.environment | {"PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        said = process.communicate(timeout=60)
    assert process.returncode == 0, said


def post(url: str, token: str | None) -> int:
    request = urllib.request.Request(f"{url}/api/v1/lineage", json.dumps(EVENT).encode())
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_key_is_made_used_listed_and_revoked(shell: Shell) -> None:
    made = shell.json("key", "create", "--name", "airflow", "--scope", "ingest,read")
    assert (made["name"], made["scopes"], made["state"]) == (
        "airflow",
        ["ingest", "read"],
        "active",
    )
    token = made["key"]
    printed = shell.run("key", "create", "--scope", "read", "--expires", "never")
    assert printed.stdout.startswith("lodeline_")
    assert printed.stdout.count("\n") == 1  # nothing else, so that a shell can take it
    assert "this once" in printed.stderr
    with serving(shell, **KEYS) as url:
        assert post(url, None) == 401
        assert post(url, token) == 201
        assert post(url, printed.stdout.strip()) == 403
        asked = ("show", "dataset:w:orders", "--server", url)
        assert shell.json(*asked, LODELINE_API_KEY=token)["id"] == "dataset:w:orders"
        assert shell.json(*asked, OPENLINEAGE_API_KEY=token)["id"] == "dataset:w:orders"
        refused = shell.json(*asked, status=3)
        assert refused["error"]["code"] == "could_not_tell.unauthenticated"
        shell.run("key", "revoke", "airflow")
        assert post(url, token) == 401
    listed = {one["id"]: one for one in shell.json("key", "list")["keys"]}
    assert listed[made["id"]]["state"] == "revoked"
    assert token not in json.dumps(listed)
    assert made["id"] in shell.run("key", "list").stdout
    assert shell.json("key", "revoke", "airflow", status=1)["error"]["code"] == "no.unknown_key"


def test_a_deliverer_sends_its_key_and_keeps_what_is_refused_for_want_of_one(
    shell: Shell,
) -> None:
    token = shell.run("key", "create", "--scope", "ingest").stdout.strip()
    program = shell.folder / "program.py"
    program.write_text("open('out.txt', 'w').write('x')\n")
    with serving(shell, **KEYS) as url:
        run = ("run", "--", sys.executable, str(program))
        # Its spool lies beside another store than the one that is served.
        elsewhere = {"LODELINE_URL": url, "LODELINE_STORE": f"sqlite:///{shell.folder}/other.db"}
        without = shell.run(*run, **elsewhere)
        assert without.returncode == 0
        assert shell.json("stats")["entries"].get("event", 0) == 0
        flushed = shell.run("flush", "--json", **elsewhere, LODELINE_API_KEY=token)
        assert flushed.returncode == 0, flushed.stderr
    assert shell.json("stats")["entries"].get("event", 0) > 0


def test_the_service_leaves_loopback_only_where_it_asks_for_keys(shell: Shell) -> None:
    listen = ("serve", "--host", "0.0.0.0", "--port", "0", "--check")
    refused = shell.run(*listen)
    assert refused.returncode == 2
    assert "LODELINE_AUTHENTICATION=keys" in refused.stdout
    allowed = shell.run(*listen, **KEYS)
    assert allowed.returncode == 0, allowed.stderr
    assert "callers need a key" in allowed.stdout
    wrong = shell.run(*listen, LODELINE_AUTHENTICATION="yes")
    assert wrong.returncode == 2


@pytest.mark.parametrize("expires", ["yesterday", "2020-01-01", "90", "-1d"])
def test_an_expiry_that_is_none_is_refused(shell: Shell, expires: str) -> None:
    done = shell.run("key", "create", "--scope", "read", f"--expires={expires}")
    assert done.returncode == 2
    assert not done.stdout
    assert os.listdir(shell.folder) == [] or "--expires" in done.stderr

"""A log's files are published to and checked in the same words wherever they lie."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lodeline.errors import FolderUnreachableError, OtherLogError, UsageError
from lodeline.ingest import prepare_event
from lodeline.store import open_segment
from lodeline.tlog.folders import (
    WebFolder,
    WritableLogFolder,
    open_folder,
    open_writable_folder,
)
from lodeline.tlog.fsck import check_folder
from lodeline.tlog.publication import publish
from lodeline.tlog.resources import find_resource
from logfiles import SIGNER, ListLog, leaves, published
from object_stores import access, s3_server

KEYS = [SIGNER.verifier]
LOG = ListLog(leaves(1_300))


@pytest.fixture(scope="module")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3"), "logs") as endpoint:
        yield endpoint


@pytest.fixture
def environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in access(s3_endpoint).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["directory", "bucket"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return str(tmp_path / "log")
    request.getfixturevalue("environment")
    return f"s3://logs/{tmp_path.name}/log"


def files_of(folder: WritableLogFolder) -> dict[str, bytes]:
    paths = folder.paths()
    assert paths is not None
    return {path: folder.read(path) or b"" for path in paths}


def test_the_same_files_lie_everywhere_and_are_sound(where: str) -> None:
    folder = open_writable_folder(where)
    for size in (700, 1_300):
        done = publish(LOG, LOG.checkpoint(size), folder, verifiers=KEYS)
    assert (done.size_earlier, done.size, done.removed) == (700, 1_300, 2)
    assert files_of(folder) == published(LOG, 700, 1_300).files
    kept = [("kept", LOG.checkpoint(700).note.encode())]
    report = check_folder(open_folder(where), verifiers=KEYS, earlier=kept)
    assert (report.ok, report.entries, report.listed) == (True, 1_300, True)
    assert folder.read("tile/0/100") is None
    fork = ListLog(leaves(1_400, "forked "))
    with pytest.raises(OtherLogError):
        publish(fork, fork.checkpoint(), folder, verifiers=KEYS)


def test_a_fault_is_found_everywhere(where: str) -> None:
    folder = open_writable_folder(where)
    publish(LOG, LOG.checkpoint(), folder, verifiers=KEYS)
    sound = files_of(folder)
    for path in ("tile/0/002", "tile/entries/005.p/20", "checkpoint"):
        changed = bytearray(sound[path])
        changed[40] ^= 2
        folder.write(path, bytes(changed))
        report = check_folder(open_folder(where), verifiers=KEYS)
        assert {fault.at for fault in report.faults} == {path}
        folder.remove(path)
        report = check_folder(open_folder(where), verifiers=KEYS)
        assert {fault.at for fault in report.faults} == {path}
        folder.write(path, sound[path])
    folder.write("tile/0/009", sound["tile/0/002"])
    report = check_folder(open_folder(where), verifiers=KEYS)
    assert [fault.code for fault in report.faults] == ["extra"]


def test_a_bucket_that_refuses_is_our_error(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    folder = open_writable_folder("s3://logs/refused")
    for attempt in (
        lambda: folder.read("checkpoint"),
        lambda: folder.write("tile/0/000", b""),
        lambda: list(folder.paths() or []),
        lambda: publish(LOG, LOG.checkpoint(), folder, verifiers=KEYS),
    ):
        with pytest.raises(FolderUnreachableError):
            attempt()
    with pytest.raises(UsageError):
        open_folder("s3:///prefix")


def test_files_behind_any_web_server_are_checked_but_not_listed(tmp_path: Path) -> None:
    publish(LOG, LOG.checkpoint(), open_writable_folder(str(tmp_path)), verifiers=KEYS)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        report = check_folder(open_folder(url), verifiers=KEYS)
        assert (report.ok, report.entries, report.listed) == (True, 1_300, False)
        (tmp_path / "tile" / "0" / "003").unlink()
        (fault,) = check_folder(open_folder(f"{url}/"), verifiers=KEYS).faults
        assert (fault.code, fault.at) == ("tile.missing", "tile/0/003")
        server.shutdown()
    with pytest.raises(FolderUnreachableError):
        WebFolder(url).read("checkpoint")


def event(number: int) -> bytes:
    stated = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-11-01T10:{number // 60:02d}:{number % 60:02d}Z",
        "producer": "https://example.org/p",
        "run": {"runId": f"00000000-0000-4000-8000-{number:012d}"},
        "job": {"namespace": "n", "name": "j"},
        "outputs": [{"namespace": "n", "name": "t"}],
    }
    return json.dumps(stated).encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, int]]:
    store = tmp_path_factory.mktemp("service") / "lodeline.db"
    with open_segment(f"sqlite:///{store}") as segment:
        segment.append([prepare_event(event(number)) for number in range(600)])
        identifier = segment.segment_id
    command = [sys.executable, "-m", "lodeline.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--store", f"sqlite:///{store}"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().strip().rpartition(":")[2])
    yield store, identifier, port
    process.terminate()
    assert process.wait(20) == 0


def get(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path)
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, response.read()


def test_the_service_gives_out_the_files_that_an_export_writes(
    service: tuple[Path, str, int], tmp_path: Path
) -> None:
    store, identifier, port = service
    with open_segment(f"sqlite:///{store}") as segment:
        folder = open_writable_folder(str(tmp_path / "log"))
        checkpoint, verifiers = segment.checkpoint(), segment.verifiers()
        publish(segment, checkpoint, folder, verifiers=verifiers)
    for path, data in files_of(folder).items():
        status, headers, body = get(port, f"/log/{identifier}/{path}")
        assert (status, body) == (200, data), path
        if find_resource(path):
            assert headers["content-type"] == "application/octet-stream"
            assert headers["cache-control"] == "public, max-age=31536000, immutable"
        else:
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert headers["cache-control"] == "no-cache"
    # Unfinished tiles of every earlier tree, too.
    assert (
        get(port, f"/log/{identifier}/tile/0/001.p/7")[2]
        == get(port, f"/log/{identifier}/tile/0/001")[2][: 7 * 32]
    )
    report = check_folder(
        open_folder(f"http://127.0.0.1:{port}/log/{identifier}"), verifiers=verifiers
    )
    assert (report.ok, report.entries, report.listed) == (True, 602, False)


def test_what_is_no_file_of_the_log_is_answered_by_404_that_is_not_kept(
    service: tuple[Path, str, int],
) -> None:
    _, identifier, port = service
    beyond = ["tile/0/002", "tile/0/002.p/91", "tile/entries/003", "tile/2/000.p/1"]
    malformed = ["", "tile", "tile/0/1", "tile/0/x000/001", "tile/0/000.p/256", "tile/-1/000",
                 "tile/entries/..%2f..%2fcheckpoint", "tile/99/000", "checkpoint.next",
                 "tile/0/x999/x999/x999/x999/x999/x999/x999/999"]  # fmt: skip
    for path in [*beyond, *malformed]:
        status, headers, body = get(port, f"/log/{identifier}/{path}")
        assert (status, json.loads(body)["code"]) == (404, "no.route"), path
        assert headers["cache-control"] == "no-store"
    assert get(port, f"/log/{'0' * 32}/checkpoint")[0] == 404
    assert get(port, f"/log/{identifier}/checkpoint", "POST")[0] == 405
    assert get(port, f"/log/{identifier}/checkpoint", "HEAD")[0] == 200

"""PostgreSQL, or a process on it, goes away at any moment: nothing that was acknowledged does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import appending
import killing
import psycopg
import pytest

from lodeline.ingest import accept, fold_pending, graph_state, rebuild
from lodeline.query import ask
from lodeline.store import AcceptedEvent, SqlSegment, open_segment
from lodeline.store.verification import verify_segment
from postgres_servers import VERSIONS, Server, binaries
from stores import Place


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this module's own, with fsync, which tests may crash."""
    if binaries(request.param) is None:
        pytest.skip(f"no PostgreSQL {request.param} here; `make test` installs it")
    running = Server(request.param, safe=True)
    yield running
    running.close()


@pytest.fixture
def url(server: Server, tmp_path: Path) -> str:
    return Place("postgres", tmp_path, server, schema=f"s{time.monotonic_ns()}").url


def numbers_in(segment: SqlSegment) -> list[int]:
    """The numbers of the events that the log holds, in its order."""
    found = []
    for entry in segment.iter_entries(kinds={"event"}):
        body = json.loads(entry.payload or b"")
        half = body["eventType"] == "COMPLETE"
        found.append(int(body["run"]["runId"][-12:], 16) * 2 + half)
    return found


def assert_whole(segment: SqlSegment, acknowledged: set[int], tmp_path: Path) -> None:
    """One sound log with all that was acknowledged, once, and the graph of exactly its events."""
    numbers = numbers_in(segment)
    assert len(numbers) == len(set(numbers))
    assert acknowledged <= set(numbers)
    assert verify_segment(segment).failures == []
    assert segment.checkpoint().size == segment.size()
    fold_pending(segment)
    live = graph_state(segment).graph_digest
    with open_segment(f"sqlite:///{tmp_path}/reference.db") as reference:
        accept(reference, map(killing.event, numbers))
        assert graph_state(reference).graph_digest == live
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


def start_appending(url: str, first: int, count: int, batch: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, appending.__file__, url, str(first), str(count), str(batch)]
    return subprocess.Popen(words, stdout=subprocess.PIPE)


def read_for(process: subprocess.Popen[bytes], seconds: float) -> set[int]:
    """What a process acknowledges within some time, at least one batch of it."""
    assert process.stdout is not None
    data = os.read(process.stdout.fileno(), 1 << 16)
    assert data, "it ended before it acknowledged anything"
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            more = os.read(process.stdout.fileno(), 1 << 16)
            if not more:
                break
            data += more
    return {int(line) for line in data.split()}


@pytest.mark.slow
def test_when_a_process_is_killed_in_mid_batch_the_other_goes_on(url: str, tmp_path: Path) -> None:
    # They overlap in half of their events, and make the store together.
    doomed, other = start_appending(url, 0, 100_000, 40), start_appending(url, 200, 400, 10)
    acknowledged = read_for(doomed, 0.7)
    doomed.send_signal(signal.SIGKILL)
    acknowledged |= {int(line) for line in doomed.communicate(timeout=60)[0].split()}
    assert doomed.returncode == -signal.SIGKILL
    acknowledged |= {int(line) for line in other.communicate(timeout=120)[0].split()}
    assert other.returncode == 0
    assert acknowledged >= set(range(200, 600))
    with open_segment(url, create=False) as segment:
        assert_whole(segment, acknowledged, tmp_path)


@pytest.mark.slow
def test_a_server_that_crashes_under_load_loses_nothing_that_was_acknowledged(
    server: Server, url: str, tmp_path: Path
) -> None:
    writers = [start_appending(url, first, 100_000, batch) for first, batch in ((0, 1), (1000, 7))]
    acknowledged: set[int] = set()
    for _ in range(2):
        acknowledged |= set().union(*(read_for(writer, 0.5) for writer in writers))
        server.crash()
        server.start()
    # They go on by themselves; what they acknowledge now is after the last crash.
    acknowledged |= set().union(*(read_for(writer, 0.3) for writer in writers))
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in writer.communicate(timeout=60)[0].split()}
    assert {number for number in acknowledged if number < 1000}
    with open_segment(url, create=False) as segment:
        assert_whole(segment, acknowledged, tmp_path)


def test_questions_and_appends_survive_a_restart_between_them(server: Server, url: str) -> None:
    with open_segment(url) as segment:
        accept(segment, map(killing.event, range(10)))
        before = ask(segment, "trace", {"id": "dataset:crash:out1"})
        server.crash()
        server.start()
        # The graph was committed without waiting for the disk, and may be older, or gone.
        fold_pending(segment)
        assert ask(segment, "trace", {"id": "dataset:crash:out1"}) == before
        accept(segment, map(killing.event, range(10, 12)))
        assert sorted(numbers_in(segment)) == list(range(12))


class Cutter:
    """Stands between a client and the server, and cuts one connection at its COMMIT."""

    def __init__(self, server: Server, folder: Path, *, after: bool) -> None:
        self._target = str(server.folder / ".s.PGSQL.5432")
        self._after = after
        self.armed = False
        self.cuts = 0
        self.folder = folder
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            cutting = False
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is client:
                        if self.armed and b"COMMIT\0" in data:
                            self.armed = False
                            self.cuts += 1
                            cutting = True
                            if not self._after:
                                return
                        server.sendall(data)
                    elif cutting:
                        # The server has committed and says so; nobody hears it.
                        assert b"COMMIT\0" in data
                        return
                    else:
                        client.sendall(data)

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize("after", [True, False], ids=["kept", "undone"])
def test_a_commit_whose_answer_was_lost_is_found_out_before_anything_is_answered(
    server: Server, url: str, *, after: bool
) -> None:
    import tempfile

    # A path of a socket has 107 bytes; pytest's folders are longer.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        cutter = Cutter(server, Path(folder), after=after)
        with open_segment(url.replace(str(server.folder), folder)) as segment:
            accept(segment, map(killing.event, range(3)))
            cutter.armed = True
            canonical = b'{"number":1}'
            (appended,) = segment.append([AcceptedEvent(canonical, [("", canonical)])])
            assert cutter.cuts == 1
            # Once, whichever it was; and no duplicate, since nobody sent it twice.
            assert (appended.position, appended.duplicate) == (5, False)
            assert segment.size() == 6
            assert segment.receipt(5) == appended.receipt
            assert segment.checkpoint().size == 6
            # A record of another kind has no identifier to be recognised by.
            cutter.armed = True
            assert segment.append_record("alias", {"model": "m", "number": "1"}).position == 6
            assert cutter.cuts == 2
            assert segment.size() == 7
        cutter.close()


def test_a_question_whose_connection_is_cut_is_asked_again(server: Server, url: str) -> None:
    with open_segment(url) as segment:
        accept(segment, map(killing.event, range(10)))
        before = ask(segment, "stats", {})
        done = threading.Event()
        cuts = 0

        def cut() -> None:
            nonlocal cuts
            with psycopg.connect(server.conninfo(), autocommit=True) as raw:
                while not done.is_set():
                    found = raw.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = 'lodeline' AND pid <> pg_backend_pid()"
                    )
                    cuts += found.rowcount
                    # Longer than a question takes on a slow machine: one in a row or two are cut,
                    # never all attempts.
                    done.wait(1.0)

        cutting = threading.Thread(target=cut)
        cutting.start()
        try:
            while cuts < 5:
                assert ask(segment, "stats", {}) == before
        finally:
            done.set()
            cutting.join()

"""A log and a real witness in a process of its own: what it cosigns, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.errors import (
    WitnessConflictError,
    WitnessRefusedError,
    WitnessUnavailableError,
)
from lodeline.proof import Cosigner, Verifier, verify_witnessed
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.store.cosigning import request_cosignature
from lodeline.tlog.witnesses import OtherSize, WitnessClient

PROGRAM = Path(__file__).parents[1] / "witness.py"
WREN = Cosigner("witness.example/wren", b"w" * 32)


class RunningWitness:
    """The test witness as a process; `kill` is kill -9, `start` takes up the same state."""

    def __init__(self, folder: Path, *vkeys: str) -> None:
        self.folder = folder
        self.stall = folder / "stall"
        folder.mkdir(parents=True, exist_ok=True)
        self._words = [word for vkey in vkeys for word in ("--log", vkey)]
        self.start()

    def start(self) -> None:
        words = [sys.executable, str(PROGRAM), "--state", str(self.folder / "state")]
        words += ["--name", WREN.verifier.name, "--seed", (b"w" * 32).hex()]
        words += ["--stall", str(self.stall), *self._words]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def client(self, *, seconds: float = 10.0) -> WitnessClient:
        return WitnessClient(self.url, WREN.verifier, timeout_seconds=seconds)

    def size(self) -> int:
        (state,) = (self.folder / "state").glob("*.json")
        return int(json.loads(state.read_text())["size"])


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    with open_segment(f"sqlite:///{tmp_path}/log/s.db") as opened:
        yield opened


@pytest.fixture
def witness(tmp_path: Path, segment: SqliteSegment) -> Iterator[RunningWitness]:
    running = RunningWitness(tmp_path / "witness", segment.verifiers()[0].vkey)
    yield running
    running.kill()


def append(segment: SqliteSegment, *names: str) -> None:
    for name in names:
        payload = json.dumps(name).encode()
        segment.append([AcceptedEvent(payload, [("", payload)])])


def copy(segment: SqliteSegment, folder: Path) -> SqliteSegment:
    """A backup of the whole store, keys included."""
    with segment.writing() as connection:
        connection.execute("SELECT 1")
    folder.mkdir()
    for path in segment.path.parent.iterdir():
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy(path, folder / path.name)
    return open_segment(f"sqlite:///{folder}/s.db", create=False)


def test_a_growing_log_is_cosigned_again_and_again(
    segment: SqliteSegment, witness: RunningWitness
) -> None:
    sizes = []
    for names in ([], ["a"], ["b", "c", "d"], []):
        append(segment, *names)
        sizes.append(request_cosignature(segment, witness.client()).size)
    assert sizes == [2, 3, 6, 6]
    assert witness.size() == 6
    found = verify_witnessed(
        segment.witnessed_note(6),
        segment.verifiers(),
        [WREN.verifier],
        origin=segment.origin,
        threshold=1,
        not_after_s=int(time.time()) + 1,
    )
    assert abs(found.cosigned[0][1] - time.time()) < 60


def test_a_log_that_forgot_its_cosignatures_asks_from_the_size_it_is_told(
    segment: SqliteSegment, witness: RunningWitness, tmp_path: Path
) -> None:
    append(segment, "a")
    # Everything is in the backup but what the witness says next.
    with copy(segment, tmp_path / "backup") as restored:
        request_cosignature(segment, witness.client())
        append(restored, "b", "c")
        assert restored.endorsements.cosigned_size(WREN.verifier) == 0
        assert request_cosignature(restored, witness.client()).size == 5


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_log_restored_from_a_backup_is_refused_however_it_goes_on(
    segment: SqliteSegment, witness: RunningWitness, tmp_path: Path, after: int
) -> None:
    """Shorter than what was cosigned, as long, and longer."""
    restored = copy(segment, tmp_path / "backup")
    append(segment, "a", "b")
    request_cosignature(segment, witness.client())
    append(restored, *"xyz"[:after])
    with restored:
        with pytest.raises(WitnessConflictError):
            request_cosignature(restored, witness.client())
        assert restored.endorsements.cosignatures(restored.size()) == []
    assert witness.size() == 4


def test_of_two_views_of_one_log_a_witness_cosigns_one(
    segment: SqliteSegment, witness: RunningWitness, tmp_path: Path
) -> None:
    append(segment, "common")
    request_cosignature(segment, witness.client())
    with copy(segment, tmp_path / "other") as other:
        append(segment, "for the auditor")
        append(other, "for everyone else")
        request_cosignature(segment, witness.client())
        for names in ([], ["more"], ["and", "more"]):
            append(other, *names)
            with pytest.raises(WitnessConflictError):
                request_cosignature(other, witness.client())
        append(segment, "goes on")
        assert request_cosignature(segment, witness.client()).size == 5


def test_a_witness_killed_between_persisting_and_answering_goes_on_consistently(
    segment: SqliteSegment, witness: RunningWitness
) -> None:
    request_cosignature(segment, witness.client())
    append(segment, "a")
    witness.stall.write_text("")
    outcome: list[Exception] = []

    def ask() -> None:
        try:
            request_cosignature(segment, witness.client(seconds=30))
        except WitnessUnavailableError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    deadline = time.monotonic() + 20
    while witness.stall.read_text() != "persisted" and time.monotonic() < deadline:
        time.sleep(0.02)
    witness.kill()
    asking.join(20)
    assert len(outcome) == 1
    assert witness.size() == 3
    assert segment.endorsements.cosignatures(3) == []
    witness.stall.unlink()
    witness.start()
    # The log thinks of size 2, the witness of 3: it says so, and cosigns what it had persisted.
    assert request_cosignature(segment, witness.client()).size == 3
    append(segment, "b")
    assert request_cosignature(segment, witness.client()).size == 4


def test_of_two_clients_at_once_neither_rolls_the_witness_back(
    segment: SqliteSegment, witness: RunningWitness
) -> None:
    append(segment, *(f"event {number}" for number in range(30)))
    sizes = [checkpoint.size for checkpoint in segment.iter_checkpoints()]
    client = witness.client()
    known, seen = 0, []
    for smaller, larger in zip(sizes[::2], sizes[1::2], strict=False):
        barrier = threading.Barrier(2)
        answers: dict[int, object] = {}

        def submit(size: int, old: int = known, *, barrier=barrier, answers=answers) -> None:
            path = segment.consistency_path(old, size) if old else []
            barrier.wait()
            note = segment.get_checkpoint(size).note
            answers[size] = client.add_checkpoint(note, old_size=old, path=path)

        threads = [threading.Thread(target=submit, args=(size,)) for size in (smaller, larger)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        taken = [size for size, answer in answers.items() if not isinstance(answer, OtherSize)]
        (refused,) = [answer for answer in answers.values() if isinstance(answer, OtherSize)]
        (known,) = taken
        assert refused == OtherSize(known) == OtherSize(witness.size())
        seen.append(known)
    assert len(seen) > 10


def test_a_witness_tells_strangers_from_forgers(
    segment: SqliteSegment, witness: RunningWitness, tmp_path: Path
) -> None:
    with open_segment(f"sqlite:///{tmp_path}/stranger.db") as stranger:
        with pytest.raises(WitnessRefusedError) as caught:
            request_cosignature(stranger, witness.client())
        assert caught.value.status == 404
    impostor = Verifier(segment.origin, bytes(32))
    other = RunningWitness(tmp_path / "other", impostor.vkey)
    try:
        with pytest.raises(WitnessRefusedError) as caught:
            request_cosignature(segment, other.client())
        assert caught.value.status == 403
    finally:
        other.kill()


def post(url: str, body: str) -> tuple[int, str, str]:
    request = urllib.request.Request(f"{url}/add-checkpoint", body.encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode(), response.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers["Content-Type"]


def test_the_test_witness_answers_as_the_specification_says(
    segment: SqliteSegment, witness: RunningWitness
) -> None:
    append(segment, "a", "b")
    note = segment.checkpoint().note
    request_cosignature(segment, witness.client())
    append(segment, "c")
    later = segment.checkpoint().note
    assert post(witness.url, f"old 3\n\n{later}") == (409, "4\n", "text/x.tlog.size")
    assert post(witness.url, f"old 4\n{'A' * 43}=\n\n{later}")[0] == 422
    assert post(witness.url, f"old 5\n\n{note}")[0] == 400
    assert post(witness.url, f"old 04\n\n{note}")[0] == 400
    assert post(witness.url, note)[0] == 400
    assert post(witness.url, f"old 4\n\n{note}")[0] == 200
    assert witness.size() == 4


def lodeline(*words: str, store: Path, **variables: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lodeline", *words, "--store", f"sqlite:///{store}"],
        env=os.environ | variables,
        cwd=store.parent,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_asks_a_witness_and_the_checkpoint_carries_its_line(
    segment: SqliteSegment, witness: RunningWitness
) -> None:
    store = segment.path
    words = ("log", "witness", witness.url, "--vkey", WREN.verifier.vkey)
    status, out, _ = lodeline(*words, store=store)
    assert (status, out.split(" at ")[0]) == (0, f"{WREN.verifier.name} has cosigned the tree of 2")
    status, out, _ = lodeline("log", "checkpoint", store=store)
    assert f"— {WREN.verifier.name} " in out
    assert lodeline("verify", store=store)[0] == 0
    assert lodeline("log", "witness", witness.url, store=store)[0] == 2
    witness.kill()
    witness.start()
    status, out, err = lodeline(
        "log", "witness", "http://127.0.0.1:1", "--vkey", WREN.verifier.vkey, store=store
    )
    assert (status, out) == (3, "")
    assert "witness http://127.0.0.1:1" in err


def test_the_command_asks_every_witness_of_the_policy_and_says_whether_they_are_a_quorum(
    segment: SqliteSegment, witness: RunningWitness, tmp_path: Path
) -> None:
    absent = Cosigner("witness.example/absent", b"a" * 32).verifier.vkey
    policy = tmp_path / "witnesses.policy"
    text = f"witness wren {WREN.verifier.vkey} {witness.url}\nwitness absent {absent} http://127.0.0.1:1\n"
    for quorum, expected in (("wren", 0), ("absent", 3)):
        policy.write_text(f"{text}quorum {quorum}\n")
        status, out, _ = lodeline(
            "log", "witness", "--json", store=segment.path, LODELINE_WITNESS_POLICY=str(policy)
        )
        answer = json.loads(out)
        assert status == expected
        assert [one["witness"] for one in answer["cosignatures"]] == [WREN.verifier.name]
        assert [one["code"] for one in answer["failures"]] == ["could_not_tell.witness"]
        assert answer["note"] == segment.witnessed_note(2)


def test_a_served_log_is_cosigned_beside_ingestion_whatever_becomes_of_a_witness(
    segment: SqliteSegment, witness: RunningWitness, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn")
    policy = tmp_path / "witnesses.policy"
    gone = Cosigner("witness.example/gone", b"g" * 32).verifier.vkey
    policy.write_text(
        f"witness wren {WREN.verifier.vkey} {witness.url}\n"
        f"witness gone {gone} http://127.0.0.1:1\nquorum wren\n"
    )
    words = [sys.executable, "-m", "lodeline", "serve", "--port", "0", "--store", segment.url]
    variables = {"LODELINE_WITNESS_POLICY": str(policy)}
    served = subprocess.Popen(
        words, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert served.stdout is not None
        url = served.stdout.readline().rpartition(" at ")[2].strip()
        _wait_for_cosignature(segment, 2)
        event = {
            "eventType": "COMPLETE",
            "eventTime": "2026-01-01T00:00:00Z",
            "producer": "https://example.com",
            "run": {"runId": "00000000-0000-4000-8000-000000000001"},
            "job": {"namespace": "n", "name": "j"},
        }
        request = urllib.request.Request(
            f"{url}/api/v1/lineage",
            json.dumps(event).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 201
        _wait_for_cosignature(segment, 3)
    finally:
        served.send_signal(signal.SIGINT)
        _, err = served.communicate(timeout=30)
    assert err.count("http://127.0.0.1:1") == 1


def _wait_for_cosignature(segment: SqliteSegment, size: int) -> None:
    deadline = time.monotonic() + 30
    while segment.endorsements.cosigned_size(WREN.verifier) < size:
        assert time.monotonic() < deadline, f"no cosignature of {size}"
        time.sleep(0.1)

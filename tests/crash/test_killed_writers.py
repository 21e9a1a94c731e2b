"""Killed at any moment of ingestion, a store recovers all that it acknowledged."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import killing

from lodeline.ingest import accept
from lodeline.store import open_segment
from lodeline.store.verification import verify_segment

ROUNDS = 200
SEED = int(os.environ.get("LODELINE_TEST_SEED", "20261122"))


def test_200_kills_at_random_moments_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, killing.__file__, str(tmp_path), str(ROUNDS), str(SEED)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["faults"] == []
    assert found["rounds"] == ROUNDS
    # The kills must fall into all phases: before the first acknowledgement and well after it.
    assert found["acknowledged"] > ROUNDS
    assert 5 < found["unacknowledged_rounds"] < ROUNDS - 50


def _kill_before_statement(path: Path, count: int) -> bool:
    """In a child, append and die before the n-th statement of the writer; True if it died."""
    child = os.fork()
    if child == 0:
        try:
            segment = open_segment(f"sqlite:///{path}")
            left = [count]

            def trace(_statement: str) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            with segment.database.locked() as connection:
                connection.set_trace_callback(trace)
            accept(segment, map(killing.event, (900, 901)))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_kill_before_any_statement_of_an_append_leaves_a_sound_store(tmp_path: Path) -> None:
    base = tmp_path / "base"
    segment = open_segment(f"sqlite:///{base / 'lodeline.db'}")
    # One entry short of a full tile: the append that is killed finishes one.
    accept(segment, map(killing.event, range(253)))
    before = segment.size()
    segment.close()
    sizes = set()
    for count in range(500):
        path = tmp_path / str(count) / "lodeline.db"
        shutil.copytree(base, path.parent)
        died = _kill_before_statement(path, count)
        segment = open_segment(f"sqlite:///{path}")
        assert verify_segment(segment).failures == [], f"killed before statement {count}"
        assert segment.checkpoint().size == segment.size()
        sizes.add(segment.size())
        segment.close()
        shutil.rmtree(path.parent)
        if not died:
            break
    # Begin, inserts, commit, checkpoint, fold: each was hit, and in the end none was left.
    assert count > 15
    assert not died
    assert sizes == {before, before + 2}


def test_a_kill_while_a_store_is_made_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / f"{number}" / "lodeline.db"
        killing.kill_once(path, 0, 0.0005 * number)
        segment = open_segment(f"sqlite:///{path}")
        accept(segment, [killing.event(0)])
        assert verify_segment(segment).ok
        segment.close()


def test_rolled_back_bytes_of_a_torn_commit_are_not_taken_for_entries(tmp_path: Path) -> None:
    path = tmp_path / "lodeline.db"
    segment = open_segment(f"sqlite:///{path}")
    accept(segment, map(killing.event, range(20)), fold=False)
    wal = path.with_name(path.name + "-wal").read_bytes()
    base = path.read_bytes()
    keys = path.with_name(path.name + ".keys")
    size = segment.size()
    segment.close()
    # Every prefix of the write-ahead log is what a power loss may leave.
    for cut in range(0, len(wal) + 1, max(1, len(wal) // 60)):
        torn = tmp_path / f"torn{cut}" / "lodeline.db"
        torn.parent.mkdir()
        torn.write_bytes(base)
        torn.with_name(torn.name + "-wal").write_bytes(wal[:cut])
        torn.with_name(torn.name + ".keys").symlink_to(keys)
        again = open_segment(f"sqlite:///{torn}")
        assert again.size() in {2, size}
        assert verify_segment(again).ok
        again.close()

"""Killed at any step, what is to go from blocks is not logged, or gone once the store goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from lodeline.rows.committing import commit_blocks
from lodeline.store import SqlSegment, open_segment
from lodeline.store.erasing import erase
from lodeline.store.expiring import expire_blocks
from lodeline.store.subject_records import find_subject
from lodeline.store.verification import verify_segment
from row_chains import random_chain
from row_erasures import SUBJECT, record_predictions, texts_of

# Beyond every prediction.
LATE = 1_900_000_000_000_000
# Blobs are written, moved, written over and removed, the database is written: each is a step.
STEPS = {"open", "os.remove", "os.rename", "os.truncate", "sql"}


def _block_root(data: bytes) -> str:
    if data.startswith(b"PAR1"):
        from lodeline.store.link_blocks import block_root

        return block_root(data)
    from lodeline.store.prediction_blobs import verify_blob

    return verify_blob(data)


def _erase(segment: SqlSegment) -> None:
    found = find_subject(segment, SUBJECT)
    with segment.reading() as connection:
        (block,) = connection.execute("SELECT min(block) FROM row_block").fetchone()
    erase(segment, subjects=[found.digest], rows={**found.rows, block: [3, 4]})


def _expire(segment: SqlSegment) -> None:
    expire_blocks(segment, LATE, "predictions")


def _kill_at_step(path: Path, step: int, act: Callable[[SqlSegment], None]) -> bool:
    """In a child, act and die before the n-th step; True if it died."""
    child = os.fork()
    if child == 0:
        try:
            segment = open_segment(f"sqlite:///{path}")
            left = [step]

            def take(name: str, _arguments: object = ()) -> None:
                if name in STEPS:
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            with segment.database.locked() as connection:
                connection.set_trace_callback(lambda _: take("sql"))
            sys.addaudithook(take)
            act(segment)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _is_erased(segment: SqlSegment, count: int) -> bool:
    held = find_subject(segment, SUBJECT).rows
    if not list(segment.iter_entries(kinds={"erasure"})):
        assert held
        return False
    assert not held
    # What was written over is gone from the folder, too, not merely from the answers.
    assert len(segment.blobs.list_digests()) == count
    assert f'"{SUBJECT}"' not in texts_of(segment)
    return True


def _is_expired(segment: SqlSegment, count: int) -> bool:
    if not list(segment.iter_entries(kinds={"expiry"})):
        assert texts_of(segment) != "[]"
        assert len(segment.blobs.list_digests()) == count
        return False
    # The next expiry, of whatever, carries out what is left.
    expire_blocks(segment, 0)
    assert len(segment.blobs.list_digests()) == count - 1
    assert texts_of(segment) == "[]"
    return True


@pytest.mark.parametrize(("act", "is_done"), [(_erase, _is_erased), (_expire, _is_expired)])
def test_a_kill_before_any_step_leaves_all_rows_or_none_of_them(
    tmp_path: Path,
    act: Callable[[SqlSegment], None],
    is_done: Callable[[SqlSegment, int], bool],
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    with open_segment(f"sqlite:///{base / 's.db'}") as segment:
        record_predictions(segment)
        random_chain(segment, 3, rows=64)
        commit_blocks(segment)
        count = len(segment.blobs.list_digests())
    outcomes = []
    died, step = True, 0
    while died:
        assert step < 300, "it never ends"
        path = tmp_path / str(step) / "s.db"
        shutil.copytree(base, path.parent)
        died = _kill_at_step(path, step, act)
        with open_segment(f"sqlite:///{path}") as segment:
            outcomes.append(is_done(segment, count))
            report = verify_segment(segment, block_root=_block_root)
            assert report.failures == [], f"killed before step {step}"
        shutil.rmtree(path.parent)
        step += 1
    assert {True, False} <= set(outcomes)
    assert outcomes == sorted(outcomes)

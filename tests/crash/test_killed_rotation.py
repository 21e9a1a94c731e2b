"""Killed at any step of a key rotation, a log has keys that sign, and loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import killing
import pytest

from lodeline.errors import UsageError
from lodeline.ingest import accept
from lodeline.proof import verify_checkpoint
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.verification import verify_segment

ACTS: dict[str, Callable[[SqliteSegment], object]] = {
    "rotate": lambda segment: segment.rotate_keys(),
    "retire": lambda segment: segment.retire_keys(),
}


def _kill_before_step(path: Path, act: Callable[[SqliteSegment], object], count: int) -> bool:
    """In a child, die before the n-th statement or file operation of an act; True if it died."""
    child = os.fork()
    if child == 0:
        try:
            segment = open_segment(f"sqlite:///{path}")
            left = [count]
            folder = path.name + ".keys"

            def step(*_: object) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            def audit(name: str, arguments: tuple[object, ...]) -> None:
                if name in {"open", "os.rename", "os.remove"} and folder in str(arguments[0]):
                    step()

            with segment.database.locked() as connection:
                connection.set_trace_callback(step)
            sys.addaudithook(audit)
            act(segment)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("name", ACTS)
def test_a_kill_before_any_step_leaves_a_log_that_can_be_rotated(tmp_path: Path, name: str) -> None:
    base = tmp_path / "base"
    segment = open_segment(f"sqlite:///{base / 'lodeline.db'}")
    accept(segment, map(killing.event, range(4)))
    if name == "retire":
        segment.rotate_keys()
    before, receipt = segment.checkpoint(), segment.receipt(3)
    trusted, size = segment.verifiers(), segment.size()
    segment.close()
    sizes, died = set(), True
    for count in range(200):
        path = tmp_path / str(count) / "lodeline.db"
        shutil.copytree(base, path.parent)
        died = _kill_before_step(path, ACTS[name], count)
        segment = open_segment(f"sqlite:///{path}")
        where = f"{name}, killed before step {count}"
        assert verify_segment(segment).failures == [], where
        sizes.add(segment.size())
        # The signature over what the kill left unsigned is by a key that was trusted before.
        checkpoint = segment.checkpoint()
        assert checkpoint.size == segment.size()
        verify_checkpoint(checkpoint.note, trusted, origin=segment.origin)
        # The log takes events, and the act can be done again or was done.
        accept(segment, [killing.event(100 + count)])
        with suppress(UsageError):
            segment.rotate_keys()
        with suppress(UsageError):
            segment.retire_keys()
        assert len(list(segment.key_files())) == 3, where
        assert all(file.is_file() for file in segment.key_files()), where
        left = {file.name for file in path.with_name("lodeline.db.keys").iterdir()}
        assert left == {file.name for file in segment.key_files()}, where
        report = verify_segment(segment)
        assert report.failures == [], where
        assert segment.root_at(before.size) == before.root_hash
        assert segment.receipt(3).partition(".")[0] == receipt.partition(".")[0]
        segment.close()
        shutil.rmtree(path.parent)
        if not died:
            break
    assert not died
    assert count > 8
    assert sizes == {size, size + 1}

"""Killed at any file operation, a backup is whole or none, and a restore can be tried again."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import killing
import pytest

from lodeline.errors import DamagedBackupError, LodelineError
from lodeline.ingest import accept
from lodeline.store import open_segment
from lodeline.store.backups import Backup, write_backup
from lodeline.store.restoring import restore
from lodeline.store.verification import verify_segment


def die_before_step(act: Callable[[], object], folder: str, count: int) -> bool:
    """In a child, die before the n-th operation on a file of a folder; True if it died."""
    child = os.fork()
    if child == 0:
        left = [count]

        def audit(name: str, arguments: tuple[object, ...]) -> None:
            if name in {"open", "os.rename", "os.mkdir", "os.remove"} and folder in str(arguments):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(audit)
            act()
        finally:
            os._exit(0)
    (_, status) = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/s.db"
    with open_segment(url) as segment:
        accept(segment, map(killing.event, range(20)))
        segment.put_blob(b"rows")
    return url


def test_a_backup_that_was_killed_restores_nothing_and_can_be_made_again(
    url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"

    def act() -> None:
        with open_segment(url) as segment:
            write_backup(segment, folder)

    deaths, refused = 0, 0
    while die_before_step(act, str(folder), deaths):
        deaths += 1
        try:
            Backup(folder if folder.exists() else tmp_path / "backup.unfinished").verify()
        except DamagedBackupError:
            refused += 1
        if folder.exists():
            folder.rename(tmp_path / f"whole{deaths}")
    assert deaths > refused > 20
    Backup(folder).verify()


def test_a_restore_that_was_killed_leaves_a_whole_store_or_none(url: str, tmp_path: Path) -> None:
    with open_segment(url) as segment:
        write_backup(segment, tmp_path / "backup")
    backup = Backup(tmp_path / "backup")
    deaths = 0
    while True:
        target = f"sqlite:///{tmp_path}/restored{deaths}/s.db"

        def act(target: str = target) -> None:
            restore(target, backup).close()

        if not die_before_step(act, f"restored{deaths}", deaths):
            break
        deaths += 1
        try:
            restore(target, backup).close()
        except LodelineError as error:
            assert "is there already" in str(error)
        with open_segment(target, create=False) as segment:
            assert verify_segment(segment).failures == []
            assert segment.size() == backup.manifest.size + 1
    assert deaths > 8

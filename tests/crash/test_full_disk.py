"""A full disk is a clear error, harms nothing, and is over once there is room."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import filling
import pytest

TMPFS_BYTES = 3_000_000


def run(words: list[str]) -> dict:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def small_file_system(folder: Path) -> list[str]:
    mount = f"mount -t tmpfs -o size={TMPFS_BYTES} tmpfs {folder}"
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, mount], capture_output=True).returncode
    ):
        pytest.skip("this system lets no test mount a file system; the limit's test remains")
    return [*prefix, f'{mount} && exec "$0" "$@"']


@pytest.mark.parametrize("way", ["ballast", "limit"])
def test_a_full_disk_is_a_clear_error_and_harms_nothing(tmp_path: Path, way: str) -> None:
    prefix = small_file_system(tmp_path) if way == "ballast" else []
    found = run([*prefix, sys.executable, filling.__file__, str(tmp_path), way])
    assert "no room left" in found["message"]
    assert "no room left" in found["still_full"]["message"]
    assert found["full"]["acknowledged"] > 0
    for moment in ("full", "still_full", "room", "reopened"):
        assert found[moment]["failures"] == []
        assert found[moment]["events"] >= found[moment]["acknowledged"]
    assert found["room"]["seen"] == 40

"""`log export` and `log fsck`, run as users run them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lodeline.store import AcceptedEvent, open_segment


def lodeline(folder: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lodeline", *words], cwd=folder, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def append(folder: Path, first: int, count: int) -> None:
    with open_segment(f"sqlite:///{folder}/.lodeline/lodeline.db") as segment:
        numbers = range(first, first + count)
        events = [b'{"number":%d}' % number for number in numbers]
        segment.append([AcceptedEvent(event, [("", event)]) for event in events])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    append(tmp_path, 0, 700)
    return tmp_path


def test_a_log_is_exported_checked_and_exported_further(folder: Path) -> None:
    status, out, _ = lodeline(folder, "log", "export", "public", "--json")
    answer = json.loads(out)
    assert (status, answer["size"], answer["size_earlier"]) == (0, 702, 0)
    assert answer["written"] == {"tiles": 4, "bundles": 3}
    vkey = answer["vkeys"][0]
    assert sorted(path.name for path in (folder / "public").iterdir()) == ["checkpoint", "tile"]
    note = (folder / "public" / "checkpoint").read_text()
    assert note == lodeline(folder, "log", "checkpoint")[1]
    (folder / "kept").write_text(note)

    append(folder, 700, 100)
    status, out, _ = lodeline(folder, "log", "export", "public")
    assert status == 0
    assert out.startswith("exported to public: 100 new of 802 entries\n")
    words = ["log", "fsck", "public", "--vkey", vkey, "--checkpoint", "kept"]
    status, out, _ = lodeline(folder, *words)
    assert (status, out.split(" of ")[0]) == (0, "sound: 802 entries")
    assert "extends 1 checkpoints kept earlier" in out
    report = json.loads(lodeline(folder, *words, "--origin", answer["origin"], "--json")[1])
    assert (report["ok"], report["trust"]) == (True, "policy")


def test_fsck_needs_no_store_and_says_that_it_trusted_nobody(folder: Path, tmp_path: Path) -> None:
    lodeline(folder, "log", "export", "public")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "public").rename(elsewhere / "log")
    status, out, _ = lodeline(elsewhere, "log", "fsck", "log", "--store", "sqlite:///no/such.db")
    assert status == 0
    assert "trust: none" in out


def test_fsck_names_the_first_bad_byte(folder: Path) -> None:
    lodeline(folder, "log", "export", "public")
    tile = folder / "public" / "tile" / "0" / "001"
    data = bytearray(tile.read_bytes())
    data[321] ^= 8
    tile.write_bytes(data)
    status, out, _ = lodeline(folder, "log", "fsck", "public")
    assert status == 1
    assert out.startswith("not sound: tile/0/001, byte 321 (hash 266): tile\n")
    (fault,) = json.loads(lodeline(folder, "log", "fsck", "public", "--json")[1])["failures"]
    assert (fault["at"], fault["offset"]) == ("tile/0/001", 321)


def test_wrong_usage_and_unreachable_folders_have_their_own_status(folder: Path) -> None:
    assert lodeline(folder, "log", "export")[0] == 2
    assert lodeline(folder, "log", "export", "ftp://host/log")[0] == 2
    assert lodeline(folder, "log", "export", "https://host/log")[0] == 2
    assert lodeline(folder, "log", "export", "public", "--segment", "0" * 32)[0] == 1
    assert lodeline(folder, "log", "fsck", "nowhere")[0] == 3
    (folder / "public").mkdir()
    assert lodeline(folder, "log", "fsck", "public")[0] == 1
    assert lodeline(folder, "log", "fsck", "public", "--vkey", "no key")[0] == 1
    assert lodeline(folder, "log", "fsck", "public", "--checkpoint", "nowhere")[0] == 2
    assert lodeline(folder, "log", "fsck", "http://127.0.0.1:9/log")[0] == 3
    (folder / "file").write_text("")
    assert lodeline(folder, "log", "export", "file")[0] == 3


def test_an_export_killed_at_any_moment_leaves_a_sound_folder(folder: Path) -> None:
    status, out, _ = lodeline(folder, "log", "export", "public", "--json")
    answer = json.loads(out)
    append(folder, 700, 9_000)
    command = [sys.executable, "-m", "lodeline", "log", "export", "public"]
    broken_off = 0
    for _ in range(8):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        # Killed once it has begun to write, a little later each time.
        while not (folder / "public" / "checkpoint.next").exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(0.004 * broken_off)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        status, out, _ = lodeline(
            folder, "log", "fsck", "public", "--vkey", answer["vkeys"][0], "--json"
        )
        report = json.loads(out)
        assert (status, report["failures"]) == (0, [])
        if report["size"] != 702:
            break
        broken_off += 1
    assert broken_off
    assert lodeline(folder, "log", "export", "public")[0] == 0
    report = json.loads(lodeline(folder, "log", "fsck", "public", "--json")[1])
    assert (report["ok"], report["size"], report["pending"]) == (True, 9_702, 0)


def test_an_export_goes_on_over_a_rotation_of_keys(folder: Path) -> None:
    def export() -> dict[str, Any]:
        status, out, _ = lodeline(folder, "log", "export", "public", "--json")
        assert status == 0
        answer: dict[str, Any] = json.loads(out)
        return answer

    def fsck(*vkeys: str) -> list[str]:
        words = [word for vkey in vkeys for word in ("--vkey", vkey)]
        words += ["--checkpoint", "kept", "--json"]
        report = json.loads(lodeline(folder, "log", "fsck", "public", *words)[1])
        return [failure["code"] for failure in report["failures"]]

    (old,) = export()["vkeys"]
    (folder / "kept").write_bytes((folder / "public" / "checkpoint").read_bytes())
    assert lodeline(folder, "log", "rotate-keys")[0] == 0
    overlap = export()["vkeys"]
    assert len(overlap) == 2
    assert old in overlap
    assert fsck(old) == []
    assert lodeline(folder, "log", "retire-keys")[0] == 0
    (new,) = export()["vkeys"]
    assert new in overlap
    assert fsck(old) == ["checkpoint.signature"]
    assert fsck(new) == ["checkpoint.signature"]  # Of the checkpoint kept.
    assert fsck(old, new) == []

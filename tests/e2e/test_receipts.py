"""A receipt that a producer kept proves that an operator dropped the event."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from black_box import Shell, event

from lodeline.proof import TILE_WIDTH, bundle_path, encode_bundle, hash_leaf
from lodeline.store import SqliteSegment, open_segment
from lodeline.tlog import GrowingTree


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.import_events(*(event(f"job{number}", ["a"], ["b"]) for number in range(5)))
    return shell


def receipt_of(shell: Shell, position: int) -> str:
    with open_segment(shell.store) as segment:
        return segment.receipt(position)


def cut_back(shell: Shell, size: int) -> None:
    """What an operator with the file can do: the log ends earlier, and is consistent again."""
    path = shell.folder / ".lodeline" / "lodeline.db"
    with open_segment(shell.store) as segment:
        leaves = [entry.leaf for entry in segment.iter_entries(0, size)]
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for table in ("entry", "payload", "record_secret", "event_id"):
        connection.execute(f"DELETE FROM {table} WHERE position >= ?", (size,))
    connection.execute("DELETE FROM checkpoint WHERE size > ?", (size,))
    tree = GrowingTree()
    assert tree.extend(map(hash_leaf, leaves)) == []
    connection.executemany(
        "INSERT OR REPLACE INTO tile_edge VALUES (?, ?)", enumerate(map(bytes, tree.edges))
    )
    connection.close()
    assert shell.run("rebuild").returncode == 0


def export(segment: SqliteSegment, folder: Path) -> None:
    """The layout of tlog-tiles, as far as a search for a leaf needs it."""
    checkpoint = segment.checkpoint()
    leaves = [entry.leaf for entry in segment.iter_entries(0, checkpoint.size)]
    for start in range(0, len(leaves), TILE_WIDTH):
        part = leaves[start : start + TILE_WIDTH]
        path = folder / bundle_path(start // TILE_WIDTH, width=len(part))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_bundle(part))
    (folder / "checkpoint").write_text(checkpoint.note)


def keys_of(shell: Shell) -> list[str]:
    found = shell.json("log", "checkpoint")
    keys = (found["vkeys"][0], found["receipt_vkeys"][0])
    return [word for key in keys for word in ("--vkey", key)]


def test_the_receipt_of_an_event_in_the_log_says_kept(shell: Shell) -> None:
    answer = shell.json("log", "receipt", receipt_of(shell, 4))
    assert (answer["verdict"], answer["positions"]) == ("kept", [4])
    shell.write("receipt.txt", receipt_of(shell, 4) + "\n")
    assert shell.run("log", "receipt", "receipt.txt").stdout.startswith("kept: entry 4")
    shell.run("log", "prove", "4", "--tlog-proof", "-o", "4.tlog-proof")
    proof = ("--proof", "4.tlog-proof", *keys_of(shell))
    assert shell.json("log", "receipt", "receipt.txt", *proof)["verdict"] == "kept"


def test_a_receipt_proves_that_a_log_cut_back_has_dropped_the_event(shell: Shell) -> None:
    receipt, keys = receipt_of(shell, 6), keys_of(shell)
    size_before = shell.json("log", "checkpoint")["size"]
    shell.write("kept", shell.run("log", "checkpoint").stdout)
    with open_segment(shell.store) as segment:
        checkpoints = [checkpoint.size for checkpoint in segment.iter_checkpoints()]
    assert size_before in checkpoints
    cut_back(shell, 2)
    # The log alone is in order: only what was kept elsewhere shows the cut.
    assert shell.json("verify")["ok"] is True
    time.sleep(1.1)  # past the deadline
    answer = shell.json("log", "receipt", receipt, status=1)
    assert (answer["verdict"], answer["by_log_alone"]) == ("dropped", False)
    assert len(answer["missing"]) == 1
    assert shell.run("log", "consistency", "kept").returncode == 1
    # Once the log goes on, its own signed times convict it, also before strangers.
    shell.import_events(*(event(f"later{number}", ["a"], ["b"]) for number in range(6)))
    answer = shell.json("log", "receipt", receipt, status=1)
    assert (answer["verdict"], answer["by_log_alone"]) == ("dropped", True)
    with open_segment(shell.store) as segment:
        export(segment, shell.folder / "exported")
    answer = shell.json("log", "receipt", receipt, "--dir", "exported", *keys, status=1)
    assert (answer["verdict"], answer["by_log_alone"]) == ("dropped", True)
    # The fork is as long as the first log, and longer: the kept checkpoint is not its beginning.
    assert shell.run("log", "consistency", "kept").returncode == 1


def test_a_folder_of_an_earlier_state_cannot_tell_unless_it_was_seen_later(shell: Shell) -> None:
    with open_segment(shell.store) as segment:
        export(segment, shell.folder / "exported")
    shell.import_events(event("later", ["a"], ["b"]))
    receipt, words = receipt_of(shell, 7), ("--dir", "exported", *keys_of(shell))
    answer = shell.json("log", "receipt", receipt, *words, status=3)
    assert answer["verdict"] == "unknown"
    assert len(answer["missing"]) == 1
    answer = shell.json(
        "log", "receipt", receipt, *words, "--seen", "2099-01-01T00:00:00Z", status=1
    )
    assert (answer["verdict"], answer["by_log_alone"]) == ("dropped", False)
    bundle = next((shell.folder / "exported" / "tile" / "entries").glob("*/*"))
    bundle.write_bytes(bundle.read_bytes()[:-1])
    answer = shell.json("log", "receipt", receipt, *words, status=3)
    assert answer["verdict"] == "unknown"


def test_a_checkpoint_kept_from_one_of_two_views_is_refused_by_the_other(shell: Shell) -> None:
    other = Shell(shell.folder / "other")
    shutil.copytree(shell.folder / ".lodeline", other.folder / ".lodeline")
    shell.import_events(event("shown to one", ["a"], ["b"]))
    other.import_events(event("shown to another", ["a"], ["b"]))
    kept = shell.run("log", "checkpoint").stdout
    assert kept.split("\n")[:2] == other.run("log", "checkpoint").stdout.split("\n")[:2]
    other.write("kept", kept)
    other.import_events(event("and on", ["a"], ["b"]))
    answer = other.json("log", "consistency", "kept", status=1)
    assert answer["error"]["code"] == "proof.inconsistent"
    # Each of the two views is in order by itself.
    assert shell.json("verify")["ok"] is other.json("verify")["ok"] is True


@pytest.mark.parametrize("text", ["no receipt", "a.b", "bm8.bm8"])
def test_what_is_no_receipt_of_this_log_proves_nothing(shell: Shell, text: str) -> None:
    answer: dict[str, Any] = shell.json("log", "receipt", text, status=3)
    assert answer["verdict"] == "unknown"
    assert json.dumps(answer["reason"])
    assert shell.run("log", "receipt").returncode == 2

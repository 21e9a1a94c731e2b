"""Sequencers killed, run side by side and with wrong clocks keep one log, without a fork."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import killing
import sequencing

from lodeline.ingest import prepare_event
from lodeline.proof import (
    decode_leaf,
    hash_leaf,
    verify_checkpoint,
    verify_consistency,
    verify_receipt,
)
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.verification import verify_segment

ROUNDS = 5
SEED = int(os.environ.get("LODELINE_TEST_SEED", "20261127"))


def _start(path: Path, first: int, hours: int) -> subprocess.Popen[str]:
    command = [sys.executable, sequencing.__file__, str(path), str(first), str(hours)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _read_told(sequencer: subprocess.Popen[str]) -> list[dict[str, list[str]]]:
    assert sequencer.stdout is not None
    # A kill may tear the last line; what it says was acknowledged, but not heard of.
    lines = sequencer.stdout.read().split("\n")[:-1]
    sequencer.wait()
    return [json.loads(line) for line in lines]


def _assert_one_log(segment: SqliteSegment, notes: set[str]) -> int:
    """Hold every checkpoint ever signed against the log as it now is; count them."""
    verifiers, size = segment.verifiers(), segment.size()
    root = segment.root_at(size)
    roots: dict[int, bytes] = {}
    for note in notes:
        head = verify_checkpoint(note, verifiers, origin=segment.origin)
        assert roots.setdefault(head.size, head.root_hash) == head.root_hash
        verify_consistency(
            segment.consistency_path(head.size, size),
            size_earlier=head.size,
            size_later=size,
            root_earlier=head.root_hash,
            root_later=root,
        )
    return len(roots)


def test_two_sequencers_killed_again_and_again_with_wrong_clocks_make_one_log(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lodeline.db"
    chance = random.Random(SEED)
    open_segment(f"sqlite:///{path}").close()
    told = []
    for number in range(ROUNDS):
        # One clock is hours ahead, the other hours behind; they change places.
        clocks = (7, -7) if number % 2 else (-7, 7)
        pair = [_start(path, 100_000 * number + 50_000 * i, clocks[i]) for i in range(2)]
        for sequencer in pair:
            assert sequencer.stdout is not None
            told.append(json.loads(sequencer.stdout.readline()))
        for sequencer in chance.sample(pair, 2):
            time.sleep(chance.random() * 0.1)
            sequencer.send_signal(signal.SIGKILL)
        for sequencer in pair:
            told += _read_told(sequencer)
    segment = open_segment(f"sqlite:///{path}")
    assert verify_segment(segment).failures == []
    signed = {one.note for one in segment.iter_checkpoints()}
    assert _assert_one_log(segment, signed | {str(one["note"]) for one in told}) > ROUNDS
    # Nothing that was acknowledged is lost, by number and by receipt; log time never goes back.
    payloads, hashes, times = set(), set(), []
    for entry in segment.iter_entries():
        payloads.add(entry.payload)
        hashes.add(hash_leaf(entry.leaf))
        times.append(decode_leaf(entry.leaf).log_time_us)
    assert times == sorted(times)
    keys = segment.verifiers("receipt")
    for one in told:
        for event_number, text in zip(one["numbers"], one["receipts"], strict=True):
            assert prepare_event(killing.event(int(event_number))).canonical in payloads
            assert set(verify_receipt(text, keys).leaf_hashes) <= hashes
    segment.close()


def test_a_clock_set_back_by_hours_holds_log_time_until_it_has_caught_up(tmp_path: Path) -> None:
    path = tmp_path / "lodeline.db"
    now = [1_800_000_000_000_000]

    def reopen() -> SqliteSegment:
        return SqliteSegment(path, url=f"sqlite:///{path}", create=True, clock_us=lambda: now[0])

    segment = reopen()
    segment.append([prepare_event(killing.event(0))])
    highest = now[0]
    now[0] -= 5 * 3_600_000_000
    segment.append([prepare_event(killing.event(1))])
    segment.close()
    segment = reopen()
    (appended,) = segment.append([prepare_event(killing.event(2))])
    receipt = verify_receipt(appended.receipt, segment.verifiers("receipt"))
    assert (receipt.log_time_us, segment.checkpoint().log_time_us) == (highest, highest)
    now[0] = highest + 1
    segment.append([prepare_event(killing.event(3))])
    times = [entry.log_time_us for entry in segment.iter_entries()]
    assert times == [highest] * 5 + [highest + 1]
    assert verify_segment(segment).failures == []
    assert _assert_one_log(segment, {one.note for one in segment.iter_checkpoints()}) == 5
    segment.close()


def kill_at_checkpoint(path: Path, act: Callable[[SqliteSegment], object]) -> None:
    """Open the store in another process, and end it where it is about to keep a checkpoint."""
    child = os.fork()
    if child == 0:
        try:
            segment = open_segment(f"sqlite:///{path}")

            def trace(statement: str) -> None:
                if statement.startswith("INSERT INTO checkpoint"):
                    os.kill(os.getpid(), signal.SIGKILL)

            with segment.database.locked() as connection:
                connection.set_trace_callback(trace)
            act(segment)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_kill_between_commit_and_signature_leaves_entries_that_the_next_opener_signs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lodeline.db"
    segment = open_segment(f"sqlite:///{path}")
    segment.append([prepare_event(killing.event(0))])
    earlier, size = segment.checkpoint(), segment.size()
    segment.close()
    # An entry that names keys is signed when it is there; all others, together with themselves.
    kill_at_checkpoint(path, lambda segment: segment.rotate_keys())
    copy = tmp_path / "copy" / "lodeline.db"
    shutil.copytree(tmp_path, copy.parent, ignore=shutil.ignore_patterns("copy"))
    notes = []
    for found in (path, copy):
        segment = open_segment(f"sqlite:///{found}")
        assert segment.last_checkpoint() == earlier
        assert segment.checkpoint().size == segment.size() == size + 1
        notes.append(segment.checkpoint().note)
        assert _assert_one_log(segment, {earlier.note, notes[-1]}) == 2
        segment.close()
    # Whoever signs it, it is the same checkpoint to the byte: no two views of one size.
    assert notes[0] == notes[1]


def test_a_kill_before_the_commit_leaves_neither_entries_nor_their_checkpoint(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lodeline.db"
    segment = open_segment(f"sqlite:///{path}")
    segment.append([prepare_event(killing.event(0))])
    earlier, size = segment.checkpoint(), segment.size()
    segment.close()
    kill_at_checkpoint(path, lambda segment: segment.append([prepare_event(killing.event(1))]))
    with open_segment(f"sqlite:///{path}") as segment:
        assert (segment.last_checkpoint(), segment.size()) == (earlier, size)
        segment.append([prepare_event(killing.event(1))])
        assert segment.last_checkpoint().size == size + 1
        assert verify_segment(segment).failures == []

"""Many groups of events: decoded and folded while the database writes, with the same outcome."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from histories import event, raw
from lodeline.errors import LodelineError, StoreFullError, StoreUnreachableError
from lodeline.ingest import (
    ImportResult,
    accept,
    acceptance,
    fold_pending,
    graph_state,
    overlapping,
    projection,
    rebuild,
)
from lodeline.ingest.projection import fold_ahead
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.verification import verify_segment


def history(runs: int, *, seed: int) -> list[bytes]:
    """Draw runs of few jobs, their events out of order."""
    chance = random.Random(seed)
    events = []
    for run in range(runs):
        job = chance.randrange(7)
        for kind in ("START", "RUNNING", "COMPLETE"):
            inputs = [f"in{chance.randrange(5)}" for _ in range(chance.randrange(3))]
            outputs = [f"out{job}"] if kind != "START" else []
            day = run / 50 + chance.random()
            told = event(kind, run=str(run), job=f"j{job}", day=day, inputs=inputs, outputs=outputs)
            events.append(raw(told))
    for at in range(len(events) - 1):
        other = min(len(events) - 1, at + chance.randrange(9))
        events[at], events[other] = events[other], events[at]
    return events


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], SqliteSegment]]:
    segments: list[SqliteSegment] = []

    def make(name: str) -> SqliteSegment:
        segments.append(open_segment(f"sqlite:///{tmp_path / name}.db"))
        return segments[-1]

    yield make
    for segment in segments:
        segment.close()


def small_groups(monkeypatch: pytest.MonkeyPatch, *, events: int, folded: int) -> None:
    monkeypatch.setattr(acceptance, "COMMIT_EVENTS_MAX", events)
    monkeypatch.setattr(overlapping, "FOLD_AHEAD_MIN", folded)
    monkeypatch.setattr(projection, "FOLD_EVENTS_MAX", max(folded, 2))


def payloads(segment: SqliteSegment) -> list[bytes | None]:
    return [entry.payload for entry in segment.iter_entries(kinds={"event"})]


def in_turn(segment: SqliteSegment, raws: Sequence[bytes]) -> str:
    """Take events in one commit after the other, and fold once."""
    for start in range(0, len(raws), 17):
        accept(segment, raws[start : start + 17], fold=False)
    fold_pending(segment)
    return graph_state(segment).graph_digest


@pytest.mark.parametrize("seed", range(3))
def test_log_and_graph_are_those_of_taking_in_one_commit_after_the_other(
    opened: Callable[[str], SqliteSegment], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    raws = history(60, seed=seed)
    raws += random.Random(seed).sample(raws, 20)
    raws.insert(50, b'{"no": "event"}')
    plain, overlapped = opened("plain"), opened("overlapped")
    digest = in_turn(plain, raws)
    chance = random.Random(seed)
    small_groups(monkeypatch, events=chance.randint(1, 40), folded=chance.randint(1, 90))
    seen: list[int] = []
    result = accept(overlapped, raws, progress=lambda so_far: seen.append(so_far.seen))
    assert (result.accepted, result.duplicates, result.refused) == (180, 20, 1)
    assert seen == sorted(set(seen))
    assert seen[-1] == len(raws)
    assert payloads(overlapped) == payloads(plain)
    assert graph_state(overlapped).graph_digest == digest
    assert verify_segment(overlapped).ok
    rebuild(overlapped)
    assert graph_state(overlapped).graph_digest == digest


def test_decoding_and_computing_go_on_while_the_database_writes(
    opened: Callable[[str], SqliteSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = opened("store")
    accept(segment, history(1, seed=9))
    small_groups(monkeypatch, events=10, folded=20)
    here = threading.get_ident()
    gate = threading.Event()
    committing: list[int] = []
    read = 0

    def raws() -> Iterator[bytes]:
        nonlocal read
        for one in history(40, seed=1):
            read += 1
            # The first group waits in its commit until the third is being read.
            if read == 25:
                gate.set()
            yield one

    def observe(_: float) -> None:
        committing.append(threading.get_ident())
        assert gate.wait(30)

    segment.observe_commits(observe)
    accept(segment, raws())
    segment.observe_commits(lambda _: None)
    assert here not in committing[:10]
    assert len(set(committing[:10])) == 1


def test_what_fits_into_one_commit_starts_no_thread(
    opened: Callable[[str], SqliteSegment],
) -> None:
    segment = opened("store")
    threads: set[int] = set()
    segment.observe_commits(lambda _: threads.add(threading.get_ident()))
    accept(segment, history(10, seed=1))
    assert threads == {threading.get_ident()}


def limit_pages(segment: SqliteSegment, more: int) -> None:
    with segment.database.locked() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + more}")


def test_a_full_disk_ends_it_at_a_group_and_the_rest_can_follow(
    opened: Callable[[str], SqliteSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = history(100, seed=5)
    plain = opened("plain")
    digest = in_turn(plain, raws)
    segment = opened("store")
    accept(segment, raws[:1])
    small_groups(monkeypatch, events=30, folded=60)
    limit_pages(segment, 40)
    told: list[int] = []
    with pytest.raises(StoreFullError):
        accept(segment, raws, progress=lambda so_far: told.append(so_far.accepted))
    kept = payloads(segment)
    # What was told is stored, and nothing after the group that failed.
    assert told
    assert len(kept) >= told[-1] + 1
    assert len(kept) < len(raws)
    assert payloads(plain)[: len(kept)] == kept
    limit_pages(segment, 100_000)
    result = accept(segment, raws)
    assert result.accepted == len(raws) - len(kept)
    assert graph_state(segment).graph_digest == digest
    assert verify_segment(segment).ok


def test_a_view_that_cannot_be_written_holds_up_no_event(
    opened: Callable[[str], SqliteSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = history(60, seed=6)
    segment = opened("store")
    accept(segment, raws[:1])
    small_groups(monkeypatch, events=20, folded=20)
    with segment.writing() as connection:
        connection.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON run_event "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    with pytest.raises(LodelineError):
        accept(segment, raws)
    assert len(payloads(segment)) == len(raws)
    with segment.writing() as connection:
        connection.execute("DROP TRIGGER no_room")
    fold_pending(segment)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("fault", [BrokenError, KeyboardInterrupt])
def test_a_source_that_breaks_leaves_whole_groups_and_nobody_waiting(
    opened: Callable[[str], SqliteSegment],
    monkeypatch: pytest.MonkeyPatch,
    fault: type[BaseException],
) -> None:
    small_groups(monkeypatch, events=10, folded=10)
    raws = history(40, seed=7)
    segment = opened("store")
    result: list[ImportResult] = []

    def broken() -> Iterator[bytes]:
        yield from raws[:75]
        raise fault

    with pytest.raises(fault):
        accept(segment, broken(), progress=result.append)
    kept = len(payloads(segment))
    assert kept % 10 == 0
    assert kept <= 70
    if fault is BrokenError:
        assert kept == result[-1].accepted == 70
    assert sum(thread.name.startswith("lodeline-ingest") for thread in threading.enumerate()) == 0
    accept(segment, raws)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


def test_a_batch_computed_before_another_process_folded_is_not_written(
    opened: Callable[[str], SqliteSegment],
) -> None:
    raws = history(20, seed=8)
    segment = opened("store")
    accept(segment, raws[:30])
    accept(segment, raws[30:], fold=False)
    batch = fold_ahead(segment)
    assert batch is not None
    # Nobody else in this process may begin from the same memory.
    assert fold_ahead(segment) is None
    with closing(open_segment(segment.url, create=False)) as other:
        fold_pending(other)
    live = graph_state(segment).graph_digest
    batch.write()
    assert graph_state(segment).graph_digest == live
    accept(segment, history(3, seed=4))
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


def test_a_batch_that_is_discarded_is_computed_again(
    opened: Callable[[str], SqliteSegment],
) -> None:
    segment = opened("store")
    accept(segment, history(5, seed=1))
    accept(segment, history(20, seed=2), fold=False)
    batch = fold_ahead(segment)
    assert batch is not None
    batch.discard()
    fold_pending(segment)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


def test_who_cannot_get_the_lock_hears_of_it_and_nothing_is_half(
    opened: Callable[[str], SqliteSegment], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_groups(monkeypatch, events=10, folded=10)
    monkeypatch.setattr("lodeline.store.locks.WRITER_LOCK_SECONDS_MAX", 0.2)
    raws = history(40, seed=3)
    segment = opened("store")
    accept(segment, raws[:15])
    held = []

    def hold(so_far: ImportResult) -> None:
        if so_far.seen == 30:
            lock = f"{segment.path}.lock"
            program = (
                "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX);"
                " print('held', flush=True); sys.stdin.read()"
            )
            child = subprocess.Popen(
                [sys.executable, "-c", program, lock],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            held.append(child)

    with pytest.raises(StoreUnreachableError):
        accept(segment, raws, progress=hold)
    held[0].communicate()
    assert len(payloads(segment)) >= 30
    assert verify_segment(segment).ok
    accept(segment, raws)
    assert len(payloads(segment)) == len(raws)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live

"""What a group of events costs the database: one commit, and few statements."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from lodeline.ingest import take_in
from lodeline.ingest.acceptance import Submission
from lodeline.ingest.projection import fold_pending
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.appending import sequenced_to
from lodeline.store.verification import verify_segment

EVENTS = 300


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    assert isinstance(opened, SqliteSegment)
    # The first of a process opens accounts.
    take_in(opened, submissions(1))
    yield opened
    opened.close()


def submissions(count: int) -> list[Submission]:
    events = [
        {
            "eventType": "COMPLETE",
            "eventTime": "2026-11-01T10:00:00Z",
            "run": {"runId": str(uuid.uuid4())},
            "job": {"namespace": "n", "name": "j"},
            "producer": "https://example.org/p",
        }
        for _ in range(count)
    ]
    return [Submission(json.dumps(event).encode()) for event in events]


@contextmanager
def traced(segment: SqliteSegment) -> Iterator[list[str]]:
    """Statements that the writer runs; one that fires triggers is told again for each."""
    seen: list[str] = []
    with segment.database.locked() as connection:
        connection.set_trace_callback(seen.append)
    yield seen
    with segment.database.locked() as connection:
        connection.set_trace_callback(None)
    seen[:] = [one for one, _ in groupby(seen)]


def test_a_group_is_one_commit_with_its_checkpoint(segment: SqliteSegment) -> None:
    with segment.reading() as connection:
        (before,) = connection.execute("SELECT count(*) FROM checkpoint").fetchone()
    with traced(segment) as seen:
        take_in(segment, submissions(EVENTS))
    assert seen.count("COMMIT") == 1
    with segment.reading() as connection:
        (checkpoints,) = connection.execute("SELECT count(*) FROM checkpoint").fetchone()
    assert checkpoints == before + 1
    assert segment.checkpoint().size == segment.size()


def test_commits_that_need_not_sign_share_a_checkpoint(
    segment: SqliteSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is: the last checkpoint stays young.
    monkeypatch.setattr("lodeline.store.appending.CHECKPOINT_BEHIND_SECONDS", 3600)
    signed = segment.checkpoint().size
    with traced(segment) as seen:
        for one in submissions(20):
            take_in(segment, [one], sign=False)
    assert seen.count("COMMIT") == 20
    # Nor do they write the tree's edge, which is thousands of bytes.
    assert not any("checkpoint" in statement or "tile" in statement for statement in seen)
    assert segment.last_checkpoint().size == signed
    # Whoever asks for it has it, and so does the fold.
    fold_pending(segment)
    assert segment.last_checkpoint().size == segment.size() == signed + 20
    take_in(segment, submissions(1), sign=False)
    assert verify_segment(segment).failures == []
    assert segment.checkpoint_at(2**60) == segment.checkpoint()
    assert [one.size for one in segment.iter_checkpoints()][-3:] == [
        signed,
        signed + 20,
        signed + 21,
    ]


def test_entries_without_tiles_are_sequenced_by_whoever_comes_next(
    segment: SqliteSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lodeline.store.appending.CHECKPOINT_BEHIND_SECONDS", 3600)

    def busy(at: SqliteSegment, count: int) -> None:
        for one in submissions(count):
            take_in(at, [one], sign=False)

    # More than a tile, and a process that was killed behind them.
    busy(segment, 300)
    with segment.reading() as connection:
        assert sequenced_to(connection) < segment.size()
    with open_segment(segment.url) as other:
        assert isinstance(other, SqliteSegment)
        busy(other, 3)
        # The other sequences what this one holds as pending, and this one must not do so again.
        assert other.checkpoint().size == segment.size()
        busy(segment, 300)
        assert other.root_at(segment.size()) == segment.root_at(other.size())
        busy(other, 1)
        take_in(segment, submissions(1))
        busy(segment, 1)
        # Without the keys nothing is signed, and the tree is read all the same.
        signed = segment.last_checkpoint().size
        keys = segment.path.with_name(segment.path.name + ".keys")
        keys.rename(keys.with_name("away"))
        with open_segment(segment.url) as keyless:
            root = keyless.root_at(keyless.size())
            assert keyless.last_checkpoint().size == signed < keyless.size()
        keys.with_name("away").rename(keys)
        assert segment.checkpoint().root_hash == root
        assert verify_segment(other).failures == []


def test_a_checkpoint_that_is_no_longer_young_is_followed_in_the_next_commit(
    segment: SqliteSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lodeline.store.appending.CHECKPOINT_BEHIND_SECONDS", 0)
    with traced(segment) as seen:
        take_in(segment, submissions(1), sign=False)
    assert seen.count("COMMIT") == 1
    assert segment.last_checkpoint().size == segment.size()


def test_statements_of_a_group_are_far_fewer_than_its_events(segment: SqliteSegment) -> None:
    with traced(segment) as one:
        take_in(segment, submissions(1))
    with traced(segment) as some:
        take_in(segment, submissions(31))
    with traced(segment) as many:
        take_in(segment, submissions(EVENTS))
    assert len(one) < 20
    assert len(some) < 45
    assert len(many) < EVENTS // 4


def test_rows_of_every_number_arrive_whole_and_in_order(tmp_path: Path) -> None:
    for count in (1, 7, 8, 9, 332, 333, 334, 1000):
        with open_segment(f"sqlite:///{tmp_path}/{count}.db") as segment:
            assert isinstance(segment, SqliteSegment)
            with segment.writing() as connection:
                connection.execute("CREATE TABLE t(a INTEGER, b TEXT, c BLOB)")
                rows = [(i, f"{i}", None) for i in range(count)]
                connection.executemany("INSERT INTO t VALUES (?, ?, ?)", iter(rows))
                found = connection.execute("SELECT * FROM t ORDER BY rowid").fetchall()
            assert found == rows

"""Retention lets go of what is due, and of nothing when nothing is configured."""

from __future__ import annotations

from pathlib import Path

import pytest

from lodeline.errors import InvalidEventError
from lodeline.server.configuration import ServerConfiguration
from lodeline.server.retention import Retention
from lodeline.store import Refusal, SqliteSegment

DAY_US = 24 * 3600 * 1_000_000
RAWS = (b"{1", b"{2", b"{3")


@pytest.fixture
def segment(tmp_path: Path) -> SqliteSegment:
    path = tmp_path / "s.db"
    clock = {"now": 0}
    made = SqliteSegment(path, url=f"sqlite:///{path}", create=True, clock_us=lambda: clock["now"])
    for day, raw in zip((10, 20, 30), RAWS, strict=True):
        clock["now"] = day * DAY_US
        made.add_dead_letters([Refusal(raw, InvalidEventError("event.json", "", "no"), "x")])
    return made


def kept(segment: SqliteSegment) -> list[bytes | None]:
    return [segment.dead_letter_bytes(one.letter_id) for one in segment.iter_dead_letters()]


def test_bytes_of_old_dead_letters_go_and_their_facts_stay(segment: SqliteSegment) -> None:
    configuration = ServerConfiguration(retention_dead_letter_days=15)
    retention = Retention(segment, configuration, clock_us=lambda: 40 * DAY_US)
    assert retention.expire() == {"retention_dead_letter_days": 2}
    assert kept(segment) == [None, None, RAWS[2]]
    assert [one.code for one in segment.iter_dead_letters()] == ["event.json"] * 3
    assert retention.expire() == {"retention_dead_letter_days": 0}


def test_nothing_goes_where_no_days_are_set(segment: SqliteSegment) -> None:
    retention = Retention(segment, ServerConfiguration(), clock_us=lambda: 1000 * DAY_US)
    assert retention.expire() == {}
    retention.start()
    retention.stop(1)
    assert kept(segment) == list(RAWS)

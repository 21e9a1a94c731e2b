"""How often a group of events waits for PostgreSQL: a few times, however many they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running_services import event

from lodeline.ingest import Submission, take_in
from lodeline.store import Segment
from lodeline.store.postgres_database import PIPELINED_ROWS_MAX, PostgresConnection
from stores import Place


def submissions(name: str, count: int) -> list[Submission]:

    return [Submission(json.dumps(event(f"{name} {i}")).encode()) for i in range(count)]


def round_trips(segment: Segment, inputs: list[Submission], trace: Path) -> int:
    """Count the answers that the writer waits for, by libpq's own trace."""
    with segment.database.locked() as connection:  # type: ignore[attr-defined]
        assert isinstance(connection, PostgresConnection)
    raw = connection.raw
    with trace.open("wb") as file:
        raw.pgconn.trace(file.fileno())
        taken = take_in(segment, inputs)
        raw.pgconn.untrace()
    assert not any(one.duplicate for one in taken.appended)
    return trace.read_text(encoding="latin-1").count("ReadyForQuery")


@pytest.mark.parametrize("place", ["postgres18"], indirect=True)
def test_a_group_costs_as_few_round_trips_as_a_single_event(place: Place, tmp_path: Path) -> None:
    with place.open() as segment:
        # The first of a process opens accounts, and statements are prepared when they come again.
        for number in range(8):
            take_in(segment, submissions(f"warm {number}", 9))
        one = round_trips(segment, submissions("one", 1), tmp_path / "one")
        many = round_trips(segment, submissions("many", PIPELINED_ROWS_MAX - 1), tmp_path / "many")
        assert one <= 8
        assert many <= one + 1

"""Copies that nobody saw, concluded from events in any order, in every store."""

from __future__ import annotations

import itertools
import json
from typing import Any

from histories import dataset, event, raw
from lodeline.ingest import accept, graph_state, rebuild
from lodeline.limits import CONTENT_INFORMATION_MIN
from lodeline.store import SqlSegment
from stores import Place


def digest(value: str, information: int = CONTENT_INFORMATION_MIN) -> dict[str, Any]:
    return {
        "lodeline_digest": {
            "_producer": "https://example.org",
            "_schemaURL": "https://example.org/digest.json",
            "algorithm": "sha256",
            "source": "bytes",
            "value": value * 64,
            "information": information,
        }
    }


def run(number: int, *, reads: Any = (), writes: Any = (), **extra: Any) -> bytes:
    told = event(
        "COMPLETE",
        run=str(number),
        job=f"job{number}",
        day=number,
        inputs=[dataset(name, **digest(value, **extra)) for name, value in reads],
        outputs=[dataset(name, **digest(value, **extra)) for name, value in writes],
    )
    return raw(told)


WRITE_A = run(1, writes=[("A", "a")])
READ_T = run(5, reads=[("T", "a")], writes=[("X", "f")])


def joins(segment: SqlSegment) -> set[tuple[str, str]]:
    """Edges by content that hold now: source and target by name."""
    with segment.reading() as connection:
        rows = connection.execute(
            "SELECT s.name, t.name FROM derivation "
            "JOIN node AS s ON s.node_id = source "
            "JOIN node AS t ON t.node_id = target WHERE live_basis = 'content'"
        ).fetchall()
    return {(source, target) for source, target in rows}


def test_a_read_of_bytes_that_one_other_file_had_is_a_copy_of_it(place: Place) -> None:
    with place.open() as segment:
        accept(segment, [WRITE_A, READ_T])
        assert joins(segment) == {("A", "T")}
        size = segment.size()
        accept(segment, [WRITE_A, READ_T])
        rebuild(segment)
        assert (segment.size(), joins(segment)) == (size, {("A", "T")})


def test_the_order_of_arrival_does_not_show(place: Place) -> None:
    events = [WRITE_A, READ_T, run(2, writes=[("B", "b")]), run(6, reads=[("U", "b")])]
    digests = set()
    for number, order in enumerate(itertools.islice(itertools.permutations(events), 0, 24, 5)):
        there = Place(place.kind, place.folder / str(number), place.server)
        there.folder.mkdir()
        with there.open() as segment:
            for one in order:
                accept(segment, [one])
            assert joins(segment) == {("A", "T"), ("B", "U")}
            digests.add(graph_state(segment).graph_digest)
        there.drop()
    assert len(digests) == 1


def test_nothing_is_joined_where_bytes_say_nothing(place: Place) -> None:
    with place.open() as segment:
        # Too little in them; written later than they were read; read by the run that wrote them;
        # written by a run in their own place.
        little = {"information": CONTENT_INFORMATION_MIN - 1}
        accept(
            segment, [run(1, writes=[("A", "a")], **little), run(5, reads=[("T", "a")], **little)]
        )
        accept(segment, [run(9, writes=[("B", "b")]), run(6, reads=[("U", "b")])])
        accept(segment, [run(10, reads=[("C", "c")], writes=[("V", "c")])])
        accept(segment, [run(11, writes=[("D", "d"), ("W", "d")]), run(12, reads=[("W", "d")])])
        assert joins(segment) == set()


def test_what_arrives_late_changes_the_conclusion(place: Place) -> None:
    with place.open() as segment:
        accept(segment, [WRITE_A, READ_T])
        accept(segment, [run(2, writes=[("B", "a")])])
        assert joins(segment) == set()
        (gap,) = [
            gap
            for entry in segment.iter_entries(kinds=("event",))
            if entry.payload is not None and b'"namespace":"content"' in entry.payload
            for gap in json.loads(entry.payload)["run"]
            .get("facets", {})
            .get("lodeline_capture", {})
            .get("gaps", [])
        ]
        assert "2 datasets" in gap["detail"]
        accept(segment, [run(3, writes=[("T", "a")])])
        assert joins(segment) == set()
        state = graph_state(segment)
        rebuild(segment)
        assert graph_state(segment) == state

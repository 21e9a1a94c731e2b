"""What a stream writes beside its events stands or falls with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.errors import LodelineError
from lodeline.ingest import prepare_event
from lodeline.store import SqlSegment, StreamOffset
from lodeline.store.erasing import erase
from lodeline.store.stream_tables import (
    add_correlations,
    create_stream_tables,
    iter_correlations,
    set_offsets,
)
from lodeline.streams.running import make_consumers, run_consumers
from lodeline.wire.correlation import Correlation
from stores import Place
from streamed import captured


@pytest.fixture
def segment(place: Place) -> Iterator[SqlSegment]:
    with place.open() as one:
        yield one


def put(segment: SqlSegment, *offsets: StreamOffset, events: int = 0) -> list[int]:
    def beside(connection, outcomes):
        create_stream_tables(connection)
        set_offsets(connection, offsets)

    prepared = [prepare_event(raw) for raw in captured()[:events]]
    return [outcome.position for outcome in segment.append(prepared, beside=beside)]


def offset(position: int, *, part: str = "0", generation: str = "") -> StreamOffset:
    return StreamOffset("kafka:t", part, generation, position, position)


def test_offsets_are_written_with_or_without_events(segment: SqlSegment) -> None:
    assert segment.stream_offsets() == []
    put(segment, offset(3), events=3)
    put(segment, offset(5), offset(2, part="1"))
    assert segment.stream_offsets("kafka:t") == [offset(5), offset(2, part="1")]
    assert segment.stream_offsets("kafka:u") == []


def test_an_offset_goes_back_only_with_another_generation(segment: SqlSegment) -> None:
    put(segment, offset(9, generation="a"))
    put(segment, offset(4, generation="a"))
    assert [one.position for one in segment.stream_offsets()] == [9]
    put(segment, offset(4, generation="b"))
    assert segment.stream_offsets() == [offset(4, generation="b")]


def test_what_fails_beside_events_takes_them_with_it(segment: SqlSegment) -> None:
    put(segment, offset(1))
    size, head = segment.size(), segment.checkpoint()

    def fail(connection, outcomes):
        set_offsets(connection, [offset(2)])
        connection.execute("INSERT INTO no_such_table VALUES (1)")

    with pytest.raises(LodelineError):
        segment.append([prepare_event(captured()[0])], beside=fail)
    assert (segment.size(), segment.stream_offsets()) == (size, [offset(1)])
    assert segment.checkpoint() == head
    put(segment, offset(2), events=1)
    assert segment.size() == size + 1


def test_the_first_headers_that_named_anything_count(segment: SqlSegment) -> None:
    first, second = Correlation(run_id="1"), Correlation(run_id="2")
    event = prepare_event(captured()[0])
    for told in (first, second):

        def beside(connection, outcomes, told=told):
            create_stream_tables(connection)
            add_correlations(connection, [(outcomes[0].position, told)])

        segment.append([event], beside=beside)
    with segment.reading() as connection:
        assert [one.correlation for one in iter_correlations(connection, range(9))] == [first]


def test_an_entry_that_is_erased_takes_what_its_headers_named_along(segment: SqlSegment) -> None:
    event = prepare_event(captured()[0])

    def beside(connection, outcomes):
        create_stream_tables(connection)
        add_correlations(connection, [(outcomes[0].position, Correlation(run_id="1"))])

    [outcome] = segment.append([event], beside=beside)
    erase(segment, entries=[outcome.position])
    with segment.reading() as connection:
        assert list(iter_correlations(connection, range(9))) == []


def test_a_folder_is_taken_into_every_store(segment: SqlSegment, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b"no event\n" + b"\n".join(captured()[:40]))
    for accepted in (40, 0):
        [consumer] = make_consumers(segment, [str(folder)], print)
        run_consumers([consumer], once=True)
        assert consumer.counts.accepted == accepted
    assert segment.count_dead_letters() == 1
    [offset] = segment.stream_offsets()
    assert (offset.part, offset.behind) == ("a.jsonl", 0)
    (folder / "a.jsonl").unlink()
    run_consumers(make_consumers(segment, [str(folder)], print), once=True)
    assert segment.stream_offsets() == []

"""Prediction identifiers are unique, ordered, and say which block they come from."""

from __future__ import annotations

import os
import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from lodeline.capture.prediction_ids import PredictionIds
from lodeline.model import COUNTERS, PredictionId, find_prediction_id, ticks_of


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**40 - 1), st.integers(0, COUNTERS - 1))
def test_an_identifier_is_a_uuid_of_version_7_and_reads_back(
    ticks: int, block: int, counter: int
) -> None:
    drawn = PredictionId(ticks, block, counter)
    value = uuid.UUID(str(drawn))
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == ticks // 4096
    assert find_prediction_id(str(drawn)) == drawn


def test_another_uuid_is_no_prediction() -> None:
    assert find_prediction_id(str(uuid.uuid4())) is None
    assert find_prediction_id("flight 7") is None


def test_identifiers_ascend_as_text_whatever_the_clock_does() -> None:
    times = iter([5_000_000, 5_000_000, 4_000_000, 5_000_300, 9_000_000, 1])
    ids = PredictionIds(lambda block, ticks: None, clock_ns=lambda: next(times))
    drawn = [str(ids.draw()) for _ in range(6)]
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 6


def test_an_identifier_carries_the_time_of_its_draw() -> None:
    ids = PredictionIds(lambda block, ticks: None, clock_ns=lambda: 1_700_000_000_123_456_789)
    assert ids.draw().time_us in {1_700_000_000_123_456, 1_700_000_000_123_455}


def test_a_block_is_reserved_before_its_first_identifier_and_replaced_when_used_up() -> None:
    reserved: list[tuple[int, int]] = []
    ids = PredictionIds(lambda block, ticks: reserved.append((block, ticks)))
    first = ids.draw()
    assert [block for block, _ in reserved] == [first.block]
    assert reserved[0][1] <= first.time_ticks
    ids._counter = COUNTERS - 1
    last, next_one = ids.draw(), ids.draw()
    assert (last.block, last.counter) == (first.block, COUNTERS - 1)
    assert next_one.counter == 0
    assert [block for block, _ in reserved] == [first.block, next_one.block]
    assert str(last) < str(next_one)


def test_threads_draw_no_identifier_twice() -> None:
    ids = PredictionIds(lambda block, ticks: None)
    drawn: list[list[str]] = [[] for _ in range(8)]

    def draw(into: list[str]) -> None:
        into.extend(str(ids.draw()) for _ in range(2000))

    threads = [threading.Thread(target=draw, args=(into,)) for into in drawn]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(into == sorted(into) for into in drawn)
    assert len({one for into in drawn for one in into}) == 16_000


def test_forks_draw_from_blocks_of_their_own() -> None:
    ids = PredictionIds(lambda block, ticks: None)
    mine = [str(ids.draw()) for _ in range(100)]
    pipes = []
    for _ in range(3):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, "\n".join(str(ids.draw()) for _ in range(100)).encode())
            os._exit(0)
        os.close(write)
        pipes.append((child, read))
    theirs = []
    for child, read in pipes:
        with os.fdopen(read) as file:
            theirs.append(file.read().split("\n"))
        os.waitpid(child, 0)
    mine += [str(ids.draw()) for _ in range(100)]
    everything = [*mine, *(one for drawn in theirs for one in drawn)]
    assert len(set(everything)) == 500
    blocks = {find_prediction_id(one).block for one in everything}  # type: ignore[union-attr]
    assert len(blocks) == 4
    assert all(drawn == sorted(drawn) for drawn in [mine, *theirs])


def test_ticks_keep_the_order_of_nanoseconds() -> None:
    assert ticks_of(1_000_000) == 4096
    assert ticks_of(999_999) == 4095

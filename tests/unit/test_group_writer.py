"""The service's writer: one commit for many requests, a bounded queue, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lodeline.errors import LodelineError, QueueFullError, StoppingError, StoreUnreachableError
from lodeline.ingest import Submission
from lodeline.limits import QUEUE_EVENTS_MAX
from lodeline.server.writing import Input, Outcome, Writer, Written
from lodeline.store import Segment, open_segment


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    yield opened
    opened.close()


@dataclass
class Kept:
    """An appended event whose receipt is its own text."""

    receipt: str
    position: int = 0
    duplicate: bool = False


def kept(one: Input) -> Outcome:
    return Outcome(None, Kept(one.raw.decode()))


def sent(*texts: bytes) -> list[Submission]:
    return [Submission(text) for text in texts]


def receipts(written: Written) -> list[str]:
    return [one.appended.receipt for one in written.outcomes if one.appended is not None]


class Disk:
    """An append that waits until it is let go, and keeps what each commit held."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.commits: list[int] = []

    def append(self, _: Segment, inputs: Sequence[Input]) -> list[Outcome]:
        self.free.wait(20)
        self.commits.append(len(inputs))
        return [kept(one) for one in inputs]


async def until_taken(writer: Writer, first: asyncio.Task[Written]) -> None:
    while writer.waiting:  # noqa: ASYNC110  # the writer is a thread and tells nobody
        await asyncio.sleep(0.01)
    assert not first.done()


def test_requests_that_wait_share_one_commit(segment: Segment) -> None:
    disk = Disk()
    writer = Writer(segment, append=disk.append, fold=lambda _: None)
    writer.start()

    async def work() -> list[Written]:
        first = asyncio.create_task(writer.write(sent(b"0")))
        await asyncio.sleep(0)
        await until_taken(writer, first)
        rest = [asyncio.create_task(writer.write(sent(str(i).encode()))) for i in range(1, 9)]
        await asyncio.sleep(0.05)
        disk.free.set()
        return await asyncio.gather(first, *rest)

    written = asyncio.run(work())
    assert [receipts(one) for one in written] == [[str(i)] for i in range(9)]
    assert disk.commits == [1, 8]
    assert writer.stop(20)


def test_a_full_queue_refuses_and_keeps_what_it_has(segment: Segment) -> None:
    disk = Disk()
    writer = Writer(segment, append=disk.append, fold=lambda _: None)
    writer.start()

    async def work() -> None:
        first = asyncio.create_task(writer.write(sent(b"0")))
        await asyncio.sleep(0)
        await until_taken(writer, first)
        waiting = asyncio.create_task(writer.write(sent(b"x") * QUEUE_EVENTS_MAX))
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFullError):
            await writer.write(sent(b"one too many"))
        disk.free.set()
        assert len((await waiting).outcomes) == QUEUE_EVENTS_MAX
        await first

    asyncio.run(work())
    assert writer.stop(20)


def test_a_stopping_writer_finishes_and_takes_no_more(segment: Segment) -> None:
    disk = Disk()
    disk.free.set()
    folded = threading.Event()
    writer = Writer(segment, append=disk.append, fold=lambda _: folded.set())
    writer.start()

    async def work() -> None:
        await writer.write(sent(b"0"))
        assert writer.stop(20)
        with pytest.raises(StoppingError):
            await writer.write(sent(b"1"))

    asyncio.run(work())
    assert folded.is_set()


def test_while_requests_go_on_to_come_no_fold_takes_more_than_a_hundred_events(
    segment: Segment,
) -> None:
    disk = Disk()
    disk.free.set()
    folds: list[int] = []

    def fold(_: Segment) -> None:
        folds.append(sum(disk.commits) - sum(folds))

    writer = Writer(segment, append=disk.append, fold=fold, pause_seconds=60, behind_seconds=60)
    writer.start()

    async def work() -> None:
        for _ in range(12):
            await writer.write(sent(*[b"x"] * 32))

    asyncio.run(work())
    assert writer.stop(20)
    assert folds == [96] * 4


def test_a_failed_commit_is_told_to_its_requests_and_the_writer_goes_on(segment: Segment) -> None:
    failing = [True]

    def append(_: Segment, inputs: Sequence[Input]) -> list[Outcome]:
        if failing.pop() if failing else False:
            raise OSError("no room")
        return [kept(one) for one in inputs]

    writer = Writer(segment, append=append, fold=lambda _: None)
    writer.start()

    async def work() -> None:
        with pytest.raises(StoreUnreachableError, match="no room"):
            await writer.write(sent(b"0"))
        assert writer.failure is not None
        assert receipts(await writer.write(sent(b"1"))) == ["1"]
        assert writer.failure is None

    asyncio.run(work())
    assert writer.stop(20)


def test_who_was_answered_together_is_waited_for_together(segment: Segment) -> None:
    disk = Disk()
    writer = Writer(segment, append=disk.append, fold=lambda _: None)
    writer.start()

    async def client(number: int) -> None:
        await writer.write(sent(f"{number} first".encode()))
        await writer.write(sent(f"{number} second".encode()))

    async def work() -> None:
        clients = [asyncio.create_task(client(i)) for i in range(8)]
        await asyncio.sleep(0.05)
        disk.free.set()
        await asyncio.gather(*clients)

    asyncio.run(work())
    assert sum(disk.commits) == 16
    # The first event went alone; its client and the seven others then go on as one group.
    assert len(disk.commits) <= 5
    assert writer.stop(20)


def test_an_answer_that_fails_costs_no_other_request_its_own(segment: Segment) -> None:
    disk = Disk()
    writer = Writer(segment, append=disk.append, fold=lambda _: None)
    writer.start()
    told: list[str] = []

    def fail(written: Written, error: LodelineError | None) -> None:
        raise RuntimeError("gone")

    async def work() -> None:
        done = asyncio.Event()

        def tell(written: Written, error: LodelineError | None) -> None:
            told.extend(receipts(written))
            done.set()

        writer.submit(Submission(b"0"), fail)
        writer.submit(Submission(b"1"), tell)
        disk.free.set()
        await asyncio.wait_for(done.wait(), 20)

    asyncio.run(work())
    assert told == ["1"]
    assert writer.stop(20)


def test_requests_one_after_the_other_are_folded_together(segment: Segment) -> None:
    disk = Disk()
    disk.free.set()
    folds: list[int] = []
    writer = Writer(
        segment,
        append=disk.append,
        fold=lambda _: folds.append(len(disk.commits)),
        pause_seconds=60,
        behind_seconds=60,
    )
    writer.start()

    async def work() -> None:
        for i in range(20):
            await writer.write(sent(str(i).encode()))

    asyncio.run(work())
    assert writer.stop(20)
    assert len(disk.commits) == 20
    assert folds == [20]


def test_requests_that_never_pause_do_not_put_folding_off_for_good(segment: Segment) -> None:
    disk = Disk()
    disk.free.set()
    folds: list[int] = []
    writer = Writer(
        segment,
        append=disk.append,
        fold=lambda _: folds.append(len(disk.commits)),
        pause_seconds=60,
        behind_seconds=0,
    )
    writer.start()

    async def work() -> None:
        for i in range(5):
            await writer.write(sent(str(i).encode()))

    asyncio.run(work())
    assert writer.stop(20)
    assert folds == [1, 2, 3, 4, 5]


def test_who_waits_for_the_fold_has_it_at_once_with_all_before(segment: Segment) -> None:
    disk = Disk()
    disk.free.set()
    folds: list[int] = []
    writer = Writer(
        segment,
        append=disk.append,
        fold=lambda _: folds.append(len(disk.commits)),
        pause_seconds=60,
        behind_seconds=60,
    )
    writer.start()

    async def work() -> bool:
        for i in range(3):
            await writer.write(sent(str(i).encode()))
        return (await writer.write(sent(b"3"), folded=True)).folded

    assert asyncio.run(work())
    assert folds == [4]
    assert writer.stop(20)

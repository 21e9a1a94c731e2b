"""Taking streams in: one transaction holds events, refusals, correlations and offsets.

A source gives messages and says how far they reach; they are acknowledged to it, as information,
only after the commit. What goes wrong on either side ends the source, which is opened again after
a pause, at the offsets of the store: what was not committed comes again.

Pull only: the next messages are asked for when the store has taken the last, so a slow or full
store holds the source back, never the memory of this process.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lodeline.errors import CouldNotTellError, LodelineError
from lodeline.ingest import fold_pending
from lodeline.ingest.accounting import Accounts
from lodeline.limits import (
    FOLD_EVENTS_MAX,
    STREAM_RETRY_SECONDS,
    STREAM_RETRY_SECONDS_MAX,
    STREAM_STOP_SECONDS_MAX,
)
from lodeline.store import Appended, Refusal, Segment, StreamOffset
from lodeline.store.accounts import open_accounts
from lodeline.store.connections import Connection
from lodeline.store.stream_tables import (
    add_correlations,
    create_stream_tables,
    drop_offsets,
    set_offsets,
)
from lodeline.streams.messages import Message, Taken, iter_taken


@dataclass(slots=True)
class Counts:
    """What became of the messages of one source since its consumer started.

    Attributes:
        messages: taken.
        accepted: events appended.
        duplicates: events that the log held before.
        refused: kept as dead letters.
    """

    messages: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0

    def to_json(self) -> dict[str, int]:
        """Give the documented keys."""
        return {
            "messages": self.messages,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "refused": self.refused,
        }


class Sink(Protocol):
    """Where a source puts what it got."""

    def should_stop(self) -> bool:
        """Whether the source should end, at the next opportunity."""

    async def offsets(self) -> dict[str, StreamOffset]:
        """How far the store holds the source, by part, as it is now."""

    async def take(self, messages: Sequence[Message], offsets: Sequence[StreamOffset]) -> None:
        """Store messages and how far they reach; durable when it returns."""

    async def forget(self, parts: Sequence[str]) -> None:
        """Drop the offsets of parts that are gone."""

    async def rest(self) -> None:
        """Nothing waits at the source: bring the graph up to the log."""

    def report(self, said: str) -> None:
        """Tell people what they should know, once."""


class Source(Protocol):
    """What messages come from.

    Attributes:
        name: without credentials; under it the store keeps offsets.
    """

    name: str

    async def run(self, sink: Sink, *, once: bool) -> None:
        """Give messages until the sink stops, or, with `once`, until all that were there are taken.

        Raises:
            StreamUnreachableError: it does not answer; it may be run again.
        """


class Taker(ABC):
    """Runs one source, as its sink, until it is told to stop; what takes messages is left open.

    Args:
        source: of messages.
        report: told what goes wrong, once for each new reason.
    """

    def __init__(self, source: Source, *, report: Callable[[str], None]) -> None:
        self.source = source
        self.counts = Counts()
        self._report = report
        self._stop = asyncio.Event()
        self._said = ""
        self._takes = 0

    def should_stop(self) -> bool:
        """Whether the source should end, at the next opportunity."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End at the next opportunity. In the consumer's own event loop."""
        self._stop.set()

    async def run(self, *, once: bool = False) -> None:
        """Take until stopped; with `once` what is there now, and then return.

        Raises:
            CouldNotTellError: with `once`, the source or the store does not answer.
        """
        pause = STREAM_RETRY_SECONDS
        while not self.should_stop():
            takes = self._takes
            try:
                await self._run_source(once=once)
                await self.rest()
            except CouldNotTellError as error:
                if once:
                    raise
                self.report(str(error))
            except Exception as error:
                # A client's own fault ends neither the service nor the other streams.
                if once or isinstance(error, LodelineError):
                    raise
                self.report(f"{self.source.name}: {error!r}")
            else:
                return
            if self._takes > takes:
                pause = STREAM_RETRY_SECONDS
            await self.wait(pause)
            pause = min(2 * pause, STREAM_RETRY_SECONDS_MAX)

    async def _run_source(self, *, once: bool) -> None:
        """Run the source; one that is stuck, such as in a connection, is cut off when told to stop.

        What it had not stored is not acknowledged, and comes again.
        """
        running = asyncio.ensure_future(self.source.run(self, once=once))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await asyncio.wait({running}, timeout=STREAM_STOP_SECONDS_MAX)
            if running.done():
                await running
        finally:
            stopping.cancel()
            if not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=STREAM_STOP_SECONDS_MAX)

    async def wait(self, seconds: float) -> None:
        """Wait, or until told to stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def note_taken(self) -> None:
        """Messages were taken: what went wrong before is over."""
        self._takes += 1
        self._said = ""

    def report(self, said: str) -> None:
        """Tell people what they should know, once."""
        if said != self._said:
            self._said = said
            self._report(said)

    @abstractmethod
    async def offsets(self) -> dict[str, StreamOffset]:
        """How far the source was taken, by part, as it is now."""

    @abstractmethod
    async def take(self, messages: Sequence[Message], offsets: Sequence[StreamOffset]) -> None:
        """Take messages and how far they reach; durable when it returns."""

    @abstractmethod
    async def forget(self, parts: Sequence[str]) -> None:
        """Drop the offsets of parts that are gone."""

    @abstractmethod
    async def rest(self) -> None:
        """Nothing waits at the source."""


class Consumer(Taker):
    """Takes one source into one segment.

    Args:
        segment: where to.
        source: of messages.
        report: told what goes wrong, once for each new reason.
        clock_us: gives the time.
    """

    def __init__(
        self,
        segment: Segment,
        source: Source,
        *,
        report: Callable[[str], None],
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(source, report=report)
        self._segment = segment
        self._clock_us = clock_us
        self._unfolded = 0

    async def offsets(self) -> dict[str, StreamOffset]:
        """How far the store holds the source, by part, as it is now."""
        found = await asyncio.to_thread(self._segment.stream_offsets, self.source.name)
        return {offset.part: offset for offset in found}

    async def take(self, messages: Sequence[Message], offsets: Sequence[StreamOffset]) -> None:
        """Store messages and how far they reach; durable when it returns."""
        # In a thread: a commit or a fold must not keep the source from telling its broker that it
        # is alive.
        await asyncio.to_thread(self._take, messages, offsets)
        if self._unfolded >= FOLD_EVENTS_MAX:
            await self.rest()

    def _take(self, messages: Sequence[Message], offsets: Sequence[StreamOffset]) -> None:
        taken: list[Taken] = []
        refused: list[Refusal] = []
        for message in messages:
            for one in iter_taken(message):
                if isinstance(one, Refusal):
                    refused.append(one)
                else:
                    taken.append(one)
        now_us = self._clock_us()
        accounts = self._count(taken, refused)
        stamped = [offset._replace(taken_at_us=now_us) for offset in offsets]

        def beside(connection: Connection, outcomes: Sequence[Appended]) -> None:
            create_stream_tables(connection)
            set_offsets(connection, stamped)
            if refused:
                self._segment.add_dead_letters(refused, connection=connection)
            accounts.add(
                self._segment, connection, [one.duplicate for one in outcomes], now_us=now_us
            )
            told = zip(outcomes, taken, strict=True)
            add_correlations(
                connection,
                [(o.position, one.correlation) for o, one in told if one.correlation is not None],
            )

        outcomes = self._segment.append([one.event for one in taken], beside=beside)
        duplicates = sum(outcome.duplicate for outcome in outcomes)
        self.counts.messages += len(messages)
        self.counts.duplicates += duplicates
        self.counts.accepted += len(outcomes) - duplicates
        self.counts.refused += len(refused)
        self._unfolded += len(outcomes) - duplicates
        self.note_taken()

    def _count(self, taken: Sequence[Taken], refused: Sequence[Refusal]) -> Accounts:
        """Sum up who sent what; the stream stands in the caller's place."""
        open_accounts(self._segment)
        accounts = Accounts()
        for one in taken:
            accounts.note_event(one.stated, one.byte_count, self.source.name)
        for refusal in refused:
            accounts.note_refusal(refusal.raw, len(refusal.raw), self.source.name)
        return accounts

    async def forget(self, parts: Sequence[str]) -> None:
        """Drop the offsets of parts that are gone."""

        def write(connection: Connection, _: Sequence[Appended]) -> None:
            create_stream_tables(connection)
            drop_offsets(connection, self.source.name, parts)

        await asyncio.to_thread(lambda: self._segment.append([], beside=write))

    async def rest(self) -> None:
        """Nothing waits at the source: bring the graph up to the log."""
        if self._unfolded:
            self._unfolded = 0
            await asyncio.to_thread(fold_pending, self._segment)


def is_cancelled() -> bool:
    """Whether this task is being cancelled, and not just something of a client that it waits for.

    Clients of brokers cancel their own tasks when a connection ends, which arrives here as the same
    exception.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

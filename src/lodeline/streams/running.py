"""Running consumers: in the foreground until told to stop, or in a thread beside a service."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence

from lodeline.errors import LodelineError
from lodeline.store import Segment, open_segment
from lodeline.streams.consuming import Consumer, Taker
from lodeline.streams.forwarding import Forwarder, OffsetFile, Receiver
from lodeline.streams.sources import open_source


def make_consumers(
    segment: Segment, sources: Sequence[str], report: Callable[[str], None]
) -> list[Consumer]:
    """Make a consumer for each source.

    Consumers of one store share the messages of a broker; other stores get them all, too.

    Raises:
        UsageError: a source that nothing can be taken from.
        MissingExtraError: a client that is not installed.
    """
    group = f"lodeline-{segment.segment_id[:16]}"
    return [
        Consumer(segment, open_source(source, group=group), report=report) for source in sources
    ]


def make_forwarders(
    receiver: Receiver,
    offsets: OffsetFile,
    sources: Sequence[str],
    report: Callable[[str], None],
) -> list[Forwarder]:
    """Make a forwarder for each source.

    Raises:
        UsageError: a source that nothing can be taken from.
        MissingExtraError: a client that is not installed.
    """
    return [
        Forwarder(receiver, offsets, open_source(source, group=offsets.group), report=report)
        for source in sources
    ]


def run_consumers(consumers: Sequence[Taker], *, once: bool) -> None:
    """Take until SIGINT or SIGTERM; with `once` take what is there and return.

    Raises:
        CouldNotTellError: with `once`, a source or the store does not answer.
    """

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, consumers)
        await asyncio.gather(*(consumer.run(once=once) for consumer in consumers))

    asyncio.run(run())


def _stop(consumers: Sequence[Taker]) -> None:
    for consumer in consumers:
        consumer.stop()


class Consuming:
    """A thread that takes streams in beside a service, from `start` to `stop`.

    Args:
        store: URL of the store; opened for itself, as another process would.
        sources: as `open_source` takes them.
        report: told what goes wrong, once for each new reason.
    """

    def __init__(self, store: str, sources: Sequence[str], report: Callable[[str], None]) -> None:
        self._segment = open_segment(store)
        self._report = report
        self.consumers = make_consumers(self._segment, sources, report)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="lodeline-streams", daemon=True)

    def start(self) -> None:
        """Begin taking."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more; what is under way is stored, or comes again."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_stop, self.consumers)
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._segment.close()

    def _work(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        runs = [self._run_one(consumer) for consumer in self.consumers]
        await asyncio.gather(*runs)

    async def _run_one(self, consumer: Consumer) -> None:
        try:
            await consumer.run()
        except LodelineError as error:
            # A store that is broken, or a setting that only the broker could judge.
            self._report(f"{consumer.source.name} is taken no more: {error}")

"""The Kafka protocol: partitions shared by a consumer group, their offsets kept in the store.

On every assignment each partition is sought to the offset that the store holds, or to its
beginning; the broker's own record of offsets is written after each commit, as information for
those who watch the group, and never read. Whoever lost a partition in the middle of a batch may
still store it: its events are the same, and the offset never goes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from lodeline.brokers import KAFKA_CONNECTION, Address, kafka_connection
from lodeline.errors import StreamUnreachableError
from lodeline.limits import (
    STREAM_LOOK_SECONDS,
    STREAM_MESSAGES_MAX,
    STREAM_REQUEST_SECONDS_MAX,
    STREAM_WAIT_SECONDS,
)
from lodeline.store import StreamOffset
from lodeline.streams.consuming import Sink, is_cancelled
from lodeline.streams.messages import Message

OPTIONS: Final = KAFKA_CONNECTION | {"group", "session_seconds"}

# Failures of connections are told by `report`, once; without a handler the client's own lines
# would go to standard error, several a second.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())


class _Positions(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Where each partition that this consumer was given goes on.

    Attributes:
        next: offset of the next message, by partition.
        lock: held while the store takes messages. Otherwise an assignment in that moment would
            seek to where the store was before it.
    """

    def __init__(self, source: str, consumer: Any, sink: Sink) -> None:
        self._source = source
        self._consumer = consumer
        self._sink = sink
        self.next: dict[Any, int] = {}
        self.lock = asyncio.Lock()

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Forget them; who gets them reads the store."""
        for partition in revoked:
            self.next.pop(partition, None)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Seek each partition to where the store ends."""
        await self.seek(assigned)

    async def seek(self, partitions: Iterable[Any]) -> None:
        """Seek partitions to where the store ends, or to the first message that is there."""
        partitions = list(partitions)
        if not partitions:
            return
        async with self.lock:
            stored = await self._sink.offsets()
            first = await self._consumer.beginning_offsets(partitions)
            for partition in partitions:
                offset = stored.get(part_of(partition))
                position = first[partition] if offset is None else offset.position
                if position < first[partition]:
                    self._sink.report(
                        f"{self._source}: {part_of(partition)}: {first[partition] - position} "
                        "messages expired before they were taken"
                    )
                self._go_on(partition, max(position, first[partition]))

    async def begin_anew(self, partitions: Iterable[Any]) -> None:
        """Read partitions from their beginning, whatever the store says."""
        partitions = list(partitions)
        if not partitions:
            return
        async with self.lock:
            first = await self._consumer.beginning_offsets(partitions)
            await self._sink.forget([part_of(partition) for partition in partitions])
            for partition in partitions:
                self._sink.report(
                    f"{self._source}: {part_of(partition)} ends before {self.next.get(partition)}, "
                    "where the store is: read from its beginning"
                )
                self._go_on(partition, first[partition])

    def shortened(self) -> set[Any]:
        """Partitions that end before where the store is: topics made anew under their names."""
        return {
            partition
            for partition, position in self.next.items()
            if (self._consumer.highwater(partition) or position) < position
        }

    def _go_on(self, partition: Any, position: int) -> None:
        self._consumer.seek(partition, position)
        self.next[partition] = position


def part_of(partition: Any) -> str:
    """Name a partition: `topic/number`."""
    return f"{partition.topic}/{partition.partition}"


class _Looking:
    """Looks, while nothing comes, whether the brokers answer and the topics are still the same."""

    def __init__(self, consumer: Any, positions: _Positions) -> None:
        self._consumer = consumer
        self._positions = positions
        self._due = 0.0
        self._shortened: set[Any] = set()

    async def look(self) -> None:
        """Look, if the last time is some seconds ago.

        Raises:
            KafkaError: they don't answer.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + STREAM_LOOK_SECONDS
        await asyncio.wait_for(
            self._consumer.end_offsets(list(self._positions.next)), STREAM_REQUEST_SECONDS_MAX
        )
        shortened = self._positions.shortened()
        # Seen twice: a leader that was just elected may know less of the end, for a moment.
        await self._positions.begin_anew(shortened & self._shortened)
        self._shortened = shortened


class KafkaSource:
    """Topics of one cluster.

    Args:
        address: of its brokers; the names are the topics'.
        group: of consumers, unless the address says otherwise.
    """

    def __init__(self, address: Address, *, group: str) -> None:
        self._address = address
        self._group = address.option("group", group)
        self.name = "kafka:" + ",".join(address.names)

    async def run(self, sink: Sink, *, once: bool) -> None:
        """Give messages until the sink stops, or, with `once`, what the topics hold now.

        Raises:
            StreamUnreachableError: no broker answers.
        """
        consumer = AIOKafkaConsumer(**self._configuration())
        try:
            positions = _Positions(self.name, consumer, sink)
            consumer.subscribe(list(self._address.names), listener=positions)
            await asyncio.wait_for(consumer.start(), 3 * STREAM_REQUEST_SECONDS_MAX)
            await self._pull(consumer, positions, sink, once=once)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise StreamUnreachableError(self.name, "the connection was closed") from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise StreamUnreachableError(self.name, str(error) or repr(error)) from error
        finally:
            await self._leave(consumer)

    async def _leave(self, consumer: Any) -> None:
        # Leaving a group whose broker is gone waits for it.
        try:
            await asyncio.wait_for(consumer.stop(), STREAM_REQUEST_SECONDS_MAX)
        except (KafkaError, OSError, TimeoutError):
            return
        except asyncio.CancelledError:
            if is_cancelled():
                raise

    def _configuration(self) -> dict[str, Any]:
        address = self._address
        options: dict[str, Any] = {
            **kafka_connection(address),
            "group_id": self._group,
            "enable_auto_commit": False,
            # Where a partition goes on is said by the store alone.
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "request_timeout_ms": int(1000 * STREAM_REQUEST_SECONDS_MAX),
        }
        if address.option("session_seconds"):
            session_ms = int(1000 * float(address.option("session_seconds")))
            options |= {"session_timeout_ms": session_ms, "heartbeat_interval_ms": session_ms // 3}
        return options

    async def _pull(self, consumer: Any, positions: _Positions, sink: Sink, *, once: bool) -> None:
        wait_ms = int(1000 * STREAM_WAIT_SECONDS)
        looking = _Looking(consumer, positions)
        while not sink.should_stop():
            try:
                found = await consumer.getmany(timeout_ms=wait_ms, max_records=STREAM_MESSAGES_MAX)
            except NoOffsetForPartitionError:
                # Given to this consumer this moment; the client asked before it was sought.
                await positions.seek(consumer.assignment())
                continue
            except OffsetOutOfRangeError as error:
                await self._return(consumer, positions, error.args[0])
                continue
            if found:
                async with positions.lock:
                    offsets = await self._take(consumer, positions, found, sink)
                # Not under the lock: during an assignment the client waits for its end.
                await self._tell(consumer, offsets)
                continue
            await sink.rest()
            await looking.look()
            if once and await self._is_done(consumer, positions):
                return

    async def _return(
        self, consumer: Any, positions: _Positions, beyond: Mapping[Any, int]
    ) -> None:
        """Go on where a partition has messages again, after its broker refused an offset."""
        first = await consumer.beginning_offsets(list(beyond))
        await positions.seek([one for one, offset in beyond.items() if offset < first[one]])
        await positions.begin_anew([one for one, offset in beyond.items() if offset >= first[one]])

    async def _is_done(self, consumer: Any, positions: _Positions) -> bool:
        """Whether everything that can be read was taken."""
        for partition in positions.next:
            end = consumer.last_stable_offset(partition)
            if end is None or await consumer.position(partition) < end:
                return False
        return bool(positions.next)

    async def _take(
        self,
        consumer: Any,
        positions: _Positions,
        found: Mapping[Any, Sequence[Any]],
        sink: Sink,
    ) -> dict[Any, int]:
        """Store messages; how far it is then, by partition."""
        messages: list[Message] = []
        offsets: dict[Any, StreamOffset] = {}
        for partition, records in found.items():
            part = part_of(partition)
            # What was under way when the partition was sought, or taken away, is not of it.
            expected = positions.next.get(partition)
            fresh = [one for one in records if expected is not None and one.offset >= expected]
            if not fresh:
                continue
            messages += [_message(one, f"kafka:{part}@{one.offset}") for one in fresh]
            position = fresh[-1].offset + 1
            behind = max((consumer.highwater(partition) or position) - position, 0)
            offsets[partition] = StreamOffset(self.name, part, "", position, position, behind)
        if messages:
            await sink.take(messages, list(offsets.values()))
        reached = {partition: offset.position for partition, offset in offsets.items()}
        for partition in reached.keys() & positions.next.keys():
            positions.next[partition] = reached[partition]
        return reached

    async def _tell(self, consumer: Any, offsets: dict[Any, int]) -> None:
        """Tell the broker how far the store is; if it can't be told, the store still knows."""
        mine = {one: position for one, position in offsets.items() if one in consumer.assignment()}
        try:
            if mine:
                await asyncio.wait_for(consumer.commit(mine), STREAM_REQUEST_SECONDS_MAX)
        except (KafkaError, IllegalStateError, TimeoutError):
            return


def _message(record: Any, at: str) -> Message:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    return Message(record.value or b"", headers, at)

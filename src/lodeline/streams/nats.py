"""NATS JetStream: a durable pull consumer, whose acknowledgements follow the store's commits.

The store keeps, per stream, the sequence before which everything is in it (the consumer's own
acknowledgement floor, as it was before each commit) and the highest sequence in it. A redelivered
message is dropped by sequence below the floor, by its content above it. If the broker believes
more acknowledged than the store holds, as after a restore of the store from a backup, the consumer
is made anew at the store's floor.

Several processes may share a consumer: the broker hands each message to one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from lodeline.brokers import NATS_CONNECTION, Address, nats_connection
from lodeline.errors import StreamUnreachableError
from lodeline.limits import (
    STREAM_BYTES_MAX,
    STREAM_MESSAGES_MAX,
    STREAM_REDELIVERY_SECONDS,
    STREAM_REQUEST_SECONDS_MAX,
    STREAM_WAIT_SECONDS,
)
from lodeline.store import StreamOffset
from lodeline.streams.consuming import Sink, is_cancelled
from lodeline.streams.messages import Message

OPTIONS: Final = NATS_CONNECTION | {"subject", "durable"}


async def _ignore(*_: object) -> None:
    """The client tells of disconnections by errors of its calls, too."""


class NatsSource:
    """One stream of a NATS server.

    Args:
        address: of the server; its one name is the stream's.
        durable: name of the consumer, unless the address says otherwise.
    """

    def __init__(self, address: Address, *, durable: str) -> None:
        self._address = address
        self._stream = address.names[0]
        self._subject = address.option("subject")
        self._durable = address.option("durable", durable)
        filtered = f"?subject={self._subject}" if self._subject else ""
        self.name = f"nats:{self._stream}{filtered}"

    async def run(self, sink: Sink, *, once: bool) -> None:
        """Give messages until the sink stops, or, with `once`, what the stream holds.

        Raises:
            StreamUnreachableError: the server is gone, or has no such stream.
        """
        client = Client()
        try:
            await self._connect(client)
            await self._pull(client, sink, once=once)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise StreamUnreachableError(self.name, "the connection was closed") from error
        except (NatsError, OSError, TimeoutError) as error:
            raise StreamUnreachableError(self.name, str(error) or repr(error)) from error
        finally:
            await self._leave(client)

    async def _leave(self, client: Client) -> None:
        try:
            if client.is_connected:
                # The last acknowledgements are still on their way.
                await client.flush(int(STREAM_REQUEST_SECONDS_MAX))
            if not client.is_closed:
                await client.close()
        except (NatsError, OSError, TimeoutError):
            return
        except asyncio.CancelledError:
            if is_cancelled():
                raise

    async def _connect(self, client: Client) -> None:
        connecting = client.connect(
            # Opened anew instead, from the store's offsets: one way back for every failure.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(STREAM_REQUEST_SECONDS_MAX),
            error_cb=_ignore,
            disconnected_cb=_ignore,
            closed_cb=_ignore,
            **nats_connection(self._address),
        )
        await asyncio.wait_for(connecting, 2 * STREAM_REQUEST_SECONDS_MAX)

    async def _pull(self, client: Client, sink: Sink, *, once: bool) -> None:
        streams = client.jetstream(timeout=STREAM_REQUEST_SECONDS_MAX)
        stored = (await sink.offsets()).get(self._stream)
        offset = await self._begin(streams, stored)
        subscription = await streams.pull_subscribe_bind(self._durable, self._stream)
        # As many as would fit if each were as large as the server lets it be.
        count = min(STREAM_MESSAGES_MAX, max(1, STREAM_BYTES_MAX // client.max_payload))
        while not sink.should_stop():
            try:
                messages = await subscription.fetch(count, timeout=STREAM_WAIT_SECONDS)
            except TimeoutError:
                # The client says this in two ways: by its own error, and by the plain one.
                messages = []
            info = await subscription.consumer_info()
            floor = (info.ack_floor.stream_seq if info.ack_floor else 0) + 1
            offset = offset._replace(
                position=max(offset.position, floor), behind=info.num_pending or 0
            )
            if messages:
                offset = await self._take(messages, offset, sink)
                continue
            await sink.rest()
            if once and not info.num_pending and not info.num_ack_pending:
                return

    async def _begin(self, streams: Any, stored: StreamOffset | None) -> StreamOffset:
        """Find the consumer, or make it where the store ends; the offset that holds."""
        try:
            stream = await streams.stream_info(self._stream)
        except NotFoundError as error:
            raise StreamUnreachableError(self.name, f"no stream {self._stream}") from error
        generation = str(stream.created)
        offset = StreamOffset(self.name, self._stream, generation, 1, 1)
        if stored is not None and stored.generation == generation:
            offset = stored
        info = await self._find(streams)
        acknowledged = info.ack_floor.stream_seq if info is not None and info.ack_floor else 0
        if info is not None and acknowledged >= offset.seen:
            # The broker believes more acknowledged than this store ever held.
            await streams.delete_consumer(self._stream, self._durable)
            info = None
        if info is None:
            await streams.add_consumer(self._stream, self._configuration(offset))
        return offset

    async def _find(self, streams: Any) -> ConsumerInfo | None:
        try:
            info: ConsumerInfo = await streams.consumer_info(self._stream, self._durable)
        except NotFoundError:
            return None
        return info

    def _configuration(self, offset: StreamOffset) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=self._durable,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=offset.position,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=STREAM_REDELIVERY_SECONDS,
            max_deliver=-1,
            max_ack_pending=2 * STREAM_MESSAGES_MAX,
            filter_subject=self._subject or None,
        )

    async def _take(
        self, messages: Sequence[Any], offset: StreamOffset, sink: Sink
    ) -> StreamOffset:
        fresh = [one for one in messages if one.metadata.sequence.stream >= offset.position]
        seen = max(one.metadata.sequence.stream for one in messages) + 1
        offset = offset._replace(seen=max(offset.seen, seen))
        taken = [
            Message(
                one.data,
                one.headers or {},
                f"nats:{self._stream}@{one.metadata.sequence.stream}",
            )
            for one in fresh
        ]
        working = asyncio.create_task(_say_working(messages))
        try:
            await sink.take(taken, [offset])
        finally:
            working.cancel()
        for one in messages:
            await one.ack()
        return offset


async def _say_working(messages: Sequence[Any]) -> None:
    """Keep messages from being given to others while the store takes its time."""
    with suppress(NatsError):
        while True:
            await asyncio.sleep(STREAM_REDELIVERY_SECONDS / 3)
            for one in messages:
                await one.in_progress()

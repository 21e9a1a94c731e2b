"""Delivery through a broker of the Kafka protocol; `lodeline consume` takes it from there.

A message is one event, keyed by its job as `openlineage-python` keys it. It counts as delivered
when all in-sync replicas have it. What is sent twice after a failure is one event in the log: its
consumer recognises the content.

A topic carries events alone. Predictions and blobs need a server, and are refused here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from lodeline.brokers import KAFKA_CONNECTION, kafka_connection, parse_address, shown_broker
from lodeline.errors import DeliveryError, UsageError
from lodeline.limits import BROKER_TIMEOUT_SECONDS, SPOOL_RECORD_BYTES_MAX
from lodeline.transport.transports import Outcome

# The broker is told of by `DeliveryError`, once; the client would write several lines a second.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

_FAILURES: Final = (KafkaError, OSError, TimeoutError)


class KafkaTransport:
    """Delivers to one topic.

    Args:
        url: `kafka://[user:password@]host:port[,…]/topic[?parameters]`.

    Raises:
        UsageError: it names no topic, or several.
    """

    name = "kafka"

    def __init__(self, url: str) -> None:
        self.url = shown_broker(url)
        self._address = parse_address(url, known=KAFKA_CONNECTION)
        if len(self._address.names) != 1:
            raise UsageError(f"{self.url}: one topic is delivered to")
        self._runner = asyncio.Runner()
        self._producer: Any = None

    def close(self) -> None:
        """Say goodbye to the brokers, if they are there."""
        producer, self._producer = self._producer, None
        if producer is not None:
            self._runner.run(_stop(producer))
        self._runner.close()

    def deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[Outcome]:
        """Deliver records in order; see `Transport`.

        Raises:
            DeliveryError: the brokers did not take them now.
        """
        try:
            return self._runner.run(self._deliver(records))
        except _FAILURES as error:
            raise DeliveryError(self.url, str(error) or repr(error)) from error

    async def _deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[Outcome]:
        producer = await self._connected()
        topic = self._address.names[0]
        sent: list[Any] = []
        for kind, payload in records:
            if kind != "event":
                sent.append(f"a Kafka topic takes events alone, and no {kind}")
                continue
            sent.append(await self._send(producer, topic, payload))
        waiting = [one for one in sent if not isinstance(one, str)]
        if waiting:
            await asyncio.wait_for(asyncio.gather(*waiting), BROKER_TIMEOUT_SECONDS)
        return [one if isinstance(one, str) else None for one in sent]

    async def _send(self, producer: Any, topic: str, payload: bytes) -> Any:
        try:
            return await asyncio.wait_for(
                producer.send(topic, payload, key=key_of(payload)), BROKER_TIMEOUT_SECONDS
            )
        except MessageSizeTooLargeError as error:
            return f"too large for the topic: {error}"

    async def _connected(self) -> Any:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **kafka_connection(self._address),
                acks="all",
                compression_type="gzip",
                # The broker says what is too large, not its client.
                max_request_size=SPOOL_RECORD_BYTES_MAX,
                request_timeout_ms=int(1000 * BROKER_TIMEOUT_SECONDS),
            )
            try:
                await asyncio.wait_for(producer.start(), BROKER_TIMEOUT_SECONDS)
            except BaseException:
                await _stop(producer)
                raise
            self._producer = producer
        return self._producer


async def _stop(producer: Any) -> None:
    try:
        await asyncio.wait_for(producer.stop(), BROKER_TIMEOUT_SECONDS)
    except _FAILURES:
        return


def key_of(payload: bytes) -> bytes | None:
    """Key of an event's message: its job, so that a job's events keep their order."""
    job = json.loads(payload).get("job")
    if not isinstance(job, dict):
        return None
    return f"run:{job.get('namespace')}/{job.get('name')}".encode()

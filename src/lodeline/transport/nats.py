"""Delivery through NATS JetStream; `lodeline consume` takes it from there.

A message is one event. It counts as delivered when the stream has acknowledged it: plain NATS,
which keeps nothing, is no transport. Each message names the stream that it is meant for, and its
content as its identity, so that the server drops what comes twice within its window; what comes
twice later is one event in the log.

A stream carries events alone. Predictions and blobs need a server, and are refused here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from lodeline.brokers import NATS_CONNECTION, nats_connection, parse_address, shown_broker
from lodeline.errors import DeliveryError, UsageError
from lodeline.limits import BROKER_TIMEOUT_SECONDS
from lodeline.transport.transports import Outcome

_FAILURES: Final = (nats.errors.Error, OSError, TimeoutError)
# Acknowledgements waited for at a time: the client's own bound on its pending bytes is 2 MB.
_WAITED_FOR: Final = 64


async def _ignore(*_: object) -> None:
    """The client tells of disconnections by errors of its calls, too."""


class NatsTransport:
    """Delivers to one stream.

    Args:
        url: `nats://[user:password@]host:port/STREAM[?subject=…]`, or `tls://`. Without a subject
            it is the stream's only one.

    Raises:
        UsageError: it names no stream, or several.
    """

    name = "nats"

    def __init__(self, url: str) -> None:
        self.url = shown_broker(url)
        self._address = parse_address(url, known=NATS_CONNECTION | {"subject"})
        if len(self._address.names) != 1:
            raise UsageError(f"{self.url}: one stream is delivered to")
        self._stream = self._address.names[0]
        self._subject = ""
        self._runner = asyncio.Runner()
        self._client: Client | None = None
        self._lost = asyncio.Event()

    def close(self) -> None:
        """Say goodbye to the server, if it is there."""
        client, self._client = self._client, None
        if client is not None:
            self._runner.run(_leave(client))
        self._runner.close()

    def deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[Outcome]:
        """Deliver records in order; see `Transport`.

        Raises:
            DeliveryError: the server did not take them now.
        """
        try:
            return self._runner.run(self._deliver(records))
        except _FAILURES as error:
            client, self._client = self._client, None
            if client is not None:
                self._runner.run(_leave(client))
            raise DeliveryError(self.url, str(error) or repr(error)) from error

    async def _deliver(self, records: Sequence[tuple[str, bytes]]) -> Sequence[Outcome]:
        client = await self._connected()
        outcomes: list[Outcome] = []
        for start in range(0, len(records), _WAITED_FOR):
            part = records[start : start + _WAITED_FOR]
            sending = asyncio.gather(*(self._publish(client, *one) for one in part))
            losing = asyncio.ensure_future(self._lost.wait())
            # The client itself would wait for acknowledgements that can no longer come.
            both: set[asyncio.Future[Any]] = {sending, losing}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            losing.cancel()
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
                raise nats.errors.ConnectionClosedError
            outcomes += await sending
        return outcomes

    async def _publish(self, client: Client, kind: str, payload: bytes) -> Outcome:
        if kind != "event":
            return f"a NATS stream takes events alone, and no {kind}"
        if len(payload) > client.max_payload:
            return f"too large for the server: {len(payload)} bytes of {client.max_payload}"
        streams = client.jetstream(timeout=BROKER_TIMEOUT_SECONDS)
        identity = {"Nats-Msg-Id": hashlib.sha256(payload).hexdigest()}
        await streams.publish(self._subject, payload, stream=self._stream, headers=identity)
        return None

    async def _connected(self) -> Client:
        if self._client is None:
            client = Client()
            try:
                await asyncio.wait_for(self._connect(client), 2 * BROKER_TIMEOUT_SECONDS)
                self._subject = await self._find_subject(client)
            except BaseException:
                await _leave(client)
                raise
            self._client = client
        return self._client

    async def _connect(self, client: Client) -> None:
        lost = self._lost = asyncio.Event()

        async def lose() -> None:
            lost.set()

        await client.connect(
            # Opened anew instead, when the deliverer tries again: one way back for every failure.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(BROKER_TIMEOUT_SECONDS),
            error_cb=_ignore,
            disconnected_cb=lose,
            closed_cb=lose,
            **nats_connection(self._address),
        )

    async def _find_subject(self, client: Client) -> str:
        named = self._address.option("subject")
        if named:
            return named
        try:
            info: Any = await client.jetstream(timeout=BROKER_TIMEOUT_SECONDS).stream_info(
                self._stream
            )
        except NotFoundError as error:
            raise DeliveryError(self.url, "the server has no such stream") from error
        except APIError as error:
            raise DeliveryError(self.url, str(error)) from error
        subjects = list(info.config.subjects or ())
        if len(subjects) != 1 or any(mark in subjects[0] for mark in "*>"):
            raise DeliveryError(
                self.url,
                f"the stream has the subjects {', '.join(subjects)}; add ?subject=… to the address",
                retriable=False,
            )
        return str(subjects[0])


async def _leave(client: Client) -> None:
    try:
        if not client.is_closed:
            await asyncio.wait_for(client.close(), BROKER_TIMEOUT_SECONDS)
    except _FAILURES:
        return

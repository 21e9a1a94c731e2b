"""Sending what a stream gives to a service, where the store is not at hand.

No transaction spans the two. How far a stream was taken is written to a file of its own, after the
service has acknowledged everything before it; an acknowledgement means durable. A forwarder that is
killed in between sends some again, and the service recognises it by its content: nothing is lost,
and nothing is doubled. What the headers of messages name travels in those of the request.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

from lodeline.errors import DeliveryError, StoreUnreachableError
from lodeline.limits import (
    COMMIT_EVENTS_MAX,
    FORWARD_BYTES_MAX,
    FORWARD_PAUSE_SECONDS_MAX,
)
from lodeline.store import StreamOffset
from lodeline.store.stream_tables import (
    create_stream_tables,
    drop_offsets,
    read_offsets,
    set_offsets,
)
from lodeline.streams.consuming import Source, Taker
from lodeline.streams.messages import Message
from lodeline.wire.cloud_events import iter_contents, plain_headers
from lodeline.wire.correlation import Correlation, read_correlation
from lodeline.wire.reading import is_whole, iter_raw_events


class Receiver(Protocol):
    """A service that takes events."""

    def deliver(
        self, records: Sequence[tuple[str, bytes]], *, headers: Mapping[str, str]
    ) -> Sequence[str | None]:
        """Deliver records with headers; for each why it is refused, `None` once it is durable.

        Raises:
            DeliveryError: nothing can be said of any of them; all may be sent again.
        """

    def hand_over(self, body: bytes) -> Sequence[str]:
        """Have bytes judged that are no JSON value; the reasons for which they are refused.

        Raises:
            DeliveryError: nothing can be said of them.
        """


class OffsetFile:
    """How far streams were forwarded; of one process at a time.

    Args:
        path: of the file; made if it is not there.

    Attributes:
        group: under which a broker knows the consumers of this file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnreachableError(str(path), str(error.strerror)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # One connection, in turns; what it does is over in milliseconds.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self.group = self._prepare()
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreUnreachableError(
                str(path), "another process forwards with these offsets"
            ) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _prepare(self) -> str:
        with self._writing() as connection:
            create_stream_tables(connection)
            connection.execute("CREATE TABLE IF NOT EXISTS forwarder(name TEXT NOT NULL)")
            row = connection.execute("SELECT name FROM forwarder").fetchone()
            if row is not None:
                return str(row[0])
            # Drawn, since two files must not share a consumer of a broker: each would take the
            # other's messages for its own.
            name = f"lodeline-{uuid.uuid4().hex[:16]}"
            connection.execute("INSERT INTO forwarder VALUES (?)", (name,))
            return name

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StoreUnreachableError(str(self._path), str(error)) from error

    def read(self, source: str) -> list[StreamOffset]:
        """Read the offsets of one source."""
        with self._writing() as connection:
            return read_offsets(connection, source)

    def write(self, offsets: Sequence[StreamOffset]) -> None:
        """Write offsets; one never goes back within its generation."""
        with self._writing() as connection:
            set_offsets(connection, offsets)

    def drop(self, source: str, parts: Sequence[str]) -> None:
        """Forget parts that are gone."""
        with self._writing() as connection:
            drop_offsets(connection, source, parts)

    def close(self) -> None:
        """Let others have it. Idempotent."""
        with self._guard:
            self._connection.close()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1


class _Piece(NamedTuple):
    """An event of a message, or what stands in the place of one.

    Attributes:
        raw: its bytes.
        at: where it stood.
        whole: it is one JSON value, so that it can stand among others.
        correlation: what the headers of its message named.
    """

    raw: bytes
    at: str
    whole: bool
    correlation: Correlation | None = None


class Forwarder(Taker):
    """Sends one source to a service, as the sink of the source.

    Duplicates cannot be told from new events by what the service answers, and count as accepted.

    Args:
        receiver: the service.
        offsets: where it is written how far the source was taken.
        source: of messages.
        report: told what goes wrong, once for each new reason.
        clock_us: gives the time.
    """

    def __init__(
        self,
        receiver: Receiver,
        offsets: OffsetFile,
        source: Source,
        *,
        report: Callable[[str], None],
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(source, report=report)
        self._receiver = receiver
        self._offsets = offsets
        self._clock_us = clock_us

    async def offsets(self) -> dict[str, StreamOffset]:
        """How far the service has the source, by part."""
        found = await asyncio.to_thread(self._offsets.read, self.source.name)
        return {offset.part: offset for offset in found}

    async def take(self, messages: Sequence[Message], offsets: Sequence[StreamOffset]) -> None:
        """Send messages, then write how far they reach.

        Raises:
            DeliveryError: the service does not answer, or refuses the caller; no offset is written.
        """
        pieces = await asyncio.to_thread(lambda: list(_iter_pieces(messages)))
        refused: list[tuple[str, str]] = []
        for batch in _iter_batches(pieces):
            reasons = await self._send(batch)
            told = zip(batch, reasons, strict=True)
            refused += [(piece.at, reason) for piece, reason in told if reason is not None]
        now_us = self._clock_us()
        stamped = [offset._replace(taken_at_us=now_us) for offset in offsets]
        await asyncio.to_thread(self._offsets.write, stamped)
        self.counts.messages += len(messages)
        self.counts.accepted += len(pieces) - len(refused)
        self.counts.refused += len(refused)
        self.note_taken()
        if refused:
            at, reason = refused[0]
            self.report(f"{len(refused)} refused by the service, the first at {at}: {reason}")

    async def _send(self, batch: Sequence[_Piece]) -> Sequence[str | None]:
        """Send a batch, again and again while the service says that it has no room now.

        Pressure is no fault: nothing is asked of the source meanwhile, so that it is held back.
        """
        while True:
            try:
                return await asyncio.to_thread(self._deliver, batch)
            except DeliveryError as error:
                if not (error.retriable and error.retry_after):
                    raise
                self.report(str(error))
                await self.wait(min(error.retry_after, FORWARD_PAUSE_SECONDS_MAX))
                if self.should_stop():
                    raise

    def _deliver(self, batch: Sequence[_Piece]) -> Sequence[str | None]:
        if batch[0].whole:
            named = batch[0].correlation
            headers = {} if named is None else named.to_headers()
            return self._receiver.deliver([("event", one.raw) for one in batch], headers=headers)
        [piece] = batch
        return [next(iter(self._receiver.hand_over(piece.raw)), None)]

    async def forget(self, parts: Sequence[str]) -> None:
        """Drop the offsets of parts that are gone."""
        await asyncio.to_thread(self._offsets.drop, self.source.name, parts)

    async def rest(self) -> None:
        """Nothing waits at the source; the service folds by itself."""


def _iter_pieces(messages: Sequence[Message]) -> Iterator[_Piece]:
    """Take the events out of messages; the service judges them, and keeps what it refuses."""
    for message in messages:
        empty = True
        for content in iter_contents(message.body, plain_headers(message.headers)):
            if content.fault is not None:
                empty = False
                yield _Piece(content.raw, message.at, is_whole(content.raw))
                continue
            named = read_correlation(content.headers)
            for found in iter_raw_events(BytesIO(content.raw)):
                empty = False
                at = message.at if found.at == "1" else f"{message.at}:{found.at}"
                yield _Piece(found.raw, at, is_whole(found.raw), named)
        if empty:
            # A message without a body says nothing; that it came is kept all the same.
            yield _Piece(b"", message.at, whole=False)


def _iter_batches(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Put what is whole and of the same headers together, as much as a request holds.

    What is not whole goes alone.
    """
    batch: list[_Piece] = []
    byte_count = 0
    for piece in pieces:
        full = len(batch) >= COMMIT_EVENTS_MAX or byte_count + len(piece.raw) > FORWARD_BYTES_MAX
        other = bool(batch) and piece.correlation != batch[0].correlation
        if batch and (full or other or not piece.whole):
            yield batch
            batch, byte_count = [], 0
        if not piece.whole:
            yield [piece]
            continue
        batch.append(piece)
        byte_count += len(piece.raw)
    if batch:
        yield batch

"""A model server behind the proxy: connections, and one request on them at a time.

HTTP/1.1 over plain sockets or TLS. Bodies stream through in both directions with at most
`PROXY_BUFFER_BYTES` held; the slower side sets the pace. An answer that arrives before the request
is sent whole is passed on, and the connection given up.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httptools

from lodeline.errors import UpstreamError, UsageError
from lodeline.limits import (
    PROXY_BUFFER_BYTES,
    PROXY_CONNECTIONS_MAX,
    PROXY_HEAD_BYTES_MAX,
    PROXY_IDLE_SECONDS,
)

Headers = Sequence[tuple[bytes, bytes]]
# Those may be sent again when an idle connection turns out to be gone (RFC 9110, section 9.2.2).
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a model server listens.

    Attributes:
        url: as given.
        host: name or address.
        port: number.
        authority: for the `Host` header.
        base: path in front of every request's; without a slash at its end.
        tls: `None` for plain HTTP.
    """

    url: str
    host: str
    port: int
    authority: str
    base: str
    tls: ssl.SSLContext | None


def parse_target(url: str) -> Target:
    """Read an upstream's URL.

    Raises:
        UsageError: not `http://` or `https://` with a host, or it carries more than a path.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"no URL of an upstream: {url!r}: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"an upstream is http://HOST[:PORT] or https://…, not {url!r}")
    if parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"an upstream has no login, query or fragment: {url!r}")
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    return Target(
        url.rstrip("/"),
        parts.hostname,
        port or (80 if tls is None else 443),
        parts.netloc,
        parts.path.rstrip("/"),
        tls,
    )


@dataclass(slots=True)
class _Parsed:
    """What the parser has seen of an answer; its methods are httptools' callbacks."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    has_head: bool = False
    complete: bool = False
    keeps_alive: bool = False
    parser: Any = None

    def on_message_begin(self) -> None:
        """After an interim answer (100, 103) the real one begins anew."""
        self.headers.clear()
        self.has_head = self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_head = True
        # Once the message is complete, the parser has forgotten it.
        self.keeps_alive = bool(self.parser.should_keep_alive())

    def on_body(self, data: bytes) -> None:
        self.chunks.append(data)

    def on_message_complete(self) -> None:
        self.complete = True


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool = False
    idle_since: float = 0.0

    @property
    def is_gone(self) -> bool:
        late = time.monotonic() - self.idle_since > PROXY_IDLE_SECONDS
        return late or self.reader.at_eof() or self.writer.is_closing()

    def close(self) -> None:
        self.writer.close()


class Upstream:
    """One model server.

    Args:
        target: where it listens.
        timeout: seconds for connecting, for the head of an answer, and for each further piece.
    """

    def __init__(self, target: Target, *, timeout: float) -> None:
        self.target = target
        self._timeout = timeout
        self._idle: deque[_Connection] = deque()
        self._free = asyncio.Semaphore(PROXY_CONNECTIONS_MAX)

    async def ask(
        self, method: str, path: bytes, headers: Headers, body: RequestBody
    ) -> UpstreamAnswer:
        """Send a request and wait for the head of its answer, which the caller must close.

        Args:
            method: of the request.
            path: and query, as sent to us.
            headers: all that the upstream is to see.
            body: of the request.

        Raises:
            UpstreamError: it does not answer, or not in HTTP.
        """
        await self._free.acquire()
        try:
            head = _head(method, self.target.base.encode() + path, headers)
            while True:
                connection = await self._connect()
                try:
                    return await self._begin(connection, method, head, body)
                except UpstreamError:
                    stale = connection.used and body.is_whole and method in _REPEATABLE
                    connection.close()
                    if not stale:
                        raise
                except BaseException:
                    connection.close()
                    raise
        except BaseException:
            self._free.release()
            raise

    async def _connect(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_gone:
                return connection
            connection.close()
        target = self.target
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(
                    target.host, target.port, ssl=target.tls, limit=PROXY_BUFFER_BYTES
                )
        except TimeoutError as error:
            raise UpstreamError(target.url, "no connection in time", timed_out=True) from error
        except OSError as error:
            raise UpstreamError(target.url, str(error)) from error
        writer.transport.set_write_buffer_limits(PROXY_BUFFER_BYTES)
        return _Connection(reader, writer)

    async def _begin(
        self, connection: _Connection, method: str, head: bytes, body: RequestBody
    ) -> UpstreamAnswer:
        writer = connection.writer
        writer.write(head + body.first if body.first else head)
        sending = None if body.is_whole else asyncio.create_task(body.send(writer))
        answer = UpstreamAnswer(self, connection, sending, is_head=method == "HEAD")
        try:
            await answer.read_head()
        except BaseException:
            answer.stop_sending()
            raise
        return answer

    def release(self, connection: _Connection, *, reusable: bool) -> None:
        """Take a connection back."""
        self._free.release()
        if reusable:
            connection.used, connection.idle_since = True, time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    async def receive(self, connection: _Connection) -> bytes:
        """Read the next piece; empty at the end.

        Raises:
            UpstreamError: it fails, or takes too long.
        """
        url = self.target.url
        try:
            async with asyncio.timeout(self._timeout):
                return await connection.reader.read(PROXY_BUFFER_BYTES)
        except TimeoutError as error:
            said = f"silent for {self._timeout:g} seconds"
            raise UpstreamError(url, said, timed_out=True) from error
        except OSError as error:
            raise UpstreamError(url, str(error)) from error

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()


class RequestBody:
    """A request's body on its way through.

    Args:
        first: what has arrived of it, in the form in which it is sent.
        rest: what comes after it; `None` where nothing does. It raises `EOFError` where the client
            leaves before the end.
    """

    def __init__(self, first: bytes, rest: AsyncIterator[bytes] | None) -> None:
        self.first = first
        self._rest = rest

    @property
    def is_whole(self) -> bool:
        """Whether nothing more comes."""
        return self._rest is None

    async def send(self, writer: asyncio.StreamWriter) -> None:
        """Send the rest, as fast as the upstream takes it."""
        assert self._rest is not None
        try:
            await writer.drain()
            async for piece in self._rest:
                writer.write(piece)
                await writer.drain()
        except EOFError:
            # The client left: the upstream must not take half a body for a whole one.
            writer.transport.abort()
        except OSError:
            # What became of the connection is learned by reading the answer, which may be there.
            return


class UpstreamAnswer:
    """An answer: its head has arrived, its body is still to be read."""

    def __init__(
        self,
        upstream: Upstream,
        connection: _Connection,
        sending: asyncio.Task[None] | None,
        *,
        is_head: bool,
    ) -> None:
        self._upstream, self._connection, self._sending = upstream, connection, sending
        self._is_head = is_head
        self._parsed = _Parsed()
        self._parser: Any = httptools.HttpResponseParser(self._parsed)
        self._parsed.parser = self._parser
        self._reusable = False
        self._is_interim = False

    @property
    def status(self) -> int:
        """The status code."""
        code: int = self._parser.get_status_code()
        return code

    @property
    def is_sending(self) -> bool:
        """Whether the request is not sent whole yet."""
        return self._sending is not None and not self._sending.done()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As sent."""
        return self._parsed.headers

    async def read_head(self) -> None:
        """Read up to the end of the head, skipping interim answers.

        Raises:
            UpstreamError: it fails.
        """
        seen = 0
        parsed = self._parsed
        while not parsed.has_head or self.status < 200:
            data = await self._upstream.receive(self._connection)
            seen += len(data)
            if seen > PROXY_HEAD_BYTES_MAX:
                raise self._fault("the head of its answer is too long")
            if not data:
                raise self._fault("it closed the connection without an answer")
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise self._fault("it changes to a protocol that was not asked for") from error
        except httptools.HttpParserError as error:
            if not (self._is_head and self._parsed.has_head):
                raise self._fault(f"its answer is not HTTP: {error}") from error
        if self._is_head and self._parsed.has_head:
            self._parsed.complete = True

    def _fault(self, reason: str) -> UpstreamError:
        return UpstreamError(self._upstream.target.url, reason)

    async def iter_body(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Give the body piece by piece, each with whether more comes.

        Raises:
            UpstreamError: it breaks off.
        """
        parsed = self._parsed
        if self._is_head:
            yield b"", False
        while not self._is_head:
            piece = b"".join(parsed.chunks)
            parsed.chunks.clear()
            if parsed.complete:
                self._reusable = parsed.keeps_alive
                yield piece, False
                return
            if piece:
                yield piece, True
            data = await self._upstream.receive(self._connection)
            if data:
                self._feed(data)
            elif self._ends_by_closing():
                yield b"", False
                return
            else:
                raise self._fault("it broke off its answer")

    def _ends_by_closing(self) -> bool:
        names = {name.lower() for name, _ in self._parsed.headers}
        return not names & {b"content-length", b"transfer-encoding"}

    def stop_sending(self) -> bool:
        """Send no more of the request; gives whether it was sent whole."""
        if self._sending is None or not self.is_sending:
            return True
        self._sending.cancel()
        return False

    def close(self) -> None:
        """Give the connection back, or up."""
        whole = self.stop_sending()
        self._upstream.release(self._connection, reusable=self._reusable and whole)


def _head(method: str, path: bytes, headers: Headers) -> bytes:
    lines = [method.encode("latin-1") + b" " + (path or b"/") + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"

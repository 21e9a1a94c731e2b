"""Bounds on connections: how many, how long each may take to say something, how much at once.

uvicorn parses and answers; what it leaves unbounded is bounded here: the time and size of a
request's head, the pace of its body, clients that stop reading, idle connections, and their
number. Past the number the connection that has been quiet longest makes room, so that ten thousand
silent ones keep nobody out.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lodeline.errors import (
    BusyError,
    HeadTooLargeError,
    InvalidEventError,
    LodelineError,
    MalformedRequestError,
    SlowClientError,
)
from lodeline.limits import (
    BODY_BYTES_PER_SECOND_MIN,
    BODY_SECONDS_MAX,
    CONNECTIONS_MAX,
    DIRECT_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEAD_SECONDS_MAX,
    IDLE_SECONDS_MAX,
    PIPELINED_REQUESTS_MAX,
    REQUEST_BYTES_MAX,
    UNREAD_SECONDS_MAX,
)
from lodeline.server.direct import ONE, Direct, Headers
from lodeline.server.refusals import RETRY_AFTER_SECONDS, error_object

_SWEEP_SECONDS: Final = 0.5
_HEAD_TOO_LARGE: Final = f"the request's head has more than {HEAD_BYTES_MAX} bytes"
_REASONS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a server grants its connections; `limits` has the reasons.

    Attributes:
        connections: open at a time.
        head_seconds: for a request's head.
        body_seconds: for a body that keeps no pace.
        idle_seconds: of silence between requests.
        unread_seconds: that an answer may stay unread.
    """

    connections: int = CONNECTIONS_MAX
    head_seconds: float = HEAD_SECONDS_MAX
    body_seconds: float = BODY_SECONDS_MAX
    idle_seconds: float = IDLE_SECONDS_MAX
    unread_seconds: float = UNREAD_SECONDS_MAX


class Phase(Enum):
    """Whose turn it is on a connection."""

    IDLE = "idle"  # Nothing of a request has arrived.
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"  # The request is whole.


class Guard:
    """The connections of one server.

    Args:
        bounds: of each of them, and their number.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._all: set[GuardedProtocol] = set()
        # Those that owe us a request, the quietest first.
        self._quiet: dict[GuardedProtocol, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, connection: GuardedProtocol) -> bool:
        """Take a connection in; False where no other can make room."""
        if len(self._all) >= self.bounds.connections:
            quietest = next(iter(self._quiet), None)
            if quietest is None:
                return False
            quietest.drop()
        self._all.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(_SWEEP_SECONDS, self._sweep, connection.loop)
        return True

    def note(self, connection: GuardedProtocol) -> None:
        """Take note that a connection's phase changed."""
        self._quiet.pop(connection, None)
        # Four times a request; a set would hash the phases in Python.
        if connection.phase is Phase.IDLE or connection.phase is Phase.HEAD:
            self._quiet[connection] = None

    def release(self, connection: GuardedProtocol) -> None:
        """Forget a connection."""
        self._all.discard(connection)
        self._quiet.pop(connection, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._all):
            connection.check(now)
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep, loop) if self._all else None


class _OutOfBoundsError(Exception):
    """Carries a refusal out of the parser's callbacks."""


class _NoEvent:
    """Stands where nobody waits for a message."""

    def set(self) -> None:
        """Wake nobody."""


_NO_EVENT: Final = _NoEvent()
_DIRECT_TARGET: Final = ONE.encode()
# Fields whose requests go the ordinary way, which knows what they mean.
_ORDINARY: Final = frozenset({b"content-encoding", b"transfer-encoding", b"expect", b"upgrade"})


class _DirectCycle:
    """A request on its short way, in the place of uvicorn's cycle of request and response."""

    __slots__ = (
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, scope: Any, *, keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = _NO_EVENT


class GuardedProtocol(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn's types are optional
    """uvicorn's protocol for one connection, within bounds.

    Args:
        guard: of the server.
        direct: takes single events; without it they go the ordinary way.
        arguments: uvicorn's.
    """

    def __init__(self, guard: Guard, direct: Direct | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._guard = guard
        self._direct = direct
        self.phase = Phase.IDLE
        self._since = 0.0
        self._unread_since: float | None = None
        self._head_bytes = 0
        self._request_bytes = 0
        self._refusal: tuple[int, LodelineError] | None = None

    # From the transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a new connection, or refuse it."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if self._guard.admit(self):
            self._guard.note(self)
        else:
            self._refuse(503, BusyError("every connection is at work"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._guard.release(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self.transport.is_closing():
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._request_bytes += len(data)
        super().data_received(data)
        # The parser keeps an unfinished header line to itself, so bytes are counted, too.
        if self.phase is Phase.HEAD and self._request_bytes > HEAD_BYTES_MAX:
            self._refuse(431, HeadTooLargeError(_HEAD_TOO_LARGE))
        elif self._request_bytes > REQUEST_BYTES_MAX:
            message = f"more than {REQUEST_BYTES_MAX} bytes in one request"
            self._refuse(413, InvalidEventError("event.too_large", "", message))

    def pause_writing(self) -> None:
        """Note that the client reads slower than it is answered."""
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that it reads on."""
        super().resume_writing()
        self._unread_since = None

    # From the parser

    def on_message_begin(self) -> None:
        """Begin a request; the first of a pipeline counts from its own bytes."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the target as a part of the head."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header field, or one of a chunked body's trailer."""
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to answer."""
        if len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
            self._refusal = (503, BusyError("too many requests in one pipeline"))
            raise _OutOfBoundsError
        self._request_bytes = 0
        self._enter(Phase.BODY)
        if self._direct is None or not self._may_go_directly():
            super().on_headers_complete()
            return
        self.scope["method"] = "POST"
        self.scope["path"] = ONE
        self.scope["raw_path"] = _DIRECT_TARGET
        self.scope["query_string"] = b""
        self.cycle = _DirectCycle(self.scope, keep_alive=self.parser.should_keep_alive())

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._request_bytes = 0
        answered = self.cycle is not None and self.cycle.response_complete
        self._enter(Phase.IDLE if answered else Phase.ANSWER)
        super().on_message_complete()
        cycle = self.cycle
        if isinstance(cycle, _DirectCycle) and self._direct is not None and not answered:
            body = bytes(cycle.body)
            cycle.body.clear()
            self._direct.take(cycle.scope, body, partial(self._answer_directly, cycle))

    def on_response_complete(self) -> None:
        """Await the next request, unless this one is still being sent."""
        super().on_response_complete()
        if self.phase is Phase.ANSWER and not self.pipeline:
            self._enter(Phase.IDLE)

    # The short way

    def _may_go_directly(self) -> bool:
        """Tell whether a request is one small event, and its connection free to be answered."""
        if self.url != _DIRECT_TARGET or self.parser.get_method() != b"POST":
            return False
        cycle = self.cycle
        if self.pipeline or not (cycle is None or cycle.response_complete):
            return False
        # A client that does not read its answers waits, the ordinary way.
        if self.flow.write_paused or self.parser.get_http_version() != "1.1":
            return False
        length = b""
        for name, value in self.headers:
            if name in _ORDINARY:
                return False
            if name == b"content-length":
                length = value
        return length.isdigit() and int(length) <= DIRECT_BYTES_MAX

    def _answer_directly(
        self, cycle: _DirectCycle, status: int, headers: Headers, body: bytes
    ) -> None:
        """Write a whole answer, and go on with what waits on the connection."""
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_complete = True
        content = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            content += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            content.append(b"connection: close\r\n")
        content.append(b"content-length: %d\r\n\r\n" % len(body))
        content.append(body)
        self.transport.write(b"".join(content))
        if not cycle.keep_alive:
            self.transport.close()
        if self.pipeline or self.transport.is_closing():
            self.on_response_complete()
            return
        # As there, without a timer of uvicorn's a request: the guard ends idle connections.
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        if self.phase is Phase.ANSWER:
            self._enter(Phase.IDLE)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or goes beyond a bound."""
        self._refuse(*(self._refusal or (400, MalformedRequestError(msg))))

    # Bounds

    def check(self, now: float) -> None:
        """End the connection if its turn has lasted too long."""
        bounds = self._guard.bounds
        elapsed = now - self._since
        if self.phase is Phase.IDLE:
            if elapsed > bounds.idle_seconds:
                self.drop()
        elif self.phase is Phase.HEAD:
            if elapsed > bounds.head_seconds:
                message = f"the request's head took more than {bounds.head_seconds} seconds"
                self._refuse(408, SlowClientError(message))
        elif self.phase is Phase.BODY:
            if self.flow.read_paused:
                # Ours to read on: the client is not at fault.
                self._since += _SWEEP_SECONDS
            elif elapsed > bounds.body_seconds + self._request_bytes / BODY_BYTES_PER_SECOND_MIN:
                message = f"the body came slower than {BODY_BYTES_PER_SECOND_MIN} bytes a second"
                self._refuse(408, SlowClientError(message))
        if self._unread_since is not None and now - self._unread_since > bounds.unread_seconds:
            self.transport.abort()

    def drop(self) -> None:
        """Close a connection that owes a request."""
        self._guard.release(self)
        self.transport.close()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._since = self.loop.time()
        self._guard.note(self)

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refusal = (431, HeadTooLargeError(_HEAD_TOO_LARGE))
            raise _OutOfBoundsError

    def _refuse(self, status: int, error: LodelineError) -> None:
        """Answer in our words, unless an answer has begun, and close."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not answering and not self.pipeline:
            body = json.dumps(error_object(error)).encode()
            lines = [
                b"HTTP/1.1 %d %s" % (status, _REASONS[status]),
                b"content-type: application/json",
                b"content-length: %d" % len(body),
                b"connection: close",
            ]
            if status in {408, 503}:
                lines.append(b"retry-after: %d" % RETRY_AFTER_SECONDS)
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if cycle is not None:
            # Whoever still reads the body or writes an answer learns that the client is gone.
            cycle.disconnected = True
            cycle.message_event.set()
        self._guard.release(self)
        self.transport.close()

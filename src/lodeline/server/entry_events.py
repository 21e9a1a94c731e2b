"""GET /api/v2/events: what comes into the graph, as server-sent events.

One message an entry of the log, once the graph has it: its position is the message's `id`, its kind
the `event`, and `data` names the nodes that it says something about, as far as the reader may see
them. A reader who comes back with `Last-Event-ID` goes on where it left off. Every stream ends
after `EVENT_STREAM_SECONDS_MAX`, so that the gate sees its reader again; browsers come back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lodeline.errors import LodelineError, TooManyStreamsError, UsageError
from lodeline.fold.subjects import entry_nodes
from lodeline.limits import (
    EVENT_STREAM_ENTRIES_MAX,
    EVENT_STREAM_HEARTBEAT_SECONDS,
    EVENT_STREAM_PAUSE_SECONDS,
    EVENT_STREAM_SECONDS_MAX,
)
from lodeline.model import format_time, parse_identifier
from lodeline.query.asking import Inquiry
from lodeline.query.consulting import consult
from lodeline.query.permission import Authoriser
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.taking import Receive, Scope, Send
from lodeline.store import Segment, StoredEntry
from lodeline.store.connections import has_table

_PATH: Final = "/api/v2/events"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EntryEvents:
    """The stream of entries.

    Args:
        segment: whose log is told.
        streams_max: listeners at a time.
        pause_seconds: between two looks at the graph, for all listeners together.
        heartbeat_seconds: between two signs of life.
    """

    def __init__(
        self,
        segment: Segment,
        *,
        streams_max: int,
        pause_seconds: float = EVENT_STREAM_PAUSE_SECONDS,
        heartbeat_seconds: float = EVENT_STREAM_HEARTBEAT_SECONDS,
    ) -> None:
        self._segment = segment
        self._streams_max = streams_max
        self._pause_seconds = pause_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._streams = 0
        self._folded = 0
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def streams(self) -> int:
        """Listeners now."""
        return self._streams

    def stop(self) -> None:
        """End every stream; a service that stops waits for answers to end."""
        self._stopping = True
        self._changed.set()

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the one endpoint."""
        since = {
            "name": "since",
            "in": "query",
            "required": False,
            "description": "Position of the first entry that is told; without it, the next one.",
            "schema": {"type": "integer", "minimum": 0},
        }
        last = {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "Position of the last entry that was told.",
            "schema": {"type": "integer", "minimum": 0},
        }
        stream = {"text/event-stream": {"schema": {"type": "string"}}}
        operation = {
            "parameters": [since, last],
            "responses": {"200": {"description": "The stream", "content": stream}},
        }
        summary = "What comes into the graph, as server-sent events"
        return [Endpoint("GET", _PATH, Permission.READ, self.listen, summary, operation)]

    async def listen(self, request: Request, caller: Caller) -> Response:
        """Begin a stream."""
        if set(request.query_params) - {"since"}:
            raise UsageError("events takes since alone")
        since = _position(request.query_params.get("since"), "since")
        last = _position(request.headers.get("last-event-id"), "Last-Event-ID")
        self._folded = await asyncio.to_thread(self._read_folded)
        start = self._folded
        if last is not None:
            start = last + 1
        elif since is not None:
            start = since
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=_HEADERS)
        if self._streams >= self._streams_max or self._stopping:
            raise TooManyStreamsError(self._streams_max)
        # Counted here, not at the first message: what comes between would go beyond the bound.
        self._streams += 1
        return _Stream(self._messages(start, caller.authoriser), self._left)

    def _left(self) -> None:
        self._streams -= 1

    async def _messages(self, start: int, authoriser: Authoriser) -> AsyncIterator[bytes]:
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        yield b"retry: 1000\n\n"
        position = start
        ends = time.monotonic() + EVENT_STREAM_SECONDS_MAX
        while not self._stopping and time.monotonic() < ends:
            changed = self._changed
            if position < self._folded:
                stop = min(self._folded, position + EVENT_STREAM_ENTRIES_MAX)
                text = await asyncio.to_thread(self._tell, position, stop, authoriser)
                position = stop
                if text:
                    yield text
                continue
            try:
                await asyncio.wait_for(changed.wait(), self._heartbeat_seconds)
            except TimeoutError:
                yield b": still here\n\n"

    async def _watch(self) -> None:
        """Look at the graph for all listeners, as long as there are any."""
        while self._streams and not self._stopping:
            try:
                folded = await asyncio.to_thread(self._read_folded)
            except LodelineError:
                folded = self._folded  # Told where it is asked about; the stream goes on later.
            if folded != self._folded:
                self._folded = folded
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(self._pause_seconds)

    def _read_folded(self) -> int:
        with self._segment.reading() as connection:
            if not has_table(connection, "fold_state"):
                return 0
            row = connection.execute("SELECT max(folded_to) FROM fold_state").fetchone()
        return int(row[0] or 0)

    def _tell(self, start: int, stop: int, authoriser: Authoriser) -> bytes:
        entries = self._segment.iter_entries(start, stop)
        if authoriser.sees_all:
            return b"".join(_message(entry, _nodes(entry)) for entry in entries)
        with consult(self._segment, authoriser=authoriser) as inquiry:
            told = ((entry, _visible(_nodes(entry), inquiry)) for entry in entries)
            # Of an entry of which the reader may see no node, nothing is told.
            return b"".join(_message(entry, nodes) for entry, nodes in told if nodes)


class _Stream(StreamingResponse):  # type: ignore[misc]  # starlette's types are optional
    """A stream that tells when its reader has left, however that came."""

    def __init__(self, messages: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        super().__init__(messages, media_type="text/event-stream", headers=_HEADERS)
        self._told_left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._told_left()


def _message(entry: StoredEntry, nodes: Sequence[str]) -> bytes:
    """Write what is told of one entry."""
    data = {
        "position": entry.position,
        "kind": entry.kind,
        "log_time": format_time(entry.log_time_us),
        "nodes": nodes,
    }
    text = json.dumps(data, ensure_ascii=False)
    return f"id: {entry.position}\nevent: {entry.kind}\ndata: {text}\n\n".encode(
        "utf-8", "surrogatepass"
    )


def _nodes(entry: StoredEntry) -> list[str]:
    return [] if entry.payload is None else sorted(entry_nodes(entry.kind, entry.payload))


def _visible(found: Sequence[str], inquiry: Inquiry) -> list[str]:
    """Keep what a reader may see: a name goes by what its node is called, a run by all its jobs."""
    may_see, canonical = inquiry.visibility.may_see, inquiry.view.canonical
    nodes = [parse_identifier(text) for text in found]
    return [str(node) for node in nodes if may_see(node) and may_see(canonical(node))]


def _position(text: str | None, name: str) -> int | None:
    if text is None or not text.strip():
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UsageError(f"{name} is a position of the log, not {text[:32]!r}")
    return int(text)

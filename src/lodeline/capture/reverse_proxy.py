"""The reverse proxy behind `lodeline proxy`: an ASGI application that asks a model server.

It stands inside the serving middleware, which records what passes. Here is HTTP alone: hop-by-hop
headers stay on their hop (RFC 9110, section 7.6.1), bodies stream, correlation headers go along,
and an upstream that fails is told apart from one that answers with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, Self

from lodeline.capture.serving import HEADER, outgoing_headers
from lodeline.capture.upstream import RequestBody, Upstream, UpstreamAnswer
from lodeline.errors import UpstreamError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"}
    | {b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# Made anew for the upstream.
_OURS: Final = frozenset(
    {b"host", b"expect", b"traceparent", b"tracestate", b"baggage"}
    | {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
)
_VIA: Final = b"1.1 lodeline"


class ReverseProxy:
    """Passes requests to one model server.

    Args:
        upstream: made when the loop runs.
    """

    def __init__(self, upstream: Callable[[], Upstream]) -> None:
        self._make_upstream = upstream
        self._upstream: Upstream | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1011})
        elif any(name == b"upgrade" for name, _ in scope["headers"]):
            told = "this proxy passes HTTP/1.1 requests; it opens no WebSocket and no other tunnel"
            await _tell(send, 501, "proxy.upgrade", told)
        else:
            await self._pass(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                if self._upstream is not None:
                    self._upstream.close()
                return

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._upstream is None:
            self._upstream = self._make_upstream()
        try:
            body = await _body_of(scope, receive)
            if body is None:
                return
            answer = await self._upstream.ask(
                scope["method"], _path_of(scope), self._headers_for(scope), body
            )
        except UpstreamError as error:
            status, code = (504, "silent") if error.timed_out else (502, "unreachable")
            await _tell(send, status, f"proxy.upstream_{code}", str(error), url=error.url)
            return
        try:
            await _give(answer, receive, send)
        finally:
            answer.close()

    def _headers_for(self, scope: Scope) -> Headers:
        assert self._upstream is not None
        given: Headers = scope["headers"]
        headers = _end_to_end(given, _HOP_BY_HOP | _OURS)
        found = dict(given)
        headers.insert(0, (b"host", self._upstream.target.authority.encode()))
        client = str((scope.get("client") or ("unknown",))[0]).encode()
        before = found.get(b"x-forwarded-for")
        headers.append((b"x-forwarded-for", client if before is None else before + b", " + client))
        if b"host" in found:
            headers.append((b"x-forwarded-host", found.get(b"x-forwarded-host", found[b"host"])))
        proto = found.get(b"x-forwarded-proto", scope.get("scheme", "http").encode())
        headers.append((b"x-forwarded-proto", proto))
        headers.append((b"via", _VIA))
        if is_chunked(given):
            headers.append((b"transfer-encoding", b"chunked"))
        if scope["method"] == "POST":
            correlation = outgoing_headers(begin_trace=new_traceparent)
        else:
            correlation = {
                name: value.decode("latin-1")
                for name in ("traceparent", "tracestate", "baggage")
                if (value := found.get(name.encode())) is not None
            }
        headers += [(k.encode(), v.encode("latin-1", "replace")) for k, v in correlation.items()]
        return headers


def new_traceparent() -> str:
    """Begin a trace (W3C Trace Context, version 00), not sampled: nobody else records it."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


def is_chunked(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body comes in chunks, its length untold."""
    return any(name.lower() == b"transfer-encoding" for name, _ in headers)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], left_out: frozenset[bytes]) -> Headers:
    """Leave out what is meant for one hop, and what `Connection` says is."""
    headers = list(headers)
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in left_out and name.lower() not in named
    ]


def _path_of(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path


async def _body_of(scope: Scope, receive: Receive) -> RequestBody | None:
    """Give the request's body; `None` where the client has gone."""
    chunked = is_chunked(scope["headers"])
    message = await receive()
    if message["type"] != "http.request":
        return None
    first = _framed(message.get("body", b""), chunked=chunked)
    if message.get("more_body"):
        return RequestBody(first, _rest(receive, chunked=chunked))
    return RequestBody(first + b"0\r\n\r\n" if chunked else first, None)


async def _rest(receive: Receive, *, chunked: bool) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise EOFError("the client has gone")
        piece = _framed(message.get("body", b""), chunked=chunked)
        if not message.get("more_body"):
            yield piece + b"0\r\n\r\n" if chunked else piece
            return
        if piece:
            yield piece


def _framed(piece: bytes, *, chunked: bool) -> bytes:
    if not chunked or not piece:
        return piece
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


async def _give(answer: UpstreamAnswer, receive: Receive, send: Send) -> None:
    headers = _end_to_end(answer.headers, _HOP_BY_HOP | {HEADER})
    headers.append((b"via", _VIA))
    headers = [(name.lower(), value) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async with _Watching(receive) as watching:
        async for piece, more in answer.iter_body():
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            if more and not answer.is_sending:
                watching.begin()


class _Watching:
    """Frees the model server from an answer, such as a stream of events, whose client has gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self._has_gone = False

    def begin(self) -> None:
        current = asyncio.current_task()
        if self._task is None and current is not None:
            self._task = asyncio.create_task(self._watch(current))

    async def _watch(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_gone = True
        task.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._has_gone and kind is asyncio.CancelledError:
            current = asyncio.current_task()
            assert current is not None
            current.uncancel()
            raise ConnectionResetError("the client has gone")


async def _tell(send: Send, status: int, code: str, message: str, **more: str) -> None:
    body = json.dumps({"code": code, "message": message, **more}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

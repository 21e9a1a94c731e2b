"""Every request observed once: its figures, its line in the diagnostics, its span.

Handlers know nothing of it; what only they know, they tell by `noting.note`.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from lodeline.server.metrics import Metrics
from lodeline.server.noting import KEY, ObservedRequest
from lodeline.server.refusals import fault_object
from lodeline.server.tracing import OpenTelemetry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Header = tuple[bytes, bytes]

_logger: Final = logging.getLogger("lodeline.requests")
_ID_HEADER: Final = b"lodeline-request-id"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
# Status of an answer that was never begun, as nginx logs it: the client left.
_CLIENT_LEFT: Final = 499


class Observing:
    """Wraps an application.

    Args:
        metrics: counts requests.
        tracing: makes spans, if any are wanted.
        requests: which are told at level `info`: `refused` or `all`.
    """

    def __init__(
        self, metrics: Metrics, tracing: OpenTelemetry | None = None, *, requests: str = "refused"
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._all = requests == "all"
        # Changed in the event loop's thread alone: a number needs no lock.
        self._in_progress = 0
        name = "lodeline_http_requests_in_progress"
        metrics.read([name], lambda: {name: {(): self._in_progress}})

    async def serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and observe it."""
        if self._tracing is None:
            await self._observe(app, scope, receive, send, ObservedRequest(_request_id(scope)))
            return
        method = _method(scope)
        with self._tracing.request(_trace_headers(scope), method) as span:
            request = ObservedRequest(span.trace_id)
            await self._observe(app, scope, receive, send, request)
            span.end(method, request.route, request.status)

    @property
    def direct(self) -> bool:
        """Whether `begin` and `end` may observe requests: a span needs the chain of calls."""
        return self._tracing is None

    def begin(self, scope: Scope, route: str) -> tuple[ObservedRequest, float]:
        """Begin to observe a request that no coroutine serves; `end` is to follow."""
        request = scope[KEY] = ObservedRequest("")
        request.route = route
        self._in_progress += 1
        return request, time.perf_counter()

    def end(self, scope: Scope, request: ObservedRequest, started: float, status: int) -> None:
        """Observe the end of such a request."""
        self._in_progress -= 1
        request.status = status
        self._tell(scope, request, started)

    @staticmethod
    def identify(scope: Scope, request: ObservedRequest) -> Header:
        """Give the header that names a request; most need none, and have no name till then."""
        request.request_id = request.request_id or _request_id(scope)
        return (_ID_HEADER, request.request_id.encode())

    async def _observe(
        self, app: App, scope: Scope, receive: Receive, send: Send, request: ObservedRequest
    ) -> None:
        scope[KEY] = request

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                if request.status >= 400:
                    extra = self.identify(scope, request)
                    message = {**message, "headers": [*message.get("headers", ()), extra]}
            await send(message)

        started = time.perf_counter()
        self._in_progress += 1
        try:
            await app(scope, receive, sending)
        except Exception:
            # The outermost door: a fault of ours is told once, with its traceback, and answered.
            _logger.exception("a request failed", extra=_fields(scope, request, started))
            if not request.status:
                await _send_fault(sending, request)
        finally:
            self._in_progress -= 1
            self._tell(scope, request, started)

    def _tell(self, scope: Scope, request: ObservedRequest, started: float) -> None:
        request.status = request.status or _CLIENT_LEFT
        self._metrics.count(
            "lodeline_http_requests_total", _method(scope), request.route, str(request.status)
        )
        self._metrics.observe(
            "lodeline_http_request_seconds", time.perf_counter() - started, request.route
        )
        level = logging.INFO if self._all or request.status >= 400 else logging.DEBUG
        if _logger.isEnabledFor(level):
            fields = _fields(scope, request, started)
            text = "{method} {route} {status} {milliseconds} ms".format_map(fields)
            code = f" {request.code}" if request.code else ""
            _logger.log(level, "%s%s", text, code, extra=fields)


def _fields(scope: Scope, request: ObservedRequest, started: float) -> dict[str, object]:
    Observing.identify(scope, request)
    return {
        "request_id": request.request_id,
        "method": scope["method"],
        "route": request.route,
        "status": request.status,
        "code": request.code,
        "milliseconds": round(1000 * (time.perf_counter() - started), 1),
        "caller": request.caller,
    }


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _trace_headers(scope: Scope) -> dict[str, str]:
    wanted = (b"traceparent", b"tracestate")
    return {
        name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted
    }


def _request_id(scope: Scope) -> str:
    """Give the trace identifier that the client sent (W3C `traceparent`), or a new one."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            parts = value.decode("latin-1").split("-")
            if len(parts) >= 4 and _is_trace_id(parts[1]):
                return str(parts[1])
    return secrets.token_hex(16)


def _is_trace_id(text: str) -> bool:
    return len(text) == 32 and set(text) <= set("0123456789abcdef") and set(text) != {"0"}


async def _send_fault(send: Send, request: ObservedRequest) -> None:
    data = json.dumps(fault_object(request.request_id)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": data})

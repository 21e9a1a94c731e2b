"""The service as one ASGI application: routes to ingestion, questions, health and the pages.

Every route is an `Endpoint` behind the one gate, and every read of the graph passes `query.ask`,
the one door; the log's own files hold nothing that needs masking.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route

from lodeline.errors import LodelineError
from lodeline.limits import SERVER_THREADS_MAX, SHUTDOWN_SECONDS_MAX
from lodeline.server.asking import Ask, Asking, Prove, Write
from lodeline.server.direct import Direct
from lodeline.server.endpoints import ANYONE, Caller, Endpoint, Gate, Permission, as_sent, route_all
from lodeline.server.noting import KEY
from lodeline.server.observing import Observing
from lodeline.server.openapi import Description
from lodeline.server.pages.refusing import refuse_route, wants_page
from lodeline.server.refusals import fault_object
from lodeline.server.taking import PATHS, Receive, Scope, Send, Taking
from lodeline.server.writing import Writer


class EndpointGroup(Protocol):
    """Gives endpoints that belong together."""

    def endpoints(self) -> Sequence[Endpoint]:
        """Give them, in the order in which they are tried."""


class Application:
    """The ASGI application.

    Args:
        ask: answers questions.
        write: answers them in JSON.
        prove: writes evidence packs.
        writer: takes events; started and stopped with the application.
        groups: further endpoints.
        gate: knows callers.
        observing: observes every request.
        threads: questions at a time.
        shutdown_seconds: that the writer has for what waits.
        begin_stopping: called when the service is told to stop, before requests have ended.
        companions: run while the application does.
        close: called when all is stopped.
    """

    def __init__(
        self,
        *,
        ask: Ask,
        write: Write,
        prove: Prove,
        writer: Writer,
        groups: Sequence[EndpointGroup],
        gate: Gate,
        observing: Observing,
        close: Callable[[], object],
        begin_stopping: Callable[[], object] = lambda: None,
        companions: Sequence[Callable[[], AbstractAsyncContextManager[None]]] = (),
        threads: int = SERVER_THREADS_MAX,
        shutdown_seconds: int = SHUTDOWN_SECONDS_MAX,
    ) -> None:
        self._close = close
        self.begin_stopping = begin_stopping
        self._companions = companions
        self._observing = observing
        self._shutdown_seconds = shutdown_seconds
        self._ask = ask
        self._writer = writer
        self._taking = Taking(writer, gate)
        self.direct = Direct(writer, gate, observing) if observing.direct else None
        self._asking = Asking(write, prove, threads=threads)
        self.endpoints: list[Endpoint] = [*self._own_endpoints(), *self._asking.endpoints()]
        for group in groups:
            self.endpoints += group.endpoints()
        self.endpoints += self._taking.endpoints()
        self.endpoints += Description(self.endpoints).endpoints()
        self._rest = Starlette(
            routes=route_all(self.endpoints, gate),
            exception_handlers={HTTPException: self._not_served, Exception: _fault},
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; ingestion skips the router.

        Most single events do not even come here: `direct` takes them from their connections.
        """
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        await self._observing.serve(self._serve, scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and scope["path"] in PATHS:
            await self._taking(scope, receive, send)
        else:
            await self._rest(as_sent(scope), receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._writer.start()
        async with AsyncExitStack() as stack:
            for companion in self._companions:
                await stack.enter_async_context(companion())
            yield
        await asyncio.to_thread(self._writer.stop, self._shutdown_seconds)
        await asyncio.to_thread(self._asking.close)
        self._close()

    def close(self) -> None:
        """Close what was opened for a service that never starts."""
        self._asking.close()
        self._close()

    def _own_endpoints(self) -> list[Endpoint]:
        public = Permission.PUBLIC
        return [
            Endpoint("GET", "/healthz", public, self._healthz, "Whether the process answers"),
            Endpoint("GET", "/readyz", public, self._readyz, "Whether events are taken"),
        ]

    async def _healthz(self, _: Request, __: Caller) -> Response:
        """Whether the process answers at all."""
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request, __: Caller) -> Response:
        """Whether the store answers and the writer takes events."""
        problems = []
        if not self._writer.alive:
            problems.append("the writer has stopped")
        elif self._writer.failure:
            problems.append(f"the last write failed: {self._writer.failure}")
        try:
            # Whether there is an answer is told, not what it says.
            await asyncio.to_thread(self._ask, ANYONE, "stats", {})
        except LodelineError as error:
            problems.append(str(error))
        body = {"ready": not problems, "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200)

    async def _not_served(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = "usage.method" if status == 405 else "no.route"
        message = f"{request.method} {request.url.path} is not served here"
        headers = {"Allow": ", ".join(self._methods_of(request.scope))} if status == 405 else None
        body = {"code": code, "message": message, "next": None}
        if status == 404 and wants_page(request):
            return refuse_route(request, status, body)
        return JSONResponse(body, status_code=status, headers=headers)

    def _methods_of(self, scope: Scope) -> list[str]:
        """Find what a path can be asked with: a route has one method, a path may have several."""
        found: set[str] = set()
        for route in self._rest.routes:
            if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
                found |= route.methods or set()
        return sorted(found)


async def _fault(request: Request, _: Exception) -> Response:
    """Answer in our form; `Observing` tells the fault in the diagnostics."""
    body = fault_object(request.scope[KEY].request_id)
    if wants_page(request):
        return refuse_route(request, 500, body)
    return JSONResponse(body, status_code=500)

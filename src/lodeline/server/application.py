"""The service as one ASGI application: routes to ingestion, questions, health and the page.

Every read of the graph passes `query.ask`, the one door; the log's own files hold nothing that
needs masking. Left out here: authentication (without it the
service refuses to listen beyond loopback), the Marquez-compatible API, the UI.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from lodeline.errors import LodelineError
from lodeline.limits import SERVER_THREADS_MAX, SHUTDOWN_SECONDS_MAX
from lodeline.server.asking import VERBS, Ask, Asking, Prove
from lodeline.server.depositing import Deposits
from lodeline.server.log_files import LogFiles
from lodeline.server.pages import STYLE, home_page
from lodeline.server.taking import Receive, Scope, Send, Taking
from lodeline.server.writing import Writer

_INGESTION = frozenset({"/api/v1/lineage", "/api/v1/lineage/batch"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Application:
    """The ASGI application.

    Args:
        ask: answers questions.
        prove: writes evidence packs.
        writer: takes events; started and stopped with the application.
        deposits: takes predictions and blobs.
        log_files: serves the log as static files.
        close: called when all is stopped.
    """

    def __init__(
        self,
        *,
        ask: Ask,
        prove: Prove,
        writer: Writer,
        deposits: Deposits,
        log_files: LogFiles,
        close: Callable[[], object],
    ) -> None:
        self._close = close
        self._ask = ask
        self._writer = writer
        self._taking = Taking(writer)
        self._asking = Asking(ask, prove, threads=SERVER_THREADS_MAX)
        self._rest = Starlette(
            routes=[
                Route("/", self._home),
                Route("/style.css", self._style),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/api/v2/predictions", deposits.predictions, methods=["POST"]),
                Route("/api/v2/blobs/{digest}", deposits.blob, methods=["PUT"]),
                Route("/log/{segment}/{path:path}", log_files.file),
                Route("/api/v2/evidence", self._asking.prove),
                Mount("/api/v2", routes=[Route("/{verb}", self._question)]),
            ],
            exception_handlers={HTTPException: _not_served},
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; ingestion skips the router."""
        if scope["type"] == "http" and scope["path"] in _INGESTION and scope["method"] == "POST":
            await self._taking(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._writer.start()
        yield
        await asyncio.to_thread(self._writer.stop, SHUTDOWN_SECONDS_MAX)
        await asyncio.to_thread(self._asking.close)
        self._close()

    async def _question(self, request: Request) -> Response:
        if request.path_params["verb"] not in VERBS:
            raise HTTPException(404)
        return await self._asking.answer(request)

    async def _home(self, request: Request) -> Response:
        stats: Mapping[str, Any] | None = None
        problem = None
        try:
            stats = await asyncio.to_thread(self._ask, "stats", {})
        except LodelineError as error:
            problem = str(error)
        base = str(request.base_url).rstrip("/")
        return HTMLResponse(home_page(stats=stats, problem=problem, base=base), headers=_HEADERS)

    async def _style(self, _: Request) -> Response:
        return Response(STYLE, media_type="text/css", headers=_HEADERS)

    async def _healthz(self, _: Request) -> Response:
        """Whether the process answers at all."""
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        """Whether the store answers and the writer takes events."""
        problems = []
        if not self._writer.alive:
            problems.append("the writer has stopped")
        elif self._writer.failure:
            problems.append(f"the last write failed: {self._writer.failure}")
        try:
            await asyncio.to_thread(self._ask, "stats", {})
        except LodelineError as error:
            problems.append(str(error))
        body = {"ready": not problems, "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200)


async def _not_served(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = "usage.method" if status == 405 else "no.route"
    message = f"{request.method} {request.url.path} is not served here"
    return JSONResponse({"code": code, "message": message, "next": None}, status_code=status)

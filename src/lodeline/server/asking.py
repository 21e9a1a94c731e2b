"""GET /api/v2/…: the same verbs, parameters and JSON as the command line's.

Questions run in a bounded pool of threads, each over its own snapshot of the store, so that a
slow one delays neither ingestion nor the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline.errors import LodelineError, UsageError
from lodeline.server.refusals import error_response

VERBS: Final = (
    "trace", "path", "impact", "diff", "rows", "cohort", "show", "search", "stats",
)  # fmt: skip

Ask = Callable[[str, Mapping[str, object]], dict[str, Any]]
Prove = Callable[[Mapping[str, object]], bytes]


class Asking:
    """The endpoints of questions.

    Args:
        ask: answers a verb with parameters, or raises `LodelineError`.
        prove: writes the evidence pack of a trace with parameters.
        threads: questions at a time.
    """

    def __init__(self, ask: Ask, prove: Prove, *, threads: int) -> None:
        self._ask = ask
        self._prove = prove
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lodeline-question")

    async def answer(self, request: Request) -> Response:
        """Answer `GET /api/v2/{verb}`."""
        verb = request.path_params["verb"]
        try:
            parameters = _parameters(request)
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._pool, self._ask, verb, parameters)
        except LodelineError as error:
            return error_response(error)
        return JSONResponse(answer)

    async def prove(self, request: Request) -> Response:
        """Answer `GET /api/v2/evidence` with the pack of a trace answer."""
        try:
            parameters = _parameters(request)
            loop = asyncio.get_running_loop()
            pack = await loop.run_in_executor(self._pool, self._prove, parameters)
        except LodelineError as error:
            return error_response(error)
        headers = {"Content-Disposition": 'attachment; filename="evidence.zip"'}
        return Response(pack, media_type="application/zip", headers=headers)

    def close(self) -> None:
        """Let running questions end; take no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _parameters(request: Request) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        if name in parameters:
            raise UsageError(f"parameter {name!r} is given twice")
        parameters[name] = value
    if parameters.pop("format", "json") != "json":
        raise UsageError("format: HTTP answers in json only; `lodeline trace` draws")
    return parameters

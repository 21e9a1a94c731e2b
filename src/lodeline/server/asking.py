"""GET /api/v2/…: the same verbs, parameters and JSON as the command line's.

Questions run in a bounded pool of threads, each over its own snapshot of the store, so that a
slow one delays neither ingestion nor the others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import UsageError
from lodeline.rows.tables import MEDIA_TYPES, write_table
from lodeline.server.endpoints import Caller, Endpoint, Handler, Permission

# Verbs whose answers are rows, which come as tables, too.
_TABLES: Final = frozenset({"rows", "cohort"})

VERBS: Final = {
    "trace": "Where a node comes from, or what it affects",
    "path": "Why two nodes are connected",
    "impact": "What a change of a node reaches, and who owns it",
    "diff": "What differs between two versions or runs",
    "rows": "The rows behind a row, or ahead of it",
    "cohort": "The population of a decision",
    "show": "One node in detail",
    "search": "Find nodes by name",
    "stats": "Counts of what is recorded",
}

Ask = Callable[[Caller, str, Mapping[str, object]], dict[str, Any]]
# As `Ask`, the answer as JSON.
Write = Callable[[Caller, str, Mapping[str, object]], bytes]
Prove = Callable[[Caller, Mapping[str, object]], bytes]


class Asking:
    """The endpoints of questions.

    Args:
        write: answers a caller's verb with parameters in JSON, or raises `LodelineError`.
        prove: writes the evidence pack of a trace with parameters.
        threads: questions at a time.
    """

    def __init__(self, write: Write, prove: Prove, *, threads: int) -> None:
        self._write = write
        self._prove = prove
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lodeline-question")

    def endpoints(self) -> Sequence[Endpoint]:
        """Give an endpoint a verb, and the one of evidence."""
        verbs = [
            Endpoint("GET", f"/api/v2/{verb}", Permission.READ, self._answering(verb), summary)
            for verb, summary in VERBS.items()
        ]
        summary = "The evidence pack of a trace, a ZIP that verifies offline"
        return [*verbs, Endpoint("GET", "/api/v2/evidence", Permission.READ, self.prove, summary)]

    def _answering(self, verb: str) -> Handler:
        async def answer(request: Request, caller: Caller) -> Response:
            form = _table_form(request) if verb in _TABLES else "json"
            parameters = _parameters(request, tables=verb in _TABLES)
            loop = asyncio.get_running_loop()
            # Written in the pool, too: a large answer takes milliseconds, which the loop has not.
            body = await loop.run_in_executor(
                self._pool, copy_context().run, self._write, caller, verb, parameters
            )
            if form != "json":
                table, following = await loop.run_in_executor(self._pool, _as_table, body, form)
                headers = {} if following is None else {"Lodeline-Next": following}
                return Response(table, media_type=MEDIA_TYPES[form], headers=headers)
            return Response(body, media_type="application/json")

        return answer

    async def prove(self, request: Request, caller: Caller) -> Response:
        """Answer `GET /api/v2/evidence` with the pack of a trace answer."""
        parameters = _parameters(request)
        loop = asyncio.get_running_loop()
        pack = await loop.run_in_executor(
            self._pool, copy_context().run, self._prove, caller, parameters
        )
        headers = {"Content-Disposition": 'attachment; filename="evidence.zip"'}
        return Response(pack, media_type="application/zip", headers=headers)

    def close(self) -> None:
        """Let running questions end; take no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _as_table(body: bytes, form: str) -> tuple[bytes, str | None]:
    answer = json.loads(body)
    return write_table(answer["rows"], form), answer["next"]


def _table_form(request: Request) -> str:
    """Find which form of rows is asked for, by `format` or else by `Accept`."""
    form: str | None = request.query_params.get("format")
    if form is None:
        accepted = request.headers.get("accept", "")
        known = [form for form, media in MEDIA_TYPES.items() if media in accepted]
        form = known[0] if known and "application/json" not in accepted else "json"
    if form != "json" and form not in MEDIA_TYPES:
        raise UsageError(f"format: json, {', '.join(MEDIA_TYPES)}, not {form!r}")
    return form


def _parameters(request: Request, *, tables: bool = False) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        if name in parameters:
            raise UsageError(f"parameter {name!r} is given twice")
        parameters[name] = value
    if parameters.pop("format", "json") != "json" and not tables:
        raise UsageError("format: HTTP answers in json only; `lodeline trace` draws")
    return parameters

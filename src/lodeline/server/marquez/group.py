"""All endpoints of the Marquez API: what reads, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline.errors import LodelineError, UsageError
from lodeline.limits import CATALOGUE_BODY_BYTES_MAX
from lodeline.query.concealing import conceal_document
from lodeline.query.consulting import consult
from lodeline.server.confinement import check_namespace
from lodeline.server.endpoints import Caller, Endpoint, Handler, Permission
from lodeline.server.marquez import (
    datasets,
    events,
    jobs,
    lineage,
    putting,
    running,
    search,
    spaces,
    stats,
)
from lodeline.server.marquez.calls import Answering, Call, Read, refusal
from lodeline.server.marquez.describing import describe_call
from lodeline.server.marquez.putting import Change, Desk
from lodeline.server.marquez.recording import SENDER, Recorder
from lodeline.server.taking import read_body
from lodeline.server.writing import Writer
from lodeline.store import Segment

BASE: Final = "/api/v1"
BETA: Final = "/api/v2beta"


class Marquez:
    """The Marquez API over one segment.

    Args:
        segment: that is read.
        writer: that records what callers put.
    """

    def __init__(self, segment: Segment, writer: Writer) -> None:
        self._segment = segment
        self._recorder = Recorder(writer)

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the endpoints; fixed paths come before those with parameters in their place."""
        reads = [
            *spaces.READS,
            *datasets.READS,
            *sorted(jobs.READS, key=lambda read: not read.path.startswith("/jobs")),
            *lineage.READS,
            *events.READS,
            *search.READS,
            *stats.READS,
        ]
        return [
            *(self._read_endpoint(BASE, one) for one in reads),
            *(self._read_endpoint(BETA, one) for one in search.BETA_READS),
            *(self._change_endpoint(one) for one in (*putting.CHANGES, *running.CHANGES)),
        ]

    def _read_endpoint(self, base: str, one: Read) -> Endpoint:
        told = describe_call((*one.query, "asOf"), summary=one.summary)
        serve = self._reading(one)
        return Endpoint("GET", base + one.path, Permission.READ, serve, one.summary, told)

    def _change_endpoint(self, one: Change) -> Endpoint:
        told = describe_call(one.query, sent=one.sent, status=one.status, summary=one.summary)
        serve = self._changing(one)
        return Endpoint(one.method, BASE + one.path, Permission.INGEST, serve, one.summary, told)

    def _reading(self, read: Read) -> Handler:
        async def serve(request: Request, caller: Caller) -> Response:
            call = Call(dict(request.path_params), request.query_params, {})
            try:
                body = await asyncio.to_thread(self.read, caller, read.answer, call)
            except LodelineError as error:
                return refusal(error)
            return JSONResponse(body)

        return serve

    def _changing(self, change: Change) -> Handler:
        async def serve(request: Request, caller: Caller) -> Response:
            async def read(answer: Answering, call: Call) -> Any:
                return await asyncio.to_thread(self.read, caller, answer, call)

            async def look(answer: Answering, call: Call) -> Any:
                return await asyncio.to_thread(self.look, caller, answer, call)

            try:
                check_namespace(caller, request.path_params)
                SENDER.set(caller.sender)
                body = await _read_body(request)
                call = Call(dict(request.path_params), request.query_params, body)
                answer = await change.make(Desk(self._recorder, read, look), call)
            except LodelineError as error:
                return refusal(error)
            return JSONResponse(_told(caller, answer), status_code=change.status)

        return serve

    def look(self, caller: Caller, answer: Answering, call: Call) -> Any:
        """Read one snapshot for a handler, which finds only what its caller may see."""
        with consult(self._segment, as_of=call.as_of, authoriser=caller.authoriser) as inquiry:
            return answer(inquiry, call)

    def read(self, caller: Caller, answer: Answering, call: Call) -> Any:
        """Answer from one snapshot, as the caller may have it."""
        with consult(self._segment, as_of=call.as_of, authoriser=caller.authoriser) as inquiry:
            return conceal_document(answer(inquiry, call), inquiry.visibility)


# What a caller that may not read is told of what it changed: what it had to know to do so.
_ACKNOWLEDGED: Final = ("id", "namespace", "name", "state")


def _told(caller: Caller, answer: Any) -> Any:
    """Give the answer to a change, as far as its caller may read."""
    if Permission.READ in caller.permissions:
        return answer
    if not isinstance(answer, dict):
        return {}
    return {name: answer[name] for name in _ACKNOWLEDGED if name in answer}


async def _read_body(request: Request) -> dict[str, Any]:
    """Read a JSON object; no body is an empty one.

    Raises:
        UsageError: something else was sent.
    """
    raw = await read_body(request.scope, request.receive, bytes_max=CATALOGUE_BODY_BYTES_MAX)
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from error
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise UsageError("the body is no JSON object")
    return body

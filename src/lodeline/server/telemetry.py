"""POST /v1/traces: OpenTelemetry spans over HTTP, as OTLP says, protobuf or JSON.

Spans of language models, retrieval and tools become events and predictions; all others are taken
and say nothing. The answer has the form of the request. It is given when everything is durable; a
caller without an answer sends again, and what comes twice is recognised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline.errors import InvalidEventError, LodelineError, UsageError
from lodeline.ingest import Submission
from lodeline.limits import BATCH_BYTES_MAX, COMMIT_EVENTS_MAX
from lodeline.server.confinement import find_forbidden, find_forbidden_record
from lodeline.server.depositing import TakePredictions
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.noting import note
from lodeline.server.refusals import error_headers, error_status
from lodeline.server.taking import read_body
from lodeline.server.writing import Writer
from lodeline.wire.answer_spans import Read, read_answers
from lodeline.wire.otlp import Spans, decode_json, decode_protobuf, encode_response, encode_status

PATH: Final = "/v1/traces"
_PROTOBUF: Final = "application/x-protobuf"
_SOURCE: Final = f"POST {PATH}"
# google.rpc.Code, by what a client may do.
_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 413: 3, 415: 3, 503: 14}
_UNKNOWN: Final = 2


def _told(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    content = {"application/json": {"schema": schema}, _PROTOBUF: {"schema": binary}}
    return {"description": description, "content": content}


# Refusals are google.rpc.Status, as OTLP says, in the encoding of the request.
_STATUS: Final = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
_OPERATION: Final = {
    "responses": {
        "200": _told("Taken; `partialSuccess` says what was not", {"type": "object"}),
        "400": _told("No request of OTLP", _STATUS),
        "413": _told("Too large", _STATUS),
        "503": _told("Not now; `Retry-After` says when to ask again", _STATUS),
    }
}


class Telemetry:
    """The endpoint.

    Args:
        writer: takes the events.
        take_predictions: takes the predictions.
        segment_of: tells where a record of predictions goes.
        keep_content: keep prompts and answers as values.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        take_predictions: TakePredictions,
        segment_of: Callable[[dict[str, Any]], str],
        keep_content: bool,
    ) -> None:
        self._writer = writer
        self._take_predictions = take_predictions
        self._segment_of = segment_of
        self._keep_content = keep_content

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the one endpoint."""
        summary = "Take OpenTelemetry spans (OTLP)"
        return [Endpoint("POST", PATH, Permission.INGEST, self.traces, summary, _OPERATION)]

    async def traces(self, request: Request, caller: Caller) -> Response:
        """Take spans."""
        content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = content != _PROTOBUF
        try:
            if content not in {_PROTOBUF, "application/json"}:
                raise UsageError(f"OTLP comes as {_PROTOBUF} or application/json")
            body = await read_body(request.scope, request.receive, bytes_max=BATCH_BYTES_MAX)
            spans = await asyncio.to_thread(decode_json if is_json else decode_protobuf, body)
            read = await asyncio.to_thread(
                read_answers, spans.spans, keep_content=self._keep_content
            )
            await self._take(caller, read, spans)
        except LodelineError as error:
            note(request.scope, code=error.code)
            return _refusal(error, is_json=is_json)
        return _answer(spans, is_json=is_json)

    async def _take(self, caller: Caller, read: Read, spans: Spans) -> None:
        """Make durable what spans said; first the predictions, so that the fold finds both."""
        spans.rejected += read.rejected
        spans.reason = spans.reason or read.reason
        if read.records:
            await asyncio.to_thread(self._take_records, caller, read.records, spans)
        raws = [msgspec.json.encode(event) for event in read.events]
        allowed: list[Submission] = []
        for raw in raws:
            error = find_forbidden(caller, raw, segment=self._writer.segment_of(raw))
            if error is None:
                allowed.append(Submission(raw, _SOURCE, caller.sender))
            else:
                _reject(spans, str(error))
        for start in range(0, len(allowed), COMMIT_EVENTS_MAX):
            batch = allowed[start : start + COMMIT_EVENTS_MAX]
            written = await self._writer.write(batch, folded=True)
            for outcome in written.outcomes:
                if outcome.error is None:
                    continue
                if not isinstance(outcome.error, InvalidEventError):
                    # Not the span's fault: the sender keeps all of it, and sends it again.
                    raise outcome.error
                _reject(spans, str(outcome.error))

    def _take_records(self, caller: Caller, records: list[dict[str, Any]], spans: Spans) -> None:
        # Of each pair the reservation says whose deployment it is; what may not be brought is
        # rejected with its event.
        allowed = []
        for reservation, predictions in zip(records[::2], records[1::2], strict=True):
            segment = self._segment_of(reservation)
            if find_forbidden_record(caller, reservation, segment=segment) is None:
                allowed += [reservation, predictions]
        for refusal in self._take_predictions(allowed, caller.sender) if allowed else []:
            if refusal is not None:
                _reject(spans, refusal)


def _reject(spans: Spans, reason: str) -> None:
    spans.rejected += 1
    spans.reason = spans.reason or reason


def _answer(spans: Spans, *, is_json: bool) -> Response:
    if not is_json:
        return Response(encode_response(spans.rejected, spans.reason), media_type=_PROTOBUF)
    if not spans.rejected:
        return JSONResponse({})
    partial = {"rejectedSpans": str(spans.rejected), "errorMessage": spans.reason}
    return JSONResponse({"partialSuccess": partial})


def _refusal(error: LodelineError, *, is_json: bool) -> Response:
    status = error_status(error)
    code = _CODES.get(status, _UNKNOWN)
    headers = dict(error_headers(error))
    if is_json:
        body = {"code": code, "message": str(error)}
        return JSONResponse(body, status_code=status, headers=headers)
    return Response(encode_status(code, str(error)), status, headers, _PROTOBUF)

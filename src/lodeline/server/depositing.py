"""POST /api/v2/predictions and PUT /api/v2/blobs/{digest}: what deliverers bring beside events.

Everything here is idempotent, as deliverers send again whatever they are not sure of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline.errors import DigestMismatchError, InvalidEventError
from lodeline.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from lodeline.server.confinement import check_blob, find_forbidden_record
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.taking import read_body
from lodeline.store.senders import Sender

TakePredictions = Callable[[Sequence[dict[str, Any]], Sender | None], list[str | None]]
KeepBlob = Callable[[bytes, str], str]


class Deposits:
    """The two endpoints.

    Args:
        take_predictions: makes records durable with their sender, and tells for each why it
            cannot.
        keep_blob: makes bytes durable in a segment.
        segment_of: tells where a record of predictions goes.
        segment_of_blob: tells where a blob goes, by the namespace of the job whose event will
            refer to it.
    """

    def __init__(
        self,
        *,
        take_predictions: TakePredictions,
        keep_blob: KeepBlob,
        segment_of: Callable[[dict[str, Any]], str],
        segment_of_blob: Callable[[str | None], str],
    ) -> None:
        self._take_predictions = take_predictions
        self._keep_blob = keep_blob
        self._segment_of = segment_of
        self._segment_of_blob = segment_of_blob

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the two endpoints."""
        ingest = Permission.INGEST
        summary = "Record predictions"
        blob = "Keep a blob under its digest"
        return [
            Endpoint("POST", "/api/v2/predictions", ingest, self.predictions, summary),
            Endpoint("PUT", "/api/v2/blobs/{digest}", ingest, self.blob, blob),
        ]

    async def predictions(self, request: Request, caller: Caller) -> Response:
        """Take records of predictions; answered as a batch of events is."""
        body = await read_body(request.scope, request.receive, bytes_max=BATCH_BYTES_MAX)
        records = _records(body)
        forbidden = [
            find_forbidden_record(caller, record, segment=self._segment_of(record))
            for record in records
        ]
        allowed = [one for one, error in zip(records, forbidden, strict=True) if error is None]
        told: list[str | None] = []
        if allowed:
            told = await asyncio.to_thread(self._take_predictions, allowed, caller.sender)
        taken = iter(told)
        outcomes = [next(taken) if error is None else str(error) for error in forbidden]
        failed = [
            {"index": index, "reason": reason, "retriable": False}
            for index, reason in enumerate(outcomes)
            if reason is not None
        ]
        if not failed:
            return Response(status_code=204)
        summary = {
            "received": len(outcomes),
            "successful": len(outcomes) - len(failed),
            "failed": len(failed),
            "retriable": 0,
            "non_retriable": len(failed),
        }
        status = "failure" if len(failed) == len(outcomes) else "partial_success"
        return JSONResponse({"status": status, "summary": summary, "failed_events": failed})

    async def blob(self, request: Request, caller: Caller) -> Response:
        """Keep a blob under the digest that the path states, in the segment of a namespace."""
        stated = request.path_params["digest"]
        namespace = request.query_params.get("namespace")
        segment = self._segment_of_blob(namespace)
        check_blob(caller, namespace, segment=segment)
        body = await read_body(request.scope, request.receive, bytes_max=BATCH_BYTES_MAX)
        digest = f"sha256:{sha256(body).hexdigest()}"
        if digest != stated:
            raise DigestMismatchError(stated, digest)
        await asyncio.to_thread(self._keep_blob, body, segment)
        return Response(status_code=204)


def _records(body: bytes) -> list[dict[str, Any]]:
    try:
        records = msgspec.json.decode(body, type=list[dict[str, Any]])
    except (ValueError, RecursionError) as error:
        raise InvalidEventError("event.type", "", f"not a list of objects: {error}") from error
    if len(records) > BATCH_EVENTS_MAX:
        raise InvalidEventError("event.too_large", "", f"more than {BATCH_EVENTS_MAX} records")
    return records

"""POST /api/v1/lineage and /api/v1/lineage/batch: OpenLineage events in, receipts out.

Raw ASGI, since this is the endpoint that producers wait for. Bodies are bounded before and after
decompression; what is refused is refused event by event.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import ForbiddenError, InvalidEventError, InvalidInputError, LodelineError
from lodeline.limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX
from lodeline.server.confinement import find_forbidden
from lodeline.server.endpoints import Caller, Endpoint, Gate, Permission
from lodeline.server.noting import note
from lodeline.server.refusals import error_headers, error_object, error_status
from lodeline.server.splitting import split_batch
from lodeline.server.writing import Outcome, Writer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Taking:
    """The ingestion endpoints, over one writer.

    Args:
        writer: takes the events.
        gate: asked before anything is read; these two routes bypass the router.
    """

    def __init__(self, writer: Writer, gate: Gate) -> None:
        self._writer = writer
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of either path."""
        note(scope, route=scope["path"])
        try:
            caller = self._gate.admit(scope, Permission.INGEST)
            note(scope, caller=caller.name)
            if scope["path"].endswith("/batch"):
                await self._take_batch(scope, receive, send, caller)
            else:
                await self._take_one(scope, receive, send, caller)
        except LodelineError as error:
            note(scope, code=error.code)
            await _refuse(send, error)

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the two endpoints to the router, which describes them and knows their methods."""
        one, many = "/api/v1/lineage", "/api/v1/lineage/batch"
        ingest = Permission.INGEST
        return [
            Endpoint("POST", one, ingest, self._routed, "Take one OpenLineage event"),
            Endpoint("POST", many, ingest, self._routed, "Take OpenLineage events"),
        ]

    async def _routed(self, _: Request, __: Caller) -> Response:
        return _Passed(self)

    async def _take_one(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        wait = _wait_of(scope)
        raw = await read_body(scope, receive, bytes_max=EVENT_BYTES_MAX)
        forbidden = find_forbidden(caller, raw)
        if forbidden is not None:
            raise forbidden
        [outcome] = await self._writer.write([raw], folded=wait == "folded")
        if outcome.error is not None:
            note(scope, code=outcome.error.code)
            await _refuse(send, outcome.error)
            return
        receipt = [(b"lodeline-receipt", outcome.receipt.encode("latin-1"))]
        if wait != "sequenced":
            await _send(send, 201, b"", receipt)
            return
        # A thread, since a checkpoint that a crash left unsigned is signed here first.
        proof = await asyncio.to_thread(self._writer.prove, outcome.position)
        kind = (b"content-type", b"text/plain; charset=utf-8")
        await _send(send, 201, proof.encode(), [kind, *receipt])

    async def _take_batch(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        # An event is sequenced before it is acknowledged, so `sequenced` waits for nothing more.
        folded = _wait_of(scope) == "folded"
        body = await read_body(scope, receive, bytes_max=BATCH_BYTES_MAX)
        raws = split_batch(body)
        if len(raws) > BATCH_EVENTS_MAX:
            raise InvalidEventError(
                "event.too_large", "", f"{len(raws)} events in a batch; at most {BATCH_EVENTS_MAX}"
            )
        forbidden = [find_forbidden(caller, raw) for raw in raws]
        allowed = [raw for raw, error in zip(raws, forbidden, strict=True) if error is None]
        written = iter(await self._writer.write(allowed, folded=folded) if allowed else [])
        outcomes = [next(written) if error is None else Outcome(error) for error in forbidden]
        if all(outcome.error is None for outcome in outcomes):
            await _send(send, 204, b"", [])
            return
        await _send_json(send, 200, _summary(outcomes), [])


class _Passed(Response):  # type: ignore[misc]  # starlette's types are optional
    """Answers by serving the request in raw ASGI."""

    def __init__(self, taking: Taking) -> None:
        super().__init__()
        self._taking = taking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._taking(scope, receive, send)


def _summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Shape the answer as OpenLineage's batch specification does."""
    failed = [
        {
            "index": index,
            "reason": str(outcome.error),
            # What is refused for its content, or its sender, is refused again; the rest may pass.
            "retriable": not isinstance(outcome.error, InvalidInputError | ForbiddenError),
            "code": outcome.error.code,
            "path": getattr(outcome.error, "path", None),
        }
        for index, outcome in enumerate(outcomes)
        if outcome.error is not None
    ]
    received = len(outcomes)
    successful = received - len(failed)
    return {
        "status": "partial_success" if successful else "failure",
        "summary": {
            "received": received,
            "successful": successful,
            "failed": len(failed),
            "retriable": sum(bool(failure["retriable"]) for failure in failed),
            "non_retriable": sum(not failure["retriable"] for failure in failed),
        },
        "failed_events": failed,
    }


def _wait_of(scope: Scope) -> str:
    query: str = scope["query_string"].decode("latin-1")
    value = parse_qs(query).get("wait", [""])[-1]
    if value not in {"", "folded", "sequenced"}:
        raise InvalidEventError("event.wait", "", f"wait={value}: `folded` or `sequenced`")
    return value


async def read_body(scope: Scope, receive: Receive, *, bytes_max: int) -> bytes:
    """Read a request's body, decompressed.

    Raises:
        InvalidEventError: more than `bytes_max`, an unknown encoding, or a client that left.
    """
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    chunks: list[bytes] = []
    received = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidEventError("event.disconnected", "", "the client left mid-request")
        chunk = message.get("body", b"")
        received += len(chunk)
        # Read to the end even when refused: closing early looks like a broken connection, and
        # the client would send again instead of reading why.
        if received <= bytes_max:
            chunks.append(chunk)
        elif received > 8 * bytes_max:
            break
        more = message.get("more_body", False)
    if received > bytes_max:
        raise InvalidEventError("event.too_large", "", f"more than {bytes_max} bytes")
    body = b"".join(chunks)
    if encoding in {b"identity", b""}:
        return body
    if encoding != b"gzip":
        raise InvalidEventError(
            "event.encoding", "", f"content-encoding {encoding.decode('latin-1')}: only gzip"
        )
    return _decompress(body, bytes_max=bytes_max)


def _decompress(body: bytes, *, bytes_max: int) -> bytes:
    """Decompress gzip, at most `bytes_max` bytes: a bomb stops at the bound."""
    decompressor = zlib.decompressobj(wbits=31)
    try:
        data = decompressor.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise InvalidEventError("event.encoding", "", f"not gzip: {error}") from error
    if len(data) > bytes_max:
        raise InvalidEventError("event.too_large", "", f"more than {bytes_max} bytes decompressed")
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidEventError("event.encoding", "", "gzip data is cut off or followed by more")
    return data


async def _refuse(send: Send, error: LodelineError) -> None:
    headers = [
        (name.lower().encode(), value.encode()) for name, value in error_headers(error).items()
    ]
    await _send_json(send, error_status(error), error_object(error), headers)


async def _send_json(
    send: Send, status: int, body: object, headers: list[tuple[bytes, bytes]]
) -> None:
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    await _send(send, status, data, [(b"content-type", b"application/json"), *headers])


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": headers if status == 204 else [*headers, length]})
    await send({"type": "http.response.body", "body": body})

"""POST /api/v1/lineage and /api/v1/lineage/batch: OpenLineage events in, receipts out.

Raw ASGI, since this is the endpoint that producers wait for. Bodies are bounded before and after
decompression; what is refused is refused event by event, and all of it is kept as dead letters:
a whole body that is no batch, too.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import (
    BusyError,
    ForbiddenError,
    InvalidEventError,
    InvalidInputError,
    LodelineError,
    UsageError,
)
from lodeline.ingest import Submission
from lodeline.ingest.splitting import split_batch
from lodeline.limits import (
    BATCH_BYTES_MAX,
    BODIES_BYTES_MAX,
    EVENT_BYTES_MAX,
    GZIP_MEMBERS_MAX,
    RECEIPT_HEADER_BYTES_MAX,
)
from lodeline.server.confinement import find_forbidden
from lodeline.server.endpoints import Caller, Endpoint, Gate, Permission
from lodeline.server.noting import note
from lodeline.server.refusals import error_headers, error_object, error_status
from lodeline.server.writing import Outcome, Writer, Written
from lodeline.store import Refusal
from lodeline.wire.correlation import Correlation, read_correlation

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ONE: Final = "/api/v1/lineage"
BATCH: Final = "/api/v1/lineage/batch"
# A slash at the end is forgiven: a redirect would lose the body in many clients.
PATHS: Final = {ONE: ONE, ONE + "/": ONE, BATCH: BATCH, BATCH + "/": BATCH}
_SOURCES: Final = {path: f"POST {path}" for path in (ONE, BATCH)}
_CORRELATING: Final = {b"traceparent": "traceparent", b"baggage": "baggage"}
# Between two steps of decompression other requests have their turn.
_STEP_BYTES: Final = 1024 * 1024
# What is kept of a body that is too large, to recognise it by.
_SAMPLE_BYTES: Final = 4096
# A leaf hash in a receipt: 64 hexadecimal digits, quotes and a comma, in base64.
_RECEIPT_EVENTS_MAX: Final = (RECEIPT_HEADER_BYTES_MAX - 400) * 3 // 4 // 67


class _Wishes(NamedTuple):
    """What the query of a request asks for."""

    wait: str
    receipt: str


class Taking:
    """The ingestion endpoints, over one writer.

    Args:
        writer: takes the events.
        gate: asked before anything is read; these two routes bypass the router.
    """

    def __init__(self, writer: Writer, gate: Gate) -> None:
        self._writer = writer
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the two endpoints, for those who list them."""
        ingest = Permission.INGEST
        return [
            Endpoint("POST", ONE, ingest, self._routed, "Take one OpenLineage event"),
            Endpoint("POST", BATCH, ingest, self._routed, "Take a batch of OpenLineage events"),
        ]

    async def _routed(self, _: Request, __: Caller) -> Response:
        return _Delegated(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of either path."""
        path = PATHS[scope["path"]]
        note(scope, route=path)
        try:
            caller = self._gate.admit(scope, Permission.INGEST)
            note(scope, caller=caller.name)
            wishes = _read_wishes(scope)
            bytes_max = BATCH_BYTES_MAX if path == BATCH else EVENT_BYTES_MAX
            try:
                body = await read_body(scope, receive, bytes_max=bytes_max)
                raws = _split(body) if path == BATCH else [body]
            except _UnusableBodyError as error:
                refusal = Refusal(error.body, error, _SOURCES[path], error.byte_count, caller.name)
                await self._writer.write([refusal])
                raise
            named = correlation_of(scope["headers"])
            inputs = [Submission(raw, _SOURCES[path], caller.sender, named) for raw in raws]
            written = await self._write(caller, inputs, folded=wishes.wait == "folded")
            # Where the view is behind, the event is acknowledged all the same.
            pending = wishes.wait == "folded" and not written.folded
            headers = [(b"lodeline-pending", b"folded")] if pending else []
            answer = self._answer_batch if path == BATCH else self._answer_one
            await answer(send, written, wishes, headers)
        except LodelineError as error:
            note(scope, code=error.code)
            await _refuse(send, error)

    async def _write(
        self, caller: Caller, inputs: Sequence[Submission], *, folded: bool
    ) -> Written:
        """Write what the caller may bring."""
        if caller.namespaces is None and caller.segments is None:
            return await self._writer.write(inputs, folded=folded)
        forbidden = [
            find_forbidden(caller, one.raw, segment=self._writer.segment_of(one.raw))
            for one in inputs
        ]
        allowed = [one for one, error in zip(inputs, forbidden, strict=True) if error is None]
        if not allowed:
            return Written([Outcome(error) for error in forbidden], folded=True)
        written = await self._writer.write(allowed, folded=folded)
        rest = iter(written.outcomes)
        outcomes = [next(rest) if error is None else Outcome(error) for error in forbidden]
        return Written(outcomes, folded=written.folded)

    async def _answer_one(
        self, send: Send, written: Written, wishes: _Wishes, headers: Headers
    ) -> None:
        [outcome] = written.outcomes
        if outcome.error is not None:
            raise outcome.error
        appended = outcome.appended
        assert appended is not None
        if appended.duplicate:
            # The first's receipt is read from the disk.
            receipt = await asyncio.to_thread(lambda: appended.receipt)
        else:
            receipt = appended.receipt
        headers.append((b"lodeline-receipt", receipt.encode("latin-1")))
        if wishes.wait != "sequenced":
            await _send(send, 201, b"", headers)
            return
        # A thread, since a checkpoint that a crash left unsigned is signed here first.
        proof = await asyncio.to_thread(self._writer.prove, outcome)
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
        await _send(send, 201, proof.encode(), headers)

    async def _answer_batch(
        self, send: Send, written: Written, wishes: _Wishes, headers: Headers
    ) -> None:
        # An event is sequenced before it is acknowledged, so `sequenced` waits for nothing more.
        outcomes = written.outcomes
        accepted = sum(outcome.error is None for outcome in outcomes)
        in_body = wishes.receipt == "body"
        receipt = None
        if accepted and (in_body or accepted <= _RECEIPT_EVENTS_MAX):
            receipt = await asyncio.to_thread(self._writer.sign_batch, outcomes)
            if not in_body:
                headers.append((b"lodeline-receipt", receipt.encode("latin-1")))
        if accepted == len(outcomes) and not in_body:
            await _send(send, 204, b"", headers)
            return
        body = _summary(outcomes)
        if in_body:
            body["receipt"] = receipt
            appended = [one.appended for one in outcomes if one.appended is not None]
            body["duplicates"] = sum(one.duplicate for one in appended)
        await _send_json(send, 200, body, headers)


class _Delegated(Response):  # type: ignore[misc]  # Starlette's types are optional
    """The answer of a raw application, where the router expects a response."""

    def __init__(self, application: Taking) -> None:
        super().__init__()
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)


def _split(body: bytes) -> list[bytes]:
    try:
        return split_batch(body)
    except InvalidEventError as error:
        raise _UnusableBodyError(error.code, error.message, body, len(body)) from error


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
        # The specification knows these two words, and no third for a batch that failed whole.
        "status": "partial_success" if failed else "success",
        "summary": {
            "received": received,
            "successful": successful,
            "failed": len(failed),
            "retriable": sum(bool(failure["retriable"]) for failure in failed),
            "non_retriable": sum(not failure["retriable"] for failure in failed),
        },
        "failed_events": failed,
    }


def correlation_of(headers: Headers) -> Correlation | None:
    """Read what the headers of a request name beside its events, as those of a message do."""
    named = {
        _CORRELATING[name]: value.decode("latin-1")
        for name, value in headers
        if name in _CORRELATING
    }
    return read_correlation(named) if named else None


def _read_wishes(scope: Scope) -> _Wishes:
    query: str = scope["query_string"].decode("latin-1")
    if not query:
        return _Wishes("", "")
    stated = parse_qs(query, max_num_fields=64)
    wait = stated.get("wait", [""])[-1]
    if wait not in {"", "folded", "sequenced"}:
        raise UsageError(f"wait={wait[:64]}: `folded` or `sequenced`")
    receipt = stated.get("receipt", [""])[-1]
    if receipt not in {"", "header", "body"}:
        raise UsageError(f"receipt={receipt[:64]}: `header` or `body`")
    return _Wishes(wait, receipt)


class _UnusableBodyError(InvalidEventError):
    """A body that was received and cannot be taken apart.

    Attributes:
        body: as received; the beginning of it where it is too large.
        byte_count: how many bytes came.
    """

    def __init__(self, code: str, message: str, body: bytes, byte_count: int) -> None:
        super().__init__(code, "", message)
        self.body = body
        self.byte_count = byte_count


class _Room:
    """Bytes of bodies in the process's memory, of all requests together."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, count: int) -> None:
        if self._taken + count > BODIES_BYTES_MAX:
            raise BusyError("too many bytes are being received")
        self._taken += count

    def give(self, count: int) -> None:
        self._taken -= count


_ROOM: Final = _Room()


async def read_body(scope: Scope, receive: Receive, *, bytes_max: int) -> bytes:
    """Read a request's body, decompressed.

    Raises:
        InvalidEventError: more than `bytes_max`, not what its encoding says, an unknown encoding,
            or a client that left.
        BusyError: too many bytes are being received.
    """
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in {b"", b"identity", b"gzip", b"x-gzip"}:
        named = encoding[:64].decode("latin-1")
        raise InvalidEventError(
            "event.content_encoding", "", f"content-encoding {named}: only gzip"
        )
    held = _Held()
    try:
        body = await _receive_all(receive, held, bytes_max=bytes_max)
        if encoding in {b"", b"identity"}:
            return body
        return await _decompress(body, held, bytes_max=bytes_max)
    finally:
        held.give_back()


class _Held:
    """What one request holds of the room."""

    def __init__(self) -> None:
        self._count = 0

    def take(self, count: int) -> None:
        _ROOM.take(count)
        self._count += count

    def give_back(self) -> None:
        _ROOM.give(self._count)


async def _receive_all(receive: Receive, held: _Held, *, bytes_max: int) -> bytes:
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
            held.take(len(chunk))
            chunks.append(chunk)
        elif received > 8 * bytes_max:
            break
        more = message.get("more_body", False)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if received > bytes_max:
        reason = f"more than {bytes_max} bytes"
        raise _UnusableBodyError("event.too_large", reason, body[:_SAMPLE_BYTES], received)
    return body


async def _decompress(body: bytes, held: _Held, *, bytes_max: int) -> bytes:
    """Decompress gzip, at most `bytes_max` bytes: a bomb stops at the bound."""
    pieces: list[bytes] = []
    size = 0
    rest = body
    for _ in range(GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                piece = member.decompress(rest, _STEP_BYTES)
            except zlib.error as error:
                raise _not_gzip(body, f"not gzip: {error}") from error
            rest = member.unused_data if member.eof else member.unconsumed_tail
            size += len(piece)
            if size > bytes_max:
                message = f"more than {bytes_max} bytes decompressed"
                raise _UnusableBodyError("event.too_large", message, body[:_SAMPLE_BYTES], size)
            held.take(len(piece))
            pieces.append(piece)
            if not rest and not member.eof and len(piece) < _STEP_BYTES:
                raise _not_gzip(body, "the gzip data is cut off")
            if len(piece) == _STEP_BYTES:
                await asyncio.sleep(0)
        if not rest:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    raise _not_gzip(body, f"more than {GZIP_MEMBERS_MAX} gzip members")


def _not_gzip(body: bytes, message: str) -> _UnusableBodyError:
    return _UnusableBodyError("event.encoding", message, body, len(body))


async def _refuse(send: Send, error: LodelineError) -> None:
    headers = [
        (name.lower().encode(), value.encode()) for name, value in error_headers(error).items()
    ]
    await _send_json(send, error_status(error), error_object(error), headers)


async def _send_json(
    send: Send, status: int, body: object, headers: list[tuple[bytes, bytes]]
) -> None:
    # Escaped, since a pointer into foreign JSON may hold half of a surrogate pair.
    data = json.dumps(body).encode()
    await _send(send, status, data, [(b"content-type", b"application/json"), *headers])


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": headers if status == 204 else [*headers, length]})
    await send({"type": "http.response.body", "body": body})

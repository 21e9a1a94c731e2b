"""OpenTelemetry's protocol, as far as spans go: OTLP 1.x requests in protobuf and in JSON.

Both forms become the same `Span`s. A span that cannot be read is counted and left out; a request
that is no request at all is refused whole. Of protobuf only its wire format is read here, by the
field numbers of `opentelemetry/proto/trace/v1/trace.proto`; fields that are not asked for are
skipped.

Source: OTLP specification 1.x, and the JSON mapping of its "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lodeline.errors import InvalidEventError
from lodeline.limits import SPAN_VALUE_DEPTH_MAX, SPANS_MAX

_ERROR_STATUS: Final = 2
_UNREADABLE: Final = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError),
    *(struct.error, binascii.Error, RecursionError),
)


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span."""

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """A span, with the attributes of what emitted it.

    Attributes:
        resource: attributes of the resource.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: likewise; empty for a root.
        name: of the span.
        start_ns: nanoseconds since the epoch.
        end_ns: likewise.
        attributes: plain values; byte strings in base64.
        events: of the span.
        failed: its status is an error.
    """

    resource: Mapping[str, Any]
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    events: tuple[SpanEvent, ...] = ()
    failed: bool = False


@dataclass(slots=True)
class Spans:
    """What a request brought.

    Attributes:
        spans: those that could be read.
        rejected: how many could not.
        reason: why the first of these could not.
    """

    spans: list[Span] = field(default_factory=list)
    rejected: int = 0
    reason: str = ""

    def add(self, resource: Mapping[str, Any], read: Callable[[], Mapping[str, Any]]) -> None:
        """Read one span, or count it as rejected."""
        try:
            if len(self.spans) >= SPANS_MAX:
                raise ValueError(f"more than {SPANS_MAX} spans in a request")
            self.spans.append(_span(resource, read()))
        except _UNREADABLE as error:
            self.rejected += 1
            self.reason = self.reason or f"{type(error).__name__}: {error}"[:300]


def decode_protobuf(body: bytes) -> Spans:
    """Read an `ExportTraceServiceRequest` in protobuf.

    Raises:
        InvalidEventError: it is none.
    """
    found = Spans()
    try:
        for group in _messages(body, 1):
            resource = next(iter(_messages(group, 1)), b"")
            attributes = _attributes(_messages(resource, 1))
            for scope in _messages(group, 2):
                for span in _messages(scope, 2):
                    found.add(attributes, lambda span=span: _read_span(span))  # type: ignore[misc]
    except _UNREADABLE as error:
        raise InvalidEventError("event.otlp", "", f"no OTLP request: {error}") from error
    return found


def decode_json(body: bytes) -> Spans:
    """Read an `ExportTraceServiceRequest` in JSON.

    Raises:
        InvalidEventError: it is none.
    """
    found = Spans()
    try:
        request = msgspec.json.decode(body, type=dict[str, Any])
        for group in request.get("resourceSpans") or ():
            resource = _json_attributes((group.get("resource") or {}).get("attributes"))
            for scope in group.get("scopeSpans") or ():
                for span in scope.get("spans") or ():
                    found.add(resource, lambda span=span: _read_json_span(span))  # type: ignore[misc]
    except _UNREADABLE as error:
        raise InvalidEventError("event.otlp", "", f"no OTLP request: {error}") from error
    return found


def encode_response(rejected: int, message: str) -> bytes:
    """Write an `ExportTraceServiceResponse` in protobuf; empty where nothing was rejected."""
    if not rejected:
        return b""
    partial = b"\x08" + _varint(rejected) + b"\x12" + _sized(message.encode())
    return b"\x0a" + _sized(partial)


def encode_status(code: int, message: str) -> bytes:
    """Write a `google.rpc.Status` in protobuf."""
    return b"\x08" + _varint(code) + b"\x12" + _sized(message.encode())


def _span(resource: Mapping[str, Any], read: Mapping[str, Any]) -> Span:
    trace_id, span_id = str(read["trace_id"]).lower(), str(read["span_id"]).lower()
    if len(bytes.fromhex(trace_id)) != 16 or not int(trace_id, 16):
        raise ValueError("a trace identifier has 16 bytes, not all zero")
    if len(bytes.fromhex(span_id)) != 8 or not int(span_id, 16):
        raise ValueError("a span identifier has 8 bytes, not all zero")
    start, end = int(read["start_ns"]), int(read["end_ns"])
    if not 0 < start < 1 << 63 or not 0 <= end < 1 << 63:
        raise ValueError("a span has no start, or one beyond this age")
    return Span(
        resource,
        trace_id,
        span_id,
        str(read["parent_id"]).lower(),
        str(read["name"]),
        start,
        max(start, end),
        read["attributes"],
        read["events"],
        read["status"] == _ERROR_STATUS,
    )


# JSON


def _read_json_span(span: Mapping[str, Any]) -> dict[str, Any]:
    status = (span.get("status") or {}).get("code", 0)
    return {
        "trace_id": span["traceId"],
        "span_id": span["spanId"],
        "parent_id": span.get("parentSpanId") or "",
        "name": span.get("name") or "",
        "start_ns": span["startTimeUnixNano"],
        "end_ns": span.get("endTimeUnixNano") or 0,
        "attributes": _json_attributes(span.get("attributes")),
        "events": tuple(
            SpanEvent(str(one.get("name") or ""), _json_attributes(one.get("attributes")))
            for one in span.get("events") or ()
        ),
        "status": _ERROR_STATUS if status in {_ERROR_STATUS, "STATUS_CODE_ERROR"} else 0,
    }


def _json_attributes(stated: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    return {str(one["key"]): _json_value(one.get("value") or {}, 0) for one in stated or ()}


def _json_value(value: Mapping[str, Any], depth: int) -> Any:
    if depth > SPAN_VALUE_DEPTH_MAX:
        raise ValueError("a value is nested too deeply")
    for kind, found in value.items():
        if kind == "intValue":
            return int(found)
        if kind == "doubleValue":
            return float(found)
        if kind == "arrayValue":
            return [_json_value(one, depth + 1) for one in found.get("values") or ()]
        if kind == "kvlistValue":
            return {
                str(one["key"]): _json_value(one.get("value") or {}, depth + 1)
                for one in found.get("values") or ()
            }
        return found
    return None


# Protobuf's wire format


def _fields(message: bytes) -> Iterator[tuple[int, int, Any]]:
    """Walk a message: field number, wire type, value (an integer, or bytes)."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _read_varint(message, position)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == 0:
            value, position = _read_varint(message, position)
        elif kind == 1:
            value, position = message[position : position + 8], position + 8
        elif kind == 2:
            size, position = _read_varint(message, position)
            value, position = message[position : position + size], position + size
        elif kind == 5:
            value, position = message[position : position + 4], position + 4
        else:
            raise ValueError(f"wire type {kind}")
        if position > end or not number:
            raise ValueError("cut off, or not protobuf")
        yield number, kind, value


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    for found, kind, value in _fields(message):
        if found == number and kind == 2:
            yield value


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than ten bytes")


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _read_span(span: bytes) -> dict[str, Any]:
    texts = {1: b"", 2: b"", 4: b"", 5: b""}
    times = {7: 0, 8: 0}
    attributes, events, status = [], [], 0
    for number, kind, value in _fields(span):
        if number in texts and kind == 2:
            texts[number] = value
        elif number in times and kind == 1:
            times[number] = int.from_bytes(value, "little")
        elif number == 9 and kind == 2:
            attributes.append(value)
        elif number == 11 and kind == 2:
            events.append(_read_event(value))
        elif number == 15 and kind == 2:
            status = next((code for n, k, code in _fields(value) if (n, k) == (3, 0)), 0)
    return {
        "trace_id": texts[1].hex(),
        "span_id": texts[2].hex(),
        "parent_id": texts[4].hex(),
        "name": texts[5].decode(),
        "start_ns": times[7],
        "end_ns": times[8],
        "attributes": _attributes(attributes),
        "events": tuple(events),
        "status": status,
    }


def _read_event(message: bytes) -> SpanEvent:
    name = next(iter(_messages(message, 2)), b"").decode()
    return SpanEvent(name, _attributes(_messages(message, 3)))


def _attributes(pairs: Iterable[bytes], depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key = next(iter(_messages(pair, 1)), b"").decode()
        found[key] = _value(next(iter(_messages(pair, 2)), b""), depth)
    return found


def _value(message: bytes, depth: int) -> Any:
    if depth > SPAN_VALUE_DEPTH_MAX:
        raise ValueError("a value is nested too deeply")
    for number, kind, value in _fields(message):
        if (number, kind) == (1, 2):
            return value.decode()
        if (number, kind) == (2, 0):
            return bool(value)
        if (number, kind) == (3, 0):
            return value - (1 << 64) if value >> 63 else value
        if (number, kind) == (4, 1):
            return struct.unpack("<d", value)[0]
        if (number, kind) == (5, 2):
            return [_value(one, depth + 1) for one in _messages(value, 1)]
        if (number, kind) == (6, 2):
            return _attributes(_messages(value, 1), depth + 1)
        if (number, kind) == (7, 2):
            return base64.b64encode(value).decode()
    return None

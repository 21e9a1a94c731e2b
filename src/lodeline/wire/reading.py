"""Finding the events in a file: one a line, an array, one printed over many lines, or captured.

Reading never judges. Whatever cannot be split further is handed on as it stands, so that
`decode_event` refuses it and it becomes a dead letter; no line is left out. Events are slices of
the input, never written anew: a duplicate name would vanish in that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from lodeline.limits import DOCUMENT_BYTES_MAX, EVENT_BYTES_MAX

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
# What tells the structure of a document: whole strings, brackets, commas. A quote that starts no
# whole string matches alone.
_STRUCTURE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\],]', re.DOTALL)

_read_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode
_read_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_text: Final = msgspec.json.Decoder(str).decode


class RawEvent(NamedTuple):
    """One event as it was found.

    Attributes:
        raw: its bytes, or whatever stood in its place.
        at: the line it starts on, counted from 1, and its index in an array: `17` or `17[2]`.
    """

    raw: bytes
    at: str


class _Line(NamedTuple):
    text: bytes
    number: int


def iter_raw_events(lines: Iterable[bytes]) -> Iterator[RawEvent]:
    """Find the events in a file.

    Understands newline-delimited JSON; JSON arrays; documents printed over several lines, also
    several in a row; and captured requests (`{"path", "headers", "body"}`) whose body is an
    event, an array of events, or either as text. One event a line is streamed; other shapes are
    read whole.

    Args:
        lines: the file's lines with their ends, such as a file opened for reading bytes.
    """
    numbered = _iter_lines(lines)
    first = next(numbered, None)
    if first is None:
        return
    second = next(numbered, None)
    rest = numbered if second is None else chain([second], numbered)
    if is_whole(first.text) or (
        second is not None and first.text not in {b"{", b"["} and is_whole(second.text)
    ):
        for line in chain([first], rest):
            yield from _iter_unpacked(line.text, str(line.number))
        return
    yield from _iter_document(chain([first], rest))


def _iter_lines(lines: Iterable[bytes]) -> Iterator[_Line]:
    for number, line in enumerate(lines, 1):
        bare = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        text = bare.strip(_SPACE)
        if text:
            yield _Line(text, number)


def is_whole(text: bytes) -> bool:
    """Whether bytes are one JSON value, with nothing before or after it."""
    try:
        _read_raw(text)
    except (ValueError, RecursionError):
        return False
    return True


def _iter_document(lines: Iterable[_Line]) -> Iterator[RawEvent]:
    kept: list[_Line] = []
    byte_count = 0
    for line in lines:
        byte_count += len(line.text) + 1
        if byte_count <= DOCUMENT_BYTES_MAX:
            kept.append(line)
    # Line breaks inside JSON are whitespace, and no JSON string holds a raw one: joining stripped
    # lines with a newline changes no value.
    data = b"\n".join(line.text for line in kept)
    if byte_count > DOCUMENT_BYTES_MAX:
        yield RawEvent(data[: EVENT_BYTES_MAX + 1], str(kept[0].number if kept else 1))
        return
    pieces = _split_documents(data)
    if pieces is not None:
        for offset, piece in pieces:
            number = kept[data.count(b"\n", 0, offset)].number
            yield from _iter_unpacked(piece, str(number))
        return
    yield from _iter_damaged(data, kept)


def _split_documents(data: bytes) -> list[tuple[int, bytes]] | None:
    """Cut a series of objects and arrays; None unless it is nothing but that."""
    if is_whole(data):
        return [(0, data)]
    pieces: list[tuple[int, bytes]] = []
    depth = start = end = 0
    for match in _STRUCTURE.finditer(data):
        mark = match[0]
        if mark in b"{[":
            if depth == 0:
                start = match.start()
                if data[end:start].strip(_SPACE):
                    return None
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth < 0:
                return None
            if depth == 0:
                end = match.end()
                pieces.append((start, data[start:end]))
        elif depth == 0 or mark == b'"':
            return None
    if depth or len(pieces) < 2 or data[end:].strip(_SPACE):
        return None
    return pieces


def _iter_damaged(data: bytes, lines: list[_Line]) -> Iterator[RawEvent]:
    """Save what can be told apart in a document that is not JSON as a whole."""
    items = _split_items(data)
    if items is not None:
        for i, item in enumerate(items):
            yield from _iter_object(item, f"{lines[0].number}[{i}]")
        return
    # An array with one item a line: its own lines and commas are no events.
    bodies = [_Line(line.text.rstrip(b",").rstrip(_SPACE), line.number) for line in lines]
    if any(body.text[:1] == b"{" and is_whole(body.text) and len(body.text) > 2 for body in bodies):
        for body in bodies:
            if body.text not in {b"[", b"]", b""}:
                yield from _iter_unpacked(body.text, str(body.number))
        return
    yield RawEvent(data, str(lines[0].number))


def _split_items(data: bytes) -> list[bytes] | None:
    """Cut an array at its own commas, whatever stands between; None when brackets don't match."""
    if data[:1] != b"[":
        return None
    items: list[bytes] = []
    depth = 0
    start = 1
    for match in _STRUCTURE.finditer(data):
        mark = match[0]
        if mark == b'"':
            return None
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
        if depth == 0 or (depth == 1 and mark == b","):
            items.append(data[start : match.start()].strip(_SPACE))
            start = match.end()
        if depth == 0:
            break
    if depth or data[start:].strip(_SPACE):
        return None
    return items


def _iter_unpacked(data: bytes, at: str) -> Iterator[RawEvent]:
    if data[:1] == b"[":
        try:
            items = [bytes(item) for item in _read_items(data)]
        except (ValueError, RecursionError):
            split = _split_items(data)
            items = [data] if split is None else split
            if split is None:
                yield RawEvent(data, at)
                return
        for i, item in enumerate(items):
            yield from _iter_object(item, f"{at}[{i}]")
        return
    yield from _iter_object(data, at)


def _iter_object(data: bytes, at: str) -> Iterator[RawEvent]:
    body = _captured_body(data)
    if body is None:
        yield RawEvent(data, at)
        return
    opener = body[:1]
    if opener == b"[":
        try:
            items = [bytes(item) for item in _read_items(body)]
        except (ValueError, RecursionError):
            items = [body]
        for i, item in enumerate(items):
            yield RawEvent(item, f"{at}[{i}]")
    elif opener == b'"':
        yield from _iter_text(body, data, at)
    else:
        yield RawEvent(body, at)


def _iter_text(body: bytes, data: bytes, at: str) -> Iterator[RawEvent]:
    """Read a body that was captured as text: an event, an array, or one event a line."""
    try:
        text = _read_text(body).encode()
    except ValueError:
        yield RawEvent(data, at)
        return
    found = False
    for event in iter_raw_events(text.splitlines(keepends=True)):
        found = True
        place = event.at.removeprefix("1")
        yield RawEvent(event.raw, f"{at}{place if place[:1] in {'', '['} else ':' + event.at}")
    if not found:
        yield RawEvent(data, at)


def _captured_body(data: bytes) -> bytes | None:
    """Find the body of a captured request; None when this is none, or not surely one."""
    if b'"body"' not in data:
        return None
    try:
        members = _read_members(data)
    except (ValueError, RecursionError):
        return None
    body = members.get("body")
    if body is None or "eventTime" in members or not members.keys() & {"path", "headers"}:
        return None
    # A name that stood twice lost a member, and its colon, on reading.
    if data.count(b":") != msgspec.json.encode(members).count(b":"):
        return None
    raw = bytes(body)
    return None if raw == b"null" else raw

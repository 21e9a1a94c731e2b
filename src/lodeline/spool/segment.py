"""The file format of one spool segment, and where spools lie.

A segment has one writer: a process (its threads share it). Its header counts what the writer had
to drop; overwriting bytes in place needs no disk space, so the count survives a full disk.

    header   64 bytes: magic, pid, records lost, bytes lost
    record   marker, length, CRC-32 of length and body, body

The marker starts with 0xF5, which UTF-8 text never contains, so after damage the next whole
record of text can be found again. The checksum recognises torn writes, not forgery: whoever can
write the spool can write anything into it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from lodeline.limits import SPOOL_RECORD_BYTES_MAX
from lodeline.records import value
from lodeline.settings import store_path

MAGIC = b"LLSPOOL\x01"
HEADER = struct.Struct("<8sIxxxxQQ32x")
LOSS = struct.Struct("<QQ")
# Offset of the two loss counts within the header.
LOSS_OFFSET = 16
MARKER = b"\xf5LR1"
FRAME = struct.Struct("<4sII")
SUFFIX = ".segment"
# A segment is created under this suffix and renamed once its lock is held: nobody meets it empty.
NEW_SUFFIX = ".new"


def spool_directory(store_url: str) -> Path:
    """Say where the spool of a store lies: beside it, `<store>.spool`.

    Raises:
        UsageError: not the URL of an embedded store.
    """
    path = store_path(store_url)
    return path.with_name(path.name + ".spool")


def frame(body: bytes) -> bytes:
    """Wrap one record for the file."""
    length = len(body)
    checksum = zlib.crc32(body, zlib.crc32(length.to_bytes(4, "little")))
    return FRAME.pack(MARKER, length, checksum) + body


@value
class Header:
    """What a segment says about itself."""

    pid: int
    lost_records: int
    lost_bytes: int


def read_header(data: bytes) -> Header | None:
    """Read a segment's header; `None` when it is none."""
    if len(data) < HEADER.size:
        return None
    magic, pid, lost_records, lost_bytes = HEADER.unpack_from(data)
    return Header(pid, lost_records, lost_bytes) if magic == MAGIC else None


@value
class Found:
    """One whole record, or damage that was skipped (`body` is `None`)."""

    body: bytes | None
    end: int


def iter_frames(data: bytes, *, base: int, closed: bool) -> Iterator[Found]:
    """Walk the records of a segment.

    Args:
        data: the segment from the start of a record on.
        base: offset of `data` in the segment; the offsets found count from the segment's start.
        closed: the writer is gone. An incomplete record then is damage; while the writer lives
            it may be a write under way, and the walk stops before it.
    """
    position, end = 0, len(data)
    while position < end:
        found = _read_frame(data, position)
        if found is None:
            if not closed:
                return
            following = _next_whole_frame(data, position + 1)
            yield Found(None, base + following)
            position = following
        else:
            body, position = found
            yield Found(body, base + position)


def _read_frame(data: bytes, position: int) -> tuple[bytes, int] | None:
    if position + FRAME.size > len(data):
        return None
    marker, length, checksum = FRAME.unpack_from(data, position)
    if marker != MARKER or length > SPOOL_RECORD_BYTES_MAX:
        return None
    begin = position + FRAME.size
    if begin + length > len(data):
        return None
    body = data[begin : begin + length]
    if zlib.crc32(body, zlib.crc32(length.to_bytes(4, "little"))) != checksum:
        return None
    return body, begin + length


def _next_whole_frame(data: bytes, position: int) -> int:
    while (position := data.find(MARKER, position)) != -1:
        if _read_frame(data, position) is not None:
            return position
        position += 1
    return len(data)


def written_at_us(segment: str) -> int:
    """When a segment was begun, as its name tells, in microseconds of the wall clock."""
    return int(segment.partition("-")[0], 16)

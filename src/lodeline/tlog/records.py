"""The leaf record: the only thing that the tree hashes.

Final from the first entry (design, section 5). It holds no producer text, no names and no
personal data: an identifier that only the segment's key can compute, and a salted commitment.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from lodeline.errors import MalformedLeafError
from lodeline.limits import LEAF_BYTES_MAX

VERSION: Final = 1
KINDS: Final = frozenset(
    {
        "event",
        "block",
        "alias",
        "erasure",
        "expiry",
        "key",
        "policy",
        "fold",
        "map",
        "statement",
    }
)
ID_BYTES: Final = 32

_HEX_32 = re.compile(r"[0-9a-f]{64}")
_SEGMENT = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"0|[1-9][0-9]{0,18}")


def record_id(segment_key: bytes, canonical: bytes) -> bytes:
    """Compute a record's identifier: HMAC-SHA-256(segment key, canonical payload).

    Equal payloads have equal identifiers, so duplicates are recognised; without the key, nobody
    can confirm a guess at erased data.
    """
    return hmac.digest(segment_key, canonical, "sha256")


class LeafRecord(msgspec.Struct, frozen=True, gc=False):
    """What a leaf says.

    Attributes:
        segment: opaque identifier of the segment, 32 hexadecimal digits.
        log_time_us: when the log took it, microseconds since the epoch; never decreases.
        kind: one of `KINDS`.
        identifier: 32 bytes, `record_id` of the payload.
        commitment: 32 bytes, `commit_fields` of the payload.
        schemas: SHA-256 digests in hexadecimal of the registered schemas it was checked against.
        roots: Merkle roots in hexadecimal of the blocks that belong to it.
    """

    segment: str
    log_time_us: int
    kind: str
    identifier: bytes
    commitment: bytes
    schemas: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


def encode_leaf(record: LeafRecord) -> bytes:
    """Write the JCS form. Keys stand in order, and every value is ASCII without escapes.

    Raises:
        MalformedLeafError: longer than 65,535 bytes, which only too many roots can cause.
    """
    leaf = (
        f'{{"commitment":"{record.commitment.hex()}","id":"{record.identifier.hex()}",'
        f'"kind":"{record.kind}","log_time":"{record.log_time_us}",'
        f'"roots":{_array(record.roots)},"schemas":{_array(record.schemas)},'
        f'"segment":"{record.segment}","v":{VERSION}}}'
    ).encode("ascii")
    if len(leaf) > LEAF_BYTES_MAX:
        raise MalformedLeafError(f"leaf of {len(leaf)} bytes; at most {LEAF_BYTES_MAX}")
    return leaf


def _array(digests: Sequence[str]) -> str:
    return "[" + ",".join(f'"{digest}"' for digest in digests) + "]" if digests else "[]"


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    commitment: str
    id: str
    kind: str
    log_time: str
    roots: list[str]
    schemas: list[str]
    segment: str
    v: int


_DECODER = msgspec.json.Decoder(_Wire)


def decode_leaf(leaf: bytes) -> LeafRecord:
    """Read a leaf record; only the exact bytes that `encode_leaf` writes are accepted.

    Raises:
        MalformedLeafError: anything else.
    """
    try:
        wire = _DECODER.decode(leaf)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedLeafError(f"not a leaf record: {error}") from error
    if wire.v != VERSION or wire.kind not in KINDS or not _SEGMENT.fullmatch(wire.segment):
        raise MalformedLeafError("not a leaf record: version, kind or segment")
    if not _TIME.fullmatch(wire.log_time):
        raise MalformedLeafError("not a leaf record: log_time")
    digests = (wire.commitment, wire.id, *wire.roots, *wire.schemas)
    if not all(_HEX_32.fullmatch(digest) for digest in digests):
        raise MalformedLeafError("not a leaf record: a digest is not 64 hexadecimal digits")
    record = LeafRecord(
        wire.segment,
        int(wire.log_time),
        wire.kind,
        bytes.fromhex(wire.id),
        bytes.fromhex(wire.commitment),
        tuple(wire.schemas),
        tuple(wire.roots),
    )
    if encode_leaf(record) != leaf:
        raise MalformedLeafError("not a leaf record: not in canonical form")
    return record

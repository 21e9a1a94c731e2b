"""The leaf record: the only thing that the tree hashes.

Final from the first entry (design, section 5). It holds no producer text, no names and no
personal data: an identifier that only the segment's key can compute, and a salted commitment.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .errors import MalformedLeafError

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
# An entry bundle gives an entry's length in two bytes.
LEAF_BYTES_MAX: Final = 65_535

_HEX_32 = re.compile(r"[0-9a-f]{64}")


def record_id(segment_key: bytes, canonical: bytes) -> bytes:
    """Compute a record's identifier: HMAC-SHA-256(segment key, canonical payload).

    Equal payloads have equal identifiers, so duplicates are recognised; without the key, nobody
    can confirm a guess at erased data.
    """
    begun = _keyed(segment_key).copy()
    begun.update(canonical)
    return begun.digest()


# What is the key's alone is hashed once, and not for each record.
@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


@dataclass(frozen=True, slots=True)
class LeafRecord:
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
    return write_leaf(
        record.segment,
        record.log_time_us,
        record.kind,
        record.identifier,
        record.commitment,
        record.schemas,
        record.roots,
    )


def write_leaf(  # noqa: PLR0917  # written for every entry: a record costs twice the text
    segment: str,
    log_time_us: int,
    kind: str,
    identifier: bytes,
    commitment: bytes,
    schemas: Sequence[str] = (),
    roots: Sequence[str] = (),
) -> bytes:
    """Write the JCS form of what would be a `LeafRecord`, which `encode_leaf` describes."""
    leaf = (
        f'{{"commitment":"{commitment.hex()}","id":"{identifier.hex()}",'
        f'"kind":"{kind}","log_time":"{log_time_us}",'
        f'"roots":{_array(roots)},"schemas":{_array(schemas)},'
        f'"segment":"{segment}","v":{VERSION}}}'
    ).encode("ascii")
    if len(leaf) > LEAF_BYTES_MAX:
        raise MalformedLeafError(f"leaf of {len(leaf)} bytes; at most {LEAF_BYTES_MAX}")
    return leaf


def _array(digests: Sequence[str]) -> str:
    return "[" + ",".join(f'"{digest}"' for digest in digests) + "]" if digests else "[]"


# Exactly what `encode_leaf` writes; groups are strings of known alphabets.
_LEAF: Final = re.compile(
    rb'\{"commitment":"([0-9a-f]{64})","id":"([0-9a-f]{64})","kind":"([a-z]+)",'
    rb'"log_time":"(0|[1-9][0-9]{0,18})","roots":\[((?:"[0-9a-f]{64}",?)*)\],'
    rb'"schemas":\[((?:"[0-9a-f]{64}",?)*)\],"segment":"([0-9a-f]{32})","v":1\}'
)


def decode_leaf(leaf: bytes) -> LeafRecord:
    """Read a leaf record; only the exact bytes that `encode_leaf` writes are accepted.

    Raises:
        MalformedLeafError: anything else.
    """
    found = _LEAF.fullmatch(leaf)
    if found is None:
        raise MalformedLeafError("not a leaf record")
    commitment, identifier, kind, log_time, roots, schemas, segment = (
        part.decode("ascii") for part in found.groups()
    )
    if kind not in KINDS:
        raise MalformedLeafError(f"not a leaf record: kind {kind}")
    record = LeafRecord(
        segment,
        int(log_time),
        kind,
        bytes.fromhex(identifier),
        bytes.fromhex(commitment),
        tuple(_HEX_32.findall(schemas)),
        tuple(_HEX_32.findall(roots)),
    )
    if encode_leaf(record) != leaf:
        raise MalformedLeafError("not a leaf record: not in canonical form")
    return record

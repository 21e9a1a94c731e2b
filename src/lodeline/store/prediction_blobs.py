"""The bytes of a batch of predictions, and the root that the log commits to.

A blob is gzip (no time inside) over lines of canonical JSON: a head with the block and the secret
that salts derive from, then one line a prediction, by identifier. The log holds the Merkle root
over the salted commitments of the lines, never a digest of the bytes alone, so that a person's
line can be replaced by its commitment and the root still verifies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from lodeline.model import find_prediction_id
from lodeline.proof import CompactRange, hash_leaf
from lodeline.proof.commitments import commit_field, derive_salts
from lodeline.wire import canonical_bytes

# Fast, and within a tenth of the smallest for such lines.
_LEVEL: Final = 5


def encode_blob(block: str, rows: Sequence[dict[str, Any]], secret: bytes) -> tuple[bytes, str]:
    """Write a batch.

    Args:
        block: ten hexadecimal digits.
        rows: prediction records, ordered by `id`.
        secret: 32 random bytes, of this blob alone.

    Returns:
        The blob and its root in hexadecimal.
    """
    lines = [canonical_bytes(row) for row in rows]
    head = canonical_bytes({"block": block, "count": len(rows), "secret": secret.hex()})
    blob = _pack(b"\n".join([head, *lines]) + b"\n")
    return blob, root_of(lines, secret)


def root_of(lines: Sequence[bytes], secret: bytes) -> str:
    """Compute the root that lines and their secret imply."""
    return _root(lines, derive_salts(secret, len(lines)))


def _root(lines: Sequence[bytes], salts: Sequence[bytes | None]) -> str:
    tree = CompactRange()
    for one in line_commitments(lines, salts):
        tree.append(hash_leaf(one))
    return tree.root().hex()


def line_commitments(lines: Sequence[bytes], salts: Sequence[bytes | None]) -> list[bytes]:
    """Commit to each line; of an erased one the commitment is kept."""
    return [
        bytes.fromhex(json.loads(line)["commitment"])
        if salt is None
        else commit_field(salt, "", line)
        for salt, line in zip(salts, lines, strict=True)
    ]


def read_blob(blob: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Read a batch: its head, and its lines undecoded."""
    head, *lines = _unpack(blob).splitlines()
    return json.loads(head), lines


def salts_of(head: dict[str, Any], count: int) -> list[bytes | None]:
    """Give the salt of each line; `None` of one that is erased."""
    if "secret" in head:
        return list(derive_salts(bytes.fromhex(head["secret"]), count))
    return [None if salt is None else bytes.fromhex(salt) for salt in head["salts"]]


def iter_rows(blob: bytes) -> Iterator[dict[str, Any]]:
    """Walk the records of a batch by identifier; erased ones are left out."""
    for line in read_blob(blob)[1]:
        row = json.loads(line)
        if "id" in row:
            yield row


def erased_counters(blob: bytes) -> set[int]:
    """Give the counters of the identifiers whose records are erased."""
    rows = map(json.loads, read_blob(blob)[1])
    return {int(row["erased"]) for row in rows if "erased" in row}


def erase_lines(blob: bytes, numbers: Sequence[int]) -> bytes:
    """Write a batch again with commitments in the place of some of its lines.

    Of an erased record its counter within the block is left, so that its identifier is known to
    have been erased, and not taken for one that was lost.
    """
    head, lines = read_blob(blob)
    salts = salts_of(head, len(lines))
    commitments = line_commitments(lines, salts)
    for number in numbers:
        if salts[number] is not None:
            drawn = find_prediction_id(json.loads(lines[number])["id"])
            left = {"commitment": commitments[number].hex()}
            counter = None if drawn is None else drawn.counter
            lines[number] = canonical_bytes({**left, "erased": counter})
            salts[number] = None
    kept = {name: value for name, value in head.items() if name not in {"secret", "salts"}}
    kept["salts"] = [None if salt is None else salt.hex() for salt in salts]
    return _pack(b"\n".join([canonical_bytes(kept), *lines]) + b"\n")


def verify_blob(blob: bytes) -> str:
    """Recompute the root of a batch from its bytes, in hexadecimal."""
    head, lines = read_blob(blob)
    return _root(lines, salts_of(head, len(lines)))


def _pack(text: bytes) -> bytes:
    # Only here: who delivers events alone loads none of it.
    import gzip

    return gzip.compress(text, _LEVEL, mtime=0)


def _unpack(blob: bytes) -> bytes:
    import gzip

    return gzip.decompress(blob)

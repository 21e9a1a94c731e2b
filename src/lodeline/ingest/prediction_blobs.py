"""The bytes of a batch of predictions, and the root that the log commits to.

A blob is gzip (no time inside) over lines of canonical JSON: a head with the block and the secret
that salts derive from, then one line a prediction, by identifier. The log holds the Merkle root
over the salted commitments of the lines, never a digest of the bytes alone, so that a person's
line can be replaced by its commitment and the root still verifies.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

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
    blob = gzip.compress(b"\n".join([head, *lines]) + b"\n", _LEVEL, mtime=0)
    return blob, root_of(lines, secret)


def root_of(lines: Sequence[bytes], secret: bytes) -> str:
    """Compute the root that lines and their secret imply."""
    tree = CompactRange()
    for salt, line in zip(derive_salts(secret, len(lines)), lines, strict=True):
        tree.append(hash_leaf(commit_field(salt, "", line)))
    return tree.root().hex()


def read_blob(blob: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Read a batch: its head, and its lines undecoded."""
    head, *lines = gzip.decompress(blob).splitlines()
    return json.loads(head), lines


def iter_rows(blob: bytes) -> Iterator[dict[str, Any]]:
    """Walk the records of a batch by identifier; erased ones are left out."""
    for line in read_blob(blob)[1]:
        row = json.loads(line)
        if "id" in row:
            yield row


def verify_blob(blob: bytes) -> str:
    """Recompute the root of a batch from its bytes, in hexadecimal."""
    head, lines = read_blob(blob)
    return root_of(lines, bytes.fromhex(head["secret"]))

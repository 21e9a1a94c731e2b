"""The three hashes of an RFC 9162 tree. Everything else in `proof` is arithmetic over them."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32

# The root of a tree without leaves (RFC 9162, section 2.1.1).
EMPTY_ROOT: Final = sha256(b"").digest()


def hash_leaf(entry: bytes) -> bytes:
    """Hash a log entry: SHA-256(0x00 ‖ entry).

    Source: RFC 9162, section 2.1.1.
    """
    return sha256(b"\x00" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Hash two children, 32 bytes each: SHA-256(0x01 ‖ left ‖ right).

    Source: RFC 9162, section 2.1.1.
    """
    return sha256(b"\x01" + left + right).digest()

"""Field commitments: what a leaf says of a payload without saying anything of its content.

A record secret of 32 random bytes yields, through SHAKE-256, one salt for each committed field.
While the secret lives, whoever holds payload and secret can recompute the commitment; once it is
destroyed, the commitment neither reveals nor confirms what the payload was.

The byte layout is final and written down in `docs/reference/log.md`. Erasing secrets is not done
here, nor is encrypting personal fields: the bytes committed to are those after encryption.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256, shake_256
from typing import Final

SECRET_BYTES: Final = 32
SALT_BYTES: Final = 32

# Starts the SHAKE-256 input, so that no other use of a record secret can yield the same stream.
_SALT_DOMAIN: Final = b"lodeline/v1/salts\n"

# A committed field: JSON pointer in UTF-8 ("" is the core), and its canonical bytes.
Field = tuple[str, bytes]


def derive_salts(secret: bytes, count: int) -> list[bytes]:
    """Give the salts of the fields 0 to `count - 1` in pointer order.

    Salt i is bytes `[32 i, 32 i + 32)` of SHAKE-256("lodeline/v1/salts" ‖ LF ‖ secret), so a field
    appended at the end would not change the earlier salts.
    """
    stream = salt_stream(secret, count)
    return [stream[i : i + SALT_BYTES] for i in range(0, len(stream), SALT_BYTES)]


def salt_stream(secret: bytes, count: int) -> bytes:
    """Give the salts of `derive_salts`, one after another."""
    return shake_256(_SALT_DOMAIN + secret).digest(SALT_BYTES * count)


def commit_field(salt: bytes, pointer: str, value: bytes) -> bytes:
    """Commit to one field: SHA-256(salt ‖ length ‖ pointer ‖ bytes).

    `length` is that of the pointer in UTF-8 bytes, as four bytes big-endian: with the salt's fixed
    length it makes the concatenation unambiguous.
    """
    encoded = pointer.encode()
    return sha256(b"%b%b%b%b" % (salt, len(encoded).to_bytes(4, "big"), encoded, value)).digest()


def combine_commitments(commitments: Sequence[bytes]) -> bytes:
    """Compute a record's commitment from those of all its fields, in pointer order.

    So a field can be withheld: its commitment is enough.
    """
    return sha256(b"".join(commitments)).digest()


def commit_fields(secret: bytes, fields: Sequence[Field]) -> bytes:
    """Compute a record's commitment: SHA-256 over its field commitments in pointer order.

    Args:
        secret: 32 bytes, of this record alone.
        fields: ordered by the UTF-8 bytes of their pointers, each pointer once.
    """
    # `derive_salts` and `commit_field`, written out: this runs for every event.
    stream = shake_256(_SALT_DOMAIN + secret).digest(SALT_BYTES * len(fields))
    starts = range(0, len(stream), SALT_BYTES)
    parts = [
        sha256(stream[start : start + SALT_BYTES] + _heads[pointer] + value).digest()
        for start, (pointer, value) in zip(starts, fields, strict=True)
    ]
    return sha256(b"".join(parts)).digest()


def _head(pointer: str) -> bytes:
    encoded = pointer.encode()
    return len(encoded).to_bytes(4, "big") + encoded


class _Heads(dict[str, bytes]):
    """What stands before a field's value, by pointer.

    Events name the same few places again and again: a look-up that is no call is most of the cost.
    """

    def __missing__(self, pointer: str) -> bytes:
        head = _head(pointer)
        if len(pointer) <= _POINTER_KNOWN_MAX:
            if len(self) >= _POINTERS_KNOWN_MAX:
                self.clear()
            self[pointer] = head
        return head


# Long pointers are not kept.
_POINTER_KNOWN_MAX: Final = 256
_POINTERS_KNOWN_MAX: Final = 1024
_heads: Final = _Heads()

"""Sealed values: personal fields as ciphertext under a key of their subject.

What the log commits to is the sealed form, so destroying the key erases the value and leaves
every proof valid. AES-256-GCM does not commit to its key: two keys can be made that open one
ciphertext to two values. So the hash of each key is logged before the key is used, and whoever
opens a value must hold the key of that hash.
"""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import MalformedSealError, SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 16
NONCE_BYTES: Final = 12
# Begins the plaintext, so that equal values never have equal plaintexts.
INNER_SALT_BYTES: Final = 16

_KEY_DOMAIN: Final = b"lodeline/v1/subject-key\n"


class SealedValue(NamedTuple):
    """A value under a subject's key.

    Attributes:
        key_id: 32 hexadecimal digits.
        nonce: 12 bytes, drawn at random for this value.
        ciphertext: of inner salt and value, with its 16-byte tag.
    """

    key_id: str
    nonce: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Write the form that is committed to: RFC 8785, members in order, ASCII."""
        sealed = base64.b64encode(self.ciphertext).decode("ascii")
        return (
            f'{{"key":"{self.key_id}","nonce":"{self.nonce.hex()}","sealed":"{sealed}"}}'
        ).encode("ascii")


def hash_subject_key(key: bytes) -> str:
    """Give what the log says of a key: SHA-256("lodeline/v1/subject-key" ‖ LF ‖ key)."""
    return sha256(_KEY_DOMAIN + key).hexdigest()


def seal_value(
    key: bytes, *, key_id: str, record: bytes, pointer: str, value: bytes, drawn: bytes
) -> SealedValue:
    """Encrypt one value, bound to its record, its place and its key.

    Args:
        key: 32 bytes, of the value's subject.
        key_id: 32 hexadecimal digits.
        record: the record's identifier, 32 bytes.
        pointer: JSON pointer of the value in the event.
        value: its canonical bytes.
        drawn: 28 random bytes, used once: nonce and inner salt.
    """
    nonce, inner_salt = drawn[:NONCE_BYTES], drawn[NONCE_BYTES:]
    bound = _bound(record, pointer, key_id)
    return SealedValue(key_id, nonce, _cipher()(key).encrypt(nonce, inner_salt + value, bound))


def open_value(key: bytes, sealed: SealedValue, *, record: bytes, pointer: str) -> bytes:
    """Decrypt one value. That the key has the logged hash is the caller's part.

    Raises:
        SealError: another key, record or pointer, or changed bytes.
    """
    from cryptography.exceptions import InvalidTag

    try:
        opened = _cipher()(key).decrypt(
            sealed.nonce, sealed.ciphertext, _bound(record, pointer, sealed.key_id)
        )
    except (InvalidTag, ValueError) as error:
        raise SealError(pointer) from error
    return opened[INNER_SALT_BYTES:]


def decode_sealed(data: bytes) -> SealedValue:
    """Read a sealed value; only the exact bytes that `SealedValue.encode` writes are accepted.

    Raises:
        MalformedSealError: anything else.
    """
    try:
        body = json.loads(data)
        found = SealedValue(
            body["key"], bytes.fromhex(body["nonce"]), base64.b64decode(body["sealed"])
        )
        sound = len(bytes.fromhex(found.key_id)) == KEY_ID_BYTES and found.encode() == data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedSealError("not a sealed value") from error
    if not sound or len(found.nonce) != NONCE_BYTES:
        raise MalformedSealError("not a sealed value")
    return found


def encode_erased(position: int) -> bytes:
    """Write what stands for a value that came after its subject was erased: it was never kept.

    Args:
        position: of the `erasure` entry.
    """
    return b'{"erased_by":"%d"}' % position


@lru_cache(maxsize=1)
def _cipher() -> type[AESGCM]:
    # Imported when first needed, and once: looking a name up again costs as much as encrypting.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM


def _bound(record: bytes, pointer: str, key_id: str) -> bytes:
    # Lengths of the first and the last are fixed, so the concatenation is unambiguous.
    return record + pointer.encode() + bytes.fromhex(key_id)

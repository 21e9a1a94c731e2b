"""Receipts: the log's signed promise that an event is, or will be, under a checkpoint.

A receipt is the JCS object `{deadline, leaf_hash, log_time, origin}` and a signature by the
receipt key that a `key` leaf certifies. Its text form, which fits an HTTP header, is
`<base64url(JCS)>.<base64url(key id ‖ signature)>`, without padding.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .errors import MalformedNoteError, SignatureError
from .hashing import HASH_BYTES
from .notes import Signer, Verifier


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says.

    Attributes:
        origin: the log that promises.
        leaf_hashes: of the accepted entries; one, or those of a batch in its order.
        log_time_us: of the last of them.
        deadline_us: by then a signed checkpoint covers them.
    """

    origin: str
    leaf_hashes: tuple[bytes, ...]
    log_time_us: int
    deadline_us: int


def _body(receipt: Receipt) -> bytes:
    hashes = [f'"{value.hex()}"' for value in receipt.leaf_hashes]
    leaf = hashes[0] if len(hashes) == 1 else f"[{','.join(hashes)}]"
    # An origin is printable ASCII, so json.dumps writes it as JCS does; it alone needs escapes.
    return (
        f'{{"deadline":"{receipt.deadline_us}","leaf_hash":{leaf},'
        f'"log_time":"{receipt.log_time_us}","origin":{_quoted(receipt.origin)}}}'
    ).encode()


# A log writes its own name in every receipt.
_quoted: Final = lru_cache(maxsize=8)(json.dumps)
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def _encode(value: bytes) -> str:
    return b2a_base64(value).translate(_URL_SAFE, b"=\n").decode()


def _decode(text: str) -> bytes:
    try:
        value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise MalformedNoteError("receipt is not base64url") from error
    if _encode(value) != text:
        raise MalformedNoteError("receipt is not canonical base64url")
    return value


def sign_receipt(receipt: Receipt, signer: Signer) -> str:
    """Write the text form. Deterministic: a duplicate's receipt is the first's, to the byte."""
    body = _body(receipt)
    signature = signer.verifier.identifier + signer.sign(body)
    return f"{_encode(body)}.{_encode(signature)}"


def verify_receipt(text: str, verifiers: Sequence[Verifier]) -> Receipt:
    """Read a receipt and check its signature.

    Raises:
        MalformedNoteError: not a receipt in canonical form.
        SignatureError: signed by none of the keys, or the signature fails.
    """
    encoded, dot, mark = text.partition(".")
    body, signature = _decode(encoded), _decode(mark)
    if not dot or len(signature) != 68:
        raise MalformedNoteError("receipt is not <body>.<signature>")
    receipt = _parse_body(body)
    for verifier in verifiers:
        if verifier.identifier == signature[:4]:
            verifier.verify(body, signature[4:])
            return receipt
    raise SignatureError(receipt.origin, "receipt is signed by none of the known keys")


def _parse_body(body: bytes) -> Receipt:
    try:
        value = json.loads(body)
        leaf = value["leaf_hash"]
        hashes = tuple(bytes.fromhex(item) for item in ([leaf] if isinstance(leaf, str) else leaf))
        receipt = Receipt(
            str(value["origin"]), hashes, int(value["log_time"]), int(value["deadline"])
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedNoteError("receipt has not the four members") from error
    if _body(receipt) != body or any(len(item) != HASH_BYTES for item in hashes) or not hashes:
        raise MalformedNoteError("receipt is not in canonical form")
    return receipt

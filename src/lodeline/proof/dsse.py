"""DSSE: an envelope that signs bytes together with their type.

What is signed is the pre-authentication encoding of type and payload, never the JSON around them.
Source: https://github.com/secure-systems-lab/dsse, version 1.0.2 of protocol and envelope.

Left out: where keys come from, and what the payload says.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from .errors import MalformedEnvelopeError, SignatureError
from .strict_json import parse_strictly

# A statement lists digests, never content; the longest are manifests of a model's files, at some
# 150 bytes a file.
ENVELOPE_BYTES_MAX: Final = 16 * 1024 * 1024
# Each signature may be tried with each key: more is an attack on the reader.
SIGNATURES_MAX: Final = 100
# A media type or a URI.
PAYLOAD_TYPE_BYTES_MAX: Final = 1024


class EnvelopeSigner(Protocol):
    """A private key, wherever it lives."""

    @property
    def verifier(self) -> EnvelopeVerifier:
        """Its public half."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message."""


class EnvelopeVerifier(Protocol):
    """A public key. `notes.Verifier` is one."""

    @property
    def name(self) -> str:
        """Whose key it is."""

    @property
    def public(self) -> bytes:
        """The key; two verifiers of the same bytes are one key."""

    @property
    def identifier(self) -> bytes:
        """Four bytes that tell keys of one name apart."""

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature.

        Raises:
            SignatureError: it is not this key's over this message.
        """


V = TypeVar("V", bound=EnvelopeVerifier)


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature: a hint at its key, which nothing protects, and its bytes."""

    hint: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an envelope holds.

    Attributes:
        payload_type: how to read the payload.
        payload: opaque here.
        signatures: at least one.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]


def key_hint(verifier: EnvelopeVerifier) -> str:
    """Write the `keyid` of a key: `<name>+<8 hexadecimal digits>`, the head of its vkey."""
    return f"{verifier.name}+{verifier.identifier.hex()}"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Write what is signed: `DSSEv1 <length> <type> <length> <payload>`, lengths in bytes."""
    encoded = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)


def sign_envelope(payload: bytes, payload_type: str, signers: Sequence[EnvelopeSigner]) -> Envelope:
    """Sign a payload of a type.

    Raises:
        MalformedEnvelopeError: no signer, or no type.
    """
    if not payload_type or not signers:
        raise MalformedEnvelopeError("an envelope has a payload type and at least one signature")
    message = pre_authentication_encoding(payload_type, payload)
    signatures = [
        EnvelopeSignature(key_hint(signer.verifier), signer.sign(message)) for signer in signers
    ]
    return Envelope(payload_type, payload, tuple(signatures))


def envelope_to_json(envelope: Envelope) -> dict[str, Any]:
    """Give the JSON object of an envelope, with standard base64."""
    return {
        "payload": b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [
            {"keyid": one.hint, "sig": b64encode(one.signature).decode()}
            for one in envelope.signatures
        ],
    }


def format_envelope(envelope: Envelope) -> str:
    """Write an envelope as one line of JSON."""
    return json.dumps(envelope_to_json(envelope), ensure_ascii=False, separators=(",", ":")) + "\n"


def parse_envelope(raw: bytes | str) -> Envelope:
    """Read an envelope, without verifying it.

    Members that DSSE does not know are ignored, as it asks.

    Raises:
        MalformedEnvelopeError: anything but an envelope of bounded size, names unique.
    """
    if len(raw) > ENVELOPE_BYTES_MAX:
        raise MalformedEnvelopeError(f"envelope is longer than {ENVELOPE_BYTES_MAX} bytes")
    try:
        value = parse_strictly(raw)
    except ValueError as error:
        raise MalformedEnvelopeError(f"envelope is not JSON: {error}") from error
    return envelope_from_json(value)


def envelope_from_json(value: object) -> Envelope:
    """Read an envelope's JSON object.

    Raises:
        MalformedEnvelopeError: not one.
    """
    if not isinstance(value, Mapping):
        raise MalformedEnvelopeError("envelope is not a JSON object")
    payload_type = _text(value, "payloadType")
    if not payload_type or len(payload_type.encode()) > PAYLOAD_TYPE_BYTES_MAX:
        raise MalformedEnvelopeError("payloadType is empty or endless")
    payload = _decode_base64(_text(value, "payload"), "payload")
    listed = value.get("signatures")
    if not isinstance(listed, list) or not 1 <= len(listed) <= SIGNATURES_MAX:
        raise MalformedEnvelopeError(f"an envelope has 1 to {SIGNATURES_MAX} signatures")
    return Envelope(payload_type, payload, tuple(map(_read_signature, listed)))


def _read_signature(value: object) -> EnvelopeSignature:
    if not isinstance(value, Mapping):
        raise MalformedEnvelopeError("a signature is not a JSON object")
    # Protocol buffers write an empty string for an absent hint, others null.
    hint = "" if value.get("keyid") is None else _text(value, "keyid")
    signature = _decode_base64(_text(value, "sig"), "sig")
    if not signature:
        raise MalformedEnvelopeError("a signature is empty")
    return EnvelopeSignature(hint, signature)


def _text(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise MalformedEnvelopeError(f"{name} is missing, or not a string")
    return found


def _decode_base64(text: str, what: str) -> bytes:
    """Read either alphabet, in full and canonical form only: one value has one spelling in each."""
    for decode, encode in ((b64decode, b64encode), (urlsafe_b64decode, urlsafe_b64encode)):
        try:
            value = decode(text)
        except (binascii.Error, ValueError):
            continue
        if encode(value).decode() == text:
            return value
    raise MalformedEnvelopeError(f"{what} is not base64")


def verify_envelope(
    envelope: Envelope,
    verifiers: Sequence[V],
    *,
    payload_types: Collection[str],
    threshold: int = 1,
) -> list[V]:
    """Check an envelope against known keys.

    1. The payload type is one that the reader understands.
    2. A signature whose hint names a known key must be that key's.
    3. Any other signature counts for the first known key that it verifies with; a hint is no proof
       of a key, and its absence none of the contrary.
    4. Distinct keys are counted, by their bytes: one key twice, or under two names, is one.
    5. At least `threshold` of them have signed.

    Returns:
        The keys that signed.

    Raises:
        MalformedEnvelopeError: a payload type that the reader does not understand.
        SignatureError: a known key's signature fails, or too few known keys have signed.
    """
    # 1.
    if envelope.payload_type not in payload_types:
        raise MalformedEnvelopeError(f"payload of unknown type {envelope.payload_type[:200]!r}")
    message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    signed: dict[bytes, V] = {}
    for one in envelope.signatures:
        named = [verifier for verifier in verifiers if key_hint(verifier) == one.hint]
        if named:
            # 2.
            named[0].verify(message, one.signature)
            found: V | None = named[0]
        else:
            # 3.
            found = _find_signer(message, one.signature, verifiers)
        if found is not None:
            # 4.
            signed.setdefault(found.public, found)
    # 5.
    if len(signed) < max(threshold, 1):
        names = ", ".join(sorted({verifier.name for verifier in verifiers})) or "no key"
        raise SignatureError(names, f"{len(signed)} of {max(threshold, 1)} signatures needed")
    return list(signed.values())


def _find_signer(message: bytes, signature: bytes, verifiers: Sequence[V]) -> V | None:
    for verifier in verifiers:
        try:
            verifier.verify(message, signature)
        except SignatureError:
            continue
        return verifier
    return None

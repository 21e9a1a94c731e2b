"""Signed notes with Ed25519, and the keys that sign and verify them.

A note is a text, an empty line, and signature lines. Several keys may sign one text; signatures
by keys that the reader does not know are kept and ignored. Sources: https://c2sp.org/signed-note,
and Go's golang.org/x/mod/sumdb/note for the form of private keys.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from .errors import MalformedNoteError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

ALGORITHM_ED25519: Final = b"\x01"
_SIGNATURE_LINE: Final = "— "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURES_MAX: Final = 100  # As Go's note package: more is an attack on the reader.
_NOTE_BYTES_MAX: Final = 1_000_000


def key_id(name: str, public: bytes, *, algorithm: bytes = ALGORITHM_ED25519) -> bytes:
    """Compute the four-byte identifier of a key: SHA-256(name ‖ LF ‖ algorithm ‖ public)."""
    return sha256(name.encode() + b"\n" + algorithm + public).digest()[:4]


def _check_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedNoteError("half of a surrogate pair") from error


def _check_name(name: str) -> None:
    _check_utf8(name)
    if not name or "+" in name or any(character.isspace() for character in name):
        raise MalformedNoteError(f"{name!r}: a key name is not empty and has no space and no '+'")


def _decode_base64(text: str, what: str) -> bytes:
    try:
        value = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedNoteError(f"{what} is not base64") from error
    if b64encode(value).decode() != text:
        # Bits behind the last byte: the same signature under other text.
        raise MalformedNoteError(f"{what} is not canonical base64")
    return value


def split_key(
    text: str, what: str, *, algorithm: bytes = ALGORITHM_ED25519
) -> tuple[str, bytes, bytes]:
    """Split `<name>+<id>+<base64(algorithm ‖ 32 bytes)>` into its name, identifier and key.

    Raises:
        MalformedNoteError: not such a text; `what` names it. The identifier is not checked.
    """
    parts = text.split("+", 2)
    if len(parts) != 3 or len(parts[1]) != 8:
        raise MalformedNoteError(f"{what} is not <name>+<id>+<key>")
    name, identifier, encoded = parts
    _check_name(name)
    key = _decode_base64(encoded, what)
    if len(key) != 33 or key[:1] != algorithm:
        kind = "an Ed25519 key" if algorithm == ALGORITHM_ED25519 else "an Ed25519 cosigner's key"
        raise MalformedNoteError(f"{what} is not {kind}")
    try:
        return name, bytes.fromhex(identifier), key[1:]
    except ValueError as error:
        raise MalformedNoteError(f"{what}: identifier is not hexadecimal") from error


@dataclass(frozen=True)
class Verifier:
    """A public key with the name it signs under.

    Attributes:
        name: key name; an origin for a log's checkpoint key.
        public: 32 bytes.
    """

    name: str
    public: bytes

    @classmethod
    def from_vkey(cls, vkey: str) -> Verifier:
        """Read `<name>+<8 hexadecimal digits>+<base64(0x01 ‖ public)>`.

        Raises:
            MalformedNoteError: not such a text, or an identifier that is not the key's.
        """
        name, identifier, public = split_key(vkey, "verifier key")
        if identifier != key_id(name, public):
            raise MalformedNoteError(f"verifier key {name}: identifier does not match the key")
        return cls(name, public)

    @property
    def vkey(self) -> str:
        """The key's text form, as `from_vkey` reads it."""
        encoded = b64encode(ALGORITHM_ED25519 + self.public).decode()
        return f"{self.name}+{key_id(self.name, self.public).hex()}+{encoded}"

    @cached_property
    def identifier(self) -> bytes:
        """Four bytes that stand before each signature of this key."""
        return key_id(self.name, self.public)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check an Ed25519 signature of 64 bytes.

        Raises:
            SignatureError: it is not this key's over this message.
        """
        from cryptography.exceptions import InvalidSignature

        try:
            self._key().verify(signature, message)
        except InvalidSignature as error:
            raise SignatureError(self.name, "signature does not verify") from error

    def _key(self) -> Ed25519PublicKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self.public)


class Signer:
    """A private key with the name it signs under. Signatures are deterministic (RFC 8032)."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take 32 secret bytes; where they come from is the caller's part.

        Raises:
            MalformedNoteError: a name with space or '+', or a seed of another length.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        _check_name(name)
        if len(seed) != 32:
            raise MalformedNoteError("an Ed25519 seed has 32 bytes")
        self._seed = seed
        self._key: Ed25519PrivateKey = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def from_text(cls, text: str) -> Signer:
        """Read `PRIVATE+KEY+<name>+<id>+<base64(0x01 ‖ seed)>`.

        Raises:
            MalformedNoteError: not such a text, or an identifier that is not the key's.
        """
        head, mark, rest = text.partition("PRIVATE+KEY+")
        if head or not mark:
            raise MalformedNoteError("private key does not start with PRIVATE+KEY+")
        name, identifier, seed = split_key(rest, "private key")
        signer = cls(name, seed)
        if signer.verifier.identifier != identifier:
            raise MalformedNoteError(f"private key {name}: identifier does not match the key")
        return signer

    @property
    def text(self) -> str:
        """The secret text form, as `from_text` reads it."""
        encoded = b64encode(ALGORITHM_ED25519 + self._seed).decode()
        return f"PRIVATE+KEY+{self.name}+{self.verifier.identifier.hex()}+{encoded}"

    @property
    def name(self) -> str:
        """The key's name."""
        return self.verifier.name

    def sign(self, message: bytes) -> bytes:
        """Sign; 64 bytes."""
        return self._key.sign(message)


def sign_note(text: str, signers: Sequence[Signer]) -> str:
    """Write the signed note of a text that ends in a newline.

    Raises:
        MalformedNoteError: the text does not end in a newline, or holds control characters.
    """
    _check_text(text)
    lines = [
        NoteSignature(signer.name, signer.verifier.identifier, signer.sign(text.encode())).line
        for signer in signers
    ]
    return f"{text}\n{''.join(lines)}"


def _check_text(text: str) -> None:
    _check_utf8(text)
    if not text.endswith("\n"):
        raise MalformedNoteError("a note's text ends in a newline")
    if _CONTROL.search(text) is not None:
        raise MalformedNoteError("a note has no control characters but newlines")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who, and over what key identifier."""

    name: str
    identifier: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line in a note, newline included."""
        encoded = b64encode(self.identifier + self.signature).decode()
        return f"{_SIGNATURE_LINE}{self.name} {encoded}\n"


def parse_note(note: str) -> tuple[str, list[NoteSignature]]:
    """Split a note into its text and its signatures, without verifying any.

    Raises:
        MalformedNoteError: not a signed note.
    """
    if len(note) > _NOTE_BYTES_MAX:
        raise MalformedNoteError("note is longer than a megabyte")
    split = note.rfind("\n\n")
    if split < 0:
        raise MalformedNoteError("note has no empty line before its signatures")
    text, block = note[: split + 1], note[split + 2 :]
    _check_text(text)
    return text, parse_signatures(block)


def parse_signatures(block: str) -> list[NoteSignature]:
    """Read signature lines, as they stand in a note and in a witness's answer.

    Raises:
        MalformedNoteError: not such lines, or more of them than any reader takes.
    """
    if not block.endswith("\n"):
        raise MalformedNoteError("signatures end in a newline")
    lines = block[:-1].split("\n")
    if len(lines) > _SIGNATURES_MAX:
        raise MalformedNoteError(f"more than {_SIGNATURES_MAX} signatures")
    return [_parse_signature(line) for line in lines]


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith(_SIGNATURE_LINE):
        raise MalformedNoteError("a signature line starts with an em dash and a space")
    name, space, encoded = line[len(_SIGNATURE_LINE) :].partition(" ")
    if not space:
        raise MalformedNoteError("a signature line has a name and a signature")
    _check_name(name)
    value = _decode_base64(encoded, "signature")
    if len(value) < 5:
        raise MalformedNoteError("a signature has at least 5 bytes")
    return NoteSignature(name, value[:4], value[4:])


def verify_note(note: str, verifiers: Sequence[Verifier]) -> tuple[str, list[Verifier]]:
    """Check a note against known keys.

    1. The note is well formed.
    2. Each signature whose name and identifier are a known key's must verify, at most one a key.
    3. At least one known key has signed.

    Returns:
        The text, and the keys that signed it.

    Raises:
        MalformedNoteError: not a signed note, or two signatures of one key.
        SignatureError: a known key's signature fails, or none of the known keys has signed.
    """
    # 1.
    text, signatures = parse_note(note)
    known = {(verifier.name, verifier.identifier): verifier for verifier in verifiers}
    signed: list[Verifier] = []
    # 2.
    for signature in signatures:
        verifier = known.get((signature.name, signature.identifier))
        if verifier is None:
            continue
        if verifier in signed:
            raise MalformedNoteError(f"two signatures of {verifier.name}")
        verifier.verify(text.encode(), signature.signature)
        signed.append(verifier)
    # 3.
    if not signed:
        names = ", ".join(sorted({verifier.name for verifier in verifiers})) or "no key"
        raise SignatureError(names, "has not signed this note")
    return text, signed

"""Cosignatures: a witness's word that a checkpoint extends every one that it saw before.

A cosignature is a signature line of a note, by a key of type 0x04, whose signature is eight bytes
of time (big-endian seconds since 1970) and 64 bytes of Ed25519 over

    cosignature/v1
    time <seconds>
    <text of the checkpoint>

Source: https://c2sp.org/tlog-cosignature. Of its two kinds, Ed25519 and ML-DSA-44, only Ed25519 is
read here; lines of the other kind are ignored, as are those of any key that is not known.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .checkpoints import TreeHead, parse_tree_head, verify_checkpoint
from .errors import MalformedNoteError, SignatureError, UnwitnessedError
from .notes import NoteSignature, Signer, Verifier, key_id, parse_note, split_key

ALGORITHM_COSIGNATURE: Final = b"\x04"
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = _TIME_BYTES + 64


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


@dataclass(frozen=True)
class CosignatureVerifier:
    """A witness's public key with the name it cosigns under.

    Attributes:
        name: key name.
        public: 32 bytes.
    """

    name: str
    public: bytes

    @classmethod
    def from_vkey(cls, vkey: str) -> CosignatureVerifier:
        """Read `<name>+<8 hexadecimal digits>+<base64(0x04 ‖ public)>`.

        Raises:
            MalformedNoteError: not such a text, or an identifier that is not the key's.
        """
        name, identifier, public = split_key(vkey, "witness key", algorithm=ALGORITHM_COSIGNATURE)
        verifier = cls(name, public)
        if identifier != verifier.identifier:
            raise MalformedNoteError(f"witness key {name}: identifier does not match the key")
        return verifier

    @property
    def identifier(self) -> bytes:
        """Four bytes that stand before each cosignature of this key."""
        return key_id(self.name, self.public, algorithm=ALGORITHM_COSIGNATURE)

    @property
    def vkey(self) -> str:
        """The key's text form, as `from_vkey` reads it."""
        encoded = b64encode(ALGORITHM_COSIGNATURE + self.public).decode()
        return f"{self.name}+{self.identifier.hex()}+{encoded}"

    def is_of(self, signature: NoteSignature) -> bool:
        """Whether a signature line names this key. It may still be forged."""
        return (signature.name, signature.identifier) == (self.name, self.identifier)

    def verify(self, text: str, signature: bytes) -> int:
        """Check a cosignature over the text of a checkpoint.

        1. It has 72 bytes: a time below 2^63, and an Ed25519 signature.
        2. The signature is this key's over the header, the time and the text.

        Returns:
            Its time, in seconds since 1970.

        Raises:
            SignatureError: one of the two does not hold.
        """
        # 1.
        if len(signature) != _SIGNATURE_BYTES:
            raise SignatureError(self.name, f"a cosignature has {_SIGNATURE_BYTES} bytes")
        time_s = int.from_bytes(signature[:_TIME_BYTES], "big")
        if time_s >= 1 << 63:
            raise SignatureError(self.name, "the cosignature's time has more than 63 bits")
        # 2.
        Verifier(self.name, self.public).verify(_message(text, time_s), signature[_TIME_BYTES:])
        return time_s


class Cosigner:
    """A witness's private key. Keeping the promise behind it is the witness's part, not ours."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take 32 secret bytes; where they come from is the caller's part.

        Raises:
            MalformedNoteError: a name with space or '+', or a seed of another length.
        """
        self._signer = Signer(name, seed)
        self.verifier = CosignatureVerifier(name, self._signer.verifier.public)

    def cosign(self, text: str, *, time_s: int) -> NoteSignature:
        """Cosign the text of a checkpoint, which must be consistent with all cosigned before.

        Raises:
            MalformedNoteError: the text is no checkpoint, or the time no time.
        """
        parse_tree_head(text)
        if not 0 <= time_s < 1 << 63:
            raise MalformedNoteError("a cosignature's time has at most 63 bits")
        signature = self._signer.sign(_message(text, time_s))
        return NoteSignature(
            self.verifier.name,
            self.verifier.identifier,
            time_s.to_bytes(_TIME_BYTES, "big") + signature,
        )


@dataclass(frozen=True)
class WitnessedHead:
    """A checkpoint that enough witnesses have cosigned.

    Attributes:
        head: what it says.
        cosigned: the witnesses, each with the time of its cosignature in seconds since 1970.
    """

    head: TreeHead
    cosigned: tuple[tuple[CosignatureVerifier, int], ...]


def verify_witnessed(
    note: str,
    logs: Sequence[Verifier],
    witnesses: Sequence[CosignatureVerifier],
    *,
    origin: str,
    threshold: int,
    not_after_s: int | None = None,
) -> WitnessedHead:
    """Check a checkpoint against the log's keys and those of witnesses.

    1. A key of the log has signed the checkpoint, and it is of this origin.
    2. Each cosignature that names a known witness must verify, at most one a key; lines of keys
       that are not known say nothing.
    3. None is from after `not_after_s`, if that is given.
    4. At least `threshold` different public keys have cosigned; one key under two names is one.

    Raises:
        MalformedNoteError: no checkpoint of this origin, or two cosignatures of one key.
        SignatureError: a signature or cosignature of a known key fails, or is from the future.
        UnwitnessedError: too few have cosigned.
    """
    # 1.
    head = verify_checkpoint(note, logs, origin=origin)
    # 2.
    cosigned = find_cosignatures(note, witnesses)
    # 3.
    for witness, time_s in cosigned:
        if not_after_s is not None and time_s > not_after_s:
            raise SignatureError(witness.name, f"cosignature of {time_s}, after {not_after_s}")
    # 4.
    if len({witness.public for witness, _ in cosigned}) < threshold:
        names = tuple(sorted(witness.name for witness, _ in cosigned))
        raise UnwitnessedError(threshold, names)
    return WitnessedHead(head, tuple(cosigned))


def find_cosignatures(
    note: str, witnesses: Sequence[CosignatureVerifier]
) -> list[tuple[CosignatureVerifier, int]]:
    """Give the known witnesses that cosigned a note, with the times; the log's keys stay unasked.

    Raises:
        MalformedNoteError: not a signed note, or two cosignatures of one key.
        SignatureError: a known witness's cosignature fails.
    """
    text, signatures = parse_note(note)
    known = {(witness.name, witness.identifier): witness for witness in witnesses}
    found: list[tuple[CosignatureVerifier, int]] = []
    for signature in signatures:
        witness = known.pop((signature.name, signature.identifier), None)
        if witness is not None:
            found.append((witness, witness.verify(text, signature.signature)))
        elif any(one.is_of(signature) for one, _ in found):
            raise MalformedNoteError(f"two cosignatures of {signature.name}")
    return found


def keep_signatures(note: str, keys: Sequence[Verifier | CosignatureVerifier]) -> str:
    """Write a note with the signature lines of some keys alone, in the order they stand.

    Raises:
        MalformedNoteError: not a signed note, or none of the lines is of one of the keys.
    """
    text, signatures = parse_note(note)
    names = {(key.name, key.identifier) for key in keys}
    kept = [one.line for one in signatures if (one.name, one.identifier) in names]
    if not kept:
        raise MalformedNoteError("the note has no signature line of these keys")
    return f"{text}\n{''.join(kept)}"

"""The key ring of an embedded segment: files of mode 0600 in `<store>.keys/`.

Each log has keys of its own, named after the random part of its origin: a crash between making
the keys and making the log leaves files that nothing refers to, never two logs under one key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from lodeline.errors import KeyMissingError, MalformedNoteError
from lodeline.proof import Signer

Randomness = Callable[[int], bytes]

_SEGMENT_KEY_DOMAIN = b"lodeline/v1/segment-key\n"


@dataclass(frozen=True)
class KeyRing:
    """The secrets of one log.

    Attributes:
        checkpoint: signs tree heads, under the log's origin as name.
        receipt: signs receipts, under `<origin>/receipt`.
        segment_key: 32 bytes; identifiers of records are HMACs under it.
    """

    checkpoint: Signer
    receipt: Signer
    segment_key: bytes = field(repr=False)

    @property
    def segment_key_hash(self) -> str:
        """What the `key` leaf says of the segment key: a hash that tells a wrong key file."""
        return sha256(_SEGMENT_KEY_DOMAIN + self.segment_key).hexdigest()

    def to_record(self, origin: str) -> dict[str, object]:
        """Give the payload of the `key` leaf."""
        return {
            "keys": [
                {"use": "checkpoint", "vkey": self.checkpoint.verifier.vkey},
                {"use": "receipt", "vkey": self.receipt.verifier.vkey},
            ],
            "origin": origin,
            "segment_key_hash": self.segment_key_hash,
        }


def key_paths(folder: Path, origin: str) -> dict[str, Path]:
    """Give the file of each key of a log."""
    token = origin.rpartition("/")[2]
    return {use: folder / f"{token}.{use}.key" for use in ("checkpoint", "receipt", "segment")}


def create_keys(folder: Path, origin: str, randomness: Randomness) -> KeyRing:
    """Make the keys of a new log and write them durably."""
    ring = KeyRing(
        checkpoint=Signer(origin, randomness(32)),
        receipt=Signer(f"{origin}/receipt", randomness(32)),
        segment_key=randomness(32),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = key_paths(folder, origin)
    _write_secret(paths["checkpoint"], ring.checkpoint.text)
    _write_secret(paths["receipt"], ring.receipt.text)
    _write_secret(paths["segment"], ring.segment_key.hex())
    _sync_folder(folder)
    _sync_folder(folder.parent)
    return ring


def load_keys(folder: Path, origin: str) -> KeyRing:
    """Read the keys of a log.

    Raises:
        KeyMissingError: a file is absent, unreadable, or not a key.
    """
    paths = key_paths(folder, origin)
    return KeyRing(
        checkpoint=_read_signer(paths["checkpoint"]),
        receipt=_read_signer(paths["receipt"]),
        segment_key=_read_segment_key(paths["segment"]),
    )


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyMissingError(str(path)) from error


def _read_signer(path: Path) -> Signer:
    try:
        return Signer.from_text(_read(path))
    except MalformedNoteError as error:
        raise KeyMissingError(str(path)) from error


def _read_segment_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(_read(path))
    except ValueError as error:
        raise KeyMissingError(str(path)) from error
    if len(key) != 32:
        raise KeyMissingError(str(path))
    return key

"""The key ring of an embedded segment: files of mode 0600 in `<store>.keys/`.

Each log has keys of its own, named after the random part of its origin: a crash between making
the keys and making the log leaves files that nothing refers to, never two logs under one key.

Which keys are in force is the log's to say, by its `key` entries; files only hold them. So a
rotation is over the moment that its entry is durable, and a crash before or after leaves files
that the next attempt takes up: prepared ones that no entry certifies, or retired ones not yet
removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from lodeline.errors import KeyMissingError, MalformedNoteError
from lodeline.proof import Signer

Randomness = Callable[[int], bytes]

# Keys for personal values are certified by `key` entries, too, and are none of these.
_USES = ("checkpoint", "receipt")

_SEGMENT_KEY_DOMAIN = b"lodeline/v1/segment-key\n"


@dataclass(frozen=True)
class KeyRing:
    """The secrets of one log.

    Attributes:
        checkpoint: signs tree heads, under the log's origin as name.
        receipt: signs receipts, under `<origin>/receipt`.
        segment_key: 32 bytes; identifiers of records are HMACs under it. It never changes.
        retiring: earlier checkpoint keys that sign beside the newest until they are retired.
    """

    checkpoint: Signer
    receipt: Signer
    segment_key: bytes = field(repr=False)
    retiring: tuple[Signer, ...] = ()

    @property
    def checkpoint_signers(self) -> list[Signer]:
        """All that sign a checkpoint, oldest first."""
        return [*self.retiring, self.checkpoint]

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


@dataclass(slots=True)
class Certified:
    """What the `key` entries of a log say, in their order.

    Attributes:
        first: verifier keys of the first entry, whose files bear no identifier.
        in_force: for each use the verifier keys that count, oldest first.
        retired: verifier keys that count for what they signed before.
    """

    first: frozenset[str] = frozenset()
    in_force: dict[str, list[str]] = field(
        default_factory=lambda: {"checkpoint": [], "receipt": []}
    )
    retired: set[str] = field(default_factory=set)

    def add(self, payload: bytes | None) -> None:
        """Take in the payload of the next `key` entry; a damaged one is `verify`'s to report."""
        try:
            record = json.loads(payload or b"")
            keys = [(key["use"], str(key["vkey"])) for key in record["keys"] if key["use"] in _USES]
            retired = set(map(str, record.get("retired", ())))
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if "restored_from" in record:
            # A new origin: who signed for the earlier one does not sign here.
            earlier = {vkey for vkeys in self.in_force.values() for vkey in vkeys}
            self.retired |= earlier
            self.in_force = {use: [] for use in self.in_force}
            self.first = frozenset()
        if not self.first:
            self.first = frozenset(vkey for _, vkey in keys)
        for use, vkey in keys:
            if vkey not in self.in_force[use]:
                self.in_force[use].append(vkey)
        for vkeys in self.in_force.values():
            vkeys[:] = [vkey for vkey in vkeys if vkey not in retired]
        self.retired |= retired

    def copy(self) -> Certified:
        """Give an independent copy."""
        in_force = {use: list(vkeys) for use, vkeys in self.in_force.items()}
        return Certified(self.first, in_force, set(self.retired))

    def is_known(self, vkey: str) -> bool:
        """Whether an entry names this key."""
        return vkey in self.retired or any(vkey in vkeys for vkeys in self.in_force.values())

    def path(self, folder: Path, origin: str, use: str, vkey: str) -> Path:
        """Give the file of a key."""
        identifier = "" if vkey in self.first else "." + vkey.split("+")[1]
        return folder / f"{_token(origin)}.{use}{identifier}.key"


def _token(origin: str) -> str:
    return origin.rpartition("/")[2]


def key_paths(
    folder: Path, origin: str, certified: Certified | None = None
) -> dict[str, list[Path]]:
    """Give the files of the keys in force by their use, oldest first."""
    paths = {
        use: [folder / f"{_token(origin)}.{use}.key"]
        for use in ("checkpoint", "receipt", "segment")
    }
    if certified is not None:
        for use, vkeys in certified.in_force.items():
            if vkeys:
                paths[use] = [certified.path(folder, origin, use, vkey) for vkey in vkeys]
    return paths


def create_keys(
    folder: Path, origin: str, randomness: Randomness, *, segment_key: bytes | None = None
) -> KeyRing:
    """Make the keys of a new log and write them durably.

    Args:
        folder: of the key ring.
        origin: of the new log.
        randomness: gives random bytes.
        segment_key: of the log that this one goes on from.
    """
    ring = KeyRing(
        checkpoint=Signer(origin, randomness(32)),
        receipt=Signer(f"{origin}/receipt", randomness(32)),
        segment_key=segment_key or randomness(32),
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = key_paths(folder, origin)
    _write_secret(paths["checkpoint"][0], ring.checkpoint.text)
    _write_secret(paths["receipt"][0], ring.receipt.text)
    _write_secret(paths["segment"][0], ring.segment_key.hex())
    _sync_folder(folder)
    _sync_folder(folder.parent)
    return ring


def load_keys(folder: Path, origin: str, certified: Certified) -> KeyRing:
    """Read the keys of a log that are in force; the newest of each use signs.

    A certified key that is kept elsewhere does not sign here, as long as another is in force.

    Raises:
        KeyMissingError: no file of a use is there, or one is unreadable, or not a key.
    """
    paths = key_paths(folder, origin, certified)
    *retiring, checkpoint = _read_signers(paths["checkpoint"])
    return KeyRing(
        checkpoint=checkpoint,
        receipt=_read_signers(paths["receipt"])[-1],
        segment_key=_read_segment_key(paths["segment"][0]),
        retiring=tuple(retiring),
    )


def _read_signers(paths: list[Path]) -> list[Signer]:
    return [_read_signer(path) for path in paths if path.exists()] or [_read_signer(paths[-1])]


def prepare_keys(
    folder: Path, origin: str, certified: Certified, randomness: Randomness
) -> tuple[Signer, Signer]:
    """Write the next checkpoint and receipt key durably, or take up those of a torn attempt.

    The caller holds the writer's lock. No entry certifies them yet.
    """
    signers = []
    for use, name in (("checkpoint", origin), ("receipt", f"{origin}/receipt")):
        signer = _find_prepared(folder, origin, use, certified)
        if signer is None:
            signer = Signer(name, randomness(32))
            unfinished = folder / f"{_token(origin)}.{use}.unfinished"
            unfinished.unlink(missing_ok=True)
            _write_secret(unfinished, signer.text)
            unfinished.rename(certified.path(folder, origin, use, signer.verifier.vkey))
        signers.append(signer)
    _sync_folder(folder)
    return signers[0], signers[1]


def _find_prepared(folder: Path, origin: str, use: str, certified: Certified) -> Signer | None:
    token = _token(origin)
    for path in sorted(folder.glob(f"{token}.{use}.*.key")):
        signer = _read_signer(path)
        if not certified.is_known(signer.verifier.vkey):
            return signer
    return None


def remove_retired(folder: Path, origin: str, certified: Certified, *, keep: bool) -> list[Path]:
    """Remove the files of retired private keys, or set them aside as `<name>.retired`.

    Returns:
        What was removed or set aside. Nothing is overwritten first: on most file systems that
        reaches other blocks than those that held the key.
    """
    removed = []
    for vkey in sorted(certified.retired):
        for use in _USES:
            path = certified.path(folder, origin, use, vkey)
            if not path.is_file() or _read_signer(path).verifier.vkey != vkey:
                continue
            if keep:
                path.rename(path.with_name(path.name + ".retired"))
            else:
                path.unlink()
            removed.append(path)
    if removed:
        _sync_folder(folder)
    return removed


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

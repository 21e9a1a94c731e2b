"""Signing keys by reference: a path, `env:NAME`, or a `pkcs11:` URI.

A key in a file is created with mode 0600, its missing folders with 0700, and read only while no
one else may read it. Secrets appear in no message and no `repr`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lodeline.attest.ecdsa import EcdsaSigner, EcdsaVerifier
from lodeline.errors import MalformedNoteError, SigningKeyError, UsageError
from lodeline.proof import Signer, Verifier
from lodeline.signing.tokens import OpenSession, TokenKey, open_session, parse_uri

ALGORITHMS: Final = ("ed25519", "ecdsa-p256")
# A private key has some hundred bytes; whatever is longer is another file.
_KEY_BYTES_MAX: Final = 64 * 1024
_SECRET_MARKS: Final = ("PRIVATE+KEY+", "-----BEGIN")


class _TokenSigner:
    """A key of a token as a signer of envelopes."""

    def __init__(self, key: TokenKey) -> None:
        self._key = key
        self.verifier: Verifier | EcdsaVerifier
        if key.algorithm == "ed25519":
            self.verifier = Verifier(key.label, key.public)
        else:
            self.verifier = EcdsaVerifier(key.label, key.public)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


SigningKey = Signer | EcdsaSigner | _TokenSigner


def create_key(
    path: Path,
    name: str,
    *,
    algorithm: str = "ed25519",
    randomness: Callable[[int], bytes] = os.urandom,
) -> Signer | EcdsaSigner:
    """Make a key and write it durably; an existing file is never overwritten.

    Args:
        path: where to; folders that are missing are made with mode 0700.
        name: that the key signs under; no space and no `+`.
        algorithm: of `ALGORITHMS`.
        randomness: gives secret bytes.

    Raises:
        UsageError: the name cannot be a key's.
        SigningKeyError: the file exists, or cannot be written.
    """
    signer: Signer | EcdsaSigner
    try:
        if algorithm == "ed25519":
            signer = Signer(name, randomness(32))
        else:
            signer = EcdsaSigner.from_seed(randomness(48), name=name)
    except MalformedNoteError as error:
        raise UsageError(str(error)) from error
    try:
        for folder in reversed([path.parent, *path.parent.parents]):
            folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            # A umask may take bits away, never add any.
            os.fchmod(descriptor, 0o600)
            stream.write(signer.text.rstrip("\n") + "\n")
            stream.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise SigningKeyError(str(path), "exists; a key is never overwritten") from error
    except OSError as error:
        raise SigningKeyError(str(path), error.strerror or "cannot be written") from error
    return signer


def load_key(
    reference: str,
    *,
    environment: Mapping[str, str] | None = None,
    opening: OpenSession = open_session,
) -> SigningKey:
    """Find the private key that a reference names.

    Args:
        reference: a path, `env:NAME`, or a `pkcs11:` URI.
        environment: where `env:` looks; the process's own by default.
        opening: opens a session of a token.

    Raises:
        SigningKeyError: nothing there, readable by others, or not a key.
    """
    if any(mark in reference for mark in _SECRET_MARKS):
        raise SigningKeyError("the reference", "is a private key itself; name a file or env:NAME")
    if reference.startswith("pkcs11:"):
        label = parse_uri(reference).label
        key = opening(reference).find_key(label)
        if key is None:
            raise SigningKeyError(f"pkcs11:object={label}", "no such key in the token")
        return _TokenSigner(key)
    if reference.startswith("env:"):
        text = (os.environ if environment is None else environment).get(reference[4:])
        if not text:
            raise SigningKeyError(reference, "is not set")
    else:
        text = _read_secret(Path(reference))
    return _parse_private(text.strip(), reference)


def _read_secret(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(_KEY_BYTES_MAX + 1)
        text = data.decode("ascii")
    except OSError as error:
        raise SigningKeyError(str(path), error.strerror or "cannot be read") from error
    except UnicodeDecodeError:
        raise SigningKeyError(str(path), "is not a private key") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise SigningKeyError(str(path), f"can be read by others (mode {mode & 0o777:04o})")
    return text


def _parse_private(text: str, reference: str) -> Signer | EcdsaSigner:
    try:
        if text.startswith("-----BEGIN"):
            return EcdsaSigner.from_pem(text, name=_name_of(reference))
        return Signer.from_text(text)
    except MalformedNoteError as error:
        raise SigningKeyError(reference, f"is not a private key: {error}") from None


def load_verifier(reference: str) -> Verifier | EcdsaVerifier:
    """Read a public key: a vkey, or a file with a vkey or with a P-256 key in PEM.

    Raises:
        SigningKeyError: neither.
    """
    text = reference
    if not _is_vkey(text):
        try:
            data = Path(reference).read_bytes()[: _KEY_BYTES_MAX + 1]
            text = data.decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = "is neither a vkey nor a readable file"
            raise SigningKeyError(reference, reason) from error
    if "PRIVATE" in text:
        raise SigningKeyError(reference, "is a private key; a reader needs the public one")
    try:
        if text.startswith("-----BEGIN"):
            return EcdsaVerifier.from_pem(text, name=_name_of(reference))
        return Verifier.from_vkey(text)
    except MalformedNoteError as error:
        raise SigningKeyError(reference, f"is not a public key: {error}") from error


def _is_vkey(text: str) -> bool:
    try:
        Verifier.from_vkey(text)
    except MalformedNoteError:
        return False
    return True


def _name_of(reference: str) -> str:
    """Name a PEM key after its file, since PEM has no place for a name."""
    stem = Path(reference.removeprefix("env:")).name.partition(".")[0]
    return "".join(c if c.isalnum() or c in "-_@" else "-" for c in stem) or "key"

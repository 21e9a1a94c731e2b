"""Keys that never leave their token: the shape of PKCS#11, and the bridge to a real module.

A session is opened by a URI of RFC 7512, a key found by its label, a message signed. Whoever has
another library for tokens passes a function of the shape `OpenSession` instead.

`pkcs11:token=T;object=LABEL?module-path=/path/lib.so&pin-source=env:NAME`; `pin-source` may also be
the path of a file. A PIN in the URI itself is refused: command lines are read by everyone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from lodeline.errors import SigningKeyError


class TokenKey(Protocol):
    """A private key inside a token."""

    @property
    def label(self) -> str:
        """Its label; the name that it signs under."""

    @property
    def algorithm(self) -> str:
        """`ed25519` or `ecdsa-p256`."""

    @property
    def public(self) -> bytes:
        """Ed25519: 32 bytes; ECDSA: SubjectPublicKeyInfo in DER."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message. Ed25519: 64 bytes; ECDSA with SHA-256: DER."""


class Session(Protocol):
    """An open session of a token."""

    def find_key(self, label: str) -> TokenKey | None:
        """Find the private key of a label, or `None`."""


OpenSession = Callable[[str], Session]


@dataclass(frozen=True)
class TokenAddress:
    """What a PKCS#11 URI says.

    Attributes:
        token: label of the token.
        label: of the key.
        module: path of the vendor's library.
        pin_source: where the PIN stands; empty for a token without one.
    """

    token: str
    label: str
    module: str
    pin_source: str


def parse_uri(uri: str) -> TokenAddress:
    """Read a PKCS#11 URI.

    Raises:
        SigningKeyError: not one, or it holds the PIN itself.
    """
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    parts = _attributes(path, ";") | _attributes(query, "&")
    if "pin-value" in parts:
        where = uri.partition("?")[0]
        raise SigningKeyError(where, "holds a PIN; write pin-source=env:NAME or pin-source=FILE")
    missing = [name for name in ("token", "object", "module-path") if not parts.get(name)]
    if missing:
        raise SigningKeyError(uri, f"names no {', no '.join(missing)}")
    return TokenAddress(
        parts["token"], parts["object"], parts["module-path"], parts.get("pin-source", "")
    )


def _attributes(text: str, separator: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(separator) if part)
    return {name: unquote(value) for name, _, value in pairs}


def find_pin(address: TokenAddress, *, environment: Mapping[str, str] | None = None) -> str | None:
    """Read the PIN from where the URI says it stands.

    Raises:
        SigningKeyError: it is not there.
    """
    source = address.pin_source
    if not source:
        return None
    if source.startswith("env:"):
        found = (os.environ if environment is None else environment).get(source[4:])
        if not found:
            raise SigningKeyError(source, "is not set")
        return found
    try:
        return Path(source.removeprefix("file:")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SigningKeyError(source, "cannot be read") from error


def open_session(uri: str) -> Session:
    """Open a session through `python-pkcs11`, which the extra `hsm` installs.

    Raises:
        SigningKeyError: no such module, token or PIN, or the library is not installed.
    """
    address = parse_uri(uri)
    try:
        import pkcs11
    except ImportError as error:
        raise SigningKeyError("pkcs11:", "needs the extra: pip install 'lodeline[hsm]'") from error
    pin = find_pin(address)
    try:
        library = pkcs11.lib(address.module)
        token = library.get_token(token_label=address.token)
        try:
            return _Pkcs11Session(token.open(user_pin=pin))
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            # A process logs in to a token once, for all of its sessions.
            return _Pkcs11Session(token.open())
    except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
        # The library's errors name no PIN; their text is often empty, their class is not.
        reason = f"{type(error).__name__} {error}".strip()
        raise SigningKeyError(f"pkcs11:token={address.token}", reason) from error


class _Pkcs11Session:
    def __init__(self, session: Any) -> None:
        self._session = session

    def find_key(self, label: str) -> TokenKey | None:
        import pkcs11

        try:
            private = self._session.get_key(
                object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=label
            )
            public = self._session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=label)
        except pkcs11.exceptions.NoSuchKey:
            return None
        except pkcs11.exceptions.PKCS11Error as error:
            raise SigningKeyError(f"pkcs11:object={label}", type(error).__name__) from error
        return _Pkcs11Key(label, private, public)


class _Pkcs11Key:
    def __init__(self, label: str, private: Any, public: Any) -> None:
        import pkcs11

        self.label = label
        self._private = private
        point = bytes(public[pkcs11.Attribute.EC_POINT])
        if private.key_type == pkcs11.KeyType.EC_EDWARDS:
            self.algorithm = "ed25519"
            # An OCTET STRING of 32 bytes; some modules leave its two bytes of header out.
            self.public = point[-32:]
        else:
            self.algorithm = "ecdsa-p256"
            self.public = _subject_public_key_info(point, label)

    def sign(self, message: bytes) -> bytes:
        import pkcs11
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            if self.algorithm == "ed25519":
                return bytes(self._private.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
            from hashlib import sha256

            pair = bytes(
                self._private.sign(sha256(message).digest(), mechanism=pkcs11.Mechanism.ECDSA)
            )
        except pkcs11.exceptions.PKCS11Error as error:
            raise SigningKeyError(f"pkcs11:object={self.label}", type(error).__name__) from error
        half = len(pair) // 2
        return encode_dss_signature(int.from_bytes(pair[:half]), int.from_bytes(pair[half:]))


def _subject_public_key_info(point: bytes, label: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point[-65:])
    except ValueError as error:
        raise SigningKeyError(f"pkcs11:object={label}", "is on another curve than P-256") from error
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

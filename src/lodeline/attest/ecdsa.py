"""ECDSA over P-256 with SHA-256: the keys that OpenSSF model signing and many tokens know.

Ed25519 stays the rule, for its signatures are deterministic and its keys have one form. This
exists because readers of model bundles accept elliptic curves of NIST only.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from lodeline.errors import MalformedNoteError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )


@dataclass(frozen=True)
class EcdsaVerifier:
    """A public key on P-256.

    Attributes:
        name: whose it is; free text, since a PEM file has no place for one.
        public: SubjectPublicKeyInfo in DER.
    """

    name: str
    public: bytes

    @classmethod
    def from_pem(cls, text: str, *, name: str) -> EcdsaVerifier:
        """Read a public key in PEM.

        Raises:
            MalformedNoteError: not one, or on another curve.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise MalformedNoteError("not a public key in PEM") from error
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise MalformedNoteError("the key is not on the curve P-256")
        return cls.from_key(key, name=name)

    @classmethod
    def from_key(cls, key: EllipticCurvePublicKey, *, name: str) -> EcdsaVerifier:
        """Take a key of `cryptography`."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return cls(name, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @property
    def identifier(self) -> bytes:
        """Four bytes of the key's SHA-256, as C2SP signed notes do for ECDSA."""
        return sha256(self.public).digest()[:4]

    @property
    def pem(self) -> str:
        """The key in PEM."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return self._key().public_bytes(*form).decode()

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature in DER.

        Raises:
            SignatureError: it is not this key's over this message.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            self._key().verify(signature, message, ECDSA(SHA256()))
        except InvalidSignature as error:
            raise SignatureError(self.name, "signature does not verify") from error

    def _key(self) -> EllipticCurvePublicKey:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        key = load_der_public_key(self.public)
        assert isinstance(key, EllipticCurvePublicKey)
        return key


class EcdsaSigner:
    """A private key on P-256."""

    def __init__(self, key: EllipticCurvePrivateKey, *, name: str) -> None:
        self._key = key
        self.verifier = EcdsaVerifier.from_key(key.public_key(), name=name)

    @classmethod
    def from_pem(cls, text: str, *, name: str) -> EcdsaSigner:
        """Read a private key in PEM, not encrypted.

        Raises:
            MalformedNoteError: not one, or on another curve.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Without the cause: what a parser says of a secret stays out of every message.
            raise MalformedNoteError("not a private key in PEM without a password") from None
        if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise MalformedNoteError("the key is not on the curve P-256")
        return cls(key, name=name)

    @classmethod
    def from_seed(cls, seed: bytes, *, name: str) -> EcdsaSigner:
        """Make a key of 48 random bytes; with 128 bits more than the order, no scalar is likelier.

        Source: FIPS 186-5, appendix A.2.1 (extra random bits; at least 64).
        """
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        scalar = int.from_bytes(seed, "big") % (order - 1) + 1
        return cls(derive_private_key(scalar, SECP256R1()), name=name)

    @property
    def text(self) -> str:
        """The secret text form: PKCS #8 in PEM."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._key.private_bytes(*form).decode()

    def sign(self, message: bytes) -> bytes:
        """Sign; DER."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        return self._key.sign(message, ECDSA(SHA256()))

"""Model folders as OpenSSF model-signing bundles: a manifest of files, signed.

The bundle is a Sigstore bundle 0.3 in JSON with a DSSE envelope; its statement lists the SHA-256 of
each file, and the subject's digest is that of all of them in order. Sources: OpenSSF model signing
1.0 (predicate `https://model_signing/signature/v1.0`), and sigstore/protobuf-specs.

Left out: certificates and transparency logs of Sigstore. The key is named by its hint alone; the
log of Lodeline, not Rekor, says when the bundle was there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from lodeline.attest.ecdsa import EcdsaVerifier
from lodeline.errors import MalformedEnvelopeError, MalformedStatementError, SignatureError
from lodeline.proof.dsse import (
    ENVELOPE_BYTES_MAX,
    Envelope,
    EnvelopeSigner,
    envelope_from_json,
    envelope_to_json,
    sign_envelope,
    verify_envelope,
)
from lodeline.proof.statements import PAYLOAD_TYPE, STATEMENT_TYPE, statement_of
from lodeline.proof.strict_json import parse_strictly
from lodeline.wire import canonical_bytes

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
# What the model is published with, but is no part of it.
IGNORED_PATHS: Final = (".git", ".gitattributes", ".github", ".gitignore")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a model.

    Attributes:
        name: of the model's folder.
        files: (path below the folder with `/`, SHA-256 in hexadecimal), by the parts of the path.
        ignored: paths below the folder that were left out, each with all below it.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...] = IGNORED_PATHS

    @classmethod
    def of(cls, name: str, files: Mapping[str, str], ignored: Sequence[str]) -> Manifest:
        """Put files in the order of the format: by the parts of their paths."""
        ordered = sorted(files.items(), key=lambda item: item[0].split("/"))
        return cls(name, tuple(ordered), tuple(sorted(ignored)))

    @property
    def digest(self) -> str:
        """SHA-256 over the files' digests in order, in hexadecimal."""
        return sha256(b"".join(bytes.fromhex(digest) for _, digest in self.files)).hexdigest()


def manifest_statement(manifest: Manifest) -> bytes:
    """Write the statement that is signed.

    Raises:
        MalformedStatementError: a model without files.
    """
    if not manifest.files:
        raise MalformedStatementError("a model without files")
    return canonical_bytes(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": manifest.name, "digest": {"sha256": manifest.digest}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": list(manifest.ignored),
                },
                "resources": [
                    {"name": path, "algorithm": "sha256", "digest": digest}
                    for path, digest in manifest.files
                ],
            },
        }
    )


def sign_model(manifest: Manifest, signer: EnvelopeSigner) -> str:
    """Write the bundle of a model, in one line of JSON.

    Args:
        manifest: its files.
        signer: whose verifier is an `EcdsaVerifier`.

    Raises:
        MalformedEnvelopeError: the key is of another kind, which readers of bundles refuse.
    """
    verifier = signer.verifier
    if not isinstance(verifier, EcdsaVerifier):
        raise MalformedEnvelopeError("readers of model bundles accept ECDSA keys on P-256 only")
    envelope = sign_envelope(manifest_statement(manifest), PAYLOAD_TYPE, [signer])
    body = envelope_to_json(envelope)
    # Readers compare the hint below; a `keyid` of another form confuses some of them.
    body["signatures"][0]["keyid"] = ""
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": public_key_hint(verifier)},
            "tlogEntries": [],
        },
        "dsseEnvelope": body,
    }
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")) + "\n"


def public_key_hint(verifier: EcdsaVerifier) -> str:
    """Name a key as model signing does: SHA-256 of its PEM, in hexadecimal."""
    return sha256(verifier.pem.encode()).hexdigest()


def is_bundle(value: object) -> bool:
    """Whether a JSON document says that it is a Sigstore bundle."""
    return isinstance(value, Mapping) and value.get("mediaType") == MEDIA_TYPE


def parse_bundle(raw: bytes | str) -> tuple[Envelope, str]:
    """Read a bundle: its envelope, and its hint at the key, which may be empty.

    Raises:
        MalformedEnvelopeError: not a bundle with an envelope and a public key.
    """
    if len(raw) > ENVELOPE_BYTES_MAX:
        raise MalformedEnvelopeError(f"bundle is longer than {ENVELOPE_BYTES_MAX} bytes")
    try:
        value = parse_strictly(raw)
    except ValueError as error:
        raise MalformedEnvelopeError(f"bundle is not JSON: {error}") from error
    if not is_bundle(value):
        raise MalformedEnvelopeError(f"not a bundle of type {MEDIA_TYPE}")
    material = value.get("verificationMaterial")
    key = material.get("publicKey") if isinstance(material, Mapping) else None
    hint = key.get("hint", "") if isinstance(key, Mapping) else None
    if not isinstance(hint, str):
        raise MalformedEnvelopeError("the bundle is signed by no public key")
    return envelope_from_json(value.get("dsseEnvelope")), hint


def verify_model(raw: bytes | str, verifier: EcdsaVerifier) -> Manifest:
    """Check a bundle against a known key.

    1. It is a bundle, and its hint, if it has one, names the key.
    2. The key has signed the envelope.
    3. The statement is a manifest, and its subject's digest is that of the files it lists.

    Whether the files at hand are those of the manifest is the caller's part.

    Raises:
        MalformedEnvelopeError: not such a bundle.
        SignatureError: another key, or the signature fails.
        MalformedStatementError: no manifest, or one that contradicts itself.
    """
    # 1.
    envelope, hint = parse_bundle(raw)
    if hint and hint != public_key_hint(verifier):
        raise SignatureError(verifier.name, "the bundle names another key")
    # 2.
    verify_envelope(envelope, [verifier], payload_types={PAYLOAD_TYPE})
    # 3.
    statement = statement_of(envelope)
    if statement.predicate_type != PREDICATE_TYPE or len(statement.subjects) != 1:
        raise MalformedStatementError(f"not a statement of type {PREDICATE_TYPE}")
    (subject,) = statement.subjects
    manifest = _read_manifest(subject.name, statement.predicate)
    if subject.digest.get("sha256") != manifest.digest:
        raise MalformedStatementError("the subject's digest is not that of the listed files")
    return manifest


def _read_manifest(name: str, predicate: Mapping[str, Any]) -> Manifest:
    try:
        form = predicate["serialization"]
        if (form["method"], form["hash_type"], form["allow_symlinks"]) != (
            "files",
            "sha256",
            False,
        ):
            raise MalformedStatementError("a manifest of another serialization than files, sha256")
        files = [
            (str(one["name"]), _hexadecimal(one["digest"]))
            for one in predicate["resources"]
            if one["algorithm"] == "sha256"
        ]
        ignored = tuple(map(str, form.get("ignore_paths", ())))
        whole = len(files) == len(predicate["resources"]) and len(dict(files)) == len(files)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedStatementError("not a manifest of files") from error
    if not whole:
        raise MalformedStatementError("a manifest lists a file twice, or not by SHA-256")
    return Manifest(name, tuple(files), ignored)


def _hexadecimal(text: str) -> str:
    if len(bytes.fromhex(text)) != 32:
        raise ValueError("not 32 bytes")
    return text

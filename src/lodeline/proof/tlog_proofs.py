"""Proofs as files: one text that shows, offline, that an entry is in a log.

A tlog-proof holds the entry's index, its inclusion path and the checkpoint that the path leads to,
with whatever cosignatures that carries. Lodeline writes the leaf record into its extra data, so
that the file needs nothing beside it; the extra data is signed by nobody, and counts only because
its hash is what the path proves. Source: https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .checkpoints import TreeHead, verify_checkpoint
from .errors import MalformedProofError
from .hashing import HASH_BYTES, hash_leaf
from .inclusion import verify_inclusion
from .leaves import LEAF_BYTES_MAX
from .notes import Verifier

_HEADER: Final = "c2sp.org/tlog-proof@v1"
# A size has at most 63 bits, so no path is longer.
_PATH_MAX: Final = 63
_INDEX_MAX: Final = (1 << 63) - 1
# The largest note that is read, an entry in base64 and a path fit well within.
_PROOF_BYTES_MAX: Final = 1_200_000

# Raises unless a policy accepts the cosignatures of the checkpoint that it is given.
VerifyWitnesses = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class TlogProof:
    """What a tlog-proof says; nothing of it is verified yet.

    Attributes:
        index: 0-based position of the entry.
        path: siblings from leaf to root, 32 bytes each.
        checkpoint: the signed note, verbatim.
        extra: opaque bytes beside the proof; Lodeline's are the entry itself.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def format_tlog_proof(proof: TlogProof) -> str:
    """Write the text form.

    Raises:
        MalformedProofError: an index, a path or extra data that the format has no room for.
    """
    if not 0 <= proof.index <= _INDEX_MAX:
        raise MalformedProofError("an index has at most 63 bits")
    if len(proof.path) > _PATH_MAX or any(len(value) != HASH_BYTES for value in proof.path):
        raise MalformedProofError(f"a path has at most {_PATH_MAX} hashes of {HASH_BYTES} bytes")
    if proof.extra is not None and not 0 < len(proof.extra) <= LEAF_BYTES_MAX:
        raise MalformedProofError(f"extra data has 1 to {LEAF_BYTES_MAX} bytes")
    lines = [_HEADER]
    if proof.extra is not None:
        lines.append(f"extra {b64encode(proof.extra).decode()}")
    lines.append(f"index {proof.index}")
    lines += [b64encode(value).decode() for value in proof.path]
    return "\n".join(lines) + "\n\n" + proof.checkpoint


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read the text form; only the exact bytes that `format_tlog_proof` writes are accepted.

    The checkpoint is kept as it is: reading it is part of verifying it.

    Raises:
        MalformedProofError: not such a text, or one beyond the bounds.
    """
    if len(data) > _PROOF_BYTES_MAX:
        raise MalformedProofError(f"a proof has at most {_PROOF_BYTES_MAX} bytes")
    try:
        head, gap, checkpoint = data.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError as error:
        raise MalformedProofError("a proof is UTF-8") from error
    lines = head.split("\n")
    if lines.pop(0) != _HEADER:
        raise MalformedProofError(f"a proof begins with {_HEADER}")
    if not gap or not checkpoint:
        raise MalformedProofError("a proof ends with an empty line and a checkpoint")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = _decode(lines.pop(0)[len("extra ") :], "extra data")
        if not 0 < len(extra) <= LEAF_BYTES_MAX:
            raise MalformedProofError(f"extra data has 1 to {LEAF_BYTES_MAX} bytes")
    if not lines or not lines[0].startswith("index "):
        raise MalformedProofError("a proof names the index of its entry")
    index = _parse_index(lines.pop(0)[len("index ") :])
    if len(lines) > _PATH_MAX:
        raise MalformedProofError(f"a path has at most {_PATH_MAX} hashes")
    path = tuple(_decode(line, "a hash of the path") for line in lines)
    if any(len(value) != HASH_BYTES for value in path):
        raise MalformedProofError(f"every hash has {HASH_BYTES} bytes")
    return TlogProof(index, path, checkpoint, extra)


def _parse_index(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise MalformedProofError(f"{text[:32]!r}: an index is decimal, without leading zeros")
    if len(text) > 19 or int(text) > _INDEX_MAX:
        raise MalformedProofError("an index has at most 63 bits")
    return int(text)


def _decode(text: str, what: str) -> bytes:
    try:
        value = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedProofError(f"{what} is not base64") from error
    if b64encode(value).decode() != text:
        raise MalformedProofError(f"{what} is not canonical base64")
    return value


def verify_tlog_proof(
    data: bytes,
    verifiers: Sequence[Verifier],
    *,
    origin: str,
    leaf_hash: bytes | None = None,
    verify_witnesses: VerifyWitnesses | None = None,
) -> tuple[TlogProof, TreeHead]:
    """Check a proof against known keys.

    1. The proof is well formed.
    2. The entry is the one asked about, or else the one in the extra data, by its hash.
    3. The checkpoint is of the log asked about, and signed by a known key of it.
    4. Enough witnesses have seen it, if a policy asks for any.
    5. The path leads from the entry, at its index, to the checkpoint's root.

    Args:
        data: the file.
        verifiers: checkpoint keys of the log.
        origin: the log's name.
        leaf_hash: of the entry that must be proven; without it, that in the extra data.
        verify_witnesses: given the checkpoint, raises unless a policy of witnesses is met.

    Returns:
        The proof and the tree head.

    Raises:
        MalformedProofError: not a proof, one that cannot be of such a tree, or one without entry.
        MalformedNoteError: the checkpoint is none, or of another log.
        SignatureError: no known key has signed the checkpoint.
        RootMismatchError: the path leads elsewhere: the entry is not in that tree at that index.
    """
    # 1.
    proof = parse_tlog_proof(data)
    # 2.
    if leaf_hash is None:
        if proof.extra is None:
            raise MalformedProofError("the proof carries no entry, and none was given")
        leaf_hash = hash_leaf(proof.extra)
    # 3.
    head = verify_checkpoint(proof.checkpoint, verifiers, origin=origin)
    # 4.
    if verify_witnesses is not None:
        verify_witnesses(proof.checkpoint)
    # 5.
    verify_inclusion(
        leaf_hash, proof.path, leaf_index=proof.index, tree_size=head.size, root=head.root_hash
    )
    return proof, head

"""Checkpoints: signed tree heads, as C2SP notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lodeline.errors import MalformedNoteError
from lodeline.proof import (
    Signer,
    TreeHead,
    Verifier,
    format_tree_head,
    parse_tree_head,
    sign_note,
    verify_note,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head.

    Attributes:
        size: leaves in the tree.
        root_hash: 32 bytes.
        log_time_us: log time of its last leaf.
        note: the signed note.
    """

    size: int
    root_hash: bytes
    log_time_us: int
    note: str


def sign_checkpoint(head: TreeHead, *, log_time_us: int, signers: Sequence[Signer]) -> Checkpoint:
    """Sign a tree head. Only durable entries may be signed; that is the caller's part."""
    note = sign_note(format_tree_head(head), signers)
    return Checkpoint(head.size, head.root_hash, log_time_us, note)


def verify_checkpoint(note: str, verifiers: Sequence[Verifier], *, origin: str) -> TreeHead:
    """Check a checkpoint of a known origin against known keys.

    Raises:
        MalformedNoteError: not a checkpoint, or one of another origin.
        SignatureError: none of the keys has signed it.
    """
    text, _ = verify_note(note, verifiers)
    head = parse_tree_head(text)
    if head.origin != origin:
        raise MalformedNoteError(f"checkpoint of {head.origin}, expected {origin}")
    return head

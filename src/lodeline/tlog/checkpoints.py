"""Checkpoints: signed tree heads, as C2SP notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lodeline.proof import Signer, TreeHead, format_tree_head, sign_note


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

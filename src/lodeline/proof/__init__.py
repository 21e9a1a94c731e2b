"""RFC 9162 trees and C2SP signed notes: the mathematics of the log, without the log.

Pure, and vendorable by verifiers together with `lodeline/errors.py`: a proof can be checked
without the program that made it.
"""

from lodeline.proof.checkpoints import TreeHead, format_tree_head, parse_tree_head
from lodeline.proof.compact_range import CompactRange, iter_subtrees
from lodeline.proof.consistency import consistency_path, verify_consistency
from lodeline.proof.hashing import EMPTY_ROOT, HASH_BYTES, hash_leaf, hash_node
from lodeline.proof.inclusion import inclusion_path, root_from_path, verify_inclusion
from lodeline.proof.notes import (
    NoteSignature,
    Signer,
    Verifier,
    key_id,
    parse_note,
    sign_note,
    verify_note,
)
from lodeline.proof.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    bundle_path,
    encode_bundle,
    iter_bundle,
    node_from_tiles,
    perfect_root,
    root_from_tiles,
    tile_path,
)

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "CompactRange",
    "NoteSignature",
    "Signer",
    "TreeHead",
    "Verifier",
    "bundle_path",
    "consistency_path",
    "encode_bundle",
    "format_tree_head",
    "hash_leaf",
    "hash_node",
    "inclusion_path",
    "iter_bundle",
    "iter_subtrees",
    "key_id",
    "node_from_tiles",
    "parse_note",
    "parse_tree_head",
    "perfect_root",
    "root_from_path",
    "root_from_tiles",
    "sign_note",
    "tile_path",
    "verify_consistency",
    "verify_inclusion",
    "verify_note",
]

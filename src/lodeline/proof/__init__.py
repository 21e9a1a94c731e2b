"""What a verifier needs of the log, and nothing else: RFC 9162 trees, C2SP signed notes, records.

Pure, and made to be copied: this folder works alone, under any name, with Python's standard
library and `cryptography`. A proof can be checked without the program that made it.
"""

from .checkpoints import TreeHead, format_tree_head, parse_tree_head, verify_checkpoint
from .commitments import (
    SALT_BYTES,
    SECRET_BYTES,
    Field,
    combine_commitments,
    commit_field,
    commit_fields,
    derive_salts,
)
from .compact_range import CompactRange, iter_subtrees
from .consistency import consistency_path, verify_consistency
from .cosignatures import (
    CosignatureVerifier,
    Cosigner,
    WitnessedHead,
    find_cosignatures,
    keep_signatures,
    verify_witnessed,
)
from .hashing import EMPTY_ROOT, HASH_BYTES, hash_leaf, hash_node
from .inclusion import inclusion_path, root_from_path, verify_inclusion
from .leaves import KINDS, LeafRecord, decode_leaf, encode_leaf, record_id
from .merkle_map import (
    EMPTY_MAP_ROOT,
    MapHead,
    MapProof,
    map_key,
    map_root,
    positions_value,
    verify_map_absent,
    verify_map_present,
)
from .notes import (
    NoteSignature,
    Signer,
    Verifier,
    key_id,
    parse_note,
    parse_signatures,
    sign_note,
    verify_note,
)
from .promises import Verdict, judge_by_entries, judge_by_proof
from .receipts import Receipt, sign_receipt, verify_receipt
from .sealing import (
    INNER_SALT_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    SealedValue,
    decode_sealed,
    encode_erased,
    hash_subject_key,
    open_value,
    seal_value,
)
from .tiles import (
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
from .tlog_policies import PolicyGroup, WitnessPolicy, parse_policy, verify_by_policy
from .tlog_proofs import TlogProof, format_tlog_proof, parse_tlog_proof, verify_tlog_proof

__all__ = [
    "EMPTY_MAP_ROOT",
    "EMPTY_ROOT",
    "HASH_BYTES",
    "INNER_SALT_BYTES",
    "KEY_BYTES",
    "KINDS",
    "NONCE_BYTES",
    "SALT_BYTES",
    "SECRET_BYTES",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "CompactRange",
    "CosignatureVerifier",
    "Cosigner",
    "Field",
    "LeafRecord",
    "MapHead",
    "MapProof",
    "NoteSignature",
    "PolicyGroup",
    "Receipt",
    "SealedValue",
    "Signer",
    "TlogProof",
    "TreeHead",
    "Verdict",
    "Verifier",
    "WitnessPolicy",
    "WitnessedHead",
    "bundle_path",
    "combine_commitments",
    "commit_field",
    "commit_fields",
    "consistency_path",
    "decode_leaf",
    "decode_sealed",
    "derive_salts",
    "encode_bundle",
    "encode_erased",
    "encode_leaf",
    "find_cosignatures",
    "format_tlog_proof",
    "format_tree_head",
    "hash_leaf",
    "hash_node",
    "hash_subject_key",
    "inclusion_path",
    "iter_bundle",
    "iter_subtrees",
    "judge_by_entries",
    "judge_by_proof",
    "keep_signatures",
    "key_id",
    "map_key",
    "map_root",
    "node_from_tiles",
    "open_value",
    "parse_note",
    "parse_policy",
    "parse_signatures",
    "parse_tlog_proof",
    "parse_tree_head",
    "perfect_root",
    "positions_value",
    "record_id",
    "root_from_path",
    "root_from_tiles",
    "seal_value",
    "sign_note",
    "sign_receipt",
    "tile_path",
    "verify_by_policy",
    "verify_checkpoint",
    "verify_consistency",
    "verify_inclusion",
    "verify_map_absent",
    "verify_map_present",
    "verify_note",
    "verify_receipt",
    "verify_tlog_proof",
    "verify_witnessed",
]

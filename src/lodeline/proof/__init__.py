"""What a verifier needs of the log, and nothing else: RFC 9162 trees, C2SP signed notes, records.

Pure, and made to be copied: this folder works alone, under any name, with Python's standard
library and `cryptography`. A proof can be checked without the program that made it.

Each name loads on first use: the errors lie in this folder, too, and whoever imports those alone
must not load the rest.
"""

from importlib import import_module

# Type checkers know the name; importing it from `typing` would load twenty modules.
TYPE_CHECKING = False

# Name -> module of this folder.
_HOMES = {
    "CompactRange": "compact_range",
    "CosignatureVerifier": "cosignatures",
    "Cosigner": "cosignatures",
    "EMPTY_MAP_ROOT": "merkle_map",
    "EMPTY_ROOT": "hashing",
    "Envelope": "dsse",
    "EnvelopeSignature": "dsse",
    "Field": "commitments",
    "HASH_BYTES": "hashing",
    "INNER_SALT_BYTES": "sealing",
    "KEY_BYTES": "sealing",
    "KINDS": "leaves",
    "LeafRecord": "leaves",
    "MapHead": "merkle_map",
    "MapProof": "merkle_map",
    "NONCE_BYTES": "sealing",
    "NoteSignature": "notes",
    "PolicyGroup": "tlog_policies",
    "Receipt": "receipts",
    "SALT_BYTES": "commitments",
    "SECRET_BYTES": "commitments",
    "SealedValue": "sealing",
    "Signer": "notes",
    "Statement": "statements",
    "Subject": "statements",
    "TILE_HEIGHT": "tiles",
    "TILE_WIDTH": "tiles",
    "TlogProof": "tlog_proofs",
    "TreeHead": "checkpoints",
    "Verdict": "promises",
    "Verifier": "notes",
    "WitnessPolicy": "tlog_policies",
    "WitnessedHead": "cosignatures",
    "bundle_path": "tiles",
    "combine_commitments": "commitments",
    "commit_field": "commitments",
    "commit_fields": "commitments",
    "consistency_path": "consistency",
    "decode_leaf": "leaves",
    "decode_sealed": "sealing",
    "derive_salts": "commitments",
    "encode_bundle": "tiles",
    "encode_erased": "sealing",
    "encode_leaf": "leaves",
    "find_cosignatures": "cosignatures",
    "format_envelope": "dsse",
    "format_tlog_proof": "tlog_proofs",
    "format_tree_head": "checkpoints",
    "hash_leaf": "hashing",
    "hash_node": "hashing",
    "hash_subject_key": "sealing",
    "inclusion_path": "inclusion",
    "iter_bundle": "tiles",
    "iter_subtrees": "compact_range",
    "judge_by_entries": "promises",
    "judge_by_proof": "promises",
    "keep_signatures": "cosignatures",
    "key_id": "notes",
    "map_key": "merkle_map",
    "map_root": "merkle_map",
    "node_from_tiles": "tiles",
    "open_value": "sealing",
    "parse_envelope": "dsse",
    "parse_note": "notes",
    "parse_policy": "tlog_policies",
    "parse_signatures": "notes",
    "parse_statement": "statements",
    "parse_tlog_proof": "tlog_proofs",
    "parse_tree_head": "checkpoints",
    "perfect_root": "tiles",
    "positions_value": "merkle_map",
    "pre_authentication_encoding": "dsse",
    "record_id": "leaves",
    "root_from_path": "inclusion",
    "root_from_tiles": "tiles",
    "seal_value": "sealing",
    "sign_envelope": "dsse",
    "sign_note": "notes",
    "sign_receipt": "receipts",
    "statement_of": "statements",
    "tile_path": "tiles",
    "verify_by_policy": "tlog_policies",
    "verify_checkpoint": "checkpoints",
    "verify_consistency": "consistency",
    "verify_envelope": "dsse",
    "verify_inclusion": "inclusion",
    "verify_map_absent": "merkle_map",
    "verify_map_present": "merkle_map",
    "verify_note": "notes",
    "verify_receipt": "receipts",
    "verify_tlog_proof": "tlog_proofs",
    "verify_witnessed": "cosignatures",
    "write_leaf": "leaves",
}

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
    "Envelope",
    "EnvelopeSignature",
    "Field",
    "LeafRecord",
    "MapHead",
    "MapProof",
    "NoteSignature",
    "PolicyGroup",
    "Receipt",
    "SealedValue",
    "Signer",
    "Statement",
    "Subject",
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
    "format_envelope",
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
    "parse_envelope",
    "parse_note",
    "parse_policy",
    "parse_signatures",
    "parse_statement",
    "parse_tlog_proof",
    "parse_tree_head",
    "perfect_root",
    "positions_value",
    "pre_authentication_encoding",
    "record_id",
    "root_from_path",
    "root_from_tiles",
    "seal_value",
    "sign_envelope",
    "sign_note",
    "sign_receipt",
    "statement_of",
    "tile_path",
    "verify_by_policy",
    "verify_checkpoint",
    "verify_consistency",
    "verify_envelope",
    "verify_inclusion",
    "verify_map_absent",
    "verify_map_present",
    "verify_note",
    "verify_receipt",
    "verify_tlog_proof",
    "verify_witnessed",
    "write_leaf",
]

if TYPE_CHECKING:
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
    from .dsse import (
        Envelope,
        EnvelopeSignature,
        format_envelope,
        parse_envelope,
        pre_authentication_encoding,
        sign_envelope,
        verify_envelope,
    )
    from .hashing import EMPTY_ROOT, HASH_BYTES, hash_leaf, hash_node
    from .inclusion import inclusion_path, root_from_path, verify_inclusion
    from .leaves import KINDS, LeafRecord, decode_leaf, encode_leaf, record_id, write_leaf
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
    from .statements import Statement, Subject, parse_statement, statement_of
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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

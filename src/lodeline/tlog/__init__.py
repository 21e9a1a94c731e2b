"""The log's records: leaves, commitments, the growing tree, checkpoints and receipts."""

from lodeline.tlog.checkpoints import Checkpoint, sign_checkpoint, verify_checkpoint
from lodeline.tlog.commitments import (
    SALT_BYTES,
    SECRET_BYTES,
    Field,
    commit_field,
    commit_fields,
    derive_salts,
)
from lodeline.tlog.receipts import Receipt, sign_receipt, verify_receipt
from lodeline.tlog.records import KINDS, LeafRecord, decode_leaf, encode_leaf, record_id
from lodeline.tlog.tree import FullTile, GrowingTree

__all__ = [
    "KINDS",
    "SALT_BYTES",
    "SECRET_BYTES",
    "Checkpoint",
    "Field",
    "FullTile",
    "GrowingTree",
    "LeafRecord",
    "Receipt",
    "commit_field",
    "commit_fields",
    "decode_leaf",
    "derive_salts",
    "encode_leaf",
    "record_id",
    "sign_checkpoint",
    "sign_receipt",
    "verify_checkpoint",
    "verify_receipt",
]

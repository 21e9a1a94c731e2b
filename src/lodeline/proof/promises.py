"""Whether a log kept what a receipt promised, or dropped it: proven to whoever has its keys.

A receipt is the log's signature under "this leaf will be under a checkpoint by this deadline". A
later checkpoint whose whole tree lacks the leaf contradicts it, and both are signed: that is the
proof that an acknowledged event was dropped. How the entries are fetched is the caller's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .checkpoints import TreeHead, verify_checkpoint
from .compact_range import CompactRange
from .errors import MalformedLeafError, MalformedProofError, RootMismatchError
from .hashing import hash_leaf
from .leaves import decode_leaf
from .notes import Verifier
from .receipts import Receipt, verify_receipt
from .tlog_proofs import verify_tlog_proof

KEPT = "kept"
DROPPED = "dropped"
NOT_DUE = "not due"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a receipt's leaves.

    Attributes:
        fate: `kept`, `dropped`, or `not due`: absent, but the checkpoint is not past the deadline.
        receipt: what was promised.
        head: the tree that was searched.
        positions: where the leaves stand that were found.
        missing: leaf hashes that the tree does not hold.
        log_time_us: the checkpoint's own time, that of its last entry; 0 if it was not looked for.
        seen_us: when the caller saw the checkpoint as the newest.
    """

    fate: str
    receipt: Receipt
    head: TreeHead
    positions: tuple[int, ...]
    missing: tuple[bytes, ...] = ()
    log_time_us: int = 0
    seen_us: int | None = None

    @property
    def by_log_alone(self) -> bool:
        """Whether signed bytes alone say so, without the word of who saw the checkpoint."""
        return self.fate != DROPPED or self.log_time_us > self.receipt.deadline_us


def judge_by_entries(
    text: str,
    receipt_keys: Sequence[Verifier],
    checkpoint: str,
    checkpoint_keys: Sequence[Verifier],
    entries: Iterable[bytes],
    *,
    seen_us: int | None = None,
) -> Verdict:
    """Search a whole tree for what a receipt promised.

    1. A known receipt key has signed the receipt.
    2. A known checkpoint key has signed the checkpoint, and it is of the log that promised.
    3. The entries are those of the checkpoint's tree: as many, and with its root.
    4. All promised leaves are among them: kept.
    5. The checkpoint's time is the log time of its last entry; or when the caller saw it as the
       log's newest, if that is later. Only the former convinces someone else.
    6. A leaf is missing and the time is past the deadline: dropped. Otherwise it is not due.

    Args:
        text: the receipt.
        receipt_keys: that the log certifies, or that were noted down.
        checkpoint: the signed note.
        checkpoint_keys: of the same log.
        entries: leaf records in order; read once, not kept.
        seen_us: when the caller saw the checkpoint as the newest, microseconds since the epoch.

    Raises:
        ProofError: 1 to 3 do not hold, or the last entry is no leaf record: the evidence tells
            nothing.
    """
    # 1.
    receipt = verify_receipt(text, receipt_keys)
    # 2.
    head = verify_checkpoint(checkpoint, checkpoint_keys, origin=receipt.origin)
    # 3.
    found, last = _search(entries, head, frozenset(receipt.leaf_hashes))
    # 4.
    positions = tuple(found[one] for one in receipt.leaf_hashes if one in found)
    missing = tuple(one for one in receipt.leaf_hashes if one not in found)
    # 5.
    log_time_us = _time_of(last)
    # 6.
    if not missing:
        fate = KEPT
    else:
        fate = DROPPED if max(log_time_us, seen_us or 0) > receipt.deadline_us else NOT_DUE
    return Verdict(fate, receipt, head, positions, missing, log_time_us, seen_us)


def _search(
    entries: Iterable[bytes], head: TreeHead, wanted: frozenset[bytes]
) -> tuple[dict[bytes, int], bytes]:
    """Give where the wanted leaf hashes stand in the signed tree, and its last entry."""
    found: dict[bytes, int] = {}
    tree, last = CompactRange(), b""
    for entry in entries:
        if tree.end == head.size:
            raise MalformedProofError(f"more entries than the {head.size} of the checkpoint")
        leaf_hash = hash_leaf(entry)
        if leaf_hash in wanted:
            found[leaf_hash] = tree.end
        tree.append(leaf_hash)
        last = entry
    if tree.end != head.size:
        raise MalformedProofError(f"{tree.end} entries; the checkpoint covers {head.size}")
    if tree.root() != head.root_hash:
        raise RootMismatchError(head.size - 1, head.size, head.root_hash, tree.root())
    return found, last


def _time_of(last: bytes) -> int:
    # An empty tree covers nothing, so its checkpoint has no time of its own.
    if not last:
        return 0
    try:
        return decode_leaf(last).log_time_us
    except MalformedLeafError as error:
        raise MalformedLeafError(f"last entry of the tree: {error}") from error


def judge_by_proof(
    text: str, receipt_keys: Sequence[Verifier], proof: bytes, checkpoint_keys: Sequence[Verifier]
) -> Verdict:
    """Hold a tlog-proof against the receipt of one event: a proof that holds means kept.

    1. A known receipt key has signed the receipt, and it is of one leaf.
    2. The proof shows that leaf in a signed tree of the log that promised.

    Raises:
        ProofError: it does not hold, which says nothing of whether the leaf was kept.
    """
    # 1.
    receipt = verify_receipt(text, receipt_keys)
    if len(receipt.leaf_hashes) != 1:
        raise MalformedProofError("the receipt is of a batch; a tlog-proof is of one entry")
    # 2.
    found, head = verify_tlog_proof(
        proof, checkpoint_keys, origin=receipt.origin, leaf_hash=receipt.leaf_hashes[0]
    )
    return Verdict(KEPT, receipt, head, (found.index,))

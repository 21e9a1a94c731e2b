"""A receipt and a later signed tree show whether the log kept the event, or dropped it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lodeline.errors import (
    MalformedLeafError,
    MalformedNoteError,
    MalformedProofError,
    RootMismatchError,
    SignatureError,
)
from lodeline.proof import (
    CompactRange,
    LeafRecord,
    Receipt,
    Signer,
    TlogProof,
    TreeHead,
    Verdict,
    encode_leaf,
    format_tlog_proof,
    format_tree_head,
    hash_leaf,
    inclusion_path,
    judge_by_entries,
    judge_by_proof,
    sign_note,
    sign_receipt,
)

ORIGIN = "example.com/log"
KEY, RECEIPT_KEY = Signer(ORIGIN, b"c" * 32), Signer(f"{ORIGIN}/receipt", b"r" * 32)
SECOND = 1_000_000


def leaf(number: int, second: int) -> bytes:
    return encode_leaf(
        LeafRecord("0" * 32, second * SECOND, "event", bytes([number]) * 32, b"c" * 32)
    )


LEAVES = [leaf(number, second=10 * number) for number in range(6)]


def root(leaves: Sequence[bytes]) -> bytes:
    tree = CompactRange()
    for one in leaves:
        tree.append(hash_leaf(one))
    return tree.root()


def checkpoint(leaves: Sequence[bytes], *, origin: str = ORIGIN) -> str:
    return sign_note(format_tree_head(TreeHead(origin, len(leaves), root(leaves))), [KEY])


def receipt(*numbers: int) -> str:
    hashes = tuple(hash_leaf(LEAVES[number]) for number in numbers)
    time_us = 10 * max(numbers) * SECOND
    return sign_receipt(Receipt(ORIGIN, hashes, time_us, time_us + SECOND), RECEIPT_KEY)


def judge(text: str, leaves: Sequence[bytes], *, seen_us: int | None = None) -> Verdict:
    return judge_by_entries(
        text,
        [RECEIPT_KEY.verifier],
        checkpoint(leaves),
        [KEY.verifier],
        leaves,
        seen_us=seen_us,
    )


def test_a_kept_event_is_found_at_its_position() -> None:
    verdict = judge(receipt(3), LEAVES)
    assert (verdict.fate, verdict.positions, verdict.missing) == ("kept", (3,), ())
    assert judge(receipt(1, 2, 4), LEAVES).positions == (1, 2, 4)


def test_a_log_that_goes_on_without_a_promised_event_has_dropped_it() -> None:
    without = [*LEAVES[:3], *LEAVES[4:]]
    verdict = judge(receipt(3), without)
    assert (verdict.fate, verdict.by_log_alone) == ("dropped", True)
    assert verdict.missing == (hash_leaf(LEAVES[3]),)
    of_batch = judge(receipt(2, 3), without)
    assert (of_batch.fate, of_batch.positions) == ("dropped", (2,))
    assert of_batch.missing == (hash_leaf(LEAVES[3]),)


def test_an_earlier_checkpoint_says_nothing_about_a_later_promise() -> None:
    verdict = judge(receipt(3), LEAVES[:3])
    assert (verdict.fate, verdict.missing) == ("not due", (hash_leaf(LEAVES[3]),))
    assert judge(receipt(0), []).fate == "not due"


def test_a_log_cut_back_has_dropped_the_event_for_who_saw_it_after_the_deadline() -> None:
    deadline_us = 31 * SECOND
    assert judge(receipt(3), LEAVES[:3], seen_us=deadline_us).fate == "not due"
    verdict = judge(receipt(3), LEAVES[:3], seen_us=deadline_us + 1)
    assert (verdict.fate, verdict.by_log_alone) == ("dropped", False)


def test_a_tree_that_is_not_the_signed_one_proves_nothing() -> None:
    arguments = (receipt(3), [RECEIPT_KEY.verifier], checkpoint(LEAVES), [KEY.verifier])
    with pytest.raises(MalformedProofError):
        judge_by_entries(*arguments, LEAVES[:-1])
    with pytest.raises(MalformedProofError):
        judge_by_entries(*arguments, [*LEAVES, LEAVES[0]])
    # The accuser leaves the promised entry out and puts another in its place.
    with pytest.raises(RootMismatchError):
        judge_by_entries(*arguments, [*LEAVES[:3], LEAVES[2], *LEAVES[4:]])


def test_receipts_and_checkpoints_by_other_keys_or_of_another_log_prove_nothing() -> None:
    mine, theirs = [RECEIPT_KEY.verifier], [Signer(f"{ORIGIN}/receipt", b"x" * 32).verifier]
    note = checkpoint(LEAVES)
    with pytest.raises(SignatureError):
        judge_by_entries(receipt(3), theirs, note, [KEY.verifier], LEAVES)
    with pytest.raises(SignatureError):
        judge_by_entries(receipt(3), mine, note, [Signer(ORIGIN, b"x" * 32).verifier], LEAVES)
    other = checkpoint(LEAVES, origin="example.com/other")
    with pytest.raises(MalformedNoteError):
        judge_by_entries(receipt(3), mine, other, [KEY.verifier], LEAVES)


def test_the_time_of_a_tree_whose_last_entry_is_no_leaf_record_is_not_guessed() -> None:
    with pytest.raises(MalformedLeafError, match="last entry"):
        judge(receipt(3), [*LEAVES[:3], b"something else"])


def test_a_proof_of_inclusion_shows_that_a_promise_was_kept() -> None:
    path = inclusion_path(3, len(LEAVES), lambda begin, end: root(LEAVES[begin:end]))
    proof = format_tlog_proof(TlogProof(3, tuple(path), checkpoint(LEAVES))).encode()
    keys = ([RECEIPT_KEY.verifier], proof, [KEY.verifier])
    assert judge_by_proof(receipt(3), *keys).positions == (3,)
    with pytest.raises(RootMismatchError):
        judge_by_proof(receipt(2), *keys)
    with pytest.raises(MalformedProofError, match="batch"):
        judge_by_proof(receipt(2, 3), *keys)

"""A tlog-proof file shows that an entry is in a log, to whoever has the log's key."""

from __future__ import annotations

from base64 import b64encode
from functools import partial

import pytest

from lodeline.errors import (
    MalformedNoteError,
    MalformedProofError,
    RootMismatchError,
    SignatureError,
)
from lodeline.proof import (
    CompactRange,
    Signer,
    TlogProof,
    TreeHead,
    format_tlog_proof,
    format_tree_head,
    hash_leaf,
    inclusion_path,
    parse_tlog_proof,
    sign_note,
    verify_tlog_proof,
)

ORIGIN = "example.com/log"
SIGNER = Signer(ORIGIN, b"s" * 32)
ENTRIES = [b"entry %d" % number for number in range(11)]


def range_root(begin: int, end: int) -> bytes:
    tree = CompactRange()
    for entry in ENTRIES[begin:end]:
        tree.append(hash_leaf(entry))
    return tree.root()


CHECKPOINT = sign_note(
    format_tree_head(TreeHead(ORIGIN, len(ENTRIES), range_root(0, len(ENTRIES)))), [SIGNER]
)


def proof_of(index: int, *, extra: bytes | None = None) -> TlogProof:
    path = inclusion_path(index, len(ENTRIES), range_root)
    return TlogProof(index, tuple(path), CHECKPOINT, extra)


verify = partial(verify_tlog_proof, verifiers=[SIGNER.verifier], origin=ORIGIN)


@pytest.mark.parametrize("index", range(len(ENTRIES)))
def test_every_entry_is_proven_by_the_one_it_carries_or_the_one_it_is_given(index: int) -> None:
    enclosed = format_tlog_proof(proof_of(index, extra=ENTRIES[index])).encode()
    proof, head = verify(enclosed)
    assert (proof.index, proof.extra, head.size) == (index, ENTRIES[index], len(ENTRIES))
    bare = format_tlog_proof(proof_of(index)).encode()
    assert verify(bare, leaf_hash=hash_leaf(ENTRIES[index]))[0].index == index
    with pytest.raises(RootMismatchError):
        verify(bare, leaf_hash=hash_leaf(b"another entry"))
    with pytest.raises(MalformedProofError, match="carries no entry"):
        verify(bare)


def test_the_text_is_that_of_the_specification() -> None:
    """Line by line as https://c2sp.org/tlog-proof lays it down."""
    proof = proof_of(9, extra=b"more")
    lines = format_tlog_proof(proof).split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 9"]
    assert lines[3:6] == [b64encode(value).decode() for value in proof.path]
    assert "\n".join(lines[6:]) == "\n" + CHECKPOINT
    assert parse_tlog_proof(format_tlog_proof(proof).encode()) == proof


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 9", "index 09"),
        ("index 9", "index -1"),
        ("index 9", "index 9223372036854775808"),
        ("index 9\n", ""),
        ("index 9\n", "index 9\nindex 9\n"),
        ("extra bW9yZQ==", "extra "),
        ("extra bW9yZQ==", "extra bW9yZR=="),
        ("extra bW9yZQ==\nindex 9", "index 9\nextra bW9yZQ=="),
        ("=\n\n", "=\n"),
        ("\n", "\r\n"),
    ],
)
def test_a_text_of_another_form_is_refused(old: str, new: str) -> None:
    text = format_tlog_proof(proof_of(9, extra=b"more"))
    assert old in text
    with pytest.raises(MalformedProofError):
        parse_tlog_proof(text.replace(old, new).encode())


def test_a_proof_beyond_the_bounds_is_refused_before_it_is_read() -> None:
    text = format_tlog_proof(proof_of(9))
    line = b64encode(b"h" * 32).decode() + "\n"
    with pytest.raises(MalformedProofError, match="at most 63 hashes"):
        parse_tlog_proof(text.replace("index 9\n", "index 9\n" + line * 70).encode())
    with pytest.raises(MalformedProofError, match="at most"):
        parse_tlog_proof(text.encode() + b"x" * 1_300_000)
    with pytest.raises(MalformedProofError, match="UTF-8"):
        parse_tlog_proof(text.encode() + b"\xff")


def test_a_proof_of_another_log_or_without_a_known_signature_is_refused() -> None:
    data = format_tlog_proof(proof_of(3, extra=ENTRIES[3])).encode()
    with pytest.raises(MalformedNoteError, match=r"expected other\.example"):
        verify(data, origin="other.example")
    with pytest.raises(SignatureError):
        verify(data, verifiers=[Signer(ORIGIN, b"t" * 32).verifier])


def test_a_policy_of_witnesses_sees_the_checkpoint_and_can_refuse_it() -> None:
    data = format_tlog_proof(proof_of(3, extra=ENTRIES[3])).encode()
    seen: list[str] = []
    verify(data, verify_witnesses=seen.append)
    assert seen == [CHECKPOINT]

    def refuse(_: str) -> None:
        raise SignatureError("witness.example", "has not seen this checkpoint")

    with pytest.raises(SignatureError, match=r"witness\.example"):
        verify(data, verify_witnesses=refuse)

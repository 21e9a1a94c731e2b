"""Foreign bytes in the log's formats raise our errors and no others."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lodeline.errors import ProofError
from lodeline.proof import (
    LeafRecord,
    Receipt,
    Signer,
    TlogProof,
    TreeHead,
    Verifier,
    decode_leaf,
    decode_sealed,
    encode_leaf,
    format_tlog_proof,
    format_tree_head,
    hash_leaf,
    iter_bundle,
    open_value,
    parse_note,
    parse_tree_head,
    seal_value,
    sign_note,
    sign_receipt,
    verify_note,
    verify_receipt,
    verify_tlog_proof,
)
from lodeline.store.blob_references import iter_blob_references

SIGNER = Signer("example.com/log", b"s" * 32)
NOTE = sign_note(format_tree_head(TreeHead("example.com/log", 5, b"r" * 32)), [SIGNER])
RECEIPT = sign_receipt(Receipt("o", (b"h" * 32,), 1, 2), SIGNER)
LEAF = encode_leaf(LeafRecord("0" * 32, 1, "event", b"i" * 32, b"c" * 32))
ONE_LEAF = sign_note(format_tree_head(TreeHead("example.com/log", 1, hash_leaf(LEAF))), [SIGNER])
TLOG_PROOF = format_tlog_proof(TlogProof(0, (), ONE_LEAF, LEAF))


def mutated(sound: str) -> st.SearchStrategy[str]:
    """The sound text with a slice replaced, or any text."""
    cut = st.integers(0, len(sound))
    return st.text() | st.builds(
        lambda a, b, new: sound[: min(a, b)] + new + sound[max(a, b) :],
        cut,
        cut,
        st.text(max_size=5),
    )


TEXT_PARSERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "notes": (NOTE, parse_note),
    "verified notes": (NOTE, lambda text: verify_note(text, [SIGNER.verifier])),
    "tree heads": (NOTE.split("\n\n")[0] + "\n", parse_tree_head),
    "verifier keys": (SIGNER.verifier.vkey, Verifier.from_vkey),
    "private keys": (SIGNER.text, Signer.from_text),
    "receipts": (RECEIPT, lambda text: verify_receipt(text, [SIGNER.verifier])),
}


@pytest.mark.parametrize("name", TEXT_PARSERS)
def test_foreign_text_is_read_or_refused(name: str) -> None:
    sound, parse = TEXT_PARSERS[name]

    @given(mutated(sound))
    @example("")
    @example("\ud800")
    @example(sound.replace("e", "\ud800", 1))
    def refused_or_read(text: str) -> None:
        try:
            parse(text)
        except ProofError:
            return

    refused_or_read()


@given(st.binary() | mutated(LEAF.decode()).map(lambda text: text.encode("utf-8", "replace")))
def test_foreign_bytes_are_a_leaf_or_refused(data: bytes) -> None:
    try:
        decode_leaf(data)
    except ProofError:
        return


@given(
    st.binary()
    | mutated(TLOG_PROOF).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.builds(
        lambda at, new: TLOG_PROOF.encode()[:at] + new + TLOG_PROOF.encode()[at + 1 :],
        st.integers(0, len(TLOG_PROOF)),
        st.binary(max_size=2),
    )
)
def test_foreign_bytes_are_a_tlog_proof_of_the_signed_entry_or_refused(data: bytes) -> None:
    try:
        proof, head = verify_tlog_proof(data, [SIGNER.verifier], origin="example.com/log")
    except ProofError:
        return
    # What passes says the same as the sound file; signatures of unknown keys may differ.
    assert (proof.index, proof.path, proof.extra, head.size) == (0, (), LEAF, 1)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    try:
        list(iter_bundle(data))
    except ProofError:
        return


@given(st.binary(max_size=100))
@example(b'{"dataset": {"facets": {"lodeline_prediction_batch": []}}}')
@example(b'["lodeline_rows"]')
@example(b'{"outputs": [7, {"outputFacets": {"lodeline_rows": {"steps": [7, {"digest": 7}]}}}]}')
def test_foreign_payloads_refer_to_blobs_or_to_none(data: bytes) -> None:
    assert list(iter_blob_references(data)) == []


SEALED = seal_value(
    b"k" * 32, key_id="0" * 32, record=b"r" * 32, pointer="/x", value=b'"v"', drawn=b"d" * 28
).encode()


@given(mutated(SEALED.decode()))
def test_a_sealed_value_opens_as_it_was_or_not_at_all(text: str) -> None:
    try:
        sealed = decode_sealed(text.encode("utf-8", "surrogatepass"))
        opened = open_value(b"k" * 32, sealed, record=b"r" * 32, pointer="/x")
    except ProofError:
        return
    assert (opened, text) == (b'"v"', SEALED.decode())


@pytest.mark.parametrize(
    ("key", "record", "pointer"),
    [
        (b"l" * 32, b"r" * 32, "/x"),
        (b"k" * 32, b"s" * 32, "/x"),
        (b"k" * 32, b"r" * 32, "/y"),
    ],
)
def test_a_sealed_value_is_bound_to_its_key_its_record_and_its_place(
    key: bytes, record: bytes, pointer: str
) -> None:
    with pytest.raises(ProofError):
        open_value(key, decode_sealed(SEALED), record=record, pointer=pointer)

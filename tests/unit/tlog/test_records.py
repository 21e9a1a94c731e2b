"""Leaf records, commitments and receipts, to the letter of docs/reference/log.md."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.errors import MalformedLeafError, MalformedNoteError, SignatureError
from lodeline.proof import (
    LeafRecord,
    Receipt,
    Signer,
    commit_fields,
    decode_leaf,
    derive_salts,
    encode_leaf,
    record_id,
    sign_receipt,
    verify_receipt,
)
from lodeline.wire import canonical_bytes

RECORD = LeafRecord("0" * 32, 1_795_380_155_085_713, "event", b"i" * 32, b"c" * 32)


def test_a_leaf_is_the_canonical_json_of_its_members() -> None:
    leaf = encode_leaf(RECORD)
    members = json.loads(leaf)
    assert canonical_bytes(members) == leaf
    assert members == {
        "v": 1,
        "segment": "0" * 32,
        "log_time": "1795380155085713",
        "kind": "event",
        "id": (b"i" * 32).hex(),
        "commitment": (b"c" * 32).hex(),
        "schemas": [],
        "roots": [],
    }


@given(
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=3).map(tuple),
)
def test_a_leaf_that_was_written_is_read_back_as_it_was(
    time_us: int, digest: bytes, digests: tuple[str, ...]
) -> None:
    record = LeafRecord("f" * 32, time_us, "block", digest, digest, digests, digests)
    if len(str(time_us)) <= 19:
        assert decode_leaf(encode_leaf(record)) == record


def test_every_flipped_byte_of_a_leaf_gives_another_leaf_or_none() -> None:
    leaf = encode_leaf(RECORD)
    for i in range(len(leaf)):
        changed = bytearray(leaf)
        changed[i] ^= 1
        try:
            assert decode_leaf(bytes(changed)) != RECORD
        except MalformedLeafError:
            continue


@pytest.mark.parametrize(
    "leaf",
    [b"", b"{}", b"null", b"\xff", encode_leaf(RECORD) + b" ", encode_leaf(RECORD).upper(),
     encode_leaf(RECORD).replace(b'"v":1', b'"v":2'), encode_leaf(RECORD).replace(b"event", b"evens"),
     encode_leaf(RECORD).replace(b'"log_time":"1', b'"log_time":"01')],
)  # fmt: skip
def test_bytes_that_are_no_leaf_are_refused(leaf: bytes) -> None:
    with pytest.raises(MalformedLeafError):
        decode_leaf(leaf)


def test_a_leaf_beyond_the_bundle_format_is_refused() -> None:
    with pytest.raises(MalformedLeafError):
        encode_leaf(
            LeafRecord("0" * 32, 0, "block", b"i" * 32, b"c" * 32, roots=("0" * 64,) * 1000)
        )


def test_identifiers_and_commitments_are_those_of_the_documented_layout() -> None:
    key, secret = b"k" * 32, b"s" * 32
    fields = [("", b'{"a":null}'), ("/run/facets/é", b"{}")]
    for one in (key, b"", key * 2, key * 2 + b"k"):
        assert record_id(one, b"x") == hmac.new(one, b"x", "sha256").digest()
    stream = hashlib.shake_256(b"lodeline/v1/salts\n" + secret).digest(64)
    parts = b""
    for i, (pointer, value) in enumerate(fields):
        encoded = pointer.encode()
        text = stream[32 * i : 32 * i + 32] + len(encoded).to_bytes(4, "big") + encoded + value
        parts += hashlib.sha256(text).digest()
    assert commit_fields(secret, fields) == hashlib.sha256(parts).digest()


def test_a_longer_record_keeps_the_salts_of_a_shorter_one() -> None:
    assert derive_salts(b"s" * 32, 9)[:4] == derive_salts(b"s" * 32, 4)


def test_moving_a_byte_between_pointer_and_value_changes_the_commitment() -> None:
    secret = b"s" * 32
    assert commit_fields(secret, [("/a", b"bc")]) != commit_fields(secret, [("/ab", b"c")])


SIGNER = Signer("lodeline.local/00/receipt", b"r" * 32)
RECEIPT = Receipt("lodeline.local/00", (b"h" * 32,), 5, 1_000_005)


def test_a_receipt_says_what_was_signed() -> None:
    text = sign_receipt(RECEIPT, SIGNER)
    assert verify_receipt(text, [SIGNER.verifier]) == RECEIPT
    assert text.isascii()
    assert "\n" not in text
    batch = Receipt("o", (b"h" * 32, b"i" * 32), 5, 6)
    assert verify_receipt(sign_receipt(batch, SIGNER), [SIGNER.verifier]) == batch


def test_every_changed_character_of_a_receipt_is_noticed() -> None:
    text = sign_receipt(RECEIPT, SIGNER)
    for i, character in enumerate(text):
        changed = text[:i] + ("A" if character != "A" else "B") + text[i + 1 :]
        with pytest.raises((MalformedNoteError, SignatureError)):
            verify_receipt(changed, [SIGNER.verifier])


def test_a_receipt_by_an_unknown_key_is_refused() -> None:
    other = Signer("lodeline.local/00/receipt", b"q" * 32)
    with pytest.raises(SignatureError):
        verify_receipt(sign_receipt(RECEIPT, SIGNER), [other.verifier])

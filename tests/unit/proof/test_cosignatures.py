"""Cosignatures of witnesses: what verifies, what must not, and how many are enough."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lodeline.errors import MalformedNoteError, SignatureError, UnwitnessedError
from lodeline.proof import (
    CosignatureVerifier,
    Cosigner,
    Signer,
    TreeHead,
    find_cosignatures,
    format_tree_head,
    keep_signatures,
    sign_note,
    verify_note,
    verify_witnessed,
)

LOG = Signer("example.com/log", b"l" * 32)
WREN = Cosigner("witness.example/wren", b"w" * 32)
OWL = Cosigner("witness.example/owl", b"o" * 32)
TEXT = format_tree_head(TreeHead("example.com/log", 7, bytes(range(32))))
NOTE = sign_note(TEXT, [LOG])
NOW = 1_700_000_000


def witnessed(*cosigners: Cosigner, time_s: int = NOW) -> str:
    return NOTE + "".join(one.cosign(TEXT, time_s=time_s).line for one in cosigners)


def verify(note: str, *cosigners: Cosigner, threshold: int = 1) -> list[tuple[str, int]]:
    found = verify_witnessed(
        note,
        [LOG.verifier],
        [one.verifier for one in cosigners],
        origin="example.com/log",
        threshold=threshold,
        not_after_s=NOW,
    )
    assert found.head.size == 7
    return [(one.name, time_s) for one, time_s in found.cosigned]


def test_a_cosignature_is_what_the_specification_says_byte_for_byte() -> None:
    """Computed here from the words of c2sp.org/tlog-cosignature, without `proof`."""
    key = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
    public = key.public_key().public_bytes_raw()
    identifier = sha256(b"witness.example/wren\n\x04" + public).digest()[:4]
    message = f"cosignature/v1\ntime {NOW}\n{TEXT}".encode()
    blob = identifier + NOW.to_bytes(8, "big") + key.sign(message)
    line = f"— witness.example/wren {b64encode(blob).decode()}\n"
    assert WREN.cosign(TEXT, time_s=NOW).line == line
    encoded = b64encode(b"\x04" + public).decode()
    vkey = f"witness.example/wren+{identifier.hex()}+{encoded}"
    assert WREN.verifier.vkey == vkey
    assert CosignatureVerifier.from_vkey(vkey) == WREN.verifier


def test_the_key_of_a_real_witness_has_the_identifier_that_we_compute() -> None:
    # A public witness, as Go's transparency-dev/formats names it in its tests.
    vkey = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
    assert CosignatureVerifier.from_vkey(vkey).vkey == vkey


def test_a_witnessed_checkpoint_verifies_with_the_times_of_its_witnesses() -> None:
    note = witnessed(WREN, OWL)
    assert verify(note, WREN, OWL, threshold=2) == [
        ("witness.example/wren", NOW),
        ("witness.example/owl", NOW),
    ]


def test_cosignatures_leave_the_logs_own_signature_as_it_was() -> None:
    assert verify_note(witnessed(WREN, OWL), [LOG.verifier]) == (TEXT, [LOG.verifier])
    assert keep_signatures(witnessed(WREN), [LOG.verifier]) == NOTE
    with pytest.raises(MalformedNoteError):
        keep_signatures(NOTE, [OWL.verifier])


def test_lines_of_unknown_keys_say_nothing() -> None:
    stranger = Cosigner("witness.example/stranger", b"s" * 32)
    assert verify(witnessed(stranger, WREN), WREN) == [("witness.example/wren", NOW)]
    with pytest.raises(UnwitnessedError):
        verify(witnessed(stranger), WREN)


def test_too_few_witnesses_are_not_enough_and_are_named() -> None:
    with pytest.raises(UnwitnessedError) as caught:
        verify(witnessed(WREN), WREN, OWL, threshold=2)
    assert caught.value.cosigned_by == ("witness.example/wren",)
    assert verify(NOTE, WREN, threshold=0) == []


def test_one_key_under_two_names_counts_once() -> None:
    alias = Cosigner("witness.example/alias", b"w" * 32)
    with pytest.raises(UnwitnessedError):
        verify(witnessed(WREN, alias), WREN, alias, threshold=2)


def test_two_cosignatures_of_one_key_are_refused() -> None:
    note = witnessed(WREN) + WREN.cosign(TEXT, time_s=NOW - 5).line
    with pytest.raises(MalformedNoteError):
        verify(note, WREN)


def test_a_cosignature_from_the_future_is_refused() -> None:
    with pytest.raises(SignatureError):
        verify(witnessed(WREN, time_s=NOW + 1), WREN)


def test_cosignatures_do_not_stand_in_for_the_logs_signature() -> None:
    note = f"{TEXT}\n{WREN.cosign(TEXT, time_s=NOW).line}"
    with pytest.raises(SignatureError):
        verify(note, WREN)


def test_a_log_key_is_no_witness_key_and_the_other_way_round() -> None:
    with pytest.raises(MalformedNoteError):
        CosignatureVerifier.from_vkey(LOG.verifier.vkey)
    with pytest.raises(MalformedNoteError):
        type(LOG.verifier).from_vkey(WREN.verifier.vkey)
    plain = Signer(WREN.verifier.name, b"w" * 32)
    note = sign_note(TEXT, [LOG, plain])
    with pytest.raises(UnwitnessedError):
        verify(note, WREN)


def test_every_flipped_byte_of_a_cosignature_and_of_its_text_is_noticed() -> None:
    note = witnessed(WREN).encode()
    for position in range(len(note)):
        changed = bytearray(note)
        changed[position] ^= 1
        with pytest.raises(
            (MalformedNoteError, SignatureError, UnwitnessedError, UnicodeDecodeError)
        ):
            verify(changed.decode(), WREN)


def test_every_flipped_bit_of_time_and_signature_is_a_failed_signature() -> None:
    line = WREN.cosign(TEXT, time_s=NOW).line
    name, _, encoded = line[2:].strip().partition(" ")
    blob = b64decode(encoded)
    for bit in range(32, len(blob) * 8):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            find_cosignatures(f"{NOTE}— {name} {b64encode(changed).decode()}\n", [WREN.verifier])


def test_a_cosignature_of_another_length_or_time_is_refused() -> None:
    signature = WREN.cosign(TEXT, time_s=NOW).signature
    for wrong in (signature[:-1], signature + b"\0", signature[8:], b"\x80" + signature[1:]):
        with pytest.raises(SignatureError):
            WREN.verifier.verify(TEXT, wrong)
    with pytest.raises(MalformedNoteError):
        WREN.cosign(TEXT, time_s=1 << 63)
    with pytest.raises(MalformedNoteError):
        WREN.cosign("no checkpoint\n", time_s=NOW)

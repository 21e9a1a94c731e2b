"""Signed notes: what verifies, and what must not."""

import pytest

from lodeline.errors import MalformedNoteError, SignatureError
from lodeline.proof import (
    Signer,
    TreeHead,
    Verifier,
    format_tree_head,
    parse_note,
    parse_tree_head,
    sign_note,
    verify_note,
)

ALICE = Signer("example.com/log", b"a" * 32)
BOB = Signer("witness.example", b"b" * 32)
TEXT = "example.com/log\n5\nAAAA\n"


def test_a_note_signed_by_two_keys_verifies_by_either() -> None:
    note = sign_note(TEXT, [ALICE, BOB])
    assert verify_note(note, [ALICE.verifier]) == (TEXT, [ALICE.verifier])
    assert verify_note(note, [BOB.verifier]) == (TEXT, [BOB.verifier])
    assert len(parse_note(note)[1]) == 2


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(SignatureError):
        verify_note(sign_note(TEXT, [BOB]), [ALICE.verifier])
    with pytest.raises(SignatureError):
        verify_note(sign_note(TEXT, [BOB]), [])


def test_every_flipped_byte_of_a_note_is_noticed() -> None:
    note = sign_note(TEXT, [ALICE]).encode()
    for i in range(len(note)):
        changed = bytearray(note)
        changed[i] ^= 1
        with pytest.raises((MalformedNoteError, SignatureError, UnicodeDecodeError)):
            verify_note(changed.decode(), [ALICE.verifier])


def test_a_key_signing_twice_is_refused() -> None:
    note = sign_note(TEXT, [ALICE])
    line = note.rpartition("— ")[2]
    with pytest.raises(MalformedNoteError):
        verify_note(f"{note}— {line}", [ALICE.verifier])


@pytest.mark.parametrize(
    "note",
    ["", "\n\n", "text", "text\n", "text\n\n", "text\n\n— a", "text\n\n- a AAAA\n", "a\tb\n\n— a YQ==\n"],
)  # fmt: skip
def test_text_that_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(MalformedNoteError):
        parse_note(note)


@pytest.mark.parametrize("vkey", ["", "a+b+c", "a b+00000000+AAAA", ALICE.verifier.vkey[:-4]])
def test_text_that_is_no_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(MalformedNoteError):
        Verifier.from_vkey(vkey)


def test_a_key_whose_identifier_is_another_keys_is_refused() -> None:
    name, _, key = ALICE.verifier.vkey.split("+", 2)
    with pytest.raises(MalformedNoteError):
        Verifier.from_vkey(f"{name}+{BOB.verifier.identifier.hex()}+{key}")


def test_private_keys_round_trip() -> None:
    again = Signer.from_text(ALICE.text)
    assert again.verifier == ALICE.verifier
    assert again.sign(b"x") == ALICE.sign(b"x")


def test_tree_heads_round_trip_and_keep_extensions() -> None:
    head = TreeHead("example.com/log", 5, b"r" * 32, ("extension",))
    assert parse_tree_head(format_tree_head(head)) == head


@pytest.mark.parametrize(
    "text",
    [
        "o\n05\n" + "A" * 43 + "=\n",
        "o\n-1\n" + "A" * 43 + "=\n",
        "o\n1\nAAAA\n",
        "o\n1\n",
        "\n1\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=\n\n",
        "o\n1\n" + "A" * 42 + "B=\n",
        "o\n99999999999999999999999\n" + "A" * 43 + "=\n",
    ],
)
def test_text_that_is_no_tree_head_is_refused(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        parse_tree_head(text)

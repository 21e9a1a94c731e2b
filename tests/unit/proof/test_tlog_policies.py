"""Policy files: what they mean, and what is refused."""

from __future__ import annotations

import random

import pytest

from lodeline.errors import (
    LodelineError,
    MalformedNoteError,
    MalformedPolicyError,
    SignatureError,
    UnwitnessedError,
)
from lodeline.proof import (
    Cosigner,
    Signer,
    TreeHead,
    format_tree_head,
    parse_policy,
    sign_note,
    verify_by_policy,
)

LOG = Signer("example.com/log", b"l" * 32)
COSIGNERS = {
    name: Cosigner(f"witness.example/{name}", name[-1:].encode() * 32)
    for name in ("X1", "X2", "X3", "Ya", "Yb")
}
VKEYS = {name: cosigner.verifier.vkey for name, cosigner in COSIGNERS.items()}
# The structure of the specification's own example: two of three, and any of two.
POLICY = f"""# who watches
log {LOG.verifier.vkey} https://log.example

witness X1 {VKEYS["X1"]} https://x1.example/
witness X2 {VKEYS["X2"]}
\twitness   X3\t{VKEYS["X3"]}
group X-witnesses 2 X1 X2 X3
witness Ya {VKEYS["Ya"]}
witness Yb {VKEYS["Yb"]}
group Y-witnesses any Ya Yb
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
TEXT = format_tree_head(TreeHead("example.com/log", 7, bytes(32)))


def witnessed(*names: str, log: Signer = LOG) -> str:
    lines = (COSIGNERS[name].cosign(TEXT, time_s=5).line for name in names)
    return sign_note(TEXT, [log]) + "".join(lines)


@pytest.mark.parametrize(
    ("names", "met"),
    [
        (["X1", "X2", "Ya"], True),
        (["X2", "X3", "Yb"], True),
        (["X1", "X2", "X3", "Ya", "Yb"], True),
        (["X1", "Ya", "Yb"], False),
        (["X1", "X2", "X3"], False),
        ([], False),
    ],
)
def test_a_quorum_is_what_its_groups_say(names: list[str], *, met: bool) -> None:
    policy = parse_policy(POLICY)
    if met:
        head, cosigned = verify_by_policy(witnessed(*names), policy)
        assert (head.size, cosigned) == (7, dict.fromkeys(names, 5))
    else:
        with pytest.raises(UnwitnessedError):
            verify_by_policy(witnessed(*names), policy)


def test_a_policy_may_ask_for_no_witness_and_name_no_log() -> None:
    policy = parse_policy("quorum none\n")
    assert verify_by_policy(witnessed(), policy, logs=[LOG.verifier])[0].size == 7
    with pytest.raises(SignatureError):
        verify_by_policy(witnessed(), policy)


def test_the_logs_of_a_policy_are_the_only_ones() -> None:
    policy = parse_policy(POLICY)
    other = Signer("example.com/log", b"o" * 32)
    with pytest.raises(SignatureError):
        verify_by_policy(witnessed("X1", "X2", "Ya", log=other), policy, logs=[other.verifier])
    elsewhere = Signer("example.com/elsewhere", b"o" * 32)
    named = parse_policy(f"log {elsewhere.verifier.vkey}\nquorum none\n")
    with pytest.raises(MalformedNoteError):
        verify_by_policy(witnessed(log=elsewhere), named)


def test_a_forged_cosignature_fails_even_where_others_are_enough() -> None:
    forged = COSIGNERS["X3"].cosign(TEXT.replace("7", "8"), time_s=5).line
    with pytest.raises(SignatureError):
        verify_by_policy(witnessed("X1", "X2", "Ya") + forged, parse_policy(POLICY))


def test_addresses_are_those_of_the_file() -> None:
    assert parse_policy(POLICY).urls == {"X1": "https://x1.example/"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("quorum none", 1),
        ("# nothing\n", 2),
        ("quorum X1\n", 1),
        ("quorum none\nquorum none\n", 2),
        ("quorum none none\n", 1),
        ("quora none\n", 1),
        (f"witness none {VKEYS['X1']}\nquorum none\n", 1),
        (f"witness X1 {VKEYS['X1']}\nwitness X1 {VKEYS['X2']}\nquorum X1\n", 2),
        (f"witness X1 {VKEYS['X1']}\nwitness X2 {VKEYS['X1']}\nquorum X1\n", 2),
        (f"witness X1 {LOG.verifier.vkey}\nquorum X1\n", 1),
        (f"log {VKEYS['X1']}\nquorum none\n", 1),
        (f"log {LOG.verifier.vkey}\nlog {LOG.verifier.vkey}\nquorum none\n", 2),
        (f"witness X1 {VKEYS['X1']}\ngroup g 2 X1\nquorum g\n", 2),
        (f"witness X1 {VKEYS['X1']}\ngroup g 0 X1\nquorum g\n", 2),
        (f"witness X1 {VKEYS['X1']}\ngroup g 01 X1\nquorum g\n", 2),
        (f"witness X1 {VKEYS['X1']}\ngroup g any X1 X1\nquorum g\n", 2),
        (f"witness X1 {VKEYS['X1']}\ngroup g any X1\ngroup h any X1\nquorum g\n", 3),
        (f"witness X1 {VKEYS['X1']}\ngroup g any g\nquorum g\n", 2),
        (f"witness X1 {VKEYS['X1']}\ngroup g any\nquorum g\n", 2),
        ("quorum none\r\n", 1),
        ("quorum\x00none\n", 1),
        ("\n" * 1_000 + "quorum none\n", 1_002),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(MalformedPolicyError) as caught:
        parse_policy(text)
    assert caught.value.line == line


def test_mutated_policies_raise_only_our_errors() -> None:
    draw = random.Random(5)
    for _ in range(2_000):
        changed = list(POLICY)
        for _ in range(draw.randint(1, 5)):
            changed[draw.randrange(len(changed))] = draw.choice("X1 \n\tany#+é\x00=")
        try:
            parse_policy("".join(changed))
        except LodelineError:
            continue

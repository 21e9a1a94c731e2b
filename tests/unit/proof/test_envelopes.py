"""DSSE envelopes: the published vectors, strict reading, and signatures that count keys once."""

import json
import random
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import LodelineError, MalformedEnvelopeError, ProofError, SignatureError
from lodeline.proof import Signer, Verifier
from lodeline.proof.dsse import (
    ENVELOPE_BYTES_MAX,
    format_envelope,
    parse_envelope,
    pre_authentication_encoding,
    sign_envelope,
    verify_envelope,
)

IN_TOTO = "application/vnd.in-toto+json"
ADA, BEN = Signer("ada", b"a" * 32), Signer("ben", b"b" * 32)


def signed(*signers: Signer) -> dict[str, Any]:
    text = format_envelope(sign_envelope(b'{"a":1}', IN_TOTO, signers or (ADA,)))
    value: dict[str, Any] = json.loads(text)
    return value


def check(value: object, *keys: Verifier, threshold: int = 1) -> list[Verifier]:
    raw = value if isinstance(value, bytes | str) else json.dumps(value, ensure_ascii=False)
    verifiers = keys or (ADA.verifier,)
    return verify_envelope(
        parse_envelope(raw), verifiers, payload_types={IN_TOTO}, threshold=threshold
    )


def test_every_published_vector_is_accepted_or_rejected_as_it_says(
    vectors: Callable[[str], Path],
) -> None:
    told = json.loads((vectors("dsse") / "vectors.json").read_text(encoding="utf-8"))
    keys = {
        name: Verifier(name, bytes.fromhex(key["public"])) for name, key in told["keys"].items()
    }
    seen = set()
    for vector in told["vectors"]:
        accepted = True
        try:
            envelope = parse_envelope(json.dumps(vector["envelope"], ensure_ascii=False).encode())
            verify_envelope(
                envelope,
                [keys[name] for name in vector["trustedKeys"]],
                payload_types=vector["supportedPayloadTypes"],
                threshold=vector["threshold"],
            )
        except ProofError:
            accepted = False
        assert accepted is (vector["expect"] == "accept"), vector["id"]
        if accepted:
            encoded = pre_authentication_encoding(envelope.payload_type, envelope.payload)
            assert encoded.hex() == vector["pae"], vector["id"]
        seen.add(vector["expect"])
    assert seen == {"accept", "reject"}


def test_an_envelope_survives_writing_and_reading() -> None:
    envelope = sign_envelope("é".encode(), IN_TOTO, [ADA, BEN])
    assert parse_envelope(format_envelope(envelope)) == envelope
    assert check(signed(ADA, BEN), ADA.verifier, BEN.verifier, threshold=2) == [
        ADA.verifier,
        BEN.verifier,
    ]


def test_either_alphabet_of_base64_is_read_and_no_third_spelling() -> None:
    value = signed()
    value["signatures"][0]["sig"] = urlsafe_b64encode(
        b64decode(value["signatures"][0]["sig"])
    ).decode()
    assert check(value) == [ADA.verifier]
    for payload in ("+_8=", "eyJhIjoxfQ", "eyJhIjoxfR==", "eyJh IjoxfQ==", "ey\nJhIjoxfQ=="):
        with pytest.raises(MalformedEnvelopeError):
            check(value | {"payload": payload})


def test_one_key_under_two_names_is_one_key() -> None:
    twin = Verifier("eve", ADA.verifier.public)
    with pytest.raises(SignatureError):
        check(signed(ADA, ADA), ADA.verifier, twin, threshold=2)


def test_a_signature_that_names_a_known_key_must_be_its() -> None:
    value = signed(ADA, BEN)
    value["signatures"][1]["sig"] = value["signatures"][0]["sig"]
    with pytest.raises(SignatureError):
        check(value, ADA.verifier, BEN.verifier)
    value["signatures"][1]["keyid"] = "someone else"
    assert check(value, ADA.verifier, BEN.verifier) == [ADA.verifier]


@pytest.mark.parametrize(
    "change",
    [
        lambda value: [],
        lambda value: value | {"payload": 7},
        lambda value: value | {"payloadType": ""},
        lambda value: value | {"payloadType": "x" * 2000},
        lambda value: value | {"signatures": []},
        lambda value: value | {"signatures": value["signatures"] * 101},
        lambda value: value | {"signatures": [{"keyid": "a"}]},
        lambda value: value | {"signatures": [{"sig": ""}]},
        lambda value: value | {"signatures": [{"keyid": 3, "sig": "AAAA"}]},
        lambda value: json.dumps(value).replace('"payload":', '"payload":"","payload":'),
        lambda value: json.dumps(value).replace("in-toto", "\\ud800"),
        lambda value: json.dumps(value).replace("{", '{"n":NaN,', 1),
        lambda value: json.dumps(value).encode("utf-16"),
        lambda value: b"[" * 100_000,
        lambda value: " " * (ENVELOPE_BYTES_MAX + 1),
    ],
)
def test_what_is_no_envelope_is_said_to_be_none(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(MalformedEnvelopeError):
        check(change(signed()))


def test_members_that_dsse_does_not_know_are_ignored() -> None:
    value = signed() | {"more": {"a": [1]}}
    value["signatures"][0]["cert"] = None
    assert check(value) == [ADA.verifier]


def test_no_changed_byte_of_type_payload_or_signature_is_accepted() -> None:
    chance = random.Random(3)
    sound = sign_envelope(b'{"a":1}', IN_TOTO, [ADA])
    for seed in range(2_000):
        value = signed()
        place = chance.choice(["payload", "payloadType", "sig"])
        if place == "payloadType":
            changed = bytearray(IN_TOTO.encode())
        else:
            changed = bytearray(
                sound.payload if place == "payload" else sound.signatures[0].signature
            )
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(7)
        if place == "payloadType":
            value[place] = changed.decode()
        elif place == "payload":
            value[place] = b64encode(changed).decode()
        else:
            value["signatures"][0]["sig"] = b64encode(changed).decode()
        with pytest.raises(ProofError):
            verify_envelope(
                parse_envelope(json.dumps(value)),
                [ADA.verifier],
                payload_types={IN_TOTO, value["payloadType"]},
            )
            pytest.fail(f"accepted: seed {seed}, {place}")


def test_malformed_bytes_raise_only_our_errors() -> None:
    chance = random.Random(5)
    sound = format_envelope(sign_envelope(b'{"a":1}', IN_TOTO, [ADA, BEN])).encode()
    for _ in range(3_000):
        raw = bytearray(sound)
        for _ in range(chance.randrange(1, 4)):
            act = chance.randrange(3)
            at = chance.randrange(len(raw))
            if act == 0:
                raw[at] = chance.randrange(256)
            elif act == 1:
                del raw[at : at + chance.randrange(1, 20)]
            else:
                raw[at:at] = raw[: chance.randrange(1, 20)]
        try:
            check(bytes(raw))
        except LodelineError:
            continue
        # Whatever is still accepted says the same under the same key.
        assert parse_envelope(bytes(raw)).payload == b'{"a":1}'

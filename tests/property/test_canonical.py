"""Canonical bytes are RFC 8785's, whichever path wrote them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from lodeline import wire
from lodeline.wire.canonical import canonical_bytes_exact, format_number

INTEGERS_EXACT = 2**53 - 1
TEXT = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        # Where UTF-8 and UTF-16 order differ, and where escapes lie.
        st.sampled_from('\ue000\uffff\U00010000\U0010ffff"\\/\x00\x1f\x7f\u2028é'),
    ),
    max_size=8,
)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**64 - 1)
    .map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
    .filter(math.isfinite),
    st.integers(-30, 30).map(lambda power: float(f"1e{power}")),
)


def values(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | numbers | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=15,
    )


INTEGERS = st.integers(-INTEGERS_EXACT, INTEGERS_EXACT)


@given(values(INTEGERS | FLOATS))
@example({"\ue000": 1, "\U00010000": 2})
@example([1e21, 1e20, 1e-6, 1e-7, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 100.0])
@example({"a": ":1.5", "b": [",2e3"]})
def test_canonical_bytes_are_those_of_another_implementation(value: Any) -> None:
    expected = rfc8785.dumps(value)
    assert wire.canonical_bytes(value) == expected
    assert canonical_bytes_exact(value) == expected


@given(values(INTEGERS | FLOATS), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_canonical_bytes_do_not_depend_on_how_the_text_was_written(
    value: Any, ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert wire.canonical_bytes(text.encode()) == rfc8785.dumps(value)


@given(values(st.integers() | FLOATS))
def test_canonical_bytes_are_their_own_canonical_form(value: Any) -> None:
    canonical = wire.canonical_bytes(value)
    assert wire.canonical_bytes(canonical) == canonical
    assert wire.canonical_bytes(msgspec.Raw(canonical)) == canonical
    assert wire.canonical_bytes(msgspec.json.decode(canonical)) == canonical


@given(st.integers())
def test_integers_keep_all_their_digits(number: int) -> None:
    assert wire.canonical_bytes([number]) == f"[{number}]".encode()
    assert wire.canonical_bytes(f"[{number}]".encode()) == f"[{number}]".encode()


@given(FLOATS)
def test_a_canonical_number_reads_back_as_itself(number: float) -> None:
    assert float(format_number(number)) == number


@given(st.dictionaries(TEXT, values(INTEGERS | FLOATS), max_size=4), st.data())
def test_finished_tokens_inside_a_value_change_nothing(
    members: dict[str, Any], data: st.DataObject
) -> None:
    raw = {
        name: msgspec.Raw(json.dumps(value).encode()) if data.draw(st.booleans()) else value
        for name, value in members.items()
    }
    assert canonical_bytes_exact(raw) == rfc8785.dumps(members)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        # RFC 8785, appendix B.
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_the_specification_lists_them(bits: str, text: str) -> None:
    assert format_number(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


def test_the_published_vectors_come_out_to_the_byte(vectors: Callable[[str], Path]) -> None:
    folder = vectors("jcs")
    names = sorted(path.name for path in (folder / "input").glob("*.json"))
    assert names
    for name in names:
        expected = (folder / "output" / name).read_bytes()
        raw = (folder / "input" / name).read_bytes()
        assert wire.canonical_bytes(raw) == expected, name
        assert canonical_bytes_exact(json.loads(raw)) == expected, name
        in_hexadecimal = (folder / "outhex" / name.replace(".json", ".txt")).read_text()
        assert expected == bytes.fromhex("".join(in_hexadecimal.split())), name


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: 2}, {"a": object()}, "\ud800"])
def test_what_json_cannot_say_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError):  # the kind is the contract, not the words
        canonical_bytes_exact(value)

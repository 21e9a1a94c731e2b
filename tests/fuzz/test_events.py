"""Can foreign bytes raise anything but our errors, or slip past a check?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lodeline import wire
from lodeline.errors import InvalidEventError
from lodeline.wire import facets
from lodeline.wire.reading import iter_raw_events
from lodeline.wire.scanning import scan

EVENTS = Path(__file__).parents[1] / "fixtures" / "events"
LEXICAL = {
    "event.json",
    "event.duplicate_key",
    "event.nul",
    "event.surrogate",
    "event.number",
    "event.depth",
    "event.encoding",
}

SEEDS = [
    event.raw
    for path in sorted(EVENTS.glob("*/*.jsonl"))
    for event in iter_raw_events(path.read_bytes().splitlines()[:4])
]

TOKENS = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[]",:\\ \n\t01-+.eEntf'),
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"null",
        b"true",
        b"NaN",
        b"1e999",
        b"9" * 40,
        b'""',
        b'"a":1,"a":2',
        b'"eventTime":1,',
        b'" :',
        b"\\u0000",
        b"\\u003a",
        b"\\u0022",
        b"\\ud800",
        b"\\ude00",
        b"\\",
        b"[" * 70,
        b"{}" * 30,
        b'{"a":' * 70,
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "delete", "flip", "cut", "copy"])):
            case "insert":
                data[at:at] = draw(TOKENS)
            case "delete":
                del data[at : at + draw(st.integers(1, 20))]
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "copy":
                start = draw(st.integers(0, len(data)))
                data[at:at] = data[start : start + draw(st.integers(1, 200))]
    return bytes(data)


def outcome(raw: bytes | str) -> str:
    """`accepted`, or the code of the refusal. Whatever else is raised fails the test."""
    try:
        event = wire.decode_event(raw)
    except InvalidEventError as error:
        assert error.code.startswith("event.")
        assert error.path == "" or error.path.startswith("/")
        assert str(error)
        return error.code
    assert isinstance(event, wire.RunEvent | wire.JobEvent | wire.DatasetEvent)
    return "accepted"


def exact_outcome(raw: bytes) -> str:
    try:
        scan(raw.decode())
    except UnicodeDecodeError:
        return "event.encoding"
    except InvalidEventError as error:
        return error.code
    return "accepted"


@settings(max_examples=400)
@given(mutated())
def test_mutated_events_raise_only_refusals_and_pass_no_fault(raw: bytes) -> None:
    found, exact = outcome(raw), exact_outcome(raw)
    # The exact scanner is the judge of what is JSON; structure comes after.
    if exact == "accepted":
        assert found not in LEXICAL
    else:
        assert found in LEXICAL


@given(st.binary(max_size=200) | TOKENS)
def test_any_bytes_raise_only_refusals(raw: bytes) -> None:
    assert outcome(raw) != "accepted"


@given(st.text(max_size=100))
def test_any_text_raises_only_refusals(text: str) -> None:
    outcome(text)


# JSON text with every liberty that the grammar gives: spaces, escapes, duplicate names.
SPACE = st.sampled_from(["", "", " ", "\n", "\t\r "])
CHARACTERS = st.sampled_from(
    ["a", "b", ":", "{", "[", '\\"', "\\\\", "\\u003a", "\\u003A", "\\u0022", "\\u0061", "é", ","]
)
STRINGS = st.lists(CHARACTERS, max_size=3).map(lambda parts: f'"{"".join(parts)}"')


@st.composite
def texts(draw: st.DrawFn, depth: int = 3) -> str:
    kind = draw(st.sampled_from(["scalar", "string", "array", "object", "object"]))
    if kind == "scalar" or depth == 0:
        return draw(st.sampled_from(["1", "-0.5e3", "true", "null", '""']))
    if kind == "string":
        return draw(STRINGS)
    if kind == "array":
        items = draw(st.lists(texts(depth - 1), max_size=3))
        return "[" + ",".join(draw(SPACE) + item + draw(SPACE) for item in items) + "]"
    members = draw(st.lists(st.tuples(STRINGS, texts(depth - 1)), max_size=4))
    return (
        "{"
        + ",".join(
            f"{draw(SPACE)}{name}{draw(SPACE)}:{draw(SPACE)}{value}{draw(SPACE)}"
            for name, value in members
        )
        + "}"
    )


def has_duplicates(text: str) -> bool:
    found = False

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len({name for name, _ in pairs}) < len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=hook)
    return found


@settings(max_examples=400)
@given(texts())
def test_no_duplicate_name_slips_past(text: str) -> None:
    facet = f'{{"own":{text}}}'
    raw = (
        '{"eventTime":"2026-11-22T10:00:00Z","dataset":{"namespace":"n","name":"d","facets":'
        f"{facet}}}}}"
    )
    expected = "event.duplicate_key" if has_duplicates(text) else "accepted"
    assert outcome(raw) == expected


@given(st.integers(1, 200), st.booleans(), st.integers(0, 70))
def test_depth_is_judged_like_the_exact_scanner(depth: int, closed: bool, pad: int) -> None:
    text = "[" * depth + ("]" * depth if closed else "")
    raw = f'{{"a":"{"[" * pad}","b":{text}}}'.encode()
    assert (outcome(raw) in LEXICAL) == (exact_outcome(raw) != "accepted")


@given(st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b",", b'"', b"\n", b'{"a":1}', b"x"])))
def test_reading_any_file_raises_nothing(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = list(iter_raw_events(data.splitlines(keepends=True)))
    # A file with anything but empty arrays in it has something to refuse.
    if data.translate(None, b"[] \n"):
        assert found


@given(mutated(), st.sampled_from(SEEDS))
def test_a_bad_line_leaves_the_good_lines_alone(bad: bytes, good: bytes) -> None:
    bad = bad.replace(b"\n", b" ").strip()
    assume(bad)
    found = [event.raw for event in iter_raw_events([good + b"\n", bad + b"\n", good])]
    assert found[0] == found[-1] == good
    assert len(found) >= 3 or bad == b"[]"


@pytest.mark.parametrize("facet", [*facets.CORE_FACETS, *facets.LODELINE_FACETS])
@settings(max_examples=25)
@given(raw=mutated() | st.binary(max_size=50))
def test_reading_a_facet_raises_nothing(facet: type[facets.Facet], raw: bytes) -> None:
    scope, name = facet.facet_scopes[0], facet.facet_name
    typed = facets.decode(scope, name, raw)
    fault = facets.fault(scope, name, raw)
    assert typed is None or fault is None

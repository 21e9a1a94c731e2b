"""Events read the short way come out as those read the long way."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodeline import wire
from lodeline.errors import InvalidEventError
from lodeline.limits import PART_BYTES_MAX
from lodeline.wire.decoding import Document, _decode_long
from lodeline.wire.envelope import read_short
from lodeline.wire.parts import forget_parts
from lodeline.wire.repeated import Repeated, forget_contents, read_repeated

RUN_ID = "01890F1E-7e2a-7b3c-8d4e-5f6a7b8c9d0e"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["\ue000", "\U00010000", ":", "\\", '"', "a/b", "~", "schema", "facets", "\x00", "{["]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e30, 1e30) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FACETS = st.dictionaries(TEXT, JSON, max_size=3)
EXTRA = st.dictionaries(TEXT, JSON, max_size=1)


def datasets(container: str) -> st.SearchStrategy[Any]:
    one = st.fixed_dictionaries(
        {"namespace": TEXT, "name": TEXT},
        optional={"facets": FACETS | st.none(), container: FACETS, "more": JSON},
    )
    return st.lists(one, max_size=3) | st.none()


EVENTS = st.fixed_dictionaries(
    {
        "eventTime": st.sampled_from(["2026-11-22T10:00:00.5Z", "2026-11-22T10:00:00", "later"]),
        "run": st.fixed_dictionaries(
            {"runId": st.sampled_from([RUN_ID, "none"])},
            optional={"facets": FACETS | st.none(), "more": JSON},
        ),
        "job": st.fixed_dictionaries(
            {"namespace": TEXT, "name": TEXT}, optional={"facets": FACETS, "more": JSON}
        ),
    },
    optional={
        "eventType": st.sampled_from(["START", "COMPLETE", None, "DONE"]),
        "inputs": datasets("inputFacets"),
        "outputs": datasets("outputFacets"),
        "producer": TEXT | st.none(),
        "schemaURL": TEXT | st.none(),
        "more": JSON,
    },
)


def same(raw: bytes) -> bool:
    """Compare both ways; tell whether the short way was taken."""
    short = read_short(raw)
    if short is None:
        return False
    long = _decode_long(raw)
    assert short.event == long.event
    assert short.canonical == long.canonical
    assert short.fields() == long.fields()
    same_again(raw, long)
    return True


def same_again(raw: bytes, long: Document) -> None:
    """Send it until its content is remembered, and compare what is made of memory."""
    for _ in range(2):
        wire.decode_document(raw)
    repeated = read_repeated(raw)
    if not isinstance(repeated, Repeated):
        # Large ones are not remembered, nor facets with names beyond ASCII.
        assert len(raw) > PART_BYTES_MAX or not long.canonical.isascii()
        return
    assert repeated.event() == long.event
    assert repeated.canonical() == long.canonical
    assert repeated.fields() == long.fields()
    assert wire.decode_accepted(raw) == accepted(long)


def accepted(long: Document) -> wire.Accepted:
    """Give what acceptance keeps of an event read the long way."""
    event = long.event
    subject = event.dataset if isinstance(event, wire.DatasetEvent) else event.job
    told = (event.producer, subject.namespace, event.event_time_us)
    return wire.Accepted(long.canonical, long.fields(), *told)


def test_accepting_a_remembered_content_makes_no_typed_event(real_events: list[bytes]) -> None:
    forget_contents()
    raw = max((one for one in real_events if len(one) < PART_BYTES_MAX), key=len)
    for _ in range(2):
        assert wire.decode_accepted(raw) == accepted(_decode_long(raw))
    called: list[str] = []

    def note(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            called.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        wire.decode_accepted(raw)
    finally:
        sys.setprofile(None)
    assert "Repeated.forms" in called
    assert "Repeated.event" not in called
    assert len(called) <= 8


@settings(max_examples=300)
@given(EVENTS, st.booleans(), st.sampled_from([None, 1]))
def test_both_ways_of_reading_agree(
    event: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(event, ensure_ascii=ascii_only, indent=indent).encode()
    same(raw)
    # Again, out of memory this time.
    same(raw)


@settings(max_examples=300)
@given(EVENTS, st.data())
def test_the_short_way_overlooks_no_duplicate_name(
    event: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(event)
    at = data.draw(st.sampled_from([i for i, c in enumerate(text) if c == "{"]))
    member = data.draw(st.sampled_from(['"more":"\\u003a",', '"name":"x",', '"runId":":",']))
    raw = (text[: at + 1] + member + text[at + 1 :]).encode()
    try:
        json.loads(raw, object_pairs_hook=refuse_duplicates)
    except ValueError:
        assert read_short(raw) is None
        # Also where all else of it is remembered.
        for _ in range(2):
            with suppress(InvalidEventError):
                wire.decode_document(text.encode())
        assert not isinstance(read_repeated(raw), Repeated)
        with pytest.raises(InvalidEventError):
            wire.decode_event(raw)
    except TypeError:
        return
    else:
        same(raw)


def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def test_real_events_go_the_short_way(real_events: list[bytes]) -> None:
    forget_parts()
    assert all(same(raw) for raw in real_events)
    assert all(same(raw) for raw in real_events)


def test_large_parts_are_read_and_not_remembered() -> None:
    event = {
        "eventTime": "2026-11-22T10:00:00Z",
        "run": {"runId": RUN_ID, "facets": {"x": {"a": "y" * PART_BYTES_MAX}}},
        "job": {"namespace": "n", "name": "j", "facets": {"x": {"a": "y" * PART_BYTES_MAX}}},
        "inputs": [{"namespace": "n", "name": "i", "facets": {"x": {"a": "y" * PART_BYTES_MAX}}}],
        "outputs": [{"namespace": "n", "name": "o", "facets": {"x": {"a": "y" * PART_BYTES_MAX}}}],
    }
    assert same(json.dumps(event).encode())


@settings(max_examples=300)
@given(EVENTS, st.sets(st.sampled_from(["run", "job", "eventType"])), st.booleans())
def test_a_kept_event_reads_as_it_did_when_it_came(
    event: dict[str, Any], absent: set[str], null: bool
) -> None:
    for member in absent:
        event.pop(member, None)
        if null:
            event[member] = None
    event.setdefault("dataset", {"namespace": "n", "name": "d"})
    try:
        document = wire.decode_document(json.dumps(event))
    except InvalidEventError:
        return
    assert wire.decode_stored(document.canonical) == wire.decode_event(document.canonical)


def test_of_a_remembered_content_only_time_type_and_run_are_new(real_events: list[bytes]) -> None:
    forget_contents()
    raw = max((one for one in real_events if len(one) < PART_BYTES_MAX), key=len)
    for _ in range(2):
        wire.decode_document(raw)
    stated = json.loads(raw)
    for run_id, time, kind in (
        ("01890F1E-7E2A-7B3C-8D4E-5F6A7B8C9D0E", "2026-01-02T03:04:05.678901+01:00", "FAIL"),
        ("01890f1e-7e2a-7b3c-8d4e-5f6a7b8c9d0f", "2026-01-02 03:04", "OTHER"),
    ):
        raw_changed = raw.replace(stated["run"]["runId"].encode(), run_id.encode())
        raw_changed = raw_changed.replace(stated["eventTime"].encode(), time.encode())
        raw_changed = raw_changed.replace(
            f'"{stated["eventType"]}"'.encode(), f'"{kind}"'.encode(), 1
        )
        repeated, long = read_repeated(raw_changed), _decode_long(raw_changed)
        assert isinstance(repeated, Repeated)
        assert repeated.event() == long.event
        assert repeated.canonical() == long.canonical
        assert repeated.fields() == long.fields()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"START"', b'"DONE"'),
        (b'"2026-11-22T10:00:00Z"', b'"later"'),
        (b'"2026-11-22T10:00:00Z"', b'"2026-11-22T10\\u003a00:00Z"'),
        (b'"runId": "01', b'"runId": "xx'),
        (b'"runId": "01', b'"runId": "\\u00301'),
        (b'"job"', b'"job": {}, "job"'),
        (b'"job"', b'"runId": 0, "job"'),
    ],
)
def test_memory_vouches_for_nothing_that_is_new(old: bytes, new: bytes) -> None:
    raw = json.dumps(
        {
            "eventType": "START",
            "eventTime": "2026-11-22T10:00:00Z",
            "run": {"runId": RUN_ID},
            "job": {"namespace": "n", "name": "memory"},
        }
    ).encode()
    for _ in range(2):
        wire.decode_document(raw)
    assert isinstance(read_repeated(raw), Repeated)
    assert old in raw
    assert not isinstance(read_repeated(raw.replace(old, new, 1)), Repeated)

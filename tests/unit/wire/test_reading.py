"""How events are found in files, and that nothing in a file is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lodeline import wire
from lodeline.errors import InvalidEventError
from lodeline.wire.reading import iter_raw_events

EVENTS = Path(__file__).parents[2] / "fixtures" / "events"
A: dict[str, Any] = {"eventTime": "2026-11-22T10:00:00Z", "job": {"namespace": "n", "name": "a"}}
B: dict[str, Any] = {"eventTime": "2026-11-22T10:00:00Z", "job": {"namespace": "n", "name": "b"}}


def found(text: str | bytes) -> list[tuple[str, str]]:
    data = text.encode() if isinstance(text, str) else text
    return [
        (event.at, event.raw.decode("utf-8", "replace"))
        for event in iter_raw_events(data.splitlines(keepends=True))
    ]


def values(text: str | bytes) -> list[Any]:
    return [json.loads(raw) for _, raw in found(text)]


def places(text: str | bytes) -> list[str]:
    return [at for at, _ in found(text)]


def test_every_real_file_yields_its_events() -> None:
    counted = 0
    for path in sorted(EVENTS.glob("*/*.jsonl")):
        with path.open("rb") as lines:
            for event in iter_raw_events(lines):
                wire.decode_event(event.raw)
                counted += 1
    assert counted == 452


def test_one_event_a_line() -> None:
    text = f"{json.dumps(A)}\n\n{json.dumps(B)}\r\n"
    assert values(text) == [A, B]
    assert places(text) == ["1", "3"]


def test_a_bad_line_is_handed_on_in_its_place() -> None:
    text = f"{json.dumps(A)}\nnot json\n{json.dumps(B)}\n"
    assert found(text)[1] == ("2", "not json")
    assert len(found(text)) == 3


def test_a_bad_first_line_harms_no_other() -> None:
    text = f"{json.dumps(A)[:-3]}\n{json.dumps(B)}\n{json.dumps(A)}\n"
    assert places(text) == ["1", "2", "3"]
    assert json.loads(found(text)[2][1]) == A


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_events(indent: int | None) -> None:
    text = json.dumps([A, B], indent=indent)
    assert values(text) == [A, B]
    assert places(text) == ["1[0]", "1[1]"]


def test_an_event_printed_over_many_lines() -> None:
    assert values(json.dumps(A, indent=2)) == [A]
    assert values("\ufeff" + json.dumps(A, indent="\t")) == [A]


def test_several_events_printed_over_many_lines() -> None:
    text = json.dumps(A, indent=2) + "\n" + json.dumps(B, indent=2) + "\n"
    assert values(text) == [A, B]
    assert places(text) == ["1", "8"]


def test_events_that_follow_each_other_on_one_line() -> None:
    assert values(json.dumps(A) + json.dumps(B)) == [A, B]


@pytest.mark.parametrize(
    "body", [A, [A, B], json.dumps(A), json.dumps([A, B]), f"{json.dumps(A)}\n{json.dumps(B)}"]
)
def test_a_captured_request_gives_its_body(body: Any) -> None:
    line = json.dumps({"path": "/api/v1/lineage", "headers": {}, "body": body})
    expected = [A] if body in (A, json.dumps(A)) else [A, B]
    assert values(line) == expected
    assert values(line + "\n" + line) == expected * 2
    assert values(json.dumps(json.loads(line), indent=2)) == expected


def test_a_body_keeps_its_bytes() -> None:
    body = '{"eventTime" : 1.50, "a":1,"a":2}'
    (event,) = found('{"path":"/","body": ' + body + "}")
    assert event[1] == body


@pytest.mark.parametrize(
    "line",
    [
        '{"path":"/","headers":{},"body":null}',
        '{"path":"/","headers":{},"body":""}',
        '{"path":"/","headers":{},"body":"\\ud800"}',
        '{"path":"/","body":{"a":1},"body":{"b":2}}',
        '{"body":{"a":1}}',
        '{"path":"/","headers":{}}',
        '{"path":"/","body":{"a":1}',
        "[1,",
        "7",
        "{",
        '"text"',
        "[[]]",
    ],
)
def test_what_is_no_event_is_handed_on_and_refused(line: str) -> None:
    events = list(iter_raw_events([line.encode()]))
    assert events
    for event in events:
        with pytest.raises(InvalidEventError):
            wire.decode_event(event.raw)


def test_a_damaged_item_harms_no_other_item() -> None:
    text = json.dumps([A, B], indent=2).replace('"n"', "n", 1)
    events = found(text)
    assert [at for at, _ in events] == ["1[0]", "1[1]"]
    assert json.loads(events[1][1]) == B


def test_a_cut_item_harms_no_other_line() -> None:
    text = f"[\n{json.dumps(A)[:-1]},\n{json.dumps(B)}\n]\n"
    events = found(text)
    assert [at for at, _ in events] == ["2", "3"]
    assert json.loads(events[1][1]) == B


def test_a_damaged_document_is_one_refusal() -> None:
    text = json.dumps(A, indent=2)[:-1]
    assert len(found(text)) == 1


def test_an_empty_file_has_no_events() -> None:
    assert found("") == []
    assert found(" \n\n") == []
    assert found("[]") == []

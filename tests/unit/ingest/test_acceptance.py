"""The accept path: what is sound is kept, what is not is refused by place and harms nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import UnknownDeadLetterError
from lodeline.ingest import Submission, accept, retry_dead_letters
from lodeline.limits import COMMIT_EVENTS_MAX
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.verification import verify_segment


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{tmp_path / 'lodeline.db'}")
    yield opened
    opened.close()


def body(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com",
        "run": {"runId": f"00000000-0000-4000-8000-{number:012x}"},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": "a"}],
        "outputs": [{"namespace": "n", "name": "b"}],
    } | changes


def event(number: int = 1, **changes: Any) -> bytes:
    return json.dumps(body(number, **changes)).encode()


def nested(depth: int) -> bytes:
    return event().replace(b'"inputs"', b'"deep": ' + b"[" * depth + b"]" * depth + b', "inputs"')


MALFORMED = {
    "malformed JSON": (b'{"eventTime": ', "event.json", None),
    "nothing": (b"", "event.json", None),
    "an array": (b"[]", "event.type", ""),
    "a wrong type": (event(job={"namespace": "n", "name": 7}), "event.type", "/job/name"),
    "inputs of a wrong type": (event(inputs=[7]), "event.type", "/inputs/0"),
    "no runId": (event(run={}), "event.missing", "/run/runId"),
    "a runId that is no UUID": (event(run={"runId": "x"}), "event.run_id", "/run/runId"),
    "no eventTime": (event().replace(b"eventTime", b"eventTme"), "event.missing", "/eventTime"),
    "25 MB": (event(producer="x" * 25_000_000), "event.too_large", ""),
    "deep nesting": (nested(100), "event.depth", None),
    "nesting beyond every stack": (nested(200_000), "event.depth", None),
    "a NUL": (event(job={"namespace": "n", "name": "a\0b"}), "event.nul", "/job/name"),
    "a lone surrogate": (
        event().replace(b'"j"', b'"\\ud800"'),
        "event.surrogate",
        "/job/name",
    ),
    "a duplicate key": (
        event().replace(b'"name": "j"', b'"name": "j", "name": "k"'),
        "event.duplicate_key",
        "/job/name",
    ),
    "bytes that are no UTF-8": (event().replace(b'"j"', b'"\xff"'), "event.encoding", None),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_input_is_refused_by_place_and_harms_nothing_else(
    segment: SqliteSegment, fault: str
) -> None:
    raw, code, path = MALFORMED[fault]
    result = accept(segment, [event(1), Submission(raw, "events.jsonl:2"), event(3)])
    assert (result.accepted, result.duplicates, result.refused) == (2, 0, 1)
    (letter,) = segment.iter_dead_letters()
    assert (letter.code, letter.source) == (code, "events.jsonl:2")
    assert path is None or letter.path == path
    assert result.dead_letters == [letter]
    assert segment.dead_letter_bytes(letter.letter_id) == raw
    assert [json.loads(entry.payload or b"")["run"] for entry in segment.iter_entries(2)] == [
        body(1)["run"],
        body(3)["run"],
    ]
    assert verify_segment(segment).ok


def test_all_malformed_inputs_together_are_refused_one_by_one(segment: SqliteSegment) -> None:
    raws = [raw for raw, _, _ in MALFORMED.values()]
    result = accept(segment, [event(1), *raws, event(2), *raws])
    assert (result.accepted, result.refused) == (2, 2 * len(raws))
    assert len(list(segment.iter_dead_letters())) == len(raws)
    assert {letter.times for letter in segment.iter_dead_letters()} == {2}


def test_many_events_come_in_several_commits_in_their_order(segment: SqliteSegment) -> None:
    count = COMMIT_EVENTS_MAX * 2 + 7
    seen: list[int] = []
    result = accept(
        segment, map(event, range(count)), progress=lambda r: seen.append(r.seen), fold=False
    )
    assert result.accepted == count
    assert seen == [COMMIT_EVENTS_MAX, COMMIT_EVENTS_MAX * 2, count]
    runs = [json.loads(entry.payload or b"")["run"]["runId"] for entry in segment.iter_entries(2)]
    assert runs == [body(number)["run"]["runId"] for number in range(count)]


def test_the_same_event_spelled_otherwise_is_a_duplicate(segment: SqliteSegment) -> None:
    spaced = json.dumps(body(), indent=3, sort_keys=True).encode()
    result = accept(segment, [event(), spaced])
    assert (result.accepted, result.duplicates) == (1, 1)


def test_a_refused_event_can_be_fixed_and_sent_again(segment: SqliteSegment) -> None:
    accept(segment, [Submission(event(run={}), "a.jsonl:1")])
    (letter,) = segment.iter_dead_letters()
    still = retry_dead_letters(segment)
    assert (still.accepted, still.refused) == (0, 1)
    worse = retry_dead_letters(segment, [letter.letter_id], edited=b"{}")
    assert worse.refused == 1
    assert segment.dead_letter_bytes(letter.letter_id) == event(run={})
    fixed = retry_dead_letters(segment, [letter.letter_id], edited=event())
    assert (fixed.accepted, fixed.refused) == (1, 0)
    assert list(segment.iter_dead_letters()) == []
    with pytest.raises(UnknownDeadLetterError):
        retry_dead_letters(segment, [letter.letter_id])

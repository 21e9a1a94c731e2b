"""What `decode_event` accepts, and what it refuses, where and with which code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lodeline import wire
from lodeline.errors import InvalidEventError
from lodeline.limits import EVENT_BYTES_MAX, EVENT_DEPTH_MAX, NAME_BYTES_MAX

RUN_ID = "01890f1e-7e2a-7b3c-8d4e-5f6a7b8c9d0e"
EVENTS = Path(__file__).parents[2] / "fixtures" / "events"


def run_event(**changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "eventTime": "2026-11-22T10:00:00Z",
        "eventType": "COMPLETE",
        "producer": "https://example.org/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": RUN_ID, "facets": {}},
        "job": {"namespace": "etl", "name": "load", "facets": {}},
        "inputs": [{"namespace": "db", "name": "a"}],
        "outputs": [{"namespace": "db", "name": "b"}],
    }
    event.update(changes)
    return {key: value for key, value in event.items() if value is not ...}


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


def refusal(raw: bytes | str) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        wire.decode_event(raw)
    return caught.value


def real_events() -> list[bytes]:
    events = []
    for path in sorted(EVENTS.glob("*/*.jsonl")):
        for line in path.read_bytes().splitlines():
            event = json.loads(line)
            events.append(encoded(event.get("body", event)))
    return events


def test_every_real_event_decodes() -> None:
    events = [wire.decode_event(raw) for raw in real_events()]
    assert len(events) == 452
    assert {type(event) for event in events} == {wire.RunEvent}


def test_a_run_event_tells_what_happened() -> None:
    event = wire.decode_event(encoded(run_event()))
    assert isinstance(event, wire.RunEvent)
    assert event.event_type == "COMPLETE"
    assert event.run.run_id == RUN_ID
    assert (event.job.namespace, event.job.name) == ("etl", "load")
    assert [dataset.name for dataset in event.inputs] == ["a"]
    assert [dataset.name for dataset in event.outputs] == ["b"]
    assert event.zone_stated


def test_an_event_may_come_as_text() -> None:
    assert isinstance(wire.decode_event(json.dumps(run_event())), wire.RunEvent)


def test_a_job_event_has_no_run() -> None:
    event = wire.decode_event(encoded(run_event(run=..., eventType=...)))
    assert isinstance(event, wire.JobEvent)
    assert event.outputs[0].name == "b"


def test_a_dataset_event_has_a_dataset_only() -> None:
    raw = {"eventTime": "2026-11-22T10:00:00Z", "dataset": {"namespace": "db", "name": "a"}}
    event = wire.decode_event(encoded(raw))
    assert isinstance(event, wire.DatasetEvent)
    assert event.dataset.name == "a"


def test_the_run_id_is_lower_cased() -> None:
    event = wire.decode_event(encoded(run_event(run={"runId": RUN_ID.upper()})))
    assert isinstance(event, wire.RunEvent)
    assert event.run.run_id == RUN_ID


def test_a_time_without_zone_is_utc_and_marked() -> None:
    event = wire.decode_event(encoded(run_event(eventTime="2026-11-22T10:00:00.5")))
    stated = wire.decode_event(encoded(run_event(eventTime="2026-11-22T12:00:00.5+02:00")))
    assert event.event_time_us == stated.event_time_us
    assert (event.zone_stated, stated.zone_stated) == (False, True)


def test_missing_schema_url_and_producer_are_accepted() -> None:
    event = wire.decode_event(encoded(run_event(schemaURL=..., producer=...)))
    assert (event.schema_url, event.producer) == (None, None)


def test_nulls_that_stand_for_absence_are_accepted() -> None:
    raw = encoded(
        run_event(
            inputs=None,
            outputs=[{"namespace": "db", "name": "b", "facets": None, "outputFacets": None}],
            run={"runId": RUN_ID, "facets": None},
            job={"namespace": "etl", "name": "load", "facets": None},
            dataset=None,
            eventType=None,
            producer=None,
            schemaURL=None,
        )
    )
    event = wire.decode_event(raw)
    assert isinstance(event, wire.RunEvent)
    assert event.inputs == ()
    assert event.outputs[0].facets == {}
    assert event.run.facets == {}


def test_facets_keep_their_bytes_when_nulls_are_dropped_around_them() -> None:
    facet = b'{"x" : 1.50, "y":"\\u00e9"}'
    raw = encoded(run_event(inputs=None, job={"namespace": "e", "name": "l", "facets": None}))
    raw = raw.replace(b'"facets": {}', b'"facets": {"own": ' + facet + b"}")
    event = wire.decode_event(raw)
    assert isinstance(event, wire.RunEvent)
    assert bytes(event.run.facets["own"]) == facet


REFUSALS = [
    pytest.param(b"", "event.json", "", id="empty"),
    pytest.param(b"{", "event.json", "", id="cut off"),
    pytest.param(b'{"a":1}x', "event.json", "", id="trailing text"),
    pytest.param(b'{"a":NaN}', "event.json", "/a", id="NaN"),
    pytest.param(b'{"a":01}', "event.json", "/a", id="leading zero"),
    pytest.param(b"[]", "event.type", "", id="an array"),
    pytest.param(b"null", "event.type", "", id="null"),
    pytest.param(b'{"a":"\xff"}', "event.encoding", "", id="not UTF-8"),
    pytest.param(b'{"a":"\xed\xa0\x80"}', "event.encoding", "", id="surrogate in UTF-8"),
    pytest.param(b'{"a":{"b":"\\u0000"}}', "event.nul", "/a/b", id="NUL"),
    pytest.param(b'{"a":"\\ud800"}', "event.surrogate", "/a", id="lone surrogate"),
    pytest.param(b'{"a":"\\udc00\\ud800"}', "event.surrogate", "/a", id="swapped surrogates"),
    pytest.param(b'{"a":1e999}', "event.number", "/a", id="number too large"),
    pytest.param(b'{"a":' + b"1" * 5000 + b"}", "event.number", "/a", id="integer too long"),
    pytest.param(b'{"a":1,"b":{"c":1,"c":2}}', "event.duplicate_key", "/b/c", id="duplicate"),
    pytest.param(b'{"a":[{},{"b":1,"\\u0062":2}]}', "event.duplicate_key", "/a/1/b", id="escaped"),
    pytest.param(b'{"a":"\\u003a","b":{"c":1,"c":2}}', "event.duplicate_key", "/b/c", id="cancel"),
    pytest.param(b'{"a":"\\u003A","b" : {"c":1,"c":2}}', "event.duplicate_key", "/b/c", id="3A"),
    pytest.param(b'{"a":[' + b"[" * EVENT_DEPTH_MAX, "event.depth", None, id="unclosed and deep"),
    pytest.param(b"[" * 100_000, "event.depth", "/0" * EVENT_DEPTH_MAX, id="very deep"),
    pytest.param(b" " * (EVENT_BYTES_MAX + 1), "event.too_large", "", id="too large"),
]


@pytest.mark.parametrize(("raw", "code", "path"), REFUSALS)
def test_what_is_no_event_is_refused_with_code_and_place(
    raw: bytes, code: str, path: str | None
) -> None:
    error = refusal(raw)
    assert error.code == code
    assert path is None or error.path == path


STRUCTURE = [
    ({"run": {}}, "event.missing", "/run/runId"),
    ({"run": {"runId": None}}, "event.missing", "/run/runId"),
    ({"run": {"runId": 7}}, "event.type", "/run/runId"),
    ({"run": {"runId": "not-a-uuid"}}, "event.run_id", "/run/runId"),
    ({"run": {"runId": RUN_ID.replace("-", "")}}, "event.run_id", "/run/runId"),
    ({"run": ...}, "event.missing", "/run"),
    ({"run": "x"}, "event.type", "/run"),
    ({"eventTime": ...}, "event.missing", "/eventTime"),
    ({"eventTime": 17}, "event.type", "/eventTime"),
    ({"eventTime": "yesterday"}, "event.time", "/eventTime"),
    ({"eventTime": "0000-01-01T00:00:00Z"}, "event.time", "/eventTime"),
    ({"eventTime": "2026-13-01T00:00:00Z"}, "event.time", "/eventTime"),
    ({"eventType": "DONE"}, "event.event_type", "/eventType"),
    ({"eventType": 1}, "event.type", "/eventType"),
    ({"producer": 5}, "event.type", "/producer"),
    ({"schemaURL": []}, "event.type", "/schemaURL"),
    ({"job": ...}, "event.missing", "/job"),
    ({"job": {"name": "x"}}, "event.missing", "/job/namespace"),
    ({"job": {"namespace": "x", "name": ""}}, "event.name_empty", "/job/name"),
    ({"job": {"namespace": "x", "name": "y", "facets": []}}, "event.type", "/job/facets"),
    ({"inputs": {}}, "event.type", "/inputs"),
    ({"inputs": [1]}, "event.type", "/inputs/0"),
    ({"inputs": [{"namespace": "x"}]}, "event.missing", "/inputs/0/name"),
    ({"outputs": [{"namespace": "x", "name": 1.5}]}, "event.type", "/outputs/0/name"),
    ({"outputs": [{"namespace": "x", "name": ""}]}, "event.name_empty", "/outputs/0/name"),
    (
        {"inputs": [{"namespace": "x", "name": "y", "inputFacets": 3}]},
        "event.type",
        "/inputs/0/inputFacets",
    ),
    (
        {"job": {"namespace": "x", "name": "é" * (NAME_BYTES_MAX // 2 + 1)}},
        "event.name_too_long",
        "/job/name",
    ),
    (
        {"outputs": [{"namespace": "y" * (NAME_BYTES_MAX + 1), "name": "x"}]},
        "event.name_too_long",
        "/outputs/0/namespace",
    ),
]


@pytest.mark.parametrize(("changes", "code", "path"), STRUCTURE)
def test_a_faulty_member_is_refused_at_its_pointer(
    changes: dict[str, Any], code: str, path: str
) -> None:
    error = refusal(encoded(run_event(**changes)))
    assert (error.code, error.path) == (code, path)


def nested(depth: int) -> bytes:
    facet = b'{"a":' * depth + b"1" + b"}" * depth
    return encoded(run_event()).replace(b'"facets": {}', b'"facets": {"own": ' + facet + b"}", 1)


def test_nesting_is_bounded_exactly() -> None:
    # The event, its run and the facets are three levels.
    wire.decode_event(nested(EVENT_DEPTH_MAX - 3))
    assert refusal(nested(EVENT_DEPTH_MAX - 2)).code == "event.depth"


def test_brackets_in_strings_are_not_nesting() -> None:
    assert wire.decode_event(encoded(run_event(producer="[" * 200))).producer == "[" * 200


def test_a_name_at_the_bound_is_accepted() -> None:
    job = {"namespace": "x", "name": "é" * (NAME_BYTES_MAX // 2)}
    assert wire.decode_event(encoded(run_event(job=job))).job.name == job["name"]


def test_a_lone_surrogate_in_text_is_refused() -> None:
    assert refusal('{"a":"\ud800"}').code == "event.surrogate"


def test_faults_in_large_events_are_found_without_the_exact_scanner() -> None:
    padding = b'{"pad":"' + b"x" * 2_000_000 + b'",'
    assert refusal(padding + b'"a":1,"a":2}').code == "event.duplicate_key"
    assert refusal(padding + b'"a":"\\u0000"}').code == "event.nul"
    assert refusal(padding + b'"a":' + b"[" * 99 + b"]" * 99 + b"}").code == "event.depth"
    assert refusal(padding + b'"a":}').code == "event.json"
    assert refusal(padding + b'"a":"\\\\u0000"}').code == "event.missing"


def test_a_stored_event_reads_the_same_without_checks() -> None:
    for raw in real_events()[:50]:
        assert wire.decode_stored(raw) == wire.decode_event(raw)

"""CloudEvents as their own SDK writes them, and as no SDK would."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from lodeline.wire.cloud_events import iter_contents, plain_headers

EVENT = b'{"eventType": "START", "eventTime": "2026-01-01T00:00:00.100000Z", "n": 1.50}'
ATTRIBUTES = {"id": "1", "source": "/airflow", "type": "io.openlineage.run", "specversion": "1.0"}


def opened(body: bytes, **headers: str) -> list[tuple[bytes, str | None]]:
    named = plain_headers({name.replace("__", "-"): value for name, value in headers.items()})
    contents = list(iter_contents(body, named))
    return [(one.raw, None if one.fault is None else one.fault.path) for one in contents]


def envelope(**members: object) -> bytes:
    return json.dumps(ATTRIBUTES | members).encode()


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_what_the_sdk_writes_for_kafka_gives_the_event_and_its_trace(mode: str) -> None:
    kafka = pytest.importorskip("cloudevents.core.bindings.kafka")
    v1 = pytest.importorskip("cloudevents.core.v1.event")
    formats = pytest.importorskip("cloudevents.core.formats.json")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    data = json.loads(EVENT)
    event = v1.CloudEvent(
        {**ATTRIBUTES, "datacontenttype": "application/json", "traceparent": trace}, data
    )
    write = kafka.to_binary if mode == "binary" else kafka.to_structured
    message = write(event, formats.JSONFormat())
    headers = {name: value.decode() for name, value in message.headers.items()}
    [content] = iter_contents(message.value, plain_headers(headers))
    assert content.fault is None
    assert json.loads(content.raw) == data
    assert content.headers["traceparent"] == trace


def test_an_event_keeps_its_bytes_in_every_mode() -> None:
    structured = b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":' + EVENT + b"}"
    kind = "application/cloudevents+json; charset=utf-8"
    binary = {f"ce_{name}": value for name, value in ATTRIBUTES.items()}
    encoded = envelope(data_base64=b64encode(EVENT).decode())
    assert opened(EVENT) == [(EVENT, None)]
    assert opened(EVENT, **binary, content__type="application/json") == [(EVENT, None)]
    assert opened(structured, content__type=kind) == [(EVENT, None)]
    # Without any header, as in a file: told by what no OpenLineage event has.
    assert opened(structured) == [(EVENT, None)]
    assert opened(encoded, content__type=kind) == [(EVENT, None)]
    batch = b"[" + structured + b"," + structured + b"]"
    assert opened(batch, content__type="application/cloudevents-batch+json") == [(EVENT, None)] * 2


def test_attributes_in_headers_of_nats_are_percent_encoded() -> None:
    headers = {"ce-id": "1", "ce-source": "/a%20b", "ce-type": "t", "CE-SpecVersion": "1.0"}
    assert plain_headers(headers)["ce-source"] == "/a b"
    assert opened(EVENT, **headers) == [(EVENT, None)]


STRUCTURED = {"content__type": "application/cloudevents+json"}
FAULTS = {
    "no data": (envelope(), STRUCTURED, "/data"),
    "data twice": (envelope(data={}, data_base64=""), STRUCTURED, "/data"),
    "no base64": (envelope(data_base64="%"), STRUCTURED, "/data_base64"),
    "another version": (envelope(specversion="0.3", data={}), STRUCTURED, "/specversion"),
    "no source": (envelope(source="", data={}), STRUCTURED, "/source"),
    "no object": (b"[]", STRUCTURED, ""),
    "a name twice": (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":{},"data":{}}', STRUCTURED, ""),
    "Avro": (b"\x00", {"content__type": "application/cloudevents+avro"}, ""),
    "binary without a type": (EVENT, {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "s"}, "/type"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_cloud_event_is_refused_with_the_path_of_its_fault(name: str) -> None:
    body, headers, path = FAULTS[name]
    assert opened(body, **headers) == [(body, path)]


def test_a_faulty_item_of_a_batch_harms_no_other() -> None:
    good, bad = envelope(data={"n": 1}), envelope(type="")
    kind = "application/cloudevents-batch+json"
    found = opened(b"[" + bad + b"," + good + b"]", content__type=kind)
    assert found == [(bad, "/0/type"), (b'{"n": 1}', None)]

"""Are the bytes still the bytes? Canonical forms and fields of recorded events, never edited.

The log commits to these bytes. A change here is a change of the log's format: events in existing
logs would not verify, and would not be recognised when they come again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lodeline import wire
from lodeline.wire.decoding import _decode_long
from lodeline.wire.reading import iter_raw_events

GOLDEN = Path(__file__).parent / "event_bytes.json"
EVENTS = Path(__file__).parents[1] / "fixtures" / "events"


def digests(document: wire.Document) -> str:
    """First half: of the canonical form; second half: of pointers and bytes of the fields."""
    fields = hashlib.sha256()
    for pointer, body in document.fields():
        for part in (pointer.encode(), body):
            fields.update(len(part).to_bytes(8, "big") + part)
    return document.digest.hex()[:16] + fields.hexdigest()[:16]


def recorded() -> dict[str, list[bytes]]:
    return {
        path.relative_to(EVENTS).as_posix(): [
            event.raw for event in iter_raw_events(path.read_bytes().splitlines())
        ]
        for path in sorted(EVENTS.glob("*/*.jsonl"))
    }


def test_canonical_forms_and_fields_have_not_changed() -> None:
    golden = json.loads(GOLDEN.read_text())
    for decode in (wire.decode_document, _decode_long):
        found = {
            name: [digests(decode(raw)) for raw in events] for name, events in recorded().items()
        }
        assert found == golden


def test_one_event_in_full() -> None:
    raw = """{"run": {"runId": "01890F1E-7E2A-7B3C-8D4E-5F6A7B8C9D0E",
      "facets": {"b/~": {"x": 1.0, "y": [1e21, 9007199254740993]}, "a": {"z": "\\u00e9\\/\\n"}}},
      "job": {"namespace": "n", "name": "j"}, "eventTime": "2026-11-22T10:00:00",
      "inputs": [{"name": "i", "namespace": "n", "inputFacets": {"q": {}}}], "own": true}"""
    document = wire.decode_document(raw)
    run_id = "01890F1E-7E2A-7B3C-8D4E-5F6A7B8C9D0E"
    assert document.canonical.decode() == (
        '{"eventTime":"2026-11-22T10:00:00",'
        '"inputs":[{"inputFacets":{"q":{}},"name":"i","namespace":"n"}],'
        '"job":{"name":"j","namespace":"n"},"own":true,'
        '"run":{"facets":{"a":{"z":"é/\\n"},"b/~":{"x":1,"y":[1e+21,9007199254740993]}},'
        f'"runId":"{run_id}"}}}}'
    )
    assert document.fields() == [
        (
            "",
            (
                '{"eventTime":"2026-11-22T10:00:00",'
                '"inputs":[{"inputFacets":{"q":null},"name":"i","namespace":"n"}],'
                '"job":{"name":"j","namespace":"n"},"own":true,'
                f'"run":{{"facets":{{"a":null,"b/~":null}},"runId":"{run_id}"}}}}'
            ).encode(),
        ),
        ("/inputs/0/inputFacets/q", b"{}"),
        ("/run/facets/a", '{"z":"é/\\n"}'.encode()),
        ("/run/facets/b~1~0", b'{"x":1,"y":[1e+21,9007199254740993]}'),
    ]

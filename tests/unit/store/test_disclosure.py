"""One field of an entry can be shown and checked without the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.errors import StoreCorruptError, UnknownPositionError
from lodeline.ingest import accept
from lodeline.proof import combine_commitments, commit_field, decode_leaf
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.disclosure import disclosed_fields

EVENT = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-01T00:00:00Z",
    "producer": "https://example.com",
    "run": {
        "runId": "00000000-0000-4000-8000-000000000001",
        "facets": {"note": {"text": "é"}, "a/b": {"x": [1.0]}},
    },
    "job": {"namespace": "n", "name": "j"},
}


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    accept(opened, [json.dumps(EVENT).encode()])
    yield opened
    opened.close()


def test_the_fields_of_an_entry_give_the_commitment_of_its_leaf(segment: SqliteSegment) -> None:
    fields, erased_by = disclosed_fields(segment, 2)
    assert erased_by is None
    assert [one.pointer for one in fields] == ["", "/run/facets/a~1b", "/run/facets/note"]
    assert fields[1].value == b'{"x":[1]}'
    (entry,) = segment.iter_entries(2, 3)
    commitment = combine_commitments([one.commitment for one in fields])
    assert commitment == decode_leaf(entry.leaf).commitment


def test_a_field_that_is_held_back_leaves_only_its_commitment(segment: SqliteSegment) -> None:
    fields, _ = disclosed_fields(segment, 2, hold_back=lambda pointer: pointer.endswith("note"))
    *shown, held = fields
    assert (held.salt, held.value) == (None, None)
    for one in shown:
        assert one.salt is not None
        assert one.value is not None
        assert commit_field(one.salt, one.pointer, one.value) == one.commitment
    (entry,) = segment.iter_entries(2, 3)
    commitment = combine_commitments([one.commitment for one in fields])
    assert commitment == decode_leaf(entry.leaf).commitment


def test_records_of_other_kinds_have_one_field(segment: SqliteSegment) -> None:
    (entry,) = segment.iter_entries(0, 1)
    (field,) = disclosed_fields(segment, 0).fields
    assert (field.pointer, field.value) == ("", entry.payload)


def test_an_entry_that_is_not_there_is_said_to_be_unknown(segment: SqliteSegment) -> None:
    with pytest.raises(UnknownPositionError):
        disclosed_fields(segment, 99)


def test_a_payload_that_its_leaf_does_not_commit_to_is_not_disclosed(
    segment: SqliteSegment,
) -> None:
    with segment.writing() as connection:
        connection.execute("DROP TRIGGER payload_refuses_update")
        connection.execute("UPDATE payload SET payload = '{}' WHERE position = 2")
    with pytest.raises(StoreCorruptError):
        disclosed_fields(segment, 2)

"""A pack discloses what may be disclosed: sealed values stay sealed, erased ones stand as gaps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.ingest import accept
from lodeline.proof.packs import encode_pack, read_json, sign_manifest, write_json
from lodeline.store import open_segment
from lodeline.store.erasing import erase
from lodeline.store.sqlite import SqliteSegment
from lodeline.store.subject_records import erase_subject, find_subject

NAME = "Alice Doe 4f1b"
RULES = """
[[rules]]
pointer = "/run/facets/approver/people/*/name"
subject = "/run/facets/approver/people/*/id"
"""


def event(number: int, source: str, target: str) -> bytes:
    run = {
        "runId": f"00000000-0000-4000-8000-{number:012x}",
        "facets": {
            "approver": {"people": [{"name": NAME, "id": "alice"}]},
            "note": {"text": f"note {number} of the run"},
        },
    }
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-01-{number:02d}T00:00:00Z",
            "producer": "https://example.com",
            "run": run,
            "job": {"namespace": "n", "name": f"j{target}"},
            "inputs": [{"namespace": "n", "name": source}],
            "outputs": [{"namespace": "n", "name": target}],
        }
    ).encode()


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    (tmp_path / "s.db.personal.toml").write_text(RULES)
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as opened:
        accept(opened, [event(1, "a", "b"), event(2, "b", "c")])
        yield opened


def events_of(segment: SqliteSegment) -> list[int]:
    return [entry.position for entry in segment.iter_entries(kinds={"event"})]


def pack(segment: SqliteSegment) -> dict[str, bytes]:
    files = build_pack(segment, {"id": "dataset:n:c"})
    assert verify_pack(files).ok
    return files


def test_a_sealed_value_travels_sealed_and_the_answer_is_complete(segment: SqliteSegment) -> None:
    files = pack(segment)
    assert NAME.encode() not in encode_pack(files)
    assert b'\\"sealed\\":' in files["entries.ndjson"]
    assert json.loads(files["answer.json"])["complete"]


def test_an_erased_subject_leaves_a_pack_that_still_verifies(segment: SqliteSegment) -> None:
    erase_subject(segment, find_subject(segment, "alice"))
    files = pack(segment)
    answer = json.loads(files["answer.json"])
    assert len(answer["edges"]) == 6
    assert NAME.encode() not in encode_pack(files)


def test_an_erased_facet_is_a_commitment_named_by_its_erasure(segment: SqliteSegment) -> None:
    position = events_of(segment)[0]
    erasure = erase(segment, fields={position: ["/run/facets/note"]})
    files = pack(segment)
    lines = [json.loads(line) for line in files["entries.ndjson"].splitlines()]
    [entry] = [line for line in lines if line["index"] == position]
    assert entry["erased_by"] == erasure
    [note] = [one for one in entry["fields"] if one["pointer"] == "/run/facets/note"]
    assert set(note) == {"pointer", "commitment"}
    assert "note 1 of the run" not in files["entries.ndjson"].decode()
    assert verify_pack(files).erased == 1


def test_an_entry_erased_whole_is_a_gap_and_only_if_the_log_says_so(
    segment: SqliteSegment,
) -> None:
    position = events_of(segment)[0]
    erase(segment, entries=[position])
    files = pack(segment)
    answer = json.loads(files["answer.json"])
    assert {"at": "dataset:n:c", "reason": "erased"} in [
        {name: gap[name] for name in ("at", "reason")} for gap in answer["gaps"]
    ]
    # Whoever holds the keys cannot hide an entry as erased that nobody erased.
    other = events_of(segment)[1]
    lines = [json.loads(line) for line in files["entries.ndjson"].splitlines()]
    for line in lines:
        if line["index"] == other:
            line["fields"] = []
            line["erased_by"] = max(one["index"] for one in lines if one["fields"])
    forged = {name: data for name, data in files.items() if not name.startswith("manifest")}
    forged["entries.ndjson"] = b"".join(write_json(line) for line in lines)
    manifest = read_json(files["manifest.json"], "manifest")
    facts = {name: manifest[name] for name in ("origin", "question", "tree_size")}
    sign_manifest(forged, facts, segment.keys.receipt)
    assert not verify_pack(forged).ok

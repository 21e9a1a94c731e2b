"""Personal values are sealed before they are hashed, opened when read, and gone when erased."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.errors import LodelineError, UsageError
from lodeline.fold.statements import DATASET_FACETS, JOB_FACETS, RUN_FACETS
from lodeline.ingest import accept, fold_pending, graph_state, rebuild
from lodeline.proof import decode_sealed, hash_subject_key, open_value
from lodeline.proof.leaves import decode_leaf
from lodeline.query.door import ask
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.disclosure import disclosed_fields
from lodeline.store.erasing import apply_erasures, erase
from lodeline.store.personal import read_sealed
from lodeline.store.subject_records import erase_subject, find_subject, iter_values
from lodeline.store.verification import VerifyReport, verify_segment
from lodeline.wire import canonical_bytes

NAME = "Alice Doe 4f1b"
OTHER = "Bob Roe 77c0"
RULES = """
[[rules]]
pointer = "/run/facets/approver/people/*/name"
subject = "/run/facets/approver/people/*/id"
[[rules]]
pointer = "/job/facets/ownership/owners/*/name"
"""
APPROVER = "/run/facets/approver/people/0/name"


def event(
    number: int = 1,
    *,
    name: str = NAME,
    subject: str = "alice",
    time: str = "2026-01-01",
    **more: Any,
) -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": f"{time}T00:00:00Z",
        "producer": "https://example.com",
        "run": {
            "runId": f"00000000-0000-4000-8000-{number:012x}",
            "facets": {
                "approver": {"people": [{"name": name, "id": subject}, {"name": 1.5, "id": "bob"}]},
                "note": {"text": "kept"},
            },
        },
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": "a"}],
        "outputs": [{"namespace": "n", "name": "b"}],
    }
    return json.dumps(body | more).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "s.db.personal.toml").write_text(RULES)
    return tmp_path / "s.db"


@pytest.fixture
def segment(path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{path}")
    yield opened
    opened.close()


def payload(segment: SqliteSegment, position: int) -> Any:
    (entry,) = segment.iter_entries(position, position + 1)
    assert entry.payload is not None
    return json.loads(entry.payload)


def opened(segment: SqliteSegment, position: int) -> Any:
    ((_, found),) = segment.iter_opened(position, position + 1)
    return json.loads(found.payload)


def name_in(segment: SqliteSegment, position: int) -> object:
    return opened(segment, position)["run"]["facets"]["approver"]["people"][0]["name"]


def last_event(segment: SqliteSegment) -> int:
    return [entry.position for entry in segment.iter_entries(kinds={"event"})][-1]


def erase_alice(segment: SqliteSegment, subject: str = "alice") -> int:
    position = erase_subject(segment, find_subject(segment, subject))
    assert position is not None
    return position


def stored_bytes(path: Path) -> bytes:
    """Every byte of the database, its write-ahead log and whatever lies beside it."""
    names = [path, *path.parent.glob(path.name + "-*")]
    return b"".join(file.read_bytes() for file in names)


def verify(segment: SqliteSegment) -> VerifyReport:
    return verify_segment(segment)


def test_a_personal_value_never_reaches_the_database(segment: SqliteSegment, path: Path) -> None:
    accept(segment, [event()])
    position = last_event(segment)
    people = payload(segment, position)["run"]["facets"]["approver"]["people"]
    assert [one["name"] for one in people] == [None, None]
    assert NAME.encode() not in stored_bytes(path)
    assert b"kept" in stored_bytes(path)


def test_the_door_gives_the_event_back_byte_for_byte(segment: SqliteSegment) -> None:
    accept(segment, [event()])
    ((_, found),) = segment.iter_opened(last_event(segment))
    assert found == (canonical_bytes(event()), (), ())


def test_the_hash_of_a_key_is_logged_before_the_key_is_used(segment: SqliteSegment) -> None:
    accept(segment, [event(1), event(2)])
    kinds = [entry.kind for entry in segment.iter_entries()]
    assert kinds == ["key", "fold", "key", "event", "event"]
    logged = {key["id"]: key["hash"] for key in payload(segment, 2)["keys"]}
    files = segment.personal.files
    assert {key_id: hash_subject_key(files.find(key_id) or b"") for key_id in logged} == logged
    assert len(logged) == 2
    with segment.reading() as connection:
        sealed = read_sealed(connection, 3)
    assert {one.key_id for one in sealed} == set(logged)


def test_a_sealed_value_opens_for_its_own_record_and_place_alone(segment: SqliteSegment) -> None:
    accept(segment, [event()])
    position = last_event(segment)
    (entry,) = segment.iter_entries(position)
    with segment.reading() as connection:
        one = read_sealed(connection, position)[0]
    key = segment.personal.files.find(one.key_id or "") or b""
    record = decode_leaf(entry.leaf).identifier
    found = open_value(key, decode_sealed(one.value), record=record, pointer=one.pointer)
    assert (one.pointer, found) == (APPROVER, json.dumps(NAME).encode())


def test_keys_are_for_their_owner_alone(segment: SqliteSegment) -> None:
    accept(segment, [event()])
    folder = segment.personal.files.folder
    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_event_delivered_again_is_a_duplicate_though_its_kept_form_differs(
    segment: SqliteSegment,
) -> None:
    assert accept(segment, [event()]).accepted == 1
    assert accept(segment, [event()]).duplicates == 1
    erase_alice(segment)
    assert accept(segment, [event()]).duplicates == 1


def test_a_store_with_personal_values_verifies_and_discloses_them_sealed(
    segment: SqliteSegment,
) -> None:
    accept(segment, [event(1), event(2, subject="carol")])
    report = verify(segment)
    assert report.failures == []
    assert (report.payloads, report.erased) == (5, 0)
    fields, _ = disclosed_fields(segment, 3)
    pointers = [one.pointer for one in fields]
    assert pointers == [
        "",
        "/run/facets/approver",
        APPROVER,
        "/run/facets/approver/people/1/name",
        "/run/facets/note",
    ]
    assert NAME.encode() not in b"".join(one.value or b"" for one in fields)


def test_an_erased_subject_is_gone_and_every_proof_stays(segment: SqliteSegment) -> None:
    accept(segment, [event(1), event(2)])
    head = segment.checkpoint()
    position = erase_alice(segment)
    people = opened(segment, last_event(segment))["run"]["facets"]["approver"]["people"]
    assert [one["name"] for one in people] == [None, 1.5]
    assert segment.root_at(head.size) == head.root_hash
    report = verify(segment)
    assert report.failures == []
    assert report.erasures == [
        {"at": f"entry {entry}", "pointer": APPROVER, "erased_by": position} for entry in (3, 4)
    ]
    field = disclosed_fields(segment, 3).fields[2]
    assert (field.pointer, field.erased_by) == (APPROVER, position)
    assert field.commitment


def test_a_destroyed_key_is_in_no_file(segment: SqliteSegment, path: Path) -> None:
    accept(segment, [event()])
    record = find_subject(segment, "alice")
    (key_id,) = record.keys
    key = segment.personal.files.find(key_id)
    assert key is not None
    erase_alice(segment)
    assert key_id not in segment.personal.files.list_ids()
    for file in path.parent.rglob("*"):
        if file.is_file():
            assert key not in file.read_bytes()
            assert key.hex().encode() not in file.read_bytes()


def test_the_graph_is_the_same_with_values_sealed_and_erased(segment: SqliteSegment) -> None:
    accept(segment, [event(1), event(2)])
    before = graph_state(segment).graph_digest
    erase_alice(segment)
    accept(segment, [])
    assert graph_state(segment).graph_digest == before
    rebuild(segment)
    assert graph_state(segment).graph_digest == before


def test_an_older_event_of_an_erased_subject_is_redacted_when_it_arrives(
    segment: SqliteSegment, path: Path
) -> None:
    accept(segment, [event(1)])
    position = erase_alice(segment)
    accept(segment, [event(2)])
    late = last_event(segment)
    assert name_in(segment, late) is None
    with segment.reading() as connection:
        sealed = read_sealed(connection, late)[0]
    assert (sealed.key_id, sealed.value) == (None, b'{"erased_by":"%d"}' % position)
    assert len(segment.personal.files.list_ids()) == 1
    assert NAME.encode() not in stored_bytes(path)
    assert verify(segment).failures == []


def test_a_subject_that_comes_back_gets_a_new_key(segment: SqliteSegment) -> None:
    accept(segment, [event(1)])
    (old,) = find_subject(segment, "alice").keys
    erase_alice(segment)
    accept(segment, [event(2, time="2099-01-01")])
    record = find_subject(segment, "alice")
    assert len(record.keys) == 2
    assert record.keys[old] is not None
    assert name_in(segment, last_event(segment)) == NAME
    erase_alice(segment)
    assert name_in(segment, last_event(segment)) is None
    assert verify(segment).failures == []


def test_a_value_without_a_subject_is_its_own_subject(segment: SqliteSegment, path: Path) -> None:
    job = {"namespace": "n", "name": "j", "facets": {"ownership": {"owners": [{"name": OTHER}]}}}
    accept(segment, [event(job=job)])
    assert OTHER.encode() not in stored_bytes(path)
    record = find_subject(segment, OTHER)
    assert list(record.fields) == [(last_event(segment), "/job/facets/ownership/owners/0/name")]
    answer = ask(segment, "show", {"id": "job:n:j"})
    assert [owner["name"] for owner in answer["owners"]] == [OTHER]
    by = erase_alice(segment, OTHER)
    answer = ask(segment, "show", {"id": "job:n:j"})
    assert answer["owners"] == []
    (gap,) = answer["gaps"]
    assert (gap["at"], gap["reason"]) == ("job:n:j", "erased")
    assert f"by entry {by}" in gap["detail"]


def test_an_erasure_that_a_crash_left_undone_is_done_when_the_store_is_opened(
    segment: SqliteSegment, path: Path
) -> None:
    accept(segment, [event()])
    record = find_subject(segment, "alice")
    (key_id,) = record.keys
    logged = {"entries": [], "subjects": [record.digest], "keys": [key_id]}
    segment.append_record("erasure", logged)
    # Logged and no more: what is still there is not opened any longer.
    assert name_in(segment, 3) is None
    assert key_id in segment.personal.files.list_ids()
    with open_segment(f"sqlite:///{path}") as again:
        assert key_id not in again.personal.files.list_ids()
        assert verify(again).failures == []


def test_a_swapped_key_is_detected(segment: SqliteSegment, path: Path) -> None:
    accept(segment, [event()])
    alice, bob = (segment.personal.files.path(one) for one in segment.personal.files.list_ids())
    alice.write_bytes(bob.read_bytes())
    with open_segment(f"sqlite:///{path}") as again:
        (failure,) = verify(again).failures
        assert (failure.code, failure.at) == ("key.mismatch", str(alice))


def test_a_lost_key_is_missing_evidence_and_new_events_still_come_in(
    segment: SqliteSegment, path: Path
) -> None:
    accept(segment, [event(1)])
    (key_id,) = find_subject(segment, "alice").keys
    segment.personal.files.path(key_id).unlink()
    with open_segment(f"sqlite:///{path}") as again:
        report = verify(again)
        assert [failure.code for failure in report.failures] == ["key.missing"]
        assert report.only_missing
        accept(again, [event(2)])
        people = opened(again, last_event(again))["run"]["facets"]["approver"]["people"]
        assert people[0]["name"] == NAME
        assert len(find_subject(again, "alice").keys) == 2


def test_a_destroyed_key_that_came_back_is_detected_unused_and_destroyed_again(
    segment: SqliteSegment, path: Path
) -> None:
    accept(segment, [event()])
    (key_id,) = find_subject(segment, "alice").keys
    file = segment.personal.files.path(key_id)
    backup = file.read_bytes()
    erase_alice(segment)
    file.write_bytes(backup)
    with open_segment(f"sqlite:///{path}") as again:
        assert name_in(again, 3) is None
        assert [failure.code for failure in verify(again).failures] == ["key.erased"]
        apply_erasures(again, again=True)
        assert verify(again).failures == []
    assert not file.exists()


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE sealed_value SET value = replace(value, 'a', 'b')", "payload"),
        (
            "UPDATE sealed_value SET pointer = '/run/facets/other' WHERE pointer LIKE '%/1/%'",
            "payload",
        ),
        ("DELETE FROM sealed_value WHERE pointer LIKE '%/0/%'", "payload"),
        ("UPDATE sealed_value SET position = 99 WHERE pointer LIKE '%/0/%'", "stray"),
        ('UPDATE sealed_value SET value = \'{"erased_by":"1"}\', key_id = NULL', "payload"),
    ],
)
def test_a_changed_or_removed_sealed_value_is_found(
    segment: SqliteSegment, statement: str, code: str
) -> None:
    accept(segment, [event()])
    with segment.writing() as connection:
        connection.execute("DROP TRIGGER sealed_value_refuses_update")
        connection.execute("DROP TRIGGER sealed_value_refuses_delete")
        connection.execute(statement)
    assert code in {failure.code for failure in verify(segment).failures}


def test_sealed_values_and_certified_keys_refuse_to_be_changed(segment: SqliteSegment) -> None:
    accept(segment, [event()])
    for statement in (
        "DELETE FROM sealed_value",
        "UPDATE sealed_value SET value = 'x'",
        "DELETE FROM subject_key",
        "UPDATE subject_key SET hash = 'x'",
    ):
        with pytest.raises(LodelineError), segment.writing() as connection:
            connection.execute(statement)


def test_one_facet_goes_and_the_others_still_prove(segment: SqliteSegment, path: Path) -> None:
    text = "only in the clear 9c11" * 50
    job = {"namespace": "n", "name": "j", "facets": {"doc": {"d": text}}}
    accept(segment, [event(1), event(2, job=job)])
    assert text.encode() in stored_bytes(path)
    before = {one.pointer: one for one in disclosed_fields(segment, 4).fields}
    position = erase(segment, fields={4: ["/job/facets/doc"]})
    assert text.encode() not in stored_bytes(path)
    assert payload(segment, 4)["job"]["facets"] == {"doc": None}
    after = {one.pointer: one for one in disclosed_fields(segment, 4).fields}
    gone = after.pop("/job/facets/doc")
    assert gone == before.pop("/job/facets/doc")._replace(salt=None, value=None, erased_by=position)
    assert after == before
    with segment.reading() as connection:
        found = connection.execute("SELECT 1 FROM record_secret WHERE position = 4").fetchone()
    assert found is None
    report = verify(segment)
    assert report.failures == []
    assert report.erasures == [
        {"at": "entry 4", "pointer": "/job/facets/doc", "erased_by": position}
    ]
    # Another field of the same entry, and a sealed one, can go later.
    erase(segment, fields={4: ["/run/facets/note", APPROVER]})
    assert verify(segment).failures == []
    assert {one.pointer for one in disclosed_fields(segment, 4).fields if one.salt is None} == {
        "/job/facets/doc",
        "/run/facets/note",
        APPROVER,
    }


def test_a_whole_payload_goes_and_its_leaf_stays(segment: SqliteSegment, path: Path) -> None:
    text = "a whole event 51aa" * 300
    accept(segment, [event(1), event(2, extra=text)])
    position = erase(segment, entries=[4])
    assert text.encode() not in stored_bytes(path)
    assert disclosed_fields(segment, 4) == ([], position)
    report = verify(segment)
    assert report.failures == []
    assert report.erasures == [{"at": "entry 4", "pointer": None, "erased_by": position}]
    assert accept(segment, [event(2, extra=text)]).duplicates == 1
    answer = ask(segment, "trace", {"id": "dataset:n:b"})
    assert not answer["complete"]
    assert "erased" in {gap["reason"] for gap in answer["gaps"]}


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE field_salt SET salt = NULL WHERE pointer = '/run/facets/note'", "salt.missing"),
        ("UPDATE field_salt SET salt = zeroblob(32) WHERE pointer = ''", "payload"),
        ("UPDATE field_salt SET commitment = zeroblob(32) WHERE salt IS NULL", "payload"),
        ("DELETE FROM field_salt WHERE pointer = '/run/facets/note'", "payload"),
    ],
)
def test_what_is_left_of_a_partly_erased_entry_is_still_guarded(
    segment: SqliteSegment, statement: str, code: str
) -> None:
    accept(segment, [event(1)])
    erase(segment, fields={3: ["/run/facets/approver"]})
    assert verify(segment).failures == []
    with segment.writing() as connection:
        connection.execute(statement)
    assert code in {failure.code for failure in verify(segment).failures}


def test_an_unlogged_removal_of_a_secret_is_a_fault(segment: SqliteSegment) -> None:
    accept(segment, [event(1)])
    with segment.writing() as connection:
        connection.execute("DROP TRIGGER record_secret_refuses_delete")
        connection.execute("DELETE FROM record_secret WHERE position = 3")
    assert [failure.code for failure in verify(segment).failures] == ["secret.missing"]


@pytest.mark.parametrize("pointer", ["", "/run", "/run/facets/absent", "/eventTime"])
def test_only_committed_fields_can_be_erased_alone(segment: SqliteSegment, pointer: str) -> None:
    accept(segment, [event(1)])
    with pytest.raises(UsageError):
        erase(segment, fields={3: [pointer]})
    assert segment.size() == 4


def test_what_the_log_says_of_itself_cannot_be_erased(segment: SqliteSegment) -> None:
    with pytest.raises(UsageError):
        erase(segment, entries=[0])


def test_undeclared_mentions_are_found_and_go_with_their_facets(
    segment: SqliteSegment, path: Path
) -> None:
    facets = {"comment": {"text": f"asked {NAME}"}, "other": {"x": 1}}
    accept(segment, [event(1, job={"namespace": "n", "name": "j", "facets": facets})])
    accept(segment, [b'{"eventTime": "' + NAME.encode() + b'"}'])
    record = find_subject(segment, NAME)
    assert record.undeclared == {3: ["/job/facets/comment"]}
    assert len(record.dead_letters) == 1
    erase_subject(segment, record, undeclared=True)
    assert NAME.encode() not in stored_bytes(path)
    assert verify(segment).failures == []
    left = find_subject(segment, NAME)
    assert (left.undeclared, left.dead_letters) == ({}, [])


def test_a_subject_gets_its_values_handed_out(segment: SqliteSegment) -> None:
    accept(segment, [event(1), event(2)])
    values = list(iter_values(segment, find_subject(segment, "alice")))
    found = [(one["entry"], one["pointer"], one["value"]) for one in values]
    assert (3, APPROVER, NAME) in found
    assert (4, APPROVER, NAME) in found
    assert find_subject(segment, "nobody").known is False


def test_a_malformed_declaration_stops_appending(path: Path) -> None:
    path.with_name("s.db.personal.toml").write_text('[[rules]]\npointer = "/run/runId"\n')
    segment = open_segment(f"sqlite:///{path}")
    with pytest.raises(UsageError):
        accept(segment, [event()])
    assert segment.size() == 2
    segment.close()


def test_an_annotated_schema_declares(path: Path) -> None:
    schema = {
        "$id": "https://example.com/ApproverFacet.json",
        "$defs": {
            "ApproverFacet": {
                "allOf": [
                    {"properties": {"people": {"items": {"$ref": "#/$defs/Person"}}}},
                ]
            },
            "Person": {"properties": {"mail": {"x-personal": {"subject": "/people/*/id"}}}},
        },
    }
    path.with_name("facet.json").write_text(json.dumps(schema))
    path.with_name("s.db.personal.toml").write_text('schemas = ["facet.json"]')
    facet = {
        "_schemaURL": "https://example.com/ApproverFacet.json#/$defs/ApproverFacet",
        "people": [{"mail": "dora@example.com", "id": "dora"}],
    }
    segment = open_segment(f"sqlite:///{path}")
    accept(segment, [event(job={"namespace": "n", "name": "j", "facets": {"a": facet}})])
    assert b"dora@example.com" not in stored_bytes(path)
    assert list(find_subject(segment, "dora").fields) == [(3, "/job/facets/a/people/0/mail")]
    segment.close()


def test_an_event_labels_its_own_values_without_any_rule(tmp_path: Path) -> None:
    labels = [{"pointer": "/mail", "subject": "/id"}]
    facet = {"mail": "dora@example.com", "id": "d", "lodeline_personal": labels}
    broken = {"text": "erin@example.com", "lodeline_personal": "what?"}
    facets = {"a": facet, "b": broken}
    segment = open_segment(f"sqlite:///{tmp_path}/s.db")
    accept(segment, [event(job={"namespace": "n", "name": "j", "facets": facets})])
    kept = payload(segment, 3)["job"]["facets"]
    assert kept == {"a": {**facet, "mail": None}, "b": None}
    assert list(find_subject(segment, "d").fields) == [(3, "/job/facets/a/mail")]
    assert opened(segment, 3)["job"]["facets"] == facets
    assert verify(segment).failures == []
    segment.close()


@pytest.mark.parametrize(
    "name", sorted(DATASET_FACETS | JOB_FACETS | RUN_FACETS | {"ownership", "tags", "sql"})
)
def test_an_erased_facet_leaves_a_graph_that_a_rebuild_repeats(
    segment: SqliteSegment, name: str
) -> None:
    facets = {name: {"text": "no such facet"}}
    dataset = {"namespace": "n", "name": "b", "facets": facets}
    job = {"namespace": "n", "name": "j", "facets": facets}
    accept(segment, [event(1, job=job, outputs=[dataset]), event(2)])
    erase(segment, fields={3: [f"/job/facets/{name}", f"/outputs/0/facets/{name}"]})
    fold_pending(segment)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live
    answer = ask(segment, "trace", {"id": "dataset:n:b"})
    assert "dataset:n:a" in {node["id"] for node in answer["nodes"]}
    if name in DATASET_FACETS | JOB_FACETS | RUN_FACETS:
        assert not answer["complete"]
    shown = ask(segment, "show", {"id": "dataset:n:b"})
    assert name not in shown["facets"]


def test_another_process_that_has_the_store_open_sees_the_erasure_at_once(
    segment: SqliteSegment, path: Path
) -> None:
    job = {"namespace": "n", "name": "j", "facets": {"ownership": {"owners": [{"name": OTHER}]}}}
    accept(segment, [event(1, job=job)])
    with open_segment(f"sqlite:///{path}") as other:
        assert ask(other, "show", {"id": "job:n:j"})["owners"]
        accept(other, [event(2)])
        erase_alice(segment, OTHER)
        assert ask(other, "show", {"id": "job:n:j"})["owners"] == []
        # An older event that comes in there is redacted as well.
        accept(other, [event(3, job=job)])
        ((_, found),) = other.iter_opened(last_event(other))
        assert OTHER.encode() not in found.payload
        # Views that were made of an erased facet are made anew.
        erase(segment, fields={last_event(other): ["/run/facets/note"]})
        fold_pending(other)
        before = graph_state(other).graph_digest
        rebuild(other)
        assert graph_state(other).graph_digest == before


def test_many_new_subjects_at_once_get_a_key_each(segment: SqliteSegment) -> None:
    people = [{"name": f"name {i}", "id": f"id {i}"} for i in range(100)]
    run = {"runId": "00000000-0000-4000-8000-000000000009"}
    accept(segment, [event(run={**run, "facets": {"approver": {"people": people}}})])
    assert len(segment.personal.files.list_ids()) == 100
    assert verify(segment).failures == []

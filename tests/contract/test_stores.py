"""SQLite and PostgreSQL keep the same word: one suite, every store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from histories import LOG_TIME_US, histories, raw
from lodeline import wire
from lodeline.errors import (
    InvalidEventError,
    KeyMissingError,
    LodelineError,
    StoreCorruptError,
    StoreUnreachableError,
    UnknownBlobError,
    UnknownDeadLetterError,
    UnknownPositionError,
)
from lodeline.evidence import build_pack
from lodeline.fold import Entry, fold
from lodeline.fold.evidence import verify_pack
from lodeline.ingest import accept, fold_pending, graph_state, rebuild
from lodeline.ingest.mapping import publish_map
from lodeline.ingest.predictions import accept_predictions, find_prediction, rebuild_predictions
from lodeline.limits import NAME_BYTES_MAX
from lodeline.model import PredictionId
from lodeline.proof import (
    CompactRange,
    hash_leaf,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
    verify_receipt,
)
from lodeline.query import ask
from lodeline.query.search_index import catch_up
from lodeline.rows.steps import fold_steps
from lodeline.store import AcceptedEvent, SqlSegment, open_segment
from lodeline.store.api_keys import create_api_key, list_api_keys
from lodeline.store.erasing import erase
from lodeline.store.graph_tables import drop_graph_tables
from lodeline.store.prediction_blobs import verify_blob
from lodeline.store.prediction_tables import create_prediction_tables
from lodeline.store.row_tables import create_row_tables
from lodeline.store.stream_tables import create_stream_tables
from lodeline.store.subject_records import erase_subject, find_subject, iter_values
from lodeline.store.tables import ADDED_IN_2, FORMAT_VERSION, SCHEMA
from lodeline.store.verification import verify_segment
from stores import Place

EVENTS = Path(__file__).parents[1] / "fixtures" / "events"
NAME = "Zoë Größe 4f1b"
RULES = """
[[rules]]
pointer = "/run/facets/approver/people/*/name"
subject = "/run/facets/approver/people/*/id"
"""


def bare(number: int) -> AcceptedEvent:
    canonical = b'{"number":%d}' % number
    return AcceptedEvent(canonical, [("", canonical)])


def event(number: int, source: str = "a", target: str = "b", **more: Any) -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-{number % 28 + 1:02d}T00:00:00Z",
        "producer": "https://example.com",
        "run": {
            "runId": f"00000000-0000-4000-8000-{number:012x}",
            "facets": {
                "approver": {"people": [{"name": NAME, "id": "zoë"}]},
                "note": {"text": f"note {number}"},
            },
        },
        "job": {"namespace": "n", "name": f"to_{target[:20]}"},
        "inputs": [{"namespace": "n", "name": source}],
        "outputs": [{"namespace": "n", "name": target}],
    }
    return json.dumps(body | more).encode()


def recorded() -> list[bytes]:
    """What Airflow, dbt and Dagster sent."""
    found = []
    for path in sorted(EVENTS.glob("**/*.jsonl")):
        for line in path.read_text().splitlines():
            stated = json.loads(line)
            wrapped = "body" in stated and "path" in stated
            found.append(json.dumps(stated["body"] if wrapped else stated).encode())
    return found


@pytest.fixture
def segment(place: Place) -> Iterator[SqlSegment]:
    with place.open() as opened:
        yield opened


def declare(place: Place) -> None:
    place.path.with_name(place.path.name + ".personal.toml").write_text(RULES)


def assert_sound(segment: SqlSegment) -> None:
    assert verify_segment(segment, block_root=verify_blob).failures == []
    fold_pending(segment)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


# The log


def test_a_log_is_one_tree_that_every_checkpoint_signs(segment: SqlSegment) -> None:
    for start in range(0, 600, 200):
        segment.append([bare(number) for number in range(start, start + 200)])
    tree = CompactRange()
    roots = {}
    for entry in segment.iter_entries():
        tree.append(hash_leaf(entry.leaf))
        roots[entry.position + 1] = tree.root()
    assert [one.size for one in segment.iter_checkpoints()] == [2, 202, 402, 602]
    for one in segment.iter_checkpoints():
        head = verify_checkpoint(one.note, segment.verifiers(), origin=segment.origin)
        assert (head.size, head.root_hash) == (one.size, roots[one.size])
    leaf = hash_leaf(segment.read_leaves(300, 301)[0])
    verify_inclusion(
        leaf, segment.inclusion_path(300, 602), leaf_index=300, tree_size=602, root=roots[602]
    )
    verify_consistency(
        segment.consistency_path(202, 602),
        size_earlier=202, size_later=602, root_earlier=roots[202], root_later=roots[602],
    )  # fmt: skip
    with pytest.raises(UnknownPositionError):
        segment.receipt(602)
    assert segment.checkpoint_at(0) is None
    assert verify_segment(segment).failures == []


def test_an_event_delivered_twice_has_one_entry_and_one_receipt(segment: SqlSegment) -> None:
    first, again, other = segment.append([bare(1), bare(1), bare(2)])
    assert (first.position, first.duplicate) == (2, False)
    assert (again.position, again.duplicate) == (2, True)
    (later,) = segment.append([bare(2)])
    assert (later.position, later.duplicate) == (other.position, True)
    assert later.receipt == other.receipt == segment.receipt(other.position)
    receipt = verify_receipt(first.receipt, segment.verifiers("receipt"))
    assert receipt.leaf_hashes == (hash_leaf(segment.read_leaves(2, 3)[0]),)
    assert segment.size() == 4


def test_the_same_events_make_the_same_log_and_graph_byte_for_byte_in_every_store(
    place: Place, tmp_path: Path
) -> None:
    said = [event(n, f"d{n % 7}", f"d{n % 5 + 7}") for n in range(40)]
    found = []
    for one in (place, Place("sqlite", tmp_path / "reference")):
        declare_in = one.path.with_name(one.path.name + ".personal.toml")
        declare_in.parent.mkdir(exist_ok=True)
        declare_in.write_text(RULES)
        with one.open(clock_us=lambda: LOG_TIME_US, seed=7) as segment:
            result = accept(segment, [*said, said[3], b"{"])
            assert (result.accepted, result.duplicates, result.refused) == (40, 1, 1)
            publish_map(segment, force=True)
            leaves = segment.read_leaves(0, segment.size())
            note = segment.checkpoint().note
            found.append((leaves, note, segment.receipt(5), graph_state(segment)))
    assert found[0] == found[1]


def test_concurrent_calls_share_commits_and_lose_nothing(segment: SqlSegment) -> None:
    found: dict[int, int] = {}

    def append(first: int) -> None:
        for number in range(first, first + 20):
            found[number] = segment.append([bare(number)])[0].position

    threads = [threading.Thread(target=append, args=(20 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found.values()) == list(range(2, 162))
    for entry in segment.iter_entries(2):
        assert found[json.loads(entry.payload or b"")["number"]] == entry.position


def test_walking_by_kind_gives_only_those_and_equal_records_are_appended_again(
    segment: SqlSegment,
) -> None:
    segment.append([bare(number) for number in range(1100)])
    for _ in range(2):
        segment.append_record("alias", {"model": "m", "number": "7"})
    assert [entry.position for entry in segment.iter_entries(kinds={"alias"})] == [1102, 1103]
    assert sum(1 for _ in segment.iter_entries(5, 1099, kinds={"event", "fold"})) == 1094


def test_rotated_keys_sign_and_retired_ones_no_more(segment: SqlSegment) -> None:
    before = segment.append([bare(1)])[0].receipt
    segment.rotate_keys()
    segment.append([bare(2)])
    segment.retire_keys()
    segment.append([bare(3)])
    verify_receipt(before, segment.verifiers("receipt"))
    assert len(segment.verifiers()) == 2
    assert verify_segment(segment).failures == []


def test_without_its_keys_a_store_reads_but_does_not_append(place: Place) -> None:
    with place.open() as segment:
        segment.append([bare(1)])
    for file in place.path.with_name(place.path.name + ".keys").glob("*.key"):
        file.rename(file.with_suffix(".away"))
    with place.open(create=False) as segment:
        assert segment.size() == 3
        with pytest.raises(KeyMissingError):
            segment.append([bare(2)])
        assert segment.size() == 3


def test_where_nothing_is_no_store_is_made_unasked(place: Place) -> None:
    with pytest.raises(StoreUnreachableError):
        open_segment(place.url, create=False)
    open_segment(place.url).close()
    with open_segment(place.url, create=False) as segment:
        assert segment.size() == 2


# What guards it

_CHANGES = [
    "UPDATE entry SET log_time = 0 WHERE position = 2",
    "DELETE FROM entry WHERE position = 2",
    "UPDATE event_id SET position = 0",
    "DELETE FROM event_id",
    "UPDATE checkpoint SET note = ''",
    "DELETE FROM checkpoint",
    "UPDATE payload SET payload = payload WHERE position = 2",
    "DELETE FROM payload WHERE position = 2",
    "UPDATE record_secret SET secret = secret",
    "DELETE FROM record_secret",
    "DELETE FROM tile",
    "UPDATE subject_key SET hash = ''",
    "DELETE FROM sealed_value",
    "UPDATE sealed_value SET key_id = ''",
    "INSERT INTO entry SELECT * FROM entry WHERE position = 2",
]


def test_the_database_itself_refuses_to_change_the_log(place: Place) -> None:
    declare(place)
    with place.open() as segment:
        accept(segment, [event(n) for n in range(260)])
        for statement in _CHANGES:
            with pytest.raises(Exception, match=r"append-only|no logged erasure|duplicate key"):
                place.tamper(statement)
            with pytest.raises(LodelineError), segment.writing() as connection:
                connection.execute(statement)
        assert verify_segment(segment).failures == []


def test_what_is_changed_behind_the_guards_is_found(place: Place) -> None:
    with place.open() as segment:
        accept(segment, [event(n) for n in range(3)])
        assert verify_segment(segment).failures == []
    off = "DROP TRIGGER payload_refuses_update"
    blob = "x'7b7d'" if place.kind == "sqlite" else "'\\x7b7d'"
    place.tamper(
        off if place.kind == "sqlite" else f"{off} ON payload",
        f"UPDATE payload SET payload = {blob} WHERE position = 3",
    )
    with place.open() as segment:
        (failure,) = verify_segment(segment).failures
        assert (failure.code, failure.at) == ("payload", "entry 3")


def test_a_reader_sees_one_state_and_cannot_write(segment: SqlSegment) -> None:
    accept(segment, [event(1)])
    with pytest.raises(StoreUnreachableError), segment.reading() as connection:
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
    with segment.reading() as connection:
        before = connection.execute("SELECT count(*) FROM entry").fetchone()
        segment.append([bare(1)])
        assert connection.execute("SELECT count(*) FROM entry").fetchone() == before


def test_a_block_that_raises_writes_nothing(segment: SqlSegment) -> None:
    with pytest.raises(ZeroDivisionError), segment.writing() as connection:
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
        _ = 1 / 0
    with segment.reading() as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM meta ORDER BY name")]
    assert names == ["format_version", "origin", "segment"]


def test_readers_of_a_view_that_is_made_anew_see_the_old_one_or_the_new_one(
    segment: SqlSegment,
) -> None:
    accept(segment, [event(1, "a", "b")])
    counts: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with segment.reading() as connection:
                (folded,) = connection.execute("SELECT folded_to FROM fold_state").fetchone()
                (nodes,) = connection.execute("SELECT count(*) FROM node").fetchone()
                counts.append(nodes if folded else -1)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(4):
        rebuild(segment)
    done.set()
    for reader in readers:
        reader.join()
    # A view under way says so itself; whole ones have every node.
    assert len(set(counts) - {-1}) == 1


# Beside the log


def test_blobs_come_back_whole_or_not_at_all(place: Place) -> None:
    with place.open() as segment:
        digest = segment.put_blob(b"rows")
        assert segment.put_blob(b"rows") == digest == "sha256:" + sha256(b"rows").hexdigest()
        assert segment.get_blob(digest) == b"rows"
        assert segment.blobs.list_digests() == [digest]
        for unknown in ("sha256:" + "0" * 64, "sha256:../../etc", ""):
            with pytest.raises(UnknownBlobError):
                segment.get_blob(unknown)
        if place.kind == "sqlite":
            (file,) = place.path.with_name(place.path.name + ".blobs").glob("??/*")
            file.write_bytes(b"Rows")
        else:
            place.tamper("UPDATE blob SET data = 'Rows'")
        with pytest.raises(StoreCorruptError):
            segment.get_blob(digest)


def test_the_same_refused_bytes_are_one_dead_letter(segment: SqlSegment) -> None:
    error = InvalidEventError("event.type", "/run/\ud800", "must be a string")
    first = segment.add_dead_letter(b"{\0}", error, source="a.jsonl:1")
    again = segment.add_dead_letter(b"{\0}", error, source="a.jsonl:1")
    assert (first.letter_id, again.times) == (again.letter_id, 2)
    (letter,) = segment.iter_dead_letters()
    assert (letter.kept, letter.code, letter.path) == (True, "event.type", "/run/\\ud800")
    assert segment.dead_letter_bytes(letter.letter_id) == b"{\0}"
    assert segment.count_dead_letters() == 1
    segment.resolve_dead_letter(letter.letter_id)
    with pytest.raises(UnknownDeadLetterError):
        segment.dead_letter_bytes(letter.letter_id)
    assert segment.add_dead_letter(b"{\0}", error).times == 3


def test_an_erased_subject_is_gone_and_every_proof_stays(place: Place) -> None:
    declare(place)
    with place.open() as segment:
        accept(segment, [event(1, "a", "b"), event(2, "b", "c")])
        record = find_subject(segment, "zoë")
        assert [one["value"] for one in iter_values(segment, record)].count(NAME) == 2
        assert erase_subject(segment, record) is not None
        left = [one["value"] for one in iter_values(segment, find_subject(segment, "zoë"))]
        assert NAME not in left
        erase(segment, fields={2 + 1: ["/run/facets/note"]})
        events = [entry.position for entry in segment.iter_entries(kinds={"event"})]
        erase(segment, entries=[events[1]])
        assert_sound(segment)
        files = build_pack(segment, {"id": "dataset:n:b"})
        assert verify_pack(files).ok


def test_undeclared_text_of_a_subject_is_found(segment: SqlSegment) -> None:
    accept(segment, [event(1), b'{"zo\xc3\xab"'])
    record = find_subject(segment, "zoë")
    assert list(record.undeclared) == [2]
    assert len(record.dead_letters) == 1
    erase_subject(segment, record, undeclared=True)
    assert_sound(segment)
    assert find_subject(segment, "zoë").undeclared == {}
    assert segment.count_dead_letters() == 0


def test_keys_of_callers_are_kept(segment: SqlSegment) -> None:
    key, _ = create_api_key(segment, name="one", scopes=["read"], now_us=5, expires_us=None)
    assert list_api_keys(segment) == [key]


# The graph


def answers_of(segment: SqlSegment) -> dict[str, Any]:
    """Every verb's answer about every node, and about times past."""
    with segment.reading() as connection:
        rows = connection.execute("SELECT kind, namespace, name FROM node").fetchall()
        (size,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    kinds = {"dataset": 6, "job": 4}
    ids = []
    for kind, count in kinds.items():
        names = sorted({(ns, name) for k, ns, name in rows if k == kind})
        ids += [f"{kind}:{ns}:{name}" for ns, name in names[:count]]
    questions: list[tuple[str, dict[str, Any]]] = [("stats", {}), ("search", {"q": "O"})]
    questions += [("diff", {"since": size // 2, "columns": columns}) for columns in (False, True)]
    questions += [("search", {"q": word}) for word in ("orders", "DBT", "é", "100%", "_")]
    for one in ids:
        questions += [
            ("trace", {"id": one}),
            ("trace", {"id": one, "direction": "both", "columns": True}),
            ("trace", {"id": one, "as_of": size // 2}),
            ("trace", {"id": one, "valid_at": "2026-01-09T00:00:00Z"}),
            ("impact", {"id": one}),
            ("show", {"id": one}),
            ("diff", {"a": one, "b": one}),
        ]
        questions += [("path", {"a": one, "b": other}) for other in ids[:2]]
    found = {}
    for verb, parameters in questions:
        try:
            answer = ask(segment, verb, parameters)
        except LodelineError as error:
            found[f"{verb} {parameters}"] = (type(error).__name__, error.code)
            continue
        found[f"{verb} {parameters}"] = answer
    return found


def test_every_question_has_the_same_answer_in_every_store(place: Place, tmp_path: Path) -> None:
    said = recorded()[:60] + [
        event(n, source, target, **more)
        for n, (source, target, more) in enumerate(
            [
                ("Éa", "zb", {}),
                ("zb", "Zc", {"eventType": "FAIL"}),
                ("Zc", "éd", {"job": {"namespace": "N", "name": "100%_é"}}),
                ("éd", "100%_x", {"eventTime": "2099-01-01T00:00:00Z"}),
            ]
        )
    ]
    found = []
    for one in (place, Place("sqlite", tmp_path / "reference")):
        with one.open(clock_us=lambda: LOG_TIME_US, seed=7) as segment:
            accept(segment, said)
            found.append(answers_of(segment))
    assert found[0].keys() == found[1].keys()
    for question, answer in found[1].items():
        assert found[0][question] == answer, question
    assert sum(isinstance(answer, dict) for answer in found[1].values()) > 50


@given(history=histories)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_graph_is_that_of_the_fold_whatever_the_batches(
    place: Place, tmp_path_factory: pytest.TempPathFactory, history: Sequence[dict[str, Any]]
) -> None:
    mine = Place(place.kind, tmp_path_factory.mktemp("history"), place.server)
    try:
        with mine.open(clock_us=lambda: LOG_TIME_US) as segment:
            half = len(history) // 2
            accept(segment, [raw(one) for one in history[:half]])
        with mine.open(clock_us=lambda: LOG_TIME_US) as segment:
            accept(segment, [raw(one) for one in history[half:]])
            entries = [
                Entry(
                    stored.position,
                    stored.log_time_us,
                    wire.decode_event(stored.payload),
                    wire.content_digest(stored.payload),
                )
                for stored in segment.iter_entries(kinds=["event"])
                if stored.payload is not None
            ]
            assert graph_state(segment).graph_digest == fold(entries).digest()
    finally:
        mine.drop()


def test_names_as_long_as_the_bound_allows_are_kept_and_found(segment: SqlSegment) -> None:
    # No two bytes alike in a row, so that nothing can be compressed away.
    long = "".join(sha256(str(n).encode()).hexdigest() for n in range(NAME_BYTES_MAX // 64))
    assert len(long) == NAME_BYTES_MAX
    fields = {"schema": {"_producer": "https://e.org", "_schemaURL": "https://e.org/s",
        "fields": [{"name": long[:4000], "type": "int"}]}}  # fmt: skip
    output = {"namespace": long, "name": long[::-1], "facets": fields}
    version = {"version": {"_producer": "https://e.org", "_schemaURL": "https://e.org/s",
        "datasetVersion": long[1:]}}  # fmt: skip
    said = [
        event(1, outputs=[output]),
        event(2, outputs=[output | {"facets": {**fields, **version}}]),
        event(3, inputs=[output], target="end"),
    ]
    assert accept(segment, said).refused == 0
    answer = ask(segment, "trace", {"id": "dataset:n:end"})
    assert any(node["namespace"] == long for node in answer["nodes"])
    assert_sound(segment)


def test_predictions_are_found_and_rebuilt(segment: SqlSegment) -> None:
    block, start = 0x12345678AB, 1_700_000_000_000_000
    names = [str(PredictionId((start + n * 1000) * 4096 // 1000, block, n)) for n in range(3)]
    deployment = {"namespace": "p", "name": "api", "digest": "sha256:" + "d" * 64}
    model = {"namespace": "m", "name": "late", "version": "sha256:" + "e" * 64}
    shared = {"block": f"{block:010x}"}
    records = [
        {"type": "reservation", "time": start, "writer": "w", "deployment": deployment,
            "model": model, **shared},
        {"type": "predictions", "rows": [{"id": n, "time": 0, "status": 200} for n in names],
            **shared},
        {"type": "end", "next": 3, "clean": True, **shared},
    ]  # fmt: skip
    assert accept_predictions(segment, records) == [None, None, None]
    for _ in range(2):
        found = find_prediction(segment, names[1])
        assert found.status == "record"
        assert found.block is not None
        assert (found.block.ended, found.block.ended_clean) == (True, True)
        rebuild_predictions(segment)
    assert_sound(segment)
    assert ask(segment, "show", {"id": f"prediction:{names[1]}"})["deployment"]


# Columns of texts with a bound far below what an index entry of PostgreSQL holds.
SHORT = {"kind", "key_id", "run_id", "parent_run", "vkey", "facet", "word", "source", "output_kind"}
SHORT |= {
    "prediction_id",
    "trace_id",
    "meta.name",
    "search_key.name",
    "row_block.form",
    "row_block_size.form",
}


@pytest.mark.parametrize("place", ["postgres18"], indirect=True)
def test_no_index_holds_texts_that_may_be_longer_than_its_entries(segment: SqlSegment) -> None:
    accept(segment, [event(1)])
    ask(segment, "search", {"q": "a"})
    catch_up(segment, seconds=10)
    accept_predictions(segment, [])
    fold_steps(segment)
    with segment.writing() as connection:
        create_row_tables(connection)
        create_prediction_tables(connection)
        create_stream_tables(connection)
        rows = connection.execute(
            "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            "JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam "
            "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema() "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) "
            "WHERE m.amname = 'btree' AND a.atttypid = 'text'::regtype"
        ).fetchall()
    assert len(rows) > 4
    held = {(table, column) for table, column in rows if column not in SHORT}
    assert {f"{table}.{column}" for table, column in held} <= SHORT


# Formats


def test_a_store_of_version_1_is_brought_forward_with_the_same_log(place: Place) -> None:
    with place.open() as segment:
        accept(segment, [event(1)])
        head = segment.checkpoint()
        fresh = table_names(segment)
    added = "".join(part for part in ADDED_IN_2 if isinstance(part, str))
    tables = [name for name in fresh if f"EXISTS {name}(" in added]
    assert len(tables) > 8
    more = "" if place.kind == "sqlite" else " CASCADE"
    place.tamper(
        *(f"DROP TABLE {table}{more}" for table in tables),
        "UPDATE meta SET value = '1' WHERE name = 'format_version'",
    )
    with place.open(create=False) as segment:
        assert segment.checkpoint() == head
        assert table_names(segment) == fresh
        with segment.reading() as connection:
            query = "SELECT value FROM meta WHERE name = 'format_version'"
            assert connection.execute(query).fetchone() == (str(FORMAT_VERSION),)
        accept(segment, [event(2)])
        assert_sound(segment)
    with pytest.raises(Exception, match="append-only"):
        place.tamper("DELETE FROM map_node", "DELETE FROM checkpoint")


def table_names(segment: SqlSegment) -> set[str]:
    """The tables of the log: those of the schema that are there."""
    script = "".join(part for part in SCHEMA if isinstance(part, str))
    words = script.replace("IF NOT EXISTS ", "").split("CREATE TABLE ")[1:]
    names = {word.partition("(")[0] for word in words}
    with segment.reading() as connection:
        from lodeline.store.connections import has_table

        return {name for name in names if has_table(connection, name)}


def test_a_store_of_a_later_format_is_refused(place: Place) -> None:
    place.open().close()
    place.tamper("UPDATE meta SET value = '999' WHERE name = 'format_version'")
    with pytest.raises(StoreCorruptError, match="999"):
        place.open()


def test_a_view_that_was_dropped_is_folded_again(segment: SqlSegment) -> None:
    accept(segment, [event(n, f"d{n}", f"d{n + 1}") for n in range(30)])
    digest = graph_state(segment).graph_digest
    with segment.writing() as connection:
        drop_graph_tables(connection)
    fold_pending(segment)
    assert graph_state(segment).graph_digest == digest

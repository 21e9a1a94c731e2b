"""Verification finds each changed byte and says where it is."""

import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.errors import LodelineError
from lodeline.ingest import accept
from lodeline.proof import Signer, TreeHead, format_tree_head, sign_note
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.prediction_blobs import encode_blob, verify_blob
from lodeline.store.verification import VerifyReport, verify_segment


def event(number: int) -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com",
        "run": {
            "runId": f"00000000-0000-4000-8000-{number:012x}",
            "facets": {"note": {"_producer": "p", "_schemaURL": "s", "text": "é" * 5}},
        },
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": "a", "facets": {"x": {"y": number}}}],
    }
    return json.dumps(body).encode()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 600 events in several commits: two full tiles, three edges."""
    path = tmp_path_factory.mktemp("sound") / "lodeline.db"
    segment = open_segment(f"sqlite:///{path}")
    for start, stop in ((0, 200), (200, 300), (300, 301), (301, 600)):
        accept(segment, [event(n) for n in range(start, stop)], fold=False)
    segment.put_blob(b"some rows")
    with segment.writing() as connection:
        connection.execute("SELECT 1")
    segment.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def path(sound: Path, tmp_path: Path) -> Path:
    for file in sound.parent.iterdir():
        if file.is_dir():
            shutil.copytree(file, tmp_path / file.name)
        else:
            shutil.copy2(file, tmp_path / file.name)
    return tmp_path / sound.name


@pytest.fixture
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    """Someone who may write the file, and drops the triggers first."""
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
        connection.execute(f"DROP TRIGGER {name}")
    yield connection
    connection.close()


def verify(path: Path) -> VerifyReport:
    segment = open_segment(f"sqlite:///{path}", create=False)
    try:
        return verify_segment(segment)
    finally:
        segment.close()


def flip(connection: sqlite3.Connection, table: str, column: str, where: str, chance: random.Random) -> None:  # fmt: skip
    (value,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
    text = isinstance(value, str)
    changed = bytearray(value.encode() if text else value)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(7 if text else 8)
    new = changed.decode("utf-8", "replace") if text else bytes(changed)
    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (new,))


def test_a_sound_store_verifies(path: Path) -> None:
    report = verify(path)
    assert report.to_json() == {
        "ok": True,
        "trust": "self",
        "checked": {"entries": 602, "proofs": 5, "signatures": 5, "payloads": 602, "erased": 0},
        "failures": [],
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("position", [0, 1, 2, 255, 256, 601])
@pytest.mark.parametrize(
    ("table", "column", "code"),
    [
        ("entry", "leaf", "leaf"),
        ("payload", "payload", "payload"),
        ("record_secret", "secret", "secret"),
    ],
)
def test_a_flipped_bit_of_an_entry_is_found_there(
    path: Path,
    tampering: sqlite3.Connection,
    table: str,
    column: str,
    code: str,
    position: int,
    seed: int,
) -> None:
    flip(tampering, table, column, f"position = {position}", random.Random(seed))
    report = verify(path)
    assert not report.ok
    if position == 0 and table == "payload":
        # The first payload holds the keys that everything else is checked with.
        assert ("payload", "entry 0") in [(one.code, one.at) for one in report.failures]
        return
    assert [(one.code, one.at) for one in report.failures] == [(code, f"entry {position}")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("where", "at"),
    [("level = 0 AND number = 0", "tile 0/0"), ("level = 0 AND number = 1", "tile 0/1")],
)
def test_a_flipped_bit_of_a_tile_is_found_there(
    path: Path, tampering: sqlite3.Connection, where: str, at: str, seed: int
) -> None:
    flip(tampering, "tile", "hashes", where, random.Random(seed))
    (failure,) = verify(path).failures
    assert failure.code == "tile"
    assert failure.at.startswith(at + " hash ")


@pytest.mark.parametrize("level", [0, 1])
def test_a_flipped_bit_of_an_unfinished_tile_is_found_there(
    path: Path, tampering: sqlite3.Connection, level: int
) -> None:
    flip(tampering, "tile_edge", "hashes", f"level = {level}", random.Random(level))
    (failure,) = verify(path).failures
    assert failure.code == "tile"
    assert failure.at.startswith(f"tile {level}/")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("column", ["note", "root_hash"])
def test_a_flipped_bit_of_a_checkpoint_is_found_there(
    path: Path, tampering: sqlite3.Connection, column: str, seed: int
) -> None:
    flip(tampering, "checkpoint", column, "size = 302", random.Random(seed))
    (failure,) = verify(path).failures
    assert failure.at == "checkpoint 302"
    assert failure.code in {"signature", "checkpoint"}


@pytest.mark.parametrize(
    ("statement", "code", "at"),
    [
        ("UPDATE entry SET log_time = log_time + 1 WHERE position = 9", "entry", "entry 9"),
        ("UPDATE entry SET kind = 'alias' WHERE position = 9", "entry", "entry 9"),
        ("UPDATE event_id SET position = 9 WHERE position = 10", "identifier", "entry 10"),
        ("DELETE FROM event_id WHERE position = 10", "identifier", "entry 10"),
        ("INSERT INTO event_id VALUES (x'00', 5)", "identifier", "index of identifiers"),
        ("DELETE FROM payload WHERE position = 9", "payload.missing", "entry 9"),
        ("DELETE FROM record_secret WHERE position = 9", "secret.missing", "entry 9"),
        ("DELETE FROM tile WHERE number = 1", "tile", "tile 0/1"),
        ("DELETE FROM entry WHERE position = 9", "log.gap", "entry 10"),
        ("DELETE FROM entry WHERE position > 400", "log.truncated", "checkpoint 602"),
        ("UPDATE checkpoint SET log_time = 7 WHERE size = 302", "checkpoint", "checkpoint 302"),
        ("INSERT INTO payload VALUES (9999, x'00')", "stray", "payload 9999"),
        ("UPDATE meta SET value = 'other' WHERE name = 'segment'", "entry", "entry 0"),
    ],
)
def test_what_is_moved_or_removed_is_found(
    path: Path, tampering: sqlite3.Connection, statement: str, code: str, at: str
) -> None:
    tampering.execute(statement)
    found = [(failure.code, failure.at) for failure in verify(path).failures]
    assert (code, at) in found


def test_a_logged_erasure_is_carried_out_at_the_next_opening_and_is_no_fault(path: Path) -> None:
    with open_segment(f"sqlite:///{path}") as segment:
        erasure = segment.append_record("erasure", {"entries": ["9", "10"]}).position
    report = verify(path)
    assert report.failures == []
    assert (report.erased, report.payloads) == (2, 601)
    assert report.to_json()["erased"] == [
        {"at": f"entry {position}", "pointer": None, "erased_by": erasure} for position in (9, 10)
    ]


@pytest.mark.parametrize("erased_by", [601, 602, 99_999])
def test_an_erasure_that_the_log_does_not_hold_is_a_fault(
    path: Path, tampering: sqlite3.Connection, erased_by: int
) -> None:
    with open_segment(f"sqlite:///{path}") as segment:
        segment.append_record("erasure", {"entries": ["10"]})
    tampering.execute("INSERT INTO erasure VALUES (9, ?)", (erased_by,))
    tampering.execute("DELETE FROM payload WHERE position = 9")
    (failure,) = verify(path).failures
    assert (failure.code, failure.at) == ("payload.missing", "entry 9")


def test_an_entry_replaced_by_another_sound_one_is_found(
    path: Path, tampering: sqlite3.Connection
) -> None:
    for table, column in (("entry", "leaf"), ("payload", "payload"), ("record_secret", "secret")):
        tampering.execute(
            f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE position = 20) "
            "WHERE position = 21"
        )
    assert [(one.code, one.at) for one in verify(path).failures] == [("leaf", "entry 21")]


def test_a_changed_blob_is_found(path: Path) -> None:
    (blob,) = (path.parent / "lodeline.db.blobs").glob("??/*")
    blob.write_bytes(b"other rows")
    (failure,) = verify(path).failures
    assert failure.code == "blob"


def test_keys_of_another_log_are_noticed(path: Path, tmp_path: Path) -> None:
    other: SqliteSegment = open_segment(f"sqlite:///{tmp_path / 'other.db'}")
    (mine,) = (tmp_path / "lodeline.db.keys").glob("*.segment.key")
    (theirs,) = (tmp_path / "other.db.keys").glob("*.segment.key")
    mine.write_bytes(theirs.read_bytes())
    other.close()
    assert {failure.code for failure in verify(path).failures} == {"key.mismatch", "identifier"}


def test_a_later_key_counts_only_if_a_known_key_signed_its_leaf(path: Path) -> None:
    segment: SqliteSegment = open_segment(f"sqlite:///{path}")
    late, stranger = (Signer(segment.origin, seed * 32) for seed in (b"l", b"s"))
    segment.append_record("key", {"keys": [{"use": "checkpoint", "vkey": late.verifier.vkey}]})
    head = TreeHead(segment.origin, segment.size(), segment.root_at(segment.size()))
    segment.append_record("fold", {"version": "1"})
    later = TreeHead(segment.origin, segment.size(), segment.root_at(segment.size()))
    for signer, changed, codes in (
        (late, later, []),
        (stranger, later, ["signature"]),
        (late, head, ["signature", "signature"]),
    ):
        with segment.writing() as connection:
            connection.execute("DROP TRIGGER IF EXISTS checkpoint_refuses_update")
            connection.execute(
                "UPDATE checkpoint SET note = ? WHERE size = ?",
                (sign_note(format_tree_head(changed), [signer]), changed.size),
            )
        assert [one.code for one in verify_segment(segment).failures] == codes
    segment.close()


def test_without_key_files_the_rest_still_verifies(path: Path) -> None:
    shutil.rmtree(path.parent / "lodeline.db.keys")
    report = verify(path)
    assert {failure.code for failure in report.failures} == {"key.missing"}
    assert report.signatures == 5


def predicted(path: Path) -> SqliteSegment:
    """The store with a batch of two predictions."""
    segment: SqliteSegment = open_segment(f"sqlite:///{path}")
    blob, root = encode_blob("00000000ab", [{"id": "a"}, {"id": "b"}], b"s" * 32)
    facet = {"digest": segment.put_blob(blob), "root": root}
    event = {"dataset": {"facets": {"lodeline_prediction_batch": facet}}}
    segment.append_record("block", event, roots=[root])
    return segment


def test_a_batch_of_predictions_is_held_against_the_root_in_its_leaf(path: Path) -> None:
    segment = predicted(path)
    assert verify_segment(segment, block_root=verify_blob).ok
    (blob,) = (b for b in (path.parent / "lodeline.db.blobs").glob("??/*") if b.stat().st_size > 20)
    other, _ = encode_blob("00000000ab", [{"id": "a"}, {"id": "c"}], b"s" * 32)
    facet = {"digest": segment.put_blob(other), "root": "0" * 64}
    event = {"dataset": {"facets": {"lodeline_prediction_batch": facet}}}
    segment.append_record("block", event, roots=["1" * 64])
    report = verify_segment(segment, block_root=verify_blob)
    assert [(one.code, one.at) for one in report.failures] == [("block.root", "entry 603")] * 2
    blob.unlink()
    report = verify_segment(segment)
    assert ("blob.missing", "entry 602") in [(one.code, one.at) for one in report.failures]
    assert not report.only_missing


def test_missing_evidence_is_told_from_a_contradiction(path: Path) -> None:
    segment = predicted(path)
    for blob in (path.parent / "lodeline.db.blobs").glob("??/*"):
        blob.unlink()
    report = verify_segment(segment, block_root=verify_blob)
    assert [one.code for one in report.failures] == ["blob.missing"]
    assert report.only_missing


def contents(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    rows: list[tuple[object, ...]] = []
    for table in ("entry", "payload", "record_secret", "tile", "tile_edge", "checkpoint", "event_id", "meta"):  # fmt: skip
        rows += connection.execute(f"SELECT '{table}', * FROM {table}").fetchall()
    connection.close()
    return sorted(rows, key=repr)


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changes_nothing(
    path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    before = contents(path)
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    try:
        ok = verify(path).ok
    except LodelineError:
        return
    assert not ok or contents(path) == before

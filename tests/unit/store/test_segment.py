"""The SQLite segment keeps its word."""

import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from lodeline.errors import (
    InvalidEventError,
    KeyMissingError,
    StoreCorruptError,
    StoreUnreachableError,
    UnknownBlobError,
    UnknownDeadLetterError,
    UnknownPositionError,
)
from lodeline.proof import (
    CompactRange,
    decode_leaf,
    hash_leaf,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
    verify_receipt,
)
from lodeline.store import AcceptedEvent, SqliteSegment, open_segment
from lodeline.store.tables import FORMAT_VERSION


def event(number: int) -> AcceptedEvent:
    canonical = b'{"number":%d}' % number
    return AcceptedEvent(canonical, [("", canonical)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "lodeline.db"


@pytest.fixture
def segment(path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{path}")
    yield opened
    opened.close()


def root_of(segment: SqliteSegment, size: int) -> bytes:
    tree = CompactRange()
    for entry in segment.iter_entries(0, size):
        tree.append(hash_leaf(entry.leaf))
    return tree.root()


def test_a_new_log_begins_with_its_keys_and_its_fold_version(segment: SqliteSegment) -> None:
    kinds = [entry.kind for entry in segment.iter_entries()]
    assert kinds == ["key", "fold"]
    assert segment.origin.startswith("lodeline.local/")
    assert segment.checkpoint().size == 2


def test_private_keys_are_for_their_owner_alone(segment: SqliteSegment, path: Path) -> None:
    folder = path.with_name("lodeline.db.keys")
    files = list(folder.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_event_delivered_twice_has_one_entry_and_one_receipt(segment: SqliteSegment) -> None:
    first, again = segment.append([event(1), event(1)])
    (later,) = segment.append([event(1)])
    assert [first.duplicate, again.duplicate, later.duplicate] == [False, True, True]
    assert first.position == again.position == later.position
    assert first.receipt == later.receipt
    assert segment.size() == 3


def test_a_receipt_names_the_leaf_and_verifies_by_a_certified_key(segment: SqliteSegment) -> None:
    (appended,) = segment.append([event(1)])
    receipt = verify_receipt(appended.receipt, segment.verifiers("receipt"))
    (entry,) = segment.iter_entries(appended.position)
    assert receipt.leaf_hashes == (hash_leaf(entry.leaf),)
    assert (receipt.origin, receipt.log_time_us) == (segment.origin, entry.log_time_us)
    assert receipt.deadline_us > receipt.log_time_us


def test_a_batch_gets_one_receipt_over_its_leaf_hashes(segment: SqliteSegment) -> None:
    appended = segment.append([event(1), event(2), event(1)])
    positions = [one.position for one in appended]
    receipt = verify_receipt(segment.batch_receipt(positions), segment.verifiers("receipt"))
    leaves = {entry.position: hash_leaf(entry.leaf) for entry in segment.iter_entries()}
    assert receipt.leaf_hashes == tuple(leaves[position] for position in positions)
    for unknown in ([], [99]):
        with pytest.raises(UnknownPositionError):
            segment.batch_receipt(unknown)


def test_every_checkpoint_is_signed_and_has_the_root_of_its_leaves(segment: SqliteSegment) -> None:
    for number in range(5):
        segment.append([event(number * 10 + i) for i in range(number + 1)])
    checkpoints = list(segment.iter_checkpoints())
    assert [checkpoint.size for checkpoint in checkpoints] == [2, 3, 5, 8, 12, 17]
    for checkpoint in checkpoints:
        head = verify_checkpoint(checkpoint.note, segment.verifiers(), origin=segment.origin)
        assert (head.size, head.root_hash) == (checkpoint.size, checkpoint.root_hash)
        assert checkpoint.root_hash == root_of(segment, checkpoint.size)
        assert checkpoint.root_hash == segment.root_at(checkpoint.size)


def test_the_newest_root_is_computed_once_and_anew_as_the_log_grows(
    segment: SqliteSegment,
) -> None:
    segment.append([event(number) for number in range(300)])
    read: list[str] = []

    def note(frame: FrameType, kind: str, _: object) -> None:
        if kind == "call" and frame.f_code.co_name == "_read_tile":
            read.append(kind)

    size = segment.size()
    root = segment.root_at(size)
    sys.setprofile(note)
    try:
        assert segment.root_at(size) == root
        assert not read
        earlier = segment.root_at(256)
        assert read
    finally:
        sys.setprofile(None)
    segment.append([event(number) for number in range(300, 310)])
    assert earlier == root_of(segment, 256)
    assert root == root_of(segment, size)
    assert segment.root_at(size + 10) == root_of(segment, size + 10)


def test_inclusion_and_consistency_are_proven_across_tiles(segment: SqliteSegment) -> None:
    segment.append([event(number) for number in range(600)])
    size = segment.size()
    leaves = [hash_leaf(entry.leaf) for entry in segment.iter_entries()]
    for position in (0, 1, 255, 256, 511, 512, size - 1):
        verify_inclusion(
            leaves[position],
            segment.inclusion_path(position, size),
            leaf_index=position,
            tree_size=size,
            root=segment.root_at(size),
        )
    for earlier in (1, 2, 255, 256, 257, 600, size):
        verify_consistency(
            segment.consistency_path(earlier, size),
            size_earlier=earlier,
            size_later=size,
            root_earlier=root_of(segment, earlier),
            root_later=segment.root_at(size),
        )


def test_a_position_beyond_the_log_is_unknown(segment: SqliteSegment) -> None:
    for ask in (
        lambda: segment.root_at(3),
        lambda: segment.inclusion_path(2, 2),
        lambda: segment.consistency_path(0, 2),
        lambda: segment.receipt(2),
    ):
        with pytest.raises(UnknownPositionError):
            ask()


def test_log_time_never_goes_back_even_when_the_clock_does(path: Path) -> None:
    times = iter([5_000_000, 4_000_000, 3_000_000, 9_000_000])
    segment = SqliteSegment(
        path,
        url=f"sqlite:///{path}",
        create=True,
        clock_us=lambda: next(times),
    )
    for number in range(3):
        segment.append([event(number)])
    stamps = [entry.log_time_us for entry in segment.iter_entries()]
    assert stamps == [5_000_000, 5_000_000, 5_000_000, 5_000_000, 9_000_000]
    for entry in segment.iter_entries():
        assert decode_leaf(entry.leaf).log_time_us == entry.log_time_us


def test_a_time_finds_the_last_checkpoint_at_or_before_it(path: Path) -> None:
    times = iter([1_000, 2_000, 2_000, 3_000])
    segment = SqliteSegment(
        path,
        url=f"sqlite:///{path}",
        create=True,
        clock_us=lambda: next(times),
    )
    for number in range(3):
        segment.append([event(number)])

    def size_at(time_us: int) -> int | None:
        found = segment.checkpoint_at(time_us)
        return None if found is None else found.size

    assert [size_at(t) for t in (999, 1_000, 1_999, 2_000, 2_999, 9_000)] == [None, 2, 2, 4, 4, 5]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET log_time = 0 WHERE position = 2",
        "DELETE FROM entry WHERE position = 2",
        "INSERT OR REPLACE INTO entry VALUES (2, 0, 'event', x'00')",
        "UPDATE checkpoint SET note = ''",
        "DELETE FROM checkpoint",
        "INSERT OR REPLACE INTO checkpoint VALUES (2, 0, x'00', '')",
        "UPDATE event_id SET position = 0",
        "DELETE FROM event_id",
        "UPDATE payload SET payload = x'00' WHERE position = 2",
        "DELETE FROM payload WHERE position = 2",
        "INSERT OR REPLACE INTO payload VALUES (2, x'00')",
        "UPDATE record_secret SET secret = x'00'",
        "DELETE FROM record_secret",
        "UPDATE tile SET hashes = x'00'",
        "DELETE FROM tile",
    ],
)
def test_the_database_itself_refuses_to_change_the_log(
    segment: SqliteSegment, path: Path, statement: str
) -> None:
    segment.append([event(number) for number in range(300)])
    foreign = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        foreign.execute(statement)
    foreign.close()


def test_a_payload_named_by_an_erasure_can_be_removed(segment: SqliteSegment) -> None:
    (appended,) = segment.append([event(1)])
    with segment.writing() as connection:
        connection.execute("INSERT INTO erasure VALUES (?, 3)", (appended.position,))
        connection.execute("DELETE FROM payload WHERE position = ?", (appended.position,))
    (entry,) = segment.iter_entries(appended.position)
    assert entry.payload is None


def test_two_segments_on_one_file_take_turns_and_see_each_other(path: Path) -> None:
    one, two = open_segment(f"sqlite:///{path}"), open_segment(f"sqlite:///{path}")
    for number in range(40):
        (one if number % 2 else two).append([event(number), event(1000)])
    assert one.size() == two.size() == 2 + 41
    assert one.checkpoint() == two.checkpoint()
    assert one.checkpoint().root_hash == root_of(one, one.size())


def test_calls_that_overlap_share_commits_and_each_gets_its_own_answer(
    segment: SqliteSegment,
) -> None:
    found: dict[int, int] = {}

    def work(base: int) -> None:
        for number in range(base, base + 20):
            found[number] = segment.append([event(number)])[0].position

    threads = [threading.Thread(target=work, args=(base * 100,)) for base in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found.values()) == list(range(2, 162))
    for entry in segment.iter_entries(2):
        assert entry.payload == b'{"number":%d}' % next(
            number for number, position in found.items() if position == entry.position
        )
    assert len(list(segment.iter_checkpoints())) <= 161


def test_a_reader_sees_one_state_while_others_write(segment: SqliteSegment) -> None:
    with segment.reading() as connection:
        before = connection.execute("SELECT count(*) FROM entry").fetchone()
        segment.append([event(1)])
        assert connection.execute("SELECT count(*) FROM entry").fetchone() == before
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("INSERT INTO meta VALUES ('a', 'b')")


def test_a_block_that_raises_writes_nothing(segment: SqliteSegment) -> None:
    with pytest.raises(ZeroDivisionError), segment.writing() as connection:
        connection.execute("CREATE TABLE view(x)")
        _ = 1 / 0
    with segment.reading() as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name='view'").fetchall()


def test_walking_entries_by_kind_gives_only_those(segment: SqliteSegment) -> None:
    segment.append([event(number) for number in range(1500)])
    segment.append_record("alias", {"model": "m", "number": "7"})
    segment.append_record("alias", {"model": "m", "number": "7"})
    assert [entry.position for entry in segment.iter_entries(kinds={"alias"})] == [1502, 1503]
    assert sum(1 for _ in segment.iter_entries(kinds={"event"})) == 1500
    assert sum(1 for _ in segment.iter_entries(5, 1400, kinds={"event", "fold"})) == 1395


def test_blobs_come_back_whole_or_not_at_all(segment: SqliteSegment) -> None:
    digest = segment.put_blob(b"rows")
    assert segment.put_blob(b"rows") == digest
    assert segment.get_blob(digest) == b"rows"
    segment.blobs.path_of(digest).write_bytes(b"Rows")
    with pytest.raises(StoreCorruptError):
        segment.get_blob(digest)
    for unknown in ("sha256:" + "0" * 64, "sha256:../../etc", ""):
        with pytest.raises(UnknownBlobError):
            segment.get_blob(unknown)


def test_the_same_refused_bytes_are_one_dead_letter(segment: SqliteSegment) -> None:
    error = InvalidEventError("event.type", "/run/\ud800", "must be a string")
    first = segment.add_dead_letter(b"{}", error, source="a.jsonl:1")
    again = segment.add_dead_letter(b"{}", error, source="a.jsonl:1")
    assert (first.letter_id, again.times) == (again.letter_id, 2)
    (letter,) = segment.iter_dead_letters()
    assert (letter.kept, letter.code, letter.path) == (True, "event.type", "/run/\\ud800")
    assert segment.dead_letter_bytes(letter.letter_id) == b"{}"
    segment.resolve_dead_letter(letter.letter_id)
    assert list(segment.iter_dead_letters()) == []
    with pytest.raises(UnknownDeadLetterError):
        segment.dead_letter_bytes(letter.letter_id)
    again = segment.add_dead_letter(b"{}", error)
    assert segment.dead_letter_bytes(again.letter_id) == b"{}"


def test_opening_what_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(StoreUnreachableError):
        open_segment(f"sqlite:///{path}", create=False)
    assert not path.exists()


def test_opening_what_is_no_store_says_so(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreCorruptError):
        open_segment(f"sqlite:///{foreign}")


def test_a_store_of_a_later_format_is_refused(segment: SqliteSegment, path: Path) -> None:
    with segment.writing() as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'format_version'", (FORMAT_VERSION + 1,))  # fmt: skip
    with pytest.raises(StoreCorruptError, match="format version"):
        open_segment(f"sqlite:///{path}")


def test_without_its_keys_a_store_reads_but_does_not_append(
    segment: SqliteSegment, path: Path
) -> None:
    segment.append([event(1)])
    for file in path.with_name("lodeline.db.keys").iterdir():
        file.unlink()
    again = open_segment(f"sqlite:///{path}")
    assert again.size() == 3
    assert again.checkpoint().size == 3
    with pytest.raises(KeyMissingError):
        again.append([event(2)])


def _lose_the_last_checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TRIGGER checkpoint_refuses_delete")
    connection.execute("DELETE FROM checkpoint WHERE size > 2")


def test_a_checkpoint_that_a_crash_lost_comes_back_the_same(
    segment: SqliteSegment, path: Path
) -> None:
    segment.append([event(1)])
    signed = segment.checkpoint()
    with segment.writing() as connection:
        _lose_the_last_checkpoint(connection)
    assert open_segment(f"sqlite:///{path}").checkpoint() == signed


def test_a_closed_segment_says_so(path: Path) -> None:
    segment = open_segment(f"sqlite:///{path}")
    segment.close()
    segment.close()
    calls: list[Callable[[], object]] = [segment.size, lambda: segment.append([event(1)])]
    for call in calls:
        with pytest.raises(StoreUnreachableError):
            call()


def test_a_store_where_nothing_may_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(StoreUnreachableError):
        open_segment(f"sqlite:///{blocked / 'lodeline.db'}")
    (tmp_path / "lodeline.db.keys").write_text("no folder either")
    with pytest.raises(StoreUnreachableError):
        open_segment(f"sqlite:///{tmp_path / 'lodeline.db'}")


def test_a_segment_is_closed_at_the_end_of_its_block(path: Path) -> None:
    with open_segment(f"sqlite:///{path}") as segment:
        segment.append([event(1)])
    with pytest.raises(StoreUnreachableError):
        segment.size()

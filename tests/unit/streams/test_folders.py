"""Folders whose files are taken as they are written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodeline.store import open_segment
from lodeline.store.accounts import list_accounts
from lodeline.streams.consuming import Counts
from lodeline.streams.running import make_consumers, run_consumers
from streamed import captured, held, imported


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "in"
    path.mkdir()
    return path


def consume(source: Path) -> Counts:
    """Take what is there, as a process that starts anew would."""
    with open_segment(f"sqlite:///{source.parent / 's.db'}") as segment:
        [consumer] = make_consumers(segment, [str(source)], print)
        run_consumers([consumer], once=True)
    return consumer.counts


def event(number: int) -> bytes:
    body = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-01T00:00:00.{number:06d}Z",
        "producer": "https://example.com",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-4000-8000-{number:012x}"},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [],
        "outputs": [],
    }
    return json.dumps(body).encode()


def lines(*numbers: int) -> bytes:
    return b"".join(event(number) + b"\n" for number in numbers)


def behind(folder: Path) -> dict[str, int]:
    with open_segment(f"sqlite:///{folder.parent / 's.db'}") as segment:
        return {offset.part: offset.behind for offset in segment.stream_offsets()}


def test_a_folder_gives_the_graph_of_a_plain_import(folder: Path) -> None:
    events = captured()
    (folder / "deep").mkdir()
    (folder / "deep" / "a.jsonl").write_bytes(b"".join(one + b"\n" for one in events[:200]))
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(b"\n".join(events[200:])))
    (folder / ".hidden.json").write_bytes(b"no event")
    (folder / "notes.txt").write_bytes(b"no event")
    counts = consume(folder)
    assert counts.messages == len(events)
    assert held(folder.parent / "s.db") == imported(folder, events)


def test_what_was_taken_is_not_read_again(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(1, 2))
    (folder / "b.json.gz").write_bytes(gzip.compress(lines(3)))
    assert consume(folder).messages == 3
    assert consume(folder).messages == 0
    with (folder / "a.jsonl").open("ab") as file:
        file.write(lines(4))
    assert (consume(folder).messages, consume(folder).messages) == (1, 0)


def test_a_line_is_taken_when_it_has_ended(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(1) + event(2)[:40])
    assert consume(folder).accepted == 1
    assert behind(folder) == {"a.jsonl": 40}
    with (folder / "a.jsonl").open("ab") as file:
        file.write(event(2)[40:] + b"\n")
    counts = consume(folder)
    assert (counts.accepted, counts.refused) == (1, 0)
    assert behind(folder) == {"a.jsonl": 0}


def test_a_last_line_without_an_end_is_taken_when_it_is_whole(folder: Path) -> None:
    (folder / "a.json").write_bytes(event(1))
    assert consume(folder).accepted == 1


def test_a_document_over_several_lines_is_one(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(json.loads(event(1)), indent=2) + "\n")
    (folder / "b.json").write_text(json.dumps([json.loads(event(n)) for n in (2, 3)], indent=1))
    counts = consume(folder)
    assert (counts.messages, counts.accepted, counts.refused) == (2, 3, 0)
    assert consume(folder).messages == 0


def test_a_rotated_file_goes_on_under_its_new_name(folder: Path) -> None:
    live = folder / "a.jsonl"
    live.write_bytes(lines(1, 2))
    assert consume(folder).messages == 2
    with live.open("ab") as file:
        file.write(lines(3))
    live.rename(folder / "a.jsonl.1")
    live.write_bytes(lines(4))
    assert consume(folder).messages == 2
    # The writer had it open, and wrote one more.
    with (folder / "a.jsonl.1").open("ab") as file:
        file.write(lines(5))
    assert (consume(folder).messages, consume(folder).messages) == (1, 0)


def test_a_file_named_alone_is_taken_with_what_it_was_rotated_to(folder: Path) -> None:
    live = folder / "events.log"
    live.write_bytes(lines(1))
    (folder / "other.log").write_bytes(b"no event\n")
    assert consume(live).accepted == 1


@pytest.mark.parametrize("longer", [False, True])
def test_a_file_that_was_emptied_and_written_anew_is_read_from_its_beginning(
    folder: Path, longer: bool
) -> None:
    live = folder / "a.jsonl"
    live.write_bytes(lines(1, 2, 3))
    assert consume(folder).messages == 3
    inode = live.stat().st_ino
    with live.open("r+b") as file:
        file.truncate(0)
        file.write(lines(*range(4, 9 if longer else 6)))
    assert live.stat().st_ino == inode
    assert consume(folder).accepted == (5 if longer else 2)


def test_a_file_emptied_and_written_anew_with_the_same_beginning_loses_nothing(
    folder: Path,
) -> None:
    live = folder / "a.jsonl"
    live.write_bytes(lines(1, 2, 3))
    consume(folder)
    live.write_bytes(lines(1, 4))
    assert consume(folder).accepted == 1
    # Beyond the offset that the longer file had: what lies before it must not be skipped.
    with live.open("ab") as file:
        file.write(lines(5, 6))
    counts = consume(folder)
    assert (counts.accepted, counts.duplicates) == (2, 0)


def test_another_file_under_an_old_name_begins_anew(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(1))
    consume(folder)
    (folder / "new.tmp").write_bytes(lines(2, 3))
    (folder / "new.tmp").replace(folder / "a.jsonl")
    assert consume(folder).accepted == 2


def test_the_offsets_of_files_that_are_gone_are_dropped(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(1))
    (folder / "b.jsonl").write_bytes(lines(2))
    consume(folder)
    (folder / "a.jsonl").unlink()
    consume(folder)
    assert behind(folder) == {"b.jsonl": 0}


def test_a_gzipped_file_that_is_not_whole_yet_is_taken_when_it_is(folder: Path) -> None:
    whole = gzip.compress(lines(*range(200)))
    (folder / "a.jsonl.gz").write_bytes(whole[:-20])
    consume(folder)
    assert behind(folder) == {} or behind(folder)["a.jsonl.gz"] > 0
    (folder / "a.jsonl.gz").write_bytes(whole)
    consume(folder)
    assert held(folder.parent / "s.db")["events"] == 200
    assert behind(folder) == {"a.jsonl.gz": 0}
    assert consume(folder).messages == 0


def test_a_refused_line_is_kept_with_the_place_where_it_stood(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(1) + b"no event\n" + lines(2))
    counts = consume(folder)
    assert (counts.accepted, counts.refused) == (2, 1)
    with open_segment(f"sqlite:///{folder.parent / 's.db'}") as segment:
        [letter] = segment.iter_dead_letters()
    assert letter.source == f"folder:{folder}/a.jsonl@{len(lines(1))}"


def test_who_sent_what_over_a_stream_is_in_the_accounts(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(lines(1, 2) + b"no event\n" + lines(2))
    consume(folder)
    with open_segment(f"sqlite:///{folder.parent / 's.db'}") as segment:
        accounts = {one.key.producer: one for one in list_accounts(segment)}
    sent = accounts["https://example.com"]
    assert (sent.accepted, sent.duplicates, sent.key.caller) == (2, 1, f"folder:{folder}")
    assert accounts[""].refused == 1

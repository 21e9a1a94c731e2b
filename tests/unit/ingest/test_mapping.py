"""The map of the log: kept up, published, proven, verified, and whole after whatever happens."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from histories import dataset, event, facet
from lodeline.errors import UnknownPositionError
from lodeline.fold import entry_nodes
from lodeline.fold.subjects import EntryKeys
from lodeline.ingest import (
    accept,
    catch_up_map,
    map_positions,
    map_proof,
    prove_nodes,
    publish_map,
    rebuild,
)
from lodeline.proof import (
    MapHead,
    map_key,
    map_root,
    positions_value,
    verify_map_absent,
    verify_map_present,
)
from lodeline.server.map_publishing import MapPublishing
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.erasing import erase
from lodeline.store.verification import VerifyReport, verify_segment


def raw(number: int) -> bytes:
    parent = facet(run={"runId": f"{number % 3:032x}"}, job={"namespace": "n", "name": "dag"})
    return json.dumps(
        event(
            run=str(number + 1),
            job=f"job{number % 7}",
            day=number / 100,
            inputs=[dataset(f"in{number % 11}", schema=facet(fields=[{"name": "k"}])), "shared"],
            outputs=[f"out{number % 5}"],
            run_facets={"parent": parent} if number % 2 else None,
        )
    ).encode()


@pytest.fixture
def segment(tmp_path: Path) -> Iterable[SqliteSegment]:
    found = open_segment(f"sqlite:///{tmp_path / 'lodeline.db'}")
    yield found
    found.close()


def expected(segment: SqliteSegment, size: int) -> dict[str, list[int]]:
    """The map by brute force, from the entries below a size."""
    found: dict[str, list[int]] = {}
    for entry in segment.iter_entries(0, size):
        assert entry.payload is not None
        for node in entry_nodes(entry.kind, entry.payload):
            found.setdefault(node, []).append(entry.position)
    return found


def head_at(segment: SqliteSegment, position: int) -> MapHead:
    (entry,) = segment.iter_entries(position, position + 1)
    assert entry.kind == "map"
    return MapHead.from_json(json.loads(entry.payload or b""))


def check_map(segment: SqliteSegment, position: int | None) -> dict[str, list[int]]:
    """Compare a published map and its proofs with the log."""
    assert position is not None
    head = head_at(segment, position)
    known = expected(segment, position)
    items = {map_key(node): positions_value(found) for node, found in known.items()}
    assert head == MapHead(position, map_root(items), len(known))
    for node, (positions, proof) in prove_nodes(segment, known, position).items():
        assert positions == known[node]
        verify_map_present(proof, map_key(node), positions, head.root)
    absent = "dataset:n:nobody"
    verify_map_absent(map_proof(segment, absent, position), map_key(absent), head.root)
    assert map_positions(segment, absent, position) == []
    return known


def test_a_map_covers_exactly_the_entries_before_it(segment: SqliteSegment) -> None:
    for start, stop in ((0, 1), (1, 40), (40, 300)):
        accept(segment, map(raw, range(start, stop)), fold=False)
        size = segment.size()
        position = publish_map(segment, force=True)
        assert position == size
        known = check_map(segment, position)
        assert known["dataset:n:shared"] == [p for p in range(size) if p in known_events(segment)]
    assert verify_segment(segment).to_json()["ok"]


def known_events(segment: SqliteSegment) -> set[int]:
    return {entry.position for entry in segment.iter_entries(kinds={"event"})}


def test_a_map_is_never_published_alone(segment: SqliteSegment) -> None:
    first = publish_map(segment, force=True)
    assert first == 2  # After the key and the fold version.
    size = segment.size()
    assert publish_map(segment, force=True) == first
    assert publish_map(segment) == first
    assert segment.size() == size
    accept(segment, [raw(1)], fold=False)
    assert publish_map(segment, force=True) == first + 2


def test_a_young_map_is_followed_only_when_forced(segment: SqliteSegment) -> None:
    first = publish_map(segment)
    accept(segment, [raw(1)], fold=False)
    assert publish_map(segment) == first
    assert publish_map(segment, force=True) == segment.size() - 1


def test_an_earlier_map_is_still_proven(segment: SqliteSegment) -> None:
    accept(segment, map(raw, range(20)), fold=False)
    earlier = publish_map(segment, force=True)
    accept(segment, map(raw, range(20, 50)), fold=False)
    later = publish_map(segment, force=True)
    check_map(segment, earlier)
    check_map(segment, later)
    # The tables may have gone past the newest map, too.
    accept(segment, map(raw, range(50, 60)), fold=False)
    catch_up_map(segment)
    check_map(segment, later)


def test_only_a_map_leaf_proves(segment: SqliteSegment) -> None:
    publish_map(segment, force=True)
    for position in (0, 99, -1):
        with pytest.raises(UnknownPositionError):
            map_proof(segment, "dataset:n:shared", position)
        with pytest.raises(UnknownPositionError):
            map_positions(segment, "dataset:n:shared", position)


def test_keys_looked_up_are_the_keys_computed() -> None:
    keys = EntryKeys()
    lineage = facet(lineage=[{"type": "DATASET", "namespace": "n", "name": "x", "inputs": []}])
    # Numbers 385 apart say the same of inputs and outputs, and one of them has a parent.
    payloads = [raw(number) for number in (*range(30), *range(385, 415))]
    payloads.append(json.dumps(event(run_facets={"lineage": lineage})).encode())
    payloads.append(json.dumps(event(None, inputs=["a"])).encode())
    for payload in [*payloads, *payloads, b"no event"]:
        nodes = entry_nodes("event", payload)
        assert keys.of("event", payload) == {map_key(node) for node in nodes}
    assert keys.of("alias", b'{"node":"model:m:x"}') == {map_key("model:m:x")}


def test_rebuilding_the_graph_keeps_the_map(segment: SqliteSegment) -> None:
    accept(segment, map(raw, range(30)))
    position = publish_map(segment, force=True)
    rebuild(segment)
    check_map(segment, position)
    assert publish_map(segment, force=True) == position


def test_an_erased_entry_keeps_its_place_in_the_map(segment: SqliteSegment) -> None:
    accept(segment, map(raw, range(30)), fold=False)
    # Nothing was mapped before: erasing must see to it.
    known = expected(segment, segment.size())
    erase(segment, entries=[7], fields={9: ["/inputs/0/facets/schema"]})
    position = publish_map(segment, force=True)
    assert position is not None
    head = head_at(segment, position)
    proven = prove_nodes(segment, known, position)
    for node, positions in known.items():
        assert proven[node][0] == positions
        verify_map_present(proven[node][1], map_key(node), positions, head.root)
    report = verify_segment(segment)
    assert report.ok, report.failures
    assert report.erased


@pytest.fixture
def mapped(segment: SqliteSegment) -> SqliteSegment:
    accept(segment, map(raw, range(60)), fold=False)
    publish_map(segment, force=True)
    return segment


def verified(segment: SqliteSegment) -> VerifyReport:
    return verify_segment(segment)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM map_mention WHERE position = 9",
        "INSERT INTO map_mention VALUES (3, 10000)",
        "UPDATE map_mention SET position = position + 1000 WHERE number = 2",
        "UPDATE map_node SET positions = positions + 1 WHERE number = 4",
        "UPDATE map_node SET edge = zeroblob(32) WHERE positions = 1",
        "UPDATE map_node SET edge = 'text' WHERE number = 4",
        "UPDATE map_node SET key = zeroblob(32) WHERE number = 4",
        "DELETE FROM map_node WHERE number = 4",
        "UPDATE map_part SET hash = zeroblob(32) WHERE depth = 0",
        "UPDATE map_state SET mapped_to = mapped_to + 10000",
    ],
)
def test_a_changed_table_is_found(mapped: SqliteSegment, change: str) -> None:
    assert verified(mapped).ok
    with sqlite3.connect(mapped.path) as connection:
        connection.execute(change)
    found = {failure.code for failure in verified(mapped).failures}
    assert found == {"map.table"}


@pytest.mark.parametrize("what", ["root", "keys", "size", "form"])
def test_a_map_leaf_that_says_otherwise_is_found(mapped: SqliteSegment, what: str) -> None:
    position = mapped.size()
    head = head_at(mapped, position - 1)
    stated = {**head.to_json(), "size": str(position)}
    stated["keys" if what == "keys" else "root"] = "1" if what == "keys" else "ab" * 32
    if what == "size":
        stated = head.to_json()
    mapped.append_record("map", {} if what == "form" else stated)
    (failure,) = verified(mapped).failures
    assert (failure.code, failure.at) == ("map.root", f"entry {position}")


PUBLISHER = """
import sys
sys.path[:0] = sys.argv[1:3]
from test_mapping import raw
from lodeline.ingest import accept, publish_map
from lodeline.store import open_segment
segment = open_segment(f"sqlite:///{sys.argv[3]}")
print("ready", flush=True)
for start in range(int(sys.argv[4]), int(sys.argv[5]), 10):
    accept(segment, map(raw, range(start, start + 10)), fold=False)
    publish_map(segment, force=True)
"""


def publisher(path: Path, first: int, stop: int) -> subprocess.Popen[str]:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    command = [sys.executable, "-c", PUBLISHER, *folders, str(path), str(first), str(stop)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_publish_side_by_side(segment: SqliteSegment) -> None:
    writers = [publisher(segment.path, first, first + 200) for first in (0, 1000)]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    entries = list(segment.iter_entries())
    maps = [entry.position for entry in entries if entry.kind == "map"]
    assert len(maps) > 2
    assert sum(entry.kind == "event" for entry in entries) == 400
    assert all(head_at(segment, position).size == position for position in maps)
    assert not any(position + 1 in maps for position in maps)
    check_map(segment, publish_map(segment, force=True))
    report = verify_segment(segment)
    assert report.ok, report.failures


def test_a_killed_publisher_leaves_a_map_that_goes_on(segment: SqliteSegment) -> None:
    chance = random.Random(7)
    for round_number in range(4):
        first = 1000 * round_number
        child = publisher(segment.path, first, first + 1000)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(chance.random() * 0.15)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        check_map(segment, publish_map(segment, force=True))
    report = verify_segment(segment)
    assert report.ok, report.failures


def test_a_served_store_gets_its_map(segment: SqliteSegment) -> None:
    accept(segment, map(raw, range(5)), fold=False)
    told: list[str] = []
    publishing = MapPublishing(segment.url, told.append, pause_seconds=0.02)
    publishing.start()
    deadline = time.monotonic() + 20
    while segment.size() < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)  # Looks again, and finds nothing new.
    publishing.stop(20)
    assert segment.size() == 8
    check_map(segment, 7)
    assert told == []


def test_what_keeps_a_map_from_being_published_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    url = f"sqlite:///{tmp_path / 'nowhere.db'}"
    publishing = MapPublishing(url, told.append, pause_seconds=0.01)
    publishing.start()
    deadline = time.monotonic() + 20
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    publishing.stop(20)
    assert len(told) == 1

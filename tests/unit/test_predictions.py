"""A prediction is a record, pending, lost or unknown, and the log vouches for the difference."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.cli.main import main
from lodeline.ingest.predictions import (
    accept_predictions,
    count_predictions,
    find_prediction,
    iter_blocks,
    iter_predictions,
    rebuild_predictions,
)
from lodeline.model import NodeId, PredictionId
from lodeline.store import Segment, open_segment
from lodeline.store.prediction_blobs import encode_blob, read_blob, verify_blob
from lodeline.store.prediction_tables import drop_prediction_tables

BLOCK = 0x12345678AB
START = 1_700_000_000_000_000
DEPLOYMENT = {"namespace": "prod", "name": "late-api", "digest": "sha256:" + "d" * 64}
MODEL = {"namespace": "ml", "name": "late30", "version": "sha256:" + "e" * 64}


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    yield opened
    opened.close()


def identifier(counter: int, block: int = BLOCK, time_us: int | None = None) -> str:
    time_us = START + counter * 1000 if time_us is None else time_us
    return str(PredictionId(time_us * 4096 // 1000, block, counter))


def reservation(block: int = BLOCK, time_us: int = START) -> dict[str, Any]:
    return {
        "type": "reservation",
        "block": f"{block:010x}",
        "time": time_us,
        "writer": "w",
        "deployment": DEPLOYMENT,
        "model": MODEL,
    }


def predictions(*counters: int, block: int = BLOCK) -> dict[str, Any]:
    rows = [
        {"id": identifier(c, block), "time": 0, "status": 200, "output": c / 7} for c in counters
    ]
    return {"type": "predictions", "block": f"{block:010x}", "rows": rows}


def end(next_counter: int | None, *, clean: bool) -> dict[str, Any]:
    return {"type": "end", "block": f"{BLOCK:010x}", "next": next_counter, "clean": clean}


def test_a_delivered_prediction_is_found_with_its_deployment_and_model(segment: Segment) -> None:
    assert accept_predictions(segment, [reservation(), predictions(0, 1, 2)]) == [None, None]
    found = find_prediction(segment, identifier(1).upper())
    assert found.status == "record"
    assert found.record is not None
    assert found.record["output"] == 1 / 7
    assert found.record["time"] == "2023-11-14T22:13:20.001000Z"
    assert found.block is not None
    assert str(found.block.deployment) == f"deployment:prod:late-api#{DEPLOYMENT['digest']}"
    assert str(found.block.model) == f"model:ml:late30#{MODEL['version']}"


def test_a_missing_prediction_is_pending_while_its_block_is_open(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(0, 2)])
    assert find_prediction(segment, identifier(1)).status == "pending"


def test_a_missing_prediction_is_lost_once_its_process_died(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(0, 2), end(None, clean=False)])
    assert find_prediction(segment, identifier(1)).status == "lost"
    assert find_prediction(segment, identifier(9)).status == "lost"
    assert find_prediction(segment, identifier(2)).status == "record"


def test_an_identifier_that_was_never_drawn_is_unknown(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(0, 2), end(3, clean=True)])
    assert find_prediction(segment, identifier(1)).status == "lost"
    assert find_prediction(segment, identifier(3)).status == "unknown"
    assert find_prediction(segment, identifier(0, block=7)).status == "unknown"
    assert find_prediction(segment, identifier(1, time_us=START - 10)).status == "unknown"
    assert find_prediction(segment, "11111111-1111-4111-8111-111111111111").status == "unknown"
    assert find_prediction(segment, "nonsense").status == "unknown"


def test_a_batch_delivered_twice_or_cut_otherwise_is_recorded_once(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(0, 1), predictions(2, 3)])
    size = segment.size()
    accept_predictions(segment, [reservation(), predictions(0), predictions(1, 2), predictions(3)])
    assert segment.size() == size
    accept_predictions(segment, [predictions(3, 4)])
    assert count_predictions(segment) == 5
    assert [row["id"] for _, row in iter_predictions(segment)] == [identifier(c) for c in range(5)]


def test_the_end_of_a_block_is_recorded_once(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), end(0, clean=True)])
    size = segment.size()
    accept_predictions(segment, [end(None, clean=False)])
    assert segment.size() == size
    (block,) = iter_blocks(segment)
    assert (block.ended_clean, block.next_counter) == (True, 0)


def test_the_tables_rebuilt_from_the_log_are_the_same(segment: Segment) -> None:
    accept_predictions(
        segment, [reservation(), predictions(*range(50)), predictions(51), end(60, clean=True)]
    )

    def contents() -> list[list[tuple[object, ...]]]:
        with segment.reading() as connection:
            return [
                connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
                for table in ("prediction_block", "prediction_batch")
            ]

    before = contents()
    rebuild_predictions(segment)
    assert contents() == before
    assert len(before[0]) == len(before[1]) == 1


def test_the_rebuild_command_restores_what_a_view_lost(
    segment: Segment, capsys: pytest.CaptureFixture[str]
) -> None:
    accept_predictions(segment, [reservation(), predictions(0)])
    with segment.writing() as connection:
        connection.execute("DELETE FROM prediction_batch")
    assert find_prediction(segment, identifier(0)).status == "pending"
    assert main(["rebuild", "--store", segment.url, "--json"]) == 0
    assert find_prediction(segment, identifier(0)).status == "record"


def test_an_entry_that_a_crash_kept_from_the_view_is_found(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(0)])
    size = segment.size()
    with segment.writing() as connection:
        drop_prediction_tables(connection)
    assert find_prediction(segment, identifier(0), size=size).status == "record"


def test_an_answer_as_of_an_earlier_size_does_not_know_later_entries(segment: Segment) -> None:
    accept_predictions(segment, [reservation()])
    reserved = segment.size()
    accept_predictions(segment, [predictions(0)])
    recorded = segment.size()
    accept_predictions(segment, [end(5, clean=False)])
    assert find_prediction(segment, identifier(0), size=reserved - 1).status == "unknown"
    assert find_prediction(segment, identifier(0), size=reserved).status == "pending"
    assert find_prediction(segment, identifier(0), size=recorded).status == "record"
    assert find_prediction(segment, identifier(1), size=recorded).status == "pending"
    assert find_prediction(segment, identifier(1)).status == "lost"


def test_the_log_commits_to_the_root_of_every_blob(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(*range(10))])
    entry = list(segment.iter_entries(kinds={"block"}))[-1]
    assert entry.payload is not None
    facet = json.loads(entry.payload)["dataset"]["facets"]["lodeline_prediction_batch"]
    blob = segment.get_blob(facet["digest"])
    assert json.loads(entry.leaf)["roots"] == [facet["root"]] == [verify_blob(blob)]
    _, lines = read_blob(blob)
    lines[3] = lines[3].replace(b"200", b"201")
    changed, _ = encode_blob("0" * 10, [json.loads(line) for line in lines], bytes(32))
    assert verify_blob(changed) != facet["root"]


def test_predictions_of_one_version_of_a_deployment_are_listed(segment: Segment) -> None:
    accept_predictions(segment, [reservation(), predictions(0, 1)])
    other = {**reservation(9), "deployment": {**DEPLOYMENT, "digest": "sha256:" + "f" * 64}}
    accept_predictions(segment, [other, predictions(5, block=9)])
    node = NodeId("deployment", "prod", "late-api")
    assert count_predictions(segment, node) == 3
    assert count_predictions(segment, node.at(DEPLOYMENT["digest"])) == 2
    assert count_predictions(segment, NodeId("deployment", "prod", "other")) == 0


def test_predictions_without_a_reservation_are_kept(segment: Segment) -> None:
    accept_predictions(segment, [predictions(0)])
    found = find_prediction(segment, identifier(0))
    assert (found.status, found.block) == ("record", None)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": "predictions", "block": "xyz", "rows": []},
        {"type": "predictions", "block": f"{BLOCK:010x}"},
        {"type": "predictions", "block": f"{BLOCK:010x}", "rows": [{"id": "no"}]},
        {"type": "predictions", "block": "0000000001", "rows": [{"id": identifier(0)}]},
        {"type": "reservation", "block": f"{BLOCK:010x}", "time": 1},
        {"type": "end", "block": "0000000000"},
        {"type": "other", "block": f"{BLOCK:010x}"},
    ],
)
def test_what_is_malformed_is_refused_and_harms_nothing_else(
    segment: Segment, record: dict[str, Any]
) -> None:
    outcomes = accept_predictions(segment, [reservation(), record, predictions(0)])
    assert (outcomes[0], outcomes[2]) == (None, None)
    assert outcomes[1]
    assert find_prediction(segment, identifier(0)).status == "record"


def test_a_blob_of_the_same_rows_and_secret_has_the_same_bytes() -> None:
    rows = [{"id": identifier(c), "output": c} for c in range(3)]
    secret = os.urandom(32)
    assert encode_blob("0" * 10, rows, secret) == encode_blob("0" * 10, rows, secret)


def test_a_block_number_that_recurs_is_told_apart_by_time(segment: Segment) -> None:
    later = START + 10**12
    second = {**reservation(time_us=later), "deployment": {**DEPLOYMENT, "name": "second"}}
    accept_predictions(segment, [reservation(), predictions(0), second])
    found = find_prediction(segment, identifier(0))
    assert found.block is not None
    assert found.block.deployment.name == "late-api"
    absent = find_prediction(segment, identifier(0, time_us=later + 5))
    assert absent.block is not None
    assert absent.block.deployment.name == "second"

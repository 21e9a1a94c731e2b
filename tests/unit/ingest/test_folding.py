"""The projection's own business: batches, failures, versions of the fold, and the command."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from histories import dataset, event, raw
from lodeline.cli.main import main
from lodeline.errors import LodelineError
from lodeline.fold import FOLD_VERSION
from lodeline.ingest import accept, fold_pending, graph_state, rebuild
from lodeline.limits import FOLD_EVENTS_MAX
from lodeline.store import SqliteSegment, open_segment
from lodeline.store.graph_tables import TABLES


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqliteSegment]:
    opened = open_segment(f"sqlite:///{tmp_path / 'lodeline.db'}")
    yield opened
    opened.close()


def history(runs: int) -> list[bytes]:
    return [
        raw(event(kind, run=str(run), day=run / 100, inputs=["A"], outputs=["X"]))
        for run in range(1, runs + 1)
        for kind in ("START", "COMPLETE")
    ]


def rows(segment: SqliteSegment, query: str) -> list[Any]:
    with segment.reading() as connection:
        return connection.execute(query).fetchall()


def test_more_events_than_a_batch_holds_are_folded_in_one_call(segment: SqliteSegment) -> None:
    raws = history(FOLD_EVENTS_MAX // 2 + 10)
    accept(segment, raws, fold=False)
    reached: list[int] = []
    assert fold_pending(segment, progress=reached.append) == segment.size()
    assert len(reached) > 1
    assert rows(segment, "SELECT groups FROM derivation") == [(len(raws) // 2,)]


def test_a_batch_that_fails_leaves_no_trace_and_is_folded_later(segment: SqliteSegment) -> None:
    accept(segment, history(3))
    before = graph_state(segment)
    with segment.writing() as connection:
        connection.execute(
            "CREATE TRIGGER no_room BEFORE INSERT ON run_event "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    accept(segment, history(5), fold=False)
    with pytest.raises(LodelineError):
        fold_pending(segment)
    assert graph_state(segment) == before
    with segment.writing() as connection:
        connection.execute("DROP TRIGGER no_room")
    fold_pending(segment)
    live = graph_state(segment)
    assert live.tree_size == segment.size()
    rebuild(segment)
    assert graph_state(segment) == live


def test_a_view_of_another_fold_version_is_folded_again_and_the_log_says_so(
    segment: SqliteSegment,
) -> None:
    accept(segment, history(3))
    before = graph_state(segment)
    with segment.writing() as connection:
        connection.execute("UPDATE fold_state SET fold_version = 0")
        connection.execute("DELETE FROM group_uses")
    fold_pending(segment)
    assert graph_state(segment).graph_digest == before.graph_digest
    recorded = [json.loads(one.payload or b"{}") for one in segment.iter_entries(kinds=["fold"])]
    assert recorded == [{"version": str(FOLD_VERSION)}]


def test_tables_of_an_earlier_view_give_way_to_views_of_the_same_name(
    segment: SqliteSegment,
) -> None:
    accept(segment, history(3))
    before = graph_state(segment)
    with segment.writing() as connection:
        connection.execute("UPDATE fold_state SET fold_version = 2")
        connection.execute("DROP VIEW assertion")
        connection.execute("CREATE TABLE assertion (derivation_id INTEGER, group_id INTEGER)")
        connection.execute("CREATE TABLE derivation_live (derivation_id INTEGER)")
    fold_pending(segment)
    assert graph_state(segment).graph_digest == before.graph_digest
    assert rows(segment, "SELECT type FROM sqlite_master WHERE name = 'assertion'") == [("view",)]
    assert not rows(segment, "SELECT 1 FROM sqlite_master WHERE name = 'derivation_live'")


def view_rows(segment: SqliteSegment) -> int:
    return sum(rows(segment, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES)


def test_what_a_run_does_again_is_one_row_more_whatever_it_uses(segment: SqliteSegment) -> None:
    def run(number: int, *, width: int) -> bytes:
        inputs = [f"in{one}" for one in range(width)]
        return raw(
            event("COMPLETE", run=str(number), job=f"of{width}", inputs=inputs, outputs=["X"])
        )

    added = {}
    for number, width in enumerate((2, 20)):
        accept(segment, [run(2 * number, width=width)])
        before = view_rows(segment)
        # Another process has nothing in memory: it finds the set in the view.
        with contextlib.closing(open_segment(segment.url, create=False)) as other:
            accept(other, [run(2 * number + 1, width=width)])
        added[width] = view_rows(segment) - before
    assert added[2] == added[20]
    assert rows(segment, "SELECT count(*) FROM uses") == [(2,)]


def test_an_empty_log_has_a_view_and_a_digest(segment: SqliteSegment) -> None:
    empty = graph_state(segment)
    rebuild(segment)
    assert graph_state(segment).graph_digest == empty.graph_digest


def test_erased_payloads_are_passed_over(segment: SqliteSegment) -> None:
    accept(segment, history(2))
    size = segment.size()
    with segment.writing() as connection:
        (position,) = connection.execute(
            "SELECT min(position) FROM entry WHERE kind = 'event'"
        ).fetchone()
        connection.execute("INSERT INTO erasure VALUES (?, ?)", (position, size))
        connection.execute("DELETE FROM payload WHERE position = ?", (position,))
    rebuild(segment)
    assert rows(segment, "SELECT count(*) FROM run_event") == [(3,)]


def test_columns_and_models_need_one_row_however_often_they_are_named(
    segment: SqliteSegment,
) -> None:
    table = dataset("A", schema={"fields": [{"name": "amount"}]})
    made = dataset("M", lodeline_model={"digest": "sha256:aa", "features": ["amount"]})
    accept(segment, [raw(event(run=str(i), inputs=[table], outputs=[made])) for i in (1, 2, 3)])
    kinds = rows(segment, "SELECT kind, count(*) FROM node GROUP BY kind ORDER BY kind")
    assert kinds == [("dataset", 1), ("datasetField", 1), ("job", 1), ("model", 1)]
    assert rows(segment, "SELECT number, version FROM number") == [(1, "sha256:aa")]


def test_readers_see_whole_batches_only(segment: SqliteSegment, tmp_path: Path) -> None:
    accept(segment, history(4))
    reader = sqlite3.connect(tmp_path / "lodeline.db")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM run_group").fetchone() == (4,)
    accept(segment, history(9))
    assert reader.execute("SELECT count(*) FROM run_group").fetchone() == (4,)
    reader.close()


def test_rebuild_tells_size_version_and_digest(
    segment: SqliteSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    accept(segment, history(3))
    live = graph_state(segment)
    assert main(["rebuild", "--store", segment.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "tree_size": segment.size(),
        "fold_version": FOLD_VERSION,
        "graph_digest": live.graph_digest,
    }
    assert main(["rebuild", "--store", segment.url]) == 0
    assert live.graph_digest in capsys.readouterr().out

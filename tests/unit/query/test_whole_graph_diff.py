"""The whole graph at two times is compared in pieces, by number, within bounds of time and size."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lodeline.ingest import accept
from lodeline.query import answers, ask, graph_diff, held
from lodeline.query.answers import Gap, Page, bound_gaps
from lodeline.query.asking import find_inquiry
from lodeline.query.graph_diff import diff_graph
from lodeline.query.graph_index import build_snapshot
from lodeline.query.parameters import DiffQuestion
from lodeline.query.permission import OPEN
from lodeline.store import Segment, open_segment

BEFORE, AFTER = 40, 6
# Size of the log before it grew.
SINCE: dict[str, Any] = {}


def event(number: int, source: str, target: str, day: int) -> bytes:
    facet: dict[str, Any] = {
        "_producer": "https://example.org/test",
        "_schemaURL": "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json",
        "fields": {"c": {"inputFields": [{"namespace": "w", "name": source, "field": "c"}]}},
    }
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-10-{day:02d}T00:00:00Z",
            "producer": "https://example.org/test",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-0000-0000-{number:012d}"},
            "job": {"namespace": "etl", "name": f"job_{target}"},
            "inputs": [{"namespace": "w", "name": source}],
            "outputs": [{"namespace": "w", "name": target, "facets": {"columnLineage": facet}}],
        }
    ).encode()


@pytest.fixture(params=["stored", "indexed", "indexed before"])
def segment(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Segment]:
    """A graph that grew after its first BEFORE entries, by tables that rest on `t_0`."""
    monkeypatch.setattr(held, "PIECE_STORED", 5)
    monkeypatch.setattr(held, "PIECE_INDEXED", 5)
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as opened:
        accept(opened, [event(i, f"t_{i}", f"t_{i + 1}", 1) for i in range(BEFORE)])
        if request.param == "indexed before":
            build_snapshot(opened)
        SINCE["since"] = opened.size()
        accept(opened, [event(BEFORE + i, "t_0", f"new_{i}", 2) for i in range(AFTER)])
        if request.param == "indexed":
            build_snapshot(opened)
        if request.param != "stored":
            # What is compared on the index needs no statement a piece.
            monkeypatch.setattr(held, "_stored", None)
        yield opened


def targets(answer: dict[str, Any]) -> list[str]:
    return sorted(one["at"].split(" -> ")[1].split(" ")[0] for one in answer["changes"])


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("earlier", [SINCE, {"valid_since": "2026-10-01T12:00:00Z"}])
def test_a_graph_too_large_to_compare_is_told_by_what_came(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, earlier: dict[str, Any], columns: bool
) -> None:
    question = earlier | {"columns": columns}
    whole = ask(segment, "diff", question)
    assert whole["complete"]
    assert len(whole["changes"]) == AFTER
    assert targets(whole) == sorted(
        f"datasetField:w:new_{i}:c" if columns else f"dataset:w:new_{i}" for i in range(AFTER)
    )
    monkeypatch.setattr(graph_diff, "DIFF_EDGES_MAX", AFTER)
    bounded = ask(segment, "diff", question)
    assert not bounded["complete"]
    assert [gap["reason"] for gap in bounded["gaps"]] == ["size"]
    assert bounded["changes"] == whole["changes"]
    monkeypatch.setattr(graph_diff, "DIFF_EDGES_MAX", AFTER - 2)
    cut = ask(segment, "diff", question)
    assert [gap["reason"] for gap in cut["gaps"]] == ["size", "size"]
    assert len(cut["changes"]) == AFTER - 2
    assert all(one in whole["changes"] for one in cut["changes"])


def test_of_a_large_graph_edges_at_nodes_of_several_names_are_left_out_and_a_gap_says_so(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = json.loads(event(200, "t_0", "new_0", 3))
    said["outputs"][0]["facets"]["symlinks"] = {
        "_producer": "https://example.org/test",
        "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/SymlinksDatasetFacet.json",
        "identifiers": [{"namespace": "w", "name": "z", "type": "TABLE"}],
    }
    accept(segment, [json.dumps(said).encode()])
    assert "dataset:w:new_0" in targets(ask(segment, "diff", SINCE))
    monkeypatch.setattr(graph_diff, "DIFF_EDGES_MAX", AFTER)
    bounded = ask(segment, "diff", SINCE)
    assert targets(bounded) == [f"dataset:w:new_{i}" for i in range(1, AFTER)]
    assert "several names" in bounded["gaps"][-1]["detail"] + bounded["gaps"][0]["detail"]


def test_the_clock_is_looked_at_after_every_piece(segment: Segment) -> None:
    question = DiffQuestion(**SINCE)
    with segment.reading() as connection:
        inquiry = find_inquiry(segment, connection, question, pinned=None, authoriser=OPEN)
        inquiry.budget.seconds = -1
        answer = diff_graph(inquiry, question, Page(0, 100, ""))
    assert [gap["reason"] for gap in answer["gaps"]] == ["size", "time"]
    assert "before number 5 " in answer["gaps"][1]["detail"]
    assert not answer["complete"]
    assert answer["changes"] == []


def test_only_the_first_gaps_of_a_reason_are_told_and_the_rest_is_counted(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "ANSWER_GAPS_MAX", 3)
    accept(segment, [event(100 + i, f"new_{i}", f"leaf_{i}", 3) for i in range(AFTER)])
    question = {"id": "dataset:w:t_0", "down": True, "depth": 1}
    answer = ask(segment, "trace", question)
    whole = ask(segment, "trace", question, every_gap=True)
    assert len(whole["gaps"]) == AFTER + 1
    assert [gap["at"] for gap in answer["gaps"]][:3] == [f"dataset:w:new_{i}" for i in range(3)]
    assert answer["gaps"][3]["detail"] == "and 4 more gaps of this reason"
    assert len(answer["gaps"]) == 4
    gaps = [Gap(f"n{i}", reason, "") for i in range(9) for reason in ("depth", "capture")]
    bounded = bound_gaps([*gaps, Gap("a", "time", "")], at="root")
    assert [gap.detail for gap in bounded if gap.at == "root"] == 2 * [
        "and 6 more gaps of this reason"
    ]
    assert len(bounded) == 2 * (3 + 1) + 1

"""`lodeline erase` and `lodeline retention`: what goes is gone from answers, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")

from lodeline.cli.main import main  # noqa: E402
from lodeline.errors import MissingPredictionError, UnknownNodeError  # noqa: E402
from lodeline.evidence import build_pack  # noqa: E402
from lodeline.fold.evidence import verify_pack  # noqa: E402
from lodeline.ingest.predictions import accept_predictions, find_prediction  # noqa: E402
from lodeline.query import ask  # noqa: E402
from lodeline.store import SqlSegment, open_segment  # noqa: E402
from lodeline.store.subject_records import find_subject  # noqa: E402
from row_chains import name, put, record, step, version  # noqa: E402
from row_erasures import BLOCK, OTHER, identifier, record_predictions  # noqa: E402

KEYS = ["A-1", "A-2", "A-3", "17"]


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[SqlSegment]:
    """d0, its rows named by keys, went row by row into d1, and grouped into d3; a set into d3."""
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as opened:
        keys = put(opened, {"key": pa.array(KEYS, pa.string())})
        keyed = {"dataset": name(0), "columns": ["id"], "digest": keys}
        record(opened, 1, [step(opened, 0, [3, 1, 2, 0])], keys=[keyed])
        members = {**step(opened, 1, [0, 2, 3]), "shape": "set", "output": name(3), "rows": 1}
        record(opened, 3, [members, {**step(opened, 1, [[0, 1], [2, 3]]), "output": name(3)}])
        yield opened


def run(segment: SqlSegment, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main([*words, "--json", "--store", f"sqlite:///{segment.path}"])
    written = capsys.readouterr()
    return code, json.loads(written.out) if written.out else written.err


def rows_of(segment: SqlSegment, text: str, **options: Any) -> set[str]:
    answer = ask(segment, "rows", {"id": text, **options})
    return {one["dataset"].rpartition(":")[2] + one["key"] for one in answer["rows"]}


def test_an_erased_row_has_neither_links_nor_key_and_others_keep_theirs(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    keyed = f"row:test:d0:A-2#{version(0)}"
    assert rows_of(segment, keyed, forward=True) >= {"d11"}
    code, told = run(segment, capsys, "erase", f"row:test:d1:1#{version(1)}", keyed, "--dry-run")
    assert (code, told["erased_by"]) == (0, None)
    assert sorted(one["rows"] for one in told["rows"]) == [[1], [1]]
    code, again = run(segment, capsys, "erase", f"row:test:d1:1#{version(1)}", keyed)
    assert code == 0
    assert again["rows"] == told["rows"]
    assert isinstance(again["erased_by"], int)
    back = ask(segment, "rows", {"id": f"row:test:d1:1#{version(1)}"})
    assert back["rows"] == []
    assert {gap["reason"] for gap in back["gaps"]} == {"erased"}
    with pytest.raises(UnknownNodeError):
        ask(segment, "rows", {"id": keyed})
    assert rows_of(segment, f"row:test:d1:0#{version(1)}") == {"d03"}
    # The group of d3 still says that it was made of rows 0 and 1: that is its claim, not theirs.
    assert rows_of(segment, f"row:test:d3:0#{version(3)}") >= {"d10", "d11"}
    assert run(segment, capsys, "erase", f"row:test:d1:1#{version(1)}")[0] == 1
    assert run(segment, capsys, "verify")[0] == 0


def test_forward_takes_every_claim_that_names_a_row_and_its_place_in_sets(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    for row, left in (("2", {"d10", "d11", "d13"}), ("0", {"d13"})):
        code, told = run(segment, capsys, "erase", f"row:test:d1:{row}#{version(1)}", "--forward")
        assert code == 0
        assert len(told["rows"]) == 3
        answer = ask(segment, "rows", {"id": f"dataset:test:d3#{version(3)}"})
        reached = {one["dataset"].rpartition(":")[2] + one["key"] for one in answer["rows"]}
        assert {one for one in reached if one.startswith("d1")} == left
    assert run(segment, capsys, "verify")[0] == 0


def test_what_names_no_single_row_erases_nothing(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(segment, capsys, "erase", "row:test:d1:1")[0] == 2
    assert run(segment, capsys, "erase", f"dataset:test:d1#{version(1)}")[0] == 2
    assert run(segment, capsys, "erase", f"row:test:d1:99#{version(1)}")[0] == 1
    assert not list(segment.iter_entries(kinds={"erasure"}))


def test_one_prediction_is_erased_and_its_neighbours_are_proven(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    record_predictions(segment)
    assert run(segment, capsys, "erase", f"prediction:{identifier(2)}")[0] == 0
    found = [find_prediction(segment, identifier(n)).status for n in range(4)]
    assert found == ["record", "record", "erased", "record"]
    assert verify_pack(build_pack(segment, {"id": f"prediction:{identifier(1)}"})).ok
    assert run(segment, capsys, "erase", f"prediction:{identifier(2)}")[0] == 1


def test_old_predictions_go_by_a_logged_expiry_and_do_not_come_back(
    segment: SqlSegment, capsys: pytest.CaptureFixture[str]
) -> None:
    record_predictions(segment)
    pack = build_pack(segment, {"id": f"prediction:{identifier(1)}"})
    later = {"features": {"customer": OTHER}, "status": 200, "output": 1}
    kept = {"type": "predictions", "block": f"{BLOCK:010x}"}
    assert accept_predictions(segment, [{**kept, "rows": [{"id": identifier(9), **later}]}]) == [
        None
    ]
    before = find_prediction(segment, identifier(9)).record["time"]
    words = ("retention", "predictions", "--before", before)
    assert len(run(segment, capsys, *words, "--dry-run")[1]["blobs"]) == 1
    code, told = run(segment, capsys, *words)
    assert (code, len(told["blobs"])) == (0, 1)
    assert run(segment, capsys, *words)[0] == 1
    found = [find_prediction(segment, identifier(n)).status for n in (0, 3, 9)]
    assert found == ["retention", "retention", "record"]
    with pytest.raises(MissingPredictionError, match="retention"):
        ask(segment, "trace", {"id": f"prediction:{identifier(1)}"})
    ahead = ask(segment, "rows", {"id": f"row:test:d1:0#{version(1)}", "forward": True})
    assert "retention" in {gap["reason"] for gap in ahead["gaps"]}
    # Delivered again, as after a crash, they are known, and kept out.
    rows = [{"id": identifier(n), **later} for n in range(4)]
    assert accept_predictions(segment, [{**kept, "rows": rows}]) == [None]
    assert find_prediction(segment, identifier(0)).status == "retention"
    assert [len(one) for one in find_subject(segment, OTHER).rows.values()] == [1]
    assert run(segment, capsys, "verify")[0] == 0
    assert verify_pack(pack).ok

"""Sampling keeps by identifier, keeps failures always, and says what it left out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_predictions import BLOCK, DEPLOYMENT, START, reservation

from lodeline.capture.prediction_log import PredictionLog
from lodeline.capture.sampling import SamplingRule, figures, parse_sampling, split_rows
from lodeline.cli.main import main
from lodeline.errors import UsageError
from lodeline.ingest import accept, fold_pending
from lodeline.ingest.predictions import (
    accept_predictions,
    count_predictions,
    count_summarised,
    find_prediction,
    rebuild_predictions,
    summarise_deployment,
)
from lodeline.model import PredictionId
from lodeline.model.sampling import is_sampled
from lodeline.query import ask
from lodeline.spool import Spool, open_drain
from lodeline.store import Segment, open_segment

DEPLOYED = f"deployment:{DEPLOYMENT['namespace']}:{DEPLOYMENT['name']}#{DEPLOYMENT['digest']}"


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    opened = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    yield opened
    opened.close()


def _id(counter: int) -> str:
    return str(PredictionId((START + counter * 1000) * 4096 // 1000, BLOCK, counter))


def _rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"id": _id(i), "time": 0, "status": 200, "latencyUs": 10, "output": i / 2,
         "features": {"age": i, "name": f"Ann {i}", "gone": None}, **more}
        for i in range(count)
    ]  # fmt: skip


def _record(rows: list[dict[str, Any]], rule: SamplingRule) -> dict[str, Any]:
    kept, summary = split_rows(rows, rule)
    record = {"type": "predictions", "block": f"{BLOCK:010x}", "rows": kept}
    return record if summary is None else {**record, "summary": summary}


def test_a_share_is_kept_by_identifier_alone_and_grows_with_the_share() -> None:
    ids = [str(uuid.UUID(int=i)) for i in range(20_000)]
    kept = {
        share: {one for one in ids if is_sampled(one, share)} for share in (0, 0.01, 0.1, 0.5, 1)
    }
    assert kept[0] == set()
    assert kept[1] == set(ids)
    assert kept[0.01] < kept[0.1] < kept[0.5]
    # Five standard deviations of a binomial count.
    for share in (0.01, 0.1, 0.5):
        spread = 5 * (len(ids) * share * (1 - share)) ** 0.5
        assert abs(len(kept[share]) - len(ids) * share) < spread
    assert all(is_sampled(one.upper(), 0.1) for one in kept[0.1])


def test_failures_and_slow_ones_are_kept_whatever_the_share() -> None:
    rows = _rows(6)
    rows[1]["error"] = "ValueError"
    rows[2]["status"] = 503
    rows[3]["gaps"] = [{"reason": "capture", "detail": "x"}]
    rows[4]["latencyUs"] = 90_000
    kept, summary = split_rows(rows, SamplingRule("*", 0.0, slow_ms=50))
    assert [row["id"] for row in kept] == [_id(1), _id(2), _id(3), _id(4)]
    assert summary is not None
    assert (summary["count"], summary["counters"]) == (2, [[0, 0], [5, 5]])
    assert split_rows(rows, SamplingRule("*", 1.0)) == (rows, None)


def test_a_summary_has_exact_figures_and_no_texts() -> None:
    _, summary = split_rows(_rows(100), SamplingRule("*", 0.0))
    assert summary is not None
    age = {k: v for k, v in summary["columns"]["features.age"].items() if k != "kll"}
    assert age == {"count": 100, "nulls": 0, "numbers": 100, "min": 0.0, "max": 99.0, "sum": 4950.0}
    assert summary["columns"]["features.gone"] == {"count": 100, "nulls": 100, "numbers": 0}
    assert summary["columns"]["output"]["max"] == 49.5
    assert "Ann" not in json.dumps(summary)
    assert figures([True, "x", float("nan"), 3])["numbers"] == 1


def test_a_sketch_counts_what_it_saw() -> None:
    datasketches = pytest.importorskip("datasketches")
    import base64

    text = figures(list(range(5_000)))["kll"]
    sketch = datasketches.kll_doubles_sketch.deserialize(base64.b64decode(text))
    assert sketch.n == 5_000
    assert (sketch.get_min_value(), sketch.get_max_value()) == (0, 4_999)


def test_a_prediction_that_was_left_out_is_sampled_and_one_that_was_lost_is_not(
    segment: Segment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _rows(50)
    rule = SamplingRule("*", 0.2)
    lost = next(row for row in rows if not is_sampled(row["id"], 0.2))
    record = _record([row for row in rows if row is not lost], rule)
    assert accept_predictions(segment, [reservation(), record, record]) == [None, None, None]
    kept = {row["id"] for row in record["rows"]}
    assert 0 < len(kept) < 49
    for row in rows:
        status = "record" if row["id"] in kept else "pending" if row is lost else "sampled"
        assert find_prediction(segment, row["id"]).status == status
    assert count_predictions(segment) == len(kept)
    left_out = [(49 - len(kept), 1)]
    assert list(count_summarised(segment).values()) == left_out
    rebuild_predictions(segment)
    assert list(count_summarised(segment).values()) == left_out
    one = next(row["id"] for row in rows if row is not lost and row["id"] not in kept)
    store = f"sqlite:///{tmp_path}/lodeline.db"
    assert main(["show", f"prediction:{one}", "--store", store, "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "could_not_tell.prediction"
    assert "sampled; it was made" in error["message"]
    assert main(["trace", f"prediction:{one}", "--store", store]) == 3


def test_answers_say_how_many_predictions_are_summaries(segment: Segment) -> None:
    facet: dict[str, Any] = {"_producer": "https://t", "_schemaURL": "https://t/x.json"}
    facet |= {"configuration": {}, "digest": DEPLOYMENT["digest"]}
    event = {
        "eventType": "COMPLETE", "eventTime": "2023-11-14T22:13:20Z", "producer": "https://t",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.UUID(int=7))}, "job": {"namespace": "prod", "name": "deploy"},
        "outputs": [{"namespace": DEPLOYMENT["namespace"], "name": DEPLOYMENT["name"],
                     "facets": {"lodeline_deployment": facet}}],
    }  # fmt: skip
    accept(segment, [json.dumps(event).encode()])
    rows = _rows(30)
    rows[3]["error"] = "ValueError"
    accept_predictions(segment, [reservation(), _record(rows, SamplingRule("*", 0.0))])
    fold_pending(segment)
    found = summarise_deployment(segment)
    assert (found["count"], found["columns"]["features.age"]["numbers"]) == (29, 29)
    assert (found["windows"], found["kept"], found["heads"]) == (1, 1, [0.0])
    assert found["firstTime"] < found["lastTime"]
    down: dict[str, dict[str, Any]] = {"trace": {"down": True}, "impact": {}}
    for verb, direction in down.items():
        answer = ask(segment, verb, {"id": DEPLOYED, **direction})
        gaps = {gap["reason"]: gap for gap in answer["gaps"]}
        assert gaps["sampled"]["at"] == DEPLOYED
        assert gaps["sampled"]["detail"].startswith("29 predictions are kept as summaries (1)")
        assert not answer["complete"]
    assert ask(segment, "show", {"id": DEPLOYED})["sampled"] == found


def test_a_malformed_summary_is_refused_whole(segment: Segment) -> None:
    record = _record(_rows(5), SamplingRule("*", 0.0))
    accept_predictions(segment, [reservation()])
    for change in (
        *({"count": 4}, {"counters": [[3, 1]]}, {"counters": []}, {"columns": 3}),
        *({"columns": {"age": bad}} for bad in (3, {"count": -1}, {"numbers": 1})),
        {"columns": {"age": {"numbers": 1, "min": 0, "max": float("inf"), "sum": 0}}},
    ):
        broken = {**record, "summary": {**record["summary"], **change}}
        (outcome,) = accept_predictions(segment, [broken])
        assert outcome is not None
        assert outcome.startswith("malformed")
    assert count_summarised(segment) == {}


def test_rules_of_the_settings_reach_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = '[[sampling.predictions]]\ndeployment = "prod:late-*"\nhead = 0\n'
    (tmp_path / "lodeline.toml").write_text(rules)
    monkeypatch.chdir(tmp_path)
    for name, rows in (("late-api", 0), ("other", 20)):
        spool = tmp_path / name
        deployment = {"deployment": {**DEPLOYMENT, "name": name}}
        log = PredictionLog(Spool(spool), lambda told=deployment: told)
        for i in range(20):
            log.add(log.ids.draw(), lambda _, i=i: {"status": 200, "output": i})
        log.close()
        with open_drain(spool) as drain:
            assert drain is not None
            bodies = [
                json.loads(r.body) for n in drain.iter_segments() for r in drain.iter_records(n)
            ]
        told = [body for body in bodies if body["type"] == "predictions"]
        assert sum(len(body["rows"]) for body in told) == rows
        assert sum(body.get("summary", {"count": 0})["count"] for body in told) == 20 - rows


def test_rules_out_of_range_are_refused() -> None:
    for table in (
        {"rows": []},
        {"runs": [{"job": "x"}]},
        {"runs": [{"head": 1.5}]},
        {"runs": [{"head": True}]},
        {"predictions": [{"head": 0.5, "tail": 1}]},
        {"predictions": [{"head": 0.5, "slow_ms": -1}]},
    ):
        with pytest.raises(UsageError):
            parse_sampling(table)
    assert parse_sampling({"runs": [{"head": 0}]})["runs"] == (SamplingRule("*", 0.0),)

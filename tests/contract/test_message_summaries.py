"""Summaries of messages: made of what passes, bounded, and told by answers with what they leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lodeline.capture.message_values import MessageValues
from lodeline.capture.sampling import SamplingRule, split_rows
from lodeline.ingest import accept
from lodeline.limits import MESSAGE_CELLS_MAX, MESSAGES_COLUMNS_MAX
from lodeline.query import ask
from lodeline.store import open_segment

RUN = "0190f6a2-0000-7000-8000-000000000007"


def _event(columns: dict[str, Any], count: int) -> bytes:
    url = "https://example.org/f.json#/$defs/F"
    facet = {
        "_producer": "https://example.org/p",
        "_schemaURL": url,
        "partitions": [{"partition": 0, "count": count, "bytes": 10 * count}],
        "digests": ["0" * 64],
        "complete": False,
        "read": count - 1,
        "columns": columns,
    }
    topic = {"namespace": "kafka://k:9092", "name": "orders"}
    return json.dumps(
        {
            "eventTime": "2026-01-01T00:00:00Z",
            "producer": "https://example.org/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "eventType": "COMPLETE",
            "run": {"runId": RUN},
            "job": {"namespace": "n", "name": "j"},
            "inputs": [{**topic, "inputFacets": {"lodeline_messages": facet}}],
            "outputs": [],
        }
    ).encode()


def test_an_answer_tells_counts_figures_and_a_checked_distribution(tmp_path: Path) -> None:
    pytest.importorskip("datasketches")
    values = MessageValues("kafka://k:9092:orders")
    for number in range(1_000):
        values.add(json.dumps({"amount": number, "by": {"name": "Ann"}}).encode())
    told = values.told()
    assert told["read"] == 1_000
    assert "Ann" not in json.dumps(told)
    forged = {**told["columns"]["amount"], "max": 5_000.0}
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db") as segment:
        accept(segment, [_event({**told["columns"], "forged": forged}, 1_001)])
        [shown] = ask(segment, "show", {"id": f"run:{RUN}"})["messages"]
    assert (shown["side"], shown["count"], shown["read"]) == ("read", 1_001, 1_000)
    assert (shown["digests"], shown["bytes"]) == (1, 10_010)
    amount = shown["columns"]["amount"]
    assert (amount["min"], amount["max"], amount["mean"]) == (0, 999, 499.5)
    assert abs(amount["distribution"]["quantiles"]["0.5"] - 500) < 1_000 * 0.03
    assert amount["distribution"]["values"] == 1_000
    assert shown["columns"]["by.name"] == {"count": 1_000, "nulls": 0, "numbers": 0}
    # A sketch that contradicts the figures beside it gives none.
    assert "distribution" not in shown["columns"]["forged"]
    assert "kll" not in json.dumps(shown)


def test_what_is_not_json_or_too_large_is_counted_as_not_read() -> None:
    values = MessageValues("kafka://k:9092:orders")
    deep: list[Any] = []
    deep.append(deep)
    wide = {str(number): number for number in range(MESSAGE_CELLS_MAX + 1)}
    for value in (b"", b"text", b"{broken", b"[" * 10_000, wide, deep, "text", object(), None):
        values.add(value)
    assert values.told() == {}
    values.add({str(number): number for number in range(MESSAGES_COLUMNS_MAX + 5)})
    values.add(10**400)
    told = values.told()
    assert told["read"] == 2
    assert len(told["columns"]) == MESSAGES_COLUMNS_MAX


def test_columns_with_rules_of_privacy_have_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = '[privacy]\n[[privacy.columns]]\ndeny = ["salary"]\nhide = ["secret*"]\n'
    (tmp_path / "lodeline.toml").write_text(rules)
    monkeypatch.chdir(tmp_path)
    values = MessageValues("kafka://k:9092:orders")
    values.add({"salary": 1, "age": 2, "secret_a": {"x": 3}})
    assert set(values.told()["columns"]) == {"age"}


def test_integers_and_sums_beyond_a_float_are_summarised_all_the_same() -> None:
    rows = [
        {"id": f"0190f6a2-0000-7000-8000-00000000000{n}", "output": value, "latencyUs": 1}
        for n, value in enumerate((10**400, 1.7e308, 1.7e308))
    ]
    _, summary = split_rows(rows, SamplingRule("*", 0.0))
    assert summary is not None
    output = summary["columns"]["output"]
    assert (output["count"], output["numbers"], output["max"]) == (3, 2, 1.7e308)
    json.dumps(summary, allow_nan=False)

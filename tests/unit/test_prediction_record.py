"""What writing a prediction down costs, counted in calls, and what privacy takes out of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lodeline.capture.prediction_log import PredictionLog
from lodeline.capture.prediction_record import Recording, Request
from lodeline.capture.privacy import NOTHING
from lodeline.credentials import MARK
from lodeline.spool import Spool

FEATURES = {f"feature_{i}": i * 1.5 for i in range(10)}
# A prediction of ten numbers with an identifier: read both bodies, look for entity keys and names
# of secrets, put the record together.
CALLS_MAX = 45


def finished(body: dict[str, Any]) -> Request:
    request = Request(Recording(lambda: pytest.fail("drawn twice")), 0)
    request.ended_ns, request.status = 1_000_000, 200
    request.keep_body(json.dumps(body).encode())
    request.keep_output(b'{"probability": 0.73, "model": "late30"}')
    return request


def test_writing_a_prediction_down_takes_few_calls() -> None:
    request, calls = finished({"customer": "c-17", **FEATURES}), 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    finished({"customer": "c-17", **FEATURES}).write_down()
    sys.setprofile(count)
    try:
        record = request.write_down()
    finally:
        sys.setprofile(None)
    assert record["features"]["customer"] == "c-17"
    assert record["features"]["feature_9"] == 13.5
    assert 0 < calls <= CALLS_MAX


def test_the_rules_of_privacy_are_looked_for_once_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = os.getcwd

    def counted() -> str:
        nonlocal asked
        asked += 1
        return real()

    log = PredictionLog(Spool(tmp_path), dict)
    monkeypatch.setattr(os, "getcwd", counted)
    # Written by this thread, in one batch.
    log._thread = object()  # type: ignore[assignment]
    for i in range(50):
        log.add(log.ids.draw(), lambda _, i=i: {"status": 200, "output": i})
    asked = 0
    log.flush()
    assert asked < 10  # for privacy, for sampling, for the settings of either


def test_values_that_hold_no_secret_are_not_copied() -> None:
    values = {"a": 1, "b": {"c": [1, {"d": "x"}]}, "e": "text", "f": None}
    assert NOTHING.conceal("m:api", values, []) is values
    rows = [values, {"password": "hunter2", "deep": {"api_key": "k", "n": 1}}]
    shown = NOTHING.conceal("m:api", rows, [])
    assert shown == [values, {"password": MARK, "deep": {"api_key": MARK, "n": 1}}]
    assert rows[1]["password"] == "hunter2"

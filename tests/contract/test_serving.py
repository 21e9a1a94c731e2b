"""The middleware records predictions of real applications on real sockets, and nothing else."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

import lodeline
from applications import served
from lodeline.capture import serving as module
from lodeline.capture.serving import observe_call, serving
from lodeline.ingest.predictions import find_prediction
from lodeline.model import find_prediction_id
from lodeline.spool import open_drain
from lodeline.store import open_segment

MODEL = {"namespace": "ml", "name": "late30", "version": "sha256:" + "0" * 64}


class Estimator:
    """Stands for scikit-learn: whoever patches it calls `observe_call` after the call."""

    feature_names_in_ = ("distance", "hour")

    def predict(self, features: Any) -> Any:
        output = np.asarray(features, dtype=float).sum(axis=1)
        observe_call(self, "predict", features, output)
        return output


async def predict(request: Request) -> JSONResponse:
    body = await request.json()
    if "fail" in body:
        raise RuntimeError("no such flight")
    features = pd.DataFrame([[body["distance"], 7]], columns=["distance", "hour"])
    return JSONResponse({"late": float(Estimator().predict(features)[0])})


def predict_in_a_thread(request: Request) -> JSONResponse:
    output = Estimator().predict(np.array([[1.5, 2.0], [np.nan, 4.0]]))
    return JSONResponse({"late": [str(value) for value in output]})


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"got": await request.json()})


async def health(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def streamed(request: Request) -> StreamingResponse:
    Estimator().predict(np.array([[1.0, 2.0]]))
    return StreamingResponse(iter([b"a", b"b", b"c"]), media_type="text/plain")


def application() -> Starlette:
    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/thread", predict_in_a_thread, methods=["POST"]),
            Route("/echo", echo, methods=["POST"]),
            Route("/health", health),
            Route("/streamed", streamed),
        ]
    )


async def raw_application(scope: Any, receive: Any, send: Any) -> None:
    """An application without any framework, and without lifespan."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    values = json.loads(body)["values"]
    observe_call(None, "predict", [values], [sum(values)])
    answer = json.dumps({"sum": sum(values)}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def post(url: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, data, given, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def spooled(directory: Path) -> list[dict[str, Any]]:
    with open_drain(directory) as drain:
        assert drain is not None
        return [
            json.loads(record.body)
            for name in drain.iter_segments()
            for record in drain.iter_records(name)
        ]


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [
        row
        for record in spooled(directory)
        if record["type"] == "predictions"
        for row in record["rows"]
    ]


@pytest.fixture(autouse=True)
def observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Hooks, "estimators_observed", True)


def test_a_prediction_is_recorded_with_everything_that_is_known(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", model=MODEL, spool=tmp_path)
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with served(app) as url:
        status, headers, body = post(
            f"{url}/predict",
            {"distance": 733, "flight": "UA-1545"},
            traceparent=parent,
            baggage="tenant=9,lodeline.run_id=7",
        )
    assert (status, json.loads(body)) == (200, {"late": 740.0})
    drawn = headers["lodeline-prediction-id"]
    (row,) = rows_of(tmp_path)
    assert row["latencyUs"] > 0
    assert row["time"] == find_prediction_id(drawn).time_us  # type: ignore[union-attr]
    del row["latencyUs"], row["time"]
    assert row == {
        "id": drawn,
        "status": 200,
        "method": "predict",
        "features": {"distance": 733, "hour": 7},
        "output": 740.0,
        "entityKeys": {"flight": "UA-1545"},
        "traceparent": parent,
        "baggage": "tenant=9,lodeline.run_id=7",
    }


def test_the_block_is_reserved_before_and_ended_after_its_predictions(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", model=MODEL, spool=tmp_path)
    with served(app) as url:
        drawn = find_prediction_id(
            post(f"{url}/predict", {"distance": 1})[1]["lodeline-prediction-id"]
        )
    assert drawn is not None
    records = [record for record in spooled(tmp_path) if record["type"] != "event"]
    assert [record["type"] for record in records] == ["reservation", "predictions", "end"]
    assert {record["block"] for record in records} == {drawn.block_text}
    assert records[0]["time"] <= drawn.time_us
    assert records[0]["model"] == MODEL
    assert records[0]["deployment"]["name"] == "late-api"
    assert (records[2]["next"], records[2]["clean"]) == (drawn.counter + 1, True)


def test_the_deployment_is_announced_once_at_start(tmp_path: Path) -> None:
    app = serving(
        application(), deployment="late-api", model=MODEL, namespace="prod", spool=tmp_path
    )
    with served(app) as url:
        post(f"{url}/predict", {"distance": 1})
    (event,) = [record["event"] for record in spooled(tmp_path) if record["type"] == "event"]
    assert (event["dataset"]["namespace"], event["dataset"]["name"]) == ("prod", "late-api")
    facet = event["dataset"]["facets"]["lodeline_deployment"]
    assert facet["model"] == facet["configuration"]["model"] == MODEL


def test_requests_that_ask_no_model_pass_untouched(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", spool=tmp_path)
    with served(app) as url:
        with urllib.request.urlopen(f"{url}/health") as response:
            assert response.read() == b"ok"
            assert "lodeline-prediction-id" not in response.headers
        assert "lodeline-prediction-id" not in post(f"{url}/echo", {"a": 1})[1]
        assert post(f"{url}/nowhere", {"a": 1})[0] == 404
        assert post(f"{url}/predict", b"not json")[0] == 500
    assert rows_of(tmp_path) == []


def test_a_failure_on_a_path_that_predicts_is_recorded(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", spool=tmp_path)
    with served(app) as url:
        post(f"{url}/predict", {"distance": 1})
        status, headers, _ = post(f"{url}/predict", {"fail": True, "flight": "AA-1"})
    assert status == 500
    failed = rows_of(tmp_path)[1]
    assert failed["id"] == headers["lodeline-prediction-id"]
    assert (failed["status"], failed["error"]) == (500, "RuntimeError")
    assert "output" not in failed


def test_a_synchronous_endpoint_in_a_thread_is_recorded_row_by_row(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", spool=tmp_path)
    with served(app) as url:
        assert post(f"{url}/thread", {})[0] == 200
    (row,) = rows_of(tmp_path)
    assert row["rows"] == 2
    assert row["features"] == [{"distance": 1.5, "hour": 2.0}, {"distance": "NaN", "hour": 4.0}]
    assert row["output"] == [3.5, "NaN"]


def test_a_streamed_answer_arrives_whole_and_is_recorded(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", spool=tmp_path)
    with served(app) as url, urllib.request.urlopen(f"{url}/streamed") as response:
        assert response.read() == b"abc"
    assert len(rows_of(tmp_path)) == 1


def test_without_observed_estimators_json_requests_are_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Hooks, "estimators_observed", False)
    app = serving(application(), deployment="late-api", spool=tmp_path, entity_keys=["customer"])
    with served(app) as url:
        assert "lodeline-prediction-id" in post(f"{url}/echo", {"a": 1, "customer": "c7"})[1]
        urllib.request.urlopen(f"{url}/health").close()
        assert post(f"{url}/nowhere", {"a": 1})[0] == 404
    (row,) = rows_of(tmp_path)
    assert row["features"] == {"a": 1, "customer": "c7"}
    assert row["output"] == {"got": {"a": 1, "customer": "c7"}}
    assert row["entityKeys"] == {"customer": "c7"}


def test_an_application_without_framework_or_lifespan_is_recorded(tmp_path: Path) -> None:
    app = serving(raw_application, deployment="sum", spool=tmp_path)
    with served(app) as url:
        status, headers, body = post(url, {"values": [1, 2, 3]})
    app.log.flush()
    assert (status, json.loads(body)) == (200, {"sum": 6})
    assert [row["id"] for row in rows_of(tmp_path)] == [headers["lodeline-prediction-id"]]


def test_large_features_are_kept_as_their_digest(tmp_path: Path) -> None:
    app = serving(raw_application, deployment="sum", spool=tmp_path)
    with served(app) as url:
        post(url, {"values": list(range(20_000))})
    app.log.flush()
    (row,) = rows_of(tmp_path)
    assert "features" not in row
    assert row["featuresDigest"].startswith("sha256:")


def test_features_changed_after_the_call_are_recorded_as_they_were(tmp_path: Path) -> None:
    async def reusing(scope: Any, receive: Any, send: Any) -> None:
        array = np.array([[1.0, 2.0]])
        Estimator().predict(array)
        array[:] = -1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = serving(reusing, deployment="x", spool=tmp_path)
    with served(app) as url:
        post(url, {})
    app.log.flush()
    assert rows_of(tmp_path)[0]["features"] == {"distance": 1.0, "hour": 2.0}


def test_concurrent_requests_keep_their_own_features(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", spool=tmp_path)
    answers: dict[str, float] = {}

    def ask(number: int) -> None:
        for i in range(20):
            _, headers, body = post(f"{url}/predict", {"distance": number * 1000 + i})
            answers[headers["lodeline-prediction-id"]] = json.loads(body)["late"]

    with served(app) as url:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    rows = rows_of(tmp_path)
    assert len(rows) == len(answers) == 160
    for row in rows:
        assert row["output"] == answers[row["id"]] == row["features"]["distance"] + 7


def test_a_spool_that_cannot_be_written_does_not_reach_the_client(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    app = serving(application(), deployment="late-api", spool=tmp_path / "file" / "spool")
    with served(app) as url:
        assert post(f"{url}/predict", {"distance": 1})[0] == 200
    assert app.log.spool.loss.records > 0


def test_the_wrapped_application_keeps_its_attributes(tmp_path: Path) -> None:
    app = serving(application(), deployment="late-api", spool=tmp_path)
    assert len(app.routes) == 5


def test_flush_delivers_predictions_that_wait_for_their_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    monkeypatch.setenv("LODELINE_STORE", store)
    app = serving(raw_application, deployment="sum")
    with served(app) as url:
        drawn = post(url, {"values": [1, 2]})[1]["lodeline-prediction-id"]
        # A client may have its answer a moment before the server's thread has queued the note.
        found, status = 0, ""
        for _ in range(100):
            found += lodeline.flush(timeout=10)["delivered"]
            segment = open_segment(store)
            status = find_prediction(segment, drawn).status
            segment.close()
            if status == "record":
                break
            time.sleep(0.02)
        assert (status, found >= 2) == ("record", True)

"""From one HTTP answer back to the training file, through programs that do not import lodeline."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lodeline.cli.main import main

TRAIN = """
import joblib, pandas as pd
from sklearn.linear_model import LogisticRegression
rows = pd.read_csv("train.csv")
joblib.dump(LogisticRegression().fit(rows[["a", "b"]], rows["y"]), "late.joblib")
"""
SERVE = """
import sys
import joblib, pandas as pd, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
model = joblib.load("late.joblib")

async def predict(request):
    asked = await request.json()
    row = pd.DataFrame([[asked["a"], asked["b"]]], columns=["a", "b"])
    return JSONResponse({"late": float(model.predict_proba(row)[0, 1])})

app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")
"""


def command(store: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "lodeline", "run", "--store", store, "--", sys.executable, *words]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def ask(port: int, body: object) -> tuple[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.headers["Lodeline-Prediction-Id"], json.loads(answer.read())
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until, "the server did not come up"
            time.sleep(0.1)


@pytest.mark.slow
def test_a_served_prediction_leads_to_its_model_and_its_training_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    lines = ["a,b,y", *(f"{i % 7},{i % 5},{i % 2}" for i in range(200))]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "serve.py").write_text(SERVE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command(store, "train.py"), cwd=tmp_path, env=environment, check=True)
    port = free_port()
    server = subprocess.Popen(command(store, "serve.py", str(port)), cwd=tmp_path, env=environment)
    try:
        given = [ask(port, {"a": i, "b": 2, "customer": f"c{i}"}) for i in range(3)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    model = hashlib.sha256((tmp_path / "late.joblib").read_bytes()).hexdigest()
    training = hashlib.sha256((tmp_path / "train.csv").read_bytes()).hexdigest()

    identifier, answer = given[1]
    assert main(["show", f"prediction:{identifier}", "--store", store, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"] == f"model:default:late#sha256:{model}"
    record = shown["record"]
    assert record["features"] == {"a": 1, "b": 2}
    assert record["entityKeys"] == {"customer": "c1"}
    assert {"late": record["output"][1]} == answer

    assert main(["trace", f"prediction:{identifier}", "--store", store, "--json"]) == 0
    trace = json.loads(capsys.readouterr().out)
    nodes = {node["id"] for node in trace["nodes"]}
    assert f"model:default:late#sha256:{model}" in nodes
    assert f"dataset:file:{tmp_path}/train.csv#sha256:{training}" in nodes
    assert {edge["kind"] for edge in trace["edges"]} >= {"predicts", "deploys", "trains"}
    # The server was ended by a signal, and the answer says so; nothing else is missing.
    assert [gap["detail"].partition(":")[0] for gap in trace["gaps"]] == ["ended by SIGTERM"]

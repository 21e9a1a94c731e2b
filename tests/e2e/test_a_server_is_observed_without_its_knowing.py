"""A plain model server under `lodeline run`: each prediction leads back to the training data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

SOURCES = Path(__file__).parents[2] / "src"

TRAIN = """
import joblib, pandas as pd
from sklearn.linear_model import LogisticRegression
table = pd.read_csv("train.csv")
joblib.dump(LogisticRegression().fit(table[["a"]], table.y), "late.joblib")
"""

SERVE = """
import sys, joblib, pandas as pd, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
model = joblib.load("late.joblib")
async def predict(request):
    row = pd.DataFrame([await request.json()])
    return JSONResponse({"p": float(model.predict_proba(row)[0, 1])})
app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


def lodeline(folder: Path, *words: str) -> list[str]:
    store = f"sqlite:///{folder / 'store' / 'lodeline.db'}"
    return [sys.executable, "-m", "lodeline.cli.main", words[0], "--store", store, *words[1:]]


def test_a_prediction_of_a_plain_server_leads_to_the_training_data(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LODELINE_")}
    environment["PYTHONPATH"] = str(SOURCES)
    (tmp_path / "train.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "serve.py").write_text(SERVE)
    subprocess.run(
        lodeline(tmp_path, "run", "--", sys.executable, "train.py"),
        cwd=tmp_path,
        env=environment,
        check=True,
        timeout=120,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        lodeline(tmp_path, "run", "--", sys.executable, "serve.py", str(port)),
        cwd=tmp_path,
        env=environment,
    )
    try:
        identifier = ask(f"http://127.0.0.1:{port}/predict")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    done = subprocess.run(
        lodeline(tmp_path, "trace", f"prediction:{identifier}", "--up", "--json"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    nodes = {(node["kind"], node["name"]) for node in json.loads(done.stdout)["nodes"]}
    assert {("deployment", "serve"), ("model", "late")} <= nodes
    assert ("dataset", str(tmp_path / "train.csv")) in nodes


def ask(url: str) -> str:
    """Ask until the server is up; gives the prediction's identifier."""
    for _ in range(300):
        try:
            answer = httpx.post(url, json={"a": 3}, timeout=5)
        except httpx.TransportError:
            time.sleep(0.2)
            continue
        assert answer.status_code == 200
        return answer.headers["lodeline-prediction-id"]
    raise AssertionError("the server did not come up")

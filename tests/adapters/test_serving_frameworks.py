"""Applications of web frameworks, as their users write and start them, in old and new releases."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from brokers import free_port, until
from lodeline.spool import open_drain
from observing import environment

FASTAPI = """
from fastapi import FastAPI
from pydantic import BaseModel
{wrap_import}
app = FastAPI()

class Flight(BaseModel):
    distance: float

@app.post("/predict")
def predict(flight: Flight):
    return {{"late": flight.distance > 100}}

@app.get("/health")
def health():
    return {{"ok": True}}
{wrap}
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
{wrap_import}
async def predict(request):
    return JSONResponse({{"late": (await request.json())["distance"] > 100}})

async def health(request):
    return JSONResponse({{"ok": True}})

app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)])
{wrap}
"""
WRAPPED = {
    "wrap_import": "import lodeline",
    "wrap": 'app = lodeline.serving(app, deployment="late-api", model="model:ml:late#1")',
}


@pytest.mark.parametrize("text", [FASTAPI, STARLETTE], ids=["fastapi", "starlette"])
def test_an_application_records_its_predictions_and_answers_as_before(
    tmp_path: Path, interpreter: str, text: str
) -> None:
    answers = []
    for name, parts in (("plain", {"wrap_import": "", "wrap": ""}), ("wrapped", WRAPPED)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "service.py").write_text(text.format(**parts))
        answers.append(ask(folder, interpreter))
    plain, wrapped = answers
    drawn = wrapped[0][1].pop("lodeline-prediction-id")
    for (body, headers), (other, others) in zip(plain, wrapped, strict=True):
        assert body == other
        assert {k: v for k, v in headers.items() if k != "date"} == {
            k: v for k, v in others.items() if k != "date"
        }
    records = spooled(tmp_path / "wrapped" / ".lodeline" / "lodeline.db.spool")
    (row,) = [row for one in records if one["type"] == "predictions" for row in one["rows"]]
    assert (row["id"], row["features"]) == (drawn, {"distance": 733})
    assert row["output"] == {"late": True}
    assert records[-1]["type"] == "end"


def ask(folder: Path, interpreter: str) -> list[tuple[bytes, dict[str, str]]]:
    """Serve with uvicorn, ask three times, and stop as an operator does."""
    port = free_port()
    server = subprocess.Popen(
        [interpreter, "-m", "uvicorn", "service:app", "--port", str(port)],
        cwd=folder,
        env=environment(LODELINE_STORE=str(folder / ".lodeline" / "lodeline.db")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: server.poll() is not None or reaches(port))
        assert server.poll() is None, server.communicate()[1]
        url = f"http://127.0.0.1:{port}"
        found = []
        for path, body in (("predict", b'{"distance": 733}'), ("health", None)):
            request = urllib.request.Request(
                f"{url}/{path}", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                found.append((response.read(), headers))
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
        return found
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()


def reaches(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def spooled(directory: Path) -> list[dict[str, object]]:
    with open_drain(directory) as drain:
        assert drain is not None
        return [
            json.loads(record.body)
            for name in drain.iter_segments()
            for record in drain.iter_records(name)
        ]

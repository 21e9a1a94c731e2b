"""A server killed in mid-traffic: every identifier it gave out is a record, or known to be lost."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lodeline.ingest.predictions import find_prediction, iter_blocks
from lodeline.model import find_prediction_id
from lodeline.spool import spool_directory
from lodeline.store import open_segment
from lodeline.transport import drain_into

SERVER = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from lodeline.capture.serving import serving

async def predict(request):
    body = await request.json()
    return JSONResponse({"double": 2 * body["number"]})

app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
app = serving(app, deployment="double", model="model:ml:double#1", spool=sys.argv[1])
config = uvicorn.Config(app, port=0, log_level="critical")
server = uvicorn.Server(config)

async def told():
    await started()
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)

started = server.startup
server.startup = lambda sockets=None: told()
server.run()
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_after_its_end_no_prediction_of_a_server_is_merely_unknown(
    tmp_path: Path, end: signal.Signals
) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool = spool_directory(store)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(spool)],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert server.stdout is not None
    connection = http.client.HTTPConnection("127.0.0.1", int(server.stdout.readline()))
    given = []
    until = time.monotonic() + 1.0
    while time.monotonic() < until or len(given) < 50:
        body = json.dumps({"number": len(given)})
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        given.append(response.headers["Lodeline-Prediction-Id"])
    server.send_signal(end)
    server.wait()
    server.stdout.close()
    connection.close()
    assert drain_into(store, None).complete
    segment = open_segment(store)
    found = [find_prediction(segment, one) for one in given]
    assert {one.status for one in found} <= {"record", "lost"}
    assert sorted(given) == given
    lost = [number for number, one in enumerate(found) if one.status == "lost"]
    if end == signal.SIGTERM:
        assert lost == []
    # What is lost is the unflushed end, nothing in between.
    assert lost == list(range(len(given) - len(lost), len(given)))
    for number, one in enumerate(found):
        if one.record is not None:
            assert one.record["output"] == {"double": 2 * number}
    (block,) = iter_blocks(segment)
    assert (block.ended, block.ended_clean) == (True, end == signal.SIGTERM)
    assert str(block.model) == "model:ml:double#1"
    last = find_prediction_id(given[-1])
    assert last is not None
    assert last.counter == len(given) - 1
    segment.close()

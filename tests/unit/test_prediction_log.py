"""What recording costs requests, counted: wake-ups, writes, switches of threads, calls."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lodeline.capture.prediction_log import PredictionLog
from lodeline.capture.serving import ServingMiddleware, serving
from lodeline.limits import PREDICTIONS_BATCH_MAX, PREDICTIONS_IN_ONE_GO
from lodeline.spool import Spool

# A JSON request that is answered as JSON: kept, marked with its identifier, queued.
CALLS_MAX = 52


class CountedEvent(threading.Event):
    """An event that knows how often it was set."""

    times = 0

    def set(self) -> None:
        self.times += 1
        super().set()


def test_requests_go_first_within_a_batch(tmp_path: Path) -> None:
    log = PredictionLog(Spool(tmp_path), dict)
    gave_way: list[int] = []
    done = threading.Event()

    def write_down(_: object) -> dict[str, Any]:
        # How often the kernel took this thread for one that waits.
        gave_way.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)
        if len(gave_way) == PREDICTIONS_BATCH_MAX:
            done.set()
        return {}

    for _ in range(PREDICTIONS_BATCH_MAX):
        log.add(log.ids.draw(), write_down)
    assert done.wait(60)
    log.close()
    assert gave_way[-1] - gave_way[0] >= PREDICTIONS_BATCH_MAX // PREDICTIONS_IN_ONE_GO - 1


def test_ten_batches_wake_the_writer_once_and_are_ten_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PredictionLog(Spool(tmp_path), dict)
    log.ids.prepare()
    log._thread = object()  # type: ignore[assignment]  # written by this thread
    log._wake = wake = CountedEvent()
    for i in range(10 * PREDICTIONS_BATCH_MAX):
        log.add(log.ids.draw(), lambda _, i=i: {"output": i})
    assert wake.times == 1
    written: list[int] = []
    real = os.pwrite

    def counted(file: int, data: bytes, offset: int) -> int:
        written.append(len(data))
        return real(file, data, offset)

    monkeypatch.setattr(os, "pwrite", counted)
    log.flush()
    assert len(written) == 10


def test_a_request_passes_in_few_calls(tmp_path: Path) -> None:
    calls = 0

    async def application(_: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"1"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(_: Any) -> None:
        return None

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    app = serving(application, deployment="api", model="model:ml:m#1", spool=tmp_path)
    given = {"type": "http", "method": "POST", "path": "/"}
    scope = {**given, "headers": [(b"content-type", b"application/json")]}

    async def ask_twice(app: ServingMiddleware) -> None:
        await app(scope, receive, send)
        sys.setprofile(count)
        try:
            await app(scope, receive, send)
        finally:
            sys.setprofile(None)

    asyncio.run(ask_twice(app))
    app.watch.stop()
    app.log.close()
    assert 0 < calls <= CALLS_MAX, calls

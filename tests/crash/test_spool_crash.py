"""Killed while spooling or while draining: nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lodeline.spool import measure_loss, open_drain, spool_directory
from lodeline.store import open_segment
from lodeline.transport import drain_into

WRITER = """
import json, sys, time
from lodeline.spool import Spool
spool, name = Spool(sys.argv[1]), sys.argv[2]
for i in range(10**9):
    event = {
        "eventType": "COMPLETE", "eventTime": f"2026-11-22T10:00:00.{i:06d}Z",
        "producer": "https://example.org",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-4000-8{int(name):03d}-{i:012d}"},
        "job": {"namespace": "default", "name": f"job {name}"},
        "inputs": [{"namespace": "d", "name": f"in {i % 7}"}],
        "outputs": [{"namespace": "d", "name": f"out {name}"}],
    }
    if spool.append(json.dumps({"type": "event", "event": event}).encode()):
        sys.stdout.write(f"{i}\\n"); sys.stdout.flush()
    time.sleep(0.002)
"""
DRAINER = """
import sys
from lodeline.transport import drain_into
while True:
    drain_into(sys.argv[1], None)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def start(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        **options,  # type: ignore[call-overload]
    )


def kill(process: subprocess.Popen[str]) -> list[str]:
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    lines = process.stdout.read().split("\n")[:-1]
    process.wait()
    return lines


def runs_in(store: str) -> list[str]:
    segment = open_segment(store)
    try:
        entries = segment.iter_entries(kinds={"event"})
        return [json.loads(entry.payload or b"")["run"]["runId"] for entry in entries]
    finally:
        segment.close()


@pytest.mark.slow
def test_writers_and_drainers_killed_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool = spool_directory(store)
    confirmed: set[str] = set()
    open_segment(store).close()
    for round_number in range(8):
        writers = {
            name: start(WRITER, str(spool), str(name))
            for name in (round_number, 500 + round_number)
        }
        drainer = start(DRAINER, store)
        time.sleep(chance.uniform(0.3, 1.0))
        kill(drainer)
        for name, writer in writers.items():
            for line in kill(writer):
                confirmed.add(f"00000000-0000-4000-8{name:03d}-{int(line):012d}")
    report = drain_into(store, None)
    assert report.complete, (seed, report)
    runs = runs_in(store)
    assert len(runs) == len(set(runs)), seed
    assert confirmed <= set(runs), seed
    # A writer killed between its append and its word about it: recorded, not yet confirmed.
    assert len(set(runs) - confirmed) <= 2 * 8, seed
    assert not list(spool.glob("*.segment"))
    assert measure_loss(spool).records == 0


@pytest.mark.slow
def test_a_drain_killed_again_and_again_still_finishes(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    spool = spool_directory(store)
    writer = start(WRITER, str(spool), "1")
    time.sleep(1.0)
    count = len(kill(writer))
    for _ in range(8):
        drainer = start(DRAINER, store)
        time.sleep(0.45)
        kill(drainer)
    assert drain_into(store, None).complete
    runs = runs_in(store)
    assert len(runs) == len(set(runs))
    assert len(runs) in {count, count + 1}
    with open_drain(spool) as drain:
        assert drain is not None

"""The service is killed under load and stays away; deliverers are killed, too. Nothing is missing.

`python tests/crash/test_outage.py SECONDS` does the same with an outage as long as one likes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from brokers import answers, free_port, until
from lodeline.ingest import accept, fold_pending, graph_state
from lodeline.spool import Spool, iter_pending, measure_loss
from lodeline.store import open_segment


def event(name: int, number: int) -> bytes:
    """The event that program `name` writes as its `number`-th."""
    told = {
        "eventType": "COMPLETE",
        "eventTime": "2026-11-22T10:00:00Z",
        "producer": "https://example.org",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-4000-8{name:03d}-{number:012d}"},
        "job": {"namespace": "default", "name": f"job {name}"},
        "inputs": [{"namespace": "d", "name": f"in {number % 50}"}],
        "outputs": [{"namespace": "d", "name": f"out {name} {number % 20}"}],
    }
    return json.dumps(told).encode()


def write(directory: str, name: int, seconds: float, pause: float) -> None:
    """Be a program that is observed; says how many events it wrote."""
    spool, end, number = Spool(directory), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        assert spool.append(b'{"type": "event", "event": ' + event(name, number) + b"}")
        number += 1
        time.sleep(pause)
    spool.close()
    print(number)


ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("LODELINE_")} | {
    "PYTHONPATH": os.pathsep.join(sys.path)
}


def start(*words: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        **options,  # type: ignore[call-overload]
    )


class Scene:
    """A service that can be killed, and a deliverer that can be, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.store = f"sqlite:///{folder}/central/lodeline.db"
        self.local = f"sqlite:///{folder}/local/lodeline.db"
        self.spool = folder / "local" / "lodeline.db.spool"
        (folder / "central").mkdir()
        self.service: subprocess.Popen[str] | None = None
        self.deliverer: subprocess.Popen[str] | None = None

    def serve(self) -> None:
        words = ["-m", "lodeline", "serve", "--port", str(self.port), "--store", self.store]
        self.service = start(*words)
        until(lambda: answers(self.port))

    def deliver(self) -> None:
        words = ["-m", "lodeline", "flush", "--follow", "--store", self.local]
        self.deliverer = start(*words, "--to", f"http://127.0.0.1:{self.port}")

    def kill(self, name: str) -> None:
        process = getattr(self, name)
        if process is not None:
            process.kill()
            process.communicate()
            setattr(self, name, None)

    @property
    def pending(self) -> int:
        return sum(count for _, count in iter_pending(self.spool))


def outage(folder: Path, seconds: float, *, pause: float, seed: int) -> dict[str, object]:
    """Programs write all the time; the service dies, stays away, comes back; deliverers die."""
    chance, scene = random.Random(seed), Scene(folder)
    scene.serve()
    scene.deliver()
    lead = max(1.0, seconds / 10)
    load = [
        start(__file__, "write", str(scene.spool), str(n), str(seconds + 3 * lead), str(pause))
        for n in range(3)
    ]
    try:
        until(lambda: len(list(scene.spool.glob("*.segment"))) == len(load))
        time.sleep(lead)
        scene.kill("service")
        gone = time.monotonic()
        while time.monotonic() < gone + seconds:
            time.sleep(chance.uniform(0.2, max(0.5, seconds / 8)))
            scene.kill("deliverer")
            scene.deliver()
        away = scene.pending
        back = time.monotonic()
        scene.serve()
        for _ in range(3):
            time.sleep(chance.uniform(0.1, 0.5))
            scene.kill("deliverer")
            scene.deliver()
        counts = [int(program.communicate()[0]) for program in load]
        until(lambda: not scene.pending, seconds=300)
        until_now = time.monotonic() - back
    finally:
        for program in load:
            program.kill()
        scene.kill("deliverer")
        scene.kill("service")
    return {
        "away_s": round(seconds, 1),
        "spooled_bytes_at_return": away,
        "caught_up_s": round(until_now, 1),
        **held(scene, counts),
    }


def held(scene: Scene, counts: list[int]) -> dict[str, object]:
    """What was sent, what the log has of it, and whether the graph is that of a plain import."""
    sent = [event(name, number) for name in range(3) for number in range(counts[name])]
    with open_segment(f"sqlite:///{scene.folder}/plain.db") as plain:
        accept(plain, sent)
        fold_pending(plain)
        expected = graph_state(plain).graph_digest
    with open_segment(scene.store) as segment:
        entries = segment.iter_entries(kinds={"event"})
        runs = [json.loads(entry.payload or b"")["run"]["runId"] for entry in entries]
        fold_pending(segment)
        digest = graph_state(segment).graph_digest
    loss = measure_loss(scene.spool)
    return {
        "sent": len(sent),
        "in_log": len(runs),
        "twice": len(runs) - len(set(runs)),
        "graph_of_a_plain_import": digest == expected,
        "lost": loss.records + loss.torn,
    }


@pytest.mark.slow
def test_a_service_away_under_load_has_everything_once_it_is_back(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    found = outage(tmp_path, 6.0, pause=0.01, seed=seed)
    assert found["sent"] == found["in_log"], (seed, found)
    assert (found["twice"], found["lost"]) == (0, 0), (seed, found)
    assert found["graph_of_a_plain_import"], (seed, found)
    assert int(str(found["spooled_bytes_at_return"])) > 0, (seed, found)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
    else:
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(outage(Path(place), float(sys.argv[1]), pause=0.01, seed=1), indent=2))

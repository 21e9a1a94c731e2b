"""Kills ingesting children at random moments and says what the store kept; a program of its own.

Forks from one warm process, so that 200 rounds take seconds: `python killing.py FOLDER ROUNDS SEED`
prints one JSON object. Every `ROUNDS_OF_A_STORE` rounds a new store is begun, so that making a
store is killed, too.
"""

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from lodeline.errors import LodelineError
from lodeline.ingest import accept, fold_pending, graph_state, rebuild
from lodeline.store import open_segment
from lodeline.store.verification import verify_segment

ROUNDS_OF_A_STORE = 10


def event(number: int) -> bytes:
    run = f"00000000-0000-4000-8000-{number // 2:012x}"
    body = {
        "eventType": "START" if number % 2 == 0 else "COMPLETE",
        "eventTime": f"2026-01-01T00:00:{number % 60:02d}Z",
        "producer": "https://example.com/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run},
        "job": {"namespace": "crash", "name": f"job{number % 7}"},
        "inputs": [{"namespace": "crash", "name": f"in{number % 5}"}],
        "outputs": [{"namespace": "crash", "name": f"out{number % 3}"}],
    }
    return json.dumps(body).encode()


def ingest_until_killed(path: Path, first: int, ready: int) -> None:
    """Append batches for ever; write each event's number to the pipe once it is acknowledged."""
    segment = open_segment(f"sqlite:///{path}")
    chance = random.Random(first)
    number = first
    while True:
        batch = list(range(number, number + chance.choice([1, 1, 2, 5, 40])))
        result = accept(segment, map(event, batch), fold=False)
        assert result.refused == 0
        os.write(ready, b"".join(b"%d\n" % n for n in batch))
        number = batch[-1] + 1
        if chance.random() < 0.5:
            fold_pending(segment)


def kill_once(path: Path, first: int, delay: float, *, opened: bool = False) -> set[int]:
    """Fork a child that ingests, kill it after a delay, and give what it acknowledged.

    The delay counts from the fork, or, with `opened`, from the child's first acknowledgement.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            ingest_until_killed(path, first, writing)
        except BaseException as error:  # the parent must hear of it
            os.write(writing, f"error {error!r}\n".encode())
        os._exit(1)
    os.close(writing)
    if opened:
        select.select([reading], [], [], 10)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    text = b""
    while select.select([reading], [], [], 0)[0] and (part := os.read(reading, 65536)):
        text += part
    os.close(reading)
    lines = text.decode().split("\n")[:-1]
    assert not [line for line in lines if line.startswith("error")], lines
    return {int(line) for line in lines}


def examine(path: Path, acknowledged: set[int]) -> dict[str, object]:
    """Open what the kill left and hold it against what was acknowledged."""
    if not path.exists():
        return {"lost": len(acknowledged), "size": 0, "failures": [], "same_graph": True}
    segment = open_segment(f"sqlite:///{path}")
    numbers = set()
    for entry in segment.iter_entries(kinds={"event"}):
        body = json.loads(entry.payload)
        half = body["eventType"] == "COMPLETE"
        numbers.add(int(body["run"]["runId"][-12:], 16) * 2 + half)
    report = verify_segment(segment)
    fold_pending(segment)
    live = graph_state(segment).graph_digest
    rebuild(segment)
    answer = {
        "lost": len(acknowledged - numbers),
        "size": segment.size(),
        "failures": report.to_json()["failures"],
        "same_graph": graph_state(segment).graph_digest == live,
    }
    segment.close()
    return answer


def main() -> None:
    folder, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    found = {"rounds": 0, "acknowledged": 0, "unacknowledged_rounds": 0, "faults": []}
    for number in range(rounds):
        store = folder / f"store{number // ROUNDS_OF_A_STORE}" / "lodeline.db"
        if number % ROUNDS_OF_A_STORE == 0:
            acknowledged: set[int] = set()
        opened = chance.random() < 0.6
        delay = chance.choice([0.005, 0.02, 0.06]) * chance.random()
        first = max(acknowledged, default=-1) + 1 + 100 * (number % ROUNDS_OF_A_STORE)
        before = len(acknowledged)
        acknowledged |= kill_once(store, first, delay, opened=opened)
        found["rounds"] += 1
        found["acknowledged"] += len(acknowledged) - before
        found["unacknowledged_rounds"] += len(acknowledged) == before
        try:
            outcome = examine(store, acknowledged)
        except LodelineError as error:
            outcome = {"lost": -1, "failures": [repr(error)], "same_graph": False}
        if outcome["lost"] or outcome["failures"] or not outcome["same_graph"]:
            found["faults"].append({"round": number, "seed": seed, **outcome})
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""A consumer of a folder, killed again and again while its files are written and rotated."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from brokers import until
from streamed import ConsumerProcess, captured, events_in, held, imported, shuffled_twice

SEED = 20261127


def write_and_rotate(folder: Path, events: list[bytes], step: threading.Semaphore) -> None:
    """As a logging program does: in pieces that end anywhere, with a rotation now and then."""
    chance = random.Random(SEED)
    pending = b"".join(event + b"\n" for event in events)
    number = 0
    live = (folder / "events.jsonl").open("ab", buffering=0)
    while pending:
        step.acquire()
        length = chance.randrange(1, 120_000)
        live.write(pending[:length])
        pending = pending[length:]
        if chance.random() < 0.4:
            number += 1
            rest, newline, pending = pending.partition(b"\n")
            (folder / "events.jsonl").rename(folder / f"events.jsonl.{number}")
            # The writer finishes its line in the file that it has open.
            live.write(rest + newline)
            live.close()
            live = (folder / "events.jsonl").open("ab", buffering=0)
    live.close()


def test_a_tail_that_is_killed_among_writes_and_rotations_gives_the_graph_of_an_import(
    tmp_path: Path,
) -> None:
    folder, store = tmp_path / "in", tmp_path / "s.db"
    folder.mkdir()
    events = list(captured())
    step = threading.Semaphore(0)
    sent = shuffled_twice(events, SEED)
    writer = threading.Thread(target=write_and_rotate, args=(folder, sent, step))
    writer.start()
    for _ in range(4):
        step.release(8)
        before = events_in(store)
        consumer = ConsumerProcess(store, str(folder))
        until(lambda before=before: events_in(store) > before)
        consumer.kill()
    step.release(10_000)
    writer.join()
    consumer = ConsumerProcess(store, str(folder))
    until(lambda: events_in(store) >= len(set(events)))
    consumer.end()
    assert held(store) == imported(tmp_path, events)

"""What tests of streams share: real events, consumer processes, and what a store then holds."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from brokers import environment, until
from lodeline.ingest import accept, fold_pending, graph_state
from lodeline.store import open_segment
from lodeline.store.verification import verify_segment
from lodeline.wire.reading import iter_raw_events

TOPIC = "lineage"
PARTITIONS = 3
FIXTURES = Path(__file__).parent / "fixtures" / "events"


@cache
def captured() -> tuple[bytes, ...]:
    """Real events of Airflow, dbt and Dagster."""
    return tuple(
        found.raw
        for path in sorted(FIXTURES.rglob("*.jsonl"))
        for found in iter_raw_events(path.read_bytes().splitlines(keepends=True))
    )


def real_events(vectors: Callable[[str], Path]) -> list[bytes]:
    """The captured ones, and OpenLineage's own compatibility suite."""
    folder = vectors("openlineage-compat")
    paths = sorted(folder.glob("*/events/*.json"))
    return [*captured(), *(path.read_bytes() for path in paths)]


def shuffled_twice(events: Iterable[bytes], seed: int = 20261127) -> list[bytes]:
    """Each event two times, in any order."""
    twice = [*events] * 2
    random.Random(seed).shuffle(twice)
    return twice


def imported(folder: Path, events: Iterable[bytes]) -> dict[str, object]:
    """What a store holds after a plain import, in the order of the files."""
    store = folder / "imported.db"
    with open_segment(f"sqlite:///{store}") as segment:
        accept(segment, events)
    return held(store)


def held(store: Path) -> dict[str, object]:
    """What a store holds: its graph, how many events, what was refused, whether it verifies."""
    with open_segment(f"sqlite:///{store}") as segment:
        fold_pending(segment)
        return {
            "graph_digest": graph_state(segment).graph_digest,
            "events": sum(1 for _ in segment.iter_entries(kinds={"event"})),
            "refused": segment.count_dead_letters(),
            "faults": verify_segment(segment).failures,
        }


def _read(store: Path, query: str) -> list[tuple[Any, ...]]:
    """Look into a store, as often as a test likes; nothing where there is none yet."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def events_in(store: Path) -> int:
    """How many events a store holds; not folded."""
    [count] = _read(store, "SELECT count(*) FROM entry WHERE kind = 'event'") or [(0,)]
    return int(count[0])


def offsets_in(store: Path) -> dict[str, int]:
    """The highest position that a store holds of each part of its streams."""
    return dict(_read(store, "SELECT part, seen FROM stream_offset"))


class ConsumerProcess:
    """A `lodeline consume` of its own."""

    def __init__(self, store: Path, *sources: str) -> None:
        options = ["--store", f"sqlite:///{store}", "--json"]
        self._said = store.with_suffix(".said")
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lodeline", "consume", *sources, *options],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=said,
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> list[dict[str, object]]:
        """Interrupt it; the counts of its sources."""
        self.process.send_signal(signal.SIGTERM)
        answer, _ = self.process.communicate(timeout=60)
        assert self.process.returncode in {0, 1}, self.said
        return list(json.loads(answer)["sources"])


def consume_until(store: Path, source: str, done: Callable[[], bool]) -> list[dict[str, object]]:
    """Consume until something holds, then interrupt; the counts."""
    consumer = ConsumerProcess(store, source)
    try:
        until(lambda: done() or consumer.process.poll() is not None)
        return consumer.end()
    finally:
        consumer.kill()


def produce(
    address: str,
    bodies: list[bytes],
    *,
    headers: list[tuple[str, bytes]] | None = None,
    compression: str | None = None,
) -> None:
    """Send messages as openlineage-python's Kafka transport does: a key, the event's JSON."""
    # Imported late: those who bring no broker need no client.
    from aiokafka import AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        if TOPIC not in await admin.list_topics():
            await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=address, compression_type=compression)
        await producer.start()
        for number, body in enumerate(bodies):
            key = f"run:n/job{number % 7}".encode()
            await producer.send(TOPIC, body, key=key, headers=headers)
        await producer.flush()
        await producer.stop()

    asyncio.run(run())

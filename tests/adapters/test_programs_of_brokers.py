"""Programs that consume and produce messages, against real brokers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiokafka
import nats
import pytest

from brokers import Broker, kafka_broker, nats_server
from observing import Observed, python, run_plain

VALUES = [json.dumps({"n": number}).replace(" ", "").encode() for number in range(5)]
FIGURES = {"count": 5, "nulls": 0, "numbers": 5, "min": 0, "max": 4, "sum": 10}
RUN = "0190f6a2-0000-7000-8000-000000000007"

KAFKA = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

async def run():
    where = dict(bootstrap_servers=[sys.argv[1]])
    consumer = AIOKafkaConsumer("in", auto_offset_reset="earliest", **where)
    producer = AIOKafkaProducer(**where)
    await consumer.start()
    await producer.start()
    seen = [await consumer.getone()]
    while len(seen) < 5:
        for batch in (await consumer.getmany(timeout_ms=500)).values():
            seen += batch
    for one in seen:
        sent = await producer.send_and_wait(
            "out", one.value.upper(), headers=[("kept", b"1"), ("baggage", b"tenant=9")]
        )
        print(sent.topic, sent.partition, sent.offset, one.value)
    await consumer.stop()
    await producer.stop()

asyncio.run(run())
"""

NATS = """
import asyncio, sys
import nats

async def run():
    client = await nats.connect(sys.argv[1])
    streams = client.jetstream()
    pulled = await streams.pull_subscribe("in", "worker")
    seen = []
    while len(seen) < 5:
        for message in await pulled.fetch(5 - len(seen)):
            seen.append(message)
            await message.ack()
    for one in seen:
        told = await streams.publish("out", one.data.upper(), headers={"kept": "1"})
        print(told.stream, told.seq, one.data)
    await client.close()

asyncio.run(run())
"""


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Broker]:
    with kafka_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Broker]:
    with nats_server(tmp_path) as broker:
        yield broker


def topic(seen: Observed, side: str, name: str) -> dict[str, Any]:
    """A topic as the run last told it, with its summary."""
    found = [one for event in seen.events for one in event[side] if one["name"] == name]
    assert found, seen.stderr
    return found[-1]


def figures(summary: dict[str, Any], column: str) -> dict[str, Any]:
    """Exact figures of a column; of the sketch beside them the clients' environments know nothing."""
    return {key: one for key, one in summary["columns"][column].items() if key != "kll"}


def digests(values: list[bytes]) -> list[str]:
    return [hashlib.sha256(value).hexdigest() for value in values]


async def fill_kafka(address: str) -> None:
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    for value in VALUES:
        headers = [("baggage", f"lodeline.run_id={RUN}".encode())]
        await producer.send_and_wait("in", value, headers=headers)
    await producer.stop()


async def read_kafka(address: str) -> list[Any]:
    consumer = aiokafka.AIOKafkaConsumer(
        "out", bootstrap_servers=address, auto_offset_reset="earliest"
    )
    await consumer.start()
    found = [await consumer.getone() for _ in VALUES]
    await consumer.stop()
    return found


def create_topics(address: str) -> None:
    async def run() -> None:
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        await admin.create_topics([NewTopic(name, 1, 1) for name in ("in", "out")])
        await admin.close()

    asyncio.run(run())


def test_a_program_of_aiokafka_leads_from_topic_to_topic(
    kafka: Broker, tmp_path: Path, interpreter: str
) -> None:
    create_topics(kafka.address)
    asyncio.run(fill_kafka(kafka.address))
    seen = python(
        tmp_path, f"import sys; sys.argv.append({kafka.address!r})\n" + KAFKA, interpreter
    )
    assert seen.status == 0, seen.stderr
    assert [line.split()[:3] for line in seen.stdout.splitlines()] == [
        ["out", "0", str(number)] for number in range(5)
    ]
    read, written = topic(seen, "inputs", "in"), topic(seen, "outputs", "out")
    assert read["namespace"] == written["namespace"] == f"kafka://{kafka.address}"
    summary = read["inputFacets"]["lodeline_messages"]
    assert summary["partitions"] == [
        {"partition": 0, "count": 5, "bytes": sum(map(len, VALUES)), "first": 0, "last": 4}
    ]
    assert (summary["digests"], summary["complete"]) == (digests(VALUES), True)
    assert summary["runs"] == [RUN]
    assert (summary["read"], figures(summary, "n")) == (5, FIGURES)
    summary = written["outputFacets"]["lodeline_messages"]
    assert figures(summary, "N") == FIGURES
    assert summary["partitions"][0]["count"] == 5
    assert summary["digests"] == digests([value.upper() for value in VALUES])
    assert seen.flowed("out") >= {"in"}
    run = seen.events[0]["run"]["runId"]
    for message in asyncio.run(read_kafka(kafka.address)):
        headers = {name: value.decode() for name, value in message.headers}
        assert headers["kept"] == "1"
        assert headers["baggage"] == f"tenant=9,lodeline.run_id={run}"
        assert headers["traceparent"].startswith(f"00-{run.replace('-', '')}-")
    # Not an event a message: what five say is told as often as what five thousand do.
    assert len(seen.events) <= 3


def test_a_program_of_nats_leads_from_subject_to_subject(
    server: Broker, tmp_path: Path, interpreter: str
) -> None:
    async def fill() -> None:
        client = await nats.connect(server.address)
        streams = client.jetstream()
        await streams.add_stream(name="S", subjects=["in", "out"])
        for value in VALUES:
            await streams.publish("in", value, headers={"baggage": f"lodeline.run_id={RUN}"})
        await client.close()

    async def read() -> list[Any]:
        client = await nats.connect(server.address)
        pulled = await client.jetstream().pull_subscribe("out", "checker")
        found = await pulled.fetch(5, timeout=10)
        await client.close()
        return list(found)

    asyncio.run(fill())
    seen = python(
        tmp_path, f"import sys; sys.argv.append({server.address!r})\n" + NATS, interpreter
    )
    assert seen.status == 0, seen.stderr
    incoming, outgoing = topic(seen, "inputs", "in"), topic(seen, "outputs", "out")
    assert incoming["namespace"] == outgoing["namespace"] == f"nats://{server.address}"
    summary = incoming["inputFacets"]["lodeline_messages"]
    assert summary["partitions"] == [
        {"partition": 0, "count": 5, "bytes": sum(map(len, VALUES)), "first": 1, "last": 5}
    ]
    assert (summary["digests"], summary["runs"]) == (digests(VALUES), [RUN])
    assert figures(summary, "n") == FIGURES
    assert outgoing["outputFacets"]["lodeline_messages"]["partitions"][0]["count"] == 5
    assert seen.flowed("out") >= {"in"}
    # Nothing of JetStream's own subjects, or of inboxes.
    assert seen.names("inputs") | seen.names("outputs") <= {"in", "out", "script.py"}
    run = seen.events[0]["run"]["runId"]
    for message in asyncio.run(read()):
        assert message.headers["kept"] == "1"
        assert message.headers["baggage"] == f"lodeline.run_id={run}"


def test_output_and_status_of_a_program_stay_the_same(
    kafka: Broker, tmp_path: Path, interpreter: str
) -> None:
    create_topics(kafka.address)
    text = (
        f"import sys; sys.argv.append({kafka.address!r})\n"
        "import asyncio\n"
        "from aiokafka import AIOKafkaProducer\n"
        "async def run():\n"
        "    producer = AIOKafkaProducer(bootstrap_servers=sys.argv[1])\n"
        "    await producer.start()\n"
        "    try:\n"
        "        await producer.send('out', 'no bytes')\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
        "    await producer.stop()\n"
        "    sys.exit(3)\n"
        "asyncio.run(run())\n"
    )
    (tmp_path / "script.py").write_text(text)
    plain = run_plain(tmp_path, interpreter, "script.py")
    seen = python(tmp_path, text, interpreter)
    assert (seen.status, seen.stdout) == (plain.status, plain.stdout)
    assert plain.status == 3

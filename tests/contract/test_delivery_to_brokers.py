"""A spool delivered through real brokers, taken in by real consumers: the graph of an import."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokers import Broker, Cable, free_port, kafka_broker, nats_server
from lodeline.errors import UsageError
from lodeline.spool import Spool, iter_pending
from lodeline.transport import drain_into, open_transport
from observing import environment
from streamed import captured, consume_until, events_in, held, imported

nats = pytest.importorskip("nats")
admins = pytest.importorskip("aiokafka.admin")


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Broker]:
    with kafka_broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Broker]:
    with nats_server(tmp_path) as broker:
        yield broker


def make_topic(broker: Broker) -> None:
    async def run() -> None:
        admin = admins.AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        await admin.create_topics([admins.NewTopic("lineage", 3, 1)])
        await admin.close()

    asyncio.run(run())


def make_stream(broker: Broker, *subjects: str) -> None:
    async def run() -> None:
        client = await nats.connect(broker.address)
        await client.jetstream().add_stream(name="LINEAGE", subjects=list(subjects))
        await client.close()

    asyncio.run(run())


def spooled(folder: Path, events: list[bytes], *others: dict[str, object]) -> Path:
    spool = Spool(folder / "spool")
    for event in events:
        assert spool.append(b'{"type": "event", "event": ' + event + b"}")
    for other in others:
        assert spool.append(json.dumps(other).encode())
    spool.close()
    return spool.directory


def test_what_goes_through_kafka_gives_the_graph_of_a_plain_import(
    kafka: Broker, tmp_path: Path
) -> None:
    make_topic(kafka)
    events = list(captured())
    directory = spooled(tmp_path, events)
    report = drain_into(f"kafka://{kafka.address}/lineage", None, directory=directory)
    assert (report.delivered, report.refused, report.complete) == (len(events), 0, True)
    store = tmp_path / "s.db"
    source = f"kafka://{kafka.address}/lineage"
    expected = imported(tmp_path, events)
    consume_until(store, source, lambda: events_in(store) == expected["events"])
    assert held(store) == expected


def test_what_goes_through_nats_gives_the_graph_of_a_plain_import(
    server: Broker, tmp_path: Path
) -> None:
    make_stream(server, "lineage.events")
    events = list(captured())
    directory = spooled(tmp_path, events)
    report = drain_into(f"nats://{server.address}/LINEAGE", None, directory=directory)
    assert (report.delivered, report.refused, report.complete) == (len(events), 0, True)
    store = tmp_path / "s.db"
    source = f"nats://{server.address}/LINEAGE"
    expected = imported(tmp_path, events)
    consume_until(store, source, lambda: events_in(store) == expected["events"])
    assert held(store) == expected


def test_a_broker_that_is_away_leaves_everything_in_the_spool(
    kafka: Broker, tmp_path: Path
) -> None:
    make_topic(kafka)
    events = list(captured())[:20]
    directory = spooled(tmp_path, events)
    url = f"kafka://{kafka.address}/lineage"
    kafka.stop()
    report = drain_into(url, 1.0, directory=directory)
    assert (report.delivered, report.complete) == (0, False)
    assert report.reason
    kafka.start()
    make_topic(kafka)
    assert drain_into(url, None, directory=directory).delivered == 20
    assert not list(iter_pending(directory))


def test_a_connection_cut_in_the_middle_is_made_anew(server: Broker, tmp_path: Path) -> None:
    make_stream(server, "lineage.events")
    cable = Cable(server.port, free_port())
    events = list(captured())[:40]
    transport = open_transport(f"nats://127.0.0.1:{cable.port}/LINEAGE")
    cable.plug()
    first = [("event", event) for event in events[:20]]
    assert transport.deliver(first) == [None] * 20
    cable.cut()
    with pytest.raises(Exception, match="cannot deliver to nats://"):
        transport.deliver([("event", event) for event in events])
    cable.plug()
    assert transport.deliver([("event", event) for event in events]) == [None] * 40
    transport.close()
    cable.cut()


@pytest.mark.parametrize("kind", ["kafka", "nats"])
def test_what_a_broker_cannot_carry_is_refused_by_name_and_kept(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    broker = request.getfixturevalue("kafka" if kind == "kafka" else "server")
    make_topic(broker) if kind == "kafka" else make_stream(broker, "lineage.events")
    reservation = {"type": "reservation", "block": "00000000ab", "time": 1}
    directory = spooled(tmp_path, list(captured())[:3], reservation)
    name = "lineage" if kind == "kafka" else "LINEAGE"
    report = drain_into(f"{kind}://{broker.address}/{name}", None, directory=directory)
    assert (report.delivered, report.complete) == (3, True)
    kept = [json.loads(line) for line in (directory / "refused.ndjson").read_text().splitlines()]
    assert "takes events alone, and no reservation" in kept[0]["reason"]


def test_a_stream_of_many_subjects_asks_which_one_is_meant(server: Broker, tmp_path: Path) -> None:
    make_stream(server, "lineage.>")
    directory = spooled(tmp_path, list(captured())[:2])
    report = drain_into(f"nats://{server.address}/LINEAGE", 5.0, directory=directory)
    assert "add ?subject=" in report.reason
    url = f"nats://{server.address}/LINEAGE?subject=lineage.etl"
    assert drain_into(url, None, directory=directory).delivered == 2


def test_an_address_with_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(UsageError, match="no parameter 'subjct'"):
        open_transport("nats://localhost/LINEAGE?subjct=x")
    with pytest.raises(UsageError, match="one topic"):
        open_transport("kafka://localhost/a,b")


def test_a_program_under_run_delivers_to_the_broker_of_the_settings(
    server: Broker, tmp_path: Path
) -> None:
    make_stream(server, "lineage.events")
    (tmp_path / "script.py").write_text("open('out.txt', 'w').write('x')\n")
    settings = {
        "LODELINE_STORE": f"sqlite:///{tmp_path}/local.db",
        "LODELINE_DELIVER": f"nats://{server.address}/LINEAGE",
    }
    words = [sys.executable, "-m", "lodeline"]
    done = subprocess.run(
        [*words, "run", "--json", "--", sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert json.loads(done.stderr)["delivered"] == 2, done.stderr
    assert not os.path.exists(tmp_path / "local.db")
    store = tmp_path / "s.db"
    consume_until(store, f"nats://{server.address}/LINEAGE", lambda: events_in(store) == 2)

"""Events that come through NATS JetStream: a real server, real consumer processes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker, nats_server, until
from lodeline.cli.main import main
from lodeline.store import open_segment
from streamed import (
    ConsumerProcess,
    captured,
    consume_until,
    events_in,
    held,
    imported,
    offsets_in,
    real_events,
    shuffled_twice,
)

nats = pytest.importorskip("nats")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Broker]:
    with nats_server(tmp_path) as broker:
        yield broker


def publish(server: Broker, bodies: list[bytes], headers: dict[str, str] | None = None) -> None:
    async def run() -> None:
        client = await nats.connect(server.address)
        streams = client.jetstream()
        await streams.add_stream(name="LINEAGE", subjects=["lineage.>"])
        for body in bodies:
            await streams.publish("lineage.events", body, headers=headers)
        await client.close()

    asyncio.run(run())


def acknowledged(server: Broker, store: Path) -> int:
    async def run() -> int:
        client = await nats.connect(server.address)
        with open_segment(f"sqlite:///{store}") as segment:
            durable = f"lodeline-{segment.segment_id[:16]}"
        info = await client.jetstream().consumer_info("LINEAGE", durable)
        await client.close()
        return int(info.ack_floor.stream_seq)

    return asyncio.run(run())


def position(store: Path) -> int:
    return max(offsets_in(store).values(), default=0)


@pytest.mark.slow
def test_doubled_shuffled_events_and_kills_give_the_graph_of_a_plain_import(
    server: Broker, tmp_path: Path, vectors: Callable[[str], Path]
) -> None:
    events = real_events(vectors)
    sent = shuffled_twice(events)
    publish(server, sent)
    store = tmp_path / "s.db"
    source = f"nats://{server.address}/LINEAGE"
    for share in (1, 200):
        consumer = ConsumerProcess(store, source)
        until(lambda share=share: events_in(store) >= share)
        consumer.kill()
    consume_until(store, source, lambda: acknowledged(server, store) == len(sent))
    assert held(store) == imported(tmp_path, events)
    assert position(store) == len(sent) + 1


def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    server: Broker, tmp_path: Path
) -> None:
    events = list(captured())
    half = len(events) // 2
    publish(server, events[:half])
    store = tmp_path / "s.db"
    consumer = ConsumerProcess(store, f"nats://{server.address}/LINEAGE")
    until(lambda: position(store) > half)
    server.stop()
    until(lambda: "cannot take from nats:LINEAGE" in consumer.said)
    assert consumer.process.poll() is None
    server.start()
    publish(server, events[half:])
    until(lambda: position(store) > len(events))
    [counts] = consumer.end()
    assert counts["messages"] >= len(events)
    assert held(store) == imported(tmp_path, events)


def test_two_processes_share_a_stream(server: Broker, tmp_path: Path) -> None:
    events = list(captured())
    store = tmp_path / "s.db"
    with open_segment(f"sqlite:///{store}"):
        pass
    publish(server, [])
    source = f"nats://{server.address}/LINEAGE"
    pair = [ConsumerProcess(store, source) for _ in range(2)]
    for start in range(0, len(events), 50):
        publish(server, events[start : start + 50])
    until(lambda: position(store) > len(events) and acknowledged(server, store) == len(events))
    taken = [consumer.end()[0]["messages"] for consumer in pair]
    assert sum(taken) == len(events)
    assert held(store) == imported(tmp_path, events)


def test_a_store_restored_from_a_backup_gets_again_what_the_broker_counts_as_taken(
    server: Broker, tmp_path: Path
) -> None:
    events = list(captured())[:60]
    source = f"nats://{server.address}/LINEAGE"
    (tmp_path / "live").mkdir()
    store = tmp_path / "live" / "s.db"
    publish(server, events[:20])
    consume_until(store, source, lambda: position(store) > 20)
    shutil.copytree(tmp_path / "live", tmp_path / "backup")
    publish(server, events[20:])
    consume_until(store, source, lambda: acknowledged(server, store) == 60)
    shutil.rmtree(tmp_path / "live")
    shutil.copytree(tmp_path / "backup", tmp_path / "live")
    assert events_in(store) < len(set(events))
    consume_until(store, source, lambda: position(store) > 60)
    assert held(store) == imported(tmp_path, events)


def test_what_is_refused_is_a_dead_letter_and_does_not_hold_the_stream(
    server: Broker, tmp_path: Path
) -> None:
    good = captured()[0]
    publish(server, [b"no event", b'{"eventType": "START"}', good])
    store = tmp_path / "s.db"
    [counts] = consume_until(store, f"nats://{server.address}/LINEAGE", lambda: position(store) > 3)
    assert (counts["accepted"], counts["refused"]) == (1, 2)
    with open_segment(f"sqlite:///{store}") as segment:
        letters = list(segment.iter_dead_letters())
    assert [letter.source for letter in letters] == ["nats:LINEAGE@1", "nats:LINEAGE@2"]
    assert letters[0].code == "event.json"


def test_a_client_whose_time_runs_out_between_two_requests_ends_no_stream(
    server: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = nats.aio.subscription.Subscription.next_msg
    late_count = 0

    async def late(self: Any, *given: float, **named: float) -> Any:
        nonlocal late_count
        late_count += 1
        [seconds] = [*given, *named.values()]
        return await plain(self, seconds + 2.0)

    publish(server, [])
    # The client's timer is late, as on a busy machine: the server says first that nothing came.
    monkeypatch.setattr(nats.aio.subscription.Subscription, "next_msg", late)
    source = f"nats://{server.address}/LINEAGE"
    status = main(["consume", source, "--once", "--store", str(tmp_path / "s.db")])
    assert (status, late_count > 0) == (0, True), capsys.readouterr()

"""Events that come by the Kafka protocol: a real broker (Tansu), real consumer processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brokers import Broker, Cable, free_port, kafka_broker, until
from lodeline.query import ask
from lodeline.store import open_segment
from streamed import (
    TOPIC,
    ConsumerProcess,
    captured,
    consume_until,
    events_in,
    held,
    imported,
    offsets_in,
    produce,
    real_events,
    shuffled_twice,
)

pytest.importorskip("aiokafka")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with kafka_broker(tmp_path) as one:
        yield one


def url(address: str) -> str:
    # A killed consumer's partitions are free again after this time, by default ten seconds.
    return f"kafka://{address}/{TOPIC}?session_seconds=3"


def taken(store: Path) -> int:
    """How many messages the store's offsets speak of."""
    return sum(offsets_in(store).values())


@pytest.mark.slow
def test_doubled_shuffled_events_and_kills_give_the_graph_of_a_plain_import(
    broker: Broker, tmp_path: Path, vectors: Callable[[str], Path]
) -> None:
    events = real_events(vectors)
    sent = shuffled_twice(events)
    produce(broker.address, sent)
    store = tmp_path / "s.db"
    source = url(broker.address)
    for share in (1, 200):
        consumer = ConsumerProcess(store, source)
        until(lambda share=share: events_in(store) >= share)
        consumer.kill()
    before = taken(store)
    [counts] = consume_until(store, source, lambda: taken(store) == len(sent))
    # Exactly what the store did not hold yet: neither lost nor given twice.
    assert counts["messages"] == len(sent) - before
    assert held(store) == imported(tmp_path, events)


@pytest.mark.slow
def test_a_broker_that_is_cut_off_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    events = list(captured())
    half = len(events) // 2
    port = free_port()
    with kafka_broker(tmp_path, advertised=port) as broker:
        cable = Cable(broker.port, port)
        cable.plug()
        address = f"127.0.0.1:{port}"
        produce(address, events[:half])
        store = tmp_path / "s.db"
        consumer = ConsumerProcess(store, url(address))
        until(lambda: taken(store) == half)
        cable.cut()
        until(lambda: "cannot take from kafka:lineage" in consumer.said)
        assert consumer.process.poll() is None
        cable.plug()
        produce(address, events[half:])
        until(lambda: taken(store) == len(events))
        [counts] = consumer.end()
        cable.cut()
    assert (counts["messages"], counts["refused"]) == (len(events), 0)
    assert held(store) == imported(tmp_path, events)


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    broker: Broker, tmp_path: Path
) -> None:
    """The broker keeps topics in memory: a restart is the loss of a topic."""
    events = list(captured())
    store = tmp_path / "s.db"
    source = url(broker.address)
    produce(broker.address, events[:200])
    consume_until(store, source, lambda: taken(store) == 200)
    broker.stop()
    broker.start()
    produce(broker.address, events[200:250])
    consume_until(store, source, lambda: taken(store) == 50)
    assert held(store) == imported(tmp_path, events[:250])


def test_two_processes_share_the_partitions_of_a_topic(broker: Broker, tmp_path: Path) -> None:
    events = list(captured())
    store = tmp_path / "s.db"
    with open_segment(f"sqlite:///{store}"):
        pass
    source = url(broker.address)
    produce(broker.address, [])
    pair = [ConsumerProcess(store, source) for _ in range(2)]
    for start in range(0, len(events), 50):
        produce(broker.address, events[start : start + 50])
    until(lambda: taken(store) == len(events))
    for consumer in pair:
        consumer.end()
    assert held(store) == imported(tmp_path, events)


def test_compressed_batches_are_read(broker: Broker, tmp_path: Path) -> None:
    events = list(captured())[:40]
    for number, compression in enumerate(["gzip", "snappy", "lz4", "zstd"]):
        produce(broker.address, events[10 * number :][:10], compression=compression)
    store = tmp_path / "s.db"
    consume_until(store, url(broker.address), lambda: taken(store) == 40)
    assert held(store) == imported(tmp_path, events)


def test_identifiers_in_headers_lie_beside_the_event_and_change_nothing_of_it(
    broker: Broker, tmp_path: Path
) -> None:
    prediction = "0197b3a4-1111-7222-8333-444455556666"
    headers = [
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("baggage", f"lodeline.prediction_id={prediction}".encode()),
    ]
    event = captured()[0]
    produce(broker.address, [event])
    produce(broker.address, [event], headers=headers)
    store = tmp_path / "s.db"
    source = url(broker.address)
    [counts] = consume_until(store, source, lambda: taken(store) == 2)
    assert (counts["accepted"], counts["duplicates"]) == (1, 1)
    assert held(store) == imported(tmp_path, [event])
    with open_segment(f"sqlite:///{store}") as segment:
        run = json.loads(event)["run"]["runId"]
        [told] = ask(segment, "show", {"id": f"run:{run}"})["correlations"]
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_id": "b7ad6b7169203331"}
    assert told == {**trace, "prediction_id": prediction}

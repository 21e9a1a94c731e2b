"""What streams give is sent to a service; how far they were taken is written when it acknowledged."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from brokers import kafka_broker, nats_server, until
from lodeline.cli.main import main
from lodeline.errors import StoreUnreachableError
from lodeline.streams.forwarding import OffsetFile
from services import serving
from streamed import TOPIC, captured, events_in, held, imported, produce


def positions(offsets: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{offsets}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT part, position FROM stream_offset").fetchall())


class Forwarding:
    """`lodeline consume --server --once`, and what it said."""

    def __init__(self, offsets: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.offsets = offsets
        self._capsys = capsys
        self.said = ""

    def run(self, server: str, source: str) -> tuple[int, dict[str, Any]]:
        self._capsys.readouterr()
        words = ["consume", source, "--once", "--json", "--offsets", str(self.offsets)]
        status = main([*words, "--server", server])
        out, error = self._capsys.readouterr()
        self.said = out + error
        return status, json.loads(out)["sources"][0] if status < 2 else {}


@pytest.fixture
def forwarding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Forwarding:
    return Forwarding(tmp_path / "offsets.db", capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


def test_a_folder_sent_to_a_service_gives_the_graph_of_a_plain_import(
    folder: Path, tmp_path: Path, forwarding: Forwarding
) -> None:
    events = captured()
    store = tmp_path / "service" / "s.db"
    (folder / "a.jsonl").write_bytes(b"".join(one + b"\n" for one in events))
    with serving(store) as service:
        status, counts = forwarding.run(service.url, str(folder))
        assert (status, counts["accepted"], counts["refused"]) == (0, len(events), 0)
        assert forwarding.run(service.url, str(folder))[1]["messages"] == 0
        # As if it had been killed after the acknowledgement, before it wrote how far it was.
        forwarding.offsets.unlink()
        assert forwarding.run(service.url, str(folder))[1]["messages"] == len(events)
        # Not JSON, no event, and nothing but commas between two values: none holds the stream.
        with (folder / "a.jsonl").open("ab") as file:
            file.write(b'{"half": \n{"no": "event"}\n1,2\n')
        status, counts = forwarding.run(service.url, str(folder))
        assert (status, counts["accepted"], counts["refused"]) == (1, 0, 3)
        assert "3 refused by the service, the first at folder:" in forwarding.said
        assert forwarding.run(service.url, str(folder))[1]["messages"] == 0
        assert service.stop() == 0
    assert held(store) == imported(tmp_path, events) | {"refused": 3}


def test_what_one_stream_brings_lands_in_the_segments_where_it_belongs(
    folder: Path, tmp_path: Path, forwarding: Forwarding
) -> None:
    def of(namespace: str, number: int) -> bytes:
        job = {"namespace": namespace, "name": f"load_{number}"}
        run = {"runId": f"00000000-0000-4000-8000-{number:012d}"}
        outputs = [{"namespace": "warehouse", "name": f"table_{number}"}]
        said = {"eventType": "COMPLETE", "eventTime": "2026-11-01T00:00:00Z", "outputs": outputs}
        return json.dumps(
            said
            | {"run": run, "job": job, "producer": "https://example.org/p"}
            | {"schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json"}
        ).encode()

    stores = {name: tmp_path / name / "s.db" for name in ("service", "payments")}
    stores["payments"].parent.mkdir()
    configuration = tmp_path / "lodeline.toml"
    configuration.write_text(
        '[[segments]]\nname = "payments"\nnamespaces = ["pay*"]\n'
        f'store = "sqlite:///{stores["payments"]}"\n'
    )
    events = [of(("payroll", "etl", "payouts")[number % 3], number) for number in range(30)]
    (folder / "a.jsonl").write_bytes(b"".join(one + b"\n" for one in events))
    with serving(stores["service"], "--config", str(configuration)) as service:
        status, counts = forwarding.run(service.url, str(folder))
        assert (status, counts["accepted"], counts["refused"]) == (0, len(events), 0)
        assert service.stop() == 0
    assert {name: events_in(store) for name, store in stores.items()} == {
        "service": 10,
        "payments": 20,
    }
    assert held(stores["payments"])["faults"] == held(stores["service"])["faults"] == []


class Receiver(ThreadingHTTPServer):
    """A service that answers as a test says, and looks how far the offsets are at each request."""

    def __init__(self, offsets: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.offsets = offsets
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.bodies: list[object] = []
        self.positions: list[dict[str, int]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.positions.append(positions(self.server.offsets))
        status, headers = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def receiving(offsets: Path) -> Iterator[Receiver]:
    with Receiver(offsets) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_service_without_room_is_asked_again_and_no_offset_goes_before_its_acknowledgement(
    folder: Path, forwarding: Forwarding
) -> None:
    (folder / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": 2}\n')
    with receiving(forwarding.offsets) as receiver:
        url = f"http://127.0.0.1:{receiver.server_port}"
        receiver.answers = [(503, {"Retry-After": "0.05"})] * 2 + [(500, {})]
        # A fault is no pressure: with --once whoever asked is told.
        assert forwarding.run(url, str(folder))[0] == 3
        assert "500" in forwarding.said
        receiver.answers = [(204, {})]
        status, counts = forwarding.run(url, str(folder))
        assert (status, counts["accepted"]) == (0, 2)
        assert receiver.bodies == [[{"a": 1}, {"a": 2}]] * 4
        assert receiver.positions == [{}] * 4
    assert positions(forwarding.offsets) == {"a.jsonl": 18}


def test_offsets_are_of_one_forwarder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "offsets.db"
    first = OffsetFile(path)
    with pytest.raises(StoreUnreachableError, match="another process forwards"):
        OffsetFile(path)
    first.close()
    second = OffsetFile(path)
    assert second.group == first.group
    second.close()


def test_a_store_keeps_its_own_offsets(tmp_path: Path, folder: Path) -> None:
    words = ["consume", str(folder), "--once", "--store", str(tmp_path / "s.db")]
    assert main([*words, "--offsets", str(tmp_path / "o.db")]) == 2


def test_messages_of_nats_are_acknowledged_after_the_service_has_them(
    tmp_path: Path, forwarding: Forwarding
) -> None:
    nats = pytest.importorskip("nats")
    events = captured()[:20]

    async def publish(address: str) -> None:
        client = await nats.connect(address)
        streams = client.jetstream()
        await streams.add_stream(name="LINEAGE", subjects=["lineage.>"])
        for body in events:
            await streams.publish("lineage.events", body)
        await client.close()

    async def acknowledged(address: str) -> int:
        offsets = OffsetFile(forwarding.offsets)
        offsets.close()
        client = await nats.connect(address)
        info = await client.jetstream().consumer_info("LINEAGE", offsets.group)
        await client.close()
        return int(info.ack_floor.stream_seq)

    store = tmp_path / "service" / "s.db"
    with nats_server(tmp_path) as broker, serving(store) as service:
        asyncio.run(publish(broker.address))
        source = f"nats://{broker.address}/LINEAGE"
        assert forwarding.run("http://127.0.0.1:9", source)[0] == 3
        assert positions(forwarding.offsets) == {}
        assert asyncio.run(acknowledged(broker.address)) == 0
        # As another consumer: the broker keeps what was handed out and not acknowledged for a while.
        forwarding.offsets = tmp_path / "other.db"
        status, counts = forwarding.run(service.url, source)
        assert (status, counts.get("messages")) == (0, 20), forwarding.said
        assert events_in(store) == 20
        assert asyncio.run(acknowledged(broker.address)) == 20
        assert forwarding.run(service.url, source)[1]["messages"] == 0


def test_messages_of_kafka_reach_the_service_once_with_what_their_headers_name(
    tmp_path: Path, forwarding: Forwarding
) -> None:
    pytest.importorskip("aiokafka")
    events = captured()
    prediction = "0197b3a4-1111-7222-8333-444455556666"
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_id": "b7ad6b7169203331"}
    named = [
        ("traceparent", f"00-{trace['trace_id']}-{trace['parent_id']}-01".encode()),
        ("baggage", f"who=alice,lodeline.prediction_id={prediction}".encode()),
    ]
    store = tmp_path / "service" / "s.db"
    with kafka_broker(tmp_path) as broker, serving(store) as service:
        produce(broker.address, [events[0]], headers=named)
        produce(broker.address, list(events[1:]))
        source = f"kafka://{broker.address}/{TOPIC}?session_seconds=3"
        # Nobody is there: what was read stays with the broker.
        assert forwarding.run("http://127.0.0.1:9", source)[0] == 3
        assert positions(forwarding.offsets) == {}
        status, counts = forwarding.run(service.url, source)
        told = (status, counts.get("accepted"), counts.get("refused"))
        assert told == (0, len(events), 0), forwarding.said
        assert sum(positions(forwarding.offsets).values()) == len(events)
        assert forwarding.run(service.url, source)[1]["messages"] == 0
        run = json.loads(events[0])["run"]["runId"]
        until(lambda: service.send("GET", f"/api/v2/show?id=run:{run}").status == 200)
        shown = service.send("GET", f"/api/v2/show?id=run:{run}").json
        assert service.stop() == 0
    assert held(store) == imported(tmp_path, events)
    assert shown["correlations"] == [{**trace, "prediction_id": prediction}]

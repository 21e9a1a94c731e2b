"""`openlineage-python`'s own Kafka and file transports: what they send is what is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import environment, kafka_broker
from lodeline.store import open_segment
from lodeline.streams.running import make_consumers, run_consumers
from streamed import consume_until, events_in, held

EMIT = Path(__file__).parents[1] / "producers" / "openlineage_emit.py"


def test_a_run_sent_through_kafka_and_two_kinds_of_files_is_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("openlineage.client")
    pytest.importorskip("confluent_kafka")
    lines, files = tmp_path / "lines", tmp_path / "files"
    lines.mkdir()
    files.mkdir()
    with kafka_broker(tmp_path) as broker:
        kafka = {
            "type": "kafka",
            "topic": "openlineage",
            "config": {"bootstrap.servers": broker.address, "message.timeout.ms": 20_000},
        }
        appended = {"type": "file", "log_file_path": str(lines / "events.jsonl"), "append": True}
        each = {"type": "file", "log_file_path": str(files / "event"), "debug_mode": True}
        transport = {
            "type": "composite",
            "transports": {"kafka": kafka, "appended": appended, "each": each},
        }
        done = subprocess.run(
            [sys.executable, EMIT, "streamed"],
            env=environment() | {"OPENLINEAGE__TRANSPORT": json.dumps(transport)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        store = tmp_path / "kafka.db"
        source = f"kafka://{broker.address}/openlineage"
        consume_until(store, source, lambda: events_in(store) == 4)
    found = held(store)
    assert (found["events"], found["refused"], found["faults"]) == (4, 0, [])
    for folder in (lines, files):
        other = folder.with_suffix(".db")
        with open_segment(f"sqlite:///{other}") as segment:
            run_consumers(make_consumers(segment, [str(folder)], print), once=True)
        assert held(other) == found

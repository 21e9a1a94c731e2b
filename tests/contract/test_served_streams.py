"""A service that takes streams beside its requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import answers, environment, free_port, until
from streamed import ConsumerProcess, captured, events_in, held, imported


def lodeline(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lodeline", *words],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_service_takes_the_streams_of_its_configuration(tmp_path: Path) -> None:
    folder, store = tmp_path / "in", tmp_path / "s.db"
    folder.mkdir()
    (tmp_path / "lodeline.toml").write_text('[streams]\nsources = ["in"]\n')
    events = list(captured())[:40]
    port = free_port()
    service = subprocess.Popen(
        [sys.executable, "-m", "lodeline", "serve", "--port", str(port)],
        cwd=tmp_path,
        env=environment() | {"LODELINE_STORE": f"sqlite:///{store}"},
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(port))
        (folder / "a.jsonl").write_bytes(b"".join(event + b"\n" for event in events))
        until(lambda: events_in(store) == len(events))
        service.terminate()
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.wait()
    assert held(store) == imported(tmp_path, events)
    told = json.loads(lodeline("doctor", "--store", f"sqlite:///{store}", "--json").stdout)
    [offset] = told["streams"]
    assert (offset["source"], offset["part"]) == (f"folder:{folder}", "a.jsonl")
    assert (offset["position"], offset["behind"]) == ((folder / "a.jsonl").stat().st_size, 0)


def test_check_names_the_streams_and_their_faults(tmp_path: Path) -> None:
    words = ["serve", "--check", "--json", "--store", f"sqlite:///{tmp_path / 's.db'}"]
    good = lodeline(*words, LODELINE_STREAMS="kafka://127.0.0.1/lineage nats://127.0.0.1/L")
    found = {one["subject"]: one["message"] for one in json.loads(good.stdout)["findings"]}
    assert found["streams"] == "kafka:lineage, nats:L"
    bad = lodeline(*words, "--stream", "kafka://127.0.0.1/lineage?grup=x")
    assert (bad.returncode, "no parameter 'grup'" in bad.stdout) == (2, True)
    assert lodeline("consume", "amqp://127.0.0.1/x").returncode == 2
    assert lodeline("consume", "kafka://127.0.0.1").returncode == 2


@pytest.mark.parametrize("scheme", ["nats", "kafka"])
def test_a_broker_that_is_not_there_is_told_and_waited_for(tmp_path: Path, scheme: str) -> None:
    source = f"{scheme}://127.0.0.1:{free_port()}/lineage"
    once = lodeline("consume", "--once", source, "--store", f"sqlite:///{tmp_path / 's.db'}")
    assert (once.returncode, f"cannot take from {scheme}:lineage" in once.stderr) == (3, True)
    consumer = ConsumerProcess(tmp_path / "s.db", source)
    until(lambda: f"cannot take from {scheme}:lineage" in consumer.said)
    assert consumer.end() == [
        {"source": f"{scheme}:lineage", "messages": 0, "accepted": 0, "duplicates": 0, "refused": 0}
    ]
    # Once, however often it was tried.
    assert consumer.said.count("cannot take") == 1

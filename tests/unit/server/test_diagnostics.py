"""Diagnostics of the service: one object a line, and nothing of payloads."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from services import event, serving

SECRET = "name-nobody-should-read"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_refused_request_is_one_object_with_the_clients_trace_id_and_no_payload(
    tmp_path: Path,
) -> None:
    said = tmp_path / "said.jsonl"
    variables = {"LODELINE_SERVER_LOG_FORMAT": "json"}
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with serving(tmp_path / "s.db", variables=variables, diagnostics=said) as service:
        assert service.post(event(outputs=SECRET)).status == 201
        broken = {**event(outputs=SECRET), "run": {SECRET: SECRET}}
        reply = service.send(
            "POST",
            "/api/v1/lineage",
            json.dumps(broken).encode(),
            traceparent=f"00-{trace}-00f067aa0ba902b7-01",
            Authorization=f"Bearer {SECRET}",
        )
        assert reply.status == 400
        assert reply.headers["lodeline-request-id"] == trace
        assert service.send("GET", f"/api/v2/show?id=dataset:n:{SECRET}-").status == 404
        assert service.send("GET", f"/{SECRET}").status == 404
        assert service.stop() == 0
    first, second, third = lines(said)
    assert (first["route"], first["status"], first["code"]) == (
        "/api/v1/lineage",
        400,
        "event.missing",
    )
    assert first["request_id"] == trace
    assert first["level"] == "info"
    assert first["milliseconds"] >= 0
    assert (second["route"], second["code"]) == ("/api/v2/show", "no.unknown_node")
    assert (third["route"], third["status"]) == ("none", 404)
    assert SECRET not in said.read_text()


def test_all_requests_are_told_when_asked_for(tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    variables = {"LODELINE_SERVER_LOG_REQUESTS": "all"}
    with serving(tmp_path / "s.db", variables=variables, diagnostics=said) as service:
        service.post(event(outputs="a"))
        service.send("GET", "/healthz", traceparent="00-nonsense-x-y")
        assert service.stop() == 0
    first, second = said.read_text().splitlines()
    assert " info lodeline.requests: POST /api/v1/lineage 201 " in first
    assert " info lodeline.requests: GET /healthz 200 " in second


def test_a_hangup_signal_ends_nothing(tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    with serving(tmp_path / "s.db", diagnostics=said) as service:
        assert service.send("GET", "/healthz").status == 200
        service.process.send_signal(signal.SIGHUP)
        assert service.send("GET", "/healthz").status == 200
        assert service.stop() == 0
    assert "need a restart" in said.read_text()

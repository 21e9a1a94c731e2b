"""Figures of the service, read by Prometheus's own programs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lodeline.server.metrics import METRICS
from services import Service, event, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("metrics") / "s.db") as one:
        first = event(inputs="a", outputs="b")
        assert one.post(first, "/api/v1/lineage?wait=folded").status == 201
        assert one.post(first).status == 201
        assert one.post([event(outputs="c"), {}], "/api/v1/lineage/batch").status == 200
        assert one.send("GET", "/api/v2/trace?id=dataset:n:b").status == 200
        assert one.send("GET", "/no/such/path").status == 404
        yield one
        assert one.stop() == 0


def samples(service: Service) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    reply = service.send("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def value(service: Service, name: str, **labels: str) -> float:
    return samples(service)[name, frozenset(labels.items())]


def test_events_are_counted_by_how_they_fared(service: Service) -> None:
    assert value(service, "lodeline_events_total", outcome="accepted") == 2
    assert value(service, "lodeline_events_total", outcome="duplicate") == 1
    assert value(service, "lodeline_events_total", outcome="refused") == 1
    assert value(service, "lodeline_events_refused_total", code="event.missing") == 1
    assert value(service, "lodeline_dead_letters") == 1


def test_requests_are_counted_by_route_template_and_status(service: Service) -> None:
    name = "lodeline_http_requests_total"
    assert value(service, name, method="POST", route="/api/v1/lineage", status="201") == 2
    assert value(service, name, method="GET", route="none", status="404") == 1
    assert value(service, "lodeline_http_request_seconds_count", route="/api/v2/trace") == 1
    assert value(service, "lodeline_question_seconds_count", verb="trace") == 1


def test_the_log_and_its_view_are_measured(service: Service) -> None:
    assert value(service, "lodeline_log_entries") == 4
    assert value(service, "lodeline_unsigned_entries") == 0
    assert value(service, "lodeline_queue_events") == 0
    assert value(service, "lodeline_fsync_seconds_count") >= 3
    assert value(service, "lodeline_commit_events_sum") == 4
    for _ in range(200):
        if value(service, "lodeline_fold_lag_entries") == 0:
            break
        time.sleep(0.02)
    assert value(service, "lodeline_fold_lag_entries") == 0


def test_every_metric_is_documented_and_every_documented_metric_is_there(service: Service) -> None:
    reply = service.send("GET", "/metrics").body.decode()
    given = {line.split()[2] for line in reply.splitlines() if line.startswith("# TYPE lodeline_")}
    assert given == set(METRICS)


def test_promtool_finds_no_fault(service: Service) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool; apt-get install prometheus")
    body = service.send("GET", "/metrics").body
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_prometheus_scrapes_the_service(service: Service, tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus; apt-get install prometheus")
    config = {
        "scrape_configs": [
            {
                "job_name": "lodeline",
                "scrape_interval": "1s",
                "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}],
            }
        ]
    }
    # JSON is YAML.
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=said,
            stderr=said,
        )
    try:
        assert scraped(port, 'lodeline_events_total{outcome="accepted"}') == "2"
        assert scraped(port, "up") == "1"
    finally:
        process.terminate()
        process.wait(30)


def scraped(port: int, query: str) -> str | None:
    for _ in range(300):
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={quote(query)}") as answer:
                found = json.load(answer)["data"]["result"]
            if found:
                return str(found[0]["value"][1])
        except URLError:
            pass
        time.sleep(0.1)
    return None


def test_nobody_reads_figures_that_are_switched_off(tmp_path: Path) -> None:
    with serving(tmp_path / "s.db", variables={"LODELINE_SERVER_METRICS": "off"}) as one:
        assert one.send("GET", "/metrics").status == 404

"""Spans of the service, received by a collector that speaks OTLP."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services import environment, event, serving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Span] = []
        self.services: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.name":
                    self.server.services.add(attribute.value.string_value)
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_requests_commits_folds_and_questions_are_spans_below_the_clients(
    collector: Collector, tmp_path: Path
) -> None:
    variables = {
        "LODELINE_SERVER_TRACES": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
    }
    parent = f"00-{TRACE}-{CLIENT}-01"
    with serving(tmp_path / "s.db", variables=variables) as service:
        service.post(event(inputs="a", outputs="b"), "/api/v1/lineage?wait=folded")
        reply = service.send("GET", "/api/v2/trace?id=dataset:n:b", traceparent=parent)
        assert reply.status == 200
        refused = service.send("GET", "/api/v2/show?id=dataset:n:secret", traceparent=parent)
        assert refused.headers["lodeline-request-id"] == TRACE
        assert service.stop() == 0
    spans = {span.name: span for span in collector.spans}
    assert {"POST /api/v1/lineage", "commit", "fold", "GET /api/v2/trace"} <= set(spans)
    asked = spans["GET /api/v2/trace"]
    assert (asked.trace_id.hex(), asked.parent_span_id.hex()) == (TRACE, CLIENT)
    question = spans["question trace"]
    assert question.parent_span_id == asked.span_id
    attributes = {one.key: one.value for one in asked.attributes}
    assert attributes["http.route"].string_value == "/api/v2/trace"
    assert attributes["http.response.status_code"].int_value == 200
    assert "secret" not in "".join(str(span) for span in collector.spans)
    failed = [span for span in collector.spans if span.name == "question show"]
    assert [one.value.string_value for one in failed[0].attributes] == ["no.unknown_node"]
    assert collector.services == {"lodeline"}


def test_without_traces_nothing_of_opentelemetry_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from lodeline.server.assembly import build_application\n"
        f"build_application('sqlite:///{tmp_path}/s.db').close()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"

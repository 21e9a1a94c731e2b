"""Spans of applications of language models become predictions that trace to their documents."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from lodeline.ingest.graph_reading import graph_state
from lodeline.ingest.projection import fold_pending
from lodeline.store import open_segment
from lodeline.wire.answer_spans import prediction_of, read_answers, run_of
from lodeline.wire.otlp import decode_json, decode_protobuf
from services import Service, serving

DOCUMENTS = [
    {
        "id": "chunk-7",
        "score": 0.9,
        "content": "The fee is 3 %.",
        "metadata": {"source": "/data/docs/fees.pdf"},
    },
    {"id": "chunk-9", "score": 0.8},
]
PROTOBUF = "application/x-protobuf"


def answer(*, service: str = "advisor", fails: bool = False) -> list[ReadableSpan]:
    """Spans of one answer, made by OpenTelemetry's own SDK: retrieval, a tool, and the model."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("POST /ask"):
        with tracer.start_as_current_span("retrieval") as span:
            span.set_attribute("gen_ai.operation.name", "retrieval")
            span.set_attribute("gen_ai.data_source.id", "handbook")
            span.set_attribute("gen_ai.retrieval.documents", json.dumps(DOCUMENTS))
        with tracer.start_as_current_span("execute_tool rates") as span:
            span.set_attribute("gen_ai.operation.name", "execute_tool")
            span.set_attribute("gen_ai.tool.name", "rates")
        with tracer.start_as_current_span("chat gpt-4o") as span:
            span.set_attributes(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4o",
                    "gen_ai.response.model": "gpt-4o-2024-08-06",
                    "gen_ai.request.temperature": 0.2,
                    "gen_ai.prompt.name": "advice",
                    "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]',
                    "gen_ai.input.messages": '[{"role": "user", "content": "my secret salary"}]',
                    "gen_ai.output.messages": '[{"role": "assistant", "content": "about 3 %"}]',
                    "gen_ai.usage.input_tokens": 12,
                    "gen_ai.usage.output_tokens": 5,
                }
            )
            if fails:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", "timeout")
    return list(kept.get_finished_spans())


def chat_of(spans: list[ReadableSpan]) -> str:
    """Identifier of the prediction that the model's span is."""
    decoded = decode_protobuf(encode_spans(spans).SerializeToString()).spans
    (chat,) = [one for one in decoded if one.name.startswith("chat")]
    return f"prediction:{prediction_of(chat)}"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path / "l.db") as running:
        yield running


def send(service: Service, spans: list[ReadableSpan]) -> None:
    body = encode_spans(spans).SerializeToString()
    reply = service.send("POST", "/v1/traces", body, Content_Type=PROTOBUF)
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == PROTOBUF


def sources(service: Service, node: str) -> set[str]:
    found = service.send("GET", f"/api/v2/trace?id={node}").json
    return {one["id"] for one in found["nodes"]}


def graph_of(store: Path) -> str:
    segment = open_segment(f"sqlite:///{store}", create=False)
    try:
        fold_pending(segment)
        return graph_state(segment).graph_digest
    finally:
        segment.close()


EXPECTED = {
    "dataset:handbook:chunk-9",
    "dataset:file:/data/docs/fees.pdf",
    "dataset:default:tools/rates",
    "dataset:default:prompts/advice",
    "model:openai:gpt-4o#gpt-4o-2024-08-06",
}


def test_an_answer_traces_to_documents_template_tools_and_model(service: Service) -> None:
    spans = answer()
    exporter = OTLPSpanExporter(endpoint=f"{service.url}/v1/traces")
    assert exporter.export(spans).name == "SUCCESS"
    found = sources(service, chat_of(spans))
    assert found >= EXPECTED
    chunk = [one for one in found if one.startswith("dataset:handbook:chunk-7#sha256:")]
    assert len(chunk) == 1
    assert any(one.startswith("dataset:default:prompts/system-instructions#sha") for one in found)


def test_what_was_said_is_kept_as_digests_alone(service: Service, tmp_path: Path) -> None:
    spans = answer()
    send(service, spans)
    shown = service.send("GET", f"/api/v2/show?id={chat_of(spans)}").json
    record = shown["record"]
    assert record["featuresDigest"].startswith("sha256:")
    assert "features" not in record
    assert (record["usage"], record["settings"]) == (
        {"input_tokens": 12, "output_tokens": 5},
        {"temperature": 0.2},
    )
    assert shown["deployment"].startswith("deployment:default:advisor#run:")
    service.stop()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"secret salary" not in file.read_bytes()


def test_what_was_said_is_kept_where_the_service_is_told_to(tmp_path: Path) -> None:
    variables = {"LODELINE_SERVER_SPANS_CONTENT": "values"}
    with serving(tmp_path / "l.db", variables=variables) as service:
        spans = answer()
        send(service, spans)
        record = service.send("GET", f"/api/v2/show?id={chat_of(spans)}").json["record"]
    assert record["features"] == [{"role": "user", "content": "my secret salary"}]
    assert record["output"] == [{"role": "assistant", "content": "about 3 %"}]


def test_order_batches_and_repetition_do_not_matter(tmp_path: Path) -> None:
    spans = [*answer(), *answer(service="other", fails=True)]
    digests = []
    for number, batches in enumerate(
        [
            [spans],
            [[span] for span in reversed(spans)],
            [spans, random.Random(1).sample(spans, len(spans)), spans[:3]],
        ]
    ):
        with serving(tmp_path / str(number) / "l.db") as service:
            for batch in batches:
                send(service, batch)
            assert sources(service, chat_of(spans[:4])) >= EXPECTED
            service.stop()
            digests.append(graph_of(service.store))
    assert len(set(digests)) == 1


def test_two_answers_of_one_service_keep_their_own_documents(service: Service) -> None:
    first, second = answer(), answer()
    other = json.dumps([{"id": "chunk-99"}])
    retrieval = next(one for one in second if one.name == "retrieval")
    retrieval._attributes = {**retrieval.attributes, "gen_ai.retrieval.documents": other}
    send(service, first)
    send(service, second)
    assert "dataset:handbook:chunk-99" not in sources(service, chat_of(first))
    assert "dataset:handbook:chunk-9" not in sources(service, chat_of(second))
    assert "dataset:handbook:chunk-99" in sources(service, chat_of(second))


def test_json_and_gzip_say_the_same_as_protobuf() -> None:
    spans = answer(fails=True)
    message = encode_spans(spans)
    read = decode_protobuf(message.SerializeToString()).spans
    assert decode_json(as_json(message)).spans == read
    assert read_answers(read).events
    assert {one.failed for one in read} == {True, False}


def as_json(message: ExportTraceServiceRequest) -> bytes:
    """OTLP's JSON: protobuf's, but identifiers in hexadecimal and enumerations as numbers."""
    from google.protobuf.json_format import MessageToDict

    stated = MessageToDict(message, use_integers_for_enums=True)
    for group in stated["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span, real in zip(
                scope["spans"], message.resource_spans[0].scope_spans[0].spans, strict=True
            ):
                span["traceId"], span["spanId"] = real.trace_id.hex(), real.span_id.hex()
                if "parentSpanId" in span:
                    span["parentSpanId"] = real.parent_span_id.hex()
    return json.dumps(stated).encode()


def test_a_span_that_cannot_be_read_is_rejected_and_the_others_are_taken(
    service: Service,
) -> None:
    spans = answer()
    stated = json.loads(as_json(encode_spans(spans)))
    broken = dict(stated["resourceSpans"][0]["scopeSpans"][0]["spans"][0], traceId="zz")
    stated["resourceSpans"][0]["scopeSpans"][0]["spans"].append(broken)
    body = gzip.compress(json.dumps(stated).encode())
    headers = {"Content_Type": "application/json", "Content_Encoding": "gzip"}
    reply = service.send("POST", "/v1/traces", body, **headers)
    assert reply.status == 200
    assert reply.json["partialSuccess"]["rejectedSpans"] == "1"
    assert sources(service, chat_of(spans)) >= EXPECTED
    protobuf = encode_spans(spans)
    protobuf.resource_spans[0].scope_spans[0].spans[0].span_id = b"short"
    reply = service.send("POST", "/v1/traces", protobuf.SerializeToString(), Content_Type=PROTOBUF)
    told = ExportTraceServiceResponse.FromString(reply.body).partial_success
    assert told.rejected_spans == 1
    assert "16" in told.error_message or "8 bytes" in told.error_message


@pytest.mark.parametrize("content", [PROTOBUF, "application/json", "text/plain"])
def test_what_is_no_request_is_refused_in_its_own_form(service: Service, content: str) -> None:
    reply = service.send("POST", "/v1/traces", b"\xff\xff\xff", Content_Type=content)
    assert reply.status == 400
    if content == PROTOBUF:
        assert reply.headers["content-type"] == PROTOBUF
        assert reply.body.startswith(b"\x08\x03\x12")
    else:
        assert reply.json["code"] == 3


def test_other_spans_are_taken_and_say_nothing(service: Service) -> None:
    provider = TracerProvider()
    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("t").start_as_current_span("GET /"):
        pass
    before = service.send("GET", "/api/v2/stats").json["entries"]
    send(service, list(kept.get_finished_spans()))
    after = service.send("GET", "/api/v2/stats").json["entries"]
    assert after == before


def test_names_of_openinference_are_understood() -> None:
    stated: dict[str, Any] = {
        "openinference.span.kind": "RETRIEVER",
        "retrieval.documents.0.document.id": "c1",
        "retrieval.documents.0.document.metadata": '{"source": "s3://bucket/a.txt?sig=1"}',
        "retrieval.documents.1.document.content": "text without a name",
    }
    span = {
        "traceId": "1" * 32,
        "spanId": "2" * 16,
        "startTimeUnixNano": "1780000000000000000",
        "endTimeUnixNano": "1780000001000000000",
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in stated.items()],
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    (event,) = read_answers(decode_json(body).spans).events
    named = {(one["namespace"], one["name"].partition(":")[0]) for one in event["inputs"]}
    assert named == {("documents", "c1"), ("s3://bucket", "a.txt"), ("documents", "sha256")}
    assert event["run"]["runId"] == run_of("1" * 32)

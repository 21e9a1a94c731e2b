"""From spans of applications of language models to events and predictions.

A trace is a run of the application; each span that matters says, by itself, what of it is input
or output. Nothing is gathered: spans of one trace that arrive in any order, in several requests, or
twice, give the same events, and the fold unites them. A call of a model is a prediction, whose
identifier follows from trace, span and start.

Read are OpenTelemetry's `gen_ai` conventions (1.36 to 1.41, and the deprecated names that
instrumentations still emit), and OpenInference's names for retrieved documents, models, tools and
templates. What is said in prompts and answers becomes a digest, unless content is asked for.

Source: OpenTelemetry Semantic Conventions for Generative AI; OpenInference, semantic conventions.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.limits import PREDICTION_VALUES_BYTES_MAX, SPAN_DOCUMENTS_MAX
from lodeline.model import PredictionId, format_time
from lodeline.model.predictions import BLOCK_BITS, COUNTER_BITS, ticks_of
from lodeline.wire.canonical import canonical_bytes
from lodeline.wire.facets import (
    PRODUCER,
    LodelineCaptureRunFacet,
    LodelineDeploymentDatasetFacet,
    LodelineModelDatasetFacet,
)
from lodeline.wire.otlp import Span

_RUN_EVENT: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_VERSION_FACET: Final = (
    "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"
    "#/$defs/DatasetVersionDatasetFacet"
)
_CUSTOM_FACET: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"
_ANSWERS: Final = frozenset({"chat", "generate_content", "text_completion"})
_MODELS: Final = _ANSWERS | {"embeddings"}
_KINDS: Final = {
    "LLM": "chat",
    "RETRIEVER": "retrieval",
    "RERANKER": "retrieval",
    "TOOL": "execute_tool",
    "EMBEDDING": "embeddings",
}
_SETTINGS: Final = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty"),
    *("presence_penalty", "stop_sequences", "choice.count"),
)
_INPUT: Final = ("gen_ai.input.messages", "gen_ai.prompt", "llm.input_messages", "input.value")
_OUTPUT: Final = (
    *("gen_ai.output.messages", "gen_ai.completion"),
    *("llm.output_messages", "output.value"),
)
_INPUT_EVENTS: Final = frozenset({"gen_ai.content.prompt"})
_OUTPUT_EVENTS: Final = frozenset({"gen_ai.content.completion"})


@dataclass(slots=True)
class Read:
    """What spans say.

    Attributes:
        events: OpenLineage events.
        records: reservations and predictions, as `docs/reference/predictions.md` describes them.
        rejected: spans whose values cannot be recorded.
        reason: why the first of these cannot.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a span belongs."""

    namespace: str
    service: str
    version: str
    run_id: str


def read_answers(spans: Iterable[Span], *, keep_content: bool = False) -> Read:
    """Read spans; those that have nothing to do with models, documents or tools say nothing.

    Args:
        spans: of any traces, in any order.
        keep_content: keep prompts and answers as values, not only as digests.
    """
    found = Read()
    for span in spans:
        try:
            _read(found, span, keep_content=keep_content)
        except (ValueError, RecursionError) as error:
            # Not a number, half of a surrogate pair: what canonical JSON cannot write.
            found.rejected += 1
            found.reason = found.reason or f"span {span.span_id}: {error}"[:300]
    return found


def _read(found: Read, span: Span, *, keep_content: bool) -> None:
    operation = _operation(span)
    inputs, cut = _inputs(span, operation)
    is_answer = operation in _ANSWERS
    if not inputs and not is_answer:
        return
    place = _place(span)
    drawn = prediction_of(span) if is_answer else None
    event = _event(span, place, inputs, drawn, cut=cut)
    records = []
    if drawn is not None:
        records = _records(span, place, operation, drawn, keep_content=keep_content)
    found.events.append(event)
    found.records += records


def prediction_of(span: Span) -> PredictionId:
    """Give the identifier of the prediction that a span is.

    Its time is the span's start; block and counter are the first 62 bits of the SHA-256 of the
    24 bytes of trace and span identifiers.
    """
    digest = hashlib.sha256(bytes.fromhex(span.trace_id + span.span_id)).digest()
    number = int.from_bytes(digest[:8], "big") >> 2
    return PredictionId(
        ticks_of(span.start_ns),
        number >> COUNTER_BITS & ((1 << BLOCK_BITS) - 1),
        number & ((1 << COUNTER_BITS) - 1),
    )


def run_of(trace_id: str) -> str:
    """Give the UUID of the run that a trace is: its identifier, with the bits of version 8 set."""
    return str(uuid.UUID(int=int(trace_id, 16) & ~(0xF << 76 | 3 << 62) | 8 << 76 | 2 << 62))


def _operation(span: Span) -> str:
    stated = span.attributes.get("gen_ai.operation.name")
    if isinstance(stated, str):
        return stated
    return _KINDS.get(str(span.attributes.get("openinference.span.kind", "")).upper(), "")


def _place(span: Span) -> _Place:
    resource = span.resource
    service = str(resource.get("service.name") or "unknown_service")
    namespace = str(
        resource.get("lodeline.namespace") or resource.get("service.namespace") or "default"
    )
    version = str(resource.get("service.version") or "")
    return _Place(namespace, service, version, run_of(span.trace_id))


def _first(attributes: Mapping[str, Any], *names: str) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


# What goes in


def _inputs(span: Span, operation: str) -> tuple[list[dict[str, Any]], bool]:
    """List what a span says went in; and whether there were more documents than are named."""
    place = _place(span)
    documents = _documents(span)
    kept = documents[:SPAN_DOCUMENTS_MAX]
    found = [one for document in kept for one in _sources(span, document)]
    model = _model(span)
    if model is not None and operation in _MODELS:
        facet: dict[str, Any] = _facet(LodelineModelDatasetFacet.facet_schema_url)
        if model["version"] is not None:
            facet["digest"] = model["version"]
        named = {"namespace": model["namespace"], "name": model["name"]}
        found.append({**named, "facets": {"lodeline_model": facet}})
    found += _templates(span, place)
    tool = _first(span.attributes, "gen_ai.tool.name", "tool.name")
    if tool is not None and operation == "execute_tool":
        found.append({"namespace": place.namespace, "name": f"tools/{tool}"})
    unique = {(one["namespace"], one["name"]): one for one in found}
    return [unique[name] for name in sorted(unique)], len(documents) > len(kept)


def _documents(span: Span) -> list[Mapping[str, Any]]:
    stated = _parsed(span.attributes.get("gen_ai.retrieval.documents"))
    if isinstance(stated, list):
        return [one for one in stated if isinstance(one, Mapping)]
    # OpenInference writes lists flat: `retrieval.documents.0.document.id`.
    flat: dict[int, dict[str, Any]] = {}
    for name, value in span.attributes.items():
        for prefix in ("retrieval.documents.", "reranker.output_documents."):
            number, _, rest = name.removeprefix(prefix).partition(".document.")
            if name.startswith(prefix) and rest and number.isdigit():
                flat.setdefault(int(number), {})[rest] = _parsed(value)
    return [flat[number] for number in sorted(flat)]


def _sources(span: Span, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name a retrieved chunk, and the document that it was cut from, where that is told."""
    content = _first(document, "content", "page_content", "text")
    digest = None if content is None else _digest(content)
    identity = _first(document, "id", "document_id", "chunk_id") or digest
    found = []
    if identity is not None:
        store = _first(
            span.attributes,
            *("gen_ai.data_source.id", "db.collection.name", "db.namespace", "db.system.name"),
        )
        chunk: dict[str, Any] = {"namespace": str(store or "documents"), "name": str(identity)}
        if digest is not None:
            version = {**_facet(_VERSION_FACET), "datasetVersion": digest}
            chunk["facets"] = {"version": version}
        found.append(chunk)
    metadata = document.get("metadata")
    told = {**document, **metadata} if isinstance(metadata, Mapping) else document
    source = _first(told, "source", "uri", "url", "file_path", "path")
    if isinstance(source, str) and source:
        found.append(_source(source))
    return found


def _source(source: str) -> dict[str, Any]:
    """Name a document as OpenLineage names what lies in files and stores."""
    scheme, found, rest = source.partition("://")
    if not found:
        return {"namespace": "file", "name": source}
    # Neither what a signed link was signed with, nor who logged in.
    host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
    if scheme == "file":
        return {"namespace": "file", "name": slash + path}
    name = path if scheme in {"s3", "gs"} else slash + path
    return {"namespace": f"{scheme}://{host.rpartition('@')[2]}", "name": name or "/"}


def _model(span: Span) -> dict[str, Any] | None:
    attributes = span.attributes
    answered = attributes.get("gen_ai.response.model")
    name = _first(
        attributes, "gen_ai.request.model", "gen_ai.response.model", "llm.model_name",
        "embedding.model_name",
    )  # fmt: skip
    if name is None:
        return None
    provider = _first(attributes, "gen_ai.provider.name", "gen_ai.system", "llm.provider")
    return {
        "namespace": str(provider or "unknown"),
        "name": str(name),
        "version": None if answered is None else str(answered),
    }


def _templates(span: Span, place: _Place) -> list[dict[str, Any]]:
    """Name the prompt template; system instructions are one, recognised by their digest."""
    attributes = span.attributes
    found = []
    name = _first(attributes, "gen_ai.prompt.name", "llm.prompt_template.name")
    text = attributes.get("llm.prompt_template.template")
    version = _first(attributes, "gen_ai.prompt.version", "llm.prompt_template.version")
    if name is not None or text is not None:
        version = str(version) if version is not None else None if text is None else _digest(text)
        found.append(_template(place, str(name or "template"), version))
    instructions = attributes.get("gen_ai.system_instructions")
    if instructions is not None:
        found.append(_template(place, "system-instructions", _digest(_parsed(instructions))))
    return found


def _template(place: _Place, name: str, version: str | None) -> dict[str, Any]:
    dataset: dict[str, Any] = {"namespace": place.namespace, "name": f"prompts/{name}"}
    if version is not None:
        dataset["facets"] = {"version": {**_facet(_VERSION_FACET), "datasetVersion": version}}
    return dataset


# What comes out


def _event(
    span: Span,
    place: _Place,
    inputs: list[dict[str, Any]],
    drawn: PredictionId | None,
    *,
    cut: bool,
) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    outputs: list[dict[str, Any]] = []
    if cut:
        gap = {
            "reason": "size",
            "at": f"span {span.span_id}",
            "detail": f"more than {SPAN_DOCUMENTS_MAX} documents retrieved; the rest is not named",
        }
        capture = _facet(LodelineCaptureRunFacet.facet_schema_url)
        facets["lodeline_capture"] = {**capture, "gaps": [gap]}
    if drawn is not None:
        said = {"prediction": str(drawn), "traceId": span.trace_id, "spanId": span.span_id}
        facets[f"lodeline_answer_{span.span_id}"] = {**_facet(_CUSTOM_FACET), **said}
        # No digest: the version is the run, since each answer has documents of its own.
        deployed = {
            **_facet(LodelineDeploymentDatasetFacet.facet_schema_url),
            "configuration": {"service": place.service, "version": place.version or None},
        }
        outputs = [
            {
                "namespace": place.namespace,
                "name": place.service,
                "facets": {"lodeline_deployment": deployed},
            }
        ]
    return {
        "eventType": "COMPLETE" if drawn is not None and not span.failed else "RUNNING",
        "eventTime": format_time(span.end_ns // 1000),
        "producer": PRODUCER,
        "schemaURL": _RUN_EVENT,
        "run": {"runId": place.run_id, "facets": facets},
        "job": {"namespace": place.namespace, "name": place.service},
        "inputs": inputs,
        "outputs": outputs,
    }


def _records(
    span: Span, place: _Place, operation: str, drawn: PredictionId, *, keep_content: bool
) -> list[dict[str, Any]]:
    deployment = {"namespace": place.namespace, "name": place.service}
    reservation: dict[str, Any] = {
        "type": "reservation",
        "block": drawn.block_text,
        "time": drawn.time_us,
        "writer": "otlp",
        "deployment": {**deployment, "digest": f"run:{place.run_id}"},
        "run": place.run_id,
    }
    model = _model(span)
    if model is not None:
        reservation["model"] = model
    row = _row(span, operation, drawn, keep_content=keep_content)
    return [
        reservation,
        {"type": "predictions", "block": drawn.block_text, "rows": [row]},
    ]


def _row(span: Span, operation: str, drawn: PredictionId, *, keep_content: bool) -> dict[str, Any]:
    attributes = span.attributes
    row: dict[str, Any] = {
        "id": str(drawn),
        "status": None,
        "latencyUs": (span.end_ns - span.start_ns) // 1000,
        "method": operation,
        "traceparent": f"00-{span.trace_id}-{span.span_id}-01",
    }
    if span.failed:
        row["error"] = str(attributes.get("error.type") or "error")
    for member, names, events in (
        ("features", _INPUT, _INPUT_EVENTS),
        ("output", _OUTPUT, _OUTPUT_EVENTS),
    ):
        said = _said(span, names, events)
        if said is None:
            continue
        written = canonical_bytes(said)
        if keep_content and len(written) <= PREDICTION_VALUES_BYTES_MAX:
            row[member] = said
        else:
            row[f"{member}Digest"] = f"sha256:{hashlib.sha256(written).hexdigest()}"
    settings = {
        name: value
        for name in _SETTINGS
        if (value := attributes.get(f"gen_ai.request.{name}")) is not None
    }
    usage = {
        name: value
        for name in ("input_tokens", "output_tokens")
        if isinstance(value := attributes.get(f"gen_ai.usage.{name}"), int)
    }
    if settings:
        row["settings"] = settings
    if usage:
        row["usage"] = usage
    if attributes.get("gen_ai.conversation.id") is not None:
        row["entityKeys"] = {"conversation": str(attributes["gen_ai.conversation.id"])}
    return row


def _said(span: Span, names: Iterable[str], events: frozenset[str]) -> Any:
    """What a span tells of messages, in whichever of the conventions' places."""
    for name in names:
        if span.attributes.get(name) is not None:
            return _parsed(span.attributes[name])
        # OpenInference and older instrumentations write lists flat.
        flat = {key: one for key, one in span.attributes.items() if key.startswith(f"{name}.")}
        if flat:
            return flat
    told = [dict(one.attributes) for one in span.events if one.name in events]
    return told or None


def _parsed(value: Any) -> Any:
    """Read JSON that an attribute holds as text; anything else stays what it is."""
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _digest(value: Any) -> str:
    data = value.encode("utf-8", "replace") if isinstance(value, str) else canonical_bytes(value)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _facet(schema: str) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema}

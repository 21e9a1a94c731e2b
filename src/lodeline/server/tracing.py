"""Traces of the service in OpenTelemetry: a span a request, commit, fold and question.

Off unless settings ask for it, and then nothing of OpenTelemetry is loaded. Where spans go, and how
many are kept, OpenTelemetry's own variables say (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_TRACES_SAMPLER`, …). A request's `traceparent` is honoured. Attributes are those of the
diagnostics: no payloads, no names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lodeline import __version__
from lodeline.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

Attributes = Mapping[str, str | int | float | bool]


class Tracing:
    """Makes no spans: what a service without traces has."""

    @contextmanager
    def span(self, name: str, attributes: Attributes | None = None) -> Iterator[None]:
        """Put a span around a piece of work."""
        del name, attributes
        yield

    def close(self) -> None:
        """Send what is left."""


class RequestSpan:
    """The span of one request."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """Of the span, 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def end(self, method: str, route: str, status: int) -> None:
        """Tell how the request ended."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)


class OpenTelemetry(Tracing):
    """Makes spans and sends them over OTLP.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise MissingExtraError("otel", error.name or "") from error
        self._server = SpanKind.SERVER
        resource = Resource.create().merge(Resource({"service.version": __version__}))
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES may have named it.
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "lodeline"}))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("lodeline", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, headers: Mapping[str, str], method: str) -> Iterator[RequestSpan]:
        """Put a span around a request, below the client's where it sent one."""
        context: Any = self._propagator.extract(dict(headers))
        with self._tracer.start_as_current_span(
            method,
            context=context,
            kind=self._server,
            attributes={"http.request.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield RequestSpan(span)

    @contextmanager
    def span(self, name: str, attributes: Attributes | None = None) -> Iterator[None]:
        """Put a span around a piece of work, below that which goes on here."""
        # What an error says may name a dataset, and a traceback its values: the code alone is told.
        with self._tracer.start_as_current_span(
            name,
            attributes=dict(attributes or {}),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
                raise

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

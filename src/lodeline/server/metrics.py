"""GET /metrics: figures of the service in Prometheus's text format.

Every metric stands in `METRICS`, whoever counts it, and in `docs/reference/metrics.md`. Labels take
few values: route templates, codes, verbs; never names of datasets or jobs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from lodeline import __version__
from lodeline.errors import LodelineError
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.store import Segment
from lodeline.store.connections import Connection, has_table
from lodeline.store.stream_tables import read_offsets

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# Around one fsync (milliseconds) and up to the bound of an answer (ten seconds).
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EVENTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class MetricKind:
    """What a metric is.

    Attributes:
        kind: `counter`, `gauge` or `histogram`.
        labels: their names.
        summary: one line for the documentation.
        buckets: upper bounds, of a histogram.
    """

    kind: str
    labels: tuple[str, ...]
    summary: str
    buckets: tuple[float, ...] = _SECONDS


METRICS: Final = {
    "lodeline_build_info": MetricKind("gauge", ("version",), "1, with the version as label."),
    "lodeline_http_requests_total": MetricKind(
        "counter", ("method", "route", "status"), "Requests answered, by route template."
    ),
    "lodeline_http_request_seconds": MetricKind(
        "histogram", ("route",), "From a request's headers to the end of its answer."
    ),
    "lodeline_http_requests_in_progress": MetricKind("gauge", (), "Requests under way."),
    "lodeline_events_total": MetricKind(
        "counter", ("outcome",), "Events received: `accepted`, `duplicate` or `refused`."
    ),
    "lodeline_events_refused_total": MetricKind(
        "counter", ("code",), "Events refused, by the code of the fault."
    ),
    "lodeline_queue_events": MetricKind("gauge", (), "Events that wait for the writer."),
    "lodeline_commit_events": MetricKind(
        "histogram", (), "Events written together, in one transaction.", _EVENTS
    ),
    "lodeline_commit_seconds": MetricKind(
        "histogram", (), "Validating, appending and making durable what is written together."
    ),
    "lodeline_fsync_seconds": MetricKind(
        "histogram", (), "The durable commits of the store alone, fsync included."
    ),
    "lodeline_fold_seconds": MetricKind("histogram", (), "Bringing the graph up to the log."),
    "lodeline_fold_lag_entries": MetricKind("gauge", (), "Entries in the log, not in the graph."),
    "lodeline_log_entries": MetricKind("gauge", (), "Entries in the log."),
    "lodeline_unsigned_entries": MetricKind(
        "gauge", (), "Entries that no signed checkpoint covers yet."
    ),
    "lodeline_checkpoint_age_seconds": MetricKind(
        "gauge", (), "Since the log time of the newest checkpoint."
    ),
    "lodeline_dead_letters": MetricKind("gauge", (), "Refused inputs that nobody has mended."),
    "lodeline_stream_behind": MetricKind(
        "gauge",
        ("source",),
        "Messages, or bytes of files, that waited when the stream was last taken from.",
    ),
    "lodeline_stream_age_seconds": MetricKind(
        "gauge", ("source",), "Since the stream was last taken from."
    ),
    "lodeline_event_streams": MetricKind("gauge", (), "Listeners to `/api/v2/events`."),
    "lodeline_question_seconds": MetricKind(
        "histogram", ("verb",), "Answering a question, the wait for a thread left out."
    ),
}

Readings = Mapping[tuple[str, ...], float]


class Metrics:
    """The figures of one service. Every method may be called from any thread."""

    def __init__(self) -> None:
        # A second series a counter, which nothing reads, and of the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        ProcessCollector(registry=self._registry)
        self.gauge("lodeline_build_info").labels(__version__).set(1)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Count a counter of `METRICS` up."""
        self._child(name, labels).inc(by)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Put a value into a histogram of `METRICS`."""
        self._child(name, labels).observe(value)

    def gauge(self, name: str) -> Gauge:
        """Give a gauge of `METRICS`, to be set."""
        gauge = self._get(name)
        assert isinstance(gauge, Gauge)
        return gauge

    def read(self, names: Iterable[str], read: Callable[[], Mapping[str, Readings]]) -> None:
        """Have gauges of `METRICS` read when they are asked for.

        Args:
            names: of the gauges.
            read: gives readings by name, each by its labels' values; what it raises of ours
                leaves these gauges out. It may wait for the disk.
        """
        self._registry.register(_Reader(tuple(names), read))

    def text(self) -> bytes:
        """Write everything in Prometheus's text format. May wait for the disk."""
        return generate_latest(self._registry)

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        # The library's own look-up takes a lock; this is on the path of every event.
        child = self._children.get((name, labels))
        if child is None:
            metric = self._get(name)
            child = metric.labels(*labels) if labels else metric
            self._children[name, labels] = child
        return child

    def _get(self, name: str) -> Any:
        metric = self._known.get(name)
        if metric is None:
            with self._lock:
                metric = self._known.setdefault(name, None) or self._make(name)
                self._known[name] = metric
        return metric

    def _make(self, name: str) -> Any:
        about = METRICS[name]
        if about.kind == "histogram":
            return Histogram(
                name, about.summary, about.labels, registry=self._registry, buckets=about.buckets
            )
        made = Counter if about.kind == "counter" else Gauge
        return made(name, about.summary, about.labels, registry=self._registry)


class _Reader(Collector):
    def __init__(self, names: tuple[str, ...], read: Callable[[], Mapping[str, Readings]]) -> None:
        self._names = names
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Name the gauges without reading them."""
        return [self._family(name) for name in self._names]

    def collect(self) -> Iterable[Metric]:
        """Read the gauges."""
        try:
            found = self._read()
        except LodelineError:
            # Absent is not zero: whoever watches sees that it could not be read.
            return
        for name, readings in found.items():
            family = self._family(name)
            for labels, value in readings.items():
                family.add_metric(labels, value)
            yield family

    @staticmethod
    def _family(name: str) -> GaugeMetricFamily:
        about = METRICS[name]
        return GaugeMetricFamily(name, about.summary, labels=about.labels)


STORE_METRICS: Final = (
    "lodeline_fold_lag_entries",
    "lodeline_log_entries",
    "lodeline_unsigned_entries",
    "lodeline_checkpoint_age_seconds",
    "lodeline_dead_letters",
    "lodeline_stream_behind",
    "lodeline_stream_age_seconds",
)


def read_store(segment: Segment) -> dict[str, Readings]:
    """Read the gauges of a segment, from one snapshot."""
    with segment.reading() as connection:
        size = _number(connection, "SELECT coalesce(max(position) + 1, 0) FROM entry")
        [signed, signed_us] = connection.execute(
            "SELECT coalesce(max(size), 0), coalesce(max(log_time), 0) FROM checkpoint"
        ).fetchone()
        folded = 0.0
        if has_table(connection, "fold_state"):
            folded = _number(connection, "SELECT coalesce(max(folded_to), 0) FROM fold_state")
        letters = _number(connection, "SELECT count(*) FROM dead_letter WHERE resolved_at IS NULL")
        streams = _read_streams(connection)
    values = {
        "lodeline_fold_lag_entries": max(0.0, size - folded),
        "lodeline_log_entries": size,
        "lodeline_unsigned_entries": max(0.0, size - signed),
        "lodeline_checkpoint_age_seconds": max(0.0, time.time() - signed_us / 1e6),
        "lodeline_dead_letters": letters,
    }
    return {**{name: {(): value} for name, value in values.items()}, **streams}


def _read_streams(connection: Connection) -> dict[str, Readings]:
    # By source alone: a folder has a part for each of its files.
    behind: dict[tuple[str, ...], float] = {}
    taken_us: dict[tuple[str, ...], float] = {}
    for offset in read_offsets(connection):
        source = (offset.source,)
        behind[source] = behind.get(source, 0.0) + offset.behind
        taken_us[source] = max(taken_us.get(source, 0.0), offset.taken_at_us)
    now = time.time()
    return {
        "lodeline_stream_behind": behind,
        "lodeline_stream_age_seconds": {
            source: max(0.0, now - us / 1e6) for source, us in taken_us.items()
        },
    }


def _number(connection: Connection, statement: str) -> float:
    (number,) = connection.execute(statement).fetchone()
    return float(number)


class MetricsPage:
    """The endpoint that Prometheus scrapes.

    Args:
        metrics: what it shows.
        permission: that a caller needs.
    """

    def __init__(self, metrics: Metrics, permission: Permission) -> None:
        self._metrics = metrics
        self._permission = permission

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the one endpoint."""
        content = {"text/plain": {"schema": {"type": "string"}}}
        answers = {"200": {"description": "Prometheus's text format", "content": content}}
        return [
            Endpoint(
                "GET",
                "/metrics",
                self._permission,
                self.page,
                "Figures of the service for Prometheus",
                {"responses": answers},
            )
        ]

    async def page(self, _: Request, __: Caller) -> Response:
        """Answer with all figures."""
        text = await asyncio.to_thread(self._metrics.text)
        return Response(text, media_type=CONTENT_TYPE)

"""The service put together: its segments, their writers, its questions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lodeline.errors import ForbiddenError, LodelineError, MissingExtraError, UsageError
from lodeline.evidence import build_pack
from lodeline.ingest import take_in
from lodeline.ingest.projection import fold_pending
from lodeline.limits import SHUTDOWN_SECONDS_MAX
from lodeline.proof.packs import encode_pack
from lodeline.query.federated_single import knowing
from lodeline.query.federation import ask_segments
from lodeline.server.application import Application, EndpointGroup
from lodeline.server.asking import Ask
from lodeline.server.configuration import DEFAULTS, ServerConfiguration
from lodeline.server.confinement import require_whole_sight
from lodeline.server.counting import counted, timed, timing
from lodeline.server.depositing import Deposits
from lodeline.server.endpoints import Caller, Gate, OpenGate, Permission
from lodeline.server.entry_events import EntryEvents
from lodeline.server.exporting import Exports
from lodeline.server.hosting import (
    EachSegment,
    RoutedBlobs,
    RoutedPredictions,
    RoutedWriter,
    segment_named,
    segment_of_request,
)
from lodeline.server.indexing import Indexer
from lodeline.server.log_files import LogFiles
from lodeline.server.marquez import Marquez
from lodeline.server.metrics import STORE_METRICS, Metrics, MetricsPage, read_store
from lodeline.server.observing import Observing
from lodeline.server.pages import Pages, PageService
from lodeline.server.pages.service import LookAtSpool
from lodeline.server.refused_input import RefusedInput
from lodeline.server.retention import Retention
from lodeline.server.segments import (
    DEFAULT_SEGMENT,
    Router,
    Segments,
    read_segments,
    segment_stores,
)
from lodeline.server.telemetry import Telemetry
from lodeline.server.tracing import OpenTelemetry, Tracing
from lodeline.server.writing import Input, Outcome, Writer
from lodeline.store import Segment, SqlSegment, open_segment

if TYPE_CHECKING:
    from lodeline.server.agents import AgentsEndpoint

_OPEN: Final = OpenGate()


def build_application(
    store: str,
    *,
    gate: Gate = _OPEN,
    make_gate: Callable[[Segment], Gate] | None = None,
    configuration: ServerConfiguration = DEFAULTS,
    look_at_spool: LookAtSpool | None = None,
) -> Application:
    """Open a store and build the service over it.

    Args:
        store: URL of the store; made when missing.
        gate: knows callers; without one everyone may do everything.
        make_gate: makes one that looks callers up in the segment.
        configuration: the service's settings.
        look_at_spool: looks at the spool beside a store, for the page of health.

    Raises:
        StoreUnreachableError: it cannot be opened.
    """
    segments = _open_segments(store, configuration)
    segment = segments.by_name[DEFAULT_SEGMENT]
    gate = gate if make_gate is None else make_gate(segment)
    metrics = Metrics()
    traces = OpenTelemetry() if configuration.traces else None
    tracing = traces or Tracing()
    questions = _Questions(segments, metrics, tracing)
    named = segments.by_name.items()
    writers = {name: _measured_writer(one, metrics, tracing) for name, one in named}
    several = len(writers) > 1
    writer = RoutedWriter(writers, segments.router) if several else writers[DEFAULT_SEGMENT]
    metrics.read(["lodeline_queue_events"], lambda: {"lodeline_queue_events": {(): writer.waiting}})
    metrics.read(STORE_METRICS, partial(read_store, segment))
    events = {
        name: EntryEvents(one, streams_max=configuration.limits_event_streams)
        for name, one in named
    }
    _count_streams(events.values(), metrics)
    agents = _agents(questions.answer, gate, configuration)
    return Application(
        ask=questions.answer,
        write=questions.write,
        prove=questions.prove,
        writer=writer,
        groups=[
            *_groups_of(segments, writers),
            _telemetry(segments, writer, configuration),
            EachSegment(events, segment_named, segments.authoriser),
            *_metrics_pages(metrics, configuration),
            *agents,
            _pages(questions.answer, segments, writer, gate, configuration, spool=look_at_spool),
        ],
        gate=gate,
        observing=Observing(metrics, traces, requests=configuration.log_requests),
        threads=configuration.limits_questions,
        shutdown_seconds=configuration.limits_shutdown_seconds,
        companions=[one.running for one in agents],
        begin_stopping=partial(_stop_streams, events.values()),
        close=_work_behind(list(segments.by_name.values()), tracing, configuration),
    )


def _pages(
    ask: Ask,
    segments: Segments,
    writer: Writer,
    gate: Gate,
    configuration: ServerConfiguration,
    *,
    spool: LookAtSpool | None,
) -> Pages:
    service = PageService(
        ask,
        segments,
        gate,
        keys=not isinstance(gate, OpenGate),
        waiting=lambda: writer.waiting,
        configuration=configuration,
        look_at_spool=spool,
    )
    return Pages(service)


def _open_segments(store: str, configuration: ServerConfiguration) -> Segments:
    """Open the segments of the service, the default one first, and bring their views up."""
    table = configuration.tables.get("segments")
    stores = segment_stores(store, table)
    by_name: dict[str, SqlSegment] = {}
    try:
        for name, url in stores.items():
            by_name[name] = open_segment(url, create=True)
            fold_pending(by_name[name])
    except LodelineError:
        for one in by_name.values():
            one.close()
        raise
    return Segments(by_name, Router(read_segments(table)))


def _groups_of(segments: Segments, writers: Mapping[str, Writer]) -> list[EndpointGroup]:
    """Give the endpoints that every segment has of its own, or takes its part of."""
    named = segments.by_name.items()
    predictions = RoutedPredictions(segments)
    blobs = RoutedBlobs(segments)
    choose = partial(segment_of_request, segments.router)
    seen = segments.authoriser
    return [
        Deposits(
            take_predictions=predictions.take,
            keep_blob=blobs.keep,
            segment_of=predictions.segment_of,
            segment_of_blob=blobs.segment_of,
        ),
        EachSegment({name: Exports(one) for name, one in named}, choose, seen),
        LogFiles(segments.by_name),
        EachSegment({name: RefusedInput(one) for name, one in named}, segment_named, seen),
        EachSegment({name: Marquez(one, writers[name]) for name, one in named}, choose, seen),
    ]


def _telemetry(segments: Segments, writer: Writer, configuration: ServerConfiguration) -> Telemetry:
    predictions = RoutedPredictions(segments)
    return Telemetry(
        writer=writer,
        take_predictions=predictions.take,
        segment_of=predictions.segment_of,
        keep_content=configuration.spans_content == "values",
    )


class _Questions:
    """Answers callers over the segments that they may use."""

    def __init__(self, segments: Segments, metrics: Metrics, tracing: Tracing) -> None:
        self._segments = segments
        self._metrics = metrics
        self._tracing = tracing

    def answer(self, caller: Caller, verb: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Answer a verb."""
        return self._answer(caller, verb, parameters, encoded=False)

    def write(self, caller: Caller, verb: str, parameters: Mapping[str, object]) -> bytes:
        """Answer a verb in JSON."""
        return msgspec.json.encode(self._answer(caller, verb, parameters, encoded=True))

    def _answer(
        self, caller: Caller, verb: str, parameters: Mapping[str, object], *, encoded: bool
    ) -> dict[str, Any]:
        observe = self._metrics.observe
        allowed, hidden, parameters = self._segments.of_question(caller, parameters)
        with (
            timing(lambda seconds: observe("lodeline_question_seconds", seconds, verb)),
            self._tracing.span(f"question {verb}"),
        ):
            return ask_segments(
                allowed,
                verb,
                parameters,
                authoriser=self._segments.authoriser(caller),
                hidden=hidden,
                encoded=encoded,
            )

    def prove(self, caller: Caller, parameters: Mapping[str, object]) -> bytes:
        """Write an evidence pack, of the one segment that knows the node.

        Raises:
            UsageError: several know it: a pack proves one log, and would say of the others nothing.
        """
        seeing = replace(caller, authoriser=self._segments.authoriser(caller))
        require_whole_sight(seeing, "a pack shows whole entries")
        allowed, _, parameters = self._segments.of_question(caller, parameters)
        if not allowed:
            raise ForbiddenError(f"the key {caller.key_id} may use no segment")
        if len(allowed) > 1:
            allowed = knowing(allowed, str(parameters.get("id", "")))
        if len(allowed) > 1:
            names = ", ".join(allowed)
            raise UsageError(f"a pack proves one log; name one of {names} as `segment`")
        [segment] = allowed.values()
        return encode_pack(build_pack(segment, parameters))


def _measured_writer(segment: SqlSegment, metrics: Metrics, tracing: Tracing) -> Writer:
    segment.observe_commits(partial(metrics.observe, "lodeline_fsync_seconds"))
    return Writer(
        segment,
        append=counted(append_events, metrics, tracing),
        fold=timed(fold_pending, partial(metrics.observe, "lodeline_fold_seconds"), tracing),
    )


def _stop_streams(events: Collection[EntryEvents]) -> None:
    for one in events:
        one.stop()


def _count_streams(events: Collection[EntryEvents], metrics: Metrics) -> None:
    name = "lodeline_event_streams"
    metrics.read([name], lambda: {name: {(): sum(one.streams for one in events)}})


def _agents(ask: Ask, gate: Gate, configuration: ServerConfiguration) -> list[AgentsEndpoint]:
    if not configuration.mcp:
        return []
    try:
        from lodeline.server.agents import AgentsEndpoint
    except ModuleNotFoundError as error:
        raise MissingExtraError("mcp", error.name or "") from error
    return [AgentsEndpoint(ask, open_to_all=isinstance(gate, OpenGate))]


def _metrics_pages(metrics: Metrics, configuration: ServerConfiguration) -> list[MetricsPage]:
    if configuration.metrics == "off":
        return []
    return [MetricsPage(metrics, Permission(configuration.metrics))]


def _work_behind(
    segments: Sequence[Segment], tracing: Tracing, configuration: ServerConfiguration
) -> Callable[[], None]:
    """Start what goes on beside requests; the function given back ends that, and the segments."""
    retentions = [Retention(segment, configuration) for segment in segments]
    indexers = [Indexer(segment) for segment in segments]
    for retention, indexer in zip(retentions, indexers, strict=True):
        retention.start()
        indexer.start()

    def close() -> None:
        for retention, indexer, segment in zip(retentions, indexers, segments, strict=True):
            indexer.stop()
            retention.stop(SHUTDOWN_SECONDS_MAX)
            segment.close()
        tracing.close()

    return close


def append_events(segment: Segment, inputs: Sequence[Input]) -> list[Outcome]:
    """Take inputs in, in one durable transaction; the checkpoint over them may follow.

    Returns:
        For each input, in order, how it fared; refused ones are in the dead-letter list.
    """
    taken = take_in(segment, inputs, sign=False)
    appended = iter(taken.appended)
    return [Outcome(error, None if error else next(appended)) for error in taken.errors]

"""The service put together: one segment, its writer, its questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lodeline.errors import MissingExtraError
from lodeline.evidence import build_pack
from lodeline.ingest import take_in
from lodeline.ingest.predictions import accept_predictions
from lodeline.ingest.projection import fold_pending
from lodeline.limits import SHUTDOWN_SECONDS_MAX
from lodeline.proof.packs import encode_pack
from lodeline.query import ask
from lodeline.server.application import Application
from lodeline.server.asking import Ask
from lodeline.server.configuration import DEFAULTS, ServerConfiguration
from lodeline.server.confinement import require_whole_sight
from lodeline.server.counting import counted, timed, timing
from lodeline.server.depositing import Deposits
from lodeline.server.endpoints import Caller, Gate, OpenGate, Permission
from lodeline.server.entry_events import EntryEvents
from lodeline.server.exporting import Exports
from lodeline.server.indexing import Indexer
from lodeline.server.log_files import LogFiles
from lodeline.server.marquez import Marquez
from lodeline.server.metrics import STORE_METRICS, Metrics, MetricsPage, read_store
from lodeline.server.observing import Observing
from lodeline.server.refused_input import RefusedInput
from lodeline.server.retention import Retention
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
) -> Application:
    """Open a store and build the service over it.

    Args:
        store: URL of the store; made when missing.
        gate: knows callers; without one everyone may do everything.
        make_gate: makes one that looks callers up in the segment.
        configuration: the service's settings.

    Raises:
        StoreUnreachableError: it cannot be opened.
    """
    segment = open_segment(store, create=True)
    fold_pending(segment)
    if make_gate is not None:
        gate = make_gate(segment)
    metrics = Metrics()
    traces = OpenTelemetry() if configuration.traces else None
    tracing = traces or Tracing()
    segment.observe_commits(partial(metrics.observe, "lodeline_fsync_seconds"))

    answer = _answering(segment, metrics, tracing)

    def take_predictions(records: Sequence[dict[str, Any]]) -> list[str | None]:
        return accept_predictions(segment, records)

    writer = _measured_writer(segment, metrics, tracing)
    events = _entry_events(segment, metrics, configuration)
    deposits = Deposits(take_predictions=take_predictions, keep_blob=segment.put_blob)
    agents = _agents(answer, gate, configuration)
    return Application(
        ask=answer,
        prove=partial(_prove, segment),
        writer=writer,
        groups=[
            deposits,
            Exports(segment),
            LogFiles(segment),
            RefusedInput(segment),
            Marquez(segment, writer),
            events,
            *_metrics_pages(metrics, configuration),
            *agents,
        ],
        gate=gate,
        observing=Observing(metrics, traces, requests=configuration.log_requests),
        threads=configuration.limits_questions,
        shutdown_seconds=configuration.limits_shutdown_seconds,
        companions=[one.running for one in agents],
        begin_stopping=events.stop,
        close=_work_behind(segment, tracing, configuration),
    )


def _answering(segment: Segment, metrics: Metrics, tracing: Tracing) -> Ask:
    def answer(caller: Caller, verb: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        with (
            timing(lambda seconds: metrics.observe("lodeline_question_seconds", seconds, verb)),
            tracing.span(f"question {verb}"),
        ):
            return ask(segment, verb, parameters, authoriser=caller.authoriser)

    return answer


def _prove(segment: SqlSegment, caller: Caller, parameters: Mapping[str, object]) -> bytes:
    require_whole_sight(caller, "a pack shows whole entries")
    return encode_pack(build_pack(segment, parameters))


def _measured_writer(segment: Segment, metrics: Metrics, tracing: Tracing) -> Writer:
    writer = Writer(
        segment,
        append=counted(append_events, metrics, tracing),
        fold=timed(fold_pending, partial(metrics.observe, "lodeline_fold_seconds"), tracing),
    )
    metrics.read(["lodeline_queue_events"], lambda: {"lodeline_queue_events": {(): writer.waiting}})
    metrics.read(STORE_METRICS, partial(read_store, segment))
    return writer


def _entry_events(
    segment: Segment, metrics: Metrics, configuration: ServerConfiguration
) -> EntryEvents:
    events = EntryEvents(segment, streams_max=configuration.limits_event_streams)
    name = "lodeline_event_streams"
    metrics.read([name], lambda: {name: {(): events.streams}})
    return events


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
    segment: Segment, tracing: Tracing, configuration: ServerConfiguration
) -> Callable[[], None]:
    """Start what goes on beside requests; the function given back ends that, and the segment."""
    retention = Retention(segment, configuration)
    retention.start()
    indexer = Indexer(segment)
    indexer.start()

    def close() -> None:
        indexer.stop()
        retention.stop(SHUTDOWN_SECONDS_MAX)
        segment.close()
        tracing.close()

    return close


def append_events(segment: Segment, inputs: Sequence[Input]) -> list[Outcome]:
    """Take inputs in, in one durable transaction.

    Returns:
        For each input, in order, how it fared; refused ones are in the dead-letter list.
    """
    taken = take_in(segment, inputs)
    appended = iter(taken.appended)
    return [Outcome(error, None if error else next(appended)) for error in taken.errors]

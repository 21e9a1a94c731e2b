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
from lodeline.proof.packs import encode_pack
from lodeline.query import ask
from lodeline.server.application import Application
from lodeline.server.asking import Ask
from lodeline.server.configuration import DEFAULTS, ServerConfiguration
from lodeline.server.confinement import require_whole_sight
from lodeline.server.counting import counted, timed, timing
from lodeline.server.depositing import Deposits
from lodeline.server.endpoints import Caller, Gate, OpenGate, Permission
from lodeline.server.exporting import Exports
from lodeline.server.indexing import Indexer
from lodeline.server.log_files import LogFiles
from lodeline.server.marquez import Marquez
from lodeline.server.metrics import STORE_METRICS, Metrics, MetricsPage, read_store
from lodeline.server.observing import Observing
from lodeline.server.refused_input import RefusedInput
from lodeline.server.writing import Input, Outcome, Writer
from lodeline.store import Segment, open_segment

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
    segment.observe_commits(partial(metrics.observe, "lodeline_fsync_seconds"))

    def answer(caller: Caller, verb: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        with timing(lambda seconds: metrics.observe("lodeline_question_seconds", seconds, verb)):
            return ask(segment, verb, parameters, authoriser=caller.authoriser)

    def prove(caller: Caller, parameters: Mapping[str, object]) -> bytes:
        require_whole_sight(caller, "a pack shows whole entries")
        return encode_pack(build_pack(segment, parameters))

    def take_predictions(records: Sequence[dict[str, Any]]) -> list[str | None]:
        return accept_predictions(segment, records)

    writer = _measured_writer(segment, metrics)
    deposits = Deposits(take_predictions=take_predictions, keep_blob=segment.put_blob)
    agents = _agents(answer, gate, configuration)
    return Application(
        ask=answer,
        prove=prove,
        writer=writer,
        groups=[
            deposits,
            Exports(segment),
            LogFiles(segment),
            RefusedInput(segment),
            Marquez(segment, writer),
            *_metrics_pages(metrics, configuration),
            *agents,
        ],
        gate=gate,
        observing=Observing(metrics, requests=configuration.log_requests),
        threads=configuration.limits_questions,
        shutdown_seconds=configuration.limits_shutdown_seconds,
        companions=[one.running for one in agents],
        close=_index_behind(segment),
    )


def _measured_writer(segment: Segment, metrics: Metrics) -> Writer:
    writer = Writer(
        segment,
        append=counted(append_events, metrics),
        fold=timed(fold_pending, partial(metrics.observe, "lodeline_fold_seconds")),
    )
    metrics.read(["lodeline_queue_events"], lambda: {"lodeline_queue_events": {(): writer.waiting}})
    metrics.read(STORE_METRICS, partial(read_store, segment))
    return writer


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


def _index_behind(segment: Segment) -> Callable[[], None]:
    """Start to index searches; the function given back ends that and closes the segment."""
    indexer = Indexer(segment)
    indexer.start()

    def close() -> None:
        indexer.stop()
        segment.close()

    return close


def append_events(segment: Segment, inputs: Sequence[Input]) -> list[Outcome]:
    """Take inputs in, in one durable transaction.

    Returns:
        For each input, in order, how it fared; refused ones are in the dead-letter list.
    """
    taken = take_in(segment, inputs)
    appended = iter(taken.appended)
    return [Outcome(error, None if error else next(appended)) for error in taken.errors]

"""From foreign bytes to the log, and from the log to the graph."""

from lodeline.ingest.acceptance import (
    ImportResult,
    Submission,
    accept,
    prepare_event,
    retry_dead_letters,
)
from lodeline.ingest.graph_reading import GraphReader, GraphState, graph_state
from lodeline.ingest.projection import fold_pending, rebuild

__all__ = [
    "GraphReader",
    "GraphState",
    "ImportResult",
    "Submission",
    "accept",
    "fold_pending",
    "graph_state",
    "prepare_event",
    "rebuild",
    "retry_dead_letters",
]

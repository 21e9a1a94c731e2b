"""From foreign bytes to the log, and from the log to the graph."""

from lodeline.ingest.acceptance import (
    ImportResult,
    Submission,
    accept,
    prepare_event,
    retry_dead_letters,
    take_in,
)
from lodeline.ingest.graph_reading import GraphReader, GraphState, graph_state
from lodeline.ingest.mapping import (
    catch_up_map,
    map_positions,
    map_proof,
    prove_nodes,
    publish_map,
)
from lodeline.ingest.projection import fold_pending, rebuild

__all__ = [
    "GraphReader",
    "GraphState",
    "ImportResult",
    "Submission",
    "accept",
    "catch_up_map",
    "fold_pending",
    "graph_state",
    "map_positions",
    "map_proof",
    "prepare_event",
    "prove_nodes",
    "publish_map",
    "rebuild",
    "retry_dead_letters",
    "take_in",
]

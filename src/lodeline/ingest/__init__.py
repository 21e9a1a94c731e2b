"""From foreign bytes to the log, and from the log to the graph.

Each name loads on first use: a delivery of one event needs no readers of the graph.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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

# Name -> module of this folder.
_HOMES: Final = {
    "GraphReader": "graph_reading",
    "GraphState": "graph_reading",
    "ImportResult": "acceptance",
    "Submission": "acceptance",
    "accept": "acceptance",
    "catch_up_map": "mapping",
    "fold_pending": "projection",
    "graph_state": "graph_reading",
    "map_positions": "mapping",
    "map_proof": "mapping",
    "prepare_event": "acceptance",
    "prove_nodes": "mapping",
    "publish_map": "mapping",
    "rebuild": "projection",
    "retry_dead_letters": "acceptance",
    "take_in": "acceptance",
}

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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""From events to the graph: the reference fold. Pure, and small enough to be vendored.

Entries become groups (`entries`), groups contributions (`contributions`, `relations`), and
contributions a graph with an order-free digest (`graph`); `answer` answers trace by brute force,
and `completeness` says of which nodes the entries (`subjects`) are enough for an answer.
Every faster index is tested against this package.

Each name loads on first use: taking an event in needs no answers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lodeline.fold.answer import trace
    from lodeline.fold.completeness import Gathered, gather, required_nodes, visited_nodes
    from lodeline.fold.contributions import contribution
    from lodeline.fold.currency import CompletedRun, is_stale
    from lodeline.fold.entries import Entry, group_key
    from lodeline.fold.graph import FOLD_VERSION, Graph, fold
    from lodeline.fold.relations import (
        BASES,
        BASIS_RANK,
        Assertion,
        CaptureGap,
        Contribution,
        FeatureColumn,
        GroupKey,
        Parent,
        Read,
        RunState,
        Write,
    )
    from lodeline.fold.subjects import asserted_nodes, entry_nodes

# Name -> module of this folder.
_HOMES: Final = {
    "BASES": "relations",
    "BASIS_RANK": "relations",
    "FOLD_VERSION": "graph",
    "Assertion": "relations",
    "CaptureGap": "relations",
    "CompletedRun": "currency",
    "Contribution": "relations",
    "Entry": "entries",
    "FeatureColumn": "relations",
    "Gathered": "completeness",
    "Graph": "graph",
    "GroupKey": "relations",
    "Parent": "relations",
    "Read": "relations",
    "RunState": "relations",
    "Write": "relations",
    "asserted_nodes": "subjects",
    "contribution": "contributions",
    "entry_nodes": "subjects",
    "fold": "graph",
    "gather": "completeness",
    "group_key": "entries",
    "is_stale": "currency",
    "required_nodes": "completeness",
    "trace": "answer",
    "visited_nodes": "completeness",
}

__all__ = [
    "BASES",
    "BASIS_RANK",
    "FOLD_VERSION",
    "Assertion",
    "CaptureGap",
    "CompletedRun",
    "Contribution",
    "Entry",
    "FeatureColumn",
    "Gathered",
    "Graph",
    "GroupKey",
    "Parent",
    "Read",
    "RunState",
    "Write",
    "asserted_nodes",
    "contribution",
    "entry_nodes",
    "fold",
    "gather",
    "group_key",
    "is_stale",
    "required_nodes",
    "trace",
    "visited_nodes",
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

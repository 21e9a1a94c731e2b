"""From events to the graph: the reference fold. Pure, and small enough to be vendored.

Entries become groups (`entries`), groups contributions (`contributions`, `relations`), and
contributions a graph with an order-free digest (`graph`); `answer` answers trace by brute force,
and `completeness` says of which nodes the entries (`subjects`) are enough for an answer.
Every faster index is tested against this package.
"""

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

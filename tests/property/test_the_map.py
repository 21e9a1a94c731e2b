"""The entries of a few nodes are enough: a trace from them is the trace from the whole log."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import BEGIN_US, DAY_US, histories, log_of
from lodeline.errors import UnknownNodeError
from lodeline.fold import Entry, asserted_nodes, fold, gather, trace, visited_nodes
from lodeline.fold.answer import versions_of
from lodeline.fold.graph import Graph
from lodeline.model import NodeId


def filed(log: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in log:
        for node in asserted_nodes(entry.event):
            found[node].append(entry)
    return found


def roots_of(graph: Graph) -> list[NodeId]:
    """Every node that a question may name, with and without version."""
    found = set(graph.names)
    for node in graph.names:
        canonical = graph.canonical(node)
        found.update(canonical.at(version) for version in versions_of(graph, canonical) if version)
    found.update(group.run for group in graph.groups.values() if group.run is not None)
    return sorted(found)


def traced(known: Graph | Sequence[Entry], root: str, **options: Any) -> dict[str, Any] | None:
    try:
        return trace(known, root, **options)
    except UnknownNodeError:
        return None


@settings(max_examples=40, deadline=None)
@given(histories, st.randoms(use_true_random=False), st.sampled_from(["up", "down", "both"]))
def test_the_entries_of_the_required_nodes_give_the_whole_answer(
    history: list[dict[str, Any]], chance: random.Random, direction: str
) -> None:
    log = log_of(history)
    by_node = filed(log)
    graph = fold(log)
    roots = roots_of(graph)
    for root in chance.sample(roots, min(6, len(roots))):
        for columns in (False, True):
            options = {
                "direction": direction,
                "columns": columns,
                "depth": chance.choice([None, None, None, 0, 1]),
                "valid_at": chance.choice([None, None, BEGIN_US + 6 * DAY_US]),
            }
            whole = traced(log, str(root), **options)
            starts = [visited_nodes(whole) if whole is not None else set(), set()]
            starts.append(set(chance.sample(sorted(by_node), min(2, len(by_node)))))
            for start in starts:
                found = gather(lambda node: by_node[node], str(root), start=start, **options)
                assert found.answer == whole, (str(root), options, start)

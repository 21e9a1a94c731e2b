"""Path: how two nodes are connected, along the flow of the data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Protocol

from lodeline.limits import PATHS_MAX
from lodeline.model import NodeId
from lodeline.query.answers import Closure, Describe, Edge, EdgeKey, Graph, Page
from lodeline.query.asking import Inquiry
from lodeline.query.parameters import PathQuestion
from lodeline.query.trace import walk, write

Answer = dict[str, Any]
Paths = list[tuple[NodeId, ...]]

# Partial paths looked at before the listing stops: with the shortest first and no dead ends, this
# is ample for PATHS_MAX of them.
_PATHS_OPENED_MAX = 20_000


def path(inquiry: Inquiry, question: PathQuestion, page: Page) -> Answer:
    """Answer a path question.

    The paths run from `a` down to `b`, or, where there is none, from `b` down to `a`
    (`direction` says which: `down` or `up` as seen from `a`). `nodes` and `edges` hold every
    path; `paths` spells out the shortest. An end without a version stands for all its versions
    where the other end has one.
    """
    a, b = inquiry.resolve(question.a), inquiry.resolve(question.b)

    def walk_from(start: NodeId, *, direction: str, versions: bool) -> tuple[Closure, Describe]:
        return walk(inquiry, start, question, direction=direction, versions=versions)

    graph, describe, paths = path_between(a, b, walk_from)
    answer = write(inquiry, graph, describe, page)
    answer["paths"] = [[str(node) for node in nodes] for nodes in paths]
    return answer


class WalkFrom(Protocol):
    """Computes closures of one question."""

    def __call__(
        self, start: NodeId, /, *, direction: str, versions: bool
    ) -> tuple[Closure, Describe]:
        """Compute one, and give what describes its edges."""


def path_between(a: NodeId, b: NodeId, walk_from: WalkFrom) -> tuple[Graph, Describe, Paths]:
    """Find the ways between two nodes: what lies on them, what describes it, and the shortest."""
    graph, describe, paths = _between(a, b, walk_from)
    if not paths:
        other, describe_other, paths = _between(b, a, walk_from)
        if paths:
            graph, describe = other, describe_other
            graph.direction = "up"
        else:
            for gap in other.gaps:
                graph.add_gap(gap)
    graph.root = a
    if not paths:
        graph.add_node(a, 0)
    return graph, describe, paths


def _between(top: NodeId, bottom: NodeId, walk_from: WalkFrom) -> tuple[Graph, Describe, Paths]:
    """Find what lies on the ways from `top` down to `bottom`."""
    # Versions are walked from the end that has one; between two that have none, jobs are.
    upwards = not _is_versioned(top) and _is_versioned(bottom)
    start, direction = (bottom, "up") if upwards else (top, "down")
    versions = _is_versioned(start)
    closure, describe = walk_from(start, direction=direction, versions=versions)
    graph = closure.to_graph()
    edges = [edge for edge in graph.edges.values() if _is_step(edge, top, bottom)]
    tops, bottoms = _standing_for(top, graph), _standing_for(bottom, graph)
    ahead: dict[NodeId, set[NodeId]] = defaultdict(set)
    back: dict[NodeId, set[NodeId]] = defaultdict(set)
    for edge in edges:
        ahead[edge.source].add(edge.target)
        back[edge.target].add(edge.source)
    below, above = _distances(tops, ahead), _distances(bottoms, back)
    nodes = {node: depth for node, depth in below.items() if node in above}
    kept: dict[EdgeKey, Edge] = {
        edge.key: edge for edge in edges if edge.source in nodes and edge.target in nodes
    }
    paths = list(islice(_iter_paths(tops, bottoms, ahead, above), PATHS_MAX))
    # Gaps matter only while they may hide a path that was not found.
    found = Graph(top, "down", nodes, kept, {} if paths else dict(graph.gaps))
    return found, describe, paths


def _is_versioned(node: NodeId) -> bool:
    return bool(node.version) or node.kind in {"run", "prediction", "row"}


def _standing_for(end: NodeId, graph: Graph) -> set[NodeId]:
    """Give the nodes of a closure that an end means: itself, or all its versions."""
    if end in graph.nodes or _is_versioned(end):
        return {end} & graph.nodes.keys()
    return {node for node in graph.nodes if node.at("") == end}


def _is_step(edge: Edge, top: NodeId, bottom: NodeId) -> bool:
    """Keep derivations, and jobs or runs only where the question starts or ends at one."""
    if edge.kind in {"reads", "writes"}:
        acts = {end for end in (top, bottom) if end.kind in {"job", "run"}}
        return bool({edge.source, edge.target} & acts)
    return edge.kind != "parent"


def _distances(
    starts: Collection[NodeId], ahead: Mapping[NodeId, set[NodeId]]
) -> dict[NodeId, int]:
    found = dict.fromkeys(starts, 0)
    level = list(starts)
    while level:
        further = {far for node in level for far in ahead.get(node, ()) if far not in found}
        distance = found[level[0]] + 1
        found.update(dict.fromkeys(further, distance))
        level = list(further)
    return found


def _iter_paths(
    tops: Collection[NodeId],
    bottoms: Collection[NodeId],
    ahead: Mapping[NodeId, set[NodeId]],
    above: Mapping[NodeId, int],
) -> Iterator[tuple[NodeId, ...]]:
    """Walk simple paths, shortest first, ties by name; `above` tells how far the end still is."""
    waiting: list[tuple[int, int, tuple[NodeId, ...]]] = []
    for top in tops:
        if top in above:
            heappush(waiting, (above[top], -1, (top,)))
    opened = 0
    while waiting and opened < _PATHS_OPENED_MAX:
        _, _, taken = heappop(waiting)
        opened += 1
        if taken[-1] in bottoms and (len(taken) > 1 or taken[-1] in tops):
            yield taken
            continue
        for node in ahead.get(taken[-1], ()):
            if node in above and node not in taken:
                longest = len(taken) + 1
                heappush(waiting, (len(taken) + above[node], -longest, (*taken, node)))

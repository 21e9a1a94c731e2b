"""Narrowing: which nodes and edges of a closure an answer shows.

A closure is walked through everything, and narrowed afterwards: what lies behind a node that is
not shown is still found. Only `status=current` decides where the walk goes. The root is shown in
any case.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lodeline.model import NodeId
from lodeline.query.answers import Closure, Describe, Graph
from lodeline.query.asking import Inquiry
from lodeline.query.facets import Registers
from lodeline.query.parameters import ClosureQuestion, GraphQuestion
from lodeline.query.reach import Narrowing, Reach


def narrow(
    inquiry: Inquiry,
    closure: Closure,
    describe: Describe,
    question: GraphQuestion,
    others: Sequence[Inquiry] = (),
) -> Closure:
    """Leave out of a closure what a question does not ask to see.

    Args:
        inquiry: under way.
        closure: whole.
        describe: fills its edges in.
        question: with `kinds`, `namespaces`, `tags`, `edge_kinds` and `status`.
        others: of further segments, which say as well what carries a tag.
    """
    if not isinstance(question, ClosureQuestion):
        return closure
    if question.status == "stale":
        part = closure.around_stale() if isinstance(closure, Reach) else closure.to_graph()
        closure = _only_stale(part, describe)
    if isinstance(closure, Reach):
        nodes = None
        if question.kinds or question.namespaces or question.tags:
            names = closure.names(closure.numbers())
            kept = _keep(inquiry, names.values(), question)
            nodes = {number for number, node in names.items() if node in kept}
        closure.narrowing = Narrowing(nodes, question.edge_kinds or None)
        return closure
    graph = closure.to_graph()
    if question.edge_kinds:
        kinds = question.edge_kinds
        graph = _of_edges(graph, [key for key in graph.edges if key[2] in kinds])
    kept = _keep(inquiry, graph.nodes, question, others) | {graph.root}
    graph.nodes = {node: depth for node, depth in graph.nodes.items() if node in kept}
    graph.edges = {
        key: edge for key, edge in graph.edges.items() if key[0] in kept and key[1] in kept
    }
    return graph


def _keep(
    inquiry: Inquiry,
    nodes: Collection[NodeId],
    question: ClosureQuestion,
    others: Sequence[Inquiry] = (),
) -> set[NodeId]:
    """Give the nodes that are of the kinds, namespaces and tags asked for."""
    kept = {
        node
        for node in nodes
        if (not question.kinds or node.kind in question.kinds)
        and (not question.namespaces or node.namespace in question.namespaces)
    }
    if question.namespaces or question.tags:
        # Whether a hidden node is of a namespace is not to be found out by asking for it.
        kept = {node for node in kept if inquiry.authoriser.may_see(node)}
    if question.tags:
        tags = frozenset(question.tags)
        views = [one.view for one in (inquiry, *others)]
        kept = set().union(*(Registers(view).tagged(kept, tags) for view in views))
    return kept


def _only_stale(graph: Graph, describe: Describe) -> Graph:
    edges = list(graph.edges.values())
    describe(edges)
    return _of_edges(graph, [edge.key for edge in edges if edge.said.status == "stale"])


def _of_edges(graph: Graph, keys: Collection[tuple[NodeId, NodeId, str, NodeId | None]]) -> Graph:
    """Keep some edges and their ends."""
    ends = {end for key in keys for end in key[:2]} | {graph.root}
    graph.edges = {key: graph.edges[key] for key in keys}
    graph.nodes = {node: depth for node, depth in graph.nodes.items() if node in ends}
    return graph

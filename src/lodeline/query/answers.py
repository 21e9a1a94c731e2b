"""The graph of an answer: nodes, edges, gaps; how it is cut into pages and written as JSON.

The one serializer of graph answers. What a reader may not see is replaced here and nowhere else:
every answer passes `write_answer` with the reader's authoriser.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from lodeline.errors import UsageError
from lodeline.limits import ASSERTED_BY_MAX
from lodeline.model import NodeId, format_identifier, format_time
from lodeline.query.moments import Moment
from lodeline.query.permission import Authoriser


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Something that the answer does not hold, and why.

    Attributes:
        at: the node where it is missing.
        reason: depth, size, time, permission, retention, erased, capture, sampled, summarised,
            unsequenced, pending or lost.
        detail: for people.
    """

    at: str
    reason: str
    detail: str

    def to_json(self) -> dict[str, str]:
        """Give the contract's object."""
        return {"at": self.at, "reason": self.reason, "detail": self.detail}


EdgeKey = tuple[NodeId, NodeId, str, NodeId | None]
# (source, target, kind, job), canonical and without versions; a half-derivation lacks an end.
DerivationKey = tuple[NodeId | None, NodeId | None, str, NodeId | None]


class Ground(NamedTuple):
    """One thing that an edge stands on.

    Attributes:
        derivation: as asserted by its groups; None for a parent edge, which a group alone states.
        group: the one group that counts; None for all that assert the derivation.
    """

    derivation: DerivationKey | None
    group: int | None = None


@dataclass(slots=True)
class Edge:
    """One edge; its identity is (source, target, kind, job).

    `grounds` are for whoever describes it; the attributes after them are filled in when the edge
    is about to be shown.
    """

    source: NodeId
    target: NodeId
    kind: str
    job: NodeId | None
    grounds: set[Ground] = field(default_factory=set)
    basis: str = "inferred"
    status: str = "current"
    asserted_by: Sequence[str] = ()
    asserted_by_total: int = 0
    first_seen: int | None = None
    last_seen: int | None = None
    entries: Sequence[int] = ()
    future: bool = False
    transformations: Sequence[Any] = ()

    @property
    def key(self) -> EdgeKey:
        """The edge's identity."""
        return (self.source, self.target, self.kind, self.job)

    def to_json(self, text: Callable[[NodeId], str] = str) -> dict[str, Any]:
        """Give the contract's object.

        Args:
            text: writes a node; a cached one where there are many edges.
        """
        body: dict[str, Any] = {
            "source": text(self.source),
            "target": text(self.target),
            "kind": self.kind,
            "job": None if self.job is None else text(self.job),
            "status": self.status,
            "basis": self.basis,
            "restricted": False,
            "asserted_by": list(self.asserted_by[:ASSERTED_BY_MAX]),
            "asserted_by_total": self.asserted_by_total,
            "first_seen": None if self.first_seen is None else format_time(self.first_seen),
            "last_seen": None if self.last_seen is None else format_time(self.last_seen),
        }
        body["entries"] = list(self.entries)
        if self.future:
            body["future"] = True
        if self.transformations:
            body["transformations"] = list(self.transformations)
        return body


@dataclass(slots=True)
class Graph:
    """A closure: what was reached, by which edges, with what missing.

    `summarised` counts, by kind, what was reached and is not listed.
    """

    root: NodeId
    direction: str
    nodes: dict[NodeId, int] = field(default_factory=dict)
    edges: dict[EdgeKey, Edge] = field(default_factory=dict)
    gaps: dict[Gap, None] = field(default_factory=dict)
    summarised: dict[str, int] = field(default_factory=dict)

    def add_node(self, node: NodeId, depth: int) -> None:
        """Take a node in, at the least depth it is reached at."""
        known = self.nodes.get(node)
        if known is None or depth < known:
            self.nodes[node] = depth

    def include(self, other: Graph) -> None:
        """Take in all of another closure of the same root and direction."""
        for node, depth in other.nodes.items():
            self.add_node(node, depth)
        for edge in other.edges.values():
            self.edges.setdefault(edge.key, edge).grounds |= edge.grounds
        self.gaps |= other.gaps
        for kind, count in other.summarised.items():
            self.summarised[kind] = max(count, self.summarised.get(kind, 0))

    def add_gap(self, gap: Gap) -> None:
        """Take a gap in, once."""
        self.gaps[gap] = None

    def add_edge(
        self, source: NodeId, target: NodeId, kind: str, job: NodeId | None, ground: Ground
    ) -> None:
        """Take an edge in, with one more thing it stands on."""
        key = (source, target, kind, job)
        edge = self.edges.get(key)
        if edge is None:
            edge = self.edges[key] = Edge(*key)
        edge.grounds.add(ground)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a closure to show.

    Attributes:
        offset: nodes of the pages before.
        limit: nodes of this page.
        question: digest of what was asked, so that a cursor is not used for something else.
    """

    offset: int
    limit: int
    question: str

    def next_cursor(self, moment: Moment) -> str:
        """Write the cursor of the page after this one, bound to the same tree size."""
        body = [self.offset + self.limit, moment.size, self.question]
        return urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")


def question_digest(verb: str, parameters: Mapping[str, object]) -> str:
    """Give a short digest of a question without its page."""
    said = {k: v for k, v in parameters.items() if k not in {"cursor", "limit", "as_of"} and v}
    text = json.dumps([verb, said], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_cursor(cursor: str) -> tuple[int, int, str]:
    """Read (offset, tree size, question digest).

    Raises:
        UsageError: no cursor of ours.
    """
    try:
        offset, size, question = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"not a cursor: {cursor[:64]!r}") from error
    if not (isinstance(offset, int) and isinstance(size, int) and isinstance(question, str)):
        raise UsageError(f"not a cursor: {cursor[:64]!r}")
    if offset < 0 or size < 0:
        raise UsageError(f"not a cursor: {cursor[:64]!r}")
    return offset, size, question


Describe = Callable[[list[Edge]], None]


def write_answer(
    graph: Graph, *, moment: Moment, page: Page, authoriser: Authoriser, describe: Describe
) -> dict[str, Any]:
    """Write a page of a graph as the contract's JSON.

    Nodes are ordered by depth, then identifier; an edge stands on the page of its later end, so
    that the union of all pages is the whole answer. Only the edges shown are described.
    """
    text = lru_cache(maxsize=None)(format_identifier)
    order = sorted(graph.nodes, key=lambda node: (graph.nodes[node], text(node)))
    rank = {node: i for i, node in enumerate(order)}
    start, stop = page.offset, page.offset + page.limit
    shown = order[start:stop]
    edges = [
        edge
        for edge in graph.edges.values()
        if start <= max(rank.get(edge.source, -1), rank.get(edge.target, -1)) < stop
    ]
    edges.sort(key=lambda edge: (rank[edge.target], rank[edge.source], edge.kind, edge.job or ()))
    describe(edges)
    gaps = [gap.to_json() for gap in sorted(graph.gaps)]
    cursor = None
    if stop < len(order):
        cursor = page.next_cursor(moment)
        rest = f"{len(order) - stop} more nodes behind the cursor"
        gaps.append(Gap(str(graph.root), "size", rest).to_json())
    return {
        "root": str(graph.root),
        "direction": graph.direction,
        "as_of": moment.to_json(),
        "trees": moment.trees_json(),
        "complete": not gaps,
        "gaps": gaps,
        "nodes": write_nodes(shown, graph.nodes, authoriser),
        "edges": [edge.to_json(text) for edge in edges],
        "next": cursor,
    }


def write_nodes(
    shown: Iterable[NodeId], depths: Mapping[NodeId, int], authoriser: Authoriser
) -> list[dict[str, Any]]:
    """Write nodes, those that the reader may see."""
    return [{**node.to_json(), "depth": depths[node]} for node in shown if authoriser.may_see(node)]

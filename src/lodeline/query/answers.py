"""The graph of an answer: nodes, edges, gaps; how it is cut into pages and written as JSON.

The one serializer of graph answers. What a reader may not see is replaced here and nowhere else:
every answer passes `write_answer` with the reader's authoriser.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from lodeline.errors import UsageError
from lodeline.limits import ANSWER_GAPS_MAX, NODE_NAMES_KEPT_MAX
from lodeline.model import NodeId, format_identifier, format_time
from lodeline.query.moments import AnswerMoment
from lodeline.query.permission import Reader


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


def bound_gaps(gaps: Iterable[Gap], *, at: str) -> list[Gap]:
    """Order gaps; of those of one reason keep the first, and tell how many more there are.

    Args:
        gaps: of an answer.
        at: the node that the answer is about.
    """
    by_reason: dict[str, list[Gap]] = {}
    for gap in sorted(gaps):
        by_reason.setdefault(gap.reason, []).append(gap)
    kept: list[Gap] = []
    for reason, found in by_reason.items():
        kept += found[:ANSWER_GAPS_MAX]
        rest = len(found) - ANSWER_GAPS_MAX
        if rest > 0:
            kept.append(Gap(at, reason, f"and {rest} more gaps of this reason"))
    return sorted(kept)


# Writes a node.
Text = Callable[[NodeId], str]
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


@dataclass(slots=True, eq=False)
class Description:
    """What is known of an edge, beside its identity. Many edges may share one.

    Attributes:
        status: `current` or `stale`.
        basis: how it is known.
        asserted_by: runs, newest first, at most `ASSERTED_BY_MAX`.
        asserted_by_total: how many there are.
        first_seen, last_seen: event times, microseconds.
        entries: leaf indexes, ascending, at most `ASSERTED_BY_MAX`.
        future: whether only events dated in the future assert it.
        transformations: what producers said happens on the way.
    """

    status: str = "current"
    basis: str = "inferred"
    asserted_by: Sequence[str] = ()
    asserted_by_total: int = 0
    first_seen: int | None = None
    last_seen: int | None = None
    entries: Sequence[int] = ()
    future: bool = False
    transformations: Sequence[Any] = ()
    _body: dict[str, Any] | None = None
    encoded: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """Give its part of the contract's object; made once, so a caller copies before changes."""
        body = self._body
        if body is None:
            first, last = self.first_seen, self.last_seen
            body = self._body = {
                "status": self.status,
                "basis": self.basis,
                "restricted": False,
                "asserted_by": list(self.asserted_by),
                "asserted_by_total": self.asserted_by_total,
                "first_seen": None if first is None else format_time(first),
                "last_seen": None if last is None else format_time(last),
                "entries": list(self.entries),
            }
            if self.future:
                body["future"] = True
            if self.transformations:
                body["transformations"] = list(self.transformations)
        return body

    def encode(self) -> bytes:
        """Give its part of the contract's object as JSON, from its first key on.

        Made once; `encoded` has it then.
        """
        if not self.encoded:
            self.encoded = _encode(self.to_json())[1:]
        return self.encoded


_encode: Final = msgspec.json.Encoder().encode
_NOT_DESCRIBED: Final = Description()


@dataclass(slots=True)
class Edge:
    """One edge; its identity is (source, target, kind, job).

    `grounds` and `steps` (rows of `derivation`) are for whoever describes it; the description is
    filled in when the edge is about to be shown.
    """

    source: NodeId
    target: NodeId
    kind: str
    job: NodeId | None
    grounds: AbstractSet[Ground] = frozenset()
    steps: Sequence[int] = ()
    said: Description = _NOT_DESCRIBED

    @property
    def key(self) -> EdgeKey:
        """The edge's identity."""
        return (self.source, self.target, self.kind, self.job)

    def to_json(self, text: Text = str) -> dict[str, Any]:
        """Give the contract's object.

        Args:
            text: writes a node; a cached one where there are many edges.
        """
        job = self.job
        body: dict[str, Any] = {
            "source": text(self.source),
            "target": text(self.target),
            "kind": self.kind,
            "job": None if job is None else text(job),
            **self.said.to_json(),
        }
        body["asserted_by"] = [*body["asserted_by"]]
        body["entries"] = [*body["entries"]]
        return body


class Cut(NamedTuple):
    """A page of a closure.

    Attributes:
        nodes: with their depths, by depth, then identifier.
        edges: by their ends, not described yet.
        total: nodes of all pages.
    """

    nodes: Sequence[tuple[NodeId, int]]
    edges: list[Edge]
    total: int


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

    def nodes_of(self, kinds: Collection[str]) -> list[NodeId]:
        """List the nodes that are of some kinds."""
        return [node for node in self.nodes if node.kind in kinds]

    def shown(self) -> Iterable[NodeId]:
        """Walk the nodes that the whole answer shows."""
        return self.nodes

    def cut(self, page: Page, text: Text = str) -> Cut:
        """Cut a page out.

        Nodes are ordered by depth, then identifier; an edge stands on the page of its later end,
        so that the union of all pages is the whole answer.
        """
        order = sorted(self.nodes, key=lambda node: (self.nodes[node], text(node)))
        rank = {node: i for i, node in enumerate(order)}
        start, stop = page.offset, page.offset + page.limit
        edges = [
            edge
            for edge in self.edges.values()
            if start <= max(rank.get(edge.source, -1), rank.get(edge.target, -1)) < stop
        ]
        edges.sort(
            key=lambda edge: (rank[edge.target], rank[edge.source], edge.kind, edge.job or ())
        )
        return Cut([(node, self.nodes[node]) for node in order[start:stop]], edges, len(order))

    def to_graph(self) -> Graph:
        """Give the graph itself."""
        return self

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
            self.edges[key] = Edge(source, target, kind, job, {ground})
        else:
            edge.grounds |= {ground}


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a closure to show.

    Attributes:
        offset: nodes of the pages before.
        limit: nodes of this page.
        question: digest of what was asked, so that a cursor is not used for something else.
        encoded: whether nodes and edges may be given as JSON (`msgspec.Raw`): for who sends the
            answer on and looks at neither.
        every_gap: whether all gaps are told one by one, as evidence needs them.
    """

    offset: int
    limit: int
    question: str
    encoded: bool = False
    every_gap: bool = False

    def next_cursor(self, moment: AnswerMoment) -> str:
        """Write the cursor of the page after this one, bound to the same tree size."""
        return cursor_at(self.offset + self.limit, moment.size, self.question)


def cursor_at(offset: int, size: int, question: str) -> str:
    """Write the cursor of what comes after `offset` items of a question at a tree size.

    Args:
        offset: 0 or more.
        size: that the cursor is bound to.
        question: its `question_digest`.
    """
    body = [offset, size, question]
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


class Closure(Protocol):
    """What `write_answer` writes: a `Graph`, or a closure that makes its pages when asked."""

    root: NodeId
    direction: str
    gaps: dict[Gap, None]
    summarised: dict[str, int]

    def add_gap(self, gap: Gap) -> None:
        """Take a gap in, once."""

    def nodes_of(self, kinds: Collection[str]) -> list[NodeId]:
        """List the nodes reached that are of some kinds."""

    def shown(self) -> Iterable[NodeId]:
        """Walk the nodes that the whole answer shows."""

    def cut(self, page: Page, text: Text = str) -> Cut:
        """Cut a page out; `text` writes a node, a cached one where there are many."""

    def to_graph(self) -> Graph:
        """Give all of it with names."""


def write_answer(
    graph: Closure, *, moment: AnswerMoment, page: Page, reader: Reader, describe: Describe
) -> dict[str, Any]:
    """Write a page of a graph as the contract's JSON. Only the edges shown are described.

    Hidden nodes are written as stubs, and ordered by them.
    """
    # Names are texts the same for whoever may see them all, and kept between questions.
    text = _text if reader.sees_all else lru_cache(maxsize=None)(reader.text)
    encoded = page.encoded and reader.sees_all
    shown, edges, total = graph.cut(page, text)
    describe(edges)
    found = sorted(graph.gaps) if page.every_gap else bound_gaps(graph.gaps, at=str(graph.root))
    gaps = [gap.to_json() for gap in found]
    cursor = None
    rest = total - page.offset - page.limit
    if rest > 0:
        cursor = page.next_cursor(moment)
        detail = f"{rest} more nodes behind the cursor"
        gaps.append(Gap(str(graph.root), "size", detail).to_json())
    return {
        "root": str(graph.root),
        "direction": graph.direction,
        "as_of": moment.to_json(),
        "trees": moment.trees_json(),
        "complete": not gaps,
        "gaps": gaps,
        "nodes": (
            _encode_nodes(shown)
            if encoded
            else [{**write_node(node, text(node), reader), "depth": d} for node, d in shown]
        ),
        "edges": (
            _encode_edges(edges) if encoded else [write_edge(edge, text, reader) for edge in edges]
        ),
        "next": cursor,
    }


@lru_cache(maxsize=NODE_NAMES_KEPT_MAX)
def _text(node: NodeId) -> str:
    return format_identifier(node)


@lru_cache(maxsize=NODE_NAMES_KEPT_MAX)
def _encoded_text(node: NodeId | None) -> bytes:
    return _encode(None if node is None else _text(node))


@lru_cache(maxsize=NODE_NAMES_KEPT_MAX)
def _encoded_node(node: NodeId) -> bytes:
    """Write the keys that every node carries, without the brace that ends the object."""
    return _encode(node.to_json(_text(node)))[:-1]


def _encode_nodes(shown: Iterable[tuple[NodeId, int]]) -> msgspec.Raw:
    """Write nodes with their depths as JSON: the bytes that their objects encode to."""
    return msgspec.Raw(
        b"[%b]" % b",".join([b'%b,"depth":%d}' % (_encoded_node(node), d) for node, d in shown])
    )


def _encode_edges(edges: Sequence[Edge]) -> msgspec.Raw:
    """Write edges as JSON: the bytes that their objects encode to."""
    encoded = _encoded_text
    kinds = {kind: _encode(kind) for kind in {edge.kind for edge in edges}}
    parts = [
        b'{"source":%b,"target":%b,"kind":%b,"job":%b,%b'
        % (
            encoded(edge.source),
            encoded(edge.target),
            kinds[edge.kind],
            encoded(edge.job),
            edge.said.encoded or edge.said.encode(),
        )
        for edge in edges
    ]
    return msgspec.Raw(b"[%b]" % b",".join(parts))


def write_node(node: NodeId, text: str, reader: Reader) -> dict[str, Any]:
    """Write the keys that every node carries; of a hidden one its stub and kind alone.

    Args:
        node: to write.
        text: its identifier, or its stub.
        reader: who shall read it.
    """
    if reader.may_see(node):
        return dict(node.to_json(text))
    nothing = {"namespace": None, "name": text, "version": None}
    return {"id": text, "kind": node.kind, **nothing, "restricted": True}


def write_edge(edge: Edge, text: Text, reader: Reader) -> dict[str, Any]:
    """Write an edge as far as its reader may see its ends and its job."""
    body = edge.to_json(text)
    if reader.sees_all:
        return body
    ends = [node for node in (edge.source, edge.target, edge.job) if node is not None]
    hidden = [node for node in ends if not reader.may_see(node)]
    if hidden:
        body["restricted"] = True
        body.pop("transformations", None)
    if any(node.kind in {"job", "run"} for node in hidden):
        # When it ran, and what it left in the log, is its own matter.
        body |= {"asserted_by": [], "asserted_by_total": 0, "entries": []}
        body |= {"first_seen": None, "last_seen": None}
    return body

"""Questions over several segments: closures go on where another segment knows a node, too.

Each segment is walked by itself, at a moment of its own. A dataset (or model, deployment, column)
that a walk reached is looked up in the other segments, and walked on from there at its depth, until
nothing new comes. Derivations, runs and currency are one segment's; aliases never cross. Which
version a run read is decided by the writes of all segments.

Segments that the caller may not use are asked one thing alone: whether data flows on there. If so,
an edge leads to a stub.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any, Final

import msgspec

from lodeline.errors import ForbiddenError, UnknownNodeError
from lodeline.model import NodeId, parse_identifier
from lodeline.query.answers import Edge, EdgeKey, Gap, Graph, Ground, Page, write_answer
from lodeline.query.asking import Inquiry, find_inquiry
from lodeline.query.collecting import collector_at_rest
from lodeline.query.concealing import conceal
from lodeline.query.describing import BASES, Describer
from lodeline.query.door import ask
from lodeline.query.erased import note_erased
from lodeline.query.facets import Registers
from lodeline.query.federated_pages import FederatedMoment, open_federated_page
from lodeline.query.federated_single import answer_alone, flows_on, stub_of
from lodeline.query.joining import JoinedReader, resolve_among
from lodeline.query.narrowing import narrow
from lodeline.query.parameters import (
    GraphQuestion,
    ImpactQuestion,
    PathQuestion,
    Question,
    TraceQuestion,
    read_question,
)
from lodeline.query.path import path_between
from lodeline.query.permission import OPEN, Authoriser
from lodeline.query.registry import FOREIGN_VERBS, JOINED_VERBS, find_joined
from lodeline.query.trace import (
    add_rows,
    find_root,
    is_about_versions,
    note_predictions,
    walk_segment,
)
from lodeline.query.versions import FOREIGN, Versions, Written
from lodeline.query.visibility import hidden_gap, restrict
from lodeline.store import Segment

Answer = dict[str, Any]
_ACTS: Final = frozenset({"job", "run"})
_ONE_PLACE: Final = frozenset({"prediction", "row", "run", "job"})


@dataclass
class _Part:
    """One segment of a question under way."""

    inquiry: Inquiry
    describer: Describer
    # Data node -> least depth at which a walk within this segment has passed it.
    passed: dict[NodeId, int] = field(default_factory=dict)

    def knows(self, node: NodeId) -> bool:
        view = self.inquiry.view
        bare = node.at("")
        return bool(view.members(bare)) and view.canonical(bare) == bare


class Federation:
    """The segments of one question, each with its snapshot and moment.

    Args:
        inquiries: of the segments that the caller may use.
        hidden: of those that they may not.
        question: asked.
        authoriser: the caller's.
    """

    def __init__(
        self,
        inquiries: Sequence[Inquiry],
        hidden: Sequence[Inquiry],
        question: Question,
        authoriser: Authoriser,
    ) -> None:
        self.parts = [_Part(one, Describer(one.groups)) for one in inquiries]
        self.hidden = hidden
        self.question = question
        self.moment = FederatedMoment([one.moment for one in inquiries])
        self.reader = JoinedReader(inquiries, authoriser, whole=not hidden)
        self._owners: dict[EdgeKey, dict[int, Edge]] = {}
        for part in self.parts:
            others = [one.inquiry for one in self.parts if one is not part]
            part.inquiry.groups.foreign_writes = _writes_in(others)

    def resolve(
        self, text: str, find: Callable[[Inquiry, str], NodeId] = Inquiry.resolve
    ) -> NodeId:
        """Find the node that a text means, in whichever segment knows it.

        Raises:
            UnknownNodeError: none does.
        """
        inquiries = [part.inquiry for part in self.parts]
        return resolve_among(inquiries, text, find)

    def walk(
        self, root: NodeId, question: GraphQuestion, *, direction: str, versions: bool | None = None
    ) -> tuple[Graph, Callable[[list[Edge]], None]]:
        """Compute the closure over all segments."""
        versions = is_about_versions(root) if versions is None else versions
        graph = Graph(root, direction, {root: 0})
        self._owners = {}
        for one in ("up", "down") if direction == "both" else (direction,):
            # By itself: which node ends a walk is another matter in each direction.
            there = Graph(root, one, {root: 0})
            self._walk_one(there, root, question, direction=one, versions=versions)
            for node, depth in there.nodes.items():
                graph.add_node(node, depth)
            graph.gaps |= there.gaps
            graph.summarised |= there.summarised
        self._add_parents(graph)
        graph.edges |= {key: next(iter(by.values())) for key, by in self._owners.items()}
        if not self.reader.sees_all:
            graph = restrict(graph, self.reader)
        first = self.parts[0].inquiry
        if root.kind != "prediction" and direction != "up":
            for part in self.parts:
                note_predictions(part.inquiry, graph)
        others = [part.inquiry for part in self.parts[1:]]
        narrowed = narrow(first, graph, self.describe, question, others)
        return narrowed.to_graph(), self.describe

    def _walk_one(
        self,
        graph: Graph,
        root: NodeId,
        question: GraphQuestion,
        *,
        direction: str,
        versions: bool,
    ) -> None:
        for part in self.parts:
            part.passed = {}
        depths: dict[NodeId, int] = {root: 0}
        waiting: list[tuple[int, int, NodeId]] = []
        for number, part in enumerate(self.parts):
            if root.kind in _ONE_PLACE or part.knows(root):
                heappush(waiting, (0, number, root))
        while waiting:
            depth, number, node = heappop(waiting)
            part = self.parts[number]
            known = part.passed.get(node)
            if known is not None and known <= depth:
                continue
            spent = part.inquiry.budget.exhausted_by(len(graph.nodes))
            if spent is not None:
                graph.add_gap(Gap(str(root), *spent))
                break
            found = self._walk_part(part, node, question, depth, direction, versions=versions)
            if found is None:
                continue
            self._take(graph, found, number, depth, depths)
            for other, far in found.nodes.items():
                if other.kind in _ACTS:
                    continue
                part.passed[other] = min(depth + far, part.passed.get(other, depth + far))
                for index, beside in enumerate(self.parts):
                    before = beside.passed.get(other)
                    late = before is not None and before <= depth + far
                    if index != number and not late and beside.knows(other):
                        heappush(waiting, (depth + far, index, other))
        if root.kind == "prediction" and not any(part.passed for part in self.parts):
            raise UnknownNodeError(str(root))
        self._keep_depth_gaps(graph, depths, question.depth)
        self._add_stubs(graph, depths, question.depth, direction)

    def _walk_part(
        self,
        part: _Part,
        node: NodeId,
        question: GraphQuestion,
        depth: int,
        direction: str,
        *,
        versions: bool,
    ) -> Graph | None:
        left = None if question.depth is None else question.depth - depth
        asked = msgspec.structs.replace(question, depth=left)
        try:
            return walk_segment(part.inquiry, node, asked, direction=direction, versions=versions)
        except UnknownNodeError:
            return None  # a run or prediction of another segment

    def _take(
        self,
        graph: Graph,
        found: Graph,
        number: int,
        depth: int,
        depths: dict[NodeId, int],
    ) -> None:
        """Take in a segment's closure from a node at a depth."""
        for node, far in found.nodes.items():
            graph.add_node(node, depth + far)
            depths[node] = min(depth + far, depths.get(node, depth + far))
        for key, edge in found.edges.items():
            mine = self._owners.setdefault(key, {})
            if number in mine:
                mine[number].grounds |= edge.grounds
            else:
                mine[number] = edge
        for gap in found.gaps:
            graph.add_gap(gap)
        for kind, count in found.summarised.items():
            graph.summarised[kind] = max(count, graph.summarised.get(kind, 0))

    def _keep_depth_gaps(
        self, graph: Graph, depths: Mapping[NodeId, int], limit: int | None
    ) -> None:
        """Keep of the gaps `depth` those of nodes that stand at the depth asked for."""
        if limit is None:
            return
        ends = {str(node) for node, depth in depths.items() if depth == limit}
        detail = f"derivations beyond depth {limit}"
        told = dict.fromkeys(
            replace(gap, detail=detail) if gap.reason == "depth" else gap
            for gap in graph.gaps
            if gap.reason != "depth" or gap.at in ends
        )
        graph.gaps = told

    def _add_stubs(
        self, graph: Graph, depths: Mapping[NodeId, int], limit: int | None, direction: str
    ) -> None:
        """Lead an edge into each segment that the caller may not use, where data flows on there."""
        for inquiry in self.hidden:
            for node, depth in depths.items():
                if node.kind in _ACTS or (limit is not None and depth >= limit):
                    continue
                if not flows_on(inquiry, node, direction):
                    continue
                stub = stub_of(inquiry, node, direction)
                ends = (stub, node) if direction == "up" else (node, stub)
                edge = Edge(*ends, "derives", None)
                graph.add_node(stub, depth + 1)
                self._owners[edge.key] = {-1: edge}
                graph.add_gap(hidden_gap(node))

    def _add_parents(self, graph: Graph) -> None:
        """Join jobs, and runs, whose parent is of another segment."""
        jobs = {node for node in graph.nodes if node.kind == "job"}
        runs = {node.name for node in graph.nodes if node.kind == "run"}
        for number, part in enumerate(self.parts):
            for edge in _parents_in(part.inquiry, jobs, runs):
                mine = self._owners.setdefault(edge.key, {}).setdefault(number, edge)
                mine.grounds |= edge.grounds

    def describe(self, edges: list[Edge]) -> None:
        """Fill edges in, each by its segment; one of several segments by all of them."""
        wanted: dict[int, list[Edge]] = {}
        for edge in edges:
            for number, own in self._owners.get(edge.key, {}).items():
                wanted.setdefault(number, []).append(own)
        for number, theirs in wanted.items():
            if number >= 0:
                self.parts[number].describer.describe(theirs)
        for edge in edges:
            several = list(self._owners.get(edge.key, {}).values())
            if len(several) > 1:
                _join(edge, several)


def _join(edge: Edge, several: Sequence[Edge]) -> None:
    """Tell of an edge what several segments tell of it."""
    told = [one.said for one in several]
    runs = [run for one in told for run in one.asserted_by]
    firsts = [one.first_seen for one in told if one.first_seen is not None]
    lasts = [one.last_seen for one in told if one.last_seen is not None]
    edge.said = replace(
        told[0],
        status="current" if any(one.status == "current" for one in told) else "stale",
        basis=min((one.basis for one in told), key=BASES.index),
        asserted_by=tuple(dict.fromkeys(runs)),
        asserted_by_total=sum(one.asserted_by_total for one in told),
        first_seen=min(firsts, default=None),
        last_seen=max(lasts, default=None),
        entries=(),
        future=all(one.future for one in told),
        transformations=edge.said.transformations,
        _body=None,
    )


def _parents_in(inquiry: Inquiry, jobs: set[NodeId], runs: set[str]) -> Iterator[Edge]:
    view = inquiry.view
    numbers = {number: job for job in jobs for number in view.members(job.at(""))}
    for number, parents in inquiry.groups.parents_of(numbers).items():
        names = view.names({parent for _, _, parent in parents})
        for group, _, parent in parents:
            above, job = names[parent], numbers[number]
            if above in jobs and above != job:
                yield Edge(above, job, "parent", None, {Ground(None, group)})
    among = "IN (SELECT value FROM json_each(:ids))"
    sql = (
        f"SELECT p.group_id, p.parent_run FROM parent p WHERE p.group_id {among}"
        f" AND {view.rectangle('p')}"
    )
    for run in sorted(runs):
        for group, parent in view.select_among(sql, view.groups_of_run(run)):
            if parent in runs and parent != run:
                ends = (NodeId("run", "", parent), NodeId("run", "", run))
                yield Edge(*ends, "parent", None, {Ground(None, group)})


def _writes_in(others: Sequence[Inquiry]) -> Callable[[NodeId], list[Written]]:
    """Give the writes of a node in other segments, as no group of this one."""
    known: dict[int, Versions] = {}

    def find(home: NodeId) -> list[Written]:
        found: list[Written] = []
        for number, inquiry in enumerate(others):
            versions = known.setdefault(number, Versions(inquiry.groups))
            found += [one._replace(group=FOREIGN) for one in versions.own_writes_of(home)]
        return found

    return find


@contextmanager
def _open(
    sources: Mapping[str, Segment],
    hidden: Mapping[str, Segment],
    question: Question,
    pinned: Mapping[str, int] | None,
    authoriser: Authoriser,
) -> Iterator[Federation]:
    with ExitStack() as stack:
        stack.enter_context(collector_at_rest())

        def open_one(segment: Segment, reader: Authoriser) -> Inquiry:
            connection = stack.enter_context(segment.reading())
            size = None if pinned is None else pinned.get(segment.segment_id)
            return find_inquiry(segment, connection, question, pinned=size, authoriser=reader)

        yield Federation(
            [open_one(segment, authoriser) for segment in sources.values()],
            [open_one(segment, OPEN) for segment in hidden.values()],
            question,
            authoriser,
        )


_GRAPHS: Final[dict[str, type[GraphQuestion]]] = {
    "trace": TraceQuestion,
    "impact": ImpactQuestion,
    "path": PathQuestion,
}


def ask_segments(
    sources: Mapping[str, Segment],
    verb: str,
    parameters: Mapping[str, object],
    *,
    authoriser: Authoriser = OPEN,
    hidden: Mapping[str, Segment] | None = None,
    encoded: bool = False,
) -> Answer:
    """Answer one question over several segments; see `door.ask`.

    Args:
        sources: the segments that the caller may use, by name.
        verb: as for `ask`. `search` and `stats` add up; `rows` and `cohort` follow the steps of
            all; `diff`, and `show` of what one segment alone knows, are that segment's.
        parameters: of the question.
        authoriser: what the caller may see within them.
        hidden: the segments that the caller may not use.
        encoded: whether parts of the answer may come as JSON; see `door.ask`.

    Raises:
        UsageError: a tree size as `as_of`, which needs one segment.
        ForbiddenError: the caller may use none.
    """
    if not sources:
        raise ForbiddenError("no segment of this service may be used with this key")
    hidden = hidden or {}
    alone = verb not in _GRAPHS and verb not in FOREIGN_VERBS
    if len(sources) == 1 and (not hidden or alone):
        [segment] = sources.values()
        return ask(segment, verb, parameters, authoriser=authoriser, encoded=encoded)
    if verb in _GRAPHS:
        return _answer_graph(sources, hidden, verb, parameters, authoriser)
    from lodeline.query.federated_lists import add_stats, merge_search, show_everywhere

    asking = {"search": merge_search, "stats": add_stats, "show": show_everywhere}.get(verb)
    if asking is not None:
        return asking(sources, parameters, authoriser)
    if verb in JOINED_VERBS:
        return find_joined(verb)(sources, parameters, authoriser=authoriser, hidden=hidden)
    return answer_alone(sources, verb, parameters, authoriser)


def _answer_graph(
    sources: Mapping[str, Segment],
    hidden: Mapping[str, Segment],
    verb: str,
    parameters: Mapping[str, object],
    authoriser: Authoriser,
) -> Answer:
    question = read_question(_GRAPHS[verb], parameters)
    page, pinned = open_federated_page(verb, question, parameters, several=len(sources) > 1)
    with _open(sources, hidden, question, pinned, authoriser) as federation:
        answer = _ANSWERS[verb](federation, question, page)
        if isinstance(question, TraceQuestion) and question.rows:
            _add_rows(answer, federation, question, sources, hidden=hidden, authoriser=authoriser)
        for part in federation.parts:
            note_erased(part.inquiry, verb, answer)
        reader = federation.reader
        return answer if reader.sees_all else conceal(answer, reader)


def _write(
    federation: Federation, graph: Graph, describe: Callable[[list[Edge]], None], page: Page
) -> Answer:
    return write_answer(
        graph,
        moment=federation.moment,
        page=page,
        reader=federation.reader,
        describe=describe,
    )


def _add_rows(
    answer: Answer,
    federation: Federation,
    question: TraceQuestion,
    sources: Mapping[str, Segment],
    *,
    hidden: Mapping[str, Segment],
    authoriser: Authoriser,
) -> None:
    """Add rows, at the moments of the answer that they are added to."""

    def ask_rows(given: Answer) -> Answer:
        sizes = federation.moment.size
        joined = find_joined("rows")
        return joined(sources, given, authoriser=authoriser, hidden=hidden, pinned=sizes)

    add_rows(answer, question, parse_identifier(answer["root"]), ask_rows)


def _trace(federation: Federation, question: TraceQuestion, page: Page) -> Answer:
    root = federation.resolve(question.id, find_root)
    graph, describe = federation.walk(root, question, direction=question.asked_direction())
    return _write(federation, graph, describe, page)


def _impact(federation: Federation, question: ImpactQuestion, page: Page) -> Answer:
    root = federation.resolve(question.id, find_root)
    graph, describe = federation.walk(root, question, direction="down")
    answer = _write(federation, graph, describe, page)
    seen = [node for node in graph.nodes if federation.reader.may_see(node)]
    owners: dict[tuple[str, str], Answer] = {}
    for part in federation.parts:
        for one in Registers(part.inquiry.view).owners_of(seen):
            known = owners.setdefault((one["name"], one["type"]), {**one, "nodes": []})
            known["nodes"] = sorted({*known["nodes"], *one["nodes"]})
    answer["owners"] = [owners[key] for key in sorted(owners)]
    counts = Counter(node.kind for node in seen if node != root)
    counts.update(graph.summarised)
    answer["counts"] = dict(sorted(counts.items()))
    return answer


def _path(federation: Federation, question: PathQuestion, page: Page) -> Answer:
    ends = (federation.resolve(question.a), federation.resolve(question.b))

    def walk(
        start: NodeId, *, direction: str, versions: bool
    ) -> tuple[Graph, Callable[[list[Edge]], None]]:
        return federation.walk(start, question, direction=direction, versions=versions)

    graph, describe, paths = path_between(*ends, walk)
    answer = _write(federation, graph, describe, page)
    answer["paths"] = [[str(node) for node in nodes] for nodes in paths]
    return answer


_ANSWERS: Final[dict[str, Callable[[Federation, Any, Page], Answer]]] = {
    "trace": _trace,
    "impact": _impact,
    "path": _path,
}

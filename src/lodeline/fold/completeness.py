"""What must be shown so that an answer can be seen to leave nothing out.

The map of the log tells every entry that asserts something about a node. A trace can be computed
again from the entries of some nodes alone, if these nodes are enough. `required_nodes` says which:
given the entries that are there, it names the nodes without which the answer could be another.

1. Every node of the answer, its edges' ends and their jobs; versions and columns count as the node
   or dataset that they belong to. The job brings its later runs, on which currency depends. A
   feature as root brings the datasets whose columns it is.
2. Every name of each of these under the aliases in force.
3. The runs of events that are there, where a run that is known in part could change the answer:
   at version level, with columns and for an unknown root always; otherwise where a run asserts a
   derivation that is not its own job's.
4. The far end and the job of each derivation that the answer only tells of: where columns are
   walked, since a gap names them; and where a depth cut the walk off, since the job's other
   entries decide whether there is such a derivation.

A set of nodes is closed when the entries of all of them require none beyond. Then the answer from
these entries is that from the whole log. Whoever hides an edge must hide an entry of a node in the
set, and the map tells; whoever hides a node from the set is contradicted by the entries that are
left. `tests/property/test_the_map.py` holds this against generated histories.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lodeline.errors import UnknownNodeError
from lodeline.fold.answer import DIRECTIONS, VERSIONED_KINDS, trace
from lodeline.fold.entries import Entry
from lodeline.fold.graph import Graph, fold
from lodeline.fold.subjects import MAPPED_KINDS
from lodeline.model import NodeId, parse_identifier


def whole(node: NodeId) -> NodeId:
    """Give the node that the map knows: without version, a column as its dataset."""
    return node.dataset if node.kind in ("datasetField", "row") else node.at("")


def visited_nodes(answer: Mapping[str, Any]) -> set[str]:
    """List what an answer visits: its root, nodes, edges' ends and jobs, as the map names them."""
    found = [answer["root"], *(node["id"] for node in answer["nodes"])]
    for edge in answer["edges"]:
        found += [edge["source"], edge["target"], edge["job"]]
    nodes = {whole(parse_identifier(text)) for text in set(found) if text}
    return {str(node) for node in nodes if node.kind in MAPPED_KINDS}


def required_nodes(
    graph: Graph,
    answer: Mapping[str, Any] | None,
    *,
    asked: str | None = None,
    columns: bool = False,
) -> set[str]:
    """List the nodes whose entries must all be there for an answer to be the whole one.

    Args:
        graph: of the entries that are there, at the question's times.
        answer: of the fold from this graph; None where it says that the root is unknown.
        asked: the root as the question named it, if not as the answer does.
        columns: whether the question walked columns.
    """
    found = {whole(parse_identifier(asked))} if asked is not None else set()
    every = answer is None
    if answer is not None:
        root = parse_identifier(answer["root"])
        columns = columns or root.kind in ("datasetField", "feature")
        every = columns or bool(root.version) or root.kind in VERSIONED_KINDS
        # 1.
        found |= {parse_identifier(text) for text in visited_nodes(answer)}
        if root.kind == "feature":
            found |= _homes(graph, root.at(""))
        # 4.
        cut = {gap["at"] for gap in answer["gaps"] if gap["reason"] == "depth"}
        near = found if columns else {whole(parse_identifier(at)) for at in cut}
        if near:
            found |= _beside(graph, near, DIRECTIONS[answer["direction"]])
    # 2.
    found = _with_aliases(graph, found)
    # 3.
    for group in graph.groups.values():
        if group.run is not None and (every or any(a.job != group.job for a in group.assertions)):
            found.add(group.run)
    return _texts(found)


def _homes(graph: Graph, feature: NodeId) -> set[NodeId]:
    """List the datasets whose columns a feature is."""
    stated = {one for group in graph.groups.values() for one in group.features}
    return {graph.canonical(one.field).dataset for one in stated if one.feature == feature}


def _texts(nodes: Iterable[NodeId]) -> set[str]:
    return {str(node) for node in nodes if node.kind in MAPPED_KINDS}


def _beside(graph: Graph, near: set[NodeId], directions: Sequence[str]) -> set[NodeId]:
    beside: set[NodeId] = set()
    for source, target, _, job in graph.edges():
        ends = [None if end is None else whole(end) for end in (source, target)]
        if ("up" in directions and ends[1] in near) or ("down" in directions and ends[0] in near):
            beside |= {end for end in (*ends, job) if end is not None}
    return beside


def _with_aliases(graph: Graph, nodes: set[NodeId]) -> set[NodeId]:
    aliases: dict[NodeId, set[NodeId]] = defaultdict(set)
    for one, other in graph.aliases():
        aliases[one].add(other)
        aliases[other].add(one)
    found = set(nodes)
    waiting = list(nodes)
    while waiting:
        for other in aliases[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


@dataclass(frozen=True, slots=True)
class Gathered:
    """A closed set of nodes, and the answer from their entries.

    Attributes:
        nodes: identifiers, as the map names them.
        entries: of all of them, by position.
        answer: None where the root is unknown.
    """

    nodes: frozenset[str]
    entries: tuple[Entry, ...]
    answer: dict[str, Any] | None


def gather(
    find: Callable[[str], Iterable[Entry]],
    asked: str,
    *,
    start: Iterable[str] = (),
    as_of: int | None = None,
    valid_at: int | None = None,
    columns: bool = False,
    **options: Any,
) -> Gathered:
    """Collect entries of nodes until nothing more is required.

    Args:
        find: gives every entry that the map files under a node.
        asked: the root, canonical.
        start: nodes to begin with, such as those of an answer that is known: spares rounds.
        as_of: as in `trace`.
        valid_at: as in `trace`.
        columns: as in `trace`.
        **options: further ones of `trace`.
    """
    nodes: set[str] = set()
    entries: dict[int, Entry] = {}
    ahead = {*start, str(whole(parse_identifier(asked)))}
    while True:
        for node in sorted(ahead):
            entries.update((entry.position, entry) for entry in find(node))
        nodes |= ahead
        known = [entries[position] for position in sorted(entries)]
        graph = fold(known, as_of=as_of, valid_at=valid_at)
        answer = answer_of(graph, asked, valid_at=valid_at, columns=columns, **options)
        ahead = required_nodes(graph, answer, asked=asked, columns=columns) - nodes
        if not ahead:
            return Gathered(frozenset(nodes), tuple(known), answer)


def answer_of(graph: Graph, asked: str, **options: Any) -> dict[str, Any] | None:
    """Answer a trace, None where the root is unknown."""
    try:
        return trace(graph, asked, **options)
    except UnknownNodeError:
        return None

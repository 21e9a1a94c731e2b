"""What one reader sees of one segment at one moment: nodes by their names, or as stubs.

A node that is hidden appears, where something visible touches it, as `restricted:<digits>`: the
same digits wherever it appears to any reader of the store, and nothing else of it. The digits are
a MAC under a secret of the store, so that nobody can confirm a guessed name by computing them.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections import deque
from collections.abc import Iterable
from typing import Final

from lodeline.ingest.predictions import find_prediction
from lodeline.model import NodeId, format_identifier
from lodeline.query.answers import Edge, Gap, Graph
from lodeline.query.permission import Authoriser, Reader
from lodeline.query.view import View
from lodeline.store.api_keys import stub_secret

STUB: Final = "restricted:"
_STUB_DIGITS: Final = 16
# Of a store in which no key was ever made: readers are confined by this process alone.
_OWN_SECRET: Final = secrets.token_bytes(32)
_ACTS: Final = frozenset({"job", "run"})
_PROJECTIONS: Final = frozenset({"reads", "writes"})
_RUNS_AT_A_TIME: Final = 500
_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"


class Visibility:
    """An authoriser that can be asked of any node.

    Args:
        authoriser: decides of nodes that have a namespace; may itself be a `Visibility`.
        view: tells whose jobs a run is of, and which deployment made a prediction.
    """

    def __init__(self, authoriser: Authoriser, view: View) -> None:
        self.authoriser: Authoriser = (
            authoriser.authoriser if isinstance(authoriser, Visibility) else authoriser
        )
        self.sees_all = self.authoriser.sees_all
        self._view = view
        self._known: dict[NodeId, bool] = {}
        self._runs: dict[str, bool | None] = {}
        self._stubs: dict[NodeId, str] = {}
        self._secret: bytes | None = None

    def may_see(self, node: NodeId) -> bool:
        """Whether the reader may know that the node exists."""
        if self.sees_all:
            return True
        bare = node.at("")
        known = self._known.get(bare)
        if known is None:
            known = self._known[bare] = self._decide(bare)
        return known

    def _decide(self, node: NodeId) -> bool:
        if node.kind == "run":
            return self.judge_run(node.name) is True
        if node.kind == "prediction":
            block = find_prediction(self._view.segment, node.name).block
            return block is not None and self.authoriser.may_see(block.deployment.at(""))
        return self.authoriser.may_see(node)

    def judge_run(self, run_id: str) -> bool | None:
        """Whether the reader may see all jobs of a run; `None` of a run that is not known here.

        Its facets are of all its jobs, whichever entries name them, so all must be visible.
        """
        if run_id not in self._runs:
            self.look_up_runs([run_id])
        return self._runs[run_id]

    def look_up_runs(self, run_ids: Iterable[str]) -> None:
        """Judge many runs at once."""
        wanted = sorted(set(run_ids) - self._runs.keys())
        for start in range(0, len(wanted), _RUNS_AT_A_TIME):
            portion = wanted[start : start + _RUNS_AT_A_TIME]
            rows = self._view.select(
                "SELECT DISTINCT g.run_id, g.job_node FROM run_group g WHERE g.run_id"
                " IN (SELECT value FROM json_each(:runs)) AND g.job_node IS NOT NULL",
                runs=json.dumps(portion),
            )
            names = self._view.names({row[1] for row in rows})
            seen: dict[str, bool | None] = dict.fromkeys(portion)
            for run_id, job in rows:
                sees = self.authoriser.may_see(names[job])
                seen[run_id] = seen[run_id] is not False and sees
            self._runs.update(seen)

    def _jobs_of(self, run_id: str) -> list[NodeId]:
        rows = self._view.select(
            "SELECT DISTINCT g.job_node FROM run_group g"
            " WHERE g.run_id = :run AND g.job_node IS NOT NULL",
            run=run_id,
        )
        return list(self._view.names({row[0] for row in rows}).values())

    def sees_run(self, run_id: str) -> bool:
        """Whether the reader may know of a run, by its bare identifier."""
        return self.may_see(NodeId("run", "", run_id.lower()))

    def text(self, node: NodeId) -> str:
        """Write a node: its identifier, or its stub."""
        return format_identifier(node) if self.may_see(node) else self.stub(node)

    def stub(self, node: NodeId) -> str:
        """Write the stub of a node; its versions have stubs of their own."""
        stub = self._stubs.get(node)
        if stub is None:
            if self._secret is None:
                self._secret = stub_secret(self._view.connection) or _OWN_SECRET
            digest = hmac.new(self._secret, format_identifier(node).encode(), "sha256").hexdigest()
            stub = self._stubs[node] = STUB + digest[:_STUB_DIGITS]
        return stub

    def hidden_names_near(self, nodes: Iterable[NodeId]) -> frozenset[str]:
        """Give the names of hidden nodes next to nodes.

        Next to a node is what shares a derivation with it, what started a job, and other names of
        all these. Beside whole names, the last part of dotted and slashed ones, as SQL says them.
        """
        if self.sees_all:
            return frozenset()
        numbers = {number for node in nodes for number in self._numbers(node)}
        sql = (
            f"SELECT source, target, job FROM derivation WHERE source {_AMONG} OR target {_AMONG}"
            f" OR job {_AMONG} LIMIT 100000"
        )
        ends = {end for row in self._view.select_among(sql, numbers) for end in row if end}
        ends |= self._parents(numbers)
        named = {other for number in ends | numbers for other in self._view.component(number)}
        found: set[str] = set()
        for node in self._view.names(named).values():
            if not self.may_see(node):
                last = node.name.replace("/", ".").rpartition(".")[2]
                found |= {name for name in (node.name, last) if len(name) > 2}
        return frozenset(found)

    def _parents(self, jobs: Iterable[int]) -> set[int]:
        """Give the jobs that started jobs, as their latest runs say."""
        sql = (
            "SELECT DISTINCT p.parent_job FROM parent p WHERE p.group_id IN (SELECT g.group_id"
            f" FROM run_group g WHERE g.job_node {_AMONG} ORDER BY g.group_id DESC LIMIT 10000)"
        )
        return {row[0] for row in self._view.select_among(sql, jobs)}

    def _numbers(self, node: NodeId) -> Iterable[int]:
        if node.kind == "run":
            return [
                number for job in self._jobs_of(node.name) for number in self._view.members(job)
            ]
        return self._view.members(node.at(""))


def hidden_gap(node: NodeId) -> Gap:
    """Give the gap of a visible node that something hidden touches."""
    return Gap(str(node), "permission", "it goes on where this reader may not look")


def restrict(graph: Graph, visibility: Reader) -> Graph:
    """Cut a closure down to what its reader may see: hidden nodes end it.

    What is hidden is not walked through. It stays as an end where something visible touches it, and
    each visible node that it touches has a gap.
    """
    flows = [edge for edge in graph.edges.values() if edge.kind not in _PROJECTIONS | {"parent"}]
    directions = ("up", "down") if graph.direction == "both" else (graph.direction,)
    kept = _starts(graph)
    near: set[NodeId] = set()
    for direction in directions:
        reached = _reach(kept, flows, direction, visibility)
        near |= {node for node in reached if visibility.may_see(node)}
        kept_now = reached | near
        for edge in graph.edges.values():
            if edge.kind in _PROJECTIONS:
                act, data = edge.source, edge.target
                if edge.kind == "reads":
                    act, data = data, act
                if data in near and edge.kind == ("writes" if direction == "up" else "reads"):
                    kept_now.add(act)
        kept |= kept_now
    kept &= graph.nodes.keys()
    found = Graph(
        graph.root,
        graph.direction,
        {node: depth for node, depth in graph.nodes.items() if node in kept},
        {edge.key: edge for edge in graph.edges.values() if _shows(edge, kept, visibility)},
        summarised=graph.summarised,
    )
    _keep_gaps(graph, found, visibility)
    return found


def _starts(graph: Graph) -> set[NodeId]:
    """Give what a closure starts from: its root, what the root is a row of, what a run touched."""
    root = graph.root
    starts = {node for node, depth in graph.nodes.items() if depth == 0} | {root}
    for edge in graph.edges.values():
        if edge.kind == "row" and edge.target == root:
            starts.add(edge.source)
        elif edge.kind in _PROJECTIONS:
            if edge.source in starts and edge.source.kind in _ACTS and graph.direction != "up":
                starts.add(edge.target)
            elif edge.target in starts and edge.target.kind in _ACTS and graph.direction != "down":
                starts.add(edge.source)
    return starts


def _reach(
    starts: Iterable[NodeId], flows: Iterable[Edge], direction: str, visibility: Reader
) -> set[NodeId]:
    ahead: dict[NodeId, list[NodeId]] = {}
    for edge in flows:
        close, far = (edge.target, edge.source) if direction == "up" else (edge.source, edge.target)
        ahead.setdefault(close, []).append(far)
    reached = set(starts)
    waiting = deque(reached)
    while waiting:
        node = waiting.popleft()
        if visibility.may_see(node):
            for far in ahead.get(node, ()):
                if far not in reached:
                    reached.add(far)
                    waiting.append(far)
    return reached


def _shows(edge: Edge, kept: set[NodeId], visibility: Reader) -> bool:
    ends = (edge.source, edge.target)
    return all(end in kept for end in ends) and any(map(visibility.may_see, ends))


def _keep_gaps(graph: Graph, found: Graph, visibility: Reader) -> None:
    for edge in found.edges.values():
        sees = [visibility.may_see(end) for end in (edge.source, edge.target)]
        if not all(sees):
            end = edge.source if sees[0] else edge.target
            found.add_gap(hidden_gap(end))
    shown = {str(node) for node in found.nodes if visibility.may_see(node)}
    shown |= {str(node.dataset) for node in found.nodes if visibility.may_see(node)}
    for gap in graph.gaps:
        if gap.at in shown:
            found.add_gap(gap)

"""The brute-force answerer: trace over a folded graph, as the oracle of every faster one.

It favours plain loops over speed. Two modes:

- *Job level.* Nodes carry no version; walking from a node follows the derivations into (or out of)
  it, and each brings its job's `reads` and `writes` with it. A job is never walked through: what
  it derived for another output does not reach the root.
- *Version level*, when the root has a version or is a run, model, deployment or feature version:
  nodes are versions, and `reads`/`writes` lead to runs. What wrote a version that a run read is
  the last writer at or before that run's start, else (none before) every writer of it.

With columns, derivations between columns are walked; what leaves or enters a column's dataset
without recorded columns is named as a gap, not guessed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lodeline.errors import UnknownNodeError
from lodeline.fold.currency import CompletedRun, is_stale
from lodeline.fold.entries import Entry
from lodeline.fold.graph import EdgeKey, Graph, fold
from lodeline.fold.relations import BASIS_RANK, Assertion, Contribution, GroupKey
from lodeline.limits import ASSERTED_BY_MAX, STALE_AGE_US, STALE_RUNS
from lodeline.model import NodeId, format_time, parse_identifier

DIRECTIONS = {"up": ("up",), "down": ("down",), "both": ("up", "down")}
# Kinds whose questions are always about versions and runs.
VERSIONED_KINDS = frozenset({"run", "model", "deployment"})


@dataclass(frozen=True, slots=True)
class Question:
    """A trace question.

    Attributes:
        direction: `up`, `down` or `both`.
        depth: derivations to follow; None for all.
        columns: walk columns too; a column as root is walked at its own level alone.
        valid_at: event time of the question, in microseconds.
        stale_runs: runs of the second rule of currency.
        stale_age_us: microseconds of the second rule of currency.
    """

    direction: str = "up"
    depth: int | None = None
    columns: bool = False
    valid_at: int | None = None
    stale_runs: int = STALE_RUNS
    stale_age_us: int = STALE_AGE_US


@dataclass(slots=True)
class _Edge:
    groups: dict[GroupKey, Contribution] = field(default_factory=dict)
    basis: str = "inferred"
    stale: bool = True


def trace(
    known: Graph | Sequence[Entry],
    root: NodeId | str,
    *,
    as_of: int | None = None,
    valid_at: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Answer a trace question in the shape of the contract, without trees and cursor.

    Args:
        known: a graph, or the entries to fold at the question's times.
        root: canonical identifier.
        as_of: entries known; needs entries.
        valid_at: event time in microseconds; needs entries.
        **options: the other attributes of `Question`.

    Raises:
        UnknownNodeError: the root is not known at the question's times.
    """
    return _walked(known, root, as_of=as_of, valid_at=valid_at, options=options).answer()


def supported_trace(
    known: Graph,
    root: NodeId | str,
    *,
    valid_at: int | None = None,
    **options: Any,
) -> tuple[dict[str, Any], list[set[GroupKey]]]:
    """Answer as `trace` does, and give for each edge, in order, the groups that assert it.

    Raises:
        UnknownNodeError: the root is not known at the question's times.
    """
    walk = _walked(known, root, as_of=None, valid_at=valid_at, options=options)
    return walk.answer(), [set(edge.groups) for _, edge in walk.sorted_edges()]


def _walked(
    known: Graph | Sequence[Entry],
    root: NodeId | str,
    *,
    as_of: int | None,
    valid_at: int | None,
    options: Mapping[str, Any],
) -> _Walk:
    graph = known if isinstance(known, Graph) else fold(known, as_of=as_of, valid_at=valid_at)
    node = parse_identifier(root) if isinstance(root, str) else root
    question = Question(valid_at=valid_at, **options)
    resolved = resolve(graph, node)
    versions = resolved.version or resolved.kind in VERSIONED_KINDS
    shape: type[_Walk] = _VersionWalk if versions else _JobWalk
    walk = shape(graph, question, resolved)
    walk.run()
    if question.columns and resolved.kind not in ("datasetField", "feature"):
        # A whole node is asked about at both levels.
        whole = shape(graph, replace(question, columns=False), resolved)
        whole.run()
        walk.include(whole)
    return walk


def resolve(graph: Graph, node: NodeId) -> NodeId:
    """Find the canonical root: aliases and numbers resolved, models at their newest version.

    Raises:
        UnknownNodeError: no such node or version is known.
    """
    canonical = graph.canonical(node)
    if node.kind == "run":
        if not any(key.run_id == node.name for key in graph.groups):
            raise UnknownNodeError(str(node))
        return node
    if canonical.at("") not in {graph.canonical(name) for name in graph.names}:
        raise UnknownNodeError(str(node))
    if node.kind in VERSIONED_KINDS and not node.version:
        return canonical.at(newest_version(graph, canonical) or "")
    numbers = graph.numbers.get(node.at(""), [])
    if node.version.isdigit() and 0 < int(node.version) <= len(numbers):
        return canonical.at(numbers[int(node.version) - 1])
    if node.version and node.version not in versions_of(graph, canonical.at("")):
        raise UnknownNodeError(str(node))
    return canonical


def newest_version(graph: Graph, node: NodeId) -> str | None:
    """Give the version of the latest write in event time, else of the latest read."""
    writes = [write for write, group in graph.writes().get(node, []) if not group.key.future]
    if writes:
        return writes[-1].version
    reads = [
        (group.state.start_us, read.version)
        for group in graph.groups.values()
        if not group.key.future
        for read in group.reads
        if graph.canonical(read.node) == node and read.version is not None
    ]
    return max(reads)[1] if reads else None


def versions_of(graph: Graph, node: NodeId) -> set[str]:
    """List the versions of a node that events state or imply."""
    if node.kind == "job":
        codes = {group.state.code for group in graph.groups.values() if group.job == node}
        return {code for code in codes if code is not None}
    if node.kind == "feature":
        groups = graph.groups.values()
        return {one.version for group in groups for one in group.features if one.feature == node}
    home = node.dataset
    versions = {write.version for write, _ in graph.writes().get(home, [])}
    for group in graph.groups.values():
        for read in group.reads:
            if read.version is not None and graph.canonical(read.node) == home:
                versions.add(read.version)
    return versions


class _Walk(ABC):
    """What both modes share: the answer under construction, currency, and its JSON."""

    def __init__(self, graph: Graph, question: Question, root: NodeId) -> None:
        self.graph = graph
        self.question = question
        self.root = root
        self.columns = question.columns or root.kind in ("datasetField", "feature")
        self.derivations = graph.edges()
        self.nodes: dict[NodeId, int] = {}
        self.edges: dict[tuple[NodeId, NodeId, str, NodeId | None], _Edge] = {}
        self.gaps: set[tuple[str, str, str]] = set()
        self.labels: dict[NodeId, NodeId] = {}
        self.by_job: dict[NodeId | None, list[Contribution]] = defaultdict(list)
        for group in graph.groups.values():
            self.by_job[group.job].append(group)
        self.stale: dict[EdgeKey, bool] = {}

    def run(self) -> None:
        self.reach(self.root, 0)
        for direction in DIRECTIONS[self.question.direction]:
            self.walk(direction)
        self.parents()

    def include(self, other: _Walk) -> None:
        for node, depth in other.nodes.items():
            self.reach(node, depth)
        for key, found in other.edges.items():
            edge = self.edges.setdefault(key, _Edge())
            edge.groups |= found.groups
            edge.basis = min(edge.basis, found.basis, key=BASIS_RANK.__getitem__)
            edge.stale = edge.stale and found.stale
        self.gaps |= other.gaps

    def answer(self) -> dict[str, Any]:
        return {
            "root": str(self.root),
            "direction": self.question.direction,
            "complete": not self.gaps,
            "gaps": [
                {"at": at, "reason": reason, "detail": detail}
                for at, reason, detail in sorted(self.gaps)
            ],
            "nodes": [
                {**node.to_json(), "depth": depth}
                for node, depth in sorted(
                    self.nodes.items(), key=lambda item: (item[1], str(item[0]))
                )
            ],
            "edges": [self.edge_json(key, edge) for key, edge in self.sorted_edges()],
        }

    def sorted_edges(self) -> list[tuple[tuple[NodeId, NodeId, str, NodeId | None], _Edge]]:
        return sorted(self.edges.items(), key=lambda item: str(item[0]))

    @abstractmethod
    def walk(self, direction: str) -> None: ...

    @abstractmethod
    def parents(self) -> None: ...

    def reach(self, node: NodeId, depth: int) -> None:
        node = self.labels.get(node, node)
        self.nodes[node] = min(depth, self.nodes.get(node, depth))

    def beyond(self, node: NodeId) -> None:
        node = self.labels.get(node, node)
        self.gaps.add((str(node), "depth", f"derivations beyond depth {self.question.depth}"))

    def note_gaps(self, group: Contribution) -> None:
        at = str(group.run or group.job or "")
        self.gaps |= {(gap.at or at, gap.reason, gap.detail) for gap in group.gaps}

    def add(
        self,
        source: NodeId,
        target: NodeId,
        kind: str,
        job: NodeId | None,
        *,
        said: Iterable[tuple[Contribution, str]],
        stale: bool,
    ) -> None:
        key = (self.labels.get(source, source), self.labels.get(target, target), kind, job)
        edge = self.edges.setdefault(key, _Edge())
        for group, basis in said:
            edge.groups[group.key] = group
            edge.basis = min(edge.basis, basis, key=BASIS_RANK.__getitem__)
        edge.stale = edge.stale and stale

    def is_stale(self, key: EdgeKey) -> bool:
        """Compute the currency of a derivation, from the groups that assert it."""
        if key in self.stale:
            return self.stale[key]
        source, target, _, job = key
        groups = [group for group, _ in self.derivations[key] if not group.key.future]
        if not groups:
            return False  # Dated in the future: marked so, and not yet anybody's past.
        newest = max(groups, key=lambda group: (group.state.last_us, group.key))
        endings = [
            time_us
            for end in (source, target)
            if end is not None
            for name, times in self.graph.endings.items()
            if self.graph.canonical(name) == end.dataset
            for time_us in times
        ]
        self.stale[key] = is_stale(
            last_us=newest.state.last_us,
            code=newest.state.code,
            completed=[
                CompletedRun(run.state.end_us or 0, run.state.code, self.wrote(run, target))
                for run in (self.by_job[job] if job is not None else [])
                if run.state.completed and not run.key.future
            ],
            endings=endings,
            valid_at=self.question.valid_at,
            runs_min=self.question.stale_runs,
            age_us_min=self.question.stale_age_us,
        )
        return self.stale[key]

    def wrote(self, group: Contribution, target: NodeId | None) -> bool:
        """Whether a group states what flows into a target, or into its dataset by columns."""
        if target is None:
            return False
        for one in group.assertions:
            if one.target is None:
                continue
            written = self.graph.canonical(one.target)
            if target.kind == "datasetField":
                if is_column(one) and written.dataset == target.dataset:
                    return True
            elif written == target and not is_column(one):
                return True
        return False

    def edge_json(
        self, key: tuple[NodeId, NodeId, str, NodeId | None], edge: _Edge
    ) -> dict[str, Any]:
        source, target, kind, job = key
        groups = sorted(
            edge.groups.values(), key=lambda group: (-group.state.last_us, group.key.run_id)
        )
        runs = list(dict.fromkeys(group.key.run_id for group in groups if group.key.run_id))
        answer: dict[str, Any] = {
            "source": str(source),
            "target": str(target),
            "kind": kind,
            "job": None if job is None else str(job),
            "status": "stale" if edge.stale else "current",
            "basis": edge.basis,
            "restricted": False,
            "asserted_by": runs[:ASSERTED_BY_MAX],
            "asserted_by_total": len(runs),
            "first_seen": format_time(min(group.state.first_us for group in groups)),
            "last_seen": format_time(max(group.state.last_us for group in groups)),
        }
        if all(group.key.future for group in groups):
            answer["future"] = True
        return answer


def is_column(one: Assertion) -> bool:
    """Whether an assertion speaks of columns."""
    return "datasetField" in (
        one.source.kind if one.source else "",
        one.target.kind if one.target else "",
    )


def _is_column_key(key: EdgeKey) -> bool:
    return any(end is not None and end.kind == "datasetField" for end in key[:2])


class _JobWalk(_Walk):
    """Job level: derivations between unversioned nodes."""

    def __init__(self, graph: Graph, question: Question, root: NodeId) -> None:
        super().__init__(graph, question, root)
        self.covered = {
            (source.dataset, target.dataset, job)
            for source, target, _, job in self.derivations
            if source is not None and source.kind == "datasetField" and target is not None
        }

    def start(self) -> list[NodeId]:
        root = self.root
        if root.kind == "feature":
            fields = [
                self.graph.canonical(one.field)
                for group in self.graph.groups.values()
                for one in group.features
                if one.feature == root
            ]
            self.labels = dict.fromkeys(fields, root)
            return fields
        if self.columns and root.kind == "dataset":
            return [root, *self.fields_of(root)]
        return [root]

    def fields_of(self, dataset: NodeId) -> list[NodeId]:
        names = {self.graph.canonical(name) for name in self.graph.names}
        return [name for name in names if name.kind == "datasetField" and name.dataset == dataset]

    def walk(self, direction: str) -> None:
        level = self.start()
        seen = set(level)
        depth = 0
        while level:
            ahead: set[NodeId] = set()
            for node in level:
                self.reach(node, depth)
                keys = self.incident(node, direction)
                if keys and depth == self.question.depth:
                    self.beyond(node)
                    continue
                for key in keys:
                    far = key[0] if direction == "up" else key[1]
                    self.record(key, depth + 1, via_job=node.kind == "job", direction=direction)
                    if far is not None:
                        ahead.add(far)
            if self.columns:
                ahead |= {
                    column
                    for node in ahead
                    if node.kind == "dataset"
                    for column in self.fields_of(node)
                }
            level = sorted(ahead - seen)
            seen |= ahead
            depth += 1

    def incident(self, node: NodeId, direction: str) -> list[EdgeKey]:
        """List the derivations that enter (up) or leave (down) a node."""
        near, far = (1, 0) if direction == "up" else (0, 1)
        if node.kind == "job":
            keys = [key for key in self.derivations if key[3] == node and key[far] is not None]
        else:
            keys = [key for key in self.derivations if key[near] == node]
        if not self.columns:
            return [key for key in keys if not _is_column_key(key)]
        found = [key for key in keys if _is_column_key(key)]
        home = node.dataset
        for key in self.derivations:
            if key[near] != home or _is_column_key(key) or None in key[:2]:
                continue
            ends = [end.kind for end in key[:2] if end is not None]
            if ends[far] != "dataset" or ends[near] != "dataset":
                uncovered = "dataset" in ends and (key[0], key[1], key[3]) in self.covered
                if not uncovered:
                    found.append(key)
            elif (key[0], key[1], key[3]) not in self.covered:
                detail = f"no columns recorded from {key[0]} to {key[1]} by {key[3]}"
                self.gaps.add((str(home), "capture", detail))
        return found

    def record(self, key: EdgeKey, depth: int, *, via_job: bool, direction: str) -> None:
        """Put a derivation and its projections into the answer."""
        source, target, kind, job = key
        said = [(group, one.basis) for group, one in self.derivations[key]]
        stale = self.is_stale(key)
        newest = max(said, key=lambda one: (one[0].state.last_us, one[0].key))[0]
        self.note_gaps(newest)
        for node in (source, target, job):
            if node is not None and not (
                via_job and node == (target if direction == "up" else source)
            ):
                self.reach(node, depth)
        if source is not None and target is not None and not via_job:
            self.add(source, target, kind, job, said=said, stale=stale)
        if job is None:
            return
        if source is not None and not (via_job and direction == "down"):
            self.add(source, job, "reads", job, said=said, stale=stale)
        if target is not None and not (via_job and direction == "up"):
            self.add(job, target, "writes", job, said=said, stale=stale)

    def parents(self) -> None:
        for job in [node for node in self.nodes if node.kind == "job"]:
            for group in self.by_job[job]:
                for parent in group.parents:
                    if parent.job in self.nodes and parent.job != job:
                        said = [(group, "lineage")]
                        self.add(parent.job, job, "parent", None, said=said, stale=False)


class _VersionWalk(_Walk):
    """Version level: which run made which version from which."""

    def __init__(self, graph: Graph, question: Question, root: NodeId) -> None:
        super().__init__(graph, question, root)
        self.writes = graph.writes()
        self.uncovered: set[tuple[NodeId, NodeId, NodeId | None]] = set()

    def walk(self, direction: str) -> None:
        level = self.start(direction)
        seen: set[tuple[NodeId, GroupKey | None]] = set()
        depth = 0
        while level:
            ahead: list[tuple[NodeId, Contribution | None]] = []
            for node, group in level:
                key = (node, group.key if group else None)
                if key in seen:
                    continue
                seen.add(key)
                if node.kind not in ("run", "job"):
                    self.reach(node, depth)
                step = self.up(node, group) if direction == "up" else self.down(node, group)
                if step and depth == self.question.depth:
                    self.beyond(node)
                    continue
                for arrival in step:
                    self.record(arrival, depth + 1)
                    ahead += arrival.next
            level = ahead
            depth += 1

    def start(self, direction: str) -> list[tuple[NodeId, Contribution | None]]:
        root = self.root
        groups = list(self.graph.groups.values())
        if root.kind == "run":
            own = [group for group in groups if group.run == root]
            # Also of a run that nothing is known to have gone into or come from.
            for group in own:
                self.note_gaps(group)
            return [(root, group) for group in own]
        if root.kind == "job":
            found = [g for g in groups if g.job == root.at("") and g.state.code == root.version]
            for group in found:
                if group.run is not None:
                    self.reach(group.run, 0)
            return [(root, group) for group in found]
        if root.kind == "feature":
            return self.feature_start(direction)
        nodes = [root, *self.columns_of(root)]
        if direction == "down":
            return [(node, None) for node in nodes]
        return [one for node in nodes for one in self.writers(node, None)]

    def columns_of(self, node: NodeId) -> list[NodeId]:
        if not self.columns or node.kind != "dataset":
            return []
        names = {self.graph.canonical(name) for name in self.graph.names}
        return sorted(
            name.at(node.version)
            for name in names
            if name.kind == "datasetField" and name.dataset == node.at("")
        )

    def feature_start(self, direction: str) -> list[tuple[NodeId, Contribution | None]]:
        found: list[tuple[NodeId, Contribution | None]] = []
        for group in self.graph.groups.values():
            for one in group.features:
                if one.feature != self.root.at("") or one.version != self.root.version:
                    continue
                column = self.graph.canonical(one.field)
                written = self.written(group, column)
                nodes = written or [column.at(self.read_version(group, column) or "")]
                for node in nodes:
                    self.labels[node] = self.root
                    if direction == "down":
                        found.append((node, None))
                    elif written:
                        found.append((node, group))
                    else:
                        found += self.writers(node, group.state.start_us)
        return found

    def writers(
        self, node: NodeId, start_us: int | None
    ) -> list[tuple[NodeId, Contribution | None]]:
        """List who wrote a version: the last at or before a reader's start, else everyone."""
        writes = [
            (write, group)
            for write, group in self.writes.get(node.dataset, [])
            if write.version == node.version
        ]
        before = [one for one in writes if start_us is not None and one[0].time_us <= start_us]
        if before:
            writes = before[-1:]
        return [(node, group) for _, group in writes] or [(node, None)]

    def read_version(self, group: Contribution, node: NodeId) -> str | None:
        """Give the version of a node that a run read; resolved if it did not state one."""
        stated = self.stated_read(group, node)
        if stated is not None:
            return stated
        home = node.dataset
        writes = self.writes.get(home, [])
        before = [
            write.version
            for write, other in writes
            if write.time_us <= group.state.start_us and other.key != group.key
        ]
        # Nothing was there before: what the run read is what it wrote itself.
        own = [write.version for write, other in writes if other.key == group.key]
        found = before or own
        return found[-1] if found else None

    def stated_read(self, group: Contribution, node: NodeId) -> str | None:
        """Give the version that a group itself says it read; a deployment does without a run."""
        home = node.dataset
        stated = [
            read.version
            for read in group.reads
            if read.version is not None and self.graph.canonical(read.node) == home
        ]
        return max(stated, default=None)

    def written(self, group: Contribution, node: NodeId) -> list[NodeId]:
        home = node.dataset
        versions = {
            write.version for write in group.writes if self.graph.canonical(write.node) == home
        }
        return sorted(node.at(version) for version in versions)

    def assertions(
        self, group: Contribution
    ) -> list[tuple[Assertion, NodeId | None, NodeId | None]]:
        """List a group's assertions at the question's level, with canonical ends."""
        found = []
        ends = {one: self.canonical_ends(one) for one in group.assertions}
        covered = {
            (source.dataset, target.dataset)
            for source, target in ends.values()
            if source is not None and target is not None and source.kind == "datasetField"
        }
        for one, (source, target) in ends.items():
            if self.columns and not is_column(one) and (source, target) in covered:
                continue
            if self.columns == is_column(one) or (self.columns and _has_no_columns(one)):
                found.append((one, source, target))
            elif self.columns and source is not None and target is not None:
                self.uncovered.add((source, target, one.job))
        return found

    def canonical_ends(self, one: Assertion) -> tuple[NodeId | None, NodeId | None]:
        source = None if one.source is None else self.graph.canonical(one.source)
        return source, None if one.target is None else self.graph.canonical(one.target)

    def note_uncovered(self) -> None:
        """Name the datasets whose columns a run passed on without telling how."""
        homes = {node.dataset for node in self.nodes}
        for source, target, job in self.uncovered:
            for home in (source, target):
                if home in homes:
                    detail = f"no columns recorded from {source} to {target} by {job}"
                    self.gaps.add((str(home), "capture", detail))
                    break

    def up(self, node: NodeId, group: Contribution | None) -> list[_Arrival]:
        found: list[_Arrival] = []
        if group is None:
            return found
        at_run = node.kind in ("run", "job")
        for one, source, target in self.assertions(group):
            if not at_run and (target is None or target != node.at("")):
                continue
            if source is None:
                if not at_run:
                    found.append(_Arrival(group, one, None, node, []))
                continue
            find = self.read_version if group.key.run_id else self.stated_read
            version = find(group, source)
            origin = source.at(version or "")
            ahead = self.writers(origin, group.state.start_us)
            found.append(_Arrival(group, one, origin, None if at_run else node, ahead))
        return found

    def down(self, node: NodeId, group: Contribution | None) -> list[_Arrival]:
        found: list[_Arrival] = []
        readers = [group] if group is not None else list(self.graph.groups.values())
        at_run = node.kind in ("run", "job")
        for reader in readers:
            if not at_run and not self.reads(reader, node):
                continue
            for one, source, target in self.assertions(reader):
                if not at_run and (source is None or source != node.at("")):
                    continue
                near = None if at_run else node
                made = [] if target is None else self.written(reader, target)
                for result in made:
                    ahead: list[tuple[NodeId, Contribution | None]]
                    ahead = [(far, None) for far in (result, *self.columns_of(result))]
                    found.append(_Arrival(reader, one, near, result, ahead))
                if not made and near is not None:
                    found.append(_Arrival(reader, one, near, None, []))
        return found

    def reads(self, reader: Contribution, node: NodeId) -> bool:
        home = node.dataset
        if not any(self.graph.canonical(read.node) == home for read in reader.reads):
            return False
        return (self.read_version(reader, node) or "") == node.version

    def record(self, arrival: _Arrival, depth: int) -> None:
        group, one = arrival.group, arrival.assertion
        source, target = arrival.source, arrival.target
        self.note_gaps(group)
        said = [(group, one.basis)]
        ends = [
            None if end is None else self.graph.canonical(end) for end in (one.source, one.target)
        ]
        stale = self.is_stale((ends[0], ends[1], one.kind, one.job))
        for node in (source, target):
            if node is not None:
                self.reach(node, depth)
        if source is not None and target is not None:
            self.add(source, target, one.kind, one.job, said=said, stale=stale)
        run = group.run
        if run is None:
            return
        self.reach(run, depth)
        if source is not None:
            self.add(source, run, "reads", group.job, said=said, stale=stale)
        if target is not None:
            self.add(run, target, "writes", group.job, said=said, stale=stale)

    def parents(self) -> None:
        self.note_uncovered()
        for group in self.graph.groups.values():
            for parent in group.parents:
                above = NodeId("run", "", parent.run_id) if parent.run_id else None
                run = group.run
                if run in self.nodes and above in self.nodes and run != above:
                    assert run is not None
                    assert above is not None
                    said = [(group, "lineage")]
                    self.add(above, run, "parent", None, said=said, stale=False)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """One derivation at version level: what it joins, and where the walk goes on."""

    group: Contribution
    assertion: Assertion
    source: NodeId | None
    target: NodeId | None
    next: list[tuple[NodeId, Contribution | None]]


def _has_no_columns(one: Assertion) -> bool:
    """Whether a derivation between whole nodes is all there can be: an end has no columns."""
    ends = (one.source, one.target)
    return None not in ends and any(end is not None and end.kind != "dataset" for end in ends)

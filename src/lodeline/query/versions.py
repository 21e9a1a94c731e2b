"""Version level: which run made which version from which, group by group.

Nodes are versions; `reads` and `writes` lead to runs. What wrote a version that a run read is the
last writer at or before that run's start, else (none before) every writer of it. A read that
stated no version means the last one written, by another group, at or before the run's start; else
what the run wrote itself, as pipelines do that keep a step's result in a file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from lodeline.model import NodeId
from lodeline.query.answers import DerivationKey, Gap, Graph, Ground
from lodeline.query.bounds import Budget
from lodeline.query.describing import Describer
from lodeline.query.groups import Group, Groups, Said

_AMONG = "IN (SELECT value FROM json_each(:ids))"


# The group of a write that another segment holds.
FOREIGN: Final = -1


class Written(NamedTuple):
    """One write of a node, in the order of (time, version, group).

    `tie` orders groups; it is empty where no other write has the same time and version.
    """

    time_us: int
    version: str
    tie: tuple[str, str, str, str, bool, bytes] | tuple[()]
    group: int


_TIME: Final = attrgetter("time_us")


@dataclass(frozen=True, slots=True)
class Statement:
    """One assertion of a group, its ends under canonical names."""

    key: DerivationKey
    source: NodeId | None
    target: NodeId | None
    columns: bool


# A node and the group that made it (up); None where nobody did, and always downward.
Place = tuple[NodeId, int | None]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One derivation at version level: what it joins, and where the walk goes on."""

    group: int
    statement: Statement
    source: NodeId | None
    target: NodeId | None
    ahead: Sequence[Place]


class VersionWalk:
    """One closure between versions, at one moment.

    Args:
        groups: the question's view of groups.
        root: canonical; with a version, or a run.
        columns: whether to walk columns instead of whole datasets.
        depth: derivations to walk; `None` for all.
        budget: bounds of time and size.
        describer: tells what is stale.
        only_current: whether stale derivations are passed over.
    """

    def __init__(
        self,
        groups: Groups,
        root: NodeId,
        *,
        direction: str,
        columns: bool,
        depth: int | None,
        budget: Budget,
        describer: Describer,
        only_current: bool = False,
    ) -> None:
        self.groups = groups
        self.view = groups.view
        self.columns = columns or root.kind in {"datasetField", "feature"}
        self.depth = depth
        self.budget = budget
        self._describer = describer
        self._only_current = only_current
        self.graph = Graph(root, direction)
        self.rows: dict[DerivationKey, set[int]] = {}
        # What each group itself said of a derivation, where it has no other names.
        self.said: dict[Ground, list[Said]] = {}
        self.versions = Versions(groups)
        self._labels: dict[NodeId, NodeId] = {}
        self._statements: dict[int, list[Statement]] = {}
        self._stale: set[DerivationKey] = set()
        self._uncovered: set[tuple[NodeId, NodeId, str]] = set()

    def run(self) -> Graph:
        """Walk every direction asked for."""
        self._reach(self.graph.root, 0)
        directions = ("up", "down") if self.graph.direction == "both" else (self.graph.direction,)
        for direction in directions:
            self._walk(self._start(direction), direction)
        self._note_uncovered()
        self._add_parents()
        return self.graph

    def _walk(self, start: Sequence[Place], direction: str) -> None:
        level = list(start)
        seen: set[Place] = set()
        depth = 0
        while level:
            level = [place for place in dict.fromkeys(level) if place not in seen]
            seen.update(level)
            for node, _ in level:
                if node.kind not in {"run", "job"}:
                    self._reach(node, depth)
            passed = self.budget.exhausted_by(len(self.graph.nodes))
            if passed is not None:
                self.graph.add_gap(Gap(str(self.graph.root), *passed))
                return
            self._load(level, direction)
            ahead: list[Place] = []
            for node, group in level:
                step = self._up(node, group) if direction == "up" else self._down(node, group)
                if step and depth == self.depth:
                    at = self._labels.get(node, node)
                    detail = f"derivations beyond depth {self.depth}"
                    self.graph.add_gap(Gap(str(at), "depth", detail))
                    continue
                for arrival in step:
                    self._record(arrival, depth + 1)
                    ahead += arrival.ahead
            level = ahead
            depth += 1

    # -- where to start ------------------------------------------------------------------------

    def _start(self, direction: str) -> list[Place]:
        root = self.graph.root
        if root.kind == "run":
            numbers = list(self.view.groups_of_run(root.name))
            # Also of a run that nothing is known to have gone into or come from.
            for gap in self.groups.gaps_of(numbers):
                self.graph.add_gap(gap)
            return [(root, number) for number in numbers]
        if root.kind == "job":
            return self._start_at_code(root)
        if root.kind == "feature":
            return self._start_at_feature(root, direction)
        nodes = [root, *self._columns_of(root)]
        if direction == "down":
            return [(node, None) for node in nodes]
        return [place for node in nodes for place in self.versions.writers(node, None)]

    def _start_at_code(self, root: NodeId) -> list[Place]:
        sql = (
            f"SELECT s.group_id FROM run_state s WHERE s.job_node {_AMONG} AND s.code = :code"
            f" AND {self.view.rectangle('s')} ORDER BY s.group_id"
        )
        rows = self.view.select_among(sql, self.view.members(root), code=root.version)
        numbers = [row[0] for row in rows]
        for group in self.groups.load(numbers).values():
            if group.run is not None:
                self._reach(group.run, 0)
        return [(root, number) for number in numbers]

    def _start_at_feature(self, root: NodeId, direction: str) -> list[Place]:
        sql = (
            "SELECT DISTINCT f.group_id, f.field_node FROM feature f"
            f" WHERE f.feature_node {_AMONG} AND f.version = :version"
            f" AND {self.view.rectangle('f')} ORDER BY f.group_id, f.field_node"
        )
        rows = self.view.select_among(sql, self.view.members(root), version=root.version)
        found: list[Place] = []
        for number, field in list(rows):
            column = self.view.canonical(self.view.name(field))
            group = self.groups.get(number)
            written = self.versions.written(number, column)
            version = "" if written else self.versions.read_version(group, column) or ""
            for node in written or [column.at(version)]:
                self._labels[node] = root
                if direction == "down":
                    found.append((node, None))
                elif written:
                    found.append((node, number))
                else:
                    found += self.versions.writers(node, group.start_us)
        return found

    def _columns_of(self, node: NodeId) -> list[NodeId]:
        if not self.columns or node.kind != "dataset":
            return []
        return [field.at(node.version) for field in self.view.fields_of(node.at(""))]

    # -- one step ------------------------------------------------------------------------------

    def _load(self, level: Sequence[Place], direction: str) -> None:
        """Fetch for a whole level what its steps will ask for one by one."""
        numbers = {group for _, group in level if group is not None}
        if direction == "down":
            nodes = [
                node for node, group in level if group is None and node.kind not in {"run", "job"}
            ]
            self.versions.load_readers(node.dataset for node in nodes)
            numbers.update(*map(self.versions.readers, nodes))
        missing = {number for number in numbers if number not in self._statements}
        self.groups.load(numbers)
        self.versions.load(numbers)
        sql = (
            "SELECT a.group_id, d.derivation_id, d.source, d.target, d.kind, d.job, d.columns,"
            " a.basis, a.detail_id"
            f" FROM assertion a JOIN derivation d USING (derivation_id) WHERE a.group_id {_AMONG}"
            f" AND {self.view.rectangle('a')} ORDER BY d.derivation_id"
        )
        rows = list(self.view.select_among(sql, missing))
        ends = {row[i] for row in rows for i in (2, 3, 5) if row[i] is not None}
        names = self.view.canonical_names(ends)
        for number in missing:
            self._statements[number] = []
        for group, number, source, target, kind, job, columns, basis, detail in rows:
            near, far = names.get(source), names.get(target)
            key = (near, far, kind, names.get(job))
            if not self.view.has_aliases:  # Else there may be more rows, under other names.
                self.rows[key] = {number}
                said = Said(number, group, basis, detail)
                self.said.setdefault(Ground(key, group), []).append(said)
            self._statements[group].append(Statement(key, near, far, bool(columns)))
        if direction == "up":
            # What was read is resolved among what was written.
            stated = [one for number in numbers for one in self._statements[number]]
            self.versions.load_writes(one.source.dataset for one in stated if one.source)
        if self._only_current:
            keys = {one.key for number in missing for one in self._statements[number]}
            self._stale |= self._describer.find_stale(keys)

    def _stated(self, group: int) -> list[Statement]:
        """List a group's statements at the question's level."""
        statements = [one for one in self._statements[group] if one.key not in self._stale]
        if not self.columns:
            return [one for one in statements if not one.columns]
        covered = {
            (source.dataset, target.dataset)
            for source, target in ((one.source, one.target) for one in statements)
            if source is not None and target is not None and source.kind == "datasetField"
        }
        found = []
        for one in statements:
            if one.columns:
                found.append(one)
            elif one.source is None or one.target is None or (one.source, one.target) in covered:
                continue
            elif one.source.kind != "dataset" or one.target.kind != "dataset":
                found.append(one)
            else:
                self._uncovered.add((one.source, one.target, str(one.key[3])))
        return found

    def _up(self, node: NodeId, number: int | None) -> list[Arrival]:
        if number is None:
            return []
        group = self.groups.get(number)
        at_run = node.kind in {"run", "job"}
        found = []
        for one in self._stated(number):
            if not at_run and (one.target is None or one.target != node.at("")):
                continue
            near = None if at_run else node
            if one.source is not None:
                versions = self.versions
                find = versions.read_version if group.run_id else versions.stated_read
                version = find(group, one.source)
                origin = one.source.at(version or "")
                ahead = self.versions.writers(origin, group.start_us)
                found.append(Arrival(number, one, origin, near, ahead))
            elif not at_run:
                found.append(Arrival(number, one, None, near, ()))
        return found

    def _down(self, node: NodeId, number: int | None) -> list[Arrival]:
        at_run = node.kind in {"run", "job"}
        if number is not None:
            readers: Iterable[int] = [number]
        else:
            readers = () if at_run else self.versions.readers(node)
        if not at_run and number is not None:
            readers = [one for one in readers if one in self.versions.readers(node)]
        near = None if at_run else node
        found = []
        for reader in readers:
            for one in self._stated(reader):
                if not at_run and (one.source is None or one.source != node.at("")):
                    continue
                made = [] if one.target is None else self.versions.written(reader, one.target)
                for result in made:
                    ahead = [(far, None) for far in (result, *self._columns_of(result))]
                    found.append(Arrival(reader, one, near, result, ahead))
                if not made and near is not None:
                    found.append(Arrival(reader, one, near, None, ()))
        return found

    # -- the answer ----------------------------------------------------------------------------

    def _reach(self, node: NodeId, depth: int) -> None:
        self.graph.add_node(self._labels.get(node, node), depth)

    def _record(self, arrival: Arrival, depth: int) -> None:
        group = self.groups.get(arrival.group)
        source, target, key = arrival.source, arrival.target, arrival.statement.key
        ground = Ground(key, arrival.group)
        for gap in self.groups.gaps_of([arrival.group]):
            self.graph.add_gap(gap)
        for node in (source, target):
            if node is not None:
                self._reach(node, depth)
        if source is not None and target is not None:
            self._add_edge(source, target, key[2], key[3], ground)
        run = group.run
        if run is None:
            return
        self._reach(run, depth)
        if source is not None:
            self._add_edge(source, run, "reads", group.job, ground)
        if target is not None:
            self._add_edge(run, target, "writes", group.job, ground)

    def _add_edge(
        self, source: NodeId, target: NodeId, kind: str, job: NodeId | None, ground: Ground
    ) -> None:
        ends = (self._labels.get(source, source), self._labels.get(target, target))
        self.graph.add_edge(*ends, kind, job, ground)

    def _note_uncovered(self) -> None:
        """Name the datasets of the answer whose columns a run passed on without telling how."""
        homes = {node.dataset for node in self.graph.nodes}
        for source, target, job in self._uncovered:
            for home in (source, target):
                if home in homes:
                    detail = f"no columns recorded from {source} to {target} by {job}"
                    self.graph.add_gap(Gap(str(home), "capture", detail))
                    break

    def _add_parents(self) -> None:
        """Join runs of the answer whose parent run is in it, too."""
        if not self.groups.has_parents:
            return
        runs = {node.name for node in self.graph.nodes if node.kind == "run"}
        for run in sorted(runs):
            numbers = self.view.groups_of_run(run)
            sql = (
                f"SELECT p.group_id, p.parent_run FROM parent p WHERE p.group_id {_AMONG}"
                f" AND {self.view.rectangle('p')}"
            )
            for number, parent in self.view.select_among(sql, numbers):
                if parent in runs and parent != run:
                    ends = (NodeId("run", "", parent), NodeId("run", "", run))
                    self.graph.add_edge(*ends, "parent", None, Ground(None, number))


class Versions:
    """Who wrote and who read which version, at the question's moment."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.view = groups.view
        self._writes: dict[NodeId, list[Written]] = {}
        self._reads: dict[int, dict[NodeId, list[str | None]]] = {}
        self._written: dict[int, dict[NodeId, set[str]]] = {}
        self._readers: dict[NodeId, dict[str, list[int]]] = {}

    def load(self, numbers: Iterable[int]) -> None:
        """Fetch reads and writes of groups."""
        missing = {number for number in numbers if number not in self._reads}
        if not missing:
            return
        for number in missing:
            self._reads[number] = defaultdict(list)
            self._written[number] = defaultdict(set)
        sql = (
            f"SELECT r.group_id, r.node_id, r.version FROM read r WHERE r.group_id {_AMONG}"
            f" AND {self.view.rectangle('r')}"
        )
        rows = list(self.view.select_among(sql, missing))
        names = self.view.canonical_names({row[1] for row in rows})
        for group, node, version in rows:
            self._reads[group][names[node]].append(version)
        sql = (
            f'SELECT w.group_id, w.node_id, w.version FROM "write" w WHERE w.group_id {_AMONG}'
            f" AND {self.view.rectangle('w')}"
        )
        rows = list(self.view.select_among(sql, missing))
        names = self.view.canonical_names({row[1] for row in rows})
        for group, node, version in rows:
            self._written[group][names[node]].add(version)

    def writes_of(self, home: NodeId) -> list[Written]:
        """List the writes of a canonical node, the future left out; other segments' among them."""
        own, foreign = self.own_writes_of(home), self.groups.foreign_writes
        return own if foreign is None else sorted([*own, *foreign(home)])

    def own_writes_of(self, home: NodeId) -> list[Written]:
        """List the writes of a canonical node by groups of this segment."""
        if home not in self._writes:
            self.load_writes([home])
        return self._writes[home]

    def load_writes(self, homes: Iterable[NodeId]) -> None:
        """Fetch the writes of canonical nodes."""
        missing = {home for home in homes if home not in self._writes}
        numbers = {number: home for home in missing for number in self.view.members(home)}
        for home in missing:
            self._writes[home] = []
        sql = (
            'SELECT w.node_id, w.time_us, w.version, w.group_id FROM "write" w'
            f" JOIN run_group g USING (group_id) WHERE w.node_id {_AMONG}"
            f" AND g.future = 0 AND {self.view.rectangle('w')}"
        )
        for node, time_us, version, group in self.view.select_among(sql, numbers):
            self._writes[numbers[node]].append(Written(time_us, version, (), group))
        for home in missing:
            self._writes[home].sort()
        # A group has to be looked at only where two writes are of one time and version, or where
        # writes of other segments may come between.
        tied = [home for home in missing if self._has_ties(self._writes[home])]
        groups = self.groups.load(one.group for home in tied for one in self._writes[home])
        for home in tied:
            self._writes[home] = sorted(
                one._replace(tie=groups[one.group].tie) for one in self._writes[home]
            )

    def _has_ties(self, writes: Sequence[Written]) -> bool:
        if self.groups.foreign_writes is not None:
            return True
        return any(one[:2] == other[:2] for one, other in pairwise(writes))

    def writers(self, node: NodeId, start_us: int | None) -> list[Place]:
        """List who wrote a version: the last at or before a reader's start, else everyone."""
        writes = [one for one in self.writes_of(node.dataset) if one.version == node.version]
        before = [one for one in writes if start_us is not None and one.time_us <= start_us]
        own = [one.group for one in before[-1:] or writes if one.group != FOREIGN]
        return [(node, group) for group in own] or [(node, None)]

    def written(self, number: int, node: NodeId) -> list[NodeId]:
        """List the versions of a node that a group wrote."""
        self.load([number])
        versions = self._written[number].get(node.dataset, ())
        return sorted(node.at(version) for version in versions)

    def all_written(self, number: int) -> list[NodeId]:
        """List every version that a group wrote."""
        self.load([number])
        made = self._written[number].items()
        return sorted(home.at(version) for home, versions in made for version in versions)

    def homes_read(self, number: int) -> list[NodeId]:
        """List every canonical node that a group read."""
        self.load([number])
        return sorted(self._reads[number])

    def read_version(self, group: Group, node: NodeId) -> str | None:
        """Give the version of a node that a group read; resolved if it did not state one."""
        stated = self.stated_read(group, node)
        if stated is not None:
            return stated
        return _resolve(group, self.writes_of(node.dataset))

    def stated_read(self, group: Group, node: NodeId) -> str | None:
        """Give the version that a group itself says it read; a deployment does without a run."""
        self.load((group.number,))
        stated = self._reads[group.number].get(node.dataset)
        if stated is None:
            return None
        return max((version for version in stated if version is not None), default=None)

    def readers(self, node: NodeId) -> list[int]:
        """List the groups that read a version."""
        home = node.dataset
        if home not in self._readers:
            self.load_readers([home])
        return self._readers[home].get(node.version, [])

    def load_readers(self, homes: Iterable[NodeId]) -> None:
        """Find which groups read which version of canonical nodes."""
        missing = {home for home in homes if home not in self._readers}
        if not missing:
            return
        by_number = {number: home for home in missing for number in self.view.members(home)}
        sql = (
            f"SELECT r.node_id, r.group_id, r.version FROM read r WHERE r.node_id {_AMONG}"
            f" AND {self.view.rectangle('r')}"
        )
        # What each group itself says it read of each node; all else of the groups is not needed.
        stated: dict[NodeId, dict[int, str | None]] = {home: {} for home in missing}
        for node, number, version in self.view.select_among(sql, by_number):
            versions = stated[by_number[node]]
            known = versions.get(number)
            if known is None or (version is not None and version > known):
                versions[number] = version
        groups = self.groups.load(set[int]().union(*stated.values()))
        self.load_writes(missing)
        for home, versions in stated.items():
            readers = self._readers[home] = defaultdict(list)
            writes = self.writes_of(home)
            for number in sorted(versions):
                version = versions[number]
                if version is None:
                    version = _resolve(groups[number], writes)
                readers[version or ""].append(number)


def _resolve(group: Group, writes: Sequence[Written]) -> str | None:
    """Give the version of an input that its group does not state: the last written before it."""
    end = bisect_right(writes, group.start_us, key=_TIME)
    for one in reversed(writes[:end]):
        if one.group != group.number:
            return one.version
    # Nothing was there before: what the run read is what it wrote itself.
    own = [one.version for one in writes if one.group == group.number]
    return own[-1] if own else None


def newest_version(groups: Groups, node: NodeId) -> str | None:
    """Give the version of the latest write in event time, else of the latest stated read."""
    return newest_versions(groups, [node]).get(node)


def newest_versions(groups: Groups, nodes: Collection[NodeId]) -> dict[NodeId, str]:
    """Give the newest versions of canonical nodes, those that have one, in few statements.

    Of a node's writes only the last is read: some have a hundred thousand.
    """
    found: dict[NodeId, tuple[int, str]] = {}
    view = groups.view
    numbers = {number: node for node in nodes for number in view.members(node)}
    last = (
        '(SELECT w.{} FROM "write" w JOIN run_group g USING (group_id) WHERE w.node_id = n.node_id'
        f" AND g.future = 0 AND {view.rectangle('w')}"
        " ORDER BY w.time_us DESC, w.version DESC LIMIT 1)"
    )
    sql = (
        f"SELECT n.node_id, {last.format('time_us')}, {last.format('version')} FROM node n"
        f" WHERE n.node_id {_AMONG}"
    )
    for number, time_us, version in view.select_among(sql, numbers):
        if version is not None:
            _keep_later(found, numbers[number], (time_us, version))
    if groups.foreign_writes is not None:
        for node in nodes:
            for one in groups.foreign_writes(node):
                _keep_later(found, node, (one.time_us, one.version))
    unwritten = [number for number, node in numbers.items() if node not in found]
    sql = (
        "SELECT r.node_id, s.start_us, r.version FROM read r JOIN run_group g USING (group_id)"
        f" JOIN run_state s USING (group_id) WHERE r.node_id {_AMONG} AND r.version IS NOT NULL"
        f" AND g.future = 0 AND {view.rectangle('r')} AND {view.rectangle('s')}"
    )
    for number, time_us, version in view.select_among(sql, unwritten):
        _keep_later(found, numbers[number], (time_us, version))
    return {node: version for node, (_, version) in found.items()}


def _keep_later(found: dict[NodeId, tuple[int, str]], node: NodeId, one: tuple[int, str]) -> None:
    if node not in found or found[node] < one:
        found[node] = one

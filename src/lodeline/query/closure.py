"""Job level: closures over derivations between unversioned nodes, frontier by frontier from SQL.

A traversal walks derivations. `reads` and `writes` edges and job nodes are projections of the
derivations that reach the root, so a job that ran A→X and later B→Y never makes B upstream of X.
With columns, derivations between columns are walked; what leaves or enters a column's dataset
without recorded columns is named as a gap, not guessed.

Roots with a version, and runs, models and deployments, are `versions`' matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from lodeline.model import NodeId
from lodeline.query.answers import DerivationKey, Gap, Graph, Ground
from lodeline.query.bounds import Budget
from lodeline.query.describing import Describer
from lodeline.query.groups import Groups, Said

_AMONG = "IN (SELECT value FROM json_each(:ids))"


class JobWalk:
    """One closure at one moment.

    Args:
        groups: the question's view of groups.
        root: canonical, without version.
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
        # Canonical derivation -> its rows as asserted under any of the names.
        self.rows: dict[DerivationKey, set[int]] = defaultdict(set)
        # What single groups said; no edge between jobs stands on that.
        self.said: dict[Ground, list[Said]] = {}
        self._labels: dict[NodeId, NodeId] = {}
        self._covered: dict[NodeId, set[tuple[NodeId, NodeId | None]]] = {}

    def run(self) -> Graph:
        """Walk every direction asked for."""
        self._reach(self.graph.root, 0)
        start = self._start()
        directions = ("up", "down") if self.graph.direction == "both" else (self.graph.direction,)
        for direction in directions:
            self._walk(start, direction)
        self._note_gaps()
        self._add_parents()
        return self.graph

    def _start(self) -> list[NodeId]:
        root = self.graph.root
        if root.kind == "feature":
            columns = self._columns_of_feature(root)
            self._labels = dict.fromkeys(columns, root)
            return columns
        if self.columns and root.kind == "dataset":
            return [root, *self.view.fields_of(root)]
        return [root]

    def _columns_of_feature(self, feature: NodeId) -> list[NodeId]:
        rows = self.view.select_among(
            f"SELECT f.field_node FROM feature f WHERE f.feature_node {_AMONG}"
            f" AND {self.view.rectangle('f')}",
            self.view.members(feature),
        )
        return sorted(set(self.view.canonical_names({row[0] for row in rows}).values()))

    def _walk(self, start: Sequence[NodeId], direction: str) -> None:
        level = list(start)
        seen = set(level)
        depth = 0
        while level:
            for node in level:
                self._reach(node, depth)
            passed = self.budget.exhausted_by(len(self.graph.nodes))
            if passed is not None:
                self.graph.add_gap(Gap(str(self.graph.root), *passed))
                return
            ahead: set[NodeId] = set()
            for node, keys in self._incident(level, direction).items():
                if depth == self.depth:
                    at = self._labels.get(node, node)
                    detail = f"derivations beyond depth {self.depth}"
                    self.graph.add_gap(Gap(str(at), "depth", detail))
                    continue
                for key in keys:
                    self._record(key, depth + 1, via_job=node.kind == "job", direction=direction)
                    far = key[0] if direction == "up" else key[1]
                    if far is not None:
                        ahead.add(far)
            if self.columns:
                homes = [node for node in ahead if node.kind == "dataset"]
                ahead.update(field for home in homes for field in self.view.fields_of(home))
            level = sorted(ahead - seen)
            seen |= ahead
            depth += 1

    def _incident(
        self, level: Sequence[NodeId], direction: str
    ) -> dict[NodeId, list[DerivationKey]]:
        """Find the derivations that enter (up) or leave (down) each node of a level."""
        near, far = ("target", "source") if direction == "up" else ("source", "target")
        numbers = {number for node in level for number in self.view.members(node)}
        found: dict[NodeId, dict[DerivationKey, None]] = defaultdict(dict)
        if level[0].kind == "job":
            # Derivations end at data, never at jobs: a job is a near end only as the root.
            for key in self._select(f"d.job {_AMONG} AND d.{far} IS NOT NULL", numbers):
                found[level[0]][key] = None
        else:
            for key in self._select(f"d.{near} {_AMONG}", numbers):
                end = key[1] if direction == "up" else key[0]
                assert end is not None
                found[end][key] = None
        if self.columns:
            self._add_whole(level, direction, found)
        if self._only_current:
            self._describer.learn(self.rows)
            stale = self._describer.find_stale({key for keys in found.values() for key in keys})
            found = {
                node: {key: None for key in keys if key not in stale}
                for node, keys in found.items()
            }
        return {node: list(keys) for node, keys in found.items() if keys}

    def _select(
        self, condition: str, numbers: Iterable[int], *, columns: bool | None = None
    ) -> list[DerivationKey]:
        columns = self.columns if columns is None else columns
        rows = list(
            self.view.select_among(
                "SELECT d.derivation_id, d.source, d.target, d.kind, d.job FROM derivation d"
                f" WHERE {condition} AND d.columns = {int(columns)} AND EXISTS"
                " (SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id"
                f" AND {self.view.rectangle('a')})",
                numbers,
            )
        )
        ends = {row[i] for row in rows for i in (1, 2, 4) if row[i] is not None}
        names = self.view.canonical_names(ends)
        found: dict[DerivationKey, None] = {}
        for number, source, target, kind, job in rows:
            key = (names.get(source), names.get(target), kind, names.get(job))
            self.rows[key].add(number)
            found[key] = None
        return list(found)

    def _add_whole(
        self,
        level: Sequence[NodeId],
        direction: str,
        found: dict[NodeId, dict[DerivationKey, None]],
    ) -> None:
        """Add derivations between whole nodes where an end has no columns; else note the gap."""
        near, far = ("target", "source") if direction == "up" else ("source", "target")
        by_home: dict[NodeId, list[DerivationKey]] = defaultdict(list)
        homes = {node.dataset for node in level if node.kind != "job"}
        numbers = {number for home in homes for number in self.view.members(home)}
        condition = f"d.{near} {_AMONG} AND d.{far} IS NOT NULL"
        for key in self._select(condition, numbers, columns=False):
            home = key[1] if direction == "up" else key[0]
            assert home is not None
            by_home[home].append(key)
        for node in level:
            for key in by_home[node.dataset]:
                source, target, _, job = key
                assert source is not None
                assert target is not None
                kinds = {source.kind, target.kind}
                if "dataset" in kinds and (target, job) in self._covered_from(source):
                    continue
                if kinds != {"dataset"}:
                    found[node][key] = None
                else:
                    detail = f"no columns recorded from {source} to {target} by {job}"
                    self.graph.add_gap(Gap(str(node.dataset), "capture", detail))

    def _covered_from(self, source: NodeId) -> set[tuple[NodeId, NodeId | None]]:
        """Give the (target, job) that columns of a dataset are known to flow to."""
        known = self._covered.get(source)
        if known is None:
            fields = self.view.fields_of(source) if source.kind == "dataset" else []
            numbers = {number for field in fields for number in self.view.members(field)}
            condition = f"d.source {_AMONG} AND d.target IS NOT NULL"
            keys = self._select(condition, numbers, columns=True)
            known = {(key[1].dataset, key[3]) for key in keys if key[1] is not None}
            self._covered[source] = known
        return known

    def _reach(self, node: NodeId, depth: int) -> None:
        self.graph.add_node(self._labels.get(node, node), depth)

    def _record(self, key: DerivationKey, depth: int, *, via_job: bool, direction: str) -> None:
        """Put a derivation and its projections into the answer."""
        source, target, kind, job = key
        for node in (source, target, job):
            near = target if direction == "up" else source
            if node is not None and not (via_job and node == near):
                self._reach(node, depth)
        if source is not None and target is not None and not via_job:
            self._add_edge(source, target, kind, job, key)
        if job is None:
            return
        if source is not None and not (via_job and direction == "down"):
            self._add_edge(source, job, "reads", job, key)
        if target is not None and not (via_job and direction == "up"):
            self._add_edge(job, target, "writes", job, key)

    def _add_edge(
        self, source: NodeId, target: NodeId, kind: str, job: NodeId | None, key: DerivationKey
    ) -> None:
        ends = (self._labels.get(source, source), self._labels.get(target, target))
        self.graph.add_edge(*ends, kind, job, Ground(key))

    def _note_gaps(self) -> None:
        """Note what the newest capture of each derivation knows that it did not see."""
        if not self.groups.has_gaps:
            return
        grounds = {ground for edge in self.graph.edges.values() for ground in edge.grounds}
        for key in {ground.derivation for ground in grounds if ground.derivation is not None}:
            said = self.groups.said_of(self.rows[key])
            groups = self.groups.load(one.group for some in said.values() for one in some)
            newest = max(groups.values(), key=lambda group: group.order)
            for gap in self.groups.gaps_of([newest.number]):
                self.graph.add_gap(gap)

    def _add_parents(self) -> None:
        """Join jobs whose runs name another job of the answer as their parent."""
        jobs = {node for node in self.graph.nodes if node.kind == "job"}
        numbers = {number: job for job in jobs for number in self.view.members(job)}
        for number, parents in self.groups.parents_of(numbers).items():
            names = self.view.names({parent for _, _, parent in parents})
            for group, _, parent in parents:
                above, job = names[parent], numbers[number]
                if above in jobs and above != job:
                    self.graph.add_edge(above, job, "parent", None, Ground(None, group))

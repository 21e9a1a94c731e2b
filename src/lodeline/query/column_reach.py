"""Column reach: a closure between columns, walked on the graph index.

The same closure as `closure.JobWalk` gives with columns, as numbers: derivations of which a column
is an end are walked, level by level, as arrays. Where an end has no columns (a model, a deployment)
the walk goes on over derivations between whole nodes; where columns of two datasets were not
recorded, that is a gap. A whole node is asked about at both levels.

Needs numpy (extra `server`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from lodeline.limits import ALIASED_COLUMNS_MAX
from lodeline.model import NodeId
from lodeline.query.answers import Gap
from lodeline.query.asking import Inquiry
from lodeline.query.bounds import Budget
from lodeline.query.compressed import Array
from lodeline.query.graph_index import IndexedGraph, index_of
from lodeline.query.parameters import GraphQuestion
from lodeline.query.reach import READS, WHOLE, WRITES, Reach, ReachWalk, Step, StoredSteps
from lodeline.query.sweep import Filtering, Sweep
from lodeline.query.view import View

_AMONG = "IN (SELECT value FROM json_each(:ids))"
_NOTHING: Array = np.zeros(0, dtype=np.int64)


def find_column_reach(
    inquiry: Inquiry, root: NodeId, question: GraphQuestion, *, direction: str
) -> Reach | None:
    """Walk between columns, and for a whole node between whole nodes, too.

    Args:
        inquiry: under way.
        root: canonical, without version.
        question: with depth and status.
        direction: `up`, `down` or `both`.

    Returns:
        The closure; `None` where SQL has to walk: there is no index, the snapshot has no columns,
        too many columns have other names, what ended is passed over, or a feature is asked about
        where nodes have aliases.
    """
    graph = index_of(inquiry.segment).at(inquiry.view)
    if graph is None or not len(graph.homes.home):
        return None
    only_current = question.status == "current"
    reach = Reach(inquiry.groups, root, direction)
    if only_current and reach.judge.currency.has_endings:
        return None
    if inquiry.view.has_aliases:
        named = _name_columns(inquiry.view)
        if named is None or root.kind == "feature":
            return None
        goes_by, reach.labels = named
        graph.stand_for(goes_by)
    walk = ColumnReachWalk(
        reach, graph, depth=question.depth, budget=inquiry.budget, only_current=only_current
    )
    return walk.run()


def _name_columns(view: View) -> tuple[dict[int, int], dict[int, NodeId]] | None:
    """Tell by which column each column of datasets with aliases goes; `None` where they are many.

    Returns:
        Column -> the one it goes by, and the names of those that no node has.
    """
    datasets = view.alias_map() or {}
    rows: list[tuple[int, int, str, str, str]] = []
    sql = (
        "SELECT d.node_id, n.node_id, n.namespace, n.name, n.part FROM node d JOIN node n"
        " ON n.kind = 'datasetField' AND n.namespace = d.namespace AND n.name = d.name"
        f" WHERE d.kind = 'dataset' AND d.node_id {_AMONG}"
    )
    for row in view.select_among(sql, datasets):
        rows.append(row)
        if len(rows) > ALIASED_COLUMNS_MAX:
            return None
    least = {
        home: min(name[1:3] for name in view.names(view.component(home)).values())
        for home in {row[0] for row in rows}
    }
    by_name: dict[NodeId, list[tuple[tuple[str, str], int]]] = {}
    for home, column, namespace, name, part in rows:
        known_as = NodeId("datasetField", *least[home], part)
        by_name.setdefault(known_as, []).append(((namespace, name), column))
    goes_by: dict[int, int] = {}
    labels: dict[int, NodeId] = {}
    for known_as, columns in by_name.items():
        # The least name is the canonical one, where a node has it.
        called, first = min(columns)
        goes_by.update((column, first) for _, column in columns)
        if called != known_as[1:3]:
            labels[first] = known_as
    return goes_by, labels


class _Found(NamedTuple):
    """Derivations of one level of a walk: indexes into the snapshot, and what came since."""

    edges: Array
    steps: list[tuple[int, Step]]


class ColumnReachWalk(ReachWalk):
    """Walks a closure between columns; see the module.

    Args:
        reach: to fill.
        graph: at the question's moment; columns that have other names go by one already.
        depth: derivations to walk; `None` for all.
        budget: bounds of time and size.
        only_current: whether stale derivations are passed over.
    """

    def __init__(
        self,
        reach: Reach,
        graph: IndexedGraph,
        *,
        depth: int | None,
        budget: Budget,
        only_current: bool,
    ) -> None:
        self._stored = StoredSteps(reach.view)
        super().__init__(
            reach,
            self._stored,
            depth=depth,
            budget=budget,
            only_current=only_current,
            index=lambda: graph,
        )
        self._graph = graph
        self._jobs: set[int] = set()
        self._homes = _Homes(graph)

    def run(self) -> Reach:
        """Walk every direction asked for, between whole nodes first where one is asked about."""
        reach = self.reach
        is_column = reach.root.kind in {"datasetField", "feature"}
        root = self._number_of_root()
        reach.depths[root] = 0
        sweep = reach.sweep = Sweep(self._graph)
        directions = ("up", "down") if reach.direction == "both" else (reach.direction,)
        for direction in () if is_column else directions:
            self._walk(root, direction)
        whole_jobs = set[int]() if is_column else reach.jobs()
        for direction in directions:
            self._walk_columns(root, direction)
        sweep.settle(reach.depths)
        self._note_gaps()
        # Runs of jobs that only one level has are not joined with those of the other.
        for jobs in (whole_jobs, self._jobs):
            self._find_parents(jobs)
        reach.parents = list(dict.fromkeys(reach.parents))
        return reach

    def _number_of_root(self) -> int:
        root, view = self.reach.root, self.view
        if root.kind != "datasetField":
            return view.number_of(root)
        return self._graph.canonical_of(view.members(root)[0])

    def _start(self, root: int) -> set[int]:
        """Give what the walk starts from: canonical nodes."""
        node, view, graph = self.reach.root, self.view, self._graph
        if node.kind == "feature":
            rows = view.select_among(
                f"SELECT f.field_node FROM feature f WHERE f.feature_node {_AMONG}"
                f" AND {view.rectangle('f')}",
                [root],
            )
            # They go by the feature from here on.
            columns = {row[0] for row in rows}
            self._homes.learn(columns)
            graph.stand_for(dict.fromkeys(columns, root))
            return {root}
        if node.kind == "dataset":
            return {root, *self._columns_of([root])}
        if node.kind == "datasetField":
            self._homes.learn(view.members(node))
        return {root}

    def _columns_of(self, datasets: Collection[int]) -> set[int]:
        """Give the columns, known at the moment, of canonical datasets."""
        view, graph = self.view, self._graph
        rows = view.select_among(
            "SELECT n.node_id, d.node_id FROM node d JOIN node n ON n.kind = 'datasetField'"
            " AND n.namespace = d.namespace AND n.name = d.name"
            f" WHERE d.kind = 'dataset' AND d.node_id {_AMONG} AND {view.known('n')}",
            view.members_among(datasets),
        )
        found = dict(rows)
        self._homes.take(found)
        return {graph.canonical_of(column) for column in found}

    def _canonically(self, found: Iterable[tuple[int, Step]]) -> list[tuple[int, Step]]:
        if self._graph.canonical is None:
            return list(found)
        find = self._graph.canonical_of
        return [
            (number, Step(source and find(source), target and find(target), kind, job))
            for number, (source, target, kind, job) in found
        ]

    def _walk_columns(self, root: int, direction: str) -> None:
        """Walk one direction."""
        # A gap stands at the near end, which is another one upward than downward.
        self._homes.told.clear()
        level = self._start(root)
        seen = set(level)
        depth = 0
        if self.reach.root.kind == "job":
            self._jobs.add(root)
            far, part = ("source", READS) if direction == "up" else ("target", WRITES)
            found = [
                one
                for one in self._stored.incident([root], "job", columns=True)
                if getattr(one[1], far) is not None
            ]
            found = self._current(self._canonically(found))
            if depth == self._depth:
                self._note_depth([root] if found else [])
                return
            depth = 1
            level = self._take(found, part, direction, depth)
            level |= self._columns_of(self._homes.datasets_among(level))
            seen |= level
        if level:
            self._sweep_columns(level, seen, direction, depth)

    def _sweep_columns(self, level: set[int], seen: set[int], direction: str, depth: int) -> None:
        graph, sweep = self._graph, self.reach.sweep
        assert sweep is not None
        marks = _Marks(graph.level.node_count, seen)
        nodes = np.fromiter(level, dtype=np.int64, count=len(level))
        while len(nodes):
            sweep.reach(nodes, depth)
            if self._is_exhausted(sweep.node_count, sweep.edge_count + len(self.reach.steps)):
                return
            members = graph.members(nodes)
            between = self._filtered(_Found(*graph.hop(members, direction, columns=True)))
            across = self._filtered(self._find_across(members, direction))
            if depth == self._depth:
                near = self._ends(between, direction, near=True)
                homes = self._ends(across, direction, near=True)
                of_homes = np.isin(graph.name_canonically(self._homes.of(members)), homes)
                beyond = np.concatenate([near, graph.name_canonically(members[of_homes])])
                self._note_depth(set(beyond.tolist()) & set(nodes.tolist()))
                return
            depth += 1
            # Of a derivation between whole nodes, its near end was not reached by its columns.
            sweep.reach(self._ends(across, direction, near=True), depth)
            ahead = []
            for found in (between, across):
                sweep.take(found.edges, depth)
                self._take(self._canonically(found.steps), WHOLE, direction, depth)
                self._jobs.update(np.unique(graph.level.job[found.edges]).tolist())
                self._jobs.update(step.job or 0 for _, step in found.steps)
                ahead.append(self._ends(found, direction, near=False))
            nodes = marks.fresh(np.concatenate(ahead))
            datasets = self._homes.datasets_among(nodes.tolist())
            if datasets:
                columns = np.fromiter(self._columns_of(datasets), dtype=np.int64)
                nodes = np.concatenate([nodes, marks.fresh(columns)])
        self._jobs.discard(0)

    def _filtered(self, found: _Found) -> _Found:
        filtering: Filtering | None = self._filtering()
        sweep = self.reach.sweep
        if filtering is None or sweep is None:
            return found
        return _Found(*sweep.filtered(found.edges, found.steps, filtering))

    def _ends(self, found: _Found, direction: str, *, near: bool) -> Array:
        """Give the canonical ends of derivations that lie one way; not those that are lacking."""
        level, place = self._graph.level, int((direction == "up") == near)
        ends = (level.source, level.target)[place][found.edges].astype(np.int64)
        came = [step[place] or 0 for _, step in found.steps]
        ends = np.concatenate([ends, np.array(came, dtype=np.int64)])
        return self._graph.name_canonically(ends[ends > 0])

    def _find_across(self, members: Array, direction: str) -> _Found:
        """Find derivations between whole nodes where an end has no columns.

        Those between two datasets whose columns were not recorded are gaps.
        """
        graph, homes = self._graph, self._homes
        near = np.unique(graph.name_canonically(homes.of(members)))
        edges, steps = graph.hop(graph.members(near[near > 0]), direction)
        level = graph.level
        edges = edges[(level.source[edges] > 0) & (level.target[edges] > 0)]
        steps = [one for one in steps if one[1].source and one[1].target]
        canonical = graph.name_canonically
        ends = [
            [*canonical(level.source[edges].astype(np.int64)).tolist()],
            [*canonical(level.target[edges].astype(np.int64)).tolist()],
            [*level.job[edges].tolist()],
        ]
        for _, step in self._canonically(steps):
            for column, end in zip(ends, (step.source, step.target, step.job), strict=True):
                column.append(end or 0)
        kept = self._judge_whole(list(zip(*ends, strict=True)), direction)
        count = len(edges)
        return _Found(
            edges[np.array(kept[:count], dtype=np.bool_)],
            [one for one, keep in zip(steps, kept[count:], strict=True) if keep],
        )

    def _judge_whole(self, found: list[tuple[int, int, int]], direction: str) -> list[bool]:
        """Tell which derivations between whole nodes the walk takes; note the gaps of others."""
        homes = self._homes
        datasets = homes.datasets_among({end for one in found for end in one[:2]})
        homes.cover({one[0] for one in found} & datasets)
        kept: list[bool] = []
        bare: dict[tuple[int, int, int], None] = {}
        for one in found:
            count = (one[0] in datasets) + (one[1] in datasets)
            covered = count > 0 and one in homes.covered
            kept.append(count < 2 and not covered)
            if count == 2 and not covered and one not in homes.told:
                bare[one] = None
        homes.told |= bare.keys()
        names = self.reach.names({number for one in bare for number in one if number})
        for source, target, job in bare:
            at = target if direction == "up" else source
            detail = (
                f"no columns recorded from {names[source]} to {names[target]} by {names.get(job)}"
            )
            self.reach.add_gap(Gap(str(names[at]), "capture", detail))
        return kept


class _Homes:
    """The datasets of columns, and which of their derivations columns were recorded for.

    Args:
        graph: of the question.
    """

    def __init__(self, graph: IndexedGraph) -> None:
        self._graph = graph
        self._home = graph.homes.home
        self._dataset = graph.homes.dataset
        # What the snapshot does not tell: of columns that came since, or have no derivations.
        self._more: dict[int, int] = {}
        self._more_columns = self._more_homes = _NOTHING
        self._asked: set[int] = set()
        # (source, target, job) by canonical numbers, 0 for no job.
        self.covered: set[tuple[int, int, int]] = set()
        # The same, of derivations whose gaps are noted in this direction.
        self.told: set[tuple[int, int, int]] = set()
        # In the words of the level: what came since covers by itself.
        came = graph.laid_over(columns=True)
        self.learn({end for step in came for end in step[:2] if end is not None})
        for step in came:
            ends = np.array([step.source or 0, step.target or 0], dtype=np.int64)
            source, target = graph.name_canonically(self.of(ends)).tolist()
            self.covered.add((source, target, step.job or 0))

    def learn(self, columns: Collection[int]) -> None:
        """Look up the datasets of columns that the snapshot may not tell of."""
        self.take(self._graph.homes_among(columns))

    def take(self, homes: Mapping[int, int]) -> None:
        """Take up datasets by column."""
        if homes.items() <= self._more.items():
            return
        self._more |= homes
        self._more_columns = np.array(sorted(self._more), dtype=np.int64)
        self._more_homes = np.array([self._more[n] for n in sorted(self._more)], dtype=np.int64)

    def of(self, nodes: Array) -> Array:
        """Give the dataset of each node that is a column, 0 where there is none; others' own."""
        found = nodes.astype(np.int64)
        within = nodes < len(self._home)
        found[within] = self._home[nodes[within]]
        if len(self._more_columns):
            places = np.searchsorted(self._more_columns, nodes)
            places = np.minimum(places, len(self._more_columns) - 1)
            hit = self._more_columns[places] == nodes
            found[hit] = self._more_homes[places[hit]]
        return found

    def datasets_among(self, nodes: Collection[int]) -> set[int]:
        """Give those of some nodes that are datasets."""
        count = len(self._dataset)
        asked = np.fromiter(nodes, dtype=np.int64, count=len(nodes))
        within = asked[asked < count]
        found = set(within[self._dataset[within]].tolist())
        later = asked[asked >= count].tolist()
        return (
            found | set(self._graph.view.numbers_of_kinds(later, ["dataset"])) if later else found
        )

    def cover(self, sources: Collection[int]) -> None:
        """Find out where columns of canonical datasets flow to."""
        fresh = set(sources) - self._asked
        if not fresh:
            return
        self._asked |= fresh
        graph = self._graph
        datasets = graph.members(np.fromiter(fresh, dtype=np.int64, count=len(fresh)))
        columns = graph.homes.columns_of(datasets)
        edges, _ = graph.hop(columns, "down", columns=True)
        level, canonical = graph.level, graph.name_canonically
        edges = edges[level.target[edges] > 0]
        ends = [canonical(self.of(end[edges])) for end in (level.source, level.target)]
        self.covered.update(
            zip(*(end.tolist() for end in ends), level.job[edges].tolist(), strict=True)
        )


class _Marks:
    """Which nodes a walk has seen.

    Args:
        count: of nodes, at least.
        seen: already.
    """

    def __init__(self, count: int, seen: Collection[int]) -> None:
        self._marks: Array = np.zeros(max(count, *seen) + 1, dtype=np.bool_)
        self._marks[list(seen)] = True

    def fresh(self, nodes: Array) -> Array:
        """Give each node that was not seen, once; it is seen then."""
        greatest = int(nodes.max(initial=0))
        if greatest >= len(self._marks):
            more: Array = np.zeros(greatest + 1, dtype=np.bool_)
            self._marks = np.concatenate([self._marks, more])
        fresh = nodes[~self._marks[nodes]]
        self._marks[fresh] = True
        return np.unique(fresh) if len(fresh) else fresh

"""Sweep: the part of a closure that was walked on the graph index, as arrays.

A closure begins in SQL; where a level grows large, the rest of that direction is swept. What a page
shows is spelled out of the arrays; the rest is never named.

Needs numpy (extra `server`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lodeline.query.compressed import Array
from lodeline.query.graph_index import IndexedGraph
from lodeline.query.reach import DERIVES, READS, WHOLE, WRITES, Step

# In place of a depth, plus one: not reached. Zeros cost nothing until they are written, and a
# closure of a thousand nodes shall not pay for a graph of millions.
_NOWHERE = 0


class _Derivations(NamedTuple):
    """Derivations as columns.

    Attributes:
        number: row of `derivation`.
        ends: source, target and job; 0 for none.
        kind: place in `kinds`.
        parts: which parts count.
        kinds: in order.
    """

    number: Array
    ends: Sequence[Array]
    kind: Array
    parts: Array
    kinds: Sequence[str]


class Filtering(NamedTuple):
    """What of a walk is passed over.

    Attributes:
        suspects: gives those of some jobs of whose derivations any may be.
        keep: gives those of some derivations that are not.
    """

    suspects: Callable[[set[int]], set[int]]
    keep: Callable[[Iterable[tuple[int, Step]]], list[tuple[int, Step]]]


class Sweep:
    """Nodes with their depths, and derivations, that were reached on the index.

    Args:
        graph: of the question.
    """

    def __init__(self, graph: IndexedGraph) -> None:
        self._graph = graph
        self._depths: Array = np.zeros(graph.level.node_count + 1, dtype=np.int32)
        # Each node reached, once.
        self._nodes: list[Array] = []
        self._place: Array = np.zeros(len(self._depths), dtype=np.int32)
        self._taken: list[Array] = []
        self._edges: Array = np.zeros(0, dtype=np.int64)
        self.node_count = 0
        self.edge_count = 0

    # -- walking -------------------------------------------------------------------------------

    def reach(self, nodes: Array, depth: int) -> None:
        """Take nodes in, at the least depth they are reached at."""
        nodes = nodes[nodes > 0]
        if not len(nodes):
            return
        self._make_room(int(nodes.max()))
        before = self._depths[nodes]
        fresh = self._distinct(nodes[before == _NOWHERE])
        self._nodes.append(fresh)
        self.node_count += len(fresh)
        self._depths[fresh] = depth + 1
        nearer = nodes[before > depth + 1]
        self._depths[nearer] = depth + 1

    def take(self, edges: Array, depth: int) -> None:
        """Take derivations in, with their jobs."""
        self._taken.append(edges)
        self.edge_count += len(edges)
        self.reach(self._graph.level.job[edges], depth)

    def walk(  # the state of a walk that goes on here
        self,
        level: set[int],
        seen: set[int],
        direction: str,
        *,
        depth: int,
        depth_max: int | None,
        take_steps: Callable[[Iterable[tuple[int, Step]], int], None],
        passed: Callable[[int, int], bool],
        filtering: Filtering | None = None,
    ) -> set[int]:
        """Walk on from a level.

        Args:
            level: canonical nodes, not walked yet.
            seen: nodes of this direction, the level among them.
            direction: `up` or `down`.
            depth: of the level.
            depth_max: derivations to walk in all; `None` for all there are.
            take_steps: takes in what the snapshot does not have.
            passed: tells, by nodes and derivations, whether a bound is passed.
            filtering: tells what is passed over; `None` where nothing is.

        Returns:
            Nodes from which more leads on, beyond the depth.
        """
        if self._graph.is_plain and filtering is None:
            remaining = None if depth_max is None else depth_max - depth
            return self._walk_plain(level, seen, direction, depth, remaining, passed)
        graph = self._graph
        marks: Array = np.zeros(max(len(self._depths), *seen) + 1, dtype=np.bool_)
        marks[list(seen)] = True
        nodes = np.fromiter(level, dtype=np.int64, count=len(level))
        while len(nodes):
            self.reach(nodes, depth)
            if passed(self.node_count, self.edge_count):
                break
            edges, steps = graph.hop(graph.members(nodes), direction)
            if filtering is not None:
                edges, steps = self.filtered(edges, steps, filtering)
            if depth == depth_max:
                return self._near_ends(edges, steps, direction)
            depth += 1
            self.take(edges, depth)
            take_steps(steps, depth)
            far = graph.level.source if direction == "up" else graph.level.target
            place = 0 if direction == "up" else 1
            came = [step[place] or 0 for _, step in steps]
            ahead = np.concatenate([far[edges].astype(np.int64), np.array(came, dtype=np.int64)])
            ahead = graph.name_canonically(ahead)
            greatest = int(ahead.max(initial=0))
            self._make_room(greatest)
            if greatest >= len(marks):
                marks = np.concatenate([marks, np.zeros(greatest, dtype=np.bool_)])
            nodes = self._distinct(ahead[~marks[ahead] & (ahead > 0)])
            marks[nodes] = True
        return set()

    def filtered(
        self, edges: Array, steps: list[tuple[int, Step]], filtering: Filtering
    ) -> tuple[Array, list[tuple[int, Step]]]:
        """Leave out what is passed over; most jobs have nothing that may be."""
        jobs = self._graph.level.job[edges]
        behind = filtering.suspects({*jobs.tolist(), *(step.job or 0 for _, step in steps)} - {0})
        if not behind:
            return edges, steps
        doubtful = np.isin(jobs, list(behind))
        # Together: one may be another under other names.
        asked = [*self._graph.steps_at(edges[doubtful]), *steps]
        kept = {number for number, _ in filtering.keep(asked)}
        doubtful[doubtful] = ~np.isin(self._graph.level.number[edges[doubtful]], list(kept))
        return edges[~doubtful], [one for one in steps if one[0] in kept]

    def _walk_plain(  # noqa: PLR0917  # as `walk`
        self,
        level: set[int],
        seen: set[int],
        direction: str,
        depth: int,
        remaining: int | None,
        passed: Callable[[int, int], bool],
    ) -> set[int]:
        graph = self._graph
        rows = graph.level.rows(direction, columns=False)
        count = len(rows.live_ends)
        # Nodes that the snapshot does not have lead nowhere in it.
        within = {node for node in level if node < count}
        self.reach(np.fromiter(level, dtype=np.int64), depth)
        known = {node for node in seen if node < count}
        levels = graph.walker(direction).levels(
            within, seen=known, depth=remaining, stop=lambda nodes: passed(nodes, 0)
        )
        for i, nodes in enumerate(levels):
            self.reach(nodes, depth + i)
            edges = rows.edges[rows.spans(nodes[nodes > 0], live=True)]
            if i == remaining:
                return self._near_ends(edges, [], direction)
            if passed(self.node_count, self.edge_count):
                break
            self.take(edges, depth + i + 1)
        return set()

    def _near_ends(
        self, edges: Array, steps: Iterable[tuple[int, Step]], direction: str
    ) -> set[int]:
        near = self._graph.level.target if direction == "up" else self._graph.level.source
        found = set(self._graph.name_canonically(near[edges]).tolist())
        canonical = self._graph.name_canonically
        place = 1 if direction == "up" else 0
        came = np.array([step[place] or 0 for _, step in steps], dtype=np.int64)
        return (found | set(canonical(came).tolist())) - {0}

    # -- afterwards ----------------------------------------------------------------------------

    def settle(self, depths: Mapping[int, int]) -> None:
        """Take in what was walked elsewhere, and end."""
        for depth in set(depths.values()):
            some = [node for node, other in depths.items() if other == depth]
            self.reach(np.array(some, dtype=np.int64), depth)
        if self._taken:
            edges = np.concatenate(self._taken)
            place: Array = np.zeros(len(self._graph.level.number), dtype=np.int32)
            self._edges = _distinct(edges, place)
            self._taken.clear()
        self._nodes = [np.concatenate(self._nodes)]

    def has(self, node: int) -> bool:
        """Tell whether a node was reached."""
        return node < len(self._depths) and bool(self._depths[node] != _NOWHERE)

    def counts(self) -> dict[int, int]:
        """Give how many nodes stand at each depth."""
        reached = np.bincount(self._depths[self._nodes[0]] - 1)
        return {depth: int(count) for depth, count in enumerate(reached) if count}

    def nodes(self, last: int | None = None) -> dict[int, int]:
        """Give nodes with their depths, those down to a depth."""
        numbers = self._nodes[0]
        depths = self._depths[numbers] - 1
        if last is not None:
            within = depths <= last
            numbers, depths = numbers[within], depths[within]
        return dict(zip(numbers.tolist(), depths.tolist(), strict=True))

    def steps(self, last: int | None = None) -> dict[int, Step]:
        """Give derivations, those of which two ends stand at no more than a depth."""
        return dict(self._graph.steps_at(self._edges_to(last)))

    def _edges_to(self, last: int | None) -> Array:
        edges, level = self._edges, self._graph.level
        if last is not None:
            inside: Array = np.zeros(len(edges), dtype=np.int8)
            for column in (level.source, level.target, level.job):
                ends = self._graph.name_canonically(column[edges])
                self._make_room(int(ends.max(initial=0)))
                found = self._depths[ends]
                inside += (ends > 0) & (found > 0) & (found <= last + 1)
            edges = edges[inside >= 2]
        return edges

    def edges(
        self,
        order: Sequence[int],
        last: int | None,
        *,
        beside: Mapping[int, Step],
        parts: Mapping[int, int],
        within: tuple[int, int],
    ) -> Iterator[tuple[list[int], int, int, str, int | None]]:
        """Give the edges of a page, in order; see `Reach._edges`.

        Args:
            order: nodes shown or before those that are, by their rank.
            last: depth of the last of them.
            beside: derivations that were walked elsewhere.
            parts: which parts of those count.
            within: ranks of which the later end of an edge is.

        Returns:
            For each its derivations, ranks of source and target, kind, and number of the job.
        """
        made = self._derivations(last, beside, parts)
        by_rank = np.array(order, dtype=np.int64)
        source, target, job = (_rank(by_rank, made.ends[i]) for i in range(3))
        width, kinds = len(order), made.kinds
        maker = np.where(job >= 0, job + 1, np.where(made.ends[2] > 0, width + 1 + made.ends[2], 0))
        # Derivations themselves, and the two projections of each.
        reads: Array = np.full(len(source), kinds.index("reads"))
        writes: Array = np.full(len(source), kinds.index("writes"))
        thirds = (
            (DERIVES, source, target, made.kind),
            (READS, source, job, reads),
            (WRITES, job, target, writes),
        )
        chosen = [
            np.flatnonzero((made.parts & part > 0) & (one >= 0) & (other >= 0))
            for part, one, other, _ in thirds
        ]
        some = np.concatenate(chosen)
        near = np.concatenate([one[1][of] for one, of in zip(thirds, chosen, strict=True)])
        far = np.concatenate([one[2][of] for one, of in zip(thirds, chosen, strict=True)])
        kind = np.concatenate([one[3][of] for one, of in zip(thirds, chosen, strict=True)])
        later = np.maximum(near, far)
        keys = np.stack([maker[some], kind, near, far])
        shown = (later >= within[0]) & (later < within[1])
        keys, some = keys[:, shown], some[shown]
        sorted_by = np.lexsort(keys)
        keys, some = keys[:, sorted_by], some[sorted_by]
        first: Array = np.ones(len(some), dtype=np.bool_)
        first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
        starts = np.flatnonzero(first)
        numbers = made.number[some].tolist()
        jobs = made.ends[2][some[starts]].tolist()
        bounds = [*starts.tolist(), len(numbers)]
        _, kind_at, near_at, far_at = keys[:, starts].tolist()
        columns = zip(bounds, bounds[1:], near_at, far_at, kind_at, jobs, strict=False)
        for start, stop, one, other, of_kind, by in columns:
            yield numbers[start:stop], one, other, kinds[of_kind], by or None

    def _derivations(
        self, last: int | None, beside: Mapping[int, Step], parts: Mapping[int, int]
    ) -> _Derivations:
        graph, edges = self._graph, self._edges_to(last)
        level, swept = graph.level, graph.level.number[edges]
        others: Array = np.fromiter(beside, dtype=np.int64, count=len(beside))
        others = others[~np.isin(others, swept)]
        steps = [beside[number] for number in others.tolist()]
        kinds = sorted({"reads", "writes", *graph.kinds, *(step.kind for step in steps)})
        of_level: Array = np.array([kinds.index(kind) for kind in graph.kinds], dtype=np.int64)
        ends = [
            np.concatenate([graph.name_canonically(column[edges]), np.array(more, dtype=np.int64)])
            for column, more in (
                (level.source, [step.source or 0 for step in steps]),
                (level.target, [step.target or 0 for step in steps]),
                (level.job, [step.job or 0 for step in steps]),
            )
        ]
        kind = [of_level[level.kind[edges]], [kinds.index(step.kind) for step in steps]]
        part = [np.full(len(edges), WHOLE), [parts[number] for number in others.tolist()]]
        return _Derivations(
            np.concatenate([swept, others]),
            ends,
            np.concatenate(kind).astype(np.int64),
            np.concatenate(part).astype(np.int64),
            kinds,
        )

    def numbers(self) -> list[int]:
        """Give the rows of `derivation` taken in."""
        found: list[int] = self._graph.level.number[self._edges].tolist()
        return found

    def jobs(self) -> set[int]:
        """Give the jobs of the derivations taken in."""
        edges = np.concatenate([self._edges, *self._taken])
        return set(self._graph.level.job[edges].tolist()) - {0}

    def _distinct(self, nodes: Array) -> Array:
        """Give each node once."""
        return _distinct(nodes, self._place)

    def _make_room(self, node: int) -> None:
        if node >= len(self._depths):
            more: Array = np.zeros(node + 1 - len(self._depths), dtype=np.int32)
            self._depths = np.concatenate([self._depths, more])
            self._place = np.concatenate([self._place, more])


def _distinct(numbers: Array, place: Array) -> Array:
    """Give each number once; `place` has room for each."""
    order: Array = np.arange(len(numbers), dtype=np.int32)
    # The last writer of each place wins; whoever reads its own order back is unique.
    place[numbers] = order
    return numbers[place[numbers] == order]


def _rank(by_rank: Array, nodes: Array) -> Array:
    """Give the rank of each node; -1 for those that have none."""
    order: Array = np.argsort(by_rank)
    places = np.searchsorted(by_rank, nodes, sorter=order)
    ranks = order[np.minimum(places, len(order) - 1)]
    return np.where(by_rank[ranks] == nodes, ranks, -1)

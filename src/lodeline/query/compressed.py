"""A graph as arrays (compressed sparse rows), for closures too large for SQL.

Nodes are numbers below n, edges keep the index they came with. Small frontiers are walked with
Python's sets over memory views, large ones with numpy; both give the same levels.

Needs numpy (extra `server`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# Below this many nodes a frontier costs less as Python sets than as a dozen numpy calls.
_VECTOR_FRONTIER_MIN = 24

Array = Any  # numpy's arrays; its types are not required to be installed


@dataclass(frozen=True, slots=True)
class Rows:
    """Neighbours of every node in one direction.

    Attributes:
        starts: int64, n + 1; neighbours of `i` stand at `starts[i]:starts[i + 1]`.
        live_ends: int64, n; those that are joined now stand first, before `live_ends[i]`.
        neighbours: int32, one an edge.
        edges: int32, the edge's index, beside each neighbour.
    """

    starts: Array
    live_ends: Array
    neighbours: Array
    edges: Array

    @staticmethod
    def build(node_count: int, near: Array, far: Array, live: Array | None = None) -> Rows:
        """Sort edges by their near end, those that are joined now first.

        Args:
            node_count: n.
            near: int32, the end that is walked from, by edge.
            far: int32, the end that is reached, by edge.
            live: bool, whether the edge joins them now; `None` if all do.
        """
        if live is None:
            live = np.ones(len(near), dtype=np.bool_)
        key = near.astype(np.int64) * 2 + ~live
        order = np.argsort(key, kind="stable").astype(np.int32)
        starts: Array = np.zeros(node_count + 1, dtype=np.int64)
        np.cumsum(np.bincount(near, minlength=node_count), out=starts[1:])
        live_ends = starts[:-1] + np.bincount(near[live], minlength=node_count)
        return Rows(starts, live_ends, far[order].astype(np.int32), order)

    def spans(self, nodes: Array, *, live: bool = False) -> Array:
        """Give the places of all neighbours of some nodes, in the nodes' order.

        Args:
            nodes: numbers below n.
            live: only of those that are joined now.
        """
        first = self.starts[nodes]
        counts = (self.live_ends[nodes] if live else self.starts[nodes + 1]) - first
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        return np.arange(total, dtype=np.int64) + np.repeat(first - ends + counts, counts)


class Walker:
    """Reachability along what is joined now. Keeps scratch memory; one thread at a time.

    Args:
        rows: of the direction walked.
        vector_frontier_min: nodes of a frontier from which on numpy walks it.
    """

    def __init__(self, rows: Rows, *, vector_frontier_min: int = _VECTOR_FRONTIER_MIN) -> None:
        self._rows = rows
        self._vector_frontier_min = vector_frontier_min
        self._starts = memoryview(rows.starts)
        self._ends = memoryview(rows.live_ends)
        self._neighbours = memoryview(rows.neighbours)
        count = len(rows.live_ends)
        self._seen: Array = np.zeros(count, dtype=np.bool_)
        self._place: Array = np.zeros(count, dtype=np.int32)

    def levels(
        self,
        frontier: set[int],
        *,
        seen: set[int] | None = None,
        depth: int | None = None,
        stop: Callable[[int], bool] = lambda _: False,
    ) -> list[Array]:
        """Walk from some nodes.

        Args:
            frontier: where to start.
            seen: nodes that the walk does not enter, beside the frontier.
            depth: levels to walk beyond it; `None` for all.
            stop: asked before each level, with the number of nodes reached, whether to go on.

        Returns:
            Arrays of nodes by distance, the frontier first; no node twice.
        """
        levels: list[Array] = []
        seen = (seen or set()) | frontier
        while frontier and len(frontier) < self._vector_frontier_min:
            levels.append(np.fromiter(frontier, dtype=np.int64, count=len(frontier)))
            if (depth is not None and len(levels) > depth) or stop(len(seen)):
                return levels
            frontier = self._step(frontier) - seen
            seen |= frontier
        if frontier:
            self._walk_arrays(levels, seen, frontier, depth, stop)
        return levels

    def reach(self, root: int) -> Array:
        """Give every node reached, the root included."""
        seen = {root}
        frontier = {root}
        while frontier and len(frontier) < self._vector_frontier_min:
            frontier = self._step(frontier) - seen
            seen |= frontier
        known = np.fromiter(seen, dtype=np.int64, count=len(seen))
        if not frontier:
            return known
        levels: list[Array] = []
        self._walk_arrays(levels, seen, frontier, None, lambda _: False)
        return np.concatenate([known, *levels[1:]])

    def _step(self, frontier: set[int]) -> set[int]:
        starts, ends, neighbours = self._starts, self._ends, self._neighbours
        return set().union(*[neighbours[starts[i] : ends[i]].tolist() for i in frontier])

    def _walk_arrays(
        self,
        levels: list[Array],
        seen: set[int],
        frontier: set[int],
        depth: int | None,
        stop: Callable[[int], bool],
    ) -> None:
        marks, place, neighbours = self._seen, self._place, self._rows.neighbours
        marked = [np.fromiter(seen, dtype=np.int64, count=len(seen))]
        count = len(seen)
        marks[marked[0]] = True
        nodes = np.fromiter(frontier, dtype=np.int64, count=len(frontier))
        try:
            while len(nodes):
                levels.append(nodes)
                if (depth is not None and len(levels) > depth) or stop(count):
                    break
                reached = neighbours[self._rows.spans(nodes, live=True)]
                reached = reached[~marks[reached]]
                # The last writer of each place wins; whoever reads its own number back is unique.
                numbers: Array = np.arange(len(reached), dtype=np.int32)
                place[reached] = numbers
                nodes = reached[place[reached] == numbers].astype(np.int64)
                marks[nodes] = True
                marked.append(nodes)
                count += len(nodes)
        finally:
            for some in marked:
                marks[some] = False

"""A graph as two arrays (compressed sparse rows), for closures too large for SQL.

Nodes are 0 … n-1, edges keep the index they came with. Small frontiers are walked with Python's
sets over memory views, large ones with numpy; both give the same levels.

Needs numpy (extra `server`).
"""

from __future__ import annotations

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
        neighbours: int32, one an edge.
        edges: int32, the edge's index, beside each neighbour.
    """

    starts: Array
    neighbours: Array
    edges: Array

    @staticmethod
    def build(node_count: int, near: Array, far: Array) -> Rows:
        """Sort edges by their near end.

        Args:
            node_count: n.
            near: int32, the end that is walked from, by edge.
            far: int32, the end that is reached, by edge.
        """
        order = np.argsort(near, kind="stable").astype(np.int32)
        starts: Array = np.zeros(node_count + 1, dtype=np.int64)
        np.cumsum(np.bincount(near, minlength=node_count), out=starts[1:])
        return Rows(starts, far[order].astype(np.int32), order)

    def spans(self, nodes: Array) -> Array:
        """Give the places of all neighbours of some nodes, in the nodes' order."""
        first = self.starts[nodes]
        counts = self.starts[nodes + 1] - first
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        return np.arange(total, dtype=np.int64) + np.repeat(first - ends + counts, counts)


class Walker:
    """Reachability over one direction's rows. Keeps scratch memory; one thread at a time.

    Args:
        rows: of the direction walked.
        vector_frontier_min: nodes of a frontier from which on numpy walks it.
    """

    def __init__(self, rows: Rows, *, vector_frontier_min: int = _VECTOR_FRONTIER_MIN) -> None:
        self._rows = rows
        self._vector_frontier_min = vector_frontier_min
        self._starts = memoryview(rows.starts)
        self._neighbours = memoryview(rows.neighbours)
        count = len(rows.starts) - 1
        self._seen: Array = np.zeros(count, dtype=np.bool_)
        self._place: Array = np.zeros(count, dtype=np.int32)

    def levels(self, root: int, *, depth: int | None = None) -> list[Array]:
        """Walk from a node.

        Args:
            root: where to start.
            depth: levels to walk beyond it; `None` for all.

        Returns:
            Arrays of nodes by distance, the root alone first; no node twice.
        """
        levels: list[Array] = []
        seen = {root}
        frontier = {root}
        while frontier and len(frontier) < self._vector_frontier_min:
            levels.append(np.fromiter(frontier, dtype=np.int64, count=len(frontier)))
            if depth is not None and len(levels) > depth:
                return levels
            frontier = self._step(frontier) - seen
            seen |= frontier
        if frontier:
            self._walk_arrays(levels, seen, frontier, depth)
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
        self._walk_arrays(levels, seen, frontier, None)
        return np.concatenate([known, *levels[1:]])

    def _step(self, frontier: set[int]) -> set[int]:
        starts, neighbours = self._starts, self._neighbours
        return set().union(*[neighbours[starts[i] : starts[i + 1]].tolist() for i in frontier])

    def _walk_arrays(
        self, levels: list[Array], seen: set[int], frontier: set[int], depth: int | None
    ) -> None:
        marks, place, neighbours = self._seen, self._place, self._rows.neighbours
        marked = [np.fromiter(seen, dtype=np.int64, count=len(seen))]
        marks[marked[0]] = True
        nodes = np.fromiter(frontier, dtype=np.int64, count=len(frontier))
        try:
            while len(nodes):
                levels.append(nodes)
                if depth is not None and len(levels) > depth:
                    break
                reached = neighbours[self._rows.spans(nodes)]
                reached = reached[~marks[reached]]
                # The last writer of each place wins; whoever reads its own number back is unique.
                numbers: Array = np.arange(len(reached), dtype=np.int32)
                place[reached] = numbers
                nodes = reached[place[reached] == numbers].astype(np.int64)
                marks[nodes] = True
                marked.append(nodes)
        finally:
            for some in marked:
                marks[some] = False

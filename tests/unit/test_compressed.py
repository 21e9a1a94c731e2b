"""The compressed graph reaches what a plain breadth-first walk reaches, level by level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodeline.query.compressed import Rows, Walker

edges = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=160)


def levels_by_hand(pairs: list[tuple[int, int]], root: int, depth: int | None) -> list[set[int]]:
    levels = [{root}]
    seen = {root}
    while depth is None or len(levels) <= depth:
        further = {far for near, far in pairs if near in levels[-1]} - seen
        if not further:
            break
        levels.append(further)
        seen |= further
    return levels


@pytest.mark.parametrize("frontier_min", [1, 4, 1_000])
@given(pairs=edges, root=st.integers(0, 39), depth=st.none() | st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_levels_are_those_of_a_plain_walk(
    frontier_min: int, pairs: list[tuple[int, int]], root: int, depth: int | None
) -> None:
    near = np.array([pair[0] for pair in pairs], dtype=np.int32)
    far = np.array([pair[1] for pair in pairs], dtype=np.int32)
    walker = Walker(Rows.build(40, near, far), vector_frontier_min=frontier_min)
    for _ in range(2):  # A walk leaves no traces behind.
        found = walker.levels({root}, depth=depth)
        assert [set(level.tolist()) for level in found] == levels_by_hand(pairs, root, depth)
        assert sum(map(len, found)) == len({node for level in found for node in level.tolist()})
    reached = set().union(*levels_by_hand(pairs, root, None))
    assert set(walker.reach(root).tolist()) == reached


def test_the_spans_of_nodes_name_their_edges() -> None:
    near = np.array([2, 0, 2, 1], dtype=np.int32)
    rows = Rows.build(3, near, np.array([0, 1, 1, 2], dtype=np.int32))
    assert rows.edges[rows.spans(np.array([2, 0]))].tolist() == [0, 2, 1]


def test_what_is_not_joined_now_is_not_walked() -> None:
    near = np.array([0, 0, 1], dtype=np.int32)
    far = np.array([1, 2, 3], dtype=np.int32)
    rows = Rows.build(4, near, far, np.array([False, True, True]))
    assert set(Walker(rows).reach(0).tolist()) == {0, 2}
    assert rows.edges[rows.spans(np.array([0]))].tolist() == [1, 0]
    assert rows.edges[rows.spans(np.array([0]), live=True)].tolist() == [1]


def test_a_walk_stops_when_it_is_told_to() -> None:
    near = np.arange(50, dtype=np.int32)
    walker = Walker(Rows.build(51, near, near + 1))
    assert len(walker.levels({0}, stop=lambda reached: reached > 5)) == 6
    assert len(walker.levels({0})) == 51

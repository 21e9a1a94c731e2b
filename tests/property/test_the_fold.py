"""What the fold promises of every history: no order, repetition or batch can show in the graph."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import BEGIN_US, DAY_US, histories, log_of
from lodeline.errors import UnknownNodeError
from lodeline.fold import Entry, Graph, fold, group_key, trace


def in_order(entries: list[Entry], order: list[int]) -> list[Entry]:
    """Give the same events as a log that took them in another order."""
    return [
        Entry(position, entries[i].log_time_us, entries[i].event, entries[i].digest)
        for position, i in enumerate(order)
    ]


def said(graph: Graph) -> dict[str, Any]:
    """Everything a graph says, except numbers."""
    return {
        "groups": graph.groups,
        "registers": graph.registers,
        "aliases": graph.aliases(),
        "endings": graph.endings,
        "names": graph.names,
    }


@st.composite
def histories_in_two_orders(draw: Any) -> tuple[list[Entry], list[Entry]]:
    entries = log_of(draw(histories))
    places = list(range(len(entries)))
    repeated = places + draw(st.lists(st.sampled_from(places), max_size=4))
    return entries, in_order(entries, draw(st.permutations(repeated)))


@given(histories_in_two_orders())
@settings(max_examples=300, deadline=None)
def test_the_graph_does_not_depend_on_order_or_repetition(
    orders: tuple[list[Entry], list[Entry]],
) -> None:
    sent, received = orders
    assert fold(received).digest() == fold(sent).digest()
    assert said(fold(received)) == said(fold(sent))


@given(histories_in_two_orders(), st.sampled_from(["up", "down", "both"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_answer_does_not_depend_on_order_or_repetition(
    orders: tuple[list[Entry], list[Entry]], direction: str, columns: bool
) -> None:
    sent, received = fold(orders[0]), fold(orders[1])
    for node in sorted(sent.names):
        asked = {"direction": direction, "columns": columns}
        assert trace(received, node, **asked) == trace(sent, node, **asked)


@given(histories, st.integers(0, 14), st.integers(-1, 13))
@settings(max_examples=150, deadline=None)
def test_both_times_are_filters_of_what_is_folded(history: Any, size: int, day: int) -> None:
    entries = log_of(history)
    valid_at = BEGIN_US + day * DAY_US
    kept = [
        entry
        for entry in entries
        if entry.position < size and entry.event.event_time_us <= valid_at
    ]
    assert said(fold(entries, as_of=size, valid_at=valid_at)) == said(fold(kept))


@given(histories)
@settings(max_examples=150, deadline=None)
def test_a_group_is_folded_from_its_own_events_only(history: Any) -> None:
    entries = log_of(history)
    whole = fold(entries)
    for key, contribution in whole.groups.items():
        own = [entry for entry in entries if group_key(entry) == key]
        assert fold(own).groups == {key: contribution}


@given(histories)
@settings(max_examples=150, deadline=None)
def test_every_edge_of_an_answer_joins_nodes_of_the_answer(history: Any) -> None:
    graph = fold(log_of(history))
    for node in sorted(graph.names):
        for columns in (False, True):
            answer = trace(graph, node, direction="both", columns=columns)
            nodes = {one["id"] for one in answer["nodes"]}
            assert answer["root"] in nodes
            for edge in answer["edges"]:
                assert {edge["source"], edge["target"]} <= nodes


@given(histories, st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_a_depth_cuts_an_answer_and_says_so(history: Any, depth: int) -> None:
    graph = fold(log_of(history))
    for node in sorted(graph.names):
        if node.kind in ("model", "deployment"):
            continue  # Version level counts depth along runs; one node may lie at two depths.
        whole = trace(graph, node, direction="up")
        part = trace(graph, node, direction="up", depth=depth)
        within = {one["id"] for one in whole["nodes"] if one["depth"] <= depth}
        assert {one["id"] for one in part["nodes"]} == within
        if any(one["depth"] > depth for one in whole["nodes"]):
            assert any(gap["reason"] == "depth" for gap in part["gaps"])
            assert not part["complete"]


@given(histories)
@settings(max_examples=100, deadline=None)
def test_both_directions_are_the_union_of_each(history: Any) -> None:
    graph = fold(log_of(history))
    for node in sorted(graph.names):
        up, down, both = (trace(graph, node, direction=way) for way in ("up", "down", "both"))
        ids = [{one["id"] for one in answer["nodes"]} for answer in (up, down, both)]
        assert ids[2] == ids[0] | ids[1]


@given(histories)
@settings(max_examples=100, deadline=None)
def test_a_name_unknown_at_the_position_is_refused(history: Any) -> None:
    entries = log_of(history)
    early = fold(entries, as_of=1)
    # A column that one of a dataset's names was seen to have is known by the others, too.
    known = {early.canonical(name) for name in early.names}
    for node in [name for name in fold(entries).names if early.canonical(name) not in known]:
        with pytest.raises(UnknownNodeError):
            trace(entries, node, as_of=1)


@given(histories)
@settings(max_examples=100, deadline=None)
def test_every_event_is_in_exactly_one_group(history: Any) -> None:
    entries = log_of(history)
    graph = fold(entries)
    assert {group_key(entry) for entry in entries} == set(graph.groups)


def test_the_real_events_in_any_order_and_doubled_are_one_graph(real_events: list[bytes]) -> None:
    entries = log_of(real_events)
    digest = fold(entries).digest()
    dice = random.Random(452)
    for _ in range(100):
        order = [*range(len(entries))] * 2
        dice.shuffle(order)
        assert fold(in_order(entries, order)).digest() == digest

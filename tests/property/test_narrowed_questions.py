"""What an answer shows of a closure is chosen from it, and changes nothing else of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_the_questions import roots_of

from histories import a_segment, entries_of, histories, raw
from lodeline.errors import UnknownNodeError
from lodeline.fold import fold
from lodeline.ingest import accept
from lodeline.model import NodeId
from lodeline.query import ask

DERIVATIONS = {"derives", "trains", "deploys", "predicts"}
KINDS = ["dataset", "datasetField", "job", "run", "model", "deployment"]
Answer = dict[str, Any]


def keys_of(answer: Answer) -> set[tuple[Any, ...]]:
    return {(e["source"], e["target"], e["kind"], e["job"]) for e in answer["edges"]}


def expected(whole: Answer, asked: dict[str, Any]) -> tuple[set[str], set[tuple[Any, ...]]]:
    """Choose nodes and edges from a whole answer, in so many words."""
    edges = whole["edges"]
    nodes = {node["id"]: node for node in whole["nodes"]}
    touched = set(nodes)
    if asked.get("status") == "stale":
        edges = [edge for edge in edges if edge["status"] == "stale"]
        touched = {edge[end] for edge in edges for end in ("source", "target")}
    if "edge_kinds" in asked:
        edges = [edge for edge in edges if edge["kind"] in asked["edge_kinds"]]
        touched = {edge[end] for edge in edges for end in ("source", "target")}
    kept = {
        name
        for name in touched
        if ("kinds" not in asked or nodes[name]["kind"] in asked["kinds"])
        and ("namespaces" not in asked or (nodes[name]["namespace"] or "") in asked["namespaces"])
    } | {whole["root"]}
    keys = keys_of({"edges": edges})
    return kept, {key for key in keys if key[0] in kept and key[1] in kept}


@given(histories, st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_narrowed_answer_is_chosen_from_the_whole_one(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        roots = roots_of(fold(entries_of(segment)))
        for _ in range(8):
            question = {
                "id": str(dice.choice(roots)),
                "direction": dice.choice(["up", "down", "both"]),
                "columns": dice.random() < 0.3,
                "depth": dice.choice([None, None, 1]),
            }
            asked: dict[str, Any] = {}
            if dice.random() < 0.5:
                asked["kinds"] = dice.sample(KINDS, 2)
            if dice.random() < 0.3:
                asked["namespaces"] = [dice.choice(["n", "nowhere"])]
            if dice.random() < 0.5:
                asked["edge_kinds"] = dice.sample([*DERIVATIONS, "reads", "writes", "parent"], 2)
            if dice.random() < 0.3:
                asked["status"] = "stale"
            try:
                whole = ask(segment, "trace", question)
            except UnknownNodeError:
                continue
            narrowed = ask(segment, "trace", question | asked)
            nodes, edges = expected(whole, asked)
            assert {node["id"] for node in narrowed["nodes"]} == nodes, (question, asked)
            assert keys_of(narrowed) == edges, (question, asked)
            assert all(edge in whole["edges"] for edge in narrowed["edges"])


def reached(whole: Answer, direction: str) -> set[str]:
    """Walk the current derivations of an answer from its root."""
    near, far = ("target", "source") if direction == "up" else ("source", "target")
    found, level = {whole["root"]}, {whole["root"]}
    while level:
        level = {
            edge[far]
            for edge in whole["edges"]
            if edge["kind"] in DERIVATIONS and edge["status"] == "current" and edge[near] in level
        } - found
        found |= level
    return found


@given(histories, st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_a_current_closure_walks_no_stale_derivation(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        datasets = [
            node
            for node in roots_of(fold(entries_of(segment)))
            if node.kind == "dataset" and not node.version
        ]
        for root in dice.sample(datasets, min(4, len(datasets))):
            for direction in ("up", "down"):
                check_current(segment, root, direction)


def check_current(segment: Any, root: NodeId, direction: str) -> None:
    question = {"id": str(root), "direction": direction}
    whole = ask(segment, "trace", question)
    current = ask(segment, "trace", question | {"status": "current"})
    data = {node["id"] for node in current["nodes"] if node["kind"] != "job"}
    assert data == reached(whole, direction), question
    assert {edge["status"] for edge in current["edges"]} <= {"current"}

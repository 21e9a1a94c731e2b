"""What a store answers is what the brute-force answerer of the fold answers, to the letter."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import BEGIN_US, DAY_US, a_segment, entries_of, facet, histories, raw
from lodeline.errors import UnknownNodeError
from lodeline.fold import Entry, Graph, fold, trace
from lodeline.fold.answer import versions_of
from lodeline.ingest import accept
from lodeline.model import NodeId, format_time
from lodeline.query import ask
from lodeline.store import Segment

# What a store's answer has beyond the oracle's.
ONLY_OURS = {"as_of", "trees", "next"}


def roots_of(graph: Graph) -> list[NodeId]:
    """Every node that a question may name: with and without version, under any of its names."""
    found = set(graph.names)
    for node in graph.names:
        if node.kind != "datasetField":
            canonical = graph.canonical(node)
            found.update(
                canonical.at(version) for version in versions_of(graph, canonical) if version
            )
    found.update(group.run for group in graph.groups.values() if group.run is not None)
    fields = [node for node in graph.names if node.kind == "datasetField"]
    for field in fields:
        canonical = graph.canonical(field)
        found.update(canonical.at(version) for version in versions_of(graph, canonical) if version)
    return sorted(found)


def same_shape(answer: dict[str, Any]) -> dict[str, Any]:
    """Sort what has no order, and drop what the oracle does not have."""
    kept = {name: value for name, value in answer.items() if name not in ONLY_OURS}
    for edge in kept["edges"]:
        edge.pop("transformations", None)
        edge.pop("entries", None)
    kept["edges"] = sorted(kept["edges"], key=str)
    kept["gaps"] = sorted(kept["gaps"], key=str)
    return kept


def asked(segment: Segment, root: NodeId, **options: Any) -> dict[str, Any] | str:
    try:
        return same_shape(ask(segment, "trace", {"id": str(root), **options}))
    except UnknownNodeError as error:
        return error.code


def expected(
    entries: Sequence[Entry], root: NodeId, *, as_of: int | None, valid_us: int | None, **rest: Any
) -> dict[str, Any] | str:
    try:
        return same_shape(trace(entries, root, as_of=as_of, valid_at=valid_us, **rest))
    except UnknownNodeError as error:
        return error.code


@given(histories, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_store_answers_as_the_oracle_does(history: Sequence[dict[str, Any]], seed: int) -> None:
    dice = random.Random(seed)
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        entries = entries_of(segment)
        roots = roots_of(fold(entries))
        for _ in range(12 if roots else 0):
            root = dice.choice(roots)
            as_of = dice.choice([None, None, dice.randrange(segment.size() + 1)])
            valid_us = dice.choice([None, None, BEGIN_US + dice.randrange(-1, 14) * DAY_US])
            rest: dict[str, Any] = {
                "direction": dice.choice(["up", "down", "both"]),
                "depth": dice.choice([None, None, 0, 1, 2]),
                "columns": dice.random() < 0.4,
            }
            valid_at = None if valid_us is None else format_time(valid_us)
            ours = asked(segment, root, as_of=as_of, valid_at=valid_at, **rest)
            theirs = expected(entries, root, as_of=as_of, valid_us=valid_us, **rest)
            assert ours == theirs, (str(root), as_of, valid_us, rest)


def test_a_column_that_followed_and_is_then_named_stays_known() -> None:
    def made(event_type: str, at_us: int, **facets: Any) -> bytes:
        return raw(
            {
                "eventTime": format_time(at_us),
                "eventType": event_type,
                "producer": "https://example.org/p",
                "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
                "run": {"runId": "00000000-0000-0000-0000-000000000001"},
                "job": {"namespace": "n", "name": "j"},
                "inputs": [{"namespace": "n", "name": "a"}],
                "outputs": [{"namespace": "n", "name": "b", "outputFacets": facets}],
            }
        )

    observed = facet(inputs=[{"namespace": "n", "name": "a", "fields": {"k": [{"field": "v"}]}}])
    flow = facet(inputs=[], fields={"k": {"inputs": []}})
    with a_segment() as segment:
        accept(segment, [made("START", BEGIN_US, lodeline_observed=observed)])
        # Nothing derives b's column now; an event names it.
        accept(segment, [made("COMPLETE", BEGIN_US + 1, lodeline_observed=facet(inputs=[]))])
        later = json.loads(made("OTHER", BEGIN_US + 2))
        later["outputs"][0]["facets"] = {"lineage": flow}
        accept(segment, [raw(later)])
        root = NodeId("datasetField", "n", "b", "k")
        assert root in fold(entries_of(segment)).names
        assert isinstance(asked(segment, root), dict)

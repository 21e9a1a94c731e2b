"""Under which nodes an entry is filed, and which nodes an answer needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from histories import PARENT_RUN, dataset, entry, event, facet, log_of, run_id
from lodeline.fold import (
    asserted_nodes,
    entry_nodes,
    fold,
    gather,
    required_nodes,
    trace,
    visited_nodes,
)


def nodes_of(stated: dict[str, Any]) -> frozenset[str]:
    return asserted_nodes(entry(stated, 0).event)


RUN = f"run:{run_id('1')}"


def test_an_event_is_filed_under_its_run_job_inputs_and_outputs() -> None:
    found = nodes_of(event(inputs=["a"], outputs=["b"]))
    assert found == {RUN, "job:n:job", "dataset:n:a", "dataset:n:b"}


def test_columns_and_versions_count_as_their_node() -> None:
    fields = {"v": {"inputFields": [{"namespace": "n", "name": "s", "field": "k"}]}}
    made = dataset(
        "b",
        columnLineage=facet(fields=fields),
        schema=facet(fields=[{"name": "v"}]),
        version=facet(datasetVersion="7"),
    )
    found = nodes_of(event(outputs=[made]))
    assert found == {RUN, "job:n:job", "dataset:n:b", "dataset:n:s"}


def test_an_alias_stands_under_both_names_and_a_rename_too() -> None:
    named = dataset("a", symlinks=facet(identifiers=[{"namespace": "m", "name": "z"}]))
    assert {"dataset:n:a", "dataset:m:z"} <= nodes_of(event(outputs=[named]))
    change = facet(
        lifecycleStateChange="RENAME", previousIdentifier={"namespace": "n", "name": "old"}
    )
    renamed = dataset("a", lifecycleStateChange=change)
    assert "dataset:n:old" in nodes_of(event(outputs=[renamed]))


def test_a_parent_and_its_root_are_named() -> None:
    parent = facet(
        run={"runId": PARENT_RUN.upper()},
        job={"namespace": "n", "name": "dag"},
        root={"run": {"runId": run_id("9")}, "job": {"namespace": "n", "name": "top"}},
    )
    found = nodes_of(event(run_facets={"parent": parent}))
    assert found == {
        RUN,
        "job:n:job",
        f"run:{PARENT_RUN}",
        "job:n:dag",
        f"run:{run_id('9')}",
        "job:n:top",
    }


def test_models_features_and_deployments_are_named() -> None:
    model = facet(digest="sha256:c", model={"namespace": "m", "name": "churn", "version": "x"})
    deployed = dataset("api", lodeline_deployment=model)
    features = dataset("f", lodeline_features=facet(view="view", features=[{"name": "k"}]))
    found = nodes_of(event(inputs=[features], outputs=[deployed]))
    assert {"deployment:n:api", "model:m:churn", "feature:n:view:k", "dataset:n:f"} <= found


@pytest.mark.parametrize("bad", [7, "x", {"run": 3, "job": []}, {"job": {"name": 3}}])
def test_a_parent_that_cannot_be_read_names_nothing(bad: object) -> None:
    assert nodes_of(event(run_facets={"parent": bad})) == {RUN, "job:n:job"}


def test_entries_of_other_kinds_name_what_their_payload_says() -> None:
    def named(kind: str, **payload: Any) -> frozenset[str]:
        return entry_nodes(kind, json.dumps(payload).encode())

    assert named("alias", node="model:ml:churn", number="7") == {"model:ml:churn"}
    assert named("statement", subjects=["dataset:n:a#sha256:d", "nonsense"]) == {"dataset:n:a"}
    batch = {
        "deployment": {"namespace": "n", "name": "api", "version": "1"},
        "model": {"namespace": "m", "name": "churn"},
        "run": run_id("4"),
    }
    block = {"dataset": {"facets": {"lodeline_prediction_batch": batch}}}
    found = {"deployment:n:api", "model:m:churn", f"run:{run_id('4')}"}
    assert named("block", **block) == found
    for kind in ("key", "fold", "map", "erasure", "expiry", "policy"):
        assert named(kind, **block, subjects=["dataset:n:a"], node="dataset:n:a") == frozenset()
    for kind in ("event", "alias", "block", "statement"):
        for payload in (b"", b"[]", b"{}", b'{"node":3,"subjects":3,"dataset":3}', b"\xff"):
            assert entry_nodes(kind, payload) == frozenset()


def test_the_nodes_of_an_answer_are_whole() -> None:
    log = log_of([event(inputs=["a"], outputs=["b"])])
    answer = trace(log, f"dataset:n:b#run:{run_id('1')}")
    assert visited_nodes(answer) == {RUN, "job:n:job", "dataset:n:a", "dataset:n:b"}
    assert required_nodes(fold(log), answer) == visited_nodes(answer)


def test_a_run_known_in_part_is_required_where_it_asserts_for_another_job() -> None:
    flow = {"inputs": [{"type": "JOB", "namespace": "n", "name": "other"}]}
    log = log_of(
        [
            event("START", day=0),
            event(day=1, outputs=[dataset("b", lineage=facet(**flow))]),
        ]
    )
    answer = trace(log, "dataset:n:b")
    assert {"job:n:other", RUN} <= required_nodes(fold(log), answer)
    by_node = {
        node: [one for one in log if node in asserted_nodes(one.event)]
        for one in log
        for node in asserted_nodes(one.event)
    }
    found = gather(lambda node: by_node.get(node, []), "dataset:n:b")
    assert found.answer == answer
    assert len(found.entries) == 2


def test_an_unknown_root_requires_its_own_entries_alone() -> None:
    found = gather(lambda _: [], "dataset:n:nothing")
    assert found.answer is None
    assert found.nodes == {"dataset:n:nothing"}

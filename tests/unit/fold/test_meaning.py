"""What histories mean, one promise a test. Histories are written with `histories.event`."""

from __future__ import annotations

from typing import Any

import pytest

from histories import BEGIN_US, DAY_US, LOG_TIME_US, dataset, entry, event, log_of, run_id
from lodeline.errors import UnknownNodeError
from lodeline.fold import Graph, fold, trace
from lodeline.model import format_time

X, Y, A, B = (f"dataset:n:{name}" for name in ("X", "Y", "A", "B"))


def edges(answer: dict[str, Any], kind: str = "derives") -> set[tuple[str, str]]:
    return {(e["source"], e["target"]) for e in answer["edges"] if e["kind"] == kind}


def edge(answer: dict[str, Any], source: str, target: str) -> dict[str, Any]:
    (found,) = [e for e in answer["edges"] if (e["source"], e["target"]) == (source, target)]
    return found


def nodes(answer: dict[str, Any]) -> set[str]:
    return {node["id"] for node in answer["nodes"]}


def graph_of(*history: dict[str, Any]) -> Graph:
    return fold(log_of(history))


def columns(**sources: tuple[str, str]) -> dict[str, Any]:
    return {
        "fields": {
            target: {"inputFields": [{"namespace": "n", "name": name, "field": field}]}
            for target, (name, field) in sources.items()
        }
    }


def test_a_job_that_ran_two_ways_joins_no_input_to_the_other_output() -> None:
    graph = graph_of(
        event(run="1", inputs=["A"], outputs=["X"]),
        event(run="2", day=1, inputs=["B"], outputs=["Y"]),
    )
    up = trace(graph, X, direction="up")
    assert nodes(up) == {X, A, "job:n:job"}
    assert edges(up) == {(A, X)}
    assert edges(up, "reads") == {(A, "job:n:job")}
    assert edges(up, "writes") == {("job:n:job", X)}
    assert nodes(trace(graph, B, direction="down")) == {B, Y, "job:n:job"}


def test_halves_of_different_runs_never_join() -> None:
    graph = graph_of(
        event(run="1", inputs=["A"]),
        event(run="2", day=1, outputs=["X"]),
    )
    up = trace(graph, X, direction="up")
    assert nodes(up) == {X, "job:n:job"}
    assert edges(up, "writes") == {("job:n:job", X)}
    assert edges(trace(graph, A, direction="down"), "reads") == {(A, "job:n:job")}


def test_halves_of_one_run_join_whichever_comes_first() -> None:
    start, complete = event("START", inputs=["A"]), event(day=1, outputs=["X"])
    assert edges(trace(graph_of(start, complete), X)) == {(A, X)}
    assert graph_of(start, complete).digest() == graph_of(complete, start).digest()


def test_one_run_id_under_two_jobs_is_two_groups() -> None:
    graph = graph_of(event(job="one", inputs=["A"]), event(job="two", outputs=["X"]))
    assert edges(trace(graph, X)) == set()


def test_an_upper_case_run_id_is_the_same_run() -> None:
    late = event(inputs=["A"], run="171")
    late["run"]["runId"] = late["run"]["runId"].upper()
    assert edges(trace(graph_of(event("START", run="171", outputs=["X"]), late), X)) == {(A, X)}


def test_many_runs_keep_all_edges_and_tell_who_asserts_them() -> None:
    graph = graph_of(
        event(run="1", inputs=["A"], outputs=["X"]),
        event(run="2", day=1, inputs=["B"], outputs=["X"]),
        event(run="3", day=2, inputs=["A"], outputs=["X"]),
    )
    up = trace(graph, X)
    assert edges(up) == {(A, X), (B, X)}
    derived = edge(up, A, X)
    assert derived["asserted_by"] == [run_id("3"), run_id("1")]
    assert derived["first_seen"] == format_time(BEGIN_US)
    assert derived["last_seen"] == format_time(BEGIN_US + 2 * DAY_US)


def test_column_lineage_makes_its_sources_firm_and_leaves_the_rest_inferred() -> None:
    made = dataset("X", columnLineage=columns(total=("A", "amount")))
    graph = graph_of(event(inputs=["A", "B"], outputs=[made]))
    up = trace(graph, X)
    assert edge(up, A, X)["basis"] == "columnLineage"
    assert edge(up, B, X)["basis"] == "inferred"
    by_column = trace(graph, "datasetField:n:X:total")
    assert edges(by_column) == {("datasetField:n:A:amount", "datasetField:n:X:total")}
    assert [gap["reason"] for gap in by_column["gaps"]] == ["capture"]
    assert not by_column["complete"]


def test_only_a_lineage_facet_removes_a_declared_input() -> None:
    source = {"namespace": "n", "name": "A", "type": "DATASET"}
    made = dataset("X", lineage={"inputs": [source]}, columnLineage=columns(v=("B", "v")))
    graph = graph_of(event(inputs=["A", "B"], outputs=[made]))
    up = trace(graph, X)
    assert edges(up) == {(A, X)}
    assert edge(up, A, X)["basis"] == "lineage"
    assert edges(trace(graph, B, direction="down"), "reads") == {(B, "job:n:job")}


def test_an_empty_lineage_facet_means_no_source() -> None:
    graph = graph_of(event(inputs=["A"], outputs=[dataset("X", lineage={"inputs": []})]))
    assert edges(trace(graph, X)) == set()
    assert edge(trace(graph, X), "job:n:job", X)["basis"] == "lineage"


def test_a_lineage_facet_of_the_job_speaks_for_each_output_it_names() -> None:
    entries = [{"namespace": "n", "name": "X", "type": "DATASET", "inputs": []}]
    entries[0]["inputs"] = [{"namespace": "n", "name": "A", "type": "DATASET"}]
    for key in ("entries", "lineage"):  # Drafts of the facet gave the array two names.
        graph = graph_of(
            event(inputs=["A", "B"], outputs=["X", "Y"], job_facets={"lineage": {key: entries}})
        )
        assert edges(trace(graph, X)) == {(A, X)}
        assert edges(trace(graph, Y)) == {(A, Y), (B, Y)}


def test_capture_that_saw_an_output_leaves_other_inputs_out() -> None:
    seen = {"lodeline_observed": {"inputs": [{"namespace": "n", "name": "A"}]}}
    graph = graph_of(event(inputs=["A", "B"], outputs=[dataset("X", output_facets=seen), "Y"]))
    assert edges(trace(graph, X)) == {(A, X)}
    assert edge(trace(graph, X), A, X)["basis"] == "observed"
    assert edges(trace(graph, Y)) == {(A, Y), (B, Y)}


def test_a_job_event_asserts_as_a_run_would() -> None:
    answer = trace(graph_of(event(None, inputs=["A"], outputs=["X"])), X)
    assert edges(answer) == {(A, X)}
    assert edge(answer, A, X)["asserted_by"] == []


def test_a_late_alias_joins_what_was_folded_before() -> None:
    names = {"identifiers": [{"namespace": "n", "name": "B", "type": "TABLE"}]}
    history = [
        event(run="1", inputs=["A"], outputs=["B"]),
        event(run="2", job="next", day=1, inputs=["C"], outputs=["X"]),
        event("START", run="3", day=2, inputs=[dataset("C", symlinks=names)]),
    ]
    entries = log_of(history)
    assert A not in nodes(trace(entries, X, as_of=2))
    up = trace(entries, X)
    assert edges(up) == {(A, B), (B, X)}
    assert trace(entries, "dataset:n:C", direction="up")["root"] == B
    retraction = event("START", run="4", day=3, inputs=[dataset("C", symlinks={"_deleted": True})])
    assert A not in nodes(trace(log_of([*history, retraction]), X))
    assert A in nodes(trace(log_of([*history, retraction]), X, valid_at=BEGIN_US + 2 * DAY_US))


def test_an_edge_is_stale_after_another_code_version_wrote_without_it() -> None:
    code = lambda text: {"lodeline_code": {"version": text}}  # noqa: E731
    old = event(run="1", inputs=["A", "B"], outputs=["X"], run_facets=code("v1"))
    new = event(run="2", day=1, inputs=["A"], outputs=["X"], run_facets=code("v2"))
    up = trace(graph_of(old, new), X)
    assert (edge(up, A, X)["status"], edge(up, B, X)["status"]) == ("current", "stale")
    same = event(run="2", day=1, inputs=["A"], outputs=["X"], run_facets=code("v1"))
    assert edge(trace(graph_of(old, same), X), B, X)["status"] == "current"
    unknown = event(run="2", day=1, inputs=["A"], outputs=["X"])
    assert edge(trace(graph_of(old, unknown), X), B, X)["status"] == "current"
    failed = event("FAIL", run="2", day=1, inputs=["A"], outputs=["X"], run_facets=code("v2"))
    assert edge(trace(graph_of(old, failed), X), B, X)["status"] == "current"
    elsewhere = event(run="2", day=1, inputs=["A"], outputs=["Y"], run_facets=code("v2"))
    assert edge(trace(graph_of(old, elsewhere), X), B, X)["status"] == "current"


def test_an_edge_is_stale_after_ten_runs_and_seven_days_without_it() -> None:
    def history(days: float, runs: int) -> list[dict[str, Any]]:
        first = event(run="100", inputs=["A", "B"], outputs=["X"])
        later = [
            event(run=str(i + 1), day=days * (i + 1) / runs, inputs=["A"], outputs=["X"])
            for i in range(runs)
        ]
        return [first, *later]

    assert edge(trace(graph_of(*history(7, 10)), X), B, X)["status"] == "stale"
    assert edge(trace(graph_of(*history(6.9, 10)), X), B, X)["status"] == "current"
    assert edge(trace(graph_of(*history(9, 9)), X), B, X)["status"] == "current"
    entries = log_of(history(6.9, 10))
    then = trace(entries, X, valid_at=BEGIN_US + 8 * DAY_US)
    assert edge(then, B, X)["status"] == "stale", "valid_at stands in place of the newest run"


def test_a_job_that_stopped_running_ages_nothing() -> None:
    answer = trace(graph_of(event(inputs=["A"], outputs=["X"])), X)
    assert edge(answer, A, X)["status"] == "current"


def test_a_dropped_dataset_ends_its_edges_until_asserted_again() -> None:
    made = event(run="1", inputs=["A"], outputs=["X"])
    gone = dataset("X", lifecycleStateChange={"lifecycleStateChange": "DROP"})
    drop = event(run="2", job="cleaner", day=1, outputs=[gone])
    assert edge(trace(graph_of(made, drop), X), A, X)["status"] == "stale"
    again = event(run="3", day=2, inputs=["A"], outputs=["X"])
    assert edge(trace(graph_of(made, drop, again), X), A, X)["status"] == "current"
    emptied = dataset("X", lifecycleStateChange={"lifecycleStateChange": "TRUNCATE"})
    assert (
        edge(trace(graph_of(made, event(run="2", day=1, outputs=[emptied])), X), A, X)["status"]
        == "current"
    )


def test_a_future_event_is_marked_and_touches_nothing_else() -> None:
    made = event(run="1", inputs=["A"], outputs=["X"])
    far = {**event(run="1", inputs=["B"], outputs=["X"])}
    far["eventTime"] = format_time(LOG_TIME_US + DAY_US)
    graph = graph_of(made, far)
    assert graph.digest() == graph_of(made).digest()
    up = trace(graph, X)
    assert edge(up, B, X)["future"] is True
    assert "future" not in edge(up, A, X)
    assert edge(up, A, X)["status"] == "current"


def test_a_tombstone_takes_back_what_the_run_stated_before() -> None:
    made = dataset("X", columnLineage=columns(v=("B", "v")))
    history = [
        event("START", inputs=["A"], outputs=[made]),
        event(day=1, outputs=[dataset("X", columnLineage={"_deleted": True})]),
    ]
    assert edges(trace(graph_of(*history), X)) == {(A, X)}
    then = trace(log_of(history), X, valid_at=BEGIN_US)
    assert edges(then) == {(A, X), (B, X)}


def test_a_facet_that_cannot_be_read_is_a_gap_and_nothing_else() -> None:
    made = dataset("X", columnLineage={"fields": ["not", "a", "map"]})
    answer = trace(graph_of(event(inputs=["A"], outputs=[made])), X)
    assert edges(answer) == {(A, X)}
    assert answer["gaps"] == [
        {
            "at": X,
            "reason": "capture",
            "detail": "facet columnLineage does not match its schema",
        }
    ]


def test_the_register_of_a_facet_holds_the_latest_event_not_the_latest_delivery() -> None:
    newer = event(run="2", day=2, outputs=[dataset("X", documentation={"description": "new"})])
    older = event(run="1", day=1, outputs=[dataset("X", documentation={"description": "old"})])
    one, other = graph_of(newer, older), graph_of(older, newer)
    assert one.registers == other.registers


def test_a_version_is_traced_to_the_run_that_wrote_what_was_read() -> None:
    history = [
        event(run="1", job="make", inputs=["A"], outputs=["B"]),
        event(run="2", job="make", day=2, inputs=["A"], outputs=["B"]),
        event("START", run="3", job="use", day=1, inputs=["B"]),
        event(run="3", job="use", day=3, outputs=["X"]),
    ]
    answer = trace(graph_of(*history), f"{X}#run:{run_id('3')}")
    assert nodes(answer) == {
        f"{X}#run:{run_id('3')}",
        f"{B}#run:{run_id('1')}",
        A,
        f"run:{run_id('3')}",
        f"run:{run_id('1')}",
    }
    assert (f"{B}#run:{run_id('1')}", f"run:{run_id('3')}") in edges(answer, "reads")
    down = trace(graph_of(*history), f"run:{run_id('1')}", direction="down")
    assert f"{X}#run:{run_id('3')}" in nodes(down)
    assert f"{X}#run:{run_id('3')}" not in nodes(
        trace(graph_of(*history), f"run:{run_id('2')}", direction="down")
    )


def test_returning_bytes_are_the_newest_version_again() -> None:
    def made(run: str, day: int, digest: str) -> dict[str, Any]:
        facet = {"algorithm": "sha256", "value": digest, "bytes": 1, "source": "bytes"}
        return event(run=run, day=day, inputs=["A"], outputs=[dataset("X", lodeline_digest=facet)])

    history = [made("1", 0, "aa"), made("2", 1, "bb"), made("3", 2, "aa")]
    reader = event("START", run="4", job="use", day=3, inputs=["X"], outputs=["Y"])
    answer = trace(graph_of(*history, reader), f"run:{run_id('4')}")
    assert f"{X}#sha256:aa" in nodes(answer)
    assert f"{X}#sha256:bb" not in nodes(answer)
    writers = {source for source, target in edges(answer, "writes") if target.startswith(X)}
    assert writers == {f"run:{run_id('3')}"}


def test_a_failed_run_wrote_only_what_somebody_saw() -> None:
    seen = dataset("Y", lodeline_digest={"algorithm": "sha256", "value": "cc", "bytes": 1})
    graph = graph_of(event("FAIL", inputs=["A"], outputs=["X", seen]))
    (group,) = graph.groups.values()
    assert [(str(write.node), write.version) for write in group.writes] == [(Y, "sha256:cc")]


def model(digest: str) -> dict[str, Any]:
    return {"lodeline_model": {"digest": digest, "features": ["amount"]}}


def trained(run: str, day: int, digest: str) -> dict[str, Any]:
    made = dataset("churn", **model(digest))
    table = dataset("A", schema={"fields": [{"name": "amount"}, {"name": "note"}]})
    return event(run=run, job="train", day=day, inputs=[table], outputs=[made])


def served(run: str, day: int, digest: str) -> dict[str, Any]:
    facet = {
        "digest": f"sha256:conf-{digest}",
        "configuration": {},
        "model": {"namespace": "n", "name": "churn", "version": digest},
    }
    used = [dataset("churn", **model(digest)), dataset("other", **model("sha256:zz"))]
    return event(
        run=run,
        job="serve",
        day=day,
        inputs=used,
        outputs=[dataset("api", lodeline_deployment=facet)],
    )


def test_a_deployment_stated_without_a_run_names_its_models_version() -> None:
    stated = served("3", 2, "sha256:m1")
    [api] = stated["outputs"]
    alone = {key: stated[key] for key in ("eventTime", "producer", "schemaURL")}
    graph = graph_of(
        trained("1", 0, "sha256:m1"), trained("2", 1, "sha256:m2"), {**alone, "dataset": api}
    )
    up = trace(graph, "deployment:n:api")
    assert edges(up, "deploys") == {("model:n:churn#sha256:m1", up["root"])}
    assert edges(up, "trains") == {(A, "model:n:churn#sha256:m1")}


def test_a_model_is_trained_deployed_and_numbered() -> None:
    graph = graph_of(
        trained("1", 0, "sha256:m1"), trained("2", 1, "sha256:m2"), served("3", 2, "sha256:m1")
    )
    up = trace(graph, "deployment:n:api")
    assert up["root"] == "deployment:n:api#sha256:conf-sha256:m1"
    assert edges(up, "deploys") == {("model:n:churn#sha256:m1", up["root"])}
    assert edges(up, "trains") == {(A, "model:n:churn#sha256:m1")}
    assert edge(up, "model:n:churn#sha256:m1", up["root"])["job"] is None
    assert trace(graph, "model:n:churn#2")["root"] == "model:n:churn#sha256:m2"
    assert trace(graph, "model:n:churn")["root"] == "model:n:churn#sha256:m2"
    with pytest.raises(UnknownNodeError):
        trace(graph, "model:n:churn#3")
    downstream = trace(graph, A, direction="down")
    assert edges(downstream, "trains") == {(A, "model:n:churn")}
    assert edges(downstream, "deploys") == {("model:n:churn", "deployment:n:api")}


def test_a_column_is_followed_into_the_models_that_used_it() -> None:
    graph = graph_of(trained("1", 0, "sha256:m1"))
    used = trace(graph, "datasetField:n:A:amount", direction="down")
    assert edges(used, "trains") == {("datasetField:n:A:amount", "model:n:churn")}
    unused = trace(graph, "datasetField:n:A:note", direction="down")
    assert edges(unused, "trains") == set()
    assert unused["complete"]


def test_a_feature_is_traced_as_the_column_it_projects() -> None:
    facet = {"view": "customer", "entityKeys": ["id"]}
    facet["features"] = [{"name": "total", "definition": "sum(amount)", "digest": "sha256:f"}]
    made = dataset("X", columnLineage=columns(total=("A", "amount")), lodeline_features=facet)
    graph = graph_of(event(inputs=["A"], outputs=[made]))
    answer = trace(graph, "feature:n:customer:total")
    assert edges(answer) == {("datasetField:n:A:amount", "feature:n:customer:total")}
    versioned = trace(graph, "feature:n:customer:total#sha256:f")
    assert ("datasetField:n:A:amount", "feature:n:customer:total#sha256:f") in edges(versioned)


def test_a_filter_column_is_behind_every_column_of_the_output() -> None:
    facet = columns(k=("A", "k"))
    facet["dataset"] = [{"namespace": "n", "name": "A", "field": "day"}]
    made = dataset("X", columnLineage=facet, schema={"fields": [{"name": "k"}, {"name": "v"}]})
    graph = graph_of(event(inputs=["A"], outputs=[made]))
    assert edges(trace(graph, "datasetField:n:X:v")) == {
        ("datasetField:n:A:day", "datasetField:n:X:v")
    }
    assert len(edges(trace(graph, "datasetField:n:X:k"))) == 2


def test_a_parent_joins_only_nodes_that_are_in_the_answer() -> None:
    parent = {"parent": {"run": {"runId": run_id("9")}, "job": {"namespace": "n", "name": "flow"}}}
    graph = graph_of(
        event(run="1", job="step", inputs=["A"], outputs=["X"], run_facets=parent),
        event(run="9", job="flow", inputs=["X"], outputs=["Y"]),
    )
    assert edges(trace(graph, X), "parent") == set()
    assert edges(trace(graph, Y), "parent") == {("job:n:flow", "job:n:step")}


def test_a_prediction_batch_is_no_node() -> None:
    batch = dataset("batch", lodeline_prediction_batch={"block": "0123456789", "count": 3})
    graph = graph_of(event(inputs=["A"], outputs=[batch]))
    assert not any(node.name == "batch" for node in graph.names)
    assert edges(trace(graph, A, direction="down"), "reads") == {(A, "job:n:job")}


def test_a_self_loop_is_kept() -> None:
    graph = graph_of(event(inputs=["X"], outputs=["X"]))
    assert edges(trace(graph, X)) == {(X, X)}


def test_the_same_event_at_two_positions_is_folded_once() -> None:
    made = event(inputs=["A"], outputs=["X"])
    entries = [entry(made, 0), entry(made, 1)]
    assert fold(entries).digest() == fold(entries[:1]).digest()
    assert fold(entries).groups == fold(entries[:1]).groups

"""Whatever was recorded: Marquez's shapes tell what the verbs tell, a page at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from histories import a_segment, histories, raw
from lodeline.ingest import accept
from lodeline.model import NodeId, parse_identifier
from lodeline.query import ask
from lodeline.query.consulting import consult
from lodeline.server.marquez import datasets, events, jobs, lineage, search, spaces
from lodeline.server.marquez.calls import Call
from lodeline.server.marquez.shapes import node_id
from lodeline.store import Segment


def answered(segment: Segment, answer: Any, path: Any = None, **query: Any) -> Any:
    call = Call(path or {}, QueryParams(query), {})
    with consult(segment, as_of=call.as_of) as inquiry:
        return answer(inquiry, call)


def names_of(segment: Segment, kinds: Sequence[str]) -> list[NodeId]:
    with segment.reading() as connection:
        marks = ", ".join("?" for _ in kinds)
        rows = connection.execute(
            f"SELECT kind, namespace, name FROM node WHERE kind IN ({marks}) ORDER BY 1, 2, 3",
            tuple(kinds),
        ).fetchall()
    return [NodeId(*row) for row in rows]


@pytest.mark.slow
@given(histories, st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_a_lineage_graph_has_the_nodes_of_the_trace(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        roots = names_of(segment, ["dataset", "job", "model", "deployment"])
        for root in dice.sample(roots, min(len(roots), 4)):
            shown = ask(segment, "show", {"id": str(root)})
            versions = [one["version"] for one in shown["versions"]] if root.kind != "job" else []
            for node in (root, *(root.at(version) for version in versions[:1])):
                options = {
                    "direction": dice.choice(["up", "down", "both"]),
                    "depth": dice.choice([20, 1, 0]),
                }
                expected = ask(segment, "trace", {"id": str(node), **options})
                found = answered(segment, lineage.get_lineage, nodeId=str(node), **options)
                named = {node_id(parse_identifier(one["id"])) for one in expected["nodes"]}
                assert {one["id"] for one in found["graph"]} == named
                assert (found["complete"], found["gaps"]) == (
                    expected["complete"],
                    expected["gaps"],
                )
                for one in found["graph"]:
                    assert one["data"] is not None or one["type"] == "DATASET_FIELD"
                    for edge in (*one["inEdges"], *one["outEdges"]):
                        assert {edge["origin"], edge["destination"]} <= named


@pytest.mark.slow
@given(histories)
@settings(max_examples=12, deadline=None)
def test_a_page_tells_of_each_node_what_the_node_alone_tells(
    history: Sequence[dict[str, Any]],
) -> None:
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        for one in answered(segment, datasets.list_datasets, {"namespace": "n"})["datasets"]:
            path = {"namespace": "n", "dataset": one["name"]}
            assert answered(segment, datasets.get_dataset, path) == one
            versions = answered(segment, datasets.list_dataset_versions, path)
            kinds = {node.kind for node in names_of(segment, ["dataset", "model", "deployment"])}
            [shown] = [
                ask(segment, "show", {"id": str(node)})
                for node in _nodes_named(segment, one["name"], kinds)
            ][:1]
            assert one["lodelineVersion"] == shown["version"]
            assert [version["lodelineVersion"] for version in versions["versions"]] == [
                version["version"] for version in shown["versions"]
            ]
            assert versions["totalCount"] == shown["versions_total"]
            for version in versions["versions"]:
                found = {**path, "version": version["version"]}
                assert answered(segment, datasets.get_dataset_version, found) == version
            if shown["id"].startswith("dataset:"):
                keys = one["facets"].keys()
                assert keys <= shown["facets"].keys()


@pytest.mark.slow
@given(histories)
@settings(max_examples=12, deadline=None)
def test_a_run_reads_and_writes_the_same_versions_as_shown(
    history: Sequence[dict[str, Any]],
) -> None:
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        for job in answered(segment, jobs.list_jobs, {"namespace": "n"})["jobs"]:
            path = {"namespace": "n", "job": job["name"]}
            assert answered(segment, jobs.get_job, path) == job
            listed = answered(segment, jobs.list_job_runs, path)
            assert listed["totalCount"] == len(listed["runs"])
            versions = answered(segment, jobs.list_job_versions, path)["versions"]
            named = {one["version"] for one in versions}
            assert job["currentVersion"] in (named or {None})
            for run_id in {run["id"] for run in listed["runs"]}:
                shown = ask(segment, "show", {"id": f"run:{run_id}"})
                if len(shown["jobs"]) > 1:
                    continue  # Each of its jobs is a run of its own here.
                # What a run's events say of the future is a run of its own, too.
                runs = [run for run in listed["runs"] if run["id"] == run_id]
                for side in ("input", "output"):
                    ids = {
                        _text(one["datasetVersionId"])
                        for run in runs
                        for one in run[f"{side}DatasetVersions"]
                    }
                    assert ids == {one.partition(":")[2] for one in shown[f"{side}s"]}
                if len(runs) == 1:
                    assert runs[0]["facets"] == shown["facets"]


@pytest.mark.slow
@given(histories)
@settings(max_examples=12, deadline=None)
def test_whatever_stands_in_facets_every_list_is_answered(
    history: Sequence[dict[str, Any]],
) -> None:
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        spaced = answered(segment, spaces.list_namespaces)["namespaces"]
        assert "n" in {one["name"] for one in spaced}
        answered(segment, spaces.list_sources)
        answered(segment, spaces.list_tags)
        page = answered(segment, events.list_lineage_events, limit=1000)
        distinct = {raw(event) for event in history}
        assert page["totalCount"] == len(page["events"]) <= len(distinct)
        found = answered(segment, search.search, q="%", limit=1000)
        assert found["totalCount"] == len(found["results"])
        for node in names_of(segment, ["dataset", "job"]):
            answered(segment, lineage.get_column_lineage, nodeId=str(node))


def _nodes_named(segment: Segment, name: str, kinds: set[str]) -> list[NodeId]:
    order = ["model", "deployment", "dataset"]
    nodes = [node for node in names_of(segment, sorted(kinds)) if node[1:3] == ("n", name)]
    return sorted(nodes, key=lambda node: order.index(node.kind))


def _text(version: dict[str, Any]) -> str:
    home = NodeId("dataset", version["namespace"], version["name"])
    return str(home.at(version["lodelineVersion"] or "")).partition(":")[2]

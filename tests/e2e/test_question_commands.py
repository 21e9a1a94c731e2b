"""The commands of questions on a small store: what they print, and with which status they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN_1, RUN_2 = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
PRODUCER = "https://example.org/p"


def facet(**body: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": "https://example.org/s", **body}


def event(
    day: int,
    job: str,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    *,
    run: str,
    **run_facets: Any,
) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": f"2026-11-{day:02d}T10:00:00Z",
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": run, "facets": run_facets},
        "job": {"namespace": "etl", "name": job},
        "inputs": inputs,
        "outputs": outputs,
    }


def dataset(name: str, **facets: Any) -> dict[str, Any]:
    return {"namespace": "db", "name": name, "facets": facets}


def owned(name: str, owner: str) -> dict[str, Any]:
    return dataset(name, ownership=facet(owners=[{"name": owner, "type": "TEAM"}]))


def history() -> list[dict[str, Any]]:
    def schema(*names: str) -> dict[str, Any]:
        return facet(fields=[{"name": name, "type": "INT"} for name in names])

    def made(number: str, day: int, depth: int, columns: list[str]) -> dict[str, Any]:
        clean = dataset(
            "clean", schema=schema(*columns), version=facet(datasetVersion=f"v{number}")
        )
        return event(
            day,
            "clean",
            [dataset("raw")],
            [clean],
            run=RUN_1 if number == "1" else RUN_2,
            lodeline_parameters=facet(parameters={"depth": depth}, metrics={}, seeds={}),
            lodeline_code=facet(version=f"c{number}"),
        )

    model = {
        "namespace": "ml",
        "name": "churn",
        "facets": {"lodeline_model": facet(digest="sha256:" + "ab" * 32, features=["a"])},
    }
    other = "00000000-0000-0000-0000-00000000000"
    return [
        made("1", 1, 3, ["a"]),
        made("2", 2, 4, ["a", "b"]),
        event(3, "train", [dataset("clean")], [model], run=f"{other}3"),
        event(3, "report", [dataset("clean")], [owned("report", "finance")], run=f"{other}4"),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    events = folder / "events.jsonl"
    events.write_text("\n".join(json.dumps(one) for one in history()))
    done = lodeline(folder / "lodeline.db", "import", str(events))
    assert done.returncode == 0, done.stderr
    return folder / "lodeline.db"


def lodeline(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LODELINE_STORE": str(store)}
    return subprocess.run(
        [sys.executable, "-m", "lodeline.cli.main", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def answer(store: Path, *words: str) -> Any:
    done = lodeline(store, *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_trace_goes_up_by_default_and_says_how_complete_it_is(store: Path) -> None:
    done = lodeline(store, "trace", "dataset:db:report")
    assert done.returncode == 0
    assert "dataset:db:clean  derives by job:etl:report" in done.stdout
    assert "dataset:db:raw" in done.stdout
    assert "complete: " in done.stdout
    assert "as of tree size " in done.stdout


def test_trace_in_json_has_the_contract_s_keys(store: Path) -> None:
    found = answer(store, "trace", "dataset:db:clean", "--both")
    assert found.keys() == {
        *("root", "direction", "as_of", "trees", "complete", "gaps", "nodes", "edges", "next")
    }
    assert found["direction"] == "both"
    assert found["complete"] is True
    assert found["trees"][0]["size"] == found["as_of"]["tree_size"]
    edge = next(edge for edge in found["edges"] if edge["kind"] == "trains")
    assert edge["source"] == "dataset:db:clean"
    assert edge["job"] == "job:etl:train"


def test_trace_draws_mermaid_and_dot(store: Path) -> None:
    mermaid = lodeline(store, "trace", "dataset:db:report", "--format", "mermaid").stdout
    assert mermaid.startswith("flowchart LR")
    assert "|derives|" in mermaid
    dot = lodeline(store, "trace", "dataset:db:report", "--format", "dot").stdout
    assert dot.startswith("digraph lineage {")
    assert dot.rstrip().endswith("}")


def test_a_model_is_traced_at_its_newest_version_to_versions_and_runs(store: Path) -> None:
    found = answer(store, "trace", "model:ml:churn")
    assert found["root"] == "model:ml:churn#sha256:" + "ab" * 32
    ids = {node["id"] for node in found["nodes"]}
    assert "dataset:db:clean#v2" in ids
    assert f"run:{RUN_2}" in ids
    assert "dataset:db:clean#v1" not in ids


def test_a_number_is_an_alias_of_a_version(store: Path) -> None:
    found = answer(store, "trace", "model:ml:churn#1")
    assert found["root"] == "model:ml:churn#sha256:" + "ab" * 32


def test_a_depth_is_said_as_a_gap(store: Path) -> None:
    found = answer(store, "trace", "dataset:db:report", "--depth", "1")
    assert found["complete"] is False
    assert [(gap["at"], gap["reason"]) for gap in found["gaps"]] == [("dataset:db:clean", "depth")]


def test_a_name_known_only_later_is_unknown_before(store: Path) -> None:
    done = lodeline(store, "trace", "dataset:db:report", "--as-of", "3")
    assert done.returncode == 1
    assert "unknown" in done.stderr
    assert lodeline(store, "trace", "dataset:db:clean", "--as-of", "3").returncode == 0


def test_pages_together_are_the_whole_answer(store: Path) -> None:
    whole = answer(store, "trace", "dataset:db:clean", "--both")
    nodes, edges, words = [], [], ["trace", "dataset:db:clean", "--both", "--limit", "2"]
    page = answer(store, *words)
    while True:
        nodes += page["nodes"]
        edges += page["edges"]
        if page["next"] is None:
            break
        assert page["complete"] is False
        assert page["gaps"][0]["reason"] == "size"
        page = answer(store, *words, "--cursor", page["next"])
    assert page["complete"] is True
    assert nodes == whole["nodes"]
    assert sorted(edges, key=str) == sorted(whole["edges"], key=str)


def test_a_cursor_of_another_question_is_refused(store: Path) -> None:
    page = answer(store, "trace", "dataset:db:clean", "--both", "--limit", "2")
    done = lodeline(store, "trace", "dataset:db:raw", "--cursor", page["next"])
    assert done.returncode == 2


def test_impact_counts_what_is_reached_and_names_its_owners(store: Path) -> None:
    found = answer(store, "impact", "dataset:db:raw")
    assert found["direction"] == "down"
    assert found["counts"]["dataset"] == 2
    assert found["counts"]["model"] == 1
    assert found["owners"] == [{"name": "finance", "type": "TEAM", "nodes": ["dataset:db:report"]}]
    assert (
        "owner finance (TEAM): dataset:db:report"
        in lodeline(store, "impact", "dataset:db:raw").stdout
    )


def test_path_spells_the_way_out_in_either_order(store: Path) -> None:
    way = ["dataset:db:raw", "dataset:db:clean", "dataset:db:report"]
    assert answer(store, "path", way[0], way[-1])["paths"] == [way]
    assert answer(store, "path", way[-1], way[0])["paths"] == [way]


def test_a_path_may_end_at_a_model(store: Path) -> None:
    found = answer(store, "path", "dataset:db:raw", "model:ml:churn")
    assert [node.partition("#")[0] for node in found["paths"][0]] == [
        *("dataset:db:raw", "dataset:db:clean", "model:ml:churn")
    ]


def test_two_nodes_that_nothing_connects_end_with_status_1(store: Path) -> None:
    done = lodeline(store, "path", "dataset:db:report", "model:ml:churn")
    assert done.returncode == 1
    assert "not connected" in done.stdout


def test_show_tells_the_newest_version_its_facets_and_owners(store: Path) -> None:
    found = answer(store, "show", "dataset:db:clean")
    assert found["id"] == "dataset:db:clean"
    assert found["version"] == "v2"
    assert [version["version"] for version in found["versions"]] == ["v2", "v1"]
    assert [one["name"] for one in found["facets"]["schema"]["fields"]] == ["a", "b"]
    old = answer(store, "show", "dataset:db:clean#v1")
    assert [one["name"] for one in old["facets"]["schema"]["fields"]] == ["a"]
    assert answer(store, "show", "dataset:db:report")["owners"][0]["name"] == "finance"


def test_show_of_a_run_tells_what_went_in_and_out(store: Path) -> None:
    found = answer(store, "show", f"run:{RUN_2}")
    assert found["job"] == "job:etl:clean"
    assert found["state"] == "COMPLETE"
    assert found["outputs"] == ["dataset:db:clean#v2"]
    assert found["code"] == "c2"


def test_search_finds_names_columns_and_owners(store: Path) -> None:
    first = answer(store, "search", "clean")["results"][0]
    assert first["id"] == "dataset:db:clean"
    assert first["version"] == "v2"
    assert first["matched"] == ["name"]
    owners = answer(store, "search", "finance")["results"]
    assert [(one["id"], one["matched"]) for one in owners] == [("dataset:db:report", ["owner"])]
    kinds = {one["kind"] for one in answer(store, "search", "clean", "--kind", "job")["results"]}
    assert kinds == {"job"}


def test_a_search_without_result_ends_with_status_1(store: Path) -> None:
    assert lodeline(store, "search", "zzz").returncode == 1


def test_diff_of_two_versions_names_every_difference(store: Path) -> None:
    found = answer(store, "diff", "dataset:db:clean#v1", "dataset:db:clean#v2")
    changes = {(one["what"], one["at"]): (one["before"], one["after"]) for one in found["changes"]}
    assert changes["schema", "b"] == (None, "INT")
    assert changes["parameter", "depth"] == (3, 4)
    assert changes["code", "version"] == ("c1", "c2")
    assert found["same"] is False


def test_diff_of_two_runs_names_outputs_and_a_node_equals_itself(store: Path) -> None:
    found = answer(store, "diff", f"run:{RUN_1}", f"run:{RUN_2}")
    outputs = [one for one in found["changes"] if one["what"] == "output"]
    assert outputs == [{"what": "output", "at": "dataset:db:clean", "before": "v1", "after": "v2"}]
    assert answer(store, "diff", f"run:{RUN_1}", f"run:{RUN_1}")["same"] is True


def test_stats_count_what_is_there(store: Path) -> None:
    found = answer(store, "stats")
    assert found["nodes"]["dataset"] == 3
    assert found["runs"] == {"COMPLETE": 4}
    assert found["entries"]["event"] == 4


def test_a_missing_store_is_could_not_tell(tmp_path: Path) -> None:
    done = lodeline(tmp_path / "none.db", "trace", "dataset:db:raw", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "could_not_tell.store_unreachable"


def test_malformed_words_are_wrong_usage(store: Path) -> None:
    assert lodeline(store, "trace").returncode == 2
    assert lodeline(store, "trace", "nonsense").returncode == 2
    assert lodeline(store, "trace", "dataset:db:raw", "--depth", "-1").returncode == 2
    assert lodeline(store, "trace", "dataset:db:raw", "--up", "--down").returncode == 2

"""The contract of design section 7 as a stranger would test it: commands in, JSON out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from black_box import Shell, dataset, edges, event, ids

W = "dataset:warehouse:"


def test_a_trace_answers_with_the_contracts_keys(shell: Shell) -> None:
    shell.import_events(event("build", ["a"], ["b"]), event("train", ["b"], ["c"]))
    answer = shell.json("trace", f"{W}c")
    assert set(answer) >= {
        "root",
        "direction",
        "as_of",
        "trees",
        "complete",
        "gaps",
        "nodes",
        "edges",
        "next",
    }
    assert answer["root"] == f"{W}c"
    assert answer["direction"] == "up"
    assert answer["complete"] is True
    assert answer["gaps"] == []
    assert answer["next"] is None
    assert set(answer["as_of"]) == {"time", "tree_size"}
    (tree,) = answer["trees"]
    assert set(tree) >= {"segment", "origin", "size", "root_hash"}
    assert tree["size"] == answer["as_of"]["tree_size"]
    depth = {node["id"]: node["depth"] for node in answer["nodes"]}
    assert (depth[f"{W}c"], depth[f"{W}b"], depth[f"{W}a"]) == (0, 1, 2)
    for node in answer["nodes"]:
        assert {"id", "kind", "namespace", "name", "version", "depth"} <= set(node)
    for edge in answer["edges"]:
        assert {
            "source",
            "target",
            "kind",
            "status",
            "basis",
            "restricted",
            "asserted_by",
            "first_seen",
            "last_seen",
            "job",
        } <= set(edge)
    assert edges(answer) == {(f"{W}a", f"{W}b"), (f"{W}b", f"{W}c")}
    assert edges(answer, kind="reads") == {(f"{W}b", "job:etl:train"), (f"{W}a", "job:etl:build")}
    assert edges(answer, kind="writes") == {("job:etl:train", f"{W}c"), ("job:etl:build", f"{W}b")}


def test_a_job_with_two_separate_runs_does_not_join_them(shell: Shell) -> None:
    shell.import_events(event("copy", ["a"], ["x"]), event("copy", ["b"], ["y"]))
    up = shell.json("trace", f"{W}x")
    assert ids(up, kind="dataset") == {f"{W}x", f"{W}a"}
    assert (f"{W}b", "job:etl:copy") not in edges(up, kind="reads")
    down = shell.json("trace", f"{W}b", "--down")
    assert ids(down, kind="dataset") == {f"{W}b", f"{W}y"}


def test_halves_of_one_run_join_and_halves_of_two_runs_do_not(shell: Shell) -> None:
    run = "00000000-0000-4000-8000-00000000aaaa"
    shell.import_events(
        event("halves", [], ["x"], run=run.upper(), time="2026-03-01T10:01:00Z"),
        event("halves", ["a"], [], run=run, kind="START"),
        event("other", ["p"], []),
        event("other", [], ["q"]),
    )
    assert edges(shell.json("trace", f"{W}x")) == {(f"{W}a", f"{W}x")}
    assert ids(shell.json("trace", f"{W}q"), kind="dataset") == {f"{W}q"}


def test_depth_counts_derivations_and_says_what_it_left_out(shell: Shell) -> None:
    shell.import_events(
        event("j1", ["a"], ["b"]), event("j2", ["b"], ["c"]), event("j3", ["c"], ["d"])
    )
    answer = shell.json("trace", f"{W}d", "--depth", "1")
    assert ids(answer, kind="dataset") == {f"{W}d", f"{W}c"}
    assert answer["complete"] is False
    assert {gap["reason"] for gap in answer["gaps"]} == {"depth"}


def test_both_is_the_union_of_the_two_closures_without_siblings(shell: Shell) -> None:
    shell.import_events(
        event("j1", ["a"], ["b"]), event("j2", ["b"], ["c"]), event("j3", ["a"], ["sibling"])
    )
    answer = shell.json("trace", f"{W}b", "--both")
    assert answer["direction"] == "both"
    assert ids(answer, kind="dataset") == {f"{W}a", f"{W}b", f"{W}c"}


def test_an_unknown_id_exits_one_and_a_malformed_one_two(shell: Shell) -> None:
    shell.import_events(event("j", ["a"], ["b"]))
    assert shell.run("trace", f"{W}nothing").returncode == 1
    assert shell.run("trace", "nonsense").returncode in {1, 2}
    assert shell.run("trace").returncode == 2
    assert shell.run("nocommand").returncode == 2
    assert shell.json("trace", f"{W}nothing", status=1)["error"]["code"] == "no.unknown_node"


def test_a_missing_store_could_not_tell(shell: Shell) -> None:
    done = shell.run("trace", f"{W}a", "--store", f"sqlite:///{shell.folder}/none/none.db")
    assert done.returncode == 3
    assert not (shell.folder / "none").exists()


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("s3://bucket", "raw/a.csv"),
        ("postgres://db:5432", "public.orders"),
        ("file", "/data/a%2Fb c#d.csv"),
        ("数据", "表:一\u202eabc"),
        ("n", "x" * 4096),
        ("", "empty namespace"),
        ("a#b", "c%"),
        ("<script>alert(1)</script>", "'; DROP TABLE node; --"),
    ],
)
def test_odd_names_are_found_by_their_canonical_identifier(
    shell: Shell, namespace: str, name: str
) -> None:
    from lodeline.model import NodeId

    shell.import_events(event("j", [dataset(name, namespace)], ["b"]))
    node = str(NodeId("dataset", namespace, name))
    answer = shell.json("trace", node, "--down")
    assert answer["root"] == node
    assert f"{W}b" in ids(answer)
    root = next(n for n in answer["nodes"] if n["id"] == node)
    assert (root["namespace"], root["name"]) == (namespace, name)


def test_a_raw_identifier_is_found_and_an_ambiguous_one_lists_candidates(shell: Shell) -> None:
    shell.import_events(event("j", [dataset("b:c", "a"), dataset("x:y", "s")], ["out"]))
    assert shell.json("trace", "dataset:s:x:y", "--down")["root"] == "dataset:s:x%3Ay"
    shell.import_events(
        event("k", [dataset("y:z", "p"), dataset("q:y:z", "o")], ["o2"]),
        event("l", [dataset("z:1", "p:y")], ["o3"]),
    )
    shell.import_events(event("m", [dataset("b:2:3", "r"), dataset("2:3", "r:b")], ["o4"]))
    done = shell.run("show", "dataset:r:b:2:3")
    assert done.returncode == 2
    assert "dataset:r:b%3A2%3A3" in done.stderr
    assert "dataset:r:b:2%3A3" in done.stderr


def test_as_of_tells_what_was_known_then(shell: Shell) -> None:
    shell.import_events(event("j", ["a"], ["b"]))
    then = shell.json("trace", f"{W}b")["as_of"]["tree_size"]
    shell.import_events(event("j", ["late"], ["b"], time="2026-01-01T00:00:00Z"))
    assert ids(shell.json("trace", f"{W}b", "--as-of", then), kind="dataset") == {f"{W}a", f"{W}b"}
    assert ids(shell.json("trace", f"{W}b"), kind="dataset") == {f"{W}a", f"{W}b", f"{W}late"}
    assert shell.json("trace", f"{W}b", "--as-of", then)["as_of"]["tree_size"] == then
    assert shell.run("trace", f"{W}late", "--as-of", then).returncode == 1


def test_valid_at_tells_what_was_true_then(shell: Shell) -> None:
    shell.import_events(
        event("j", ["a"], ["b"], time="2026-03-01T00:00:00Z"),
        event("j", ["c"], ["b"], time="2026-05-01T00:00:00Z"),
    )
    answer = shell.json("trace", f"{W}b", "--valid-at", "2026-04-01T00:00:00Z")
    assert edges(answer) == {(f"{W}a", f"{W}b")}


def code(version: str) -> dict[str, Any]:
    return {
        "sourceCodeLocation": {
            "_producer": "p",
            "_schemaURL": "s",
            "type": "git",
            "url": "https://example.com/r",
            "version": version,
        }
    }


def test_an_edge_that_new_code_no_longer_makes_is_stale(shell: Shell) -> None:
    shell.import_events(
        event("j", ["a", "b"], ["x"], time="2026-03-01T00:00:00Z", job_facets=code("v1")),
        event("j", ["a"], ["x"], time="2026-03-02T00:00:00Z", job_facets=code("v2")),
    )
    answer = shell.json("trace", f"{W}x")
    status = {
        edge["source"]: edge["status"] for edge in answer["edges"] if edge["kind"] == "derives"
    }
    assert status == {f"{W}a": "current", f"{W}b": "stale"}
    before = shell.json("trace", f"{W}x", "--valid-at", "2026-03-01T12:00:00Z")
    assert {edge["status"] for edge in before["edges"]} == {"current"}


def test_an_edge_not_seen_for_ten_runs_and_seven_days_is_stale(shell: Shell) -> None:
    shell.import_events(event("j", ["old"], ["x"], time="2026-03-01T00:00:00Z"))
    shell.import_events(
        *[event("j", ["a"], ["x"], time=f"2026-03-{day:02d}T00:00:00Z") for day in range(2, 11)]
    )

    def statuses() -> dict[str, str]:
        answer = shell.json("trace", f"{W}x")
        return {
            edge["source"]: edge["status"] for edge in answer["edges"] if edge["kind"] == "derives"
        }

    assert statuses()[f"{W}old"] == "current"
    shell.import_events(event("j", ["a"], ["x"], time="2026-03-11T00:00:00Z"))
    assert statuses() == {f"{W}old": "stale", f"{W}a": "current"}


def column_lineage(**fields: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "_producer": "p",
        "_schemaURL": "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet",
        "fields": {
            field: {
                "inputFields": [
                    {"namespace": "warehouse", "name": name, "field": column}
                    for name, column in inputs
                ]
            }
            for field, inputs in fields.items()
        },
    }


def test_column_lineage_gives_its_basis_and_omitted_inputs_stay_inferred(shell: Shell) -> None:
    shell.import_events(
        event(
            "j", ["a", "b"], [dataset("x", columnLineage=column_lineage(total=[("a", "amount")]))]
        )
    )
    answer = shell.json("trace", f"{W}x", "--columns")
    basis = {edge["source"]: edge["basis"] for edge in answer["edges"] if edge["kind"] == "derives"}
    assert basis[f"{W}a"] == "columnLineage"
    assert basis[f"{W}b"] == "inferred"
    field = "datasetField:warehouse:"
    assert (f"{field}a:amount", f"{field}x:total") in edges(answer)
    assert (f"{field}a:amount", f"{field}x:total") in edges(shell.json("trace", f"{field}x:total"))


def test_an_alias_joins_names_and_a_deletion_parts_them(shell: Shell) -> None:
    def symlinks(**extra: Any) -> dict[str, Any]:
        return {
            "_producer": "p",
            "_schemaURL": "s",
            "identifiers": [{"namespace": "glue", "name": "db.t", "type": "TABLE"}],
            **extra,
        }

    shell.import_events(
        event(
            "w", ["a"], [dataset("t", "s3://b", symlinks=symlinks())], time="2026-03-01T00:00:00Z"
        ),
        event("r", [dataset("db.t", "glue")], ["y"], time="2026-03-02T00:00:00Z"),
    )
    size = shell.json("trace", f"{W}y")["as_of"]["tree_size"]
    assert f"{W}a" in ids(shell.json("trace", f"{W}y"))
    assert shell.json("trace", "dataset:s3://b:t", "--down")["root"] == "dataset:glue:db.t"
    shell.import_events(
        event(
            "w",
            ["a"],
            [
                dataset(
                    "t", "s3://b", symlinks={"_producer": "p", "_schemaURL": "s", "_deleted": True}
                )
            ],
            time="2026-03-03T00:00:00Z",
        )
    )
    assert f"{W}a" not in ids(shell.json("trace", f"{W}y"))
    assert f"{W}a" in ids(shell.json("trace", f"{W}y", "--as-of", size))


def test_a_lineage_facet_overrules_everything_else(shell: Shell) -> None:
    lineage = {
        "_producer": "p",
        "_schemaURL": "s",
        "inputs": [{"namespace": "warehouse", "name": "a", "type": "DATASET"}],
    }
    shell.import_events(
        event(
            "j",
            ["a", "b"],
            [dataset("x", lineage=lineage, columnLineage=column_lineage(c=[("b", "c")]))],
        )
    )
    answer = shell.json("trace", f"{W}x")
    assert {(e["source"], e["basis"]) for e in answer["edges"] if e["kind"] == "derives"} == {
        (f"{W}a", "lineage")
    }


def test_a_version_traces_to_runs_and_their_input_versions(shell: Shell) -> None:
    def version(text: str) -> dict[str, Any]:
        return {"version": {"_producer": "p", "_schemaURL": "s", "datasetVersion": text}}

    r1, r2, r3 = (f"00000000-0000-4000-9000-{n:012x}" for n in (1, 2, 3))
    shell.import_events(
        event("load", [], [dataset("a", **version("1"))], run=r1, time="2026-03-01T00:00:00Z"),
        event("load", [], [dataset("a", **version("2"))], run=r2, time="2026-03-02T00:00:00Z"),
        event("use", ["a"], ["b"], run=r3, time="2026-03-01T12:00:00Z", kind="START"),
        event("use", ["a"], ["b"], run=r3, time="2026-03-03T12:00:00Z"),
    )
    answer = shell.json("trace", f"{W}b#run:{r3}")
    assert {f"{W}a#1", f"run:{r1}", f"run:{r3}", f"{W}b#run:{r3}"} == ids(answer)
    assert (f"run:{r3}", f"{W}b#run:{r3}") in edges(answer, kind="writes")
    assert (f"{W}a#1", f"run:{r3}") in edges(answer, kind="reads")
    assert edges(answer) == {(f"{W}a#1", f"{W}b#run:{r3}")}
    assert f"{W}a#1" in ids(shell.json("trace", f"run:{r3}"))
    shown = shell.json("show", f"{W}a")
    assert shown["version"] == "2"
    assert {"aliases", "versions", "facets", "labels", "owners"} <= set(shown)


def test_path_impact_search_show_and_diff_answer(shell: Shell) -> None:
    owner = {
        "ownership": {
            "_producer": "p",
            "_schemaURL": "s",
            "owners": [{"name": "team:risk", "type": "MAINTAINER"}],
        }
    }
    shell.import_events(
        event("j1", ["orders"], ["features"]),
        event("j2", ["features"], [dataset("scores", **owner)]),
    )
    path = shell.json("path", f"{W}orders", f"{W}scores")
    assert [f"{W}orders", f"{W}features", f"{W}scores"] in path["paths"]
    shell.import_events(event("elsewhere", ["lonely"], ["island"]))
    assert shell.json("path", f"{W}lonely", f"{W}scores", status=1)["paths"] == []
    impact = shell.json("impact", f"{W}orders")
    assert ids(impact, kind="dataset") == {f"{W}orders", f"{W}features", f"{W}scores"}
    assert "team:risk" in json.dumps(impact["owners"])
    found = shell.json("search", "featur")
    assert found["total"] >= 1
    assert found["results"][0]["id"] == f"{W}features"
    assert {"id", "kind", "namespace", "name", "version", "matched", "updated"} <= set(
        found["results"][0]
    )
    diff = shell.json("diff", f"{W}features", f"{W}scores")
    assert set(diff) >= {"a", "b", "changes", "same"}


def test_trees_can_be_drawn_as_mermaid_and_dot(shell: Shell) -> None:
    shell.import_events(event("j", ["a"], ["b"]))
    assert (
        "flowchart" in shell.run("trace", f"{W}b", "--format", "mermaid").stdout
        or "graph" in shell.run("trace", f"{W}b", "--format", "mermaid").stdout
    )
    assert "digraph" in shell.run("trace", f"{W}b", "--format", "dot").stdout
    text = shell.run("trace", f"{W}b").stdout
    assert f"{W}a" in text
    assert "complete" in text


def test_a_future_dated_event_is_marked_and_ages_nobody(shell: Shell) -> None:
    shell.import_events(
        event("j", ["a"], ["x"], time="2026-03-01T00:00:00Z", job_facets=code("v1"))
    )
    before = shell.json("doctor")["graph_digest"]
    shell.import_events(
        event("j", ["b"], ["x"], time="2199-01-01T00:00:00Z", job_facets=code("v2"))
    )
    assert shell.json("doctor")["graph_digest"] == before
    answer = shell.json("trace", f"{W}x")
    assert {e["status"] for e in answer["edges"] if e["source"] == f"{W}a"} == {"current"}
    assert f"{W}b" in ids(answer)


def test_answers_of_the_server_equal_those_of_the_command_line(
    shell: Shell, tmp_path: Path
) -> None:
    import subprocess
    import sys
    import time
    import urllib.error
    import urllib.request

    shell.import_events(event("j", ["a"], ["b"]))
    server = subprocess.Popen(
        [sys.executable, "-m", "lodeline", "serve", "--port", "0"],
        cwd=tmp_path, env=shell.environment | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = ""
        deadline = time.monotonic() + 30
        while not url and time.monotonic() < deadline:
            line = server.stdout.readline()
            url = next(
                (
                    word.rstrip("/.,")
                    for word in line.split()
                    if word.startswith("http://127.0.0.1:")
                ),
                "",
            )
        assert url
        body = json.dumps(event("k", ["b"], ["c"])).encode()
        request = urllib.request.Request(
            f"{url}/api/v1/lineage", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 201
            assert response.read() == b""
            assert response.headers["Lodeline-Receipt"]
        over_http = shell.json("trace", f"{W}c", "--server", url, LODELINE_STORE="")
        embedded = shell.json("trace", f"{W}c")
        assert over_http == embedded
        assert edges(embedded) == {(f"{W}a", f"{W}b"), (f"{W}b", f"{W}c")}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(
                urllib.request.Request(f"{url}/api/v1/lineage", b'{"eventTime": 3}', method="POST"),
                timeout=30,
            )
        fault = json.loads(refused.value.read())
        assert 400 <= refused.value.code < 500
        assert {"code", "message"} <= set(fault)
    finally:
        server.terminate()
        server.wait(30)

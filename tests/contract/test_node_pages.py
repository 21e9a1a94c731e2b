"""Pages of nodes, comparisons and paths: their facts over HTTP, and what of them is in the page."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from lodeline.capture.sampling import SamplingRule, split_rows
from lodeline.model import PredictionId
from lodeline.server.pages.addresses import page_url
from lodeline.server.pages.comparison_facts import line_changes, patch_lines
from lodeline.server.pages.entity_facts import commit_link
from lodeline.store import open_segment
from lodeline.store.api_keys import create_api_key
from page_histories import (
    CHILD,
    FAILED,
    MARKUP,
    PARENT,
    PATCH,
    RUNS,
    dataset,
    facet,
    history,
    run_event,
)
from services import Reply, Service, command, environment, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("nodes") / "s.db") as one:
        for stated in history():
            reply = one.post(stated, "/api/v1/lineage?wait=folded")
            assert reply.status == 201, reply.body
        yield one
        assert one.stop() == 0


def facts_of(service: Service, page: str, node: str, **state: object) -> Any:
    path = page_url(page, node)
    address = page_url(page, node, **state).replace(path, f"{path}.json", 1)
    reply = service.send("GET", address)
    assert reply.status == 200, reply.body
    return reply.json


def page_of(service: Service, page: str, node: str, **state: object) -> str:
    reply = service.send("GET", page_url(page, node, **state))
    assert reply.status == 200, reply.body
    return reply.body.decode()


def test_a_dataset_tells_versions_changes_quality_and_storage(service: Service) -> None:
    facts = facts_of(service, "node", "dataset:n:table")
    assert [one["version"] for one in facts["versions"]] == ["v2", "v1", "v0"]
    assert {(one["what"], one["at"]) for one in facts["changes"]} >= {("schema", "v")}
    assert [(one["check"], one["success"]) for one in facts["quality"]] == [
        ("unique", False),
        ("not_null", True),
    ]
    assert (facts["storage"]["bytes"], facts["storage"]["rows"]) == (2_000, 20)
    assert facts["made_by"] == "job:n:train"
    assert [one["id"] for one in facts["around"]["upstream"]["edges"]] == ["dataset:n:raw"]
    text = page_of(service, "node", "dataset:n:table")
    for shown in ("2.0 kB", "unique", "s-failed", "not there", "TEXT"):
        assert shown in text, shown


def test_an_earlier_version_is_compared_with_the_one_before_it(service: Service) -> None:
    facts = facts_of(service, "node", "dataset:n:table#v1")
    assert (facts["version"], facts["previous"]) == ("v1", "dataset:n:table#v0")
    assert facts_of(service, "node", "dataset:n:table#v0")["changes"] is None


def test_a_job_puts_its_runs_numbers_beside_each_other(service: Service) -> None:
    facts = facts_of(service, "node", "job:n:train")
    assert [one["run"] for one in facts["runs"]] == RUNS[::-1]
    compared = facts["compared"]
    assert compared["runs"] == RUNS
    assert compared["metrics"] == [{"name": "auc", "values": [0.7, 0.71, 0.72]}]
    assert compared["parameters"] == [{"name": "depth", "values": [3, 4, 5]}]
    assert compared["parameters_same"] == 1
    text = page_of(service, "node", "job:n:train")
    assert text.count('class="spark"') == 2
    assert 'class="timeline"' in text


def test_a_run_tells_its_code_with_patch_and_what_it_changed(service: Service) -> None:
    facts = facts_of(service, "node", f"run:{RUNS[2]}")
    assert facts["code"]["link"] == f"https://example.org/team/pipe/commit/{'ab' * 20}"
    assert facts["code"]["dirty"] is True
    assert [line["sign"] for line in facts["patch"]][-2:] == ["-", "+"]
    assert facts["previous"] == f"run:{RUNS[1]}"
    changed = {(one["what"], one["at"]): (one["before"], one["after"]) for one in facts["changes"]}
    assert changed["environment", "packages.numpy"] == ("2.1", "2.2")
    assert changed["metric", "auc"] == (0.71, 0.72)
    text = page_of(service, "node", f"run:{RUNS[2]}")
    assert "depth = 4" in text
    assert 'rel="noreferrer external"' in text


def test_a_run_tells_who_started_it_and_what_it_started(service: Service) -> None:
    child = facts_of(service, "node", f"run:{CHILD}")
    assert child["parent"] == {"run": PARENT, "job": "job:n:nightly", "recorded": True}
    parent = facts_of(service, "node", f"run:{PARENT}")
    assert [one["run"] for one in parent["children"]] == [CHILD]


@pytest.mark.parametrize(
    ("node", "word"),
    [
        (f"run:{FAILED}", "failed"),
        ("job:n:report", "failed"),
        ("job:n:planned", "never ran"),
        ("dataset:n:later", "never ran"),
        ("dataset:n:table", "current"),
        ("job:n:train", "complete"),
    ],
)
def test_what_failed_and_what_never_ran_are_different_words(
    service: Service, node: str, word: str
) -> None:
    assert facts_of(service, "node", node)["state"] == word
    assert f'class="state s-{word.replace(" ", "-")}"' in page_of(service, "node", node)


def test_home_the_graph_and_a_nodes_own_page_have_one_word_for_it(service: Service) -> None:
    home = service.send("GET", "/index.json").json
    for one in home["failures"]:
        assert one["state"] == facts_of(service, "node", one["job"])["state"] == "failed"
    [report] = home["failures"]
    assert (report["job"], report["cause"]) == ("job:n:report", f"no table {MARKUP}")
    cards = facts_of(service, "lineage", "dataset:n:table")["cards"]
    assert set(cards) == {"dataset:n:raw", "dataset:n:table", "dataset:n:later"}
    for node, card in cards.items():
        page = facts_of(service, "node", node)
        assert card["state"] == page["state"], node
        if card["job_state"] is not None:
            assert card["job_state"] == facts_of(service, "node", page["made_by"])["state"], node


def test_home_tells_checks_whose_newest_result_failed_and_what_lies_behind(
    service: Service,
) -> None:
    [told] = service.send("GET", "/index.json").json["record"]["failed_assertions"]
    assert (told["id"], told["assertion"], told["column"]) == ("dataset:n:table", "unique", "k")
    impact = service.send("GET", "/api/v2/impact?id=dataset:n:table&depth=4").json["counts"]
    assert told["downstream"] == {"dataset": impact["dataset"]} == {"dataset": 1}
    assert "1 dataset <a" in service.send("GET", "/").body.decode()


def test_with_jobs_and_runs_the_lineage_page_is_the_whole_answer_of_trace(service: Service) -> None:
    asked = "id=dataset:n:table&direction=both&depth=4"
    whole = service.send("GET", f"/api/v2/trace?{asked}").json
    page = facts_of(service, "lineage", "dataset:n:table", acts=1)
    assert (page["nodes"], page["edges"]) == (whole["nodes"], whole["edges"])
    assert {one["id"] for one in whole["nodes"]} <= set(page["graph"]["nodes"])
    without = facts_of(service, "lineage", "dataset:n:table")
    assert len(without["nodes"]) < len(whole["nodes"])
    assert "Show jobs and runs as nodes" in page_of(service, "lineage", "dataset:n:table")


def test_the_command_below_a_graph_gives_its_nodes_and_edges(service: Service) -> None:
    for state in ({}, {"acts": 1, "direction": "down"}, {"depth": "all", "columns": 1}):
        page = facts_of(service, "lineage", "dataset:n:table", **state)
        words = [*shlex.split(page["same_command"])[1:], "--json", "--server", service.url]
        done = subprocess.run(
            command(*words), env=environment(), capture_output=True, text=True, check=True
        )
        answer = json.loads(done.stdout)
        assert (answer["nodes"], answer["edges"]) == (page["nodes"], page["edges"]), state


def test_single_nodes_open_to_their_columns_and_the_edges_between_them(service: Service) -> None:
    def field(name: str, kind: str) -> dict[str, Any]:
        step = {"type": kind, "subtype": "JOIN" if kind == "INDIRECT" else "IDENTITY"}
        return {"namespace": "n", "name": "left", "field": name, "transformations": [step]}

    fields = {
        "v": {"inputFields": [field("k", "INDIRECT"), field("v", "DIRECT")]},
        "w": {"inputFields": [field("v", "DIRECT")]},
    }
    filters = [{**field("z", "INDIRECT"), "name": "filter"}]
    made = dataset("right", "1", columnLineage=facet(fields=fields, dataset=filters))
    run = run_event(str(uuid.UUID(int=40)), "join", 17, inputs=[dataset("left")], outputs=[made])
    run["inputs"].append(dataset("filter"))
    assert service.post(run, "/api/v1/lineage?wait=folded").status == 201
    both = ["dataset:n:left", "dataset:n:right"]
    query = urlencode([("id", one) for one in both])
    told = service.send("GET", f"/columns.json?{query}").json
    assert {node: one["total"] for node, one in told["nodes"].items()} == dict(
        zip(both, (2, 2), strict=True)
    )
    left, right = ("datasetField:n:left:", "datasetField:n:right:")
    assert sorted(told["edges"]) == [
        [f"{left}k", f"{right}v", 0, 0, 1],
        [f"{left}v", f"{right}v", 0, 0, 0],
        [f"{left}v", f"{right}w", 0, 0, 0],
    ]
    # What a column is made of is counted alike on its dataset's page and by `trace`.
    for column in facts_of(service, "node", "dataset:n:right")["columns"]:
        up = service.send("GET", page_url("api/v2/trace", id=column["id"], depth=1)).json
        derived = [edge for edge in up["edges"] if edge["kind"] == "derives"]
        assert column["inputs"] == len(derived) > 1, column["name"]
    alone = service.send("GET", f"/columns.json?{urlencode({'id': both[1]})}").json
    assert alone["edges"] == []
    opened = facts_of(service, "lineage", both[1], open=json.dumps(both))["opened"]
    assert opened == {key: told[key] for key in ("nodes", "edges")}
    for wrong in ("x", '{"a": 1}', json.dumps([f"dataset:n:{one}" for one in range(9)])):
        assert service.send("GET", page_url("lineage", both[1], open=wrong)).status == 400


def test_an_error_of_a_producer_is_told_and_stays_text(service: Service) -> None:
    text = page_of(service, "node", f"run:{FAILED}")
    assert "no table &lt;img" in text
    assert MARKUP not in text


@pytest.mark.parametrize("name", [MARKUP, "x" * 4096])
@pytest.mark.parametrize("page", ["node", "lineage", "proof"])
def test_no_hostile_name_leaves_its_place(service: Service, page: str, name: str) -> None:
    text = page_of(service, page, f"dataset:n:{name}")
    assert MARKUP not in text
    assert facts_of(service, page, f"dataset:n:{name}")["title"]
    for path in ("/diff", "/path"):
        reply = service.send("GET", page_url(path[1:], a=f"dataset:n:{name}", b="dataset:n:raw"))
        assert MARKUP.encode() not in reply.body
        assert reply.status in {200, 400}


def test_a_comparison_is_the_answer_of_diff_in_groups(service: Service) -> None:
    ends = {"a": "dataset:n:table#v1", "b": "dataset:n:table#v2"}
    answer = service.send("GET", page_url("api/v2/diff", **ends)).json
    facts = service.send("GET", page_url("diff.json", **ends)).json["answer"]
    grouped = [one for group in facts["groups"] for one in group["changes"]]
    keys = ("what", "at", "before", "after")
    assert [[one[key] for key in keys] for one in grouped] == [
        [one[key] for key in keys] for one in answer["changes"]
    ]
    assert facts["total"] == len(answer["changes"]) > 0


def test_two_moments_are_compared(service: Service) -> None:
    facts = service.send("GET", page_url("diff.json", since=1)).json["answer"]
    assert [group["what"] for group in facts["groups"]] == ["edge"]
    text = service.send("GET", page_url("diff", since=1)).body.decode()
    assert "s-came" in text


def test_a_comparison_without_two_ends_offers_fields(service: Service) -> None:
    assert service.send("GET", "/diff.json").json["answer"] is None
    text = service.send("GET", "/diff?a=dataset:n:table").body.decode()
    assert 'value="dataset:n:table"' in text


def test_paths_are_threads_of_nodes_and_edges(service: Service) -> None:
    ends = {"a": "dataset:n:raw", "b": "dataset:n:later"}
    facts = service.send("GET", page_url("path.json", **ends)).json["answer"]
    [thread] = facts["paths"]
    assert [step["node"]["id"] for step in thread] == [
        "dataset:n:raw",
        "dataset:n:table",
        "dataset:n:later",
    ]
    assert [step["edge"] and step["edge"]["job"] for step in thread] == [
        "job:n:train",
        "job:n:planned",
        None,
    ]
    none = service.send("GET", page_url("path", a="dataset:n:raw", b="dataset:n:summary"))
    assert b"No path between" in none.body


def test_lines_that_differ_are_told_with_their_place() -> None:
    lines = line_changes("a\nb\nc", "a\nx\nc")
    assert [(one["sign"], one["text"]) for one in lines[1:]] == [
        (" ", "a"),
        ("-", "b"),
        ("+", "x"),
        (" ", "c"),
    ]
    assert [one["sign"] for one in patch_lines(PATCH)] == ["@", "@", "@", "@", "-", "+"]


@pytest.mark.parametrize(
    ("remote", "link"),
    [
        ("https://example.org/a/b.git", "https://example.org/a/b/commit/abcdef1"),
        ("git@example.org:a/b.git", "https://example.org/a/b/commit/abcdef1"),
        ("ssh://git@example.org/a/b", "https://example.org/a/b/commit/abcdef1"),
        ("https://user:secret@example.org/a/b", "https://example.org/a/b/commit/abcdef1"),
        ("javascript:alert(1)//a/b", None),
        ("https://example.org/a/b?x=1&y=<b>", "https://example.org/a/b/commit/abcdef1"),
        ("/home/me/pipe", None),
        ("https://[broken/a", None),
    ],
)
def test_a_commit_is_linked_only_where_its_repository_has_pages(
    remote: str, link: str | None
) -> None:
    assert commit_link(remote, "abcdef1") == link


# -- what a key may see ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    """The same record, asked by a key that sees the namespace `n` alone."""
    store = tmp_path_factory.mktemp("confined") / "s.db"
    keys: dict[str, str] = {}
    with open_segment(f"sqlite:///{store}", create=True) as segment:
        now = time.time_ns() // 1000
        namespaces: dict[str, tuple[str, ...]] = {"all": (), "part": ("n",)}
        for name, patterns in namespaces.items():
            _, token = create_api_key(
                segment, name=name, scopes=("ingest", "read", "log"), namespaces=patterns,
                now_us=now, expires_us=None,
            )  # fmt: skip
            keys[name] = f"Bearer {token}"
    with serving(store, variables={"LODELINE_AUTHENTICATION": "keys"}) as one:
        for stated in history():
            body = json.dumps(stated).encode()
            path = "/api/v1/lineage?wait=folded"
            reply = one.send("POST", path, body, Authorization=keys["all"])
            assert reply.status == 201, reply.body
        yield one, keys
        assert one.stop() == 0


def seen(confined: tuple[Service, dict[str, str]], path: str, key: str = "part") -> Reply:
    service, keys = confined
    return service.send("GET", path, Authorization=keys[key], Accept="text/html")


PAGES = (
    "/node/dataset:n:summary", "/node/dataset:n:summary.json", "/node/job:n:hide",
    f"/node/run:{uuid.UUID(int=31)}", "/proof/dataset:n:summary.json", "/proof/dataset:n:summary",
    "/diff?since=1", "/lineage/dataset:n:summary",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_what_is_hidden_is_never_sent(confined: tuple[Service, dict[str, str]], path: str) -> None:
    reply = seen(confined, path)
    assert reply.status == 200, reply.body
    assert b"salaries" not in reply.body
    assert b"secret" not in reply.body
    if "node" in path and "json" not in path:
        assert b"hidden" in reply.body
        assert b"salaries" in seen(confined, path, "all").body


def test_a_page_says_what_hides_things_and_who_can_change_that(
    confined: tuple[Service, dict[str, str]],
) -> None:
    text = seen(confined, "/node/dataset:n:summary").body.decode()
    assert "Your key part sees the namespaces n; all else is hidden." in text
    assert "lodeline key create" in text
    assert "data-sight" not in seen(confined, "/node/dataset:n:summary", "all").body.decode()


def test_the_columns_of_what_is_hidden_are_not_told(
    confined: tuple[Service, dict[str, str]],
) -> None:
    asked = "/columns.json?id=dataset:n:summary&id=dataset:secret:salaries"
    assert set(seen(confined, asked).json["nodes"]) == {"dataset:n:summary"}
    assert len(seen(confined, asked, "all").json["nodes"]) == 2


def test_a_hidden_node_is_unknown(confined: tuple[Service, dict[str, str]]) -> None:
    assert seen(confined, "/node/dataset:secret:salaries").status == 404
    assert seen(confined, "/node/dataset:secret:salaries", "all").status == 200


def test_whole_entries_are_shown_to_who_sees_all_of_them(
    confined: tuple[Service, dict[str, str]],
) -> None:
    assert seen(confined, "/proof-entries?entries=2").status == 403
    assert seen(confined, "/proof-entries?entries=2", "all").status == 200
    assert seen(confined, "/proof/dataset:n:table.json").json["disclosed"] is False
    for path in ("/health", "/dead-letters", "/producers"):
        assert seen(confined, path).status == 403


def test_a_deployment_shows_what_sampling_left_out(service: Service) -> None:
    digest, block, start = "sha256:" + "8" * 64, 0x77, 1_700_000_000_000_000
    stated = facet(configuration={}, digest=digest)
    output = {**dataset("quick-api"), "facets": {"lodeline_deployment": stated}}
    service.post(
        run_event(str(uuid.UUID(int=77)), "deploy", 9, outputs=[output]),
        "/api/v1/lineage?wait=folded",
    )
    rows = [
        {"id": str(PredictionId((start + i) * 4096 // 1000, block, i)), "output": {"<b>": i}}
        for i in range(101)
    ]
    common = {"block": f"{block:010x}", "time": start, "writer": "w", "run": None}
    deployment = {"namespace": output["namespace"], "name": "quick-api", "digest": digest}
    _, summary = split_rows(rows, SamplingRule("*", 0.0))
    records: list[dict[str, Any]] = [
        {"type": "reservation", "deployment": deployment, **common},
        {"type": "predictions", "rows": [], "summary": summary, **common},
    ]
    assert service.post(records, "/api/v2/predictions").status == 204
    node = f"deployment:{output['namespace']}:quick-api"
    sampled = facts_of(service, "node", node)["sampled"]
    assert sampled["columns"]["output.<b>"]["distribution"]["quantiles"]["0.5"] == 50
    page = page_of(service, "node", node)
    assert "101 predictions in 1 summary" in page
    assert "output.&lt;b&gt;" in page
    assert "±0.0 %" in page

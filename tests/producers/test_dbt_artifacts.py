"""dbt's own artifacts tell the same graph as dbt's OpenLineage integration, where both speak.

One real `dbt build` on DuckDB under `lodeline run`, without `dbt-ol`; the same target folder is then
given to `dbt-ol send-events`, and to `lodeline import --dbt`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from test_real_pipelines import own_environment, program

from lodeline.cli.main import main
from lodeline.query import ask
from lodeline.store import open_segment

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Built:
    """The folder of a project that was built once, and what each told of it."""

    folder: Path
    store: str
    database: str
    told: list[dict[str, Any]]
    dbt_ol: list[dict[str, Any]]
    status: int

    def ask(self, verb: str, node: str, **more: object) -> dict[str, Any]:
        with open_segment(self.store) as segment:
            return ask(segment, verb, {"id": node, **more})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    dbt = program(".venv-dbt", "dbt")
    folder = tmp_path_factory.mktemp("dbt")
    project, path, events = folder / "project", folder / "shop.duckdb", folder / "events.jsonl"
    shutil.copytree(HERE / "dbt_duck", project)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE customer_names AS FROM (VALUES (10, 'Ann'), (11, 'Bob')) t(customer, name)"
        )
    settings = own_environment(
        dbt.parent,
        DUCK_PATH=str(path),
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        OPENLINEAGE_NAMESPACE="shop",
        OPENLINEAGE__TRANSPORT__TYPE="file",
        OPENLINEAGE__TRANSPORT__LOG_FILE_PATH=str(events),
        OPENLINEAGE__TRANSPORT__APPEND="true",
        PYTHONPATH=str(ROOT / "src"),
    )
    store = f"sqlite:///{folder}/lodeline.db"
    words = [sys.executable, "-m", "lodeline", "run", "--store", store, "--namespace", "shop"]
    done = subprocess.run(
        [*words, "--job", "nightly", "--", str(dbt), "build", "--profiles-dir", "."],
        cwd=project,
        env=settings,
        capture_output=True,
        text=True,
    )
    assert "ERROR=2 SKIP=1" in done.stdout, done.stdout + done.stderr
    sent = subprocess.run(
        [dbt.parent / "dbt-ol", "send-events", "--profiles-dir", "."],
        cwd=project,
        env=settings,
        capture_output=True,
        text=True,
    )
    assert events.exists(), sent.stdout + sent.stderr
    told = [event for event in logged(store) if event["job"]["name"] != "nightly"]
    theirs = [json.loads(line) for line in events.read_text().splitlines()]
    theirs = [event for event in theirs if event["job"]["name"] != "dbt-run-duck"]
    return Built(folder, store, f"duckdb://{path}", told, theirs, done.returncode)


def logged(store: str) -> list[dict[str, Any]]:
    with open_segment(store) as segment:
        payloads = [entry.payload for entry in segment.iter_entries() if entry.payload]
    events = [json.loads(payload) for payload in payloads]
    return [event for event in events if "job" in event]


def ends(events: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {
        f"{event['job']['namespace']} {event['job']['name']}": event["eventType"]
        for event in events
        if event["eventType"] != "START"
    }


def derived(events: Iterable[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(source, target, job) of finished runs."""
    return {
        (f"{i['namespace']} {i['name']}", f"{o['namespace']} {o['name']}", event["job"]["name"])
        for event in events
        if event["eventType"] == "COMPLETE"
        for i in event["inputs"]
        for o in event["outputs"]
    }


def columns(events: Iterable[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    return {
        (one["name"], one["field"], output["name"], column)
        for event in events
        if event["eventType"] == "COMPLETE"
        for output in event["outputs"]
        for column, body in output["facets"].get("columnLineage", {}).get("fields", {}).items()
        for one in body["inputFields"]
    }


def checks(events: Iterable[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {
        (tested["name"], *(one.get(key) for key in ("name", "column", "success", "severity")))
        for event in events
        for tested in event["inputs"]
        for one in (tested.get("inputFacets") or {})
        .get("dataQualityAssertions", {})
        .get("assertions", ())
    }


def test_dbt_tells_the_same_graph_as_its_openlineage_integration(built: Built) -> None:
    assert built.status == 1
    assert ends(built.told) == ends(built.dbt_ol)
    assert ends(built.told)["shop shop.main.duck.broken.build.run"] == "FAIL"
    # What theirs calls by another name: an ephemeral model is no table, and a source has the name
    # of its table. A seed is an input, too.
    names = {
        "shop.main.only_paid": "shop.main.orders_cleaned",
        "__dbt__cte__only_paid": "shop.main.orders_cleaned",
        "shop.main.names": "shop.main.customer_names",
    }
    theirs = {
        (" ".join((s.split()[0], names.get(s.split()[1], s.split()[1]))), target, job)
        for s, target, job in derived(built.dbt_ol)
    }
    seed = "shop.main.duck.orders_cleaned.build.run"
    seeded = [f"{built.database} shop.main.{one}" for one in ("raw_orders", "orders_cleaned")]
    assert derived(built.told) == theirs | {(*seeded, seed)}
    # Theirs leaves out what stands behind `*`.
    followed = {(names.get(table, table), *rest) for table, *rest in columns(built.dbt_ol)}
    behind_star = {
        ("shop.main.totals", one, "shop.main.report", one)
        for one in ("customer", "customer_name", "total")
    }
    assert columns(built.told) == followed | behind_star
    assert checks(built.told) == checks(built.dbt_ol)
    assert len(checks(built.told)) == 6


def test_the_run_that_ran_dbt_is_the_parent_and_its_failures_are_told(built: Built) -> None:
    (nightly,) = built.ask("show", "job:shop:nightly")["runs"]
    parents = {e["run"]["facets"]["parent"]["run"]["runId"] for e in built.told}
    assert parents == {nightly["run"]}
    (failed,) = [
        event
        for event in built.told
        if event["eventType"] == "FAIL" and "broken" in event["job"]["name"]
    ]
    message = failed["run"]["facets"]["errorMessage"]["message"]
    assert message == "Runtime Error in model broken (models/broken.sql)"
    # Not even in the SQL of an ephemeral model, compiled into others, and quoted in messages.
    assert "secret-word" not in json.dumps(built.told)
    assert "paid" not in json.dumps([e["job"]["facets"].get("sql") for e in built.told]).replace(
        "only_paid", ""
    )


def test_a_column_is_traced_through_views_and_ephemeral_models_to_the_seed(built: Built) -> None:
    root = f"datasetField:{built.database}:shop.main.report:total"
    answer = built.ask("trace", root, columns=True)
    fields = {
        node["id"].removeprefix(f"datasetField:{built.database}:") for node in answer["nodes"]
    }
    assert "shop.main.raw_orders:amount" in fields
    shown = built.ask("show", f"dataset:{built.database}:shop.main.report")
    assert "dataQualityAssertions" in json.dumps(shown)
    described = built.ask("show", f"dataset:{built.database}:shop.main.orders_cleaned")
    assert described["owners"][0]["name"] == "ann"
    fields = {one["name"] for one in described["facets"]["schema"]["fields"]}
    assert fields == {"id", "customer", "cents", "state"}


def test_importing_the_target_folder_tells_the_same_runs_again(built: Built) -> None:
    target, imported = built.folder / "project" / "target", f"sqlite:///{built.folder}/i.db"
    words = ["import", "--dbt", str(target), "--namespace", "shop", "--store"]
    place = ["--dataset-namespace", built.database]
    assert main([*words, imported, *place]) == 0
    told = logged(imported)
    assert ends(told) == ends(built.told)
    assert derived(told) == derived(built.told)
    assert columns(told) == columns(built.told)
    assert {e["run"]["runId"] for e in told} == {e["run"]["runId"] for e in built.told}
    assert main([*words, imported]) == 2
    broken = built.folder / "broken"
    shutil.copytree(target, broken)
    (broken / "run_results.json").write_text('{"metadata": {"invocation_id": "x"}, "results": [3]}')
    assert main(["import", "--dbt", str(broken), "--store", imported, *place]) == 2

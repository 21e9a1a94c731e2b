"""Dagster's assets, steps and checks, in one process and in several, beside its own producer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frameworks import interpreter_of
from observing import Observed, environment, python, run_observed, run_plain

PROGRAM = """
import csv, json, os, sys
import dagster as dg

@dg.asset
def orders():
    with open("orders.csv") as file:
        return list(csv.DictReader(file))

@dg.asset(code_version="v2", key_prefix="shop")
def totals(orders):
    total = sum(int(row["amount"]) for row in orders)
    schema = dg.TableSchema([dg.TableColumn("total", "int")])
    source = dg.TableColumnDep(dg.AssetKey("orders"), "amount")
    lineage = dg.TableColumnLineage({"total": [source]})
    return dg.Output(total, metadata={
        "dagster/row_count": 1, "dagster/column_schema": schema, "dagster/column_lineage": lineage,
    })

@dg.asset(deps=[totals])
def report():
    with open("rates.csv") as rates, open("report.json", "w") as file:
        json.dump(rates.read(), file)

@dg.asset(deps=[report])
def broken():
    raise ValueError("no")

@dg.asset_check(asset=orders)
def has_rows(orders):
    return dg.AssetCheckResult(passed=len(orders) > 5, metadata={"column": "amount"})

shop = dg.define_asset_job("shop", dg.AssetSelection.all())
pair = dg.define_asset_job("pair", ["orders", "shop/totals"], executor_def=dg.multiprocess_executor)
defs = dg.Definitions(
    [orders, totals, report, broken], asset_checks=[has_rows], jobs=[shop, pair],
    executor=dg.in_process_executor,
)

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        done = defs.resolve_job_def("shop").execute_in_process(instance=instance, raise_on_error=False)
    print(done.success, sorted(one.step_key for one in done.get_step_success_events()))
"""
SETTINGS = """
event_log_storage:
  module: dagster_openlineage
  class: OpenLineageEventLogStorage
  config:
    wrapped:
      module: dagster._core.storage.event_log
      class: SqliteEventLogStorage
      config: {base_dir: history}
telemetry: {enabled: false}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dagster")
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text(SETTINGS)
    (folder / "orders.csv").write_text("id,amount\n1,10\n2,20\n")
    (folder / "rates.csv").write_text("1\n")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> dict[str, str]:
    transport = {"type": "file", "log_file_path": str(place / "events.ndjson"), "append": True}
    return {"DAGSTER_HOME": str(place / "home"), "OPENLINEAGE__TRANSPORT": json.dumps(transport)}


@pytest.fixture(scope="module")
def seen(place: Path, settings: dict[str, str]) -> Observed:
    done = python(place, PROGRAM, interpreter_of("dagster"), **settings)
    assert done.status == 0, done.stderr
    return done


def step(done: Observed, name: str, *, job: str = "shop") -> dict[str, Any]:
    """The last event of a step's run, with the facets that earlier ones told."""
    told = [event for event in done.events if event["job"]["name"] == f"{job}.{name}"]
    facets = {key: facet for event in told for key, facet in event["run"]["facets"].items()}
    return {**told[-1], "run": {**told[-1]["run"], "facets": facets}}


def asset(done: Observed, name: str) -> dict[str, Any]:
    found = [d for e in done.events for d in e["outputs"] if d["namespace"] == "dagster"]
    return [one for one in found if one["name"] == name][-1]


def sources(dataset: dict[str, Any]) -> set[str]:
    facet = dataset["outputFacets"]["lodeline_observed"]
    return {Path(one["name"]).name for one in facet["inputs"]}


def test_each_step_is_a_run_with_what_it_read_and_wrote(seen: Observed) -> None:
    read = {Path(d["name"]).name for d in step(seen, "report")["inputs"]}
    assert read == {"rates.csv", "totals"}
    assert "report.json" in {Path(d["name"]).name for d in step(seen, "report")["outputs"]}
    root = seen.events[0]["run"]["runId"]
    for name in ("orders", "shop__totals", "report"):
        facets = step(seen, name)["run"]["facets"]
        assert facets["parent"]["run"]["runId"] == root
        assert facets["lodeline_environment"]["packages"]["dagster"]
        assert step(seen, name)["eventType"] == "COMPLETE"
    failed = step(seen, "broken")
    assert (failed["eventType"], failed["run"]["facets"]["errorMessage"]["message"]) == (
        "FAIL",
        "ValueError",
    )


def test_assets_come_from_the_assets_and_files_that_their_step_read(seen: Observed) -> None:
    assert sources(asset(seen, "orders")) == {"orders.csv"}
    assert "orders" in sources(asset(seen, "shop/totals"))
    assert sources(asset(seen, "report")) == {"totals", "rates.csv"}
    totals = asset(seen, "shop/totals")
    assert [field["name"] for field in totals["facets"]["schema"]["fields"]] == ["total"]
    assert totals["outputFacets"]["outputStatistics"]["rowCount"] == 1
    [orders] = [d for d in step(seen, "shop__totals")["inputs"] if d["namespace"] == "dagster"]
    version = asset(seen, "orders")["facets"]["version"]["datasetVersion"]
    assert orders["facets"]["version"]["datasetVersion"] == version
    parameters = step(seen, "shop__totals")["run"]["facets"]["lodeline_parameters"]["parameters"]
    assert parameters["dagster.shop/totals.code_version"] == "v2"


def test_checks_of_assets_are_quality_facets(seen: Observed) -> None:
    told = [
        d["inputFacets"]["dataQualityAssertions"]["assertions"]
        for event in seen.events
        for d in event["inputs"]
        if "dataQualityAssertions" in d["inputFacets"]
    ]
    assert told[-1] == [
        {"assertion": "has_rows", "success": False, "column": "amount", "severity": "error"}
    ]


def test_the_program_does_the_same_without_capture(
    place: Path, seen: Observed, settings: dict[str, str]
) -> None:
    alone = run_plain(place, interpreter_of("dagster"), "script.py", **settings)
    assert (alone.status, alone.stdout) == (seen.status, seen.stdout)
    assert alone.stdout.startswith("False")


def test_dagsters_own_events_tell_of_the_same_assets(place: Path, seen: Observed) -> None:
    store = f"sqlite:///{place}/store/lodeline.db"
    told = lodeline("import", str(place / "events.ndjson"), "--json", store=store)
    assert (told["refused"], told["accepted"] > 5) == (0, True)
    answer = lodeline("trace", "dataset:dagster:report", "--json", store=store)
    edges = {(e["source"], e["target"]) for e in answer["edges"] if e["kind"] == "derives"}
    assert ("dataset:dagster:shop/totals", "dataset:dagster:report") in edges
    assert ("dataset:dagster:orders", "dataset:dagster:shop/totals") in edges
    jobs = lodeline("trace", "dataset:dagster:orders", "--json", store=store)
    writers = {e["job"] for e in jobs["edges"] if e["target"] == "dataset:dagster:orders"}
    assert "job:default:shop.orders" in writers


def test_steps_in_processes_of_their_own_lie_beneath_the_run_with_the_oldest_dagster(
    tmp_path: Path,
) -> None:
    """Each step is a child that Dagster starts, and reads what another child wrote."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (tmp_path / "orders.csv").write_text("id,amount\n1,10\n2,20\n")
    (tmp_path / "script.py").write_text(PROGRAM)
    oldest = interpreter_of("dagster-oldest")
    words = [oldest, "-m", "dagster", "job", "execute", "-f", "script.py", "-j", "pair"]
    done = run_observed(tmp_path, *words, interpreter=oldest, DAGSTER_HOME=str(tmp_path))
    assert done.status == 0, done.stderr
    root = done.events[0]["run"]["runId"]
    for name in ("orders", "shop__totals", "orders_has_rows"):
        told = step(done, name, job="pair")
        assert told["run"]["facets"]["parent"]["run"]["runId"] == root
        assert told["run"]["facets"]["lodeline_environment"]["packages"]["dagster"] == "1.11.0"
        assert told["eventType"] == "COMPLETE"
    assert sources(asset(done, "orders")) == {"orders.csv"}
    assert "orders" in sources(asset(done, "shop/totals"))
    [orders] = [
        d for d in step(done, "shop__totals", job="pair")["inputs"] if d["name"] == "orders"
    ]
    version = asset(done, "orders")["facets"]["version"]["datasetVersion"]
    assert orders["facets"]["version"]["datasetVersion"] == version


def lodeline(*words: str, store: str) -> Any:
    command = [sys.executable, "-m", "lodeline", words[0], "--store", store, *words[1:]]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""OpenLineage's consumer scenarios and the specification's examples, sent to a real service.

The truth of each scenario is what its `scenario.md` says in words, written here by hand.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service import Service, serving

pytestmark = pytest.mark.vectors

# The specification's note says that this one's runId is no UUID, on purpose.
INVALID = "simple_run_event"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as one:
        yield one


def events_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("events/*.json"), key=_number)]


def _number(path: Path) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, path.stem))
    return int(digits or 0), path.name


@pytest.fixture(scope="module")
def replayed(service: Service, vectors_folder: Path) -> Service:
    """All scenarios, backwards and each event twice: order and repetition must not matter."""
    sent = 0
    for scenario in sorted(vectors_folder.iterdir(), reverse=True):
        if not scenario.is_dir():
            continue
        for raw in reversed(events_of(scenario)):
            for _ in range(2):
                status, body, _ = service.post("/api/v1/lineage?wait=folded", raw)
                expected = 400 if scenario.name == INVALID else 201
                assert status == expected, (scenario.name, body)
            sent += 1
    assert sent == 74
    return service


@pytest.fixture(scope="module")
def vectors_folder(vectors: Callable[[str], Path]) -> Path:
    return vectors("openlineage-compat")


def export(store: str) -> list[Any]:
    command = [sys.executable, "-m", "lodeline", "export", "--format", "openlineage"]
    done = subprocess.run([*command, "--store", store], capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_key(event: Any) -> str:
    return json.dumps(event, sort_keys=True)


def derivations(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(e["source"], e["target"]) for e in answer["edges"] if e["kind"] == "derives"}


def test_the_invalid_run_identifier_is_refused_with_its_path_and_kept(replayed: Service) -> None:
    raw = b'{"eventType":"START","run":{"runId":"not-a-uuid"}}'
    status, body, _ = replayed.post("/api/v1/lineage", raw)
    assert status == 400
    assert {"code", "message", "path"} <= set(json.loads(body))


# SUM(c) grouped by t1.a, b; joined and filtered on a: every output column also depends on those.
CLL = {
    "ident": {"cll_source1:a", "cll_source1:b", "cll_source2:a"},
    "trans": {"cll_source1:a", "cll_source1:b", "cll_source2:a"},
    "agg": {"cll_source1:a", "cll_source1:b", "cll_source2:a", "cll_source2:c"},
}


@pytest.mark.parametrize("column", sorted(CLL))
def test_each_column_of_the_column_level_scenario_leads_to_the_columns_of_its_sql(
    replayed: Service, column: str
) -> None:
    root = f"datasetField:file:/tmp/cll_test/tbl1:{column}"
    answer = replayed.get("/api/v2/trace", id=root, columns="true")
    found = {source for source, target in derivations(answer) if target == answer["root"]}
    assert {re.split("[./]", one)[-1] for one in found} == CLL[column]


def test_the_table_of_the_column_level_scenario_comes_from_its_two_sources(
    replayed: Service,
) -> None:
    answer = replayed.get("/api/v2/trace", id="dataset:file:/tmp/cll_test/tbl1")
    tables = {
        re.split("[./]", node["name"])[-1] for node in answer["nodes"] if node["kind"] == "dataset"
    }
    assert tables == {"tbl1", "cll_source1", "cll_source2"}
    assert len(derivations(answer)) == 2


def test_the_airflow_scenario_leads_from_the_result_back_to_the_uploaded_file(
    replayed: Service,
) -> None:
    answer = replayed.get("/api/v2/trace", id="dataset:gs://mock-bucket:result.csv")
    bucket, table = "dataset:gs://mock-bucket:", "dataset:bigquery:mock-project.test."
    assert derivations(answer) == {
        (f"{bucket}copied.csv", f"{table}upload"),
        # Not in the scenario's words, but the upload task's events name it as an input, too.
        (f"{bucket}test.csv", f"{table}upload"),
        (f"{table}upload", f"{table}upload_cp"),
        (f"{table}upload_cp", f"{bucket}result.csv"),
    }


def test_every_accepted_event_is_served_back_unchanged(
    replayed: Service, vectors_folder: Path
) -> None:
    kept = export(f"sqlite:///{replayed.log.parent}/lodeline.db")
    sent = [
        json.loads(raw)
        for scenario in vectors_folder.iterdir()
        if scenario.is_dir() and scenario.name != INVALID
        for raw in events_of(scenario)
    ]
    assert sorted(map(as_key, kept)) == sorted(set(map(as_key, sent)))


def test_every_example_of_the_specification_is_accepted_and_kept(
    vectors: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = vectors("openlineage-spec") / "tests"
    examples = sorted(folder.rglob("*.json"))
    events = [_event_around(path, number) for number, path in enumerate(examples)]
    with serving(tmp_path) as service:
        for path, event in zip(examples, events, strict=True):
            status, body, _ = service.post("/api/v1/lineage", json.dumps(event).encode())
            assert status == 201, (path, body)
    kept = export(f"sqlite:///{tmp_path}/lodeline.db")
    assert sorted(map(as_key, kept)) == sorted(map(as_key, events))
    assert len(events) == 47


def _event_around(path: Path, number: int) -> dict[str, Any]:
    """Put a facet's example where the specification says that it belongs."""
    example: dict[str, Any] = json.loads(path.read_bytes())
    if "eventTime" in example:
        return example
    event: dict[str, Any] = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com/examples",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"00000000-0000-4000-8000-{number:012d}"},
        "job": {"namespace": "examples", "name": path.parent.name},
    }
    folder = path.parent.name
    if folder.endswith("RunFacet") or (folder == "LineageFacet" and "run" in path.stem.lower()):
        event["run"]["facets"] = example
    elif folder.endswith("JobFacet"):
        event["job"]["facets"] = example
    else:
        kind = "outputFacets" if "OutputDataset" in folder else "facets"
        kind = "inputFacets" if "InputDataset" in folder else kind
        side = "inputs" if kind == "inputFacets" else "outputs"
        event[side] = [{"namespace": "examples", "name": folder, kind: example}]
    return event

"""A small record with everything that the pages show: versions, failures, plans, odd names."""

from __future__ import annotations

import uuid
from typing import Any

MARKUP = "<img src=x onerror=alert(1)>"
RUNS = [str(uuid.UUID(int=number)) for number in (11, 12, 13)]
PARENT = str(uuid.UUID(int=20))
CHILD = str(uuid.UUID(int=21))
FAILED = str(uuid.UUID(int=22))
PATCH = "diff --git a/t.py b/t.py\n--- a/t.py\n+++ b/t.py\n@@ -1 +1 @@\n-depth = 3\n+depth = 4\n"


def facet(**body: Any) -> dict[str, Any]:
    return {"_producer": "https://example.org/p", "_schemaURL": "https://example.org/s", **body}


def run_event(
    run: str, job: str, hour: int, *, state: str = "COMPLETE", facets: Any = None, **data: Any
) -> dict[str, Any]:
    return {
        "eventType": state,
        "eventTime": f"2026-11-02T{hour:02}:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run, "facets": facets or {}},
        "job": {"namespace": "n", "name": job},
        **data,
    }


def dataset(name: str, version: str = "", **facets: Any) -> dict[str, Any]:
    if version:
        facets["version"] = facet(datasetVersion=version)
    return {"namespace": "n", "name": name, "facets": facets}


def training(number: int) -> dict[str, Any]:
    """A run that trains: the later, the deeper; the last on changed columns and code."""
    stated = {
        "lodeline_parameters": facet(
            parameters={"depth": number + 3, "seed": 7}, metrics={"auc": 0.7 + number / 100}
        ),
        "lodeline_code": facet(
            version=f"c{number}", commit="ab" * 20, remote="git@example.org:team/pipe.git",
            patch=PATCH, patchDigest="sha256:" + "0" * 64,
        ),
        "lodeline_environment": facet(packages={"numpy": f"2.{number}"}),
    }  # fmt: skip
    columns = [{"name": "k", "type": "INT"}] + [{"name": "v", "type": "TEXT"}] * (number == 2)
    table = dataset(
        "table", f"v{number}",
        schema=facet(fields=columns),
        dataQualityAssertions=facet(
            assertions=[
                {"assertion": "not_null", "success": True, "column": "k"},
                {"assertion": "unique", "success": number != 2, "column": "k"},
            ]
        ),
    )  # fmt: skip
    table["outputFacets"] = {"outputStatistics": facet(rowCount=10 * number, size=1_000 * number)}
    return run_event(
        RUNS[number], "train", 10 + number, facets=stated, inputs=[dataset("raw")], outputs=[table]
    )


def history() -> list[dict[str, Any]]:
    parent = {"parent": facet(run={"runId": PARENT}, job={"namespace": "n", "name": "nightly"})}
    wrong = {"errorMessage": facet(message=f"no table {MARKUP}", programmingLanguage="SQL")}
    declared = {
        "eventTime": "2026-11-02T09:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/JobEvent",
        "job": {"namespace": "n", "name": "planned"},
        "inputs": [dataset("table")],
        "outputs": [dataset("later")],
    }
    return [
        *(training(number) for number in range(3)),
        run_event(PARENT, "nightly", 8),
        run_event(CHILD, "load", 9, facets=parent, outputs=[dataset("raw", "r1")]),
        run_event(FAILED, "report", 14, state="FAIL", facets=wrong, inputs=[dataset("table")]),
        declared,
        run_event(str(uuid.UUID(int=30)), "odd", 15, outputs=[dataset(MARKUP, "1"), dataset("x" * 4096)]),
        run_event(str(uuid.UUID(int=31)), "hide", 16, inputs=[{"namespace": "secret", "name": "salaries"}],
                  outputs=[dataset("summary", "1")]),
    ]  # fmt: skip

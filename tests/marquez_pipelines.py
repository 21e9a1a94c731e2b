"""Generated pipelines for the tests of the Marquez API, and calls of it without a service."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.datastructures import QueryParams

from lodeline.server.marquez.calls import Call


def facet(**members: Any) -> dict[str, Any]:
    return {"_producer": "https://e/p", "_schemaURL": "https://e/s", **members}


def pipeline(number: int) -> list[dict[str, Any]]:
    """Two runs of a job that reads one dataset and writes another, with facets and an alias."""
    flow = {"v": {"inputFields": [{"namespace": "n", "name": f"in{number:02}", "field": "k"}]}}
    other = [{"namespace": "alias", "name": f"a{number:02}", "type": "TABLE"}]
    made = {
        "schema": facet(fields=[{"name": "v", "type": "INT"}]),
        "columnLineage": facet(fields=flow),
        "tags": facet(tags=[{"key": f"t{number}", "value": "true"}]),
        "dataSource": facet(name=f"s{number}", uri=f"postgres://h{number}/db"),
    }
    if number % 2:
        made["symlinks"] = facet(identifiers=other)
    return [
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-11-0{day}T10:{number:02}:00Z",
            "producer": "https://e/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": str(uuid.UUID(int=100 * number + day)), "facets": {}},
            "job": {
                "namespace": "n",
                "name": f"job{number:02}",
                "facets": {"documentation": facet(description=f"job {number}")},
            },
            "inputs": [{"namespace": "n", "name": f"in{number:02}"}],
            "outputs": [{"namespace": "n", "name": f"out{number:02}", "facets": made}],
        }
        for day in (1, 2)
    ]


def call(path: dict[str, str] | None = None, **query: Any) -> Call:
    return Call(path or {}, QueryParams(query), {})

"""Chains of datasets with recorded row steps: d0 → d1 → (memory) → d3, for tests of rows."""

from __future__ import annotations

import io
import json
import random
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lodeline import ingest
from lodeline.store import SqlSegment

Pairs = set[tuple[int, int]]  # (output row, input row)


def version(layer: int) -> str:
    return f"sha256:{layer:064x}"


def name(layer: int) -> dict[str, str]:
    """A dataset of the chain; one layer in the middle exists in memory only."""
    if layer == 2:
        return {"namespace": "memory", "name": "between", "version": ""}
    return {"namespace": "test", "name": f"d{layer}", "version": version(layer)}


def put(segment: SqlSegment, columns: dict[str, Any]) -> str:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return segment.put_blob(data.getvalue())


def step(
    segment: SqlSegment, layer: int, links: list[Any], *, operator: str = "join"
) -> dict[str, Any]:
    """State a step from one layer to the next: a number, none, or a list for each output row."""
    if any(isinstance(one, list) for one in links):
        shape, columns = "lists", {"inputs": pa.array(links, pa.list_(pa.int64()))}
        count = sum(len(one) for one in links)
    else:
        shape, columns = "array", {"input": pa.array(links, pa.int64())}
        count = sum(one is not None for one in links)
    return {
        "operator": operator,
        "input": name(layer),
        "output": name(layer + 1),
        "shape": shape,
        "count": count,
        "rows": len(links),
        "digest": put(segment, columns),
    }


def record(segment: SqlSegment, layer: int, steps: list[dict[str, Any]], **more: Any) -> None:
    """Record the event that wrote a layer."""
    event = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-0{layer + 1}T00:00:00Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.UUID(int=layer + 1))},
        "job": {"namespace": "test", "name": f"make{layer}"},
        "inputs": [dataset(0 if layer == 1 else 1)],
        "outputs": [
            {**dataset(layer), "outputFacets": {"lodeline_rows": facet(steps=steps, **more)}}
        ],
    }
    assert ingest.accept(segment, [json.dumps(event).encode()]).accepted == 1


def facet(**members: Any) -> dict[str, Any]:
    base = {"_producer": "https://example.org/test", "_schemaURL": "https://example.org/s.json"}
    return {**base, **members}


def dataset(layer: int) -> dict[str, Any]:
    """A dataset with its digest."""
    value = version(layer).removeprefix("sha256:")
    digest = facet(algorithm="sha256", value=value, source="bytes")
    return {"namespace": "test", "name": f"d{layer}", "facets": {"lodeline_digest": digest}}


def random_chain(segment: SqlSegment, seed: int, rows: int = 2_000) -> list[list[list[int]]]:
    """Record a chain drawn at random; give the links of its three steps, a list an output row."""
    chance = random.Random(seed)
    one = [chance.choice([None, chance.randrange(rows)]) for _ in range(rows)]
    two = [sorted(chance.sample(range(rows), chance.randrange(4))) for _ in range(rows)]
    three = chance.sample(range(rows), rows)
    record(segment, 1, [step(segment, 0, one)])
    record(segment, 3, [step(segment, 1, two), step(segment, 2, three)])
    links: list[list[Any]] = [one, two, three]
    return [
        [[] if at is None else at if isinstance(at, list) else [at] for at in part]
        for part in links
    ]


def behind(links: list[list[list[int]]], row: int) -> dict[str, set[int]]:
    """Compose by brute force: the rows of d1 and d0 behind a row of d3."""
    at = {row}
    found: dict[str, set[int]] = {}
    for layer in (2, 1, 0):
        at = {number for one in at for number in links[layer][one]}
        if layer < 2 and at:
            found[f"d{layer}"] = at
    return found


def record_fit(segment: SqlSegment, *sets: tuple[str, list[int]]) -> None:
    """A model, that of the predictions, was fitted on some sets of rows of d3."""
    digest = "sha256:" + "e" * 64
    output = {"namespace": "ml", "name": "churn", "version": ""}
    steps = [
        {
            "operator": words,
            "input": name(3),
            "output": output,
            "shape": "set",
            "count": len(rows),
            "rows": 1,
            "digest": put(segment, {"input": pa.array(rows, pa.int64())}),
        }
        for words, rows in sets or [("fit", [3, 8, 21])]
    ]
    model = {
        "namespace": "ml",
        "name": "churn",
        "facets": {"lodeline_model": facet(digest=digest)},
        "outputFacets": {"lodeline_rows": facet(steps=steps)},
    }
    event = {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-05T00:00:00Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "00000000-0000-4000-8000-0000000000aa"},
        "job": {"namespace": "test", "name": "train"},
        "inputs": [dataset(3)],
        "outputs": [model],
    }
    assert ingest.accept(segment, [json.dumps(event).encode()]).accepted == 1
    ingest.fold_pending(segment)

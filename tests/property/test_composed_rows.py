"""Rows composed over recorded steps, against brute force over the pairs that the steps stand for."""

from __future__ import annotations

import io
import json
import random
import uuid
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("duckdb")
pytest.importorskip("numpy")

from lodeline import ingest  # noqa: E402
from lodeline.query import ask  # noqa: E402
from lodeline.rows.committing import commit_blocks  # noqa: E402
from lodeline.store import Segment, open_segment  # noqa: E402

LAYERS = 4
Pairs = set[tuple[int, int]]  # (output row, input row)


def name(layer: int) -> dict[str, str]:
    """A dataset of the chain; one layer in the middle exists in memory only."""
    if layer == 2:
        return {"namespace": "memory", "name": "between", "version": ""}
    return {"namespace": "test", "name": f"d{layer}", "version": f"sha256:{layer:064x}"}


def random_step(rng: random.Random, segment: Segment, layer: int, sizes: list[int]):
    """Draw a step from one layer to the next: its facet entry, and its pairs."""
    n_in, n_out = sizes[layer], sizes[layer + 1]
    shapes = ["array", "lists", *(["identity", "range"] if n_in >= n_out else [])]
    shape = rng.choice(shapes)
    blob, start = None, None
    if shape == "identity":
        pairs = {(i, i) for i in range(n_out)}
    elif shape == "range":
        start = rng.randrange(n_in - n_out + 1)
        pairs = {(i, i + start) for i in range(n_out)}
    elif shape == "array":
        values = [rng.choice([None, rng.randrange(n_in)]) for _ in range(n_out)]
        pairs = {(i, value) for i, value in enumerate(values) if value is not None}
        blob = write(segment, {"input": pa.array(values, pa.int64())})
    else:
        lists = [
            sorted(rng.sample(range(n_in), rng.randrange(min(4, n_in + 1)))) for _ in range(n_out)
        ]
        pairs = {(i, value) for i, some in enumerate(lists) for value in some}
        blob = write(segment, {"inputs": pa.array(lists, pa.list_(pa.int64()))})
    step = {
        "operator": shape,
        "input": name(layer),
        "output": name(layer + 1),
        "shape": shape,
        "count": len(pairs),
        "rows": n_out,
        "digest": blob,
    }
    return {**step, **({} if start is None else {"start": start})}, pairs


def write(segment: Segment, columns) -> str:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return segment.put_blob(data.getvalue())


def record(segment: Segment, layer: int, steps: list[dict]) -> None:
    dataset = name(layer)
    event = {
        "eventType": "COMPLETE",
        "eventTime": f"2026-01-0{layer + 1}T00:00:00Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.UUID(int=layer + 1))},
        "job": {"namespace": "test", "name": f"make{layer}"},
        "inputs": [],
        "outputs": [
            {
                "namespace": dataset["namespace"],
                "name": dataset["name"],
                "outputFacets": {
                    "lodeline_rows": {
                        "_producer": "https://example.org/test",
                        "_schemaURL": "https://example.org/schema.json",
                        "steps": steps,
                    }
                },
            }
        ],
    }
    result = ingest.accept(segment, [json.dumps(event).encode()])
    assert result.accepted == 1


def rows_of(answer) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for row in answer["rows"]:
        found.setdefault(row["dataset"].rpartition(":")[2], set()).add(int(row["key"]))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_composed_rows_are_those_of_brute_force_and_forward_of_backward_comes_back(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    segment = open_segment(f"sqlite:///{tmp_path / 'lodeline.db'}")
    sizes = [rng.randrange(3, 12) for _ in range(LAYERS)]
    drawn = [random_step(rng, segment, layer, sizes) for layer in range(LAYERS - 1)]
    record(segment, 1, [drawn[0][0]])
    record(segment, 3, [drawn[1][0], drawn[2][0]])
    if seed % 2:
        # What programs wrote gives way to committed blocks, which answer alike.
        blobs = {step["digest"] for step, _ in drawn} - {None}
        assert commit_blocks(segment) == len(blobs)
        assert commit_blocks(segment) == 0
        assert not blobs & set(segment.blobs.list_digests())
    pairs = [pairs for _, pairs in drawn]
    for start in rng.sample(range(sizes[3]), 3):
        at = {start}
        expected: dict[str, set[int]] = {}
        for layer in (2, 1, 0):
            at = {i for o, i in pairs[layer] if o in at}
            if at and layer != 2:
                expected[f"d{layer}"] = at
        root = f"row:test:d3:{start}#{name(3)['version']}"
        answer = ask(segment, "rows", {"id": root, "back": True})
        assert rows_of(answer) == expected, (seed, start)
        assert {k.rpartition(":d")[2][0]: v for k, v in answer["counts"].items()} == {
            layer[1]: len(rows) for layer, rows in expected.items()
        }
        for row in answer["rows"]:
            ahead = ask(segment, "rows", {"id": row["id"], "forward": True})
            assert start in rows_of(ahead).get("d3", set()), (seed, row["id"])
    segment.close()


def test_a_step_whose_links_are_not_here_is_a_gap(tmp_path: Path) -> None:
    segment = open_segment(f"sqlite:///{tmp_path / 'lodeline.db'}")
    step, _ = random_step(random.Random(1), segment, 0, [4, 4])
    missing = {**step, "shape": "array", "digest": "sha256:" + "0" * 64}
    record(segment, 1, [missing])
    answer = ask(segment, "rows", {"id": f"row:test:d1:0#{name(1)['version']}"})
    assert answer["rows"] == []
    assert not answer["complete"]
    assert answer["gaps"][0]["reason"] == "pending"
    segment.close()

"""What do committed row links cost in bytes and CPU, and how fast is one row followed?

Workload, drawn by seed: links of each shape; then a chain of ten steps over one size of table, of
shapes in turn, recorded in a store as a deliverer records them.

- bytes a link of the block beside the Parquet that a program writes (the floor);
- CPU seconds a million rows to write and commit to a block, beside writing the same Parquet plain;
- CPU and wall milliseconds for `rows` from one row back through all steps, first and again, and
  for walking the steps alone, beside ten look-ups in arrays in memory (the floor).

    python bench/blocks.py --rows 2000000 --out bench/results/blocks.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lodeline import ingest
from lodeline.model import NodeId
from lodeline.proof.row_blocks import Seals
from lodeline.query import ask
from lodeline.query.bounds import Budget
from lodeline.rows.composition import Composer
from lodeline.rows.links import OPEN_BLOCKS, LinkReader
from lodeline.rows.steps import StepIndex
from lodeline.store import link_blocks as blocks
from lodeline.store import open_segment

STEPS = 10
SHAPES = ("delta", "permutation", "array", "window", "csr")


def draw(shape: str, rows: int, rng: Any) -> blocks.Links:
    """Draw links, as a program would write them."""
    if shape == "delta":
        return blocks.Links("array", np.sort(rng.integers(0, rows, rows)))
    if shape == "permutation":
        return blocks.Links("array", rng.permutation(rows))
    if shape == "array":
        return blocks.Links("array", rng.integers(0, max(rows // 20, 1), rows))
    lengths = rng.integers(0, 4, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if shape == "window":
        starts = np.sort(rng.integers(0, rows - 4, rows))
        values = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return blocks.Links("lists", values, offsets)
    # In order within each list, as programs write them; neighbours lie near.
    values = np.repeat(rng.integers(0, rows - 9, rows), lengths)
    values = values + 2 * (np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths))
    return blocks.Links("lists", values, offsets)


def plain(links: blocks.Links) -> bytes:
    """Write links as programs do, without commitments."""
    if links.offsets is None:
        table = pa.table({"input": pa.array(links.values, pa.int64())})
    else:
        lists = pa.LargeListArray.from_arrays(pa.array(links.offsets), pa.array(links.values))
        table = pa.table({"inputs": lists})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", version="2.6")
    return out.getvalue()


def measure_shapes(rows: int) -> dict[str, Any]:
    """Write a block of each shape."""
    rng = np.random.default_rng(1)
    found: dict[str, Any] = {}
    for shape in SHAPES:
        links = draw(shape, rows, rng)
        began = time.process_time()
        floor = plain(links)
        middle = time.process_time()
        shaped = blocks.shaped(links)
        data, _, written = blocks.encode_block(shaped, Seals(shaped.rows, os.urandom(32)))
        ended = time.process_time()
        found[shape] = {
            "shape": written,
            "links": shaped.count,
            "bytes_a_link": round(len(data) / shaped.count, 3),
            "plain_bytes_a_link": round(len(floor) / shaped.count, 3),
            "cpu_seconds_a_million_rows": round((ended - middle) / rows * 1e6, 3),
            "plain_cpu_seconds_a_million_rows": round((middle - began) / rows * 1e6, 3),
        }
    return found


def dataset(number: int) -> dict[str, str]:
    """Name a table of the chain."""
    return {"namespace": "bench", "name": f"t{number}", "version": f"sha256:{number:064x}"}


def record_chain(segment: Any, rows: int) -> list[blocks.Links]:
    """Record ten steps, each output the next one's input."""
    from lodeline.rows.committing import commit_blocks

    rng, chain = np.random.default_rng(2), []
    for number in range(STEPS):
        links = draw(SHAPES[number % len(SHAPES)], rows, rng)
        chain.append(links)
        step = {
            "operator": "bench",
            "input": dataset(number),
            "output": dataset(number + 1),
            "shape": links.shape,
            "count": links.count,
            "rows": rows,
            "digest": segment.put_blob(plain(links)),
        }
        facet = {"_producer": "https://example.org", "_schemaURL": "https://example.org/s.json"}
        named = {key: dataset(number + 1)[key] for key in ("namespace", "name")}
        event = {
            "eventType": "COMPLETE",
            "eventTime": f"2026-01-01T00:00:{number:02d}Z",
            "producer": "https://example.org",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": str(uuid.UUID(int=number + 1))},
            "job": {"namespace": "bench", "name": f"make{number}"},
            "outputs": [{**named, "outputFacets": {"lodeline_rows": {**facet, "steps": [step]}}}],
        }
        assert ingest.accept(segment, [json.dumps(event).encode()]).accepted == 1
        commit_blocks(segment)
    return chain


def milliseconds(act: Any, times: int) -> dict[str, float]:
    """Time an act, CPU and wall, median and 99th percentile."""
    cpu, wall = [], []
    for number in range(times):
        one, two = time.process_time(), time.perf_counter()
        act(number)
        cpu.append((time.process_time() - one) * 1e3)
        wall.append((time.perf_counter() - two) * 1e3)
    late = max(0, int(times * 0.99) - 1)
    return {
        "cpu_ms": round(statistics.median(cpu), 3),
        "cpu_ms_p99": round(sorted(cpu)[late], 3),
        "wall_ms": round(statistics.median(wall), 3),
    }


def measure_chain(rows: int, folder: Path) -> dict[str, Any]:
    """Follow one row through ten steps."""
    with open_segment(f"sqlite:///{folder / 'bench.db'}") as segment:
        chain = record_chain(segment, rows)
        stored = sum(path.stat().st_size for path in folder.glob("bench.db.blobs/??/*"))
        last = NodeId("dataset", "bench", f"t{STEPS}", "", dataset(STEPS)["version"])
        starts = np.random.default_rng(3).integers(0, rows, 400).tolist()

        def question(number: int) -> None:
            ask(segment, "rows", {"id": f"row:bench:t{STEPS}:{starts[number]}#{last.version}"})

        def walk(number: int) -> None:
            composer = Composer(StepIndex(connection, size, None), LinkReader(segment), Budget())
            composer.walk({last: np.array([starts[number % 8]])}, back=True)

        def arrays(number: int) -> None:
            at = np.array([starts[number]])
            for links in reversed(chain):
                if links.offsets is None:
                    at = links.values[at]
                else:
                    at = np.concatenate(
                        [links.values[links.offsets[i] : links.offsets[i + 1]] for i in at]
                    )
                at = np.unique(at[at >= 0])
                if not len(at):
                    return

        def cold(number: int) -> None:
            OPEN_BLOCKS.drop_all()
            question(number)

        found: dict[str, Any] = {
            "rows": rows,
            "links": sum(links.count for links in chain),
            "stored_bytes_a_link": round(stored / sum(links.count for links in chain), 3),
            "rows_question_blocks_closed": milliseconds(cold, 20),
            "rows_question": milliseconds(question, 200),
        }
        with segment.reading() as connection:
            size = segment.size()
            walk(0)
            found["walk_rows_seen_before"] = milliseconds(walk, 200)
        found["arrays_in_memory"] = milliseconds(arrays, 200)
        return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--shape-rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "machine": {"python": platform.python_version(), "cores": os.cpu_count()},
            "shapes": measure_shapes(arguments.shape_rows),
            "chain": measure_chain(arguments.rows, Path(folder)),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

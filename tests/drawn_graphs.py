"""Stores with graphs of a size, for pages that draw them."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lodeline.ingest import accept
from lodeline.store import open_segment

LAYERS = 25


def layered_events(count: int, *, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Give events of a layered graph below `dataset:made:d0`: each dataset of two before."""
    chance = random.Random(seed)
    width = max(1, (count - 1) // LAYERS)
    layers = [[0]] + [
        list(range(first, min(first + width, count))) for first in range(1, count, width)
    ]
    for before, layer in itertools.pairwise(layers):
        for name in layer:
            sources = {chance.choice(before), chance.choice(before)}
            yield made_by(f"j{name}", [f"d{one}" for one in sorted(sources)], [f"d{name}"])


def made_by(
    job: str, inputs: list[str], outputs: list[str], *, kind: str = "COMPLETE", **facets: Any
) -> dict[str, Any]:
    """Give one event of the namespace `made`."""
    return {
        "eventType": kind,
        "eventTime": "2026-11-01T10:00:00Z",
        "producer": "https://example.org/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, job))},
        "job": {"namespace": "made", "name": job},
        "inputs": [{"namespace": "made", "name": name} for name in inputs],
        "outputs": [{"namespace": "made", "name": name, "facets": facets} for name in outputs],
    }


def make_store(store: Path, events: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> Path:
    """Make a store of events, folded."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with open_segment(f"sqlite:///{store}", create=True) as segment:
        result = accept(segment, [json.dumps(one, ensure_ascii=False).encode() for one in events])
    assert result.refused == 0, result
    return store

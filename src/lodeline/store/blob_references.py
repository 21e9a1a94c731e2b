"""Which blobs an entry's payload refers to, and under which root.

Prediction batches (`block` entries) and steps of row provenance keep their rows in blobs; the
entry carries digest and Merkle root.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

_BATCH: Final = "lodeline_prediction_batch"
_ROWS: Final = "lodeline_rows"
_MARKS: Final = (b'"lodeline_prediction_batch"', b'"lodeline_rows"')


class BlobReference(NamedTuple):
    """One reference.

    Attributes:
        digest: `sha256:<hex>`.
        root: hexadecimal, of a prediction batch; `None` where only the digest is checked here.
    """

    digest: str
    root: str | None


def iter_blob_references(payload: bytes) -> Iterator[BlobReference]:
    """List what a payload refers to. Facets that do not have the shape are passed over."""
    if not any(mark in payload for mark in _MARKS):
        return
    try:
        event = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return
    dataset = _member(event, "dataset")
    batch = _member(_member(dataset, "facets"), _BATCH)
    if isinstance(batch.get("digest"), str):
        root = batch.get("root")
        yield BlobReference(batch["digest"], root if isinstance(root, str) else None)
    outputs = event.get("outputs") if isinstance(event, dict) else None
    for output in outputs if isinstance(outputs, list) else []:
        steps = _member(_member(output, "outputFacets"), _ROWS).get("steps")
        for step in steps if isinstance(steps, list) else []:
            if isinstance(step, dict) and isinstance(step.get("digest"), str):
                yield BlobReference(step["digest"], None)


def _member(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}

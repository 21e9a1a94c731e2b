"""Which blobs an entry's payload refers to, and under which root.

Prediction batches and blocks of row links (`block` entries) carry digest and Merkle root; a step of
row provenance names the blob that its program wrote, until a block takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

_BATCH: Final = "lodeline_prediction_batch"
_ROWS: Final = "lodeline_rows"
_ROW_BLOCKS: Final = "lodeline_row_blocks"
_MARKS: Final = (b'"lodeline_prediction_batch"', b'"lodeline_rows"', b'"lodeline_row_blocks"')


class BlobReference(NamedTuple):
    """One reference.

    Attributes:
        digest: `sha256:<hex>`.
        root: hexadecimal, of what a leaf commits to; `None` where only the digest is checked here.
        source: digest of the blob that this one has taken the place of.
    """

    digest: str
    root: str | None
    source: str | None = None


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
    blocks = _member(_member(dataset, "facets"), _ROW_BLOCKS).get("blocks")
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, dict) and isinstance(block.get("digest"), str):
            yield BlobReference(block["digest"], str(block.get("root")), block.get("source"))
    outputs = event.get("outputs") if isinstance(event, dict) else None
    for output in outputs if isinstance(outputs, list) else []:
        facet = _member(_member(output, "outputFacets"), _ROWS)
        steps, keys = facet.get("steps"), facet.get("keys")
        for step in [one for part in (steps, keys) if isinstance(part, list) for one in part]:
            if isinstance(step, dict) and isinstance(step.get("digest"), str):
                yield BlobReference(step["digest"], None)


def _member(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}

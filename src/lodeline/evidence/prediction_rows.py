"""The proof that a prediction's record is a row of the batch whose root the log holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from lodeline.errors import EvidenceError
from lodeline.ingest.predictions import find_prediction
from lodeline.model import find_prediction_id
from lodeline.proof import CompactRange, hash_leaf, inclusion_path
from lodeline.store import Segment
from lodeline.store.prediction_blobs import line_commitments, read_blob, salts_of


class ProvenRow(NamedTuple):
    """A record with what leads from it to its batch's root.

    Attributes:
        batch: position of the batch's entry.
        reservation: position of the entry that reserved its block, if one did.
        place: of the row in the batch, from 0.
        size: rows of the batch.
        line: the record, as it was written.
        salt: 32 bytes.
        path: siblings from leaf to root.
    """

    batch: int
    reservation: int | None
    place: int
    size: int
    line: bytes
    salt: bytes
    path: Sequence[bytes]


def prove_row(segment: Segment, prediction_id: str, *, size: int | None = None) -> ProvenRow:
    """Prove that the record of a prediction is a row of its batch.

    Args:
        segment: whose keys are at hand.
        prediction_id: the bare identifier.
        size: only the first so many entries of the log count.

    Raises:
        EvidenceError: its record is not here, or erased.
    """
    found = find_prediction(segment, prediction_id, size=size)
    drawn = find_prediction_id(found.prediction_id)
    if found.position is None or drawn is None:
        raise EvidenceError(f"prediction:{prediction_id}: its record is not here")
    [entry] = segment.iter_entries(found.position, found.position + 1)
    facet = json.loads(entry.payload or b"{}")["dataset"]["facets"]["lodeline_prediction_batch"]
    head, lines = read_blob(segment.get_blob(facet["digest"]))
    salts = salts_of(head, len(lines))
    index = next(i for i, line in enumerate(lines) if json.loads(line).get("id") == str(drawn))
    hashes = [hash_leaf(one) for one in line_commitments(lines, salts)]
    salt = salts[index]
    if salt is None:
        raise EvidenceError(f"prediction:{prediction_id}: its record is erased")
    path = inclusion_path(index, len(lines), partial(_range_root, hashes))
    reservation = None if found.block is None else found.block.position
    return ProvenRow(found.position, reservation, index, len(lines), lines[index], salt, path)


def _range_root(hashes: list[bytes], begin: int, end: int) -> bytes:
    tree = CompactRange()
    for one in hashes[begin:end]:
        tree.append(one)
    return tree.root()

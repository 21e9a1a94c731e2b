"""What is kept of single rows and single predictions, and where in blocks: to be erased there.

Of a row these are its own claims, that is the links of every step that led to it, and its declared
key; on request also every claim that names it: those of rows that were made of it, and its
membership in the sets that models were fitted on. A claim goes whole: a group's claim that goes for
one of its rows is gone for all of them. Steps without a block (`identity`, `range`) say nothing of
one row. What is found here `store.erasing` takes out, under a logged erasure, by writing the blocks
again under the same roots.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lodeline.errors import MissingLinksError, UnknownBlobError, UnknownNodeError, UsageError
from lodeline.ingest.predictions import find_prediction
from lodeline.model import NodeId, parse_identifier
from lodeline.rows.links import LinkReader
from lodeline.rows.naming import BYTES, RowNames
from lodeline.rows.steps import StepIndex, StoredStep
from lodeline.store import Segment
from lodeline.store.blob_successors import erased_rows
from lodeline.store.prediction_blobs import read_blob


@dataclass
class Found:
    """Where something is kept.

    Attributes:
        rows: digest of a block, as the log names it -> numbers of the rows to take out.
        missing: digests of blocks that are not here, so that nothing can be taken out.
    """

    rows: dict[str, set[int]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def add(self, block: str, numbers: Iterable[int]) -> None:
        """Take in rows of a block."""
        some = set(numbers)
        if some:
            self.rows.setdefault(block, set()).update(some)


def find_kept(segment: Segment, texts: Iterable[str], *, forward: bool = False) -> Found:
    """Find what is kept of rows and predictions, and was not erased yet.

    Args:
        segment: whose links are committed to, and whose views are up to the log.
        texts: identifiers, `row:…` or `prediction:…`. A row that is named by its declared key and
            without a version is meant in every version.
        forward: also every claim that names a row.

    Raises:
        UsageError: an identifier of another kind, or of a row by number without a version.
        UnknownNodeError: no such row or prediction.
    """
    found = Found()
    with segment.reading() as connection:
        index = StepIndex(connection, segment.size(), None)
        for text in texts:
            node = parse_identifier(text)
            if node.kind == "prediction":
                _find_prediction(segment, node, found)
            elif node.kind == "row":
                _find_row(segment, index, node, found, forward=forward)
            else:
                raise UsageError(f"erase: a row or a prediction, not a {node.kind}")
    _drop_erased(segment, found)
    return found


def _find_prediction(segment: Segment, node: NodeId, found: Found) -> None:
    known = find_prediction(segment, node.name)
    if known.status != "record":
        raise UnknownNodeError(f"{node} ({known.status})")
    assert known.position is not None
    [entry] = segment.iter_entries(known.position, known.position + 1)
    facets = json.loads(entry.payload or b"{}")["dataset"]["facets"]
    digest = str(facets["lodeline_prediction_batch"]["digest"])
    lines = read_blob(segment.get_blob(digest))[1]
    found.add(
        digest,
        [n for n, line in enumerate(lines) if json.loads(line).get("id") == known.prediction_id],
    )


def _find_row(
    segment: Segment, index: StepIndex, row: NodeId, found: Found, *, forward: bool
) -> None:
    names, links = RowNames(index, segment), LinkReader(segment)
    places = _places(index, names, row)
    if not places:
        raise UnknownNodeError(str(row))
    for dataset, number in places:
        for step in index.into(dataset):
            if step.block and step.form != "set" and number < step.rows:
                found.add(step.block, [number])
        for _, digest in index.keys_of(dataset):
            block = index.find_block(digest, "keys") if digest else None
            if block is not None:
                found.add(block.block, [number])
        for step in index.out_of(dataset) if forward else ():
            if step.block:
                _find_naming(links, step, number, found)


def _places(index: StepIndex, names: RowNames, row: NodeId) -> list[tuple[NodeId, int]]:
    """Give the dataset versions that have a row, each with the row's number there."""
    dataset = NodeId("dataset", row.namespace, row.name, "", row.version)
    if row.version:
        return [(dataset, names.find_number(dataset, row))]
    places = []
    for version in index.versions_of(dataset):
        at = dataset.at(version)
        if row.part.isdigit() and (version.startswith(BYTES) or not index.keys_of(at)):
            raise UsageError(f"{row}: a number names a row of one version; name it")
        try:
            places.append((at, names.find_number(at, row)))
        except UnknownNodeError:
            continue
    return places


def _find_naming(links: LinkReader, step: StoredStep, number: int, found: Found) -> None:
    """Find the claims of a step that name an input row."""
    import numpy as np

    try:
        block = links.block(step)
        if step.form != "set":
            outputs = links.forward(step, np.array([number], np.int64))
            found.add(step.block, [int(one) for one in outputs])
            return
        members = links.back(step, None)
    except MissingLinksError as error:
        found.missing.add(error.digest)
        return
    place = int(np.searchsorted(members, number))
    if place < len(members) and members[place] == number:
        found.add(step.block, [_numbered(place, block.seals)])


def _numbered(place: int, seals: Any) -> int:
    """Give the number of a set's member by its place among those that are left."""
    for gone in sorted(seals.erased):
        if gone > place:
            break
        place += 1
    return place


def _drop_erased(segment: Segment, found: Found) -> None:
    """Leave out what was erased before, or is gone with its block."""
    for block, numbers in list(found.rows.items()):
        try:
            numbers.difference_update(erased_rows(segment.get_blob(block)))
        except UnknownBlobError:
            numbers.clear()
        if not numbers:
            del found.rows[block]

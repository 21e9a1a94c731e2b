"""Claims of single rows, with the proofs that the log commits to them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lodeline.errors import MissingLinksError
from lodeline.fold.row_claims import BLOCKS_FACET, KEYS, StatedStep, read_claim
from lodeline.limits import EVIDENCE_CLAIMS_MAX
from lodeline.proof.row_blocks import prove_row
from lodeline.rows.links import LinkReader
from lodeline.rows.steps import StepIndex
from lodeline.store import Segment

# Source, form and row; no row where it is a key that names none any more.
Key = tuple[str, str, int | None]


class RowClaims:
    """Proves what rows claim, one after another, and remembers it.

    Args:
        segment: whose blocks; what arrived is committed to already.

    Attributes:
        proven: claims with their proofs, as a pack states them.
        missing: claims that cannot be given, and why.
        entries: positions of the `block` entries that the proofs need.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._links = LinkReader(segment)
        self._blocks: dict[tuple[str, str], tuple[Any, int, int] | None] = {}
        self._reasons: dict[tuple[str, str], str] = {}
        self.proven: dict[Key, dict[str, Any]] = {}
        self.missing: dict[Key, dict[str, Any]] = {}
        self.entries: set[int] = set()

    def behind(self, step: StatedStep, row: int) -> list[int] | None:
        """Give the input rows behind an output row, with their proof; `None` where none is."""
        key = (step.digest, step.shape, row)
        if key in self.missing:
            return None
        if key not in self.proven:
            reason = self._prove(*key)
            if reason:
                self._miss(key, reason)
                return None
        return read_claim(bytes.fromhex(self.proven[key]["proof"]["claim"]))

    def find_key(self, sources: Iterable[str], key: str) -> int | None:
        """Find the row that a declared key names, and prove that it has this key.

        Args:
            sources: blobs of keys; the first that has it counts.
            key: its text.

        Returns:
            The row's number. `None` where no key is there, or it cannot be told; then `missing`
            names each blob that may have had it.
        """
        lost: dict[str, str] = {}
        for source in sources:
            found = self._find(source, KEYS)
            if found is None:
                lost[source] = self._reasons.get((source, KEYS), "pending")
                continue
            block = found[0]
            row: int | None = block.find_key(key)
            if row is not None and not self._prove(source, KEYS, row):
                return row
            if block.seals.erased:
                lost[source] = "erased"
        for source, reason in lost.items():
            self._miss((source, KEYS, None), reason)
        return None

    def _miss(self, key: Key, reason: str) -> None:
        source, form, row = key
        self.missing[key] = {"source": source, "form": form, "row": row, "reason": reason}

    def _prove(self, source: str, form: str, row: int) -> str:
        """Prove one claim; else give why it is missing."""
        if len(self.proven) >= EVIDENCE_CLAIMS_MAX:
            return "size"
        found = self._find(source, form)
        if found is None:
            return self._reasons.get((source, form), "pending")
        block, entry, index = found
        if row >= block.seals.rows:
            return "pending"
        proof = prove_row(block.seals, row, block.section_roots, block.section_claims)
        if proof is None:
            return "erased"
        self.proven[source, form, row] = {"entry": entry, "index": index, "proof": proof.to_json()}
        self.entries.add(entry)
        return ""

    def _find(self, source: str, form: str) -> tuple[Any, int, int] | None:
        """Find the block of a blob, its entry, and its place among that entry's blocks."""
        key = (source, form)
        if key not in self._blocks:
            self._blocks[key] = self._look_up(source, form)
        return self._blocks[key]

    def _look_up(self, source: str, form: str) -> tuple[Any, int, int] | None:
        with self._segment.reading() as connection:
            index = StepIndex(connection, self._segment.size(), None)
            step = index.find_block(source, form)
        if step is None:
            return None
        [entry] = self._segment.iter_entries(step.position, step.position + 1)
        blocks = _blocks_of(entry.payload or b"{}")
        try:
            block = self._links.open_block(step.block, step.footer)
        except MissingLinksError as error:
            self._reasons[source, form] = error.reason
            return None
        place = next(
            number
            for number, one in enumerate(blocks)
            if (one["source"], one["form"]) == (source, form)
        )
        return block, entry.position, place


def _blocks_of(payload: bytes) -> list[dict[str, Any]]:
    facets = json.loads(payload)["dataset"]["facets"]
    blocks: list[dict[str, Any]] = facets[BLOCKS_FACET]["blocks"]
    return blocks

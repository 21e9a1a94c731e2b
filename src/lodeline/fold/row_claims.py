"""Rows behind rows, from what the log proves alone: steps of events, and claims of single rows.

A step says how the rows of an input became rows of an output; where its links lie in a block, one
row's claim is a proof under the root that a `block` entry carries (`proof.row_blocks`). Walking
back needs nothing but steps and claims, so a reader of an evidence pack can do it offline.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.errors import MalformedPackError
from lodeline.model import NodeId, parse_time
from lodeline.proof.packs import DisclosedEntry
from lodeline.proof.row_blocks import RowProof, verify_row

FACET: Final = "lodeline_rows"
BLOCKS_FACET: Final = "lodeline_row_blocks"
MEMORY: Final = "memory"
# The form of a block that holds the declared key of each row: a claim is the text of one.
KEYS: Final = "keys"
# Why a claim may be missing from a pack; each stands as a gap.
REASONS: Final = frozenset({"erased", "pending", "retention", "size"})


@dataclass(frozen=True, slots=True)
class StatedStep:
    """One step as an event states it.

    Attributes:
        operator: in words.
        input: dataset at its version, or something in memory.
        output: dataset or model at its version, or something in memory.
        shape: identity, range, array, lists or set.
        count: links.
        rows: output rows.
        start: first input row of a range.
        digest: of the blob that the program wrote; empty where the shape needs none.
        gaps: (operator, detail) of what is not among the links.
    """

    operator: str
    input: NodeId
    output: NodeId
    shape: str
    count: int
    rows: int
    start: int
    digest: str
    gaps: tuple[tuple[str, str], ...]

    @property
    def claimed(self) -> bool:
        """Whether its links lie in a block."""
        return bool(self.digest) and self.shape not in {"identity", "range"}


def iter_steps(event: Mapping[str, Any]) -> Iterator[StatedStep]:
    """Read the steps of one event; what is malformed says nothing."""
    for output, facet in iter_facets(event):
        kind = "model" if "lodeline_model" in (output.get("facets") or {}) else "dataset"
        for step in facet.get("steps") or ():
            try:
                yield _step(step, output, kind)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue


def iter_facets(event: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """List the outputs of an event that have the facet, each with it."""
    for output in event.get("outputs") or ():
        for holder in ("outputFacets", "facets"):
            facet = (output.get(holder) or {}).get(FACET)
            if isinstance(facet, Mapping):
                yield output, facet


@dataclass(frozen=True, slots=True)
class StatedKeys:
    """The columns that name the rows of a dataset at a version.

    Attributes:
        dataset: at its version.
        columns: in the order of the key.
        digest: of the blob that holds the keys; empty where they stand in the dataset alone.
    """

    dataset: NodeId
    columns: tuple[str, ...]
    digest: str


def iter_keys(event: Mapping[str, Any]) -> Iterator[StatedKeys]:
    """Read the keys that an event declares; what is malformed says nothing."""
    for output, facet in iter_facets(event):
        for key in facet.get("keys") or ():
            try:
                named = key["dataset"]
                version = str(named.get("version") or "")
                same = (named["namespace"], named["name"]) == (output["namespace"], output["name"])
                if same and not version:
                    version = version_of(output)
                node = NodeId("dataset", str(named["namespace"]), str(named["name"]), "", version)
                columns = tuple(str(column) for column in key["columns"])
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            if columns:
                yield StatedKeys(node, columns, str(key.get("digest") or ""))


def key_blobs(events: Iterable[Mapping[str, Any]], dataset: NodeId) -> list[str]:
    """List the blobs of keys that events declare for a dataset at its version.

    Args:
        events: in the order of the log; where a key stands in several blobs, the first counts.
        dataset: at its version.
    """
    found: dict[str, None] = {}
    for event in events:
        stated = [one for one in iter_keys(event) if one.dataset == dataset and one.digest]
        stated.sort(key=lambda one: (json.dumps(one.columns), one.digest))
        found |= dict.fromkeys(one.digest for one in stated)
    return list(found)


def _step(step: Mapping[str, Any], output: Mapping[str, Any], kind: str) -> StatedStep:
    into, out_of = step["output"], step["input"]
    written = (into["namespace"], into["name"]) == (output["namespace"], output["name"])
    version = str(into.get("version") or "")
    if written and not version:
        version = version_of(output)
    gaps = [(str(gap["operator"]), str(gap["detail"])) for gap in step.get("gaps") or ()]
    source = (str(out_of["namespace"]), str(out_of["name"]), "", str(out_of.get("version") or ""))
    target = (str(into["namespace"]), str(into["name"]), "", version)
    return StatedStep(
        str(step["operator"]),
        NodeId("dataset", *source),
        NodeId(kind if written else "dataset", *target),
        str(step["shape"]),
        int(step["count"]),
        int(step.get("rows") or 0),
        int(step.get("start") or 0),
        str(step.get("digest") or ""),
        tuple(gaps),
    )


def version_of(output: Mapping[str, Any]) -> str:
    """Give the version that an event states for its output: a model's digest, or the bytes'."""
    facets = output.get("facets") or {}
    model = facets.get("lodeline_model")
    if isinstance(model, Mapping) and model.get("digest"):
        return str(model["digest"])
    digest = facets.get("lodeline_digest")
    if isinstance(digest, Mapping) and digest.get("value"):
        return f"sha256:{digest['value']}"
    return ""


# Walking back.

Starts = Mapping[NodeId, Iterable[int]]
# The input rows behind an output row; `None` where they cannot be told.
Behind = Callable[[StatedStep, int], Sequence[int] | None]


def walk_back(
    steps: Iterable[StatedStep], starts: Starts, behind: Behind
) -> dict[NodeId, set[int]]:
    """Walk from rows to all rows behind them, those of the start among them.

    Args:
        steps: all there are.
        starts: row numbers by node with version.
        behind: tells the links of a step whose links lie in a block.
    """
    into: dict[NodeId, dict[tuple[object, ...], StatedStep]] = {}
    for step in steps:
        content = (step.input, step.shape, step.start, step.digest)
        into.setdefault(step.output, {}).setdefault(content, step)
    found = {node: set(rows) for node, rows in starts.items()}
    waiting = [(node, row) for node, rows in sorted(found.items()) for row in sorted(rows)]
    while waiting:
        node, row = waiting.pop(0)
        for step in into.get(node, {}).values():
            for number in _inputs(step, row, behind):
                known = found.setdefault(step.input, set())
                if number not in known:
                    known.add(number)
                    waiting.append((step.input, number))
    return found


def _inputs(step: StatedStep, row: int, behind: Behind) -> Sequence[int]:
    if step.shape in {"identity", "range"}:
        return [row + step.start] if row < step.rows else []
    if not step.claimed:
        return range(step.start, step.start + step.count)
    return behind(step, row) or ()


# Claims in a pack.


@dataclass
class RowsFound:
    """What the entries and claims of a pack say of rows.

    Attributes:
        rows: (dataset without version, version, row number), ascending; nothing in memory.
        nodes: datasets without versions whose entries must all be there.
        gaps: (source, form, row, reason) of claims that are stated to be missing; of a key no row.
    """

    rows: list[tuple[str, str, int]] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    gaps: list[tuple[str, str, int | None, str]] = field(default_factory=list)


def recompute_rows(
    entries: Mapping[int, DisclosedEntry],
    events: Iterable[Mapping[str, Any]],
    stated: Mapping[str, Any],
    starts: Starts,
    named: NodeId | None = None,
) -> RowsFound:
    """Walk back with the claims of a pack alone.

    1. Each claim is a row's of a block, under the root that a leaf carries for it.
    2. A row that its declared key names is the row that claims this key.
    3. The walk asks for a claim wherever a step has a block; one that is not there must be stated
       to be missing, and why.

    Args:
        entries: checked.
        events: the disclosed ones that count.
        stated: `{"claims": […], "missing": […]}`.
        starts: rows to walk back from.
        named: a row to walk back from, by its declared key; `None` for none.

    Raises:
        MalformedPackError: a claim is missing without being stated, or is none.
        ProofError: a claim is not what the log commits to.
    """
    # 1.
    claims, keys = _verified_claims(entries, stated["claims"])
    missing = {(one["source"], one["form"], one["row"]): one["reason"] for one in stated["missing"]}
    if not set(missing.values()) <= REASONS:
        raise MalformedPackError("rows.json: a claim is missing for no known reason")
    found, events = RowsFound(), list(events)
    # 2.
    if named is not None:
        starts = _named_start(events, named, keys, missing, found)
    elif keys:
        raise MalformedPackError("rows.json: a claim of a key, and none was asked about")

    # 3.
    def behind(step: StatedStep, row: int) -> Sequence[int] | None:
        key = (step.digest, step.shape, row)
        if key in claims:
            return claims[key]
        if key not in missing:
            raise MalformedPackError(f"rows.json: no claim of row {row} of {step.output}")
        found.gaps.append((*key, missing[key]))
        return None

    steps = [step for event in events for step in iter_steps(event)]
    reached = walk_back(steps, starts, behind)
    for node, numbers in reached.items():
        if node.namespace != MEMORY:
            found.nodes.add(str(node.at("")))
            found.rows += [(str(node.at("")), node.version, number) for number in numbers]
    found.rows.sort()
    return found


def _verified_claims(
    entries: Mapping[int, DisclosedEntry], stated: Iterable[Mapping[str, Any]]
) -> tuple[dict[tuple[str, str, int], Sequence[int]], list[tuple[str, int, bytes]]]:
    """Check claims; give those of links, and those of keys: source, row and text."""
    claims: dict[tuple[str, str, int], Sequence[int]] = {}
    keys: list[tuple[str, int, bytes]] = []
    for one in stated:
        proof = RowProof.from_json(one["proof"])
        block = _block(entries, one)
        verify_row(proof, rows=int(block["rows"]), root=bytes.fromhex(block["root"]))
        if block["form"] == KEYS:
            keys.append((block["source"], proof.row, proof.claim))
        else:
            claims[block["source"], block["form"], proof.row] = read_claim(proof.claim)
    return claims, keys


def _named_start(
    events: Iterable[Mapping[str, Any]],
    named: NodeId,
    keys: Sequence[tuple[str, int, bytes]],
    missing: Mapping[tuple[str, str, int | None], str],
    found: RowsFound,
) -> Starts:
    """Give the row that claims a key, of a block that an event declares to name such rows."""
    home = named.dataset.at(named.version)
    declared = key_blobs(events, home)
    if keys:
        source, row, claim = keys[0]
        if len(keys) > 1 or source not in declared or claim != named.part.encode():
            raise MalformedPackError(f"rows.json: a claim of a key, not that of {named}")
        return {home: [row]}
    lost = [(one, KEYS, None) for one in declared if (one, KEYS, None) in missing]
    if not lost:
        raise MalformedPackError(f"rows.json: no claim of the key of {named}")
    found.gaps += [(*key, missing[key]) for key in lost]
    return {}


def _block(entries: Mapping[int, DisclosedEntry], claim: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what the log says of the block that a claim is of."""
    index, number = claim["entry"], claim["index"]
    entry = entries.get(index)
    if entry is None or entry.record.kind != "block" or entry.payload is None:
        raise MalformedPackError(f"rows.json: entry {index} is no block entry of the pack")
    blocks = json.loads(entry.payload)["dataset"]["facets"][BLOCKS_FACET]["blocks"]
    if type(number) is not int or not 0 <= number < len(blocks) == len(entry.record.roots):
        raise MalformedPackError(f"rows.json: entry {index} has no block {number}")
    block: Mapping[str, Any] = blocks[number]
    if block["root"] != entry.record.roots[number]:
        raise MalformedPackError(f"rows.json: entry {index}: not the root of its leaf")
    return block


def read_claim(claim: bytes) -> list[int]:
    """Read the input rows that a row claims.

    Raises:
        MalformedPackError: not eight bytes each.
    """
    if len(claim) % 8:
        raise MalformedPackError(f"a claim of {len(claim)} bytes")
    return [int.from_bytes(claim[at : at + 8], "big") for at in range(0, len(claim), 8)]


def is_valid_by(event: Mapping[str, Any], valid_us: int | None) -> bool:
    """Whether an event counts at an event time."""
    return valid_us is None or parse_time(event["eventTime"])[0] <= valid_us


def feature_rows(record: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Give (dataset, version, row number) of the rows that a prediction's model was given."""
    return [
        (str(row["dataset"]), str(row["version"]), int(row["key"]))
        for row in record.get("featureRows") or ()
    ]

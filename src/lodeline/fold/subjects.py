"""Which nodes a log entry asserts something about: the keys under which the map files its leaf.

Nodes are whole: no version, and a column counts as its dataset. Names are those that the entry
uses; an alias stands under both of its names. An event is filed under every node that it might
make the fold see differently, its run and job first, so that the entries of a few nodes are
enough to answer a question about them (`completeness`).

A change here changes which map a log gives: it needs a new version of the map record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from lodeline.errors import InvalidInputError, MalformedFacetError, MalformedIdentifierError
from lodeline.fold.contributions import Uses, kind_of, read_uses
from lodeline.fold.registers import mentions
from lodeline.fold.relations import GroupKey
from lodeline.fold.statements import body_of
from lodeline.limits import CONTENTS_CACHED_MAX, STATEMENTS_CACHED_MAX
from lodeline.model import NodeId, parse_identifier
from lodeline.proof import map_key
from lodeline.wire import DatasetEvent, Event, JobEvent, Run, RunEvent, decode_stored

MAPPED_KINDS: Final = frozenset({"dataset", "job", "run", "model", "deployment", "feature"})

_BATCH: Final = "lodeline_prediction_batch"
_ROW_BLOCKS: Final = "lodeline_row_blocks"


def asserted_nodes(event: Event) -> frozenset[str]:
    """List the nodes that an event asserts something about, as identifiers without version."""
    if isinstance(event, RunEvent):
        return nodes_of_uses(event) | nodes_of_run(event.run.run_id, event.run.facets)
    return nodes_of_uses(event)


def nodes_of_uses(event: Event) -> frozenset[str]:
    """List the nodes that an event names beside its run: job, inputs, outputs and their facets.

    Depends on nothing of a run but its `lineage` facet, so that what it gives can be kept for the
    events that say the same in other runs.
    """
    if isinstance(event, RunEvent):
        facets = {name: raw for name, raw in event.run.facets.items() if name == "lineage"}
        event = msgspec.structs.replace(event, run=Run(event.run.run_id, facets))
    stated = mentions(event)
    found: set[NodeId] = {*stated.names, *stated.facets}
    found |= {NodeId("dataset", namespace, name) for namespace, name, _ in stated.columns}
    found |= {node for node, _ in stated.aliases}
    found.update(_wire_names(event))
    uses = Uses.of(_group_key(event))
    uses.add(event)
    reading = read_uses(uses)
    for one in reading.assertions:
        found |= {node for node in (one.source, one.target, one.job) if node is not None}
    found |= {node for node, _, _ in reading.made} | {read.node for read in reading.reads}
    for column in reading.features:
        found |= {column.feature, column.field}
    return frozenset(_identifiers(found))


def nodes_of_run(run_id: str, facets: Mapping[str, msgspec.Raw]) -> frozenset[str]:
    """List the nodes that a run's own facets name: the run, its parent and its root."""
    run = str(NodeId("run", "", run_id.lower()))
    parent = facets.get("parent")
    return frozenset({run}) if parent is None else nodes_of_parent(bytes(parent)) | {run}


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def nodes_of_parent(raw: bytes) -> frozenset[str]:
    """List the runs and jobs that a `parent` facet names; what cannot be read names none."""
    try:
        body = body_of(raw)
    except MalformedFacetError:
        return frozenset()
    root = body.get("root")
    found = [*_parent_nodes(body), *(_parent_nodes(root) if isinstance(root, dict) else ())]
    return frozenset(_identifiers(found))


def _parent_nodes(body: Mapping[str, Any]) -> Iterator[NodeId]:
    run, job = body.get("run"), body.get("job")
    if isinstance(run, dict) and (name := _text(run, "runId")):
        yield NodeId("run", "", name.lower())
    if isinstance(job, dict) and (name := _text(job, "name")):
        yield NodeId("job", _text(job, "namespace"), name)


def _wire_names(event: Event) -> Iterator[NodeId]:
    """Walk every dataset on the wire, even one that is no node by itself."""
    if isinstance(event, DatasetEvent):
        subject = event.dataset
        yield NodeId(kind_of(subject.facets), subject.namespace, subject.name)
        return
    for used in event.inputs:
        yield NodeId(kind_of(used.facets), used.namespace, used.name)
    for made in event.outputs:
        yield NodeId(kind_of(made.facets), made.namespace, made.name)


def _group_key(event: Event) -> GroupKey:
    if isinstance(event, DatasetEvent):
        dataset = event.dataset
        return GroupKey("dataset", "", dataset.namespace, dataset.name, False, b"")
    kind = "job" if isinstance(event, JobEvent) else "run"
    return GroupKey(kind, "", event.job.namespace, event.job.name, False, b"")


def _identifiers(nodes: Iterable[NodeId]) -> Iterator[str]:
    for node in nodes:
        whole = node.dataset if node.kind in ("datasetField", "row") else node.at("")
        if whole.kind in MAPPED_KINDS and whole.name:
            yield str(whole)


def entry_nodes(kind: str, payload: bytes) -> frozenset[str]:
    """List the nodes that an entry of the log asserts something about.

    - `event`: `asserted_nodes`.
    - `alias`: the model or deployment whose version it numbers (`node`).
    - `block`: the deployment, and where it names them the model and the run, of a block of
      predictions. Predictions themselves are proven by the roots of their batches.
    - `statement`: the nodes in its array `subjects`.
    - other kinds assert nothing about a node.

    Args:
        kind: of the leaf.
        payload: canonical bytes.
    """
    if kind == "event":
        try:
            return asserted_nodes(decode_stored(payload))
        except InvalidInputError:
            return frozenset()
    reader = _READERS.get(kind)
    if reader is None:
        return frozenset()
    try:
        body = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return frozenset()
    return frozenset(_identifiers(reader(body))) if isinstance(body, dict) else frozenset()


def _alias_nodes(body: Mapping[str, Any]) -> Iterator[NodeId]:
    yield from _parsed([body.get("node")])


def _statement_nodes(body: Mapping[str, Any]) -> Iterator[NodeId]:
    subjects = body.get("subjects")
    yield from _parsed(subjects if isinstance(subjects, list) else [])


def _parsed(identifiers: Iterable[object]) -> Iterator[NodeId]:
    for text in identifiers:
        if isinstance(text, str):
            try:
                yield parse_identifier(text)
            except MalformedIdentifierError:
                continue


def _block_nodes(body: Mapping[str, Any]) -> Iterator[NodeId]:
    yield from _row_block_nodes(body)
    facet: Any = body
    for name in ("dataset", "facets", _BATCH):
        facet = facet.get(name) if isinstance(facet, dict) else None
    if not isinstance(facet, dict):
        return
    for kind in ("deployment", "model"):
        named = facet.get(kind)
        if isinstance(named, dict) and (name := _text(named, "name")):
            yield NodeId(kind, _text(named, "namespace"), name)
    if run_id := _text(facet, "run"):
        yield NodeId("run", "", run_id.lower())


def _row_block_nodes(body: Mapping[str, Any]) -> Iterator[NodeId]:
    """Blocks of row links are filed under what the rows came to be."""
    facet: Any = body
    for name in ("dataset", "facets", _ROW_BLOCKS):
        facet = facet.get(name) if isinstance(facet, dict) else None
    outputs = facet.get("outputs") if isinstance(facet, dict) else None
    for one in outputs if isinstance(outputs, list) else ():
        if isinstance(one, dict) and one.get("kind") in {"dataset", "model"}:
            yield NodeId(one["kind"], _text(one, "namespace"), _text(one, "name"))


_READERS: Final = {"alias": _alias_nodes, "block": _block_nodes, "statement": _statement_nodes}


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


class _RunSlice(msgspec.Struct, gc=False):
    """The run of a stored event, its facets unparsed."""

    run_id: str = msgspec.field(name="runId")
    facets: msgspec.Raw = msgspec.Raw(b"{}")


class _EventSlice(msgspec.Struct, gc=False):
    """A stored event, sliced."""

    run: _RunSlice | None = None
    job: msgspec.Raw = msgspec.Raw(b"")
    dataset: msgspec.Raw = msgspec.Raw(b"")
    inputs: msgspec.Raw = msgspec.Raw(b"")
    outputs: msgspec.Raw = msgspec.Raw(b"")


_slice: Final = msgspec.json.Decoder(_EventSlice).decode
_decode_facets: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class EntryKeys:
    """Map keys of entries: `entry_nodes`, hashed, at the cost of a look-up for what repeats.

    Real jobs say the same of their inputs and outputs run after run, and stored payloads are
    canonical, so equal members are equal bytes: sliced off unparsed and looked up.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], frozenset[bytes]] = {}

    def of(self, kind: str, payload: bytes) -> frozenset[bytes]:
        """Give the keys under which an entry is filed."""
        if kind != "event":
            return _keys(entry_nodes(kind, payload))
        try:
            event = _slice(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _keys(entry_nodes(kind, payload))
        run = event.run
        facets = b"" if run is None else bytes(run.facets)
        if run is None or b'"lineage"' in facets:
            # The run's own lineage counts with its inputs and outputs: nothing to look up.
            return _keys(entry_nodes(kind, payload))
        content = tuple(bytes(part) for part in (event.job, event.inputs, event.outputs))
        known = self._known.get(content)
        if known is None:
            if len(self._known) >= CONTENTS_CACHED_MAX:
                self._known.clear()
            known = self._known[content] = _keys(nodes_of_uses(decode_stored(payload)))
        own = {map_key(str(NodeId("run", "", run.run_id.lower())))}
        if b'"parent"' in facets and (parent := _decode_facets(facets).get("parent")) is not None:
            own.update(map(map_key, nodes_of_parent(bytes(parent))))
        return known | own


def _keys(nodes: Iterable[str]) -> frozenset[bytes]:
    return frozenset(map(map_key, nodes))

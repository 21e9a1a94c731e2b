"""What one event states by itself, whatever its group: facets, symlinks, endings, names.

A register holds, per node and facet, the last statement over all events, in event time, ties by
content digest. A facet of an input or output use (`inputFacets`, `outputFacets`) belongs to the
run, not to the dataset, and enters no register.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from lodeline.errors import MalformedFacetError
from lodeline.fold import statements
from lodeline.fold.contributions import kind_of, read_features, read_run
from lodeline.fold.statements import Source
from lodeline.model import NodeId
from lodeline.wire import DatasetEvent, Event, RunEvent


@dataclass(slots=True)
class Mentions:
    """What one event states of its nodes.

    Attributes:
        facets: per node, facet name to verbatim bytes.
        aliases: (node, other); the other is None where the node's symlinks were retracted.
        endings: nodes that a lifecycle facet ended.
        names: nodes that the event names by itself, repeated as often as it does. What only a
            merged group derives (the columns of a model's features) is known by its derivation.
        columns: (namespace, name, column) of the columns that it names.
        versions: (node, version) of models and deployments, in the event's order.
    """

    facets: dict[NodeId, dict[str, bytes]] = field(default_factory=dict)
    aliases: list[tuple[NodeId, NodeId | None]] = field(default_factory=list)
    endings: list[NodeId] = field(default_factory=list)
    names: list[NodeId] = field(default_factory=list)
    columns: list[tuple[str, str, str]] = field(default_factory=list)
    versions: list[tuple[NodeId, str]] = field(default_factory=list)

    def iter_names(self) -> Iterator[NodeId]:
        """Walk every node that is named, columns too, repeated or not."""
        yield from self.names
        for column in self.columns:
            yield NodeId("datasetField", *column)


def mentions(event: Event) -> Mentions:
    """Read what an event states by itself."""
    found = Mentions()
    if isinstance(event, DatasetEvent):
        _dataset(found, event.dataset.namespace, event.dataset.name, event.dataset.facets)
        return found
    job = NodeId("job", event.job.namespace, event.job.name)
    found.names.append(job)
    if isinstance(event, RunEvent):
        found.names.extend(parent_jobs(event.run.facets))
    if event.job.facets:
        found.facets[job] = _stated(event.job.facets)
    for used in event.inputs:
        _dataset(found, used.namespace, used.name, used.facets)
    for made in event.outputs:
        _dataset(found, made.namespace, made.name, made.facets)
    return found


def parent_jobs(run_facets: Mapping[str, msgspec.Raw]) -> list[NodeId]:
    """List the jobs that a run's facets name as its parent."""
    facets = {name: bytes(raw) for name, raw in run_facets.items() if name == "parent"}
    return [parent.job for parent in read_run(facets, at="").parents]


def _stated(facets: Mapping[str, msgspec.Raw]) -> dict[str, bytes]:
    """Give facets as bytes; null states nothing."""
    stated = {name: bytes(raw) for name, raw in facets.items()}
    return {name: raw for name, raw in stated.items() if raw != b"null"}


def _dataset(found: Mentions, namespace: str, name: str, facets: Mapping[str, msgspec.Raw]) -> None:
    stated = _stated(facets)
    if "lodeline_prediction_batch" in stated:
        return  # A batch is a block of rows, found by its predictions; it is no node.
    node = NodeId(kind_of(stated), namespace, name)
    found.names.append(node)
    if not stated:
        return
    found.facets.setdefault(node, {}).update(stated)
    if node.kind != "dataset":
        _version(found, node, stated)
    for reader in (_aliases, _ending, _columns, _features):
        try:
            reader(found, node, stated)
        except (MalformedFacetError, AttributeError, TypeError):
            continue  # The group's contribution carries the gap.


def _version(found: Mentions, node: NodeId, facets: Mapping[str, bytes]) -> None:
    try:
        version = statements.stated_version(facets)
    except MalformedFacetError:
        return
    if version is not None:
        found.versions.append((node, version))


def _aliases(found: Mentions, node: NodeId, facets: Mapping[str, bytes]) -> None:
    raw = facets.get("symlinks")
    if raw is None:
        return
    if statements.is_deleted(raw):
        found.aliases.append((node, None))
        return
    for namespace, name in statements.symlink_names(raw):
        other = NodeId(node.kind, namespace, name)
        if other != node:
            found.aliases.append((node, other))
            found.names.append(other)


def _ending(found: Mentions, node: NodeId, facets: Mapping[str, bytes]) -> None:
    raw = facets.get("lifecycleStateChange")
    if raw is None:
        return
    body = statements.body_of(raw)
    change = statements.text(body, "lifecycleStateChange", default="").upper()
    if change == "DROP":
        found.endings.append(node)
    previous = body.get("previousIdentifier")
    if change == "RENAME" and isinstance(previous, dict):
        before = NodeId(
            node.kind, statements.text(previous, "namespace"), statements.text(previous, "name")
        )
        if before != node and before.name:
            found.endings.append(before)
            found.names.append(before)


def _columns(found: Mentions, node: NodeId, facets: Mapping[str, bytes]) -> None:
    columns = found.columns
    if node.kind == "dataset":
        own = (*_schema(facets), *_targets(facets))
        columns += [(node.namespace, node.name, name) for name in own if name]
    for source in _sources(facets):
        if source.type == "JOB":
            continue
        found.names.append(NodeId("dataset", source.namespace, source.name))
        if source.field:
            columns.append((source.namespace, source.name, source.field))


def _features(found: Mentions, node: NodeId, facets: Mapping[str, bytes]) -> None:
    raw = facets.get("lodeline_features")
    if raw is None:
        return
    for one in read_features(node.namespace, node.name, raw):
        found.names.append(one.feature)
        found.columns.append((node.namespace, node.name, one.field.part))


def _schema(facets: Mapping[str, bytes]) -> tuple[str, ...]:
    raw = facets.get("schema")
    return () if raw is None else statements.schema_fields(raw)


def _sources(facets: Mapping[str, bytes]) -> Iterator[Source]:
    if (raw := facets.get("lineage")) is not None and (flow := statements.lineage_flow(raw)):
        yield from flow.sources
    if (raw := facets.get("columnLineage")) is not None:
        yield from statements.column_flow(raw).sources


def _targets(facets: Mapping[str, bytes]) -> Iterator[str]:
    if (raw := facets.get("lineage")) is not None and (flow := statements.lineage_flow(raw)):
        yield from (name for name, _ in flow.fields)
    if (raw := facets.get("columnLineage")) is not None:
        yield from (name for name, _ in statements.column_flow(raw).fields)

"""What flowed into what, within one group. Pure.

1. *Basis.* Per output: an explicit `lineage` statement names its sources, and only those; else
   `columnLineage` does, and declared inputs that it omits stay inferred, unless capture observed
   the whole flow; else what capture observed; else every declared input is inferred.
2. *Columns.* From the statement that gave the basis. A source behind the whole output is behind
   each of its columns.
3. *Half-derivations.* An output without sources and an input that reaches no output still stand
   in the graph, joined to nothing but their job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lodeline.fold import statements
from lodeline.fold.relations import BASIS_RANK, Assertion
from lodeline.fold.statements import Flow, FlowEntry, Source
from lodeline.model import NodeId

Name = tuple[str, str]


class DatasetShape(NamedTuple):
    """One input or output as far as derivations depend on it; versions and run ids left out."""

    node: NodeId
    lineage: Flow | None = None
    columns: Flow | None = None
    observed: Flow | None = None
    fields: tuple[str, ...] = ()
    deployed_model: NodeId | None = None
    dropped: bool = False
    batch: bool = False


class GroupShape(NamedTuple):
    """All that derivations depend on. Runs of one job mostly share one shape."""

    job: NodeId | None
    inputs: tuple[DatasetShape, ...]
    outputs: tuple[DatasetShape, ...]
    entries: tuple[FlowEntry, ...]


def derivation_kind(source: NodeId | None, target: NodeId | None) -> str:
    """Name a derivation by its ends."""
    if source is not None and target is not None:
        if source.kind == "model" and target.kind == "deployment":
            return "deploys"
        if target.kind == "model" and source.kind != "model":
            return "trains"
    return "derives"


def explicit_targets(shape: GroupShape) -> set[NodeId]:
    """List the dataset targets that the job's or the run's lineage facet names."""
    kinds = _kinds(shape)
    return {
        kinds.get((entry.namespace, entry.name), NodeId("dataset", entry.namespace, entry.name))
        for entry in shape.entries
        if entry.type == "DATASET"
    }


def explicit_sources(shape: GroupShape) -> set[NodeId]:
    """List every dataset that a statement of any basis names as a source."""
    kinds = _kinds(shape)
    flows = [entry.flow for entry in shape.entries]
    for output in shape.outputs:
        flows += [flow for flow in (output.lineage, output.columns, output.observed) if flow]
    return {
        kinds.get((one.namespace, one.name), NodeId("dataset", one.namespace, one.name))
        for flow in flows
        for one in flow.sources
        if one.type != "JOB"
    }


def _kinds(shape: GroupShape) -> dict[Name, NodeId]:
    return {
        (one.node.namespace, one.node.name): one.node for one in (*shape.inputs, *shape.outputs)
    }


def assertions_of(shape: GroupShape) -> tuple[Assertion, ...]:
    """Derive every assertion of a group, at dataset and at column level."""
    return _Derivation(shape).run()


class _Derivation:
    """The steps of `assertions_of` over one shape."""

    def __init__(self, shape: GroupShape) -> None:
        self.shape = shape
        self.nodes = _kinds(shape)
        self.declared = [used.node for used in shape.inputs]
        self.found: dict[tuple[NodeId | None, NodeId | None, NodeId | None], tuple[str, list[str]]]
        self.found = {}
        self.reached: set[NodeId] = set()

    def run(self) -> tuple[Assertion, ...]:
        shape = self.shape
        outputs = {output.node: output for output in shape.outputs if not output.batch}
        for target in sorted({*outputs, *explicit_targets(shape)}):
            self._output(outputs.get(target) or DatasetShape(target))
        for entry in shape.entries:
            if entry.type == "JOB":
                self._consumer(entry)
        for used in self.declared:
            if used not in self.reached:
                self._assert(used, None, "inferred")
        return tuple(
            Assertion(
                source,
                target,
                derivation_kind(source, target),
                job,
                basis,
                statements.joined_details(details),
            )
            for (source, target, job), (basis, details) in sorted(
                self.found.items(), key=lambda item: str(item[0])
            )
        )

    def _assert(
        self,
        source: NodeId | None,
        target: NodeId | None,
        basis: str,
        *,
        detail: str = "",
        job: NodeId | None = None,
    ) -> None:
        job = job or self.shape.job
        if (source is None or target is None) and job is None:
            return  # A DatasetEvent has no job that could read or write.
        if derivation_kind(source, target) == "deploys":
            job = None
        before, details = self.found.get((source, target, job), (basis, []))
        strongest = min(before, basis, key=BASIS_RANK.__getitem__)
        self.found[source, target, job] = (strongest, [*details, detail] if detail else details)
        if source is not None:
            self.reached.add(source)

    def _node(self, source: Source) -> NodeId:
        name = (source.namespace, source.name)
        return self.nodes.get(name, NodeId("dataset", *name))

    def _output(self, output: DatasetShape) -> None:
        """Derive one output: numbers 1 and 3 of the list above."""
        target = output.node
        explicit = [output.lineage] if output.lineage is not None else []
        explicit += [
            entry.flow
            for entry in self.shape.entries
            if entry.type == "DATASET"
            and (entry.namespace, entry.name) == (target.namespace, target.name)
        ]
        if explicit:
            bases = self._explicit(target, explicit)
        elif output.columns is not None:
            # Capture that observed the flow knows it whole; other producers declare inputs that
            # their column lineage may omit.
            if output.observed is not None:
                basis = _basis_of(output.observed)
                bases = {self._node(one): basis for one in output.observed.sources}
            else:
                bases = dict.fromkeys(self._declared_for(output), "inferred")
            bases |= {self._node(one): "columnLineage" for one in output.columns.sources}
        elif output.observed is not None:
            basis = _basis_of(output.observed)
            bases = {self._node(one): basis for one in output.observed.sources}
        elif output.dropped:
            return
        else:
            bases = dict.fromkeys(self._declared_for(output), "inferred")
        if output.deployed_model is not None:
            bases[output.deployed_model.at("")] = "observed"
        for source, basis in bases.items():
            self._assert(source, target, basis)
        if not bases:
            self._assert(None, target, "lineage" if explicit else "inferred")
        self._columns(output, explicit, bases)

    def _declared_for(self, output: DatasetShape) -> list[NodeId]:
        """List the declared inputs that may have flowed into an output.

        A deployment that names its model was not derived from the other models its process read.
        """
        if output.deployed_model is None:
            return self.declared
        return [source for source in self.declared if source.kind != "model"]

    def _explicit(self, target: NodeId, flows: list[Flow]) -> dict[NodeId, str]:
        bases: dict[NodeId, str] = {}
        for source in (source for flow in flows for source in flow.sources):
            if source.type != "JOB":
                bases[self._node(source)] = "lineage"
            elif source.name:
                self._assert(
                    None, target, "lineage", job=NodeId("job", source.namespace, source.name)
                )
            else:
                self._assert(None, target, "lineage")
        return bases

    def _consumer(self, entry: FlowEntry) -> None:
        """Derive what a job takes in without passing it on: its entry in a lineage facet."""
        job = NodeId("job", entry.namespace, entry.name) if entry.name else None
        for source in entry.flow.sources:
            if source.type != "JOB":
                self._assert(self._node(source), None, "lineage", job=job)

    def _columns(
        self, output: DatasetShape, explicit: list[Flow], bases: Mapping[NodeId, str]
    ) -> None:
        stated = [(flow, "lineage") for flow in explicit if _names_columns(flow)]
        if not stated and output.columns is not None:
            stated = [(output.columns, "columnLineage")]
        if not stated and output.observed is not None and not explicit:
            stated = [(output.observed, _basis_of(output.observed))]
        for flow, basis in stated:
            self._column_flow(output, flow, basis, allowed=bases)
        if output.node.kind == "model":
            covered = {
                source.dataset
                for source, target, _ in self.found
                if source is not None and source.kind == "datasetField" and target == output.node
            }
            self._features(output, {s: b for s, b in bases.items() if s not in covered})

    def _column_flow(
        self, output: DatasetShape, flow: Flow, basis: str, *, allowed: Mapping[NodeId, str]
    ) -> None:
        target = output.node
        named = [name for name, _ in flow.fields]
        for name, sources in flow.fields:
            for source in sources:
                self._column(source, _field_of(target, name), basis, allowed)
        # A source behind the whole dataset (a filter, a grouping) is behind each of its columns.
        for source in flow.inputs:
            for name in dict.fromkeys([*named, *output.fields]) or [""]:
                self._column(source, _field_of(target, name), basis, allowed)

    def _column(
        self, source: Source, target: NodeId, basis: str, allowed: Mapping[NodeId, str]
    ) -> None:
        if source.type == "JOB" or not source.field or self._node(source) not in allowed:
            return
        origin = self._node(source)
        if origin.kind != "dataset":
            return
        column = NodeId("datasetField", source.namespace, source.name, source.field)
        self._assert(column, target, basis, detail=source.detail)

    def _features(self, output: DatasetShape, bases: Mapping[NodeId, str]) -> None:
        """Derive a model from the columns that reached its fit, where they can be told apart."""
        datasets = [source for source in bases if source.kind == "dataset"]
        schemas = {used.node: used.fields for used in self.shape.inputs}
        for source in datasets:
            known = schemas.get(source) or (output.fields if len(datasets) == 1 else ())
            for name in output.fields:
                if name in known:
                    column = NodeId("datasetField", source.namespace, source.name, name)
                    self._assert(column, output.node, bases[source])


def _names_columns(flow: Flow) -> bool:
    return any(source.field for source in flow.sources)


def _field_of(target: NodeId, name: str) -> NodeId:
    """Name a target's column; models and deployments have none, and stand for themselves."""
    if target.kind != "dataset" or not name:
        return target
    return NodeId("datasetField", target.namespace, target.name, name)


def _basis_of(observed: Flow) -> str:
    if observed.bound:
        return "inferred"
    return "content" if observed.content else "observed"

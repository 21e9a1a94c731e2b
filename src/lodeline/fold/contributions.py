"""From the events of one group to what they contribute: merge, then read. Pure.

Inputs and outputs are united by name; of each facet of each of them the last statement counts, in
event time, ties by content digest; a tombstone removes it. What flows into what is decided in
`derivations`.

Left out: anything that needs a second group. Currency, versions of unversioned reads and aliases
are computed at the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final, NamedTuple, TypeVar

import msgspec

from lodeline.errors import MalformedFacetError
from lodeline.fold import statements
from lodeline.fold.derivations import (
    DatasetShape,
    GroupShape,
    assertions_of,
    explicit_sources,
    explicit_targets,
)
from lodeline.fold.entries import Entry, distinct, group_key
from lodeline.fold.relations import (
    Assertion,
    CaptureGap,
    Contribution,
    FeatureColumn,
    GroupKey,
    Parent,
    Read,
    RunState,
    Write,
)
from lodeline.limits import STATEMENTS_CACHED_MAX
from lodeline.model import NodeId
from lodeline.wire import DatasetEvent, Event, JobEvent, RunEvent

Name = tuple[str, str]
Facets = dict[str, bytes]
T = TypeVar("T")

# Register of the union of the gaps that a run's events state; no facet of the wire has this name.
_GAPS: Final = "lodeline_capture gaps"

# A JobEvent or DatasetEvent is complete in itself.
COMPLETED: Final = ("COMPLETE", "JOB", "DATASET")
ENDS: Final = (*COMPLETED, "FAIL", "ABORT")
_ENDING: Final = frozenset(ENDS)


@dataclass(slots=True)
class Uses:
    """What a group's events say of its job, inputs and outputs; times and run ids left out.

    Runs of one job mostly say the same here, so what is read from it can be kept.
    """

    kind: str
    job: NodeId | None
    job_facets: Facets = field(default_factory=dict)
    run_lineage: Facets = field(default_factory=dict)
    inputs: dict[Name, Facets] = field(default_factory=dict)
    outputs: dict[Name, Facets] = field(default_factory=dict)

    @classmethod
    def of(cls, key: GroupKey) -> Uses:
        """Give the empty uses of a group."""
        job = NodeId("job", key.namespace, key.name) if key.kind != "dataset" else None
        return cls(key.kind, job)

    def copy(self) -> Uses:
        """Copy, so that more can be added without touching the original."""
        return Uses(
            self.kind,
            self.job,
            dict(self.job_facets),
            dict(self.run_lineage),
            {name: dict(facets) for name, facets in self.inputs.items()},
            {name: dict(facets) for name, facets in self.outputs.items()},
        )

    def add(self, event: Event) -> None:
        """Take in an event that comes after all earlier ones in `Entry.order`."""
        known = statements.DATASET_FACETS
        if isinstance(event, DatasetEvent):
            dataset = event.dataset
            facets = self.outputs.setdefault((dataset.namespace, dataset.name), {})
            overwrite(facets, dataset.facets, known)
            return
        if isinstance(event, RunEvent):
            self.add_run_lineage(event.run.facets)
        overwrite(self.job_facets, event.job.facets, statements.JOB_FACETS)
        for used in event.inputs:
            facets = self.inputs.setdefault((used.namespace, used.name), {})
            overwrite(facets, used.facets, known)
            overwrite(facets, used.input_facets, known)
        for made in event.outputs:
            facets = self.outputs.setdefault((made.namespace, made.name), {})
            overwrite(facets, made.facets, known)
            overwrite(facets, made.output_facets, known)

    def add_run_lineage(self, facets: Mapping[str, msgspec.Raw]) -> None:
        """Take in a run's own lineage statement, the one facet of a run that names inputs."""
        overwrite(self.run_lineage, facets, statements.RUN_LINEAGE)


@dataclass(slots=True)
class Merged:
    """A group's events as one: the last word on everything.

    Attributes:
        key: of the group.
        uses: of its job, inputs and outputs.
        events: (event time, type) in order.
        run_facets: last word of the run's facets.
        output_times: latest event time that mentions an output.
    """

    key: GroupKey
    uses: Uses
    events: list[tuple[int, str]] = field(default_factory=list)
    run_facets: Facets = field(default_factory=dict)
    output_times: dict[Name, int] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take in an event that comes after all earlier ones in `Entry.order`."""
        self.uses.add(event)
        self.events.append((event.event_time_us, event_type(event)))
        if isinstance(event, RunEvent):
            overwrite(self.run_facets, event.run.facets, statements.RUN_FACETS)
        for name in output_names(event):
            self.output_times[name] = event.event_time_us


def event_type(event: Event) -> str:
    """Name what an event tells of its group."""
    if isinstance(event, RunEvent):
        return event.event_type or "OTHER"
    return "JOB" if isinstance(event, JobEvent) else "DATASET"


def output_names(event: Event) -> list[Name]:
    """List the outputs that an event mentions; the subject of a DatasetEvent counts as one."""
    if isinstance(event, DatasetEvent):
        return [(event.dataset.namespace, event.dataset.name)]
    return [(made.namespace, made.name) for made in event.outputs]


def overwrite(register: Facets, stated: Mapping[str, msgspec.Raw], known: frozenset[str]) -> None:
    """Let later statements of the known facets win; a tombstone or null removes one."""
    for name, raw in stated.items():
        if name not in known:
            continue
        body = bytes(raw)
        if statements.is_deleted(body) or body == b"null":
            register.pop(name, None)
        else:
            register[name] = body
            if name == "lodeline_capture":
                _gather_gaps(register, body)


def _gather_gaps(register: Facets, body: bytes) -> None:
    """Keep every gap that any event of the run states: a later event does not see for it."""
    try:
        stated = set(_capture_gaps(body))
        if _GAPS in register:
            stated |= set(_capture_gaps(register[_GAPS]))
    except (MalformedFacetError, AttributeError, TypeError):
        return  # `read_run` names the facet that cannot be read.
    if stated:
        gaps = [gap._asdict() for gap in sorted(stated, key=_gap_order)]
        register[_GAPS] = statements.plain({"gaps": gaps}).encode()


class UsesReading(NamedTuple):
    """What follows from `Uses` alone.

    Attributes:
        assertions: see `assertions_of`.
        reads: with the versions that were stated.
        made: outputs that were written, their names, and the versions that were stated.
        features: projections of columns.
        gaps: facets that cannot be read.
        code: version of the job's source, where its location states one.
    """

    assertions: tuple[Assertion, ...]
    reads: tuple[Read, ...]
    made: tuple[tuple[NodeId, Name, str | None], ...]
    features: tuple[FeatureColumn, ...]
    gaps: tuple[CaptureGap, ...]
    code: str | None


class RunReading(NamedTuple):
    """What follows from a run's facets alone."""

    parents: tuple[Parent, ...]
    gaps: tuple[CaptureGap, ...]
    code: str | None


def contribution(entries: Iterable[Entry]) -> Contribution:
    """Compute what a group contributes.

    Args:
        entries: of one group (`group_key`), at least one, in any order, repeated or not.
    """
    ordered = sorted(distinct(entries), key=lambda entry: entry.order)
    key = group_key(ordered[0])
    merged = Merged(key, Uses.of(key))
    for entry in ordered:
        merged.add(entry.event)
    return derive(merged)


def derive(merged: Merged) -> Contribution:
    """Compute the contribution of a merged group, which has at least one event."""
    uses = read_uses(merged.uses)
    run = read_run(merged.run_facets, at=str(merged.uses.job or ""))
    state = run_state(merged.events, code=run.code or uses.code)
    times = merged.output_times
    return Contribution(
        key=merged.key,
        job=merged.uses.job,
        state=state,
        assertions=uses.assertions,
        writes=tuple(Write(*one) for one in writes_of(merged.key, uses.made, state, times)),
        reads=uses.reads,
        gaps=tuple(sorted({*uses.gaps, *run.gaps}, key=_gap_order)),
        parents=run.parents,
        features=uses.features,
    )


def writes_of(
    key: GroupKey,
    made: Iterable[tuple[T, Name, str | None]],
    state: RunState,
    output_times: Mapping[Name, int],
) -> list[tuple[T, str, int]]:
    """Tell which versions a group wrote, and when.

    A run wrote at its end, else when it last mentioned the output. Where nobody stated a version,
    the run names it; a failed run wrote only what was stated.

    Args:
        key: of the group.
        made: outputs (as the caller names nodes), their names, and the versions stated.
        state: of the group.
        output_times: latest mention of each output.
    """
    ended = state.end_us if key.kind == "run" else None
    implied = f"run:{key.run_id}" if key.kind == "run" else None
    if state.state in ("FAIL", "ABORT"):
        implied = None
    found = []
    for node, name, stated in made:
        version = stated or implied
        if version is not None:
            at_us = output_times.get(name, state.last_us) if ended is None else ended
            found.append((node, version, at_us))
    return found


def _gap_order(gap: CaptureGap) -> tuple[str, str, str]:
    return (gap.at, gap.reason, gap.detail)


class Progress:
    """How far a group has come, its events taken in one after another, in order.

    An end outlasts whatever is dated after it.

    Attributes:
        state: of the last event that tells one.
        first_us: time of the first event.
        last_us: of the last.
        start_us: of the first START.
        end_us: of the last end.
    """

    __slots__ = ("end_us", "first_us", "last_us", "start_us", "state")

    def __init__(self) -> None:
        self.state = "OTHER"
        self.first_us: int | None = None
        self.last_us = 0
        self.start_us: int | None = None
        self.end_us: int | None = None

    def add(self, time_us: int, kind: str) -> None:
        """Take in the next event."""
        if self.first_us is None:
            self.first_us = time_us
        self.last_us = time_us
        if kind in _ENDING:
            self.end_us, self.state = time_us, kind
        elif kind == "START":
            if self.start_us is None:
                self.start_us = time_us
            if self.state == "OTHER":
                self.state = kind
        elif kind == "RUNNING" and self.end_us is None:
            self.state = kind

    def run_state(self, code: str | None) -> RunState:
        """Tell how the group stands after at least one event."""
        first_us, start_us = self.first_us, self.start_us
        assert first_us is not None
        return RunState(
            self.state,
            self.state in COMPLETED,
            first_us,
            first_us if start_us is None else start_us,
            self.end_us,
            self.last_us,
            code,
        )


def run_state(events: Sequence[tuple[int, str]], *, code: str | None) -> RunState:
    """Tell how a group stands after some events, in order, at least one."""
    progress = Progress()
    for time_us, kind in events:
        progress.add(time_us, kind)
    return progress.run_state(code)


def read_uses(
    uses: Uses,
    *,
    derive_assertions: Callable[[GroupShape], tuple[Assertion, ...]] = assertions_of,
) -> UsesReading:
    """Read everything that follows from uses alone.

    Args:
        uses: merged.
        derive_assertions: `assertions_of`, or the same function behind a cache.
    """
    reading = _Reading(uses)
    shape = reading.shape()
    return UsesReading(
        assertions=derive_assertions(shape),
        reads=reading.reads(shape),
        made=reading.made(shape),
        features=reading.features(),
        code=reading.read(uses.job_facets, "sourceCodeLocation", _version, at=str(uses.job)),
        gaps=tuple(sorted(reading.gaps, key=_gap_order)),
    )


def read_run(facets: Facets, *, at: str) -> RunReading:
    """Read what the run's facets say of its parent, its code and its capture."""
    gaps: set[CaptureGap] = set()
    parent = _read(facets, "parent", _parent, at=at, gaps=gaps)
    code = _read(facets, "lodeline_code", _version, at=at, gaps=gaps)
    for name in ("lodeline_capture", _GAPS):
        gaps.update(_read(facets, name, _capture_gaps, at=at, gaps=gaps) or ())
    parents = () if parent is None else (parent,)
    return RunReading(parents, tuple(sorted(gaps, key=_gap_order)), code or None)


def _read(
    facets: Facets, name: str, reader: Callable[[bytes], T], *, at: str, gaps: set[CaptureGap]
) -> T | None:
    """Read one facet; one that cannot be read leaves a gap that names it."""
    raw = facets.get(name)
    if raw is None:
        return None
    try:
        return reader(raw)
    except (MalformedFacetError, AttributeError, TypeError):
        gaps.add(CaptureGap(at, "capture", f"facet {name} does not match its schema"))
        return None


class _Reading:
    """Reads the facets of one group's uses."""

    def __init__(self, uses: Uses) -> None:
        self.uses = uses
        self.gaps: set[CaptureGap] = set()
        self.kinds: dict[Name, str] = {}
        for facets_of in (uses.inputs, uses.outputs):
            for name, facets in facets_of.items():
                self.kinds[name] = kind_of(facets, known=self.kinds.get(name, "dataset"))

    def node(self, name: Name) -> NodeId:
        return NodeId(self.kinds.get(name, "dataset"), name[0], name[1])

    def read(self, facets: Facets, name: str, reader: Callable[[bytes], T], *, at: str) -> T | None:
        return _read(facets, name, reader, at=at, gaps=self.gaps)

    def shape(self) -> GroupShape:
        uses = self.uses
        at = str(uses.job)
        entries = [
            *(self.read(uses.job_facets, "lineage", statements.lineage_entries, at=at) or ()),
            *(self.read(uses.run_lineage, "lineage", statements.lineage_entries, at=at) or ()),
        ]
        return GroupShape(
            uses.job,
            tuple(self._dataset(name, facets) for name, facets in sorted(uses.inputs.items())),
            tuple(self._dataset(name, facets) for name, facets in sorted(uses.outputs.items())),
            tuple(entries),
        )

    def _dataset(self, name: Name, facets: Facets) -> DatasetShape:
        node = self.node(name)
        if not facets:
            return DatasetShape(node)
        at = str(node)
        fields = self.read(facets, "schema", statements.schema_fields, at=at)
        if node.kind == "model":
            fields = self.read(facets, "lodeline_model", _model_features, at=at)
        return DatasetShape(
            node,
            self.read(facets, "lineage", statements.lineage_flow, at=at),
            self.read(facets, "columnLineage", statements.column_flow, at=at),
            self.read(facets, "lodeline_observed", statements.observed_flow, at=at),
            fields or (),
            self.read(facets, "lodeline_deployment", _deployed_model, at=at),
            self.read(facets, "lifecycleStateChange", _lifecycle, at=at) == "DROP",
            "lodeline_prediction_batch" in facets,
        )

    def version(self, node: NodeId, facets: Facets) -> str | None:
        try:
            return statements.stated_version(facets)
        except MalformedFacetError:
            detail = "the facet that states the version does not match its schema"
            self.gaps.add(CaptureGap(str(node), "capture", detail))
            return None

    def made(self, shape: GroupShape) -> tuple[tuple[NodeId, Name, str | None], ...]:
        known = {output.node: output for output in shape.outputs}
        found = []
        for node in sorted({*known, *explicit_targets(shape)}):
            output = known.get(node)
            if output is None or not (output.dropped or output.batch):
                name = (node.namespace, node.name)
                facets = self.uses.outputs.get(name, {})
                found.append((node, name, self.version(node, facets)))
        return tuple(found)

    def reads(self, shape: GroupShape) -> tuple[Read, ...]:
        found: dict[NodeId, str | None] = {}
        is_run = self.uses.kind == "run"
        for used in shape.inputs if is_run else ():
            facets = self.uses.inputs[used.node.namespace, used.node.name]
            found[used.node] = self.version(used.node, facets)
        # Not only a run: whoever states a deployment states which version of its model it took.
        for output in shape.outputs:
            if output.deployed_model is not None:
                model = output.deployed_model
                found[model.at("")] = model.version or found.get(model.at(""))
        for source in explicit_sources(shape) if is_run else ():
            found.setdefault(source, None)
        return tuple(Read(node, found[node]) for node in sorted(found))

    def features(self) -> tuple[FeatureColumn, ...]:
        found: set[FeatureColumn] = set()
        for facets_of in (self.uses.inputs, self.uses.outputs):
            for (namespace, name), facets in facets_of.items():
                at = f"dataset:{namespace}:{name}"
                reader = partial(read_features, namespace, name)
                found.update(self.read(facets, "lodeline_features", reader, at=at) or ())
        return tuple(sorted(found, key=lambda one: (one.feature, one.field, one.version)))


def kind_of(facets: Mapping[str, object], *, known: str = "dataset") -> str:
    """Tell what a dataset on the wire stands for."""
    if "lodeline_deployment" in facets or "lodeline_deploymentState" in facets:
        return "deployment"
    return "model" if "lodeline_model" in facets else known


def _version(raw: bytes) -> str:
    return statements.text(statements.body_of(raw), "version", default="")


def _lifecycle(raw: bytes) -> str:
    body = statements.body_of(raw)
    return statements.text(body, "lifecycleStateChange", default="").upper()


def _model_features(raw: bytes) -> tuple[str, ...]:
    stated = statements.body_of(raw).get("features") or []
    if not isinstance(stated, list) or not all(isinstance(name, str) for name in stated):
        raise MalformedFacetError
    return tuple(stated)


def _deployed_model(raw: bytes) -> NodeId | None:
    model = statements.body_of(raw).get("model")
    if model is None:
        return None
    if not isinstance(model, dict):
        raise MalformedFacetError
    namespace, name = statements.text(model, "namespace"), statements.text(model, "name")
    if not name:
        raise MalformedFacetError
    return NodeId("model", namespace, name, "", statements.text(model, "version", default=""))


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def _parent(raw: bytes) -> Parent:
    body = statements.body_of(raw)
    job, run = body.get("job"), body.get("run") or {}
    if not isinstance(job, dict) or not isinstance(run, dict) or not job.get("name"):
        raise MalformedFacetError
    node = NodeId("job", statements.text(job, "namespace"), statements.text(job, "name"))
    return Parent(statements.text(run, "runId", default="").lower(), node)


def read_features(namespace: str, name: str, raw: bytes) -> list[FeatureColumn]:
    """Read `lodeline_features`: the features that are columns of a dataset.

    Raises:
        MalformedFacetError: the facet does not match its schema.
    """
    body = statements.body_of(raw)
    view = statements.text(body, "view", default="") or name
    return [
        FeatureColumn(
            NodeId("feature", namespace, view, statements.text(one, "name")),
            NodeId("datasetField", namespace, name, statements.text(one, "name")),
            statements.text(one, "digest", default=""),
        )
        for one in statements.items(body, "features")
        if statements.text(one, "name")
    ]


def _capture_gaps(raw: bytes) -> list[CaptureGap]:
    return [
        CaptureGap(
            statements.text(gap, "at", default=""),
            statements.text(gap, "reason", default="capture"),
            statements.text(gap, "detail", default=""),
        )
        for gap in statements.items(statements.body_of(raw), "gaps")
    ]

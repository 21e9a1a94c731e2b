"""What one group of events contributes to the graph, as plain values.

A group is one run of one job, or one JobEvent or DatasetEvent. Its contribution is a pure function
of its events; the graph is the union of contributions, so no order of delivery can show in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from lodeline.model import NodeId

# Strongest first: an edge shows the strongest basis among its assertions.
BASES: Final = ("lineage", "columnLineage", "observed", "content", "inferred")
BASIS_RANK: Final = {basis: rank for rank, basis in enumerate(BASES)}


class GroupKey(NamedTuple):
    """Identity of a group.

    Attributes:
        kind: `run`, `job` or `dataset`.
        run_id: lower-cased; empty unless `kind` is `run`.
        namespace: of the job, or of the dataset of a DatasetEvent.
        name: as `namespace`.
        future: dated beyond the log's clock; such events never merge with others.
        digest: content digest of a JobEvent or DatasetEvent; empty for runs.
    """

    kind: str
    run_id: str
    namespace: str
    name: str
    future: bool
    digest: bytes


class Assertion(NamedTuple):
    """A group says: `target` was derived from `source` by `job`.

    Attributes:
        source: None in the half-derivation of an output without sources.
        target: None in the half-derivation of an input that reaches no output.
        kind: `derives`, `trains` or `deploys`.
        job: None for `deploys`, and for what a DatasetEvent states.
        basis: one of `BASES`.
        detail: canonical JSON of the transformations of a column, else empty.
    """

    source: NodeId | None
    target: NodeId | None
    kind: str
    job: NodeId | None
    basis: str
    detail: str = ""


class Write(NamedTuple):
    """The group generated this version of a dataset, model or deployment at `time_us`."""

    node: NodeId
    version: str
    time_us: int


class Read(NamedTuple):
    """The group used a dataset, model or deployment; the version is None if nobody stated it."""

    node: NodeId
    version: str | None


class CaptureGap(NamedTuple):
    """What the group's capture knows that it did not see, or a facet that cannot be read."""

    at: str
    reason: str
    detail: str


class Parent(NamedTuple):
    """The run's parent; `run_id` is empty if only the job was named."""

    run_id: str
    job: NodeId


class FeatureColumn(NamedTuple):
    """A feature is the projection of a column; `version` is the digest of its definition."""

    feature: NodeId
    field: NodeId
    version: str


class RunState(NamedTuple):
    """When a group happened and how it ended.

    Attributes:
        state: COMPLETE, FAIL, ABORT, RUNNING, START, OTHER; JOB or DATASET for such an event.
        completed: COMPLETE, JOB or DATASET.
        first_us: least event time.
        start_us: time of the START event, else `first_us`.
        end_us: time of the last COMPLETE, FAIL or ABORT event; None while there is none.
        last_us: greatest event time.
        code: code version, None if unknown.
    """

    state: str
    completed: bool
    first_us: int
    start_us: int
    end_us: int | None
    last_us: int
    code: str | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """Everything that one group says, sorted, so that equal groups compare equal."""

    key: GroupKey
    job: NodeId | None
    state: RunState
    assertions: tuple[Assertion, ...]
    writes: tuple[Write, ...]
    reads: tuple[Read, ...]
    gaps: tuple[CaptureGap, ...]
    parents: tuple[Parent, ...]
    features: tuple[FeatureColumn, ...]

    @property
    def run(self) -> NodeId | None:
        """The run node, None for a JobEvent or DatasetEvent."""
        return NodeId("run", "", self.key.run_id) if self.key.run_id else None

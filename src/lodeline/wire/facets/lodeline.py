"""Lodeline's own facets; their JSON Schemas lie in `schema/1-0-0/`.

On the wire a model, a feature view, a deployment and a prediction batch are OpenLineage datasets
that carry one of these, so every OpenLineage consumer accepts what Lodeline emits.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from lodeline.wire.facets.base import Facet, Part, Scope

SCHEMA_VERSION = "1-0-0"

_RUN: tuple[Scope, ...] = ("run",)
_JOB: tuple[Scope, ...] = ("job",)
_DATASET: tuple[Scope, ...] = ("dataset",)
_INPUT: tuple[Scope, ...] = ("input",)
_OUTPUT: tuple[Scope, ...] = ("output",)


def lodeline_url(name: str) -> str:
    """Give the address of a Lodeline facet's definition."""
    return f"https://lodeline.dev/spec/{SCHEMA_VERSION}/{name}.json#/$defs/{name}"


class NodeReference(Part, frozen=True):
    """A dataset, model or deployment, perhaps at a version."""

    namespace: str
    name: str
    version: str | None = None


class PendingFile(Part, frozen=True):
    """A file as it was at close: what the deliverer must find unchanged before it digests it."""

    path: str
    inode: int
    mtime_ns: int
    size: int


class ManifestEntry(Part, frozen=True):
    """One file of many: partition key, digest and size."""

    key: str
    digest: str
    bytes: int
    rows: int | None = None


class LogicalColumn(Part, frozen=True):
    """A column of the canonical schema that a logical digest was computed under."""

    name: str
    type: str


class LodelineDigestDatasetFacet(Facet, frozen=True):
    """The digest of all bytes of a dataset, or of its manifest.

    Attributes:
        value: hexadecimal SHA-256; None while `pending`.
        logical: hexadecimal digest of the rows as a multiset; an attribute, never the identity.
        pending: only inside the spool; the deliverer replaces it.
    """

    facet_name: ClassVar = "lodeline_digest"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineDigestDatasetFacet")
    algorithm: Literal["sha256"]
    source: Literal["bytes", "manifest"]
    value: str | None = None
    bytes: int | None = None
    rows: int | None = None
    manifest: list[ManifestEntry] | None = None
    logical: str | None = None
    logical_schema: list[LogicalColumn] | None = None
    pending: PendingFile | None = None


class LodelineModelDatasetFacet(Facet, frozen=True):
    """The dataset is a model; its version is the artifact's digest."""

    facet_name: ClassVar = "lodeline_model"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineModelDatasetFacet")
    digest: str | None = None
    pending: PendingFile | None = None
    framework: str | None = None
    class_: str | None = msgspec.field(name="class", default=None)
    format: str | None = None
    parameters: dict[str, Any] | None = None
    features: list[str] | None = None
    artifact: NodeReference | None = None


class LodelineDeploymentDatasetFacet(Facet, frozen=True):
    """The dataset is a deployment; its version is the digest of its configuration."""

    facet_name: ClassVar = "lodeline_deployment"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineDeploymentDatasetFacet")
    digest: str
    configuration: dict[str, Any]
    model: NodeReference | None = None


class CaptureGap(Part, frozen=True):
    """Something that capture could not follow."""

    reason: str
    at: str | None = None
    detail: str | None = None


class LodelinePredictionBatchDatasetFacet(Facet, frozen=True):
    """Identifiers reserved, predictions recorded, or the end of a block of identifiers.

    Attributes:
        block: ten hexadecimal digits.
        reserved: this is the reservation.
        time: when the block was reserved, microseconds since the epoch.
        first: least counter of the batch.
        last: greatest counter of the batch.
        digest: of the blob that holds the batch.
        root: Merkle root over the salted commitments of its rows.
        ended: no further identifiers come from the block.
        clean: the process that drew them said so itself.
        next: the first counter that was never drawn.
        run: UUID of the run that draws them.
    """

    facet_name: ClassVar = "lodeline_prediction_batch"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelinePredictionBatchDatasetFacet")
    deployment: NodeReference
    block: str
    reserved: bool
    time: str | None = None
    model: NodeReference | None = None
    first: int | None = None
    last: int | None = None
    count: int | None = None
    first_time: str | None = None
    last_time: str | None = None
    digest: str | None = None
    root: str | None = None
    ended: bool | None = None
    clean: bool | None = None
    next: int | None = None
    run: str | None = None
    gaps: list[CaptureGap] | None = None


class FeatureDefinition(Part, frozen=True):
    """One feature: how it is computed, and the digest of that."""

    name: str
    definition: str | None = None
    digest: str | None = None
    type: str | None = None


class LodelineFeaturesDatasetFacet(Facet, frozen=True):
    """Which columns of the dataset are features, of which view."""

    facet_name: ClassVar = "lodeline_features"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineFeaturesDatasetFacet")
    features: list[FeatureDefinition]
    view: str | None = None
    entity_keys: list[str] | None = None


class ObservedField(Part, frozen=True):
    """A column that flowed into an output's column."""

    field: str
    transformations: list[dict[str, Any]] | None = None


class ObservedInput(Part, frozen=True):
    """A dataset that capture saw flow into the output.

    Attributes:
        fields: output column to the input columns that flowed into it.
    """

    namespace: str
    name: str
    fields: dict[str, list[ObservedField]] | None = None


class LodelineObservedOutputDatasetFacet(Facet, frozen=True):
    """What capture saw flow into this output: these inputs and no others."""

    facet_name: ClassVar = "lodeline_observed"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineObservedOutputDatasetFacet")
    inputs: list[ObservedInput]


class RowStep(Part, frozen=True):
    """Row provenance of one step; the links lie in the blob."""

    operator: str
    input: NodeReference
    output: NodeReference
    shape: str
    count: int
    digest: str
    root: str


class LodelineRowsOutputDatasetFacet(Facet, frozen=True):
    """The steps along which rows of inputs became rows of this output."""

    facet_name: ClassVar = "lodeline_rows"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineRowsOutputDatasetFacet")
    steps: list[RowStep]


class Interpreter(Part, frozen=True):
    """The language's interpreter."""

    implementation: str
    version: str


class LodelineEnvironmentRunFacet(Facet, frozen=True):
    """Where a run executed; `digest` is that of all other members' canonical JSON."""

    facet_name: ClassVar = "lodeline_environment"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineEnvironmentRunFacet")
    interpreter: Interpreter
    packages: dict[str, str]
    platform: str | None = None
    container: Any = None
    host: Any = None
    ci: Any = None
    variables: dict[str, str] | None = None
    digest: str | None = None


class LodelineCodeRunFacet(Facet, frozen=True):
    """The code a run executed; `version` is the job's version."""

    facet_name: ClassVar = "lodeline_code"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineCodeRunFacet")
    version: str
    commit: str | None = None
    patch_digest: str | None = None
    patch: str | None = None
    remote: str | None = None
    repository_root: str | None = None
    path: str | None = None
    source_digest: str | None = None


class Agent(Part, frozen=True):
    """Who acted; `id` is opaque."""

    type: Literal["user", "service", "ci"]
    id: str
    role: str | None = None


class LodelineAgentRunFacet(Facet, frozen=True):
    """Who started a run, in which roles."""

    facet_name: ClassVar = "lodeline_agent"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineAgentRunFacet")
    agents: list[Agent]


class LodelineParametersRunFacet(Facet, frozen=True):
    """Parameters, metrics and random seeds of a run."""

    facet_name: ClassVar = "lodeline_parameters"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineParametersRunFacet")
    parameters: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    seeds: dict[str, Any] | None = None


class LodelineCaptureRunFacet(Facet, frozen=True):
    """How a run was captured, and what escaped."""

    facet_name: ClassVar = "lodeline_capture"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineCaptureRunFacet")
    gaps: list[CaptureGap] | None = None
    argv: list[str] | None = None
    cwd: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    deterministic: bool | None = None
    sampled: Any = None


class LodelineReplayRunFacet(Facet, frozen=True):
    """The run replays another."""

    facet_name: ClassVar = "lodeline_replay"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineReplayRunFacet")
    of: str
    verdict: Literal["identical", "equal", "different", "failed", "cannot"] | None = None


class LodelineIntentJobFacet(Facet, frozen=True):
    """What a transformation is meant to do."""

    facet_name: ClassVar = "lodeline_intent"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = lodeline_url("LodelineIntentJobFacet")
    description: str | None = None
    operations: list[Any] | None = None


class LodelineSamplingInputDatasetFacet(Facet, frozen=True):
    """How the rows that a run used were drawn from an input."""

    facet_name: ClassVar = "lodeline_sampling"
    facet_scopes: ClassVar = _INPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineSamplingInputDatasetFacet")
    method: str
    fraction: float | None = None
    count: int | None = None
    seed: Any = None
    criteria: str | None = None


class PolicyAnnotation(Part, frozen=True):
    """One statement of policy about a dataset."""

    key: str
    value: str
    source: str | None = None


class LodelinePolicyDatasetFacet(Facet, frozen=True):
    """What policy says about a dataset: purpose, basis, sensitivity, retention."""

    facet_name: ClassVar = "lodeline_policy"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelinePolicyDatasetFacet")
    annotations: list[PolicyAnnotation]


class QualityCheck(Part, frozen=True):
    """One check and how it ended."""

    name: str
    success: bool
    column: str | None = None
    observed: Any = None
    expected: Any = None


class LodelineQualityDatasetFacet(Facet, frozen=True):
    """Checks of a dataset."""

    facet_name: ClassVar = "lodeline_quality"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineQualityDatasetFacet")
    checks: list[QualityCheck]


LODELINE_FACETS: tuple[type[Facet], ...] = (
    LodelineAgentRunFacet,
    LodelineCaptureRunFacet,
    LodelineCodeRunFacet,
    LodelineDeploymentDatasetFacet,
    LodelineDigestDatasetFacet,
    LodelineEnvironmentRunFacet,
    LodelineFeaturesDatasetFacet,
    LodelineIntentJobFacet,
    LodelineModelDatasetFacet,
    LodelineObservedOutputDatasetFacet,
    LodelineParametersRunFacet,
    LodelinePolicyDatasetFacet,
    LodelinePredictionBatchDatasetFacet,
    LodelineQualityDatasetFacet,
    LodelineReplayRunFacet,
    LodelineRowsOutputDatasetFacet,
    LodelineSamplingInputDatasetFacet,
)

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


class PendingFile(Part, frozen=True):
    """A file as it was at close: what the deliverer must find unchanged before it digests it.

    Attributes:
        path: absolute.
        inode: as the file system numbers it.
        mtime_ns: time of the last change, nanoseconds since the epoch.
        size: bytes.
    """

    path: str
    inode: int
    mtime_ns: int
    size: int


class NodeReference(Part, frozen=True):
    """A dataset, model or deployment, perhaps at a version.

    Attributes:
        namespace: of the node.
        name: of the node.
        version: absent where nobody stated one.
        pending: only inside the spool; the deliverer replaces it by the version.
    """

    namespace: str
    name: str
    version: str | None = None
    pending: PendingFile | None = None


class ManifestEntry(Part, frozen=True):
    """One file of many.

    Attributes:
        key: of the partition: the path below the dataset.
        digest: hexadecimal SHA-256 of the file's bytes.
        bytes: size of the file.
        rows: in the file, where known.
    """

    key: str
    digest: str
    bytes: int
    rows: int | None = None


class LogicalColumn(Part, frozen=True):
    """A column of the canonical schema that a logical digest was computed under.

    Attributes:
        name: of the column.
        type: Arrow's, in canonical form.
    """

    name: str
    type: str


class LodelineDigestDatasetFacet(Facet, frozen=True):
    """The digest of all bytes of a dataset, or of its manifest.

    Attributes:
        algorithm: of `value`.
        source: what was digested: the bytes of one file, or the manifest of many.
        value: hexadecimal; null while `pending`, and where the file changed before it was digested.
        bytes: size of all files together.
        rows: in all files together, where known.
        manifest: the files, where there are many.
        logical_schema: the columns under which `logical` was computed.
        logical: hexadecimal digest of the rows as a multiset; an attribute, never the identity.
        information: how many bytes remain of the file's beginning, its first line left out, when
            it is compressed: files that hold little are equal by chance.
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
    information: int | None = None
    pending: PendingFile | None = None


class LodelineModelDatasetFacet(Facet, frozen=True):
    """The dataset is a model; its version is the artifact's digest.

    Attributes:
        digest: `sha256:` and hexadecimal, of the artifact's bytes.
        pending: only inside the spool; the deliverer replaces it by the digest.
        framework: that the model belongs to, such as `sklearn`.
        class_: qualified name of the model's class.
        format: of the artifact, such as `joblib`.
        parameters: that the model was configured with.
        features: names of the columns it was fitted on, in order.
        artifact: the dataset that holds the model's bytes.
    """

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
    """The dataset is a deployment; its version is the digest of its configuration.

    Attributes:
        digest: `sha256:` and hexadecimal, of the configuration's canonical JSON.
        configuration: what the deployment's behaviour depends on, the model included.
        model: that is served.
        pending: only inside the spool: the deliverer fills in the digest.
    """

    facet_name: ClassVar = "lodeline_deployment"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineDeploymentDatasetFacet")
    configuration: dict[str, Any]
    digest: str | None = None
    model: NodeReference | None = None
    pending: bool | None = None


class DeploymentConstraint(Part, frozen=True):
    """Which requests a constrained deployment still answers; those that pass every bound.

    Attributes:
        fraction: of the requests, from 0 to 1, drawn by chance.
        header: of requests, whose value must be one of `values`.
        values: that the header may have.
        fallback: JSON that the other requests are answered with; without it they are refused.
        has_fallback: there is one, though it may be null.
    """

    fraction: float | None = None
    header: str | None = None
    values: list[str] | None = None
    fallback: Any = None
    has_fallback: bool | None = None


class DeploymentActor(Part, frozen=True):
    """Who changed the state of a deployment.

    Attributes:
        type: of agent.
        id: opaque.
    """

    type: str
    id: str


class LodelineDeploymentStateDatasetFacet(Facet, frozen=True):
    """What operators have decided of a deployment, whole: the last statement counts.

    Attributes:
        state: `active`; `killed`: nothing is answered; `constrained`: some requests are.
        reason: why, in the operator's words.
        actor: who decided.
        constraint: of a constrained deployment.
        model: the one version that may answer, after a rollback; without it, whichever is deployed.
    """

    facet_name: ClassVar = "lodeline_deploymentState"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineDeploymentStateDatasetFacet")
    state: Literal["active", "killed", "constrained"]
    reason: str | None = None
    actor: DeploymentActor | None = None
    constraint: DeploymentConstraint | None = None
    model: NodeReference | None = None


class CaptureGap(Part, frozen=True):
    """Something that capture could not follow.

    Attributes:
        reason: one of the reasons of an answer's gaps.
        at: node identifier, or the name of what could not be followed.
        detail: for people.
    """

    reason: str
    at: str | None = None
    detail: str | None = None


class LodelinePredictionBatchDatasetFacet(Facet, frozen=True):
    """Identifiers reserved, predictions recorded, or the end of a block of identifiers.

    Attributes:
        block: ten hexadecimal digits.
        reserved: this is the reservation.
        deployment: that predicts.
        model: that it serves.
        time: when the block was reserved, microseconds since the epoch, as text.
        first: least counter of the batch.
        last: greatest counter of the batch.
        count: predictions in the batch.
        first_time: time of the first prediction's identifier, microseconds since the epoch.
        last_time: time of the last prediction's identifier, microseconds since the epoch.
        gaps: what of the reservation could not be found out.
        summary: of predictions that are not kept one by one: ranges of their counters, figures of
            their columns, a digest of what was left out.
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
    summary: dict[str, Any] | None = None


class FeatureDefinition(Part, frozen=True):
    """One feature.

    Attributes:
        name: of the feature, and of the column that holds it.
        definition: how it is computed.
        digest: `sha256:` and hexadecimal, of the definition; the feature's version.
        type: of its values.
    """

    name: str
    definition: str | None = None
    digest: str | None = None
    type: str | None = None


class LodelineFeaturesDatasetFacet(Facet, frozen=True):
    """Which columns of the dataset are features, of which view.

    Attributes:
        features: the columns.
        view: the features' group; without one, the dataset's name.
        entity_keys: columns that say whom a row describes.
    """

    facet_name: ClassVar = "lodeline_features"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineFeaturesDatasetFacet")
    features: list[FeatureDefinition]
    view: str | None = None
    entity_keys: list[str] | None = None


class ObservedField(Part, frozen=True):
    """A column that flowed into an output's column.

    Attributes:
        field: name of the column.
        transformations: as in `columnLineage`.
    """

    field: str
    transformations: list[dict[str, Any]] | None = None


class ObservedInput(Part, frozen=True):
    """A dataset that capture saw flow into the output.

    Attributes:
        namespace: of the dataset.
        name: of the dataset.
        fields: output column to the input columns that flowed into it.
    """

    namespace: str
    name: str
    fields: dict[str, list[ObservedField]] | None = None


class LodelineObservedOutputDatasetFacet(Facet, frozen=True):
    """What capture saw flow into this output: these inputs and no others.

    Attributes:
        inputs: the datasets.
        bound: the inputs are an upper bound: ways unknown lead to the output.
        content: nobody saw it: the bytes of the output are those of the inputs.
    """

    facet_name: ClassVar = "lodeline_observed"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineObservedOutputDatasetFacet")
    inputs: list[ObservedInput]
    bound: bool | None = None
    content: bool | None = None


class RowGap(Part, frozen=True):
    """Rows that a step did not follow.

    Attributes:
        operator: that could not be followed.
        detail: for people.
    """

    operator: str
    detail: str | None = None


class RowStep(Part, frozen=True):
    """Row provenance of one step.

    Attributes:
        operator: what the step does, in words.
        input: the rows came from here.
        output: the rows came to be here.
        shape: how the links are written down.
        count: of links, pairs of an output and an input row; of `lists`, of their members, which
            may repeat one; the block has them once, and counts them.
        rows: of output rows.
        start: first input row of a `range`.
        digest: of the blob that holds the links, where the shape has one.
        root: Merkle root over the salted commitments of the links.
        gaps: what is not among the links.
    """

    operator: str
    input: NodeReference
    output: NodeReference
    shape: str
    count: int
    rows: int | None = None
    start: int | None = None
    digest: str | None = None
    root: str | None = None
    gaps: list[RowGap] | None = None


class RowKeys(Part, frozen=True):
    """The columns that name the rows of a dataset.

    Attributes:
        dataset: with the version whose rows they name.
        columns: in the order of the key.
        digest: of the blob that holds the keys, a row each; without one they are read from the
            dataset itself, as long as it is there.
    """

    dataset: NodeReference
    columns: list[str]
    digest: str | None = None


class RowBlock(Part, frozen=True):
    """A block that holds the links of a step, or the keys of rows, each row committed to.

    Attributes:
        source: digest of the blob that the event of the step names.
        form: what that blob holds: `array`, `lists`, `set` or `keys`.
        digest: of the block, as it was first written.
        shape: of the block.
        rows: of the block; of a set, its members.
        count: of links.
        root: Merkle root over the salted commitments of the rows.
        footer: digest of the block's end, which tells its layout.
    """

    source: str
    form: str
    digest: str
    shape: str
    rows: int
    count: int
    root: str
    footer: str


class LodelineRowBlocksDatasetFacet(Facet, frozen=True):
    """Blocks of row provenance that the log commits to, of one event.

    Attributes:
        entry: position of that event in the log, as text.
        outputs: what its steps lead to, each with `kind`, `namespace` and `name`.
        blocks: in the order of the leaf's roots.
    """

    facet_name: ClassVar = "lodeline_row_blocks"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineRowBlocksDatasetFacet")
    entry: str
    outputs: list[dict[str, str]]
    blocks: list[RowBlock]


class LodelineRowsOutputDatasetFacet(Facet, frozen=True):
    """The steps along which rows of inputs became rows of this output.

    Attributes:
        steps: in no particular order; what lies in memory between them is named, too.
        keys: declared keys of datasets among them.
    """

    facet_name: ClassVar = "lodeline_rows"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineRowsOutputDatasetFacet")
    steps: list[RowStep]
    keys: list[RowKeys] | None = None


class Interpreter(Part, frozen=True):
    """The language's interpreter.

    Attributes:
        implementation: such as `cpython`.
        version: of the language.
    """

    implementation: str
    version: str


class LodelineEnvironmentRunFacet(Facet, frozen=True):
    """Where a run executed.

    Attributes:
        interpreter: of the program.
        packages: installed, name to version.
        platform: operating system and hardware.
        container: kind, and its identifier where it can be seen.
        host: name.
        ci: the continuous integration system and its run.
        variables: environment variables of a fixed list.
        digest: `sha256:` and hexadecimal, of what decides whether two environments are equal.
    """

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
    """The code a run executed.

    Attributes:
        version: of the job: the commit and the patch's digest, else the source's digest.
        commit: checked out.
        patch_digest: of the changes to the commit.
        patch: the changes, when they are small.
        remote: address of the repository, without credentials.
        repository_root: directory.
        path: of the program, relative to the repository's root.
        source_digest: of the program's own text.
    """

    facet_name: ClassVar = "lodeline_code"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineCodeRunFacet")
    version: str | None = None
    commit: str | None = None
    patch_digest: str | None = None
    patch: str | None = None
    remote: str | None = None
    repository_root: str | None = None
    path: str | None = None
    source_digest: str | None = None


class Agent(Part, frozen=True):
    """Who acted.

    Attributes:
        type: of agent.
        id: opaque; says who without naming them.
        role: in which they acted.
    """

    type: Literal["user", "service", "ci"]
    id: str
    role: str | None = None


class LodelineAgentRunFacet(Facet, frozen=True):
    """Who started a run, in which roles.

    Attributes:
        agents: all of them.
    """

    facet_name: ClassVar = "lodeline_agent"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineAgentRunFacet")
    agents: list[Agent]


class LodelineParametersRunFacet(Facet, frozen=True):
    """Parameters, metrics and random seeds of a run, each by name.

    Attributes:
        parameters: that the run was started with, or chose.
        metrics: that it measured.
        seeds: of its sources of randomness.
    """

    facet_name: ClassVar = "lodeline_parameters"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineParametersRunFacet")
    parameters: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    seeds: dict[str, Any] | None = None


class LodelineCaptureRunFacet(Facet, frozen=True):
    """How a run was captured, and what escaped.

    Attributes:
        gaps: what could not be followed.
        argv: the program's arguments.
        cwd: its working directory.
        exit_code: its exit status.
        signal: that ended it.
        deterministic: it ran with sources of randomness pinned.
        sampled: how, when not everything was recorded.
    """

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
    """The run replays another.

    Attributes:
        of: UUID of the other run.
        verdict: how the outputs compare.
    """

    facet_name: ClassVar = "lodeline_replay"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineReplayRunFacet")
    of: str
    verdict: Literal["identical", "equal", "different", "failed", "cannot"] | None = None


class LodelineIntentJobFacet(Facet, frozen=True):
    """What a transformation is meant to do.

    Attributes:
        description: for people.
        operations: step by step, as the producer tells it.
    """

    facet_name: ClassVar = "lodeline_intent"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = lodeline_url("LodelineIntentJobFacet")
    description: str | None = None
    operations: list[Any] | None = None


class SamplingFold(Part, frozen=True):
    """One division of the rows into those to learn from and those to test on.

    Attributes:
        train: how many rows to learn from.
        test: how many to test on.
        digest: `sha256:` and hexadecimal, of the row numbers: those to learn from, then those to
            test on, each as eight bytes, least significant first.
    """

    train: int
    test: int
    digest: str | None = None


class Sampling(Part, frozen=True):
    """One more way in which rows were drawn.

    Attributes:
        method: such as `KFold`.
        fraction: of the rows, from 0 to 1.
        count: of the rows.
        seed: of the choice.
        criteria: what rows were chosen by.
        folds: the divisions, in order.
    """

    method: str
    fraction: float | None = None
    count: int | None = None
    seed: Any = None
    criteria: str | None = None
    folds: list[SamplingFold] | None = None


class LodelineSamplingInputDatasetFacet(Facet, frozen=True):
    """How the rows that a run used were drawn from an input.

    Attributes:
        method: such as `train_test_split`.
        fraction: of the rows, from 0 to 1.
        count: of the rows.
        seed: of the choice.
        criteria: what rows were chosen by.
        folds: the divisions, in order.
        further: how rows were drawn after that, where they were drawn more than once.
    """

    facet_name: ClassVar = "lodeline_sampling"
    facet_scopes: ClassVar = _INPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineSamplingInputDatasetFacet")
    method: str
    fraction: float | None = None
    count: int | None = None
    seed: Any = None
    criteria: str | None = None
    folds: list[SamplingFold] | None = None
    further: list[Sampling] | None = None


class MessagePartition(Part, frozen=True):
    """Messages of one partition that a run saw.

    Attributes:
        partition: its number; 0 where the broker has none.
        count: of messages.
        first: least offset or sequence; without one where the broker has none.
        last: greatest.
        bytes: of values.
    """

    partition: int
    count: int
    first: int | None = None
    last: int | None = None
    bytes: int | None = None


class MessageColumn(Part, frozen=True):
    """Figures of one column of messages.

    Attributes:
        count: of values.
        nulls: of them.
        numbers: of them; the figures below are of these.
        min: exact.
        max: exact.
        sum: of the numbers.
        kll: sketch of their distribution: Apache DataSketches, KLL of doubles, in base 64.
    """

    count: int
    nulls: int
    numbers: int
    min: float | None = None
    max: float | None = None
    sum: float | None = None
    kll: str | None = None


class LodelineMessagesInputDatasetFacet(Facet, frozen=True):
    """Messages that a run consumed of a topic, summarised.

    Attributes:
        partitions: counts and ranges.
        digests: SHA-256 of values in hexadecimal, of the first messages.
        complete: `digests` holds those of all messages.
        read: how many had values that could be read: JSON, or plain values of the program.
        columns: figures of those, by column.
        runs: whose messages they were, as their headers said.
        predictions: that they were about, likewise.
    """

    facet_name: ClassVar = "lodeline_messages"
    facet_scopes: ClassVar = _INPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineMessagesInputDatasetFacet")
    partitions: list[MessagePartition]
    digests: list[str] | None = None
    complete: bool | None = None
    read: int | None = None
    columns: dict[str, MessageColumn] | None = None
    runs: list[str] | None = None
    predictions: list[str] | None = None


class LodelineMessagesOutputDatasetFacet(Facet, frozen=True):
    """Messages that a run produced to a topic, summarised.

    Attributes:
        partitions: counts and ranges, of messages that the broker acknowledged.
        digests: SHA-256 of values in hexadecimal, of the first messages.
        complete: `digests` holds those of all messages.
        read: how many had values that could be read: JSON, or plain values of the program.
        columns: figures of those, by column.
    """

    facet_name: ClassVar = "lodeline_messages"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = lodeline_url("LodelineMessagesOutputDatasetFacet")
    partitions: list[MessagePartition]
    digests: list[str] | None = None
    complete: bool | None = None
    read: int | None = None
    columns: dict[str, MessageColumn] | None = None


class PolicyAnnotation(Part, frozen=True):
    """One statement of policy.

    Attributes:
        key: what it is about: purpose, basis, sensitivity, retention.
        value: what it says.
        source: who says so.
    """

    key: str
    value: str
    source: str | None = None


class LodelinePolicyDatasetFacet(Facet, frozen=True):
    """What policy says about a dataset.

    Attributes:
        annotations: the statements.
    """

    facet_name: ClassVar = "lodeline_policy"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelinePolicyDatasetFacet")
    annotations: list[PolicyAnnotation]


class QualityCheck(Part, frozen=True):
    """One check and how it ended.

    Attributes:
        name: of the check.
        success: it held.
        column: that it was about.
        observed: what was found.
        expected: what should have been.
    """

    name: str
    success: bool
    column: str | None = None
    observed: Any = None
    expected: Any = None


class LodelineQualityDatasetFacet(Facet, frozen=True):
    """Checks of a dataset.

    Attributes:
        checks: all of them, also those that held.
    """

    facet_name: ClassVar = "lodeline_quality"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineQualityDatasetFacet")
    checks: list[QualityCheck]


class LodelineCatalogueDatasetFacet(Facet, frozen=True):
    """What a caller of the catalogue declared that OpenLineage has no words for.

    Attributes:
        entry: what is declared. `dataset` is the dataset itself; the others are no datasets, and
            the dataset with this facet only stands for them.
        name: of what is declared.
        namespace: of what is declared or removed.
        kind: of what is removed: `dataset`, `job` or `namespace`.
        owner: of a namespace.
        description: of it.
        type: of a source, such as `POSTGRESQL`.
        connection_url: of a source.
        physical_name: of a dataset, where it differs from its name.
        schema_location: of a stream.
    """

    facet_name: ClassVar = "lodeline_catalogue"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineCatalogueDatasetFacet")
    entry: Literal["namespace", "source", "tag", "dataset", "removal"]
    name: str
    namespace: str | None = None
    kind: str | None = None
    owner: str | None = None
    description: str | None = None
    type: str | None = None
    connection_url: str | None = None
    physical_name: str | None = None
    schema_location: str | None = None


class LodelineContextJobFacet(Facet, frozen=True):
    """What a caller of the catalogue said of a job beside its SQL.

    Attributes:
        context: texts by name.
    """

    facet_name: ClassVar = "lodeline_context"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = lodeline_url("LodelineContextJobFacet")
    context: dict[str, Any]


class BuildTests(Part, frozen=True):
    """How the tests of a build ended.

    Attributes:
        total: test cases.
        failed: of them; a condition did not hold.
        errors: of them; they broke.
        skipped: of them.
        seconds: that they took together.
    """

    total: int
    failed: int
    errors: int
    skipped: int
    seconds: float | None = None


class LodelineBuildRunFacet(Facet, frozen=True):
    """What continuous integration built and checked.

    Attributes:
        commit: that was built.
        system: of continuous integration: `github`, `gitlab`, `jenkins`, `generic`.
        build: its identifier there.
        url: its address.
        ref: branch or tag.
        change: number of the pull or merge request.
        image: digest of the container image.
        instrumentation: what captures: `lodeline` and its version.
        tests: as their reports tell.
        verdict: of `lodeline ci`: `ok`, `broken`, or `unknown`.
        deployments: that this build goes to.
    """

    facet_name: ClassVar = "lodeline_build"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = lodeline_url("LodelineBuildRunFacet")
    commit: str | None = None
    system: str | None = None
    build: str | None = None
    url: str | None = None
    ref: str | None = None
    change: str | None = None
    image: str | None = None
    instrumentation: str | None = None
    tests: BuildTests | None = None
    verdict: str | None = None
    deployments: list[str] | None = None


class ContractField(Part, frozen=True):
    """A column that readers may rely on.

    Attributes:
        name: of the column.
        type: of its values; none for any.
    """

    name: str
    type: str | None = None


class LodelineContractDatasetFacet(Facet, frozen=True):
    """What writers of a dataset promise about its columns.

    Attributes:
        mode: `backward`: who reads the new schema reads old data; `forward`: who reads the old one
            reads new data; `full`: both; `none`: nothing is promised.
        fields: columns.
    """

    facet_name: ClassVar = "lodeline_contract"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = lodeline_url("LodelineContractDatasetFacet")
    mode: Literal["backward", "forward", "full", "none"]
    fields: list[ContractField]


LODELINE_FACETS: tuple[type[Facet], ...] = (
    LodelineAgentRunFacet,
    LodelineBuildRunFacet,
    LodelineCaptureRunFacet,
    LodelineCatalogueDatasetFacet,
    LodelineCodeRunFacet,
    LodelineContextJobFacet,
    LodelineContractDatasetFacet,
    LodelineDeploymentDatasetFacet,
    LodelineDeploymentStateDatasetFacet,
    LodelineDigestDatasetFacet,
    LodelineEnvironmentRunFacet,
    LodelineFeaturesDatasetFacet,
    LodelineIntentJobFacet,
    LodelineMessagesInputDatasetFacet,
    LodelineMessagesOutputDatasetFacet,
    LodelineModelDatasetFacet,
    LodelineObservedOutputDatasetFacet,
    LodelineParametersRunFacet,
    LodelinePolicyDatasetFacet,
    LodelinePredictionBatchDatasetFacet,
    LodelineQualityDatasetFacet,
    LodelineReplayRunFacet,
    LodelineRowBlocksDatasetFacet,
    LodelineRowsOutputDatasetFacet,
    LodelineSamplingInputDatasetFacet,
)

"""The 38 core facets of OpenLineage 2-0-2, as the specification's schemas state them.

Members that a schema does not name are not lost: the event keeps the producer's bytes. Optional
members also accept null, which producers send for "none".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from lodeline.wire.facets.base import Facet, Part, Scope, openlineage_url

_RUN: tuple[Scope, ...] = ("run",)
_JOB: tuple[Scope, ...] = ("job",)
_DATASET: tuple[Scope, ...] = ("dataset",)
_INPUT: tuple[Scope, ...] = ("input",)
_OUTPUT: tuple[Scope, ...] = ("output",)


# --- Conditions of subsets -----------------------------------------------------------------


class FieldExpression(Part, frozen=True, tag="field"):
    """A column in a comparison."""

    field: str


class LiteralExpression(Part, frozen=True, tag="literal"):
    """A constant in a comparison."""

    value: str


class LocationCondition(Part, frozen=True, tag="location"):
    """The subset is these places."""

    locations: list[str]


class SubsetPartition(Part, frozen=True):
    """One partition, by its dimensions."""

    dimensions: dict[str, Any]
    identifier: str | None = None


class PartitionCondition(Part, frozen=True, tag="partition"):
    """The subset is these partitions."""

    partitions: list[SubsetPartition]


class CompareCondition(Part, frozen=True, tag="compare"):
    """The subset is the rows for which a comparison holds."""

    left: FieldExpression | LiteralExpression
    right: FieldExpression | LiteralExpression
    comparison: str


class BinaryCondition(Part, frozen=True, tag="binary"):
    """Two conditions joined by an operator."""

    left: SubsetCondition
    right: SubsetCondition
    operator: str


SubsetCondition: TypeAlias = (
    "LocationCondition | PartitionCondition | CompareCondition | BinaryCondition"
)


class InputSubsetInputDatasetFacet(Facet, frozen=True):
    """Which part of an input was read."""

    facet_name: ClassVar = "subset"
    facet_scopes: ClassVar = _INPUT
    facet_schema_url: ClassVar = openlineage_url(
        "1-0-0", "InputSubsetInputDatasetFacet", file="BaseSubsetDatasetFacet"
    )
    input_condition: SubsetCondition


class OutputSubsetOutputDatasetFacet(Facet, frozen=True):
    """Which part of an output was written."""

    facet_name: ClassVar = "subset"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = openlineage_url(
        "1-0-0", "OutputSubsetOutputDatasetFacet", file="BaseSubsetDatasetFacet"
    )
    output_condition: SubsetCondition


# --- Datasets ------------------------------------------------------------------------------


class CatalogDatasetFacet(Facet, frozen=True):
    """The catalogue in which a table is registered."""

    facet_name: ClassVar = "catalog"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-1-0", "CatalogDatasetFacet")
    framework: str
    type: str
    name: str
    metadata_uri: str | None = None
    warehouse_uri: str | None = None
    source: str | None = None
    catalog_properties: dict[str, str] | None = None


class Transformation(Part, frozen=True):
    """How a value came out of another."""

    type: str
    subtype: str | None = None
    description: str | None = None
    masking: bool | None = None


class InputField(Part, frozen=True):
    """A column that another depends on."""

    namespace: str
    name: str
    field: str
    transformations: list[Transformation] | None = None


class ColumnLineageField(Part, frozen=True):
    """What one output column depends on."""

    input_fields: list[InputField]
    transformation_description: str | None = None
    transformation_type: str | None = None


class ColumnLineageDatasetFacet(Facet, frozen=True):
    """Column-level lineage of an output; `dataset` lists what affects all of its columns."""

    facet_name: ClassVar = "columnLineage"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-2-0", "ColumnLineageDatasetFacet")
    fields: dict[str, ColumnLineageField]
    dataset: list[InputField] | None = None


class Assertion(Part, frozen=True):
    """One test of a dataset and how it ended."""

    assertion: str
    success: bool
    column: str | None = None
    severity: str | None = None
    name: str | None = None
    description: str | None = None
    expected: str | None = None
    actual: str | None = None
    content: str | None = None
    content_type: str | None = None
    params: dict[str, Any] | None = None


class DataQualityAssertionsDatasetFacet(Facet, frozen=True):
    """Tests of a dataset. The schema calls it an input facet; dbt sends it as a dataset facet."""

    facet_name: ClassVar = "dataQualityAssertions"
    facet_scopes: ClassVar = ("input", "dataset")
    facet_schema_url: ClassVar = openlineage_url("1-1-0", "DataQualityAssertionsDatasetFacet")
    assertions: list[Assertion]


class ColumnMetrics(Part, frozen=True):
    """Measurements of one column."""

    null_count: int | None = None
    distinct_count: int | None = None
    sum: float | None = None
    count: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: dict[str, float] | None = None


class DataQualityMetricsDatasetFacet(Facet, frozen=True):
    """Measurements of a dataset."""

    facet_name: ClassVar = "dataQualityMetrics"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "DataQualityMetricsDatasetFacet")
    column_metrics: dict[str, ColumnMetrics]
    row_count: int | None = None
    bytes: int | None = None
    file_count: int | None = None
    last_updated: str | None = None


class DataQualityMetricsInputDatasetFacet(Facet, frozen=True):
    """Measurements of what a run read."""

    facet_name: ClassVar = "dataQualityMetrics"
    facet_scopes: ClassVar = _INPUT
    facet_schema_url: ClassVar = openlineage_url("1-0-3", "DataQualityMetricsInputDatasetFacet")
    column_metrics: dict[str, ColumnMetrics]
    row_count: int | None = None
    bytes: int | None = None
    file_count: int | None = None
    last_updated: str | None = None


class DatasetTypeDatasetFacet(Facet, frozen=True):
    """Table, view, topic, model and so on."""

    facet_name: ClassVar = "datasetType"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "DatasetTypeDatasetFacet")
    dataset_type: str
    sub_type: str | None = None


class DatasetVersionDatasetFacet(Facet, frozen=True):
    """The producer's own version of a dataset."""

    facet_name: ClassVar = "version"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "DatasetVersionDatasetFacet")
    dataset_version: str


class DatasourceDatasetFacet(Facet, frozen=True):
    """Where a dataset lives."""

    facet_name: ClassVar = "dataSource"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "DatasourceDatasetFacet")
    name: str | None = None
    uri: str | None = None


class DocumentationDatasetFacet(Facet, frozen=True):
    """What a dataset is."""

    facet_name: ClassVar = "documentation"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-1-0", "DocumentationDatasetFacet")
    description: str
    content_type: str | None = None


class HierarchyLevel(Part, frozen=True):
    """One level of a hierarchy, the highest first."""

    type: str
    name: str


class HierarchyDatasetFacet(Facet, frozen=True):
    """Database, schema, table and their like."""

    facet_name: ClassVar = "hierarchy"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "HierarchyDatasetFacet")
    hierarchy: list[HierarchyLevel]


class InputStatisticsInputDatasetFacet(Facet, frozen=True):
    """How much was read."""

    facet_name: ClassVar = "inputStatistics"
    facet_scopes: ClassVar = _INPUT
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "InputStatisticsInputDatasetFacet")
    row_count: int | None = None
    size: int | None = None
    file_count: int | None = None


class PreviousIdentifier(Part, frozen=True):
    """What a renamed dataset was called."""

    name: str
    namespace: str


class LifecycleStateChangeDatasetFacet(Facet, frozen=True):
    """A dataset was created, dropped, renamed and so on."""

    facet_name: ClassVar = "lifecycleStateChange"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "LifecycleStateChangeDatasetFacet")
    lifecycle_state_change: Literal["ALTER", "CREATE", "DROP", "OVERWRITE", "RENAME", "TRUNCATE"]
    previous_identifier: PreviousIdentifier | None = None


class OutputStatisticsOutputDatasetFacet(Facet, frozen=True):
    """How much was written."""

    facet_name: ClassVar = "outputStatistics"
    facet_scopes: ClassVar = _OUTPUT
    facet_schema_url: ClassVar = openlineage_url("1-0-2", "OutputStatisticsOutputDatasetFacet")
    row_count: int | None = None
    size: int | None = None
    file_count: int | None = None


class Owner(Part, frozen=True):
    """Who answers for something."""

    name: str
    type: str | None = None


class OwnershipDatasetFacet(Facet, frozen=True):
    """Owners of a dataset."""

    facet_name: ClassVar = "ownership"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "OwnershipDatasetFacet")
    owners: list[Owner] | None = None


class SchemaField(Part, frozen=True):
    """One column, with the columns inside it."""

    name: str
    type: str | None = None
    description: str | None = None
    ordinal_position: int | None = msgspec.field(name="ordinal_position", default=None)
    fields: list[SchemaField] | None = None


class SchemaDatasetFacet(Facet, frozen=True):
    """The columns of a dataset."""

    facet_name: ClassVar = "schema"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-2-0", "SchemaDatasetFacet")
    fields: list[SchemaField] | None = None


class StorageDatasetFacet(Facet, frozen=True):
    """Storage layer and file format."""

    facet_name: ClassVar = "storage"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "StorageDatasetFacet")
    storage_layer: str
    file_format: str | None = None


class SymlinkIdentifier(Part, frozen=True):
    """Another name of a dataset."""

    namespace: str
    name: str
    type: str


class SymlinksDatasetFacet(Facet, frozen=True):
    """Other names of a dataset."""

    facet_name: ClassVar = "symlinks"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "SymlinksDatasetFacet")
    identifiers: list[SymlinkIdentifier] | None = None


class Tag(Part, frozen=True):
    """A label; `field` names the column it sits on, on datasets only."""

    key: str
    value: str
    source: str | None = None
    field: str | None = None


class TagsDatasetFacet(Facet, frozen=True):
    """Labels of a dataset or its columns."""

    facet_name: ClassVar = "tags"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "TagsDatasetFacet")
    tags: list[Tag] | None = None


# --- Explicit lineage ----------------------------------------------------------------------


class LineageDatasetInput(Part, frozen=True, tag_field="type", tag="DATASET"):
    """A dataset, or one column of it, that something flowed from."""

    namespace: str
    name: str
    field: str | None = None
    transformations: list[Transformation] | None = None


class LineageJobInput(Part, frozen=True, tag_field="type", tag="JOB"):
    """A job that something flowed from; without a name, the event's own job."""

    namespace: str | None = None
    name: str | None = None
    run_id: str | None = None
    transformations: list[Transformation] | None = None


LineageInput: TypeAlias = LineageDatasetInput | LineageJobInput


class LineageFieldEntry(Part, frozen=True):
    """What one column flowed from."""

    inputs: list[LineageInput]


class LineageDatasetEntry(Part, frozen=True, tag_field="type", tag="DATASET"):
    """A dataset and what it flowed from; an empty list says: from nothing."""

    namespace: str
    name: str
    inputs: list[LineageInput] | None = None
    fields: dict[str, LineageFieldEntry] | None = None


class LineageJobEntry(Part, frozen=True, tag_field="type", tag="JOB"):
    """A job and what flowed into it; without a name, the event's own job."""

    namespace: str | None = None
    name: str | None = None
    run_id: str | None = None
    inputs: list[LineageInput] | None = None


class LineageDatasetFacet(Facet, frozen=True):
    """What a dataset flowed from, and nothing else did."""

    facet_name: ClassVar = "lineage"
    facet_scopes: ClassVar = _DATASET
    facet_schema_url: ClassVar = openlineage_url(
        "1-0-0", "LineageDatasetFacet", file="LineageFacet"
    )
    inputs: list[LineageInput] | None = None
    fields: dict[str, LineageFieldEntry] | None = None


class LineageJobFacet(Facet, frozen=True):
    """Explicit lineage of several targets, stated by a job."""

    facet_name: ClassVar = "lineage"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "LineageJobFacet", file="LineageFacet")
    entries: list[LineageDatasetEntry | LineageJobEntry]


# --- Jobs ----------------------------------------------------------------------------------


class DocumentationJobFacet(Facet, frozen=True):
    """What a job does."""

    facet_name: ClassVar = "documentation"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-1-0", "DocumentationJobFacet")
    description: str
    content_type: str | None = None


class EmissionPattern(Part, frozen=True):
    """When a job emits events, and what they contain."""

    event_trigger: str
    event_content_mode: str
    window_duration: int | None = None


class JobTypeJobFacet(Facet, frozen=True):
    """Batch, streaming or service; of which framework."""

    facet_name: ClassVar = "jobType"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("2-0-4", "JobTypeJobFacet")
    processing_type: str
    integration: str
    job_type: str | None = None
    emission_pattern: EmissionPattern | None = None


class OwnershipJobFacet(Facet, frozen=True):
    """Owners of a job."""

    facet_name: ClassVar = "ownership"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "OwnershipJobFacet")
    owners: list[Owner] | None = None


class SQLJobFacet(Facet, frozen=True):
    """The query a job ran."""

    facet_name: ClassVar = "sql"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-1-0", "SQLJobFacet")
    query: str
    dialect: str | None = None


class SourceCodeJobFacet(Facet, frozen=True):
    """The code a job ran."""

    facet_name: ClassVar = "sourceCode"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "SourceCodeJobFacet")
    language: str
    source_code: str


class SourceCodeLocationJobFacet(Facet, frozen=True):
    """Where a job's code lies, and at which version."""

    facet_name: ClassVar = "sourceCodeLocation"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-1-0", "SourceCodeLocationJobFacet")
    type: str
    url: str
    repo_url: str | None = None
    path: str | None = None
    version: str | None = None
    tag: str | None = None
    branch: str | None = None
    pull_request_number: str | None = None


class TagsJobFacet(Facet, frozen=True):
    """Labels of a job."""

    facet_name: ClassVar = "tags"
    facet_scopes: ClassVar = _JOB
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "TagsJobFacet")
    tags: list[Tag] | None = None


# --- Runs ----------------------------------------------------------------------------------


class EnvironmentVariable(Part, frozen=True):
    """One variable of the environment."""

    name: str
    value: str


class EnvironmentVariablesRunFacet(Facet, frozen=True):
    """Variables of a run's environment."""

    facet_name: ClassVar = "environmentVariables"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "EnvironmentVariablesRunFacet")
    environment_variables: list[EnvironmentVariable]


class ErrorMessageRunFacet(Facet, frozen=True):
    """Why a run failed."""

    facet_name: ClassVar = "errorMessage"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "ErrorMessageRunFacet")
    message: str
    programming_language: str
    stack_trace: str | None = None


class ExecutionParameter(Part, frozen=True):
    """One parameter of a run."""

    key: str
    name: str | None = None
    description: str | None = None
    value: str | None = None


class ExecutionParametersRunFacet(Facet, frozen=True):
    """Parameters of a run."""

    facet_name: ClassVar = "executionParameters"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "ExecutionParametersRunFacet")
    parameters: list[ExecutionParameter] | None = None


class ExternalQueryRunFacet(Facet, frozen=True):
    """The query's identifier in another system."""

    facet_name: ClassVar = "externalQuery"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-2", "ExternalQueryRunFacet")
    external_query_id: str
    source: str


class ExtractionError(Part, frozen=True):
    """One failure of a producer to extract lineage."""

    error_message: str
    stack_trace: str | None = None
    task: str | None = None
    task_number: int | None = None


class ExtractionErrorRunFacet(Facet, frozen=True):
    """What a producer failed to extract."""

    facet_name: ClassVar = "extractionError"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-1-2", "ExtractionErrorRunFacet")
    total_tasks: int
    failed_tasks: int
    errors: list[ExtractionError]


class RunIdentifier(Part, frozen=True):
    """A run, by its id."""

    run_id: str


class JobIdentifier(Part, frozen=True):
    """A job, by its name."""

    namespace: str
    name: str


class JobDependency(Part, frozen=True, rename=None):
    """A job, perhaps a run of it, on which another waits. Snake case on the wire."""

    job: JobIdentifier
    run: RunIdentifier | None = None
    dependency_type: str | None = None
    sequence_trigger_rule: str | None = None
    status_trigger_rule: str | None = None


class JobDependenciesRunFacet(Facet, frozen=True):
    """Which jobs a run waited for, and which wait for it."""

    facet_name: ClassVar = "jobDependencies"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "JobDependenciesRunFacet")
    upstream: list[JobDependency] | None = None
    downstream: list[JobDependency] | None = None
    trigger_rule: str | None = msgspec.field(name="trigger_rule", default=None)


class NominalTimeRunFacet(Facet, frozen=True):
    """The time a run was scheduled for."""

    facet_name: ClassVar = "nominalTime"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "NominalTimeRunFacet")
    nominal_start_time: str
    nominal_end_time: str | None = None


class ParentRun(Part, frozen=True):
    """A run above this one."""

    run_id: str
    facets: dict[str, Any] | None = None


class ParentJob(Part, frozen=True):
    """A job above this one."""

    namespace: str
    name: str
    facets: dict[str, Any] | None = None


class RootRun(Part, frozen=True):
    """The topmost run and its job."""

    run: ParentRun
    job: ParentJob


class ParentRunFacet(Facet, frozen=True):
    """The run that started this one."""

    facet_name: ClassVar = "parent"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-2-0", "ParentRunFacet")
    run: ParentRun
    job: ParentJob
    root: RootRun | None = None


class ProcessingEngineRunFacet(Facet, frozen=True):
    """What executed a run."""

    facet_name: ClassVar = "processing_engine"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-1-1", "ProcessingEngineRunFacet")
    version: str
    name: str | None = None
    openlineage_adapter_version: str | None = None


class TagsRunFacet(Facet, frozen=True):
    """Labels of a run."""

    facet_name: ClassVar = "tags"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-0", "TagsRunFacet")
    tags: list[Tag] | None = None


class TestExecution(Part, frozen=True):
    """One test that a run executed."""

    name: str
    status: str
    severity: str | None = None
    type: str | None = None
    description: str | None = None
    expected: str | None = None
    actual: str | None = None
    content: str | None = None
    content_type: str | None = None
    params: dict[str, Any] | None = None


class TestRunFacet(Facet, frozen=True):
    """The tests that a run executed."""

    facet_name: ClassVar = "test"
    facet_scopes: ClassVar = _RUN
    facet_schema_url: ClassVar = openlineage_url("1-0-1", "TestRunFacet")
    tests: list[TestExecution]


CORE_FACETS: tuple[type[Facet], ...] = (
    CatalogDatasetFacet,
    ColumnLineageDatasetFacet,
    DataQualityAssertionsDatasetFacet,
    DataQualityMetricsDatasetFacet,
    DataQualityMetricsInputDatasetFacet,
    DatasetTypeDatasetFacet,
    DatasetVersionDatasetFacet,
    DatasourceDatasetFacet,
    DocumentationDatasetFacet,
    DocumentationJobFacet,
    EnvironmentVariablesRunFacet,
    ErrorMessageRunFacet,
    ExecutionParametersRunFacet,
    ExternalQueryRunFacet,
    ExtractionErrorRunFacet,
    HierarchyDatasetFacet,
    InputStatisticsInputDatasetFacet,
    InputSubsetInputDatasetFacet,
    JobDependenciesRunFacet,
    JobTypeJobFacet,
    LifecycleStateChangeDatasetFacet,
    LineageDatasetFacet,
    LineageJobFacet,
    NominalTimeRunFacet,
    OutputStatisticsOutputDatasetFacet,
    OutputSubsetOutputDatasetFacet,
    OwnershipDatasetFacet,
    OwnershipJobFacet,
    ParentRunFacet,
    ProcessingEngineRunFacet,
    SQLJobFacet,
    SchemaDatasetFacet,
    SourceCodeJobFacet,
    SourceCodeLocationJobFacet,
    StorageDatasetFacet,
    SymlinksDatasetFacet,
    TagsDatasetFacet,
    TagsJobFacet,
    TagsRunFacet,
    TestRunFacet,
)

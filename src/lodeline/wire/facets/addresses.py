"""Addresses of facets' schemas, for whoever writes facets and needs none of their types.

Observed programs and `lodeline run` stamp what they write; the types of `core` and `lodeline`, and
msgspec under them, take longer to load than all else that the runner does with an event. That both
say the same is tested (`tests/unit/wire/test_facet_addresses.py`).
"""

from __future__ import annotations

from lodeline import __version__

# Only type checkers read it: `typing` is not needed here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PRODUCER: Final = f"https://lodeline.dev/producer/{__version__}"

# Scope -> name -> version, definition and, where its name differs, file.
ADDRESSES: Final = {
    "run": {
        "environmentVariables": "1-0-0 EnvironmentVariablesRunFacet",
        "errorMessage": "1-0-1 ErrorMessageRunFacet",
        "executionParameters": "1-0-0 ExecutionParametersRunFacet",
        "externalQuery": "1-0-2 ExternalQueryRunFacet",
        "extractionError": "1-1-2 ExtractionErrorRunFacet",
        "jobDependencies": "1-0-1 JobDependenciesRunFacet",
        "lodeline_agent": "1-0-0 LodelineAgentRunFacet",
        "lodeline_build": "1-0-0 LodelineBuildRunFacet",
        "lodeline_capture": "1-0-0 LodelineCaptureRunFacet",
        "lodeline_code": "1-0-0 LodelineCodeRunFacet",
        "lodeline_environment": "1-0-0 LodelineEnvironmentRunFacet",
        "lodeline_parameters": "1-0-0 LodelineParametersRunFacet",
        "lodeline_replay": "1-0-0 LodelineReplayRunFacet",
        "nominalTime": "1-0-1 NominalTimeRunFacet",
        "parent": "1-2-0 ParentRunFacet",
        "processing_engine": "1-1-1 ProcessingEngineRunFacet",
        "tags": "1-0-0 TagsRunFacet",
        "test": "1-0-1 TestRunFacet",
    },
    "job": {
        "documentation": "1-1-0 DocumentationJobFacet",
        "jobType": "2-0-4 JobTypeJobFacet",
        "lineage": "1-0-0 LineageJobFacet LineageFacet",
        "lodeline_context": "1-0-0 LodelineContextJobFacet",
        "lodeline_intent": "1-0-0 LodelineIntentJobFacet",
        "ownership": "1-0-1 OwnershipJobFacet",
        "sourceCode": "1-0-1 SourceCodeJobFacet",
        "sourceCodeLocation": "1-1-0 SourceCodeLocationJobFacet",
        "sql": "1-1-0 SQLJobFacet",
        "tags": "1-0-0 TagsJobFacet",
    },
    "dataset": {
        "catalog": "1-1-0 CatalogDatasetFacet",
        "columnLineage": "1-2-0 ColumnLineageDatasetFacet",
        "dataQualityAssertions": "1-1-0 DataQualityAssertionsDatasetFacet",
        "dataQualityMetrics": "1-0-0 DataQualityMetricsDatasetFacet",
        "dataSource": "1-0-1 DatasourceDatasetFacet",
        "datasetType": "1-0-1 DatasetTypeDatasetFacet",
        "documentation": "1-1-0 DocumentationDatasetFacet",
        "hierarchy": "1-0-0 HierarchyDatasetFacet",
        "lifecycleStateChange": "1-0-1 LifecycleStateChangeDatasetFacet",
        "lineage": "1-0-0 LineageDatasetFacet LineageFacet",
        "lodeline_catalogue": "1-0-0 LodelineCatalogueDatasetFacet",
        "lodeline_contract": "1-0-0 LodelineContractDatasetFacet",
        "lodeline_deployment": "1-0-0 LodelineDeploymentDatasetFacet",
        "lodeline_deploymentState": "1-0-0 LodelineDeploymentStateDatasetFacet",
        "lodeline_digest": "1-0-0 LodelineDigestDatasetFacet",
        "lodeline_features": "1-0-0 LodelineFeaturesDatasetFacet",
        "lodeline_model": "1-0-0 LodelineModelDatasetFacet",
        "lodeline_policy": "1-0-0 LodelinePolicyDatasetFacet",
        "lodeline_prediction_batch": "1-0-0 LodelinePredictionBatchDatasetFacet",
        "lodeline_quality": "1-0-0 LodelineQualityDatasetFacet",
        "lodeline_row_blocks": "1-0-0 LodelineRowBlocksDatasetFacet",
        "ownership": "1-0-1 OwnershipDatasetFacet",
        "schema": "1-2-0 SchemaDatasetFacet",
        "storage": "1-0-1 StorageDatasetFacet",
        "symlinks": "1-0-1 SymlinksDatasetFacet",
        "tags": "1-0-0 TagsDatasetFacet",
        "version": "1-0-1 DatasetVersionDatasetFacet",
    },
    "input": {
        "dataQualityAssertions": "1-1-0 DataQualityAssertionsDatasetFacet",
        "dataQualityMetrics": "1-0-3 DataQualityMetricsInputDatasetFacet",
        "inputStatistics": "1-0-0 InputStatisticsInputDatasetFacet",
        "lodeline_messages": "1-0-0 LodelineMessagesInputDatasetFacet",
        "lodeline_sampling": "1-0-0 LodelineSamplingInputDatasetFacet",
        "subset": "1-0-0 InputSubsetInputDatasetFacet BaseSubsetDatasetFacet",
    },
    "output": {
        "lodeline_messages": "1-0-0 LodelineMessagesOutputDatasetFacet",
        "lodeline_observed": "1-0-0 LodelineObservedOutputDatasetFacet",
        "lodeline_rows": "1-0-0 LodelineRowsOutputDatasetFacet",
        "outputStatistics": "1-0-2 OutputStatisticsOutputDatasetFacet",
        "subset": "1-0-0 OutputSubsetOutputDatasetFacet BaseSubsetDatasetFacet",
    },
}


def schema_url_of(scope: str, name: str) -> str | None:
    """Find the address of a facet's definition; `None` for one that Lodeline does not know."""
    said = ADDRESSES[scope].get(name)
    if said is None:
        return None
    version, definition, *file = said.split()
    own = name.startswith("lodeline_")
    place = "https://lodeline.dev/spec" if own else "https://openlineage.io/spec/facets"
    return f"{place}/{version}/{(file or [definition])[0]}.json#/$defs/{definition}"

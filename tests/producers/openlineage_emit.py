"""Emits one run through the client's transport that the environment configures. Run, not imported."""

import sys
from datetime import UTC, datetime

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    Dataset,
    DatasetEvent,
    InputDataset,
    Job,
    JobEvent,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import column_lineage_dataset, schema_dataset
from openlineage.client.uuid import generate_new_uuid

PRODUCER = "https://example.com/producer"
name = sys.argv[1]
client = OpenLineageClient()
run = Run(str(generate_new_uuid()))
job = Job("clients", name)
field = schema_dataset.SchemaDatasetFacetFields
source = InputDataset(
    "s3://bucket",
    f"{name}/in",
    facets={"schema": schema_dataset.SchemaDatasetFacet([field("a", "int")])},
)
origin = column_lineage_dataset.InputField("s3://bucket", f"{name}/in", "a")
target = OutputDataset(
    "s3://bucket",
    f"{name}/out",
    facets={
        "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(
            {"b": column_lineage_dataset.Fields([origin])}
        )
    },
)
now = datetime.now(UTC).isoformat()
said = {"eventTime": now, "producer": PRODUCER}
for state, outputs in ((RunState.START, []), (RunState.COMPLETE, [target])):
    client.emit(
        RunEvent(eventType=state, run=run, job=job, inputs=[source], outputs=outputs, **said)
    )
client.emit(JobEvent(job=job, inputs=[source], outputs=[target], **said))
client.emit(DatasetEvent(dataset=Dataset("s3://bucket", f"{name}/described"), **said))
client.close(10)

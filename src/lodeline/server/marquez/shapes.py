"""The one serializer of Marquez's shapes: records of the query package as its clients read them.

Members and their order are those of Marquez's OpenAPI description and of its server's answers;
what has no value is null. Versions are UUIDs, see `history.version_uuid`; beside each, our own
text stands in `lodelineVersion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lodeline.model import NodeId, format_time
from lodeline.query.entities import ColumnFlow, DatasetRecord, JobRecord
from lodeline.query.facets import labels_in, owners_in
from lodeline.query.history import CodeVersion, RunRecord, WrittenVersion, version_uuid

Json = dict[str, Any]

# Marquez's names where nobody said one.
DEFAULT_NAMESPACE: Final = "default"
DEFAULT_SOURCE: Final = "default"
ANONYMOUS: Final = "anonymous"

_STATES: Final = {
    "OTHER": "NEW",
    "START": "RUNNING",
    "RUNNING": "RUNNING",
    "COMPLETE": "COMPLETED",
    "FAIL": "FAILED",
    "ABORT": "ABORTED",
}
# Of the view, by Marquez's names.
STATES: Final = {
    "NEW": ("OTHER",),
    "RUNNING": ("START", "RUNNING"),
    "COMPLETED": ("COMPLETE",),
    "FAILED": ("FAIL",),
    "ABORTED": ("ABORT",),
}


def time_text(time_us: int | None) -> str | None:
    """Write a time; null where there is none."""
    return None if time_us is None else format_time(time_us)


def node_id(node: NodeId) -> str:
    """Write an identifier as Marquez does: nothing encoded, versions as UUIDs."""
    parts = [node.kind, node.name] if node.kind == "run" else [node.kind, node.namespace, node.name]
    text = ":".join([*parts, node.part] if node.part else parts)
    return f"{text}#{version_uuid(node)}" if node.version else text


def id_json(node: NodeId) -> Json:
    """Write namespace and name."""
    return {"namespace": node.namespace, "name": node.name}


def version_id_json(node: NodeId) -> Json:
    """Write namespace, name and version."""
    return {**id_json(node), "version": version_uuid(node), "lodelineVersion": node.version or None}


def namespace_json(
    name: str,
    *,
    created_us: int | None,
    updated_us: int | None,
    owner: str | None,
    description: str | None,
) -> Json:
    """Write a namespace."""
    return {
        "name": name,
        "createdAt": time_text(created_us),
        "updatedAt": time_text(updated_us),
        "ownerName": owner or ANONYMOUS,
        "description": description,
        "isHidden": False,
    }


def source_json(
    name: str,
    *,
    kind: str,
    url: str | None,
    created_us: int | None,
    updated_us: int | None,
    description: str | None,
) -> Json:
    """Write a source."""
    return {
        "type": kind,
        "name": name,
        "createdAt": time_text(created_us),
        "updatedAt": time_text(updated_us),
        "connectionUrl": url,
        "description": description,
    }


# -- datasets ------------------------------------------------------------------------------------


def dataset_json(record: DatasetRecord, *, with_columns: bool = True) -> Json:
    """Write a dataset; with its columns' lineage, unless it is a node of a graph."""
    facets = record.facets
    newest = record.newest
    body: Json = {
        "id": id_json(record.node),
        "type": _dataset_type(facets),
        "name": record.node.name,
        "physicalName": _physical_name(record.node, facets),
        "createdAt": time_text(record.created_us),
        "updatedAt": time_text(record.updated_us),
        "namespace": record.node.namespace,
        "sourceName": source_name(facets),
        "fields": fields_json(facets),
        "tags": dataset_tags(facets),
        "lastModifiedAt": time_text(record.modified_us),
        "lastLifecycleState": _lifecycle(facets),
        "description": description_of(facets),
    }
    location = _catalogue(facets).get("schemaLocation")
    if body["type"] == "STREAM":
        body["schemaLocation"] = location
    if not with_columns:
        return body
    return body | {
        "currentVersion": None if newest is None else version_uuid(newest.node),
        "lodelineVersion": None if newest is None else newest.node.version,
        "columnLineage": columns_json(record.flows) if record.flows else None,
        "facets": facets,
        "deleted": _lifecycle(facets) == "DROP",
    }


def dataset_version_json(
    version: WrittenVersion, record: DatasetRecord, run: RunRecord | None
) -> Json:
    """Write a version of a dataset, as the run that wrote it said it was."""
    node = version.node
    own = {} if run is None else run.output_states.get((node.namespace, node.name), {})
    facets = {**{k: v for k, v in record.facets.items() if k not in _OF_A_WRITE}, **own}
    return {
        "id": version_id_json(node),
        "type": _dataset_type(facets),
        "name": node.name,
        "physicalName": _physical_name(node, facets),
        "createdAt": time_text(version.time_us),
        "version": version_uuid(node),
        "lodelineVersion": node.version,
        "namespace": node.namespace,
        "sourceName": source_name(facets),
        "fields": fields_json(facets),
        "tags": dataset_tags(facets),
        "lifecycleState": _lifecycle(own),
        "description": description_of(facets),
        "currentSchemaVersion": None,
        "createdByRun": None if run is None or run.group.run is None else run_json(run),
        "facets": facets,
    }


# Facets that speak of one write, never of the dataset as such.
_OF_A_WRITE: Final = frozenset(
    {"version", "lodeline_digest", "dataQualityMetrics", "dataQualityAssertions", "lineage"}
    | {"columnLineage", "lifecycleStateChange"}
)


def fields_json(facets: Mapping[str, Any]) -> list[Json]:
    """Write the columns that a `schema` facet names, each with its tags."""
    schema = facets.get("schema")
    fields = schema.get("fields") if isinstance(schema, dict) else None
    tags = _tags(facets)
    return [
        {
            "name": one["name"],
            "type": one.get("type"),
            "tags": [_label(tag) for tag in tags if tag.get("field") == one["name"]],
            "description": one.get("description"),
        }
        for one in (fields if isinstance(fields, list) else [])
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    ]


def dataset_tags(facets: Mapping[str, Any]) -> list[str]:
    """Write the tags of a dataset itself, its columns' left out."""
    return sorted({_label(tag) for tag in _tags(facets) if not tag.get("field")})


def columns_json(flows: Iterable[ColumnFlow]) -> list[Json]:
    """Write what flows into each column."""
    by_column: dict[str, list[Json]] = {}
    for flow in flows:
        by_column.setdefault(flow.column.part, []).append(input_field_json(flow.source, flow.steps))
    return [
        {
            "name": name,
            "inputFields": inputs,
            "transformationDescription": inputs[0]["transformationDescription"],
            "transformationType": inputs[0]["transformationType"],
        }
        for name, inputs in by_column.items()
    ]


def input_field_json(source: NodeId, steps: Iterable[Any]) -> Json:
    """Write a column that flows into another, and how."""
    first = next((step for step in steps if isinstance(step, dict)), {})
    return {
        "namespace": source.namespace,
        "dataset": source.name,
        "field": source.part,
        "transformationDescription": first.get("description"),
        "transformationType": first.get("type"),
    }


def source_name(facets: Mapping[str, Any]) -> str:
    """Name the source that a `dataSource` facet states."""
    body = facets.get("dataSource")
    name = body.get("name") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else DEFAULT_SOURCE


def description_of(facets: Mapping[str, Any]) -> str | None:
    """Give the text of a `documentation` facet."""
    body = facets.get("documentation")
    text = body.get("description") if isinstance(body, dict) else None
    return text if isinstance(text, str) else None


def _tags(facets: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    body = facets.get("tags")
    tags = body.get("tags") if isinstance(body, dict) else None
    many = tags if isinstance(tags, list) else []
    return [tag for tag in many if isinstance(tag, dict) and isinstance(tag.get("key"), str)]


def _label(tag: Mapping[str, Any]) -> str:
    return labels_in({"tags": {"tags": [tag]}})[0]


def _dataset_type(facets: Mapping[str, Any]) -> str:
    body = facets.get("datasetType")
    kind = str(body.get("datasetType")).upper() if isinstance(body, dict) else ""
    return "STREAM" if kind in {"STREAM", "TOPIC"} else "DB_TABLE"


def _catalogue(facets: Mapping[str, Any]) -> Mapping[str, Any]:
    body = facets.get("lodeline_catalogue")
    return body if isinstance(body, dict) else {}


def _physical_name(node: NodeId, facets: Mapping[str, Any]) -> str:
    return str(_catalogue(facets).get("physicalName") or node.name)


def _lifecycle(facets: Mapping[str, Any]) -> str | None:
    body = facets.get("lifecycleStateChange")
    state = body.get("lifecycleStateChange") if isinstance(body, dict) else None
    return state.upper() if isinstance(state, str) else None


# -- jobs and runs -------------------------------------------------------------------------------


def job_json(record: JobRecord, *, in_graph: bool = False) -> Json:
    """Write a job."""
    facets = record.facets
    parent = record.parent
    latest = run_json(record.runs[0]) if record.runs else None
    body: Json = {
        "id": id_json(record.node),
        "type": _job_type(facets),
        "name": record.node.name,
        "simpleName": _simple_name(record.node.name, parent),
        "parentJobName": None if parent is None else parent[0].name,
        "parentJobUuid": None if parent is None else version_uuid(parent[0]),
        "createdAt": time_text(record.created_us),
        "updatedAt": time_text(record.updated_us),
        "namespace": record.node.namespace,
        "inputs": [id_json(node) for node in record.inputs],
        "outputs": [id_json(node) for node in record.outputs],
        "location": location_of(facets),
        "description": description_of(facets),
        "latestRun": latest,
    }
    code = record.code
    if in_graph:
        return body | {"currentRunUuid": None if latest is None else latest["id"]}
    return body | {
        "latestRuns": [run_json(run) for run in record.runs],
        "facets": facets,
        "currentVersion": None if code is None else version_uuid(record.node.at(code)),
        "lodelineVersion": code or None,
        "labels": _job_labels(facets),
        "tags": labels_in(facets),
    }


def job_version_json(
    version: CodeVersion,
    flows: tuple[list[NodeId], list[NodeId]],
    run: RunRecord | None,
    facets: Mapping[str, Any],
) -> Json:
    """Write a version of a job: its runs under one code."""
    stated = facets if run is None else run.job
    return {
        "id": version_id_json(version.node),
        "name": version.node.name,
        "createdAt": time_text(version.first_us),
        "version": version_uuid(version.node),
        "lodelineVersion": version.node.version or None,
        "namespace": version.node.namespace,
        "location": location_of(stated),
        "inputs": [id_json(node) for node in flows[0]],
        "outputs": [id_json(node) for node in flows[1]],
        "latestRun": None if run is None else run_json(run),
    }


def run_json(record: RunRecord) -> Json:
    """Write a run."""
    group = record.group
    started = group.start_us if record.started else None
    nominal = record.run.get("nominalTime")
    nominal = nominal if isinstance(nominal, dict) else {}
    duration = None if started is None or group.end_us is None else (group.end_us - started) // 1000
    job = group.job
    return {
        "id": group.run_id,
        "createdAt": time_text(group.first_us),
        "updatedAt": time_text(group.last_us),
        "nominalStartTime": nominal.get("nominalStartTime"),
        "nominalEndTime": nominal.get("nominalEndTime"),
        "state": state_of(group.state),
        "startedAt": time_text(started),
        "endedAt": time_text(group.end_us),
        "durationMs": duration,
        "args": _args(record.run),
        "jobVersion": None if job is None else version_id_json(job.at(group.code or "")),
        "inputDatasetVersions": [
            {
                "datasetVersionId": version_id_json(node),
                "facets": record.input_facets.get((node.namespace, node.name), {}),
            }
            for node in record.inputs
        ],
        "outputDatasetVersions": [
            {
                "datasetVersionId": version_id_json(node),
                "facets": record.output_facets.get((node.namespace, node.name), {}),
            }
            for node in record.outputs
        ],
        "facets": record.run,
    }


def state_of(state: str) -> str:
    """Name a state as Marquez does."""
    return _STATES.get(state, "COMPLETED")


def location_of(facets: Mapping[str, Any]) -> str | None:
    """Give the address of a job's source code."""
    body = facets.get("sourceCodeLocation")
    url = body.get("url") if isinstance(body, dict) else None
    return url if isinstance(url, str) else None


def owner_of(facets: Mapping[str, Any]) -> str | None:
    """Name the first owner of an `ownership` facet."""
    owners = owners_in(facets)
    return str(owners[0]["name"]) if owners else None


def _job_type(facets: Mapping[str, Any]) -> str:
    body = facets.get("jobType")
    kind = str(body.get("processingType")).upper() if isinstance(body, dict) else ""
    if kind == "SERVICE":
        return "SERVICE"
    return "STREAM" if kind in {"STREAM", "STREAMING"} else "BATCH"


def _job_labels(facets: Mapping[str, Any]) -> list[str]:
    body = facets.get("jobType")
    found = (
        [body.get(name) for name in ("jobType", "integration")] if isinstance(body, dict) else []
    )
    return [label for label in found if isinstance(label, str)]


def _simple_name(name: str, parent: tuple[NodeId, str] | None) -> str:
    return name if parent is None else name.removeprefix(f"{parent[0].name}.")


def _args(run: Mapping[str, Any]) -> Json:
    body = run.get("lodeline_parameters")
    values = body.get("parameters") if isinstance(body, dict) else None
    return dict(values) if isinstance(values, dict) else {}

"""What changes the catalogue: namespaces, sources, tags, datasets and jobs are put and taken off.

Each handler checks what must be there, records events, and gives the answer that a reader would
get next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from lodeline.errors import UnknownEntryError, UsageError
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.catalogue import RESERVED
from lodeline.query.entities import describe_datasets, describe_jobs
from lodeline.server.marquez import datasets, jobs, spaces
from lodeline.server.marquez.calls import Answering, Call, Json, read_texts
from lodeline.server.marquez.describing import DATASET, JOB, NAMESPACE, SOURCE, TAG
from lodeline.server.marquez.recording import (
    Recorder,
    dataset_event,
    declaration,
    facet,
    job_event,
    removal,
    run_event,
)
from lodeline.wire.facets import (
    DatasetTypeDatasetFacet,
    DatasetVersionDatasetFacet,
    DatasourceDatasetFacet,
    DocumentationDatasetFacet,
    DocumentationJobFacet,
    JobTypeJobFacet,
    LifecycleStateChangeDatasetFacet,
    LodelineCatalogueDatasetFacet,
    LodelineContextJobFacet,
    SchemaDatasetFacet,
    SourceCodeLocationJobFacet,
    SQLJobFacet,
    TagsDatasetFacet,
    TagsJobFacet,
)

Reader = Callable[[Answering, Call], Awaitable[Json]]
_TAG_SOURCE: Final = "USER"


class Desk(NamedTuple):
    """What a handler works with.

    Attributes:
        recorder: records events.
        read: answers from one snapshot, in JSON as the caller may have it.
        look: the same for what the handler itself must know.
    """

    recorder: Recorder
    read: Reader
    look: Reader


class Change(NamedTuple):
    """A route that changes something.

    Attributes:
        method: HTTP's.
        path: below `/api/v1`.
        make: the change; gives the answer.
        summary: for the API's description.
        sent: schema of the body, if there is one.
        query: names of parameters in `describing.QUERY`.
        status: of the answer.
    """

    method: str
    path: str
    make: Callable[[Desk, Call], Awaitable[Json]]
    summary: str
    sent: Mapping[str, Any] | None = None
    query: tuple[str, ...] = ()
    status: int = 200


async def put_namespace(desk: Desk, call: Call) -> Json:
    """Answer `PUT /namespaces/{namespace}`."""
    name = call.path["namespace"]
    owner, description = call.text("ownerName", required=True), call.text("description")
    _check_name(name)
    now_us = desk.recorder.now_us()
    event = declaration("namespace", name, now_us, owner=owner, description=description)
    await desk.recorder.record([event])
    return await desk.read(spaces.get_namespace, call)


async def delete_namespace(desk: Desk, call: Call) -> Json:
    """Answer `DELETE /namespaces/{namespace}`."""
    found = await desk.read(spaces.get_namespace, call)
    name = call.path["namespace"]
    await desk.recorder.record([removal("namespace", name, "", desk.recorder.now_us())])
    return {**found, "isHidden": True}


async def put_source(desk: Desk, call: Call) -> Json:
    """Answer `PUT /sources/{source}`."""
    members = {
        "type": str(call.text("type", required=True)).upper(),
        "connectionUrl": call.text("connectionUrl", required=True),
        "description": call.text("description"),
    }
    name = call.path["source"]
    await desk.recorder.record([declaration("source", name, desk.recorder.now_us(), **members)])
    return await desk.read(spaces.get_source, call)


async def put_tag(desk: Desk, call: Call) -> Json:
    """Answer `PUT /tags/{tag}`."""
    name, description = call.path["tag"], call.text("description")
    event = declaration("tag", name, desk.recorder.now_us(), description=description)
    await desk.recorder.record([event])
    return {"name": name, "description": description}


# -- datasets ------------------------------------------------------------------------------------


async def put_dataset(desk: Desk, call: Call) -> Json:
    """Answer `PUT /namespaces/{namespace}/datasets/{dataset}`."""
    namespace, name = call.path["namespace"], call.path["dataset"]
    run_id = call.text("runId")
    source = str(call.text("sourceName", required=True))

    def check(inquiry: Inquiry, _: Call) -> Json:
        spaces.find_space(inquiry, namespace)
        run = None if run_id is None else jobs.find_run(inquiry, run_id)
        return {
            "url": spaces.find_source(inquiry, source)["connectionUrl"],
            "job": None if run is None or run.group.job is None else run.group.job,
            "run": None if run is None else run.group.run_id,
        }

    found = await desk.look(check, call)
    facets = _dataset_facets(call, source, found["url"])
    now_us = desk.recorder.now_us()
    if found["job"] is None:
        version = _definition(facets)
        facets |= facet(DatasetVersionDatasetFacet, datasetVersion=version)
        event = dataset_event(namespace, name, facets, now_us)
    else:
        job = (found["job"].namespace, found["job"].name)
        made = {"namespace": namespace, "name": name, "facets": facets}
        event = run_event("OTHER", found["run"], job, now_us, outputs=[made])
    await desk.recorder.record([event])
    return await desk.read(datasets.get_dataset, call)


def _definition(facets: Mapping[str, Json]) -> str:
    """Name the version of a dataset that nobody wrote yet: what it was declared to be.

    Descriptions and tags may change without making another version.
    """
    names = ("dataSource", "datasetType", "lodeline_catalogue", "schema")
    text = json.dumps({name: facets.get(name) for name in names}, sort_keys=True)
    return f"definition:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _dataset_facets(call: Call, source: str, url: str | None) -> dict[str, Json]:
    kind = call.text("type", required=True)
    if kind not in {"DB_TABLE", "STREAM"}:
        raise UsageError(f"type: DB_TABLE or STREAM, not {str(kind)[:64]!r}")
    fields = call.objects("fields")
    for field in fields:
        if not isinstance(field.get("name"), str) or not field["name"]:
            raise UsageError("fields: each has a name")
    tags = [_tag(tag, None) for tag in call.texts("tags")]
    for field in fields:
        tags += [_tag(tag, field["name"]) for tag in read_texts(field.get("tags"), "tags")]
    found = {
        **facet(DatasourceDatasetFacet, name=source, uri=url or None),
        **facet(DatasetTypeDatasetFacet, datasetType="STREAM" if kind == "STREAM" else "TABLE"),
        **facet(
            LodelineCatalogueDatasetFacet,
            entry="dataset",
            name=call.path["dataset"],
            namespace=call.path["namespace"],
            physicalName=call.text("physicalName", required=True),
            schemaLocation=call.text("schemaLocation"),
        ),
    }
    if call.body.get("fields") is not None:
        columns = [
            {k: v for k, v in field.items() if k in {"name", "type", "description"} and v}
            for field in fields
        ]
        found |= facet(SchemaDatasetFacet, fields=columns)
    if tags:
        found |= facet(TagsDatasetFacet, tags=tags)
    description = call.text("description")
    if description is not None:
        found |= facet(DocumentationDatasetFacet, description=description)
    return found


async def delete_dataset(desk: Desk, call: Call) -> Json:
    """Answer `DELETE /namespaces/{namespace}/datasets/{dataset}`."""

    def check(inquiry: Inquiry, _: Call) -> Json:
        return datasets.find_dataset(inquiry, call.path["namespace"], call.path["dataset"])

    found = await desk.read(datasets.get_dataset, call)
    node: NodeId = await desk.look(check, call)
    now_us = desk.recorder.now_us()
    dropped = facet(LifecycleStateChangeDatasetFacet, lifecycleStateChange="DROP")
    await desk.recorder.record(
        [
            dataset_event(node.namespace, node.name, dropped, now_us),
            removal("dataset", node.namespace, node.name, now_us),
        ]
    )
    return found


async def tag_dataset(desk: Desk, call: Call) -> Json:
    """Answer `POST …/tags/{tag}` of a dataset or a field."""
    return await _change_dataset_tags(desk, call, _with_tag)


async def untag_dataset(desk: Desk, call: Call) -> Json:
    """Answer `DELETE …/tags/{tag}` of a dataset or a field."""
    return await _change_dataset_tags(desk, call, _without_tag)


Tags = list[Mapping[str, Any]]
ChangeOfTags = Callable[[Iterable[Mapping[str, Any]], str, str | None], Tags]


async def _change_dataset_tags(desk: Desk, call: Call, change: ChangeOfTags) -> Json:
    field = call.path.get("field")

    def check(inquiry: Inquiry, _: Call) -> Json:
        node = datasets.find_dataset(inquiry, call.path["namespace"], call.path["dataset"])
        facets = describe_datasets(inquiry, [node])[node].facets
        schema = facets.get("schema") or {}
        if field is not None and all(one["name"] != field for one in schema.get("fields") or ()):
            raise UnknownEntryError(f"Field of dataset '{node.name}'", field)
        return node, _tags_in(facets)

    async with desk.recorder.lock:
        node, tags = await desk.look(check, call)
        stated = facet(TagsDatasetFacet, tags=change(tags, call.path["tag"], field))
        event = dataset_event(node.namespace, node.name, stated, desk.recorder.now_us())
        await desk.recorder.record([event])
    return await desk.read(datasets.get_dataset, call)


def _tag(name: str, field: str | None) -> Json:
    tag = {"key": name, "value": "true", "source": _TAG_SOURCE}
    return tag if field is None else {**tag, "field": field}


def _with_tag(tags: Iterable[Mapping[str, Any]], name: str, field: str | None) -> Tags:
    return [*_without_tag(tags, name, field), _tag(name, field)]


def _without_tag(tags: Iterable[Mapping[str, Any]], name: str, field: str | None) -> Tags:
    return [tag for tag in tags if (tag.get("key"), tag.get("field")) != (name, field)]


def _tags_in(facets: Mapping[str, Any]) -> Tags:
    body = facets.get("tags")
    tags = body.get("tags") if isinstance(body, dict) else None
    return [tag for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []


# -- jobs ----------------------------------------------------------------------------------------


async def put_job(desk: Desk, call: Call) -> Json:
    """Answer `PUT /namespaces/{namespace}/jobs/{job}`."""
    namespace, name = call.path["namespace"], call.path["job"]
    inputs, outputs = (_dataset_ids(call.objects(side), side) for side in ("inputs", "outputs"))
    run_id = call.text("runId")

    def check(inquiry: Inquiry, _: Call) -> Json:
        spaces.find_space(inquiry, namespace)
        for one in (*inputs, *outputs):
            datasets.find_dataset(inquiry, one["namespace"], one["name"])
        if run_id is None:
            return None
        run = jobs.find_run(inquiry, run_id)
        if run.group.job != NodeId("job", namespace, name):
            raise UnknownEntryError("Run", run_id)
        return run.group.run_id

    run = await desk.look(check, call)
    now_us = desk.recorder.now_us()
    facets = _job_facets(call)
    events = [job_event(namespace, name, facets, now_us, inputs=inputs, outputs=outputs)]
    if run is not None:
        events.append(
            run_event(
                "OTHER",
                run,
                (namespace, name),
                now_us,
                job_facets=facets,
                inputs=inputs,
                outputs=outputs,
            )
        )
    await desk.recorder.record(events)
    return await desk.read(jobs.get_job, call)


def _dataset_ids(stated: Sequence[Mapping[str, Any]], side: str) -> list[Json]:
    found = []
    for one in stated:
        namespace, name = one.get("namespace"), one.get("name")
        if not (isinstance(namespace, str) and isinstance(name, str) and namespace and name):
            raise UsageError(f"{side}: each has namespace and name")
        found.append({"namespace": namespace, "name": name})
    return found


def _job_facets(call: Call) -> dict[str, Json]:
    kind = call.text("type", required=True)
    if kind not in {"BATCH", "STREAM", "SERVICE"}:
        raise UsageError(f"type: BATCH, STREAM or SERVICE, not {str(kind)[:64]!r}")
    processing = "STREAMING" if kind == "STREAM" else kind
    found = facet(JobTypeJobFacet, processingType=processing, integration="MARQUEZ", jobType="JOB")
    location, description = call.text("location"), call.text("description")
    if location is not None:
        found |= facet(SourceCodeLocationJobFacet, type="git", url=location)
    if description is not None:
        found |= facet(DocumentationJobFacet, description=description)
    context = call.body.get("context")
    if context is not None and not isinstance(context, dict):
        raise UsageError("context: texts by name")
    sql = {name: text for name, text in (context or {}).items() if name.lower() == "sql"}
    rest = {name: text for name, text in (context or {}).items() if name not in sql}
    for text in sql.values():
        found |= facet(SQLJobFacet, query=str(text))
    if rest:
        found |= facet(LodelineContextJobFacet, context=rest)
    return found


async def delete_job(desk: Desk, call: Call) -> Json:
    """Answer `DELETE /namespaces/{namespace}/jobs/{job}`."""

    def check(inquiry: Inquiry, _: Call) -> Json:
        return jobs.find_job(inquiry, call.path["namespace"], call.path["job"])

    found = await desk.read(jobs.get_job, call)
    node: NodeId = await desk.look(check, call)
    now_us = desk.recorder.now_us()
    await desk.recorder.record([removal("job", node.namespace, node.name, now_us)])
    return found


async def tag_job(desk: Desk, call: Call) -> Json:
    """Answer `POST /namespaces/{namespace}/jobs/{job}/tags/{tag}`."""
    return await _change_job_tags(desk, call, _with_tag)


async def untag_job(desk: Desk, call: Call) -> Json:
    """Answer `DELETE /namespaces/{namespace}/jobs/{job}/tags/{tag}`."""
    return await _change_job_tags(desk, call, _without_tag)


async def _change_job_tags(desk: Desk, call: Call, change: ChangeOfTags) -> Json:
    def check(inquiry: Inquiry, _: Call) -> Json:
        node = jobs.find_job(inquiry, call.path["namespace"], call.path["job"])
        return node, _tags_in(describe_jobs(inquiry, [node], runs=0)[node].facets)

    async with desk.recorder.lock:
        node, tags = await desk.look(check, call)
        stated = facet(TagsJobFacet, tags=change(tags, call.path["tag"], None))
        event = job_event(node.namespace, node.name, stated, desk.recorder.now_us())
        await desk.recorder.record([event])
    return await desk.read(jobs.get_job, call)


def _check_name(name: str) -> None:
    if name.startswith(RESERVED):
        raise UsageError(f"namespaces that start with {RESERVED!r} are kept for the catalogue")


_ONE_NAMESPACE: Final = "/namespaces/{namespace}"
_ONE_DATASET: Final = f"{_ONE_NAMESPACE}/datasets/{{dataset}}"
_ONE_JOB: Final = f"{_ONE_NAMESPACE}/jobs/{{job}}"
CHANGES: Final = [
    Change("PUT", _ONE_NAMESPACE, put_namespace, "Declare a namespace", NAMESPACE),
    Change("DELETE", _ONE_NAMESPACE, delete_namespace, "Take a namespace off the lists"),
    Change("PUT", "/sources/{source}", put_source, "Declare a source", SOURCE),
    Change("PUT", "/tags/{tag}", put_tag, "Declare a tag", TAG),
    Change("PUT", _ONE_DATASET, put_dataset, "Declare a dataset", DATASET),
    Change("DELETE", _ONE_DATASET, delete_dataset, "Take a dataset off the lists"),
    Change("POST", f"{_ONE_DATASET}/tags/{{tag}}", tag_dataset, "Tag a dataset"),
    Change("DELETE", f"{_ONE_DATASET}/tags/{{tag}}", untag_dataset, "Take a tag off a dataset"),
    Change("POST", f"{_ONE_DATASET}/fields/{{field}}/tags/{{tag}}", tag_dataset, "Tag a column"),
    Change(
        "DELETE", f"{_ONE_DATASET}/fields/{{field}}/tags/{{tag}}", untag_dataset, "Take a tag off"
    ),
    Change("PUT", _ONE_JOB, put_job, "Declare a job", JOB),
    Change("DELETE", _ONE_JOB, delete_job, "Take a job off the lists"),
    Change("POST", f"{_ONE_JOB}/tags/{{tag}}", tag_job, "Tag a job"),
    Change("DELETE", f"{_ONE_JOB}/tags/{{tag}}", untag_job, "Take a tag off a job"),
]

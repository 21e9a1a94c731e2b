"""What OpenAPI says of the Marquez API: parameters of its calls, and bodies of what is put."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lodeline.limits import CATALOGUE_EVENTS_MAX, CATALOGUE_PAGE_MAX
from lodeline.server.marquez.shapes import STATES

Schema = Mapping[str, Any]

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_TAGS: Final = {"type": "array", "items": _TEXT}
_UNSIGNED: Final = {"type": "integer", "minimum": 0}
_REQUIRED: Final = frozenset({"nodeId", "runId", "q", "type", "period"})

# Names of query parameters; `events` and `day` are the same names with other bounds.
QUERY: Final[dict[str, Schema]] = {
    "limit": {**_UNSIGNED, "maximum": CATALOGUE_PAGE_MAX},
    "limit (events)": {**_UNSIGNED, "maximum": CATALOGUE_EVENTS_MAX},
    "offset": _UNSIGNED,
    "asOf": {"description": "a number of log entries, or a time", "type": "string"},
    "nodeId": _TEXT,
    "depth": _UNSIGNED,
    "direction": {"enum": ["up", "down", "both"]},
    "withDownstream": {"type": "boolean"},
    "cursor": _TEXT,
    "runId": {"type": "string", "format": "uuid"},
    "type": {"enum": ["run", "job"]},
    "lastRunStates": {"type": "array", "items": {"enum": list(STATES)}},
    "before": _TIME,
    "after": _TIME,
    "before (day)": {"type": "string", "format": "date"},
    "after (day)": {"type": "string", "format": "date"},
    "sortDirection": {"enum": ["asc", "desc"]},
    "q": {"type": "string", "minLength": 1},
    "filter": {"enum": ["DATASET", "JOB", "dataset", "job"]},
    "sort": {"enum": ["name", "updated_at", "NAME", "UPDATED_AT"]},
    "namespace": _TEXT,
    "period": {"enum": ["DAY", "WEEK"]},
    "timezone": _TEXT,
    "at": _TIME,
}

PAGE: Final = ("limit", "offset")
_DATASET_ID: Final = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {"namespace": _TEXT, "name": _TEXT},
}


def body(required: Iterable[str] = (), **members: Schema) -> Schema:
    """Give the schema of a body."""
    needed = list(required)
    found = {"type": "object", "properties": members}
    return {**found, "required": needed} if needed else found


NAMESPACE: Final = body(["ownerName"], ownerName=_TEXT, description=_TEXT)
SOURCE: Final = body(["type", "connectionUrl"], type=_TEXT, connectionUrl=_TEXT, description=_TEXT)
TAG: Final = body(description={"type": ["string", "null"]})
DATASET: Final = body(
    ["type", "physicalName", "sourceName"],
    type={"enum": ["DB_TABLE", "STREAM"]},
    physicalName=_TEXT,
    sourceName=_TEXT,
    description=_TEXT,
    schemaLocation=_TEXT,
    tags=_TAGS,
    runId={"type": "string", "format": "uuid"},
    fields={
        "type": "array",
        "items": body(["name"], name=_TEXT, type=_TEXT, description=_TEXT, tags=_TAGS),
    },
)
JOB: Final = body(
    ["type"],
    type={"enum": ["BATCH", "STREAM", "SERVICE"]},
    inputs={"type": "array", "items": _DATASET_ID},
    outputs={"type": "array", "items": _DATASET_ID},
    location=_TEXT,
    description=_TEXT,
    context={"type": "object"},
    runId={"type": "string", "format": "uuid"},
)
RUN: Final = body(
    id={"type": "string", "format": "uuid"},
    nominalStartTime=_TIME,
    nominalEndTime=_TIME,
    args={"type": "object"},
)


def describe_call(
    query: Iterable[str], *, sent: Schema | None = None, status: int = 200, summary: str
) -> dict[str, Any]:
    """Describe a call for OpenAPI.

    Args:
        query: names in `QUERY`.
        sent: schema of the body.
        status: of the answer.
        summary: of the call.
    """
    parameters = []
    for name in query:
        bare = name.partition(" ")[0]
        schema = QUERY[name]
        parameters.append(
            {"name": bare, "in": "query", "required": bare in _REQUIRED, "schema": schema}
        )
    content = {"application/json": {"schema": {"type": ["object", "array"]}}}
    found: dict[str, Any] = {
        "parameters": parameters,
        "responses": {str(status): {"description": summary, "content": content}},
    }
    if sent is not None:
        body_content = {"application/json": {"schema": sent}}
        found["requestBody"] = {"required": bool(sent.get("required")), "content": body_content}
    return found

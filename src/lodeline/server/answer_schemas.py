"""JSON Schemas of what the service answers, for OpenAPI's `components`.

The contract's keys are required and typed; further keys may be added to any object, so none is
closed. `tests/contract/test_openapi.py` holds real answers against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[Schema] = {"type": "boolean"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_ANY: Final[Schema] = {}


def reference(name: str) -> Schema:
    """Refer to a schema of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    """A list of something."""
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """Something or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def members(summary: str, required: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object with members that are always there, and some that may be."""
    return {
        "type": "object",
        "description": summary,
        "properties": {**required, **optional},
        "required": list(required),
    }


def _counts(summary: str) -> Schema:
    return {"type": "object", "description": summary, "additionalProperties": _WHOLE}


_NAMED: Final[dict[str, Schema]] = {
    "id": _TEXT,
    "kind": _TEXT,
    "namespace": maybe(_TEXT),
    "name": _TEXT,
    "version": maybe(_TEXT),
}
_MOMENT: Final[dict[str, Schema]] = {
    "as_of": reference("AsOf"),
    "trees": array(reference("Tree")),
}
_GRAPH: Final[dict[str, Schema]] = {
    "root": _TEXT,
    "direction": {"enum": ["up", "down", "both"]},
    **_MOMENT,
    "complete": _FLAG,
    "gaps": array(reference("Gap")),
    "nodes": array(reference("Node")),
    "edges": array(reference("Edge")),
    "next": maybe(_TEXT),
}
_REASONS: Final = (
    "depth",
    "size",
    "time",
    "permission",
    "retention",
    "erased",
    "capture",
    "sampled",
    "summarised",
    "unsequenced",
    "pending",
    "lost",
)
_CHANGED: Final = (
    "input",
    "output",
    "code",
    "environment",
    "parameter",
    "metric",
    "schema",
    "profile",
    "edge",
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Error": members(
        "Why there is no answer.",
        {"code": _TEXT, "message": _TEXT, "next": maybe(_TEXT)},
        path={"type": "string", "description": "JSON pointer of the fault in an event"},
        candidates=array(_TEXT),
        nearest=array(_TEXT),
    ),
    "MarquezError": members(
        "Why there is no answer, as Marquez says it: `code` is the status. What is refused before "
        "it comes so far is refused as everywhere.",
        {"code": {"type": ["integer", "string"]}, "message": _TEXT},
    ),
    "AsOf": members(
        "The state of the log that was asked.",
        {"time": maybe(_TIME), "tree_size": _WHOLE},
        valid_at=_TIME,
    ),
    "Tree": members(
        "A log that the answer rests on.",
        {"segment": _TEXT, "origin": _TEXT, "size": _WHOLE, "root_hash": _TEXT},
    ),
    "Gap": members(
        "Something that the answer does not hold.",
        {"at": _TEXT, "reason": {"enum": list(_REASONS)}, "detail": _TEXT},
    ),
    "Node": members("A node of the graph.", _NAMED, depth=_WHOLE),
    "Edge": members(
        "An edge; data flows from source to target.",
        {
            "source": _TEXT,
            "target": _TEXT,
            "kind": _TEXT,
            "job": maybe(_TEXT),
            "status": {"enum": ["current", "stale"]},
            "basis": {"enum": ["lineage", "columnLineage", "observed", "inferred", "content"]},
            "restricted": _FLAG,
            "asserted_by": array(_TEXT),
            "first_seen": maybe(_TIME),
            "last_seen": maybe(_TIME),
        },
        asserted_by_total=_WHOLE,
        entries=array(_WHOLE),
        future=_FLAG,
        transformations=array(_ANY),
    ),
    "Graph": members(
        "The answer of trace.",
        _GRAPH,
        rows=array(reference("Row")),
        steps=array(reference("RowStep")),
        row_counts=_counts("Rows by dataset."),
    ),
    "Paths": members("The answer of path.", {**_GRAPH, "paths": array(array(_TEXT))}),
    "Impact": members(
        "The answer of impact.",
        {
            **_GRAPH,
            "owners": array(
                members("An owner.", {"name": _TEXT}, type=maybe(_TEXT), nodes=array(_TEXT))
            ),
            "counts": _counts("Nodes of the closure by kind."),
        },
    ),
    "Diff": members(
        "The answer of diff.",
        {
            "a": maybe(_TEXT),
            "b": maybe(_TEXT),
            "changes": array(
                members(
                    "One difference.",
                    {
                        "what": {"enum": list(_CHANGED)},
                        "at": _TEXT,
                        "before": _ANY,
                        "after": _ANY,
                    },
                )
            ),
            "same": _FLAG,
            **_MOMENT,
        },
    ),
    "Row": members(
        "A row that was reached.",
        {"dataset": _TEXT, "version": maybe(_TEXT), "key": _ANY, "values": _ANY},
        id=_TEXT,
    ),
    "RowStep": members(
        "A step between rows.",
        {
            "run": maybe(_TEXT),
            "operator": maybe(_TEXT),
            "input": maybe(_TEXT),
            "output": maybe(_TEXT),
            "shape": _ANY,
            "count": maybe(_WHOLE),
        },
    ),
    "Rows": members(
        "The answer of rows and cohort.",
        {
            "id": _TEXT,
            "direction": {"enum": ["back", "forward"]},
            "complete": _FLAG,
            "gaps": array(reference("Gap")),
            "steps": array(reference("RowStep")),
            "rows": array(reference("Row")),
            "counts": {"type": "object"},
            "next": maybe(_TEXT),
        },
    ),
    "Shown": members(
        "The answer of show; more by kind.",
        {
            **_NAMED,
            "aliases": array(_TEXT),
            "versions": array(members("A version.", {"version": _TEXT})),
            "facets": {"type": "object"},
            "labels": array(_ANY),
            "owners": array(_ANY),
            **_MOMENT,
        },
    ),
    "Found": members(
        "The answer of search.",
        {
            "total": _WHOLE,
            "results": array(
                members(
                    "A node that matches.",
                    {**_NAMED, "matched": array(_TEXT), "updated": maybe(_TIME)},
                )
            ),
            "next": maybe(_TEXT),
        },
    ),
    "Stats": members(
        "Counts of what is recorded.",
        {
            "entries": _counts("Entries by kind."),
            "nodes": _counts("Nodes by kind."),
            "derivations": _counts("Derivations of datasets and of columns."),
            "runs": _counts("Runs by state."),
            "versions": _WHOLE,
            **_MOMENT,
        },
    ),
    "Event": {
        "type": "object",
        "description": "An OpenLineage event (RunEvent, JobEvent or DatasetEvent); its own "
        "schema is OpenLineage's.",
        "required": ["eventTime", "producer", "schemaURL"],
        "properties": {
            "eventTime": _TIME,
            "producer": {"type": "string", "format": "uri"},
            "schemaURL": {"type": "string", "format": "uri"},
        },
    },
    "BatchAnswer": members(
        "How the events of a batch fared, when some were refused.",
        {
            "status": {"enum": ["success", "partial_success", "failure"]},
            "summary": members(
                "Counts of events.",
                dict.fromkeys(
                    ("received", "successful", "failed", "retriable", "non_retriable"), _WHOLE
                ),
            ),
            "failed_events": array(
                members(
                    "An event that was refused.",
                    {"index": _WHOLE, "reason": _TEXT, "retriable": _FLAG},
                    code=_TEXT,
                    path=maybe(_TEXT),
                )
            ),
        },
    ),
    "Readiness": members(
        "Whether the service is ready, and why not.", {"ready": _FLAG, "problems": array(_TEXT)}
    ),
}

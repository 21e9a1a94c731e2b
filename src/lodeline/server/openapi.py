"""GET /api/openapi.json: the service described in OpenAPI 3.1, made from its endpoints.

What an endpoint says of itself (`Endpoint.operation`) stands; what it leaves out is filled in here,
so that no route can be missing. The description is checked in as `schema/openapi.json`; pages for
people are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline import __version__
from lodeline.query.door import VERBS
from lodeline.query.parameters import Question
from lodeline.rows.cohorts import CohortQuestion
from lodeline.rows.questions import RowsQuestion
from lodeline.server.answer_schemas import SCHEMAS, array, reference
from lodeline.server.endpoints import Caller, Endpoint, Permission

_DOCUMENT: Final = "/api/openapi.json"

# Verb -> (shape of its question, schema of its answer).
_ANSWERS: Final[dict[str, tuple[type[Question], str]]] = {
    "trace": (VERBS["trace"][0], "Graph"),
    "path": (VERBS["path"][0], "Paths"),
    "impact": (VERBS["impact"][0], "Impact"),
    "diff": (VERBS["diff"][0], "Diff"),
    "rows": (RowsQuestion, "Rows"),
    "cohort": (CohortQuestion, "Rows"),
    "show": (VERBS["show"][0], "Shown"),
    "search": (VERBS["search"][0], "Found"),
    "stats": (VERBS["stats"][0], "Stats"),
}
_REFUSALS: Final = {
    "400": ("Malformed", "Malformed; unchanged it will be refused again"),
    "401": ("Unknown", "It is not known who asks"),
    "403": ("Forbidden", "This caller may not"),
    "404": ("No", "No: not in the record, or no such route"),
    "413": ("TooLarge", "Too large"),
    "503": ("CouldNotTell", "Could not tell, or not now; `Retry-After` says when to ask again"),
}
_PUBLIC: Final = frozenset({"401", "403"})
_UNIMPORTANT: Final = ("title", "default")


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Describe endpoints as an OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if not endpoint.described:
            continue
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lodeline",
            "version": __version__,
            "summary": "Lineage of AI pipelines: OpenLineage in, answers out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": SCHEMAS,
            "responses": {
                place + name: _json(text, f"{place}Error")
                for place in ("", "Marquez")
                for name, text in _REFUSALS.values()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key; asked for only where authentication is configured.",
                }
            },
        },
    }


def _operation(endpoint: Endpoint, path: str) -> dict[str, Any]:
    stated = _KNOWN.get((endpoint.method, path), {}) | dict(endpoint.operation)
    names = re.findall(r"\{(\w+)\}", path)
    given = list(stated.get("parameters", ()))
    told = {one["name"] for one in given if one.get("in") == "path"}
    given = [_in_path(name) for name in names if name not in told] + given
    operation: dict[str, Any] = {
        "operationId": _identifier(endpoint.method, path),
        "summary": endpoint.summary,
        "tags": [_tag(endpoint.method, path)],
        **({"parameters": given} if given else {}),
        **{name: value for name, value in stated.items() if name != "parameters"},
    }
    answers = stated.get("responses") or {"200": {"description": endpoint.summary}}
    public = endpoint.permission is Permission.PUBLIC
    place = "Marquez" if operation["tags"] == ["marquez"] else ""
    refusals = {
        status: {"$ref": f"#/components/responses/{place}{name}"}
        for status, (name, _) in _REFUSALS.items()
        if not (public and status in _PUBLIC)
    }
    operation["responses"] = dict(sorted({**refusals, **answers}.items()))
    # An empty alternative: without configured authentication nobody has to say who they are.
    operation["security"] = [] if public else [{}, {"bearer": []}]
    operation["x-permission"] = endpoint.permission.value
    return operation


def _identifier(method: str, path: str) -> str:
    words = re.findall(r"\w+", path)
    return "_".join([method.lower(), *words])


def _tag(method: str, path: str) -> str:
    if method == "POST" and path in {"/api/v1/lineage", "/api/v1/lineage/batch"}:
        return "ingestion"
    marquez = [("/api/v1/", "marquez"), ("/api/v2beta/", "marquez")]
    for start, tag in (*marquez, ("/api/v2/", "native"), ("/log/", "log")):
        if path.startswith(start):
            return tag
    return "service"


def _in_path(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _json(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": reference(schema)}}
    return {"description": description, "content": content}


def _media(description: str, kind: str) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": {"type": "string"}}}}


def query_parameters(shape: type[Question], without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Describe the parameters of a question, as its shape has them."""
    (_, components) = msgspec.json.schema_components([shape])
    described = components[shape.__name__]
    required = set(described.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": _plain(schema),
        }
        for name, schema in described["properties"].items()
        if name not in without
    ]


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out null: a query string has absence instead."""
    kept = {name: value for name, value in schema.items() if name not in _UNIMPORTANT}
    if "anyOf" in kept:
        some = [dict(one) for one in kept["anyOf"] if one.get("type") != "null"]
        kept = {**kept, "anyOf": some} if len(some) > 1 else some[0]
    if "enum" in kept:
        kept["enum"] = [one for one in kept["enum"] if one is not None]
    return kept


_SEGMENT: Final = {
    "name": "segment",
    "in": "query",
    "required": False,
    "description": "Ask this segment of the service alone.",
    "schema": {"type": "string"},
}


def _questions() -> dict[tuple[str, str], dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {
        ("GET", f"/api/v2/{verb}"): {
            "parameters": [*query_parameters(shape), _SEGMENT],
            "responses": {"200": _json("The answer", answer)},
        }
        for verb, (shape, answer) in _ANSWERS.items()
    }
    trace = VERBS["trace"][0]
    found["GET", "/api/v2/evidence"] = {
        "parameters": [
            *query_parameters(trace, without=("rows", "where", "limit", "cursor")),
            _SEGMENT,
        ],
        "responses": {"200": _media("The pack", "application/zip")},
    }
    return found


_WAIT: Final = {
    "name": "wait",
    "in": "query",
    "required": False,
    "description": "Answer only when the event is in the graph, or is proven to be in the log.",
    "schema": {"enum": ["folded", "sequenced"]},
}
_BLOB_NAMESPACE: Final = {
    "name": "namespace",
    "in": "query",
    "required": False,
    "description": "Of the job whose event refers to the blob: it is kept in that segment. "
    "Where there are several, it must be named.",
    "schema": {"type": "string"},
}
_RECEIPT: Final = {
    "Lodeline-Receipt": {
        "description": "The signed receipt of the event.",
        "schema": {"type": "string"},
    }
}


def _body(schema: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}, **others}
    return {"required": True, "content": content}


_KNOWN: Final[dict[tuple[str, str], dict[str, Any]]] = {
    **_questions(),
    ("POST", "/api/v1/lineage"): {
        "description": "Gzip is accepted. The event is durable when it is answered; sending it "
        "again is safe.",
        "parameters": [_WAIT],
        "requestBody": _body(reference("Event")),
        "responses": {
            "201": {
                "description": "Durable; with `wait=sequenced` the body is a tlog-proof",
                "headers": _RECEIPT,
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    },
    ("POST", "/api/v1/lineage/batch"): {
        "description": "A JSON array, or an event a line. Gzip is accepted.",
        "parameters": [_WAIT],
        "requestBody": _body(array(reference("Event"))),
        "responses": {
            "200": _json("Some were refused", "BatchAnswer"),
            "204": {"description": "All are durable"},
        },
    },
    ("POST", "/api/v2/predictions"): {
        "requestBody": _body(array({"type": "object"})),
        "responses": {
            "200": _json("Some were refused", "BatchAnswer"),
            "204": {"description": "All are durable"},
        },
    },
    ("PUT", "/api/v2/blobs/{digest}"): {
        "parameters": [_BLOB_NAMESPACE],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        },
        "responses": {"204": {"description": "Durable"}},
    },
    ("GET", "/log/{segment}/{path}"): {
        "responses": {
            "200": {
                "description": "The file",
                "content": {
                    "application/octet-stream": {"schema": {"type": "string"}},
                    "text/plain": {"schema": {"type": "string"}},
                },
            }
        }
    },
    ("GET", "/healthz"): {"responses": {"200": _media("It answers", "text/plain")}},
    ("GET", "/readyz"): {
        "responses": {
            "200": _json("Ready", "Readiness"),
            "503": _json("Not ready", "Readiness"),
        }
    },
    ("GET", _DOCUMENT): {
        "responses": {
            "200": {
                "description": "This document",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        }
    },
}


class Description:
    """The endpoint of the description.

    Args:
        endpoints: all the service has; this one is added.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._own = Endpoint(
            "GET", _DOCUMENT, Permission.PUBLIC, self.page, "This API in OpenAPI 3.1"
        )
        self._document = describe([*endpoints, self._own])

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the one endpoint."""
        return [self._own]

    async def page(self, _: Request, __: Caller) -> Response:
        """Answer with the description."""
        return JSONResponse(self._document)

"""The description of the HTTP interface: valid, current, complete, and true of real answers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from lodeline.server.asking import VERBS
from services import ROOT, Service, event, serving

WRITTEN = ROOT / "schema" / "openapi.json"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("openapi") / "s.db") as one:
        for inputs, outputs in (("a", "b"), ("b", "c")):
            one.post(event(inputs=inputs, outputs=outputs), "/api/v1/lineage?wait=folded")
        yield one
        assert one.stop() == 0


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.send("GET", "/api/openapi.json").json
    return found


def test_the_description_is_valid_openapi_31(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_the_description_that_is_checked_in_is_current(document: dict[str, Any]) -> None:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert specification is not None
    assert specification.loader is not None
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    written = WRITTEN.read_text(encoding="utf-8")
    assert written == generate.openapi(), "schema/openapi.json is out of date: run `make docs`"
    assert json.loads(written) == document


def test_every_question_is_described_with_its_parameters_and_its_answer(
    document: dict[str, Any],
) -> None:
    for verb in VERBS:
        operation = document["paths"][f"/api/v2/{verb}"]["get"]
        names = {one["name"] for one in operation["parameters"]}
        assert {"as_of", "valid_at"} <= names
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["$ref"].startswith("#/components/schemas/")
    trace = document["paths"]["/api/v2/trace"]["get"]["parameters"]
    assert next(one for one in trace if one["name"] == "id")["required"] is True
    limit = next(one for one in trace if one["name"] == "limit")["schema"]
    assert (limit["minimum"], limit["maximum"]) == (1, 10_000)


def test_only_public_routes_need_no_key(document: dict[str, Any]) -> None:
    open_paths = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if operation["security"] == []
    }
    assert open_paths == {"/healthz", "/readyz", "/api/openapi.json"}


QUESTIONS = [
    "trace?id=dataset:n:c&up",
    "trace?id=dataset:n:c&columns&depth=0",
    "path?a=dataset:n:a&b=dataset:n:c",
    "impact?id=dataset:n:a",
    "show?id=dataset:n:b",
    "show?id=job:n:j",
    "search?q=a",
    "stats",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_as_described(
    service: Service, document: dict[str, Any], question: str
) -> None:
    reply = service.send("GET", f"/api/v2/{question}")
    assert reply.status == 200, reply.body
    path = f"/api/v2/{question.partition('?')[0]}"
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    check(reply.json, content["application/json"]["schema"], document)


@pytest.mark.parametrize("path", ["/api/v2/show?id=dataset:n:no", "/api/v2/trace", "/nowhere"])
def test_refusals_are_as_described(service: Service, document: dict[str, Any], path: str) -> None:
    check(service.send("GET", path).json, {"$ref": "#/components/schemas/Error"}, document)


def test_a_batch_with_refusals_is_answered_as_described(
    service: Service, document: dict[str, Any]
) -> None:
    reply = service.post([{}, event(outputs="d")], "/api/v1/lineage/batch")
    check(reply.json, {"$ref": "#/components/schemas/BatchAnswer"}, document)
    with pytest.raises(jsonschema.ValidationError):
        check(reply.json, {"$ref": "#/components/schemas/Graph"}, document)


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    whole = {"components": document["components"], **schema}
    jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize("path", ["/api/v1/lineage", "/api/v1/lineage/batch", "/healthz"])
def test_a_method_that_a_path_does_not_take_is_405_and_those_it_takes_are_named(
    service: Service, document: dict[str, Any], path: str
) -> None:
    reply = service.send("DELETE", path)
    assert (reply.status, reply.json["code"]) == (405, "usage.method")
    allowed = {method.strip().lower() for method in reply.headers["allow"].split(",")}
    assert allowed - {"head"} == set(document["paths"][path])

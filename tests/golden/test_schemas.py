"""The published JSON Schemas and the types say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from lodeline.wire import facets
from lodeline.wire.facets import LODELINE_FACETS, SCHEMA_VERSION, Facet
from lodeline.wire.facets.schemas import schema_of

FOLDER = Path(__file__).parents[2] / "schema" / SCHEMA_VERSION
CORE = "https://openlineage.io/spec/2-0-2/OpenLineage.json"

# The base facets of OpenLineage's core schema; a test holds them against the specification.
BASE_FACETS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": CORE,
    "$defs": {
        "BaseFacet": {
            "type": "object",
            "properties": {"_producer": {"type": "string"}, "_schemaURL": {"type": "string"}},
            "additionalProperties": True,
            "required": ["_producer", "_schemaURL"],
        },
        **{
            name: {
                "type": "object",
                "allOf": [
                    {"$ref": "#/$defs/BaseFacet"},
                    {"type": "object", "properties": {"_deleted": {"type": "boolean"}}},
                ],
            }
            for name in ("JobFacet", "DatasetFacet")
        },
        **{
            name: {"type": "object", "allOf": [{"$ref": "#/$defs/BaseFacet"}]}
            for name in ("RunFacet", "InputDatasetFacet", "OutputDatasetFacet")
        },
    },
}

BY_NAME = pytest.mark.parametrize("facet", LODELINE_FACETS, ids=lambda facet: facet.__name__)


@cache
def validator(facet: type[Facet]) -> Draft202012Validator:
    document = json.loads((FOLDER / f"{facet.__name__}.json").read_text())
    registry: Registry[Any] = Registry().with_resource(CORE, Resource.from_contents(BASE_FACETS))
    return Draft202012Validator(document, registry=registry)


def is_valid(facet: type[Facet], body: Any) -> bool:
    return bool(validator(facet).is_valid({facet.facet_name: body}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=5,
)


def bodies(info: Any) -> st.SearchStrategy[Any]:
    """Wire forms of a type, as msgspec tells it."""
    kind = type(info).__name__
    if isinstance(info, msgspec.inspect.StructType):
        required = {f.encode_name: bodies(f.type) for f in info.fields if f.required}
        optional = {f.encode_name: bodies(f.type) for f in info.fields if not f.required}
        return st.fixed_dictionaries(required, optional=optional)
    if isinstance(info, msgspec.inspect.UnionType):
        return st.one_of([bodies(choice) for choice in info.types])
    if isinstance(info, msgspec.inspect.ListType):
        return st.lists(bodies(info.item_type), max_size=3)
    if isinstance(info, msgspec.inspect.DictType):
        return st.dictionaries(st.text(), bodies(info.value_type), max_size=3)
    if isinstance(info, msgspec.inspect.LiteralType):
        return st.sampled_from(info.values)
    return {
        "StrType": st.text(),
        "IntType": st.integers(-(2**53), 2**53),
        "FloatType": st.floats(-1e9, 1e9),
        "BoolType": st.booleans(),
        "NoneType": st.none(),
        "AnyType": JSON,
    }[kind]


def wire_forms(facet: type[Facet]) -> st.SearchStrategy[dict[str, Any]]:
    stamps = {"_producer": "https://example.org", "_schemaURL": "https://example.org/s"}
    return bodies(msgspec.inspect.type_info(facet)).map(
        lambda body: {k: v for k, v in body.items() if k != "_deleted"} | stamps
    )


@BY_NAME
def test_the_published_schema_is_what_the_type_says(facet: type[Facet]) -> None:
    published = json.loads((FOLDER / f"{facet.__name__}.json").read_text())
    assert published == schema_of(facet)
    Draft202012Validator.check_schema(published)


def test_every_schema_belongs_to_a_facet() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {
        facet.__name__ for facet in LODELINE_FACETS
    }


@BY_NAME
def test_every_member_is_described(facet: type[Facet]) -> None:
    for definition in schema_of(facet)["$defs"].values():
        for part in (definition, *definition.get("allOf", [])):
            for name, member in part.get("properties", {}).items():
                assert member.get("description"), f"{facet.__name__}: {name}"


@BY_NAME
@settings(max_examples=40)
@given(data=st.data())
def test_what_the_type_reads_the_schema_accepts(facet: type[Facet], data: st.DataObject) -> None:
    body = data.draw(wire_forms(facet))
    validator(facet).validate({facet.facet_name: body})
    typed = facets.decode(facet.facet_scopes[0], facet.facet_name, json.dumps(body))
    assert isinstance(typed, facet)
    built = facets.build(typed)
    validator(facet).validate({facet.facet_name: built})
    again = facets.decode(facet.facet_scopes[0], facet.facet_name, json.dumps(built))
    assert facets.build(again) == built


@BY_NAME
@settings(max_examples=40)
@given(data=st.data())
def test_what_the_schema_refuses_the_type_refuses(facet: type[Facet], data: st.DataObject) -> None:
    body = data.draw(wire_forms(facet))
    holder, key = data.draw(st.sampled_from(list(places(body))))
    if data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(JSON)
    stamped = isinstance(body.get("_producer"), str) and isinstance(body.get("_schemaURL"), str)
    readable = facets.decode(facet.facet_scopes[0], facet.facet_name, json.dumps(body)) is not None
    if stamped and "_deleted" not in body:
        assert readable == is_valid(facet, body)


def places(value: Any) -> Any:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield value, key
        yield from places(inner)


def test_the_base_facets_are_those_of_the_specification(vectors: Callable[[str], Path]) -> None:
    spec = json.loads((vectors("openlineage-spec") / "OpenLineage.json").read_text())

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = {"description", "format", "example"}
            return {k: bare(v) for k, v in value.items() if k not in dropped}
        return [bare(item) for item in value] if isinstance(value, list) else value

    for name, definition in BASE_FACETS["$defs"].items():
        assert bare(spec["$defs"][name]) == definition

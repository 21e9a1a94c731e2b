"""JSON Schemas (draft 2020-12) of Lodeline's facets, out of their types and docstrings.

The files under `schema/` are what other programs read; a test holds them against this, so that
types, documentation and schemas cannot part. They have the shape of OpenLineage's own: a facet
extends the base facet of its scope, and the document maps the facet's name to it.
"""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import Any, Final

import msgspec

from lodeline.wire.facets.base import Facet

_CORE: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_BASES: Final = {
    "run": "RunFacet",
    "job": "JobFacet",
    "dataset": "DatasetFacet",
    "input": "InputDatasetFacet",
    "output": "OutputDatasetFacet",
}
# Members of every facet: the base facet's schema has them.
_BASE_MEMBERS: Final = ("_producer", "_schemaURL", "_deleted")
_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)


def schema_of(facet: type[Facet]) -> dict[str, Any]:
    """Give the JSON Schema of one of Lodeline's facets.

    Args:
        facet: a type with one scope.
    """
    (_, components) = msgspec.json.schema_components([facet])
    types = {
        kind.__name__: kind for kind in (facet, *_parts_of(facet)) if kind.__name__ in components
    }
    definitions = {name: _definition(components[name], kind) for name, kind in types.items()}
    name = facet.__name__
    own = definitions.pop(name)
    description = own.pop("description")
    for member in _BASE_MEMBERS:
        own["properties"].pop(member)
    definitions[name] = {
        "description": description,
        "type": "object",
        "allOf": [{"$ref": _CORE + _BASES[facet.facet_scopes[0]]}, own],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": facet.facet_schema_url.partition("#")[0],
        "$defs": dict(sorted(definitions.items())),
        "type": "object",
        "properties": {facet.facet_name: {"$ref": f"#/$defs/{name}"}},
    }


def _parts_of(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """List the structs inside a struct, each once."""
    found: dict[type[msgspec.Struct], None] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(kind)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in found:
                continue
            found[info.cls] = None
            waiting += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.ListType):
            waiting.append(info.item_type)
        elif isinstance(info, msgspec.inspect.DictType):
            waiting.append(info.value_type)
    found.pop(kind)
    return list(found)


def _definition(component: dict[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Tidy what msgspec generates, and take descriptions from the docstring."""
    text = cleandoc(kind.__doc__ or "")
    summary = text.partition("\n\nAttributes:")[0].replace("\n", " ")
    described = {
        match[1]: re.sub(r"\s+", " ", match[2]).strip() for match in _ATTRIBUTE.finditer(text)
    }
    names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    properties = {}
    for wire_name, schema in component["properties"].items():
        note = described.get(names[wire_name])
        properties[wire_name] = ({"description": note} if note else {}) | _plain(schema)
    definition = {"description": summary, "type": "object", "properties": properties}
    if component["required"]:
        definition["required"] = component["required"]
    return definition


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Write `X or null` as a list of types where the schema language can."""
    schema = {key: value for key, value in schema.items() if key != "default"}
    choices = schema.get("anyOf")
    if choices is None or {"type": "null"} not in choices or len(choices) != 2:
        return schema
    (other,) = (choice for choice in choices if choice != {"type": "null"})
    if isinstance(other.get("type"), str):
        return {**other, "type": [other["type"], "null"]}
    if "enum" in other:
        return {"enum": [*other["enum"], None]}
    return schema

"""The core facets against the specification's schemas and instances; the tolerances of reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from referencing import Registry, Resource

from lodeline import wire
from lodeline.errors import InvalidEventError
from lodeline.wire import facets
from lodeline.wire.facets import CORE_FACETS, LODELINE_FACETS, SCOPES, Facet, Part

Vectors = Callable[[str], Path]


def spec_documents(vectors: Vectors) -> dict[str, dict[str, Any]]:
    folder = vectors("openlineage-spec") / "facets"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def merged(schema: dict[str, Any], resolver: Any) -> dict[str, Any]:
    """Properties and required members of a schema, with what it extends."""
    found: dict[str, Any] = {
        "properties": dict(schema.get("properties", {})),
        "required": set(schema.get("required", ())),
    }
    for part in schema.get("allOf", ()):
        resolved = resolver.lookup(part["$ref"]) if "$ref" in part else None
        inner = (
            merged(part, resolver)
            if resolved is None
            else merged(resolved.contents, resolved.resolver)
        )
        found["properties"] |= inner["properties"]
        found["required"] |= inner["required"]
    return found


def names_of(facet: type[Facet]) -> tuple[str, str, str]:
    """Version, document and definition that a facet's schema address names."""
    address, _, pointer = facet.facet_schema_url.partition("#/$defs/")
    version, document = address.removesuffix(".json").split("/")[-2:]
    return version, document, pointer


def test_all_38_core_facets_are_typed(vectors: Vectors) -> None:
    documents = spec_documents(vectors)
    assert len(documents) == 38
    typed = {names_of(facet)[1] for facet in CORE_FACETS}
    assert typed == documents.keys()
    for facet in CORE_FACETS:
        version, document, definition = names_of(facet)
        assert f"/{version}/" in documents[document]["$id"]
        assert definition in documents[document]["$defs"]


@pytest.mark.parametrize("facet", CORE_FACETS, ids=lambda facet: facet.__name__)
def test_a_core_facet_has_the_members_that_its_schema_names(
    facet: type[Facet], vectors: Vectors
) -> None:
    _, document, definition = names_of(facet)
    documents = spec_documents(vectors)
    core = json.loads((vectors("openlineage-spec") / "OpenLineage.json").read_text())
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in [core, *documents.values()]
    )
    assert documents[document]["properties"].get(facet.facet_name) is not None
    resolver = registry.resolver(documents[document]["$id"])
    schema = merged(documents[document]["$defs"][definition], resolver)
    fields = {field.encode_name: field for field in msgspec.structs.fields(facet)}
    allowed_beyond = {"_deleted"}
    assert fields.keys() - allowed_beyond == schema["properties"].keys() - allowed_beyond
    required = {name for name, field in fields.items() if field.required}
    # Producers leave the stamps out; that is tolerated.
    assert required == schema["required"] - {"_producer", "_schemaURL"}


def spec_instances(vectors: Vectors) -> Iterator[tuple[str, str, Any]]:
    for path in sorted((vectors("openlineage-spec") / "tests").glob("*/*.json")):
        for name, body in json.loads(path.read_text()).items():
            yield f"{path.parent.name}/{path.name}", name, body


def test_every_instance_of_the_specification_is_read_and_kept(vectors: Vectors) -> None:
    read = 0
    for source, name, body in spec_instances(vectors):
        scopes = [scope for scope in SCOPES if facets.type_of(scope, name) is not None]
        raw = json.dumps(body)
        typed = [facets.decode(scope, name, raw) for scope in scopes]
        found = [facet for facet in typed if facet is not None]
        assert found, source
        event = {
            "eventTime": "2026-11-22T10:00:00Z",
            "dataset": {"namespace": "n", "name": "d", "facets": {name: body}},
        }
        kept = wire.decode_event(json.dumps(event))
        assert isinstance(kept, wire.DatasetEvent)
        assert json.loads(bytes(kept.dataset.facets[name])) == body
        read += 1
    assert read == 46


def losses(sent: Any, read: Any) -> Iterator[str]:
    """Members that are in what was sent but not in what was read."""
    if isinstance(sent, dict) and isinstance(read, dict):
        for name in sent:
            if name not in read:
                yield name
            else:
                yield from losses(sent[name], read[name])
    elif isinstance(sent, list) and isinstance(read, list):
        for one, other in zip(sent, read, strict=True):
            yield from losses(one, other)
    elif sent != read:
        yield f"{sent!r} became {read!r}"


def test_typed_reading_loses_no_member_of_an_instance(vectors: Vectors) -> None:
    for source, name, body in spec_instances(vectors):
        typed = [facets.decode(scope, name, json.dumps(body)) for scope in SCOPES]
        # The lineage facet of a job can be read as a dataset's, in which nothing is required.
        lost = [
            list(losses(body, msgspec.to_builtins(facet))) for facet in typed if facet is not None
        ]
        assert [] in lost, (source, lost)


def test_the_full_example_is_typed_throughout(vectors: Vectors) -> None:
    raw = (vectors("openlineage-spec") / "tests" / "example_full_event.json").read_bytes()
    event = wire.decode_event(raw)
    assert isinstance(event, wire.RunEvent)
    for name, body in event.run.facets.items():
        assert facets.decode("run", name, body) is not None, name
    for name, body in event.job.facets.items():
        assert facets.decode("job", name, body) is not None, name


def test_every_event_of_the_compatibility_suite_is_read(vectors: Vectors) -> None:
    read = refused = 0
    for path in sorted(vectors("openlineage-compat").glob("*/events/*.json")):
        try:
            wire.decode_event(path.read_bytes())
        except InvalidEventError as error:
            # The suite's one invalid event, invalid on purpose.
            assert path.parent.parent.name == "simple_run_event"
            assert (error.code, error.path) == ("event.run_id", "/run/runId")
            refused += 1
        else:
            read += 1
    assert (read, refused) == (73, 1)


def test_an_unknown_facet_is_none_and_no_fault() -> None:
    assert facets.decode("run", "custom", b'{"a":1}') is None
    assert facets.fault("run", "custom", b'{"a":1}') is None


def test_a_known_facet_in_another_scope_is_unknown() -> None:
    assert facets.decode("run", "schema", b'{"fields":[]}') is None


def test_a_facet_that_does_not_match_is_none_and_a_fault() -> None:
    raw = b'{"fields":[{"type":"x"}]}'
    assert facets.decode("dataset", "schema", raw) is None
    fault = facets.fault("dataset", "schema", raw)
    assert fault is not None
    assert "name" in fault


def test_a_withdrawn_facet_says_only_that() -> None:
    for name in ("schema", "unheard of"):
        facet = facets.decode("dataset", name, b'{"_deleted": true, "_producer": "p"}')
        assert isinstance(facet, facets.DeletedFacet)
        assert facets.fault("dataset", name, b'{"_deleted": true}') is None


def test_optional_members_may_be_null() -> None:
    facet = facets.decode("dataset", "schema", b'{"fields":[{"name":"a","type":null}]}')
    assert isinstance(facet, facets.SchemaDatasetFacet)
    assert facet.fields is not None
    assert facet.fields[0].type is None


def test_whole_numbers_may_be_written_with_a_fraction() -> None:
    facet = facets.decode("output", "outputStatistics", b'{"rowCount": 3.0, "size": 1e3}')
    assert isinstance(facet, facets.OutputStatisticsOutputDatasetFacet)
    assert (facet.row_count, facet.size) == (3, 1000)


def test_the_bytes_of_facets_are_the_senders() -> None:
    body = '{"_producer" : "p", "x":[1.0, 1e2,  "\\u00e9\\/"] }'
    raw = (
        '{"eventTime":"2026-11-22T10:00:00Z","dataset":{"namespace":"n","name":"d",'
        f'"facets":{{"own": {body} }}}}}}'
    )
    event = wire.decode_event(raw)
    assert isinstance(event, wire.DatasetEvent)
    assert bytes(event.dataset.facets["own"]).decode() == body


def test_building_stamps_a_facet() -> None:
    built = facets.build(facets.LodelineReplayRunFacet(of="r"))
    assert built == {
        "_producer": facets.PRODUCER,
        "_schemaURL": facets.LodelineReplayRunFacet.facet_schema_url,
        "of": "r",
    }
    stamped = facets.LodelineReplayRunFacet(of="r", producer="p", schema_url="s")
    assert facets.build(stamped) == {"_producer": "p", "_schemaURL": "s", "of": "r"}


def test_names_and_scopes_of_facets_are_distinct() -> None:
    claimed = [
        (scope, facet.facet_name)
        for facet in (*CORE_FACETS, *LODELINE_FACETS)
        for scope in facet.facet_scopes
    ]
    assert len(claimed) == len(set(claimed))
    assert all(facet.facet_name.startswith("lodeline_") for facet in LODELINE_FACETS)


def test_everything_typed_is_exported() -> None:
    from lodeline.wire.facets import core, lodeline

    for module in (core, lodeline):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Facet | Part):
                assert name in facets.__all__, name

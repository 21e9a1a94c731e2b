"""What every facet has: a name, the scopes it may stand in, and its schema's address."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import msgspec

Scope: TypeAlias = Literal["run", "job", "dataset", "input", "output"]
SCOPES: tuple[Scope, ...] = ("run", "job", "dataset", "input", "output")


class Facet(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False
):
    """The base of all typed facets.

    Attributes:
        facet_name: the key under which the facet stands.
        facet_scopes: where it may stand. Wider than the specification where real producers
            place it elsewhere.
        facet_schema_url: what `build` writes into `_schemaURL`.
        producer: None where the producer stated none.
        schema_url: None where the producer stated none.
        deleted: the facet was withdrawn; its other members say nothing.
    """

    facet_name: ClassVar[str]
    facet_scopes: ClassVar[tuple[Scope, ...]]
    facet_schema_url: ClassVar[str]

    producer: str | None = msgspec.field(name="_producer", default=None)
    schema_url: str | None = msgspec.field(name="_schemaURL", default=None)
    deleted: bool | None = msgspec.field(name="_deleted", default=None)


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False):
    """The base of the objects inside facets."""


def openlineage_url(version: str, name: str, *, file: str | None = None) -> str:
    """Give the address of an OpenLineage facet's definition."""
    return f"https://openlineage.io/spec/facets/{version}/{file or name}.json#/$defs/{name}"

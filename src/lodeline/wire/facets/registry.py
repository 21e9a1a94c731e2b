"""Facets by scope and name: reading what producers sent, writing what Lodeline sends."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from lodeline.wire.canonical import canonical_bytes
from lodeline.wire.facets.addresses import PRODUCER
from lodeline.wire.facets.base import Facet, Scope
from lodeline.wire.facets.core import CORE_FACETS
from lodeline.wire.facets.lodeline import LODELINE_FACETS


class DeletedFacet(Facet, frozen=True):
    """A facet that its producer withdrew (`_deleted: true`), whatever its name."""


_TYPES: Final[dict[tuple[str, str], type[Facet]]] = {
    (scope, facet.facet_name): facet
    for facet in (*CORE_FACETS, *LODELINE_FACETS)
    for scope in facet.facet_scopes
}
_DECODERS: Final[dict[tuple[str, str], msgspec.json.Decoder[Facet]]] = {}


def type_of(scope: Scope, name: str) -> type[Facet] | None:
    """Find the type of a facet, None for one that Lodeline does not know."""
    return _TYPES.get((scope, name))


def decode(scope: Scope, name: str, raw: msgspec.Raw | bytes | str) -> Facet | None:
    """Read a facet.

    Returns:
        The typed facet; `DeletedFacet` when it was withdrawn; None when it is unknown or does
        not match its schema (`fault` tells which). The event keeps the bytes either way.
    """
    decoder = _decoder(scope, name)
    if decoder is not None:
        try:
            facet = _read(decoder, raw)
        except (ValueError, RecursionError):
            return _deleted(raw)
        return facet if not facet.deleted else _deleted(raw)
    return _deleted(raw)


def fault(scope: Scope, name: str, raw: msgspec.Raw | bytes | str) -> str | None:
    """Say why a known facet does not match its schema; None when it does or is unknown."""
    decoder = _decoder(scope, name)
    if decoder is None or _deleted(raw) is not None:
        return None
    try:
        _read(decoder, raw)
    except (ValueError, RecursionError) as mismatch:
        return str(mismatch)
    return None


def build(facet: Facet) -> dict[str, Any]:
    """Give a facet as it goes on the wire, with `_producer` and `_schemaURL` filled in."""
    members: dict[str, Any] = msgspec.to_builtins(facet)
    return {
        "_producer": facet.producer or PRODUCER,
        "_schemaURL": facet.schema_url or facet.facet_schema_url,
        **members,
    }


def _read(decoder: msgspec.json.Decoder[Facet], raw: msgspec.Raw | bytes | str) -> Facet:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        # 3.0 is an integer in JSON Schema, and 3 in the canonical form that the log keeps: a facet
        # must read the same before and after.
        data = raw.encode() if isinstance(raw, str) else raw
        return decoder.decode(canonical_bytes(data))


def _decoder(scope: str, name: str) -> msgspec.json.Decoder[Facet] | None:
    key = (scope, name)
    decoder = _DECODERS.get(key)
    if decoder is None:
        facet = _TYPES.get(key)
        if facet is None:
            return None
        # Made on first use: 60 decoders at import would cost every observed program.
        decoder = _DECODERS[key] = msgspec.json.Decoder(facet)
    return decoder


_decode_base: Final = msgspec.json.Decoder(DeletedFacet).decode


def _deleted(raw: msgspec.Raw | bytes | str) -> DeletedFacet | None:
    if b"_deleted" not in (raw.encode() if isinstance(raw, str) else bytes(raw)):
        return None
    try:
        facet = _decode_base(raw)
    except (ValueError, RecursionError):
        return None
    return facet if facet.deleted else None

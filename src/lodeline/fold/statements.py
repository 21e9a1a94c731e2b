"""What the facets that the fold understands state, read from their verbatim bytes.

Facets are foreign: a facet that does not match its schema is never an error here. It states
nothing, the group's contribution carries a gap that names it, and its bytes stay in the log.
Other facets pass through registers unread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from lodeline.errors import MalformedFacetError
from lodeline.limits import STATEMENTS_CACHED_MAX
from lodeline.wire import canonical_bytes, content_digest

# Facets of a dataset that decide derivations or versions, in either of its two facet maps.
DATASET_FACETS: Final = frozenset(
    {
        "lineage",
        "columnLineage",
        "lodeline_observed",
        "lodeline_model",
        "lodeline_deployment",
        "lodeline_deploymentState",
        "lodeline_digest",
        "lodeline_features",
        "lodeline_prediction_batch",
        "version",
        "lifecycleStateChange",
        "schema",
        "symlinks",
    }
)
RUN_FACETS: Final = frozenset({"parent", "lodeline_code", "lodeline_capture"})
RUN_LINEAGE: Final = frozenset({"lineage"})
JOB_FACETS: Final = frozenset({"lineage", "sourceCodeLocation"})


@dataclass(frozen=True, slots=True)
class Source:
    """One source named by a lineage statement; `field` is empty for the whole dataset."""

    type: str
    namespace: str
    name: str
    field: str
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What flows into one target: whole-target sources, and sources per target field.

    Compared by identity: parsing is cached, and hashing thousands of columns for each event is
    not.
    """

    inputs: tuple[Source, ...]
    fields: tuple[tuple[str, tuple[Source, ...]], ...]
    # Capture saw what may have flowed, not what did.
    bound: bool = False
    # Nobody saw it: the bytes are equal.
    content: bool = False

    @property
    def sources(self) -> list[Source]:
        """Every source, whole-target ones first."""
        return [*self.inputs, *(source for _, sources in self.fields for source in sources)]


@dataclass(frozen=True, slots=True, eq=False)
class FlowEntry:
    """An entry of a job's or a run's lineage facet; empty names mean the event's own job."""

    type: str
    namespace: str
    name: str
    flow: Flow


def body_of(raw: bytes) -> dict[str, Any]:
    """Decode a facet's body.

    Raises:
        MalformedFacetError: not a JSON object.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedFacetError from error
    if not isinstance(body, dict):
        raise MalformedFacetError
    return body


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def facet_digest(raw: bytes) -> str | None:
    """Digest a facet's canonical body as hex; None where the body says `_deleted`."""
    if b"_deleted" in raw and is_deleted(raw):
        return None
    return content_digest(canonical_bytes(raw)).hex()


def is_deleted(raw: bytes) -> bool:
    """Whether the facet is a tombstone, `"_deleted": true`."""
    if b"_deleted" not in raw:
        return False
    try:
        return body_of(raw).get("_deleted") is True
    except MalformedFacetError:
        return False


def text(body: Mapping[str, Any], key: str, *, default: str | None = None) -> str:
    """Read a text; without a default its absence is a fault."""
    value = body.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise MalformedFacetError
    return value


def items(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Read an array of objects; absent or null reads as empty."""
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedFacetError
    return value


def mapping(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Read an object of objects; absent or null reads as empty."""
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise MalformedFacetError
    return value


def transformations(body: Mapping[str, Any]) -> str:
    """Write a source's transformations as canonical text; empty if there are none."""
    stated = items(body, "transformations")
    return plain(stated) if stated else ""


def plain(value: object) -> str:
    """Write JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def joined_details(details: list[str]) -> str:
    """Join the transformations of several statements about one pair of columns."""
    stated = {plain(one) for detail in details if detail for one in json.loads(detail)}
    return "[" + ",".join(sorted(stated)) + "]" if stated else ""


def _source(body: Mapping[str, Any], *, detail: str = "") -> Source:
    kind = text(body, "type", default="DATASET")
    own = kind == "JOB"
    namespace = text(body, "namespace", default="" if own else None)
    name = text(body, "name", default="" if own else None)
    if not own and not name:
        raise MalformedFacetError
    field = text(body, "field", default="")
    return Source(kind, namespace, name, field, transformations(body) or detail)


def _lineage(body: Mapping[str, Any]) -> Flow | None:
    if body.get("inputs") is None and body.get("fields") is None:
        return None
    fields = tuple(
        (field, tuple(_source(source) for source in items(entry, "inputs")))
        for field, entry in sorted(mapping(body, "fields").items())
    )
    return Flow(tuple(_source(source) for source in items(body, "inputs")), fields)


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def lineage_flow(raw: bytes) -> Flow | None:
    """Read a dataset's `lineage` facet; None where it says nothing about sources."""
    return _lineage(body_of(raw))


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def lineage_entries(raw: bytes) -> tuple[FlowEntry, ...]:
    """Read a job's or a run's `lineage` facet, under either name that its drafts gave the array."""
    body = body_of(raw)
    entries = []
    for entry in items(body, "entries") or items(body, "lineage"):
        flow = _lineage(entry)
        if flow is None:
            continue
        kind = text(entry, "type", default="DATASET")
        own = "" if kind == "JOB" else None
        entries.append(
            FlowEntry(
                kind, text(entry, "namespace", default=own), text(entry, "name", default=own), flow
            )
        )
    return tuple(entries)


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def column_flow(raw: bytes) -> Flow:
    """Read `columnLineage`: input fields per output field, and those behind the whole dataset."""
    body = body_of(raw)
    fields = []
    for field, entry in sorted(mapping(body, "fields").items()):
        detail = _legacy_transformation(entry)
        sources = items(entry, "inputFields")
        fields.append((field, tuple(_source(source, detail=detail) for source in sources)))
    return Flow(tuple(_source(source) for source in items(body, "dataset")), tuple(fields))


def _legacy_transformation(entry: Mapping[str, Any]) -> str:
    """Read the transformation that versions before 1-1-0 stated per output field."""
    stated = {
        "type": text(entry, "transformationType", default=""),
        "description": text(entry, "transformationDescription", default=""),
    }
    return plain([{key: value for key, value in stated.items() if value}]) if stated["type"] else ""


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def observed_flow(raw: bytes) -> Flow:
    """Read `lodeline_observed`: the inputs that capture saw flow into this output."""
    inputs = []
    fields: dict[str, list[Source]] = {}
    body = body_of(raw)
    for stated in items(body, "inputs"):
        whole = _source({**stated, "field": None, "type": None})
        inputs.append(whole)
        for field, sources in (stated.get("fields") or {}).items():
            for source in items({"sources": sources}, "sources"):
                named = {"namespace": whole.namespace, "name": whole.name, **source, "type": None}
                fields.setdefault(field, []).append(_source(named))
    by_field = tuple((field, tuple(found)) for field, found in fields.items())
    bound, content = body.get("bound") is True, body.get("content") is True
    return Flow(tuple(inputs), by_field, bound=bound, content=content)


@lru_cache(maxsize=STATEMENTS_CACHED_MAX)
def schema_fields(raw: bytes) -> tuple[str, ...]:
    """Read the names of a schema's top-level fields."""
    return tuple(text(field, "name") for field in items(body_of(raw), "fields"))


def symlink_names(raw: bytes) -> list[tuple[str, str]]:
    """Read the other (namespace, name) pairs of a `symlinks` facet."""
    return [
        (text(one, "namespace"), text(one, "name"))
        for one in items(body_of(raw), "identifiers")
        if text(one, "name")
    ]


def stated_version(facets: Mapping[str, bytes]) -> str | None:
    """Read the version that an event states of a dataset, model or deployment.

    A digest of the bytes comes before a digest of a model or configuration, and that before the
    producer's own version.
    """
    if (raw := facets.get("lodeline_digest")) is not None:
        body = body_of(raw)
        value = body.get("value")
        if isinstance(value, str) and value:
            return f"{text(body, 'algorithm', default='sha256')}:{value}"
    for name in ("lodeline_model", "lodeline_deployment"):
        if (raw := facets.get(name)) is not None:
            value = body_of(raw).get("digest")
            if isinstance(value, str) and value:
                return value
    if (raw := facets.get("version")) is not None:
        return text(body_of(raw), "datasetVersion") or None
    return None

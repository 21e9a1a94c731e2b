"""Namespaces, sources and tags: what the catalogue holds beside datasets and jobs.

They are derived from what events say (a namespace exists where something lives in it, a source
where a `dataSource` facet names it), and declared by callers; a declaration wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lodeline.errors import UnknownEntryError
from lodeline.limits import CATALOGUE_STATEMENTS_MAX
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.bodies import facets_of, iter_statements
from lodeline.query.catalogue import NAMESPACES, SOURCES, TAGS, Catalogue, Space
from lodeline.query.facets import labels_in
from lodeline.server.marquez.calls import Call, Json, Read
from lodeline.server.marquez.describing import PAGE
from lodeline.server.marquez.shapes import (
    DEFAULT_NAMESPACE,
    DEFAULT_SOURCE,
    namespace_json,
    source_json,
)

_AMONG = "IN (SELECT value FROM json_each(:ids))"
_FIRST: Final = "Holds what names no namespace of its own"


def list_namespaces(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces`."""
    limit, offset = call.number("limit", 100), call.number("offset", 0, most=10**9)
    spaces = Catalogue(inquiry).list_namespaces()
    if all(space.name != DEFAULT_NAMESPACE for space in spaces):
        spaces = sorted([*spaces, Space(DEFAULT_NAMESPACE)], key=lambda space: space.name)
    return {"namespaces": describe_spaces(inquiry, spaces[offset : offset + limit])}


def get_namespace(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /namespaces/{namespace}`."""
    return describe_spaces(inquiry, [find_space(inquiry, call.path["namespace"])])[0]


def find_space(inquiry: Inquiry, name: str) -> Space:
    """Find a namespace.

    Raises:
        UnknownEntryError: there is none.
    """
    space = Catalogue(inquiry).find_namespace(name)
    if space is None and name == DEFAULT_NAMESPACE:
        return Space(name)
    if space is None:
        raise UnknownEntryError("Namespace", name)
    return space


def describe_spaces(inquiry: Inquiry, spaces: Iterable[Space]) -> list[Json]:
    """Write namespaces, in a few statements for all of them."""
    wanted = list(spaces)
    declared = _declared(inquiry, NAMESPACES, (one.declared for one in wanted))
    ends = {end for one in wanted for end in (one.first, one.last, one.declared) if end is not None}
    spans = _spans(inquiry, ends)
    beginning = _beginning(inquiry)
    found = []
    for one in wanted:
        body = declared.get(one.name, {})
        times = [spans[end] for end in (one.first, one.last, one.declared) if end in spans]
        default = _FIRST if one.name == DEFAULT_NAMESPACE else None
        found.append(
            namespace_json(
                one.name,
                created_us=min((span[0] for span in times), default=beginning),
                updated_us=max((span[1] for span in times), default=beginning),
                owner=body.get("owner"),
                description=body.get("description", default),
            )
        )
    return found


def list_sources(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /sources`."""
    limit, offset = call.number("limit", 100), call.number("offset", 0, most=10**9)
    sources = _sources(inquiry)
    return {"sources": [sources[name] for name in sorted(sources)][offset : offset + limit]}


def get_source(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /sources/{source}`."""
    return find_source(inquiry, call.path["source"])


def find_source(inquiry: Inquiry, name: str) -> Json:
    """Find a source.

    Raises:
        UnknownEntryError: there is none.
    """
    number = inquiry.view.find_number(NodeId("dataset", SOURCES, name))
    if number is not None and Catalogue(inquiry).may_see_entry(SOURCES, name):
        return _declared_sources(inquiry, {name: number})[name]
    found = _sources(inquiry).get(name)
    if found is None:
        raise UnknownEntryError("Source", name)
    return found


def source_times(inquiry: Inquiry) -> list[int]:
    """Give the event time at which each source was first named."""
    declared = Catalogue(inquiry).names_of(SOURCES)
    spans = _spans(inquiry, declared.values())
    times = {name: spans[number][0] for name, number in declared.items() if number in spans}
    for one in iter_statements(inquiry.view, "dataSource", limit=CATALOGUE_STATEMENTS_MAX):
        name = one.body.get("name")
        if isinstance(name, str) and inquiry.authoriser.may_see(one.node):
            times[name] = min(one.first_us, times.get(name, one.first_us))
    return list(times.values())


def _sources(inquiry: Inquiry) -> dict[str, Json]:
    found: dict[str, _Source] = {}
    for one in iter_statements(inquiry.view, "dataSource", limit=CATALOGUE_STATEMENTS_MAX):
        name, url = one.body.get("name"), one.body.get("uri")
        if isinstance(name, str) and inquiry.authoriser.may_see(one.node):
            source = found.setdefault(name, _Source(one.first_us, one.last_us, ""))
            source.take(one.first_us, one.last_us, url if isinstance(url, str) else "")
    beginning = _beginning(inquiry)
    default = source_json(
        DEFAULT_SOURCE,
        kind="",
        url="",
        created_us=beginning,
        updated_us=beginning,
        description=None,
    )
    derived = {name: source.to_json(name) for name, source in found.items()}
    declared = _declared_sources(inquiry, Catalogue(inquiry).names_of(SOURCES))
    return {DEFAULT_SOURCE: default} | derived | declared


@dataclass(slots=True)
class _Source:
    """A source as facets name it: the last address stated counts."""

    first_us: int
    last_us: int
    url: str

    def take(self, first_us: int, last_us: int, url: str) -> None:
        if url and (not self.url or last_us >= self.last_us):
            self.url = url
        self.first_us = min(self.first_us, first_us)
        self.last_us = max(self.last_us, last_us)

    def to_json(self, name: str) -> Json:
        return source_json(
            name,
            kind=self.url.partition(":")[0].upper(),
            url=self.url,
            created_us=self.first_us,
            updated_us=self.last_us,
            description=None,
        )


def _declared_sources(inquiry: Inquiry, numbers: Mapping[str, int]) -> dict[str, Json]:
    spans = _spans(inquiry, numbers.values())
    bodies = _declared(inquiry, SOURCES, numbers.values())
    return {
        name: source_json(
            name,
            kind=str(bodies.get(name, {}).get("type", "")),
            url=bodies.get(name, {}).get("connectionUrl"),
            created_us=spans[number][0],
            updated_us=spans[number][1],
            description=bodies.get(name, {}).get("description"),
        )
        for name, number in numbers.items()
    }


def list_tags(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /tags`."""
    limit, offset = call.number("limit", 100), call.number("offset", 0, most=10**9)
    numbers = Catalogue(inquiry).names_of(TAGS)
    bodies = _declared(inquiry, TAGS, numbers.values())
    found: dict[str, str | None] = {
        name: bodies.get(name, {}).get("description") for name in numbers
    }
    for one in iter_statements(inquiry.view, "tags", limit=CATALOGUE_STATEMENTS_MAX):
        if inquiry.authoriser.may_see(one.node):
            for label in labels_in({"tags": one.body}):
                found.setdefault(label, None)
    tags = [{"name": name, "description": found[name]} for name in sorted(found)]
    return {"tags": tags[offset : offset + limit]}


def _declared(
    inquiry: Inquiry, space: str, numbers: Iterable[int | None]
) -> dict[str, Mapping[str, Any]]:
    """Give the declarations of a reserved namespace by name."""
    view = inquiry.view
    names = view.names(number for number in numbers if number is not None)
    found = facets_of(view, {name: [number] for number, name in names.items()})
    return {
        node.name: facets.get("lodeline_catalogue", {})
        for node, facets in found.items()
        if node.namespace == space
    }


def _spans(inquiry: Inquiry, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Give, per node, the event times at which it was first named and last spoken of."""
    view = inquiry.view
    wanted = set(numbers)
    first = view.select_among(
        f"SELECT n.node_id, {view.named_at('n')} FROM node n WHERE n.node_id {_AMONG}"
        f" AND {view.named('n')}",
        wanted,
    )
    last = dict(
        view.select_among(
            f"SELECT m.node_id, max(m.event_time) FROM mention m WHERE m.node_id {_AMONG}"
            f" AND {view.point('m')} GROUP BY m.node_id",
            wanted,
        )
    )
    return {number: (time_us, last.get(number, time_us)) for number, time_us in first}


def _beginning(inquiry: Inquiry) -> int | None:
    rows = inquiry.view.select("SELECT log_time FROM entry WHERE position = 0")
    return rows[0][0] if rows else None


READS: Final = [
    Read("/namespaces", list_namespaces, "List all namespaces", PAGE),
    Read("/namespaces/{namespace}", get_namespace, "One namespace"),
    Read("/sources", list_sources, "List all sources", PAGE),
    Read("/sources/{source}", get_source, "One source"),
    Read("/tags", list_tags, "List all tags", PAGE),
]

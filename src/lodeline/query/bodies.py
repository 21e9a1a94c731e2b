"""Facet bodies of many nodes at once, and payloads of many entries: a few statements a page.

The bodies that count are those of `facets.Registers`: per node and facet the last statement in
event time, all names of a node together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lodeline.model import NodeId
from lodeline.query.facets import iter_entities
from lodeline.query.view import View

_AMONG = "IN (SELECT value FROM json_each(:ids))"

Facets = dict[str, Any]


class Statement(NamedTuple):
    """One distinct body of a facet, wherever it stands.

    Attributes:
        node: that an event stated it of.
        first_us: event time of the first mention that states it.
        last_us: event time of the last mention that states it.
        body: of the facet.
    """

    node: NodeId
    first_us: int
    last_us: int
    body: dict[str, Any]


def members_of(view: View, nodes: Iterable[NodeId]) -> dict[NodeId, list[int]]:
    """Give the numbers of all names of canonical nodes."""
    numbers = view.find_numbers(dict.fromkeys(nodes))
    view.look_ahead(number for number in numbers.values() if number is not None)
    found: dict[NodeId, list[int]] = {}
    for node, number in numbers.items():
        members = frozenset[int]() if number is None else view.component(number)
        found[node] = sorted(members)
    return found


def read_payloads(view: View, positions: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Read the events at log positions; what is erased whole is left out and noted in the view."""
    wanted = set(positions)
    sql = (
        "SELECT p.position, p.payload, EXISTS (SELECT 1 FROM sealed_value s"
        " WHERE s.position = p.position) OR EXISTS (SELECT 1 FROM erasure e"
        f" WHERE e.position = p.position) FROM payload p WHERE p.position {_AMONG}"
    )
    found: dict[int, dict[str, Any]] = {}
    for position, kept, in_parts in view.select_among(sql, wanted):
        payload = kept
        if in_parts:
            payload, erased, missing = view.segment.open_payload(view.connection, position, payload)
            for pointer, by in [*erased, *((pointer, None) for pointer in missing)]:
                view.unread[position, pointer] = by
        found[position] = dict(json.loads(payload))
    for position in wanted - found.keys():
        view.unread[position, ""] = view.segment.find_erasures(view.connection).entries.get(
            position
        )
    return found


def facets_of(view: View, nodes: Mapping[NodeId, Iterable[int]]) -> dict[NodeId, Facets]:
    """Give the facet bodies of canonical nodes.

    Args:
        view: at the moment.
        nodes: with the numbers of all their names.
    """
    numbers = {number for members in nodes.values() for number in members}
    winners = _winners(view, numbers)
    positions = {position for found in winners.values() for position in found.values()}
    events = read_payloads(view, positions)
    names = view.names(numbers)
    answer: dict[NodeId, Facets] = {}
    for node, members in nodes.items():
        facets = answer[node] = {}
        for number in sorted(members):
            for name, position in winners.get(number, {}).items():
                if name not in facets:
                    body = _body(events.get(position, {}), names[number], name)
                    if body is not None:
                        facets[name] = body
    return answer


def _winners(view: View, numbers: Iterable[int]) -> dict[int, dict[str, int]]:
    """Give, per node and facet name, the log position of the body that counts."""
    sql = (
        "SELECT t.node_id, t.position, t.facet_set_id FROM (SELECT m.node_id, m.position,"
        " m.facet_set_id, m.event_time, m.digest, ROW_NUMBER() OVER (PARTITION BY m.node_id,"
        " m.facet_set_id ORDER BY m.event_time DESC, m.digest DESC) AS place FROM mention m"
        f" WHERE m.node_id {_AMONG} AND {view.point('m')}) t WHERE t.place = 1"
        " ORDER BY t.node_id, t.event_time DESC, t.digest DESC"
    )
    rows = list(view.select_among(sql, numbers))
    sets = dict(
        view.select_among(
            f"SELECT facet_set_id, facets FROM facet_set WHERE facet_set_id {_AMONG}",
            {row[2] for row in rows},
        )
    )
    stated = {number: json.loads(facets) for number, facets in sets.items()}
    found: dict[int, dict[str, tuple[int, str | None]]] = defaultdict(dict)
    for number, position, facet_set in rows:
        for name, digest in stated[facet_set]:
            found[number].setdefault(name, (position, digest))
    return {
        number: {name: position for name, (position, digest) in one.items() if digest is not None}
        for number, one in found.items()
    }


def _body(event: Mapping[str, Any], node: NodeId, facet: str) -> Any:
    for entity in iter_entities(event, node):
        body = (entity.get("facets") or {}).get(facet)
        if body is not None:
            return body
    return None


def iter_statements(view: View, facet: str, *, limit: int) -> Iterator[Statement]:
    """List the distinct bodies of a dataset or job facet.

    Args:
        view: at the moment.
        facet: its name.
        limit: distinct bodies read at most.
    """
    rows = view.select(
        "SELECT facet_set_id, facets FROM facet_set WHERE facets LIKE :pattern ORDER BY 1",
        pattern=f'%"{facet}"%',
    )
    sets: dict[str, list[int]] = defaultdict(list)
    for number, facets in rows:
        for name, digest in json.loads(facets):
            if name == facet and digest is not None:
                sets[digest].append(number)
    kept = dict(list(sets.items())[:limit])
    sql = (
        "SELECT m.facet_set_id, max(m.position), min(m.event_time), max(m.event_time)"
        f" FROM mention m WHERE m.facet_set_id {_AMONG} AND {view.point('m')}"
        " GROUP BY m.facet_set_id"
    )
    spans = {
        row[0]: row[1:]
        for row in view.select_among(sql, {one for many in kept.values() for one in many})
    }
    events = read_payloads(view, {span[0] for span in spans.values()})
    for numbers in kept.values():
        known = [spans[one] for one in numbers if one in spans]
        if not known:
            continue
        event = events.get(known[-1][0], {})
        for node, body in _stating(event, facet):
            first, last = min(one[1] for one in known), max(one[2] for one in known)
            yield Statement(node, first, last, body)


def _stating(event: Mapping[str, Any], facet: str) -> Iterator[tuple[NodeId, dict[str, Any]]]:
    places = [("job", event.get("job")), ("dataset", event.get("dataset"))]
    places += [("dataset", one) for one in event.get("inputs") or ()]
    places += [("dataset", one) for one in event.get("outputs") or ()]
    for kind, place in places:
        if not isinstance(place, dict):
            continue
        body = (place.get("facets") or {}).get(facet)
        if isinstance(body, dict):
            yield NodeId(kind, place["namespace"], place["name"]), body

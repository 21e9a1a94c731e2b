"""Facet registers at a moment: per node and facet, the last statement in event time.

The view keeps which events state which facets; bodies are read from the log's payloads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from lodeline.model import NodeId
from lodeline.query.moments import find_moment
from lodeline.query.view import View
from lodeline.store import Segment
from lodeline.wire.scanning import escape_pointer

_AMONG = "IN (SELECT value FROM json_each(:ids))"


class Registers:
    """The facets of nodes at one moment."""

    def __init__(self, view: View) -> None:
        self.view = view

    def winners_of(self, number: int) -> dict[str, tuple[int, str]]:
        """Give, per facet name, the log position and digest of the body that counts."""
        rows = self.view.select(
            "SELECT m.position, f.facets FROM mention m JOIN facet_set f USING (facet_set_id)"
            f" WHERE m.node_id = :node AND {self.view.point('m')}"
            " ORDER BY m.event_time DESC, m.digest DESC",
            node=number,
        )
        found: dict[str, tuple[int, str | None]] = {}
        for position, facets in rows:
            for name, digest in json.loads(facets):
                found.setdefault(name, (position, digest))
        return {
            name: (position, digest)
            for name, (position, digest) in found.items()
            if digest is not None
        }

    def facets_of(self, node: NodeId, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Give the facet bodies of a canonical node, all its names' statements together."""
        wanted = None if names is None else set(names)
        found: dict[str, Any] = {}
        for number in sorted(self.view.members(node)):
            name = self.view.name(number)
            for facet, (position, _) in self.winners_of(number).items():
                if (wanted is None or facet in wanted) and facet not in found:
                    body = self._body(position, name, facet)
                    if body is not None:
                        found[facet] = body
        return found

    def _body(self, position: int, node: NodeId, facet: str) -> Any:
        within = f"/{escape_pointer(facet)}"
        event = read_payload(self.view, position, lambda pointer: within in pointer)
        for entity in iter_entities(event, node):
            body = (entity.get("facets") or {}).get(facet)
            if body is not None:
                return body
        return None

    def owners_of(self, nodes: Iterable[NodeId]) -> list[dict[str, Any]]:
        """Give the owners that `ownership` facets name, each with the nodes they own."""
        owned: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        numbers = {
            number: node
            for node in nodes
            if node.kind in {"dataset", "job", "model", "deployment"}
            for number in self.view.members(node)
        }
        for number in self._stating("ownership", numbers):
            node = numbers[number]
            for owner in owners_in(self.facets_of(node, ["ownership"])):
                owned[owner["name"], owner["type"]].append(str(node))
        return [
            {"name": name, "type": kind, "nodes": sorted(set(ids))}
            for (name, kind), ids in sorted(owned.items(), key=lambda item: str(item[0]))
        ]

    def tagged(self, nodes: Iterable[NodeId], wanted: Collection[str]) -> set[NodeId]:
        """Give the nodes that carry one of some tags, as `key=value` or by the key alone.

        A column carries the tags of its dataset's `tags` facet that name it.
        """
        homes: dict[NodeId, list[NodeId]] = defaultdict(list)
        for node in nodes:
            homes[node.dataset].append(node)
        numbers = {number: home for home in homes for number in self.view.members(home)}
        found: set[NodeId] = set()
        for home in {numbers[number] for number in self._stating("tags", numbers)}:
            facets = self.facets_of(home, ["tags"])
            for node in homes[home]:
                field = node.part if node.kind == "datasetField" else None
                labels = labels_in(facets, field=field)
                if any(label in wanted or label.partition("=")[0] in wanted for label in labels):
                    found.add(node)
        return found

    def _stating(self, facet: str, numbers: Collection[int]) -> list[int]:
        """Give those of some nodes for which an event stated a facet."""
        sets = self.view.select(
            "SELECT facet_set_id FROM facet_set WHERE facets LIKE :like", like=f'%"{facet}"%'
        )
        if not sets:
            return []
        sql = (
            f"SELECT DISTINCT m.node_id FROM mention m WHERE m.node_id {_AMONG}"
            f" AND {self.view.point('m')}"
            " AND m.facet_set_id IN (SELECT value FROM json_each(:sets))"
        )
        sets_text = json.dumps([row[0] for row in sets])
        return [row[0] for row in self.view.select_among(sql, numbers, sets=sets_text)]


def list_stating(segment: Segment, facet: str) -> list[tuple[NodeId, Any]]:
    """List every node that has a facet now, with its body; for whoever may see all of a store."""
    with segment.reading() as connection:
        view = View(
            connection, find_moment(segment, connection, as_of=None, valid_at=None), segment
        )
        rows = view.select(
            "SELECT DISTINCT m.node_id FROM mention m JOIN facet_set f USING (facet_set_id)"
            f" WHERE f.facets LIKE :like AND {view.point('m')}",
            like=f'%"{facet}"%',
        )
        nodes = set(view.canonical_names({row[0] for row in rows}).values())
        registers = Registers(view)
        found = [(node, registers.facets_of(node, [facet]).get(facet)) for node in sorted(nodes)]
    return [(node, body) for node, body in found if body is not None]


def owners_in(facets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the owners of an `ownership` facet; what does not match its schema names nobody."""
    body = facets.get("ownership")
    owners = body.get("owners") if isinstance(body, dict) else None
    return [
        {"name": owner["name"], "type": owner.get("type")}
        for owner in (owners if isinstance(owners, list) else [])
        if isinstance(owner, dict) and isinstance(owner.get("name"), str)
    ]


def labels_in(facets: Mapping[str, Any], *, field: str | None = None) -> list[str]:
    """Read the tags of a `tags` facet as `key=value`, or the key alone where the value is true.

    Args:
        facets: bodies by name.
        field: a column, for its tags alone.
    """
    body = facets.get("tags")
    tags = body.get("tags") if isinstance(body, dict) else None
    if not isinstance(tags, list):
        return []
    return sorted(
        _label(tag) for tag in tags if _is_tag(tag) and (field is None or tag.get("field") == field)
    )


def _is_tag(tag: object) -> bool:
    return isinstance(tag, dict) and isinstance(tag.get("key"), str)


def _label(tag: Mapping[str, Any]) -> str:
    value = tag.get("value")
    return str(tag["key"]) if value in (None, True, "true") else f"{tag['key']}={value}"


def read_payload(
    view: View, position: int, matters: Callable[[str], bool] = lambda _pointer: True
) -> dict[str, Any]:
    """Read the event at a log position, with what keys open; empty once erased.

    Args:
        view: notes what could not be read.
        position: of the entry.
        matters: whether the answer would hold what stands at a pointer.
    """
    rows = view.select(
        "SELECT payload, EXISTS (SELECT 1 FROM sealed_value s WHERE s.position = p.position)"
        " OR EXISTS (SELECT 1 FROM erasure e WHERE e.position = p.position)"
        " FROM payload p WHERE position = :position",
        position=position,
    )
    if not rows:
        erased = view.segment.find_erasures(view.connection).entries.get(position)
        if erased is not None:
            view.unread[position, ""] = erased
        return {}
    payload, in_parts = rows[0]
    if in_parts:
        payload, erased_fields, missing = view.segment.open_payload(
            view.connection, position, payload
        )
        for pointer, by in [*erased_fields, *((pointer, None) for pointer in missing)]:
            if matters(pointer):
                view.unread[position, pointer] = by
    return dict(json.loads(payload))


def iter_entities(event: Mapping[str, Any], node: NodeId) -> Iterator[Mapping[str, Any]]:
    """Walk the places of an event that speak of a node: its job, its datasets."""
    if node.kind == "job":
        places = [event.get("job")]
    else:
        places = [event.get("dataset"), *(event.get("outputs") or ()), *(event.get("inputs") or ())]
    for place in places:
        if (
            isinstance(place, dict)
            and place.get("name") == node.name
            and place.get("namespace") == node.namespace
        ):
            yield place

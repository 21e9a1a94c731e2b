"""Nodes that a search looks at: from the index, or scanned where the index does not reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from lodeline.limits import SEARCH_FACETS_READ_MAX, SEARCH_MATCHES_MAX
from lodeline.model import KINDS_OF_THREE_PARTS, NodeId
from lodeline.query.answers import Gap
from lodeline.query.facets import Registers, iter_entities
from lodeline.query.parameters import SearchQuestion
from lodeline.query.permission import Authoriser
from lodeline.query.search_index import saying_of
from lodeline.query.search_terms import PIECE_CHARACTERS_MIN, plain, spoken
from lodeline.query.view import View
from lodeline.store.search_tables import PARTS_FROM, SEARCHED_FACETS, has_search_tables

_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"
_Shown = Mapping[str, Any]
_PARTS: Final = ", ".join(f"'{kind}'" for kind in sorted(KINDS_OF_THREE_PARTS))
# SQL value: what is shown of a node, whose document's number is as `search_index` gives it.
_SAID: Final = (
    "(SELECT s.shown FROM search_said s WHERE s.document_id = n.node_id"
    f" + CASE WHEN n.kind IN ({_PARTS}) THEN {PARTS_FROM} ELSE 0 END)"
)
_encode: Final = msgspec.json.Encoder().encode
_decode_shown: Final = msgspec.json.Decoder(dict[str, Any]).decode
_NOTHING: Final[_Shown] = {"tags": (), "owners": (), "words": {}}


class Match:
    """One node that matches.

    Attributes:
        node: canonical.
        numbers: rows of `node` that it was found by.
        names: of its own that it was found by.
        own: words of those.
        around: words of namespaces and, of columns, datasets.
        said: per field, words said of it.
        tags: of the node.
        owners: of the node.
    """

    __slots__ = ("around", "names", "node", "numbers", "own", "owners", "said", "tags")

    def __init__(
        self, node: NodeId, name: NodeId, number: int, shown: _Shown | None = None
    ) -> None:
        self.node = node
        self.numbers = [number]
        self.names = [name]
        self.own = spoken(name.part or name.name)
        self.around = spoken(name.namespace)
        if name.part:
            self.around += " " + spoken(name.name)
        if shown is None:
            shown = _NOTHING
        self.tags: Sequence[str] = shown["tags"]
        self.owners: Sequence[str] = shown["owners"]
        self.said: Mapping[str, str] = shown["words"]

    def absorb(self, other: Match) -> None:
        """Take in what was found under another name of the node."""
        self.numbers += other.numbers
        self.names += other.names
        self.own += " " + other.own
        self.around += " " + other.around
        self.tags = sorted({*self.tags, *other.tags})
        self.owners = sorted({*self.owners, *other.owners})
        self.said = {
            field: f"{self.said.get(field, '')} {other.said.get(field, '')}"
            for field in {*self.said, *other.said}
        }

    def has_tag(self, asked: str) -> bool:
        """Whether it has a tag, given as `key=value` or by its key alone."""
        wanted = plain(asked)
        return any(wanted in {plain(tag), plain(tag.partition("=")[0])} for tag in self.tags)

    def fields(self) -> dict[str, str]:
        """Give the words of each field, by the names that answers use."""
        own = {"datasetField": "column", "feature": "feature"}.get(self.node.kind, "name")
        found = dict(self.said)
        found[own] = f"{found.get(own, '')} {self.own}"
        found["namespace"] = " ".join(spoken(name.namespace) for name in self.names)
        if self.node.part:
            found["name"] = " ".join(spoken(name.name) for name in self.names)
        return found

    def has_all(self, groups: Sequence[Sequence[str]]) -> bool:
        """Whether for each group one of its words stands somewhere."""
        text = " " + " ".join((self.own, self.around, *self.said.values()))
        # Pieces of so few characters stand in nearly every word: only beginnings count.
        return all(
            any(
                (word if len(word) >= PIECE_CHARACTERS_MIN else " " + word) in text
                for word in group
            )
            for group in groups
        )


class Matches:
    """The matches of one search.

    Args:
        view: the graph at the moment.
        reader: from whom nodes may be hidden.
        newest: whether the moment is the newest, which the index tells the facets of.
        changed: whether the index may lag behind what is said of some nodes.

    Attributes:
        found: by canonical node.
        cut: whether the index had more than are ranked.
    """

    def __init__(self, view: View, reader: Authoriser, *, newest: bool, changed: bool) -> None:
        self.found: dict[NodeId, Match] = {}
        self.cut = False
        self._reader = reader
        self._view = view
        self._newest = newest
        self._unread = False
        self._stale: set[int] = set()
        if changed and has_search_tables(view.connection):
            rows = view.select("SELECT DISTINCT node_id FROM search_pending")
            self._stale = {row[0] for row in rows}

    def gaps(self, at: str) -> list[Gap]:
        """Tell what was not looked at."""
        if not self._unread:
            return []
        detail = (
            f"tags, owners, descriptions and types of more than {SEARCH_FACETS_READ_MAX} nodes"
            " were not read; the index holds those of the newest moment"
        )
        return [Gap(at, "size", detail)]

    # From the index

    def add_indexed(self, documents: Iterable[int]) -> None:
        """Take the nodes of documents that are known at the moment and not hidden.

        Args:
            documents: the better kinds of match first.
        """
        numbers = dict.fromkeys(number % PARTS_FROM for number in documents)
        shown: dict[int, _Shown] = {}
        known = self._known(numbers.keys() - self._stale, shown if self._newest else None)
        canonical = self._canonical(known)
        reader = self._reader
        seen = [
            number
            for number in numbers
            if number in canonical and (reader.sees_all or reader.may_see(canonical[number]))
        ]
        self.cut = len(seen) > SEARCH_MATCHES_MAX
        seen = seen[:SEARCH_MATCHES_MAX]
        for number in seen:
            self._put(Match(canonical[number], known[number], number, shown.get(number)))

    def _add(
        self,
        numbers: Iterable[int],
        shown: Mapping[int, _Shown],
        groups: Sequence[Sequence[str]],
    ) -> None:
        known = self._known(numbers)
        for number, canonical in self._canonical(known).items():
            match = Match(canonical, known[number], number, shown.get(number))
            if match.has_all(groups):
                self._put(match)

    def _put(self, match: Match) -> None:
        before = self.found.setdefault(match.node, match)
        if before is not match:
            before.absorb(match)

    def _known(
        self, numbers: Iterable[int], shown: dict[int, _Shown] | None = None
    ) -> dict[int, NodeId]:
        """Give those of nodes that are known, and put what answers show of them into `shown`."""
        # Looked up one by one: joined, PostgreSQL would read what is said of every node there is.
        said = "NULL" if shown is None else _SAID
        rows = self._view.select(
            f"SELECT n.node_id, {said}, n.kind, n.namespace, n.name, n.part FROM node n"
            f" WHERE n.node_id {_AMONG} AND {self._view.known('n')}",
            ids=_encode(list(numbers)).decode(),
        )
        found = {number: NodeId(*name) for number, _, *name in rows}
        if shown is not None:
            shown |= {row[0]: _decode_shown(row[1]) for row in rows if row[1] is not None}
        self._view.learn(found)
        return found

    def _canonical(self, known: Mapping[int, NodeId]) -> dict[int, NodeId]:
        if not self._view.has_aliases:
            return dict(known)
        # Only what has aliases, or whose dataset has, goes by another name.
        aliased = {
            row[0]
            for row in self._view.select_among(
                "SELECT n.node_id FROM node n JOIN node h ON h.kind = CASE WHEN n.part = ''"
                " THEN n.kind ELSE 'dataset' END AND h.namespace = n.namespace"
                f" AND h.name = n.name AND h.part = '' WHERE n.node_id {_AMONG} AND (EXISTS"
                " (SELECT 1 FROM alias a WHERE a.node_a = h.node_id) OR EXISTS"
                " (SELECT 1 FROM alias a WHERE a.node_b = h.node_id))",
                known,
            )
        }
        return {
            number: self._view.canonical(node) if number in aliased else node
            for number, node in known.items()
        }

    # Scanned

    def scan(
        self, groups: Sequence[Sequence[str]], question: SearchQuestion, *, after: int
    ) -> None:
        """Look at what the index does not hold.

        Args:
            groups: per word asked for, the words that count as it.
            question: filters by kind and namespace.
            after: the last node of the index; 0 where there is none.
        """
        self._add(self._scan_names(groups, question, after), {}, groups)
        described = list(self._described(after))
        self._unread = len(described) > SEARCH_FACETS_READ_MAX
        for number in described[:SEARCH_FACETS_READ_MAX]:
            saying = saying_of(self._bodies(number))
            self._add([number], {number: saying.shown}, groups)

    def _scan_names(
        self, groups: Sequence[Sequence[str]], question: SearchQuestion, after: int
    ) -> list[int]:
        conditions = []
        values: dict[str, object] = {"kind": question.kind, "namespace": question.namespace}
        for i, group in enumerate(groups):
            either = []
            for j, word in enumerate(group):
                values[f"w{i}_{j}"] = "%" + re.sub(r"([%_\\])", r"\\\1", word) + "%"
                either += [
                    f"lower(n.{part}) LIKE :w{i}_{j} ESCAPE '\\'"
                    for part in ("namespace", "name", "part")
                ]
            conditions.append(f"({' OR '.join(either)})")
        rows = self._view.select(
            f"SELECT n.node_id FROM node n WHERE n.node_id > :after AND {' AND '.join(conditions)}"
            + (" AND n.kind = :kind" if question.kind is not None else "")
            + (" AND n.namespace = :namespace" if question.namespace is not None else ""),
            after=after,
            **values,
        )
        return [row[0] for row in rows]

    def _described(self, after: int) -> Iterator[int]:
        """Walk nodes with facets that are searched, one more than are read."""
        limit = SEARCH_FACETS_READ_MAX + 1
        if not self._newest:
            rows = self._view.select(
                "SELECT DISTINCT m.node_id FROM facet_set f JOIN mention m USING (facet_set_id)"
                f" WHERE ({' OR '.join(f'f.facets LIKE :{name}' for name in SEARCHED_FACETS)})"
                f" AND {self._view.point('m')} ORDER BY m.node_id LIMIT :limit",
                limit=limit,
                **{name: f'%"{name}"%' for name in SEARCHED_FACETS},
            )
        else:
            rows = self._view.select(
                "SELECT DISTINCT m.node_id FROM mention m WHERE m.node_id > :after"
                " ORDER BY m.node_id LIMIT :limit",
                after=after,
                limit=limit,
            )
        numbers = {row[0] for row in rows} | self._stale
        yield from sorted(numbers)

    def _bodies(self, number: int) -> dict[str, Any]:
        """Read the facets of a node at the moment as the log keeps them, sealed values null."""
        bodies: dict[str, Any] = {}
        node = self._view.name(number)
        for facet, (position, _) in Registers(self._view).winners_of(number).items():
            if facet not in SEARCHED_FACETS:
                continue
            for (payload,) in self._view.select(
                "SELECT payload FROM payload WHERE position = :position", position=position
            ):
                for entity in iter_entities(msgspec.json.decode(payload), node):
                    body = (entity.get("facets") or {}).get(facet)
                    if body is not None:
                        bodies.setdefault(facet, body)
        return bodies

"""Reads of the graph view at one moment: the only module that speaks SQL about the graph's core.

Every method answers as of the moment that the view was made for; masks over positions and event
times are those of `store.graph_tables`. Node numbers (`int`) are rows of `node`; they never
leave the query package.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lodeline.model import NodeId
from lodeline.query.memory import memory_at
from lodeline.query.moments import Moment
from lodeline.store import Segment
from lodeline.store.connections import Connection

# SQLite's own bound on a compound's depth and our parameters' size: ids go in as one JSON text.
_IDS_AT_A_TIME = 20_000
# Four parameters each; SQLite takes 32,766 in all.
_NODES_AT_A_TIME = 2_000
# Aliases that one question takes up at once; where there are more, each node's are looked up.
_ALIASES_AT_ONCE_MAX = 20_000
_encode = msgspec.json.Encoder().encode
_OF_KIND = "SELECT node_id FROM node WHERE kind = :kind"
_HAS = "SELECT " + ", ".join(
    f"EXISTS (SELECT 1 FROM {table})" for table in ("alias", "capture_gap", "parent", "ending")
)
_AMONG = "IN (SELECT value FROM json_each(:ids))"


class View:
    """The graph at one moment.

    Args:
        connection: inside one read transaction.
        moment: what to answer for.
        segment: opens the personal values of payloads.

    Attributes:
        unread: (position, pointer) of values that an answer would hold -> the entry that erased
            them; `None` where only their key is not here.
        memory: what is known at the moment already.
    """

    def __init__(self, connection: Connection, moment: Moment, segment: Segment) -> None:
        self.connection = connection
        self.segment = segment
        self.unread: dict[tuple[int, str], int | None] = {}
        self.moment = moment
        self._masks: dict[str, object] = {"size": moment.size, "valid": moment.valid_us}
        self.memory = memory_at(segment, moment)
        self._names = self.memory.names
        self._numbers: dict[NodeId, int | None] = {}
        self._components: dict[int, frozenset[int]] = {}
        self._least: dict[frozenset[int], int] = {}
        # Whether `_components` holds every component of several nodes; None until asked.
        self._whole: bool | None = None
        # What a store has nothing of nobody needs to look for: one statement tells of all.
        [has] = self.select(_HAS)
        self.has_aliases, self.has_gaps, self.has_parents, self.has_endings = map(bool, has)

    def rectangle(self, table: str) -> str:
        """SQL condition: the row of a rectangle table holds at the moment."""
        if self.moment.newest:
            position = f"{table}.position_to IS NULL"
        else:
            position = (
                f"{table}.position_from < :size"
                f" AND ({table}.position_to IS NULL OR {table}.position_to >= :size)"
            )
        if self.moment.valid_us is None:
            return f"{position} AND {table}.valid_to IS NULL"
        return (
            f"{position} AND {table}.valid_from <= :valid"
            f" AND ({table}.valid_to IS NULL OR {table}.valid_to > :valid)"
        )

    def point(self, table: str) -> str:
        """SQL condition: the row of a point table holds at the moment."""
        if self.moment.valid_us is None:
            return f"{table}.position < :size"
        return f"{table}.position < :size AND {table}.event_time <= :valid"

    def known(self, table: str) -> str:
        """SQL condition: the row of `node` is named by something that holds at the moment.

        An event names most nodes itself (`named`); some follow only from a group's merged state,
        as ends of its derivations, uses or features.
        """
        node = f"{table}.node_id"
        ends = (
            f"EXISTS (SELECT 1 FROM derivation d JOIN assertion a USING (derivation_id)"
            f" WHERE d.{end} = {node} AND {self.rectangle('a')})"
            for end in ("source", "target")
        )
        uses = (
            f"EXISTS (SELECT 1 FROM {name} u WHERE u.node_id = {node} AND {self.rectangle('u')})"
            for name in ("read", '"write"')
        )
        features = (
            f"EXISTS (SELECT 1 FROM feature f WHERE f.{end} = {node} AND {self.rectangle('f')})"
            for end in ("feature_node", "field_node")
        )
        return f"({' OR '.join([self.named(table), *ends, *uses, *features])})"

    def named(self, table: str) -> str:
        """SQL condition: an event that holds at the moment names the row of `node`."""
        later = (
            f"EXISTS (SELECT 1 FROM sighting s WHERE s.node_id = {table}.node_id"
            f" AND {self.point('s')})"
        )
        if self.moment.valid_us is None:
            # What came later in the log says more only where the node was known without being
            # named: columns that follow from a model's list of features.
            later = f"{table}.first_position IS NULL AND {later}"
        return f"({self.named_first(table)} OR ({later}))"

    def named_first(self, table: str) -> str:
        """SQL condition: the first event in the log that names the row of `node` holds."""
        if self.moment.valid_us is None:
            return f"{table}.first_position < :size"
        return f"({table}.first_position < :size AND {table}.first_us <= :valid)"

    def named_at(self, table: str) -> str:
        """SQL value: the least event time of those that name the row of `node`, being `named`."""
        return (
            f"coalesce((SELECT min(s.event_time) FROM sighting s WHERE s.node_id = {table}.node_id"
            f" AND {self.point('s')}), {table}.first_us)"
        )

    def select(self, sql: str, **parameters: object) -> list[Any]:
        """Run a statement with `:size` and `:valid` bound."""
        return self.connection.execute(sql, {**self._masks, **parameters}).fetchall()

    def select_among(self, sql: str, ids: Iterable[int], **parameters: object) -> Iterator[Any]:
        """Run a statement whose `:ids` is a JSON array, in portions."""
        numbers = sorted(set(ids))
        for start in range(0, len(numbers), _IDS_AT_A_TIME):
            portion = _encode(numbers[start : start + _IDS_AT_A_TIME]).decode()
            yield from self.select(sql, ids=portion, **parameters)

    # -- nodes ---------------------------------------------------------------------------------

    def names(self, numbers: Iterable[int]) -> dict[int, NodeId]:
        """Look up the names of node numbers."""
        known = self._names
        wanted = set(numbers)
        missing = [number for number in wanted if number not in known]
        sql = (
            "SELECT node_id, kind, namespace, name, part FROM node"
            " WHERE node_id IN (SELECT value FROM json_each(:ids))"
        )
        whole = sys.intern
        for number, kind, namespace, name, part in self.select_among(sql, missing):
            # Kinds and namespaces are few, and each row brings its own copy.
            known[number] = NodeId(whole(kind), whole(namespace), name, part)
        return {number: known[number] for number in wanted}

    def learn(self, names: Mapping[int, NodeId]) -> None:
        """Take up names that were read on the way."""
        self._names.update(names)

    def name(self, number: int) -> NodeId:
        """Look up the name of one node number."""
        return self.names([number])[number]

    def find_number(self, node: NodeId) -> int | None:
        """Look up the number of a node (its version aside) that is known at the moment."""
        bare = node.at("")
        if bare not in self._numbers:
            rows = self.select(
                "SELECT node_id FROM node WHERE kind = :kind AND namespace = :namespace"
                f" AND name = :name AND part = :part AND {self.known('node')}",
                kind=bare.kind,
                namespace=bare.namespace,
                name=bare.name,
                part=bare.part,
            )
            self._numbers[bare] = rows[0][0] if rows else None
        return self._numbers[bare]

    def find_numbers(self, nodes: Iterable[NodeId]) -> dict[NodeId, int | None]:
        """Look up the numbers of many nodes without versions, in portions."""
        wanted = list(dict.fromkeys(nodes))
        missing = [node for node in wanted if node not in self._numbers]
        for start in range(0, len(missing), _NODES_AT_A_TIME):
            portion = missing[start : start + _NODES_AT_A_TIME]
            values = {
                f"{part}{i}": value
                for i, node in enumerate(portion)
                for part, value in zip("ksnp", node[:4], strict=True)
            }
            rows = ", ".join(f"(:k{i}, :s{i}, :n{i}, :p{i})" for i in range(len(portion)))
            found = self.select(
                f"WITH wanted(kind, namespace, name, part) AS (VALUES {rows})"
                " SELECT n.node_id, n.kind, n.namespace, n.name, n.part FROM wanted w"
                " JOIN node n ON n.kind = w.kind AND n.namespace = w.namespace"
                f" AND n.name = w.name AND n.part = w.part WHERE {self.known('n')}",
                **values,
            )
            self._numbers.update(dict.fromkeys(portion))
            self._numbers.update((NodeId(*row[1:]), row[0]) for row in found)
        return {node: self._numbers[node] for node in wanted}

    # -- aliases -------------------------------------------------------------------------------

    def component(self, number: int) -> frozenset[int]:
        """Give all nodes that the alias assertions of the moment make one with this."""
        if not self.has_aliases:
            return frozenset((number,))
        known = self._components.get(number)
        if known is None and self._has_all_components():
            known = self._components.get(number) or frozenset((number,))
        if known is None:
            known = self._spread(number)
            for member in known:
                self._components[member] = known
        return known

    def look_ahead(self, numbers: Iterable[int]) -> None:
        """Fetch at once the names of all that aliases make one with nodes."""
        if not self.has_aliases:
            return
        members = {member for number in numbers for member in self.component(number)}
        for number, name in self.names(members).items():
            # Whoever is named by a row of the moment is known at the moment.
            self._numbers.setdefault(name, number)

    def _alias_holds(self) -> str:
        """SQL condition: a row of `alias`, as `a`, makes one of two nodes at the moment."""
        return (
            f"a.node_b IS NOT NULL AND {self.point('a')} AND NOT EXISTS (SELECT 1 FROM alias r"
            f" WHERE r.node_a = a.node_a AND r.node_b IS NULL AND {self.point('r')}"
            " AND (r.event_time, r.digest) > (a.event_time, a.digest))"
        )

    def _has_all_components(self) -> bool:
        """Take up all aliases at once where they are few; tell whether that is done."""
        if self._whole is None:
            sql = (
                f"SELECT DISTINCT a.node_a, a.node_b FROM alias a WHERE {self._alias_holds()}"
                f" LIMIT {_ALIASES_AT_ONCE_MAX + 1}"
            )
            pairs = self.select(sql)
            self._whole = len(pairs) <= _ALIASES_AT_ONCE_MAX
            if self._whole:
                self._components.update(_components_of(pairs))
        return self._whole

    def _spread(self, number: int) -> frozenset[int]:
        reached = {number}
        frontier = {number}
        alive = self._alias_holds()
        among = "IN (SELECT value FROM json_each(:ids))"
        sql = (
            f"SELECT a.node_b FROM alias a WHERE a.node_a {among} AND {alive}"
            f" UNION SELECT a.node_a FROM alias a WHERE a.node_b {among} AND {alive}"
        )
        while frontier:
            frontier = {row[0] for row in self.select_among(sql, frontier)} - reached
            reached |= frontier
        return frozenset(reached)

    def _namesakes(self, node: NodeId) -> list[NodeId]:
        """Give all names of a node, its own among them; a column goes by its dataset's names."""
        home = _home(node)
        number = self.find_number(home) if self.has_aliases else None
        if number is None:
            return [node]
        homes = self.names(self.component(number)).values()
        return [node._replace(namespace=one.namespace, name=one.name) for one in homes]

    def members(self, node: NodeId) -> list[int]:
        """Give the numbers of all nodes that a canonical node stands for (versions aside)."""
        if not self.has_aliases:
            number = self.find_number(node)
            return [] if number is None else [number]
        found = (self.find_number(name) for name in self._namesakes(node))
        return [number for number in found if number is not None]

    def canonical(self, node: NodeId) -> NodeId:
        """Give the canonical name: the least (namespace, name) among aliases; version kept."""
        return min(self._namesakes(node)) if self.has_aliases else node

    def canonical_names(self, numbers: Collection[int]) -> dict[int, NodeId]:
        """Look up the canonical names of node numbers."""
        names = self.names(numbers)
        if not self.has_aliases:
            # Whoever is named by a row of the moment is known at the moment.
            for number, name in names.items():
                self._numbers.setdefault(name, number)
            return names
        return {number: self.canonical(name) for number, name in names.items()}

    def fields_of(self, dataset: NodeId) -> list[NodeId]:
        """Give the known columns of a canonical dataset, whichever of its names they came with."""
        found: set[NodeId] = set()
        for name in self._namesakes(dataset.at("")):
            rows = self.select(
                "SELECT node_id FROM node n WHERE kind = 'datasetField' AND namespace = :namespace"
                f" AND name = :name AND {self.known('n')}",
                namespace=name.namespace,
                name=name.name,
            )
            found.update(self.canonical_names([row[0] for row in rows]).values())
        return sorted(found)

    def aliases_of(self, node: NodeId) -> Sequence[NodeId]:
        """Give the other names of a node at the moment."""
        return sorted(set(self._namesakes(node.at(""))) - {node.at("")})

    def number_of(self, node: NodeId) -> int:
        """Look up the number of a canonical node that is known at the moment."""
        number = self.find_number(node)
        if number is not None:
            return number
        # Under one of its other names alone.
        return self.representatives(self.members(node)[:1]).popitem()[1]

    def representatives(self, numbers: Iterable[int]) -> dict[int, int]:
        """Give the numbers of the canonical nodes that nodes (no columns) stand for."""
        return {number: self._representative(number) for number in numbers}

    def _representative(self, number: int) -> int:
        component = self.component(number)
        if len(component) == 1:
            return number
        known = self._least.get(component)
        if known is None:
            names = self.names(component)
            known = self._least[component] = min(component, key=names.__getitem__)
        return known

    def alias_map(self) -> dict[int, int] | None:
        """Give the canonical node of every node that has aliases; `None` where they are many."""
        if not self.has_aliases:
            return {}
        if not self._has_all_components():
            return None
        return self.representatives(list(self._components))

    def members_among(self, numbers: Collection[int]) -> Collection[int]:
        """Give all nodes that canonical nodes stand for."""
        if not self.has_aliases:
            return numbers
        return {member for number in numbers for member in self.component(number)}

    def numbers_of_kinds(self, numbers: Collection[int], kinds: Collection[str]) -> list[int]:
        """Give those of some nodes that are of some kinds."""
        sql = f"{_OF_KIND} AND node_id {_AMONG}"
        return [row[0] for kind in kinds for row in self.select_among(sql, numbers, kind=kind)]

    def all_of_kinds(self, kinds: Collection[str]) -> list[int]:
        """Give every node of some kinds, at whatever moment; for kinds that are few."""
        return [row[0] for kind in kinds for row in self.select(_OF_KIND, kind=kind)]

    # -- runs ----------------------------------------------------------------------------------

    def groups_of_run(self, run_id: str) -> list[int]:
        """Give the groups (one a job) of a run that is known at the moment."""
        rows = self.select(
            "SELECT g.group_id FROM run_group g JOIN run_state s USING (group_id)"
            f" WHERE g.run_id = :run AND {self.rectangle('s')} ORDER BY g.group_id",
            run=run_id,
        )
        return [row[0] for row in rows]


def _home(node: NodeId) -> NodeId:
    """Give the node whose aliases a node goes by."""
    return node.dataset if node.kind == "datasetField" else node.at("")


def _components_of(pairs: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Give, by node, the nodes that pairs connect it with, itself among them."""
    found: dict[int, set[int]] = {}
    for one, other in pairs:
        here, there = found.get(one, {one}), found.get(other, {other})
        if here is there:
            continue
        if len(here) < len(there):
            here, there = there, here
        here |= there
        for node in here if one not in found or other not in found else there:
            found[node] = here
    frozen = {id(nodes): frozenset(nodes) for nodes in found.values()}
    return {node: frozen[id(nodes)] for node, nodes in found.items()}

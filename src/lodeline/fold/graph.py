"""The graph: the union of contributions, with aliases, registers and an order-free digest."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lodeline.fold.contributions import contribution
from lodeline.fold.entries import Entry, distinct, group_key, known_at
from lodeline.fold.registers import mentions
from lodeline.fold.relations import Assertion, Contribution, GroupKey, Write
from lodeline.fold.statements import facet_digest, plain
from lodeline.model import NodeId

# Logged with a `fold` leaf. A change of meaning anywhere in this package raises it, and every
# store folds again.
FOLD_VERSION = 3

EdgeKey = tuple[NodeId | None, NodeId | None, str, NodeId | None]
Order = tuple[int, bytes]


@dataclass(slots=True)
class Graph:
    """What a list of entries says.

    Attributes:
        groups: contribution of each group, future ones included.
        registers: per node and facet name, the order of the last statement and the digest of its
            body (None where it was a tombstone).
        symlinks: assertions and retractions of aliases, in their order.
        endings: times at which a lifecycle facet ended a node.
        names: every node that is known.
        numbers: versions of a model or deployment in order of first appearance in the log; the
            n-th is number n. Not part of the digest.
    """

    groups: dict[GroupKey, Contribution] = field(default_factory=dict)
    registers: dict[NodeId, dict[str, tuple[Order, str | None]]] = field(default_factory=dict)
    symlinks: list[tuple[Order, NodeId, NodeId | None]] = field(default_factory=list)
    endings: dict[NodeId, set[int]] = field(default_factory=dict)
    names: set[NodeId] = field(default_factory=set)
    numbers: dict[NodeId, list[str]] = field(default_factory=dict)
    _canonical: dict[NodeId, NodeId] | None = None

    def aliases(self) -> set[tuple[NodeId, NodeId]]:
        """Give the alias assertions in force: those not followed by a retraction."""
        return live_aliases(self.symlinks)

    def canonical(self, node: NodeId) -> NodeId:
        """Give the canonical name of a node: the least of its aliases, part and version kept."""
        if self._canonical is None:
            self._canonical = canonical_names(self.aliases())
        if node.kind == "datasetField":
            home = self._canonical.get(node.dataset)
            if home is None:
                return node
            return NodeId(node.kind, home.namespace, home.name, node.part, node.version)
        home = self._canonical.get(node.at(""))
        return node if home is None else home.at(node.version)

    def edges(self) -> dict[EdgeKey, list[tuple[Contribution, Assertion]]]:
        """Give every derivation under canonical names, with the assertions behind it."""
        found: dict[EdgeKey, list[tuple[Contribution, Assertion]]] = defaultdict(list)
        for group in self.groups.values():
            for one in group.assertions:
                source = None if one.source is None else self.canonical(one.source)
                target = None if one.target is None else self.canonical(one.target)
                found[source, target, one.kind, one.job].append((group, one))
        return found

    def writes(self) -> dict[NodeId, list[tuple[Write, Contribution]]]:
        """Give the writes of each canonical node, by (time, version), the future left out."""
        found: dict[NodeId, list[tuple[Write, Contribution]]] = defaultdict(list)
        for group in self.groups.values():
            if not group.key.future:
                for write in group.writes:
                    found[self.canonical(write.node)].append((write, group))
        for writes in found.values():
            writes.sort(key=lambda one: (one[0].time_us, one[0].version, one[1].key))
        return found

    def digest(self) -> str:
        """Digest the graph: SHA-256 over the sorted SHA-256 of its canonical lines, as hex.

        Log positions and numbers are left out, and so is whatever is dated in the future: the
        same events give the same digest in any order, repeated or not.
        """
        return digest_lines(self.lines())

    def lines(self) -> Iterable[str]:
        """Write the graph as canonical JSON lines, one a group, register, alias and ending."""
        for group in self.groups.values():
            if not group.key.future:
                yield group_line(group)
        for node, register in self.registers.items():
            for name, (_, digest) in register.items():
                if digest is not None:
                    yield register_line(str(node), name, digest)
        for one, other in self.aliases():
            yield alias_line(str(one), str(other))
        for node, times in self.endings.items():
            for time_us in times:
                yield ending_line(str(node), time_us)


def fold(
    entries: Sequence[Entry], *, as_of: int | None = None, valid_at: int | None = None
) -> Graph:
    """Fold entries into the graph that they say.

    Args:
        entries: in any order, repeated or not.
        as_of: only entries at positions below it.
        valid_at: only events dated at or before it, in microseconds.
    """
    graph = Graph()
    groups: dict[GroupKey, list[Entry]] = defaultdict(list)
    for entry in distinct(known_at(entries, as_of=as_of, valid_at=valid_at)):
        groups[group_key(entry)].append(entry)
        _mention(graph, entry)
    for key, members in groups.items():
        graph.groups[key] = contribution(members)
        graph.names.update(names_of(graph.groups[key]))
    return graph


def _mention(graph: Graph, entry: Entry) -> None:
    stated = mentions(entry.event)
    graph.names.update(stated.iter_names())
    if entry.future:
        return  # Kept and marked in its group; it wins no register and ends nothing.
    for node, facets in stated.facets.items():
        register = graph.registers.setdefault(node, {})
        for name, raw in facets.items():
            before = register.get(name)
            if before is None or before[0] < entry.order:
                register[name] = (entry.order, facet_digest(raw))
    graph.symlinks += [(entry.order, node, other) for node, other in stated.aliases]
    for node in stated.endings:
        graph.endings.setdefault(node, set()).add(entry.event.event_time_us)
    for node, version in stated.versions:
        versions = graph.numbers.setdefault(node, [])
        if version not in versions:
            versions.append(version)


def names_of(group: Contribution) -> set[NodeId]:
    """List the nodes that a contribution names."""
    names = {group.job} if group.job is not None else set()
    for one in group.assertions:
        names |= {node for node in (one.source, one.target, one.job) if node is not None}
    names |= {write.node for write in group.writes} | {read.node for read in group.reads}
    names |= {feature.feature for feature in group.features}
    names |= {feature.field for feature in group.features}
    names |= {parent.job for parent in group.parents}
    return names


def live_aliases(
    symlinks: Iterable[tuple[Order, NodeId, NodeId | None]],
) -> set[tuple[NodeId, NodeId]]:
    """Keep the alias assertions that no later retraction by the same node ends."""
    retracted: dict[NodeId, Order] = {}
    stated: dict[tuple[NodeId, NodeId], Order] = {}
    for order, node, other in symlinks:
        if other is None:
            retracted[node] = max(order, retracted.get(node, order))
        else:
            pair = (node, other)
            stated[pair] = max(order, stated.get(pair, order))
    return {
        pair
        for pair, order in stated.items()
        if pair[0] not in retracted or order > retracted[pair[0]]
    }


def canonical_names(aliases: Iterable[tuple[NodeId, NodeId]]) -> dict[NodeId, NodeId]:
    """Map each aliased node to the least (namespace, name) of its component."""
    neighbours: dict[NodeId, set[NodeId]] = defaultdict(set)
    for one, other in aliases:
        neighbours[one].add(other)
        neighbours[other].add(one)
    found: dict[NodeId, NodeId] = {}
    for start in sorted(neighbours):  # The least of a component comes first.
        if start in found:
            continue
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found[node] = start
                waiting.extend(neighbours[node])
    return found


def digest_lines(lines: Iterable[str]) -> str:
    """Digest lines in no order. Hashing each first keeps a large graph's digests in memory."""
    total = hashlib.sha256()
    for digest in sorted(hashlib.sha256(line.encode()).digest() for line in lines):
        total.update(digest)
    return total.hexdigest()


def group_line(group: Contribution) -> str:
    """Write a group as one canonical line."""
    key, state = group.key, group.state
    return plain(
        [
            "group",
            [key.kind, key.run_id, key.digest.hex(), None if group.job is None else str(group.job)],
            [state.state, state.first_us, state.start_us, state.end_us, state.last_us, state.code],
            sorted(
                [
                    _text(one.source),
                    _text(one.target),
                    one.kind,
                    _text(one.job),
                    one.basis,
                    one.detail,
                ]
                for one in group.assertions
            ),
            sorted([str(write.node), write.version, write.time_us] for write in group.writes),
            sorted([str(read.node), read.version or ""] for read in group.reads),
            sorted([gap.at, gap.reason, gap.detail] for gap in group.gaps),
            sorted([parent.run_id, str(parent.job)] for parent in group.parents),
            sorted([str(one.feature), str(one.field), one.version] for one in group.features),
        ]
    )


def _text(node: NodeId | None) -> str:
    return "" if node is None else str(node)


def register_line(node: str, name: str, digest: str) -> str:
    """Write a register's winner as one canonical line."""
    return plain(["register", node, name, digest])


def alias_line(node: str, other: str) -> str:
    """Write an alias in force as one canonical line."""
    return plain(["alias", node, other])


def ending_line(node: str, time_us: int) -> str:
    """Write an ending as one canonical line."""
    return plain(["ending", node, time_us])

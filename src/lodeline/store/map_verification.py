"""Verification of the log's map: every `map` leaf against the entries before it, and the tables.

1. The entries are filed again under the nodes that they assert something about, by the same rule;
   what an erased entry mentioned is taken from the tables, which alone know it.
2. Each `map` leaf stands at its own size, counts the nodes, and has the root that they give.
3. The tables say of each node what the log says, as far as they have come.

The map is held in memory while it is computed: some 300 bytes a node.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from lodeline.errors import ProofError
from lodeline.proof import CompactRange, MapHead
from lodeline.proof.merkle_map import (
    EMPTY_SUBTREE,
    Subtree,
    join,
    position_hash,
    subtree_of,
    value_of,
)
from lodeline.store.connections import Connection
from lodeline.store.map_tables import BUCKET_BITS, MapTables, bucket_of, edge_of, iter_unmapped

if TYPE_CHECKING:
    from lodeline.store.verification import VerifyReport

_PAGE: Final = 500


class GrowingMap:
    """A map in memory; a root costs what has changed since the last."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, CompactRange] = {}
        self._buckets: dict[int, set[bytes]] = defaultdict(set)
        self._levels: list[dict[int, Subtree]] = [{} for _ in range(BUCKET_BITS + 1)]
        self._dirty: set[int] = set()

    def add(self, key: bytes, position: int) -> None:
        """File an entry under a key; positions ascend."""
        bucket = bucket_of(key)
        node = self.nodes.get(key)
        if node is None:
            node = self.nodes[key] = CompactRange()
            self._buckets[bucket].add(key)
        node.append(position_hash(position))
        self._dirty.add(bucket)

    def root(self) -> bytes:
        """Compute the root."""
        changed, self._dirty = self._dirty, set()
        for bucket in changed:
            keys = sorted(self._buckets[bucket])
            items = [(key, value_of(self.nodes[key].end, self.nodes[key].root())) for key in keys]
            self._levels[BUCKET_BITS][bucket] = subtree_of(items, BUCKET_BITS)
        for depth in reversed(range(BUCKET_BITS)):
            changed = {one >> 1 for one in changed}
            below = self._levels[depth + 1]
            for one in changed:
                left, right = (below.get(2 * one + half, EMPTY_SUBTREE) for half in (0, 1))
                self._levels[depth][one] = join(left, right)
        return self._levels[0].get(0, EMPTY_SUBTREE).hash

    def part(self, depth: int, prefix: int) -> Subtree:
        """Give a subtree as of the last root."""
        levels = self._levels
        return levels[depth].get(prefix, EMPTY_SUBTREE) if depth < len(levels) else EMPTY_SUBTREE


def verify_maps(connection: Connection, report: VerifyReport) -> None:
    """Check every `map` leaf of one snapshot, and the tables beside the log."""
    try:
        _verify_maps(connection, report)
    except (TypeError, ValueError, OverflowError, ProofError) as error:
        # A flipped byte in a row's header makes a value of another type.
        report.fail("map.table", "map", "values of the tables' types", error)


def _verify_maps(connection: Connection, report: VerifyReport) -> None:
    # Only here: verifying a store without the map must not pay for importing the fold.
    from lodeline.fold.subjects import EntryKeys

    known = connection.execute("SELECT 1 FROM entry WHERE kind = 'map' LIMIT 1").fetchone()
    mapped_to = MapTables(connection).state()[0]
    if known is None and not mapped_to:
        return
    keys = EntryKeys()
    grown = GrowingMap()
    erased = _erased_mentions(connection)
    start = 0
    while rows := list(iter_unmapped(connection, start, _PAGE)):
        for position, kind, payload in rows:
            if position == mapped_to:
                _verify_tables(connection, grown, report)
            if kind == "map":
                # 2.
                _verify_leaf(grown, position, payload, report)
            # 1.
            found = erased.get(position)
            if found is None and isinstance(payload, bytes):
                found = keys.of(kind, payload)
            for key in found or ():
                grown.add(key, position)
        start = rows[-1][0] + 1
    if mapped_to == start:
        _verify_tables(connection, grown, report)
    elif mapped_to > start:
        report.fail("map.table", "map_state", f"at most {start}", mapped_to)


def _erased_mentions(connection: Connection) -> dict[int, frozenset[bytes]]:
    found: dict[int, set[bytes]] = defaultdict(set)
    if connection.execute("SELECT 1 FROM erasure LIMIT 1").fetchone() is not None:
        for position, key in connection.execute(
            "SELECT position, key FROM map_mention JOIN erasure USING (position) "
            "JOIN map_node USING (number)"
        ):
            found[position].add(key)
    return {position: frozenset(keys) for position, keys in found.items()}


def _verify_leaf(
    grown: GrowingMap, position: int, payload: bytes | None, report: VerifyReport
) -> None:
    at = f"entry {position}"
    try:
        head = MapHead.from_json(json.loads(payload or b""))
    except (ValueError, RecursionError, ProofError) as error:
        report.fail("map.root", at, "a map record", error)
        return
    if head.size != position:
        report.fail("map.root", at, f"size {position}", f"size {head.size}")
        return
    root = grown.root()
    if (head.root, head.keys) != (root, len(grown.nodes)):
        report.fail(
            "map.root",
            at,
            f"{root.hex()} of {len(grown.nodes)} nodes",
            f"{head.root.hex()} of {head.keys} nodes",
        )


def _verify_tables(connection: Connection, grown: GrowingMap, report: VerifyReport) -> None:
    """Compare the tables with the map at the size that they have come to: number 3."""
    left = dict.fromkeys(grown.nodes)
    for number, key, count, edge in connection.execute(
        "SELECT number, key, positions, edge FROM map_node"
    ):
        at = f"map_node {number}"
        expected = grown.nodes.get(key)
        if expected is None:
            report.fail("map.table", at, "no such node", key)
            continue
        left.pop(key, None)
        try:
            same = edge_of(count, edge).root() == expected.root()
        except (ProofError, TypeError):
            same = False
        if not same or count != expected.end:
            report.fail("map.table", at, f"{expected.end} entries", f"{count}, or others")
            continue
        filed = CompactRange()
        for (position,) in connection.execute(
            "SELECT position FROM map_mention WHERE number = ? ORDER BY position", (number,)
        ):
            filed.append(position_hash(position))
        if (filed.end, filed.hashes) != (expected.end, expected.hashes):
            report.fail("map.table", f"map_mention {number}", expected.root(), filed.root())
    for key in left:
        report.fail("map.table", "map_node", f"a node of key {key.hex()}", "none")
    _verify_parts(connection, report, grown)


def _verify_parts(connection: Connection, report: VerifyReport, grown: GrowingMap) -> None:
    """Compare the kept subtrees, unless some are known to be behind."""
    if connection.execute("SELECT 1 FROM map_dirty LIMIT 1").fetchone() is not None:
        return
    grown.root()
    for depth, prefix, value in connection.execute("SELECT depth, prefix, hash FROM map_part"):
        expected = grown.part(depth, prefix)
        if expected.keys < 2 or expected.hash != value:
            report.fail("map.table", f"map_part {depth}/{prefix}", expected.hash, value)

"""Tables of the log's map, and the map in them: which entries assert something about which node.

`map_mention` says it plainly; `map_node` keeps, for each node, the right edge of the tree over its
positions, so that one more costs a hash or two. `map_part` keeps the upper subtrees of the trie
that hold two keys or more; a subtree without a row holds at most one, found by its key. `map_dirty`
names the buckets whose subtrees are behind, so that a root costs what has changed.

The tables follow the log and are made from it, with one exception: what an erased entry mentioned
is known here alone. So they are kept when the graph is rebuilt. The formula is `proof.merkle_map`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from lodeline.limits import MAP_ENTRIES_MAX
from lodeline.proof import HASH_BYTES, CompactRange, MapProof
from lodeline.proof.merkle_map import (
    EMPTY_SUBTREE,
    Subtree,
    bit_of,
    hash_map_leaf,
    join,
    position_hash,
    prove_in,
    subtree_of,
    value_of,
)
from lodeline.store.connections import Connection

if TYPE_CHECKING:
    from lodeline.fold.subjects import EntryKeys

MAP_TABLES: Final = """
CREATE TABLE IF NOT EXISTS map_node(
    number INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    positions INTEGER NOT NULL,
    edge BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS map_mention(
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY(number, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS map_part(
    depth INTEGER NOT NULL,
    prefix INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY(depth, prefix)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS map_dirty(bucket INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS map_state(
    mapped_to INTEGER NOT NULL,
    last_mention INTEGER NOT NULL
);
"""

# A bucket is the keys that share so many first bits: some 16 keys of a million.
BUCKET_BITS: Final = 16
_ALL: Final = 1 << 62
_PARAMETERS_MAX: Final = 500  # SQLite takes 999 in its oldest supported builds.


def bucket_of(key: bytes) -> int:
    """Give the bucket that a key lies in."""
    return int.from_bytes(key[:2], "big")


def edge_of(count: int, edge: bytes) -> CompactRange:
    """Take up a node's tree over positions again from its right edge."""
    hashes = [edge[i : i + HASH_BYTES] for i in range(0, len(edge), HASH_BYTES)]
    return CompactRange(0, count, hashes)


def _range_of(depth: int, prefix: int) -> tuple[bytes, bytes]:
    """Give the least and the greatest key that begin with `depth` bits."""
    low = prefix << (256 - depth)
    return low.to_bytes(32, "big"), (low | ((1 << (256 - depth)) - 1)).to_bytes(32, "big")


def _item(row: tuple[bytes, int, bytes]) -> tuple[bytes, bytes]:
    key, count, edge = row
    return key, value_of(count, edge_of(count, edge).root())


class MapTables:
    """The map in one transaction or snapshot of a store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def state(self) -> tuple[int, int]:
        """Give how many entries are mapped, and the greatest position mentioned, -1 for none."""
        row = self._connection.execute("SELECT mapped_to, last_mention FROM map_state").fetchone()
        return (0, -1) if row is None else (row[0], row[1])

    def key_count(self) -> int:
        """Count the nodes: numbers are given from 1 and never taken back."""
        (count,) = self._connection.execute("SELECT max(number) FROM map_node").fetchone()
        return int(count or 0)

    def add(self, mentions: Mapping[bytes, Sequence[int]], *, mapped_to: int) -> None:
        """File entries under keys; positions ascend and lie above all that were filed before."""
        known = self._known(list(mentions))
        number = self.key_count()
        nodes: list[tuple[int, bytes, int, bytes]] = []
        rows: list[tuple[int, int]] = []
        last = self.state()[1]
        for key, positions in mentions.items():
            found = known.get(key)
            if found is None:
                number += 1
                found = (number, 0, b"")
            edge = edge_of(found[1], found[2])
            for position in positions:
                edge.append(position_hash(position))
            nodes.append((found[0], key, edge.end, b"".join(edge.hashes)))
            rows += [(found[0], position) for position in positions]
            last = max(last, positions[-1])
        insert = self._connection.executemany
        insert(
            "INSERT INTO map_node VALUES (?, ?, ?, ?) ON CONFLICT(number) DO UPDATE SET "
            "positions = excluded.positions, edge = excluded.edge",
            nodes,
        )
        insert("INSERT INTO map_mention VALUES (?, ?)", rows)
        buckets = {(bucket_of(key),) for key in mentions}
        insert("INSERT INTO map_dirty VALUES (?) ON CONFLICT DO NOTHING", buckets)
        self._connection.execute("DELETE FROM map_state")
        self._connection.execute("INSERT INTO map_state VALUES (?, ?)", (mapped_to, last))

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int, bytes]]:
        found: dict[bytes, tuple[int, int, bytes]] = {}
        for start in range(0, len(keys), _PARAMETERS_MAX):
            part = keys[start : start + _PARAMETERS_MAX]
            marks = ",".join("?" * len(part))
            for key, *row in self._connection.execute(
                f"SELECT key, number, positions, edge FROM map_node WHERE key IN ({marks})", part
            ):
                found[key] = (row[0], row[1], row[2])
        return found

    def root(self) -> bytes:
        """Bring the parts up to the nodes, and give the root. Writes."""
        while self.settle():
            pass
        return self.part(0, 0).hash

    def settle(self, limit: int = MAP_ENTRIES_MAX) -> int:
        """Bring the parts up to the nodes of some buckets; give how many were behind. Writes."""
        dirty = [
            row[0]
            for row in self._connection.execute("SELECT bucket FROM map_dirty LIMIT ?", (limit,))
        ]
        level: dict[int, Subtree] = {}
        for bucket in dirty:
            level[bucket] = subtree_of(self._items(BUCKET_BITS, bucket), BUCKET_BITS)
        self._keep(BUCKET_BITS, level)
        for depth in reversed(range(BUCKET_BITS)):
            above: dict[int, Subtree] = {}
            for prefix in {one >> 1 for one in level}:
                halves = [
                    level.get(child) or self.part(depth + 1, child)
                    for child in (2 * prefix, 2 * prefix + 1)
                ]
                above[prefix] = join(halves[0], halves[1])
            level = above
            self._keep(depth, level)
        settled = [(bucket,) for bucket in dirty]
        self._connection.executemany("DELETE FROM map_dirty WHERE bucket = ?", settled)
        return len(dirty)

    def _keep(self, depth: int, level: Mapping[int, Subtree]) -> None:
        self._connection.executemany(
            "INSERT INTO map_part VALUES (?, ?, ?) "
            "ON CONFLICT (depth, prefix) DO UPDATE SET hash = excluded.hash",
            [(depth, prefix, one.hash) for prefix, one in level.items() if one.keys > 1],
        )

    def part(self, depth: int, prefix: int) -> Subtree:
        """Give a subtree at a depth of at most `BUCKET_BITS`, as of the last `root`."""
        row = self._connection.execute(
            "SELECT hash FROM map_part WHERE depth = ? AND prefix = ?", (depth, prefix)
        ).fetchone()
        if row is not None:
            return Subtree(row[0], 2)
        lone = self._items(depth, prefix, limit=1)
        return Subtree(hash_map_leaf(*lone[0]), 1) if lone else EMPTY_SUBTREE

    def _items(self, depth: int, prefix: int, *, limit: int = _ALL) -> list[tuple[bytes, bytes]]:
        rows = self._connection.execute(
            "SELECT key, positions, edge FROM map_node WHERE key BETWEEN ? AND ? "
            "ORDER BY key LIMIT ?",
            (*_range_of(depth, prefix), limit),
        )
        return [_item(row) for row in rows]

    def positions(self, key: bytes, *, below: int) -> list[int]:
        """List the positions filed under a key, those below a size."""
        rows = self._connection.execute(
            "SELECT position FROM map_mention JOIN map_node USING (number) "
            "WHERE key = ? AND position < ? ORDER BY position",
            (key, below),
        )
        return [row[0] for row in rows]

    def prove(self, key: bytes) -> MapProof:
        """Prove a key under the last `root`, after which nothing may have been added."""
        siblings: list[bytes] = []
        for depth in range(BUCKET_BITS):
            prefix = int.from_bytes(key, "big") >> (256 - depth)
            if self.part(depth, prefix).keys < 2:
                lone = self._items(depth, prefix, limit=1)
                other = lone[0] if lone and lone[0][0] != key else None
                return MapProof(tuple(siblings), other)
            far = 2 * prefix + 1 - bit_of(key, depth)
            siblings.append(self.part(depth + 1, far).hash)
        below = prove_in(self._items(BUCKET_BITS, bucket_of(key)), key, BUCKET_BITS)
        return MapProof((*siblings, *below.siblings), below.other)

    def items_at(self, size: int) -> dict[bytes, list[int]]:
        """Give the whole map as it was at an earlier size: every key and its positions."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for key, position in self._connection.execute(
            "SELECT key, position FROM map_mention JOIN map_node USING (number) "
            "WHERE position < ? ORDER BY number, position",
            (size,),
        ):
            found[key].append(position)
        return found

    def mention_count(self) -> int:
        """Count the mentions filed."""
        (total,) = self._connection.execute(
            "SELECT coalesce(sum(positions), 0) FROM map_node"
        ).fetchone()
        return int(total)


def last_map_position(connection: Connection) -> int | None:
    """Give the position of the newest `map` leaf."""
    row = connection.execute(
        "SELECT max(position) FROM entry WHERE kind = 'map' AND kind <> 'event'"
    ).fetchone()
    return None if row is None else row[0]


def iter_unmapped(
    connection: Connection, start: int, limit: int
) -> Iterator[tuple[int, str, bytes | None]]:
    """Walk entries from a position on: position, kind and payload, None once it is erased."""
    return iter(
        connection.execute(
            "SELECT entry.position, kind, payload FROM entry LEFT JOIN payload USING (position) "
            "WHERE entry.position >= ? ORDER BY entry.position LIMIT ?",
            (start, limit),
        )
    )


def map_batch(connection: Connection) -> int:
    """Map up to a batch of entries, inside the caller's transaction; give how many there were."""
    tables = MapTables(connection)
    start = tables.state()[0]
    keys = _entry_keys()
    found: dict[bytes, list[int]] = defaultdict(list)
    position = start - 1
    for position, kind, payload in iter_unmapped(connection, start, MAP_ENTRIES_MAX):
        for key in () if payload is None else keys.of(kind, payload):
            found[key].append(position)
    if position >= start:
        tables.add(found, mapped_to=position + 1)
    return position + 1 - start


def map_all(connection: Connection) -> None:
    """Map every entry, inside the caller's transaction."""
    while map_batch(connection):
        pass


@cache
def _entry_keys() -> EntryKeys:
    """Give the one reader of keys: what jobs say repeats, and keys depend on nothing else."""
    # Only here: asking a store must not pay for importing the fold.
    from lodeline.fold.subjects import EntryKeys

    return EntryKeys()

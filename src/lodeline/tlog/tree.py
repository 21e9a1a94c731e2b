"""The growing tree: appends leaf hashes, fills tiles, knows the root.

Holds the right edge only: for each tile level the hashes of its unfinished tile, and the compact
range of the whole tree. Writing what it gives out is the store's part, in the transaction that
writes the leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lodeline.errors import MalformedProofError
from lodeline.proof import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, CompactRange, perfect_root
from lodeline.proof.compact_range import iter_subtrees

# A full tile: level, number, and 256 hashes.
FullTile = tuple[int, int, bytes]

_TILE_BYTES = TILE_WIDTH * HASH_BYTES


class GrowingTree:
    """The right edge of a tree of `size` leaves.

    Attributes:
        edges: for each tile level, the concatenated hashes of its unfinished tile.
    """

    def __init__(self, size: int = 0, edges: Mapping[int, bytes] | None = None) -> None:
        """Take up a tree from its size and the unfinished tile of each level.

        Raises:
            MalformedProofError: an edge is not as long as the size says.
        """
        self.edges: list[bytearray] = []
        given = dict(edges or {})
        level, width = 0, size
        while width or level in given:
            edge = given.get(level, b"")
            if len(edge) != width % TILE_WIDTH * HASH_BYTES:
                raise MalformedProofError(
                    f"unfinished tile of level {level} has {len(edge) // HASH_BYTES} hashes; "
                    f"a tree of {size} needs {width % TILE_WIDTH}"
                )
            self.edges.append(bytearray(edge))
            level, width = level + 1, width // TILE_WIDTH
        self._range = CompactRange(0, size, [self._node(*node) for node in iter_subtrees(0, size)])

    def _node(self, level: int, index: int) -> bytes:
        # The largest subtrees that tile [0, size) all lie in unfinished tiles: a finished tile's
        # root is a hash of the next level.
        tile_level, height = divmod(level, TILE_HEIGHT)
        offset = (index << height) % TILE_WIDTH
        edge = self.edges[tile_level]
        return perfect_root(
            bytes(edge[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES])
        )

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self._range.end

    def root(self) -> bytes:
        """Compute the root."""
        return self._range.root()

    def extend(self, leaf_hashes: Iterable[bytes]) -> list[FullTile]:
        """Append leaves; give the tiles that became full, lowest level first for each."""
        full: list[FullTile] = []
        if not self.edges:
            self.edges.append(bytearray())
        edge = self.edges[0]
        hashes = list(leaf_hashes)
        start = 0
        while start < len(hashes):
            stop = start + TILE_WIDTH - len(edge) // HASH_BYTES
            part = hashes[start:stop]
            start = stop
            whole = len(part) == TILE_WIDTH
            edge += b"".join(part)
            if not whole:
                for leaf_hash in part:
                    self._range.append(leaf_hash)
            if len(edge) == _TILE_BYTES:
                root = perfect_root(bytes(edge))
                if whole:
                    # Its inner nodes are hashed once, for the tile and the range alike.
                    self._range.append_subtree(TILE_HEIGHT, root)
                self._finish(0, self._range.end // TILE_WIDTH - 1, root, full)
        return full

    def _finish(self, level: int, number: int, root: bytes, full: list[FullTile]) -> None:
        hashes = bytes(self.edges[level])
        self.edges[level].clear()
        full.append((level, number, hashes))
        if len(self.edges) == level + 1:
            self.edges.append(bytearray())
        parent = self.edges[level + 1]
        parent += root
        if len(parent) == _TILE_BYTES:
            self._finish(level + 1, number // TILE_WIDTH, perfect_root(bytes(parent)), full)

    def copy(self) -> GrowingTree:
        """Give an independent copy, to be thrown away if the transaction fails."""
        twin = GrowingTree.__new__(GrowingTree)
        twin.edges = [bytearray(edge) for edge in self.edges]
        twin._range = self._range.copy()  # noqa: SLF001  # our own class
        return twin

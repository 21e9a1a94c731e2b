"""The files of a tiled log: which there are in a tree of some size, and what their paths say.

Source: https://c2sp.org/tlog-tiles. Reading and writing them lies in `folders` and `buckets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lodeline.proof import TILE_HEIGHT, TILE_WIDTH, bundle_path, tile_path

CHECKPOINT: Final = "checkpoint"
# The checkpoint that a publication under way is writing the files of. Not part of tlog-tiles:
# it tells a reader why files lie beyond the checkpoint, and goes when they don't any more.
NEXT_CHECKPOINT: Final = "checkpoint.next"
TILES: Final = "tile/"

# The level of entry bundles, below the tiles of level 0.
ENTRIES_LEVEL: Final = -1

_PATH: Final = re.compile(
    r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Resource:
    """A tile, or the bundle of the entries below a tile of level 0.

    Attributes:
        level: of the tile; `ENTRIES_LEVEL` for a bundle.
        number: from the left, at its level.
        width: hashes or entries in it; fewer than 256 only at the right edge of some tree.
    """

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where it lies below the log's prefix."""
        if self.level == ENTRIES_LEVEL:
            return bundle_path(self.number, width=self.width)
        return tile_path(self.level, self.number, width=self.width)


def find_resource(path: str) -> Resource | None:
    """Read a path; `None` where it is not the one path of any tile or bundle."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = ENTRIES_LEVEL if match[1] == "entries" else int(match[1])
    number = int(match[2].replace("x", "").replace("/", ""))
    resource = Resource(level, number, int(match[3] or TILE_WIDTH))
    # Every file has one path: no leading zeros, no full tile by the name of a partial one.
    return resource if resource.path == path else None


def count_at(level: int, size: int) -> int:
    """Count the hashes of a level (or the entries) in a tree of `size`."""
    return size >> TILE_HEIGHT * max(level, 0)


def width_at(level: int, number: int, size: int) -> int:
    """Count the hashes or entries that one tile or bundle has in a tree of `size`; 0 if none."""
    return min(max(count_at(level, size) - number * TILE_WIDTH, 0), TILE_WIDTH)


def iter_edge(size: int) -> Iterator[Resource]:
    """List the unfinished tiles and the unfinished bundle of a tree, entries first."""
    level = ENTRIES_LEVEL
    while count_at(level, size):
        number, width = divmod(count_at(level, size), TILE_WIDTH)
        if width:
            yield Resource(level, number, width)
        level += 1

"""The walk over a log's tiles and entries that names what does not lead to the signed root.

Every hash has two witnesses: the tile above, whose own hash leads to the root, and what lies below.
Depth first, left to right:

1. The unfinished tiles of all levels together give the root. If those in the folder give the
   signed one, each hash in them is proven.
2. A full tile is proven if it gives the proven hash above it. One that is not is held against the
   hashes computed from below: the first that differs is the bad one, if those from below give
   what is above.
3. An entry is right if its leaf hash is the one in a proven tile. Where a tile is not proven, the
   hash above decides between tile and entries.
4. If the unfinished tiles do not give the root, each level's is tried as it stands and as computed
   from below, until the root comes out. What differs from that choice is bad.
5. If nothing gives the root and no fault explains it, that is told of the checkpoint.

One fault is told once: where one of two witnesses is refuted, the walk goes on with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from lodeline.errors import MalformedProofError
from lodeline.proof import HASH_BYTES, TILE_WIDTH, TreeHead, hash_leaf, iter_bundle, perfect_root
from lodeline.tlog.faults import FsckReport
from lodeline.tlog.folders import LogFolder
from lodeline.tlog.resources import CHECKPOINT, ENTRIES_LEVEL, Resource, count_at
from lodeline.tlog.tree import GrowingTree

Hashes = list[bytes | None]


def split_hashes(data: bytes) -> list[bytes]:
    """Take the hashes of a tile apart."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


@dataclass(slots=True)
class Bundle:
    """Entries as read.

    Attributes:
        path: of the file.
        hashes: leaf hash of each entry; `None` where it is missing.
        offsets: of each entry's length in the file.
        cut: offset where the file ends too early, or goes on too long; `None` if neither.
        byte_count: of the file.
    """

    path: str
    hashes: Hashes
    offsets: list[int]
    cut: int | None
    byte_count: int


def parse_bundle(path: str, data: bytes, width: int) -> Bundle:
    """Read a bundle as far as it can be read."""
    hashes: Hashes = []
    offsets: list[int] = []
    offset = 0
    cut = None
    try:
        for entry in iter_bundle(data):
            if len(hashes) == width:
                cut = offset
                break
            hashes.append(hash_leaf(entry))
            offsets.append(offset)
            offset += 2 + len(entry)
    except MalformedProofError:
        cut = offset
    if len(hashes) < width:
        cut = offset
    hashes += [None] * (width - len(hashes))
    return Bundle(path, hashes, offsets, cut, len(data))


class Walk:
    """One walk over one folder.

    Args:
        folder: to be read.
        head: what its checkpoint says.
        report: told of faults and counts.
        progress: told of entries checked.
    """

    def __init__(
        self,
        folder: LogFolder,
        head: TreeHead,
        report: FsckReport,
        progress: Callable[[int, int], object],
    ) -> None:
        self._folder = folder
        self._head = head
        self._report = report
        self._progress = progress

    def read_hashes(self, level: int, number: int) -> bytes:
        """Read a tile for `root_from_tiles`; empty where there is none."""
        width = min(count_at(level, self._head.size) - number * TILE_WIDTH, TILE_WIDTH)
        return self._read(Resource(level, number, width))[1] or b""

    def run(self) -> None:
        """Walk the whole tree, and tell the report what does not hold."""
        size = self._head.size
        if not size:
            if GrowingTree().root() != self._head.root_hash:
                self._fail_root()
            return
        levels = [level for level in range(9) if count_at(level, size)]
        # 1.
        stored = {level: self._edge(level) for level in levels}
        proven = self._leads_to_root(stored)
        computed: dict[int, Hashes] = {}
        bundle = None
        for level in reversed(levels):
            number, width = divmod(count_at(level, size), TILE_WIDTH)
            row = stored[level]
            expected: Sequence[bytes | None] = [None] * width if row is None else row
            if level == 0:
                bundle = self._bundle(Resource(ENTRIES_LEVEL, number, width)) if width else None
                computed[0] = bundle.hashes if bundle else [None] * width
            else:
                computed[level] = [
                    self._full_tile(level - 1, number * TILE_WIDTH + i, expected[i], proven=proven)
                    for i in range(width)
                ]
        self._progress(size, size)
        # 4.
        chosen = stored if proven else self._choose(stored, computed)
        for level in reversed(levels):
            # Where nothing decides between a tile and what lies below, the tile is believed.
            right = stored[level] if chosen is None else chosen[level]
            self._compare_edge(level, right, stored[level], computed[level], bundle)
        if chosen is None and self._report.ok:
            self._fail_root()

    def _fail_root(self) -> None:
        # 5.
        self._report.fail(
            "root",
            CHECKPOINT,
            part=f"tree of {self._head.size}",
            expected=self._head.root_hash.hex(),
            found="tiles and entries that do not lead there",
        )

    # Reading

    def _read(self, resource: Resource) -> tuple[str, bytes | None]:
        """Read a tile or bundle; of an unfinished one that is gone, the beginning of the full."""
        data = self._folder.read(resource.path)
        if data is None and resource.width < TILE_WIDTH:
            full = Resource(resource.level, resource.number)
            whole = self._folder.read(full.path)
            if whole is not None and resource.level != ENTRIES_LEVEL:
                whole = whole[: resource.width * HASH_BYTES]
            if whole is not None:
                return full.path, whole
        return resource.path, data

    def _tile(self, resource: Resource) -> list[bytes] | None:
        path, data = self._read(resource)
        wanted = resource.width * HASH_BYTES
        if data is None:
            self._report.fail("tile.missing", path, expected=f"{wanted} bytes")
            return None
        self._report.tiles += 1
        if len(data) != wanted:
            self._report.fail(
                "tile.length",
                path,
                offset=min(len(data), wanted),
                expected=f"{wanted} bytes",
                found=f"{len(data)} bytes",
            )
            return None
        return split_hashes(data)

    def _edge(self, level: int) -> list[bytes] | None:
        number, width = divmod(count_at(level, self._head.size), TILE_WIDTH)
        return self._tile(Resource(level, number, width)) if width else []

    def _bundle(self, resource: Resource) -> Bundle | None:
        path, data = self._read(resource)
        if data is None:
            self._report.fail("bundle.missing", path, expected=f"{resource.width} entries")
            return None
        self._report.bundles += 1
        bundle = parse_bundle(path, data, resource.width)
        if path != resource.path and len(bundle.offsets) == resource.width:
            # The full bundle in an unfinished one's place holds more, rightly.
            bundle.cut = None
        self._report.entries += len(bundle.offsets)
        return bundle

    # The edge

    def _leads_to_root(self, edges: dict[int, list[bytes] | None]) -> bool:
        rows = {level: b"".join(row) for level, row in edges.items() if row is not None}
        if len(rows) < len(edges):
            return False
        return GrowingTree(self._head.size, rows).root() == self._head.root_hash

    def _choose(
        self, stored: dict[int, list[bytes] | None], computed: dict[int, Hashes]
    ) -> dict[int, list[bytes] | None] | None:
        options = []
        for level, row in stored.items():
            below = [value for value in computed[level] if value is not None]
            whole = below if len(below) == len(computed[level]) else None
            options.append([one for one in (row, whole) if one is not None])
            if row == whole:
                options[-1] = options[-1][:1]
        for choice in product(*options):
            chosen: dict[int, list[bytes] | None] = dict(zip(stored, choice, strict=True))
            if self._leads_to_root(chosen):
                return chosen
        return None

    def _compare_edge(
        self,
        level: int,
        chosen: list[bytes] | None,
        stored: list[bytes] | None,
        computed: Hashes,
        bundle: Bundle | None,
    ) -> None:
        number, width = divmod(count_at(level, self._head.size), TILE_WIDTH)
        if not width:
            return
        if stored is not None and chosen is not None:
            self._compare_tile(Resource(level, number, width), stored, chosen)
        if level == 0:
            self._compare_entries(number, bundle, chosen)
        elif chosen is not None:
            # Agreeing with its own entries, against the hash above: changed together.
            for index, (right, below) in enumerate(zip(chosen, computed, strict=True)):
                if below is not None and below != right:
                    self._fail_subtree(level - 1, number * TILE_WIDTH + index, right, below)

    # Comparing

    def _compare_tile(
        self, resource: Resource, stored: Sequence[bytes], right: Sequence[bytes | None]
    ) -> None:
        wrong = [
            index
            for index, (found, value) in enumerate(zip(stored, right, strict=True))
            if value is not None and found != value
        ]
        if not wrong:
            return
        first = wrong[0]
        found, value = stored[first], right[first]
        assert value is not None
        byte = next(i for i in range(HASH_BYTES) if found[i] != value[i])
        self._report.fail(
            "tile",
            self._path_read(resource),
            offset=first * HASH_BYTES + byte,
            part=_part("hash", resource.number * TILE_WIDTH + first, wrong),
            expected=value.hex(),
            found=found.hex(),
        )

    def _path_read(self, resource: Resource) -> str:
        return self._read(resource)[0] if resource.width < TILE_WIDTH else resource.path

    def _compare_entries(
        self, number: int, bundle: Bundle | None, right: Sequence[bytes] | None
    ) -> None:
        if bundle is None:
            return
        wrong = []
        if right is not None:
            wrong = [
                index
                for index, (found, value) in enumerate(zip(bundle.hashes, right, strict=True))
                if found is not None and found != value
            ]
        if wrong and right is not None:
            first = wrong[0]
            found = bundle.hashes[first]
            assert found is not None
            twin = right.index(found) if found in right else None
            self._report.fail(
                "entry",
                bundle.path,
                offset=bundle.offsets[first],
                part=_part("entry", number * TILE_WIDTH + first, wrong),
                expected=right[first].hex(),
                found=found.hex()
                if twin is None
                else f"entry {number * TILE_WIDTH + twin}, {found.hex()}",
            )
        elif bundle.cut is not None:
            missing = bundle.hashes.count(None)
            self._report.fail(
                "bundle.length",
                bundle.path,
                offset=bundle.cut,
                part=f"entry {number * TILE_WIDTH + len(bundle.offsets)}",
                expected=f"{len(bundle.hashes)} entries",
                found=f"{len(bundle.offsets)} entries"
                if missing
                else f"{bundle.byte_count - bundle.cut} bytes more",
            )

    def _fail_subtree(self, level: int, number: int, right: bytes, found: bytes) -> None:
        self._report.fail(
            "tile",
            Resource(level, number).path,
            part="the whole tile, and what lies below it",
            expected=right.hex(),
            found=found.hex(),
        )

    # Full tiles

    def _full_tile(
        self, level: int, number: int, above: bytes | None, *, proven: bool
    ) -> bytes | None:
        """Check a full tile and all below it; give the hash that the walk goes on with."""
        resource = Resource(level, number)
        stored = self._tile(resource)
        root_stored = None if stored is None else perfect_root(b"".join(stored))
        agrees = root_stored is not None and root_stored == above
        bundle = None
        computed: Hashes
        if level == 0:
            bundle = self._bundle(Resource(ENTRIES_LEVEL, number))
            computed = bundle.hashes if bundle else [None] * TILE_WIDTH
            self._progress((number + 1) * TILE_WIDTH, self._head.size)
        else:
            row: Sequence[bytes | None] = [None] * TILE_WIDTH if stored is None else stored
            computed = [
                self._full_tile(
                    level - 1, number * TILE_WIDTH + i, row[i], proven=proven and agrees
                )
                for i in range(TILE_WIDTH)
            ]
        below = [value for value in computed if value is not None]
        root_below = perfect_root(b"".join(below)) if len(below) == TILE_WIDTH else None
        # 2. and 3.
        right = self._judge(resource, stored, below if root_below else None, (above, root_below))
        if level == 0:
            self._compare_entries(number, bundle, right)
        elif right is not None:
            for index, value in enumerate(computed):
                if value is not None and value != right[index]:
                    self._fail_subtree(level - 1, number * TILE_WIDTH + index, right[index], value)
        return self._go_on(resource, right, above, proven=proven)

    def _judge(
        self,
        resource: Resource,
        stored: list[bytes] | None,
        below: list[bytes] | None,
        roots: tuple[bytes | None, bytes | None],
    ) -> list[bytes] | None:
        """Say which hashes are right: the tile's, unless those below alone give what is above."""
        above, root_below = roots
        if stored is None:
            return below
        if below is not None and below != stored and root_below == above:
            self._compare_tile(resource, stored, below)
            return below
        return stored

    def _go_on(
        self, resource: Resource, right: list[bytes] | None, above: bytes | None, *, proven: bool
    ) -> bytes | None:
        if right is None:
            return above
        root = perfect_root(b"".join(right))
        if above is None or root == above or not proven:
            return root
        self._fail_subtree(resource.level, resource.number, above, root)
        return above


def _part(what: str, position: int, wrong: Sequence[int]) -> str:
    others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{what} {position}{others}"

"""Publishing a log as static files, in the layout of C2SP tlog-tiles.

Only what is new is written, one bundle at a time, and nothing is believed: tiles are computed from
the leaves, and the checkpoint goes out only if they lead to its root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lodeline.errors import (
    FolderBusyError,
    OtherLogError,
    ProofError,
    StoreCorruptError,
)
from lodeline.proof import (
    HASH_BYTES,
    TILE_WIDTH,
    TreeHead,
    Verifier,
    encode_bundle,
    hash_leaf,
    verify_checkpoint,
)
from lodeline.tlog.checkpoints import Checkpoint
from lodeline.tlog.folders import WritableLogFolder
from lodeline.tlog.resources import (
    CHECKPOINT,
    ENTRIES_LEVEL,
    NEXT_CHECKPOINT,
    Resource,
    iter_edge,
    width_at,
)
from lodeline.tlog.tree import GrowingTree

# Told of what is done and of the total.
Progress = Callable[[int, int], object]


class LogSource(Protocol):
    """The log that is published."""

    @property
    def url(self) -> str:
        """Where it is."""

    @property
    def origin(self) -> str:
        """Its name on checkpoints."""

    def read_tile(self, level: int, number: int) -> bytes:
        """The hashes of a tile, all that there are by now; empty where there is none."""

    def read_leaves(self, begin: int, end: int) -> list[bytes]:
        """The leaf records of the positions `[begin, end)`."""


@dataclass(slots=True)
class Publication:
    """What one publication did.

    Attributes:
        size_earlier: of the checkpoint that was there; 0 where there was none.
        size: of the checkpoint that is there now.
        tiles: tiles written.
        bundles: entry bundles written.
        bytes_written: in tiles and bundles.
        removed: partial tiles and bundles that full ones replaced.
    """

    size_earlier: int
    size: int
    tiles: int = 0
    bundles: int = 0
    bytes_written: int = 0
    removed: int = 0


def read_resource(source: LogSource, resource: Resource) -> bytes:
    """Read one tile or bundle out of the log; the caller knows that the log is long enough."""
    if resource.level == ENTRIES_LEVEL:
        begin = resource.number * TILE_WIDTH
        return encode_bundle(source.read_leaves(begin, begin + resource.width))
    return source.read_tile(resource.level, resource.number)[: resource.width * HASH_BYTES]


def publish(
    source: LogSource,
    checkpoint: Checkpoint,
    folder: WritableLogFolder,
    *,
    verifiers: Sequence[Verifier],
    progress: Progress = lambda _done, _total: None,
) -> Publication:
    """Bring a folder up to a checkpoint of the log.

    1. The folder is empty, or holds a checkpoint of this log that this one extends.
    2. The new checkpoint is laid beside as `checkpoint.next`: what is found beyond the old one
       from here on belongs to it.
    3. Bundles and tiles beyond the old checkpoint are written, computed from the leaves.
    4. They lead to the new checkpoint's root, and are durable.
    5. The new checkpoint takes the old one's place, at once and whole.
    6. What only explained the way is removed, with the partial tiles that full ones replaced.

    A crash before 5 leaves the old checkpoint with all of its files; the next publication writes
    those beyond it again.

    Raises:
        OtherLogError: the folder holds another log, or one that this is no extension of.
        FolderBusyError: another publication is under way.
        FolderUnreachableError: the folder cannot be read or written.
        StoreCorruptError: the leaves do not lead to the checkpoint's root.
    """
    with folder.writing():
        # 1.
        note_earlier = folder.read(CHECKPOINT)
        earlier = _read_earlier(source, folder, note_earlier, verifiers)
        size_earlier = 0 if earlier is None else earlier.size
        tree = _take_up(source, folder, earlier, checkpoint)
        done = Publication(size_earlier, checkpoint.size)
        note = checkpoint.note.encode()
        if note_earlier == note:
            folder.remove(NEXT_CHECKPOINT)
            return done
        # 2.
        folder.write(NEXT_CHECKPOINT, note)
        # 3.
        if checkpoint.size > size_earlier:
            _write_files(source, folder, tree, done, progress)
        # 4.
        if tree.root() != checkpoint.root_hash:
            raise StoreCorruptError(source.url, "its entries do not lead to the signed root")
        folder.settle()
        # 5.
        if folder.read(CHECKPOINT) != note_earlier:
            raise FolderBusyError(folder.name)
        folder.write(CHECKPOINT, note)
        folder.settle()
        # 6.
        folder.remove(NEXT_CHECKPOINT)
        for edge in iter_edge(size_earlier):
            if width_at(edge.level, edge.number, checkpoint.size) == TILE_WIDTH:
                full = Resource(edge.level, edge.number)
                done.removed += folder.remove_below(f"{full.path}.p/")
    return done


def _read_earlier(
    source: LogSource,
    folder: WritableLogFolder,
    note: bytes | None,
    verifiers: Sequence[Verifier],
) -> TreeHead | None:
    if note is None:
        return None
    try:
        return verify_checkpoint(
            note.decode("utf-8", "surrogateescape"), verifiers, origin=source.origin
        )
    except ProofError as error:
        raise OtherLogError(folder.name, str(error)) from error


def _take_up(
    source: LogSource,
    folder: WritableLogFolder,
    earlier: TreeHead | None,
    checkpoint: Checkpoint,
) -> GrowingTree:
    if earlier is None:
        return GrowingTree()
    if earlier.size > checkpoint.size:
        raise OtherLogError(
            folder.name,
            f"its checkpoint covers {earlier.size} entries, the log has {checkpoint.size}",
        )
    edges = {
        edge.level: read_resource(source, edge)
        for edge in iter_edge(earlier.size)
        if edge.level != ENTRIES_LEVEL
    }
    tree = GrowingTree(earlier.size, edges)
    if tree.root() != earlier.root_hash:
        raise OtherLogError(
            folder.name,
            f"its checkpoint of {earlier.size} entries has another root than this log had then",
        )
    return tree


def _write_files(
    source: LogSource,
    folder: WritableLogFolder,
    tree: GrowingTree,
    done: Publication,
    progress: Progress,
) -> None:
    def write(resource: Resource, data: bytes) -> None:
        folder.write(resource.path, data)
        done.bytes_written += len(data)
        if resource.level == ENTRIES_LEVEL:
            done.bundles += 1
        else:
            done.tiles += 1

    for begin in range(tree.size // TILE_WIDTH * TILE_WIDTH, done.size, TILE_WIDTH):
        width = min(TILE_WIDTH, done.size - begin)
        leaves = source.read_leaves(begin, begin + width)
        if len(leaves) != width:
            raise StoreCorruptError(source.url, f"entries are missing after {begin + len(leaves)}")
        write(Resource(ENTRIES_LEVEL, begin // TILE_WIDTH, width), encode_bundle(leaves))
        for level, number, hashes in tree.extend(map(hash_leaf, leaves[tree.size - begin :])):
            write(Resource(level, number), hashes)
        progress(begin + width, done.size)
    for edge in iter_edge(done.size):
        if edge.level != ENTRIES_LEVEL:
            write(edge, bytes(tree.edges[edge.level]))

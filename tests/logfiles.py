"""Logs and their files, as several tests make them."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from lodeline.proof import Signer, TreeHead, hash_leaf
from lodeline.tlog import Checkpoint, GrowingTree, sign_checkpoint
from lodeline.tlog.publication import publish

ORIGIN = "example.com/log"
SIGNER = Signer(ORIGIN, b"s" * 32)


class MemoryFolder:
    """A log's files in memory: thousands of changed ones are checked in seconds."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})

    @property
    def name(self) -> str:
        return "memory"

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def paths(self) -> Iterator[str]:
        yield from sorted(self.files)

    def writing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def write(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def settle(self) -> None:
        return

    def remove(self, path: str) -> None:
        self.files.pop(path, None)

    def remove_below(self, prefix: str) -> int:
        found = [path for path in self.files if path.startswith(prefix)]
        for path in found:
            del self.files[path]
        return len(found)


@dataclass
class ListLog:
    """A log of plain leaves, with the tiles that a store would hold."""

    leaves: Sequence[bytes]
    origin: str = ORIGIN
    signer: Signer = SIGNER
    url: str = "list:"
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tree = GrowingTree()
        for level, number, hashes in tree.extend(map(hash_leaf, self.leaves)):
            self.tiles[level, number] = hashes
        for level, edge in enumerate(tree.edges):
            self.tiles[level, len(self.leaves) >> 8 * (level + 1)] = bytes(edge)

    def read_tile(self, level: int, number: int) -> bytes:
        return self.tiles.get((level, number), b"")

    def read_leaves(self, begin: int, end: int) -> list[bytes]:
        return list(self.leaves[begin:end])

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.leaves) if size is None else size
        tree = GrowingTree()
        tree.extend(map(hash_leaf, self.leaves[:size]))
        head = TreeHead(self.origin, size, tree.root())
        return sign_checkpoint(head, log_time_us=0, signers=[self.signer])


def leaves(count: int, salt: str = "") -> list[bytes]:
    return [f"entry {salt}{number}".encode() * (number % 3 + 1) for number in range(count)]


def published(log: ListLog, *sizes: int) -> MemoryFolder:
    """The files after one publication at each size; at the log's own without any."""
    folder = MemoryFolder()
    for size in sizes or (len(log.leaves),):
        publish(log, log.checkpoint(size), folder, verifiers=[log.signer.verifier])
    return folder

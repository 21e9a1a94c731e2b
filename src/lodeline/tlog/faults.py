"""What checking a tiled log finds: faults with their places, and counts of what was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lodeline.limits import FSCK_FAULTS_MAX
from lodeline.proof import TreeHead


class _FaultsExceededError(Exception):
    """There are as many faults as are listed: ends the checking."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not hold.

    Attributes:
        code: documented in `docs/reference/log.md`.
        at: path of the file, or the name of an earlier checkpoint.
        offset: of the first byte that is not as it should be, if it can be told.
        part: which hash or entry of the file, counted from the beginning of the log's level.
        expected: what should stand there.
        found: what does.
    """

    code: str
    at: str
    offset: int | None = None
    part: str = ""
    expected: str = ""
    found: str = ""

    def to_json(self) -> dict[str, object]:
        """Give the documented keys."""
        return {
            "code": self.code,
            "at": self.at,
            "offset": self.offset,
            "part": self.part,
            "expected": self.expected,
            "found": self.found,
        }


@dataclass(slots=True)
class FsckReport:
    """What was checked, and what does not hold.

    Attributes:
        trust: `policy` where keys were given, else `none`: signatures were not checked.
        head: what the checkpoint says.
        entries: whose hashes were compared with the tiles'.
        tiles: read.
        bundles: read.
        signatures: verified.
        checkpoints: earlier ones that the log was found to extend.
        pending: files of a publication under way, beyond the checkpoint.
        ignored: files outside the layout, of which nothing is said.
        listed: whether files could be listed, so that superfluous ones were looked for.
        faults: first the checkpoint's, then from the left to the right of the tree.
    """

    trust: str
    head: TreeHead | None = None
    entries: int = 0
    tiles: int = 0
    bundles: int = 0
    signatures: int = 0
    checkpoints: int = 0
    pending: int = 0
    ignored: int = 0
    listed: bool = True
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was checked holds."""
        return not self.faults

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Run a block until it ends or finds as many faults as are listed."""
        with suppress(_FaultsExceededError):
            yield

    def fail(
        self,
        code: str,
        at: str,
        *,
        offset: int | None = None,
        part: str = "",
        expected: str = "",
        found: str = "",
    ) -> None:
        """Note a fault. Leaves the block of `collecting` when there are as many as are listed."""
        self.faults.append(Fault(code, at, offset, part, expected, found))
        if len(self.faults) >= FSCK_FAULTS_MAX:
            raise _FaultsExceededError

    def to_json(self) -> dict[str, object]:
        """Give the documented keys."""
        head = self.head
        return {
            "ok": self.ok,
            "trust": self.trust,
            "origin": None if head is None else head.origin,
            "size": None if head is None else head.size,
            "root_hash": None if head is None else head.root_hash.hex(),
            "checked": {
                "entries": self.entries,
                "tiles": self.tiles,
                "bundles": self.bundles,
                "signatures": self.signatures,
                "checkpoints": self.checkpoints,
            },
            "pending": self.pending,
            "ignored": self.ignored,
            "listed": self.listed,
            "failures": [fault.to_json() for fault in self.faults],
        }

"""The links of one step, followed backward or forward for some rows.

Row numbers are numpy arrays of int64, sorted and unique. Blocks stay open from one question to the
next, and of a large one only the row groups that hold the rows asked about are read.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final

from lodeline.errors import MissingLinksError, StoreCorruptError, UnknownBlobError
from lodeline.limits import (
    ROW_BLOB_CACHE_BYTES,
    ROW_BLOCK_CHECKED_WHOLE_BYTES,
    ROW_BLOCKS_OPEN_MAX,
)
from lodeline.rows.steps import StoredStep
from lodeline.store import Segment
from lodeline.store.blob_successors import current_of, index_folder_of

Rows = Any  # numpy.ndarray of int64; numpy is optional and loads late.


class OpenBlocks:
    """Blocks that stay open, by digest: their bytes never change. The least recently used go."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = Lock()

    def find(self, key: tuple[str, str]) -> Any:
        """Give an open block, or `None`."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
            return self._blocks.get(key)

    def add(self, key: tuple[str, str], block: Any) -> None:
        """Keep a block open, for as long as there is room."""
        with self._lock:
            self._blocks[key] = block

    def drop(self, digest: str) -> None:
        """Forget a block whose rows were erased."""
        with self._lock:
            for key in [key for key in self._blocks if key[1] == digest]:
                del self._blocks[key]

    def drop_all(self) -> None:
        """Close every block."""
        with self._lock:
            self._blocks.clear()

    def groups_read(self) -> int:
        """Count the row groups that open blocks have read."""
        with self._lock:
            return sum(block.groups_read for block in self._blocks.values())

    def tidy(self) -> None:
        """Close what is too much."""
        with self._lock:
            size = sum(block.memory_bytes for block in self._blocks.values())
            while self._blocks and (
                size > ROW_BLOB_CACHE_BYTES or len(self._blocks) > ROW_BLOCKS_OPEN_MAX
            ):
                size -= self._blocks.popitem(last=False)[1].memory_bytes


OPEN_BLOCKS: Final = OpenBlocks()


class LinkReader:
    """Follows steps of one segment.

    Args:
        segment: whose blobs.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        # Once a question: a block that lost rows must not answer from what is still open.
        self._successors = segment.blob_successors()
        # The log names a block that expired by its first digest, also where rows of it went before.
        expired = segment.expired_blobs()
        self._expired = {current_of(self._successors, digest) for digest in expired}
        for digest in [*self._successors, *self._expired]:
            OPEN_BLOCKS.drop(digest)
        OPEN_BLOCKS.tidy()

    def back(self, step: StoredStep, rows: Rows | None) -> Rows:
        """Find the input rows behind output rows.

        Args:
            step: to follow.
            rows: of the output; `None` for all of it.

        Raises:
            MissingLinksError: the block is not here.
        """
        import numpy as np

        if step.shape in {"identity", "range"}:
            mine = np.arange(step.rows) if rows is None else rows[rows < step.rows]
            return mine + step.start
        if not step.digest:
            return np.arange(step.count) + step.start
        return self.block(step).back(rows)

    def forward(self, step: StoredStep, rows: Rows) -> Rows:
        """Find the output rows that input rows went into; row 0 stands for the whole of a set."""
        import numpy as np

        if step.shape in {"identity", "range"}:
            found = rows - step.start
            return found[(found >= 0) & (found < step.rows)]
        if not step.digest:
            members = (rows >= step.start) & (rows < step.start + step.count)
            return np.zeros(1 if members.any() else 0, np.int64)
        return self.block(step).forward(rows)

    def count_erased(self, step: StoredStep, rows: Rows | None) -> int:
        """Count the output rows whose links were erased, among some or (`None`) all."""
        if not step.block:
            return 0
        seals = self.block(step).seals
        if seals is None or not seals.erased:
            return 0
        if rows is None or step.form == "set":
            return len(seals.erased)
        return sum(1 for row in rows.tolist() if row in seals.erased)

    def block(self, step: StoredStep) -> Any:
        """Open the block of a step.

        Raises:
            MissingLinksError: it is not here, or not as it was written.
        """
        if step.block:
            return self.open_block(step.block, step.footer)
        # The same bytes may be an array in one step, and a set in another.
        return self._find((step.form, step.digest), "")

    def open_block(self, digest: str, footer: str) -> Any:
        """Open a block that the log commits to. Errors as `block`'s."""
        current = current_of(self._successors, digest)
        # The log tells the layout of the block as it was first written; another is checked whole.
        return self._find(("", current), footer if current == digest else "")

    def _find(self, key: tuple[str, str], footer: str) -> Any:
        block = OPEN_BLOCKS.find(key)
        if block is None:
            block = self._open(*key, footer)
            OPEN_BLOCKS.add(key, block)
        return block

    def _open(self, form: str, digest: str, footer: str) -> Any:
        from pyarrow import ArrowException

        from lodeline.store.link_blocks import Block

        try:
            source = _checked(self._segment, digest, footer)
            folder = index_folder_of(self._segment)
            return Block(source, digest, shape=form, index_folder=folder)
        except UnknownBlobError as error:
            expired = digest in self._expired
            raise MissingLinksError(digest, "retention" if expired else "pending") from error
        except (ArrowException, OSError, ValueError, KeyError) as error:
            raise StoreCorruptError(digest, f"no block of links: {error}") from error


def _checked(segment: Segment, digest: str, footer: str) -> Path | bytes:
    """Give a block's file, or its bytes, checked; of a large file what tells its layout."""
    path = segment.blob_path(digest)
    if path is None or not footer:
        return segment.get_blob(digest)
    try:
        size = path.stat().st_size
        if size <= ROW_BLOCK_CHECKED_WHOLE_BYTES:
            return segment.get_blob(digest)
        with path.open("rb") as file:
            file.seek(-8, 2)
            length = int.from_bytes(file.read(4), "little") + 8
            file.seek(-min(length, size), 2)
            found = "sha256:" + sha256(file.read()).hexdigest()
    except OSError as error:
        raise UnknownBlobError(digest) from error
    if found != footer:
        raise StoreCorruptError(str(path), f"blob {digest} was changed")
    # Pages carry checksums, which are checked as they are read.
    return path

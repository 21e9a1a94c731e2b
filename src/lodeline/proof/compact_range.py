"""Compact ranges: the least a program must remember of a tree to append to it.

A compact range of leaves `[begin, end)` is the list of roots of the largest aligned perfect
subtrees that tile it, at most two for each level. Neighbouring ranges merge without their leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .errors import MalformedProofError
from .hashing import EMPTY_ROOT, HASH_BYTES, hash_node


def iter_subtrees(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """List the (level, index) of the largest aligned perfect subtrees that tile `[begin, end)`.

    A subtree at `level` with `index` covers the leaves `[index << level, (index + 1) << level)`.
    """
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        yield level, begin >> level
        begin += 1 << level


class CompactRange:
    """Roots of the subtrees that tile the leaves `[begin, end)`.

    Attributes:
        begin: first leaf.
        end: one past the last leaf.
        hashes: 32 bytes for each subtree, left to right.
    """

    __slots__ = ("begin", "end", "hashes")

    def __init__(
        self, begin: int = 0, end: int | None = None, hashes: Sequence[bytes] = ()
    ) -> None:
        """Start an empty range at `begin`, or take one up again from its hashes.

        Raises:
            MalformedProofError: the hashes are not as many as the range has subtrees.
        """
        self.begin = begin
        self.end = begin if end is None else end
        self.hashes = list(hashes)
        expected = sum(1 for _ in iter_subtrees(self.begin, self.end))
        if begin < 0 or self.end < begin or len(self.hashes) != expected:
            raise MalformedProofError(
                f"range [{begin}, {self.end}) has {expected} subtrees, given {len(self.hashes)}"
            )
        if any(len(value) != HASH_BYTES for value in self.hashes):
            raise MalformedProofError(f"every hash has {HASH_BYTES} bytes")

    def append(self, leaf_hash: bytes) -> None:
        """Take one more leaf at `end`."""
        self._push(0, self.end, leaf_hash)
        self.end += 1

    def append_subtree(self, level: int, root: bytes) -> None:
        """Take `2 ** level` more leaves at `end`, by the root of their perfect subtree.

        Raises:
            MalformedProofError: `end` is no multiple of as many leaves.
        """
        if self.end & ((1 << level) - 1):
            raise MalformedProofError(f"no subtree of level {level} begins at {self.end}")
        self._push(level, self.end >> level, root)
        self.end += 1 << level

    def merge(self, other: CompactRange) -> None:
        """Take the range that begins where this one ends.

        Raises:
            MalformedProofError: the ranges do not touch.
        """
        if other.begin != self.end:
            raise MalformedProofError(f"range ends at {self.end}, the next begins at {other.begin}")
        for (level, index), value in zip(
            iter_subtrees(other.begin, other.end), other.hashes, strict=True
        ):
            self._push(level, index, value)
        self.end = other.end

    def _push(self, level: int, index: int, value: bytes) -> None:
        # An odd index has its left sibling on top of the list exactly if that lies in the range.
        hashes = self.hashes
        while index & 1 and (index - 1) << level >= self.begin:
            value = hash_node(hashes.pop(), value)
            index >>= 1
            level += 1
        hashes.append(value)

    def root(self) -> bytes:
        """Compute the root of the tree of `end` leaves.

        Raises:
            MalformedProofError: the range does not begin at leaf 0.
        """
        if self.begin:
            raise MalformedProofError(f"a range from leaf {self.begin} has no root")
        if not self.hashes:
            return EMPTY_ROOT
        value = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            value = hash_node(left, value)
        return value

    def copy(self) -> CompactRange:
        """Give an independent copy."""
        # Not checked again: this runs for every commit.
        twin = CompactRange.__new__(CompactRange)
        twin.begin, twin.end, twin.hashes = self.begin, self.end, self.hashes.copy()
        return twin

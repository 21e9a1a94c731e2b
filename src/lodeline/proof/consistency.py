"""Consistency proofs: a later tree begins with all leaves of an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import InconsistentTreesError, MalformedProofError
from .hashing import HASH_BYTES, hash_node
from .inclusion import RangeRoot, split_point


def consistency_path(size_earlier: int, size_later: int, range_root: RangeRoot) -> list[bytes]:
    """Generate the proof that the tree of `size_later` extends the tree of `size_earlier`.

    Empty for equal sizes.

    Raises:
        MalformedProofError: sizes out of order, or an earlier size of 0, which needs no proof.

    Source: RFC 9162, section 2.1.4.1.
    """
    if not 0 < size_earlier <= size_later:
        raise MalformedProofError(f"no consistency proof from {size_earlier} to {size_later}")
    path: list[bytes] = []
    begin, end, known = 0, size_later, True
    while size_earlier != end:
        middle = begin + split_point(end - begin)
        if size_earlier <= middle:
            path.append(range_root(middle, end))
            end = middle
        else:
            path.append(range_root(begin, middle))
            begin, known = middle, False
    if not known:
        path.append(range_root(begin, end))
    path.reverse()
    return path


def verify_consistency(
    path: Sequence[bytes],
    *,
    size_earlier: int,
    size_later: int,
    root_earlier: bytes,
    root_later: bytes,
) -> None:
    """Check that the later tree extends the earlier one.

    1. The sizes are in order and not 0; every hash of the path has 32 bytes.
    2. Equal sizes: no path, equal roots.
    3. An earlier tree that is a power of two starts the path with its own root.
    4. Climb past the levels where the earlier tree's last node is a right child.
    5. Walk up, keeping both roots: a left sibling belongs to both trees, a right one to the later.
    6. The path ends exactly at the later root; both roots are those of the tree heads.

    Raises:
        MalformedProofError: the proof cannot belong to such trees.
        InconsistentTreesError: it leads to other roots.

    Source: RFC 9162, section 2.1.4.2.
    """
    # 1.
    if not 0 < size_earlier <= size_later:
        raise MalformedProofError(f"no consistency proof from {size_earlier} to {size_later}")
    if any(len(value) != HASH_BYTES for value in path):
        raise MalformedProofError(f"every hash has {HASH_BYTES} bytes")
    # 2.
    if size_earlier == size_later:
        if path:
            raise MalformedProofError("a path between equal sizes")
        if root_earlier != root_later:
            raise InconsistentTreesError(size_earlier, size_later, root_earlier, root_later)
        return
    if not path:
        raise MalformedProofError(f"an empty path from {size_earlier} to {size_later}")
    # 3.
    start = [root_earlier] if size_earlier & (size_earlier - 1) == 0 else []
    # 4. and 5.
    earlier, later, last = _walk([*start, *path], size_earlier - 1, size_later - 1)
    # 6.
    if last != 0:
        raise MalformedProofError(f"path of {len(path)} is too short")
    if earlier != root_earlier:
        raise InconsistentTreesError(size_earlier, size_later, root_earlier, earlier)
    if later != root_later:
        raise InconsistentTreesError(size_earlier, size_later, root_later, later)


def _walk(hashes: Sequence[bytes], index: int, last: int) -> tuple[bytes, bytes, int]:
    # 4.
    while index & 1:
        index >>= 1
        last >>= 1
    # 5.
    earlier = later = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise MalformedProofError(f"path of {len(hashes)} hashes is too long")
        if index & 1 or index == last:
            earlier = hash_node(sibling, earlier)
            later = hash_node(sibling, later)
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            later = hash_node(later, sibling)
        index >>= 1
        last >>= 1
    return earlier, later, last

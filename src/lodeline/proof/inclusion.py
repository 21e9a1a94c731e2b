"""Inclusion proofs: one leaf is in the tree of a tree head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import MalformedProofError, RootMismatchError
from .hashing import HASH_BYTES, hash_node

# Gives the root of the leaves [begin, end), where `begin` is a multiple of the least power of two
# that is not less than `end - begin`. Where the hashes come from is the caller's part.
RangeRoot = Callable[[int, int], bytes]


def split_point(count: int) -> int:
    """Give the largest power of two below `count` (at least 2).

    Source: RFC 9162, section 2.1.1, `k`.
    """
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_path(leaf_index: int, tree_size: int, range_root: RangeRoot) -> list[bytes]:
    """Generate the path from a leaf to the root, siblings from leaf to root.

    Raises:
        MalformedProofError: `leaf_index` is not below `tree_size`.

    Source: RFC 9162, section 2.1.3.1.
    """
    if not 0 <= leaf_index < tree_size:
        raise MalformedProofError(f"leaf {leaf_index} is not in a tree of {tree_size}")
    path: list[bytes] = []
    begin, end = 0, tree_size
    while end - begin > 1:
        middle = begin + split_point(end - begin)
        if leaf_index < middle:
            path.append(range_root(middle, end))
            end = middle
        else:
            path.append(range_root(begin, middle))
            begin = middle
    path.reverse()
    return path


def root_from_path(
    leaf_hash: bytes, path: Sequence[bytes], *, leaf_index: int, tree_size: int
) -> bytes:
    """Compute the root that an inclusion path implies.

    1. The leaf lies in the tree, and every hash has 32 bytes.
    2. Walk up: where the node is a right child, or the last of its level, the sibling is left.
    3. The last node of a level has no right sibling there: climb to where it has a left one.
    4. The path ends exactly at the root.

    Args:
        leaf_hash: 32 bytes, domain-separated by `hash_leaf`.
        path: siblings from leaf to root, 32 bytes each.
        leaf_index: 0-based, below `tree_size`.
        tree_size: leaves in the tree, at least 1.

    Returns:
        32 bytes. Comparing them with a signed tree head is the caller's part.

    Raises:
        MalformedProofError: index out of range, or a path of the wrong length.

    Source: RFC 9162, section 2.1.3.2.
    """
    # 1.
    if not 0 <= leaf_index < tree_size:
        raise MalformedProofError(f"leaf {leaf_index} is not in a tree of {tree_size}")
    if len(leaf_hash) != HASH_BYTES or any(len(value) != HASH_BYTES for value in path):
        raise MalformedProofError(f"every hash has {HASH_BYTES} bytes")
    index, last = leaf_index, tree_size - 1
    value = leaf_hash
    for sibling in path:
        if last == 0:
            raise MalformedProofError(f"path of {len(path)} is too long for a tree of {tree_size}")
        # 2.
        if index & 1 or index == last:
            value = hash_node(sibling, value)
            # 3.
            while index and not index & 1:
                index >>= 1
                last >>= 1
        else:
            value = hash_node(value, sibling)
        index >>= 1
        last >>= 1
    # 4.
    if last != 0:
        raise MalformedProofError(f"path of {len(path)} is too short for a tree of {tree_size}")
    return value


def verify_inclusion(
    leaf_hash: bytes, path: Sequence[bytes], *, leaf_index: int, tree_size: int, root: bytes
) -> None:
    """Check that the leaf is in the tree with that root.

    Raises:
        MalformedProofError: the proof cannot belong to such a tree.
        RootMismatchError: the path leads elsewhere.
    """
    computed = root_from_path(leaf_hash, path, leaf_index=leaf_index, tree_size=tree_size)
    if computed != root:
        raise RootMismatchError(leaf_index, tree_size, root, computed)

"""The map of the log: which leaves assert something about a node, committed to under one root.

A binary Merkle trie over 256-bit keys. An empty subtree is 32 zero bytes, a subtree of exactly
one key is that key's leaf, any other is the hash of its two halves by the next bit of the key. So
the root depends on nothing but the set of (key, value): no order of insertion, no padding.

    key   = SHA-256(node identifier, without version, UTF-8)
    value = SHA-256(0x02 ‖ count, 8 bytes big-endian ‖ root of the RFC 9162 tree over the
            ascending leaf positions, each as 8 bytes big-endian)
    leaf  = SHA-256(0x04 ‖ key ‖ value)
    node  = SHA-256(0x05 ‖ left ‖ right)

A proof shows what the map holds at one key, or that it holds nothing there. That every leaf of
the log which asserts something about the node is among the positions is the map maker's promise;
whoever has the whole log recomputes the map and checks it.

`map_root` and `prove` are the definition in code, over a dictionary; a store that keeps a large
map uses `join` and `subtree_of` on the parts that changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple

from .compact_range import CompactRange
from .errors import MalformedProofError, MapMismatchError
from .hashing import HASH_BYTES, hash_leaf

KEY_BITS: Final = 256
# The root of a map without keys, and every empty subtree. No hash is known to give it.
EMPTY_MAP_ROOT: Final = bytes(HASH_BYTES)
MAP_VERSION: Final = "1"

_POSITION_MAX: Final = 2**63 - 1
_HASH_TEXT: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER_TEXT: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class Subtree(NamedTuple):
    """A part of the trie: its hash, and whether it holds no key, one (1), or more (2)."""

    hash: bytes
    keys: int


EMPTY_SUBTREE: Final = Subtree(EMPTY_MAP_ROOT, 0)


@dataclass(frozen=True, slots=True)
class MapHead:
    """What a `map` leaf says of the leaves before it.

    Attributes:
        size: the leaves `[0, size)` are in the map; the map leaf itself stands at `size`.
        root: of the map.
        keys: how many nodes it knows.
    """

    size: int
    root: bytes
    keys: int

    def to_json(self) -> dict[str, str]:
        """Give the payload of the `map` leaf."""
        return {
            "keys": str(self.keys),
            "root": self.root.hex(),
            "size": str(self.size),
            "version": MAP_VERSION,
        }

    @classmethod
    def from_json(cls, value: object) -> MapHead:
        """Read the payload of a `map` leaf.

        Raises:
            MalformedProofError: it has other members, or one of another form.
        """
        if not isinstance(value, dict) or value.keys() != {"keys", "root", "size", "version"}:
            raise MalformedProofError("a map record has keys, root, size and version")
        if value["version"] != MAP_VERSION:
            raise MalformedProofError(f"map of version {value['version']!r}, not {MAP_VERSION}")
        size, keys = _number(value["size"]), _number(value["keys"])
        return cls(size, _hash(value["root"]), keys)


@dataclass(frozen=True, slots=True)
class MapProof:
    """The way from the root to where a key's leaf is or would be.

    Attributes:
        siblings: the other half at each bit of the key, from the root down; at most 256.
        other: key and value of the one leaf that stands where an absent key would be; None where
            nothing does, and in a proof of presence.
    """

    siblings: tuple[bytes, ...]
    other: tuple[bytes, bytes] | None = None

    def to_json(self) -> dict[str, object]:
        """Give the proof as JSON values, hashes in hexadecimal."""
        other = None if self.other is None else [part.hex() for part in self.other]
        return {"other": other, "siblings": [one.hex() for one in self.siblings]}

    @classmethod
    def from_json(cls, value: object) -> MapProof:
        """Read what `to_json` gives, and nothing else.

        Raises:
            MalformedProofError: it has other members, or one of another form.
        """
        if not isinstance(value, dict) or value.keys() != {"other", "siblings"}:
            raise MalformedProofError("a map proof has other and siblings")
        siblings, other = value["siblings"], value["other"]
        if not isinstance(siblings, list) or len(siblings) > KEY_BITS:
            raise MalformedProofError(f"siblings are a list of at most {KEY_BITS} hashes")
        if other is not None and not (isinstance(other, list) and len(other) == 2):
            raise MalformedProofError("the other leaf is null, or its key and value")
        found = None if other is None else (_hash(other[0]), _hash(other[1]))
        return cls(tuple(_hash(one) for one in siblings), found)


def _hash(value: object) -> bytes:
    if not isinstance(value, str) or not _HASH_TEXT.fullmatch(value):
        raise MalformedProofError("a hash is 64 lower-case hexadecimal digits")
    return bytes.fromhex(value)


def _number(value: object) -> int:
    if not isinstance(value, str) or not _NUMBER_TEXT.fullmatch(value):
        raise MalformedProofError("a number is a decimal string")
    return int(value)


def map_key(node_id: str) -> bytes:
    """Give the key of a node: SHA-256 of its canonical identifier without version.

    Raises:
        MalformedProofError: not text that UTF-8 can write.
    """
    try:
        return sha256(node_id.encode()).digest()
    except UnicodeEncodeError as error:
        raise MalformedProofError("a node identifier is UTF-8 text") from error


def position_hash(position: int) -> bytes:
    """Hash one position as the tree over positions takes it."""
    return hash_leaf(position.to_bytes(8, "big"))


def value_of(count: int, root: bytes) -> bytes:
    """Compute a value from the number of positions and the root of the tree over them."""
    return sha256(b"\x02" + count.to_bytes(8, "big") + root).digest()


def positions_value(positions: Sequence[int]) -> bytes:
    """Compute the value of a key: a commitment to the leaves that assert something about it.

    Raises:
        MalformedProofError: none, or they do not ascend from 0 to below 2^63.
    """
    ascending = all(one < other for one, other in pairwise(positions))
    if not positions or not ascending or positions[0] < 0 or positions[-1] > _POSITION_MAX:
        raise MalformedProofError("positions ascend, and there is at least one")
    tree = CompactRange()
    for position in positions:
        tree.append(position_hash(position))
    return value_of(len(positions), tree.root())


def hash_map_leaf(key: bytes, value: bytes) -> bytes:
    """Hash the subtree of exactly one key."""
    return sha256(b"\x04" + key + value).digest()


def hash_map_node(left: bytes, right: bytes) -> bytes:
    """Hash a subtree of two keys or more from its halves."""
    return sha256(b"\x05" + left + right).digest()


def bit_of(key: bytes, depth: int) -> int:
    """Give the bit of a key that decides at a depth, the first at 0."""
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def join(left: Subtree, right: Subtree) -> Subtree:
    """Join two halves: one key alone stays the leaf it is, however deep."""
    if left.keys + right.keys < 2:
        return left if left.keys else right
    return Subtree(hash_map_node(left.hash, right.hash), 2)


def subtree_of(items: Sequence[tuple[bytes, bytes]], depth: int = 0) -> Subtree:
    """Compute the subtree of keys that share their first `depth` bits.

    Args:
        items: (key, value), ascending by key, no key twice.
        depth: bits that all keys share.
    """
    if len(items) < 2:
        return Subtree(hash_map_leaf(*items[0]), 1) if items else EMPTY_SUBTREE
    middle = _middle(items, depth)
    return join(subtree_of(items[:middle], depth + 1), subtree_of(items[middle:], depth + 1))


def _middle(items: Sequence[tuple[bytes, bytes]], depth: int) -> int:
    """Find the first key whose bit at a depth is 1."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if bit_of(items[middle][0], depth):
            high = middle
        else:
            low = middle + 1
    return low


def map_root(items: Mapping[bytes, bytes]) -> bytes:
    """Compute the root of a map from key to value.

    Raises:
        MalformedProofError: a key or a value that has not 32 bytes.
    """
    return subtree_of(_sorted(items.items())).hash


def _sorted(items: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    found = sorted(items)
    if any(len(key) != HASH_BYTES or len(value) != HASH_BYTES for key, value in found):
        raise MalformedProofError(f"every key and value has {HASH_BYTES} bytes")
    return found


def prove(items: Mapping[bytes, bytes], key: bytes) -> MapProof:
    """Prove what a map holds at a key, or that it holds nothing there.

    Raises:
        MalformedProofError: a key or a value that has not 32 bytes.
    """
    _check_hashes((key,), "key")
    return prove_in(_sorted(items.items()), key)


def prove_in(items: Sequence[tuple[bytes, bytes]], key: bytes, depth: int = 0) -> MapProof:
    """Prove a key in the subtree of keys that share their first `depth` bits with it.

    Args:
        items: (key, value), ascending by key, no key twice.
        key: asked about.
        depth: bits that all keys share.
    """
    siblings: list[bytes] = []
    while len(items) > 1:
        middle = _middle(items, depth)
        near, far = items[:middle], items[middle:]
        if bit_of(key, depth):
            near, far = far, near
        siblings.append(subtree_of(far, depth + 1).hash)
        items = near
        depth += 1
    other = items[0] if items and items[0][0] != key else None
    return MapProof(tuple(siblings), other)


def verify_map_present(proof: MapProof, key: bytes, positions: Sequence[int], root: bytes) -> None:
    """Check that a map knows exactly these leaves to assert something about a node.

    1. Every hash has 32 bytes, and there are at most 256 siblings.
    2. It is a proof of presence: no other leaf stands in the key's place.
    3. The positions ascend; their commitment is the value.
    4. The key's leaf, joined with the siblings from the lowest up by the key's bits, is the root.

    Raises:
        MalformedProofError: the proof or the positions cannot be such.
        MapMismatchError: they lead to another root.
    """
    # 1.
    _check_hashes((key, root, *proof.siblings), "map proof")
    _check_depth(proof)
    # 2.
    if proof.other is not None:
        raise MalformedProofError("a proof of absence, where presence was to be shown")
    # 3.
    value = positions_value(positions)
    # 4.
    _climb(hash_map_leaf(key, value), proof, key, root)


def verify_map_absent(proof: MapProof, key: bytes, root: bytes) -> None:
    """Check that a map knows no leaf that asserts something about a node.

    1. Every hash has 32 bytes, and there are at most 256 siblings.
    2. In the key's place stands nothing, or the leaf of another key with the same first bits.
    3. That, joined with the siblings from the lowest up by the key's bits, is the root.

    Raises:
        MalformedProofError: the proof cannot be one of absence.
        MapMismatchError: it leads to another root.
    """
    # 1.
    _check_hashes((key, root, *proof.siblings, *(proof.other or ())), "map proof")
    _check_depth(proof)
    # 2.
    if proof.other is None:
        lowest = EMPTY_MAP_ROOT
    else:
        other, value = proof.other
        depth = len(proof.siblings)
        if other == key or any(bit_of(other, bit) != bit_of(key, bit) for bit in range(depth)):
            raise MalformedProofError("the other leaf does not stand in the key's place")
        lowest = hash_map_leaf(other, value)
    # 3.
    _climb(lowest, proof, key, root)


def _check_hashes(hashes: Iterable[bytes], what: str) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise MalformedProofError(f"{what}: every hash has {HASH_BYTES} bytes")


def _check_depth(proof: MapProof) -> None:
    if len(proof.siblings) > KEY_BITS:
        raise MalformedProofError(f"a map proof has at most {KEY_BITS} siblings")
    # Half of a subtree that is a node: with nothing beside it, it would be a leaf or nothing.
    if proof.siblings and proof.siblings[-1] == EMPTY_MAP_ROOT:
        raise MalformedProofError("the lowest sibling is empty")


def _climb(lowest: bytes, proof: MapProof, key: bytes, root: bytes) -> None:
    value = lowest
    for depth in reversed(range(len(proof.siblings))):
        sibling = proof.siblings[depth]
        pair = (sibling, value) if bit_of(key, depth) else (value, sibling)
        value = hash_map_node(*pair)
    if value != root:
        raise MapMismatchError(key, root, value)

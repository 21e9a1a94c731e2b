"""C2SP tlog-tiles arithmetic: which tile holds a node, where it lies, and roots out of tiles.

Reading and writing tiles is the caller's part. Source: https://c2sp.org/tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from .errors import MalformedProofError
from .hashing import EMPTY_ROOT, HASH_BYTES, hash_node
from .inclusion import split_point

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT

# Gives the hashes of a tile (level, number), 32 bytes each; a longer tile than asked for serves,
# since tiles only grow.
ReadTile = Callable[[int, int], bytes]


def _path_of_number(number: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03d}")
    return "/".join(reversed(groups))


def tile_path(level: int, number: int, *, width: int = TILE_WIDTH) -> str:
    """Give the path of a tile, such as `tile/0/x001/x234/067` or `tile/1/000.p/5`."""
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{_path_of_number(number)}{partial}"


def bundle_path(number: int, *, width: int = TILE_WIDTH) -> str:
    """Give the path of an entry bundle, such as `tile/entries/000.p/5`."""
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/entries/{_path_of_number(number)}{partial}"


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Concatenate entries, each after its length in two bytes, big-endian.

    Raises:
        MalformedProofError: an entry longer than 65,535 bytes.
    """
    if any(len(entry) > 0xFFFF for entry in entries):
        raise MalformedProofError("an entry of a bundle has at most 65,535 bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def iter_bundle(bundle: bytes) -> Iterator[bytes]:
    """Take an entry bundle apart.

    Raises:
        MalformedProofError: bytes left over or missing.
    """
    offset = 0
    while offset < len(bundle):
        end = offset + 2 + int.from_bytes(bundle[offset : offset + 2], "big")
        if offset + 2 > len(bundle) or end > len(bundle):
            raise MalformedProofError(f"entry bundle is cut off at byte {offset}")
        yield bundle[offset + 2 : end]
        offset = end


def perfect_root(hashes: bytes) -> bytes:
    """Compute the root of a perfect subtree from its concatenated leaf-level hashes."""
    # `hash_node`, written out, over both siblings in one slice: this runs for every leaf.
    while len(hashes) > HASH_BYTES:
        pairs = range(0, len(hashes), 2 * HASH_BYTES)
        hashes = b"".join(
            [sha256(b"\x01" + hashes[i : i + 2 * HASH_BYTES]).digest() for i in pairs]
        )
    return hashes


def node_from_tiles(level: int, index: int, read_tile: ReadTile) -> bytes:
    """Compute the root of the perfect subtree (level, index) from the tile that holds it.

    Raises:
        MalformedProofError: the tile is too short to hold it.
    """
    tile_level, height = divmod(level, TILE_HEIGHT)
    first = index << height
    number, offset = divmod(first, TILE_WIDTH)
    hashes = read_tile(tile_level, number)
    wanted = hashes[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES]
    if len(wanted) != HASH_BYTES << height:
        raise MalformedProofError(f"tile {tile_level}/{number} ends before node {level}/{index}")
    return perfect_root(wanted)


def root_from_tiles(begin: int, end: int, read_tile: ReadTile) -> bytes:
    """Compute the root of the leaves `[begin, end)`.

    `begin` must be a multiple of the least power of two that is not less than `end - begin`, as
    the subtrees of RFC 9162 are; partially applied, it is the `RangeRoot` of proof generation.

    Raises:
        MalformedProofError: a tile is too short.
    """
    if begin == end:
        return EMPTY_ROOT
    count = end - begin
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node_from_tiles(level, begin >> level, read_tile)
    middle = begin + split_point(count)
    return hash_node(
        root_from_tiles(begin, middle, read_tile), root_from_tiles(middle, end, read_tile)
    )

"""Trees against the definition of RFC 9162, written here as the RFC writes it."""

from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.errors import (
    InconsistentTreesError,
    MalformedProofError,
    ProofError,
    RootMismatchError,
)
from lodeline.proof import (
    EMPTY_ROOT,
    CompactRange,
    consistency_path,
    hash_leaf,
    inclusion_path,
    perfect_root,
    root_from_tiles,
    tile_path,
    verify_consistency,
    verify_inclusion,
)
from lodeline.tlog import GrowingTree


def tree_hash(entries: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def entries_of(count: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(count)]


def range_root(entries: list[bytes], begin: int, end: int) -> bytes:
    return tree_hash(entries[begin:end])


def test_an_empty_tree_has_the_root_of_the_rfc() -> None:
    assert CompactRange().root() == EMPTY_ROOT == tree_hash([])


@given(st.integers(0, 70))
def test_appending_leaves_gives_the_root_of_the_definition(count: int) -> None:
    tree = CompactRange()
    for entry in entries_of(count):
        tree.append(hash_leaf(entry))
    assert tree.root() == tree_hash(entries_of(count))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_neighbouring_ranges_merge_to_the_range_of_both(a: int, b: int, c: int) -> None:
    hashes = [hash_leaf(entry) for entry in entries_of(a + b + c)]

    def of(begin: int, end: int) -> CompactRange:
        part = CompactRange(begin)
        for value in hashes[begin:end]:
            part.append(value)
        return part

    middle = of(a, a + b)
    middle.merge(of(a + b, a + b + c))
    assert middle.hashes == of(a, a + b + c).hashes
    first = of(0, a)
    first.merge(middle)
    assert first.root() == of(0, a + b + c).root()


def test_ranges_that_do_not_touch_refuse_to_merge() -> None:
    with pytest.raises(MalformedProofError):
        CompactRange(0).merge(CompactRange(3))


@given(st.integers(1, 70), st.data())
def test_every_leaf_is_proven_and_no_other_leaf_or_place_is(
    count: int, data: st.DataObject
) -> None:
    entries = entries_of(count)
    index = data.draw(st.integers(0, count - 1))
    root = tree_hash(entries)
    path = inclusion_path(index, count, partial(range_root, entries))
    verify_inclusion(hash_leaf(entries[index]), path, leaf_index=index, tree_size=count, root=root)
    with pytest.raises(RootMismatchError):
        verify_inclusion(hash_leaf(b"other"), path, leaf_index=index, tree_size=count, root=root)
    for place in range(count):
        if place != index:
            with pytest.raises(ProofError):
                verify_inclusion(
                    hash_leaf(entries[index]), path, leaf_index=place, tree_size=count, root=root
                )
    with pytest.raises(MalformedProofError):
        verify_inclusion(
            hash_leaf(entries[index]), [*path, root], leaf_index=index, tree_size=count, root=root
        )


@given(st.integers(1, 70), st.data())
def test_every_extension_is_proven_and_no_rewritten_past_is(
    later: int, data: st.DataObject
) -> None:
    entries = entries_of(later)
    earlier = data.draw(st.integers(1, later))
    path = consistency_path(earlier, later, partial(range_root, entries))
    roots = {"root_earlier": tree_hash(entries[:earlier]), "root_later": tree_hash(entries)}
    verify_consistency(path, size_earlier=earlier, size_later=later, **roots)
    changed = [b"other", *entries[1:earlier]]
    roots["root_earlier"] = tree_hash(changed)
    with pytest.raises(InconsistentTreesError):
        verify_consistency(path, size_earlier=earlier, size_later=later, **roots)


@given(st.integers(0, 1400), st.integers(0, 600))
def test_a_tree_taken_up_again_from_its_edge_goes_on_as_if_never_left(
    first: int, more: int
) -> None:
    hashes = [hash_leaf(b"%d" % i) for i in range(first + more)]
    whole = GrowingTree()
    tiles = {(level, number): value for level, number, value in whole.extend(hashes)}
    early = GrowingTree()
    split = {(level, number): value for level, number, value in early.extend(hashes[:first])}
    again = GrowingTree(first, dict(enumerate(map(bytes, early.edges))))
    split |= {(level, number): value for level, number, value in again.extend(hashes[first:])}
    assert (again.root(), again.edges, split) == (whole.root(), whole.edges, tiles)


@given(st.integers(1, 1400), st.data())
def test_tiles_lead_to_the_root_of_every_earlier_size(count: int, data: st.DataObject) -> None:
    hashes = [hash_leaf(b"%d" % i) for i in range(count)]
    tree = GrowingTree()
    tiles = {(level, number): value for level, number, value in tree.extend(hashes)}
    earlier = data.draw(st.integers(0, count))
    expected = CompactRange()
    for value in hashes[:earlier]:
        expected.append(value)

    def read_tile(level: int, number: int) -> bytes:
        return tiles.get((level, number)) or bytes(tree.edges[level])

    assert root_from_tiles(0, earlier, read_tile) == expected.root()


def test_an_edge_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(MalformedProofError):
        GrowingTree(3, {0: b"\x00" * 64})


def test_tile_paths_are_those_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, width=5) == "tile/1/000.p/5"


def test_leaves_taken_many_at_a_time_make_the_tree_of_leaves_taken_singly() -> None:
    hashes = [hash_leaf(b"%d" % number) for number in range(3 * 256 + 40)]
    singly = GrowingTree()
    tiles = [tile for value in hashes for tile in singly.extend([value])]
    for cuts in ([], [1], [256], [255, 257], [100, 612, 780], [512, 513]):
        at_once, found = GrowingTree(), []
        for begin, end in zip([0, *cuts], [*cuts, len(hashes)], strict=True):
            found += at_once.extend(hashes[begin:end])
        assert (found, at_once.edges, at_once.root()) == (tiles, singly.edges, singly.root())


def test_a_subtree_is_appended_only_where_it_is_aligned() -> None:
    hashes = [hash_leaf(b"%d" % number) for number in range(12)]
    tree = CompactRange()
    for value in hashes[:4]:
        tree.append(value)
    tree.append_subtree(2, perfect_root(b"".join(hashes[4:8])))
    with pytest.raises(MalformedProofError):
        tree.append_subtree(4, hashes[0])
    for value in hashes[8:]:
        tree.append(value)
    whole = CompactRange()
    for value in hashes:
        whole.append(value)
    assert (tree.end, tree.hashes, tree.root()) == (12, whole.hashes, whole.root())

"""The Merkle map: roots that depend on the set alone, and proofs that hold for nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodeline.errors import MalformedProofError, MapMismatchError, ProofError
from lodeline.proof import EMPTY_MAP_ROOT, MapHead, MapProof, map_key, map_root, positions_value
from lodeline.proof import verify_map_absent as verify_absent
from lodeline.proof import verify_map_present as verify_present
from lodeline.proof.merkle_map import (
    EMPTY_SUBTREE,
    hash_map_leaf,
    hash_map_node,
    join,
    prove,
    subtree_of,
)

# Few bits differ, so that keys share long prefixes.
near_keys = st.integers(0, 40).map(lambda number: (number << 250 | number % 3).to_bytes(32, "big"))
far_keys = st.integers(0, 60).map(lambda number: map_key(f"dataset:n:{number}"))
positions = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6, unique=True).map(sorted)
maps = st.dictionaries(near_keys | far_keys, positions, max_size=24)


def items_of(known: dict[bytes, list[int]]) -> dict[bytes, bytes]:
    return {key: positions_value(found) for key, found in known.items()}


def test_the_bytes_are_those_of_the_documented_formula() -> None:
    key = sha256(b"dataset:n:a").digest()
    entries = [sha256(b"\x00" + position.to_bytes(8, "big")).digest() for position in (2, 5)]
    tree = sha256(b"\x01" + entries[0] + entries[1]).digest()
    value = sha256(b"\x02" + (2).to_bytes(8, "big") + tree).digest()
    assert map_key("dataset:n:a") == key
    assert positions_value([2, 5]) == value
    assert map_root({key: value}) == sha256(b"\x04" + key + value).digest()
    one, other = b"\x00" * 32, b"\x40" + b"\x00" * 31  # They part at the second bit.
    lower = hash_map_node(hash_map_leaf(one, value), hash_map_leaf(other, value))
    assert map_root({other: value, one: value}) == hash_map_node(lower, bytes(32))


def test_the_root_is_still_the_root() -> None:
    known = {f"dataset:n:{number}": [number, number + 7] for number in range(100)}
    items = {map_key(node): positions_value(found) for node, found in known.items()}
    assert map_root({}) == EMPTY_MAP_ROOT == bytes(32)
    assert map_root(items).hex() == GOLDEN


GOLDEN = "9a33ba3ef616aaa0d38c632b62a3651560bb7e74ea213f842256af180a3da36a"


@given(maps, st.randoms(use_true_random=False))
def test_the_root_depends_on_the_set_alone(
    known: dict[bytes, list[int]], order: random.Random
) -> None:
    items = list(items_of(known).items())
    root = map_root(dict(items))
    order.shuffle(items)
    assert map_root(dict(items)) == root


@given(maps, near_keys | far_keys)
def test_a_proof_says_what_the_map_holds(known: dict[bytes, list[int]], asked: bytes) -> None:
    items = items_of(known)
    root = map_root(items)
    for key in [*known, asked]:
        proof = MapProof.from_json(prove(items, key).to_json())
        if key in known:
            verify_present(proof, key, known[key], root)
            with pytest.raises(ProofError):
                verify_absent(proof, key, root)
        else:
            verify_absent(proof, key, root)
            with pytest.raises(ProofError):
                verify_present(proof, key, [0], root)


@given(maps.filter(bool), st.data())
def test_no_position_can_be_left_out_added_or_moved(
    known: dict[bytes, list[int]], data: Any
) -> None:
    items = items_of(known)
    root = map_root(items)
    key = data.draw(st.sampled_from(sorted(known)))
    claimed = data.draw(positions.filter(lambda found: found != known[key]))
    with pytest.raises(MapMismatchError):
        verify_present(prove(items, key), key, claimed, root)
    with pytest.raises(MalformedProofError):
        verify_present(prove(items, key), key, [], root)


@given(maps.filter(bool), st.data())
def test_a_changed_proof_does_not_hold(known: dict[bytes, list[int]], data: Any) -> None:
    items = items_of(known)
    root = map_root(items)
    key = data.draw(st.sampled_from(sorted(known)) | near_keys)
    proof = prove(items, key)
    hashes = [*proof.siblings, *(proof.other or ())]
    if not hashes:
        return
    index = data.draw(st.integers(0, len(hashes) - 1))
    act = data.draw(st.sampled_from(["flip", "drop", "double"]))
    if act == "flip":
        bit = data.draw(st.integers(0, 255))
        hashes[index] = (int.from_bytes(hashes[index], "big") ^ (1 << bit)).to_bytes(32, "big")
    count = len(proof.siblings)
    siblings, other = hashes[:count], hashes[count:]
    if act != "flip":
        if not siblings:
            return
        index %= count
        siblings[index : index + 1] = [] if act == "drop" else [siblings[index]] * 2
    changed = replace(
        proof, siblings=tuple(siblings), other=(other[0], other[1]) if other else None
    )
    with pytest.raises(ProofError):
        if key in known:
            verify_present(changed, key, known[key], root)
        else:
            verify_absent(changed, key, root)


@given(maps, st.integers(0, 20))
def test_parts_join_to_the_whole(known: dict[bytes, list[int]], bits: int) -> None:
    items = sorted(items_of(known).items())
    row = []
    for prefix in range(1 << min(bits, 8)):
        part = [one for one in items if one[0][0] >> (8 - min(bits, 8)) == prefix]
        row.append(subtree_of(part, min(bits, 8)))
    while len(row) > 1:
        row = [join(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    assert row[0].hash == map_root(dict(items))
    assert join(EMPTY_SUBTREE, EMPTY_SUBTREE) == EMPTY_SUBTREE


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"siblings": []},
        {"siblings": [], "other": None, "more": 1},
        {"siblings": "", "other": None},
        {"siblings": ["00"], "other": None},
        {"siblings": ["AA" * 32], "other": None},
        {"siblings": [7], "other": None},
        {"siblings": ["aa" * 32] * 257, "other": None},
        {"siblings": [], "other": ["aa" * 32]},
        {"siblings": [], "other": ["aa" * 32, None]},
        {"siblings": [], "other": {}},
    ],
)
def test_only_a_proof_is_read_as_one(value: object) -> None:
    with pytest.raises(MalformedProofError):
        MapProof.from_json(value)


@pytest.mark.parametrize("found", [[], [1, 1], [2, 1], [-1], [2**63]])
def test_positions_ascend_within_64_bits(found: list[int]) -> None:
    with pytest.raises(MalformedProofError):
        positions_value(found)


def test_a_proof_deeper_than_a_key_is_refused() -> None:
    proof = MapProof((b"\x01" * 32,) * 257)
    with pytest.raises(MalformedProofError):
        verify_absent(proof, bytes(32), bytes(32))
    with pytest.raises(MalformedProofError):
        verify_present(proof, bytes(32), [1], bytes(32))


def test_an_empty_lowest_sibling_is_refused() -> None:
    # Such a trie would have two roots for one set: a lone key as a leaf, or below a node.
    value = positions_value([1])
    leaf = hash_map_leaf(bytes(32), value)
    with pytest.raises(MalformedProofError):
        verify_present(MapProof((bytes(32),)), bytes(32), [1], hash_map_node(leaf, EMPTY_MAP_ROOT))


def test_a_name_that_utf8_cannot_write_has_no_key() -> None:
    with pytest.raises(MalformedProofError):
        map_key("dataset:n:\ud800")


def test_a_map_record_is_read_as_written_and_nothing_else_is() -> None:
    head = MapHead(12, b"\x07" * 32, 3)
    stated = head.to_json()
    assert stated == {"keys": "3", "root": "07" * 32, "size": "12", "version": "1"}
    assert MapHead.from_json(stated) == head
    changes: list[dict[str, object]] = [
        {"keys": 3},
        {"root": "07"},
        {"size": "012"},
        {"size": "-1"},
        {"version": "2"},
        {"more": "1"},
    ]
    for change in changes:
        with pytest.raises(MalformedProofError):
            MapHead.from_json({**stated, **change})
    with pytest.raises(MalformedProofError):
        MapHead.from_json([])

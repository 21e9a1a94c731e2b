"""Blocks of links: each shape against the links themselves, read no further than needed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pq = pytest.importorskip("pyarrow.parquet")

from lodeline.proof.row_blocks import (  # noqa: E402
    SECTION_ROWS,
    Seals,
    block_roots,
    prove_row,
    verify_row,
)
from lodeline.store.link_blocks import (  # noqa: E402
    GROUP_ROWS,
    Block,
    Links,
    block_root,
    encode_block,
    erase_rows,
    shaped,
)

COUNT = 2 * GROUP_ROWS + 500


def lists(members: list[list[int]]) -> Links:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in members])]).astype(np.int64)
    return Links("lists", np.array([v for one in members for v in one], np.int64), offsets)


def drawn(kind: str) -> Links:
    """Draw links whose narrowest shape is of a kind."""
    rng, chance = np.random.default_rng(7), random.Random(7)
    if kind == "array":
        return Links("array", rng.integers(-1, 5000, COUNT))
    if kind == "delta":
        return Links("array", np.sort(rng.integers(0, 3 * COUNT, COUNT)))
    if kind == "permutation":
        return Links("array", rng.permutation(COUNT))
    if kind == "csr":
        return lists(
            [sorted(chance.sample(range(9000), chance.randrange(4))) for _ in range(COUNT)]
        )
    return lists([list(range(i, i + chance.randrange(5))) for i in range(COUNT)])


def linked(links: Links, row: int) -> set[int]:
    if links.offsets is None:
        value = int(links.values[row])
        return {value} if value >= 0 else set()
    return set(links.values[links.offsets[row] : links.offsets[row + 1]].tolist())


@pytest.mark.parametrize("kind", ["array", "delta", "permutation", "csr", "window"])
def test_a_block_of_each_shape_answers_as_its_links_do(kind: str) -> None:
    links = drawn(kind)
    found = shaped(links)
    assert found.shape == kind
    data, root, _ = encode_block(found, Seals(found.rows, b"s" * 32))
    assert block_root(data) == root.hex()
    assert len(data) <= 3 * found.count + 2000
    owners: dict[int, set[int]] = {}
    for row in range(COUNT):
        for value in linked(links, row):
            owners.setdefault(value, set()).add(row)
    block = Block(data, "", shape="")
    for row in random.Random(3).sample(range(COUNT), 20):
        behind = linked(links, row)
        assert set(block.back(np.array([row])).tolist()) == behind
        for value in behind:
            assert set(block.forward(np.array([value])).tolist()) == owners[value]
        proof = prove_row(block.seals, row, block.section_roots, block.section_claims)
        verify_row(proof, rows=found.rows, root=root)
        assert {int.from_bytes(proof.claim[i : i + 8]) for i in range(0, len(proof.claim), 8)} == (
            behind
        )
    assert set(block.back(None).tolist()) == set(owners)


@pytest.mark.parametrize("kind", ["array", "delta", "permutation", "csr", "window"])
def test_the_root_is_the_one_of_rows_committed_to_one_by_one(kind: str) -> None:
    links = drawn(kind)
    seals = Seals(links.rows, b"s" * 32)
    _, root, _ = encode_block(shaped(links), seals)
    members = [sorted(linked(links, row)) for row in range(COUNT)]
    claims = [b"".join(value.to_bytes(8, "big") for value in one) for one in members]
    one_by_one, _ = block_roots(
        seals, lambda section: claims[section * SECTION_ROWS : (section + 1) * SECTION_ROWS]
    )
    assert root == one_by_one


@pytest.mark.parametrize("kind", ["array", "delta", "permutation", "csr", "window"])
def test_one_row_is_found_and_proven_from_one_row_group(kind: str) -> None:
    links = shaped(drawn(kind))
    data, _, _ = encode_block(links, Seals(links.rows, b"s" * 32))
    block = Block(data, "", shape="")
    block.back(np.array([GROUP_ROWS + 5]))
    prove_row(block.seals, GROUP_ROWS + 5, block.section_roots, block.section_claims)
    assert block.groups_read == 1
    assert block.bytes_read < len(data) * 0.6
    block.back(np.array([3, GROUP_ROWS + 5]))
    assert block.groups_read == 2


@pytest.mark.parametrize(
    ("members", "shape", "bytes_max"),
    [
        (np.arange(5, 200_000), "roaring", 1_000),
        (
            np.sort(np.random.default_rng(1).choice(300_000, 200_000, replace=False)),
            "roaring",
            None,
        ),
        (np.sort(np.random.default_rng(1).choice(10**8, 5_000, replace=False)), "members", None),
    ],
)
def test_a_set_takes_the_smaller_of_its_shapes(members, shape: str, bytes_max: int | None) -> None:
    links = shaped(Links("set", members))
    data, root, chosen = encode_block(links, Seals(links.rows, b"s" * 32))
    block = Block(data, "", shape="")
    assert chosen == block.shape == shape
    assert np.array_equal(block.back(None), members)
    assert block_root(data) == root.hex()
    assert block.forward(members[7:8]).tolist() == [0]
    assert block.forward(np.array([members[-1] + 1])).tolist() == []
    # Of the seals a root for each section remains, which no shape can shorten.
    assert bytes_max is None or len(data) < bytes_max + len(block.section_roots) * 1.4
    left = erase_rows(erase_rows(data, [5, 3000]), [6])
    assert block_root(left) == root.hex()
    kept = set(members.tolist()) - set(members[[5, 6, 3000]].tolist())
    assert set(Block(left, "", shape="").back(None).tolist()) == kept


@pytest.mark.parametrize("kind", ["array", "delta", "permutation", "csr", "window"])
def test_an_erased_row_has_no_links_and_every_other_row_has_its_own(kind: str) -> None:
    links = drawn(kind)
    found = shaped(links)
    data, root, _ = encode_block(found, Seals(found.rows, b"s" * 32))
    doomed = [2, 1030, COUNT - 1]
    left = erase_rows(erase_rows(data, doomed[:1]), doomed)
    assert block_root(left) == root.hex()
    block = Block(left, "", shape="")
    for row in doomed:
        assert block.back(np.array([row])).tolist() == []
        assert prove_row(block.seals, row, block.section_roots, block.section_claims) is None
    for row in (1, 3, 1029, 5000):
        assert set(block.back(np.array([row])).tolist()) == linked(links, row)
        proof = prove_row(block.seals, row, block.section_roots, block.section_claims)
        verify_row(proof, rows=found.rows, root=root)


def test_unordered_lists_with_repetitions_and_nulls_are_put_in_order() -> None:
    found = shaped(lists([[5, 3, 3, -1], [], [9, 8, 7]]))
    data, _, shape = encode_block(found, Seals(found.rows, b"s" * 32))
    block = Block(data, "", shape="")
    assert [block.back(np.array([i])).tolist() for i in range(3)] == [[3, 5], [], [7, 8, 9]]
    assert shape == "csr"


def test_the_index_by_input_row_is_kept_on_disk_and_not_used_once_it_is_damaged(
    tmp_path: Path,
) -> None:
    links = shaped(Links("array", np.random.default_rng(2).integers(0, 4000, 3 * GROUP_ROWS)))
    data, _, _ = encode_block(links, Seals(links.rows, b"s" * 32))
    expected = np.flatnonzero(links.values == 77).tolist()

    def asked() -> Block:
        block = Block(data, "sha256:00", shape="", index_folder=tmp_path)
        assert block.forward(np.array([77])).tolist() == expected
        return block

    assert asked().groups_read == 3
    assert asked().groups_read == 0, "the index answers alone"
    [path] = tmp_path.glob("*.outputs.npy")
    body = bytearray(path.read_bytes())
    body[-100] ^= 1
    path.write_bytes(body)
    assert asked().groups_read == 3, "a damaged index is made anew"


def test_a_flipped_byte_in_a_page_is_found_when_the_page_is_read() -> None:
    links = shaped(drawn("array"))
    data, _, _ = encode_block(links, Seals(links.rows, b"s" * 32))
    group = pq.ParquetFile(__import__("io").BytesIO(data)).metadata.row_group(1)
    damaged = bytearray(data)
    damaged[group.column(0).data_page_offset + group.column(0).total_compressed_size // 2] ^= 4
    block = Block(bytes(damaged), "", shape="")
    assert len(block.back(np.array([5]))) <= 1, "what was not read was not damaged"
    with pytest.raises((OSError, ValueError)):
        block.back(np.array([GROUP_ROWS + 5]))


@pytest.mark.parametrize(("partitions", "shape"), [(1, "window"), (20, "csr")])
def test_frames_of_windows_cost_less_than_two_bytes_a_link(partitions: int, shape: str) -> None:
    chance, before = random.Random(5), dict[int, list[int]]()
    members = []
    for row in range(20_000):
        rows = before.setdefault(chance.randrange(partitions), [])
        rows.append(row)
        members.append(rows[-7:])
    found = shaped(lists(members))
    data, _, chosen = encode_block(found, Seals(found.rows, b"s" * 32))
    assert chosen == shape
    assert len(data) < 2 * found.count

"""One row of a block is proven alone, and erased alone, under a root that stays."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lodeline.proof.errors import ProofError
from lodeline.proof.row_blocks import (
    GROUP_ROWS,
    SECTION_ROWS,
    RowProof,
    Seals,
    block_roots,
    leaf_count,
    prove_row,
    verify_row,
)

SIZES = [1, 2, GROUP_ROWS - 1, GROUP_ROWS, GROUP_ROWS + 1, SECTION_ROWS, 3 * SECTION_ROWS + 7]


class Rows:
    """Claims of a block, some drawn at random."""

    def __init__(self, count: int, seed: int = 1) -> None:
        chance = random.Random(seed)
        self.values = [chance.randbytes(8 * chance.randrange(3)) for _ in range(count)]
        self.seals = Seals(count, chance.randbytes(32))

    def claims(self, section: int) -> list[bytes]:
        return self.values[section * SECTION_ROWS : (section + 1) * SECTION_ROWS]

    def roots(self) -> tuple[bytes, bytes]:
        return block_roots(self.seals, self.claims)

    def prove(self, row: int) -> RowProof | None:
        return prove_row(self.seals, row, self.roots()[1], self.claims)


@pytest.mark.parametrize("count", SIZES)
def test_every_row_is_proven_alone(count: int) -> None:
    rows = Rows(count)
    root, _ = rows.roots()
    for row in {0, count // 2, count - 1}:
        proof = rows.prove(row)
        assert proof is not None
        assert proof.claim == rows.values[row]
        verify_row(RowProof.from_json(proof.to_json()), rows=count, root=root)
        assert len(proof.path) <= leaf_count(count).bit_length()


@pytest.mark.parametrize("count", SIZES)
def test_an_erased_row_leaves_root_and_other_proofs_as_they_were(count: int) -> None:
    rows = Rows(count)
    root, _ = rows.roots()
    doomed = sorted({0, count // 2})
    salts = [rows.prove(row).salt.hex() for row in doomed]
    rows.seals = Seals.from_json(rows.seals.without(doomed, rows.claims).to_json())
    for row in doomed:
        rows.values[row] = b""
    written = str(rows.seals.to_json())
    assert rows.seals.secret is None
    assert not [salt for salt in salts if salt in written]
    assert rows.roots()[0] == root
    assert [rows.prove(row) for row in doomed] == [None] * len(doomed)
    for row in set(range(min(count, 80))) - set(doomed):
        verify_row(rows.prove(row), rows=count, root=root)


def test_no_flipped_bit_of_a_proof_verifies() -> None:
    rows = Rows(2 * SECTION_ROWS + 40)
    root, _ = rows.roots()
    rows.values[1500] = b"12345678"
    root, _ = rows.roots()
    proof = rows.prove(1500)
    changed = [
        replace(proof, row=1501),
        replace(proof, rows=proof.rows + 1000),
        replace(proof, claim=b"12345679"),
        replace(proof, claim=b""),
        replace(proof, salt=bytes(32)),
        replace(proof, salt=proof.salt + b"\0"),
        replace(proof, beside=proof.beside[1:]),
        replace(proof, beside=(bytes(32), *proof.beside[1:])),
        replace(proof, path=proof.path[1:]),
        replace(proof, path=(*proof.path[:-1], bytes(32))),
    ]
    for number, one in enumerate(changed):
        with pytest.raises(ProofError):
            verify_row(one, rows=len(rows.values), root=root)
            pytest.fail(f"change {number} verifies")


@pytest.mark.parametrize(
    "change",
    [
        {"row": "1"},
        {"row": True},
        {"salt": "AB" * 32},
        {"path": ["zz"]},
        {"beside": [1]},
        {"more": 1},
    ],
)
def test_what_is_no_proof_is_refused(change: dict[str, object]) -> None:
    proof = Rows(40).prove(1)
    with pytest.raises(ProofError):
        RowProof.from_json({**proof.to_json(), **change})

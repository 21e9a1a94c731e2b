"""Proofs, notes and tiles against what other projects published."""

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from lodeline.errors import ProofError
from lodeline.proof import (
    CompactRange,
    Signer,
    TreeHead,
    Verifier,
    bundle_path,
    encode_bundle,
    format_tree_head,
    hash_leaf,
    iter_bundle,
    parse_tree_head,
    root_from_tiles,
    sign_note,
    tile_path,
    verify_consistency,
    verify_inclusion,
    verify_note,
)

pytestmark = pytest.mark.vectors
Find = Callable[[str], Path]


def test_every_published_inclusion_proof_is_judged_as_its_authors_judge_it(vectors: Find) -> None:
    files = sorted((vectors("merkle") / "inclusion").rglob("*.json"))
    assert len(files) >= 90
    for file in files:
        case = json.loads(file.read_text())
        try:
            verify_inclusion(
                b64decode(case["leafHash"] or ""),
                [b64decode(value) for value in case["proof"] or []],
                leaf_index=case["leafIdx"],
                tree_size=case["treeSize"],
                root=b64decode(case["root"] or ""),
            )
            refused = False
        except ProofError:
            refused = True
        assert refused == case["wantErr"], (file, case["desc"])


def test_every_published_consistency_proof_is_judged_as_its_authors_judge_it(
    vectors: Find,
) -> None:
    files = sorted((vectors("merkle") / "consistency").rglob("*.json"))
    assert len(files) >= 90
    for file in files:
        case = json.loads(file.read_text())
        try:
            _verify_consistency(case)
            refused = False
        except ProofError:
            refused = True
        assert refused == case["wantErr"], (file, case["desc"])


def _verify_consistency(case: dict) -> None:
    verify_consistency(
        [b64decode(value) for value in case["proof"] or []],
        size_earlier=case["size1"],
        size_later=case["size2"],
        root_earlier=b64decode(case["root1"] or ""),
        root_later=b64decode(case["root2"] or ""),
    )


def test_no_published_case_is_left_out_and_both_verdicts_occur(vectors: Find) -> None:
    files = [path for path in vectors("merkle").rglob("*") if path.is_file()]
    judged = [*vectors("merkle").glob("inclusion/**/*.json")]
    judged += vectors("merkle").glob("consistency/**/*.json")
    assert sorted(files) == sorted(judged)
    verdicts = [json.loads(path.read_text())["wantErr"] for path in judged]
    assert {True, False} == set(verdicts)


@pytest.fixture
def tessera(vectors: Find) -> Path:
    return vectors("tessera-log")


@pytest.fixture
def tessera_keys(tessera: Path) -> tuple[Signer, Verifier]:
    private, public = (tessera / "keys.txt").read_text().split()
    return Signer.from_text(private), Verifier.from_vkey(public)


def test_tesseras_checkpoints_verify_and_are_reproduced_byte_for_byte(
    tessera: Path, tessera_keys: tuple[Signer, Verifier]
) -> None:
    signer, verifier = tessera_keys
    assert signer.verifier == verifier
    for size in range(16):
        note = (tessera / f"checkpoint.{size}").read_text()
        text, signed = verify_note(note, [verifier])
        head = parse_tree_head(text)
        assert (signed, head.size, head.origin) == ([verifier], size, verifier.name)
        assert sign_note(format_tree_head(head), [signer]) == note


def test_keys_are_written_as_they_were_read(tessera: Path) -> None:
    private, public = (tessera / "keys.txt").read_text().split()
    assert Signer.from_text(private).text == private
    assert Verifier.from_vkey(public).vkey == public


def test_tesseras_tiles_and_bundles_lead_to_its_roots(tessera: Path) -> None:
    tree = CompactRange()
    for size in range(1, 16):
        bundle = (tessera / bundle_path(0, width=size)).read_bytes()
        entries = list(iter_bundle(bundle))
        assert encode_bundle(entries) == bundle
        tile = (tessera / tile_path(0, 0, width=size)).read_bytes()
        assert b"".join(map(hash_leaf, entries)) == tile
        text = (tessera / f"checkpoint.{size}").read_text().split("\n\n")[0] + "\n"
        head = parse_tree_head(text)
        tree.append(hash_leaf(entries[-1]))
        assert tree.root() == head.root_hash
        assert root_from_tiles(0, size, lambda level, number, tile=tile: tile) == head.root_hash
        assert head == TreeHead(head.origin, size, tree.root())

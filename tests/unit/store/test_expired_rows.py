"""Blocks of old steps go by a logged expiry: a gap afterwards, and no proof that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from lodeline.cli.main import main
from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.query import ask
from lodeline.rows.committing import commit_blocks
from lodeline.store import open_segment
from lodeline.store.expiring import expire_blocks
from row_chains import behind, random_chain, version

# The step into d1 is of 2 January, those into d3 of 4 January.
BETWEEN = "2026-01-03T00:00:00Z"


def test_expired_links_are_a_gap_and_earlier_proofs_stay_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{tmp_path / 's.db'}"
    with open_segment(store) as segment:
        links = random_chain(segment, 6)
        commit_blocks(segment)
        row = next(row for row in range(500) if "d0" in behind(links, row))
        root = {"id": f"row:test:d3:{row}#{version(3)}"}
        before = build_pack(segment, root)
    asked = ["retention", "rows", "--before", BETWEEN, "--store", store, "--json"]
    assert main([*asked, "--dry-run"]) == 0
    [doomed] = json.loads(capsys.readouterr().out)["blobs"]
    assert main(asked) == 0
    assert json.loads(capsys.readouterr().out)["blobs"] == [doomed]
    assert main(asked) == 1, "what is gone does not go again"
    assert main(["verify", "--store", store]) == 0
    capsys.readouterr()
    with open_segment(store) as segment:
        assert doomed not in segment.blobs.list_digests()
        answer = ask(segment, "rows", root)
        assert {one["dataset"].rpartition(":")[2] for one in answer["rows"]} == {"d1"}
        assert {gap["reason"] for gap in answer["gaps"]} == {"retention"}
        assert verify_pack(before).ok
        after = build_pack(segment, root)
        assert verify_pack(after).failures == []
        stated = json.loads(after["rows.json"])
        assert {one["reason"] for one in stated["missing"]} == {"retention"}


def test_an_expiry_that_a_crash_cut_short_is_carried_out_by_the_next(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as segment:
        random_chain(segment, 6, rows=100)
        commit_blocks(segment)
        doomed = segment.blobs.list_digests()[0]
        # As if killed right after the entry was durable.
        segment.append_record("expiry", {"before": BETWEEN, "blobs": [doomed]})
        assert expire_blocks(segment, 0) == (None, [])
        assert doomed not in segment.blobs.list_digests()
        assert doomed in segment.expired_blobs()


def test_a_block_that_a_later_event_refers_to_stays(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as segment:
        random_chain(segment, 6, rows=100)
        commit_blocks(segment)
        count = len(segment.blobs.list_digests())
        assert expire_blocks(segment, 0) == (None, [])
        assert len(segment.blobs.list_digests()) == count

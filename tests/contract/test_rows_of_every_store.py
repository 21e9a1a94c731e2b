"""Row links are committed to, followed, erased and expired alike on every store."""

from __future__ import annotations

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")

from lodeline.evidence import build_pack
from lodeline.fold.evidence import verify_pack
from lodeline.query import ask
from lodeline.rows.committing import commit_blocks
from lodeline.store.expiring import expire_blocks
from lodeline.store.subject_records import erase_subject, find_subject
from lodeline.store.verification import verify_segment
from row_chains import behind, random_chain, version
from row_erasures import SUBJECT, record_predictions, texts_of
from stores import Place


def test_a_row_is_proven_erased_and_expired_on_every_store(place: Place) -> None:
    with place.open() as segment:
        links = random_chain(segment, 8, rows=300)
        record_predictions(segment)
        assert commit_blocks(segment) == 3
        row = next(row for row in range(300) if "d0" in behind(links, row))
        root = {"id": f"row:test:d3:{row}#{version(3)}"}
        answer = ask(segment, "rows", root)
        assert {one["dataset"].rpartition(":")[2] for one in answer["rows"]} == {"d0", "d1"}
        source = next(one["id"] for one in answer["rows"] if one["dataset"].endswith(":d0"))
        ahead = ask(segment, "rows", {"id": source, "forward": True})
        assert str(row) in {one["key"] for one in ahead["rows"] if one["dataset"].endswith(":d3")}
        pack = build_pack(segment, root)
        assert verify_pack(pack).failures == []
        erase_subject(segment, find_subject(segment, SUBJECT), undeclared=True)
        assert SUBJECT not in texts_of(segment)
        # 3 January, between the two events of the chain.
        position, doomed = expire_blocks(segment, 1_767_398_400_000_000)
        assert position is not None
        assert len(doomed) == 1
        assert verify_segment(segment).failures == []
        later = ask(segment, "rows", root)
        assert {gap["reason"] for gap in later["gaps"]} == {"retention"}

"""What a model was trained on is composed once; afterwards no block of links is read for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")

from lodeline.query import ask
from lodeline.rows.committing import commit_blocks
from lodeline.rows.links import OPEN_BLOCKS
from lodeline.store import SqlSegment, open_segment
from lodeline.store.erasing import erase
from lodeline.store.expiring import expire_blocks
from row_chains import behind, random_chain, record, record_fit, step

MODEL = "model:ml:churn#sha256:" + "e" * 64
LEARNED, CHECKED = [3, 8, 21], [8, 40]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[SqlSegment, Any]]:
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as segment:
        links = random_chain(segment, 4, rows=300)
        sets = ("fit", LEARNED), ("validated, fold 1 of 2", CHECKED)
        record_fit(segment, *sets)
        commit_blocks(segment)
        yield segment, links


def compositions(segment: SqlSegment) -> list[Path]:
    assert segment.path is not None
    return sorted(segment.path.with_name(segment.path.name + ".rows").glob("*.composition"))


def asked(segment: SqlSegment) -> tuple[dict[str, Any], int]:
    """Ask with every block closed; give the answer, and how many row groups were read for it."""
    OPEN_BLOCKS.drop_all()
    answer = ask(segment, "rows", {"id": MODEL, "back": True, "limit": 1000})
    return answer, OPEN_BLOCKS.groups_read()


def rows_of(answer: dict[str, Any]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for one in answer["rows"]:
        found.setdefault(one["dataset"].rpartition(":")[2], set()).add(int(one["key"]))
    return found


def expected(links: Any) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {"d3": {*LEARNED, *CHECKED}}
    for row in found["d3"]:
        for name, rows in behind(links, row).items():
            found.setdefault(name, set()).update(rows)
    return found


def test_a_model_asked_about_again_reads_its_sets_and_no_other_block(
    kept: tuple[SqlSegment, Any],
) -> None:
    segment, links = kept
    first, without = asked(segment)
    again, with_it = asked(segment)
    assert rows_of(first) == expected(links)
    assert again == first
    assert len(compositions(segment)) == 1
    # Two sets say of each row what it was for; three blocks lie between them and the sources.
    assert (without, with_it) == (5, 2)
    # In a deleted folder nothing is lost but the time of making it again.
    compositions(segment)[0].unlink()
    assert asked(segment) == (first, without)


def test_each_row_of_a_model_says_by_which_sets_it_was_used(kept: tuple[SqlSegment, Any]) -> None:
    segment, _ = kept
    answer, _ = asked(segment)
    fits = {int(row["key"]): row["fits"] for row in answer["rows"] if "fits" in row}
    assert fits == {
        3: ["fit"],
        8: ["fit", "validated, fold 1 of 2"],
        21: ["fit"],
        40: ["validated, fold 1 of 2"],
    }
    # The population of the model's decisions is what it learned from.
    counts = ask(segment, "cohort", {"id": MODEL})["counts"]
    assert sum(counts.values()) == len(LEARNED)


def test_a_composition_that_is_damaged_or_out_of_date_is_not_used(
    kept: tuple[SqlSegment, Any],
) -> None:
    segment, links = kept
    first, _ = asked(segment)
    [path] = compositions(segment)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert asked(segment)[0] == first
    # A run that tells later of another source of d3's.
    record(segment, 3, [step(segment, 0, [[7]] * 300, operator="late")])
    commit_blocks(segment)
    answer, _ = asked(segment)
    assert rows_of(answer)["d0"] == expected(links)["d0"] | {7}
    before = ask(segment, "rows", {"id": MODEL, "back": True, "as_of": first["as_of"]["tree_size"]})
    assert before["counts"] == first["counts"]


@pytest.mark.parametrize("act", ["erase", "expire"])
def test_erased_and_expired_rows_leave_no_composition(
    kept: tuple[SqlSegment, Any], act: str
) -> None:
    segment, links = kept
    asked(segment)
    with segment.reading() as connection:
        (block,) = connection.execute(
            "SELECT b.block FROM row_block b JOIN row_step s ON s.digest = b.source "
            "WHERE s.output_name = 'd1'"
        ).fetchone()
    if act == "erase":
        erase(segment, rows={block: sorted(expected(links)["d1"])})
    else:
        expire_blocks(segment, 1_900_000_000_000_000)
    assert compositions(segment) == []
    for _ in range(2):
        answer, _ = asked(segment)
        assert "d0" not in rows_of(answer)
        reason = "erased" if act == "erase" else "retention"
        assert reason in {gap["reason"] for gap in answer["gaps"]}

"""Row links in an archive: what producers state, or a disk breaks, ends no export."""

from __future__ import annotations

from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from lodeline.exports.exporting import day_of  # noqa: E402
from lodeline.exports.parquet_archive import archive  # noqa: E402
from lodeline.ingest import fold_pending  # noqa: E402
from lodeline.rows.committing import commit_blocks  # noqa: E402
from lodeline.rows.links import OPEN_BLOCKS  # noqa: E402
from lodeline.store import SqlSegment, open_segment  # noqa: E402
from row_chains import record, step  # noqa: E402

OUTSIDE = "../../x"


def broken_chain(segment: SqlSegment) -> None:
    """Two blocks, one of which breaks; and links that a producer calls by a path."""
    good, bad = step(segment, 0, [1, 0, 2]), step(segment, 1, [5, 4, 4])
    record(segment, 1, [good, {**good, "digest": OUTSIDE}])
    record(segment, 3, [bad, step(segment, 2, [0, 1, 2])])
    commit_blocks(segment)
    with segment.reading() as connection:
        (broken,) = connection.execute(
            "SELECT block FROM row_block WHERE source = ?", (bad["digest"],)
        ).fetchone()
    path = segment.blob_path(broken)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-40])
    OPEN_BLOCKS.drop_all()
    fold_pending(segment)


def test_a_producers_path_writes_nowhere_and_a_broken_block_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "two" / "archive"
    with open_segment(f"sqlite:///{tmp_path / 'store' / 's.db'}") as segment:
        broken_chain(segment)
        found = archive(segment, folder)
        steps = pq.read_table(folder / "row_steps").num_rows
    assert steps == 4
    # Of three blobs that steps name by a digest one block is broken.
    assert len(list(folder.rglob("links.parquet"))) == 2
    assert found.export.left_out.blocks == 2
    assert [note for note in found.export.left_out.notes() if note.startswith("2 blocks")]
    beside = {path.name for path in (tmp_path, folder.parent, folder.parent.parent)}
    assert beside == {tmp_path.name, "one", "two"}
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "store" not in path.parts]
    assert all(folder in path.parents for path in written)


@pytest.mark.parametrize(
    ("time_us", "day"),
    [(0, "1970-01-01"), (1_767_225_600_000_000, "2026-01-01"), (10**18, "1970-01-01")],
)
def test_a_time_beyond_any_calendar_has_a_folder_all_the_same(time_us: int, day: str) -> None:
    assert day_of(time_us) == day


def test_a_step_of_a_year_beyond_9999_is_archived(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path / 's.db'}") as segment:
        record(segment, 1, [step(segment, 0, [1, 0, 2])])
        commit_blocks(segment)
        fold_pending(segment)
        with segment.writing() as connection:
            connection.execute("UPDATE row_step SET event_time = ?", (10**18,))
        archive(segment, tmp_path / "archive")
    [path] = (tmp_path / "archive" / "row_steps").rglob("*.parquet")
    assert path.parent.name == "date=1970-01-01"
    assert pq.ParquetFile(path).metadata.num_rows == 1

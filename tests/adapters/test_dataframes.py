"""Data frames, in the oldest and the newest release that is supported."""

from __future__ import annotations

from pathlib import Path

from observing import python


def test_a_frame_of_pandas_names_the_file_it_was_read_from(
    tmp_path: Path, interpreter: str
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n3,4\n")
    seen = python(
        tmp_path,
        "import pandas as pd\n"
        "first, second = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
        "first[first.a > 1].assign(c=lambda t: t.a + 1).to_parquet('one.parquet')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("one.parquet") == {"in.csv"}
    assert not seen.gaps, seen.gaps


def test_a_lazy_frame_of_polars_names_the_files_it_was_scanned_from(
    tmp_path: Path, interpreter: str
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "other.csv").write_text("a,c\n1,2\n3,4\n")
    seen = python(
        tmp_path,
        "import polars as pl\n"
        "first, second = pl.scan_csv('in.csv'), pl.scan_csv('other.csv')\n"
        "first.join(second, on='a').collect().write_parquet('both.parquet')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("both.parquet") == {"in.csv", "other.csv"}

"""Recall of file access against `strace`, on programs written as users write them.

A small set; `bench/capture_recall.py` runs all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frameworks import interpreter_of
from observing import environment
from recalling import Recall, measure, measure_together, touched_by

SMALL = (
    *("archive_logs", "configured", "copies", "csv_report", "descriptors", "inplace"),
    *("jsonlines", "pandas_etl", "pools", "shells", "zips"),
    *("arrow_filesystem", "database_copies", "executed", "polars_sinks", "values"),
)
# What flowed into outputs of the programs; `?` stands for an upper bound.
FLOWED = {
    "by_region": {"sales.csv"},
    "later.csv": {"sales.csv"},
    "parts.parquet": {"1.csv", "2.csv"},
    "by_sql.csv": {"1.csv"},
    "deserialized.csv": {"sales.bin"},
    "logs-copy": {"logs"},
    "mean.npy": {"sales.csv"},
    "mean.pkl": {"sales.csv"},
    "table.csv": {"sales.csv"},
}
# Outputs of what is not followed: among what may have flowed in is what did.
MAY_HAVE_FLOWED = {
    "of_bytes.csv": "2.csv",
    "scanned": "parts",
    "pieces.csv": "sales.csv",
    "list.npy": "1.csv",
}
UNSEEN = (
    "not a Python program",
    "its options -I, -E or -S keep capture out",
    "open, called through ctypes",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recall]:
    """All programs in one process: each starts in data of its own, and starting one takes longest."""
    return measure_together(SMALL, tmp_path_factory.mktemp("recall"))


@pytest.mark.slow
def test_every_file_that_strace_saw_is_on_the_record(found: dict[str, Recall]) -> None:
    missed = {program: one.missed for program, one in found.items() if one.missed}
    # It is read by a function of C, and a gap tells of it.
    assert missed == {"executed": {"read feed.xml", "read settings.toml", "wrote alone.txt"}}
    assert min(one.touched for one in found.values()) > 2
    # Nothing is told that is not there: no scratch file, no file of Python's own, no contents.
    folder = Path(found["values"].seen.run_facet("lodeline_capture")["cwd"])
    there = {folder / program / name for program, one in found.items() for name in one.there}
    told = {
        Path(dataset["name"])
        for event in found["values"].seen.events
        for side in ("inputs", "outputs")
        for dataset in event[side]
        if dataset["namespace"] == "file"
    }
    assert all(path.is_dir() for path in told - there), told - there


@pytest.mark.slow
def test_what_flowed_is_told_or_bounded_however_it_went(found: dict[str, Recall]) -> None:
    seen = found["values"].seen
    assert {name: seen.flowed(name) for name in FLOWED} == FLOWED
    for name, source in MAY_HAVE_FLOWED.items():
        assert {source, "?"} <= seen.flowed(name), name
    for base in ("base.db", "saved.db", "small.db", "store.duckdb"):
        tables = {d["namespace"].rpartition("/")[2] for e in seen.events for d in e["outputs"]}
        assert base in tables
    assert seen.flowed("stored.csv") == {"store.main.sales"}
    assert {"sales.csv", "?"} <= seen.flowed("store.main.sales")


@pytest.mark.slow
def test_what_cannot_be_seen_is_a_gap_of_its_own(found: dict[str, Recall]) -> None:
    told = " ".join(gap["detail"] for gap in found["executed"].seen.gaps)
    assert [text for text in UNSEEN if text not in told] == []


@pytest.mark.slow
def test_the_oldest_frameworks_leave_out_no_file_either(tmp_path: Path) -> None:
    programs = ("arrow_filesystem", "database_copies", "duckdb_etl", "polars_sinks", "values")
    found = measure_together(programs, tmp_path, interpreter=interpreter_of("oldest"))
    assert not {program: one.missed for program, one in found.items() if one.missed}
    seen = found["values"].seen
    names = FLOWED.keys() & seen.names("outputs")
    assert len(names) > 5
    assert {name: seen.flowed(name) for name in names} == {name: FLOWED[name] for name in names}
    assert seen.flowed("by_region.parquet") == {"sales.csv"}
    assert not seen.gaps


def test_calls_that_strace_wrote_in_two_halves_count() -> None:
    # `strace -f` writes so where another process ran in between, with its result set right.
    log = """\
7   openat(AT_FDCWD</data>, "a.csv", O_RDONLY|O_CLOEXEC <unfinished ...>
8   openat(AT_FDCWD</data>, "b.csv", O_WRONLY|O_CREAT|O_TRUNC, 0666 <unfinished ...>
7   <... openat resumed>)             = 3</data/a.csv>
8   <... openat resumed>)             = 4</data/b.csv>
7   rename("b.csv", "c.csv" <unfinished ...>
8   openat(AT_FDCWD</data>, "d.csv", O_RDONLY) = -1 ENOENT (No such file or directory)
7   <... rename resumed>)             = 0
"""
    assert touched_by(log, Path("/data")) == ({"a.csv"}, {"b.csv", "c.csv"})


def test_where_a_program_was_not_observed_no_answer_is_complete(tmp_path: Path) -> None:
    found = measure("shells", tmp_path)
    assert any("not a Python program" in gap["detail"] for gap in found.seen.gaps)
    folder = tmp_path / "observed"
    for name in ("by-cp.csv", "sorted.csv", "cat.txt"):
        words = [sys.executable, "-m", "lodeline", "trace", f"dataset:file:{folder / name}"]
        done = subprocess.run(
            [*words, "--json", "--store", f"sqlite:///{folder}/store/lodeline.db"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        answer = json.loads(done.stdout)
        assert answer["complete"] is False, name
        sources = {Path(node["name"]).name for node in answer["nodes"]}
        assert sources & {"sales.csv", "a.log"}, name

"""Recall of file access against `strace`, on programs written as users write them.

A small set; `bench/capture_recall.py` runs all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from observing import environment
from recalling import measure, touched_by

SMALL = (
    *("archive_logs", "configured", "copies", "csv_report", "descriptors", "inplace"),
    *("jsonlines", "pandas_etl", "pools", "shells", "zips"),
)


@pytest.mark.slow
@pytest.mark.parametrize("program", SMALL)
def test_every_file_that_strace_saw_is_on_the_record(program: str, tmp_path: Path) -> None:
    found = measure(program, tmp_path)
    assert found.touched > 2
    assert not found.missed
    # Nothing is told that is not there: no scratch file, no file of Python's own.
    folder = tmp_path / "observed"
    told = {
        Path(dataset["name"])
        for event in found.seen.events
        for side in ("inputs", "outputs")
        for dataset in event[side]
        if dataset["namespace"] == "file"
    }
    extra = {path for path in told if str(path.relative_to(folder)) not in found.there}
    assert all(path.is_dir() for path in extra), extra


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

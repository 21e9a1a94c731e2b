"""Jobs of cron under `lodeline run`: hardly any environment, no home, no terminal, no input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from observing import SOURCES, Observed, read_events

JOB = """
import os, sys, csv
rows = list(csv.reader(open('in.csv')))
csv.writer(open('out.csv', 'w')).writerows(rows[::-1])
print(len(rows), sorted(os.environ.keys() & {'HOME', 'USER', 'TERM', 'OPENLINEAGE_PARENT_ID'}))
print('told', file=sys.stderr)
sys.exit(3)
"""
# What cron of Debian sets, and what a container's init may set: nothing.
ENVIRONMENTS = {
    "cron": {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "batch", "LANG": "C"},
    "nothing": {},
    "empty path": {"PATH": ""},
}


def in_background(folder: Path, command: list[str], given: dict[str, str]) -> Observed:
    """Start a program as cron does: of a session of its own, without terminal or input."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(SOURCES), **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
    )
    return Observed(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_job_of_cron_is_recorded_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    (tmp_path / "nightly.py").write_text(JOB)
    job = [sys.executable, "nightly.py"]
    store = f"sqlite:///{tmp_path}/store/lodeline.db"
    runner = [sys.executable, "-m", "lodeline", "run", "--store", store, "--job", "nightly", "--"]
    plain = in_background(tmp_path, job, ENVIRONMENTS[name])
    done = in_background(tmp_path, [*runner, *job], ENVIRONMENTS[name])
    assert done.status == plain.status == 3
    assert done.stderr == plain.stderr == "told\n"
    # Named for producers of OpenLineage that the job starts.
    assert done.stdout == plain.stdout.replace("[]", "['OPENLINEAGE_PARENT_ID']")
    done.events = read_events(tmp_path)
    assert done.last["eventType"] == "FAIL"
    assert done.last["job"]["name"] == "nightly"
    assert done.flowed("out.csv") == {"in.csv", "?"}
    assert done.run_facet("lodeline_code")["sourceDigest"].startswith("sha256:")
    assert done.run_facet("lodeline_capture")["exitCode"] == 3
    assert done.run_facet("lodeline_environment")["interpreter"]["version"]
    assert not [gap for gap in done.gaps if "Error" in gap["detail"]], done.gaps
    assert os.listdir(tmp_path / "store")


@pytest.mark.parametrize(("job", "named"), [("nightly", True), ("jobs/nightly", False)])
def test_producers_below_are_told_their_parent_where_its_name_allows(
    tmp_path: Path, job: str, named: bool
) -> None:
    store = f"sqlite:///{tmp_path}/store/lodeline.db"
    show = "import os; print(os.environ.get('OPENLINEAGE_PARENT_ID', ''))"
    done = in_background(
        tmp_path,
        [sys.executable, "-m", "lodeline", "run", "--store", store, "--job", job, "--",
         sys.executable, "-c", show],
        {},
    )  # fmt: skip
    assert done.status == 0, done.stderr
    run = read_events(tmp_path)[0]["run"]["runId"]
    assert done.stdout.strip() == (f"default/{job}/{run}" if named else "")

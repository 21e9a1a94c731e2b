"""What becomes of files that a program removes, renames and moves, as capture tells and the graph
keeps it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from observing import Observed, environment, python, run_plain

PROGRAM = """
import os, pathlib, shutil, tempfile
import pandas as pd

os.remove('old.csv')
frame = pd.read_csv('read.csv')
pathlib.Path('read.csv').unlink()
os.rename('names.csv', 'renamed.csv')
shutil.move('moved.csv', 'elsewhere')
shutil.rmtree('folder')
# Scratch, in each of the ways: nobody but the program ever saw these.
frame.to_csv('scratch.csv')
os.remove('scratch.csv')
with tempfile.TemporaryDirectory() as place:
    open(place + '/a', 'w').write('x')
os.mkdir('building')
frame.to_csv('building/part.csv')
os.rename('building', 'built')
# Written again, or under its old name: still there.
os.remove('again.csv')
frame.to_csv('again.csv')
os.rename('log.csv', 'log.csv.1')
open('log.csv', 'w').write('new')
# There before, overwritten, and gone in the end; and renamed, and gone.
open('over.csv', 'w').write('x')
os.remove('over.csv')
os.rename('first.csv', 'second.csv')
os.remove('second.csv')
try:
    os.rename('none.csv', 'nothing.csv')
except FileNotFoundError:
    print(sorted(os.listdir()))
"""
NAMES = (
    *("old.csv", "read.csv", "names.csv", "moved.csv", "again.csv", "log.csv", "over.csv"),
    *("first.csv", "folder/one.csv", "folder/inner/two.csv"),
)


def prepare(place: Path) -> Path:
    place.mkdir()
    (place / "folder" / "inner").mkdir(parents=True)
    (place / "elsewhere").mkdir()
    for name in NAMES:
        (place / name).write_text(f"name\n{name}\n")
    return place


def lifecycles(done: Observed) -> dict[str, tuple[str, str]]:
    """Name -> state and previous name, of the outputs of the last event."""
    found = {}
    for dataset in done.last["outputs"]:
        facet: dict[str, Any] = dataset["facets"].get("lifecycleStateChange", {})
        if facet:
            previous = facet.get("previousIdentifier", {}).get("name", "")
            found[Path(dataset["name"]).name] = (facet["lifecycleStateChange"], Path(previous).name)
    return found


def test_what_was_there_before_a_run_and_is_not_afterwards_is_told_as_ended(tmp_path: Path) -> None:
    place = prepare(tmp_path / "observed")
    done = python(place, PROGRAM)
    assert done.status == 0, done.stderr
    assert lifecycles(done) == {
        **dict.fromkeys(("old.csv", "read.csv", "over.csv", "first.csv"), ("DROP", "")),
        **dict.fromkeys(("one.csv", "two.csv"), ("DROP", "")),
        "renamed.csv": ("RENAME", "names.csv"),
        "moved.csv": ("RENAME", "moved.csv"),
    }
    assert {"part.csv", "again.csv", "log.csv", "log.csv.1"} <= done.names("outputs")
    assert done.flowed("part.csv") == {"read.csv"}
    assert done.output("part.csv")["name"] == str(place / "built" / "part.csv")
    assert done.flowed("log.csv.1") == {"log.csv"}
    told = {Path(one["name"]).name for event in done.events for one in event["outputs"]}
    assert told.isdisjoint({"scratch.csv", "a", "nothing.csv", "second.csv"})
    # The same bytes under another name have the same version.
    renamed = done.output("renamed.csv")["facets"]["lodeline_digest"]["value"]
    [before] = [d for d in done.last["inputs"] if d["name"].endswith("/names.csv")]
    assert renamed == before["facets"]["lodeline_digest"]["value"] is not None
    plain = prepare(tmp_path / "plain")
    (plain / "script.py").write_text(PROGRAM)
    alone = run_plain(plain, sys.executable, "script.py")
    assert alone.stdout == done.stdout.replace(", 'store'", "")


def test_a_removal_by_another_run_ages_what_was_made_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    made = python(tmp_path, "import pandas as p; p.read_csv('in.csv').to_csv('out.csv')")
    assert made.status == 0, made.stderr
    assert trace(tmp_path) == {"current"}
    (tmp_path / "clean.py").write_text("import os; os.remove('in.csv')")
    ask(tmp_path, "run", "--", sys.executable, "clean.py")
    assert trace(tmp_path) == {"stale"}


def trace(place: Path) -> set[str]:
    answer = json.loads(ask(place, "trace", f"dataset:file:{place}/out.csv", "--json"))
    return {edge["status"] for edge in answer["edges"] if edge["kind"] == "derives"}


def ask(place: Path, *words: str) -> str:
    store = f"sqlite:///{place}/store/lodeline.db"
    done = subprocess.run(
        [sys.executable, "-m", "lodeline", words[0], "--store", store, *words[1:]],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

"""Files that were copied by hand are recognised by their bytes when they are read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lodeline
from lodeline.ingest import graph_state, rebuild
from lodeline.store import open_segment
from observing import run_observed

COPIES = 50
WRITES = """
import random
random.seed(7)
for number in range({copies}):
    with open(f"made/{{number}}.csv", "w") as file:
        file.write("id,amount,customer\\n")
        file.writelines(f"{{row}},{{random.random()}},c{{random.getrandbits(32)}}\\n" for row in range(40))
for name in ("twin-a", "twin-b"):
    with open(f"made/{{name}}.csv", "w") as file:
        file.writelines(f"{{row}},{{row * row}},same in both\\n" for row in range(200))
for name, text in (
    ("empty", ""),
    ("tiny", "1,2\\n"),
    ("header", ",".join(f"column_{{n}}_{{n * n}}" for n in range(400)) + "\\n"),
    ("zeros", "0" * 100_000),
):
    with open(f"made/{{name}}", "w") as file:
        file.write(text)
"""
READS = """
import glob, os
for name in sorted(glob.glob("copied/*")):
    with open(name) as file:
        text = file.read()
    with open("out/" + os.path.basename(name), "w") as file:
        file.write(text + "read\\n")
"""


def trace(folder: Path, name: str, **options: object) -> dict[str, Any]:
    answer: dict[str, Any] = lodeline.trace(
        f"dataset:file:{folder}/{name}",
        store=f"sqlite:///{folder}/store/lodeline.db",
        direction="up",
        **options,
    )
    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that writes, copies by `cp`, and a run that reads the copies."""
    root = tmp_path_factory.mktemp("copies")
    for name in ("made", "copied", "out"):
        (root / name).mkdir()
    (root / "write.py").write_text(WRITES.format(copies=COPIES))
    (root / "read.py").write_text(READS)
    assert run_observed(root, sys.executable, "write.py").status == 0
    # Other names than before, so that nothing but the bytes can tell.
    for number, path in enumerate(sorted((root / "made").iterdir())):
        subprocess.run(["cp", str(path), str(root / "copied" / f"{number:03}")], check=True)
    (root / "copied" / "new").write_text("".join(f"{n},{n * 3}\n" for n in range(500)))
    assert run_observed(root, sys.executable, "read.py").status == 0
    return root


def joins(folder: Path) -> dict[str, str]:
    """Copy -> what it was recognised as, by the graph's edges."""
    found = {}
    for path in sorted((folder / "copied").iterdir()):
        answer = trace(folder, f"copied/{path.name}", depth=1)
        for edge in answer["edges"]:
            if edge["basis"] == "content" and edge["kind"] == "derives":
                found[path.name] = Path(edge["source"].partition("#")[0]).name
    return found


def test_fifty_copies_are_joined_to_what_they_were_copied_from_and_nothing_else_is(
    folder: Path,
) -> None:
    made = sorted(path.name for path in (folder / "made").iterdir())
    truth = {
        f"{number:03}": name
        for number, name in enumerate(made)
        if name.removesuffix(".csv").isdigit()
    }
    assert len(truth) == COPIES
    assert joins(folder) == truth


def test_a_copy_of_one_of_two_equal_files_is_a_gap_that_names_both(folder: Path) -> None:
    made = sorted(path.name for path in (folder / "made").iterdir())
    number = made.index("twin-a.csv")
    answer = trace(folder, f"copied/{number:03}")
    assert not answer["complete"]
    (gap,) = [gap for gap in answer["gaps"] if "was copied" in gap["detail"]]
    assert "twin-a.csv" in gap["detail"] and "twin-b.csv" in gap["detail"]


def test_the_graph_is_the_same_when_it_is_made_again(folder: Path) -> None:
    segment = open_segment(f"sqlite:///{folder}/store/lodeline.db", create=False)
    before = graph_state(segment)
    size = segment.size()
    rebuild(segment)
    assert segment.size() == size
    assert graph_state(segment).graph_digest == before.graph_digest
    segment.close()

"""The code in README and tutorial does what it says, in a fresh directory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import iter_blocks, matches

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def marked_pages() -> list[Path]:
    return [page for page in PAGES if any(True for _ in iter_blocks(page))]


def environment(programs: Path, directory: Path) -> dict[str, str]:
    """The commands of a reader: `python`, and `lodeline` as it was installed for it."""
    programs.mkdir()
    for name, words in {"python": [], "lodeline": ["-P", "-m", "lodeline"]}.items():
        command = shlex.join([sys.executable, *words])
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE_", "OPENLINEAGE_"))}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {
        "PATH": path,
        "HOME": str(directory),
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "100",
    }


@pytest.mark.parametrize("page", marked_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    directory = tmp_path / "project"
    directory.mkdir()
    variables = environment(tmp_path / "programs", directory)
    for block in iter_blocks(page):
        if block.file is not None:
            (directory / block.file).parent.mkdir(parents=True, exist_ok=True)
            (directory / block.file).write_text(block.text)
            continue
        for command in block.commands():
            done = subprocess.run(
                ["sh", "-c", command.text],
                cwd=directory,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            printed = done.stdout.splitlines()
            assert matches(command.printed, printed), (
                f"{page.name}:{command.line}: $ {command.text}\n"
                f"--- printed, exit status {done.returncode}\n{done.stdout}"
            )


def test_the_readme_shows_a_transcript_that_runs() -> None:
    commands = [
        c.text for b in iter_blocks(ROOT / "README.md") if b.file is None for c in b.commands()
    ]
    assert any(command.startswith("lodeline run ") for command in commands)
    assert any(command.startswith("lodeline trace ") for command in commands)


def test_an_ellipsis_stands_for_anything_in_its_line_and_nothing_else_does() -> None:
    assert matches(["a … c", "…", "end"], ["a b c", "x", "y", "end"])
    assert matches(["…", "end"], ["end"])
    assert not matches(["a … c"], ["a b d"])
    assert not matches(["a"], ["a", "b"])

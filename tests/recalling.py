"""Which files a program touched, by `strace` and by Lodeline, and what of the first the second has.

The programs of `tests/fixtures/recall` are written as users write them. Capture was changed because
of what it missed of `shells`, `descriptors` and `arrow_ipc`, later of `arrow_filesystem`,
`database_copies`, `executed`, `polars_sinks` and `values`; the others were not used to write an
adapter. Each runs twice on the same data: as it is under `strace`, and observed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from observing import Observed, environment, run_observed

PROGRAMS = Path(__file__).parent / "fixtures" / "recall"
_OPEN = re.compile(
    r"openat\((\S+), \"((?:[^\"\\]|\\.)*)\", ([A-Z_|0-9]+)(?:, \d+)?\)\s+= (\d+)<(.*)>$"
)
_MOVE = re.compile(r"(?:rename|renameat|renameat2|link|linkat)\((.*)\)\s+= 0$")
_WENT = re.compile(r" chdir\(\"(\w+)\"\)")
_DATABASES = ("sqlite://", "duckdb://")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")


def prepare(folder: Path) -> None:
    """The data that all programs work on."""
    (folder / "sales.csv").write_text("region,amount\nnorth,1.5\nsouth,2\nnorth,3\nwest,4\n")
    (folder / "settings.ini").write_text("[mode]\nspeed = fast\n")
    (folder / "settings.toml").write_text("speed = 'fast'\n")
    (folder / "settings.json").write_text('{"speed": "fast"}')
    (folder / "events.jsonl").write_text('{"kind": "a", "n": 1}\n{"kind": "b", "n": 2}\n')
    (folder / "page.html").write_text("<h1>$title</h1>")
    (folder / "feed.xml").write_text("<feed><entry/></feed>")
    for name, texts in {
        "logs": {"a.log": "one\n", "b.log": "two\n"},
        "parts": {"1.csv": "region,x\nnorth,1\n", "2.csv": "region,x\nsouth,2\n"},
        "images": {f"{n}.pgm": f"P2 1 1 9 {n}\n" for n in range(3)},
    }.items():
        (folder / name).mkdir()
        for file, text in texts.items():
            (folder / name / file).write_text(text)
    with zipfile.ZipFile(folder / "bundle.zip", "w") as bundle:
        bundle.writestr("inner.csv", "a\n1\n")


@dataclass
class Recall:
    """What one program did, as both saw it.

    Attributes:
        program: its name.
        read: files that were there before and that it read, by `strace`.
        written: files that are there afterwards and that it wrote or named, by `strace`.
        missed: those of them that Lodeline does not have on the same side.
        seen: as Lodeline observed it.
        there: all files before or afterwards.
    """

    program: str
    read: set[str]
    written: set[str]
    missed: set[str]
    seen: Observed
    there: set[str]

    @property
    def touched(self) -> int:
        return len(self.read) + len(self.written)

    @property
    def is_honest(self) -> bool:
        """Whether something missed is at least told as a gap."""
        return not self.missed or bool(self.seen.gaps)


# Runs each program in a folder of its own, in one process.
_TOGETHER = """
import os, runpy, sys
for name in sys.argv[1:]:
    os.chdir(name)
    sys.argv[0] = "script.py"
    runpy.run_path("script.py", run_name="__main__")
    os.chdir("..")
"""


def measure(program: str, place: Path, *, interpreter: str = sys.executable) -> Recall:
    """Run one program under `strace`, then observed, and compare."""
    plain, seen_in = place / "plain", place / "observed"
    for folder in (plain, seen_in):
        _prepare(folder, program)
    before = files_in(plain)
    log = _traced(plain, interpreter, "script.py")
    seen = run_observed(seen_in, interpreter, "script.py", interpreter=interpreter)
    return _compare(program, log, (plain, seen_in), before, seen)


def measure_together(
    programs: Sequence[str], place: Path, *, interpreter: str = sys.executable
) -> dict[str, Recall]:
    """The same of several programs in one process, each in a folder of its own: less to start."""
    plain, seen_in = place / "plain", place / "observed"
    for folder in (plain, seen_in):
        for program in programs:
            _prepare(folder / program, program)
        (folder / "together.py").write_text(_TOGETHER)
    before = {program: files_in(plain / program) for program in programs}
    logs = _parted(_traced(plain, interpreter, "together.py", *programs), set(programs))
    words = [interpreter, "together.py", *programs]
    seen = run_observed(seen_in, *words, interpreter=interpreter)
    return {
        program: _compare(
            program, logs[program], (plain / program, seen_in / program), before[program], seen
        )
        for program in programs
    }


def _parted(log: str, programs: set[str]) -> dict[str, str]:
    """What each of several programs did, for some calls name files from where they are."""
    lines: dict[str, list[str]] = {"": []}
    current = lines[""]
    for line in log.splitlines():
        went = _WENT.search(line)
        if went is not None and went[1] in programs:
            current = lines.setdefault(went[1], [])
        current.append(line)
    return {program: "\n".join(part) for program, part in lines.items()}


def _prepare(folder: Path, program: str) -> None:
    folder.mkdir(parents=True)
    prepare(folder)
    shutil.copy(PROGRAMS / f"{program}.py", folder / "script.py")


def _traced(folder: Path, *argv: str) -> str:
    """Run a program under `strace`; gives what it wrote."""
    if shutil.which("strace") is None:
        pytest.skip("no strace; apt install strace")
    log = folder.parent / "strace.log"
    calls = "openat,rename,renameat,renameat2,link,linkat,chdir"
    words = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", f"trace={calls}", "-o", str(log)]
    subprocess.run([*words, *argv], cwd=folder, env=environment(), check=True, capture_output=True)
    return log.read_text(errors="replace")


def _compare(
    program: str, log: str, places: tuple[Path, Path], before: set[str], seen: Observed
) -> Recall:
    plain, seen_in = places
    read, written = touched_by(log, plain)
    read, written = read & before, written & files_in(plain)
    assert seen.status == 0, seen.stderr
    told = {side: named(seen, side, seen_in) for side in ("inputs", "outputs")}
    missed = {f"read {one}" for one in read if not has(told["inputs"], one)}
    missed |= {f"wrote {one}" for one in written if not has(told["outputs"], one)}
    there = before | files_in(seen_in)
    return Recall(program, read, written, missed, seen, there)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def named(seen: Observed, side: str, folder: Path) -> set[str]:
    """Files and folders below a folder that an observed program read or wrote."""
    names = {dataset["name"] for event in seen.events for dataset in event[side]}
    # A table of SQLite or DuckDB is told under the address of its file; a model by its own name.
    for event in seen.events:
        spaces = {dataset["namespace"] for dataset in event[side]}
        names |= {one.partition("://")[2] for one in spaces if one.startswith(_DATABASES)}
    return {os.path.relpath(name, folder) for name in names if name.startswith(str(folder))} | {
        f"model {dataset['name']}"
        for event in seen.events
        for dataset in event[side]
        if "lodeline_model" in dataset["facets"]
    }


def has(told: set[str], name: str) -> bool:
    """Whether a file is named: itself, the dataset that it is a part of, or the model in it."""
    parts = Path(name).parts
    folders = {str(Path(*parts[:depth])) for depth in range(1, len(parts) + 1)}
    return bool(folders & told) or f"model {Path(name).stem}" in told


def touched_by(log: str, folder: Path) -> tuple[set[str], set[str]]:
    """Read and written files below a folder, by the calls that succeeded; code apart."""
    read: set[str] = set()
    written: set[str] = set()
    for line in whole_calls(log):
        opened = _OPEN.search(line)
        if opened is not None:
            path, flags = opened[5], opened[3].split("|")
            if path.startswith(f"{folder}/") and "O_DIRECTORY" not in flags:
                name = os.path.relpath(path, folder)
                if "O_WRONLY" not in flags and "O_TRUNC" not in flags:
                    read.add(name)
                if "O_RDONLY" not in flags:
                    written.add(name)
            continue
        moved = _MOVE.search(line)
        if moved is not None:
            target = folder / _QUOTED.findall(moved[1])[-1]
            written.add(os.path.relpath(target, folder))
    return without_code(read), without_code(written)


def whole_calls(log: str) -> Iterator[str]:
    """The lines of a log; calls that another process cut in two are put together."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        process, _, rest = line.partition(" ")
        if rest.rstrip().endswith("<unfinished ...>"):
            begun[process] = line.rpartition("<unfinished ...>")[0].rstrip()
        elif " resumed>" in rest:
            yield begun.pop(process, "") + rest.partition(" resumed>")[2]
        else:
            yield line


def without_code(names: set[str]) -> set[str]:
    return {one for one in names if not one.endswith((".py", ".pyc")) and not one.startswith("..")}

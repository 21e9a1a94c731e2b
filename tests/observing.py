"""Runs small programs with and without capture, and reads what capture noted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lodeline.spool import open_drain
from lodeline.store import open_segment

SOURCES = Path(__file__).parents[1] / "src"


@dataclass
class Observed:
    """What came of one program."""

    status: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, Any]:
        """The outermost run's end."""
        root = self.events[0]["run"]["runId"]
        return [e for e in self.events if e["run"]["runId"] == root][-1]

    def run_facet(self, name: str) -> dict[str, Any]:
        """A run facet of the outermost run, as last told."""
        root = self.events[0]["run"]["runId"]
        told = [e["run"]["facets"].get(name) for e in self.events if e["run"]["runId"] == root]
        return [facet for facet in told if facet][-1]

    @property
    def gaps(self) -> list[dict[str, str]]:
        return self.run_facet("lodeline_capture")["gaps"]

    def names(self, side: str) -> set[str]:
        """Base names of all inputs or outputs."""
        return {Path(d["name"]).name for e in self.events for d in e[side]}

    def output(self, name: str) -> dict[str, Any]:
        """An output by the last part of its name, as last told."""
        found = [d for e in self.events for d in e["outputs"] if Path(d["name"]).name == name]
        assert found, f"{name} is not among {self.names('outputs')}"
        return found[-1]

    def flowed(self, name: str) -> set[str]:
        """What flowed into an output, by base names; `?` stands for an upper bound."""
        facet = self.output(name)["outputFacets"]["lodeline_observed"]
        bound = {"?"} if facet.get("bound") else set()
        return {Path(source["name"]).name for source in facet["inputs"]} | bound


def environment(**extra: str) -> dict[str, str]:
    """A clean environment in which the source tree is importable; our own tests' options are not in it."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("LODELINE_", "OPENLINEAGE_", "PYTEST_"))
    }
    return {**kept, "PYTHONPATH": str(SOURCES), **extra}


def run_plain(folder: Path, *argv: str, **extra: str) -> Observed:
    """Run a program as it is."""
    done = subprocess.run(
        list(argv),
        cwd=folder,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=280,
    )
    return Observed(done.returncode, done.stdout, done.stderr)


def run_observed(
    folder: Path,
    *argv: str,
    options: tuple[str, ...] = (),
    interpreter: str = sys.executable,
    **extra: str,
) -> Observed:
    """Run a program under `lodeline run`, with a store of its own; gives the events recorded."""
    store = folder / "store" / "lodeline.db"
    words = [interpreter, "-m", "lodeline.cli.main", "run", "--store", f"sqlite:///{store}"]
    done = subprocess.run(
        [*words, *options, "--", *argv],
        cwd=folder,
        env=environment(LODELINE_DEBUG="1", **extra),
        capture_output=True,
        text=True,
        timeout=280,
    )
    return Observed(done.returncode, done.stdout, done.stderr, read_events(folder))


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events in a folder's store, and those that still wait in its spool."""
    store = folder / "store" / "lodeline.db"
    events = []
    if store.exists():
        segment = open_segment(f"sqlite:///{store}", create=False)
        for entry in segment.iter_entries(kinds=("event",)):
            assert entry.payload is not None
            events.append(json.loads(entry.payload))
        segment.close()
    spool = folder / "store" / "lodeline.db.spool"
    if spool.is_dir():
        with open_drain(spool) as drain:
            assert drain is not None
            for name in list(drain.iter_segments()):
                for record in drain.iter_records(name):
                    body = json.loads(record.body)
                    if body["type"] == "event":
                        events.append(body["event"])
    return events


def python(folder: Path, text: str, interpreter: str = sys.executable, **extra: str) -> Observed:
    """Run a Python script observed, by this interpreter or that of another environment."""
    (folder / "script.py").write_text(text)
    return run_observed(folder, interpreter, "script.py", interpreter=interpreter, **extra)

"""The scripts that are committed are those that `ui/` builds, checked by the compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from browsing import ROOT

UI = ROOT / "ui"
STATIC = ROOT / "src" / "lodeline" / "server" / "pages" / "static"


@pytest.fixture
def node() -> str:
    """Find Node with what `make test` installs beside it, or skip."""
    found = shutil.which("node")
    if found is None or not (UI / "node_modules" / "esbuild").is_dir():
        told = "no Node with ui/node_modules here; `make test` installs them"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return found


def test_what_is_committed_is_what_is_built(node: str, tmp_path: Path) -> None:
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=UI, check=True, timeout=120)
    built = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    committed = {one.name: one.read_bytes() for one in STATIC.glob("*.js")}
    assert built.keys() == committed.keys()
    stale = [name for name in built if built[name] != committed[name]]
    assert stale == [], "run `make ui`"


def test_the_compiler_finds_no_fault_in_the_scripts(node: str) -> None:
    compiler = UI / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [node, str(compiler), "--noEmit"], cwd=UI, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout


def test_versions_are_pinned_and_no_host_of_packages_is_named() -> None:
    package = json.loads((UI / "package.json").read_text(encoding="utf-8"))
    assert all(one[0].isdigit() for one in package["devDependencies"].values())
    locked = json.loads((UI / "package-lock.json").read_text(encoding="utf-8"))
    assert [name for name, one in locked["packages"].items() if "resolved" in one] == []

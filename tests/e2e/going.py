"""Go's own packages for transparency logs, built into a program that verifies what we wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from glob import glob
from pathlib import Path
from zipfile import ZipFile

import pytest

from lodeline.proof import hash_leaf

Verify = Callable[..., subprocess.CompletedProcess[str]]
PACKAGES = "/usr/share/gocode"


def find_go() -> str | None:
    """The Go of the PATH, or the one that Debian keeps off it."""
    return shutil.which("go") or next(iter(sorted(glob("/usr/lib/go-*/bin/go"))), None)


def build_verify(folder: Path) -> Verify:
    go = find_go()
    if go is None or not os.path.isdir(f"{PACKAGES}/src/golang.org/x/mod/sumdb/tlog"):
        pytest.skip("needs golang-1.19-go (or another) and golang-golang-x-mod-dev")
    source = Path(__file__).parents[1] / "go" / "verify.go"
    # From packages on this machine alone: no module proxy is asked.
    settings = {
        "GO111MODULE": "off", "GOPATH": PACKAGES, "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "", "GOPROXY": "off", "GOTOOLCHAIN": "local",
    }  # fmt: skip
    subprocess.run(
        [go, "build", "-o", folder / "verify", source], env=os.environ | settings, check=True
    )

    def verify(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([folder / "verify", *words], capture_output=True, text=True)

    return verify


def proof_file(path: Path, note: str, lines: Sequence[str]) -> Path:
    path.write_text(note + "---\n" + "".join(f"{line}\n" for line in lines))
    return path


def pack_proofs(pack: Path, path: Path) -> tuple[Path, str, int]:
    """Write the inclusion proofs of an evidence pack for Go.

    Returns:
        The file, the log's key, and how many proofs there are.
    """
    with ZipFile(pack) as archive:
        note = archive.read("checkpoint").decode()
        [vkey] = json.loads(archive.read("policy.json"))["keys"]
        size = json.loads(archive.read("manifest.json"))["tree_size"]
        entries = [json.loads(line) for line in archive.read("entries.ndjson").splitlines()]
    lines = [
        f"inclusion {one['index']} {size} {hash_leaf(one['leaf'].encode()).hex()} "
        f"{','.join(one['path']) or '-'}"
        for one in entries
    ]
    return proof_file(path, note, lines), vkey, len(lines)

"""The demo, run once for all tests that look at its store, whichever worker they run in."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def lodeline(*words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line without settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LODELINE_", "OPENLINEAGE_"))}
    return subprocess.run(
        [sys.executable, "-P", "-m", "lodeline", *words],
        cwd=cwd,
        env=kept | {"PYTHONPATH": str(ROOT / "src")} | more,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )


def shared_demo(base: Path) -> tuple[dict[str, Any], str]:
    """Run the demo, or take what another worker made; its outcome, and what people read along.

    Args:
        base: a folder that all workers of a session share.
    """
    folder = base / "demo"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told, said = folder / "outcome.json", folder / "said.txt"
        if not told.exists():
            elsewhere = f"sqlite:///{folder}/elsewhere.db"
            words = ("demo", "--dir", "flights", "--no-serve", "--json")
            done = lodeline(*words, cwd=folder, LODELINE_STORE=elsewhere)
            assert done.returncode == 0, done.stderr
            assert not (folder / "elsewhere.db").exists(), "it writes into its own store alone"
            said.write_text(done.stderr)
            told.write_text(done.stdout)
        outcome = json.loads(told.read_text())
        assert outcome["dir"] == str(folder.resolve() / "flights")
        return outcome, said.read_text()

"""A run whose details are sampled out keeps its edges and says so; a failed run keeps everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from observing import environment, run_observed

RULES = '[[sampling.runs]]\njob = "default:*"\nhead = 0\nslow_ms = 3600000\n'
SCRIPT = (
    "import sys\nopen('out.txt', 'w').write(open('in.txt').read())\nsys.exit(int(sys.argv[1]))\n"
)


def test_a_run_that_succeeds_is_one_event_and_one_that_fails_is_whole(tmp_path: Path) -> None:
    (tmp_path / "lodeline.toml").write_text(RULES)
    (tmp_path / "in.txt").write_text("x")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_observed(tmp_path, sys.executable, "script.py", "0")
    assert done.status == 0, done.stderr
    assert [event["eventType"] for event in done.events] == ["COMPLETE"]
    assert done.flowed("out.txt") == {"in.txt", "?"}
    assert set(done.last["run"]["facets"]) == {"lodeline_capture"}
    assert [gap["reason"] for gap in done.gaps] == ["sampled"]
    store = f"sqlite:///{tmp_path / 'store' / 'lodeline.db'}"
    answer = subprocess.run(
        [sys.executable, "-m", "lodeline.cli.main", "trace", f"dataset:file:{tmp_path}/out.txt",
         "--store", store, "--json"],
        env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    told = json.loads(answer.stdout)
    assert [edge["kind"] for edge in told["edges"]].count("derives") == 1
    assert (told["complete"], {gap["reason"] for gap in told["gaps"]}) == (False, {"sampled"})

    failed = run_observed(tmp_path, sys.executable, "script.py", "3")
    events = [event for event in failed.events if event["run"] != done.last["run"]]
    assert failed.status == 3
    assert [event["eventType"] for event in events] == ["START", "FAIL"]
    assert {"lodeline_environment", "lodeline_agent"} <= set(events[-1]["run"]["facets"])

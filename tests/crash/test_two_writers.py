"""Two processes on one store: both work, and the log is one."""

import json
import subprocess
import sys
from pathlib import Path

import killing

from lodeline.ingest import fold_pending, graph_state, rebuild
from lodeline.store import open_segment
from lodeline.store.verification import verify_segment

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
import killing
from lodeline.ingest import accept
from lodeline.store import open_segment
segment = open_segment(f"sqlite:///{sys.argv[2]}")
accepted = 0
for start in range(int(sys.argv[3]), int(sys.argv[3]) + 400, 10):
    accepted += accept(segment, map(killing.event, range(start, start + 12))).accepted
print(accepted)
"""


def test_two_processes_append_and_fold_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "lodeline.db"
    folder = str(Path(killing.__file__).parent)
    # They overlap in half of their events, make the store together and fold as they go.
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder, str(path), str(first)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in (0, 200)
    ]
    accepted = 0
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert writer.returncode == 0, err[-3000:]
        accepted += int(out)
    segment = open_segment(f"sqlite:///{path}")
    numbers = []
    for entry in segment.iter_entries(kinds={"event"}):
        body = json.loads(entry.payload or b"")
        half = body["eventType"] == "COMPLETE"
        numbers.append(int(body["run"]["runId"][-12:], 16) * 2 + half)
    assert sorted(numbers) == list(range(602))
    assert accepted == 602
    assert verify_segment(segment).ok
    assert segment.checkpoint().size == segment.size()
    assert fold_pending(segment) == segment.size()
    live = graph_state(segment).graph_digest
    rebuild(segment)
    assert graph_state(segment).graph_digest == live


def test_a_store_verifies_while_another_process_appends(tmp_path: Path) -> None:
    path = tmp_path / "lodeline.db"
    segment = open_segment(f"sqlite:///{path}")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(Path(killing.__file__).parent), str(path), "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    sizes = set()
    while writer.poll() is None:
        report = verify_segment(segment)
        assert report.failures == []
        sizes.add(report.entries)
    writer.communicate()
    assert writer.returncode == 0
    assert len(sizes) > 1

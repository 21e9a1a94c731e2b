"""A service whose disk is full refuses for now, loses nothing, and goes on when there is room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import filling_service
import pytest

CONTRACT = Path(__file__).parents[1] / "contract"
sys.path.insert(0, str(CONTRACT))

from running_services import RunningService, event, serving  # noqa: E402  # after its path

from lodeline.ingest import fold_pending  # noqa: E402
from lodeline.ingest.graph_reading import graph_state  # noqa: E402
from lodeline.store import open_segment  # noqa: E402

TMPFS_BYTES = 16_000_000


def test_a_full_disk_is_503_loses_nothing_and_is_over_with_room(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size={TMPFS_BYTES} tmpfs {tmp_path}"
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system lets no test mount a file system")
    words = [*prefix, f'{mount} && exec "$0" "$@"', sys.executable, filling_service.__file__]
    done = subprocess.run([*words, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    refused = [one for one in found["full"] if one["status"] >= 400]
    assert refused
    assert {one["status"] for one in refused} == {503}
    assert {one["code"] for one in refused} == {"could_not_tell.store_full"}
    assert all(one["retry"] for one in refused)
    assert {one["status"] for one in found["before"] + found["room"]} <= {201, 204}
    assert (found["alive"], found["last"]) == (200, [201, "last"])
    every = [*found["before"], *found["full"], *found["room"]]
    acknowledged = {name for one in every if one["status"] < 300 for name in one["names"]}
    kept = set(found["kept"])
    assert acknowledged <= kept
    assert len(kept) == len(found["kept"])
    assert not kept & {name for one in refused for name in one["names"]}


def deliver(service: RunningService, batches: list[list[dict[str, Any]]], taken: set[str]) -> None:
    """Send batches until the service is gone."""
    for batch in batches:
        try:
            reply = service.post(batch, "/api/v1/lineage/batch")
        except OSError:
            return
        assert reply.status == 204
        taken.update(one["outputs"][0]["name"] for one in batch)


@pytest.mark.slow
def test_a_service_killed_in_mid_batch_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    stated = [
        [
            event(f"d{n}", eventType=kind, inputs=[{"namespace": "n", "name": f"d{n - 1}"}])
            for n in range(start, start + 40)
            for kind in ("COMPLETE", "START")
        ]
        for start in range(0, 800, 40)
    ]
    store, taken = tmp_path / "killed.db", set[str]()
    with serving(store) as service:
        parts = [(service, stated[i::2], taken) for i in range(2)]
        threads = [threading.Thread(target=deliver, args=part) for part in parts]
        for thread in threads:
            thread.start()
        while len(taken) < 80 and any(thread.is_alive() for thread in threads):
            threads[0].join(0.01)
        os.kill(service.process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    with open_segment(f"sqlite:///{store}") as segment:
        kept = {
            json.loads(entry.payload)["outputs"][0]["name"]
            for entry in segment.iter_entries(kinds={"event"})
            if entry.payload is not None
        }
    assert taken <= kept
    # Everything again, twice and in another order, through a second life of the service.
    with serving(store) as service:
        for batch in [*reversed(stated), *stated]:
            assert service.post(list(reversed(batch)), "/api/v1/lineage/batch").status == 204
    straight = tmp_path / "straight.db"
    with serving(straight) as service:
        for batch in stated:
            assert service.post(batch, "/api/v1/lineage/batch").status == 204
    digests = set()
    for path in (store, straight):
        with open_segment(f"sqlite:///{path}") as segment:
            fold_pending(segment)
            digests.add(graph_state(segment).graph_digest)
    assert len(digests) == 1

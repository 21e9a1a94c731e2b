"""The service indexes what was folded, behind whoever writes, until it is closed."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lodeline.ingest import accept
from lodeline.query import ask
from lodeline.query.search_index import index_state
from lodeline.server.indexing import Indexer
from lodeline.store import Segment, open_segment


def event(name: str) -> bytes:
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": "2026-01-01T00:00:00Z",
            "producer": "https://example.org",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": "00000000-0000-4000-8000-000000000001"},
            "job": {"namespace": "n", "name": "job"},
            "outputs": [{"namespace": "n", "name": name}],
        }
    ).encode()


def indexed(segment: Segment) -> bool:
    with segment.reading() as connection:
        return index_state(connection).complete


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(600):
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_what_is_folded_is_indexed_behind_it(tmp_path: Path) -> None:
    segment = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    accept(segment, [event("first")])
    indexer = Indexer(segment)
    indexer.start()
    assert eventually(lambda: indexed(segment))
    accept(segment, [event("second")])
    assert eventually(lambda: indexed(segment))
    assert ask(segment, "search", {"q": "secnod"})["corrected"] == {"secnod": ["second"]}
    indexer.stop()
    accept(segment, [event("third")])
    # Nobody indexes any more; searches scan for it.
    assert not indexed(segment)
    assert ask(segment, "search", {"q": "third"})["total"] == 1
    segment.close()


def test_a_service_that_was_dropped_leaves_no_thread(tmp_path: Path) -> None:
    segment = open_segment(f"sqlite:///{tmp_path}/lodeline.db")
    indexer = Indexer(segment)
    before = threading.active_count()
    indexer.start()
    del segment

    def ended() -> bool:
        gc.collect()  # A segment refers to itself.
        return threading.active_count() <= before

    assert eventually(ended)
    assert indexer.failure is None

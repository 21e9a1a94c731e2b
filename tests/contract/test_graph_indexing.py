"""While a store is served, its graph's snapshot comes into being and follows the view."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from lodeline.ingest import accept
from lodeline.limits import INDEX_FIRST_MIN
from lodeline.query.graph_index import folder_of, is_outgrown, read_stamp
from lodeline.server.graph_indexing import GraphIndexing
from lodeline.store import open_segment


def events(count: int) -> list[bytes]:
    return [
        json.dumps(
            {
                "eventType": "COMPLETE",
                "eventTime": "2026-11-01T10:00:00Z",
                "producer": "https://example.org/p",
                "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
                "run": {"runId": f"00000000-0000-0000-0000-{number:012d}"},
                "job": {"namespace": "n", "name": "j"},
                "outputs": [{"namespace": "n", "name": f"d{number % 7}"}],
            }
        ).encode()
        for number in range(count)
    ]


def wait_for(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happened()


def test_a_snapshot_is_written_once_it_is_worth_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lodeline.db"
    with open_segment(url, create=True) as segment:
        folder = folder_of(segment)
        assert folder is not None
        accept(segment, events(10))
        assert not is_outgrown(segment)
        accept(segment, events(INDEX_FIRST_MIN))
        assert is_outgrown(segment)
        indexing = GraphIndexing(url, print, pause_seconds=0.05)
        indexing.start()
        assert wait_for(lambda: read_stamp(folder) is not None)
        indexing.stop(10)
        stamp = read_stamp(folder)
        assert stamp is not None
        assert stamp.folded_to == segment.size()
        assert not is_outgrown(segment)

"""The writer of predictions leaves the interpreter to requests while it works."""

from __future__ import annotations

import resource
import threading
from pathlib import Path
from typing import Any

from lodeline.capture.prediction_log import PredictionLog
from lodeline.limits import PREDICTIONS_BATCH_MAX, PREDICTIONS_IN_ONE_GO
from lodeline.spool import Spool


def test_requests_go_first_within_a_batch(tmp_path: Path) -> None:
    log = PredictionLog(Spool(tmp_path), dict)
    gave_way: list[int] = []
    done = threading.Event()

    def write_down(_: object) -> dict[str, Any]:
        # How often the kernel took this thread for one that waits.
        gave_way.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)
        if len(gave_way) == PREDICTIONS_BATCH_MAX:
            done.set()
        return {}

    for _ in range(PREDICTIONS_BATCH_MAX):
        log.add(log.ids.draw(), write_down)
    assert done.wait(60)
    log.close()
    assert gave_way[-1] - gave_way[0] >= PREDICTIONS_BATCH_MAX // PREDICTIONS_IN_ONE_GO - 1

"""What a process does for its own runs when no `lodeline run` parent does it: START, end, flush.

It is the parent's work (`collector`) done from within: events go into the spool, and delivery is
left to the next command that opens the store, or to `flush`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from lodeline.capture.actor import describe_agents
from lodeline.capture.code import describe_code
from lodeline.capture.collector import Collector, Told
from lodeline.capture.command import find_repository
from lodeline.capture.recorder import RECORDER, now_us
from lodeline.spool import Spool

_RUNS: Final[dict[str, OwnRuns]] = {}


class OwnRuns:
    """The runs of this process under one root, without a parent that looks after them.

    Args:
        root: UUID of the outermost run.
        directory: of the journals.
        started: somebody else tells the runs' START and end.
    """

    def __init__(self, root: str, directory: str, *, started: bool = False) -> None:
        self.root = root
        self._started = started
        self.pid = os.getpid()
        self._folder = Path(directory).parent
        self.spool = Spool(self._folder)
        self.collector = Collector(
            self._folder, root, self.spool.append, environment=dict(os.environ)
        )
        _RUNS[root] = self

    def tell_start(self) -> None:
        """Append START with code and agent."""
        local = RECORDER.local
        before, local.suspended = local.suspended, 1
        try:
            self.collector.collect()
            for told in self.collector.runs.values():
                self._describe(told)
            self.collector.tell_progress()
        finally:
            local.suspended = before

    def _describe(self, told: Told) -> None:
        script = told.draft.header.get("script")
        path = None if script is None else Path(str(script))
        root = None if path is None else find_repository(path)
        code = describe_code(path, root=root)
        if "version" in code.facet:
            told.facets["lodeline_code"] = code.facet
        if code.location is not None:
            told.job_facets["sourceCodeLocation"] = code.location
        for at, reason, detail in code.gaps:
            told.draft.add_gap(at, reason, detail)
        agents = describe_agents(self._folder / "actors", os.environ)
        told.facets["lodeline_agent"] = {"agents": agents}

    def tell_progress(self) -> None:
        """Append what is new."""
        self.collector.collect()
        for told in self.collector.runs.values():
            told.started = told.started or self._started
        self.collector.tell_progress()

    def end(self) -> None:
        """Append the ends of all runs; does nothing in a forked child."""
        if os.getpid() != self.pid:
            return
        RECORDER.local.suspended = 1
        run = RECORDER.process_run
        if run is not None and run.run_id == self.root:
            run.say(("end", now_us(), ""))
        self.collector.finish()
        for told in self.collector.runs.values():
            self.collector.tell_end(told)
        self.spool.close()
        self.collector.remove_journals()
        RECORDER.local.suspended = 0
        _RUNS.pop(self.root, None)


def tell_own_progress() -> None:
    """Append what is new of this process's own runs, without delivering it."""
    local = RECORDER.local
    before, local.suspended = local.suspended, 1
    try:
        for runs in _RUNS.values():
            runs.tell_progress()
    finally:
        local.suspended = before


def flush_own_runs(timeout: float) -> dict[str, int]:
    """Append what is new, make it durable, deliver it.

    Args:
        timeout: seconds for the delivery.
    """
    from lodeline.transport import flush

    local = RECORDER.local
    before, local.suspended = local.suspended, 1
    lost = 0
    try:
        for runs in _RUNS.values():
            runs.tell_progress()
            lost += runs.collector.lost
        run = RECORDER.run
        if run is not None and run.journal.root not in _RUNS:
            runs = OwnRuns(run.journal.root, run.journal.directory, started=True)
            runs.tell_progress()
            lost += runs.collector.lost
        predictions = sys.modules.get("lodeline.capture.prediction_log")
        if predictions is not None:
            predictions.flush_predictions()
        found = flush(timeout)
        found["lost"] = max(found["lost"], lost)
        return found
    finally:
        local.suspended = before

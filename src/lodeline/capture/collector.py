"""From the journals of a run and of all runs below it to OpenLineage events in the spool.

The `lodeline run` parent collects while its program lives and once more when it is gone; a
process that captures itself collects at its end. What a process left behind when both were
killed is collected by the next one that uses the same spool.
"""

from __future__ import annotations

import json
import os
import signal as signals
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from lodeline.capture.datasets import FILE
from lodeline.capture.drafts import RunDraft, stamp
from lodeline.capture.environment import describe_environment
from lodeline.capture.folders import folder_files_of
from lodeline.capture.journal import (
    SUFFIX,
    Line,
    iter_lines,
    journal_directory,
    read_loss,
    start_ticks,
)
from lodeline.capture.privacy import current
from lodeline.capture.recorder import now_us
from lodeline.capture.sampling import find_rule
from lodeline.credentials import redact_text
from lodeline.errors import UsageError
from lodeline.records import fresh, record

Append = Callable[[bytes], bool]
# From an event to the records that tell it.
Finish = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]

# Somebody asked the program to end (a supervisor, a terminal): it did not fail by itself.
_ASKED_TO_END: Final = (signals.SIGTERM, signals.SIGINT, signals.SIGHUP)

# Of a run whose details are not kept: who the datasets are.
_SUMMARY_FACETS: Final = frozenset(
    {"lodeline_digest", "lodeline_model", "lodeline_deployment", "lodeline_features"}
    | {"lifecycleStateChange"}
)

# What dbt writes at its end into its target folder.
DBT_RESULTS: Final = "run_results.json"

_JOB_TYPE: Final = {"processingType": "BATCH", "integration": "LODELINE", "jobType": "SCRIPT"}


@record
class Followed:
    """One journal, as far as it was read."""

    path: Path
    offset: int = 0
    run_id: str = ""
    pid: int = 0
    ticks: int = 0
    collector: int = 0
    ended: bool = False

    def is_live(self) -> bool:
        """Whether the process that writes it still runs."""
        if self.ended or not self.pid:
            return False
        return start_ticks(self.pid) == self.ticks


@record
class Told:
    """What was said of one run so far."""

    draft: RunDraft
    started: bool = False
    finished: bool = False
    facets: dict[str, dict[str, Any]] = fresh(default_factory=dict)
    job_facets: dict[str, dict[str, Any]] = fresh(default_factory=lambda: {"jobType": _JOB_TYPE})
    capture: dict[str, Any] = fresh(default_factory=dict)
    # Run facets as last told: a run's state keeps them, so each is told once for each change.
    known: dict[str, dict[str, Any]] = fresh(default_factory=dict)
    # Its details are told only if it fails: events wait for its end.
    sampled_out: bool = False


class Collector:
    """The journals of one outermost run.

    Args:
        spool: directory of the spool.
        root: UUID of the outermost run.
        append: takes a spool record; false when it could not.
        environment: variables of the observed program.

    Attributes:
        lost: events that the spool did not take, and lines that processes could not write.
        started: the observed program's own process has begun its journal.
        finisher: finishes what is told from now on, where that is not left to the deliverer.
    """

    def __init__(
        self, spool: Path, root: str, append: Append, *, environment: Mapping[str, str]
    ) -> None:
        self.root = root
        self.lost = 0
        self.runs: dict[str, Told] = {}
        self.finisher: Finish | None = None
        self._directory = Path(journal_directory(str(spool)))
        self._append = append
        self._environment = environment
        self._variables = current().variables
        self._journals: dict[str, Followed] = {}
        self._invocations: set[str] = set()

    @property
    def started(self) -> bool:
        """Whether the outermost run's own process began its journal."""
        return any(journal.run_id == self.root for journal in self._journals.values())

    def is_orphaned(self) -> bool:
        """Whether neither a process of these runs nor the one that would collect them lives."""
        for journal in self._journals.values():
            if journal.is_live() or start_ticks(journal.collector):
                return False
        return True

    def add_run(self, told: Told) -> None:
        """Make a run known before its journal appears."""
        self.runs[told.draft.run_id] = told

    def collect(self) -> bool:
        """Read what was added to the journals; whether anything was."""
        found: list[tuple[int, str, Line]] = []
        for name in self._list():
            journal = self._journals.setdefault(name, Followed(self._directory / name))
            for offset, line in iter_lines(str(journal.path), offset=journal.offset):
                journal.offset = offset
                if line[0] == "run":
                    self._begin(journal, line)
                elif len(line) > 1 and journal.run_id:
                    journal.ended = journal.ended or line[0] == "end"
                    found.append((int(line[1]), journal.run_id, line))
        # Workers of one run write journals of their own: time puts them in order.
        for _, run_id, line in sorted(found, key=lambda item: item[0]):
            self.runs[run_id].draft.apply(line)
        return bool(found)

    def _list(self) -> list[str]:
        try:
            names = os.listdir(self._directory)
        except OSError:
            return []
        return sorted(
            name for name in names if name.startswith(self.root) and name.endswith(SUFFIX)
        )

    def _begin(self, journal: Followed, line: Line) -> None:
        header: dict[str, Any] = line[2]
        journal.run_id = str(header["run_id"])
        journal.pid, journal.ticks = int(header["pid"]), int(header["ticks"])
        journal.collector = int(header.get("runner") or 0)
        told = self.runs.get(journal.run_id)
        if told is None:
            told = self.runs[journal.run_id] = Told(
                RunDraft(header, int(line[1]), folder_files=folder_files_of(self._environment))
            )
        if "lodeline_environment" not in told.facets:
            told.facets["lodeline_environment"] = describe_environment(
                header, self._environment, variables=self._variables
            )
            told.facets["processing_engine"] = {
                "name": str(header.get("implementation", "python")),
                "version": str(header.get("version", "")),
            }
        for name in ("argv", "cwd"):
            told.capture.setdefault(name, header.get(name))

    # Telling

    def tell_progress(self) -> None:
        """Append START for new runs, RUNNING for those with news, the end of those that ended."""
        for told in list(self.runs.values()):
            if told.finished:
                continue
            if not told.started:
                self.tell(told, "START", told.draft.started_us)
            if told.draft.run_id != self.root and not self._is_live(told):
                self.tell_end(told)
            elif told.draft.changed:
                self.tell(told, "RUNNING", now_us())

    def _is_live(self, told: Told) -> bool:
        run_id = told.draft.run_id
        if told.draft.ended_us:
            return False
        return any(j.is_live() for j in self._journals.values() if j.run_id == run_id)

    def tell(self, told: Told, event_type: str, time_us: int, *, whole: bool = False) -> None:
        """Append one event of a run."""
        draft = told.draft
        if event_type == "START":
            told.started = True
            told.sampled_out = self._is_sampled_out(draft)
        if told.sampled_out:
            draft.changed = False
            return
        capture = {**told.capture, "gaps": list(draft.gaps)}
        facets = {**told.facets, "lodeline_capture": capture}
        news = {name: facet for name, facet in facets.items() if told.known.get(name) != facet}
        told.known |= news
        event = draft.event(
            event_type, time_us, run_facets=news, job_facets=told.job_facets, whole=whole
        )
        self._tell_event(event)

    def _is_sampled_out(self, draft: RunDraft) -> bool:
        try:
            rule = find_rule("runs", f"{draft.header.get('namespace')}:{draft.header.get('job')}")
        except UsageError as error:
            draft.add_gap("run", "capture", f"sampling is off, its rules cannot be read: {error}")
            return False
        return rule is not None and not rule.keeps(draft.run_id, failed=False)

    def _tell_summary(self, told: Told, time_us: int) -> None:
        """Append the only event of a run whose details are not kept: what it made of what."""
        told.sampled_out = False
        draft = told.draft
        draft.add_gap("run", "sampled", "it succeeded, and only what it read and wrote is kept")
        event = draft.event("COMPLETE", time_us, run_facets={}, whole=True)
        own = {"lodeline_capture": {"gaps": list(draft.gaps)}}
        kept = {n: f for n, f in event["run"]["facets"].items() if n == "parent"}
        kept |= {name: stamp("run", name, facet) for name, facet in own.items()}
        event["run"]["facets"] = kept
        for dataset in (*event["inputs"], *event["outputs"]):
            facets = dataset.get("facets") or {}
            dataset["facets"] = {n: f for n, f in facets.items() if n in _SUMMARY_FACETS}
        self._tell_event(event)

    def tell_end(
        self, told: Told, *, exit_code: int | None = None, signal: int | None = None
    ) -> None:
        """Append the last event of a run: COMPLETE, FAIL, or ABORT when it vanished."""
        draft = told.draft
        if told.finished:
            return
        if not told.started:
            self.tell(told, "START", draft.started_us)
        event_type = "COMPLETE"
        if exit_code is None:
            event_type = "FAIL" if draft.failed else "COMPLETE" if draft.ended_us else "ABORT"
        elif exit_code:
            event_type = "ABORT" if signal in _ASKED_TO_END else "FAIL"
        if event_type == "ABORT" and exit_code is None:
            draft.add_gap("run", "capture", "the process ended without notice; its end is unknown")
        if exit_code is not None:
            told.capture["exitCode"] = exit_code
        if signal is not None:
            told.capture["signal"] = signal
        if draft.failed:
            told.facets["errorMessage"] = {
                "message": redact_text(draft.failed),
                "programmingLanguage": "PYTHON",
            }
        time_us = draft.ended_us or now_us()
        models = [] if told.sampled_out else self._read_dbt(draft)
        if told.sampled_out and self._stays_out(draft, event_type, time_us):
            self._tell_summary(told, time_us)
            told.finished = True
            return
        if told.sampled_out:
            told.sampled_out = False
            self._tell_all(told)
        for _ in range(1_000):
            if not draft.changed or not draft.is_long():
                break
            self.tell(told, "RUNNING", time_us - 1)
        self.tell(told, event_type, time_us, whole=True)
        told.finished = True
        for event in models:
            self._tell_event(event)

    def _tell_event(self, event: dict[str, Any]) -> None:
        told: Iterable[dict[str, Any]] = [{"type": "event", "event": event}]
        for one in told if self.finisher is None else self.finisher(event):
            text = json.dumps(one, ensure_ascii=False)
            if not self._append(text.encode("utf-8", "backslashreplace")):
                self.lost += 1

    def _read_dbt(self, draft: RunDraft) -> list[dict[str, Any]]:
        """Events of what dbt says that it made in this run; none where its own integration tells.

        Also none where no dbt ran, which is known without reading anything.
        """
        places = [
            Path(one.name).parent
            for one in draft.outputs
            if one.namespace == FILE and one.name.endswith(f"/{DBT_RESULTS}")
        ]
        if not places or any(_is_dbt_ol(told.capture.get("argv")) for told in self.runs.values()):
            return []
        from lodeline.capture.dbt_telling import tell_dbt

        return [event for place in places for event in tell_dbt(draft, place, self._invocations)]

    def _stays_out(self, draft: RunDraft, event_type: str, time_us: int) -> bool:
        rule = find_rule("runs", f"{draft.header.get('namespace')}:{draft.header.get('job')}")
        failed = event_type != "COMPLETE" or draft.is_long()
        took_us = time_us - draft.started_us
        return rule is not None and not rule.keeps(draft.run_id, failed=failed, took_us=took_us)

    def _tell_all(self, told: Told) -> None:
        """Append the START that was held back; the end follows, with everything."""
        draft = told.draft
        event = draft.event("START", draft.started_us, run_facets={}, job_facets=told.job_facets)
        event |= {"inputs": [], "outputs": []}
        self._tell_event(event)
        draft.changed = True

    def finish(self) -> None:
        """Append the ends of all runs whose processes are gone, and count what they lost."""
        self.collect()
        for journal in self._journals.values():
            lost = read_loss(str(journal.path))
            if lost and journal.run_id:
                self.lost += lost
                detail = f"{lost} observations could not be written"
                self.runs[journal.run_id].draft.add_gap("run", "lost", detail)
        for told in list(self.runs.values()):
            if told.draft.run_id != self.root and not self._is_live(told):
                self.tell_end(told)

    def remove_journals(self) -> None:
        """Delete the journals that nobody writes any more and that were told."""
        for journal in self._journals.values():
            if not journal.is_live():
                journal.path.unlink(missing_ok=True)


def _is_dbt_ol(argv: object) -> bool:
    """Whether a command line is that of dbt's OpenLineage integration."""
    words = argv[:3] if isinstance(argv, list) else []
    return any(isinstance(word, str) and Path(word).name == "dbt-ol" for word in words)


def collect_orphans(spool: Path, append: Append) -> None:
    """Tell the ends of runs whose processes and parents were killed; their journals remain."""
    directory = Path(journal_directory(str(spool)))
    try:
        names = [name for name in os.listdir(directory) if name.endswith(SUFFIX)]
    except OSError:
        return
    for root in {name.partition(".")[0] for name in names}:
        collector = Collector(spool, root, append, environment={})
        collector.collect()
        if collector.is_orphaned():
            for told in collector.runs.values():
                collector.tell_end(told)
            collector.remove_journals()

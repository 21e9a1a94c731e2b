"""`lodeline run`: start a program with capture on, and look after what it leaves behind.

1. Prepare: spool, identity of the run, its code; START goes into the spool.
2. Start the program with the zero-code start on its PYTHONPATH; descriptors, terminal and
   process group are its own as they would be without us.
3. While it lives: forward signals, turn its journals into events, deliver now and then.
4. When it is gone: the end of the run, with exit status or signal; deliver; pass the status on.

Trouble of ours is told on stderr and never changes what the program does: without a place to
write it runs uncaptured.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from lodeline.capture import adapters, folders, privacy, process
from lodeline.capture.actor import describe_agents
from lodeline.capture.code import describe_code
from lodeline.capture.collector import Collector, Told, collect_orphans
from lodeline.capture.command import Command, find_repository, job_name, read_command
from lodeline.capture.drafts import RunDraft
from lodeline.capture.journal import journal_directory
from lodeline.capture.process import RunName, new_run_id, parse_run_name
from lodeline.capture.recorder import now_us
from lodeline.credentials import redact_arguments, redact_text
from lodeline.limits import FOLDER_FILES, LOGICAL_SHARE, RUN_PAUSE_SECONDS_MAX, RUN_POLL_SECONDS
from lodeline.records import fresh, record
from lodeline.settings import find_setting, is_on, number_setting
from lodeline.spool import Spool

# Exit status of failures that are ours: the program could not be started.
OWN_FAILURE: Final = 125

_FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# The terminal sends these to the program, too: its process group is ours.
_FROM_TERMINAL: Final = frozenset({signal.SIGINT, signal.SIGQUIT})

# What `--deterministic` fixes unless the caller's environment already does.
DETERMINISTIC: Final = {
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TF_DETERMINISTIC_OPS": "1",
}


@record
class RunOptions:
    """What the command line asked for.

    Attributes:
        job: name of the job; by default the script's.
        namespace: of the job.
        rows: record row provenance.
        deterministic: fix seeds, hash order and thread counts.
        receiver: URL of the store or server that events are delivered to.
        spool: directory of the spool.
        enabled: without it the program runs as it would without us.
    """

    receiver: str
    spool: Path
    job: str | None = None
    namespace: str = "default"
    rows: bool = False
    deterministic: bool = False
    enabled: bool = True


@record
class RunResult:
    """How a run went.

    Attributes:
        status: exit status to pass on.
        run_id: of the run; empty when nothing was captured.
        delivered: records delivered at the end.
        waiting: records that are left to whoever opens the local store next.
        lost: observations that could not be kept.
        trouble: what went wrong on our side, one line each.
    """

    status: int
    run_id: str = ""
    delivered: int = 0
    waiting: int = 0
    lost: int = 0
    trouble: list[str] = fresh(default_factory=list)


def run_observed(argv: Sequence[str], options: RunOptions) -> RunResult:
    """Run a program with capture on, and come back when it is gone and delivered.

    Args:
        argv: the program and its arguments.
        options: how to capture.
    """
    result = RunResult(OWN_FAILURE)
    session = _prepare(argv, options, result)
    environment = dict(os.environ) if session is None else session.environment
    try:
        # Inheritable descriptors pass, as they would from the shell; ours are all closed on exec.
        child = subprocess.Popen(list(argv), env=environment, close_fds=False)
    except OSError as error:
        result.trouble.append(f"cannot start {argv[0]}: {error.strerror or error}")
        if session is not None:
            session.end(OWN_FAILURE, None, result)
        return result
    with _forwarding(child):
        if session is None:
            child.wait()
        else:
            session.follow(child)
    result.status = child.returncode if child.returncode >= 0 else 128 - child.returncode
    if session is not None:
        session.end(result.status, child.returncode, result)
    return result


def _prepare(argv: Sequence[str], options: RunOptions, result: RunResult) -> _Session | None:
    if not options.enabled:
        return None
    try:
        return _Session(argv, options)
    except Exception as error:  # whatever is wrong with us, the program runs
        result.trouble.append(f"capture is off, nothing of this run is recorded: {error}")
        return None


class _Session:
    """One observed run, seen from its parent."""

    def __init__(self, argv: Sequence[str], options: RunOptions) -> None:
        self.options = options
        self.run_id = new_run_id()
        # Before anything is written: rules that cannot be read turn capture off.
        self.privacy = privacy.current()
        Path(journal_directory(str(options.spool))).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.spool = Spool(options.spool)
        command = read_command(argv)
        root = find_repository(command.script or Path.cwd() / "-")
        job = redact_text(options.job or job_name(command, root=root))
        name = RunName(options.namespace, job, self.run_id)
        self.environment = _child_environment(options, name)
        self.environment[privacy.RULES] = self.privacy.to_text()
        self.collector = Collector(
            options.spool, self.run_id, self.spool.append, environment=self.environment
        )
        collect_orphans(options.spool, self.spool.append)
        self.told = self._told(argv, name, command, root)
        self.collector.add_run(self.told)
        self.collector.tell(self.told, "START", self.told.draft.started_us)
        self._pause = RUN_POLL_SECONDS
        self._waited = 0.0
        self._delivery: threading.Thread | None = None

    def _told(
        self, argv: Sequence[str], name: RunName, command: Command, root: Path | None
    ) -> Told:
        header: dict[str, Any] = {**name._asdict(), "parent": _outer_run()}
        told = Told(
            RunDraft(header, now_us(), folder_files=int(self.environment[folders.VARIABLE]))
        )
        code = describe_code(command.script, root=root, text=command.text)
        agents = describe_agents(self.options.spool / "actors", os.environ)
        told.facets = {"lodeline_agent": {"agents": agents}}
        if "version" in code.facet:
            told.facets["lodeline_code"] = code.facet
        if code.location is not None:
            told.job_facets["sourceCodeLocation"] = code.location
        told.capture = {
            "argv": redact_arguments(argv),
            "cwd": str(Path.cwd()),
            "deterministic": self.options.deterministic,
        }
        for at, reason, detail in code.gaps:
            told.draft.add_gap(at, reason, detail)
        return told

    def follow(self, child: subprocess.Popen[bytes]) -> None:
        """Wait for the program, and tell what it does in the meantime."""
        for _ in _until_gone(child):
            self._waited += RUN_POLL_SECONDS
            self.collector.collect()
            news = any(told.draft.changed for told in self.collector.runs.values())
            if self._waited >= self._pause and (news or self._has_spooled()):
                self._waited = 0.0
                self._pause = min(self._pause * 2, RUN_PAUSE_SECONDS_MAX)
                self.collector.tell_progress()
                self._deliver_aside()

    def _has_spooled(self) -> bool:
        return any(self.options.spool.glob("*.segment"))

    def _deliver_aside(self) -> None:
        if self._delivery is not None and self._delivery.is_alive():
            return

        def deliver() -> None:
            # The delivery at the end tells what goes wrong.
            with contextlib.suppress(Exception):
                from lodeline.transport import drain_into

                drain_into(
                    self.options.receiver,
                    30.0,
                    directory=self.options.spool,
                    logical_seconds=self._logical_seconds(),
                )

        self._delivery = threading.Thread(target=deliver, name="lodeline-delivery", daemon=True)
        self._delivery.start()

    def end(self, status: int, returncode: int | None, result: RunResult) -> None:
        """Tell the run's end and deliver. Trouble goes into the result."""
        result.run_id = self.run_id
        try:
            waits = self._may_wait()
            self._tell_end(status, returncode, at_once=waits)
            self.spool.close()
            self.collector.remove_journals()
            result.lost = self.collector.lost
            if result.lost:
                result.trouble.append(
                    f"{result.lost} observations of this run are lost: no room to write them"
                )
            if waits:
                result.waiting = self.spool.appended
                return
            if self._delivery is not None:
                self._delivery.join()
            from lodeline.transport import drain_into

            report = drain_into(
                self.options.receiver,
                None,
                directory=self.options.spool,
                logical_seconds=self._logical_seconds(),
            )
            result.delivered = report.delivered
            if not report.complete:
                reason = report.reason or "not everything could be delivered"
                result.trouble.append(f"recorded, delivered later (`lodeline flush`): {reason}")
        except Exception as error:  # the program is gone; its status must come through
            result.trouble.append(f"recorded as far as possible, not delivered: {error!r}")
        except KeyboardInterrupt:
            result.trouble.append("interrupted while delivering; `lodeline flush` goes on")

    def _may_wait(self) -> bool:
        """Whether delivery may wait for whoever opens the store next."""
        # Rows lie in files that a delivery takes along; what is told beside a start (the runs of
        # others who died) or was delivered meanwhile is not finished here.
        if self.options.rows or self._delivery is not None or self.spool.appended > 1:
            return False
        from lodeline.transport.waiting import may_wait

        return self._logical_seconds() is not None and may_wait(
            self.options.receiver,
            self.options.spool,
            writer=self.spool.writer,
            started_us=self.told.draft.started_us,
            cpu_seconds=_used_by_program(),
        )

    def _logical_seconds(self) -> float | None:
        """What logical digests may take now; whoever opens the store next computes the rest.

        Nobody opens a remote receiver's store through this spool, so there they are computed at
        once.
        """
        from lodeline.transport.waiting import is_local

        local = is_local(self.options.receiver, self.options.spool)
        if not local or find_setting("logical_digests") == "now":
            return None
        return _used_by_program() * LOGICAL_SHARE

    def _tell_end(self, status: int, returncode: int | None, *, at_once: bool) -> None:
        if not at_once:
            self._tell_all(status, returncode)
            return
        from lodeline.transport.waiting import FinishedAtOnce

        finished = FinishedAtOnce(self.options.spool)
        self.collector.finisher = finished.iter_records
        self._tell_all(status, returncode)
        finished.keep()

    def _tell_all(self, status: int, returncode: int | None) -> None:
        self.collector.finish()
        if returncode is not None and not self.collector.started:
            detail = "capture did not start: not Python >= 3.11, or started with -I, -E or -S"
            self.told.draft.add_gap("run", "capture", detail)
        killed = None
        if returncode is not None and returncode < 0:
            killed = -returncode
            detail = f"ended by {_signal_name(killed)}: its last moment may be missing"
            self.told.draft.add_gap("run", "capture", detail)
        self.collector.tell_end(self.told, exit_code=status, signal=killed)


def _child_environment(options: RunOptions, name: RunName) -> dict[str, str]:
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH")
    entries = [process.bootstrap_folder(), *([] if not inherited else [inherited])]
    pairs = adapters.read_entry_points().items()
    environment |= {
        "PYTHONPATH": os.pathsep.join(entries),
        "LODELINE_AUTOCAPTURE": "1",
        adapters.VARIABLE: ",".join(f"{trigger}={target}" for trigger, target in pairs),
        process.JOURNALS: journal_directory(str(options.spool)),
        process.RUN: name.run_id,
        process.RUNNER: str(os.getpid()),
        process.PARENT: name.to_text(),
        process.JOB: name.job,
        process.NAMESPACE: name.namespace,
        "LODELINE_SPOOL": str(options.spool),
    }
    # Producers of OpenLineage below, such as dbt's, name their parent by it. Slashes, which nothing
    # escapes, divide its parts.
    if "/" not in name.namespace + name.job:
        environment["OPENLINEAGE_PARENT_ID"] = "/".join(name)
    folder_files = number_setting("folder_files", otherwise=FOLDER_FILES)
    environment[folders.VARIABLE] = str(int(folder_files))
    if options.rows:
        environment["LODELINE_ROWS"] = "1"
        environment["LODELINE_ROWS_WHERE"] = "1" if is_on(find_setting("rows_where")) else "0"
    if options.deterministic:
        environment = DETERMINISTIC | environment
        environment["LODELINE_DETERMINISTIC"] = "1"
    return environment


def _outer_run() -> tuple[str, str, str] | None:
    """The run that this one was started from: Lodeline's own, or a scheduler's."""
    for variable in (process.PARENT, "OPENLINEAGE_PARENT_ID"):
        found = parse_run_name(os.environ.get(variable, ""))
        if found is not None:
            return found.namespace, found.job, found.run_id
    return None


def _used_by_program() -> float:
    """CPU seconds of the program, which is gone, and of the programs that it waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _until_gone(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Yield every `RUN_POLL_SECONDS` until the child is gone; ends at once when it is."""
    try:
        descriptor = os.pidfd_open(child.pid)
    except (AttributeError, OSError):
        # No pidfd (another Unix): look from time to time.
        while child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(RUN_POLL_SECONDS)
            if child.returncode is None:
                yield
        return
    try:
        while not select.select([descriptor], [], [], RUN_POLL_SECONDS)[0]:
            yield
    finally:
        os.close(descriptor)
    child.wait()


@contextlib.contextmanager
def _forwarding(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on to the program instead of dying of them."""
    before: dict[int, Any] = {}

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if number in _FROM_TERMINAL and _is_in_foreground():
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


def _is_in_foreground() -> bool:
    for stream in (0, 1, 2):
        try:
            return os.tcgetpgrp(stream) == os.getpgrp()
        except OSError:
            continue
    return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def report_trouble(result: RunResult) -> None:
    """Say on stderr what went wrong on our side; nothing when nothing did."""
    for line in result.trouble:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"lodeline: {redact_text(line)}\n")
            sys.stderr.flush()

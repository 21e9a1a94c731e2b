"""The run of a whole observed process: begins when the interpreter starts, ends with it.

`begin` is called by the zero-code start (`bootstrap/sitecustomize.py`) or by `autocapture()`. It
finds out whose process this is: the one that `lodeline run` started (its run), a worker of
`multiprocessing` or joblib (its parent's run, for its data goes back there), or another Python
program (a run of its own, whose parent is the run that started it).
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, NamedTuple

from lodeline.capture import privacy
from lodeline.capture.adapters import Adapters, python_path
from lodeline.capture.journal import Journal
from lodeline.capture.patches import strip_traceback
from lodeline.capture.recorder import RECORDER, RunContext
from lodeline.credentials import redact_arguments, redact_text

# Handed from the runner to the processes below it, and by them to theirs.
JOURNALS: Final = "LODELINE_JOURNALS"
RUN: Final = "LODELINE_RUN"
RUNNER: Final = "LODELINE_RUNNER"
PARENT: Final = "LODELINE_PARENT"
JOB: Final = "LODELINE_JOB"
NAMESPACE: Final = "LODELINE_NAMESPACE"

_WORKERS: Final = (
    "--multiprocessing-fork",
    "multiprocessing.spawn",
    "multiprocessing.forkserver",
    "loky.backend.popen_loky",
)
# A kernel that a program which executes one notebook started works for that program's run.
_KERNEL: Final = "ipykernel_launcher"
_NEVER: Final = frozenset({"lodeline", "pip", "pip3", "ensurepip", "venv", "virtualenv", "uv"})
_TRACKERS: Final = ("resource_tracker import main", "resource_tracker")

ADAPTERS: Final = Adapters()


class RunName(NamedTuple):
    """A run and its job, as one text in an environment variable."""

    namespace: str
    job: str
    run_id: str

    def to_text(self) -> str:
        """Write `namespace/job/run`, slashes within parts encoded."""
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in self)


def parse_run_name(text: str) -> RunName | None:
    """Read what `RunName.to_text` wrote; `None` when it is nothing of the kind."""
    parts = [part.replace("%2F", "/").replace("%25", "%") for part in text.split("/")]
    return RunName(*parts) if len(parts) == 3 and all(parts) else None


def new_run_id() -> str:
    """A UUIDv7 (RFC 9562): time first, so that runs sort by their start."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def begin_from_environment() -> None:
    """Start capture as the runner's environment says. Raises nothing that matters to callers."""
    environment = os.environ
    directory = environment.get(JOURNALS)
    words = " ".join(sys.orig_argv[1:6])
    if any(mark in words for mark in _TRACKERS) or _is_own_or_installer():
        return
    if not directory or not environment.get(RUN):
        begin_alone(directory)
        return
    parent = parse_run_name(environment.get(PARENT, ""))
    root = environment.get(RUN, "")
    if environment.get(RUNNER) == str(os.getppid()) and root:
        own = RunName(environment.get(NAMESPACE) or "default", environment.get(JOB) or "-", root)
        begin(directory, own, root=root, header={"main": True})
    elif parent is not None and _is_worker(words, parent):
        begin(directory, parent, root=root or parent.run_id, header={"worker": True}, lazy=True)
    else:
        own = RunName(environment.get(NAMESPACE) or "default", _own_job(), new_run_id())
        header: dict[str, object] = {"parent": None if parent is None else tuple(parent)}
        begin(directory, own, root=root or own.run_id, header=header, lazy=True)
        atexit.register(_say_end)


def _is_worker(words: str, parent: RunName) -> bool:
    if any(mark in words for mark in _WORKERS):
        return True
    return _KERNEL in words and parent.job.endswith(".ipynb")


def _is_own_or_installer() -> bool:
    """Whether this is Lodeline itself, or a program that only installs others."""
    words = sys.orig_argv[1:3]
    if words[:1] == ["-m"]:
        return words[1:] != [] and words[1].partition(".")[0] in _NEVER
    return bool(words) and os.path.basename(words[0]) in _NEVER


def begin_alone(directory: str | None = None) -> None:
    """Capture a program that was started with `LODELINE_AUTOCAPTURE=1` and no runner around it.

    What only has to be known in the end is found out then: a program that touches nothing pays
    for nothing.

    Args:
        directory: of the journals, where the environment says it; else the settings do.
    """
    namespace = os.environ.get(NAMESPACE) or "default"
    if not directory:
        from lodeline.capture.sdk import places

        directory, namespace = places()
    own = RunName(namespace, _own_job(), new_run_id())
    begin(directory, own, root=own.run_id, header={"parent": None, **_script()}, lazy=True)
    atexit.register(_end_alone, own.run_id, directory, os.getpid())


def _script() -> dict[str, object]:
    from lodeline.capture.command import read_command

    script = read_command(sys.orig_argv).script
    return {} if script is None else {"script": str(script)}


def _end_alone(root: str, directory: str, pid: int) -> None:
    """Tell a run whose program nobody waits for. The last act of its process."""
    if os.getpid() != pid:
        return
    RECORDER.local.suspended = 1
    try:
        names = os.listdir(directory) if os.path.isdir(directory) else []
        if any(name.startswith(root) for name in names):
            from lodeline.capture.ending import OwnRuns

            runs = OwnRuns(root, directory)
            runs.tell_start()
            runs.end()
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("ending", error)


def _say_end() -> None:
    run = RECORDER.process_run
    if run is not None and run.journal.path:
        run.say(("end", time.time_ns() // 1000, ""))


def _own_job() -> str:
    from pathlib import Path

    from lodeline.capture.command import find_repository, job_name, read_command

    command = read_command(sys.orig_argv, folder=Path.cwd())
    if command.module == _KERNEL:
        return notebook_job() or command.name
    root = find_repository(command.script) if command.script is not None else None
    return redact_text(job_name(command, root=root))


def notebook_job(told: str = "") -> str:
    """Name the job of a notebook's kernel: the notebook's path; empty when nobody told it.

    Args:
        told: the path, where an editor says it; else it is what the kernel's server said.
    """
    # Set by jupyter-server 2 for each kernel that it starts.
    told = told or os.environ.get("JPY_SESSION_NAME", "")
    if not told.endswith(".ipynb"):
        return ""
    from pathlib import Path

    from lodeline.capture.command import Command, find_repository, job_name

    path = Path(os.path.abspath(told))
    return job_name(Command(path, None, path.name), root=find_repository(path))


def begin(
    directory: str,
    name: RunName,
    *,
    root: str,
    header: dict[str, object],
    lazy: bool = False,
) -> RunContext:
    """Begin the run of this process, and watch for frameworks.

    Args:
        directory: where journals lie.
        name: the run.
        root: UUID of the outermost run.
        header: further facts for the journal's first line.
        lazy: write nothing before there is something to say.
    """
    # Raises where rules cannot be read; then nothing of this process is recorded.
    RECORDER.privacy = privacy.hand_down()
    journal = Journal(directory, root, {**describe_process(), **header, **name._asdict()})
    run = RunContext(name.run_id, name.namespace, name.job, journal)
    RECORDER.process_run = run
    RECORDER.rows = os.environ.get("LODELINE_ROWS") == "1"
    RECORDER.rows_where = os.environ.get("LODELINE_ROWS_WHERE") == "1"
    RECORDER.deterministic = os.environ.get("LODELINE_DETERMINISTIC") == "1"
    os.environ[PARENT] = name.to_text()
    os.environ.setdefault(JOURNALS, directory)
    os.environ.setdefault(RUN, root)
    if not lazy:
        journal.open()
    watch_exceptions()
    ADAPTERS.start()
    return run


def bootstrap_folder() -> str:
    """The folder whose `sitecustomize` starts capture in a new interpreter."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap")


def hand_down() -> None:
    """Have the Python programs that this process starts be captured, too."""
    inherited = os.environ.get("PYTHONPATH")
    entries = [bootstrap_folder(), *([inherited] if inherited else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    os.environ["LODELINE_AUTOCAPTURE"] = "1"


def describe_process() -> dict[str, object]:
    """What only the process itself knows about its environment, cheaply."""
    return {
        "argv": redact_arguments([str(word) for word in sys.orig_argv]),
        "cwd": _working_directory(),
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "version": sys.version.split()[0],
        "path": python_path(),
        "runner": os.environ.get(RUNNER, ""),
    }


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


def watch_exceptions() -> None:
    """Have an uncaught exception mark the run as failed, and our frames left out of its text."""
    hook: Hook = sys.excepthook
    if getattr(hook, "lodeline", False):
        return

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> object:
        try:
            run = RECORDER.process_run
            if run is not None:
                run.say(("failed", time.time_ns() // 1000, kind.__name__))
            if trace is error.__traceback__:
                strip_traceback(error)
                trace = error.__traceback__
        except Exception as fault:  # capture's outermost door
            RECORDER.trouble("excepthook", fault)
        return hook(kind, error, trace)

    report.lodeline = True  # type: ignore[attr-defined]  # recognised above
    sys.excepthook = report
    _watch_threads()


def _watch_threads() -> None:
    hook = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> object:
        try:
            if args.exc_value is not None:
                strip_traceback(args.exc_value)
                args = threading.ExceptHookArgs(
                    (args.exc_type, args.exc_value, args.exc_value.__traceback__, args.thread)
                )
        except Exception as fault:  # capture's outermost door
            RECORDER.trouble("excepthook", fault)
        return hook(args)

    threading.excepthook = report

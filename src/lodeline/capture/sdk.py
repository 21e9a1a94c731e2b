"""The public names of capture: `autocapture`, `job`, `run`, `register`, `flush`.

What they promise is in `docs/reference/sdk.md`. Like everything that capture does, they never make
the program fail: without a place to write, they do nothing but count.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from lodeline.capture import process
from lodeline.capture.datasets import Dataset, declared_dataset
from lodeline.capture.journal import Journal
from lodeline.capture.privacy import current
from lodeline.capture.process import RunName, new_run_id, parse_run_name
from lodeline.capture.recorder import RECORDER, RunContext, now_us
from lodeline.capture.row_steps import ROW_STEPS
from lodeline.credentials import redact_text

if TYPE_CHECKING:
    from lodeline.capture.models import ModelVersion

P = ParamSpec("P")
R = TypeVar("R")

_OFF: Final = ("1", "true", "yes", "on")


class Run:
    """A run as the program speaks of it.

    Attributes:
        run_id: UUID text; empty when capture is off.
    """

    def __init__(self, context: RunContext | None) -> None:
        self._context = context
        self.run_id = "" if context is None else context.run_id

    def reads(self, dataset: object, *, namespace: str | None = None) -> None:
        """Declare an input: an identifier, a path, a URL, or a name.

        Args:
            dataset: what is no identifier, URL or path is a name in `namespace`.
            namespace: of the name; by default the run's.
        """
        named = _dataset(dataset, namespace)
        if named is not None:
            _guard(lambda: RECORDER.read(named))

    def key(self, dataset: object, *columns: str, namespace: str | None = None) -> None:
        """Declare the columns that name the rows of a dataset, as a primary key does.

        Rows of that dataset can then be asked for by key: `row:namespace:name:key`, of several
        columns a JSON array. Recorded with `--rows`, beside the steps that lead to or from it.

        Args:
            dataset: as for `reads`.
            columns: in the order of the key.
            namespace: as for `reads`.
        """
        named = _dataset(dataset, namespace)
        if named is not None:
            _guard(lambda: ROW_STEPS.declare_key(named.namespace, named.name, columns))

    def writes(
        self,
        dataset: object,
        *,
        namespace: str | None = None,
        inputs: list[object] | None = None,
    ) -> None:
        """Declare an output.

        Args:
            dataset: an identifier, a path, a URL, or a name in `namespace`.
            namespace: of the name; by default the run's.
            inputs: what it was made from; without it, anything read so far may have been.
        """
        named = _dataset(dataset, namespace)
        if named is None:
            return
        sources = None
        if inputs is not None:
            sources = [found for one in inputs if (found := _dataset(one, None)) is not None]
        _guard(lambda: RECORDER.write(named, inputs=sources))

    def param(self, name: str, value: object) -> None:
        """Record a parameter."""
        _guard(lambda: RECORDER.param(name, value))

    def metric(self, name: str, value: object) -> None:
        """Record a metric."""
        _guard(lambda: RECORDER.metric(name, value))

    def seed(self, name: str, value: object) -> None:
        """Record the seed of a source of randomness."""
        _guard(lambda: RECORDER.seed(name, value))

    def gap(self, at: str, detail: str) -> None:
        """Say that something was done which capture can't see."""
        _guard(lambda: RECORDER.gap(at, "capture", detail))


def autocapture() -> None:
    """Capture this process from here on, as `lodeline run` would from its start.

    Does nothing when capture runs already, or when `LODELINE_DISABLED` is on.
    """
    _guard(begin_process)


def begin_process(job: str = "") -> None:
    """Begin the run of this process, unless it has begun or capture is off.

    Args:
        job: its name; by default the script's.
    """
    if RECORDER.process_run is not None or is_off():
        return
    directory, namespace = places()
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    name = RunName(namespace, redact_text(job or _job_of(script)), new_run_id())
    parent = parse_run_name(os.environ.get(process.PARENT, ""))
    header: dict[str, object] = {"parent": None if parent is None else tuple(parent)}
    if script is not None:
        header["script"] = os.path.abspath(script)
    # With journals and no run, nobody waits for this program: `lodeline autocapture` set them.
    owned = process.JOURNALS not in os.environ or process.RUN not in os.environ
    process.begin(directory, name, root=name.run_id if owned else _root(name), header=header)
    if owned:
        from lodeline.capture.ending import OwnRuns

        process.hand_down()
        runs = OwnRuns(name.run_id, directory)
        runs.tell_start()
        atexit.register(_guard, runs.end)


def _root(name: RunName) -> str:
    return os.environ.get(process.RUN) or name.run_id


def is_off() -> bool:
    """Whether the environment turns capture off."""
    for variable in ("LODELINE_DISABLED", "OPENLINEAGE_DISABLED"):
        if os.environ.get(variable, "").strip().lower() in _OFF:
            return True
    return False


def places() -> tuple[str, str]:
    """Give the journals' directory and the namespace, from the settings."""
    from lodeline.capture.journal import journal_directory
    from lodeline.settings import find_setting, store_url
    from lodeline.spool import spool_directory

    namespace = find_setting("namespace") or "default"
    handed_down = os.environ.get(process.JOURNALS)
    if handed_down:
        return handed_down, namespace
    spool = spool_directory(store_url())
    os.environ.setdefault("LODELINE_SPOOL", str(spool))
    return journal_directory(str(spool)), namespace


def _job_of(script: str | None) -> str:
    from lodeline.capture.command import Command, find_repository, job_name

    if script is None:
        return "interactive"
    path = Path(os.path.abspath(script))
    command = Command(path, None, path.name)
    return job_name(command, root=find_repository(path))


@contextmanager
def run(
    name: str, *, namespace: str | None = None, parameters: Mapping[str, object] | None = None
) -> Iterator[Run]:
    """Record what happens inside as a run of its own, a child of the run around it.

    Args:
        name: of the job.
        namespace: of the job; by default the one of the settings.
        parameters: recorded at the start.
    """
    context: RunContext | None = None
    leave: Callable[[], None] | None = None
    try:
        if not is_off():
            context, leave = _begin_nested(name, namespace)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("lodeline.run", error)
    own = Run(context)
    for key, value in (parameters or {}).items():
        own.param(key, value)
    failed = ""
    try:
        yield own
    except BaseException as error:
        failed = type(error).__name__
        raise
    finally:
        if context is not None and leave is not None:
            leave()
            _guard(lambda: _end_nested(context, failed))


def _begin_nested(name: str, namespace: str | None) -> tuple[RunContext, Callable[[], None]]:
    directory, default_namespace = places()
    outer = RECORDER.run
    if outer is None:
        RECORDER.privacy = current()
    own = RunName(namespace or default_namespace, redact_text(name), new_run_id())
    if outer is None:
        process.ADAPTERS.start()
    root = outer.journal.root if outer is not None else _root(own)
    parent = None if outer is None else (outer.namespace, outer.job, outer.run_id)
    header = {**process.describe_process(), "parent": parent, "nested": True, **own._asdict()}
    journal = Journal(directory, root, header)
    journal.open()
    context = RunContext(own.run_id, own.namespace, own.job, journal)
    return context, RECORDER.enter(context)


def _end_nested(context: RunContext, failed: str) -> None:
    context.say(("end", now_us(), failed))
    if process.JOURNALS not in os.environ and RECORDER.process_run is None:
        from lodeline.capture.ending import OwnRuns

        OwnRuns(context.journal.root, context.journal.directory).end()


@overload
def job(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def job(
    function: None = None, /, *, name: str | None = None, namespace: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    namespace: str | None = None,
) -> Any:
    """Record each call of a function as a run; inputs and outputs are observed, not declared.

    Args:
        function: when used without parentheses.
        name: of the job; by default the function's qualified name.
        namespace: of the job; by default the one of the settings.
    """
    if function is None:
        return lambda decorated: job_of(decorated, name, namespace)
    return job_of(function, name, namespace)


def job_of(
    function: Callable[..., Any], name: str | None, namespace: str | None
) -> Callable[..., Any]:
    """Wrap a function, a coroutine function or a generator function as a job."""
    import inspect

    title = name or function.__qualname__.replace("<locals>.", "")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def observed_coroutine(*args: Any, **kwargs: Any) -> Any:
            with run(title, namespace=namespace):
                return await function(*args, **kwargs)

        return observed_coroutine

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def observed_generator(*args: Any, **kwargs: Any) -> Any:
            with run(title, namespace=namespace):
                return (yield from function(*args, **kwargs))

        return observed_generator

    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        with run(title, namespace=namespace):
            return function(*args, **kwargs)

    return observed


def register(estimator: object, *, name: str) -> ModelVersion:
    """Name a model: a version of it is recorded, with digest and lineage.

    Args:
        estimator: a fitted one.
        name: of the model, in the run's namespace.

    Returns:
        The version, for `lodeline.serving`; other attributes are the estimator's.
    """
    from lodeline.capture.models import ModelVersion, register_model

    try:
        return register_model(RECORDER, estimator, name)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("lodeline.register", error)
        return ModelVersion("default", name, "", estimator)


def flush(timeout: float = 5.0) -> dict[str, int]:
    """Make durable what was captured so far, then deliver it.

    Args:
        timeout: seconds for the delivery; what is not delivered then stays in the spool.

    Returns:
        `durable`: events that are safe on disk or delivered; `delivered`: those that the store or
        server has; `lost`: those that could not be kept.
    """
    from lodeline.capture.ending import flush_own_runs

    try:
        return flush_own_runs(timeout)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("lodeline.flush", error)
        return {"durable": 0, "delivered": 0, "lost": 0}


def _dataset(target: object, namespace: str | None) -> Dataset | None:
    if isinstance(target, Dataset):
        return target
    if namespace is not None:
        return Dataset(namespace, str(target))
    run = RECORDER.run
    return declared_dataset(target, places()[1] if run is None else run.namespace)


def _guard(act: Callable[[], object]) -> None:
    try:
        act()
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("lodeline", error)

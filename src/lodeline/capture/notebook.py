"""Notebooks: `%load_ext lodeline` makes the kernel's session a run, named after the notebook.

What a cell did is in the spool when the cell has ended, so that a question in the next cell finds
it. The run ends with the kernel; it has failed when the last cell that ran raised.
"""

from __future__ import annotations

import atexit
from typing import Any, Final

from lodeline.capture import process, sdk
from lodeline.capture.ending import tell_own_progress
from lodeline.capture.recorder import RECORDER, now_us

_EVENT: Final = "post_run_cell"


class Session:
    """The run of one kernel.

    Args:
        shell: IPython's, whose events are listened to.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._failed = ""

    def begin(self) -> None:
        """Start capture, unless it runs already, and listen."""
        told = self._shell.user_ns.get("__vsc_ipynb_file__")
        sdk.begin_process(job=process.notebook_job(told if isinstance(told, str) else ""))
        self._shell.events.register(_EVENT, self._after_cell)
        atexit.register(self._end)

    def stop(self) -> None:
        """Listen no more; the run ends with the kernel."""
        self._shell.events.unregister(_EVENT, self._after_cell)

    def _after_cell(self, result: Any) -> None:
        try:
            error = result.error_before_exec or result.error_in_exec
            self._failed = "" if error is None else type(error).__name__
            tell_own_progress()
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("notebook", error)

    def _end(self) -> None:
        run = RECORDER.process_run
        if self._failed and run is not None:
            run.say(("failed", now_us(), self._failed))


_SESSIONS: Final[dict[int, Session]] = {}


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext lodeline` calls."""
    if sdk.is_off() or id(shell) in _SESSIONS:
        return
    session = Session(shell)
    session.begin()
    _SESSIONS[id(shell)] = session


def unload_ipython_extension(shell: Any) -> None:
    """What `%unload_ext lodeline` calls."""
    session = _SESSIONS.pop(id(shell), None)
    if session is not None:
        session.stop()

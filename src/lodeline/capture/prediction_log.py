"""Writing predictions down off the request path: one thread a process, one spool.

A finished request is put into a queue in memory. A thread wakes every
`PREDICTIONS_BATCH_SECONDS`, or when a batch is full, turns what waits into one record and appends
it to the spool. Killed before that, the process loses what waited; the block's reservation in the
record says so of every identifier drawn from it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from lodeline.capture.prediction_ids import PredictionIds
from lodeline.capture.privacy import Privacy, current
from lodeline.capture.sampling import find_rule, split_rows
from lodeline.limits import (
    PREDICTIONS_BATCH_MAX,
    PREDICTIONS_BATCH_SECONDS,
    PREDICTIONS_IN_ONE_GO,
    PREDICTIONS_PAUSE_SECONDS,
    PREDICTIONS_WAITING_MAX,
)
from lodeline.model import PredictionId
from lodeline.spool import Spool

WriteDown = Callable[[Privacy], dict[str, Any]]

_LIVE: Final[weakref.WeakSet[PredictionLog]] = weakref.WeakSet()


class PredictionLog:
    """Identifiers and records of the predictions of one deployment in this process.

    Args:
        spool: where records go.
        describe: gives `{"deployment", "model", …}` of a reservation when a block begins.
    """

    def __init__(self, spool: Spool, describe: Callable[[], dict[str, Any]]) -> None:
        self.spool = spool
        self._describe = describe
        self.ids = PredictionIds(self._reserve)
        self.lost = 0
        self._owner = ""
        self._start()
        _LIVE.add(self)

    def _start(self) -> None:
        self._waiting: deque[tuple[PredictionId, WriteDown]] = deque()
        self._wake = threading.Event()
        self._is_woken = False
        self._idle = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._pid = os.getpid()

    def add(self, drawn: PredictionId, write_down: WriteDown) -> None:
        """Queue one prediction.

        Args:
            drawn: its identifier.
            write_down: gives the members of its record under rules of privacy; called in the
                writer thread.
        """
        waiting = self._waiting
        if len(waiting) >= PREDICTIONS_WAITING_MAX:
            self.lost += 1
            return
        waiting.append((drawn, write_down))
        if self._thread is None:
            self._begin()
        if len(waiting) >= PREDICTIONS_BATCH_MAX and not self._is_woken:
            # Once a batch: the thread looks for itself whether more than one waits.
            self._is_woken = True
            self._wake.set()

    def flush(self) -> None:
        """Append everything that waits to the spool now."""
        with self._idle:
            while self._waiting:
                self._append_batch()

    def close(self) -> None:
        """Flush, and say in the record that no further identifiers come from the block."""
        self._stopped = True
        self._wake.set()
        self.flush()
        block = self.ids.block
        if block is not None:
            end = {"type": "end", "block": f"{block:010x}", "next": self.ids.drawn, "clean": True}
            self.ids.leave_block()
            self.spool.append(msgspec.json.encode(end))
        self.spool.flush()

    def _begin(self) -> None:
        with self._idle:
            if self._thread is None:
                self._stopped = False
                thread = threading.Thread(
                    target=self._run, name="lodeline-predictions", daemon=True
                )
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    # None can be made now; the next prediction tries again.
                    self._thread = None

    def _run(self) -> None:
        while not self._stopped:
            # What came while the last batch was written may be a batch of its own already.
            if len(self._waiting) < PREDICTIONS_BATCH_MAX:
                self._wake.wait(PREDICTIONS_BATCH_SECONDS)
            self._wake.clear()
            self.flush()
            self._is_woken = False
        self._thread = None

    def _append_batch(self) -> None:
        """Write one batch of predictions of one block."""
        block = -1
        rules = _Rules()
        rows: list[dict[str, Any]] = []
        waiting = self._waiting
        while waiting and len(rows) < PREDICTIONS_BATCH_MAX:
            drawn, write_down = waiting[0]
            if rows and drawn.block != block:
                break
            waiting.popleft()
            block = drawn.block
            rows.append({"id": str(drawn), "time": drawn.time_us, **_members(write_down, rules)})
            if not len(rows) % PREDICTIONS_IN_ONE_GO:
                # The interpreter's lock would stay here for the whole batch: others ask for it only
                # after 5 ms. A sleep of nothing gives it up, and mostly gets it back at once.
                time.sleep(PREDICTIONS_PAUSE_SECONDS)
        if rows:
            record = {"type": "predictions", "block": f"{block:010x}", **self._sampled(rows)}
            if not self.spool.append(msgspec.json.encode(record)):
                self.lost += len(rows)

    def _sampled(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Give the rows that keep their details, and a summary of the rest."""
        try:
            rule = find_rule("predictions", self._owner)
            if rule is None:
                return {"rows": rows}
            kept, summary = split_rows(rows, rule)
        except Exception:
            # Rules that cannot be read, and values that cannot be summarised, leave nothing out;
            # this thread goes on.
            return {"rows": rows}
        return {"rows": kept} if summary is None else {"rows": kept, "summary": summary}

    def _reserve(self, block: int, ticks: int) -> None:
        record = {
            "type": "reservation",
            "block": f"{block:010x}",
            "time": ticks * 1000 // 4096,
            "writer": self.spool.writer,
            **self._describe(),
        }
        deployment = record.get("deployment")
        if isinstance(deployment, dict):
            self._owner = f"{deployment.get('namespace')}:{deployment.get('name')}"
        self.spool.append(msgspec.json.encode(record))
        # A reservation must outlive even a power loss: without it, identifiers that clients hold
        # would be unknown instead of lost.
        self.spool.flush()


class _Rules:
    """The rules of privacy, read once a batch: finding them asks the environment and the system."""

    def __init__(self) -> None:
        self._read: Privacy | None = None

    def get(self) -> Privacy:
        """Read them, unless they were.

        Raises:
            UsageError: they cannot be read. Then nothing may be recorded.
        """
        if self._read is None:
            self._read = current()
        return self._read


def _members(write_down: WriteDown, rules: _Rules) -> dict[str, Any]:
    try:
        return write_down(rules.get())
    except Exception as error:  # capture's outermost door in the writer thread
        return {"gaps": [{"reason": "capture", "detail": f"{type(error).__name__}: {error}"[:300]}]}


def _restart_all() -> None:
    for log in list(_LIVE):
        log._start()  # noqa: SLF001  # the module's own hook


def _close_all() -> None:
    for log in list(_LIVE):
        if log._pid == os.getpid():  # noqa: SLF001
            with contextlib.suppress(Exception):
                log.close()


def flush_predictions() -> None:
    """Append all predictions of this process that wait, as `lodeline.flush` does first."""
    for log in list(_LIVE):
        log.flush()


def wait_until_written(seconds: float) -> bool:
    """Wait until nothing waits any more; whether that came true in time."""
    end = time.monotonic() + seconds
    while any(log._waiting for log in list(_LIVE)):  # noqa: SLF001
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


os.register_at_fork(after_in_child=_restart_all)
atexit.register(_close_all)

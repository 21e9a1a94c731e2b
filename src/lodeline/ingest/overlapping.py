"""Taking in many groups of events: the interpreter and the database at work at the same time.

One thread alone speaks to the writer: it appends groups and writes batches of the fold, in the
order in which they were handed to it. While it waits for the database, which needs no interpreter,
the caller's thread decodes the next group and computes the next batch of the fold.

1. A group is decoded, and its identifiers and commitments are computed, while earlier ones are
   written. At most `GROUPS_AHEAD_MAX` wait for the one that is written.
2. A batch of the fold is computed from a snapshot that holds the batch before it: it waits for that
   one's transaction, and for nothing else.
3. Where an append fails, none after it is begun, as if each had been waited for. Where a batch of
   the fold fails, the log goes on without it; whoever folds at the end meets the fault again.
4. Where the source of the events fails, what it gave before is appended. Where the caller is
   interrupted, only what is being written is.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Final

from lodeline.ingest.acceptance import Decoded, ImportResult, Submission, TakenIn
from lodeline.ingest.collecting import collector_paused
from lodeline.ingest.projection import ComputedBatch, fold_ahead
from lodeline.limits import FOLD_AHEAD_MIN, GROUPS_AHEAD_MAX, TURN_SECONDS
from lodeline.store import Segment


def accept_overlapped(
    segment: Segment,
    groups: Iterable[Sequence[Submission]],
    result: ImportResult,
    progress: Callable[[ImportResult], None] | None,
    *,
    fold: bool,
) -> None:
    """Append groups, each in a commit, in order; fold behind them.

    Args:
        segment: where to.
        groups: of events.
        result: is added to after each commit.
        progress: called after each commit.
        fold: fold as the log grows; the rest is left to `fold_pending`.

    Raises:
        StoreFullError: no room; earlier groups are safe, later ones were not stored.
    """
    with short_turns(), ThreadPoolExecutor(1, "lodeline-ingest") as thread:
        overlapped = _Overlapped(segment, thread, result, progress, fold=fold)
        try:
            for group in groups:
                overlapped.add(group)
            overlapped.finish()
        except Exception:
            overlapped.finish()
            raise
        finally:
            overlapped.stop()


class _Overlapped:
    def __init__(
        self,
        segment: Segment,
        thread: ThreadPoolExecutor,
        result: ImportResult,
        progress: Callable[[ImportResult], None] | None,
        *,
        fold: bool,
    ) -> None:
        self._segment = segment
        self._thread = thread
        self._result = result
        self._progress = progress
        self._fold = fold
        self._stopped = False
        self._appending: deque[Future[TakenIn | None]] = deque()
        self._folding: Future[None] | None = None
        # Entries appended since the last batch of the fold was computed.
        self._unfolded = 0

    def add(self, group: Sequence[Submission]) -> None:
        """Decode a group and have it appended; return when there is room for the next."""
        with collector_paused():
            decoded = Decoded(self._segment, group, ahead=True)
        self._appending.append(self._thread.submit(self._append, decoded))
        self._go_on(GROUPS_AHEAD_MAX)

    def finish(self) -> None:
        """Wait until all groups are appended, or one has failed."""
        self._go_on(0)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    def _append(self, decoded: Decoded) -> TakenIn | None:
        if self._stopped:
            return None
        try:
            return decoded.append()
        except BaseException:
            self._stopped = True
            raise

    def _go_on(self, waiting_max: int) -> None:
        """Settle what is appended and compute what can be folded, until few groups wait."""
        while True:
            self._settle()
            if self._fold_next():
                continue
            if len(self._appending) <= waiting_max:
                return
            awaited: set[Future[Any]] = {self._appending[0]}
            if self._folding is not None and self._unfolded >= FOLD_AHEAD_MIN:
                awaited.add(self._folding)
            wait(awaited, return_when=FIRST_COMPLETED)

    def _settle(self) -> None:
        while self._appending and self._appending[0].done():
            taken = self._appending.popleft().result()
            if taken is None:
                continue
            self._unfolded += len(taken.appended)
            self._result.add(taken)
            if self._progress is not None:
                self._progress(self._result)

    def _fold_next(self) -> bool:
        """Compute a batch of the fold and have it written, if it is time."""
        if self._folding is not None and self._folding.done():
            # A fault of the view is none of the log: it is met again at the end.
            self._fold = self._fold and self._folding.exception() is None
            self._folding = None
        if self._folding is not None or not self._fold or self._stopped:
            return False
        if self._unfolded < FOLD_AHEAD_MIN:
            return False
        self._unfolded = 0
        try:
            batch = fold_ahead(self._segment)
        except Exception:
            self._fold = False
            return False
        if batch is None:
            return False
        try:
            self._folding = self._thread.submit(self._write, batch)
        except BaseException:
            batch.discard()
            raise
        return True

    def _write(self, batch: ComputedBatch) -> None:
        if self._stopped:
            batch.discard()
        else:
            batch.write()


_turns_lock: Final = threading.Lock()
_turns: list[float] = []


@contextmanager
def short_turns() -> Iterator[None]:
    """Have threads take turns at the interpreter quickly.

    A thread comes back from the database after each statement, and Python would have it wait 5 ms
    for another that computes: longer than most statements take.
    """
    with _turns_lock:
        _turns.append(sys.getswitchinterval())
        sys.setswitchinterval(min(_turns[0], TURN_SECONDS))
    try:
        yield
    finally:
        with _turns_lock:
            first = _turns[0]
            _turns.pop()
            if not _turns:
                sys.setswitchinterval(first)

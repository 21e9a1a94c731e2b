"""The one writer of a service: concurrent requests share a transaction and its fsync.

Requests put raw events in a bounded queue; one thread decodes, appends what is valid in one
group commit and tells each request how its events fared. Acknowledged is durable: an outcome is
given only after the commit. Folding follows behind, in the same thread, when requests pause, enough
has gathered or the first has waited long enough. Whoever asks folds what is left by themselves.

Left out: sequencing across several API processes (a PostgreSQL segment's matter).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lodeline.errors import (
    LodelineError,
    QueueFullError,
    StoppingError,
    StoreUnreachableError,
)
from lodeline.ingest import Submission
from lodeline.limits import (
    COMMIT_EVENTS_MAX,
    FOLD_BEHIND_MAX,
    FOLD_BEHIND_SECONDS,
    FOLD_PAUSE_SECONDS,
    QUEUE_BYTES_MAX,
    QUEUE_EVENTS_MAX,
    WAIT_SECONDS_MAX,
)
from lodeline.store import Refusal, Segment
from lodeline.store.segment import Appended

_logger: Final = logging.getLogger("lodeline.serve")

# How long the first request of a commit waits for as many beside it as the last commit had. Who
# was answered together sends again together; a commit of one in between would cost each of them
# another fsync, and a commit's fixed cost is that of twenty events.
_GATHER_SECONDS = 0.002


class Outcome(NamedTuple):
    """How one event fared.

    Attributes:
        error: why it was refused, or `None`.
        appended: where it stands in the log; `None` when refused.
        segment: whose log that is.
    """

    error: LodelineError | None
    appended: Appended | None = None
    segment: str = "default"


@dataclass(slots=True)
class Written:
    """What became of the inputs of one request.

    Attributes:
        outcomes: one an input, in order.
        folded: whether the view has them; not where nobody waited for it, or folding failed.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    folded: bool = False


# What comes in: an event to be tried, or what was refused before it could be one.
Input = Submission | Refusal
# Told what became of a request, or why nothing did.
Tell = Callable[[Written, LodelineError | None], None]


@dataclass(slots=True)
class _Request:
    inputs: Sequence[Input]
    folded: bool
    loop: asyncio.AbstractEventLoop
    tell: Tell
    bytes_waiting: int
    written: Written = field(default_factory=Written)


Append = Callable[[Segment, Sequence[Input]], list[Outcome]]
Fold = Callable[[Segment], object]


class Writer:
    """A thread that owns writing to one segment.

    Args:
        segment: to write to.
        append: makes raw events durable and tells how each fared.
        fold: brings the view up to the log.
        pause_seconds: without a request after which what is durable is folded.
        behind_seconds: after which it is folded while requests go on to come.
    """

    def __init__(
        self,
        segment: Segment,
        *,
        append: Append,
        fold: Fold,
        pause_seconds: float = FOLD_PAUSE_SECONDS,
        behind_seconds: float = FOLD_BEHIND_SECONDS,
    ) -> None:
        self._segment = segment
        self._append = append
        self._fold = fold
        self._pause_seconds = pause_seconds
        self._behind_seconds = behind_seconds
        # Durable events that the view has not yet, and when it is to have them at the latest.
        self._unfolded = 0
        self._fold_at = 0.0
        self._queue: deque[_Request] = deque()
        self._events_waiting = 0
        self._bytes_waiting = 0
        self._stopping = False
        # Requests that the last commit had, which are likely to come again; those waited for now.
        self._expected = 1
        self._wanted = 0
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="lodeline-writer", daemon=True)
        self.failure: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Take no more, write what waits.

        Returns:
            Whether everything was written in time.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread still takes events."""
        return self._thread.is_alive() and not self._stopping

    @property
    def waiting(self) -> int:
        """Events that wait for a commit."""
        return self._events_waiting

    async def write(self, inputs: Sequence[Input], *, folded: bool = False) -> Written:
        """Write events and wait until they are durable.

        With `folded` also until they are in the view, or `WAIT_SECONDS_MAX` have passed.

        Raises:
            QueueFullError: too much waits already.
            StoppingError: the service is stopping.
        """
        if not inputs:
            # Nothing would bring about the fold that such a request waits for.
            return Written(folded=folded)
        done: asyncio.Future[Written] = asyncio.get_running_loop().create_future()

        def tell(written: Written, error: LodelineError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(written)
            else:
                done.set_exception(error)

        request = self._enqueue(inputs, tell, folded=folded)
        if folded:
            with suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(done), WAIT_SECONDS_MAX)
            if request.written.outcomes:
                return request.written
        return await done

    def submit(self, one: Input, tell: Tell) -> None:
        """Have one event written; `tell` is called in the running loop once it is durable.

        Raises:
            QueueFullError: too much waits already.
            StoppingError: the service is stopping.
        """
        self._enqueue([one], tell, folded=False)

    def _enqueue(self, inputs: Sequence[Input], tell: Tell, *, folded: bool) -> _Request:
        size = sum([len(one.raw) for one in inputs])
        request = _Request(inputs, folded, asyncio.get_running_loop(), tell, size)
        with self._wake:
            if self._stopping or not self._thread.is_alive():
                raise StoppingError
            waiting = self._events_waiting
            # A request that alone exceeds the bound still goes in when nothing waits.
            if waiting and (
                waiting + len(inputs) > QUEUE_EVENTS_MAX
                or self._bytes_waiting + size > QUEUE_BYTES_MAX
            ):
                raise QueueFullError(waiting)
            self._queue.append(request)
            self._events_waiting += len(inputs)
            self._bytes_waiting += size
            # Nobody is woken in vain: a thread that wakes takes the interpreter from the others.
            if len(self._queue) >= self._wanted > 0:
                self._wake.notify()
        return request

    def segment_of(self, raw: bytes) -> str:  # noqa: ARG002  # of several segments it decides
        """Give the name of the segment that an event goes to."""
        return "default"

    def prove(self, outcome: Outcome) -> str:
        """Prove an entry under a signed checkpoint, as a tlog-proof. May wait for the disk."""
        assert outcome.appended is not None
        return self._segment.tlog_proof(outcome.appended.position)

    def sign_batch(self, outcomes: Sequence[Outcome]) -> str:
        """Sign one receipt over the leaf hashes of accepted events. May wait for the disk."""
        positions = [one.appended.position for one in outcomes if one.appended is not None]
        return self._segment.batch_receipt(positions)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._stopping and not self._unfolded:
                    self._await(1, None)
                if not self._queue and not self._stopping:
                    # Requests that were just answered send their next now: write those first.
                    left = self._fold_at - time.monotonic()
                    self._await(1, min(self._pause_seconds, left))
                if self._queue:
                    self._await(self._expected, _GATHER_SECONDS)
                group = self._take()
                self._expected = max(1, len(group))
                if not group and not self._unfolded and self._stopping:
                    return
            waiting = self._write(group)
            self._note_unfolded(sum([len(request.inputs) for request in group]))
            if self._unfolded and (waiting or not group or self._is_far_behind()):
                self._fold_and_tell(waiting)
                self._unfolded = 0

    def _note_unfolded(self, events: int) -> None:
        if events and not self._unfolded:
            self._fold_at = time.monotonic() + self._behind_seconds
        self._unfolded += events

    def _is_far_behind(self) -> bool:
        return self._unfolded >= FOLD_BEHIND_MAX or time.monotonic() >= self._fold_at

    def _await(self, requests: int, seconds: float | None) -> None:
        """Wait until so many requests have come, or the time has passed, or the end has begun."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while len(self._queue) < requests and not self._stopping:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self._wanted = requests
            self._wake.wait(left)
        self._wanted = 0

    def _take(self) -> list[_Request]:
        """Take whole requests up to one commit's size, at least one."""
        group: list[_Request] = []
        events = 0
        while self._queue and (
            not group or events + len(self._queue[0].inputs) <= COMMIT_EVENTS_MAX
        ):
            request = self._queue.popleft()
            events += len(request.inputs)
            self._bytes_waiting -= request.bytes_waiting
            group.append(request)
        self._events_waiting -= events
        return group

    def _write(self, group: list[_Request]) -> list[_Request]:
        """Write a group, acknowledge it, and return the requests that wait for the fold too."""
        if not group:
            return []
        try:
            outcomes = self._append(
                self._segment, [one for request in group for one in request.inputs]
            )
        except Exception as error:  # the thread must outlive any failure
            self.failure = repr(error)
            _tell(group, self._as_ours(error))
            return []
        self.failure = None
        start = 0
        for request in group:
            request.written.outcomes = outcomes[start : start + len(request.inputs)]
            start += len(request.inputs)
        _tell([request for request in group if not request.folded], None)
        return [request for request in group if request.folded]

    def _as_ours(self, error: Exception) -> LodelineError:
        """Give an error that an answer can carry."""
        if isinstance(error, LodelineError):
            return error
        return StoreUnreachableError(self._segment.url, repr(error))

    def _fold_and_tell(self, waiting: list[_Request]) -> None:
        try:
            self._fold(self._segment)
        except Exception as problem:  # durable events stay acknowledged; the view lags
            self.failure = repr(problem)
        else:
            for request in waiting:
                request.written.folded = True
        _tell(waiting, None)


def _tell(requests: Sequence[_Request], error: LodelineError | None) -> None:
    """Wake the waiting requests, one call a loop instead of one a request."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in requests:
        by_loop.setdefault(request.loop, []).append(request)
    for loop, told in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_finish, told, error)


def _finish(requests: Sequence[_Request], error: LodelineError | None) -> None:
    for request in requests:
        try:
            request.tell(request.written, error)
        except Exception:  # one request's answer must not cost another's
            _logger.exception("a request could not be told what became of it")

"""The one writer of a service: concurrent requests share a transaction and its fsync.

Requests put raw events in a bounded queue; one thread decodes, appends what is valid in one
group commit and tells each request how its events fared. Acknowledged is durable: an outcome is
given only after the commit. Folding follows behind, in the same thread, when the queue is empty
or enough has gathered.

Left out: sequencing across several API processes (a PostgreSQL segment's matter).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lodeline.errors import (
    LodelineError,
    QueueFullError,
    StoppingError,
    StoreUnreachableError,
)
from lodeline.limits import COMMIT_EVENTS_MAX, QUEUE_BYTES_MAX, QUEUE_EVENTS_MAX
from lodeline.store import Segment

# How long the writer waits for more events before it folds those it has.
_FOLD_IDLE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one event fared.

    Attributes:
        error: why it was refused, or `None`.
        receipt: proof of acceptance, empty when refused.
        duplicate: whether the log had it already.
        position: where it stands in the log, -1 when refused.
    """

    error: LodelineError | None
    receipt: str = ""
    duplicate: bool = False
    position: int = -1


@dataclass(slots=True)
class _Request:
    raws: Sequence[bytes]
    folded: bool
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[list[Outcome]]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def bytes_waiting(self) -> int:
        return sum(map(len, self.raws))


Append = Callable[[Segment, Sequence[bytes]], list[Outcome]]
Fold = Callable[[Segment], object]


class Writer:
    """A thread that owns writing to one segment.

    Args:
        segment: to write to.
        append: makes raw events durable and tells how each fared.
        fold: brings the view up to the log.
    """

    def __init__(self, segment: Segment, *, append: Append, fold: Fold) -> None:
        self._segment = segment
        self._append = append
        self._fold = fold
        self._queue: deque[_Request] = deque()
        self._events_waiting = 0
        self._bytes_waiting = 0
        self._stopping = False
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

    async def write(self, raws: Sequence[bytes], *, folded: bool = False) -> list[Outcome]:
        """Write events and wait until they are durable (and in the view, if `folded`).

        Raises:
            QueueFullError: too much waits already.
            StoppingError: the service is stopping.
        """
        loop = asyncio.get_running_loop()
        request = _Request(raws, folded, loop, loop.create_future())
        with self._wake:
            if self._stopping or not self._thread.is_alive():
                raise StoppingError
            waiting = self._events_waiting
            # A request that alone exceeds the bound still goes in when nothing waits.
            if waiting and (
                waiting + len(raws) > QUEUE_EVENTS_MAX
                or self._bytes_waiting + request.bytes_waiting > QUEUE_BYTES_MAX
            ):
                raise QueueFullError(waiting)
            self._queue.append(request)
            self._events_waiting += len(raws)
            self._bytes_waiting += request.bytes_waiting
            self._wake.notify()
        return await request.done

    def prove(self, position: int) -> str:
        """Prove an entry under a signed checkpoint, as a tlog-proof. May wait for the disk."""
        return self._segment.tlog_proof(position)

    def _work(self) -> None:
        unfolded = 0
        while True:
            with self._wake:
                while not self._queue and not self._stopping and not unfolded:
                    self._wake.wait()
                if not self._queue and not self._stopping:
                    # Requests that were just answered send their next now: write those first.
                    self._wake.wait(_FOLD_IDLE_SECONDS)
                group = self._take()
                if not group and not unfolded and self._stopping:
                    return
            waiting = self._write(group)
            unfolded += sum(len(request.raws) for request in group)
            if unfolded and (waiting or not group or unfolded >= COMMIT_EVENTS_MAX):
                self._fold_and_tell(waiting)
                unfolded = 0

    def _take(self) -> list[_Request]:
        """Take whole requests up to one commit's size, at least one."""
        group: list[_Request] = []
        events = 0
        while self._queue and (not group or events + len(self._queue[0].raws) <= COMMIT_EVENTS_MAX):
            request = self._queue.popleft()
            events += len(request.raws)
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
                self._segment, [raw for request in group for raw in request.raws]
            )
        except Exception as error:  # the thread must outlive any failure
            self.failure = repr(error)
            _tell(group, self._as_ours(error))
            return []
        self.failure = None
        start = 0
        for request in group:
            request.outcomes = outcomes[start : start + len(request.raws)]
            start += len(request.raws)
        _tell([request for request in group if not request.folded], None)
        return [request for request in group if request.folded]

    def _as_ours(self, error: Exception) -> LodelineError:
        """Give an error that an answer can carry."""
        if isinstance(error, LodelineError):
            return error
        return StoreUnreachableError(self._segment.url, repr(error))

    def _fold_and_tell(self, waiting: list[_Request]) -> None:
        error: Exception | None = None
        try:
            self._fold(self._segment)
        except Exception as problem:  # durable events stay; the view lags
            self.failure = repr(problem)
            error = self._as_ours(problem)
        _tell(waiting, error)


def _tell(requests: Sequence[_Request], error: Exception | None) -> None:
    """Wake the waiting requests, one call a loop instead of one a request."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
    for request in requests:
        by_loop.setdefault(request.loop, []).append(request)
    for loop, told in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_finish, told, error)


def _finish(requests: Sequence[_Request], error: Exception | None) -> None:
    for request in requests:
        if request.done.done():
            continue
        if error is not None:
            request.done.set_exception(error)
        else:
            request.done.set_result(request.outcomes)

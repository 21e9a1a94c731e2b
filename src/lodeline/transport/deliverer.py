"""From the spool to a transport: finish, deliver, acknowledge, in that order.

1. Records are gathered into batches across segments, in each segment's order.
2. Each is finished. One whose digests need more time than is left stays, and with it whatever
   comes after it in its segment.
3. When finishing computed something, the finished batch is kept beside the spool before it is
   sent: after a crash the same bytes are sent again, and the receiver recognises them.
4. The batch is sent, again and again with random growing pauses while time remains.
5. What the receiver has is acknowledged; what it can never take is kept in `refused.ndjson`.
6. Segments that are done disappear. When the last of a writer's does, blocks of prediction ids
   that it had reserved and not closed are ended on its behalf: it died.
7. Logical digests that an earlier delivery postponed are computed while time remains, outside the
   drain's lock, and told.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lodeline.errors import DeliveryError, LodelineError, OutOfTimeError
from lodeline.limits import (
    DELIVERY_ATTEMPTS_MAX,
    DELIVERY_BYTES_MAX,
    DELIVERY_FAILING_SECONDS_MAX,
    DELIVERY_RECORDS_MAX,
    DELIVERY_RETRY_SECONDS,
    DELIVERY_RETRY_SECONDS_MAX,
    REFUSED_BYTES_MAX,
)
from lodeline.spool import (
    Drain,
    Loss,
    SpooledRecord,
    iter_pending,
    measure_loss,
    open_drain,
    replace_file,
)
from lodeline.transport.digests import DigestMemory
from lodeline.transport.finalising import Finished, Finisher
from lodeline.transport.logical import LogicalMemory
from lodeline.transport.postponed import Note, Postponed
from lodeline.transport.transports import Transport
from lodeline.transport.waiting import TROUBLE

_IN_FLIGHT: Final = "in-flight.json"
_REFUSED: Final = "refused.ndjson"
_BLOCKS: Final = "blocks"
# Between two looks whether the process that delivers just now is done.
_LOCK_SECONDS: Final = 0.02


@dataclass(slots=True)
class Report:
    """What a delivery did.

    Attributes:
        delivered: records that are durable at the receiver.
        refused: records that it can never take; kept in the spool's `refused.ndjson`.
        pending_bytes: what is left in the spool.
        busy: another process is delivering just now.
        loss: what writers dropped and the drain skipped, since the spool was made.
        reason: why something is left; empty when nothing is.
    """

    delivered: int = 0
    refused: int = 0
    pending_bytes: int = 0
    busy: bool = False
    loss: Loss = field(default_factory=Loss)
    reason: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything that was spooled is delivered."""
        return not self.busy and not self.pending_bytes

    def to_json(self) -> dict[str, object]:
        """Give the documented keys."""
        return {
            "delivered": self.delivered,
            "refused": self.refused,
            "pending_bytes": self.pending_bytes,
            "complete": self.complete,
            "lost": self.loss.records,
            "torn": self.loss.torn,
            "reason": self.reason or None,
        }


@dataclass(slots=True)
class _Batch:
    records: list[Finished] = field(default_factory=list)
    origins: list[SpooledRecord] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.records) >= DELIVERY_RECORDS_MAX or self.size >= DELIVERY_BYTES_MAX

    def add(self, finished: Finished, origin: SpooledRecord) -> None:
        self.records.append(finished)
        self.origins.append(origin)
        self.size += len(finished.payload)

    @property
    def ends(self) -> dict[str, int]:
        return {origin.segment: origin.end for origin in self.origins}


def deliver(
    directory: Path,
    open_transport: Callable[[], Transport],
    *,
    seconds: float | None = None,
    logical_seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] | None = None,
) -> Report:
    """Deliver what a spool holds, once over.

    Args:
        directory: of the spool.
        open_transport: called only if there is something to deliver.
        seconds: bound on the whole; `None` hashes and retries as long as the limits allow.
        logical_seconds: bound on what goes into logical digests; those that take longer are left
            to the next delivery that has none.
        sleep: waits between tries.
        jitter: between 0 and 1; by default random.

    Returns:
        What was done. Failures of the receiver are in it, not raised.
    """
    report = Report()
    if not directory.is_dir():
        return report
    deadline = None if seconds is None else time.monotonic() + seconds
    with _open_drain_in_time(directory, deadline, sleep) as drain:
        if drain is None:
            report.busy, report.reason = True, "another process is delivering"
        else:
            waiting = _Waiting(deadline, sleep, jitter or _random_share)
            _Delivery(drain, open_transport, waiting, report, logical_seconds).run()
            _note_trouble(drain, report.reason)
    if logical_seconds is None and not report.reason:
        _tell_postponed(directory, open_transport, deadline, report)
    report.pending_bytes = _pending_bytes(directory)
    report.loss = measure_loss(directory)
    return report


@contextlib.contextmanager
def _open_drain_in_time(
    directory: Path, deadline: float | None, sleep: Callable[[float], None]
) -> Iterator[Drain | None]:
    """Become the drain, or wait for the one that is, as long as there is time.

    Two who ask after one run must both see it, whoever of them delivers.
    """
    while True:
        with open_drain(directory) as drain:
            late = deadline is None or time.monotonic() + _LOCK_SECONDS > deadline
            if drain is not None or late:
                yield drain
                return
        sleep(_LOCK_SECONDS)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Time left, and how to spend it between tries."""

    deadline: float | None
    sleep: Callable[[float], None]
    jitter: Callable[[], float]

    def is_late(self, pause: float = 0.0) -> bool:
        return self.deadline is not None and time.monotonic() + pause > self.deadline


class _Delivery:
    """One pass of one drain over its spool."""

    def __init__(
        self,
        drain: Drain,
        opener: Callable[[], Transport],
        waiting: _Waiting,
        report: Report,
        logical_seconds: float | None,
    ) -> None:
        self._drain, self._opener, self._waiting = drain, opener, waiting
        self._report = report
        self._transport: Transport | None = None
        self._logical = LogicalMemory(drain.directory / "logical.json")
        self._digests = DigestMemory(drain.directory / "digests.json")
        self._finisher = Finisher(
            deadline=waiting.deadline,
            logical=self._logical,
            memory=self._digests,
            logical_seconds=logical_seconds,
        )
        blocks = drain.notes.setdefault(_BLOCKS, {})
        # Block -> its writer: reserved, delivered, and not ended yet.
        self._blocks: dict[str, str] = blocks if isinstance(blocks, dict) else {}

    def run(self) -> None:
        try:
            self._resend_in_flight()
            for batch in self._iter_batches():
                self._send_batch(batch)
            self._end_blocks(self._drain.remove_delivered())
        except (LodelineError, OSError) as error:
            self._report.reason = str(error)
        finally:
            self._logical.keep()
            self._digests.keep()
            if self._transport is not None:
                self._transport.close()

    def _iter_batches(self) -> Iterator[_Batch]:
        batch = _Batch()
        for segment in list(self._drain.iter_segments()):
            for record in self._drain.iter_records(segment):
                try:
                    finished = self._finisher.finish(record.body)
                except OutOfTimeError as late:
                    self._report.reason = str(late)
                    break
                except (ValueError, KeyError) as error:
                    self._keep_refused(record.body, f"not a record of the spool: {error}")
                    finished = Finished("", b"", changed=False)
                batch.add(finished, record)
                if batch.is_full:
                    yield batch
                    batch = _Batch()
                    if self._waiting.is_late():
                        self._report.reason = "out of time"
                        return
        if batch.records:
            yield batch

    def _send_batch(self, batch: _Batch) -> None:
        # Before the batch: after a crash in between it is finished, and noted, again.
        self._keep_postponed()
        in_flight = self._drain.directory / _IN_FLIGHT
        if any(record.changed for record in batch.records):
            body = {
                "ends": batch.ends,
                "writers": [origin.writer for origin in batch.origins],
                "records": [[r.kind, r.payload.decode()] for r in batch.records],
            }
            replace_file(in_flight, json.dumps(body).encode())
        records = [(record.kind, record.payload) for record in batch.records]
        self._send(records, [origin.writer for origin in batch.origins], batch.ends)
        in_flight.unlink(missing_ok=True)

    def _keep_postponed(self) -> None:
        if not self._finisher.postponed:
            return
        postponed = Postponed(self._drain.directory)
        for note in self._finisher.postponed:
            postponed.add(note)
        self._finisher.postponed.clear()
        # The events go out without; a full disk must not hold them up.
        with contextlib.suppress(OSError):
            postponed.keep()

    def _resend_in_flight(self) -> None:
        path = self._drain.directory / _IN_FLIGHT
        try:
            body = json.loads(path.read_bytes())
            ends = {str(segment): int(end) for segment, end in body["ends"].items()}
            records = [(str(kind), str(payload).encode()) for kind, payload in body["records"]]
            writers = [str(writer) for writer in body["writers"]]
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError):
            # Torn by a power loss before it was whole, hence before anything of it was sent.
            path.unlink(missing_ok=True)
            return
        acknowledged = self._drain.state.acknowledged
        if any(acknowledged.get(segment, 0) < end for segment, end in ends.items()):
            standing = set(self._drain.iter_segments())
            ends = {segment: end for segment, end in ends.items() if segment in standing}
            self._send(records, writers, ends)
        path.unlink(missing_ok=True)

    def _send(
        self, records: Sequence[tuple[str, bytes]], writers: Sequence[str], ends: dict[str, int]
    ) -> None:
        real = [index for index, (kind, _) in enumerate(records) if kind]
        outcomes = self._try_until_late([records[index] for index in real])
        blobs = []
        for index, refusal in zip(real, outcomes, strict=True):
            kind, payload = records[index]
            if refusal is not None:
                self._keep_refused(payload, refusal)
                continue
            self._report.delivered += 1
            self._note_block(kind, payload, writers[index])
            if kind == "blob":
                blobs.append(payload)
        self._drain.acknowledge(ends)
        # Not before: a record that comes again still needs its bytes.
        for payload in blobs:
            _remove_blob(payload)

    def _try_until_late(self, records: list[tuple[str, bytes]]) -> Sequence[str | None]:
        if not records:
            return []
        give_up = time.monotonic() + DELIVERY_FAILING_SECONDS_MAX
        for attempt in range(DELIVERY_ATTEMPTS_MAX):
            try:
                if self._transport is None:
                    self._transport = self._opener()
                return self._transport.deliver(records)
            except DeliveryError as error:
                ceiling = min(DELIVERY_RETRY_SECONDS_MAX, DELIVERY_RETRY_SECONDS * 2**attempt)
                pause = max(error.retry_after, ceiling * self._waiting.jitter())
                last = attempt + 1 == DELIVERY_ATTEMPTS_MAX or time.monotonic() + pause > give_up
                if last or not error.retriable or self._waiting.is_late(pause):
                    raise
                self._waiting.sleep(pause)
        raise AssertionError("the last attempt raises")

    def _note_block(self, kind: str, payload: bytes, writer: str) -> None:
        if kind in {"reservation", "end"}:
            block = json.loads(payload).get("block")
            if kind == "reservation":
                self._blocks[str(block)] = writer
            else:
                self._blocks.pop(str(block), None)

    def _end_blocks(self, gone: Iterable[str]) -> None:
        standing = {segment.split("-")[1] for segment in self._drain.iter_segments()}
        orphans = [b for b, writer in self._blocks.items() if writer not in standing]
        if not orphans and not set(gone):
            return
        ends = [
            ("end", json.dumps({"type": "end", "block": block, "clean": False}).encode())
            for block in orphans
        ]
        self._send(ends, [""] * len(ends), {})

    def _keep_refused(self, payload: bytes, reason: str) -> None:
        self._report.refused += 1
        path = self._drain.directory / _REFUSED
        if path.exists() and path.stat().st_size > REFUSED_BYTES_MAX:
            return
        line: dict[str, Any] = {"reason": reason, "record": payload.decode("utf-8", "replace")}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")


def _tell_postponed(
    directory: Path, opener: Callable[[], Transport], deadline: float | None, report: Report
) -> None:
    """Compute what was postponed, as far as there is time, and deliver it."""
    notes = list(Postponed(directory))
    if not notes:
        return
    logical = LogicalMemory(directory / "logical.json")
    finisher = Finisher(deadline=deadline, logical=logical)
    done: list[tuple[Note, bytes | None]] = []
    for note in notes:
        try:
            done.append((note, finisher.finish_postponed(note)))
        except OutOfTimeError:
            continue  # a smaller table may still fit
        except ValueError:
            done.append((note, None))
    with open_drain(directory) as drain:
        if drain is None or not done:
            # Who delivers just now keeps a memory of its own; what was computed waits for the next.
            return
        logical.keep()
        try:
            events = [("event", event) for _, event in done if event is not None]
            if events:
                _send_at_once(opener, events)
            postponed = Postponed(directory)
            for note, _ in done:
                postponed.discard(note)
            postponed.keep()
        except (LodelineError, OSError) as error:
            report.reason = str(error)


def _send_at_once(opener: Callable[[], Transport], events: list[tuple[str, bytes]]) -> None:
    with contextlib.closing(opener()) as transport:
        transport.deliver(events)


def _note_trouble(drain: Drain, reason: str) -> None:
    """Keep why the last delivery left something, apart from what waits for its first."""
    if drain.notes.get(TROUBLE, "") == reason:
        return
    drain.notes[TROUBLE] = reason
    if not reason:
        del drain.notes[TROUBLE]
    # A full disk is told by what is lost.
    with contextlib.suppress(OSError):
        drain.keep_notes()


def _random_share() -> float:
    # Only here: most deliveries need no second try.
    import random

    return random.random()  # noqa: S311  # a pause is no secret


def _remove_blob(payload: bytes) -> None:
    path = json.loads(payload).get("path")
    if isinstance(path, str):
        Path(path).unlink(missing_ok=True)


def _pending_bytes(directory: Path) -> int:
    """Bytes of records not acknowledged yet."""
    return sum(size for _, size in iter_pending(directory))


def count_refused(directory: Path) -> int:
    """How many records receivers refused for good, as far as they are kept."""
    try:
        with (directory / _REFUSED).open("rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0


def count_postponed(directory: Path) -> int:
    """How many logical digests wait for the next delivery that has time for them."""
    return len(Postponed(directory))

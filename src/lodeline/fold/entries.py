"""Log entries as the fold takes them, and the group that each belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lodeline.fold.relations import GroupKey
from lodeline.limits import FUTURE_TOLERANCE_US
from lodeline.wire import DatasetEvent, Event, JobEvent, RunEvent


@dataclass(frozen=True, slots=True)
class Entry:
    """One event at its place in the log.

    Attributes:
        position: 0-based place in the log.
        log_time_us: when the log took it.
        event: decoded.
        digest: SHA-256 of the event's canonical bytes.
    """

    position: int
    log_time_us: int
    event: Event
    digest: bytes

    @property
    def order(self) -> tuple[int, bytes]:
        """The order of statements: event time, ties by content digest; never the position."""
        return (self.event.event_time_us, self.digest)

    @property
    def future(self) -> bool:
        """Whether the event is dated beyond the log's clock and the tolerance for skew."""
        return self.event.event_time_us > self.log_time_us + FUTURE_TOLERANCE_US


def group_key(entry: Entry) -> GroupKey:
    """Tell the group that an entry belongs to.

    RunEvents merge per (run, job), so halves of different runs never join, nor do two jobs under
    one run id. A JobEvent or DatasetEvent is a group of its own.
    """
    event = entry.event
    if isinstance(event, RunEvent):
        job = event.job
        return GroupKey("run", event.run.run_id, job.namespace, job.name, entry.future, b"")
    if isinstance(event, JobEvent):
        job = event.job
        return GroupKey("job", "", job.namespace, job.name, entry.future, entry.digest)
    assert isinstance(event, DatasetEvent)
    dataset = event.dataset
    return GroupKey("dataset", "", dataset.namespace, dataset.name, entry.future, entry.digest)


def distinct(entries: Iterable[Entry]) -> list[Entry]:
    """Keep the first entry of each content, in log order: a duplicate is folded once."""
    found: dict[bytes, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.position):
        found.setdefault(entry.digest, entry)
    return list(found.values())


def known_at(
    entries: Sequence[Entry], *, as_of: int | None = None, valid_at: int | None = None
) -> list[Entry]:
    """Keep what was in the log below `as_of` entries and had happened at `valid_at`."""
    return [
        entry
        for entry in entries
        if (as_of is None or entry.position < as_of)
        and (valid_at is None or entry.event.event_time_us <= valid_at)
    ]

"""Delivery that waits: a short run's end does not load a database that nobody asks just then.

The end of `lodeline run` delivers and folds, so that the log has the run from then on. Who would
rather not pay for that at once, and asks `later` (`LODELINE_DELIVERY`), has a short run leave its
records to whoever comes next: they are durable, and every command that opens the store takes the
spool in first, a server within a second.
Digests do not wait: files are overwritten. They are computed at the end as ever, and the records
are spooled as they will be delivered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lodeline.limits import (
    DELIVERY_WAITING_BYTES_MAX,
    DELIVERY_WAITING_CPU_SECONDS_MAX,
    DELIVERY_WAITING_SECONDS_MAX,
)
from lodeline.settings import find_setting, store_path
from lodeline.spool import iter_pending, open_drain, spool_directory, written_at_us
from lodeline.spool.state import read_state
from lodeline.transport.digests import DigestMemory
from lodeline.transport.finalising import Finisher
from lodeline.transport.logical import LogicalMemory
from lodeline.transport.postponed import POSTPONED

# The drain's note of why the last delivery left something.
TROUBLE: Final = "trouble"


def is_local(receiver: str, directory: Path) -> bool:
    """Whether who opens the receiver takes in this spool: a store in a file beside it."""
    if not receiver.startswith("sqlite:") or spool_directory(receiver) != directory:
        return False
    return find_setting("deliver") in {None, receiver}


def may_wait(
    receiver: str, directory: Path, *, writer: str, started_us: int, cpu_seconds: float
) -> bool:
    """Whether what a run spooled may wait for whoever opens the store next.

    Only where somebody asked for that. Not where there is no store yet: who looks for one, finds it
    by its file. Not where others wrote into the spool meanwhile, such as the program itself: what
    they leave open is finished by a delivery alone.

    Args:
        receiver: URL.
        directory: of the spool.
        writer: of the run's own segments.
        started_us: when the run began.
        cpu_seconds: that the run took.
    """
    if find_setting("delivery") != "later" or cpu_seconds > DELIVERY_WAITING_CPU_SECONDS_MAX:
        return False
    if not is_local(receiver, directory) or not store_path(receiver).is_file():
        return False
    total, oldest = 0, started_us
    for segment, size in iter_pending(directory):
        begun = written_at_us(segment)
        if begun >= started_us and writer not in segment:
            return False
        total, oldest = total + size, min(oldest, begun)
    since = time.time() - oldest / 1_000_000
    return total <= DELIVERY_WAITING_BYTES_MAX and since <= DELIVERY_WAITING_SECONDS_MAX


def is_backlog(receiver: str, directory: Path, pending_bytes: int) -> bool:
    """Whether what waits in a spool is more than short runs leave to the next question."""
    if not pending_bytes:
        return False
    if read_state(directory).notes.get(TROUBLE):
        return True
    return pending_bytes > DELIVERY_WAITING_BYTES_MAX or not is_local(receiver, directory)


class FinishedAtOnce:
    """Finishes the events of a run that is over, so that they may wait.

    Args:
        directory: of the spool.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._digests = DigestMemory(directory / "digests.json")
        # Logical digests are postponed, but for those that an earlier delivery computed.
        self._finisher = Finisher(
            memory=self._digests,
            logical=LogicalMemory(directory / "logical.json"),
            logical_seconds=0.0,
        )

    def iter_records(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Finish one event.

        Yields:
            The records to spool: what of it is postponed, and the event.
        """
        # A draft goes on with what it put into the event.
        text = json.dumps(event, ensure_ascii=False)
        event = json.loads(text.encode("utf-8", "backslashreplace"))
        self._finisher.finish_event(event)
        for note in self._finisher.postponed:
            yield {"type": POSTPONED, "note": note}
        self._finisher.postponed.clear()
        yield {"type": "event", "event": event}

    def keep(self) -> None:
        """Keep the digests of large files, unless somebody delivers just now, and keeps theirs."""
        if not self._digests.is_changed:
            return
        with open_drain(self._directory) as drain:
            if drain is not None:
                self._digests.keep()

"""One export under way: from which size to which, for whom, and what it had to leave out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from lodeline.errors import UsageError
from lodeline.query.asking import Inquiry
from lodeline.query.moments import find_moment
from lodeline.query.permission import OPEN, Authoriser
from lodeline.store import Segment

_NO_DAY: Final = "1970-01-01"


@dataclass
class LeftOut:
    """What an export does not hold.

    Attributes:
        events: whose payloads were erased.
        values: that were erased; null in the export.
        locked: whose keys are not here; null in the export.
        hidden: nodes and edges that the reader may not see.
        blocks: of row links that are not here, or not as they were written.
    """

    events: int = 0
    values: int = 0
    locked: int = 0
    hidden: int = 0
    blocks: int = 0

    def notes(self) -> list[str]:
        """Tell it to people."""
        said = [
            (self.events, "events left out: their payloads were erased"),
            (self.values, "values are null: they were erased"),
            (self.locked, "values are null: their keys are not here"),
            (self.hidden, "nodes and edges left out: the reader may not see them"),
            (self.blocks, "blocks of row links left out: not here, or not as they were written"),
        ]
        return [f"{count} {what}" for count, what in said if count]


@dataclass
class Exporting:
    """What every format works with.

    Attributes:
        segment: exported; folded by the caller.
        since: leave out what the log held when it had so many entries.
        size: entries of the log that the export covers; the next one's `since`.
        authoriser: the reader's.
        left_out: filled while the export is written.
    """

    segment: Segment
    since: int
    size: int
    authoriser: Authoriser = OPEN
    left_out: LeftOut = field(default_factory=LeftOut)

    @contextmanager
    def inquiring(self) -> Iterator[Inquiry]:
        """Open a snapshot of the graph as of `size`."""
        with self.segment.reading() as connection:
            moment = find_moment(self.segment, connection, as_of=self.size, valid_at=None)
            yield Inquiry(self.segment, connection, moment, self.authoriser)


def begin_export(segment: Segment, *, since: int = 0, authoriser: Authoriser = OPEN) -> Exporting:
    """Begin an export of what is folded.

    Raises:
        UsageError: `since` is negative, or the log has not come that far.
    """
    with segment.reading() as connection:
        rows = connection.execute("SELECT folded_to FROM fold_state").fetchall()
    size = int(rows[0][0]) if rows else 0
    if since < 0:
        raise UsageError(f"--since {since}: a size is 0 or more")
    if since > size:
        raise UsageError(f"--since {since}: the log has {size} entries")
    return Exporting(segment, since, size, authoriser)


def day_of(time_us: int) -> str:
    """Give the day of a time, by which archives are partitioned.

    No calendar of Python's goes beyond year 9999; the day is the first of 1970 there.
    """
    try:
        return datetime.fromtimestamp(time_us // 1_000_000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return _NO_DAY

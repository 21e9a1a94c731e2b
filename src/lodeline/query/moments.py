"""The two times of a question: what was known (a log position), and what was true (event time)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from lodeline.errors import NotYetFoldedError, UsageError
from lodeline.model import format_time, parse_time
from lodeline.store import Segment
from lodeline.store.connections import Connection


class AnswerMoment(Protocol):
    """Where in one log, or in several, an answer stands."""

    @property
    def size(self) -> Any:
        """What a cursor is bound to."""

    def to_json(self) -> dict[str, Any]:
        """Give `as_of` of the contract."""

    def trees_json(self) -> list[dict[str, Any]]:
        """Give `trees` of the contract."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A position in one segment's log, and perhaps an event time.

    Attributes:
        segment: opaque id of the segment.
        origin: the log's name.
        size: entries known; positions 0 … size-1.
        time_us: log time of the last of them; `None` when there is none.
        root_hash: of the tree of that size.
        valid_us: only events up to this event time; `None` for all.
        newest: whether `size` is all that the view holds.
        folded_to: what the view holds.
        epoch: of the view's numbers.
    """

    segment: str
    origin: str
    size: int
    time_us: int | None
    root_hash: bytes
    valid_us: int | None
    newest: bool
    folded_to: int
    epoch: int

    def to_json(self) -> dict[str, Any]:
        """Give `as_of` of the contract."""
        time = None if self.time_us is None else format_time(self.time_us)
        body: dict[str, Any] = {"time": time, "tree_size": self.size}
        if self.valid_us is not None:
            body["valid_at"] = format_time(self.valid_us)
        return body

    def trees_json(self) -> list[dict[str, Any]]:
        """Give `trees` of the contract: the one tree head this was computed at."""
        return [
            {
                "segment": self.segment,
                "origin": self.origin,
                "size": self.size,
                "root_hash": self.root_hash.hex(),
            }
        ]


def read_as_of(text: str | int) -> tuple[int | None, int | None]:
    """Read a position: (tree size, None) or (None, microseconds).

    Raises:
        UsageError: neither a number of entries nor a time.
    """
    if isinstance(text, int) or re.fullmatch(r"\d{1,18}", text):
        size = int(text)
        if size < 0:
            raise UsageError(f"as_of: a tree size is not negative: {size}")
        return size, None
    return None, read_moment(text, name="as_of")


def read_moment(text: str, *, name: str) -> int:
    """Read a time as microseconds; a bare day means its first moment.

    Raises:
        UsageError: not a time.
    """
    day = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    try:
        return parse_time(f"{text}T00:00:00Z" if day else text)[0]
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def find_moment(
    segment: Segment,
    connection: Connection,
    *,
    as_of: str | int | None,
    valid_at: str | None,
) -> Moment:
    """Find the position and event time that a question means.

    Args:
        segment: whose log is meant.
        connection: the snapshot that the question reads.
        as_of: a tree size, a time (the last checkpoint at or before it), or `None` for all that
            the view holds.
        valid_at: an event time, or `None` for no bound.

    Raises:
        UsageError: neither a size nor a time, or a size beyond the log.
        NotYetFoldedError: the log holds the position, the view does not yet.
    """
    # With the time of the newest entry, which most questions are about.
    state = connection.execute(
        "SELECT folded_to, epoch, (SELECT log_time FROM entry WHERE position = folded_to - 1)"
        " FROM fold_state"
    ).fetchone()
    folded_to, epoch, time_us = state or (0, 0, None)
    size = folded_to if as_of is None else _size_of(segment, as_of)
    if size > folded_to:
        if size > segment.size():
            raise UsageError(f"as_of: the log has {segment.size()} entries, not {size}")
        raise NotYetFoldedError(size, folded_to)
    if size != folded_to:
        times = connection.execute("SELECT log_time FROM entry WHERE position = ?", (size - 1,))
        (time_us,) = times.fetchone() or (None,)
    return Moment(
        segment=segment.segment_id,
        origin=segment.origin,
        size=size,
        time_us=time_us,
        root_hash=segment.root_at(size),
        valid_us=None if valid_at is None else read_moment(valid_at, name="valid_at"),
        newest=size == folded_to,
        folded_to=folded_to,
        epoch=epoch,
    )


def _size_of(segment: Segment, as_of: str | int) -> int:
    size, time_us = read_as_of(as_of)
    if time_us is None:
        assert size is not None
        return size
    checkpoint = segment.checkpoint_at(time_us)
    return 0 if checkpoint is None else checkpoint.size

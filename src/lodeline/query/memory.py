"""What questions leave for the next: names of nodes, and what was found at the newest moment.

- A committed row of `node` never changes as long as the view's numbers hold (`fold_state.epoch`). A
  rebuilt view numbers anew; a store that was put back to an earlier position may, too, and what was
  known is forgotten then.
- Whatever else the view holds changes only together with `fold_state.folded_to`: until then, what
  one question found of groups, assertions and currency at the newest moment holds for all.
  Questions about other moments begin with nothing.
- Of who may see everything, whole pages of closures are kept beside, as the JSON that was sent:
  `KeptPages`. Each is of one moment, whose time and root hash it names, and is told at no other.

Threads share what is kept: each entry is put in whole, and is the same whoever puts it in. Nothing
here hangs on who asks, and no personal value gets here.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lodeline.limits import ANSWERS_KEPT_BYTES_MAX, MOMENT_FACTS_KEPT_MAX, NODE_NAMES_KEPT_MAX
from lodeline.model import NodeId
from lodeline.query.moments import Moment
from lodeline.store import Segment

if TYPE_CHECKING:
    from lodeline.query.answers import Description
    from lodeline.query.describing import Told
    from lodeline.query.groups import Group, Said


class KeptPages:
    """Pages of closures as they were written, within a bound of bytes; the oldest goes first."""

    def __init__(self) -> None:
        self._pages: dict[Hashable, tuple[dict[str, Any], int]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> dict[str, Any] | None:
        """Give a page that the caller may add members to."""
        known = self._pages.get(key)
        return None if known is None else {**known[0]}

    def keep(self, key: Hashable, page: dict[str, Any], size: int) -> None:
        """Keep a page.

        Args:
            key: all that the page depends on.
            page: whose members nobody changes.
            size: its bytes, about.
        """
        if size > ANSWERS_KEPT_BYTES_MAX:
            return
        with self._lock:
            if key in self._pages:
                return
            self._pages[key] = ({**page}, size)
            self._bytes += size
            while self._bytes > ANSWERS_KEPT_BYTES_MAX:
                self._bytes -= self._pages.pop(next(iter(self._pages)))[1]

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes


@dataclass(slots=True, eq=False)
class Memory:
    """What is known at one moment; whoever finds more adds it.

    Attributes:
        names: of nodes by number.
        groups: by number.
        said: by derivation, what is asserted of it.
        entries: by group, the positions of its events.
        newest_ends: by job, when its last completed run ended.
        oldest_runs: by job, when its oldest run was last heard of.
        told: by all rows of a derivation, what they contribute to an edge.
        alone: the same where one row tells all, by job, group, basis and detail.
        described: what such a contribution reads like.
        pages: of closures, as they were written.
    """

    names: dict[int, NodeId]
    groups: dict[int, Group] = field(default_factory=dict)
    said: dict[int, list[Said]] = field(default_factory=dict)
    entries: dict[int, list[int]] = field(default_factory=dict)
    newest_ends: dict[int, int] = field(default_factory=dict)
    oldest_runs: dict[int, int] = field(default_factory=dict)
    told: dict[tuple[int, ...], Told] = field(default_factory=dict)
    alone: dict[tuple[int | None, int, str, int | None], Told] = field(default_factory=dict)
    described: dict[Told, Description] = field(default_factory=dict)
    pages: KeptPages = field(default_factory=KeptPages)

    def is_full(self) -> bool:
        """Whether it is time to begin anew."""
        facts = (self.groups, self.said, self.newest_ends, self.told, self.described)
        return sum(len(some) for some in facts) > MOMENT_FACTS_KEPT_MAX


class _Kept:
    """What this process knows of one segment, and of which state of its view that is."""

    def __init__(self) -> None:
        self.names: dict[int, NodeId] = {}
        self.epoch = -1
        self.folded_to = 0
        self.newest: Memory | None = None

    def at(self, moment: Moment) -> Memory:
        if self.epoch != moment.epoch or self.folded_to > moment.folded_to:
            self.names, self.newest = {}, None
        elif self.folded_to != moment.folded_to:
            self.newest = None
        if len(self.names) > NODE_NAMES_KEPT_MAX:
            # Another one, not emptied: questions under way go on with theirs.
            self.names, self.newest = {}, None
        self.epoch, self.folded_to = moment.epoch, moment.folded_to
        if not moment.newest or moment.valid_us is not None:
            return Memory(self.names)
        if self.newest is None or self.newest.is_full():
            self.newest = Memory(self.names)
        return self.newest


_KEPT: WeakKeyDictionary[Segment, _Kept] = WeakKeyDictionary()
_LOCK = threading.Lock()


def memory_at(segment: Segment, moment: Moment) -> Memory:
    """Give what this process knows of a segment at a moment."""
    with _LOCK:
        kept = _KEPT.get(segment)
        if kept is None:
            kept = _KEPT[segment] = _Kept()
        return kept.at(moment)

"""One group while it is being folded: event by event, into rectangles.

The common case, an event later than all others of its group, changes what holds from its time on
and nothing before. An event that arrives out of order may change the past: then the group's whole
course over event time is computed before and after, and the difference is written.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from lodeline.fold import statements
from lodeline.fold.contributions import Facets, Name, Progress, overwrite, writes_of
from lodeline.fold.relations import GroupKey, RunState
from lodeline.ingest.contents import Content, Contents, UsesState
from lodeline.ingest.rectangles import Fact, Interval, RectangleWriter, Row
from lodeline.store.connections import Connection

RunFacets = dict[str, msgspec.Raw]


class GroupEvent(NamedTuple):
    """An event of a group. `order` is that of `fold.Entry`."""

    order: tuple[int, bytes]
    kind: str
    content: Content
    run_facets: RunFacets
    run_lineage: bytes


class _Course:
    """A group's merged state after some of its events, in order."""

    __slots__ = ("begins", "ends", "output_times", "progress", "run_facets", "run_facts", "uses")

    def __init__(self, root: UsesState) -> None:
        self.uses = root
        self.progress = Progress()
        self.run_facets: Facets = {}
        self.output_times: dict[Name, int] = {}
        self.run_facts: set[Fact] = set()
        self.ends = False
        self.begins: Fact | None = None

    def add(self, event: GroupEvent, contents: Contents) -> None:
        """Take in the next event in order; `ends` and `begins` tell what it did to the uses."""
        content = event.content
        self.uses, self.ends, self.begins = self.uses.after(
            content, event.run_lineage, contents.interning
        )
        time_us = event.order[0]
        self.progress.add(time_us, event.kind)
        if event.run_facets:
            overwrite(self.run_facets, event.run_facets, statements.RUN_FACETS)
        for name in content.outputs:
            self.output_times[name] = time_us


class Group:
    """One group of the view.

    Attributes:
        group_id: of `run_group`.
        key: of the fold.
        job_node: number of the job; None for a DatasetEvent.
        state: how the group stands; None before its first event.
    """

    __slots__ = ("_course", "_events", "_open", "group_id", "job_node", "key", "state")

    def __init__(self, group_id: int, key: GroupKey, job_node: int | None) -> None:
        self.group_id = group_id
        self.key = key
        self.job_node = job_node
        self.state: RunState | None = None
        self._events: list[GroupEvent] = []
        self._course: _Course | None = None
        # Facts that hold at the end of event time: since when, their row, its batch.
        self._open: dict[Fact, tuple[int, Row | None, int]] = {}

    @property
    def uses(self) -> UsesState | None:
        """The merged uses after the last event."""
        return self._course.uses if self._course is not None else None

    def load(
        self,
        events: Iterable[GroupEvent],
        contents: Contents,
        uses: Iterable[tuple[int, int]],
    ) -> None:
        """Take up a group that the view already holds.

        Args:
            events: all of it.
            contents: where theirs are.
            uses: sets that it holds at the end of event time, and since when.
        """
        self._events = sorted(events, key=lambda event: event.order)
        self._open = {
            fact: (valid_from, None, -1)
            for fact, valid_from, valid_to in self._intervals(contents)
            if valid_to is None and fact[0] != "group_uses"
        }
        # As they were written: events of one time may have come in several batches, and sets.
        self._open |= {("group_uses", one): (valid_from, None, -1) for one, valid_from in uses}

    def add(
        self,
        event: GroupEvent,
        position: int,
        contents: Contents,
        rectangles: RectangleWriter,
        connection: Connection,
    ) -> None:
        """Fold one event in."""
        if self._events and event.order < self._events[-1].order:
            self._rewrite(event, position, contents, rectangles, connection)
            return
        course = self._course
        if course is None:
            course = self._course = _Course(contents.root(self.key))
        self._events.append(event)
        course.add(event, contents)
        before, after = course.run_facts, self._run_facts(course, contents)
        course.run_facts = after
        time_us = event.order[0]
        group_id, job_node, known = self.group_id, self.job_node, self._open
        batch = rectangles.batch
        gone, new = before - after, after - before
        if course.ends:
            gone.update(fact for fact in known if fact[0] == "group_uses")
        if course.begins is not None:
            # What is left may be a set that is held already.
            if course.begins in gone:
                gone.remove(course.begins)
            else:
                new.add(course.begins)
        for fact in gone:
            valid_from, row, row_batch = known.pop(fact)
            if row is not None and row_batch == batch:
                rectangles.end_pending(row, position)
            else:
                rectangles.end(fact, group_id, position, valid_from)
            if valid_from < time_us:
                rectangles.begin(fact, group_id, job_node, position, valid_from, time_us)
        for fact in new:
            row = rectangles.begin(fact, group_id, job_node, position, time_us, None)
            known[fact] = (time_us, row, batch)

    def _rewrite(
        self,
        event: GroupEvent,
        position: int,
        contents: Contents,
        rectangles: RectangleWriter,
        connection: Connection,
    ) -> None:
        """Fold an event into the group's past."""
        # Rows of this batch may be ended too, and are found as rows, not in memory.
        rectangles.flush(connection)
        before = {one for one in self._intervals(contents) if one[0][0] != "group_uses"}
        before |= self._written_uses(connection)
        insort(self._events, event, key=lambda one: one.order)
        after = set(self._intervals(contents))
        for fact, valid_from, _ in before - after:
            rectangles.end(fact, self.group_id, position, valid_from)
        for fact, valid_from, valid_to in after - before:
            rectangles.begin(fact, self.group_id, self.job_node, position, valid_from, valid_to)
        rectangles.flush(connection)
        self._open = {
            fact: (valid_from, None, -1) for fact, valid_from, valid_to in after if valid_to is None
        }

    def _written_uses(self, connection: Connection) -> set[Interval]:
        """Read the sets that the group holds: events of one time may have begun several."""
        rows = connection.execute(
            "SELECT uses_id, valid_from, valid_to FROM group_uses "
            "WHERE group_id = ? AND position_to IS NULL",
            (self.group_id,),
        ).fetchall()
        return {(("group_uses", uses), begin, end) for uses, begin, end in rows}

    def _intervals(self, contents: Contents) -> list[Interval]:
        """Compute the whole course over event time; the last state becomes the current one."""
        course = _Course(contents.root(self.key))
        since: dict[Fact, int] = {}
        found: list[Interval] = []
        events, uses, held = self._events, course.uses, set[Fact]()
        for i, event in enumerate(events):
            time_us = event.order[0]
            course.add(event, contents)
            if i + 1 < len(events) and events[i + 1].order[0] == time_us:
                continue
            course.run_facts = self._run_facts(course, contents)
            uses, ends, begins = uses.change_to(course.uses, contents.interning)
            if ends:
                held.clear()
            if begins is not None:
                held.add(begins)
            facts = held | course.run_facts
            ended = [fact for fact in since if fact not in facts]
            found += [(fact, since.pop(fact), time_us) for fact in ended]
            for fact in facts:
                since.setdefault(fact, time_us)
        found += [(fact, valid_from, None) for fact, valid_from in since.items()]
        self._course = course
        return found

    def _run_facts(self, course: _Course, contents: Contents) -> set[Fact]:
        """List the facts that depend on the run and its times."""
        uses = course.uses
        code = uses.code
        facts: set[Fact] = set(uses.gaps)
        if course.run_facets:
            run_facts, run_code = contents.run_facts(course.run_facets, self.key)
            facts |= run_facts
            code = run_code or code
        state = self.state = course.progress.run_state(code)
        facts.add(("run_state", *state))
        for write in writes_of(self.key, uses.made, state, course.output_times):
            facts.add(("write", *write))
        return facts

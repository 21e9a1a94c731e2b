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
from lodeline.fold.contributions import (
    TERMINAL,
    Facets,
    Name,
    overwrite,
    read_run,
    run_state,
    writes_of,
)
from lodeline.fold.relations import GroupKey, RunState
from lodeline.ingest.contents import Content, Contents, UsesState
from lodeline.ingest.rectangles import Fact, Interval, RectangleWriter
from lodeline.model import NodeId

RunFacets = dict[str, msgspec.Raw]


class GroupEvent(NamedTuple):
    """An event of a group; compares in the order of statements."""

    time_us: int
    digest: bytes
    kind: str
    content: Content
    run_facets: RunFacets
    run_lineage: bytes

    @property
    def order(self) -> tuple[int, bytes]:
        """As `fold.Entry.order`."""
        return (self.time_us, self.digest)


class _Course:
    """A group's merged state after some of its events, in order."""

    __slots__ = ("events", "gone", "new", "output_times", "run_facets", "run_facts", "uses")

    def __init__(self, root: UsesState) -> None:
        self.uses = root
        # As few events as tell the run's state: first, last, least START, last end, a RUNNING.
        self.events: list[tuple[int, str]] = []
        self.run_facets: Facets = {}
        self.output_times: dict[Name, int] = {}
        self.run_facts: set[Fact] = set()
        self.gone: set[Fact] = set()
        self.new: set[Fact] = set()

    def add(self, event: GroupEvent, contents: Contents) -> None:
        """Take in the next event in order; `gone` and `new` tell what it changed."""
        self.uses, gone, new = self.uses.after(event.content, event.run_lineage, contents.interning)
        self._add_time(event.time_us, event.kind)
        if event.run_facets:
            overwrite(self.run_facets, event.run_facets, statements.RUN_FACETS)
        for name in event.content.outputs:
            self.output_times[name] = event.time_us
        self.gone, self.new = gone, new

    def _add_time(self, time_us: int, kind: str) -> None:
        events = self.events
        events.append((time_us, kind))
        if len(events) > 6:
            ends = [one for one in events if one[1] in TERMINAL]
            kept = [events[0], events[-1], *ends[-1:]]
            kept += [one for one in events if one[1] == "START"][:1]
            kept += [one for one in events if one[1] == "RUNNING"][:1]
            # The order of equal times is that of the list, so it is filtered, not rebuilt.
            wanted = {id(one) for one in kept}
            self.events = [one for one in events if id(one) in wanted]


class Group:
    """One group of the view.

    Attributes:
        group_id: of `run_group`.
        key: of the fold.
        job_node: number of the job; None for a DatasetEvent.
        state: how the group stands.
        uses: merged uses.
    """

    __slots__ = ("_course", "_events", "_open", "group_id", "job_node", "key", "state")

    def __init__(self, group_id: int, key: GroupKey, job_node: int | None) -> None:
        self.group_id = group_id
        self.key = key
        self.job_node = job_node
        self._events: list[GroupEvent] = []
        self._course: _Course | None = None
        # Facts that hold at the end of event time, and since when.
        self._open: dict[Fact, int] = {}
        self.state: RunState | None = None

    @property
    def uses(self) -> UsesState | None:
        """The merged uses after the last event."""
        return self._course.uses if self._course is not None else None

    def load(self, events: Iterable[GroupEvent], contents: Contents) -> None:
        """Take up a group that the view already holds."""
        self._events = sorted(events, key=lambda event: event.order)
        self._open = {}
        self._course = _Course(contents.root(self.key))
        for fact, valid_from, valid_to in self._intervals(contents):
            if valid_to is None:
                self._open[fact] = valid_from

    def add(
        self,
        event: GroupEvent,
        position: int,
        contents: Contents,
        rectangles: RectangleWriter,
    ) -> None:
        """Fold one event in."""
        if self._events and event.order < self._events[-1].order:
            self._rewrite(event, position, contents, rectangles)
            return
        course = self._course
        if course is None:
            course = self._course = _Course(contents.root(self.key))
        self._events.append(event)
        course.add(event, contents)
        before, after = course.run_facts, self._run_facts(course, contents)
        course.run_facts = after
        time_us = event.time_us
        for gone in (course.gone, before - after):
            for fact in gone:
                valid_from = self._open.pop(fact)
                rectangles.end(fact, self.group_id, position=position, valid_from=valid_from)
                if valid_from < time_us:
                    self._begin(rectangles, (fact, valid_from, time_us), position)
        for new in (course.new, after - before):
            for fact in new:
                self._open[fact] = time_us
                self._begin(rectangles, (fact, time_us, None), position)

    def _rewrite(
        self,
        event: GroupEvent,
        position: int,
        contents: Contents,
        rectangles: RectangleWriter,
    ) -> None:
        """Fold an event into the group's past."""
        before = set(self._intervals(contents))
        insort(self._events, event, key=lambda one: one.order)
        after = set(self._intervals(contents))
        for fact, valid_from, _ in before - after:
            rectangles.end(fact, self.group_id, position=position, valid_from=valid_from)
        for interval in after - before:
            self._begin(rectangles, interval, position)
        self._open = {fact: valid_from for fact, valid_from, valid_to in after if valid_to is None}

    def _begin(self, rectangles: RectangleWriter, interval: Interval, position: int) -> None:
        fact, valid_from, valid_to = interval
        rectangles.begin(
            fact,
            self.group_id,
            self.job_node,
            position=position,
            valid_from=valid_from,
            valid_to=valid_to,
        )

    def _intervals(self, contents: Contents) -> list[Interval]:
        """Compute the whole course over event time; the last state becomes the current one."""
        course = _Course(contents.root(self.key))
        since: dict[Fact, int] = {}
        found: list[Interval] = []
        events = self._events
        for i, event in enumerate(events):
            course.add(event, contents)
            if i + 1 < len(events) and events[i + 1].time_us == event.time_us:
                continue
            course.run_facts = self._run_facts(course, contents)
            facts = course.uses.facts | course.run_facts
            ended = [fact for fact in since if fact not in facts]
            found += [(fact, since.pop(fact), event.time_us) for fact in ended]
            for fact in facts:
                since.setdefault(fact, event.time_us)
        found += [(fact, valid_from, None) for fact, valid_from in since.items()]
        self._course = course
        return found

    def _run_facts(self, course: _Course, contents: Contents) -> set[Fact]:
        """List the facts that depend on the run and its times."""
        node = contents.interning.node
        key = self.key
        code = course.uses.code
        facts: set[Fact] = set(course.uses.gaps)
        if course.run_facets:
            job = NodeId("job", key.namespace, key.name)
            run = read_run(course.run_facets, at=str(job))
            code = run.code or code
            facts |= {("capture_gap", gap.at, gap.reason, gap.detail) for gap in run.gaps}
            facts |= {("parent", one.run_id, node(one.job)) for one in run.parents}
        state = self.state = run_state(course.events, code=code)
        facts.add(
            (
                "run_state",
                state.state,
                int(state.completed),
                state.first_us,
                state.start_us,
                state.end_us,
                state.last_us,
                state.code,
            )
        )
        for write in writes_of(key, course.uses.made, state, course.output_times):
            facts.add(("write", node(write.node), write.version, write.time_us))
        return facts

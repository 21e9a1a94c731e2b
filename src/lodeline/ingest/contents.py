"""What events say apart from run and time, read once and kept.

Real jobs send the same job, inputs and outputs run after run. The stored payload is canonical, so
equal members are equal bytes: they are sliced off unparsed and looked up; only a content not seen
before is decoded and read, by the fold's own functions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from lodeline.fold.contributions import (
    Facets,
    Uses,
    UsesReading,
    event_type,
    output_names,
    read_run,
    read_uses,
)
from lodeline.fold.derivations import assertions_of
from lodeline.fold.registers import mentions
from lodeline.fold.relations import BASIS_RANK, GroupKey
from lodeline.fold.statements import facet_digest, plain
from lodeline.ingest.interning import Interning
from lodeline.ingest.rectangles import Fact
from lodeline.ingest.stitching import JOB_NAMESPACE, MARK
from lodeline.limits import CONTENTS_CACHED_MAX, PART_BYTES_MAX
from lodeline.model import NodeId
from lodeline.store.search_tables import SEARCHED_FACETS
from lodeline.wire import DatasetEvent, Event, JobEvent, Run, RunEvent, decode_stored

_NEVER = 1 << 62


class Content:
    """What one distinct content of an event says by itself.

    Attributes:
        kind: of the group, `run`, `job` or `dataset`.
        marked: whether it may say something of the bytes of files (`stitching.MARK`).
        job_node: number of the job; None for a DatasetEvent.
        subject: namespace and name of the job, or of a DatasetEvent's dataset.
        event: an event with this content; its run and time mean nothing here.
        mentions: (node, facet set) of nodes with facets.
        described: whether any of those facets is searched.
        sighted: nodes that it names.
        sighted_us: least event time at which all of `sighted` were sighted.
        aliases: (node, other or None).
        endings: nodes ended.
        versions: (node identifier, version) of models and deployments, in order.
        outputs: names of outputs.
    """

    __slots__ = (
        "aliases",
        "described",
        "endings",
        "event",
        "job_node",
        "kind",
        "marked",
        "mentions",
        "outputs",
        "sighted",
        "sighted_us",
        "subject",
        "versions",
    )

    def __init__(self, event: Event, interning: Interning, *, marked: bool) -> None:
        stated = mentions(event)
        node = interning.node
        if isinstance(event, RunEvent):
            event = msgspec.structs.replace(event, run=Run(run_id=event.run.run_id))
        subject = event.dataset if isinstance(event, DatasetEvent) else event.job
        self.subject = (subject.namespace, subject.name)
        self.job_node = None if isinstance(event, DatasetEvent) else node(_job_of(event))
        self.kind = event_type(event).lower() if not isinstance(event, RunEvent) else "run"
        self.event = event
        self.marked = marked or self.subject[0] == JOB_NAMESPACE
        self.mentions = [
            (node(one), interning.facet_set(_facet_set(facets)))
            for one, facets in stated.facets.items()
            if facets
        ]
        self.described = any(
            not SEARCHED_FACETS.isdisjoint(facets) for facets in stated.facets.values()
        )
        self.sighted = {node(one) for one in stated.names}
        self.sighted.update(interning.column(*column) for column in stated.columns)
        self.sighted_us = _NEVER
        self.aliases = [
            (node(one), None if other is None else node(other)) for one, other in stated.aliases
        ]
        self.endings = sorted({node(one) for one in stated.endings})
        self.versions = stated.versions
        self.outputs = output_names(event)


def _job_of(event: RunEvent | JobEvent) -> NodeId:
    return NodeId("job", event.job.namespace, event.job.name)


def _facet_set(facets: dict[str, bytes]) -> str:
    stated = tuple(sorted(facets.items()))
    small = sum(map(len, facets.values())) <= PART_BYTES_MAX
    return _remembered_facet_set(stated) if small else _facet_set_of(stated)


def _facet_set_of(facets: tuple[tuple[str, bytes], ...]) -> str:
    return plain([[name, facet_digest(raw)] for name, raw in facets])


# Many datasets carry the same facets: those of one schema, say.
_remembered_facet_set = lru_cache(maxsize=CONTENTS_CACHED_MAX)(_facet_set_of)


class UsesState:
    """A group's merged uses, what follows from them, and where further contents lead.

    Attributes:
        facts: rectangle facts that follow from the uses.
        basis: rank of the basis per derivation asserted.
        made: outputs written, their names, and the versions stated.
        code: version of the job's source, where its location states one.
        gaps: of facets that cannot be read.
    """

    __slots__ = (
        "_next",
        "basis",
        "code",
        "facts",
        "gaps",
        "made",
        "uses",
    )

    def __init__(self, uses: Uses, interning: Interning) -> None:
        self.uses = uses
        self._next: dict[tuple[int, bytes], _Step] = {}
        reading = _NOTHING
        if uses.inputs or uses.outputs or uses.job_facets or uses.run_lineage:
            reading = read_uses(uses, derive_assertions=_assertions_of)
        node = interning.node
        facts: set[Fact] = set()
        self.basis: dict[int, int] = {}
        for one in reading.assertions:
            number = interning.derivation(one.source, one.target, one.kind, one.job)
            facts.add(("assertion", number, one.basis, interning.detail(one.detail)))
            self.basis[number] = BASIS_RANK[one.basis]
        for read in reading.reads:
            facts.add(("read", node(read.node), read.version))
        for column in reading.features:
            facts.add(("feature", node(column.feature), node(column.field), column.version))
        self.facts = frozenset(facts)
        self.made = [(node(one), name, version) for one, name, version in reading.made]
        self.code = reading.code
        self.gaps = frozenset(("capture_gap", g.at, g.reason, g.detail) for g in reading.gaps)

    def after(self, content: Content, run_lineage: bytes, interning: Interning) -> Change:
        """Give the state after one more event, and how it comes about."""
        key = (id(content), run_lineage)
        known = self._next.get(key)
        if known is None:
            uses = self.uses.copy()
            uses.add(content.event)
            if run_lineage:
                uses.add_run_lineage({"lineage": msgspec.Raw(run_lineage)})
            state = self if uses == self.uses else UsesState(uses, interning)
            # The content is kept beside the state: its identity is the key while it lives.
            known = self._next[key] = (content, self.change_to(state, interning))
        return known[1]

    def change_to(self, state: UsesState, interning: Interning) -> Change:
        """Tell how this state becomes another."""
        if not self.facts <= state.facts:
            # Sets are what is interned: where a fact ends, all begin anew, together.
            return Change(state, True, state.fact(state.facts, interning))
        return Change(state, False, state.fact(state.facts - self.facts, interning))

    @staticmethod
    def fact(facts: frozenset[Fact], interning: Interning) -> Fact | None:
        """Give the fact that a group holds a set of facts; None for an empty set."""
        return ("group_uses", interning.uses(facts)) if facts else None


class Change(NamedTuple):
    """One state of uses after another.

    Attributes:
        state: the later one.
        ends: whether all that held ends.
        begins: the fact that begins: a set of facts is held from then on.
    """

    state: UsesState
    ends: bool
    begins: Fact | None


_Step = tuple[Content, Change]


# Most groups begin here; reading it anew for every job would double the cost of a first run.
_NOTHING: Final = UsesReading((), (), (), (), (), None)
_assertions_of = lru_cache(maxsize=CONTENTS_CACHED_MAX)(assertions_of)


class RunSlice(msgspec.Struct, gc=False):
    """The run of a stored event, its facets unparsed."""

    run_id: str = msgspec.field(name="runId")
    facets: msgspec.Raw = msgspec.Raw(b"{}")


class EventSlice(msgspec.Struct, gc=False):
    """A stored event, sliced."""

    event_time: str = msgspec.field(name="eventTime")
    event_type: str | None = msgspec.field(name="eventType", default=None)
    run: RunSlice | None = None
    job: msgspec.Raw = msgspec.Raw(b"")
    dataset: msgspec.Raw = msgspec.Raw(b"")
    inputs: msgspec.Raw = msgspec.Raw(b"")
    outputs: msgspec.Raw = msgspec.Raw(b"")


slice_stored = msgspec.json.Decoder(EventSlice).decode


class Contents:
    """The contents and uses seen lately."""

    def __init__(self, interning: Interning) -> None:
        self.interning = interning
        self._contents: dict[tuple[bytes, ...], Content] = {}
        self._roots: dict[tuple[str, str, str], UsesState] = {}
        self._runs: dict[tuple[object, ...], tuple[frozenset[Fact], str | None]] = {}

    def content(self, key: tuple[bytes, ...], payload: bytes) -> Content:
        """Give what a content says; `payload` is an event that has it."""
        known = self._contents.get(key)
        if known is None:
            marked = any(MARK in part for part in key)
            known = Content(decode_stored(payload), self.interning, marked=marked)
            self._contents[key] = known
        return known

    def root(self, key: GroupKey) -> UsesState:
        """Give the state of a group before its first event."""
        name = (key.kind, key.namespace, key.name)
        known = self._roots.get(name)
        if known is None:
            known = self._roots[name] = UsesState(Uses.of(key), self.interning)
        return known

    def run_facts(self, facets: Facets, key: GroupKey) -> tuple[frozenset[Fact], str | None]:
        """Give the facts that a run's own facets state, and its code version."""
        name = (key.namespace, key.name, *facets.items())
        known = self._runs.get(name)
        if known is None:
            node = self.interning.node
            run = read_run(facets, at=str(NodeId("job", key.namespace, key.name)))
            stated: set[Fact] = {("parent", one.run_id, node(one.job)) for one in run.parents}
            stated |= {("capture_gap", gap.at, gap.reason, gap.detail) for gap in run.gaps}
            known = self._runs[name] = (frozenset(stated), run.code)
        return known

    def trim(self) -> None:
        """Forget everything once it is too much; groups keep what they stand on."""
        if len(self._runs) > CONTENTS_CACHED_MAX:
            self._runs.clear()
        if len(self._contents) > CONTENTS_CACHED_MAX:
            self._contents.clear()
            self._roots.clear()

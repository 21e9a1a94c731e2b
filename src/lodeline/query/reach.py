"""Reach: a closure between datasets and jobs, kept as numbers of nodes and derivations.

The same closure as `closure.JobWalk` gives without columns. Names are looked up, and edges made,
for the page that is shown; the rest stays numbers. Where derivations come from is a `Steps`: SQL
for small levels, the index for large ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from lodeline.model import NodeId
from lodeline.query.answers import Cut, Edge, Gap, Graph, Page, Text
from lodeline.query.bounds import Budget
from lodeline.query.currency import Currency
from lodeline.query.describing import BASES, Descriptions, Told
from lodeline.query.groups import Group, Groups, Said
from lodeline.query.view import View

if TYPE_CHECKING:
    from lodeline.query.graph_index import IndexedGraph
    from lodeline.query.sweep import Filtering, Sweep

_AMONG = "IN (SELECT value FROM json_each(:ids))"
# Nodes of a level from which on it is walked on the index: for fewer, one statement costs less than
# opening the index and its dozen numpy calls a level.
SWEEP_FRONTIER_MIN = 100
# What of a derivation is in the closure: the derivation itself, and its two projections.
DERIVES: Final = 1
READS: Final = 2
WRITES: Final = 4
WHOLE: Final = DERIVES | READS | WRITES
# What an edge is made of: rows of `derivation`, source, target, kind, job.
_Place = tuple[list[int], int, int, str, int | None]
_NOTHING: Final[frozenset[int]] = frozenset()
_RANK: Final = {basis: rank for rank, basis in enumerate(BASES)}


class Step(NamedTuple):
    """One row of `derivation`; its ends are canonical nodes by number."""

    source: int | None
    target: int | None
    kind: str
    job: int | None


class Parent(NamedTuple):
    """A job whose group names another job as its parent."""

    above: int
    job: int
    group: int


class Steps(Protocol):
    """Where derivations are found."""

    def incident(self, numbers: Collection[int], end: str) -> Iterable[tuple[int, Step]]:
        """Give derivations of the dataset level that hold at the moment.

        Args:
            numbers: nodes as named in the log.
            end: `source`, `target` or `job`: which end is among them.
        """
        ...


class StoredSteps:
    """Derivations from the store's tables."""

    def __init__(self, view: View) -> None:
        self._view = view

    def incident(
        self, numbers: Collection[int], end: str, *, columns: bool = False
    ) -> Iterator[tuple[int, Step]]:
        """Give derivations; see `Steps`.

        Args:
            numbers: nodes as named in the log.
            end: which end is among them.
            columns: those of columns instead of those between whole nodes.
        """
        rows = self._view.select_among(
            "SELECT d.derivation_id, d.source, d.target, d.kind, d.job FROM derivation d"
            f" WHERE d.{end} {_AMONG} AND d.columns = :columns AND EXISTS"
            " (SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id"
            f" AND {self._view.rectangle('a')})",
            numbers,
            columns=int(columns),
        )
        for number, source, target, kind, job in rows:
            yield number, Step(source, target, kind, job)


@dataclass(slots=True)
class Narrowing:
    """What of a closure is shown; None for all.

    Attributes:
        nodes: numbers of the nodes shown.
        edge_kinds: kinds of the edges shown.
    """

    nodes: Collection[int] | None = None
    edge_kinds: Collection[str] | None = None

    def shows(self, kind: str) -> bool:
        """Whether edges of a kind are shown."""
        return self.edge_kinds is None or kind in self.edge_kinds


class Reach:
    """A closure under way or done.

    Args:
        groups: the question's view of groups.
        root: canonical, without version.
        direction: `up`, `down` or `both`.
    """

    def __init__(self, groups: Groups, root: NodeId, direction: str) -> None:
        self.groups = groups
        self.view = groups.view
        self.root = root
        self.direction = direction
        self.gaps: dict[Gap, None] = {}
        self.summarised: dict[str, int] = {}
        # Node -> least number of derivations between it and the root.
        self.depths: dict[int, int] = {}
        # Rows of `derivation` walked, and which parts of each count.
        self.steps: dict[int, Step] = {}
        self.parts: dict[int, int] = {}
        self.parents: list[Parent] = []
        # What was walked on the index instead, if anything.
        self.sweep: Sweep | None = None
        # Steps with names at hand: all of them, or those of a sweep that a page needs.
        self._spelled = self.steps
        self._parts = self.parts
        self._spelled_to: tuple[int | None, bool] = (None, False)
        # Whether what is spelled was chosen, and is not all.
        self._chosen = False
        self.narrowing = Narrowing()
        self.judge = Judge(groups)
        # Names of nodes that no node of the view has.
        self.labels: dict[int, NodeId] = {}

    def add_gap(self, gap: Gap) -> None:
        """Take a gap in, once."""
        self.gaps[gap] = None

    def nodes_of(self, kinds: Collection[str]) -> list[NodeId]:
        """List the nodes reached that are of some kinds."""
        if self.sweep is None:
            numbers = self.view.numbers_of_kinds(self.depths, kinds)
        else:
            numbers = [n for n in self.view.all_of_kinds(kinds) if self.sweep.has(n)]
        return sorted(self.names(numbers).values())

    def names(self, numbers: Iterable[int]) -> dict[int, NodeId]:
        """Look up the names that nodes go by."""
        found = self.view.names(numbers)
        labels = self.labels
        return (
            {**found, **{n: labels[n] for n in labels.keys() & found.keys()}} if labels else found
        )

    def numbers(self) -> Collection[int]:
        """Give the nodes reached."""
        return self.depths if self.sweep is None else self.sweep.nodes()

    def step_numbers(self) -> Collection[int]:
        """Give the rows of `derivation` walked."""
        return self.steps if self.sweep is None else {*self.steps, *self.sweep.numbers()}

    def all_steps(self) -> Mapping[int, Step]:
        """Give the derivations walked."""
        return self.steps if self.sweep is None else self.sweep.steps() | self.steps

    def jobs(self) -> set[int]:
        """Give the jobs of the closure."""
        found = {step.job for step in self.steps.values() if step.job is not None}
        if self.root.kind == "job":
            found.add(next(iter(self.depths)))
        return found if self.sweep is None else found | self.sweep.jobs()

    def shown(self) -> Iterator[NodeId]:
        """Walk the nodes that the whole answer shows, the root among them."""
        kept = self._kept()
        yield from self.names(self.numbers() if kept is None else kept).values()

    def cut(self, page: Page, text: Text = str) -> Cut:
        """Cut a page out: names and edges of it, and of nothing else."""
        kept = self._kept()
        start, stop = page.offset, page.offset + page.limit
        if kept is None and self.sweep is not None:
            counts = self.sweep.counts()
            depths = self.sweep.nodes(_last_depth(counts, stop))
        else:
            whole = self.depths if self.sweep is None else self.sweep.nodes()
            depths = whole if kept is None else {number: whole[number] for number in kept}
            counts = Counter(depths.values())
        last = _last_depth(counts, stop)
        near = [number for number, depth in depths.items() if depth <= last]
        names = self.names(near)
        order = sorted([(depths[number], text(names[number]), number) for number in near])
        rank = {number: i for i, (_, _, number) in enumerate(order)}
        edges = self._edges(names, rank, start, stop, last)
        shown = [(names[number], depth) for depth, _, number in order[start:stop]]
        return Cut(shown, edges, sum(counts.values()))

    def to_graph(self) -> Graph:
        """Give the whole closure with names."""
        return self._named(self.depths if self.sweep is None else self.sweep.nodes())

    def _named(self, depths: Mapping[int, int]) -> Graph:
        names = self.names(depths)
        nodes = {names[number]: depth for number, depth in depths.items()}
        rank = {number: i for i, number in enumerate(depths)}
        edges = self._edges(names, rank, 0, len(rank), None)
        return Graph(
            self.root,
            self.direction,
            nodes,
            {edge.key: edge for edge in edges},
            dict(self.gaps),
            dict(self.summarised),
        )

    def describe(self, edges: Sequence[Edge]) -> None:
        """Fill edges in."""
        self.judge.describe(edges, self._spelled)

    def around_stale(self) -> Graph:
        """Give, with names, the part in which stale edges are: whole edges, and all that are."""
        steps = self.all_steps()
        stale = self.judge.find_stale(steps)
        tied = {(steps[number][place], steps[number].job) for number in stale for place in (0, 1)}
        near = {
            number: step
            for number, step in steps.items()
            if number in stale or (step.source, step.job) in tied or (step.target, step.job) in tied
        }
        self._spelled, self._spelled_to, self._chosen = near, (None, True), True
        self._parts = {number: self.parts.get(number, WHOLE) for number in near}
        depths = self.depths if self.sweep is None else self.sweep.nodes()
        root = next(iter(self.depths))
        ends_of = [(*step[:2], step.job) for step in near.values()]
        shown = {end for ends in ends_of for end in ends if end is not None} & depths.keys()
        return self._named({number: depths[number] for number in (root, *sorted(shown - {root}))})

    def _kept(self) -> set[int] | None:
        """Give the nodes that the narrowing leaves, None for all."""
        nodes, kinds = self.narrowing.nodes, self.narrowing.edge_kinds
        if nodes is None and kinds is None:
            return None
        kept = set(self.numbers() if nodes is None else nodes)
        if kinds is not None:
            kept &= {end for edge in self._projections(None) for end in edge[:2]}
        kept.add(next(iter(self.depths)))
        return kept

    def _spell(self, last: int | None) -> None:
        """Have the derivations of nodes down to a depth at hand, not fewer."""
        if self.sweep is None or self._spelled_to == (last, True):
            return
        swept = self.sweep.steps(last)
        self._parts = dict.fromkeys(swept, WHOLE)
        self._spelled = swept | self.steps
        for number, part in self.parts.items():
            self._parts[number] = self._parts.get(number, 0) | part
        self._spelled_to = (last, True)

    def _projections(self, last: int | None) -> Iterator[tuple[int, int, str, int | None, int]]:
        """Walk (source, target, kind, job, derivation row) of every edge shown down to a depth."""
        self._spell(last)
        shows = self.narrowing.shows
        parts = self._parts
        reads, writes = shows("reads"), shows("writes")
        for number, (source, target, kind, job) in self._spelled.items():
            part = parts[number]
            if source is not None and target is not None and part & DERIVES and shows(kind):
                yield source, target, kind, job, number
            if job is None:
                continue
            if source is not None and part & READS and reads:
                yield source, job, "reads", job, number
            if target is not None and part & WRITES and writes:
                yield job, target, "writes", job, number
        if shows("parent"):
            for above, job, group in self.parents:
                yield above, job, "parent", None, -group

    def _edges(
        self,
        names: Mapping[int, NodeId],
        rank: Mapping[int, int],
        start: int,
        stop: int,
        last: int | None,
    ) -> list[Edge]:
        """Make the edges whose later end is ranked from `start` to `stop`, in order."""
        plain = self.narrowing.edge_kinds is None and not self.parents
        if self.sweep is None or self._chosen or not plain:
            return self._make(self._group(rank, start, stop, last), names)
        order = list(rank)
        found = self.sweep.edges(
            order, last, beside=self.steps, parts=self.parts, within=(start, stop)
        )
        self._spell(last)
        return self._make(
            [
                (numbers, order[near], order[far], kind, job)
                for numbers, near, far, kind, job in found
            ],
            names,
        )

    def _group(
        self, rank: Mapping[int, int], start: int, stop: int, last: int | None
    ) -> list[_Place]:
        """Put together the derivations that make one edge, as `Sweep.edges` does on arrays."""
        # By one number that orders them: later end, other end, kind, job.
        found: dict[int, _Place] = {}
        find, width = rank.get, len(rank)
        projections = list(self._projections(last))
        kinds = {kind: i for i, kind in enumerate(sorted({one[2] for one in projections}))}
        jobs = width + 1 + max([one[3] or 0 for one in projections], default=0)
        for source, target, kind, job, number in projections:
            near, far = find(source), find(target)
            if near is None or far is None or not start <= (max(far, near)) < stop:
                continue
            # Jobs are ordered as nodes are; those that are not shown come after.
            maker = 0 if job is None else 1 + find(job, width + job)
            key = ((far * width + near) * len(kinds) + kinds[kind]) * (jobs + 1) + maker
            known = found.get(key)
            if known is None:
                found[key] = ([number], source, target, kind, job)
            else:
                known[0].append(number)
        return [found[key] for key in sorted(found)]

    def _make(self, places: Sequence[_Place], names: Mapping[int, NodeId]) -> list[Edge]:
        hidden = {job for _, _, _, _, job in places if job is not None} - names.keys()
        makers = {**names, **self.names(hidden)} if hidden else names
        return [
            Edge(
                names[source],
                names[target],
                kind,
                None if job is None else makers[job],
                steps=numbers,
            )
            for numbers, source, target, kind, job in places
        ]


def _last_depth(counts: Mapping[int, int], stop: int) -> int:
    """Give the depth of the last node of a page, by the number of nodes at each depth."""
    before = 0
    for depth in sorted(counts):
        before += counts[depth]
        if before >= stop:
            return depth
    return max(counts, default=0)


class ReachWalk:
    """Walks a closure, level by level.

    Args:
        reach: to fill.
        steps: where derivations are found.
        depth: derivations to walk; `None` for all.
        budget: bounds of time and size.
        only_current: whether stale derivations are passed over.
        index: finds the graph index at the question's moment, for what is large.
    """

    def __init__(
        self,
        reach: Reach,
        steps: Steps,
        *,
        depth: int | None,
        budget: Budget,
        only_current: bool = False,
        index: Callable[[], IndexedGraph | None] = lambda: None,
    ) -> None:
        self.reach = reach
        self.view = reach.view
        self._steps = steps
        self._depth = depth
        self._budget = budget
        self._only_current = only_current
        self._index = index
        self._passed: tuple[str, str] | None = None

    def run(self) -> Reach:
        """Walk every direction asked for."""
        reach = self.reach
        root = self.view.number_of(reach.root)
        reach.depths[root] = 0
        directions = ("up", "down") if reach.direction == "both" else (reach.direction,)
        for direction in directions:
            self._walk(root, direction)
        if reach.sweep is not None:
            reach.sweep.settle(reach.depths)
        self._note_gaps()
        self._find_parents(reach.jobs())
        return reach

    def _walk(self, root: int, direction: str) -> None:
        reach, depths = self.reach, self.reach.depths
        at_job = reach.root.kind == "job"
        end = "target" if direction == "up" else "source"
        part = WHOLE
        if at_job:
            end, part = "job", READS if direction == "up" else WRITES
        level, depth = {root}, 0
        seen = {root}
        while level:
            if self._is_exhausted(len(depths), len(reach.steps)):
                return
            large = len(level) >= SWEEP_FRONTIER_MIN and end != "job"
            if large and self._sweep(level, seen, direction, depth):
                return
            found = self._incident(level, end, direction)
            if depth == self._depth:
                self._note_depth(
                    step.job if end == "job" else getattr(step, end) for _, step in found
                )
                return
            depth += 1
            ahead = self._take(found, part, direction, depth)
            level = ahead - seen
            seen |= level
            end, part = ("target" if direction == "up" else "source"), WHOLE

    def _is_exhausted(self, nodes: int, steps: int) -> bool:
        """Tell whether a bound is passed; it is a gap then."""
        passed = self._budget.exhausted_by(nodes, steps)
        if passed is not None:
            self.reach.add_gap(Gap(str(self.reach.root), *passed))
        return passed is not None

    def _sweep(self, level: set[int], seen: set[int], direction: str, depth: int) -> bool:
        """Walk the rest of a direction on the index; False where there is none to use."""
        reach = self.reach
        if self._only_current and reach.judge.currency.has_endings:
            return False
        if reach.sweep is None:
            graph = self._index()
            if graph is None:
                self._index = lambda: None
                return False
            # Loaded where there is an index, and so numpy.
            from lodeline.query.sweep import Sweep

            reach.sweep = Sweep(graph)

        def take(steps: Iterable[tuple[int, Step]], further: int) -> None:
            self._take(self._canonically(steps), WHOLE, direction, further)

        beyond = reach.sweep.walk(
            level,
            seen,
            direction,
            depth=depth,
            depth_max=self._depth,
            take_steps=take,
            passed=self._is_exhausted,
            filtering=self._filtering(),
        )
        self._note_depth(beyond)
        return True

    def _filtering(self) -> Filtering | None:
        """Give what passes stale derivations over on the index, where that is asked for."""
        from lodeline.query.sweep import Filtering

        if not self._only_current:
            return None

        def keep(found: Iterable[tuple[int, Step]]) -> list[tuple[int, Step]]:
            return self._current(self._canonically(found))

        return Filtering(self.reach.judge.currency.suspects, keep)

    def _incident(self, level: set[int], end: str, direction: str) -> list[tuple[int, Step]]:
        """Find the derivations that enter (up) or leave (down) a level, under canonical ends."""
        view = self.view
        numbers = level if end == "job" else view.members_among(level)
        found = list(self._steps.incident(numbers, end))
        if end == "job":
            # A job is a near end only as the root, and half-derivations lead nowhere from it.
            far = 0 if direction == "up" else 1
            found = [one for one in found if one[1][far] is not None]
        return self._current(self._canonically(found))

    def _current(self, found: list[tuple[int, Step]]) -> list[tuple[int, Step]]:
        """Leave out what is stale, where that is asked for."""
        if not self._only_current:
            return found
        stale = self.reach.judge.find_stale(dict(found))
        return [one for one in found if one[0] not in stale]

    def _canonically(self, found: Iterable[tuple[int, Step]]) -> list[tuple[int, Step]]:
        """Put canonical nodes in place of derivations' ends."""
        view, found = self.view, list(found)
        if not view.has_aliases:
            return found
        least = view.representatives({n for _, step in found for n in step[:2] if n is not None})
        return [
            (
                number,
                Step(
                    None if source is None else least[source],
                    None if target is None else least[target],
                    kind,
                    job,
                ),
            )
            for number, (source, target, kind, job) in found
        ]

    def _take(
        self, found: Iterable[tuple[int, Step]], part: int, direction: str, depth: int
    ) -> set[int]:
        """Put derivations into the closure; give the nodes where the walk goes on."""
        reach = self.reach
        steps, parts, depths = reach.steps, reach.parts, reach.depths
        upwards = direction == "up"
        ahead: set[int] = set()
        for number, step in found:
            source, target, _, job = step
            steps[number] = step
            parts[number] = parts.get(number, 0) | part
            far = source if upwards else target
            if far is not None:
                ahead.add(far)
                if depths.get(far, depth) >= depth:
                    depths[far] = depth
            if job is not None and depths.get(job, depth) >= depth:
                depths[job] = depth
        return ahead

    def _note_depth(self, nodes: Iterable[int | None]) -> None:
        numbers = {number for number in nodes if number is not None}
        for node in self.reach.names(numbers).values():
            detail = f"derivations beyond depth {self._depth}"
            self.reach.add_gap(Gap(str(node), "depth", detail))

    def _note_gaps(self) -> None:
        """Note what the newest capture of each derivation knows that it did not see."""
        reach, groups, view = self.reach, self.reach.groups, self.view
        if not groups.has_gaps:
            return
        # Few groups have gaps; only what those assert has to be looked at.
        rows = view.select_among(
            f"SELECT DISTINCT a.derivation_id FROM assertion a WHERE a.derivation_id {_AMONG}"
            f" AND {view.rectangle('a')} AND EXISTS (SELECT 1 FROM capture_gap c"
            f" WHERE c.group_id = a.group_id AND {view.rectangle('c')})",
            reach.step_numbers(),
        )
        suspects = [row[0] for row in rows]
        if not suspects:
            return
        same = reach.judge.same_steps(reach.all_steps())
        newest = {
            reach.judge.newest_of(numbers).number
            for numbers in {same(number) for number in suspects}
        }
        for gap in groups.gaps_of(newest):
            reach.add_gap(gap)

    def _find_parents(self, jobs: Collection[int]) -> None:
        """Join jobs of which the runs of one name the other as their parent."""
        reach = self.reach
        if not reach.groups.has_parents:
            return
        for job, parents in reach.groups.parents_of(jobs).items():
            for group, _, above in parents:
                if above in jobs and above != job:
                    reach.parents.append(Parent(above, job, group))


@dataclass(slots=True)
class Judge:
    """Describes edges that stand on derivations by number; each derivation once."""

    groups: Groups
    currency: Currency = field(init=False)
    _told: dict[tuple[int, ...], Told] = field(init=False)
    # What one row says of a derivation whose job did nothing newer.
    _alone: dict[tuple[int | None, int, str, int | None], Told] = field(init=False)

    def __post_init__(self) -> None:
        self.currency = Currency(self.groups)
        self._told = self.groups.view.memory.told
        self._alone = self.groups.view.memory.alone

    def describe(self, edges: Sequence[Edge], steps: Mapping[int, Step]) -> None:
        """Fill in edges by the derivations that they stand on.

        Args:
            edges: with `steps`; a negative number is that of a parent's group.
            steps: all derivations of the closure.
        """
        wanted = set[int]().union(*[edge.steps for edge in edges])
        parents = {-number for number in wanted if number < 0}
        wanted.difference_update([-number for number in parents])
        keys = self.same_steps(steps).of(wanted)
        said, groups = self._load(keys.values(), steps)
        if parents:
            groups = groups | self.groups.load(parents)
        told = self._tell_all(keys, steps, said, groups)
        for group in parents:
            told[-group] = Told(False, _RANK["lineage"], frozenset((group,)), _NOTHING)
        # Most of what is told is the same object as what is told of a neighbour.
        distinct = {id(one): one for one in told.values()}
        descriptions = Descriptions(self.groups, groups, distinct.values())
        found = {mark: descriptions.of(one) for mark, one in distinct.items()}
        described = {number: found[id(one)] for number, one in told.items()}
        for edge in edges:
            numbers = edge.steps
            if len(numbers) == 1:
                edge.said = described[numbers[0]]
            elif numbers:  # An edge without came described: no event asserts it.
                same_said = {described[number] for number in numbers}
                if len(same_said) == 1:
                    [edge.said] = same_said
                else:
                    edge.said = descriptions.of_all([told[number] for number in numbers])

    def find_stale(self, steps: Mapping[int, Step]) -> set[int]:
        """Tell which of some derivations are stale."""
        same = self.same_steps(steps)
        keys = same.of(self._suspects(steps))
        said, groups = self._load(keys.values(), steps)
        told = self._tell_all(keys, steps, said, groups)
        return {number for number, one in told.items() if one.stale}

    def _suspects(self, steps: Mapping[int, Step]) -> Iterable[int]:
        """Leave out what is surely current, without reading who asserts it."""
        if self.currency.has_endings:
            return steps
        jobs = {step.job for step in steps.values() if step.job is not None}
        behind = self.currency.suspects(jobs)
        return self.currency.older_than_their_jobs(
            {number: step.job for number, step in steps.items() if step.job in behind}
        )

    def newest_of(self, numbers: tuple[int, ...]) -> Group:
        """Give the newest group that asserts a derivation, known by all its rows."""
        said = self.groups.said_of(numbers)
        groups = self.groups.load(one.group for some in said.values() for one in some)
        return max(groups.values(), key=lambda group: group.order)

    def same_steps(self, steps: Mapping[int, Step]) -> _Same:
        """Give what finds all rows of a derivation, under any of the names of its ends."""
        return _Same(steps if self.groups.view.has_aliases else {})

    def _load(
        self, keys: Iterable[tuple[int, ...]], steps: Mapping[int, Step]
    ) -> tuple[dict[int, list[Said]], dict[int, Group]]:
        numbers = {number for key in keys for number in key}
        self.currency.look_ahead_numbers({steps[number].job for number in numbers} - {None})
        said = self.groups.said_of(numbers)
        return said, self.groups.load({one.group for some in said.values() for one in some})

    def _tell_all(
        self,
        keys: Mapping[int, tuple[int, ...]],
        steps: Mapping[int, Step],
        said: Mapping[int, Sequence[Said]],
        groups: Mapping[int, Group],
    ) -> dict[int, Told]:
        """Tell of derivations by number; `_tell`, with what is alike looked up first."""
        told: dict[int, Told] = {}
        find_alike = self._alone.get
        for number, key in keys.items():
            rows = said[number]
            if len(key) == len(rows) == 1:
                alone = find_alike((steps[number][3], *rows[0][1:]))
                if alone is not None:
                    told[number] = alone
                    continue
            told[number] = self._tell(key, steps, said, groups)
        return told

    def _tell(
        self,
        key: tuple[int, ...],
        steps: Mapping[int, Step],
        said: Mapping[int, Sequence[Said]],
        groups: Mapping[int, Group],
    ) -> Told:
        known = self._told.get(key)
        if known is not None:
            return known
        rows: Sequence[Said] = said[key[0]]
        if len(key) > 1:
            rows = [one for number in key for one in said[number]]
        job = steps[key[0]].job
        if len(rows) == 1:
            # Nearly always: one run, and nothing newer.
            [(_, number, basis, detail)] = rows
            asserting = [groups[number]]
            stale = self._is_stale(key, steps, job, asserting)
            details = _NOTHING if detail is None else frozenset((detail,))
            told = Told(stale, _RANK[basis], frozenset((number,)), details)
            if not stale and self.currency.is_surely_current(job, asserting):
                self._alone[job, number, basis, detail] = told
        else:
            stale = self._is_stale(key, steps, job, [groups[one.group] for one in rows])
            details = frozenset([one.detail for one in rows if one.detail is not None])
            rank = min([_RANK[one.basis] for one in rows])
            told = Told(stale, rank, frozenset([one.group for one in rows]), details)
        self._told[key] = told
        return told

    def _is_stale(
        self,
        key: tuple[int, ...],
        steps: Mapping[int, Step],
        job: int | None,
        asserting: list[Group],
    ) -> bool:
        if self.currency.is_surely_current(job, asserting):
            return False
        source, target, kind, _ = steps[key[0]]
        names = self.groups.view.names({n for n in (source, target, job) if n is not None})
        ends = [None if n is None else names[n] for n in (source, target, job)]
        return self.currency.is_stale((ends[0], ends[1], kind, ends[2]), asserting=asserting)


class _Same:
    """All rows of a derivation, by any of them."""

    def __init__(self, steps: Mapping[int, Step]) -> None:
        by_step: dict[Step, list[int]] = defaultdict(list)
        for number, step in steps.items():
            by_step[step].append(number)
        self._rows = {
            number: tuple(sorted(numbers))
            for numbers in by_step.values()
            if len(numbers) > 1
            for number in numbers
        }

    def of(self, numbers: Iterable[int]) -> dict[int, tuple[int, ...]]:
        """Give for each derivation all its rows."""
        if not self._rows:
            return {number: (number,) for number in numbers}
        return {number: self(number) for number in numbers}

    def __call__(self, number: int) -> tuple[int, ...]:
        return self._rows.get(number) or (number,)

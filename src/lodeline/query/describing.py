"""What is known of each edge shown: basis, runs, first and last seen, currency.

An edge stands on derivations (job level: all their assertions) or on what single groups said
(version level). Only edges about to be shown are described.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from lodeline.limits import ASSERTED_BY_MAX
from lodeline.model import NodeId
from lodeline.query.answers import DerivationKey, Description, Edge, Ground
from lodeline.query.currency import Currency
from lodeline.query.groups import Group, Groups, Said

# From strongest to weakest.
BASES: Final = ("lineage", "columnLineage", "observed", "content", "inferred")
_RANK: Final = {basis: rank for rank, basis in enumerate(BASES)}


class Told(NamedTuple):
    """What a ground contributes: whether it is stale, its best basis, its groups, its details."""

    stale: bool
    rank: int
    groups: frozenset[int]
    details: frozenset[int]


def join_told(told: Collection[Told]) -> Told:
    """Tell of an edge what its grounds tell together."""
    stale, ranks, groups, details = zip(*told, strict=True)
    return Told(
        all(stale), min(ranks), groups[0].union(*groups[1:]), details[0].union(*details[1:])
    )


class Descriptions:
    """Descriptions of what was told, each made once.

    Args:
        view: of groups.
        groups: all that assert anything.
        told: all that is to be described, alone or joined.
    """

    def __init__(self, view: Groups, groups: Mapping[int, Group], told: Collection[Told]) -> None:
        self.groups = groups
        self._known = view.view.memory.described
        self._entries = view.entries_of(groups)
        details = set[int]().union(*[one.details for one in told])
        self._bodies = view.details_of(details) if details else {}

    def of(self, told: Told) -> Description:
        """Describe an edge of which this is told."""
        known = self._known.get(told)
        if known is None:
            known = self._known[told] = self._sum_up(told)
        return known

    def of_all(self, told: Collection[Told]) -> Description:
        """Describe an edge of which all of this is told."""
        distinct = set(told)
        return self.of(distinct.pop() if len(distinct) == 1 else join_told(distinct))

    def _sum_up(self, told: Told) -> Description:
        numbers = told.groups
        if len(numbers) == 1:
            return self._sum_up_one(told, *numbers)
        groups = [self.groups[number] for number in numbers]
        groups.sort(key=lambda group: (-group.last_us, group.run_id))
        runs = list(dict.fromkeys([group.run_id for group in groups if group.run_id]))
        positions = [self._entries[number] for number in numbers]
        entries = positions[0] if len(positions) == 1 else sorted(itertools.chain(*positions))
        bodies = sorted(self._bodies[detail] for detail in told.details)
        return Description(
            status="stale" if told.stale else "current",
            basis=BASES[told.rank],
            asserted_by=tuple(runs[:ASSERTED_BY_MAX]),
            asserted_by_total=len(runs),
            first_seen=min([group.first_us for group in groups]),
            last_seen=groups[0].last_us,
            entries=tuple(entries[:ASSERTED_BY_MAX]),
            future=all(group.future for group in groups),
            transformations=[step for body in bodies for step in json.loads(body)],
        )

    def _sum_up_one(self, told: Told, number: int) -> Description:
        """Describe what a single group said, as nearly always."""
        group = self.groups[number]
        bodies = sorted(self._bodies[detail] for detail in told.details) if told.details else ()
        return Description(
            "stale" if told.stale else "current",
            BASES[told.rank],
            (group.run_id,) if group.run_id else (),
            1 if group.run_id else 0,
            group.first_us,
            group.last_us,
            self._entries[number][:ASSERTED_BY_MAX],
            group.future,
            [step for body in bodies for step in json.loads(body)],
        )


class Describer:
    """Fills edges in.

    Args:
        groups: the question's view of groups.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.currency = Currency(groups)
        # Canonical derivation -> its rows as asserted; missing ones are looked up.
        self._rows: dict[DerivationKey, set[int]] = {}
        # What single groups said, all of it: where a derivation has one row.
        self._said: dict[Ground, list[Said]] = {}

    def learn(
        self,
        rows: Mapping[DerivationKey, set[int]],
        said: Mapping[Ground, list[Said]] = MappingProxyType({}),
    ) -> None:
        """Take up what a walk has found.

        Args:
            rows: of derivations, all of each.
            said: all that single groups said of derivations that have one row.
        """
        for key, found in rows.items():
            self._rows[key] = self._rows.get(key, set()) | found
        self._said.update(said)

    def find_stale(self, keys: Iterable[DerivationKey]) -> set[DerivationKey]:
        """Tell which of some derivations are stale."""
        wanted = set(keys)
        self._find_rows(wanted)
        self.currency.look_ahead(key[3] for key in wanted if key[3] is not None)
        said = self.groups.said_of(number for key in wanted for number in self._rows[key])
        groups = self.groups.load({one.group for some in said.values() for one in some})
        return {key for key in wanted if self._tell(Ground(key), said, groups).stale}

    def describe(self, edges: list[Edge]) -> None:
        """Fill in edges of the job level and the version level."""
        grounds = set().union(*(edge.grounds for edge in edges))
        jobs = {ground.derivation[3] for ground in grounds if ground.derivation is not None}
        self.currency.look_ahead(job for job in jobs if job is not None)
        numbers = {ground.group for ground in grounds if ground.group is not None}
        groups = self.groups.load(numbers)
        told = self._tell_alone(grounds, groups)
        others = grounds - told.keys()
        keys = {ground.derivation for ground in others if ground.derivation is not None}
        self._find_rows(keys)
        said = self.groups.said_of(number for key in keys for number in self._rows[key])
        numbers.update(one.group for some in said.values() for one in some)
        groups = self.groups.load(numbers)
        told.update((ground, self._tell(ground, said, groups)) for ground in others)
        descriptions = Descriptions(self.groups, groups, told.values())
        for edge in edges:
            if edge.grounds:  # An edge without came described: no event asserts it.
                edge.said = descriptions.of_all([told[ground] for ground in edge.grounds])

    def _tell_alone(
        self, grounds: Iterable[Ground], groups: Mapping[int, Group]
    ) -> dict[Ground, Told]:
        """Tell what grounds contribute whose one group is enough to know that they hold.

        A group that is no older than all that its job completed is: whoever else asserts the
        derivation can only be newer.
        """
        found: dict[Ground, Told] = {}
        find_number = self.groups.view.find_number
        for ground in grounds:
            rows = self._said.get(ground)
            if rows is None:
                continue
            assert ground.derivation is not None
            job = ground.derivation[3]
            number = None if job is None else find_number(job)
            group = groups[rows[0].group]
            if group.future or not self.currency.is_surely_current(number, (group,)):
                continue
            details = [one.detail for one in rows if one.detail is not None]
            rank = min([_RANK[one.basis] for one in rows])
            found[ground] = Told(False, rank, frozenset((group.number,)), frozenset(details))
        return found

    def _tell(
        self, ground: Ground, said: Mapping[int, list[Said]], groups: Mapping[int, Group]
    ) -> Told:
        """Tell what one ground contributes to the edges that stand on it."""
        key, only = ground
        if key is None:
            assert only is not None
            return Told(False, _RANK["lineage"], frozenset((only,)), frozenset())
        numbers = self._rows[key]
        if len(numbers) == 1:
            [number] = numbers
            rows = said[number]
        else:
            rows = [one for number in numbers for one in said[number]]
        stale = self.currency.is_stale(key, asserting=[groups[one.group] for one in rows])
        if only is not None:
            rows = [one for one in rows if one.group == only]
        details = frozenset(one.detail for one in rows if one.detail is not None)
        rank = min([_RANK[one.basis] for one in rows])
        return Told(stale, rank, frozenset([one.group for one in rows]), details)

    def _find_rows(self, keys: set[DerivationKey]) -> None:
        """Look up all rows of derivations that a walk did not collect itself."""
        view = self.groups.view
        for key in keys - self._rows.keys():
            source, target, kind, job = key
            rows = view.select(
                "SELECT derivation_id FROM derivation d WHERE d.kind = :kind"
                f" AND {_is_among('d.source', source)} AND {_is_among('d.target', target)}"
                f" AND {_is_among('d.job', job)}",
                kind=kind,
                **{
                    name: json.dumps([] if node is None else view.members(node))
                    for name, node in (("source", source), ("target", target), ("job", job))
                },
            )
            self._rows[key] = {row[0] for row in rows}


def _is_among(column: str, node: NodeId | None) -> str:
    if node is None:
        return f"{column} IS NULL"
    return f"{column} IN (SELECT value FROM json_each(:{column[2:]}))"

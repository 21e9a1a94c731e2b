"""What is known of each edge shown: basis, runs, first and last seen, currency.

An edge stands on derivations (job level: all their assertions) or on what single groups said
(version level). Only edges about to be shown are described.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from lodeline.limits import ASSERTED_BY_MAX
from lodeline.model import NodeId
from lodeline.query.answers import DerivationKey, Edge, Ground, Sight
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


def join_told(told: list[Told]) -> Told:
    """Tell of an edge what its grounds tell together."""
    if len(told) == 1:
        return told[0]
    stale, ranks, groups, details = zip(*told, strict=True)
    return Told(
        all(stale), min(ranks), groups[0].union(*groups[1:]), details[0].union(*details[1:])
    )


class Sights:
    """When and by whom edges were asserted; many edges share one set of groups."""

    def __init__(self, groups: Mapping[int, Group], entries: Mapping[int, list[int]]) -> None:
        self.groups = groups
        self._entries = entries
        self._known: dict[frozenset[int], Sight] = {}

    def of(self, numbers: frozenset[int]) -> Sight:
        """Give what is said of edges that exactly these groups assert."""
        known = self._known.get(numbers)
        if known is None:
            known = self._known[numbers] = self._sum_up(numbers)
        return known

    def _sum_up(self, numbers: frozenset[int]) -> Sight:
        groups = [self.groups[number] for number in numbers]
        groups.sort(key=lambda group: (-group.last_us, group.run_id))
        runs = list(dict.fromkeys([group.run_id for group in groups if group.run_id]))
        positions = [self._entries[number] for number in numbers]
        entries = positions[0] if len(positions) == 1 else sorted(itertools.chain(*positions))
        return Sight(
            asserted_by=tuple(runs[:ASSERTED_BY_MAX]),
            asserted_by_total=len(runs),
            first_seen=min([group.first_us for group in groups]),
            last_seen=groups[0].last_us,
            entries=tuple(entries[:ASSERTED_BY_MAX]),
            future=all(group.future for group in groups),
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

    def learn(self, rows: Mapping[DerivationKey, set[int]]) -> None:
        """Take up rows of derivations that a walk has found, all of each."""
        for key, found in rows.items():
            self._rows[key] = self._rows.get(key, set()) | found

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
        keys = {ground.derivation for ground in grounds if ground.derivation is not None}
        self._find_rows(keys)
        self.currency.look_ahead(key[3] for key in keys if key[3] is not None)
        said = self.groups.said_of(number for key in keys for number in self._rows[key])
        numbers = {one.group for some in said.values() for one in some}
        numbers.update(ground.group for ground in grounds if ground.group is not None)
        sights = Sights(self.groups.load(numbers), self.groups.entries_of(numbers))
        told = {ground: self._tell(ground, said, sights.groups) for ground in grounds}
        for edge in edges:
            if edge.grounds:  # An edge without came described: no event asserts it.
                self._describe(edge, join_told([told[ground] for ground in edge.grounds]), sights)

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

    def _describe(self, edge: Edge, told: Told, sights: Sights) -> None:
        edge.status = "stale" if told.stale else "current"
        edge.basis = BASES[told.rank]
        edge.sight = sights.of(told.groups)
        if told.details:
            bodies = sorted(self.groups.details_of(told.details).values())
            edge.transformations = [step for body in bodies for step in json.loads(body)]

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

"""What is known of each edge shown: basis, runs, first and last seen, currency.

An edge stands on derivations (job level: all their assertions) or on what single groups said
(version level). Only edges about to be shown are described.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from typing import Final

from lodeline.limits import ASSERTED_BY_MAX
from lodeline.model import NodeId
from lodeline.query.answers import DerivationKey, Edge
from lodeline.query.currency import Currency
from lodeline.query.groups import Group, Groups, Said

# From strongest to weakest.
BASES: Final = ("lineage", "columnLineage", "observed", "content", "inferred")
_RANK: Final = {basis: rank for rank, basis in enumerate(BASES)}


class Describer:
    """Fills edges in.

    Args:
        groups: the question's view of groups.
        rows: canonical derivation -> its rows as asserted; missing ones are looked up.
    """

    def __init__(self, groups: Groups, rows: Mapping[DerivationKey, set[int]]) -> None:
        self.groups = groups
        self.currency = Currency(groups)
        self._rows = dict(rows)

    def describe(self, edges: list[Edge]) -> None:
        """Fill in edges of the job level and the version level."""
        grounds = {ground for edge in edges for ground in edge.grounds}
        self._find_rows({one.derivation for one in grounds if one.derivation is not None})
        wanted = {
            number
            for ground in grounds
            if ground.derivation is not None
            for number in self._rows[ground.derivation]
        }
        self.currency.look_ahead(
            one.derivation[3]
            for one in grounds
            if one.derivation is not None and one.derivation[3] is not None
        )
        said = self.groups.said_of(wanted)
        numbers = {one.group for some in said.values() for one in some}
        numbers |= {ground.group for ground in grounds if ground.group is not None}
        groups = self.groups.load(numbers)
        entries = self.groups.entries_of(numbers)
        for edge in edges:
            if edge.grounds:  # An edge without came described: no event asserts it.
                asserted = self._describe(edge, said, groups)
                edge.entries = heapq.nsmallest(
                    ASSERTED_BY_MAX, (one for group in asserted for one in entries[group])
                )

    def _describe(
        self, edge: Edge, said: Mapping[int, list[Said]], groups: Mapping[int, Group]
    ) -> set[int]:
        asserted: list[Said] = []
        stale = True
        for key, only in edge.grounds:
            if key is None:
                assert only is not None
                asserted.append(Said(0, only, "lineage", None))
                stale = False
                continue
            rows = [one for number in self._rows[key] for one in said[number]]
            asserted += [one for one in rows if only is None or one.group == only]
            asserting = [groups[one.group] for one in rows]
            stale = stale and self.currency.is_stale(key, asserting=asserting)
        edge.status = "stale" if stale else "current"
        edge.basis = min((one.basis for one in asserted), key=_RANK.__getitem__)
        _fill(edge, {groups[one.group] for one in asserted})
        numbers = {one.detail for one in asserted if one.detail is not None}
        if numbers:
            bodies = sorted(self.groups.details_of(numbers).values())
            edge.transformations = [step for body in bodies for step in json.loads(body)]
        return {one.group for one in asserted}

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


def _fill(edge: Edge, groups: set[Group]) -> None:
    ordered = sorted(groups, key=lambda group: (-group.last_us, group.run_id))
    edge.asserted_by = list(dict.fromkeys(group.run_id for group in ordered if group.run_id))
    edge.asserted_by_total = len(edge.asserted_by)
    edge.first_seen = min(group.first_us for group in ordered)
    edge.last_seen = max(group.last_us for group in ordered)
    edge.future = all(group.future for group in ordered)

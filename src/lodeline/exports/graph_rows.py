"""The graph as rows: its nodes, its edges, and the assertions that edges stand on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from lodeline.exports.exporting import Exporting
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry

# Of a derivation's source, target and job.
Numbers = tuple[int | None, int | None, int | None]

# Rows looked up at a time.
_PORTION: Final = 10_000


class NodeRow(NamedTuple):
    """One node.

    Attributes:
        node: under its canonical name.
        position: of the entry that first named it.
        first_us: event time of its first mention.
    """

    node: NodeId
    position: int
    first_us: int


class EdgeRow(NamedTuple):
    """One edge, summed up over the runs that assert it.

    Attributes:
        source: upstream.
        target: downstream.
        kind: of the edge.
        job: that derives; None where nobody does.
        basis: the strongest.
        first_us: event time of the first assertion.
        last_us: and of the last.
        runs: that assert it.
    """

    source: NodeId
    target: NodeId
    kind: str
    job: NodeId | None
    basis: str
    first_us: int
    last_us: int
    runs: int


class AssertionRow(NamedTuple):
    """One run's assertion of an edge.

    Attributes:
        source: upstream.
        target: downstream.
        kind: of the edge.
        job: that derives.
        run: None for events without a run.
        basis: of this assertion.
        position: of the entry that made it.
        time_us: event time of the run's first event.
    """

    source: NodeId
    target: NodeId
    kind: str
    job: NodeId | None
    run: str | None
    basis: str
    position: int
    time_us: int


def iter_nodes(export: Exporting) -> Iterator[NodeRow]:
    """Walk the nodes that were first named since; a node of several names comes once."""
    ends = " UNION ALL ".join(
        "SELECT min(a.position_from) AS position, min(s.first_us) AS time"
        " FROM derivation d JOIN assertion a USING (derivation_id)"
        f" JOIN run_state s USING (group_id) WHERE d.{end} = n.node_id"
        for end in ("source", "target")
    )
    with export.inquiring() as inquiry:
        view = inquiry.view
        after = 0
        while True:
            rows = view.select(
                "SELECT n.node_id,"
                " n.first_position, coalesce((SELECT min(event_time) FROM sighting s"
                " WHERE s.node_id = n.node_id), n.first_us),"
                f" (SELECT min(position) FROM ({ends}) e), (SELECT min(time) FROM ({ends}) e)"
                f" FROM node n WHERE n.node_id > :after AND {view.known('n')}"
                " ORDER BY n.node_id LIMIT :portion",
                after=after,
                portion=_PORTION,
            )
            if not rows:
                return
            after = rows[-1][0]
            names = view.names(row[0] for row in rows)
            canonical = view.canonical_names(names)
            for number, position, first_us, later_position, later_us in rows:
                node = names[number]
                # Under another name it stands beside the canonical one.
                if canonical[number] != node and view.find_number(canonical[number]) is not None:
                    continue
                found = NodeRow(
                    node,
                    int(position if position is not None else later_position or 0),
                    int(first_us if first_us is not None else later_us or 0),
                )
                if found.position < export.since:
                    continue
                if _visible(export, node):
                    yield found


def iter_edges(export: Exporting) -> Iterator[EdgeRow]:
    """Walk the edges that stand; with `since`, those that were asserted (again) since."""
    newer = (
        " AND EXISTS (SELECT 1 FROM assertion a WHERE a.derivation_id = d.derivation_id"
        " AND a.position_from >= :since)"
        if export.since
        else ""
    )
    with export.inquiring() as inquiry:
        after = 0
        while True:
            rows = inquiry.view.select(
                "SELECT d.derivation_id, d.source, d.target, d.kind, d.job, d.live_basis,"
                " d.first_seen, d.last_seen, d.groups FROM derivation d"
                f" WHERE d.derivation_id > :after AND d.live_basis IS NOT NULL{newer}"
                " ORDER BY d.derivation_id LIMIT :portion",
                after=after,
                portion=_PORTION,
                since=export.since,
            )
            if not rows:
                return
            after = rows[-1][0]
            known = _Ends(export, inquiry, [(row[1], row[2], row[4]) for row in rows])
            for _, source, target, kind, job, *how in rows:
                ends = known.of((source, target, job), kind)
                if ends is not None:
                    yield EdgeRow(*ends, *how)


def iter_assertions(export: Exporting) -> Iterator[AssertionRow]:
    """Walk what runs asserted since; what a later event took back was asserted all the same."""
    with export.inquiring() as inquiry:
        after = (0, 0, 0)
        while True:
            asked = {
                "derivation": after[0],
                "uses": after[1],
                "group": after[2],
                "since": export.since,
                "portion": _PORTION,
            }
            view = inquiry.view
            rows = view.select(_ASSERTIONS_LEFT, **asked) or view.select(_ASSERTIONS_NEXT, **asked)
            if not rows:
                return
            after = tuple(rows[-1][:3])
            known = _Ends(export, inquiry, [(row[3], row[4], row[6]) for row in rows])
            for _, _, _, source, target, kind, job, run, basis, position, time_us in rows:
                ends = known.of((source, target, job), kind)
                if ends is not None:
                    yield AssertionRow(*ends, run, basis, position, time_us)


# In the order of the tables' keys, so that each portion is found, not counted out; first what is
# left of the set that the last one ended in. Of a basis that a group states of a derivation, the
# first rectangle counts: sets begin anew where a fact beside it ends.
_ASSERTIONS: Final = (
    "SELECT u.derivation_id, u.uses_id, a.group_id, d.source, d.target, d.kind, d.job, g.run_id,"
    " u.basis, a.position_from, (SELECT min(s.first_us) FROM run_state s"
    " WHERE s.group_id = a.group_id) FROM uses_assertion u"
    " CROSS JOIN group_uses a JOIN derivation d ON d.derivation_id = u.derivation_id"
    " JOIN run_group g ON g.group_id = a.group_id"
    " WHERE {} AND a.uses_id = u.uses_id AND a.position_from >= :since AND a.position_from < :size"
    " AND NOT EXISTS (SELECT 1 FROM group_uses b JOIN uses_assertion o ON o.uses_id = b.uses_id"
    " WHERE b.group_id = a.group_id AND o.derivation_id = u.derivation_id AND o.basis = u.basis"
    " AND (b.position_from, b.valid_from) < (a.position_from, a.valid_from))"
    " ORDER BY u.derivation_id, u.uses_id, a.group_id LIMIT :portion"
)
_ASSERTIONS_LEFT: Final = _ASSERTIONS.format(
    "u.derivation_id = :derivation AND u.uses_id = :uses AND a.group_id > :group"
)
_ASSERTIONS_NEXT: Final = _ASSERTIONS.format("(u.derivation_id, u.uses_id) > (:derivation, :uses)")


class _Ends:
    """Gives the ends of edges by the numbers of their nodes."""

    def __init__(self, export: Exporting, inquiry: Inquiry, numbers: list[Numbers]) -> None:
        self._export = export
        self._names = inquiry.view.canonical_names(
            {number for ends in numbers for number in ends if number is not None}
        )

    def of(self, numbers: Numbers, kind: str) -> tuple[NodeId, NodeId, str, NodeId | None] | None:
        """Give an edge's ends; a half-derivation is an edge from or to its job."""
        source, target, job = (
            None if number is None else self._names[number] for number in numbers
        )
        if source is None or target is None:
            kind = "writes" if source is None else "reads"
            source, target, job = source or job, target or job, None
        if source is None or target is None:
            return None
        nodes = [node for node in (source, target, job) if node is not None]
        if not all(_sees(self._export, node) for node in nodes):
            self._export.left_out.hidden += 1
            return None
        return source, target, kind, job


def _visible(export: Exporting, node: NodeId) -> bool:
    seen = _sees(export, node)
    export.left_out.hidden += not seen
    return seen


def _sees(export: Exporting, node: NodeId) -> bool:
    return export.authoriser.sees_all or export.authoriser.may_see(node)

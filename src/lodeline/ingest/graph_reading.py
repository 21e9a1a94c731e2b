"""The view tables read back as the fold's own values: for the digest, and to compare with it.

Any position and any event time can be asked for; rows are masked, nothing is folded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from lodeline.fold.graph import (
    FOLD_VERSION,
    Graph,
    Order,
    alias_line,
    digest_lines,
    ending_line,
    group_line,
    names_of,
    register_line,
)
from lodeline.fold.relations import (
    Assertion,
    CaptureGap,
    Contribution,
    FeatureColumn,
    GroupKey,
    Parent,
    Read,
    RunState,
    Write,
)
from lodeline.model import NodeId
from lodeline.store import Segment
from lodeline.store.connections import Connection, has_table

_ENDLESS = 1 << 62


class GraphReader:
    """Reads the graph of one snapshot at both times.

    Args:
        connection: inside a snapshot.
        as_of: entries known; all that were folded without.
        valid_at: event time in microseconds; endless without.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        as_of: int | None = None,
        valid_at: int | None = None,
    ) -> None:
        self._connection = connection
        self._mask = {
            "size": _ENDLESS if as_of is None else as_of,
            "time": _ENDLESS if valid_at is None else valid_at,
        }
        self._nodes: dict[int, NodeId] = {}

    def digest(self) -> str:
        """Digest the graph; equals `fold.Graph.digest` of the same entries."""
        return digest_lines(self._lines())

    def graph(self) -> Graph:
        """Read the whole graph. Numbers are those of the log, in the log's order."""
        graph = Graph()
        for group in self.iter_groups():
            graph.groups[group.key] = group
            graph.names |= names_of(group)
        graph.registers = dict(self._iter_registers())
        graph.symlinks = self._symlinks()
        for node, time_us in self._endings():
            graph.endings.setdefault(node, set()).add(time_us)
        for (node_id,) in self._points(
            "SELECT node_id FROM (SELECT node_id, first_position AS position,"
            " first_us AS event_time FROM node UNION ALL SELECT * FROM sighting) AS named"
            " WHERE {} GROUP BY node_id"
        ):
            graph.names.add(self._node(node_id))
        for node_id, version in self._connection.execute(
            "SELECT node_id, version FROM number WHERE position < :size ORDER BY node_id, number",
            self._mask,
        ):
            graph.numbers.setdefault(self._node(node_id), []).append(version)
        return graph

    def _lines(self) -> Iterator[str]:
        for group in self.iter_groups():
            if not group.key.future:
                yield group_line(group)
        for node, register in self._iter_registers():
            for name, (_, digest) in register.items():
                if digest is not None:
                    yield register_line(str(node), name, digest)
        graph = Graph(symlinks=self._symlinks())
        for one, other in graph.aliases():
            yield alias_line(str(one), str(other))
        for node, time_us in set(self._endings()):
            yield ending_line(str(node), time_us)

    def _points(self, query: str) -> Iterator[tuple[Any, ...]]:
        where = "position < :size AND event_time <= :time"
        return self._connection.execute(query.format(where), self._mask)

    def _rectangles(self, columns: str, table: str) -> _Merge:
        """Read a table's rows that hold, by group."""
        rows = self._connection.execute(
            f"SELECT group_id, {columns} FROM {table} "
            "WHERE position_from < :size AND (position_to IS NULL OR position_to >= :size) "
            "AND valid_from <= :time AND (valid_to IS NULL OR valid_to > :time) "
            "ORDER BY group_id",
            self._mask,
        )
        return _Merge(rows)

    def _node(self, number: int) -> NodeId:
        known = self._nodes.get(number)
        if known is None:
            row = self._connection.execute(
                "SELECT kind, namespace, name, part FROM node WHERE node_id = ?", (number,)
            ).fetchone()
            known = self._nodes[number] = NodeId(*row)
        return known

    def _maybe(self, number: int | None) -> NodeId | None:
        return None if number is None else self._node(number)

    def iter_groups(self) -> Iterator[Contribution]:
        """Walk the contributions of all groups, future ones included."""
        states = self._rectangles(
            "state, completed, first_us, start_us, end_us, last_us, code", "run_state"
        )
        assertions = self._rectangles(
            "source, target, kind, job, basis, coalesce(body, '')",
            "assertion JOIN derivation USING (derivation_id) LEFT JOIN detail USING (detail_id)",
        )
        writes = self._rectangles("node_id, version, time_us", "write")
        reads = self._rectangles("node_id, version", "read")
        gaps = self._rectangles("at, reason, detail", "capture_gap")
        parents = self._rectangles("parent_run, parent_job", "parent")
        features = self._rectangles("feature_node, field_node, version", "feature")
        for group_id, run_id, job, future, kind in self._connection.execute(
            "SELECT group_id, run_id, job_node, future, kind FROM run_group ORDER BY group_id"
        ):
            state = states.rows_of(group_id)
            if not state:
                continue
            job_node = self._maybe(job)
            yield Contribution(
                key=self._key(group_id, run_id, job_node, future=bool(future), kind=kind),
                job=job_node,
                state=RunState(state[0][0], bool(state[0][1]), *state[0][2:]),
                assertions=tuple(
                    Assertion(self._maybe(source), self._maybe(target), kind, self._maybe(by), *how)
                    for source, target, kind, by, *how in assertions.rows_of(group_id)
                ),
                writes=tuple(Write(self._node(n), *row) for n, *row in writes.rows_of(group_id)),
                reads=tuple(Read(self._node(n), version) for n, version in reads.rows_of(group_id)),
                gaps=tuple(CaptureGap(*row) for row in gaps.rows_of(group_id)),
                parents=tuple(
                    Parent(run, self._node(parent)) for run, parent in parents.rows_of(group_id)
                ),
                features=tuple(
                    FeatureColumn(self._node(feature), self._node(column), version)
                    for feature, column, version in features.rows_of(group_id)
                ),
            )

    def _key(
        self, group_id: int, run_id: str | None, job: NodeId | None, *, future: bool, kind: str
    ) -> GroupKey:
        digest = b""
        if kind != "run":
            (digest,) = self._connection.execute(
                "SELECT digest FROM run_event WHERE group_id = ?", (group_id,)
            ).fetchone()
        namespace, name = ("", "") if job is None else (job.namespace, job.name)
        return GroupKey(kind, run_id or "", namespace, name, future, digest)

    def _iter_registers(self) -> Iterator[tuple[NodeId, dict[str, tuple[Order, str | None]]]]:
        sets: dict[int, list[tuple[str, str | None]]] = {}
        rows = self._points(
            "SELECT node_id, event_time, digest, facet_set_id FROM mention WHERE {} "
            "ORDER BY node_id, event_time, digest"
        )
        for node_id, mentions in groupby(rows, key=lambda row: row[0]):
            register: dict[str, tuple[Order, str | None]] = {}
            for _, time_us, digest, facet_set in mentions:
                if facet_set not in sets:
                    (text,) = self._connection.execute(
                        "SELECT facets FROM facet_set WHERE facet_set_id = ?", (facet_set,)
                    ).fetchone()
                    sets[facet_set] = msgspec.json.decode(text)
                for name, body in sets[facet_set]:
                    register[name] = ((time_us, digest), body)
            yield self._node(node_id), register

    def _symlinks(self) -> list[tuple[Order, NodeId, NodeId | None]]:
        return [
            ((time_us, digest), self._node(node), self._maybe(other))
            for node, other, time_us, digest in self._points(
                "SELECT node_a, node_b, event_time, digest FROM alias WHERE {}"
            )
        ]

    def _endings(self) -> list[tuple[NodeId, int]]:
        rows = self._points("SELECT node_id, event_time FROM ending WHERE {}")
        return [(self._node(node), time_us) for node, time_us in rows]


class GraphState(NamedTuple):
    """How far the view is, and what it adds up to."""

    tree_size: int
    fold_version: int
    graph_digest: str

    def to_json(self) -> dict[str, object]:
        """Give the answer of the contract."""
        return self._asdict()


def folded_to(segment: Segment) -> tuple[int, int]:
    """Tell how many entries the view holds, and by which version of the rules it was folded."""
    with segment.reading() as connection:
        if not has_table(connection, "fold_state"):
            return 0, FOLD_VERSION
        size, version = connection.execute(
            "SELECT folded_to, fold_version FROM fold_state"
        ).fetchone()
        return size, version


def graph_state(segment: Segment) -> GraphState:
    """Digest the live graph, in one snapshot with the position that it has reached.

    The caller folds first; without a view the digest is that of an empty graph.
    """
    with segment.reading() as connection:
        if not has_table(connection, "fold_state"):
            return GraphState(0, FOLD_VERSION, digest_lines(()))
        size, version = connection.execute(
            "SELECT folded_to, fold_version FROM fold_state"
        ).fetchone()
        return GraphState(size, version, GraphReader(connection).digest())


class _Merge:
    """Rows sorted by group, taken group by group in the same order."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def rows_of(self, group_id: int) -> list[tuple[Any, ...]]:
        found = []
        while self._next is not None and self._next[0] == group_id:
            found.append(self._next[1:])
            self._next = next(self._rows, None)
        return found

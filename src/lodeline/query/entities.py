"""Datasets and jobs in full, a page at a time: facets, times, newest versions, flows, runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.bodies import Facets, facets_of, members_of
from lodeline.query.history import (
    RunRecord,
    WrittenVersion,
    current_codes,
    describe_runs,
    latest_runs,
    newest_versions,
)

_AMONG = "IN (SELECT value FROM json_each(:ids))"


@dataclass(frozen=True, slots=True)
class ColumnFlow:
    """What flows into one column from one other.

    Attributes:
        column: that it flows into.
        source: that it comes from.
        steps: transformations, as their events stated them.
    """

    column: NodeId
    source: NodeId
    steps: Sequence[Any]


@dataclass(slots=True)
class DatasetRecord:
    """What is known of one dataset, model or deployment.

    Attributes:
        node: canonical, without version.
        facets: that count.
        created_us: event time at which it was first named.
        updated_us: event time of what was last said of it.
        modified_us: event time of the last write by a completed run.
        newest: its newest version.
        flows: into its columns.
    """

    node: NodeId
    facets: Facets
    created_us: int
    updated_us: int
    modified_us: int | None = None
    newest: WrittenVersion | None = None
    flows: list[ColumnFlow] = field(default_factory=list)


@dataclass(slots=True)
class JobRecord:
    """What is known of one job.

    Attributes:
        node: canonical, without version.
        facets: that count.
        created_us: event time at which it was first named.
        updated_us: event time of what was last said of it.
        code: version of its code, empty if unknown; `None` where nothing is said of any run.
        inputs: that it reads, over all its runs.
        outputs: that it writes, over all its runs.
        runs: the latest, the last started first.
        parent: the job, and the run, that last started it.
    """

    node: NodeId
    facets: Facets
    created_us: int
    updated_us: int
    code: str | None = None
    inputs: list[NodeId] = field(default_factory=list)
    outputs: list[NodeId] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    parent: tuple[NodeId, str] | None = None


def describe_datasets(inquiry: Inquiry, nodes: Iterable[NodeId]) -> dict[NodeId, DatasetRecord]:
    """Describe canonical datasets, in a few statements for all of them."""
    view = inquiry.view
    members = members_of(view, nodes)
    numbers = {number for many in members.values() for number in many}
    created = _first_named(inquiry, numbers)
    said = _last_said(inquiry, numbers)
    modified = dict(
        view.select_among(
            'SELECT w.node_id, max(w.time_us) FROM "write" w JOIN run_state s USING (group_id)'
            f" WHERE w.node_id {_AMONG} AND s.state = 'COMPLETE' AND {view.rectangle('w')}"
            f" AND {view.rectangle('s')} GROUP BY w.node_id",
            numbers,
        )
    )
    facets = facets_of(view, members)
    newest = newest_versions(inquiry, members)
    flows = _column_flows(inquiry, members)
    found = {}
    for node, many in members.items():
        version = newest.get(node)
        named = [created[one] for one in many if one in created]
        # Lineage facets name some that no event names itself.
        first = min(named, default=inquiry.moment.time_us or 0)
        last = [said[one] for one in many if one in said]
        last += [version.time_us] if version is not None else []
        found[node] = DatasetRecord(
            node,
            facets[node],
            first,
            max(last, default=first),
            max((modified[one] for one in many if one in modified), default=None),
            version,
            flows.get(node, []),
        )
    return found


def describe_jobs(
    inquiry: Inquiry, nodes: Iterable[NodeId], *, runs: int
) -> dict[NodeId, JobRecord]:
    """Describe canonical jobs, in a few statements for all of them.

    Args:
        inquiry: under way.
        nodes: jobs.
        runs: latest runs of each.
    """
    view = inquiry.view
    members = members_of(view, nodes)
    numbers = {number for many in members.values() for number in many}
    created = _first_named(inquiry, numbers)
    spans = dict(
        view.select_among(
            "SELECT s.job_node, max(s.last_us) FROM run_state s"
            f" WHERE s.job_node {_AMONG} AND {view.rectangle('s')} GROUP BY s.job_node",
            numbers,
        )
    )
    facets = facets_of(view, members)
    codes = current_codes(inquiry, numbers)
    flows = _job_flows(inquiry, numbers)
    latest = latest_runs(inquiry, numbers, limit=runs)
    records = describe_runs(inquiry, (one for many in latest.values() for one in many))
    parents = _parents(inquiry, numbers)
    found = {}
    for node, many in members.items():
        named = [created[one] for one in many if one in created]
        first = min(named, default=inquiry.moment.time_us or 0)
        job = found[node] = JobRecord(
            node,
            facets[node],
            first,
            max((spans[one] for one in many if one in spans), default=first),
            max((codes[one] for one in many if one in codes), default=None),
        )
        for one in many:
            reads, writes = flows.get(one, ((), ()))
            job.inputs += reads
            job.outputs += writes
            job.runs += [records[group] for group in latest.get(one, ())]
            job.parent = parents.get(one, job.parent)
    return found


def _first_named(inquiry: Inquiry, numbers: Iterable[int]) -> dict[int, int]:
    view = inquiry.view
    sql = (
        f"SELECT n.node_id, {view.named_at('n')} FROM node n WHERE n.node_id {_AMONG}"
        f" AND {view.named('n')}"
    )
    return dict(view.select_among(sql, numbers))


def _last_said(inquiry: Inquiry, numbers: Iterable[int]) -> dict[int, int]:
    sql = (
        f"SELECT m.node_id, max(m.event_time) FROM mention m WHERE m.node_id {_AMONG}"
        f" AND {inquiry.view.point('m')} GROUP BY m.node_id"
    )
    return dict(inquiry.view.select_among(sql, numbers))


def _column_flows(
    inquiry: Inquiry, members: Mapping[NodeId, Sequence[int]]
) -> dict[NodeId, list[ColumnFlow]]:
    view = inquiry.view
    homes = {number: node for node, many in members.items() for number in many}
    rows = list(
        view.select_among(
            "SELECT n.node_id, d.target, d.source, (SELECT max(a.detail_id) FROM assertion a"
            f" WHERE a.derivation_id = d.derivation_id AND {view.rectangle('a')})"
            " FROM node n JOIN node f ON f.kind = 'datasetField' AND f.namespace = n.namespace"
            " AND f.name = n.name JOIN derivation d ON d.target = f.node_id"
            f" WHERE n.node_id {_AMONG} AND n.kind = 'dataset' AND d.columns = 1"
            " AND d.source IS NOT NULL AND EXISTS (SELECT 1 FROM assertion a"
            f" WHERE a.derivation_id = d.derivation_id AND {view.rectangle('a')})",
            homes,
        )
    )
    names = view.names({row[i] for row in rows for i in (1, 2)})
    details = inquiry.groups.details_of({row[3] for row in rows if row[3] is not None})
    found: dict[NodeId, dict[tuple[NodeId, NodeId], list[Any]]] = defaultdict(dict)
    for number, target, source, detail in rows:
        column, origin = names[target], names[source]
        if origin.kind == "datasetField" and inquiry.authoriser.may_see(origin):
            steps = found[homes[number]].setdefault((column, origin), [])
            steps += json.loads(details[detail]) if detail is not None else []
    return {
        node: [ColumnFlow(*ends, steps) for ends, steps in sorted(flows.items())]
        for node, flows in found.items()
    }


def _job_flows(
    inquiry: Inquiry, numbers: Iterable[int]
) -> dict[int, tuple[list[NodeId], list[NodeId]]]:
    """Give, per job number, what it reads and writes by any run: no edge of a job is lost."""
    view = inquiry.view
    wanted = set(numbers)
    found: dict[int, tuple[set[NodeId], set[NodeId]]] = defaultdict(lambda: (set(), set()))
    for side, end in enumerate(("source", "target")):
        sql = (
            f"SELECT DISTINCT d.job, d.{end} FROM derivation d WHERE d.job {_AMONG}"
            f" AND d.columns = 0 AND d.{end} IS NOT NULL AND EXISTS (SELECT 1 FROM assertion a"
            f" WHERE a.derivation_id = d.derivation_id AND {view.rectangle('a')})"
        )
        rows = list(view.select_among(sql, wanted))
        view.look_ahead({row[1] for row in rows})
        names = view.canonical_names({row[1] for row in rows})
        for job, number in rows:
            if inquiry.authoriser.may_see(names[number]):
                found[job][side].add(names[number])
    return {job: (sorted(reads), sorted(writes)) for job, (reads, writes) in found.items()}


def _parents(inquiry: Inquiry, numbers: Iterable[int]) -> dict[int, tuple[NodeId, str]]:
    view = inquiry.view
    rows = list(
        view.select_among(
            "SELECT t.job_node, t.parent_job, t.parent_run FROM (SELECT g.job_node, p.parent_job,"
            " p.parent_run, ROW_NUMBER() OVER (PARTITION BY g.job_node ORDER BY s.last_us DESC,"
            " g.group_id DESC) AS place FROM run_group g JOIN parent p USING (group_id)"
            f" JOIN run_state s USING (group_id) WHERE g.job_node {_AMONG}"
            f" AND {view.rectangle('p')} AND {view.rectangle('s')}) t WHERE t.place = 1",
            numbers,
        )
    )
    names = view.names({row[1] for row in rows})
    return {
        job: (names[parent], run or "")
        for job, parent, run in rows
        if inquiry.authoriser.may_see(names[parent])
    }

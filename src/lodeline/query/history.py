"""Runs of jobs and versions of datasets and jobs, a page at a time, with what their events said.

A version has an identifier of its own here, a UUID that follows from node and version: other
servers' clients read UUIDs where this record has digests and runs.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from lodeline.model import NodeId, format_identifier
from lodeline.query.asking import Inquiry
from lodeline.query.bodies import Facets, read_payloads
from lodeline.query.groups import Group
from lodeline.query.versions import Versions

_AMONG = "IN (SELECT value FROM json_each(:ids))"

# Name space of the UUIDs of versions.
_VERSIONS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://lodeline.dev/spec/version-uuid")

Name = tuple[str, str]


def version_uuid(node: NodeId) -> str:
    """Give the UUID of a version: UUIDv5 of the node's identifier with its version.

    Args:
        node: with its version; a column's is its dataset's.
    """
    home = node if node.kind != "datasetField" else node.dataset.at(node.version)
    return str(uuid.uuid5(_VERSIONS, format_identifier(home)))


@dataclass(slots=True)
class RunRecord:
    """What is known of one run of one job.

    Attributes:
        group: of the view.
        started: an event said that it runs.
        run: facets of the run.
        job: facets of the job, as the run's events stated them.
        inputs: versions that it read.
        outputs: versions that it wrote.
        input_facets: `inputFacets` by dataset.
        output_facets: `outputFacets` by dataset.
        output_states: facets of the outputs themselves.
    """

    group: Group
    started: bool = False
    run: Facets = field(default_factory=dict)
    job: Facets = field(default_factory=dict)
    inputs: list[NodeId] = field(default_factory=list)
    outputs: list[NodeId] = field(default_factory=list)
    input_facets: dict[Name, Facets] = field(default_factory=dict)
    output_facets: dict[Name, Facets] = field(default_factory=dict)
    output_states: dict[Name, Facets] = field(default_factory=dict)


class WrittenVersion(NamedTuple):
    """One version of a dataset: its latest write."""

    node: NodeId
    time_us: int
    group: int


class CodeVersion(NamedTuple):
    """One version of a job: its runs under one code.

    Attributes:
        node: the job; its version is empty where the code is unknown.
        first_us: event time of its first run.
        latest: number of its latest run's group, `None` where no run has it.
    """

    node: NodeId
    first_us: int
    latest: int | None


def count_runs(inquiry: Inquiry, job: NodeId) -> int:
    """Count the runs of a job that the reader may see."""
    members = inquiry.view.members(job)
    hidden, shown = _hidden_runs(inquiry, members)
    sql = (
        "SELECT count(*) FROM run_group g JOIN run_state s USING (group_id)"
        f" WHERE g.job_node {_AMONG} AND g.run_id IS NOT NULL AND {inquiry.view.rectangle('s')}"
        f"{shown}"
    )
    return sum(row[0] for row in inquiry.view.select_among(sql, members, **hidden))


def _hidden_runs(inquiry: Inquiry, members: Iterable[int]) -> tuple[dict[str, object], str]:
    """Give a condition that leaves out hidden runs, and its parameters.

    Of a job that may be seen only those runs can be hidden that ran another job, too.
    """
    visibility = inquiry.visibility
    if visibility.sees_all:
        return {}, ""
    sql = (
        "SELECT DISTINCT g.run_id FROM run_group g JOIN run_group o ON o.run_id = g.run_id"
        f" AND o.job_node <> g.job_node WHERE g.job_node {_AMONG}"
    )
    shared = [row[0] for row in inquiry.view.select_among(sql, members)]
    visibility.look_up_runs(shared)
    hidden = [run_id for run_id in shared if visibility.judge_run(run_id) is False]
    if not hidden:
        return {}, ""
    left_out = " AND g.run_id NOT IN (SELECT value FROM json_each(:hidden))"
    return {"hidden": json.dumps(hidden)}, left_out


def list_runs(inquiry: Inquiry, job: NodeId, *, limit: int, offset: int) -> list[RunRecord]:
    """List the runs of a job that the reader may see, the last started first."""
    members = inquiry.view.members(job)
    hidden, shown = _hidden_runs(inquiry, members)
    sql = (
        "SELECT g.group_id FROM run_group g JOIN run_state s USING (group_id)"
        f" WHERE g.job_node {_AMONG} AND g.run_id IS NOT NULL AND {inquiry.view.rectangle('s')}"
        f"{shown} ORDER BY s.start_us DESC, g.run_id DESC LIMIT :limit OFFSET :offset"
    )
    rows = list(inquiry.view.select_among(sql, members, limit=limit, offset=offset, **hidden))
    found = describe_runs(inquiry, [row[0] for row in rows])
    return [found[row[0]] for row in rows]


def latest_runs(inquiry: Inquiry, jobs: Iterable[int], *, limit: int) -> dict[int, list[int]]:
    """Give, per job number, the groups of its latest runs, the last started first."""
    sql = (
        "SELECT t.job_node, t.group_id FROM (SELECT g.job_node, g.group_id, ROW_NUMBER() OVER"
        " (PARTITION BY g.job_node ORDER BY s.start_us DESC, g.run_id DESC) AS place"
        f" FROM run_group g JOIN run_state s USING (group_id) WHERE g.job_node {_AMONG}"
        f" AND g.run_id IS NOT NULL AND {inquiry.view.rectangle('s')}) t"
        " WHERE t.place <= :limit ORDER BY t.job_node, t.place"
    )
    found: dict[int, list[int]] = defaultdict(list)
    for job, group in inquiry.view.select_among(sql, jobs, limit=limit):
        found[job].append(group)
    return found


def describe_runs(inquiry: Inquiry, groups: Iterable[int]) -> dict[int, RunRecord]:
    """Read what the events of groups said, in a few statements for all of them."""
    wanted = list(dict.fromkeys(groups))
    view = inquiry.view
    loaded = inquiry.groups.load(wanted)
    found = {number: RunRecord(group) for number, group in loaded.items()}
    rows = sorted(
        view.select_among(
            "SELECT e.event_time, e.digest, e.position, e.group_id, e.event_type FROM run_event e"
            f" WHERE e.group_id {_AMONG} AND {view.point('e')}",
            found,
        ),
        key=lambda row: (row[0], bytes(row[1])),
    )
    events = read_payloads(view, {row[2] for row in rows})
    for _, _, position, number, event_type in rows:
        record = found[number]
        record.started = record.started or event_type in {"START", "RUNNING"}
        _merge(record, events.get(position, {}))
    _add_versions(inquiry, found)
    return found


def _merge(record: RunRecord, event: Mapping[str, Any]) -> None:
    _take(record.run, (event.get("run") or {}).get("facets"))
    _take(record.job, (event.get("job") or {}).get("facets"))
    for used in event.get("inputs") or ():
        name = (used["namespace"], used["name"])
        _take(record.input_facets.setdefault(name, {}), used.get("inputFacets"))
    for made in event.get("outputs") or ():
        name = (made["namespace"], made["name"])
        _take(record.output_facets.setdefault(name, {}), made.get("outputFacets"))
        _take(record.output_states.setdefault(name, {}), made.get("facets"))
    if "dataset" in event:
        made = event["dataset"]
        name = (made["namespace"], made["name"])
        _take(record.output_states.setdefault(name, {}), made.get("facets"))


def _take(register: Facets, stated: object) -> None:
    for name, body in stated.items() if isinstance(stated, Mapping) else ():
        if body is None or (isinstance(body, Mapping) and body.get("_deleted") is True):
            register.pop(name, None)
        else:
            register[name] = body


def _add_versions(inquiry: Inquiry, records: Mapping[int, RunRecord]) -> None:
    """Fill in which versions runs read and wrote.

    An unversioned read is the last write of another run at or before the start; else the run's own.
    """
    view = inquiry.view
    before = (
        'SELECT w.version FROM "write" w JOIN run_group o ON o.group_id = w.group_id'
        " WHERE w.node_id = r.node_id AND w.group_id <> r.group_id AND o.future = 0"
        f" AND w.time_us <= s.start_us AND {view.rectangle('w')}"
        " ORDER BY w.time_us DESC, w.version DESC LIMIT 1"
    )
    reads = list(
        view.select_among(
            f"SELECT r.group_id, r.node_id, r.version, ({before}) FROM read r JOIN run_state s"
            f" ON s.group_id = r.group_id WHERE r.group_id {_AMONG}"
            f" AND {view.rectangle('r')} AND {view.rectangle('s')}",
            records,
        )
    )
    writes = list(
        view.select_among(
            f'SELECT w.group_id, w.node_id, w.version FROM "write" w WHERE w.group_id {_AMONG}'
            f" AND {view.rectangle('w')}",
            records,
        )
    )
    numbers = {row[1] for row in (*reads, *writes)}
    view.look_ahead(numbers)
    names = view.canonical_names(numbers)
    written: dict[tuple[int, NodeId], set[str]] = defaultdict(set)
    for group, number, version in writes:
        written[group, names[number]].add(version)
    stated: dict[tuple[int, NodeId], list[str]] = defaultdict(list)
    versions = Versions(inquiry.groups)
    for group, number, version, earlier in reads:
        node = names[number]
        known = version or earlier
        if version is None and len(view.component(number)) > 1:
            known = versions.read_version(records[group].group, node)
        # No read resolves to a write that is dated in the future.
        own = () if records[group].group.future else written.get((group, node), ())
        stated[group, node].append(known or max(own, default=""))
    for (group, node), found in sorted(stated.items()):
        records[group].inputs.append(node.at(max(found)))
    for (group, node), made in sorted(written.items()):
        records[group].outputs += [node.at(version) for version in sorted(made)]
    if not inquiry.authoriser.sees_all:
        may_see = inquiry.authoriser.may_see
        for record in records.values():
            record.inputs = [node for node in record.inputs if may_see(node)]
            record.outputs = [node for node in record.outputs if may_see(node)]


# -- versions of datasets ------------------------------------------------------------------------


def newest_versions(
    inquiry: Inquiry, nodes: Mapping[NodeId, Sequence[int]]
) -> dict[NodeId, WrittenVersion]:
    """Give the newest version of canonical nodes, those that have one.

    That of the latest write in event time, else of the latest stated read.

    Args:
        inquiry: under way.
        nodes: with the numbers of all their names.
    """
    view = inquiry.view
    statements = (
        (
            "SELECT w.node_id, w.time_us, w.version, w.group_id, ROW_NUMBER() OVER (PARTITION BY"
            ' w.node_id ORDER BY w.time_us DESC, w.version DESC) AS place FROM "write" w'
            f" JOIN run_group g USING (group_id) WHERE w.node_id {_AMONG} AND g.future = 0"
            f" AND {view.rectangle('w')}"
        ),
        (
            "SELECT r.node_id, s.start_us AS time_us, r.version, r.group_id, ROW_NUMBER() OVER"
            " (PARTITION BY r.node_id ORDER BY s.start_us DESC, r.version DESC) AS place"
            " FROM read r JOIN run_group g USING (group_id) JOIN run_state s USING (group_id)"
            f" WHERE r.node_id {_AMONG} AND r.version IS NOT NULL AND g.future = 0"
            f" AND {view.rectangle('r')} AND {view.rectangle('s')}"
        ),
    )
    found: dict[NodeId, WrittenVersion] = {}
    for statement in statements:
        left = {node: members for node, members in nodes.items() if node not in found}
        rows = {
            row[0]: row[1:]
            for row in view.select_among(
                "SELECT t.node_id, t.time_us, t.version, t.group_id"
                f" FROM ({statement}) t WHERE t.place = 1",
                {number for members in left.values() for number in members},
            )
        }
        for node, members in left.items():
            known = [rows[number] for number in members if number in rows]
            if known:
                time_us, version, group = max(known)
                found[node] = WrittenVersion(node.at(version), time_us, group)
    return found


def count_versions(inquiry: Inquiry, node: NodeId) -> int:
    """Count the versions of a dataset that were written."""
    sql = (
        'SELECT count(DISTINCT w.version) FROM "write" w JOIN run_group g USING (group_id)'
        f" WHERE w.node_id {_AMONG} AND g.future = 0 AND {inquiry.view.rectangle('w')}"
    )
    return sum(row[0] for row in inquiry.view.select_among(sql, inquiry.view.members(node)))


def list_versions(
    inquiry: Inquiry, node: NodeId, *, limit: int, offset: int, version: str | None = None
) -> list[WrittenVersion]:
    """List the versions of a dataset, the last written first.

    Args:
        inquiry: under way.
        node: canonical.
        limit: versions of the page.
        offset: versions of the pages before.
        version: the only one wanted.
    """
    view = inquiry.view
    only = "" if version is None else " AND w.version = :version"
    sql = (
        "SELECT t.version, t.time_us, t.group_id FROM (SELECT w.version, w.time_us, w.group_id,"
        " ROW_NUMBER() OVER (PARTITION BY w.version ORDER BY w.time_us DESC, w.group_id DESC)"
        ' AS place FROM "write" w JOIN run_group g USING (group_id)'
        f" WHERE w.node_id {_AMONG} AND g.future = 0 AND {view.rectangle('w')}{only}) t"
        " WHERE t.place = 1 ORDER BY t.time_us DESC, t.version DESC LIMIT :limit OFFSET :offset"
    )
    values = {"limit": limit, "offset": offset, "version": version or ""}
    rows = list(view.select_among(sql, view.members(node), **values))
    return [WrittenVersion(node.at(row[0]), row[1], row[2]) for row in rows]


def find_version_of(inquiry: Inquiry, node: NodeId, text: str) -> str | None:
    """Find the version of a dataset or job that a UUID, or its own text, names."""
    view = inquiry.view
    members = view.members(node)
    if node.kind == "job":
        statements = [
            (
                f"SELECT DISTINCT s.code FROM run_state s WHERE s.job_node {_AMONG}"
                f" AND {view.rectangle('s')}"
            )
        ]
    else:
        statements = [
            f'SELECT DISTINCT t.version FROM "{table}" t WHERE t.node_id {_AMONG}'
            f" AND t.version IS NOT NULL AND {view.rectangle('t')}"
            for table in ("write", "read")
        ]
    wanted = text.lower()
    for statement in statements:
        for (version,) in view.select_among(statement, members):
            if (version and version == text) or version_uuid(node.at(version or "")) == wanted:
                return version or ""
    return None


# -- versions of jobs ----------------------------------------------------------------------------


def list_code_versions(inquiry: Inquiry, job: NodeId) -> list[CodeVersion]:
    """List the versions of a job, the last run first."""
    view = inquiry.view
    members = view.members(job)
    rows = list(
        view.select_among(
            "SELECT s.code, min(s.first_us), max(s.last_us) FROM run_state s"
            f" WHERE s.job_node {_AMONG} AND {view.rectangle('s')}"
            " GROUP BY s.code ORDER BY 3 DESC",
            members,
        )
    )
    latest = dict(
        view.select_among(
            "SELECT t.code, t.group_id FROM (SELECT s.code, s.group_id, ROW_NUMBER() OVER"
            " (PARTITION BY s.code ORDER BY s.start_us DESC, g.run_id DESC) AS place"
            f" FROM run_state s JOIN run_group g USING (group_id) WHERE s.job_node {_AMONG}"
            f" AND g.run_id IS NOT NULL AND {view.rectangle('s')}) t WHERE t.place = 1",
            members,
        )
    )
    return [CodeVersion(job.at(code or ""), first, latest.get(code)) for code, first, _ in rows]


def current_codes(inquiry: Inquiry, jobs: Iterable[int]) -> dict[int, str]:
    """Give, per job number, the code version of what was last said of it; empty if unknown."""
    sql = (
        "SELECT t.job_node, t.code FROM (SELECT s.job_node, s.code, ROW_NUMBER() OVER"
        " (PARTITION BY s.job_node ORDER BY s.last_us DESC, s.group_id DESC) AS place"
        f" FROM run_state s WHERE s.job_node {_AMONG} AND {inquiry.view.rectangle('s')}) t"
        " WHERE t.place = 1"
    )
    return {job: code or "" for job, code in inquiry.view.select_among(sql, jobs)}


def flows_of_codes(inquiry: Inquiry, job: NodeId) -> dict[str, tuple[list[NodeId], list[NodeId]]]:
    """Give, per code version, what a job reads and writes."""
    view = inquiry.view
    found: dict[str, tuple[set[NodeId], set[NodeId]]] = defaultdict(lambda: (set(), set()))
    for side, end in enumerate(("source", "target")):
        sql = (
            f"SELECT DISTINCT s.code, d.{end} FROM run_state s JOIN assertion a"
            " ON a.group_id = s.group_id JOIN derivation d ON d.derivation_id = a.derivation_id"
            f" WHERE s.job_node {_AMONG} AND d.columns = 0 AND d.{end} IS NOT NULL"
            f" AND {view.rectangle('s')} AND {view.rectangle('a')}"
        )
        rows = list(view.select_among(sql, view.members(job)))
        names = view.canonical_names({row[1] for row in rows})
        for code, number in rows:
            if inquiry.authoriser.may_see(names[number]):
                found[code or ""][side].add(names[number])
    return {code: (sorted(reads), sorted(writes)) for code, (reads, writes) in found.items()}


def declared_flows(inquiry: Inquiry, job: NodeId) -> tuple[list[NodeId], list[NodeId]]:
    """Give what the last JobEvent with inputs or outputs says that a job reads and writes."""
    view = inquiry.view
    rows = list(
        view.select_among(
            "SELECT s.last_us, g.group_id FROM run_group g JOIN run_state s USING (group_id)"
            f" WHERE g.job_node {_AMONG} AND g.kind = 'job' AND {view.rectangle('s')}"
            " AND EXISTS (SELECT 1 FROM assertion a WHERE a.group_id = g.group_id"
            f" AND {view.rectangle('a')}) ORDER BY 1 DESC, 2 DESC LIMIT 1",
            view.members(job),
        )
    )
    ends: tuple[list[NodeId], list[NodeId]] = ([], [])
    if not rows:
        return ends
    for side, end in enumerate(("source", "target")):
        found = view.select(
            f"SELECT DISTINCT d.{end} FROM assertion a JOIN derivation d USING (derivation_id)"
            f" WHERE a.group_id = :group AND d.columns = 0 AND d.{end} IS NOT NULL"
            f" AND {view.rectangle('a')}",
            group=rows[0][1],
        )
        ends[side].extend(sorted(view.names(row[0] for row in found).values()))
    return ends

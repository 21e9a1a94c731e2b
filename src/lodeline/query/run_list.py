"""Runs: the runs of a job, the newest first, with what was measured, and who started whom.

Asked by the pages, which draw them on a line of time; every run passes the reader's authoriser. Of
an agent, the newest runs of all jobs are looked through: no index tells whose they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec

from lodeline.errors import UnknownNodeError
from lodeline.limits import AGENT_RUNS_SCANNED_MAX, RUNS_LISTED_MAX
from lodeline.model import NodeId, format_time, parse_identifier
from lodeline.query.asking import Inquiry, find_inquiry, open_page
from lodeline.query.collecting import collector_at_rest
from lodeline.query.concealing import conceal, holds_any
from lodeline.query.groups import Group
from lodeline.query.history import RunRecord, count_runs, describe_runs, list_runs
from lodeline.query.parameters import Question, read_question
from lodeline.query.permission import OPEN, Authoriser
from lodeline.store import Segment

Answer = dict[str, Any]
_STARTED: Final = (
    "SELECT DISTINCT p.parent_run, p.group_id FROM parent p JOIN run_state s USING (group_id)"
    " WHERE p.parent_run IN (SELECT value FROM json_each(:runs))"
)


class RunsQuestion(Question, frozen=True, kw_only=True):
    """Which runs are there of a job, or of the job of a run?"""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=RUNS_LISTED_MAX)] = 20
    cursor: str | None = None


def runs(
    segment: Segment, parameters: Mapping[str, object], *, authoriser: Authoriser = OPEN
) -> Answer:
    """Answer `runs`: `job`, `total`, `runs`, their `children`, and the `parent` of a run.

    Raises:
        UnknownNodeError: not in the record.
        UsageError: a malformed question.
    """
    question = read_question(RunsQuestion, parameters)
    page, pinned = open_page("runs", question, dict(parameters))
    with collector_at_rest(), segment.reading() as connection:
        inquiry = find_inquiry(segment, connection, question, pinned=pinned, authoriser=authoriser)
        if question.id.startswith("agent:"):
            node, job, own = parse_identifier(question.id), None, None
            listed = _runs_by(inquiry, node, limit=page.limit)
            total = len(listed)
        else:
            node = inquiry.resolve(question.id)
            job, own = _job_of(inquiry, node)
            listed = list_runs(inquiry, job, limit=page.limit, offset=page.offset) if job else []
            total = count_runs(inquiry, job) if job else 0
        seen = [one for one in listed if inquiry.visibility.sees_run(one.group.run_id)]
        names = inquiry.visibility.hidden_names_near([] if job is None else [job])
        about = [node.name] if node.kind == "run" else [one.group.run_id for one in seen]
        answer = {
            "id": str(node),
            "job": None if job is None else str(job),
            "total": total,
            "runs": [_run_json(inquiry, one, names) for one in seen],
            "parent": None if own is None else _parent_of(inquiry, own),
            "children": _children_of(inquiry, about),
            "as_of": inquiry.moment.to_json(),
            "trees": inquiry.moment.trees_json(),
            "next": (
                page.next_cursor(inquiry.moment) if page.offset + page.limit < total else None
            ),
        }
        return conceal(answer, inquiry.visibility)


def _job_of(inquiry: Inquiry, node: NodeId) -> tuple[NodeId | None, Group | None]:
    """Give the job of a node, and the newest group of a run."""
    if node.kind != "run":
        return (node.at("") if node.kind == "job" else None), None
    groups = inquiry.groups.load(inquiry.view.groups_of_run(node.name)).values()
    named = [group for group in groups if group.job is not None]
    if not named:
        return None, None
    newest = max(named, key=lambda group: group.order)
    return newest.job, newest


def _runs_by(inquiry: Inquiry, agent: NodeId, *, limit: int) -> list[RunRecord]:
    """Find the newest runs that name an agent.

    Raises:
        UnknownNodeError: none of those looked through does.
    """
    rows = inquiry.view.select(
        "SELECT g.group_id FROM run_group g JOIN run_state s USING (group_id)"
        f" WHERE g.run_id IS NOT NULL AND {inquiry.view.rectangle('s')}"
        f" ORDER BY s.last_us DESC LIMIT {AGENT_RUNS_SCANNED_MAX}"
    )
    records = describe_runs(inquiry, [row[0] for row in rows]).values()
    found = [one for one in records if (agent.namespace, agent.name) in _agents_of(one)]
    found = [one for one in found if inquiry.visibility.sees_run(one.group.run_id)]
    if not found:
        raise UnknownNodeError(str(agent))
    found.sort(key=lambda one: (-one.group.start_us, one.group.run_id))
    return found[:limit]


def _agents_of(record: RunRecord) -> set[tuple[str, str]]:
    listed = _object(record.run.get("lodeline_agent")).get("agents")
    named = [_object(one) for one in listed] if isinstance(listed, list) else []
    return {(str(one.get("type")), str(one.get("id"))) for one in named}


def _run_json(inquiry: Inquiry, record: RunRecord, names: Collection[str]) -> Answer:
    group = record.group
    stated = _object(record.run.get("lodeline_parameters"))
    replay = _object(record.run.get("lodeline_replay"))
    replayed = str(replay.get("of") or "") or None
    text = inquiry.visibility.text
    told: Answer = {
        "run": group.run_id,
        "job": None if group.job is None else text(group.job),
        "state": group.state,
        "started": format_time(group.start_us),
        "ended": None if group.end_us is None else format_time(group.end_us),
        "seconds": None if group.end_us is None else (group.end_us - group.start_us) / 1e6,
        "version": group.code,
        "inputs": [text(one) for one in record.inputs],
        "outputs": [text(one) for one in record.outputs],
        "parameters": _scalars(stated.get("parameters")),
        "metrics": _scalars(stated.get("metrics")),
        "replay_of": replayed,
        "verdict": replay.get("verdict"),
    }
    for key in ("parameters", "metrics"):
        if holds_any(told[key], names):
            told[key] = {}
    return told


def _scalars(value: object) -> Answer:
    """Keep what can stand in a cell: numbers, words and switches."""
    return {
        str(name): one
        for name, one in _object(value).items()
        if one is None or isinstance(one, str | int | float | bool)
    }


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _parent_of(inquiry: Inquiry, group: Group) -> Answer | None:
    rows = inquiry.view.select(
        "SELECT p.parent_run, p.parent_job FROM parent p WHERE p.group_id = :own"
        f" AND {inquiry.view.rectangle('p')} LIMIT 1",
        own=group.number,
    )
    for run, job in rows:
        node = inquiry.view.canonical_names({job})[job]
        if inquiry.visibility.may_see(node):
            known = bool(run) and bool(inquiry.view.groups_of_run(run))
            return {"run": run, "job": str(node), "recorded": known}
        return {"run": None, "job": inquiry.visibility.stub(node), "recorded": False}
    return None


def _children_of(inquiry: Inquiry, run_ids: Iterable[str]) -> list[Answer]:
    """List the runs that runs started, the first started first."""
    rows = inquiry.view.select(
        f"{_STARTED} AND {inquiry.view.rectangle('p')} AND {inquiry.view.rectangle('s')}"
        f" LIMIT {RUNS_LISTED_MAX}",
        runs=json.dumps(sorted(set(run_ids))),
    )
    parents = {number: run for run, number in rows}
    records = describe_runs(inquiry, parents)
    shown = [one for one in records.values() if inquiry.visibility.sees_run(one.group.run_id)]
    shown.sort(key=lambda one: (one.group.start_us, one.group.run_id))
    return [
        {
            "run": one.group.run_id,
            "job": None if one.group.job is None else str(one.group.job),
            "of": parents[one.group.number],
            "state": one.group.state,
            "started": format_time(one.group.start_us),
            "ended": None if one.group.end_us is None else format_time(one.group.end_us),
        }
        for one in shown
    ]

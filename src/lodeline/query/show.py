"""Show: what is known of one node."""

from __future__ import annotations

from typing import Any

from lodeline.ingest.predictions import summarise_deployment
from lodeline.limits import SHOW_VERSIONS_MAX
from lodeline.model import NodeId, format_time
from lodeline.query.answers import Page
from lodeline.query.asking import Inquiry
from lodeline.query.concealing import veil
from lodeline.query.facets import Registers, labels_in, owners_in
from lodeline.query.messages import summarise_messages
from lodeline.query.parameters import ShowQuestion
from lodeline.query.predictions import describe_prediction
from lodeline.query.records import read_record
from lodeline.query.versions import Versions, newest_version
from lodeline.query.view import View
from lodeline.store.senders import senders_of

Answer = dict[str, Any]

_AMONG = "IN (SELECT value FROM json_each(:ids))"


def show(inquiry: Inquiry, question: ShowQuestion, page: Page) -> Answer:  # noqa: ARG001
    """Answer a show question; without a version, of the newest."""
    node = inquiry.resolve(question.id)
    answer: Answer
    if node.kind == "run":
        answer = _run(inquiry, node)
    elif node.kind == "prediction":
        answer = describe_prediction(inquiry, node)
    elif node.kind == "job":
        answer = _job(inquiry, node)
    else:
        answer = _entity(inquiry, node)
    if not inquiry.visibility.sees_all:
        _conceal_texts(inquiry, node, answer)
    shape: Answer = {
        **node.at(answer.get("version") or node.version).to_json(),
        "aliases": [],
        "versions": [],
        "facets": {},
        "labels": [],
        "owners": [],
    }
    moment = {"as_of": inquiry.moment.to_json(), "trees": inquiry.moment.trees_json()}
    return shape | answer | {"id": str(node)} | moment


def _conceal_texts(inquiry: Inquiry, node: NodeId, answer: Answer) -> None:
    """Withhold what names hidden nodes in words that are not ours."""
    visible = inquiry.visibility.may_see
    names = inquiry.visibility.hidden_names_near([node.dataset])
    answer["facets"] = veil(answer.get("facets", {}), names)
    home = node.dataset if node.kind == "datasetField" else node.at("")
    answer["aliases"] = [str(one) for one in inquiry.view.aliases_of(home) if visible(one)]


def _registers(inquiry: Inquiry, node: NodeId) -> Answer:
    facets = Registers(inquiry.view).facets_of(node)
    return {
        "aliases": [str(alias) for alias in inquiry.view.aliases_of(node)],
        "facets": facets,
        "labels": labels_in(facets),
        "owners": owners_in(facets),
    }


def _entity(inquiry: Inquiry, node: NodeId) -> Answer:
    """Describe a dataset, column, feature, model or deployment."""
    home = node.dataset if node.kind == "datasetField" else node.at("")
    answer = _registers(inquiry, home)
    if node.kind == "feature":
        answer |= _feature(inquiry, node)
        return answer
    version = node.version or newest_version(inquiry.groups, home)
    writes = Versions(inquiry.groups).writes_of(home)
    numbers = _numbers(inquiry.view, home)
    groups = inquiry.groups.load({one.group for one in writes[-SHOW_VERSIONS_MAX:]})
    listed: dict[str, Answer] = {}
    for one in reversed(writes[-SHOW_VERSIONS_MAX:]):
        group = groups[one.group]
        listed.setdefault(
            one.version,
            {
                "version": one.version,
                "number": numbers.get(one.version),
                "written": format_time(one.time_us),
                "run": group.run_id or None,
                "job": None if group.job is None else str(group.job),
            },
        )
    answer["version"] = version
    if node.kind == "deployment":
        found = summarise_deployment(inquiry.segment, home, size=inquiry.moment.size)
        if found["count"]:
            answer["sampled"] = found
    answer["versions"] = list(listed.values())
    answer["versions_total"] = len({one.version for one in writes})
    if node.kind == "dataset":
        answer["fields"] = [field.part for field in inquiry.view.fields_of(home)]
    if node.kind == "datasetField":
        answer["facets"] = _column_facets(answer["facets"], node.part)
    elif version is not None:
        _add_own_facets(inquiry, answer, home.at(version))
    return answer


def _add_own_facets(inquiry: Inquiry, answer: Answer, node: NodeId) -> None:
    """Put what the version's own writer said over what was said last of any version."""
    writers = Versions(inquiry.groups).writers(node, None)
    groups = [group for _, group in writers[-1:] if group is not None]
    if not groups:
        return
    record = read_record(inquiry.view, groups)
    names = inquiry.view.names(inquiry.view.members(node)).values()
    for name in names:
        own = record.outputs.get((name.namespace, name.name), {})
        answer["facets"] = {**answer["facets"], **own}


def _column_facets(facets: Answer, column: str) -> Answer:
    """Keep what facets say of one column."""
    found: Answer = {}
    for field in (facets.get("schema") or {}).get("fields") or ():
        if isinstance(field, dict) and field.get("name") == column:
            found["schema"] = field
    lineage = ((facets.get("columnLineage") or {}).get("fields") or {}).get(column)
    if lineage is not None:
        found["columnLineage"] = lineage
    metrics = ((facets.get("dataQualityMetrics") or {}).get("columnMetrics") or {}).get(column)
    if metrics is not None:
        found["dataQualityMetrics"] = metrics
    return found


def _feature(inquiry: Inquiry, node: NodeId) -> Answer:
    view = inquiry.view
    sql = (
        "SELECT f.field_node, f.version, max(s.last_us) FROM feature f"
        f" JOIN run_state s USING (group_id) WHERE f.feature_node {_AMONG}"
        f" AND {view.rectangle('f')} AND {view.rectangle('s')}"
        " GROUP BY f.field_node, f.version ORDER BY 3 DESC"
    )
    rows = list(view.select_among(sql, view.members(node)))
    names = view.canonical_names({row[0] for row in rows})
    versions = {row[1]: row[2] for row in reversed(rows) if row[1]}
    return {
        "version": node.version or next((row[1] for row in rows if row[1]), None),
        "versions": [
            {"version": version, "number": None, "written": format_time(time), "run": None}
            for version, time in sorted(versions.items(), key=lambda item: -item[1])
        ],
        "columns": sorted({str(names[row[0]]) for row in rows}),
    }


def _numbers(view: View, node: NodeId) -> dict[str, int]:
    sql = (
        f"SELECT version, number FROM number WHERE node_id {_AMONG} AND position < :size"
        " ORDER BY number DESC"
    )
    return dict(view.select_among(sql, view.members(node)))


def _job(inquiry: Inquiry, node: NodeId) -> Answer:
    view = inquiry.view
    answer = _registers(inquiry, node.at(""))
    sql = (
        "SELECT g.run_id, s.state, s.start_us, s.end_us, s.code, s.last_us FROM run_group g"
        f" JOIN run_state s USING (group_id) WHERE g.job_node {_AMONG}"
        f" AND {view.rectangle('s')} ORDER BY s.last_us DESC LIMIT {SHOW_VERSIONS_MAX}"
    )
    rows = list(view.select_among(sql, view.members(node)))
    codes: dict[str, Answer] = {}
    for run, _, _, _, code, last_us in rows:
        if code is not None:
            written = {"written": format_time(last_us), "run": run}
            codes.setdefault(code, {"version": code, "number": None, **written})
    answer["version"] = node.version or next(iter(codes), None)
    answer["versions"] = list(codes.values())
    answer["runs"] = [
        {
            "run": run,
            "state": state,
            "started": format_time(start_us),
            "ended": None if end_us is None else format_time(end_us),
            "version": code,
        }
        for run, state, start_us, end_us, code, _ in rows
        if run and node.version in {"", code} and inquiry.visibility.sees_run(run)
    ]
    return answer


def _run(inquiry: Inquiry, node: NodeId) -> Answer:
    view = inquiry.view
    numbers = view.groups_of_run(node.name)
    groups = sorted(inquiry.groups.load(numbers).values(), key=lambda group: group.number)
    record = read_record(view, numbers)
    versions = Versions(inquiry.groups)
    versions.load(numbers)
    newest = max(groups, key=lambda group: group.order)
    inputs, outputs = set(), set()
    for group in groups:
        inputs |= {
            str(home.at(versions.read_version(group, home) or ""))
            for home in versions.homes_read(group.number)
        }
        outputs |= {str(made) for made in versions.all_written(group.number)}
    messages = summarise_messages(inquiry, record)
    return {
        **({"messages": messages} if messages else {}),
        "job": None if newest.job is None else str(newest.job),
        "jobs": sorted({str(group.job) for group in groups if group.job is not None}),
        "state": newest.state,
        "started": format_time(min(group.start_us for group in groups)),
        "ended": None if newest.end_us is None else format_time(newest.end_us),
        "code": newest.code,
        "inputs": sorted(inputs),
        "outputs": sorted(outputs),
        "producers": sorted(record.producers),
        "senders": _senders(inquiry, numbers),
        "correlations": record.correlations,
        "facets": record.run,
        "labels": labels_in(record.run),
        "gaps": [gap.to_json() for gap in inquiry.groups.gaps_of(numbers)],
    }


def _senders(inquiry: Inquiry, groups: list[int]) -> list[Answer]:
    """List which keys delivered the events of groups, beside what these claim."""
    entries = inquiry.groups.entries_of(groups).values()
    positions = [position for group in entries for position in group]
    return [one.to_json() for one in senders_of(inquiry.connection, positions)]

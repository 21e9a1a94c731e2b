"""Diff: what differs between two versions of a node, between two runs, or between two times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lodeline.errors import UsageError
from lodeline.model import NodeId
from lodeline.query.answers import Page
from lodeline.query.asking import Inquiry
from lodeline.query.concealing import holds_any
from lodeline.query.graph_diff import diff_graph
from lodeline.query.parameters import DiffQuestion
from lodeline.query.records import Facets, Record, read_record
from lodeline.query.versions import Versions, newest_version

Answer = dict[str, Any]
Table = dict[str, Any]
_WITHHELD = {"at": "restricted", "before": None, "after": None, "restricted": True}

# What is compared, in the order of the answer.
WHATS = (
    "input",
    "output",
    "code",
    "environment",
    "parameter",
    "metric",
    "schema",
    "profile",
    "edge",
)


@dataclass(slots=True)
class Side:
    """One of the two compared: for each `what`, a value by place."""

    tables: dict[str, Table] = field(default_factory=lambda: {what: {} for what in WHATS})


def diff(inquiry: Inquiry, question: DiffQuestion, page: Page) -> Answer:
    """Answer a diff question. Identifiers without version mean the newest.

    Raises:
        UsageError: the two are of different kinds, or of a kind that has neither runs nor
            versions; or one of the two is missing.
    """
    if question.is_about_times:
        if question.b is not None:
            raise UsageError("diff compares two nodes, or one node at two times")
        return diff_graph(inquiry, question, page)
    if question.a is None or question.b is None:
        raise UsageError("diff needs two nodes, or --since or --valid-since")
    a, b = (_subject(inquiry, text) for text in (question.a, question.b))
    if a.kind != b.kind:
        raise UsageError(f"cannot compare a {a.kind} with a {b.kind}")
    before, after = (_side(inquiry, node) for node in (a, b))
    changes = [
        {"what": what, "at": at, "before": old, "after": new}
        for what in WHATS
        for at, old, new in _iter_changes(before.tables[what], after.tables[what])
    ]
    names = inquiry.visibility.hidden_names_near([a, b])
    changes = [{**one, **_WITHHELD} if holds_any(one, names) else one for one in changes]
    return {
        "a": str(a),
        "b": str(b),
        "changes": changes,
        "same": not changes,
        "as_of": inquiry.moment.to_json(),
        "trees": inquiry.moment.trees_json(),
    }


def _iter_changes(before: Table, after: Table) -> Iterator[tuple[str, Any, Any]]:
    for at in sorted(before.keys() | after.keys()):
        old, new = before.get(at), after.get(at)
        if old != new:
            yield at, old, new


def _subject(inquiry: Inquiry, text: str) -> NodeId:
    node = inquiry.resolve(text)
    if node.kind not in {"run", "dataset", "model", "deployment", "job"}:
        raise UsageError(f"diff compares runs and versions, not a {node.kind}")
    if node.version or node.kind in {"run", "job"}:
        if node.kind == "job" and not node.version:
            raise UsageError("diff of jobs needs two code versions, as job:…#version")
        return node
    version = newest_version(inquiry.groups, node)
    if version is None:
        raise UsageError(f"{node} has no version to compare")
    return node.at(version)


def _side(inquiry: Inquiry, node: NodeId) -> Side:
    view, versions = inquiry.view, Versions(inquiry.groups)
    if node.kind == "run":
        groups = view.groups_of_run(node.name)
    elif node.kind == "job":
        among = "IN (SELECT value FROM json_each(:ids))"
        sql = (
            f"SELECT s.group_id FROM run_state s WHERE s.job_node {among} AND s.code = :code"
            f" AND {view.rectangle('s')} ORDER BY s.last_us DESC LIMIT 1"
        )
        rows = view.select_among(sql, view.members(node), code=node.version)
        groups = [row[0] for row in rows]
    else:
        writers = versions.writers(node, None)
        groups = [group for _, group in writers[-1:] if group is not None]
    side = Side()
    record = read_record(view, groups)
    only = None if node.kind in {"run", "job"} else node
    _add_uses(inquiry, side, versions, groups, only)
    _add_making(side, record)
    _add_outputs(inquiry, side, record, only)
    return side


def _add_uses(
    inquiry: Inquiry, side: Side, versions: Versions, numbers: list[int], only: NodeId | None
) -> None:
    """Tell which versions went in and out, and what flowed where."""
    view, text = inquiry.view, inquiry.visibility.text
    among = "IN (SELECT value FROM json_each(:ids))"
    groups = inquiry.groups.load(numbers)
    sql = (
        "SELECT DISTINCT a.group_id, d.source, d.target FROM assertion a JOIN derivation d"
        f" USING (derivation_id) WHERE a.group_id {among} AND {view.rectangle('a')}"
    )
    rows = list(view.select_among(sql, numbers))
    names = view.canonical_names({n for row in rows for n in row[1:] if n is not None})
    wanted = None if only is None else only.at("")
    for number, source, target in rows:
        near, far = names.get(source), names.get(target)
        if wanted is not None and (far is None or far.dataset != wanted):
            continue
        if near is not None and far is not None:
            side.tables["edge"][f"{text(near)} -> {text(far)}"] = True
        if near is not None and near.kind != "datasetField":
            version = versions.read_version(groups[number], near)
            side.tables["input"][text(near)] = _version(inquiry, near, version)
        if far is not None and far.kind != "datasetField":
            made = [node.version for node in versions.written(number, far)]
            version = made[-1] if made else None
            side.tables["output"][text(far)] = _version(inquiry, far, version)


def _version(inquiry: Inquiry, node: NodeId, version: str | None) -> str | None:
    """Give a version; of a hidden node only what tells it from another."""
    if version is None or inquiry.visibility.may_see(node):
        return version
    return inquiry.visibility.stub(node.at(version))


def _add_making(side: Side, record: Record) -> None:
    """Tell how it was made: code, environment, parameters, metrics."""
    tables = side.tables
    code = _object(record.run.get("lodeline_code"))
    for name in ("version", "commit", "patchDigest", "sourceDigest", "remote", "path"):
        if code.get(name) is not None:
            tables["code"][name] = code[name]
    located = _object(record.job.get("sourceCodeLocation"))
    if "version" not in tables["code"] and located.get("version") is not None:
        tables["code"]["version"] = located["version"]
    for facet, name in (("sourceCode", "sourceCode"), ("sql", "query")):
        body = _object(record.job.get(facet))
        if body.get(name) is not None:
            tables["code"][facet] = body[name]
    environment = _object(record.run.get("lodeline_environment"))
    for name in ("interpreter", "platform", "packages", "container", "host", "ci", "variables"):
        _flatten(tables["environment"], name, environment.get(name))
    parameters = _object(record.run.get("lodeline_parameters"))
    _flatten(tables["parameter"], "", parameters.get("parameters"))
    _flatten(tables["parameter"], "seed", parameters.get("seeds"))
    _flatten(tables["metric"], "", parameters.get("metrics"))


def _add_outputs(inquiry: Inquiry, side: Side, record: Record, only: NodeId | None) -> None:
    """Tell what the outputs look like: schema, profile, and a model's parameters."""
    members = None
    if only is not None:
        names = inquiry.view.names(inquiry.view.members(only)).values()
        members = {(name.namespace, name.name) for name in names}
    for name, facets in sorted(record.outputs.items()):
        if members is not None and name not in members:
            continue
        if not inquiry.visibility.may_see(NodeId("dataset", *name)):
            continue
        prefix = "" if members is not None else f"{name[0]}:{name[1]}"
        _add_output(side, prefix, facets)


def _add_output(side: Side, prefix: str, facets: Facets) -> None:
    for column in _objects(_object(facets.get("schema")).get("fields")):
        place = _join(prefix, str(column.get("name")))
        side.tables["schema"][place] = column.get("type") or "unknown"
    for facet in ("dataQualityMetrics", "outputStatistics", "lodeline_quality"):
        body = {k: v for k, v in _object(facets.get(facet)).items() if not k.startswith("_")}
        _flatten(side.tables["profile"], prefix, body)
    model = _object(facets.get("lodeline_model"))
    for key in ("framework", "class", "format", "features"):
        if model.get(key) is not None:
            side.tables["schema"][_join(prefix, key)] = model[key]
    _flatten(side.tables["parameter"], prefix, model.get("parameters"))
    deployment = _object(facets.get("lodeline_deployment"))
    _flatten(side.tables["parameter"], prefix, deployment.get("configuration"))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _flatten(table: Table, prefix: str, value: object) -> None:
    """Spread nested objects into places, so that each difference has its own."""
    waiting: list[tuple[str, object]] = [(prefix, value)]
    while waiting:
        place, body = waiting.pop()
        if isinstance(body, Mapping):
            waiting.extend((_join(place, str(key)), inner) for key, inner in body.items())
        elif body is not None:
            table[place] = json.loads(json.dumps(body))

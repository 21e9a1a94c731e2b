"""Lineage in Marquez's shape, out of the answers of `trace`.

The graph holds what reaches the root or is reached from it, and no siblings; a job has all edges
of all its runs. Roots with a version, and runs, are answered between versions and runs.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from lodeline.errors import MalformedIdentifierError, UnknownNodeError, UsageError
from lodeline.limits import ANSWER_NODES_MAX
from lodeline.model import NodeId, iter_readings, parse_identifier
from lodeline.query import ask
from lodeline.query.asking import Inquiry
from lodeline.query.bodies import facets_of, members_of
from lodeline.query.catalogue import DATA_KINDS
from lodeline.query.entities import describe_datasets, describe_jobs
from lodeline.query.history import (
    RunRecord,
    describe_runs,
    find_version_of,
    flows_of_codes,
    version_uuid,
)
from lodeline.query.identifying import find_known
from lodeline.server.marquez.calls import Call, Json, Read
from lodeline.server.marquez.shapes import (
    dataset_json,
    fields_json,
    id_json,
    input_field_json,
    job_json,
    node_id,
    run_json,
    state_of,
    time_text,
    version_id_json,
)

_DEPTH: Final = 20
_DEPTH_MAX: Final = 1_000_000
_DIRECTIONS: Final = ("up", "down", "both")
_TYPES: Final = {"job": "JOB", "run": "RUN", "datasetField": "DATASET_FIELD"}


def get_lineage(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /lineage`."""
    root = find_node(inquiry, call.required("nodeId"))
    direction = call.query.get("direction", "both")
    if direction not in _DIRECTIONS:
        raise UsageError(f"direction: {', '.join(_DIRECTIONS)}, not {direction[:64]!r}")
    answer = _trace(inquiry, call, root, direction=direction)
    ends = [
        (edge["source"], edge["target"])
        for edge in answer["edges"]
        # What derives from what is told by way of its job or run, where there is one.
        if edge["kind"] in {"reads", "writes"} or edge["job"] is None
    ]
    named = _named(answer)
    data = _data(inquiry, (node for node in named.values() if node is not None))
    return _graph(answer, named, ends, data) | _limits(answer)


def get_column_lineage(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /column-lineage`."""
    root = find_node(inquiry, call.required("nodeId"))
    if root.kind not in {"dataset", "datasetField", "job"}:
        raise UsageError(f"nodeId: a dataset, datasetField or job, not a {root.kind}")
    direction = "both" if call.flag("withDownstream") else "up"
    answer = _trace_columns(inquiry, call, root, direction=direction)
    columns = {one["id"] for one in answer["nodes"] if one["kind"] == "datasetField"}
    named = {text: node for text, node in _named(answer).items() if text in columns}
    edges = [
        edge
        for edge in answer["edges"]
        if edge["kind"] == "derives" and {edge["source"], edge["target"]} <= columns
    ]
    flows: dict[str, list[tuple[NodeId, list[Any]]]] = defaultdict(list)
    for edge in edges:
        source = named[edge["source"]]
        if source is not None:
            flows[edge["target"]].append((source, edge.get("transformations", [])))
    types = _column_types(inquiry, (node for node in named.values() if node is not None))
    data = {
        node: _column(node, types.get(node.at("")), flows[text])
        for text, node in named.items()
        if node is not None
    }
    ends = [(edge["source"], edge["target"]) for edge in edges]
    return _graph(answer, named, ends, data) | _limits(answer)


def get_upstream_runs(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /runlineage/upstream`."""
    root = find_node(inquiry, f"run:{call.required('runId')}")
    answer = _trace(inquiry, call, root, direction="up")
    named = _named(answer)
    made: dict[str, str] = {}
    used: dict[str, list[str]] = defaultdict(list)
    for edge in answer["edges"]:
        if edge["kind"] == "writes":
            made[edge["target"]] = edge["source"].removeprefix("run:")
        elif edge["kind"] == "reads":
            used[edge["target"].removeprefix("run:")].append(edge["source"])
    names = [node.name for node in named.values() if node is not None and node.kind == "run"]
    records = _runs(inquiry, names)
    runs = []
    for name, record in ((name, records[name]) for name in names if name in records):
        group = record.group
        job = None if group.job is None else version_id_json(group.job.at(group.code or ""))
        inputs = [(text, named.get(text)) for text in used[name]]
        runs.append(
            {
                "job": job,
                "run": {
                    "id": name,
                    "start": time_text(group.start_us),
                    "end": time_text(group.end_us),
                    "status": state_of(group.state),
                },
                "inputs": [
                    {**version_id_json(node), "producedByRunId": made.get(text)}
                    for text, node in inputs
                    if node is not None
                ],
            }
        )
    return {"runs": runs} | _limits(answer)


def _named(answer: Mapping[str, Any]) -> dict[str, NodeId | None]:
    """Give the nodes of an answer by their texts; `None` for the stubs of hidden ones."""
    return {
        one["id"]: None if one.get("restricted") else parse_identifier(one["id"])
        for one in answer["nodes"]
    }


def find_node(inquiry: Inquiry, text: str) -> NodeId:
    """Find the node that an identifier means, Marquez's or ours.

    Marquez encodes nothing, names versions by UUID, and calls models and deployments datasets.

    Raises:
        UnknownNodeError: no reading exists.
        AmbiguousIdentifierError: several do.
    """
    try:
        return inquiry.resolve(text)
    except UnknownNodeError:
        kind, _, rest = text.partition(":")
        kinds = DATA_KINDS if kind == "dataset" else (kind,)
        for one in kinds:
            found = _find_version(inquiry, f"{one}:{rest}")
            if found is not None and inquiry.authoriser.may_see(found):
                return found
        raise


def _find_version(inquiry: Inquiry, text: str) -> NodeId | None:
    head, mark, version = text.rpartition("#")
    for reading in iter_readings(text):
        found = find_known(inquiry.view, reading)
        if found is not None:
            return found
    if not mark or not _is_uuid(version):
        return None
    for reading in iter_readings(head):
        node = find_known(inquiry.view, reading)
        if node is None:
            continue
        known = find_version_of(inquiry, node.dataset, version)
        if known:
            return node.at(known)
    return None


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _trace(
    inquiry: Inquiry, call: Call, root: NodeId, *, direction: str, columns: bool = False
) -> dict[str, Any]:
    """Ask through the one door, at the same moment; another thread may have folded meanwhile."""
    parameters: dict[str, object] = {
        "id": str(root),
        "direction": direction,
        "depth": call.number("depth", _DEPTH, most=_DEPTH_MAX),
        "limit": max(1, call.number("limit", ANSWER_NODES_MAX, most=ANSWER_NODES_MAX)),
        "as_of": inquiry.moment.size,
    }
    if columns:
        parameters["columns"] = True
    if call.query.get("cursor"):
        parameters["cursor"] = call.query["cursor"]
    return ask(inquiry.segment, "trace", parameters, authoriser=inquiry.authoriser)


def _limits(answer: Mapping[str, Any]) -> Json:
    """Say how complete a graph is: what Marquez leaves open."""
    names = ("direction", "as_of", "trees", "complete", "gaps", "next")
    return {"root": _text(answer["root"])} | {name: answer[name] for name in names}


def _graph(
    answer: Mapping[str, Any],
    named: Mapping[str, NodeId | None],
    edges: Iterable[tuple[str, str]],
    data: Mapping[NodeId, Json],
) -> Json:
    """Write a graph; a node that the reader may not see is its stub and has no data."""
    kinds = {one["id"]: one["kind"] for one in answer["nodes"]}
    texts = {text: text if node is None else node_id(node) for text, node in named.items()}
    into: dict[str, set[tuple[str, str]]] = defaultdict(set)
    out: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for source, target in edges:
        # An end may stand on another page.
        ends = tuple(texts.get(end) or _text(end) for end in (source, target))
        out[source].add((ends[0], ends[1]))
        into[target].add((ends[0], ends[1]))
    found = [
        {
            "id": texts[text],
            "type": _TYPES.get(kinds[text], "DATASET"),
            "data": None if node is None else data.get(node),
            "inEdges": [{"origin": a, "destination": b} for a, b in sorted(into[text])],
            "outEdges": [{"origin": a, "destination": b} for a, b in sorted(out[text])],
        }
        for text, node in named.items()
    ]
    return {"graph": sorted(found, key=lambda one: str(one["id"]))}


def _text(identifier: str) -> str:
    try:
        return node_id(parse_identifier(identifier))
    except MalformedIdentifierError:
        return identifier  # A stub.


def _data(inquiry: Inquiry, nodes: Iterable[NodeId]) -> dict[NodeId, Json]:
    """Describe the nodes of a graph, in a few statements for all of them."""
    wanted = list(nodes)
    homes = {node.at("") for node in wanted if node.kind in DATA_KINDS}
    jobs = {node.at("") for node in wanted if node.kind == "job"}
    datasets = describe_datasets(inquiry, sorted(homes))
    described = describe_jobs(inquiry, sorted(jobs), runs=1)
    runs = _runs(inquiry, [node.name for node in wanted if node.kind == "run"])
    found: dict[NodeId, Json] = {}
    for node in wanted:
        home = node.at("")
        if home in datasets:
            found[node] = dataset_json(datasets[home], with_columns=False)
            if node.version:
                found[node] |= {
                    "version": version_uuid(node),
                    "lodelineVersion": node.version,
                }
        elif home in described:
            found[node] = job_json(described[home], in_graph=True)
        elif node.kind == "run" and node.name in runs:
            record = runs[node.name]
            found[node] = run_json(record)
            if record.group.job is not None:
                found[node]["job"] = id_json(record.group.job)
    return found


def _runs(inquiry: Inquiry, names: Iterable[str]) -> dict[str, RunRecord]:
    """Describe runs by their identifiers, each with the job that it last spoke of."""
    wanted = list(names)
    values = {f"run{i}": name for i, name in enumerate(wanted)}
    groups: dict[str, int] = {}
    for start in range(0, len(wanted), 500):
        part = dict(list(values.items())[start : start + 500])
        rows = inquiry.view.select(
            "SELECT g.run_id, g.group_id FROM run_group g JOIN run_state s USING (group_id)"
            f" WHERE g.run_id IN ({', '.join(f':{name}' for name in part)})"
            f" AND {inquiry.view.rectangle('s')} ORDER BY s.last_us, g.group_id",
            **part,
        )
        groups.update(dict(rows))
    records = describe_runs(inquiry, groups.values())
    return {name: records[group] for name, group in groups.items()}


# -- columns -------------------------------------------------------------------------------------


def _trace_columns(inquiry: Inquiry, call: Call, root: NodeId, *, direction: str) -> dict[str, Any]:
    """Trace the columns of a dataset, one column, or those of all that a job writes."""
    if root.kind != "job":
        return _trace(inquiry, call, root, direction=direction, columns=True)
    if root.version:
        written = flows_of_codes(inquiry, root.at("")).get(root.version, ([], []))[1]
    else:
        written = describe_jobs(inquiry, [root], runs=0)[root].outputs
    answers = [
        _trace(inquiry, call, node, direction=direction, columns=True)
        for node in written
        if node.kind == "dataset"
    ]
    if not answers:
        return _trace(inquiry, call, root, direction=direction, columns=True)
    gaps = {json.dumps(gap): gap for answer in answers for gap in answer["gaps"]}
    return answers[0] | {
        "root": str(root),
        "nodes": [node for answer in answers for node in answer["nodes"]],
        "edges": [edge for answer in answers for edge in answer["edges"]],
        "complete": not gaps,
        "gaps": list(gaps.values()),
        "next": None,
    }


def _column_types(inquiry: Inquiry, columns: Iterable[NodeId]) -> dict[NodeId, str | None]:
    homes = members_of(inquiry.view, sorted({column.dataset for column in columns}))
    facets = facets_of(inquiry.view, homes)
    return {
        NodeId("datasetField", home.namespace, home.name, field["name"]): field["type"]
        for home, found in facets.items()
        for field in fields_json(found)
    }


def _column(node: NodeId, kind: str | None, inputs: Iterable[tuple[NodeId, list[Any]]]) -> Json:
    fields = []
    for source, steps in sorted(inputs):
        field = input_field_json(source, steps)
        field["datasetVersion"] = version_uuid(source) if source.version else None
        field["transformations"] = steps
        fields.append(field)
    first = fields[0] if fields else {}
    return {
        "namespace": node.namespace,
        "dataset": node.name,
        "datasetVersion": version_uuid(node) if node.version else None,
        "field": node.part,
        "fieldType": kind,
        "transformationDescription": first.get("transformationDescription"),
        "transformationType": first.get("transformationType"),
        "inputFields": fields,
    }


_CUT: Final = ("depth", "limit", "cursor")
READS: Final = [
    Read("/lineage", get_lineage, "A lineage graph", ("nodeId", "direction", *_CUT)),
    Read(
        "/column-lineage",
        get_column_lineage,
        "A column lineage graph",
        ("nodeId", "withDownstream", *_CUT),
    ),
    Read(
        "/runlineage/upstream", get_upstream_runs, "The runs upstream of a run", ("runId", "depth")
    ),
]

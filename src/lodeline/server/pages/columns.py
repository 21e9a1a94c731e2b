"""The columns of single nodes of a graph, opened one by one, and the edges between them.

A graph of all columns says too much at once; what is asked for here is a few nodes' own, each with
the edges to the columns of the others and to what has none, such as a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import LodelineError, UsageError
from lodeline.limits import PAGE_COLUMNS_MAX, PAGE_NODES_OPENED_MAX
from lodeline.model import NodeId
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.page_endpoints import page_endpoint
from lodeline.server.pages.presenting import read_node
from lodeline.server.pages.rendering import Page, render
from lodeline.server.pages.service import PageService

Facts = dict[str, Any]
_ASKED: Final = frozenset({"id", "as_of", "valid_at", "segment"})
# Of one node's neighbours at column level; with 10,000 columns the first tell enough.
_NODES_READ: Final = 4_000
_NOTHING: Final[Facts] = {"nodes": {}, "edges": []}


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoint that graphs ask when a node is opened."""

    async def serve(request: Request, caller: Caller) -> Response:
        asked = request.query_params
        identifiers = list(dict.fromkeys(asked.getlist("id")))
        if len(identifiers) > PAGE_NODES_OPENED_MAX or set(asked) - _ASKED:
            raise UsageError(f"columns takes up to {PAGE_NODES_OPENED_MAX} id, as_of and valid_at")
        names = ("as_of", "valid_at", "segment")
        moment = {name: asked[name] for name in names if asked.get(name)}
        found = await find_columns(service, caller, identifiers, moment)
        return render(request, caller, Page("", "Columns", found))

    return [page_endpoint("GET", "/columns.json", serve, "Columns of nodes of a graph")]


def read_opened(text: str | None) -> list[str]:
    """Read which nodes are open in an address: a JSON array of identifiers.

    Raises:
        UsageError: it is something else, or names too many.
    """
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError("open is a JSON array of identifiers")
    if len(found) > PAGE_NODES_OPENED_MAX:
        raise UsageError(f"open names at most {PAGE_NODES_OPENED_MAX} nodes")
    return list(dict.fromkeys(found))


async def find_columns(
    service: PageService, caller: Caller, identifiers: Sequence[str], moment: Mapping[str, str]
) -> Facts:
    """Give the columns of nodes; one that cannot be shown is left out.

    Returns:
        `nodes` by identifier: `columns`, the first as identifiers, and `total`; `edges` between
        them, and of them to whole nodes that have no columns: source, target, style (0 asserted by
        runs, 1 declared, 2 inferred), stale, and 1 where the source only decides about rows.
    """
    if not identifiers:
        return _NOTHING

    def find() -> Facts:
        nodes: Facts = {}
        edges: dict[tuple[str, str], list[object]] = {}
        for one in identifiers:
            try:
                shown = service.ask(caller, "show", {"id": one, **moment})
                asked = {"id": one, "direction": "both", "depth": 1, "columns": True}
                limits = {"edge_kinds": "derives,trains", "limit": _NODES_READ}
                answer = service.ask(caller, "trace", {**asked, **limits, **moment})
            except LodelineError:
                continue
            if shown["kind"] != "dataset":
                continue
            for edge in answer["edges"]:
                edges.setdefault((edge["source"], edge["target"]), _edge(edge))
            nodes[one] = _columns(one, shown.get("fields") or [], edges)
        return {"nodes": nodes, "edges": _between(nodes, edges)}

    return await service.run(find)


def _edge(edge: Mapping[str, Any]) -> list[object]:
    steps = edge.get("transformations") or []
    indirect = bool(steps) and all(step.get("type") == "INDIRECT" for step in steps)
    style = 2 if edge["basis"] == "inferred" else int(not edge.get("asserted_by_total", 1))
    stale = edge["status"] == "stale"
    return [edge["source"], edge["target"], style, int(stale), int(indirect)]


def _columns(identifier: str, names: Sequence[str], edges: Mapping[tuple[str, str], Any]) -> Facts:
    """Give a node's columns in their order; of too many those with edges come first."""
    node = read_node(identifier)
    assert node is not None, "it was shown"
    ids = [
        str(NodeId("datasetField", node.namespace, node.name, name, node.version)) for name in names
    ]
    if len(ids) > PAGE_COLUMNS_MAX:
        tied = {end for ends in edges for end in ends}
        ids.sort(key=lambda one: one not in tied)
    return {"columns": ids[:PAGE_COLUMNS_MAX], "total": len(ids)}


def _between(nodes: Facts, edges: Mapping[tuple[str, str], list[object]]) -> list[list[object]]:
    listed = {one for told in nodes.values() for one in told["columns"]}

    def ends_well(end: str) -> bool:
        return end in listed or end.startswith(("model:", "deployment:"))

    return [
        edge
        for ends, edge in edges.items()
        if listed.intersection(ends) and all(map(ends_well, ends))
    ]

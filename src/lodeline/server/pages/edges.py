"""One edge: what happens on it, by which code, who ran it, and what proves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from lodeline.errors import UnknownNodeError, UsageError
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.page_endpoints import page_endpoints, query_of
from lodeline.server.pages.presenting import node_name, read_node
from lodeline.server.pages.rendering import Page
from lodeline.server.pages.service import PageService

_COLUMNS_SHOWN: Final = 40
# A table of 10,000 columns has as many edges to one other; the first pages tell enough.
_NODES_READ: Final = 2_000


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of the page."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = dict(query_of(request, "source", "target", "as_of", "valid_at", "segment"))
        try:
            source, target = query.pop("source"), query.pop("target")
        except KeyError as error:
            raise UsageError("an edge has a source and a target") from error
        edge = await find_edge(service, caller, source, target, query)
        if edge is None:
            raise UnknownNodeError(f"{source} → {target}")
        title = f"From {node_name(source)} to {node_name(target)}"
        return Page("edge.html", title, {"edge": edge}, live=None)

    return page_endpoints(service, "/edge", serve, "One edge, and what proves it")


async def find_edge(
    service: PageService,
    caller: Caller,
    source: str,
    target: str,
    moment: Mapping[str, str],
) -> dict[str, Any] | None:
    """Describe the edges between two nodes; `None` where there is none.

    Returns:
        `source`, `target`, `edges` as in answers, `run` (the newest that asserts them: `id`,
        `state`, `started`, `ended`, `commit`, `path`, `agents`), `columns` (column edges between
        the two, with `transformations`) and `columns_total`.
    """
    asked = {"id": target, "direction": "up", "depth": 1, "limit": _NODES_READ, **moment}
    answer, problem = await service.find(caller, "trace", **asked)
    if answer is None:
        return None
    edges = [one for one in answer["edges"] if (one["source"], one["target"]) == (source, target)]
    if not edges:
        return None
    # Asked for by itself: of a table of 10,000 columns the first nodes would all be columns.
    wide, _ = await service.find(caller, "trace", columns=True, **asked)
    ends = {source: _home(source), target: _home(target)}
    columns = [
        {
            "source": one["source"],
            "target": one["target"],
            "basis": one["basis"],
            "transformations": one.get("transformations") or [],
        }
        for one in (wide or answer)["edges"]
        if one["kind"] in {"derives", "trains"}
        and (_home(one["source"]), _home(one["target"])) == (ends[source], ends[target])
        and (one["source"], one["target"]) != (source, target)
    ]
    runs = [run for one in edges for run in one["asserted_by"]]
    return {
        "source": source,
        "target": target,
        "edges": edges,
        "run": await _run(service, caller, runs[0], moment) if runs else None,
        "columns": columns[:_COLUMNS_SHOWN],
        "columns_total": len(columns),
        "as_of": answer["as_of"],
        "problem": problem,
    }


def _home(identifier: str) -> str:
    """Give the dataset of a column, without version; other nodes are their own."""
    node = read_node(identifier)
    return identifier if node is None else str(node.dataset)


async def _run(
    service: PageService, caller: Caller, run: str, moment: Mapping[str, str]
) -> dict[str, Any] | None:
    identifier = run if ":" in run else f"run:{run}"
    shown, _ = await service.find(caller, "show", id=identifier, **moment)
    if shown is None:
        return None
    facets = shown.get("facets") or {}
    code = facets.get("lodeline_code") or {}
    source = facets.get("sourceCodeLocation") or {}
    agents = (facets.get("lodeline_agent") or {}).get("agents") or []
    return {
        "id": shown["id"],
        "state": shown.get("state"),
        "started": shown.get("started"),
        "ended": shown.get("ended"),
        "commit": code.get("commit") or source.get("version") or shown.get("code"),
        "path": code.get("path") or source.get("path"),
        "repository": source.get("repoUrl"),
        "agents": [
            {"id": one.get("id"), "role": one.get("role"), "type": one.get("type")}
            for one in agents
            if isinstance(one, dict)
        ],
    }

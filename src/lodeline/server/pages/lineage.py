"""Lineage around one node: a graph to look at, and the same as a table.

The facts are the answer of `trace`, nothing left out and nothing added but what is shown beside it.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request

from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.page_endpoints import flag, page_endpoints, query_of
from lodeline.server.pages.presenting import node_name
from lodeline.server.pages.rendering import Page
from lodeline.server.pages.service import PageService

_STATE: Final = (
    "direction", "depth", "columns", "as_of", "valid_at", "status", "kinds", "limit", "cursor",
    "segment", "edge", "to", "view",
)  # fmt: skip
_ASKED: Final = frozenset({"as_of", "valid_at", "status", "kinds", "limit", "cursor", "segment"})
DEPTH_SHOWN: Final = 4


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of the page."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = query_of(request, *_STATE)
        return await _page(service, caller, request.path_params["id"], dict(query))

    return page_endpoints(service, "/lineage/{id}", serve, "Lineage around a node")


async def _page(
    service: PageService, caller: Caller, identifier: str, query: dict[str, str]
) -> Page:
    direction = query.get("direction", "both")
    depth = query.get("depth", str(DEPTH_SHOWN))
    asked: dict[str, object] = {name: query[name] for name in _ASKED if name in query}
    if flag(query.get("columns")):
        asked["columns"] = True
    if depth != "all":
        asked["depth"] = depth
    answer = await service.answer(caller, "trace", id=identifier, direction=direction, **asked)
    facts: dict[str, Any] = {"asked": identifier, "state": query, "depth": depth, **answer}
    return Page("lineage.html", _sentence(answer), facts, live=())


def _sentence(answer: dict[str, Any]) -> str:
    return f"{node_name(answer['root'])}, {len(answer['nodes']) - 1} around it"

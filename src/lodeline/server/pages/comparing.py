"""The pages of two things: what differs between them, and how one leads to the other."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.requests import Request

from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.comparison_facts import comparison_facts, path_facts
from lodeline.server.pages.page_endpoints import page_endpoints, query_of
from lodeline.server.pages.presenting import grouped, kind_word, node_name, read_node, version_name
from lodeline.server.pages.rendering import Page
from lodeline.server.pages.service import PageService

Facts = dict[str, Any]
_DIFF: Final = (
    "a", "b", "since", "valid_since", "as_of", "valid_at", "direction", "depth", "columns", "limit",
    "cursor", "segment",
)  # fmt: skip
_PATH: Final = ("a", "b", "as_of", "valid_at", "depth", "columns", "status", "limit", "segment")


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of both pages."""

    async def serve_diff(request: Request, caller: Caller) -> Page:
        query = query_of(request, *_DIFF)
        ask = partial(service.ask, caller)
        facts = await service.run(comparison_facts, ask, query)
        return Page("diff.html", _diff_title(facts), facts)

    async def serve_path(request: Request, caller: Caller) -> Page:
        query = query_of(request, *_PATH)
        ask = partial(service.ask, caller)
        facts = await service.run(path_facts, ask, query)
        return Page("path.html", _path_title(facts), facts)

    return [
        *page_endpoints(service, "/diff", serve_diff, "What differs"),
        *page_endpoints(service, "/path", serve_path, "How two nodes are connected"),
    ]


def _short(identifier: str | None) -> str:
    """Write a node with its kind, and its version where it has one."""
    if identifier is None:
        return "the graph"
    node = read_node(identifier)
    if node is None:
        return node_name(identifier)
    if node.kind == "run":
        return f"run {node.name[:8]}"
    version = f" {version_name(node.version)}" if node.version else ""
    return f"{kind_word(node.kind)} {node_name(identifier)}{version}"


def _diff_title(facts: Facts) -> str:
    answer = facts["answer"]
    if answer is None:
        return "Compare two versions, runs or moments"
    count = answer["total"]
    differences = "Nothing differs" if not count else f"{grouped(count)} differences"
    differences = "1 difference" if count == 1 else differences
    if answer["since"]:
        return f"{differences} in {_short(answer['a'] or answer['b'])} since then"
    return f"{differences} between {_short(answer['a'])} and {_short(answer['b'])}"


def _path_title(facts: Facts) -> str:
    answer, form = facts["answer"], facts["form"]
    if answer is None:
        return "How two nodes are connected"
    count = len(answer["paths"])
    ends = f"{_short(form['a'])} and {_short(form['b'])}"
    if not count:
        return f"No path between {ends}"
    return f"{count} {'path' if count == 1 else 'paths'} between {ends}"

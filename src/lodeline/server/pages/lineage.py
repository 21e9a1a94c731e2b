"""Lineage around one node: a graph to look at, and the same as tables.

The facts are the answer of `trace`, with nothing left out. Beside it stand what the graph is drawn
from (`graph`) and the moments at which it changed (`moments`); its `.json` has what its nearest
nodes are like, too (`cards`). All of them are read out of answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lodeline.errors import LodelineError
from lodeline.limits import ANSWER_NODES_MAX
from lodeline.query.renderings import render_mermaid
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.cards import find_cards
from lodeline.server.pages.columns import find_columns, read_opened
from lodeline.server.pages.edges import find_edge
from lodeline.server.pages.page_endpoints import flag, page_endpoint, page_endpoints, query_of
from lodeline.server.pages.presenting import clock, is_hidden, moment_of, node_name
from lodeline.server.pages.rendering import HEADERS, Page, is_json
from lodeline.server.pages.service import PageService
from lodeline.server.pages.values import shell_word

_ASKED: Final = ("as_of", "valid_at", "status", "kinds", "namespaces", "tags", "cursor", "segment")
_STATE: Final = (
    *_ASKED, "direction", "depth", "columns", "acts", "open", "view", "from", "edge_source",
    "edge_target",
)  # fmt: skip
DERIVATIONS: Final = "derives,trains,deploys,predicts"
# What runs and jobs are between: their edges are the projections.
_BETWEEN: Final = frozenset({"run", "job"})
_ACTS: Final = frozenset({"reads", "writes", "parent"})
DEPTHS: Final = ("1", "2", "3", "4", "6", "10", "all")
_DEPTH: Final = "4"
# Rows of a table at a time: with them a page stays below 3,000 elements.
_ROWS_SHOWN: Final = 50
_CARDS_AT_ONCE: Final = 12
# Ticks of the slider; of more the newest are kept.
_MOMENTS_MAX: Final = 200


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of the page."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = dict(query_of(request, *_STATE))
        identifier = request.path_params["id"]
        answer, asked = await _trace(service, caller, identifier, query)
        facts = {
            "asked": identifier,
            "state": query,
            "direction": asked["direction"],
            "depth": query.get("depth", _DEPTH),
            "depths": DEPTHS,
            "columns": "columns" in asked,
            "acts": flag(query.get("acts")),
            "left_out": "edge_kinds" in asked,
            "acts_named": len({edge["job"] for edge in answer["edges"] if edge["job"]}),
            "same_command": _command(answer["root"], asked),
            "opened": await find_columns(
                service, caller, read_opened(query.get("open")), _moment(query)
            ),
            "view": query.get("view", "graph"),
            "graph": await service.run(partial(draw, answer, acts=flag(query.get("acts")))),
            "moments": await _moments(service, caller, identifier, answer, query),
            "cards": {},
            "edge": None,
            **_tables(answer, query),
            **answer,
        }
        if "edge_source" in query and "edge_target" in query:
            ends = (query["edge_source"], query["edge_target"])
            facts["edge"] = await find_edge(service, caller, *ends, _moment(query))
        if is_json(request):
            # Of a page the script asks for them, while it finds places for the nodes.
            facts["cards"] = await find_cards(service, caller, _nearest(answer), _moment(query))
        title = sentence(answer, facts["graph"])
        live = (answer["root"], answer["root"].partition("#")[0])
        return Page("lineage.html", title, facts, island="lineage.js", live=live)

    async def mermaid(request: Request, caller: Caller) -> Response:
        query = dict(query_of(request, *_STATE))
        answer, _ = await _trace(service, caller, request.path_params["id"], query)
        headers = {**HEADERS, "Content-Disposition": 'attachment; filename="lineage.mmd"'}
        return PlainTextResponse(render_mermaid(answer), headers=headers)

    summary = "Lineage around a node"
    return [
        page_endpoint("GET", "/lineage/{id}.mmd", mermaid, "The same as Mermaid"),
        *page_endpoints(service, "/lineage/{id}", serve, summary),
    ]


async def _trace(
    service: PageService, caller: Caller, identifier: str, query: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, object]]:
    asked: dict[str, object] = {name: query[name] for name in _ASKED if name in query}
    asked["direction"] = query.get("direction", "both")
    depth = query.get("depth", _DEPTH)
    if depth != "all":
        asked["depth"] = depth
    if flag(query.get("columns")):
        asked["columns"] = True
    if identifier.partition(":")[0] not in _BETWEEN and not flag(query.get("acts")):
        # Runs and jobs stand on the edges; as nodes they would double the graph. The page says so.
        asked["edge_kinds"] = DERIVATIONS
    answer = await service.answer(caller, "trace", id=identifier, limit=ANSWER_NODES_MAX, **asked)
    return answer, asked


def _command(root: str, asked: Mapping[str, object]) -> str:
    """Write the command that gives the same nodes and edges."""
    words = ["lodeline", "trace", shell_word(root)]
    if asked["direction"] != "up":
        words.append(f"--{asked['direction']}")
    for name in ("depth", "as_of", "valid_at", "status", "kinds", "namespaces", "tags", "segment"):
        if name in asked:
            words += [f"--{name.replace('_', '-')}", shell_word(asked[name])]
    if "edge_kinds" in asked:
        words += ["--edge-kinds", str(asked["edge_kinds"])]
    if "columns" in asked:
        words.append("--columns")
    return " ".join(words)


def _moment(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name] for name in ("as_of", "valid_at", "segment") if name in query}


def _nearest(answer: Mapping[str, Any]) -> list[str]:
    """Give the nodes that are described at once: the first of the answer, nearest first."""
    kinds = ("dataset", "model", "deployment", "feature")
    found = [node["id"] for node in answer["nodes"] if node["kind"] in kinds]
    return found[:_CARDS_AT_ONCE]


def draw(answer: Mapping[str, Any], *, acts: bool = False) -> dict[str, Any]:
    """Give what the graph is drawn from: nodes and edges by number, as few bytes as will do.

    Args:
        answer: of `trace`.
        acts: whether jobs and runs are nodes wherever they stand, not at the root alone.

    Returns:
        `nodes` are identifiers, the root first; `edges` are `[source, target, style, stale]` with
        style 0 where a run asserts it, 1 where it is declared and no run does, 2 where it is
        inferred; `gaps` by node what is unknown there; `more` the nodes with more beyond the depth.
    """
    numbers: dict[str, int] = {answer["root"]: 0}
    for node in answer["nodes"]:
        numbers.setdefault(node["id"], len(numbers))
    drawn: dict[tuple[int, int], list[int]] = {}
    root = answer["root"]
    between = root.partition(":")[0] in _BETWEEN
    for edge in answer["edges"]:
        ends = (edge["source"], edge["target"])
        if edge["kind"] in _ACTS and not acts and not (between and root in ends):
            continue
        source, target = (numbers.setdefault(end, len(numbers)) for end in ends)
        style = 2 if edge["basis"] == "inferred" else int(not edge.get("asserted_by_total", 1))
        stale = int(edge["status"] == "stale")
        known = drawn.setdefault((source, target), [source, target, style, stale])
        # Of several between the same nodes the surest is drawn, current if one is.
        known[2], known[3] = min(known[2], style), min(known[3], stale)
    gaps: dict[int, list[str]] = {}
    more: list[int] = []
    named = {node.partition("#")[0]: number for node, number in numbers.items()}
    for gap in answer["gaps"]:
        number = numbers.get(gap["at"], named.get(str(gap["at"]).partition("#")[0]))
        if number is None:
            continue
        if gap["reason"] == "depth":
            more.append(number)
        else:
            gaps.setdefault(number, []).append(f"{gap['reason']}: {gap['detail'] or ''}")
    return {"nodes": list(numbers), "edges": list(drawn.values()), "gaps": gaps, "more": more}


def _reached(count: int, edges: Iterable[list[int]], forward: int) -> int:
    """Count what lies above (`forward` 0) or below (1) the root, the root left out."""
    following: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        following[edge[1 - forward]].append(edge[forward])
    seen = bytearray(count)
    seen[0] = 1
    waiting = [0]
    for number in waiting:
        for other in following[number]:
            if not seen[other]:
                seen[other] = 1
                waiting.append(other)
    return len(waiting) - 1


def sentence(answer: Mapping[str, Any], graph: Mapping[str, Any]) -> str:
    """Say in a sentence what is shown."""
    count, edges = len(graph["nodes"]), graph["edges"]
    parts = [node_name(answer["root"])]
    if answer["direction"] in {"up", "both"}:
        parts.append(f"{_reached(count, edges, 0):,} up")
    if answer["direction"] in {"down", "both"}:
        parts.append(f"{_reached(count, edges, 1):,} down")
    time_us = moment_of(answer["as_of"]["time"])
    if time_us is not None:
        parts.append(f"as of {clock(time_us)}")
    hidden = sum(is_hidden(node) for node in graph["nodes"])
    if hidden:
        parts.append(f"{hidden:,} of {len(graph['nodes']):,} hidden")
    return ", ".join(parts)


async def _moments(
    service: PageService,
    caller: Caller,
    identifier: str,
    answer: Mapping[str, Any],
    query: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Give the states of the log at which an edge came in, oldest first; the last is now."""
    whole: Mapping[str, Any] | None = answer
    if "as_of" in query:
        later = {name: value for name, value in query.items() if name != "as_of"}
        try:
            whole, _ = await _trace(service, caller, identifier, later)
        except LodelineError:
            whole = None
    if whole is None:
        return []
    first: dict[int, str] = {}
    for edge in whole["edges"]:
        entries = edge.get("entries") or ()
        if entries:
            size = entries[0] + 1
            seen = str(edge["first_seen"])
            first[size] = min(seen, first.get(size, seen))
    found = [{"tree_size": size, "seen": first[size]} for size in sorted(first)]
    return found[-_MOMENTS_MAX:]


def _tables(answer: Mapping[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """Give the part of the edges that the table shows; the facts have all of them."""
    text = query.get("from", "0")
    start = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    total = len(answer["edges"])
    start = min(start, max(0, total - 1)) // _ROWS_SHOWN * _ROWS_SHOWN
    return {
        "rows_from": start,
        "rows_to": min(start + _ROWS_SHOWN, total),
        "rows_total": total,
        "rows_step": _ROWS_SHOWN,
    }

"""The page of one node, whatever its kind: what it is, where it stands, how it came to be so."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request

from lodeline.limits import PAGE_PREDICTIONS_MAX
from lodeline.model import parse_identifier
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.comparison_facts import change_groups, patch_lines
from lodeline.server.pages.entity_facts import Asker, entity_facts
from lodeline.server.pages.page_endpoints import page_endpoints, query_of
from lodeline.server.pages.prediction_facts import prediction_facts
from lodeline.server.pages.presenting import kind_word, node_name
from lodeline.server.pages.rendering import Page
from lodeline.server.pages.row_facts import row_facts, table_facts
from lodeline.server.pages.service import PageService

Facts = dict[str, Any]
# What the tables of a page take: rows of a prediction, predictions of a deployment or model.
_TABLE: Final = ("dataset", "sort", "contains", "page")
_PREDICTIONS: Final = ("outcome", "since", "until", "entity", "cursor")
_TIMES: Final = ("as_of", "valid_at")


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of the page."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = dict(query_of(request, *_TABLE, *_PREDICTIONS, *_TIMES))
        ask = partial(service.ask, caller)
        return await service.run(_page, ask, request.path_params["id"], query)

    return page_endpoints(service, "/node/{id}", serve, "One node")


def _page(ask: Asker, identifier: str, query: Mapping[str, str]) -> Page:
    if identifier.startswith("prediction:"):
        return _prediction_page(ask, identifier, query)
    if identifier.startswith("row:"):
        return _row_page(ask, identifier, query)
    times = {name: query[name] for name in _TIMES if name in query}
    facts = entity_facts(ask, identifier, times)
    facts["query"] = {**dict.fromkeys(_PREDICTIONS), **query}
    facts["patch"] = patch_lines((facts.get("code") or {}).get("patch") or "")
    facts["change_groups"] = change_groups(facts.get("changes") or [])
    facts["predictions"] = _predictions(ask, facts, {**query, **times})
    title = f"{kind_word(facts['kind']).capitalize()} {node_name(facts['id'])}"
    return Page("node.html", title, facts, live=(facts["id"],))


def _predictions(ask: Asker, facts: Facts, query: Mapping[str, object]) -> Facts | None:
    if facts["kind"] not in {"deployment", "model"}:
        return None
    asked = {name: query[name] for name in _PREDICTIONS if query.get(name)}
    found = ask("predictions", {"id": facts["id"], "limit": PAGE_PREDICTIONS_MAX, **asked})
    return {key: found[key] for key in ("predictions", "scanned", "sampled", "next")}


def _prediction_page(ask: Asker, identifier: str, query: Mapping[str, str]) -> Page:
    table = {name: query[name] for name in _TABLE if name in query}
    facts = prediction_facts(ask, identifier, table)
    facts["query"] = {**dict.fromkeys(_TABLE), **query}
    return Page("prediction.html", facts["sentence"], facts)


def _row_page(ask: Asker, identifier: str, query: Mapping[str, str]) -> Page:
    """Show a row as its own table: what is behind it is a click away."""
    facts = row_facts(ask, identifier, {})
    row = parse_identifier(facts["id"])
    facts["kind"] = "row"
    facts["dataset_id"] = str(row.dataset.at(row.version))
    facts["key"] = row.part
    facts["cells"] = table_facts([facts["row"]], 1, {}) if facts["row"] else None
    facts["query"] = dict(query)
    return Page("row.html", f"Row {row.part} of {node_name(facts['dataset_id'])}", facts)

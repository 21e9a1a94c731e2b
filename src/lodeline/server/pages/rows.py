"""The pages of rows: a table to look through, sort, narrow, and take along as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from lodeline.model import parse_identifier
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.page_endpoints import page_endpoint, page_endpoints, query_of
from lodeline.server.pages.presenting import grouped, kind_word, node_name
from lodeline.server.pages.rendering import HEADERS, Page
from lodeline.server.pages.row_facts import row_facts, rows_csv
from lodeline.server.pages.service import PageService

Facts = dict[str, Any]
STATE: Final = ("direction", "where", "dataset", "sort", "contains", "page")


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of the page, and of its CSV."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = query_of(request, *STATE)
        ask = partial(service.ask, caller)
        identifier = request.path_params["id"]
        facts = await service.run(row_facts, ask, identifier, query)
        return rows_page(facts, query)

    async def export(request: Request, caller: Caller) -> Response:
        query = query_of(request, *STATE)
        ask = partial(service.ask, caller)
        body = await service.run(rows_csv, ask, request.path_params["id"], query)
        headers = {**HEADERS, "Content-Disposition": 'attachment; filename="rows.csv"'}
        return Response(body, media_type="text/csv; charset=utf-8", headers=headers)

    summary = "Rows behind a node, or ahead of it"
    return [
        page_endpoint("GET", "/rows/{id}.csv", export, "A table of rows as CSV"),
        *page_endpoints(service, "/rows/{id}", serve, summary),
    ]


def rows_page(facts: Facts, query: Mapping[str, str]) -> Page:
    """Give the page of a table of rows."""
    counts = facts["counts"]
    ahead = facts["direction"] == "forward"
    rows = f"{grouped(counts['rows'])} {'row' if counts['rows'] == 1 else 'rows'}"
    tables = f"{counts['tables']} {'table' if counts['tables'] == 1 else 'tables'}"
    title = f"{rows} of {tables} {'ahead of' if ahead else 'behind'} {_name(facts['id'])}"
    told = {**facts, "query": {**dict.fromkeys(STATE), **query}}
    return Page("rows.html", title, told)


def _name(identifier: str) -> str:
    if identifier.startswith("row:"):
        row = parse_identifier(identifier)
        return f"row {row.part} of {node_name(str(row.dataset))}"
    return f"{kind_word(identifier.partition(':')[0])} {node_name(identifier)}"

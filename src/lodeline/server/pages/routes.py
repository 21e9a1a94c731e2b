"""All routes of the pages. A module of pages has `endpoints(service)`, and is listed here."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.pages import (
    cards,
    columns,
    comparing,
    edges,
    home,
    lineage,
    nodes,
    proving,
    record,
    rows,
    signing_in,
)
from lodeline.server.pages.page_endpoints import page_endpoint
from lodeline.server.pages.service import PageService
from lodeline.server.pages.static_files import static_response


class Pages:
    """The endpoints of all pages.

    Args:
        service: that they stand on.
    """

    def __init__(self, service: PageService) -> None:
        self._service = service

    def endpoints(self) -> Sequence[Endpoint]:
        """Give them."""
        service = self._service
        return [
            *home.endpoints(service),
            *lineage.endpoints(service),
            *edges.endpoints(service),
            *cards.endpoints(service),
            *columns.endpoints(service),
            *nodes.endpoints(service),
            *rows.endpoints(service),
            *comparing.endpoints(service),
            *proving.endpoints(service),
            *record.endpoints(service),
            *signing_in.endpoints(service),
            page_endpoint(
                "GET",
                "/static/{name}",
                _static,
                "Style sheet, icons and scripts of the pages",
                permission=Permission.PUBLIC,
            ),
        ]


async def _static(request: Request, _: Caller) -> Response:
    return static_response(request)

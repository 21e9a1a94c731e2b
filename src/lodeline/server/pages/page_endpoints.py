"""What a page's route is made of: each page twice, for people and as JSON, behind the one gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import UnknownNodeError, UsageError
from lodeline.limits import SEARCH_CHARACTERS_MAX
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.pages.refusing import refuse
from lodeline.server.pages.rendering import Page, render
from lodeline.server.pages.service import PageService

ServePage = Callable[[Request, Caller], Awaitable[Page]]
_NEAREST: Final = 3
_TRUE: Final = frozenset({"1", "true", "on", "yes"})


def page_endpoints(
    service: PageService,
    path: str,
    serve: ServePage,
    summary: str,
    *,
    permission: Permission = Permission.READ,
) -> list[Endpoint]:
    """Make the endpoints of one page: at its path, and at the path with `.json`.

    Args:
        service: that the page stands on.
        path: in Starlette's form, such as `/node/{id}`.
        serve: gives the page; a `LodelineError` that it raises becomes a page that tells it.
        summary: one line.
        permission: that a caller needs.
    """

    async def answer(request: Request, caller: Caller) -> Response:
        try:
            page = await serve(request, caller)
        except UnknownNodeError as error:
            raise await _with_nearest(service, caller, error) from error
        # Writing a large page takes milliseconds, which the loop has not.
        return await service.run(render, request, caller, page)

    beside = "/index.json" if path == "/" else f"{path}.json"
    return [
        # The longer path first: `{id}` would take its ending for a part of the identifier.
        page_endpoint("GET", one, answer, summary, permission=permission)
        for one in (beside, path)
    ]


async def _with_nearest(
    service: PageService, caller: Caller, error: UnknownNodeError
) -> UnknownNodeError:
    """Name the nearest that a search for the name finds, where fewer than three are known."""
    if len(error.nearest) >= _NEAREST:
        return error
    words = error.node_id.partition("#")[0].rpartition(":")[2][:SEARCH_CHARACTERS_MAX]
    found, _ = await service.find(caller, "search", q=words or error.node_id, limit=_NEAREST)
    others = [hit["id"] for hit in found["results"]] if found else []
    nearest = dict.fromkeys([*error.nearest, *others])
    return UnknownNodeError(error.node_id, tuple(nearest)[:_NEAREST])


def page_endpoint(
    method: str,
    path: str,
    serve: Callable[[Request, Caller], Awaitable[Response]],
    summary: str,
    *,
    permission: Permission = Permission.READ,
) -> Endpoint:
    """Make one endpoint for people, such as where a form is sent; its errors are pages."""
    return Endpoint(
        method,
        path,
        permission,
        serve,
        summary,
        refuse=refuse,
        described=False,
    )


def query_of(request: Request, *names: str) -> Mapping[str, str]:
    """Read a page's query: each name once, and none beside those that the page knows.

    What is empty is left out: forms send every field.

    Raises:
        UsageError: a name is unknown, or given twice.
    """
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names:
            known = ", ".join(names) or "no parameters"
            raise UsageError(f"the page does not take {name[:80]!r}; it takes {known}")
        if name in found:
            raise UsageError(f"parameter {name!r} is given twice")
        if value:
            found[name] = value
    return found


def flag(text: str | None) -> bool:
    """Read a flag of a query."""
    return text is not None and text.lower() in _TRUE

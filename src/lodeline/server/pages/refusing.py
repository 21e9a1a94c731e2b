"""What goes wrong, as a page: what it was, what to do next, and for an unknown node the nearest.

Who shows no key that counts gets the form that takes one, and comes back to the address asked for.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import (
    ForbiddenError,
    LodelineError,
    UnauthenticatedError,
    UnknownNodeError,
)
from lodeline.server.pages.rendering import Page, address_of, is_json, render
from lodeline.server.refusals import (
    error_headers,
    error_object,
    error_response,
    error_status,
)

_HEADINGS: Final = {
    400: "That address makes no sense",
    403: "Not allowed",
    404: "Not in the record",
    405: "Not served this way",
    500: "A fault of the service",
    503: "Could not tell",
}


def refuse(request: Request, error: LodelineError) -> Response:
    """Answer with an error: a page to a browser, JSON to programs and beside a page."""
    if is_json(request) or "text/html" not in request.headers.get("accept", ""):
        return error_response(error)
    if isinstance(error, UnauthenticatedError):
        return ask_for_key(request, error if error.presented else None, address_of(request))
    status = error_status(error)
    facts = {
        **_nothing_more(),
        **error_object(error),
        "heading": _HEADINGS.get(status, "Could not tell"),
    }
    if isinstance(error, UnknownNodeError):
        facts["asked"] = error.node_id
        facts["message"] = "Nothing of that name is known at the moment asked about."
        facts["nearest"] = list(error.nearest)[:3]
    if isinstance(error, ForbiddenError):
        facts["next"] = "Ask whoever gave you your key for one that may do this."
    return render(request, None, _page(status, facts, error_headers(error)))


def refuse_route(request: Request, status: int, body: dict[str, Any]) -> Response:
    """Answer who asked for a page that is not there."""
    facts = {**_nothing_more(), **body, "heading": _HEADINGS.get(status, "Could not tell")}
    return render(request, None, _page(status, facts, {}))


def ask_for_key(
    request: Request, error: UnauthenticatedError | None, back: str, *, status: int = 401
) -> Response:
    """Answer with the form that takes a key.

    Args:
        request: that came without one.
        error: why the key that it came with does not count; `None` where it came with none.
        back: address to come back to.
        status: of the answer.
    """
    # A browser keeps its cookie to itself when the way leads here from another site; the same
    # address asked for by this page brings it.
    strayed = request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    again = back if strayed and error is None and request.method == "GET" else None
    facts = {"problem": None if error is None else error.reason, "back": back, "again": again}
    headers = (
        {} if error is None else {"WWW-Authenticate": error_headers(error)["WWW-Authenticate"]}
    )
    page = Page("sign_in.html", "Sign in", facts, status=status, headers=headers)
    return render(request, None, page)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page, rather than a program for an answer."""
    path = request.url.path
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and not path.startswith(("/api/", "/log/", "/static/"))


def _nothing_more() -> dict[str, Any]:
    return {"asked": None, "nearest": [], "candidates": [], "next": None}


def _page(status: int, facts: dict[str, Any], headers: dict[str, str]) -> Page:
    return Page("refusal.html", str(facts["heading"]), facts, status=status, headers=headers)

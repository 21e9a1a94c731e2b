"""Signing in with a key, for browsers: the key moves into a cookie that scripts cannot read.

The cookie is sent by pages of this service alone (`SameSite=Strict`), and over TLS only where the
service speaks it. What comes with it and would change something is refused unless this service's
own page sent it; see `KeyGate`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lodeline.errors import ForbiddenError, UnauthenticatedError, UsageError
from lodeline.limits import SIGN_IN_BYTES_MAX
from lodeline.server.endpoints import OWN_SITE, Caller, Endpoint, Permission
from lodeline.server.key_gate import KEY_COOKIE
from lodeline.server.pages.page_endpoints import page_endpoint
from lodeline.server.pages.refusing import ask_for_key
from lodeline.server.pages.service import PageService

# As long as a browser lives, and no longer than a working day: keys last longer than attention.
_SECONDS: Final = 12 * 3600


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of signing in and out."""

    async def show(request: Request, _: Caller) -> Response:
        back = own_path(request.query_params.get("back", "/"))
        if not service.keys:
            return RedirectResponse(back, 303)
        return ask_for_key(request, None, back, status=200)

    async def sign_in(request: Request, _: Caller) -> Response:
        _require_own_page(request)
        fields = await read_form(request)
        key, back = fields.get("key", "").strip(), own_path(fields.get("back", "/"))
        try:
            service.gate.admit(_scope_with(key), Permission.READ)
        except UnauthenticatedError as error:
            return ask_for_key(request, error, back)
        answer = RedirectResponse(back, 303)
        _set(answer, request, key, _SECONDS)
        return answer

    async def sign_out(request: Request, _: Caller) -> Response:
        _require_own_page(request)
        answer = RedirectResponse("/sign-in", 303)
        _set(answer, request, "", 0)
        return answer

    public = Permission.PUBLIC
    form, taken = "The form that takes a key", "Take a key and keep it in a cookie"
    out = "Forget the key"
    return [
        page_endpoint("GET", "/sign-in", show, form, permission=public),
        page_endpoint("POST", "/sign-in", sign_in, taken, permission=public),
        page_endpoint("POST", "/sign-out", sign_out, out, permission=public),
    ]


def own_path(text: str) -> str:
    """Give an address of this service to come back to; whatever leads elsewhere becomes home."""
    # Browsers read `\` as `/`, and leave out tabs and line breaks.
    plain = text.startswith("/") and not text.startswith("//") and "\\" not in text
    return text if plain and text.isprintable() else "/"


async def read_form(request: Request) -> dict[str, str]:
    """Read a small form.

    Raises:
        UsageError: it is none, or too large.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > SIGN_IN_BYTES_MAX:
            raise UsageError(f"a form of more than {SIGN_IN_BYTES_MAX} bytes")
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=bool(body), max_num_fields=20)
    except ValueError as error:
        raise UsageError("that is no form") from error
    return {name: values[-1] for name, values in fields.items()}


def _scope_with(key: str) -> dict[str, object]:
    bearer = f"Bearer {key}".encode("utf-8", "replace")
    return {"method": "GET", "headers": [(b"authorization", bearer)]}


def _require_own_page(request: Request) -> None:
    if request.headers.get("sec-fetch-site", "none").encode() not in OWN_SITE:
        raise ForbiddenError("a page of another site may not bring anything here")


def _set(answer: Response, request: Request, key: str, seconds: int) -> None:
    answer.set_cookie(
        KEY_COOKIE,
        key,
        max_age=seconds,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    answer.headers["Cache-Control"] = "no-store"

"""Turning a page's facts into HTML, or into JSON where the address ends in `.json`.

Templates escape whatever they are given, and a name that they lack is an error rather than an empty
place. Nothing of a page comes from another host, no script or style stands in the page itself, and
the policy in the headers holds browsers to both.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from lodeline.query.permission import NamespacePatterns
from lodeline.server.endpoints import Caller
from lodeline.server.pages.addresses import JSON_ENDING, json_url, page_url, with_query
from lodeline.server.pages.presenting import FILTERS
from lodeline.server.pages.static_files import static_url
from lodeline.server.pages.values import FILTERS as VALUE_FILTERS

POLICY: Final = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # What one caller may see is nobody else's, and is asked again.
    "Cache-Control": "private, no-cache",
    "Vary": "Accept-Encoding, Cookie, Authorization",
}
# Below this an answer in gzip is no shorter.
_COMPRESSED_FROM: Final = 500
# What could end an element, and what turns text around or ends a line where none shows.
_TROUBLE: Final = re.compile("[<>&\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_THEMES: Final = frozenset({"light", "dark"})


@dataclass(frozen=True, slots=True)
class Page:
    """A page before it is written.

    Attributes:
        template: below `templates/`.
        title: of the document; a whole sentence where the page is one.
        facts: what the template shows, under their names; JSON, and the same in the page's `.json`.
        status: of the answer.
        island: the script that the page brings beside the one of all pages, such as `lineage.js`.
        data: what the island reads, embedded in the page; a part of `facts` by name.
        live: the identifiers whose events make the page old; empty for any event, `None` for none.
        headers: beside those of every page.
    """

    template: str
    title: str
    facts: Mapping[str, Any]
    status: int = 200
    island: str | None = None
    data: str | None = None
    live: tuple[str, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@cache
def environment() -> Environment:
    """Give the templates' environment."""
    made = Environment(
        loader=PackageLoader("lodeline.server.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    made.filters.update(VALUE_FILTERS)
    made.filters["embedded"] = embedded
    made.globals.update(page_url=page_url, static_url=static_url, with_query=with_query)
    return made


def embedded(facts: object) -> Markup:
    """Write facts as JSON inside a page, so that no text in them can end the element."""
    text = _as_json(facts).decode()
    text = _TROUBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return Markup(text)  # noqa: S704  # nothing in it can leave a string of JSON


def render(request: Request, caller: Caller | None, page: Page) -> Response:
    """Answer with a page, or with its facts where `.json` is asked for.

    Args:
        request: whose address tells which.
        caller: who asked; `None` where that is not known.
        page: to write.
    """
    if is_json(request):
        body = _as_json({"title": page.title, **page.facts})
        return _answer(request, body, "application/json", page)
    theme = request.cookies.get("lodeline_theme", "")
    text = (
        environment()
        .get_template(page.template)
        .render(
            page=page,
            title=page.title,
            path=request.scope["path"],
            address=address_of(request),
            json_address=json_url(request.scope["path"], request.url.query),
            base=str(request.base_url).rstrip("/"),
            theme=theme if theme in _THEMES else "",
            caller=caller,
            sight=None if caller is None else sight_of(caller),
            signed_in=caller is not None and caller.key_id is not None,
            now_us=time.time_ns() // 1000,
            **page.facts,
        )
    )
    # A name may hold half a character, which UTF-8 cannot write.
    body = text.encode("utf-8", "replace")
    return _answer(request, body, "text/html; charset=utf-8", page)


def sight_of(caller: Caller) -> str | None:
    """Say what hides things from a caller, and who can change that; `None` where nothing does."""
    parts = []
    if not caller.authoriser.sees_all and isinstance(caller.namespaces, NamespacePatterns):
        parts.append(f"the namespaces {', '.join(caller.namespaces.patterns)}")
    if caller.segments is not None:
        parts.append(f"the segments {', '.join(sorted(caller.segments))}")
    if not parts:
        return None
    return (
        f"Your key {caller.name or caller.key_id} sees {' and '.join(parts)}; all else is hidden. "
        "Whoever runs this service can give another: lodeline key create."
    )


def is_json(request: Request) -> bool:
    """Whether a page's facts are asked for, by the ending of the path as it was sent."""
    path: str = request.scope["path"]
    return path.endswith(JSON_ENDING)


def address_of(request: Request) -> str:
    """Give a request's path and query as they were sent."""
    query = request.url.query
    path: str = request.scope["path"]
    return f"{path}?{query}" if query else path


def _answer(request: Request, body: bytes, kind: str, page: Page) -> Response:
    headers = {**HEADERS, **page.headers}
    accepted = request.headers.get("accept-encoding", "")
    if len(body) >= _COMPRESSED_FROM and "gzip" in accepted:
        # Level 5: a tenth larger than 9, in a third of its time.
        body = gzip.compress(body, 5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, page.status, headers, media_type=kind)


def _as_json(facts: object) -> bytes:
    try:
        return msgspec.json.encode(facts)
    except UnicodeEncodeError:
        # Half a character: `json` writes it as an escape, as answers of the API do.
        return json.dumps(msgspec.to_builtins(facts)).encode()

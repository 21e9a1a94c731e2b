"""Addresses of the pages: every state of a page stands in one, identifiers percent-encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

JSON_ENDING: Final = ".json"


def encode_identifier(identifier: str) -> str:
    """Write an identifier as one segment of a path; one that ends in `.json` keeps its ending.

    `/` is encoded, so that it ends no segment, and surrogates go out as they came in. Colons stay:
    RFC 3986 allows them there, and identifiers are read by people.
    """
    text = quote(identifier, safe=":@", errors="surrogatepass")
    if text.endswith(JSON_ENDING):
        text = f"{text.removesuffix(JSON_ENDING)}%2Ejson"
    # A segment that is only dots would be taken for a way up.
    return text.replace(".", "%2E") if not text.strip(".") else text


def page_url(page: str, identifier: str | None = None, /, **state: object) -> str:
    """Give the address of a page, such as `page_url("lineage", "model:default:m", depth=2)`.

    Args:
        page: the first segment of its path; empty for home.
        identifier: of the node that it is about.
        state: its query; what is `None` or empty is left out.
    """
    path = f"/{page}" if identifier is None else f"/{page}/{encode_identifier(identifier)}"
    return with_query(path, state)


def with_query(path: str, state: Mapping[str, object]) -> str:
    """Append a query to a path; what is `None`, empty or false is left out, true is `1`."""
    kept = [
        (name, "1" if value is True else str(value))
        for name, value in state.items()
        if value is not None and value is not False and value != ""
    ]
    return f"{path}?{urlencode(kept, errors='surrogatepass')}" if kept else path


def json_url(path: str, query: str) -> str:
    """Give the address of a page's facts.

    Args:
        path: of the page, as it was sent.
        query: of the page, without its question mark.
    """
    beside = "/index.json" if path == "/" else f"{path}{JSON_ENDING}"
    return f"{beside}?{query}" if query else beside

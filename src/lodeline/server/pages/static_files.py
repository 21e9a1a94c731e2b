"""The files beside the pages: one style sheet, icons, built scripts; none comes from elsewhere.

They travel in the wheel. Each is read once, kept compressed, and named in pages with the digest of
its bytes, so that browsers may keep it for ever.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import UnknownPageError

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file.

    Attributes:
        content: its bytes.
        compressed: the same in gzip.
        kind: media type.
        digest: of the content, shortened.
    """

    content: bytes
    compressed: bytes
    kind: str
    digest: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Read all files, by name."""
    found = {}
    for one in files("lodeline.server.pages").joinpath("static").iterdir():
        ending = one.name[one.name.rfind(".") :]
        if ending not in _TYPES:
            continue
        content = one.read_bytes()
        # Without a time in it: the same bytes for the same file.
        compressed = gzip.compress(content, 9, mtime=0)
        digest = hashlib.sha256(content).hexdigest()[:16]
        found[one.name] = StaticFile(content, compressed, _TYPES[ending], digest)
    return found


def static_url(name: str) -> str:
    """Give the address of a file, with its digest.

    Raises:
        KeyError: a template names a file that is not there.
    """
    return f"/static/{name}?v={static_files()[name].digest}"


def static_response(request: Request) -> Response:
    """Answer with a file.

    Raises:
        UnknownPageError: there is none of that name.
    """
    name = request.path_params["name"]
    one = static_files().get(name)
    if one is None:
        raise UnknownPageError(f"/static/{name[:80]}")
    named = request.query_params.get("v") == one.digest
    headers = {
        "ETag": f'"{one.digest}"',
        "Cache-Control": _FOR_EVER if named else "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        # A worker has a policy of its own.
        "Content-Security-Policy": "default-src 'self'",
    }
    if f'"{one.digest}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = one.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = one.compressed
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=one.kind, headers=headers)

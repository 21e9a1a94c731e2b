"""GET /log/{segment}/…: the log as the files of C2SP tlog-tiles, made from the store when asked.

What a leaf record holds (identifiers and commitments) says nothing of its payload, so these files
need no masking. A tile or bundle has one content for ever, and may be cached for ever; only the
checkpoint moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.segments import may_use
from lodeline.tlog import Checkpoint
from lodeline.tlog.publication import LogSource, read_resource
from lodeline.tlog.resources import CHECKPOINT, find_resource, width_at

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}


class ServedLog(LogSource, Protocol):
    """A segment whose log is served."""

    @property
    def segment_id(self) -> str:
        """Its opaque identifier, as in the path."""

    def checkpoint(self) -> Checkpoint:
        """The signed tree head of the whole log."""

    def witnessed_note(self, size: int) -> str:
        """A checkpoint's note with the cosignatures of witnesses."""


class LogFiles:
    """The files of the logs of a service's segments.

    Args:
        logs: by the segment's name.
    """

    def __init__(self, logs: Mapping[str, ServedLog]) -> None:
        self._logs = {log.segment_id: (name, log) for name, log in logs.items()}

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the one endpoint of all files."""
        summary = "A checkpoint, tile or entry bundle of the log (C2SP tlog-tiles)"
        path = "/log/{segment}/{path:path}"
        return [Endpoint("GET", path, Permission.LOG, self.file, summary)]

    async def file(self, request: Request, caller: Caller) -> Response:
        """Answer with a checkpoint, a tile or a bundle that the checkpoint covers."""
        path = request.path_params["path"]
        name, log = self._logs.get(request.path_params["segment"], ("", None))
        if log is None or not may_use(caller, name):
            return _missing(request)
        found = await asyncio.to_thread(_find, log, path)
        if found is None:
            return _missing(request)
        if path == CHECKPOINT:
            headers = {"Cache-Control": "no-cache", **_NOSNIFF}
            return Response(found, media_type="text/plain; charset=utf-8", headers=headers)
        headers = {"Cache-Control": _FOR_EVER, **_NOSNIFF}
        return Response(found, media_type="application/octet-stream", headers=headers)


def _find(log: ServedLog, path: str) -> bytes | None:
    if path == CHECKPOINT:
        return log.witnessed_note(log.checkpoint().size).encode()
    resource = find_resource(path)
    if resource is None:
        return None
    # Entries that are not signed yet are not shown: a client could not verify them.
    size = log.checkpoint().size
    if resource.width > width_at(resource.level, resource.number, size):
        return None
    return read_resource(log, resource)


def _missing(request: Request) -> Response:
    body = {
        "code": "no.route",
        "message": f"{request.url.path} is no file of a log here",
        "next": None,
    }
    # Asked for too early, it comes into being later; a cache must not remember that it was not.
    return JSONResponse(body, status_code=404, headers={"Cache-Control": "no-store"})

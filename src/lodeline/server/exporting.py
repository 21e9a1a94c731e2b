"""GET /api/v2/export: the record in other programs' formats, as the command line writes it.

An export is written to a temporary file first, in a bounded pool, and sent from there: its faults
have a status of their own, the size that it went to is a header, and a slow client holds neither a
snapshot of the store nor memory. Archives in folders (`parquet`) are the command line's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lodeline.errors import ForbiddenError, UsageError
from lodeline.exports.exporting import Exporting, begin_export
from lodeline.exports.formats import FORMATS, Format, check_format
from lodeline.limits import EXPORT_MEMORY_BYTES, EXPORTS_AT_A_TIME
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.store import Segment

_CHUNK_BYTES: Final = 1 << 16


class Exports:
    """The endpoint of exports.

    Args:
        segment: exported, as far as it is folded.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._pool = ThreadPoolExecutor(EXPORTS_AT_A_TIME, thread_name_prefix="lodeline-export")

    def endpoints(self) -> list[Endpoint]:
        """Give the one endpoint."""
        summary = "The record in another format"
        return [
            Endpoint("GET", "/api/v2/export", Permission.READ, self.export, summary, _OPERATION)
        ]

    async def export(self, request: Request, caller: Caller) -> Response:
        """Answer with an export, and where the next one goes on."""
        asked = _read(request)
        node, since = asked.get("id"), _read_size(asked.get("since", "0"))
        form = check_format(asked.get("format", "openlineage"), node, since)
        if form.whole and not caller.authoriser.sees_all:
            raise ForbiddenError(
                "this format holds events as they were sent, and some are hidden from this key;"
                " csv leaves out what is hidden"
            )

        def write() -> tuple[Exporting, IO[bytes]]:
            return _write(self._segment, form, node or "", since=since, caller=caller)

        loop = asyncio.get_running_loop()
        export, file = await loop.run_in_executor(self._pool, write)
        left_out = export.left_out
        headers = {
            "Content-Disposition": f'attachment; filename="lodeline.{form.suffix}"',
            "Lodeline-Tree-Size": str(export.size),
            "Lodeline-Left-Out": f"events={left_out.events}, values={left_out.values},"
            f" locked={left_out.locked}, hidden={left_out.hidden}",
        }
        return StreamingResponse(_chunks(file), media_type=form.media_type, headers=headers)


def _read(request: Request) -> dict[str, str]:
    asked: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in asked or name not in {"format", "id", "since"}:
            raise UsageError(f"parameter {name!r} is given twice or not known here")
        asked[name] = value
    return asked


def _read_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UsageError(f"since: {text[:64]!r} is not a size, 0 or more")
    return int(text)


def _write(
    segment: Segment, form: Format, node: str, *, since: int, caller: Caller
) -> tuple[Exporting, IO[bytes]]:
    export = begin_export(segment, since=since, authoriser=caller.authoriser)
    file: IO[bytes] = SpooledTemporaryFile(max_size=EXPORT_MEMORY_BYTES)  # noqa: SIM115  # sent later
    try:
        form.write(export, node, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return export, file


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    where = {"name": name, "in": "query", "required": False}
    return where | {"schema": schema, "description": description}


_OPERATION: Final[dict[str, Any]] = {
    "parameters": [
        _parameter("format", {"enum": sorted(FORMATS)}, "openlineage without it."),
        _parameter("id", {"type": "string"}, "The model or dataset of cyclonedx and croissant."),
        _parameter(
            "since",
            {"type": "integer", "minimum": 0},
            "Leave out what the log held when it had so many entries.",
        ),
    ],
    "responses": {
        "200": {
            "description": "The export",
            "headers": {
                "Lodeline-Tree-Size": {
                    "description": "Entries of the log that it covers: the next `since`.",
                    "schema": {"type": "integer"},
                },
                "Lodeline-Left-Out": {
                    "description": "Counts of what it does not hold, or holds as null.",
                    "schema": {"type": "string"},
                },
            },
            "content": {
                form.media_type: {
                    # What is JSON has the schema of its own format.
                    "schema": {"type": "object" if form.media_type.endswith("json") else "string"}
                }
                for form in FORMATS.values()
            },
        }
    },
}

"""/api/v2/dead-letters and /api/v2/producers: what was refused, and what came in from whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lodeline.errors import MissingBytesError, UsageError
from lodeline.ingest import retry_dead_letters
from lodeline.limits import BATCH_BYTES_MAX, DEAD_LETTERS_PAGE
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.taking import read_body
from lodeline.store import Segment
from lodeline.store.accounts import list_accounts

_LETTERS: Final = "/api/v2/dead-letters"
_LETTER: Final = "/api/v2/dead-letters/{id}"
_BYTES: Final = "/api/v2/dead-letters/{id}/bytes"
_RETRY: Final = "/api/v2/dead-letters/{id}/retry"
_RETRY_ALL: Final = "/api/v2/dead-letters/retry"
_RESOLVE: Final = "/api/v2/dead-letters/{id}/resolve"
_PRODUCERS: Final = "/api/v2/producers"
# Another site's page must not be able to have a browser show or run what somebody sent.
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": 'attachment; filename="refused"',
}


class RefusedInput:
    """The endpoints of those who run the service.

    Args:
        segment: whose dead letters and accounts.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def endpoints(self) -> Sequence[Endpoint]:
        """Give the endpoints."""
        operate = Permission.OPERATE
        return [
            Endpoint("GET", _LETTERS, operate, self.list, "Refused inputs, oldest first"),
            Endpoint("POST", _RETRY_ALL, operate, self.retry_all, "Send refused inputs again"),
            Endpoint("GET", _LETTER, operate, self.show, "One refused input"),
            Endpoint("GET", _BYTES, operate, self.bytes, "A refused input as it came"),
            Endpoint("POST", _RETRY, operate, self.retry, "Send one again, or its repair"),
            Endpoint("POST", _RESOLVE, operate, self.resolve, "Strike one off the list"),
            Endpoint("GET", _PRODUCERS, operate, self.producers, "What came in from whom"),
        ]

    async def list(self, request: Request, _: Caller) -> Response:
        """Answer with a page of letters."""
        query = request.query_params
        limit = _whole(query.get("limit", "100"), "limit", most=DEAD_LETTERS_PAGE)
        after = _whole(query.get("cursor", "0"), "cursor", most=1 << 62, least=0)
        return JSONResponse(await asyncio.to_thread(self._page, after, limit))

    def _page(self, after: int, limit: int) -> dict[str, Any]:
        letters = list(islice(self._segment.iter_dead_letters(after), limit + 1))
        shown = letters[:limit]
        return {
            "total": self._segment.count_dead_letters(),
            "dead_letters": [letter.to_json() for letter in shown],
            "next": str(shown[-1].letter_id) if len(letters) > limit else None,
        }

    async def show(self, request: Request, _: Caller) -> Response:
        """Answer with one letter."""
        letter = await asyncio.to_thread(self._segment.get_dead_letter, _id(request))
        return JSONResponse(letter.to_json())

    async def bytes(self, request: Request, _: Caller) -> Response:
        """Answer with the bytes of one letter."""
        letter_id = _id(request)
        raw = await asyncio.to_thread(self._segment.dead_letter_bytes, letter_id)
        if raw is None:
            raise MissingBytesError(letter_id)
        return Response(raw, media_type="application/octet-stream", headers=_HEADERS)

    async def retry(self, request: Request, _: Caller) -> Response:
        """Send one letter again, or the body in its place."""
        letter_id = _id(request)
        edited = await read_body(request.scope, request.receive, bytes_max=BATCH_BYTES_MAX)
        return await self._retry([letter_id], edited or None)

    async def retry_all(self, _: Request, __: Caller) -> Response:
        """Send the oldest letters again, as many as one request may."""
        letters = islice(self._segment.iter_dead_letters(), DEAD_LETTERS_PAGE)
        ids = await asyncio.to_thread(lambda: [letter.letter_id for letter in letters])
        return await self._retry(ids, None)

    async def _retry(self, letter_ids: Sequence[int], edited: Any) -> Response:
        work = asyncio.to_thread(retry_dead_letters, self._segment, letter_ids, edited=edited)
        return JSONResponse((await work).to_json())

    async def resolve(self, request: Request, _: Caller) -> Response:
        """Strike one letter off."""
        letter_id = _id(request)
        await asyncio.to_thread(self._segment.get_dead_letter, letter_id)
        await asyncio.to_thread(self._segment.resolve_dead_letter, letter_id)
        return JSONResponse({"resolved": letter_id})

    async def producers(self, _: Request, __: Caller) -> Response:
        """Answer with all accounts."""
        accounts = await asyncio.to_thread(list_accounts, self._segment)
        return JSONResponse({"producers": [account.to_json() for account in accounts]})


def _id(request: Request) -> int:
    return _whole(request.path_params["id"], "id", most=1 << 62)


def _whole(text: str, name: str, *, most: int, least: int = 1) -> int:
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:20]) <= most:
        raise UsageError(f"{name} is a whole number from {least} to {most}")
    return int(text)

"""The pages of those who run the service: log, refused input, producers, health."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lodeline.errors import ForbiddenError, UnknownSegmentError, UsageError
from lodeline.ingest import retry_dead_letters
from lodeline.limits import BATCH_BYTES_MAX
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.pages.addresses import with_query
from lodeline.server.pages.page_endpoints import page_endpoint, page_endpoints, query_of
from lodeline.server.pages.presenting import grouped
from lodeline.server.pages.record_facts import (
    entry_facts,
    health_facts,
    letter_facts,
    log_facts,
    one_letter_facts,
    producer_facts,
)
from lodeline.server.pages.rendering import HEADERS, Page
from lodeline.server.pages.service import PageService
from lodeline.server.segments import DEFAULT_SEGMENT
from lodeline.server.taking import read_body
from lodeline.store import SqlSegment

Facts = dict[str, Any]


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of these pages."""
    pages = _RecordPages(service)
    log, operate = Permission.LOG, Permission.OPERATE
    checkpoints = "The log: checkpoints, keys, witnesses"
    proof = "An entry's receipt and proof"
    letter = "One refused input, to be mended"
    retry = "Send a refused input again, or its repair"
    resolve = "Strike a refused input off the list"
    producers = "What came in from whom"
    return [
        page_endpoint("POST", "/dead-letters/{id}/retry", pages.retry, retry, permission=operate),
        page_endpoint(
            "POST", "/dead-letters/{id}/resolve", pages.resolve, resolve, permission=operate
        ),
        *page_endpoints(service, "/log", pages.log, checkpoints, permission=log),
        *page_endpoints(service, "/log-entry", pages.entry, proof, permission=log),
        *page_endpoints(service, "/dead-letters/{id}", pages.letter, letter, permission=operate),
        *page_endpoints(
            service, "/dead-letters", pages.letters, "Refused inputs", permission=operate
        ),
        *page_endpoints(service, "/producers", pages.producers, producers, permission=operate),
        *page_endpoints(
            service, "/health", pages.health, "How the service fares", permission=operate
        ),
    ]


class _RecordPages:
    def __init__(self, service: PageService) -> None:
        self._service = service

    # -- log -------------------------------------------------------------------------------------

    async def log(self, request: Request, caller: Caller) -> Page:
        query = query_of(request, "segment", "size", "entry")
        segments = self._allowed(caller, query.get("segment"))
        size = _whole(query["size"], "size") if "size" in query else None
        facts = await self._service.run(log_facts, segments, size)
        [first, *_] = facts["logs"]
        title = f"The log: {grouped(sum(one['size'] for one in facts['logs']))} entries"
        return Page("log.html", title, {**facts, "first": first, "query": dict(query)})

    async def entry(self, request: Request, caller: Caller) -> Page:
        query = query_of(request, "segment", "position")
        segment = self._one(caller, query.get("segment"))
        position = _whole(query.get("position", "0"), "position")
        facts = await self._service.run(entry_facts, segment, position)
        return Page("log_entry.html", f"Entry {grouped(position)} of the log", facts)

    # -- refused input ---------------------------------------------------------------------------

    async def letters(self, request: Request, caller: Caller) -> Page:
        query = query_of(request, "segment", "cursor", "done")
        segment = self._one(caller, query.get("segment"))
        after = _whole(query.get("cursor", "0"), "cursor")
        facts = await self._service.run(letter_facts, segment, after)
        total = facts["total"]
        word = "input" if total == 1 else "inputs"
        title = f"{grouped(total)} refused {word}" if total else "No refused inputs"
        told = {**facts, "segment": query.get("segment"), "done": query.get("done")}
        return Page("dead_letters.html", title, told)

    async def letter(self, request: Request, caller: Caller) -> Page:
        query = query_of(request, "segment")
        segment = self._one(caller, query.get("segment"))
        letter_id = _whole(request.path_params["id"], "id")
        facts = await self._service.run(one_letter_facts, segment, letter_id)
        told = {"letter": facts, "segment": query.get("segment")}
        return Page("dead_letter.html", f"Refused input {letter_id}", told)

    async def retry(self, request: Request, caller: Caller) -> Response:
        """Send a letter again, or the text that somebody mended, and show what came of it."""
        query = query_of(request, "segment")
        segment = self._one(caller, query.get("segment"))
        letter_id = _whole(request.path_params["id"], "id")
        form = await _form(request)
        text = form.get("event", "").strip()
        edited = text.encode("utf-8", "surrogatepass") if text else None
        outcome = await asyncio.to_thread(
            partial(retry_dead_letters, segment, [letter_id], edited=edited)
        )
        told = outcome.to_json()
        if told["accepted"] or told["duplicates"]:
            return _seen(query, done=str(letter_id))
        # Refused once more: the new fault is the letter's, and stands on its page.
        address = with_query(f"/dead-letters/{letter_id}", dict(query))
        return RedirectResponse(address, 303, headers=HEADERS)

    async def resolve(self, request: Request, caller: Caller) -> Response:
        """Strike a letter off."""
        query = query_of(request, "segment")
        segment = self._one(caller, query.get("segment"))
        letter_id = _whole(request.path_params["id"], "id")
        await asyncio.to_thread(segment.get_dead_letter, letter_id)
        await asyncio.to_thread(segment.resolve_dead_letter, letter_id)
        return _seen(query, done=str(letter_id))

    # -- service ---------------------------------------------------------------------------------

    async def producers(self, request: Request, caller: Caller) -> Page:
        query = query_of(request, "segment")
        segment = self._one(caller, query.get("segment"))
        facts = await self._service.run(producer_facts, segment)
        count = len(facts["producers"])
        title = f"{grouped(count)} {'producer' if count == 1 else 'producers'}"
        return Page("producers.html", title, facts)

    async def health(self, request: Request, caller: Caller) -> Page:
        query_of(request)
        facts = await self._service.run(self._health, self._allowed(caller, None))
        count = len(facts["problems"])
        needs = "1 thing needs" if count == 1 else f"{count} things need"
        title = f"{needs} attention" if count else "Nothing needs attention"
        return Page("health.html", title, facts)

    def _health(self, segments: Mapping[str, SqlSegment]) -> Facts:
        return health_facts(
            segments,
            self._service.configuration,
            waiting=self._service.waiting(),
            look_at_spool=self._service.look_at_spool,
        )

    def _allowed(self, caller: Caller, name: str | None) -> Mapping[str, SqlSegment]:
        """Give the segments that a caller may use, or the one named.

        Raises:
            ForbiddenError: they may use none.
            UnknownSegmentError: it is not there, or not for this caller.
        """
        parameters = {} if name is None else {"segment": name}
        allowed, _, _ = self._service.segments.of_question(caller, parameters)
        if not allowed:
            raise ForbiddenError("this key may use no segment")
        return allowed

    def _one(self, caller: Caller, name: str | None) -> SqlSegment:
        allowed = self._allowed(caller, None)
        wanted = name or (DEFAULT_SEGMENT if DEFAULT_SEGMENT in allowed else next(iter(allowed)))
        if wanted not in allowed:
            raise UnknownSegmentError(wanted[:80], tuple(allowed))
        return allowed[wanted]


def _seen(query: Mapping[str, str], *, done: str) -> Response:
    address = with_query("/dead-letters", {**query, "done": done})
    return RedirectResponse(address, 303, headers=HEADERS)


async def _form(request: Request) -> Mapping[str, str]:
    """Read a form that was sent.

    Raises:
        UsageError: it is none.
    """
    body = await read_body(request.scope, request.receive, bytes_max=BATCH_BYTES_MAX)
    try:
        found: Mapping[str, Sequence[str]] = parse_qs(
            bytes(body).decode("ascii"), keep_blank_values=True, strict_parsing=bool(body),
            max_num_fields=16, errors="surrogatepass",
        )  # fmt: skip
    except ValueError as error:
        raise UsageError("not a form") from error
    return {name: values[0] for name, values in found.items()}


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise UsageError(f"{name} is a whole number, 0 or more")
    return int(text)

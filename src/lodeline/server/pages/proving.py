"""The page of a proof: the browser fetches the log's own files, computes, and says what holds.

The server hands out what is to be checked, never a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lodeline.errors import ForbiddenError, UsageError
from lodeline.limits import PROOF_ENTRIES_MAX
from lodeline.query.federated_single import knowing
from lodeline.server.confinement import require_whole_sight
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages.page_endpoints import page_endpoint, page_endpoints, query_of
from lodeline.server.pages.presenting import node_name
from lodeline.server.pages.proof_facts import disclosed_entries, prediction_row, proof_facts
from lodeline.server.pages.rendering import HEADERS, Page
from lodeline.server.pages.service import PageService
from lodeline.store import SqlSegment

Facts = dict[str, Any]
_STATE: Final = ("direction", "as_of", "valid_at", "segment")


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of the page, and of what it has the browser check."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = query_of(request, *_STATE)
        facts = await service.run(_facts, service, caller, request.path_params["id"], query)
        title = f"Proof of {node_name(facts['id'])}"
        return Page("proof.html", title, facts, island="proof.js", data="log")

    async def disclose(request: Request, caller: Caller) -> Response:
        query = query_of(request, "entries", "segment", "prediction")
        told = await service.run(_disclose, service, caller, query)
        return Response(msgspec.json.encode(told), headers=HEADERS, media_type="application/json")

    summary = "The fields that entries of the log commit to"
    return [
        # Beside the pages of nodes: no identifier has this form.
        page_endpoint("GET", "/proof-entries", disclose, summary),
        *page_endpoints(service, "/proof/{id}", serve, "The proof of an answer"),
    ]


def _facts(
    service: PageService, caller: Caller, identifier: str, query: Mapping[str, str]
) -> Facts:
    name, segment = _segment(service, caller, identifier, query.get("segment"))
    asked = {key: value for key, value in query.items() if key != "segment"}
    ask = partial(service.ask, caller)
    if len(service.segments.by_name) > 1:
        asked["segment"] = name
    facts = proof_facts(ask, segment, identifier, asked, whole=_sees_whole(service, caller))
    return {**facts, "query": {**dict.fromkeys(_STATE), **query}, "segment_name": name}


def _segment(
    service: PageService, caller: Caller, identifier: str, wanted: str | None
) -> tuple[str, SqlSegment]:
    """Find the one segment whose log proves a node.

    Raises:
        UsageError: several know it: a proof is of one log.
    """
    parameters = {} if wanted is None else {"segment": wanted}
    allowed, _, _ = service.segments.of_question(caller, parameters)
    if not allowed:
        raise ForbiddenError("this key may use no segment")
    if len(allowed) > 1:
        allowed = knowing(allowed, identifier)
    if len(allowed) > 1:
        raise UsageError(f"a proof is of one log; name one of {', '.join(allowed)} as `segment`")
    [(name, segment)] = allowed.items()
    return name, segment


def _sees_whole(service: PageService, caller: Caller) -> bool:
    try:
        _require_whole(service, caller)
    except ForbiddenError:
        return False
    return True


def _require_whole(service: PageService, caller: Caller) -> None:
    seeing = replace(caller, authoriser=service.segments.authoriser(caller))
    require_whole_sight(seeing, "a proof shows whole entries")


def _disclose(service: PageService, caller: Caller, query: Mapping[str, str]) -> Facts:
    _require_whole(service, caller)
    prediction = query.get("prediction")
    _, segment = _segment(service, caller, prediction or "", query.get("segment"))
    words = query.get("entries", "").split(",")
    numbers = [word for word in words if word]
    if not all(word.isascii() and word.isdecimal() and len(word) < 19 for word in numbers):
        raise UsageError("entries: leaf indexes with commas between them")
    if len(numbers) > PROOF_ENTRIES_MAX:
        raise UsageError(f"entries: at most {PROOF_ENTRIES_MAX} at a time")
    return {
        "entries": disclosed_entries(segment, [int(word) for word in numbers]),
        "row": prediction_row(segment, prediction) if prediction else None,
    }

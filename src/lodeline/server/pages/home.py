"""Home is search: one field, hits grouped by kind, and below it what deserves a look.

What is found is the answer of `search`; the rest comes from `home_facts.py`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Final

from starlette.requests import Request

from lodeline.errors import LodelineError
from lodeline.server.endpoints import Caller, Endpoint, Permission
from lodeline.server.pages.home_facts import (
    describe_failure,
    downstream,
    record_facts,
    together,
)
from lodeline.server.pages.page_endpoints import page_endpoints, query_of
from lodeline.server.pages.rendering import Page
from lodeline.server.pages.service import PageService

# Of each kind, before "all of them": what fits on a screen with several kinds.
_HITS_OF_A_KIND: Final = 6
_HITS_OF_ONE_KIND: Final = 50
# Each costs two questions.
_FAILURES_TOLD: Final = 4
_FILTERS: Final = ("kind", "namespace", "tag", "owner", "as_of", "valid_at", "segment")


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoints of home."""

    async def serve(request: Request, caller: Caller) -> Page:
        query = query_of(request, "q", *_FILTERS, "cursor")
        if query.get("q", "").strip():
            return await _found(service, caller, dict(query))
        return await _welcome(service, caller)

    return page_endpoints(service, "/", serve, "Search, and what deserves a look")


async def _found(service: PageService, caller: Caller, query: dict[str, str]) -> Page:
    one_kind = "kind" in query
    limit = _HITS_OF_ONE_KIND
    answer = await service.answer(caller, "search", limit=limit, **query)
    groups: dict[str, dict[str, Any]] = {}
    for hit in answer["results"]:
        group = groups.setdefault(hit["kind"], {"kind": hit["kind"], "hits": []})
        if one_kind or len(group["hits"]) < _HITS_OF_A_KIND:
            group["hits"].append(hit)
    counts = answer["facets"]["kind"]
    if not one_kind:
        for kind in counts:
            if kind not in groups:
                # One kind may fill the first page; the others are still shown.
                asked = {**query, "kind": kind, "limit": _HITS_OF_A_KIND}
                more = await service.answer(caller, "search", **asked)
                groups[kind] = {"kind": kind, "hits": more["results"]}
    for kind, group in groups.items():
        group["total"] = counts.get(kind, len(group["hits"]))
    facts = {
        "q": query["q"],
        "filters": {name: query[name] for name in _FILTERS if name in query},
        "groups": list(groups.values()),
        "total": answer["total"],
        "total_exact": answer["total_exact"],
        "corrected": answer["corrected"],
        "gaps": answer.get("gaps", []),
        "next": answer["next"] if one_kind else None,
        "as_of": answer["as_of"],
        "trees": answer["trees"],
    }
    return Page("found.html", f"{query['q'][:80]} · search", facts, live=None)


async def _welcome(service: PageService, caller: Caller) -> Page:
    stats, problem = await service.find(caller, "stats")
    facts: dict[str, Any] = {
        "stats": stats,
        "problem": problem,
        "empty": stats is not None and not any(stats["nodes"].values()),
        "record": None,
        "failures": [],
        "dead_letters": None,
    }
    if stats is not None and not facts["empty"]:
        facts |= await service.run(_look, service, caller)
    return Page("home.html", "Lineage for AI pipelines", facts, live=())


def _look(service: PageService, caller: Caller) -> dict[str, Any]:
    allowed, _ = service.segments.of_caller(caller)
    authoriser = service.segments.authoriser(caller)
    now_us = time.time_ns() // 1000
    try:
        record = together(
            {name: record_facts(one, authoriser, now_us) for name, one in allowed.items()}
        )
        ask = partial(service.ask, caller)
        failures = [describe_failure(ask, job) for job in record["failed_jobs"][:_FAILURES_TOLD]]
        for one in record["failed_assertions"][:_FAILURES_TOLD]:
            one["downstream"] = downstream(ask, one["id"])
        letters = None
        if Permission.OPERATE in caller.permissions and authoriser.sees_all:
            letters = sum(one.count_dead_letters() for one in allowed.values())
    except LodelineError as error:
        return {"problem": str(error)}
    return {"record": record, "failures": failures, "dead_letters": letters}

"""What the nodes of a graph are like: when they were written, rows, and a word for their state.

The words are those of the nodes' own pages (`states.py`), from the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request

from lodeline.errors import LodelineError, UsageError
from lodeline.server.endpoints import Caller, Endpoint
from lodeline.server.pages import states
from lodeline.server.pages.page_endpoints import page_endpoint
from lodeline.server.pages.presenting import is_hidden
from lodeline.server.pages.rendering import Page, render
from lodeline.server.pages.service import PageService

_CARDS_MAX: Final = 24


def endpoints(service: PageService) -> list[Endpoint]:
    """Give the endpoint that graphs ask as nodes come into view."""

    async def serve(request: Request, caller: Caller) -> Any:
        asked = request.query_params
        identifiers = asked.getlist("id")
        if len(identifiers) > _CARDS_MAX or set(asked) - {"id", "as_of", "valid_at", "segment"}:
            raise UsageError(f"cards takes up to {_CARDS_MAX} id, as_of and valid_at")
        names = ("as_of", "valid_at", "segment")
        moment = {name: asked[name] for name in names if asked.get(name)}
        cards = await find_cards(service, caller, identifiers, moment)
        return render(request, caller, Page("", "Cards", {"cards": cards}))

    return [page_endpoint("GET", "/cards.json", serve, "What nodes of a graph are like")]


async def find_cards(
    service: PageService, caller: Caller, identifiers: Sequence[str], moment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Describe nodes; one that cannot be shown is left out.

    Returns:
        By identifier: `written` and `rows` as far as they are known, `state`, and `job_state`,
        the word of the job that writes it.
    """

    def describe() -> dict[str, dict[str, Any]]:
        jobs: dict[str, Mapping[str, Any] | None] = {}
        found = {}
        for one in identifiers:
            if not is_hidden(one):
                shown = _show(service, caller, one, moment)
                if shown is not None:
                    found[one] = _card(service, caller, shown, moment, jobs)
        return found

    return await service.run(describe)


def _show(
    service: PageService, caller: Caller, identifier: str, moment: Mapping[str, str]
) -> dict[str, Any] | None:
    try:
        return service.ask(caller, "show", {"id": identifier, **moment})
    except LodelineError:
        return None


def _card(
    service: PageService,
    caller: Caller,
    shown: Mapping[str, Any],
    moment: Mapping[str, str],
    jobs: dict[str, Mapping[str, Any] | None],
) -> dict[str, Any]:
    versions = shown.get("versions") or []
    version = next((one for one in versions if one["version"] == shown["version"]), None)
    job = versions[0].get("job") if versions else None
    if job and not is_hidden(job) and job not in jobs:
        jobs[job] = _show(service, caller, job, moment)
    told = jobs.get(job) if job else None
    return {
        "written": None if version is None else version.get("written"),
        "rows": _rows(shown.get("facets") or {}),
        "state": states.of_data(versions, _incoming(service, caller, shown["id"], moment)),
        "job_state": None if told is None else states.of_job(told.get("runs") or []),
    }


def _incoming(
    service: PageService, caller: Caller, identifier: str, moment: Mapping[str, str]
) -> list[Mapping[str, Any]]:
    asked = {"id": identifier, "direction": "up", "depth": 1, **moment}
    try:
        edges: list[Mapping[str, Any]] = service.ask(caller, "trace", asked)["edges"]
    except LodelineError:
        return []
    return edges


def _rows(facets: Mapping[str, Any]) -> int | None:
    for name in ("outputStatistics", "dataQualityMetrics"):
        count = (facets.get(name) or {}).get("rowCount")
        if isinstance(count, int):
            return count
    return None

"""Search, stats and show over several segments: each is asked by itself, the answers are joined."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Mapping
from itertools import chain, zip_longest
from typing import Any

from lodeline.errors import UnknownNodeError, UsageError
from lodeline.limits import SEARCH_RESULTS_MAX
from lodeline.query.door import ask
from lodeline.query.federated_pages import open_federated_page
from lodeline.query.parameters import SearchQuestion, read_question
from lodeline.query.permission import Authoriser
from lodeline.store import Segment

Answer = dict[str, Any]


def merge_search(
    sources: Mapping[str, Segment], parameters: Mapping[str, object], authoriser: Authoriser
) -> Answer:
    """Search every segment: the best of each first, in turns; what several know stands once."""
    question = read_question(SearchQuestion, parameters)
    page, pinned = open_federated_page("search", question, parameters, several=len(sources) > 1)
    wanted = page.offset + page.limit
    if wanted > SEARCH_RESULTS_MAX:
        raise UsageError(f"over several segments at most {SEARCH_RESULTS_MAX} results are listed")
    found: list[Answer] = []
    for segment in sources.values():
        given = {**parameters, "limit": wanted, "cursor": None}
        if pinned is not None:
            given["as_of"] = pinned.get(segment.segment_id)
        found.append(ask(segment, "search", given, authoriser=authoriser))
    turns = chain.from_iterable(zip_longest(*(one["results"] for one in found)))
    results = {one["id"]: one for one in reversed([one for one in turns if one is not None])}
    ordered = list(reversed(results.values()))
    total = sum(one["total"] for one in found)
    twice = sum(len(one["results"]) for one in found) - len(ordered)
    more = total - twice > wanted
    answer = {**found[0], "total": total - twice, "results": ordered[page.offset : wanted]}
    sizes = {tree["segment"]: tree["size"] for one in found for tree in one["trees"]}
    return {
        **answer,
        **_joined_facets(found),
        "next": _cursor(wanted, sizes, page.question) if more else None,
        **_moment(found),
    }


def _joined_facets(found: list[Answer]) -> Answer:
    if "facets" not in found[0]:
        return {}
    names = {name for one in found for name in one["facets"]}
    sums = {
        name: dict(sum((Counter(one["facets"].get(name, {})) for one in found), Counter()))
        for name in sorted(names)
    }
    return {"facets": sums, "total_exact": all(one.get("total_exact", True) for one in found)}


def _cursor(offset: int, sizes: Mapping[str, int], question: str) -> str:
    body = json.dumps([offset, sizes, question]).encode()
    return urlsafe_b64encode(body).decode().rstrip("=")


def add_stats(
    sources: Mapping[str, Segment], parameters: Mapping[str, object], authoriser: Authoriser
) -> Answer:
    """Add the counts of all segments up, and tell each one's beside them.

    A node that several segments know counts in each.
    """
    by_name = {
        name: ask(segment, "stats", parameters, authoriser=authoriser)
        for name, segment in sources.items()
    }
    found = list(by_name.values())
    sums: Answer = {}
    for key, value in found[0].items():
        if isinstance(value, dict) and key != "as_of":
            sums[key] = dict(sum((Counter(one[key]) for one in found), Counter()))
        elif isinstance(value, int):
            sums[key] = sum(one[key] for one in found)
    return {**sums, "segments": by_name, **_moment(found)}


def show_everywhere(
    sources: Mapping[str, Segment], parameters: Mapping[str, object], authoriser: Authoriser
) -> Answer:
    """Show a node: as the segment tells that wrote it most, with the versions of all.

    Raises:
        UnknownNodeError: no segment knows it.
    """
    by_name: dict[str, Answer] = {}
    unknown: UnknownNodeError | None = None
    for name, segment in sources.items():
        try:
            by_name[name] = ask(segment, "show", parameters, authoriser=authoriser)
        except UnknownNodeError as error:
            unknown = unknown or error
    if not by_name:
        assert unknown is not None
        raise unknown
    found = sorted(by_name.values(), key=lambda one: -len(one["versions"]))
    versions = [version for one in found for version in one["versions"]]
    versions.sort(key=lambda one: str(one.get("written")), reverse=True)
    facets = {name: body for one in reversed(found) for name, body in one["facets"].items()}
    merged = {**found[0], "versions": versions, "facets": facets}
    return {**merged, "segments": sorted(by_name), **_moment(found)}


def _moment(found: list[Answer]) -> Answer:
    latest = max((one["as_of"] for one in found), key=lambda one: str(one["time"]))
    as_of = latest if len(found) == 1 else {**latest, "tree_size": None}
    return {"as_of": as_of, "trees": [tree for one in found for tree in one["trees"]]}

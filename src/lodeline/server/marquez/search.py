"""Search of datasets and jobs by name, as Marquez's clients ask it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from lodeline.errors import UsageError
from lodeline.limits import CATALOGUE_MATCHES_MAX
from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.catalogue import DATA_KINDS, JOB_KINDS, Catalogue
from lodeline.query.entities import describe_datasets, describe_jobs
from lodeline.server.marquez.calls import Call, Json, Read, read_time
from lodeline.server.marquez.shapes import dataset_json, job_json, node_id, time_text

_LIMIT: Final = 10
_HITS: Final = 50
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_SORTS: Final = ("name", "updated_at")


def search(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /search`."""
    query = call.required("q")
    kinds = _kinds(call)
    sort = call.query.get("sort", "name").lower()
    if sort not in _SORTS:
        raise UsageError(f"sort: {' or '.join(_SORTS)}, not {sort[:64]!r}")
    catalogue = Catalogue(inquiry)
    found: dict[int, NodeId] = {}
    for one in kinds:
        found |= catalogue.matching(
            one,
            pattern=f"%{query.lower()}%",
            namespace=call.query.get("namespace") or None,
            limit=CATALOGUE_MATCHES_MAX,
        )
    updated = catalogue.updated(found)
    before, after = _day(call, "before"), _day(call, "after")
    kept = [
        (node, updated[number])
        for number, node in found.items()
        if (before is None or updated[number] < before)
        and (after is None or updated[number] > after)
    ]
    by_name = sorted(kept, key=lambda one: (one[0].name, one[0].namespace, one[0].kind))
    if sort == "updated_at":
        by_name.sort(key=lambda one: -one[1])
    page = by_name[: call.number("limit", _LIMIT)]
    return {"totalCount": len(kept), "results": [_result(*one) for one in page]}


def _result(node: NodeId, updated_us: int) -> Json:
    return {
        "type": "JOB" if node.kind == "job" else "DATASET",
        "name": node.name,
        "updatedAt": time_text(updated_us),
        "namespace": node.namespace,
        "nodeId": node_id(node),
    }


def _kinds(call: Call) -> list[tuple[str, ...]]:
    wanted = call.query.get("filter", "").upper()
    if wanted not in {"", "DATASET", "JOB"}:
        raise UsageError(f"filter: dataset or job, not {wanted[:64]!r}")
    return [DATA_KINDS] * (wanted != "JOB") + [JOB_KINDS] * (wanted != "DATASET")


def _day(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if not text:
        return None
    if _DAY.fullmatch(text) is None:
        raise UsageError(f"{name}: YYYY-MM-DD, not {text[:64]!r}")
    return read_time(f"{text}T00:00:00Z", name)


def search_jobs(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /api/v2beta/search/jobs`."""
    found = _hits(inquiry, call, JOB_KINDS)
    records = describe_jobs(inquiry, found, runs=1)
    hits = []
    for node in found:
        job = job_json(records[node])
        run = job["latestRun"] or {}
        hits.append(
            {
                "run_id": run.get("id"),
                "name": node.name,
                "namespace": node.namespace,
                "eventType": run.get("state"),
                "type": job["type"],
                "facets": job["facets"],
                "runFacets": run.get("facets", {}),
            }
        )
    return {"hits": hits, "highlights": _highlights(found, call)}


def search_datasets(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /api/v2beta/search/datasets`."""
    found = _hits(inquiry, call, DATA_KINDS)
    records = describe_datasets(inquiry, found)
    hits = []
    for node in found:
        dataset = dataset_json(records[node])
        names = ("name", "namespace", "facets", "fields", "updatedAt")
        hits.append({name: dataset[name] for name in names})
    return {"hits": hits, "highlights": _highlights(found, call)}


def _hits(inquiry: Inquiry, call: Call, kinds: tuple[str, ...]) -> list[NodeId]:
    pattern = f"%{call.required('q').lower()}%"
    found = Catalogue(inquiry).matching(kinds, pattern=pattern, namespace=None, limit=_HITS)
    return list(found.values())


def _highlights(found: Iterable[NodeId], call: Call) -> list[dict[str, Any]]:
    words = re.compile(re.escape(call.required("q")), re.IGNORECASE)
    return [{"name": [words.sub(lambda m: f"<em>{m[0]}</em>", node.name)]} for node in found]


_QUERY: Final = ("q", "filter", "sort", "limit", "namespace", "before (day)", "after (day)")
READS: Final = [Read("/search", search, "Find datasets and jobs by name", _QUERY)]
BETA_READS: Final = [
    Read("/search/jobs", search_jobs, "Find jobs by name", ("q",)),
    Read("/search/datasets", search_datasets, "Find datasets by name", ("q",)),
]

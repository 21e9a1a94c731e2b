"""What deserves a look: what failed, what was refused, what changed in a day, how the record is.

Read from the newest entries of each log, at most `PAGE_ENTRIES_READ_MAX` of them, and from the jobs
whose latest run failed; nothing here is remembered between requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from lodeline.errors import LodelineError
from lodeline.fold.subjects import entry_nodes
from lodeline.limits import PAGE_ENTRIES_READ_MAX
from lodeline.model import NodeId, format_time, parse_identifier
from lodeline.query.asking import Inquiry
from lodeline.query.catalogue import JOB_KINDS, Catalogue
from lodeline.query.consulting import consult
from lodeline.query.permission import Authoriser
from lodeline.server.pages import states
from lodeline.server.pages.entity_facts import quality_results
from lodeline.store import Segment, StoredEntry

Facts = dict[str, Any]
# Lines of a list before it says how many more there are.
_LINES: Final = 8
_DAY_US: Final = 86_400_000_000
_FAILED: Final = ("FAIL", "ABORT")


def record_facts(segment: Segment, authoriser: Authoriser, now_us: int) -> Facts:
    """Give what deserves a look in one segment, as far as the reader may see it."""
    size = segment.size()
    since_us = now_us - _DAY_US
    with consult(segment, authoriser=authoriser) as inquiry:
        failed = Catalogue(inquiry).list_nodes(
            JOB_KINDS, namespace=None, limit=_LINES, offset=0, states=_FAILED
        )
        seen = _Seer(inquiry)
        changed: dict[str, str] = {}
        counted = gaps = 0
        checks: dict[tuple[str, str, str], Facts] = {}
        first = max(0, size - PAGE_ENTRIES_READ_MAX)
        whole = True
        for entry in reversed(list(segment.iter_entries(first, size))):
            if entry.log_time_us < since_us:
                break
            counted += 1
            for node in seen(entry):
                if node.startswith(("run:", "feature:", "datasetField:")):
                    # Each event has a run, and columns by the dozen; what it wrote says more.
                    continue
                changed.setdefault(node, format_time(entry.log_time_us))
            body = _body(entry)
            gaps += sum(1 for _ in _gaps(body))
            for one in _checks(body, entry):
                # The newest result of a check is the one that counts.
                checks.setdefault((one["id"], one["assertion"], str(one["column"])), one)
        else:
            whole = first == 0
        assertions = [
            {name: value for name, value in one.items() if name != "success"}
            for one in checks.values()
            if not one["success"] and _may_see(seen, one)
        ]
    checkpoint = segment.checkpoint()
    return {
        "failed_jobs": [str(node) for node in failed.nodes.values()],
        "failed_jobs_total": failed.total,
        "failed_assertions": assertions[:_LINES],
        "failed_assertions_total": len(assertions),
        "changed": [{"id": one, "time": time} for one, time in list(changed.items())[:_LINES]],
        "changed_total": len(changed),
        "entries_read": counted,
        "entries_whole": whole,
        "gaps": gaps if authoriser.sees_all else None,
        "size": size,
        "signed_to": checkpoint.size,
        "signed": format_time(checkpoint.log_time_us),
    }


class _Seer:
    """Tells of an entry which of its nodes the reader may see."""

    def __init__(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry

    def __call__(self, entry: StoredEntry) -> list[str]:
        if entry.payload is None:
            return []
        return [one for one in sorted(entry_nodes(entry.kind, entry.payload)) if self.may_see(one)]

    def may_see(self, identifier: str) -> bool:
        """Whether the reader may see a node, under each of its names."""
        if self._inquiry.visibility.sees_all:
            return True
        node = parse_identifier(identifier)
        may_see = self._inquiry.visibility.may_see
        return may_see(node) and may_see(self._inquiry.view.canonical(node))


def _may_see(seen: _Seer, assertion: Mapping[str, Any]) -> bool:
    with suppress(LodelineError):
        return seen.may_see(str(assertion["id"]))
    return False


def _body(entry: StoredEntry) -> Mapping[str, Any]:
    if entry.kind != "event" or entry.payload is None:
        return {}
    try:
        found = msgspec.json.decode(entry.payload)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _gaps(body: Mapping[str, Any]) -> Iterator[object]:
    facet = ((body.get("run") or {}).get("facets") or {}).get("lodeline_capture") or {}
    yield from facet.get("gaps") or ()


def _checks(body: Mapping[str, Any], entry: StoredEntry) -> Iterator[Facts]:
    """Give what an event says of checks, by the reading of the dataset's own page."""
    for side, place in (("inputs", "inputFacets"), ("outputs", "outputFacets")):
        for one in body.get(side) or ():
            for facets in (one.get(place) or {}, one.get("facets") or {}):
                for result in quality_results(facets):
                    yield {
                        "id": _identifier(one),
                        "assertion": result["check"],
                        "column": result["column"],
                        "observed": result["observed"],
                        "expected": result["expected"],
                        "success": result["success"],
                        "time": format_time(entry.log_time_us),
                    }


def _identifier(dataset: Mapping[str, Any]) -> str:
    return str(NodeId("dataset", str(dataset.get("namespace")), str(dataset.get("name"))))


def together(found: Mapping[str, Facts]) -> Facts:
    """Put the facts of several segments together; lists keep their first lines."""
    parts = list(found.values())

    def sum_of(name: str) -> int:
        return sum(one[name] for one in parts)

    changed = sorted(
        (one for part in parts for one in part["changed"]),
        key=lambda one: one["time"],
        reverse=True,
    )
    return {
        "failed_jobs": [one for part in parts for one in part["failed_jobs"]][:_LINES],
        "failed_jobs_total": sum_of("failed_jobs_total"),
        "failed_assertions": [one for part in parts for one in part["failed_assertions"]][:_LINES],
        "failed_assertions_total": sum_of("failed_assertions_total"),
        "changed": changed[:_LINES],
        "changed_total": sum_of("changed_total"),
        "entries_read": sum_of("entries_read"),
        "entries_whole": all(part["entries_whole"] for part in parts),
        "gaps": None if any(part["gaps"] is None for part in parts) else sum_of("gaps"),
        "size": sum_of("size"),
        "waiting": sum(part["size"] - part["signed_to"] for part in parts),
        "signed": min((part["signed"] for part in parts), default=None),
    }


def describe_failure(ask: Callable[[str, Mapping[str, object]], Facts], job: str) -> Facts:
    """Say of a job whose latest run failed when that was, and what lies downstream of it."""
    shown = ask("show", {"id": job})
    run: Mapping[str, Any] = next(iter(shown.get("runs") or ()), {})
    cause = None
    if run.get("run"):
        with suppress(LodelineError):
            facets = ask("show", {"id": f"run:{run['run']}"})["facets"]
            cause = cause_of(facets)
    return {
        "job": job,
        "cause": cause,
        "run": f"run:{run['run']}" if run.get("run") else None,
        "ended": run.get("ended") or run.get("started"),
        "state": states.of_run(run.get("state")),
        "downstream": downstream(ask, job),
    }


def cause_of(facets: Mapping[str, Any]) -> str | None:
    """Give the first line of what a run says went wrong."""
    body = facets.get("errorMessage")
    message = body.get("message") if isinstance(body, Mapping) else None
    lines = str(message).strip().splitlines() if message else []
    return lines[0] if lines else None


def downstream(ask: Callable[[str, Mapping[str, object]], Facts], node: str) -> dict[str, int]:
    """Count what lies up to four steps downstream, by kind; nothing where the node is hidden."""
    reached: Mapping[str, int] = {}
    with suppress(LodelineError):
        reached = ask("impact", {"id": node, "depth": 4, "limit": 1})["counts"]
    return {kind: many for kind, many in reached.items() if kind in _TOLD and many}


_TOLD: Final = frozenset({"dataset", "model", "deployment"})

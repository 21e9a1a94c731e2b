"""Gaps of an answer for what was erased: values it would hold, and statements the graph lost."""

from __future__ import annotations

from typing import Any, Final

from lodeline.fold.statements import DATASET_FACETS, JOB_FACETS, RUN_FACETS, RUN_LINEAGE
from lodeline.limits import ERASED_GAPS_MAX
from lodeline.query.answers import Gap
from lodeline.query.asking import Inquiry

# Verbs whose answer is a walk over the graph: any statement may have led somewhere.
_GRAPH_VERBS: Final = frozenset({"trace", "path", "impact"})
_GRAPH_FACETS: Final = DATASET_FACETS | JOB_FACETS | RUN_FACETS | RUN_LINEAGE


def note_erased(inquiry: Inquiry, verb: str, answer: dict[str, Any]) -> None:
    """Add what the answer lacks to its gaps; it is not complete then."""
    at = str(answer.get("root") or answer.get("id") or answer.get("a") or "")
    found = [
        Gap(at, *_tell(position, pointer, by))
        for (position, pointer), by in sorted(inquiry.view.unread.items(), key=lambda one: one[0])
    ]
    if len(found) > ERASED_GAPS_MAX:
        rest = f"and {len(found) - ERASED_GAPS_MAX} more values"
        found[ERASED_GAPS_MAX:] = [Gap(at, "erased", rest)]
    if verb in _GRAPH_VERBS:
        count = _count_lost(inquiry)
        if count:
            detail = f"{count} entries were erased; what they said of the graph is not known"
            found.append(Gap(at, "erased", detail))
    if found:
        answer["gaps"] = [*answer.get("gaps", ()), *(gap.to_json() for gap in found)]
        if "complete" in answer:
            answer["complete"] = False


def _tell(position: int, pointer: str, by: int | None) -> tuple[str, str]:
    place = f"{pointer or 'the event'} of entry {position}"
    if by is None:
        return "lost", f"{place}: the key of its subject is not here"
    return "erased", f"{place}, by entry {by}"


def _count_lost(inquiry: Inquiry) -> int:
    """Count entries whose erased part the fold would have read."""
    erasures = inquiry.segment.find_erasures(inquiry.connection)
    lost = {position for position in erasures.entries if position < inquiry.moment.size}
    for position, pointers in erasures.fields.items():
        names = {pointer.rpartition("/")[2] for pointer in pointers}
        if position < inquiry.moment.size and names & _GRAPH_FACETS:
            lost.add(position)
    return len(lost)

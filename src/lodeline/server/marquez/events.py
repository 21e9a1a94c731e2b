"""Events as they were sent."""

from __future__ import annotations

from typing import Final

from lodeline.errors import UsageError
from lodeline.limits import CATALOGUE_EVENTS_MAX
from lodeline.query.asking import Inquiry
from lodeline.query.raw_events import list_events
from lodeline.server.marquez.calls import Call, Json, Read


def list_lineage_events(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /events/lineage`, and `GET /events` as clients up to 0.50 call it."""
    direction = call.query.get("sortDirection", "desc").lower()
    if direction not in {"asc", "desc"}:
        raise UsageError(f"sortDirection: asc or desc, not {direction[:64]!r}")
    page = list_events(
        inquiry,
        after_us=call.time_us("after"),
        before_us=call.time_us("before"),
        newest_first=direction == "desc",
        limit=call.number("limit", 100, most=CATALOGUE_EVENTS_MAX),
        offset=call.number("offset", 0, most=10**9),
        namespace=call.path.get("namespace"),
    )
    return {"events": page.events, "totalCount": page.total}


_QUERY: Final = ("before", "after", "sortDirection", "limit (events)", "offset")
# A path, since that client does not encode the namespace.
READS: Final = [
    Read("/events/lineage", list_lineage_events, "Events as they were sent", _QUERY),
    Read("/events", list_lineage_events, "Events as they were sent", _QUERY),
    Read("/events/{namespace:path}", list_lineage_events, "Events of a namespace's jobs", _QUERY),
]

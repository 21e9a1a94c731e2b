"""Counts over the last day by hour, and over the last week by day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from lodeline.errors import UsageError
from lodeline.model import format_time
from lodeline.query.asking import Inquiry
from lodeline.query.catalogue import DATA_KINDS, JOB_KINDS, RESERVED
from lodeline.query.raw_events import count_events, first_named
from lodeline.server.marquez.calls import Call, Json, Read
from lodeline.server.marquez.spaces import source_times

_TYPES: Final = ("fail", "start", "complete", "abort")


def lineage_events(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /stats/lineage-events`."""
    bounds = _bounds(call)
    counts = count_events(inquiry, after_us=bounds[0], before_us=bounds[-1])
    found = []
    for begin, end in _intervals(bounds):
        inside = [(kind.lower(), count) for at, kind, count in counts if begin <= at < end]
        sums = {one: sum(count for kind, count in inside if kind == one) for one in _TYPES}
        found.append({**_interval(begin, end), **sums})
    return found


def jobs(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /stats/jobs`."""
    return _growth(call, first_named(inquiry, JOB_KINDS, RESERVED))


def datasets(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /stats/datasets`."""
    return _growth(call, first_named(inquiry, DATA_KINDS, RESERVED))


def sources(inquiry: Inquiry, call: Call) -> Json:
    """Answer `GET /stats/sources`."""
    return _growth(call, [(time_us, 1) for time_us in source_times(inquiry)])


def _growth(call: Call, named: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Count what there was at the end of each interval."""
    return [
        {**_interval(begin, end), "count": sum(count for at, count in named if at < end)}
        for begin, end in _intervals(_bounds(call))
    ]


def _bounds(call: Call) -> list[int]:
    """Give the bounds of 24 hours or 7 days, the running one the last, in microseconds."""
    period = call.query.get("period", "").upper()
    if period == "DAY":
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        return [_microseconds(hour + timedelta(hours=i)) for i in range(-23, 2)]
    if period != "WEEK":
        raise UsageError("period: DAY or WEEK")
    name = call.query.get("timezone") or "UTC"
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"timezone: no such zone: {name[:64]!r}") from error
    today = datetime.now(zone).date()
    days = (today + timedelta(days=i) for i in range(-6, 2))
    return [_microseconds(datetime(day.year, day.month, day.day, tzinfo=zone)) for day in days]


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000


def _intervals(bounds: Sequence[int]) -> Iterable[tuple[int, int]]:
    return pairwise(bounds)


def _interval(begin: int, end: int) -> dict[str, Any]:
    return {"startInterval": format_time(begin), "endInterval": format_time(end)}


_QUERY: Final = ("period", "timezone")
READS: Final = [
    Read("/stats/lineage-events", lineage_events, "Count runs' events by time", _QUERY),
    Read("/stats/jobs", jobs, "Count jobs over time", _QUERY),
    Read("/stats/datasets", datasets, "Count datasets over time", _QUERY),
    Read("/stats/sources", sources, "Count sources over time", _QUERY),
]

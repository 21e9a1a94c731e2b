"""Events as they were sent, a page at a time, and counts of them by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lodeline.model import NodeId
from lodeline.query.asking import Inquiry
from lodeline.query.bodies import read_payloads

# A quarter of an hour divides every time zone's offset.
BUCKET_US = 15 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events.

    Attributes:
        total: events of all pages.
        events: of this page; personal values that no key opens are null.
    """

    total: int
    events: Sequence[dict[str, Any]]


def list_events(
    inquiry: Inquiry,
    *,
    after_us: int | None,
    before_us: int | None,
    newest_first: bool,
    limit: int,
    offset: int,
    namespace: str | None = None,
) -> EventPage:
    """List events by event time.

    Args:
        inquiry: under way.
        after_us: only events at or after it.
        before_us: only events before it.
        newest_first: or oldest first.
        limit: events of the page.
        offset: events of the pages before.
        namespace: of the job.
    """
    conditions, values = _among(inquiry)
    if after_us is not None:
        conditions.append("e.event_time >= :after")
        values["after"] = after_us
    if before_us is not None:
        conditions.append("e.event_time < :before")
        values["before"] = before_us
    if namespace is not None:
        conditions.append(
            "g.job_node IN (SELECT n.node_id FROM node n WHERE n.kind = 'job'"
            " AND n.namespace = :space)"
        )
        values["space"] = namespace
    source = f"run_event e JOIN run_group g USING (group_id) WHERE {' AND '.join(conditions)}"
    [(total,)] = inquiry.view.select(f"SELECT count(*) FROM {source}", **values)
    order = "DESC" if newest_first else "ASC"
    rows = inquiry.view.select(
        f"SELECT e.position FROM {source} ORDER BY e.event_time {order}, e.position {order}"
        " LIMIT :limit OFFSET :offset",
        **values,
        limit=limit,
        offset=offset,
    )
    found = read_payloads(inquiry.view, (row[0] for row in rows))
    events = [found[row[0]] for row in rows if row[0] in found]
    return EventPage(total, [_seen(inquiry, event) for event in events])


def count_events(inquiry: Inquiry, *, after_us: int, before_us: int) -> list[tuple[int, str, int]]:
    """Count the runs' events by quarter of an hour and type.

    Returns:
        (begin of the quarter in microseconds, event type, count).
    """
    conditions, values = _among(inquiry)
    return [
        (bucket * BUCKET_US, event_type, count)
        for bucket, event_type, count in inquiry.view.select(
            "SELECT e.event_time / :bucket, e.event_type, count(*) FROM run_event e"
            f" JOIN run_group g USING (group_id) WHERE {' AND '.join(conditions)}"
            " AND e.event_time >= :after AND e.event_time < :before"
            " AND e.event_type IS NOT NULL GROUP BY 1, 2",
            **values,
            bucket=BUCKET_US,
            after=after_us,
            before=before_us,
        )
    ]


def first_named(inquiry: Inquiry, kinds: Sequence[str], reserved: str) -> list[tuple[int, int]]:
    """Count nodes by the quarter of an hour in which they were first named.

    Args:
        inquiry: under way.
        kinds: of the nodes.
        reserved: namespaces that start like this are left out.

    Returns:
        (begin of the quarter in microseconds, nodes).
    """
    view = inquiry.view
    among = ", ".join(f"'{kind}'" for kind in kinds)
    nodes = (
        f"SELECT n.node_id, {view.named_at('n')} AS first_us FROM node n WHERE n.kind IN ({among})"
        f" AND substr(n.namespace, 1, {len(reserved)}) <> :reserved"
        f" AND {view.named('n')}"
    )
    values: dict[str, object] = {"reserved": reserved, "bucket": BUCKET_US}
    if inquiry.authoriser.sees_all:
        sql = f"SELECT t.first_us / :bucket, count(*) FROM ({nodes}) t GROUP BY 1"
        rows = view.select(sql, **values)
        return [(bucket * BUCKET_US, count) for bucket, count in rows]
    times = dict(view.select(nodes, **values))
    names = view.names(times)
    seen = [number for number in times if inquiry.authoriser.may_see(names[number])]
    return [(times[number] // BUCKET_US * BUCKET_US, 1) for number in seen]


def _among(inquiry: Inquiry) -> tuple[list[str], dict[str, object]]:
    """Give the condition of events `e` of groups `g` that the reader may see, and its values."""
    conditions = [inquiry.view.point("e")]
    if inquiry.authoriser.sees_all:
        return conditions, {}
    jobs = inquiry.view.select("SELECT DISTINCT job_node FROM run_group WHERE job_node IS NOT NULL")
    names = inquiry.view.names(row[0] for row in jobs)
    seen = sorted(number for number, name in names.items() if inquiry.authoriser.may_see(name))
    # Events about a dataset alone name no job to decide by.
    conditions.append("g.job_node IN (SELECT value FROM json_each(:seen))")
    return conditions, {"seen": str(seen)}


def _seen(inquiry: Inquiry, event: dict[str, Any]) -> dict[str, Any]:
    """Leave out the datasets that the reader may not see."""
    if inquiry.authoriser.sees_all:
        return event
    kept = dict(event)
    for side in ("inputs", "outputs"):
        if isinstance(kept.get(side), list):
            kept[side] = [
                one
                for one in kept[side]
                if inquiry.authoriser.may_see(NodeId("dataset", one["namespace"], one["name"]))
            ]
    return kept

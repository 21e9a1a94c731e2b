"""Gaps that a run states add up over its events, in whatever order they come."""

from itertools import permutations

import msgspec

from lodeline.fold import Entry, contribution
from lodeline.wire import canonical_bytes, content_digest, decode_event


def entry(position: int, kind: str, second: int, *gaps: str) -> Entry:
    event = {
        "eventType": kind,
        "eventTime": f"2026-03-01T10:00:{second:02d}Z",
        "run": {
            "runId": "00000000-0000-4000-8000-000000000001",
            "facets": {
                "lodeline_capture": {
                    "gaps": [{"at": at, "reason": "capture", "detail": "d"} for at in gaps]
                }
            },
        },
        "job": {"namespace": "n", "name": "j"},
    }
    raw = msgspec.json.encode(event)
    return Entry(position, 1 << 52, decode_event(raw), content_digest(canonical_bytes(raw)))


def test_a_later_event_without_a_gap_does_not_take_an_earlier_one_back() -> None:
    stated = [(("START", 1), ()), (("RUNNING", 2), ("a", "b")), (("COMPLETE", 3), ("c",))]
    seen = set()
    for order in permutations(stated):
        entries = [entry(i, *event, *gaps) for i, (event, gaps) in enumerate(order)]
        found = contribution(entries)
        seen.add(tuple(gap.at for gap in found.gaps))
    assert seen == {("a", "b", "c")}

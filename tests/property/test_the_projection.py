"""The view tables say what the reference fold says, after every prefix and at both times."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import (
    BEGIN_US,
    DAY_US,
    LOG_TIME_US,
    RUNS,
    a_segment,
    entries_of,
    histories,
    log_of,
    raw,
)
from lodeline.fold import Graph, fold
from lodeline.fold.graph import group_line
from lodeline.ingest import accept
from lodeline.ingest.graph_reading import GraphReader
from lodeline.ingest.projection import fold_pending, rebuild
from lodeline.store import Segment, SqliteSegment


def said(graph: Graph) -> dict[str, Any]:
    return {
        "groups": sorted((group.key.future, group_line(group)) for group in graph.groups.values()),
        "registers": {node: facets for node, facets in graph.registers.items() if facets},
        "symlinks": sorted(graph.symlinks, key=str),
        "endings": graph.endings,
        "names": graph.names,
        "digest": graph.digest(),
    }


def view_of(segment: Segment, **times: Any) -> Graph:
    with segment.reading() as connection:
        return GraphReader(connection, **times).graph()


def live_rows(segment: Segment) -> list[tuple[Any, ...]]:
    with segment.reading() as connection:
        return connection.execute(
            "SELECT source, target, kind, job, live_basis, first_seen, last_seen, groups "
            "FROM derivation WHERE groups > 0 "
            "ORDER BY derivation_id"
        ).fetchall()


@given(
    histories,
    st.lists(st.tuples(st.integers(0, 18), st.integers(-1, 13)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=80, deadline=None)
def test_the_view_equals_the_reference_at_both_times_in_any_batches(
    history: Sequence[dict[str, Any]], questions: list[tuple[int, int]], dice: random.Random
) -> None:
    with a_segment() as segment:
        for event in history:
            accept(segment, [raw(event)], fold=dice.random() < 0.5)
        fold_pending(segment)
        entries = entries_of(segment)
        assert said(view_of(segment)) == said(fold(entries))
        for size, day in questions:
            times = {"as_of": size, "valid_at": BEGIN_US + day * DAY_US}
            assert said(view_of(segment, **times)) == said(fold(entries, **times))


@given(histories)
@settings(max_examples=40, deadline=None)
def test_a_prefix_of_the_log_is_seen_as_it_was_then(history: Sequence[dict[str, Any]]) -> None:
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        entries = entries_of(segment)
        for size in range(segment.size() + 1):
            assert said(view_of(segment, as_of=size)) == said(fold(entries, as_of=size))


@given(histories, st.integers(0, 14))
@settings(max_examples=40, deadline=None)
def test_a_rebuild_and_another_process_reach_the_same_view(
    history: Sequence[dict[str, Any]], cut: int
) -> None:
    with a_segment() as segment:
        raws = [raw(event) for event in history]
        accept(segment, raws[:cut])
        # Another process knows nothing of what this one holds in memory.
        other = SqliteSegment(
            segment.path,  # type: ignore[attr-defined]
            url=segment.url,
            create=False,
            clock_us=lambda: LOG_TIME_US,
        )
        accept(other, raws[cut : cut + 3])
        accept(segment, raws[cut + 3 :])
        before, live = view_of(segment), live_rows(segment)
        assert said(before) == said(fold(entries_of(segment)))
        rebuild(other)
        after = view_of(segment)
        assert said(after) == said(before)
        assert after.numbers == before.numbers
        assert len(live_rows(segment)) == len(live)
        other.close()


@given(histories)
@settings(max_examples=40, deadline=None)
def test_live_derivations_add_up_what_their_assertions_say(
    history: Sequence[dict[str, Any]],
) -> None:
    with a_segment() as segment:
        for event in history:
            accept(segment, [raw(event)])
        with segment.reading() as connection:
            counted = connection.execute(
                """
                SELECT source, target, derivation.kind, derivation.job,
                    min(instr('lineage columnLineage observed content inferred', basis)),
                    min(first_us), max(last_us), count(*)
                FROM assertion JOIN derivation USING (derivation_id)
                    JOIN run_state USING (group_id) JOIN run_group USING (group_id)
                WHERE future = 0
                    AND assertion.position_to IS NULL AND assertion.valid_to IS NULL
                    AND run_state.position_to IS NULL AND run_state.valid_to IS NULL
                GROUP BY derivation_id ORDER BY derivation_id
                """
            ).fetchall()
        order = "lineage columnLineage observed content inferred"
        kept = [(*row[:4], order.index(row[4]) + 1, *row[5:]) for row in live_rows(segment)]
        assert kept == counted


@given(histories)
@settings(max_examples=40, deadline=None)
def test_versions_are_numbered_in_the_order_of_the_log(history: Sequence[dict[str, Any]]) -> None:
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        assert view_of(segment).numbers == fold(entries_of(segment)).numbers
        records = [json.loads(one.payload or b"") for one in segment.iter_entries(kinds=["alias"])]
        assert sorted((record["node"], record["number"]) for record in records) == sorted(
            (str(node), number + 1)
            for node, versions in view_of(segment).numbers.items()
            for number in range(len(versions))
        )


def test_the_real_events_shuffled_and_doubled_leave_one_view(real_events: list[bytes]) -> None:
    expected = fold(log_of(real_events)).digest()
    dice = random.Random(452)
    for _ in range(5):
        raws = real_events * 2
        dice.shuffle(raws)
        with a_segment() as segment:
            while raws:
                count = dice.randint(1, 300)
                accept(segment, raws[:count])
                raws = raws[count:]
            assert view_of(segment).digest() == expected
            with segment.reading() as connection:
                assert GraphReader(connection).digest() == expected


def test_a_run_of_many_events_keeps_every_state_it_went_through() -> None:
    history = [
        {
            "eventTime": f"2026-11-01T00:{minute:02d}:00Z",
            "eventType": "RUNNING" if minute else "START",
            "run": {"runId": RUNS[0]},
            "job": {"namespace": "n", "name": "one"},
            "outputs": [{"namespace": "n", "name": f"part{minute % 7}"}],
            "producer": "https://example.org/p",
        }
        for minute in range(40)
    ]
    with a_segment() as segment:
        for event in history:
            accept(segment, [raw(event)])
        entries = entries_of(segment)
        for size in range(segment.size() + 1):
            assert said(view_of(segment, as_of=size)) == said(fold(entries, as_of=size))

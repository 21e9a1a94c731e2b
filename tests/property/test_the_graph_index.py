"""Answers from the graph index are those of SQL and of the fold's answerer, to the letter."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_the_questions import asked, expected, roots_of

from histories import BEGIN_US, DAY_US, a_segment, entries_of, histories, raw
from lodeline.fold import fold
from lodeline.ingest import accept
from lodeline.model import NodeId, format_time
from lodeline.query import ask, reach
from lodeline.query.column_reach import ColumnReachWalk
from lodeline.query.graph_index import build_snapshot, folder_of
from lodeline.query.sweep import Sweep
from lodeline.store import Segment
from lodeline.store.erasing import erase


@contextmanager
def every_level_swept() -> Iterator[list[str]]:
    """Let the index walk levels of any size; give the directions that it walked."""
    swept: list[str] = []
    walk, least = Sweep.walk, reach.SWEEP_FRONTIER_MIN
    walk_columns = ColumnReachWalk.run

    def walking_columns(self: ColumnReachWalk) -> reach.Reach:
        swept.append("columns")
        return walk_columns(self)

    def walking(self: Sweep, level: Any, seen: Any, direction: str, **rest: Any) -> Any:
        swept.append(direction)
        return walk(self, level, seen, direction, **rest)

    reach.SWEEP_FRONTIER_MIN = 1
    Sweep.walk = walking  # type: ignore[method-assign]
    ColumnReachWalk.run = walking_columns  # type: ignore[method-assign]
    try:
        yield swept
    finally:
        reach.SWEEP_FRONTIER_MIN = least
        Sweep.walk = walk  # type: ignore[method-assign]
        ColumnReachWalk.run = walk_columns  # type: ignore[method-assign]


def questions(segment: Segment, roots: list[NodeId], dice: random.Random) -> Iterator[Any]:
    for _ in range(8):
        as_of = dice.choice([None, None, dice.randrange(segment.size() + 1)])
        valid_us = dice.choice([None, None, BEGIN_US + dice.randrange(-1, 14) * DAY_US])
        rest: dict[str, Any] = {
            "direction": dice.choice(["up", "down", "both"]),
            "depth": dice.choice([None, None, 0, 1, 2]),
            "columns": dice.random() < 0.5,
        }
        yield dice.choice(roots), as_of, valid_us, rest


@given(histories, st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_the_index_and_what_came_since_answer_as_the_oracle_does(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    with a_segment() as segment, every_level_swept():
        known = dice.randrange(len(history) + 1)
        accept(segment, [raw(event) for event in history[:known]])
        assert build_snapshot(segment) is not None
        later = history[known:]
        cut = dice.randrange(len(later) + 1)
        for part in (later[:cut], later[cut:]):
            accept(segment, [raw(event) for event in part])
            entries = entries_of(segment)
            if not entries:
                continue
            roots = [root for root in roots_of(fold(entries)) if not root.version]
            if not roots:
                continue
            for root, as_of, valid_us, rest in questions(segment, roots, dice):
                valid_at = None if valid_us is None else format_time(valid_us)
                ours = asked(segment, root, as_of=as_of, valid_at=valid_at, **rest)
                theirs = expected(entries, root, as_of=as_of, valid_us=valid_us, **rest)
                assert ours == theirs, (str(root), as_of, valid_us, rest)


@given(histories, st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_pages_and_narrowed_answers_are_the_same_with_and_without_the_index(
    history: Sequence[dict[str, Any]], seed: int
) -> None:
    dice = random.Random(seed)
    with a_segment() as segment:
        accept(segment, [raw(event) for event in history])
        roots = [
            root
            for root in roots_of(fold(entries_of(segment)))
            if root.kind in {"dataset", "job"} and not root.version
        ]
        asked_of = [
            {
                "id": str(dice.choice(roots)),
                "direction": dice.choice(["up", "down", "both"]),
                **dice.choice(
                    [
                        {},
                        {"limit": 1},
                        {"limit": 3},
                        {"kinds": "dataset"},
                        {"edge_kinds": "reads"},
                        {"status": "stale"},
                        {"status": "current"},
                    ]
                ),
            }
            for _ in range(6)
        ]
        by_sql = [pages(segment, question) for question in asked_of]
        build_snapshot(segment)
        with every_level_swept() as swept:
            assert [pages(segment, question) for question in asked_of] == by_sql
            # A job's own derivations come from SQL.
            assert swept or not any(one["id"].startswith("dataset") for one in asked_of)


def test_what_is_stale_is_passed_over_and_found_on_the_index_as_in_sql() -> None:
    def made(day: int, job: int, source: str, target: str) -> bytes:
        def named(name: str) -> list[dict[str, str]]:
            return [{"namespace": "w", "name": name}]

        event = {
            "eventTime": format_time(BEGIN_US + day * DAY_US + job),
            "eventType": "COMPLETE",
            "producer": "https://example.org/p",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-0000-0000-{day * 1000 + job:012d}"},
            "job": {"namespace": "etl", "name": f"job_{job}"},
            "inputs": named(source),
            "outputs": named(target),
        }
        return raw(event)

    wide = range(20)
    with a_segment() as segment:
        accept(segment, [made(1, n, "hub", f"mid_{n}") for n in wide])
        accept(segment, [made(1, 100 + n, f"mid_{n}", f"end_{n}") for n in wide])
        # Some jobs have since read something else, on so many days that their edges are stale.
        later = [made(day, n, "other", f"mid_{n}") for n in wide[::5] for day in range(2, 14)]
        accept(segment, later)
        asked_of = [
            {"id": f"dataset:w:{name}", "direction": "both", "status": status}
            for name in ("hub", "mid_0", "mid_1", "end_5")
            for status in ("current", "stale")
        ]
        by_sql = [pages(segment, question) for question in asked_of]
        from_hub, stale = ({n["name"] for n in one[0]["nodes"]} for one in by_sql[:2])
        assert {"end_0", "end_5"}.isdisjoint(from_hub)
        assert {"end_1", "end_6"} <= from_hub
        assert stale == {"hub", *(f"mid_{n}" for n in wide[::5]), *(f"job_{n}" for n in wide[::5])}
        assert build_snapshot(segment) is not None
        accept(segment, [made(14, 0, "hub", "mid_0")])
        after = [pages(segment, question) for question in asked_of]
        with every_level_swept() as swept:
            assert [pages(segment, question) for question in asked_of] == after
            assert len(swept) >= len(asked_of)
        assert "end_0" in {node["name"] for node in after[0][0]["nodes"]}


def pages(segment: Segment, question: dict[str, Any]) -> list[dict[str, Any]]:
    found, cursor = [], None
    while cursor is not None or not found:
        answer = ask(segment, "trace", question | {"cursor": cursor})
        found.append(answer)
        cursor = answer["next"]
    return found


def chain(segment: Segment, count: int, *, start: int = 0) -> None:
    """Let one dataset be made of the one before, run by run."""
    accept(
        segment,
        [
            raw(
                {
                    "eventTime": format_time(BEGIN_US + number * DAY_US // 1000),
                    "eventType": "COMPLETE",
                    "producer": "https://example.org/p",
                    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
                    "run": {"runId": f"00000000-0000-0000-0000-{number:012d}"},
                    "job": {"namespace": "n", "name": f"j{number}"},
                    "inputs": [{"namespace": "n", "name": f"d{number}"}],
                    "outputs": [{"namespace": "n", "name": f"d{number + 1}"}],
                }
            )
            for number in range(start, start + count)
        ],
    )


def spoil(segment: Segment, how: str) -> None:
    folder = folder_of(segment)
    assert folder is not None
    arrays = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    match how:
        case "deleted":
            for path in folder.iterdir():
                path.unlink()
        case "an array deleted":
            arrays[0].unlink()
        case "truncated":
            arrays[-1].write_bytes(arrays[-1].read_bytes()[:-8])
        case "a byte flipped":
            data = bytearray(arrays[-1].read_bytes())
            data[-3] ^= 1
            arrays[-1].write_bytes(bytes(data))
        case "manifest torn":
            manifest = folder / "manifest.json"
            manifest.write_bytes(manifest.read_bytes()[:40])
        case _:
            manifest = folder / "manifest.json"
            name = how.partition(" ")[2]
            text = manifest.read_text()
            changed = text.replace(f'"{name}": ', f'"{name}": 1', 1)
            if name in {"segment", "root_hash"}:
                changed = text.replace(f'"{name}": "', f'"{name}": "0', 1)
            assert changed != text
            manifest.write_text(changed)


@pytest.mark.parametrize(
    "how",
    [
        *("deleted", "an array deleted", "truncated", "a byte flipped", "manifest torn"),
        *("other segment", "other epoch", "other fold_version", "other root_hash"),
        "other folded_to",
    ],
)
def test_a_snapshot_that_is_not_whole_or_not_of_this_view_is_not_used(how: str) -> None:
    with a_segment() as segment:
        chain(segment, 5)
        build_snapshot(segment)
        spoil(segment, how)
        with every_level_swept() as swept:
            answer = ask(segment, "trace", {"id": "dataset:n:d5"})
        assert not swept
        assert len(answer["nodes"]) == 11


def test_what_an_erasure_emptied_is_not_answered_from_the_snapshot() -> None:
    with a_segment() as segment:
        chain(segment, 5)
        build_snapshot(segment)
        third = [entry.position for entry in segment.iter_entries(kinds=["event"])][2]
        erase(segment, entries=[third])
        accept(segment, [])
        chain(segment, 1, start=7)
        with every_level_swept() as swept:
            answer = ask(segment, "trace", {"id": "dataset:n:d5"})
        assert not swept
        assert {node["name"] for node in answer["nodes"] if node["kind"] == "dataset"} == {
            *("d3", "d4", "d5")
        }
        build_snapshot(segment)
        with every_level_swept() as swept:
            assert ask(segment, "trace", {"id": "dataset:n:d5"}) == answer
        assert swept


def test_a_closure_on_the_index_stops_at_its_bounds() -> None:
    from lodeline.query.asking import find_inquiry
    from lodeline.query.bounds import Budget
    from lodeline.query.parameters import TraceQuestion
    from lodeline.query.permission import OPEN
    from lodeline.query.trace import walk

    with a_segment() as segment, every_level_swept() as swept:
        chain(segment, 30)
        build_snapshot(segment)
        question = TraceQuestion(id="dataset:n:d30")
        for budget in (Budget(nodes=10), Budget(derivations=5)):
            with segment.reading() as connection:
                inquiry = find_inquiry(segment, connection, question, pinned=None, authoriser=OPEN)
                inquiry.budget = budget
                root = inquiry.resolve(question.id)
                closure, _ = walk(inquiry, root, question, direction="up")
            assert [gap.reason for gap in closure.gaps] == ["size"]
        assert swept

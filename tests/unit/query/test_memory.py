"""What a question leaves for the next: fewer look-ups, and never an older answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lodeline.ingest import accept, rebuild
from lodeline.limits import NODE_NAMES_KEPT_MAX
from lodeline.model import NodeId
from lodeline.query import ask, memory
from lodeline.store import Segment, open_segment

LAYERS = 30
QUESTION = {"id": "dataset:w:table_0", "down": True}


def event(day: int, layer: int, source: str = "table") -> bytes:
    return json.dumps(
        {
            "eventType": "COMPLETE",
            "eventTime": f"2026-10-{day:02d}T00:{layer:02d}:00Z",
            "producer": "https://example.org/test",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json",
            "run": {"runId": f"00000000-0000-0000-0000-{day * 100 + layer:012d}"},
            "job": {"namespace": "etl", "name": f"job_{layer}"},
            "inputs": [{"namespace": "w", "name": f"{source}_{layer}"}],
            "outputs": [{"namespace": "w", "name": f"table_{layer + 1}"}],
        }
    ).encode()


def read_rows(segment: Segment, question: dict[str, Any]) -> list[str]:
    """Ask, and list the statements that were run."""
    statements: list[str] = []
    with segment.reading() as connection:
        connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
    ask(segment, "trace", question)
    with segment.reading() as connection:
        connection.set_trace_callback(None)  # type: ignore[attr-defined]
    return statements


def anew(store: str, question: dict[str, Any]) -> dict[str, Any]:
    """Ask whoever knows nothing yet."""
    with open_segment(store, create=False) as segment:
        return ask(segment, "trace", question)


def test_the_second_question_looks_up_no_name_run_or_assertion_again(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(LAYERS)])
        looked_up = ("FROM node WHERE node_id IN", "FROM run_group", "FROM run_event", "a.basis")
        first, second = (read_rows(segment, QUESTION) for _ in range(2))
        for words in looked_up:
            assert any(words in one for one in first), words
            assert not any(words in one for one in second), words


def test_what_comes_in_meanwhile_is_in_the_next_answer(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    with open_segment(store, create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(LAYERS)])
        before = ask(segment, "trace", QUESTION)
        # Eleven more days, in which a job in the middle reads something else: an edge gets stale.
        for day in range(2, 14):
            accept(segment, [event(day, layer, "other") for layer in [LAYERS // 2]])
            assert ask(segment, "trace", QUESTION) == anew(store, QUESTION)
        after = ask(segment, "trace", QUESTION)
        assert {edge["status"] for edge in before["edges"]} == {"current"}
        assert "stale" in {edge["status"] for edge in after["edges"]}
        # At the earlier moment all is as it was, whatever the newest has taught.
        earlier = ask(segment, "trace", QUESTION | {"as_of": before["as_of"]["tree_size"]})
        assert earlier == before
        then = QUESTION | {"valid_at": "2026-10-01T00:10:00Z"}
        assert ask(segment, "trace", then) == anew(store, then)


def test_a_rebuilt_view_is_known_by_nothing_of_the_one_before(tmp_path: Path) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(LAYERS)])
        before = ask(segment, "trace", QUESTION)
        with segment.writing() as connection:
            # As another process would number: every node by another number.
            connection.execute("UPDATE fold_state SET epoch = epoch + 1")
            connection.execute("UPDATE node SET name = 'renamed' WHERE name = 'table_1'")
        assert "dataset:w:renamed" in {n["id"] for n in ask(segment, "trace", QUESTION)["nodes"]}
        rebuild(segment)
        assert ask(segment, "trace", QUESTION) == before


def test_no_more_is_kept_than_the_bounds_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(LAYERS)])
        first = ask(segment, "trace", QUESTION)
        [kept] = [one for known, one in memory._KEPT.items() if known is segment]
        assert kept.newest is not None and len(kept.newest.groups) == LAYERS
        learnt = kept.newest
        monkeypatch.setattr(memory, "MOMENT_FACTS_KEPT_MAX", LAYERS)
        assert ask(segment, "trace", QUESTION) == first
        assert kept.newest is not learnt
        names = kept.names
        names.update({-n: NodeId("dataset", "x", str(n)) for n in range(NODE_NAMES_KEPT_MAX)})
        assert ask(segment, "trace", QUESTION) == first
        assert len(kept.names) <= 2 * LAYERS + 1

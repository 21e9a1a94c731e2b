"""What a question leaves for the next: fewer look-ups, and never an older answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lodeline.ingest import accept, rebuild
from lodeline.limits import NODE_NAMES_KEPT_MAX
from lodeline.model import NodeId
from lodeline.query import ask, memory
from lodeline.query.bounds import Budget
from lodeline.query.permission import NamespaceAuthoriser, NamespacePatterns
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


def read_rows(segment: Segment, question: dict[str, Any], *, encoded: bool = False) -> list[str]:
    """Ask, and list the statements that were run."""
    statements: list[str] = []
    with segment.reading() as connection:
        connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
    ask(segment, "trace", question, encoded=encoded)
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


def test_a_page_that_was_sent_is_not_computed_again_until_the_log_moves(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/lodeline.db"
    with open_segment(store, create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(LAYERS)])

        def sent(**more: object) -> bytes:
            return msgspec.json.encode(ask(segment, "trace", QUESTION | more, encoded=True))

        first = sent()
        statements = read_rows(segment, QUESTION, encoded=True)
        assert not any("FROM derivation" in one or "FROM node" in one for one in statements)
        assert sent() == first == msgspec.json.encode(anew(store, QUESTION))
        # Another page, another direction, another moment and another reader are other answers.
        assert sent(limit=3) == msgspec.json.encode(ask(segment, "trace", QUESTION | {"limit": 3}))
        assert sent(down=None) != first
        assert sent(as_of=3) == msgspec.json.encode(anew(store, QUESTION | {"as_of": 3}))
        reader = NamespaceAuthoriser(NamespacePatterns(["w"]))
        confined = ask(segment, "trace", QUESTION, authoriser=reader, encoded=True)
        assert b"job_1" in first
        assert b"job_1" not in msgspec.json.encode(confined)
        accept(segment, [event(2, LAYERS // 2, "other")])
        assert sent() != first
        assert sent() == msgspec.json.encode(anew(store, QUESTION))


def test_an_answer_that_ran_out_of_time_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_segment(f"sqlite:///{tmp_path}/lodeline.db", create=True) as segment:
        accept(segment, [event(1, layer) for layer in range(LAYERS)])
        with monkeypatch.context() as late:
            late.setattr(Budget, "exhausted_by", lambda *_: ("time", "stopped"))
            stopped = ask(segment, "trace", QUESTION, encoded=True)
        assert [gap["reason"] for gap in stopped["gaps"]] == ["time"]
        assert ask(segment, "trace", QUESTION, encoded=True)["complete"]


def test_pages_are_kept_within_their_bound_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ANSWERS_KEPT_BYTES_MAX", 100)
    pages = memory.KeptPages()
    for i in range(10):
        pages.keep(i, {"number": i}, 30)
        pages.keep(i, {"number": i}, 30)  # As by two threads that were asked the same.
    pages.keep("large", {}, 101)
    assert pages.size == 90
    kept = [i for i in (*range(10), "large") if pages.find(i) is not None]
    assert kept == [7, 8, 9]

"""Answers of the SDK in a notebook: cards and diagrams, by IPython's own formatters."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter

import lodeline
from lodeline.query.notebooks import Answer

EVIL = '<script>alert(1)</script> "quoted" & <img src=x onerror=alert(2)>'


def event(source: str, target: str) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-01T00:00:00Z",
        "producer": "https://example.com/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "00000000-0000-4000-8000-000000000001"},
        "job": {"namespace": "n", "name": "j"},
        "inputs": [{"namespace": "n", "name": source}],
        "outputs": [{"namespace": "n", "name": target}],
    }


@pytest.fixture
def store(tmp_path: Path) -> str:
    from lodeline.cli.main import main

    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event(EVIL, "out")))
    store = f"sqlite:///{tmp_path}/lodeline.db"
    assert main(["import", str(path), "--store", store]) == 0
    return store


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_an_answer_is_the_json_of_the_contract_and_shown_as_a_card(store: str) -> None:
    answer = lodeline.trace("dataset:n:out", store=store)
    assert json.loads(json.dumps(answer)) == answer
    shown, _ = DisplayFormatter().format(answer)
    card = Tags(shown["text/html"])
    assert card.tags == {"div", "strong", "pre"}
    assert EVIL.replace("%", "%25").replace("#", "%23") in card.words
    assert "complete" in card.words


def test_an_incomplete_answer_says_so_first_and_names_its_gaps(store: str) -> None:
    answer = lodeline.trace("dataset:n:out", store=store, depth=0)
    assert answer["complete"] is False
    card = Tags(DisplayFormatter().format(answer)[0]["text/html"])
    assert card.words.startswith("not complete")
    assert "depth at" in card.words


def test_a_graph_answer_gives_a_mermaid_diagram(store: str) -> None:
    diagram = lodeline.trace("dataset:n:out", store=store).mermaid()
    shown, _ = DisplayFormatter().format(diagram)
    assert shown["text/vnd.mermaid"].startswith("flowchart")


def test_paths_impact_nodes_and_searches_have_cards(store: str) -> None:
    out, source = "dataset:n:out", f"dataset:n:{EVIL}"
    answers = [
        lodeline.path(source, out, store=store),
        lodeline.impact(source, store=store),
        lodeline.show(out, store=store),
        lodeline.search("out", store=store),
    ]
    for answer in answers:
        assert isinstance(answer, Answer)
        assert Tags(answer._repr_html_()).tags <= {"div", "strong", "pre", "ul", "li", "code"}
        assert "out" in Tags(answer._repr_html_()).words

"""One vocabulary of states: pages, style sheet, canvas and guide use the same words."""

from __future__ import annotations

import re
from pathlib import Path

from lodeline.replay.comparison import VERDICTS
from lodeline.server.pages import states

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "src" / "lodeline" / "server" / "pages"
SHEET = (PAGES / "static" / "lodeline.css").read_text(encoding="utf-8")
PAINT = (ROOT / "ui" / "src" / "graph" / "paint.ts").read_text(encoding="utf-8")
OFF = (states.FAILED, states.NEVER_RAN, states.STALE, states.UNKNOWN)


def shape_of(word: str) -> str:
    """Give what the style sheet says of the shape of a word."""
    name = re.escape(f".s-{word.replace(' ', '-')}::before")
    found = re.findall(rf"(?:^|\n|, ){name}(?:, [^{{]+)? {{ ([^}}]+) }}", SHEET)
    return " ".join(found)


def test_every_word_has_a_shape() -> None:
    assert [word for word in states.WORDS if not shape_of(word)] == []


def test_what_is_off_has_four_words_and_four_shapes() -> None:
    assert len({shape_of(word) for word in OFF}) == len(OFF)


def test_the_style_sheet_has_no_word_beside_them() -> None:
    named = set(re.findall(r"\.s-([a-z-]+)", SHEET))
    assert named == {word.replace(" ", "-") for word in states.WORDS}


def test_templates_write_words_of_the_vocabulary_alone() -> None:
    written: dict[str, str] = {}
    for template in (PAGES / "templates").glob("*.html"):
        text = template.read_text(encoding="utf-8")
        for called in re.findall(r"ui\.state\((.*?)\) }}", text):
            written |= dict.fromkeys(re.findall(r'"([a-z ]+)"', called), template.name)
        for name in re.findall(r'class="state s-([a-z-]+)', text):
            written[name.replace("-", " ")] = template.name
    assert len(written) > 8
    assert {word: file for word, file in written.items() if word not in states.WORDS} == {}


def test_states_are_told_in_words_of_the_vocabulary() -> None:
    told = {states.of_run(one) for one in ("COMPLETE", "FAIL", "ABORT", "START", "RUNNING", "?")}
    told |= {states.of_job([]), states.of_data([], []), states.of_data([{}], [])}
    told |= {*VERDICTS, states.STALE}
    assert told <= states.WORDS.keys()


def test_the_canvas_draws_the_words_of_the_pages() -> None:
    drawn = PAINT[PAINT.index("function stateShape") :]
    words = {one.removeprefix("job ") for one in re.findall(r'word === "([a-z ]+)"', drawn)}
    # What is unknown has the shape that is left over.
    assert words == {states.FAILED, states.STALE, states.NEVER_RAN, "current"}


def test_the_guide_explains_the_words_of_the_graph() -> None:
    guide = (ROOT / "docs" / "guides" / "interface.md").read_text(encoding="utf-8")
    table = guide[guide.index("A card has the node's name") :]
    explained = re.findall(r"^\| \*([a-z ]+)\* \|", table[: table.index("\n\n", 200)], re.MULTILINE)
    data = {"current", states.STALE, states.NEVER_RAN, states.UNKNOWN}
    assert set(explained) == data | {"job failed", "job never ran"}

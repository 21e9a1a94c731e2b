"""Change fragments and decisions keep their form; the public interface changes on purpose only."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import lodeline

ROOT = Path(__file__).parents[2]
KINDS = ("breaking", "security", "wire", "added", "changed", "fixed")
SNAPSHOT = Path(__file__).parent / "public_api.txt"


def test_a_change_fragment_is_one_sentence_of_a_known_kind() -> None:
    name = re.compile(rf"\d+\.({'|'.join(KINDS)})(\.\d+)?\.md")
    fragments = sorted((ROOT / "changes").iterdir())
    assert fragments
    for fragment in fragments:
        assert name.fullmatch(fragment.name), fragment.name
        text = fragment.read_text(encoding="utf-8").strip()
        assert text.endswith("."), f"{fragment.name} is no sentence"
        assert len(text.split("\n\n")) == 1, f"{fragment.name} is more than one paragraph"
        assert len(re.findall(r"[.!?](?:\s|$)", text)) == 1, f"{fragment.name}: one sentence"


def test_a_decision_tells_context_choice_cost_and_what_was_refused() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8").lower()
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name), page.name
        for part in ("context", "choice", "cost", "refused"):
            assert re.search(rf"^(#+ |\*\*){part}", text, re.MULTILINE), f"{page.name}: no {part}"


def test_a_subpackage_of_the_same_name_does_not_hide_a_public_function() -> None:
    import_module("lodeline.rows")
    assert callable(lodeline.rows)


def test_the_public_interface_is_the_one_that_was_reviewed() -> None:
    """A difference here is a change that users notice: review it, then update the snapshot."""
    lines = []
    for name in sorted(lodeline.__all__):
        value = getattr(lodeline, name)
        lines.append(f"{name}{inspect.signature(value)}" if callable(value) else name)
    assert "\n".join(lines) + "\n" == SNAPSHOT.read_text(encoding="utf-8")

"""Answers as notebooks show them: an HTML card, a Mermaid diagram.

The card says first whether the answer is complete, and what is missing; then the thread as text,
or a table. Every text in it was written by producers and is escaped; there is no script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final

from lodeline.query.renderings import (
    render_diff,
    render_impact,
    render_mermaid,
    render_paths,
    render_rows,
    render_search,
    render_show,
    render_stats,
    render_tree,
)

# Lines of a card; whoever wants all of them has the answer itself.
_LINES_MAX: Final = 200
_STYLE: Final = (
    "border:1px solid #8886;border-radius:6px;padding:.6em .8em;max-width:60em;"
    "font:13px/1.45 system-ui,sans-serif"
)


class Mermaid(str):
    """A Mermaid diagram; JupyterLab 4.1 and newer draws it."""

    __slots__ = ()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/vnd.mermaid": str(self), "text/plain": str(self)}


class Answer(dict[str, Any]):
    """An answer's JSON, the same as the command line's; a notebook shows it as a card."""

    def mermaid(self) -> Mermaid:
        """Give a graph answer as a Mermaid diagram.

        Raises:
            KeyError: the answer is no graph.
        """
        return Mermaid(render_mermaid(self))

    def _repr_html_(self) -> str:
        return render_card(self)


def render_card(answer: Mapping[str, Any]) -> str:
    """Write an answer as one HTML element."""
    lines = _text_of(answer).splitlines()
    shown = "\n".join(lines[:_LINES_MAX])
    more = f"\n… {len(lines) - _LINES_MAX} more lines" if len(lines) > _LINES_MAX else ""
    body = f'<pre style="margin:.5em 0 0;overflow-x:auto">{escape(shown + more)}</pre>'
    return f'<div style="{_STYLE}">{_state(answer)}{body}</div>'


def _state(answer: Mapping[str, Any]) -> str:
    if "complete" not in answer:
        return ""
    if answer["complete"]:
        return "<strong>complete</strong>"
    gaps = "".join(
        f"<li>{escape(str(gap['reason']))} at <code>{escape(str(gap['at']))}</code>:"
        f" {escape(str(gap['detail']))}</li>"
        for gap in answer.get("gaps", ())
    )
    return f"<strong>not complete</strong><ul style='margin:.2em 0'>{gaps}</ul>"


def _text_of(answer: Mapping[str, Any]) -> str:
    for keys, render in _FORMS:
        if keys <= answer.keys():
            return render(answer)
    return render_stats(answer)


# The keys that tell which verb gave an answer; the first that it has count.
_FORMS: Final[tuple[tuple[frozenset[str], Callable[[Mapping[str, Any]], str]], ...]] = (
    (frozenset({"paths"}), render_paths),
    (frozenset({"edges", "owners"}), render_impact),
    (frozenset({"edges"}), render_tree),
    (frozenset({"rows", "steps"}), render_rows),
    (frozenset({"changes"}), render_diff),
    (frozenset({"results"}), render_search),
    (frozenset({"facets"}), render_show),
)

"""How measured and foreign values are written for people: numbers, lists, durations, plots.

Plots are drawn here, as SVG without scripts or styles of their own. They repeat what a table beside
them says, so they are one image each to whoever listens to the page.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup, escape

from lodeline.server.pages import states
from lodeline.server.pages.presenting import (
    grouped,
    is_hidden,
    moment_of,
    node_link,
    node_name,
    read_node,
    shortened,
    visible,
)

_WIDTH: Final = 960
_LANE: Final = 26
_BAR: Final = 14
_NONE: Final = Markup('<span class="none">—</span>')
_VALUE_CHARACTERS: Final = 240


def value(one: object) -> Markup:
    """Write any JSON value: numbers as they are, texts as texts, the rest as code."""
    if one is None:
        return _NONE
    if isinstance(one, bool):
        return Markup("true") if one else Markup("false")
    if isinstance(one, int | float):
        return escape(number(one))
    if isinstance(one, str):
        return Markup("<bdi>{}</bdi>").format(shortened(one, _VALUE_CHARACTERS))
    text = json.dumps(one, ensure_ascii=False)
    return Markup("<code>{}</code>").format(shortened(text, _VALUE_CHARACTERS))


def number(one: float) -> str:
    """Write a number; years and identifiers keep their digits together, small ones are not cut."""
    if isinstance(one, int):
        return str(one) if abs(one) < 10_000 else grouped(one)
    if one == int(one) and abs(one) < 1e15:
        return f"{one:.1f}" if abs(one) < 10_000 else grouped(one)
    return f"{one:.6g}"


def brief(one: object) -> str:
    """Write an answer in a few words: numbers in three digits, the beginning of what is long."""
    if isinstance(one, bool) or one is None:
        return str(one).lower()
    if isinstance(one, float):
        return f"{one:.3g}"
    if isinstance(one, list):
        return " / ".join([*map(brief, one[:4]), *(["…"] if len(one) > 4 else [])])
    if isinstance(one, Mapping):
        return ", ".join(f"{key} {brief(inner)}" for key, inner in list(one.items())[:3])
    text = str(one)
    return text if len(text) <= 60 else f"{text[:59]}…"


def seconds(count: object) -> str:
    """Write how long something took or how old it was: `17.8 s`, `2 min 5 s`, `3 d 4 h`."""
    if isinstance(count, bool) or not isinstance(count, int | float):
        return "—"
    if abs(count) < 60:
        return f"{count * 1000:.0f} ms" if abs(count) < 1 else f"{count:.3g} s"
    left = int(abs(count))
    words: list[str] = []
    for unit, word in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        amount, left = divmod(left, unit)
        if amount and len(words) < 2:
            words.append(f"{amount} {word}")
        elif words:
            break
    return ("-" if count < 0 else "") + " ".join(words)


def is_number(one: object) -> bool:
    """Whether a value can be drawn."""
    return isinstance(one, int | float) and not isinstance(one, bool) and one == one  # noqa: PLR0124


def timeline(
    runs: Sequence[Mapping[str, Any]],
    children: Sequence[Mapping[str, Any]] = (),
    current: str | None = None,
) -> Markup:
    """Draw runs on a line of time, those that they started on a second.

    Args:
        runs: `run`, `started`, `ended`, `state`.
        children: likewise.
        current: the run that the page is about.
    """
    spans = [_span(one) for one in (*runs, *children)]
    known = [span for span in spans if span is not None]
    if not known:
        return Markup("")
    begin = min(span[0] for span in known)
    end = max(begin + 1, *(span[1] for span in known))
    lanes = [runs, children] if children else [runs]
    height = _LANE * len(lanes) + 6
    drawn = [
        _bar(one, lane, begin, end, current)
        for lane, listed in enumerate(lanes)
        for one in listed
        if _span(one) is not None
    ]
    lines = [
        Markup('<path class="lane" d="M0 {y}H{w}"/>').format(y=_middle(lane), w=_WIDTH)
        for lane in range(len(lanes))
    ]
    return _svg("timeline", _WIDTH, height, _timeline_name(runs, children), [*lines, *drawn])


def _middle(lane: int) -> int:
    return lane * _LANE + _LANE // 2 + 3


def _span(run: Mapping[str, Any]) -> tuple[int, int] | None:
    begin = moment_of(run.get("started"))
    if begin is None:
        return None
    ended = moment_of(run["ended"]) if run.get("ended") else None
    return begin, max(begin if ended is None else ended, begin)


def _bar(run: Mapping[str, Any], lane: int, begin: int, end: int, current: str | None) -> Markup:
    span = _span(run)
    assert span is not None
    scale = (_WIDTH - 8) / (end - begin)
    x = 4 + (span[0] - begin) * scale
    width = max((span[1] - span[0]) * scale, 4)
    word = states.of_run(run.get("state"))
    return Markup(
        '<rect class="bar s-{}{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}" rx="2">'
        "<title>{}</title></rect>"
    ).format(
        word.replace(" ", "-"),
        " here" if current is not None and run.get("run") == current else "",
        min(x, _WIDTH - 8),
        _middle(lane) - _BAR // 2,
        min(width, _WIDTH - 4),
        _BAR,
        f"{word}, {run.get('started')}",
    )


def _timeline_name(runs: Sequence[Mapping[str, Any]], children: Sequence[Mapping[str, Any]]) -> str:
    words = [states.of_run(one.get("state")) for one in runs]
    told = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    more = f"; {len(children)} runs started by them" if children else ""
    return f"Runs over time: {told or 'none'}{more}"


def spark(values: Sequence[object], name: str = "") -> Markup:
    """Draw a number over runs, oldest first; where a run lacks it the line is broken."""
    numbers = [float(one) for one in values if is_number(one)]  # type: ignore[arg-type]
    if not numbers:
        return _NONE
    low, high = min(numbers), max(numbers)
    step = 116 / max(len(values) - 1, 1)
    dots, strokes, pen = [], [], False
    for place, one in enumerate(values):
        if not is_number(one):
            pen = False
            continue
        x = 2 + place * step
        share = 0.5 if high == low else (float(one) - low) / (high - low)  # type: ignore[arg-type]
        y = 25 - share * 22
        strokes.append(f"{'L' if pen else 'M'}{x:.1f} {y:.1f}")
        dots.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2"/>').format(x, y))
        pen = True
    line = Markup('<path d="{}"/>').format("".join(strokes))
    named = f"{visible(name)} over {len(values)} runs: {number(low)} to {number(high)}"
    return _svg("spark", 120, 28, named, [line, *dots])


def _svg(kind: str, width: int, height: int, name: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>'
    ).format(kind, width, height, name, Markup("").join(parts))


def visible_lines(text: object) -> str:
    """Write a text of several lines, what would not show in it written out; tabs stay."""
    lines = str(text).split("\n")
    return "\n".join("\t".join(visible(part) for part in line.split("\t")) for line in lines)


def label_text(label: object) -> str:
    """Write a label: `key=value`, or the key alone."""
    if isinstance(label, Mapping):
        key, told = label.get("key") or label.get("name"), label.get("value")
        return shortened(f"{key}={told}" if told not in {None, ""} else key, 60)
    return shortened(label, 60)


def entity_words(entity: object) -> str:
    """Write what a prediction is about: the values of its keys."""
    if not isinstance(entity, Mapping):
        return ""
    return ", ".join(shortened(one, 60) for one in list(entity.values())[:3])


def without_version(identifier: object) -> str:
    """Give an identifier without its version."""
    return str(identifier).partition("#")[0]


def node_file(identifier: object) -> str:
    """Give the last part of a node's name: what stands behind folders and schemas."""
    name = node_name(identifier)
    return name.rstrip("/").rpartition("/")[2] or name


def place_link(place: object) -> Markup:
    """Write the place of a change: a node as a link, an edge as two, else the words."""
    text = str(place)
    ends = text.split(" -> ")
    if len(ends) == 2 and all(read_node(one) or is_hidden(one) for one in ends):
        return Markup("{} → {}").format(*map(node_link, ends))
    if read_node(text) or is_hidden(text):
        return node_link(text)
    return Markup("<bdi>{}</bdi>").format(shortened(text, 160) or "whole")


def share_button(address: object) -> Markup:
    """Make a button with a word on it that copies an address; scripts show it."""
    return Markup(
        '<button type="button" class="plain copy wordy" hidden data-copy="{}">'
        "Copy the link</button>"
    ).format(str(address))


def shell_word(text: object) -> str:
    """Write a text as one word of a shell; what does not show in it as an escape of bash."""
    word = str(text)
    if visible(word) == word:
        return shlex.quote(word)
    written = (
        f"\\U{ord(one):08x}" if visible(one) != one else f"\\{one}" if one in "\\'" else one
        for one in word
    )
    return f"$'{''.join(written)}'"


FILTERS: Final[Mapping[str, Any]] = {
    "value": value,
    "brief": brief,
    "seconds": seconds,
    "is_number": is_number,
    "run_state": states.of_run,
    "timeline": timeline,
    "spark": spark,
    "visible_lines": visible_lines,
    "label_text": label_text,
    "entity_words": entity_words,
    "without_version": without_version,
    "shell_word": shell_word,
    "node_file": node_file,
    "place_link": place_link,
    "share_button": share_button,
}

"""How facts are written for people: times, digests, numbers, names, links to nodes.

Each function here is a filter of the templates. What comes from outside is escaped by Jinja2; these
add what escaping does not do: characters that change the direction of text, or do not show at all,
are written out, and what is long is shortened where the whole is at hand beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from lodeline.errors import MalformedIdentifierError
from lodeline.model import NodeId, parse_identifier, parse_time
from lodeline.server.pages.addresses import page_url

NAME_CHARACTERS_SHOWN: Final = 96
_DIGEST = re.compile(r"(?:(\w+):)?([0-9a-fA-F]{16,}|[A-Za-z0-9+/]{40,}={0,2})")
# A table names the same nodes again and again, and pages are asked for again.
_LINKS_KEPT: Final = 1_024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AGES: Final = (
    (365 * 86_400, "y"),
    (30 * 86_400, "mo"),
    (86_400, "d"),
    (3_600, "h"),
    (60, "min"),
)
# What people call the kinds.
KIND_WORDS: Final[Mapping[str, str]] = {
    "dataset": "dataset",
    "datasetField": "column",
    "job": "job",
    "run": "run",
    "feature": "feature",
    "model": "model",
    "deployment": "deployment",
    "prediction": "prediction",
    "row": "row",
    "agent": "agent",
}


def visible(text: object) -> str:
    """Write out what does not show, or turns the text around it: controls, direction marks.

    A right-to-left override is shown as `⟨U+202E⟩`; surrogates, which are no text, likewise.
    """
    shown = str(text)
    if shown.isprintable():  # Nearly always: nothing of these categories is in it.
        return shown
    return "".join(
        f"⟨U+{ord(one):04X}⟩" if unicodedata.category(one) in {"Cc", "Cf", "Cs"} else one
        for one in shown
    )


def shortened(text: object, characters: int = NAME_CHARACTERS_SHOWN) -> str:
    """Leave out the middle of what is longer than so many characters."""
    shown = visible(text)
    if len(shown) <= characters:
        return shown
    head = characters * 2 // 3
    return f"{shown[:head]}…{shown[-(characters - head - 1) :]}"


def kind_word(kind: object) -> str:
    """Give what people call a kind."""
    return KIND_WORDS.get(str(kind), str(kind))


def grouped(number: object) -> str:
    """Write a number with its digits in threes: `1,204,331`."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return visible(number)
    if isinstance(number, float) and not number.is_integer():
        return f"{number:,.6g}"
    return f"{number:,.0f}" if abs(number) < 1e21 else f"{number:.6g}"


def size(count: object) -> str:
    """Write a number of bytes: `1.4 MB`, in powers of a thousand."""
    if isinstance(count, bool) or not isinstance(count, int | float):
        return visible(count)
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    raise AssertionError  # the last unit takes whatever is left


def moment_of(value: object) -> int | None:
    """Read a time: microseconds since the epoch as they are, or RFC 3339 text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return parse_time(str(value))[0]
    except ValueError:
        return None


def clock(time_us: int) -> str:
    """Write a time with its zone: `22 Nov 2026 10:48 UTC`, seconds where there are some."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    form = "%H:%M" if moment.second == 0 else "%H:%M:%S"
    return f"{moment.day} {moment.strftime('%b')} {moment.year:04} {moment.strftime(form)} UTC"


def age(time_us: int, now_us: int) -> str:
    """Write how long ago a time was, or how far ahead it lies."""
    seconds = (now_us - time_us) // 1_000_000
    distance = abs(seconds)
    for unit, word in _AGES:
        if distance >= unit:
            text = f"{distance // unit} {word}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "just now"


@pass_context
def when(context: Context, value: object) -> Markup:
    """Write a time with zone and age, as `<time>`; nothing as a dash."""
    time_us = moment_of(value) if value not in {None, ""} else None
    if time_us is None:
        return Markup('<span class="none">—</span>') if not value else escape(visible(value))
    exact = (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds")
    return _written(
        f'<time datetime="{exact.replace("+00:00", "Z")}">{clock(time_us)}</time>'
        f' <span class="age">{age(time_us, context["now_us"])}</span>'
    )


def digest(value: object) -> Markup:
    """Write a digest or long identifier shortened, with a button that copies all of it."""
    if value in {None, ""}:
        return Markup('<span class="none">—</span>')
    text = str(value)
    match = _DIGEST.fullmatch(text)
    if match is not None:
        name, body = match.groups()
        short = f"{name}:{body[:12]}…" if name else f"{body[:12]}…"
    else:
        short = shortened(text, 40)
    return Markup('<span class="digest"><code title="{}">{}</code>{}</span>').format(
        visible(text), short, copy_button(text, short)
    )


def copy_button(text: object, name: str = "") -> Markup:
    """Make a button that copies a text; scripts show it where there is a clipboard."""
    label = f"Copy {name or shortened(text, 40)}"
    return Markup(
        '<button type="button" class="copy" hidden data-copy="{}" aria-label="{}"></button>'
    ).format(str(text), label)


def read_node(identifier: object) -> NodeId | None:
    """Read an identifier; a stub of a hidden node, or what is none, gives nothing."""
    try:
        return parse_identifier(str(identifier))
    except MalformedIdentifierError:
        return None


def node_name(identifier: object) -> str:
    """Give the name of a node without kind and namespace; of a column with its dataset."""
    node = read_node(identifier)
    if node is None:
        return "hidden" if is_hidden(identifier) else shortened(identifier)
    name = _last_segment(node.name)
    return shortened(f"{name}.{node.part}" if node.part else name)


def node_place(identifier: object) -> str:
    """Give where a node is: its namespace, and the folder where its name is a path."""
    node = read_node(identifier)
    if node is None:
        return ""
    folder = node.name.removesuffix(_last_segment(node.name)).rstrip("/")
    return shortened(" ".join(one for one in (node.namespace, folder) if one), 64)


def _last_segment(name: str) -> str:
    """Give what a path is called by; other names are whole."""
    last = name.rstrip("/").rpartition("/")[2]
    return last or name


def is_hidden(identifier: object) -> bool:
    """Whether this stands for a node that its reader may not see."""
    return str(identifier).startswith("restricted:")


def version_name(version: object) -> str:
    """Shorten a version: `#sha256:9f2c41…` keeps its algorithm and eight digits."""
    text = str(version or "")
    match = _DIGEST.fullmatch(text)
    if match is None:
        return shortened(text, 24)
    name, body = match.groups()
    return f"{name}:{body[:8]}…" if name else f"{body[:8]}…"


def node_link(identifier: Any, text: object = None, page: str = "node") -> Markup:
    """Write a node: the shape of its kind, its name, a link to its page.

    A node that the reader may not see is a stub without a link.

    Args:
        identifier: of the node, or of the mapping's `id`.
        text: in place of its name.
        page: that the link leads to.
    """
    if isinstance(identifier, Mapping):
        identifier = identifier.get("id")
    if identifier in {None, ""}:
        return Markup('<span class="none">—</span>')
    if is_hidden(identifier):
        return Markup(
            '<span class="node k-hidden" title="Hidden from your key; the foot of the page says '
            'what it sees, and who can change that">hidden</span>'
        )
    return _link(str(identifier), None if text is None else str(text), page)


@lru_cache(maxsize=_LINKS_KEPT)
def _link(identifier: str, text: str | None, page: str) -> Markup:
    node = read_node(identifier)
    kind = node.kind if node is not None else "unknown"
    version = ""
    if node is not None and node.version:
        version = f'<span class="version">#{escape(version_name(node.version))}</span>'
    name = node_name(identifier) if text is None else shortened(text)
    return _written(
        f'<a class="node k-{escape(kind)}" href="{escape(page_url(page, identifier))}"'
        f' title="{escape(shortened(identifier, 400))}">'
        f'<span class="sr">{escape(kind_word(kind))} </span>'
        f"<bdi>{escape(name)}</bdi>{version}</a>"
    )


def _written(html: str) -> Markup:
    """Mark as HTML what was escaped piece by piece: `Markup.format` takes ten times as long."""
    return Markup(html)  # noqa: S704  # every piece that came from outside went through `escape`


FILTERS: Final[Mapping[str, Any]] = {
    "age": age,
    "copy_button": copy_button,
    "digest": digest,
    "grouped": grouped,
    "kind_word": kind_word,
    "node_link": node_link,
    "node_name": node_name,
    "node_place": node_place,
    "shortened": shortened,
    "size": size,
    "version_name": version_name,
    "visible": visible,
    "when": when,
}

"""Markdown as far as the docs need it: links, headings, and code blocks marked for running.

A block is marked by a comment on the line before its fence:

    <!-- file: train.py -->     the block is written to that file
    <!-- run -->                lines after `$ ` are run, what follows each is what it prints

In what is printed, `…` stands for anything within a line, and a line of `…` alone for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MARK = re.compile(r"<!-- (?P<verb>file|run)(?:: (?P<name>\S+))? -->")
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.*?)\s*#*$")


@dataclass
class Command:
    """One command of a transcript, and the lines it should print."""

    line: int
    text: str
    printed: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A marked code block."""

    line: int
    file: str | None
    text: str

    def commands(self) -> list[Command]:
        """The commands of a transcript; a line ending in a backslash goes on in the next."""
        found: list[Command] = []
        continued = False
        for offset, line in enumerate(self.text.splitlines(), 1):
            if continued:
                found[-1].text += "\n" + line
            elif line.startswith("$ "):
                found.append(Command(self.line + offset, line[2:]))
            elif found:
                found[-1].printed.append(line)
            continued = (continued or line.startswith("$ ")) and line.endswith("\\")
        return found


def iter_blocks(path: Path) -> Iterator[Block]:
    """The marked blocks of a page, in order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        mark = _MARK.fullmatch(lines[number].strip())
        number += 1
        if mark is None:
            continue
        fence = number
        assert lines[fence].startswith("```"), f"{path.name}:{number} marks no code block"
        end = next(i for i in range(fence + 1, len(lines)) if lines[i].startswith("```"))
        yield Block(fence + 1, mark["name"], "\n".join(lines[fence + 1 : end]) + "\n")
        number = end + 1


def iter_prose(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines outside code blocks."""
    inside = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


def iter_links(path: Path) -> Iterator[tuple[int, str]]:
    """Targets of the links of a page."""
    for number, line in iter_prose(path):
        for match in _LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            yield number, match["target"]


def anchors(path: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    found = set()
    for _, line in iter_prose(path):
        if match := _HEADING.match(line):
            text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", match["text"]).lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether what was printed is what the page shows."""
    while expected and not expected[-1].strip():
        expected = expected[:-1]
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(piece) for piece in line.rstrip().split("…")) + r"\n")
    text = "".join(line.rstrip() + "\n" for line in printed)
    return re.fullmatch("".join(parts), text) is not None

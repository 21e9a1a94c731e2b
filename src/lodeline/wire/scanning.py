"""The exact reading of JSON text: strict, iterative, and able to say where the fault lies.

Slower than a compiled parser by two orders of magnitude, so it runs only when the fast path has
reason to doubt, and serves the tests as the oracle that the fast path is held against.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from lodeline.errors import InvalidEventError
from lodeline.limits import EVENT_DEPTH_MAX, INTEGER_DIGITS_MAX

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(
    r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"'
)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LITERAL: Final = re.compile(r"true|false|null")


def escape_pointer(token: str) -> str:
    """Escape one reference token of a JSON pointer (RFC 6901, section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


class _Frame:
    """An open object or array; `here` is the key or the index being read."""

    __slots__ = ("here", "keys")

    def __init__(self, keys: set[str] | None) -> None:
        self.keys = keys
        self.here: str | int = 0


def scan(text: str) -> None:
    """Read JSON text from start to end and return nothing.

    Raises:
        InvalidEventError: `event.json`, `event.duplicate_key`, `event.nul`, `event.surrogate`,
            `event.number` or `event.depth`, at the first fault in reading order.
    """
    _Scanner(text).run()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.frames: list[_Frame] = []

    def run(self) -> None:
        self.value()
        while self.frames:
            self.after_value()
        self.space()
        if self.position != len(self.text):
            self.syntax("nothing more")

    def value(self) -> None:
        """Read a scalar, or open a container and read up to its first scalar or end."""
        while True:
            self.space()
            opener = self.text[self.position : self.position + 1]
            if opener not in {"{", "["}:
                self.scalar(opener)
                return
            self.position += 1
            self.frames.append(_Frame(set() if opener == "{" else None))
            if len(self.frames) > EVENT_DEPTH_MAX:
                self.frames.pop()
                self.refuse("event.depth", f"nested deeper than {EVENT_DEPTH_MAX}")
            self.space()
            closer = "}" if opener == "{" else "]"
            if self.text.startswith(closer, self.position):
                self.position += 1
                self.frames.pop()
                return
            if opener == "{":
                self.key()

    def after_value(self) -> None:
        """Read a comma and the next value, or the end of the innermost container."""
        self.space()
        frame = self.frames[-1]
        found = self.text[self.position : self.position + 1]
        closer = "]" if frame.keys is None else "}"
        if found == closer:
            self.position += 1
            self.frames.pop()
            return
        if found != ",":
            self.syntax(f"',' or '{closer}'")
        self.position += 1
        if frame.keys is None:
            assert isinstance(frame.here, int)
            frame.here += 1
        else:
            self.space()
            self.key()
        self.value()

    def key(self) -> None:
        frame = self.frames.pop()
        name = self.string("a name in quotes")
        self.frames.append(frame)
        assert frame.keys is not None
        frame.here = name
        if name in frame.keys:
            self.refuse("event.duplicate_key", f"the name {name[:64]!r} appears twice")
        frame.keys.add(name)
        self.space()
        if not self.text.startswith(":", self.position):
            self.syntax("':'")
        self.position += 1

    def scalar(self, opener: str) -> None:
        if opener == '"':
            self.string("a string")
            return
        match = _NUMBER.match(self.text, self.position)
        if match is None:
            match = _LITERAL.match(self.text, self.position)
            if match is None:
                self.syntax("a value")
            self.position = match.end()
            return
        self.position = match.end()
        check_number(match[0], self.pointer())

    def string(self, expected: str) -> str:
        match = _STRING.match(self.text, self.position)
        if match is None:
            self.syntax(expected)
        token = match[0]
        value: str = json.loads(token) if "\\" in token else token[1:-1]
        if "\0" in value:
            self.refuse("event.nul", "a NUL character in a string")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                self.refuse("event.surrogate", "half of a surrogate pair in a string")
        self.position = match.end()
        return value

    def space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        assert match is not None
        self.position = match.end()

    def pointer(self) -> str:
        return "".join(f"/{escape_pointer(str(frame.here))}" for frame in self.frames)

    def syntax(self, expected: str) -> NoReturn:
        found = self.text[self.position : self.position + 1]
        shown = repr(found) if found else "the end"
        line = self.text.count("\n", 0, self.position) + 1
        column = self.position - self.text.rfind("\n", 0, self.position)
        self.refuse(
            "event.json", f"not JSON: line {line} column {column} has {shown}, not {expected}"
        )

    def refuse(self, code: str, message: str) -> NoReturn:
        raise InvalidEventError(code, self.pointer(), message)


def check_number(token: str, pointer: str) -> None:
    """Hold a number's token against what canonical JSON can carry.

    Raises:
        InvalidEventError: `event.number`, a double that overflows or an integer of too many digits.
    """
    if any(mark in token for mark in ".eE"):
        if float(token) in {float("inf"), float("-inf")}:
            raise InvalidEventError("event.number", pointer, f"{token[:32]} exceeds a double")
    elif len(token.lstrip("-")) > INTEGER_DIGITS_MAX:
        raise InvalidEventError(
            "event.number", pointer, f"an integer of more than {INTEGER_DIGITS_MAX} digits"
        )

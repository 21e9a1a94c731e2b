"""Taking the literals out of SQL text: `WHERE name = 'Ann'` becomes `WHERE name = ?`.

A statement that is kept as text must not carry the values in it. Keywords, names, operators and
placeholders stay, so the masked text still says what the statement does, and two statements that
differ in their values alone become the same. Comments go too: people write anything there.

The text is read as its dialect reads it, since dialects disagree about where a literal ends
(backslashes, dollar quotes, triple quotes) and about what double quotes hold. Where the dialect
is not known, whatever any of them takes for a literal or a comment is masked. A text that no
dialect would run is masked all the same: nothing here parses, and nothing raises.

Left out: values spelled as names. `KEY_ID abc` without quotes is a word like any other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

MASK: Final = "?"


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a dialect reads what surrounds names.

    Attributes:
        backslash: a backslash escapes the character behind it, in every string.
        double: what double quotes hold; `either` is SQLite's, which takes an unknown name for text.
        triple: three quotes open a string that three quotes close.
        dollar: `$tag$ … $tag$` is a string.
        hashes: `#` opens a comment.
        spaced: `--` opens a comment only before white space.
        nested: block comments nest.
    """

    backslash: bool = False
    double: Literal["name", "text", "either"] = "name"
    triple: bool = False
    dollar: bool = False
    hashes: bool = False
    spaced: bool = False
    nested: bool = False


_ANSI: Final = _Reading()
_POSTGRES: Final = _Reading(dollar=True, nested=True)
_MYSQL: Final = _Reading(backslash=True, double="text", hashes=True, spaced=True)
# Settings of a server turn these off: NO_BACKSLASH_ESCAPES, escapedStringLiterals and their kin.
_MYSQL_PLAIN: Final = _Reading(double="text", hashes=True, spaced=True)
_BIGQUERY: Final = _Reading(backslash=True, double="text", triple=True, hashes=True)
_SPARK: Final = _Reading(backslash=True, double="text", nested=True)
_SPARK_PLAIN: Final = _Reading(double="text", nested=True)
# Redshift grew out of PostgreSQL 8, whose strings took backslashes.
_REDSHIFT: Final = _Reading(backslash=True, dollar=True, nested=True)
_SNOWFLAKE: Final = _Reading(backslash=True, dollar=True)
_CLICKHOUSE: Final = _Reading(backslash=True, dollar=True, hashes=True, nested=True)
_SQLITE: Final = _Reading(double="either")
_TSQL: Final = _Reading(double="either", nested=True)
_READINGS: Final[dict[str, tuple[_Reading, ...]]] = {
    **dict.fromkeys(("ansi", "athena", "oracle", "presto", "trino"), (_ANSI,)),
    **dict.fromkeys(("duckdb", "postgres", "postgresql"), (_POSTGRES,)),
    **dict.fromkeys(
        ("doris", "mariadb", "mysql", "singlestore", "starrocks"), (_MYSQL, _MYSQL_PLAIN)
    ),
    **dict.fromkeys(("databricks", "hive", "spark", "spark2"), (_SPARK, _SPARK_PLAIN)),
    **dict.fromkeys(("mssql", "tsql"), (_TSQL,)),
    "bigquery": (_BIGQUERY,),
    "clickhouse": (_CLICKHOUSE,),
    "redshift": (_REDSHIFT, _POSTGRES),
    "snowflake": (_SNOWFLAKE,),
    "sqlite": (_SQLITE,),
}
_EVERY: Final = tuple(dict.fromkeys(one for many in _READINGS.values() for one in many))

_WORD: Final = re.compile(r"(?:[^\W\d]|_)[\w$]*")
# Not `:1`: in `{'age':42}` that is a value.
_PLACEHOLDER: Final = re.compile(r"\?\d*|::|[:@]+[^\W\d]\w*|%\(\w+\)s|%s|\{\{?[^\W\d]\w*\}?\}")
# SQL Server's money starts with a dollar sign, too.
_NUMBERED: Final = re.compile(r"\$\d+")
_INERT: Final = re.compile(r"[\s(),;=<>*+|&!^~\[\]]+")
_NUMBER: Final = re.compile(
    r"0[xXbB][0-9a-fA-F_]+|(?:\d[\d_]*(?:\.\d[\d_]*|\.(?!\w))?|\.\d[\d_]*)(?:[eE][+-]?\d+)?\w*"
)
_DOLLAR: Final = re.compile(r"\$(?:[^\W\d]\w*)?\$")
# Sizes of types are structure. Not CHAR: as a function it spells text by its codes.
_SIZED: Final = re.compile(
    r"(?:dec(?:imal)?|numeric|n?varchar2?|varbinary)\s*\(\s*\d{1,5}(?:\s*,\s*\d{1,3})?\s*\)",
    re.IGNORECASE,
)
# Letters that belong to the string they stand before: dates and intervals keep their word.
_PREFIX: Final = re.compile(r"(?:[benrxq]|rb|br|nq|u&|_[a-z]\w*)\Z", re.IGNORECASE)
_Q_CLOSING: Final = {"[": "]", "(": ")", "{": "}", "<": ">"}


class _Span(NamedTuple):
    start: int
    end: int
    comment: bool


def mask_literals(text: str, *, dialect: str | None = None, names: Collection[str] = ()) -> str:
    """Replace every literal of SQL text by `?`, and every comment by a space.

    Args:
        text: one statement or several, valid or not.
        dialect: as sqlglot or SQLAlchemy call it; an unknown one reads like none given.
        names: what is known to be a name of a table or column: such a word stays in double quotes
            where these may hold a text as well (SQLite, SQL Server, or no dialect).

    Returns:
        The text, with names, keywords, operators, placeholders and the sizes of types as they
        were. Masking it again changes nothing.
    """
    known = frozenset(name.lower() for name in names)
    spans = sorted(
        span
        for one in _READINGS.get((dialect or "").lower(), _EVERY)
        for span in _iter_spans(text, one, known)
    )
    parts: list[str] = []
    end = 0
    for span in spans:
        if span.end <= end:
            continue
        if span.start >= end:
            parts += (text[end : span.start], " " if span.comment else MASK)
        end = span.end
    parts.append(text[end:])
    return "".join(parts)


def _iter_spans(text: str, reading: _Reading, names: frozenset[str]) -> Iterator[_Span]:
    """Give what one reading takes for literals and comments, in order."""
    at = 0
    while at < len(text):
        span = _find_span(text, at, reading, names)
        if span is not None:
            yield span
            at = max(span.end, at + 1)
        else:
            at = _skip(text, at, reading)


def _find_span(text: str, at: int, reading: _Reading, names: frozenset[str]) -> _Span | None:
    """The literal or comment that starts here."""
    letter = text[at]
    if letter in "-/#":
        end = _comment_end(text, at, reading)
        return None if end is None else _Span(at, end, comment=True)
    if letter == "'":
        return _Span(at, _string_end(text, at, reading, backslash=reading.backslash), comment=False)
    if letter == '"':
        end = _string_end(text, at, reading, backslash=reading.backslash)
        held = text[at + 1 : end - 1]
        is_name = reading.double == "name" or (reading.double == "either" and held.lower() in names)
        return None if is_name else _Span(at, end, comment=False)
    if letter == "$" and reading.dollar and (opening := _DOLLAR.match(text, at)):
        close = text.find(opening[0], opening.end())
        return _Span(at, len(text) if close < 0 else close + len(opening[0]), comment=False)
    if letter.isdigit() or letter == ".":
        number = _NUMBER.match(text, at)
        # `a.1` and `1..2` apart: a dot alone belongs to a name.
        return None if number is None else _Span(at, number.end(), comment=False)
    return _prefixed(text, at, reading)


def _prefixed(text: str, at: int, reading: _Reading) -> _Span | None:
    """A string with letters before its quote: `E'…'`, `N'…'`, `x'…'`, `q'[…]'`, `_utf8'…'`."""
    word = _WORD.match(text, at)
    if word is None:
        return None
    quote = word.end()
    prefix = word[0]
    if text[quote : quote + 1] == "&" and prefix.lower() == "u":
        quote, prefix = quote + 1, "u&"
    quotes = ("'", '"') if reading.double == "text" else ("'",)
    if text[quote : quote + 1] not in quotes or not _PREFIX.match(prefix):
        return None
    if prefix.lower() in {"q", "nq"} and quote + 1 < len(text):
        opening = text[quote + 1]
        close = text.find(_Q_CLOSING.get(opening, opening) + "'", quote + 2)
        return _Span(at, len(text) if close < 0 else close + 2, comment=False)
    # In a raw string Spark's backslash is a letter; BigQuery's still guards a quote.
    is_raw = prefix.lower() == "r" and not reading.triple
    backslash = (reading.backslash and not is_raw) or prefix.lower() == "e"
    return _Span(at, _string_end(text, quote, reading, backslash=backslash), comment=False)


def _string_end(text: str, at: int, reading: _Reading, *, backslash: bool) -> int:
    """Offset behind the string whose quote stands at `at`; the text's end when nothing closes."""
    quote = text[at]
    if reading.triple and text.startswith(quote * 3, at):
        quote *= 3
    end = at + len(quote)
    while end < len(text):
        if backslash and text[end] == "\\":
            end += 2
        elif not text.startswith(quote, end):
            end += 1
        elif len(quote) == 1 and text.startswith(quote, end + 1):
            end += 2
        else:
            return end + len(quote)
    return len(text)


def _comment_end(text: str, at: int, reading: _Reading) -> int | None:
    """Offset behind the comment that starts here; `None` when none does."""
    opens_line = text.startswith("--", at) and (
        not reading.spaced or text[at + 2 : at + 3].strip() == ""
    )
    if opens_line or (text[at] == "#" and reading.hashes):
        end = text.find("\n", at)
        return len(text) if end < 0 else end
    if not text.startswith("/*", at):
        return None
    depth, end = 1, at + 2
    while depth and end < len(text):
        opening = text.find("/*", end) if reading.nested else -1
        closing = text.find("*/", end)
        if closing < 0:
            return len(text)
        if 0 <= opening < closing:
            depth, end = depth + 1, opening + 2
        else:
            depth, end = depth - 1, closing + 2
    return end


def _skip(text: str, at: int, reading: _Reading) -> int:
    """Offset behind the name, placeholder, sized type or single character that stands here."""
    if text[at] in '"`':
        # A quoted name; one that nothing closes is no name, and what follows is read as usual.
        close = text.find(text[at], at + 1)
        return at + 1 if close < 0 else close + 1
    if text[at] == "$" and reading.dollar and (numbered := _NUMBERED.match(text, at)):
        return numbered.end()
    for pattern in (_SIZED, _WORD, _INERT, _PLACEHOLDER):
        found = pattern.match(text, at)
        if found is not None:
            return found.end()
    return at + 1


__all__ = ["MASK", "mask_literals"]

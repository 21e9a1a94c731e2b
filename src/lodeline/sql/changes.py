"""INSERT, UPDATE, DELETE and MERGE, read into the query whose rows are the rows that they write.

What a change writes can be asked as a query over the same snapshot: an UPDATE gives the rows that
it changes and their new values, a MERGE the pairs of its join with what is done to each. The query
is put together from pieces of the program's own text, cut at its keywords, so that whoever runs it
can have the engine's own parser judge whether sqlglot reads it right.

What a DELETE leaves is known by its rows alone, and needs no query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import sqlglot
from sqlglot import Token, TokenType
from sqlglot.errors import SqlglotError

from lodeline.errors import UnsupportedQueryError
from lodeline.sql.sources import describe_error

# Columns of the query of a change: the row that is changed, and, of a MERGE, what is done to it.
TARGET: Final = "lodeline target"
ACTION: Final = "lodeline action"

_OPENING: Final = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE})
_CLOSING: Final = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE})
_QUERY: Final = frozenset({"SELECT", "WITH", "FROM", "PIVOT", "UNPIVOT", "TABLE", "VALUES"})


@dataclass(frozen=True)
class Clause:
    """One thing that a change does to rows.

    Attributes:
        act: what.
        columns: of the table, that get values; empty for all of them, in order.
        values: names of the query's columns that hold these.
    """

    act: Literal["insert", "update", "delete", "nothing"]
    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """A change of one table.

    Attributes:
        word: the statement's.
        target: the table as written, without alias.
        clauses: what it does; of a MERGE, by the number that `ACTION` holds.
        query: gives the rows that it writes; None where they are made of no rows.
        span: where the query stands in the text of an INSERT.
        by_name: an INSERT's columns are those of its query.
    """

    word: Literal["insert", "update", "delete", "merge"]
    target: str
    clauses: tuple[Clause, ...]
    query: str | None = None
    span: tuple[int, int] | None = None
    by_name: bool = False


def read_change(text: str) -> Change:
    """Read a change.

    Args:
        text: of one statement.

    Raises:
        UnsupportedQueryError: naming what is not followed.
    """
    words = _Words(text)
    first = words.word(0)
    if any(words.is_word(place, "RETURNING") for place in words.level()):
        raise UnsupportedQueryError(first.lower(), "with RETURNING")
    read = {"INSERT": _insert, "UPDATE": _update, "DELETE": _delete, "MERGE": _merge}.get(first)
    if read is None:
        raise UnsupportedQueryError(first.lower() or "statement", "is not followed")
    try:
        return read(words)
    except IndexError as error:
        raise UnsupportedQueryError("parse", "it ends too early") from error


class _Words:
    """The tokens of a text, and how deep each stands in parentheses and CASE."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            tokens = sqlglot.tokenize(text, dialect="duckdb")
        except SqlglotError as error:
            raise UnsupportedQueryError("parse", describe_error(error)) from error
        while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
            tokens.pop()
        if any(token.token_type == TokenType.SEMICOLON for token in tokens):
            raise UnsupportedQueryError("parse", "more than one statement")
        self.tokens: list[Token] = tokens
        self.depths: list[int] = []
        depth = 0
        for place in range(len(tokens)):
            kind = tokens[place].token_type
            closes = kind in _CLOSING or self.is_word(place, "END")
            depth -= closes
            self.depths.append(depth)
            depth += kind in _OPENING or self.is_word(place, "CASE")

    def word(self, place: int) -> str:
        """Give a token in upper case; empty where there is none, or a quoted one."""
        if not 0 <= place < len(self.tokens):
            return ""
        token = self.tokens[place]
        if token.token_type == TokenType.STRING or self.text[token.start] in "\"'":
            return ""
        return token.text.upper()

    def is_word(self, place: int, *words: str) -> bool:
        """Say whether a token is one of some keywords."""
        return self.word(place) in words

    def level(self, start: int = 0, end: int | None = None) -> Iterator[int]:
        """Give the places of the tokens that stand in no parentheses of this part."""
        last = len(self.tokens) if end is None else end
        if start < last:
            depth = min(self.depths[start:last])
            yield from (place for place in range(start, last) if self.depths[place] == depth)

    def find(self, word: str, start: int, end: int | None = None) -> int | None:
        """Find a keyword in this part, outside of parentheses."""
        for place in self.level(start, end):
            distinct = word == "FROM" and self.is_word(place - 1, "DISTINCT")
            if self.is_word(place, word) and not distinct:
                return place
        return None

    def part(self, start: int, end: int | None = None) -> str:
        """Give the text from one token up to another."""
        last = len(self.tokens) if end is None else end
        if start >= last:
            return ""
        return self.text[self.tokens[start].start : self.tokens[last - 1].end + 1]

    def listed(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Split a part at its commas."""
        begin = start
        for place in self.level(start, end):
            if self.tokens[place].token_type == TokenType.COMMA:
                yield begin, place
                begin = place + 1
        yield begin, end

    def closing(self, opening: int) -> int:
        """Find where a parenthesis closes."""
        for place in range(opening + 1, len(self.tokens)):
            if self.depths[place] == self.depths[opening]:
                return place
        raise UnsupportedQueryError("parse", "a parenthesis has no end")

    def names(self, opening: int) -> tuple[str, ...]:
        """Read a list of names in parentheses."""
        found = []
        for start, end in self.listed(opening + 1, self.closing(opening)):
            if end != start + 1:
                raise UnsupportedQueryError("column list", "of more than names")
            found.append(self.tokens[start].text)
        return tuple(found)


def _need(place: int | None, word: str) -> int:
    if place is None:
        raise UnsupportedQueryError("parse", f"{word} was expected")
    return place


def _target(words: _Words, start: int, end: int) -> tuple[str, str]:
    """Read a table and its alias: the table as written, and the name that it answers to."""
    last = end - 1
    name = start
    while name + 2 <= last and words.tokens[name + 1].token_type == TokenType.DOT:
        name += 2
    rest = [place for place in range(name + 1, end) if not words.is_word(place, "AS")]
    if len(rest) > 1 or start > last:
        raise UnsupportedQueryError("table", "that is written with more than a name")
    alias = words.tokens[rest[0] if rest else name]
    return words.part(start, name + 1), words.text[alias.start : alias.end + 1]


def _insert(words: _Words) -> Change:
    if not words.is_word(1, "INTO"):
        raise UnsupportedQueryError("insert", "or something else, where a key is there already")
    for place in words.level():
        if words.is_word(place, "ON") and words.is_word(place + 1, "CONFLICT"):
            raise UnsupportedQueryError("insert", "with ON CONFLICT")
    place = 2
    while words.tokens[place + 1 : place + 2] and (
        words.tokens[place + 1].token_type == TokenType.DOT
    ):
        place += 2
    target = words.part(2, place + 1)
    place += 1
    if words.is_word(place, "AS"):
        place += 2
    columns: tuple[str, ...] = ()
    opens = place < len(words.tokens) and words.tokens[place].token_type == TokenType.L_PAREN
    if opens and not words.is_word(place + 1, *_QUERY) and words.word(place + 1) != "(":
        columns = words.names(place)
        place = words.closing(place) + 1
    by_name = words.is_word(place, "BY") and words.is_word(place + 1, "NAME")
    if words.is_word(place, "BY"):
        place += 2
    clause = Clause("insert", columns)
    if words.is_word(place, "VALUES", "DEFAULT"):
        if any(
            words.is_word(one, *(_QUERY - {"VALUES"}), "?")
            for one in range(place, len(words.tokens))
        ):
            raise UnsupportedQueryError("insert", "of values that sub-queries give")
        return Change("insert", target, (clause,))
    opens = place < len(words.tokens) and words.tokens[place].token_type == TokenType.L_PAREN
    if not opens and not words.is_word(place, *_QUERY):
        raise UnsupportedQueryError("insert", "of something that is no query")
    span = words.tokens[place].start, words.tokens[-1].end + 1
    return Change("insert", target, (clause,), words.text[span[0] : span[1]], span, by_name)


def _assignments(words: _Words, start: int, end: int) -> Iterator[tuple[str, str]]:
    """Read what follows SET: a column, and the text of its new value."""
    for begin, stop in words.listed(start, end):
        equals = stop > begin + 2 and words.tokens[begin + 1].token_type == TokenType.EQ
        if not equals or words.is_word(begin + 2, "DEFAULT"):
            raise UnsupportedQueryError("update", "of something other than a column by a value")
        yield words.tokens[begin].text, words.part(begin + 2, stop)


def _update(words: _Words) -> Change:
    set_ = _need(words.find("SET", 1), "SET")
    from_ = words.find("FROM", set_)
    where = words.find("WHERE", from_ or set_)
    end = len(words.tokens)
    target, alias = _target(words, 1, set_)
    assigned = list(_assignments(words, set_ + 1, min(from_ or end, where or end)))
    values = tuple(f"lodeline new {number}" for number in range(len(assigned)))
    shown = "".join(
        f', {text} AS "{name}"' for (_, text), name in zip(assigned, values, strict=True)
    )
    query = f'SELECT {alias}.rowid AS "{TARGET}"{shown} FROM {words.part(1, set_)}'
    if from_ is not None:
        query += f", {words.part(from_ + 1, where)}"
    if where is not None:
        query += f" {words.part(where)}"
    clause = Clause("update", tuple(column for column, _ in assigned), values)
    return Change("update", target, (clause,), query)


def _delete(words: _Words) -> Change:
    from_ = _need(words.find("FROM", 0), "FROM")
    using, where = words.find("USING", from_), words.find("WHERE", from_)
    end = len(words.tokens)
    target, _ = _target(words, from_ + 1, min(using or end, where or end))
    return Change("delete", target, (Clause("delete"),))


def _merge(words: _Words) -> Change:
    into, using = _need(words.find("INTO", 0), "INTO"), _need(words.find("USING", 0), "USING")
    on = _need(words.find("ON", using), "ON")
    whens = [place for place in words.level(on) if words.is_word(place, "WHEN")]
    if not whens:
        raise UnsupportedQueryError("parse", "WHEN was expected")
    target, alias = _target(words, into + 1, using)
    clauses: list[Clause] = []
    guards: list[str] = []
    shown: list[str] = []
    for number, (start, end) in enumerate(zip(whens, [*whens[1:], len(words.tokens)], strict=True)):
        then = _need(words.find("THEN", start, end), "THEN")
        guards.append(_guard(words, start, then, alias))
        clause, texts = _clause(words, then + 1, end, number)
        clauses.append(clause)
        before = "".join(f"WHEN {guard} THEN NULL " for guard in guards[:-1])
        shown += [
            f', CASE {before}WHEN {guards[-1]} THEN {text} END AS "{name}"'
            for text, name in zip(texts, clause.values, strict=True)
        ]
    chosen = " ".join(f"WHEN {guard} THEN {number}" for number, guard in enumerate(guards))
    query = (
        f'SELECT {alias}.rowid AS "{TARGET}", CASE {chosen} END AS "{ACTION}"{"".join(shown)} '
        f"FROM {words.part(into + 1, using)} RIGHT JOIN {words.part(using + 1, on)} "
        f"ON {words.part(on + 1, whens[0])}"
    )
    return Change("merge", target, tuple(clauses), query)


def _guard(words: _Words, start: int, then: int, alias: str) -> str:
    """Write when a clause of a MERGE applies."""
    place = start + 1
    denied = words.is_word(place, "NOT")
    place += denied
    if not words.is_word(place, "MATCHED"):
        raise UnsupportedQueryError("merge", "with a clause that is not known")
    place += 1
    if words.is_word(place, "BY"):
        if not words.is_word(place + 1, "TARGET"):
            raise UnsupportedQueryError("merge", "of what the source does not have")
        place += 2
    guard = f"{alias}.rowid IS {'' if denied else 'NOT '}NULL"
    if words.is_word(place, "AND"):
        guard += f" AND ({words.part(place + 1, then)})"
    elif place != then:
        raise UnsupportedQueryError("merge", "with a clause that is not known")
    return guard


def _clause(words: _Words, start: int, end: int, number: int) -> tuple[Clause, Sequence[str]]:
    """Read what a clause of a MERGE does, and the texts of its values."""
    if words.is_word(start, "DELETE") and end == start + 1:
        return Clause("delete"), ()
    if words.is_word(start, "DO") and words.is_word(start + 1, "NOTHING"):
        return Clause("nothing"), ()
    texts: list[str] = []
    columns: tuple[str, ...] = ()
    if words.is_word(start, "UPDATE") and words.is_word(start + 1, "SET"):
        assigned = list(_assignments(words, start + 2, end))
        columns, texts = tuple(one for one, _ in assigned), [text for _, text in assigned]
        values = tuple(f"lodeline new {number} {place}" for place in range(len(texts)))
        return Clause("update", columns, values), texts
    if not words.is_word(start, "INSERT"):
        raise UnsupportedQueryError("merge", "with a clause that is not known")
    place = start + 1
    if place < end and words.tokens[place].token_type == TokenType.L_PAREN:
        columns = words.names(place)
        place = words.closing(place) + 1
    if not words.is_word(place, "VALUES") or words.closing(place + 1) != end - 1:
        raise UnsupportedQueryError("merge", "that inserts other than listed values")
    texts = [words.part(*one) for one in words.listed(place + 2, end - 1)]
    if any(text.upper() == "DEFAULT" for text in texts):
        raise UnsupportedQueryError("merge", "that inserts other than listed values")
    values = tuple(f"lodeline new {number} {place}" for place in range(len(texts)))
    return Clause("insert", columns, values), texts

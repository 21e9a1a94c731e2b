"""Candidates of a search, from the index: the best kinds of match first, up to a bound.

1. The whole question is a name, or a name's last part; or names begin with it.
2. Every word is one of, begins one of, or stands within one of the words of a node's own name.
3. As 2, with the words of its namespace and dataset, and those said of it.
4. As 3, with words a mistake or two away, if nothing was found.

Words become words of the vocabulary first, so that each step walks lists of documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lodeline.limits import SEARCH_EXPANSIONS_MAX, SEARCH_MATCHES_MAX, SEARCH_WORDS_READ_MAX
from lodeline.query.search_terms import PIECE_CHARACTERS_MIN, nearest_words, variants_of
from lodeline.store.connections import Connection
from lodeline.store.search_tables import search_tables

# Above every character of a name.
_LAST = "\U0010ffff"


@dataclass
class Candidates:
    """What the index found.

    Attributes:
        limit: documents at most.
        numbers: of documents, the better kinds of match first.
        corrected: word asked for -> words tried in its place; empty where the words were found.
        cut: whether there may be more.
    """

    limit: int
    numbers: dict[int, None] = field(default_factory=dict)
    corrected: dict[str, list[str]] = field(default_factory=dict)
    cut: bool = False

    def add(self, numbers: Iterable[int]) -> None:
        """Take the documents of one step, as many as fit."""
        for number in numbers:
            if number in self.numbers:
                continue
            if len(self.numbers) == self.limit:
                self.cut = True
                return
            self.numbers[number] = None


def find_candidates(
    connection: Connection,
    text: str,
    words: Sequence[str],
    *,
    said: bool,
    marks: Sequence[str],
    limit: int = SEARCH_MATCHES_MAX,
) -> Candidates:
    """Find the documents that may match.

    Args:
        connection: a snapshot whose index is usable.
        text: the question in lower case.
        words: of the question, each of which must match; at least one.
        said: whether what is said of nodes counts, beside their names.
        marks: filters that all must hold.
        limit: documents at most.
    """
    with search_tables(connection).searching(connection):
        return _find(connection, text, words, said=said, marks=marks, limit=limit)


def _find(
    connection: Connection,
    text: str,
    words: Sequence[str],
    *,
    said: bool,
    marks: Sequence[str],
    limit: int,
) -> Candidates:
    found = Candidates(limit)
    # What a filter does not let through is taken out later; 2 finds what this leaves out.
    found.add(_find_keys(connection, text, limit // 4))
    fields = ("own", "around", "said") if said else ("own", "around")

    tables = search_tables(connection)

    def find(groups: Sequence[Sequence[str]], columns: Sequence[str]) -> list[int]:
        if not all(groups):
            return []
        return tables.find(connection, groups, fields=columns, marks=marks, limit=limit + 1)

    read = tables.find_words(
        connection, words, pieces_from=PIECE_CHARACTERS_MIN, limit=SEARCH_WORDS_READ_MAX
    )
    expansions = [
        _Expansion(connection, word, *some) for word, some in zip(words, read, strict=True)
    ]
    groups = [one.words for one in expansions]
    found.cut = any(one.cut for one in expansions)
    # Of one word many names may have enough; of several, few documents have them all.
    own = find(groups, fields[:1]) if len(words) == 1 else None
    if own is not None and len(own) > limit:
        found.add(own)
    else:
        everywhere = find(groups, fields)
        if len(everywhere) > limit:
            # Otherwise all are ranked, whichever step finds them.
            found.add(find(groups, fields[:1]) if own is None else own)
        found.add(everywhere)
    if not found.numbers:
        tried = [list(dict.fromkeys([*one.words, *one.corrections])) for one in expansions]
        found.add(find(tried, fields))
        found.corrected = {one.asked: one.corrections for one in expansions if one.corrections}
    return found


def _find_keys(connection: Connection, text: str, limit: int) -> list[int]:
    """Find names that are the question, then those that begin with it."""
    rows = connection.execute(
        "SELECT 0 AS place, document_id, name FROM (SELECT document_id, name FROM search_key"
        " WHERE name = :text ORDER BY document_id LIMIT :limit) AS same UNION ALL"
        " SELECT 1 AS place, document_id, name FROM (SELECT document_id, name FROM search_key"
        " WHERE name > :text AND name < :last ORDER BY name LIMIT :limit) AS longer",
        {"text": text, "last": text + _LAST, "limit": limit},
    ).fetchall()
    return [number for _, number, _ in sorted(rows, key=lambda row: (row[0], row[2]))]


class _Expansion:
    """The words of the vocabulary that one word asked for may stand for."""

    def __init__(
        self, connection: Connection, word: str, beginning: list[str], holding: list[str]
    ) -> None:
        self.asked = word
        self.cut = False
        self._connection = connection
        self.words = self._shortest(beginning)
        self.words += self._shortest(set(holding) - set(beginning))

    def _shortest(self, words: Iterable[str]) -> list[str]:
        ranked = sorted(words, key=lambda word: (len(word), word))
        self.cut |= len(ranked) > SEARCH_EXPANSIONS_MAX
        return ranked[:SEARCH_EXPANSIONS_MAX]

    @cached_property
    def corrections(self) -> list[str]:
        """Words a mistake or two away, the nearest first."""
        variants = variants_of(self.asked)
        if not variants:
            return []
        rows = self._connection.execute(
            "SELECT DISTINCT word FROM search_variant JOIN search_word USING (word_id)"
            " WHERE variant IN (SELECT value FROM json_each(:ids)) LIMIT :limit",
            {"ids": json.dumps(sorted(variants)), "limit": SEARCH_WORDS_READ_MAX},
        ).fetchall()
        return nearest_words(self.asked, (row[0] for row in rows), SEARCH_EXPANSIONS_MAX)

"""Words of a search: how text is cut into them, and which words a mistyped one may stand for.

Pure. What is put into the index and what is asked of it pass the same functions; a change here
is a new `TERMS_VERSION`, which makes stores build their index again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from zlib import crc32

from lodeline.limits import SEARCH_WORD_CHARACTERS_MAX

TERMS_VERSION: Final = 2

_RUN = re.compile(r"[^\W_]+")
# customerOrders2024 -> customer, Orders, 2024; HTTPServer -> HTTP, Server.
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SEPARATOR = re.compile(r"[/\\.:]")
# A file is named without what tells its format.
_FORMATS: Final = frozenset(
    {"arrow", "avro", "bin", "csv", "db", "duckdb", "feather", "gz", "h5", "joblib", "json"}
    | {"jsonl", "ndjson", "npy", "npz", "onnx", "orc", "parquet", "pickle", "pkl", "pt"}
    | {"safetensors", "sqlite", "tsv", "txt", "xlsx", "zip", "zst"}
)
_KEY_CHARACTERS_MAX: Final = 200

# Fewer letters say too little to be mistyped; digits are never taken for others.
_LETTERS_MIN: Final = 4
_LETTERS_OF_TWO: Final = 8
# The index knows pieces of three characters; shorter words are only looked for as beginnings.
PIECE_CHARACTERS_MIN: Final = 3
# Variants are made of the beginning alone, so that a long word has no more than 56.
_BEGINNING: Final = 10


def plain(text: str) -> str:
    """Give a text in lower case, without diacritics."""
    return _bare(text).casefold()


def _bare(text: str) -> str:
    if text.isascii():
        return text
    spread = unicodedata.normalize("NFKD", text)
    return "".join(one for one in spread if not unicodedata.combining(one))


@lru_cache(maxsize=65_536)
def words_in(text: str) -> tuple[str, ...]:
    """Cut a text into words: runs of letters and digits, and the parts of mixed ones."""
    found: dict[str, None] = {}
    for run in _RUN.findall(_bare(text)):
        found[run.casefold()[:SEARCH_WORD_CHARACTERS_MAX]] = None
        if not (run.isdigit() or run.islower()):
            for part in _PART.findall(run):
                found[part.lower()[:SEARCH_WORD_CHARACTERS_MAX]] = None
    return tuple(found)


@lru_cache(maxsize=65_536)
def spoken(text: str) -> str:
    """Give the words of a text as the index has them: one after another."""
    return " ".join(words_in(text))


def asked_words(text: str) -> list[str]:
    """Give the words that a question asks for, each once."""
    runs = _RUN.findall(plain(text))
    return list(dict.fromkeys(run[:SEARCH_WORD_CHARACTERS_MAX] for run in runs))


@lru_cache(maxsize=65_536)
def name_keys(name: str) -> tuple[str, ...]:
    """Give what a name is looked up by: whole, from its last separators on, without a suffix."""
    whole = plain(name)[:_KEY_CHARACTERS_MAX]
    keys = {whole: None}
    base = re.split(r"[/\\]", whole)[-1]
    stem, dot, last = base.rpartition(".")
    if dot and last in _FORMATS:
        keys |= {base: None, stem: None}
    else:
        keys |= {base: None, last: None}
    return tuple(key for key in keys if key)


@lru_cache(maxsize=16_384)
def mark(sort: str, text: str) -> str:
    """Give the one word that stands for a kind, namespace, tag or owner as a filter."""
    digest = blake2b(plain(text).encode("utf-8", "surrogatepass"), digest_size=8)
    return sort + digest.hexdigest()


def edits_of(word: str) -> int:
    """Give the mistakes that a word may have: 0 below 4 letters or with digits, then 1, then 2."""
    if not word.isalpha() or len(word) < _LETTERS_MIN:
        return 0
    return 1 if len(word) < _LETTERS_OF_TWO else 2


def variants_of(word: str) -> set[int]:
    """Give numbers of what is left of a word when letters are taken out; none if it has no edits.

    Two words within `n` edits of each other share a variant of at most `n` letters taken out of
    each, and so do their beginnings.

    Source: the symmetric delete method of W. Garbe's SymSpell.
    """
    edits = edits_of(word)
    if not edits:
        return set()
    texts = {word[:_BEGINNING]}
    last = texts
    for _ in range(edits):
        last = {text[:i] + text[i + 1 :] for text in last for i in range(len(text))}
        texts |= last
    return {crc32(text.encode()) for text in texts}


def distance(one: str, other: str) -> int:
    """Count the letters to insert, delete, replace, or swap with the next: restricted edits."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, last, row = row, before, [i]
        for j, its in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest_words(word: str, candidates: Iterable[str], limit: int) -> list[str]:
    """Give the candidates within the edits of a word, the nearest first."""
    edits = edits_of(word)
    near = [
        (far, other)
        for other in candidates
        if abs(len(other) - len(word)) <= edits and (far := distance(word, other)) <= edits
    ]
    return [other for _, other in sorted(near)[:limit]]

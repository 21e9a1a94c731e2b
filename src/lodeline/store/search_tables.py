"""The tables that answer searches: words of nodes, made from the graph and dropped with it.

`query.search_index` fills them and keeps how far they reach. A document is a node; its number is
the node's, shifted for columns and features so that datasets, jobs and models come first wherever
a bound cuts an answer short. What differs between database systems (finding documents by
their words, and words by a piece of them) stands behind `SearchTables`; everything else here is
plain SQL.

Notes for readers:

- `search_state` says for which rebuild of the graph (`epoch`), by which version of the words, and
  up to which node the index is made.
- `search_pending` is where `ingest.projection` notes, while the index exists, which nodes were
  described anew; `search_register` holds the last statement of each described facet.
- `search_key` holds each name in lower case, whole and from its last separator on: exact names
  and beginnings of names are found there without a bound cutting them off.
- `search_word` is the vocabulary. A word of a question becomes the words that it may stand for;
  `search_variant` finds words by what is left of them when letters are taken out.
- `search_said` keeps, per document, the words of tags, owners, descriptions and types, and
  what answers show of them. Sealed values never get here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, NamedTuple, Protocol, cast

from lodeline.store.connections import Connection, exclude_readers, has_table

# Columns and features follow all other documents.
PARTS_FROM: Final = 1 << 40

TABLES: Final[dict[str, str]] = {
    "search_state": (
        "(epoch BIGINT NOT NULL, version BIGINT NOT NULL, indexed_node BIGINT NOT NULL)"
    ),
    "search_pending": (
        "(node_id BIGINT NOT NULL, facet_set_id BIGINT NOT NULL, event_time BIGINT NOT NULL, "
        "digest {bytes} NOT NULL, position BIGINT NOT NULL)"
    ),
    "search_register": (
        "(node_id BIGINT NOT NULL, facet TEXT NOT NULL, event_time BIGINT NOT NULL, "
        "digest {bytes} NOT NULL, position BIGINT NOT NULL, body TEXT, "
        "PRIMARY KEY (node_id, facet))"
    ),
    "search_key": (
        "(name TEXT {bytewise} NOT NULL, document_id BIGINT NOT NULL, "
        "PRIMARY KEY (name, document_id))"
    ),
    "search_word": "(word_id {number} PRIMARY KEY, word TEXT {bytewise} NOT NULL UNIQUE)",
    "search_variant": (
        "(variant BIGINT NOT NULL, word_id BIGINT NOT NULL, PRIMARY KEY (variant, word_id))"
    ),
    "search_said": (
        "(document_id {number} PRIMARY KEY, words TEXT NOT NULL, marks TEXT NOT NULL, "
        "shown TEXT NOT NULL)"
    ),
}
# Facets whose words are searched.
SEARCHED_FACETS: Final = frozenset(
    {"datasetType", "documentation", "jobType", "ownership", "schema", "tags"}
)

_KEYED: Final = frozenset({"search_register", "search_key", "search_variant"})


class Document(NamedTuple):
    """The words of one node.

    Attributes:
        number: of the document.
        own: words of its own name: a column's column, otherwise the name.
        around: words of its namespace and, of a column, its dataset.
        said: words of its tags, owners, descriptions and types.
        marks: kind, namespace, tags and owners, as filters name them.
    """

    number: int
    own: str
    around: str
    said: str
    marks: str


class SearchTables(Protocol):
    """What a database system must bring for searching."""

    def create(self, connection: Connection) -> None:
        """Make the tables, empty."""

    def drop(self, connection: Connection) -> None:
        """Remove them and every trace of the words in them."""

    def add(self, connection: Connection, documents: Sequence[Document]) -> None:
        """Put documents in that are not there."""

    def remove(self, connection: Connection, documents: Sequence[Document]) -> None:
        """Take documents out, each given exactly as it was put in."""

    def add_words(self, connection: Connection, words: Sequence[tuple[int, str]]) -> None:
        """Make new words of the vocabulary findable by a piece of them."""

    def searching(self, connection: Connection) -> AbstractContextManager[object]:
        """Have the database plan as searches need it, while a block finds words and documents."""

    def find_words(
        self, connection: Connection, asked: Sequence[str], *, pieces_from: int, limit: int
    ) -> list[tuple[list[str], list[str]]]:
        """Find, for each word asked for, words that begin with it, and words that have it in them.

        All in one statement.

        Args:
            connection: to the store.
            asked: words.
            pieces_from: characters from which on words are looked for that have it in them; three
                or more.
            limit: words at most, of each sort.
        """

    def find(
        self,
        connection: Connection,
        words: Sequence[Sequence[str]],
        *,
        fields: Sequence[str],
        marks: Sequence[str],
        limit: int,
    ) -> list[int]:
        """Find the first documents, by number, that match.

        Args:
            connection: to the store.
            words: of each group at least one word must be there.
            fields: of a document that count: `own`, `around`, `said`.
            marks: all of which must be there.
            limit: documents at most.
        """


def create_search_tables(connection: Connection) -> None:
    """Make the tables, empty. The caller owns the transaction."""
    drop_search_tables(connection)
    lite = isinstance(connection, sqlite3.Connection)
    # INTEGER PRIMARY KEY is SQLite's row number itself; elsewhere it is four bytes.
    words = {"bytes": "BLOB", "bytewise": "", "number": "INTEGER"}
    if not lite:
        words = {"bytes": "BYTEA", "bytewise": 'COLLATE "C"', "number": "BIGINT"}
    for name, body in TABLES.items():
        keyed = " WITHOUT ROWID" if lite and name in _KEYED else ""
        connection.execute(f"CREATE TABLE {name} {body.format(**words)}{keyed}")
    search_tables(connection).create(connection)


def drop_search_tables(connection: Connection) -> None:
    """Drop the index whole; the next search makes it again. The caller owns the transaction."""
    exclude_readers(connection)
    with overwriting(connection):
        search_tables(connection).drop(connection)
        for name in TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {name}")


@contextmanager
def overwriting(connection: Connection) -> Iterator[None]:
    """Overwrite what a block frees: words of a payload must not outlive its erasure in free pages.

    An erasure overwrites what it frees itself, and can't find what was freed before it.
    """
    if not isinstance(connection, sqlite3.Connection):
        yield
        return
    (before,) = connection.execute("PRAGMA secure_delete").fetchone()
    connection.execute("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA secure_delete={before}")


def has_search_tables(connection: Connection) -> bool:
    """Whether there is an index."""
    return has_table(connection, "search_state")


def note_described(
    connection: Connection, rows: Iterable[tuple[int, int, int, bytes, int]]
) -> None:
    """Note nodes that events describe, for the index; nothing where there is none.

    Args:
        connection: of the transaction that folds the events.
        rows: node, facet set, event time, digest and position of each.
    """
    connection.executemany("INSERT INTO search_pending VALUES (?, ?, ?, ?, ?)", rows)


def search_tables(connection: Connection) -> SearchTables:
    """Give what the database system of a connection brings."""
    if isinstance(connection, sqlite3.Connection):
        return _FullText()
    return _Lexemes()


# Above every character of a word.
_LAST: Final = "\U0010ffff"


def _find_words(
    connection: Connection,
    asked: Sequence[str],
    holding: Callable[[str], tuple[str, str]],
    *,
    pieces_from: int,
    limit: int,
) -> list[tuple[list[str], list[str]]]:
    """Find words; see `SearchTables`.

    Args:
        connection: to the store.
        asked: words.
        holding: gives what finds words that hold one, and the value that it takes.
        pieces_from: characters from which on it is used.
        limit: words at most, of each sort.
    """
    parts: list[str] = []
    values: list[str | int] = []
    for at, word in enumerate(asked):
        parts.append(
            f"SELECT {2 * at} AS place, word FROM search_word WHERE word >= ? AND word < ?"
            " ORDER BY word LIMIT ?"
        )
        values += [word, word + _LAST, limit]
        if len(word) >= pieces_from:
            found, value = holding(word)
            parts.append(f"SELECT {2 * at + 1} AS place, word {found} LIMIT ?")
            values += [value, limit]
    # Each bounded by itself, which a compound's own parts cannot be.
    whole = " UNION ALL ".join(
        f"SELECT place, word FROM ({part}) AS part{number}" for number, part in enumerate(parts)
    )
    words: list[list[str]] = [[] for _ in range(2 * len(asked))]
    for place, word in connection.execute(whole, values).fetchall():
        words[place].append(word)
    return list(zip(words[::2], words[1::2], strict=True))


class _FullText:
    """SQLite: FTS5, one table for documents and one, of trigrams, for words.

    Neither keeps a copy of the text. Positions and sizes are left out: nothing asks for phrases,
    and ranks are computed from the names themselves.
    """

    def create(self, connection: Connection) -> None:
        connection.execute(
            "CREATE VIRTUAL TABLE search_document USING fts5(own, around, said, marks, content='', "
            "detail=column, columnsize=0, tokenize='unicode61 remove_diacritics 0')"
        )
        connection.execute(
            "CREATE VIRTUAL TABLE search_piece USING fts5(word, content='search_word', "
            "content_rowid='word_id', columnsize=0, tokenize='trigram')"
        )

    def drop(self, connection: Connection) -> None:
        for name in ("search_document", "search_piece"):
            connection.execute(f"DROP TABLE IF EXISTS {name}")

    def add(self, connection: Connection, documents: Sequence[Document]) -> None:
        # In the order of their numbers: FTS5 writes a segment each time that they fall.
        connection.executemany(
            "INSERT INTO search_document (rowid, own, around, said, marks) VALUES (?, ?, ?, ?, ?)",
            sorted(documents),
        )

    def remove(self, connection: Connection, documents: Sequence[Document]) -> None:
        connection.executemany(
            "INSERT INTO search_document (search_document, rowid, own, around, said, marks)"
            " VALUES ('delete', ?, ?, ?, ?, ?)",
            sorted(documents),
        )

    def add_words(self, connection: Connection, words: Sequence[tuple[int, str]]) -> None:
        connection.executemany("INSERT INTO search_piece (rowid, word) VALUES (?, ?)", words)

    def searching(self, connection: Connection) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def find_words(
        self, connection: Connection, asked: Sequence[str], *, pieces_from: int, limit: int
    ) -> list[tuple[list[str], list[str]]]:
        def holding(word: str) -> tuple[str, str]:
            return "FROM search_piece WHERE search_piece MATCH ?", _quoted(word)

        return _find_words(connection, asked, holding, pieces_from=pieces_from, limit=limit)

    def find(
        self,
        connection: Connection,
        words: Sequence[Sequence[str]],
        *,
        fields: Sequence[str],
        marks: Sequence[str],
        limit: int,
    ) -> list[int]:
        columns = f"{{{' '.join(fields)}}}"
        clauses = [f"{columns} : ({' OR '.join(map(_quoted, group))})" for group in words]
        clauses += [f"marks : {_quoted(mark)}" for mark in marks]
        rows = connection.execute(
            "SELECT rowid FROM search_document WHERE search_document MATCH ?"
            " ORDER BY rowid LIMIT ?",
            (" AND ".join(clauses), limit),
        )
        return [row[0] for row in rows]


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


class _Commands(Protocol):
    """What a connection to PostgreSQL has beside."""

    def command(self, statement: str) -> None:
        """Run statements of PostgreSQL's own in one round trip."""


class _Lexemes:
    """PostgreSQL: a `tsvector` a document, and trigrams of words where `pg_trgm` is to be had.

    Lexemes are written as they are, so that no dictionary of a language takes part. Without the
    extension words are found by reading the vocabulary through.

    - A letter before each says where the word stands, alone or in fields that are asked for
      together. Weights would say it, too, but the index does not keep them: every document that
      matches would be read.
    - The words that one word asked for may stand for are conditions of their own, so that the
      lists of their documents are united as bitmaps: as one query they are tried as a whole on
      every document of every list. Where several words were asked for it is the other way round:
      the planner takes one word's lists for the index and looks the others up in the documents
      themselves, while queries of several words are walked together, from the rarest on.
    - Documents and columns have an index each: where a bound cuts an answer short, the lists of
      columns, which are most, are not walked.
    """

    def create(self, connection: Connection) -> None:
        connection.execute(
            "CREATE TABLE search_document (document_id BIGINT PRIMARY KEY, part BOOLEAN NOT NULL,"
            " words TSVECTOR NOT NULL)"
        )
        for name, part in _PARTS.items():
            connection.execute(
                f"CREATE INDEX {name} ON search_document USING gin (words) WHERE {part}"
            )
        connection.execute(_TRIGRAMS)

    def drop(self, connection: Connection) -> None:
        connection.execute("DROP TABLE IF EXISTS search_document")

    def add(self, connection: Connection, documents: Sequence[Document]) -> None:
        # Whole rows, which COPY takes.
        connection.executemany(
            "INSERT INTO search_document VALUES (?, ?, ?)",
            [(one.number, one.number >= PARTS_FROM, _lexemes(one)) for one in documents],
        )
        # What an index has not sorted in yet is read through for every word asked for.
        for name in _PARTS:
            connection.execute("SELECT gin_clean_pending_list(CAST(? AS REGCLASS))", (name,))

    def remove(self, connection: Connection, documents: Sequence[Document]) -> None:
        connection.executemany(
            "DELETE FROM search_document WHERE document_id = ?",
            [(document.number,) for document in documents],
        )

    def add_words(self, connection: Connection, words: Sequence[tuple[int, str]]) -> None:
        pass  # The index over the vocabulary has them.

    @contextmanager
    def searching(self, connection: Connection) -> Iterator[object]:
        run = cast("_Commands", connection).command
        run(_PLANNED)
        yield None
        # Not where a statement failed: the transaction is over then, and so is what was set in it.
        run(_AS_BEFORE)

    def find_words(
        self, connection: Connection, asked: Sequence[str], *, pieces_from: int, limit: int
    ) -> list[tuple[list[str], list[str]]]:
        def holding(word: str) -> tuple[str, str]:
            return "FROM search_word WHERE word LIKE ?", f"%{word}%"

        return _find_words(connection, asked, holding, pieces_from=pieces_from, limit=limit)

    def find(
        self,
        connection: Connection,
        words: Sequence[Sequence[str]],
        *,
        fields: Sequence[str],
        marks: Sequence[str],
        limit: int,
    ) -> list[int]:
        place = _PLACES[tuple(fields)]
        lists = [[place + word for word in group] for group in words]
        lists += [[_MARKS + mark] for mark in marks]
        asked = [[_lexeme(word) for word in group] for group in lists]
        if len(lists) > 1:
            asked = [[" | ".join(group)] for group in asked]
        condition = " AND ".join(
            f"({' OR '.join(['words @@ CAST(? AS TSQUERY)'] * len(group))})" for group in asked
        )
        values = [query for group in asked for query in group]
        found: list[int] = []
        # Datasets and jobs before columns, without sorting all that match.
        for part in _PARTS.values():
            if len(found) < limit:
                rows = connection.execute(
                    f"SELECT document_id FROM search_document WHERE {part} AND {condition} LIMIT ?",
                    (*values, limit - len(found)),
                )
                found += sorted(row[0] for row in rows.fetchall())
        return found


# Name of an index, and the documents that are in it; literal, so that the planner knows.
_PARTS: Final = {"search_document_wholes": "NOT part", "search_document_parts": "part"}
# The planner takes the comparison of a document's words for as cheap as one of numbers, and would
# read every document; and it would compile, and start helpers for, what takes a millisecond. A plan
# for any piece of a word reads the vocabulary through; one for the piece asked for does not.
_SETTINGS: Final = {
    "enable_seqscan": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "cpu_operator_cost": "0.1",
    "plan_cache_mode": "force_custom_plan",
}
_PLANNED: Final = "; ".join(f"SET LOCAL {name} TO {value}" for name, value in _SETTINGS.items())
_AS_BEFORE: Final = "; ".join(f"SET LOCAL {name} TO DEFAULT" for name in _SETTINGS)
# Fields asked for together -> letter of their lexemes.
_PLACES: Final = {("own",): "o", ("own", "around"): "n", ("own", "around", "said"): "e"}
_MARKS: Final = "m"
# An extension is wherever its installer put it; whoever may not install it does without.
_TRIGRAMS: Final = """
DO $$
DECLARE home text;
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    SELECT n.nspname INTO home FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_trgm';
    EXECUTE 'CREATE INDEX search_word_pieces ON search_word USING gin (word '
        || quote_ident(home) || '.gin_trgm_ops)';
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported
    OR undefined_object OR duplicate_object OR unique_violation THEN
    NULL;
END $$
"""


def _lexemes(document: Document) -> str:
    words = {_MARKS + word for word in document.marks.split()}
    for fields, place in _PLACES.items():
        words.update(place + word for field in fields for word in getattr(document, field).split())
    return " ".join(map(_lexeme, sorted(words)))


def _lexeme(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"

"""The index of searches, made from the graph after it: documents of nodes, words of documents.

The one writer in this package, since it reads what questions read: names from `node`, and the
bodies of facets from the log's payloads, as they lie there, so that sealed values stay null. It
follows the graph in small transactions with a position of its own, and never holds up the fold: a
search scans what is not indexed yet.

Whoever asks an embedded store calls `catch_up` first; the service has a thread that does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from lodeline.limits import SEARCH_BATCH_NODES, SEARCH_SAID_WORDS_MAX
from lodeline.model import KINDS_OF_THREE_PARTS, NodeId
from lodeline.query.facets import iter_entities, labels_in, owners_in
from lodeline.query.search_terms import (
    TERMS_VERSION,
    edits_of,
    mark,
    name_keys,
    variants_of,
    words_in,
)
from lodeline.store import Segment
from lodeline.store.connections import Connection, has_table
from lodeline.store.planning import follow_search
from lodeline.store.search_tables import (
    PARTS_FROM,
    SEARCHED_FACETS,
    Document,
    create_search_tables,
    has_search_tables,
    overwriting,
    search_tables,
)

_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"
_ENDLESS: Final = 1 << 62
# Event time and digest: the later statement of a facet counts.
_Order = tuple[int, bytes]
# Node -> facet -> order, position, digest of the body (None where it was taken back).
_Statements = dict[int, dict[str, tuple[_Order, int, str | None]]]


class IndexState(NamedTuple):
    """How far the index reaches.

    Attributes:
        usable: whether it was made of this graph, by these terms.
        indexed_node: the last node in it.
        behind: nodes after that.
        changed: whether nodes were described anew since.
    """

    usable: bool
    indexed_node: int
    behind: int
    changed: bool

    @property
    def complete(self) -> bool:
        """Whether nothing is left to index."""
        return self.usable and not self.behind and not self.changed


def index_state(connection: Connection) -> IndexState:
    """Read how far the index reaches in a snapshot."""
    newest = "(SELECT coalesce(max(node_id), 0) FROM node)"
    if not has_search_tables(connection):
        (behind,) = connection.execute(f"SELECT {newest}").fetchone()
        return IndexState(usable=False, indexed_node=0, behind=behind, changed=False)
    last, changed, epoch, version, indexed = connection.execute(
        f"SELECT {newest}, EXISTS (SELECT 1 FROM search_pending), s.epoch, s.version,"
        " s.indexed_node FROM (SELECT 1 AS one) AS always LEFT JOIN (SELECT search_state.*"
        " FROM search_state JOIN fold_state ON search_state.epoch = fold_state.epoch) AS s ON one"
        " = 1"
    ).fetchone()
    if epoch is None or version != TERMS_VERSION:
        return IndexState(usable=False, indexed_node=0, behind=last, changed=False)
    return IndexState(
        usable=True, indexed_node=indexed, behind=last - indexed, changed=bool(changed)
    )


def catch_up(
    segment: Segment,
    *,
    seconds: float,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    batch_nodes: int = SEARCH_BATCH_NODES,
) -> bool:
    """Index what the graph has and the index has not.

    Args:
        segment: whose graph and index.
        seconds: after which no further batch is begun.
        progress: called after each batch with the nodes indexed and the nodes there are.
        clock: monotonic seconds.
        batch_nodes: of one transaction. Many at once cost less each, and hold up who writes.

    Returns:
        Whether nothing is left.

    Raises:
        StoreUnreachableError: the store cannot be written.
        StoreFullError: no room.
    """
    deadline = clock() + seconds
    while True:
        with segment.reading() as connection:
            if not has_table(connection, "fold_state"):
                return True
            state = index_state(connection)
        if state.complete:
            return True
        with segment.writing(durable=False) as connection:
            index_batch(connection, nodes=batch_nodes)
        if progress is not None:
            progress(state.indexed_node, state.indexed_node + state.behind)
        if clock() >= deadline:
            return False


def index_batch(connection: Connection, *, nodes: int = SEARCH_BATCH_NODES) -> None:
    """Index the next nodes, and those described anew. The caller owns the transaction."""
    state = index_state(connection)
    if not state.usable:
        create_search_tables(connection)
        connection.execute(
            "INSERT INTO search_state SELECT epoch, ?, 0 FROM fold_state", (TERMS_VERSION,)
        )
    with overwriting(connection):
        _Batch(connection, state.indexed_node, nodes).run()
    follow_search(connection)


class _Batch:
    """One transaction of the index."""

    def __init__(self, connection: Connection, indexed_node: int, nodes: int) -> None:
        self._connection = connection
        self._indexed_node = indexed_node
        self._nodes = nodes
        self._tables = search_tables(connection)
        self._payloads: dict[int, Any] = {}
        self._facet_sets: dict[int, list[tuple[str, str | None]]] = {}

    def run(self) -> None:
        changed = self._take_pending()
        nodes = [
            (number, NodeId(*name))
            for number, *name in self._connection.execute(
                "SELECT node_id, kind, namespace, name, part FROM node"
                " WHERE node_id > ? ORDER BY node_id LIMIT ?",
                (self._indexed_node, self._nodes),
            ).fetchall()
        ]
        if nodes:
            first, last = nodes[0][0], nodes[-1][0]
            statements = self._read_mentions(first, last)
            self._keep(statements)
            self._add(nodes, statements)
            self._connection.execute("UPDATE search_state SET indexed_node = ?", (last,))
        self._describe_anew(changed)

    # Statements

    def _take_pending(self) -> _Statements:
        """Take what the fold noted of nodes that are indexed; give what it changes."""
        bound = self._connection.execute(
            "SELECT position FROM search_pending ORDER BY position LIMIT 1 OFFSET ?",
            (SEARCH_BATCH_NODES,),
        ).fetchone()
        upto = {"position": _ENDLESS if bound is None else bound[0]}
        rows = self._connection.execute(
            "SELECT node_id, facet_set_id, event_time, digest, position FROM search_pending"
            " WHERE position <= :position",
            upto,
        ).fetchall()
        if not rows:
            return {}
        self._connection.execute("DELETE FROM search_pending WHERE position <= :position", upto)
        # A node that is not indexed yet will be read with all its mentions.
        stated = self._merge(row for row in rows if row[0] <= self._indexed_node)
        known = self._registers(stated)
        changed: _Statements = {}
        newer: _Statements = {}
        for node, facets in stated.items():
            for facet, statement in facets.items():
                before = known.get(node, {}).get(facet)
                if before is not None and before[0] >= statement[0]:
                    continue
                newer.setdefault(node, {})[facet] = statement
                if before is None or before[2] != statement[2]:
                    changed.setdefault(node, {})[facet] = statement
        self._keep(newer)
        return changed

    def _read_mentions(self, first: int, last: int) -> _Statements:
        return self._merge(
            self._connection.execute(
                "SELECT node_id, facet_set_id, event_time, digest, position FROM mention"
                " WHERE node_id BETWEEN ? AND ? ORDER BY node_id, event_time, digest",
                (first, last),
            )
        )

    def _merge(self, rows: Iterable[tuple[int, int, int, bytes, int]]) -> _Statements:
        """Find the last statement of each facet."""
        latest: dict[tuple[int, int], tuple[_Order, int]] = {}
        for node, facet_set, time_us, digest, position in rows:
            order = (time_us, bytes(digest))
            before = latest.get((node, facet_set))
            if before is None or before[0] < order:
                latest[node, facet_set] = (order, position)
        self._read_facet_sets({facet_set for _, facet_set in latest})
        found: _Statements = {}
        for (node, facet_set), (order, position) in latest.items():
            for facet, body in self._facet_sets[facet_set]:
                facets = found.setdefault(node, {})
                if facet not in facets or facets[facet][0] < order:
                    facets[facet] = (order, position, body)
        return found

    def _read_facet_sets(self, numbers: Collection[int]) -> None:
        missing = json.dumps(sorted(set(numbers) - self._facet_sets.keys()))
        for number, facets in self._connection.execute(
            f"SELECT facet_set_id, facets FROM facet_set WHERE facet_set_id {_AMONG}",
            {"ids": missing},
        ).fetchall():
            self._facet_sets[number] = [
                (name, digest) for name, digest in json.loads(facets) if name in SEARCHED_FACETS
            ]

    def _registers(self, nodes: Collection[int]) -> _Statements:
        found: _Statements = {}
        for node, facet, time_us, digest, position, body in self._connection.execute(
            "SELECT node_id, facet, event_time, digest, position, body FROM search_register"
            f" WHERE node_id {_AMONG}",
            {"ids": json.dumps(sorted(nodes))},
        ).fetchall():
            found.setdefault(node, {})[facet] = ((time_us, bytes(digest)), position, body)
        return found

    def _keep(self, statements: _Statements) -> None:
        self._connection.executemany(
            "INSERT INTO search_register VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (node_id, facet) DO UPDATE SET event_time = excluded.event_time,"
            " digest = excluded.digest, position = excluded.position, body = excluded.body",
            [
                (node, facet, order[0], order[1], position, body)
                for node, facets in statements.items()
                for facet, (order, position, body) in facets.items()
            ],
        )

    # Documents

    def _add(self, nodes: list[tuple[int, NodeId]], statements: _Statements) -> None:
        documents, keys, said = [], [], []
        self._read_payloads(statements)
        for number, node in nodes:
            document_id = document_number(number, node.kind)
            keys += [(key, document_id) for key in name_keys(node.part or node.name)]
            saying = self._saying(node, statements.get(number))
            documents.append(_document(number, node, saying))
            if saying:
                said.append(_said_row(document_id, saying))
        self._tables.add(self._connection, documents)
        self._connection.executemany("INSERT INTO search_key VALUES (?, ?)", keys)
        self._connection.executemany("INSERT INTO search_said VALUES (?, ?, ?, ?)", said)
        self._learn(documents)

    def _describe_anew(self, changed: Collection[int]) -> None:
        if not changed:
            return
        registers = self._registers(changed)
        self._read_payloads(registers)
        nodes = [
            (number, NodeId(*name))
            for number, *name in self._connection.execute(
                f"SELECT node_id, kind, namespace, name, part FROM node WHERE node_id {_AMONG}",
                {"ids": json.dumps(sorted(changed))},
            ).fetchall()
        ]
        numbers = {number: document_number(number, node.kind) for number, node in nodes}
        known = {
            document_id: _Saying(words, marks, {})
            for document_id, words, marks in self._connection.execute(
                f"SELECT document_id, words, marks FROM search_said WHERE document_id {_AMONG}",
                {"ids": json.dumps(sorted(numbers.values()))},
            ).fetchall()
        }
        before, after, said = [], [], []
        for number, node in nodes:
            saying = self._saying(node, registers.get(number)) or _Saying("", "", {})
            before.append(_document(number, node, known.get(numbers[number])))
            after.append(_document(number, node, saying))
            said.append(_said_row(numbers[number], saying))
        self._tables.remove(self._connection, before)
        self._tables.add(self._connection, after)
        self._connection.executemany(
            "INSERT INTO search_said VALUES (?, ?, ?, ?) ON CONFLICT (document_id) DO UPDATE"
            " SET words = excluded.words, marks = excluded.marks, shown = excluded.shown",
            said,
        )
        self._learn(after)

    def _read_payloads(self, statements: _Statements) -> None:
        positions = {
            position
            for facets in statements.values()
            for _, position, body in facets.values()
            if body is not None
        } - self._payloads.keys()
        for position, payload in self._connection.execute(
            f"SELECT position, payload FROM payload WHERE position {_AMONG}",
            {"ids": json.dumps(sorted(positions))},
        ).fetchall():
            self._payloads[position] = msgspec.json.decode(payload)

    def _saying(
        self, node: NodeId, facets: Mapping[str, tuple[_Order, int, str | None]] | None
    ) -> _Saying | None:
        bodies: dict[str, Any] = {}
        for facet, (_, position, digest) in (facets or {}).items():
            event = self._payloads.get(position)
            if digest is None or event is None:
                continue
            for entity in iter_entities(event, node):
                body = (entity.get("facets") or {}).get(facet)
                if body is not None:
                    bodies[facet] = body
                    break
        return saying_of(bodies) if bodies else None

    # Words

    def _learn(self, documents: list[Document]) -> None:
        """Put the words that are new into the vocabulary."""
        words = {
            word
            for document in documents
            for text in (document.own, document.around, document.said)
            for word in text.split()
        }
        known = self._connection.execute(
            f"SELECT word FROM search_word WHERE word {_AMONG}",
            {"ids": json.dumps(sorted(words))},
        ).fetchall()
        new = sorted(words - {row[0] for row in known})
        if not new:
            return
        (last,) = self._connection.execute(
            "SELECT coalesce(max(word_id), 0) FROM search_word"
        ).fetchone()
        numbered = list(enumerate(new, start=last + 1))
        self._connection.executemany("INSERT INTO search_word VALUES (?, ?)", numbered)
        self._tables.add_words(self._connection, numbered)
        self._connection.executemany(
            "INSERT INTO search_variant VALUES (?, ?)",
            sorted(
                (variant, number)
                for number, word in numbered
                if edits_of(word)
                for variant in variants_of(word)
            ),
        )


def document_number(node: int, kind: str) -> int:
    """Give the number of a node's document."""
    return node + PARTS_FROM if kind in KINDS_OF_THREE_PARTS else node


class _Saying(NamedTuple):
    """What facets say of a node, as the index keeps it."""

    words: str
    marks: str
    shown: dict[str, Any]


def _said_row(document_id: int, saying: _Saying) -> tuple[int, str, str, str]:
    shown = json.dumps(saying.shown, ensure_ascii=False, separators=(",", ":"))
    return (document_id, saying.words, saying.marks, shown)


def _document(number: int, node: NodeId, saying: _Saying | None) -> Document:
    around = words_in(node.namespace)
    if node.part:
        around += words_in(node.name)
    marks = [mark("k", node.kind), mark("n", node.namespace)]
    return Document(
        document_number(number, node.kind),
        " ".join(words_in(node.part or node.name)),
        " ".join(around),
        saying.words if saying else "",
        " ".join([*marks, saying.marks]) if saying else " ".join(marks),
    )


def saying_of(bodies: Mapping[str, Any]) -> _Saying:
    """Read facets into words, filters and what answers show."""
    tags = labels_in(bodies)
    owners = [owner["name"] for owner in owners_in(bodies)]
    texts = {
        "tag": tags,
        "owner": owners,
        "description": [_text_at(bodies, "documentation", "description")],
        "type": [_text_at(bodies, "datasetType", "datasetType"), *_job_type(bodies)],
    }
    for field in _fields_of(bodies.get("schema")):
        # Columns are nodes of their own, found by their names.
        for key in ("type", "description"):
            if isinstance(field.get(key), str):
                texts[key].append(field[key])
    words: dict[str, str] = {}
    left = SEARCH_SAID_WORDS_MAX
    for sort, said in texts.items():
        found = list(dict.fromkeys(word for text in said for word in words_in(text)))[:left]
        left -= len(found)
        if found:
            words[sort] = " ".join(found)
    marks = {mark("t", tag) for tag in tags} | {mark("o", owner) for owner in owners}
    marks |= {mark("t", tag.partition("=")[0]) for tag in tags}
    shown = {"tags": tags, "owners": sorted(set(owners)), "words": words}
    return _Saying(" ".join(words.values()), " ".join(sorted(marks)), shown)


def _text_at(bodies: Mapping[str, Any], facet: str, key: str) -> str:
    body = bodies.get(facet)
    text = body.get(key) if isinstance(body, dict) else None
    return text if isinstance(text, str) else ""


def _job_type(bodies: Mapping[str, Any]) -> list[str]:
    keys = ("processingType", "integration", "jobType")
    return [_text_at(bodies, "jobType", key) for key in keys]


def _fields_of(schema: Any) -> list[dict[str, Any]]:
    """List the fields of a schema facet, those within others after them, to a bound."""
    waiting = [schema] if isinstance(schema, dict) else []
    found: list[dict[str, Any]] = []
    for one in waiting:
        fields = one.get("fields")
        for field in fields if isinstance(fields, list) else []:
            if isinstance(field, dict) and len(found) < SEARCH_SAID_WORDS_MAX:
                found.append(field)
                waiting.append(field)
    return found

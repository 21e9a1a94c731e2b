"""Recorded steps, found by their output or their input: a view of the log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lodeline.fold.row_claims import BLOCKS_FACET, FACET, iter_keys, iter_steps
from lodeline.model import NodeId, parse_time
from lodeline.store import Segment, StoredEntry
from lodeline.store.connections import Connection
from lodeline.store.row_tables import create_row_tables, drop_row_tables, has_row_tables

_COLUMNS: Final = (
    "step_id, position, event_time, run_id, operator, input_namespace, input_name, input_version, "
    "output_kind, output_namespace, output_name, output_version, shape, count, rows, start, "
    "digest, gaps"
)

# Links are counted in the block, where it is there: a program's lists may repeat some.
_QUALIFIED: Final = ", ".join(
    "coalesce(n.count, s.count)" if name == "count" else f"s.{name}"
    for name in _COLUMNS.split(", ")
)
_BLOCKS: Final = (
    "LEFT JOIN row_block b ON b.source = s.digest AND b.form = s.shape "
    "LEFT JOIN row_block_size n ON n.source = s.digest AND n.form = s.shape"
)

# Sets of rows by which a fit decided something, without learning from them.
_DECIDED: Final = re.compile(
    r"(^|, )(validated, fold \d+ of \d+|early stopping by (eval_set \d+|validation_fraction))$"
)


@dataclass(frozen=True, slots=True)
class StoredStep:
    """One step; shapes as in `docs/explanation/rows.md`.

    Attributes:
        step_id: stable within one fold of the log.
        run_id: that took the step.
        operator: in words.
        input: dataset at its version, or something in memory (namespace `memory`).
        output: dataset or model at its version, or something in memory.
        shape: identity, range, array, lists, bitmaps or set.
        count: links; before the block is there, at least so many members of lists.
        rows: output rows.
        start: first input row of a range.
        digest: of the blob as the program wrote it; empty where the shape needs none.
        gaps: (operator, detail) of what is not among the links.
        block: digest of the block that the log commits to; empty before it does.
        footer: digest of that block's end.
        home: number of the segment that has it, where several are asked.
    """

    step_id: int
    run_id: str
    operator: str
    input: NodeId
    output: NodeId
    shape: str
    count: int
    rows: int
    start: int
    digest: str
    gaps: tuple[tuple[str, str], ...]
    block: str = ""
    footer: str = ""
    block_shape: str = ""
    home: int = 0

    @property
    def form(self) -> str:
        """How the program's blob is to be read: array, lists or set."""
        return self.shape

    @property
    def learned(self) -> bool:
        """Whether a model learned from the rows; it may have been chosen or stopped by others."""
        return _DECIDED.search(self.operator) is None

    @property
    def content(self) -> tuple[object, ...]:
        """What makes two steps of different runs say the same."""
        # The same rows may have been learned from and validated on: in one model by several words.
        words = self.operator if self.output.kind == "model" else ""
        return (self.input, self.output, self.shape, self.start, self.digest, words)


class CommittedBlock(NamedTuple):
    """A block that the log commits to.

    Attributes:
        position: of its `block` entry.
        block: its digest, as it was first written.
        footer: digest of its end.
    """

    position: int
    block: str
    footer: str


class StepIndex:
    """Steps at one moment.

    Args:
        connection: one snapshot of the store.
        size: only the first so many entries of the log count.
        valid_us: only events up to this time; `None` for all.
    """

    def __init__(self, connection: Connection, size: int, valid_us: int | None) -> None:
        self._connection = connection
        self._masks = {"size": size, "valid": valid_us}
        self._known = has_row_tables(connection)

    def into(self, node: NodeId) -> list[StoredStep]:
        """Steps whose output this is, those of several runs that say the same once."""
        clause = (
            "output_namespace = :namespace AND output_name = :name AND output_version = :version"
        )
        return self._find(clause, node)

    def out_of(self, node: NodeId) -> list[StoredStep]:
        """Steps whose input this is."""
        clause = "input_namespace = :namespace AND input_name = :name AND input_version = :version"
        return self._find(clause, node)

    def versions_of(self, node: NodeId) -> list[str]:
        """Versions of a dataset or model that any step has at an end, newest event first."""
        return [version for version, _ in self.dated_versions_of(node)]

    def dated_versions_of(self, node: NodeId) -> list[tuple[str, int]]:
        """As `versions_of`, each with the time of its newest event."""
        if not self._known:
            return []
        found = self._connection.execute(
            "SELECT version, max(event_time) AS at FROM ("
            "SELECT output_version AS version, event_time, position FROM row_step "
            "WHERE output_namespace = :namespace AND output_name = :name UNION ALL "
            "SELECT input_version, event_time, position FROM row_step "
            "WHERE input_namespace = :namespace AND input_name = :name) AS ends "
            "WHERE position < :size AND (:valid IS NULL OR event_time <= :valid) "
            "GROUP BY version ORDER BY at DESC",
            {**self._masks, "namespace": node.namespace, "name": node.name},
        )
        return [(version, time_us) for version, time_us in found]

    def keys_of(self, node: NodeId) -> list[tuple[tuple[str, ...], str]]:
        """Give the columns, and the blob of keys if any, that name the rows of a version."""
        if not self._known:
            return []
        found = self._connection.execute(
            "SELECT columns, digest FROM row_key WHERE namespace = :namespace AND name = :name "
            "AND version = :version AND position < :size "
            "AND (:valid IS NULL OR event_time <= :valid) ORDER BY position, columns, digest",
            {
                **self._masks,
                "namespace": node.namespace,
                "name": node.name,
                "version": node.version,
            },
        )
        return [(tuple(json.loads(columns)), str(digest)) for columns, digest in found]

    def find_block(self, source: str, form: str) -> CommittedBlock | None:
        """Find the block that took the place of a blob."""
        if not self._known:
            return None
        row = self._connection.execute(
            "SELECT position, block, footer FROM row_block WHERE source = ? AND form = ?",
            (source, form),
        ).fetchone()
        return None if row is None else CommittedBlock(*row)

    def _find(self, clause: str, node: NodeId) -> list[StoredStep]:
        if not self._known:
            return []
        found = self._connection.execute(
            f"SELECT {_QUALIFIED}, coalesce(b.block, ''), coalesce(b.footer, ''), "
            f"coalesce(b.block_shape, '') FROM row_step s {_BLOCKS} "
            f"WHERE {clause} AND s.position < :size "
            "AND (:valid IS NULL OR s.event_time <= :valid) ORDER BY s.step_id",
            {
                **self._masks,
                "namespace": node.namespace,
                "name": node.name,
                "version": node.version,
            },
        )
        steps: dict[tuple[object, ...], StoredStep] = {}
        for row in found:
            step = _step(row)
            steps.setdefault(step.content, step)
        return list(steps.values())


def iter_stored_steps(
    connection: Connection, since: int, size: int
) -> Iterator[tuple[int, int, StoredStep]]:
    """Walk the steps that some entries state, in their order: position, event time, step."""
    if not has_row_tables(connection):
        return
    found = connection.execute(
        f"SELECT {_QUALIFIED}, coalesce(b.block, ''), coalesce(b.footer, ''), "
        f"coalesce(b.block_shape, '') FROM row_step s {_BLOCKS} "
        "WHERE s.position >= ? AND s.position < ? ORDER BY s.position, s.step_id",
        (since, size),
    )
    for row in found.fetchall():
        yield row[1], row[2], _step(row)


def _step(row: tuple[Any, ...]) -> StoredStep:
    return StoredStep(
        step_id=row[0],
        run_id=row[3],
        operator=row[4],
        input=NodeId("dataset", row[5], row[6], "", row[7]),
        output=NodeId(row[8], row[9], row[10], "", row[11]),
        shape=row[12],
        count=row[13],
        rows=row[14],
        start=row[15],
        digest=row[16],
        gaps=tuple((name, detail) for name, detail in json.loads(row[17])),
        block=row[18],
        footer=row[19],
        block_shape=row[20],
    )


def fold_steps(segment: Segment) -> int:
    """Bring the view up to the log.

    Returns:
        How many entries were looked at.
    """
    size = segment.size()
    with segment.reading() as connection:
        start = _folded_to(connection)
    if start >= size:
        return 0
    marks = {"event": FACET.encode(), "block": BLOCKS_FACET.encode()}
    entries = [
        entry
        for entry in segment.iter_entries(start, size, kinds=set(marks))
        if entry.payload is not None and marks[entry.kind] in entry.payload
    ]
    with segment.writing(durable=False) as connection:
        create_row_tables(connection)
        # Someone else may have folded between the two looks; every insert can be repeated.
        for entry in entries:
            if entry.kind == "block":
                _fold_blocks(connection, entry)
                continue
            _fold_keys(connection, entry)
            for values in _iter_rows(entry):
                places = ", ".join("?" * len(values))
                connection.execute(
                    f"INSERT INTO row_step ({_COLUMNS.partition(', ')[2]}) "
                    f"VALUES ({places}) ON CONFLICT DO NOTHING",
                    values,
                )
        connection.execute("DELETE FROM row_state")
        connection.execute("INSERT INTO row_state VALUES (?)", (size,))
    return size - start


def _fold_keys(connection: Connection, entry: StoredEntry) -> None:
    """Note which columns name the rows of which dataset."""
    assert entry.payload is not None
    event = json.loads(entry.payload)
    for stated in iter_keys(event):
        node = stated.dataset
        connection.execute(
            "INSERT INTO row_key VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                *(node.namespace, node.name, node.version),
                *(json.dumps(stated.columns), stated.digest),
                *(entry.position, parse_time(event["eventTime"])[0]),
            ),
        )


def _fold_blocks(connection: Connection, entry: StoredEntry) -> None:
    """Note which blocks an entry commits to; the first that commits to a source counts."""
    assert entry.payload is not None
    facets = json.loads(entry.payload).get("dataset", {}).get("facets", {})
    for block in facets.get(BLOCKS_FACET, {}).get("blocks", ()):
        connection.execute(
            "INSERT INTO row_block VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                str(block["source"]),
                str(block["form"]),
                entry.position,
                str(block["digest"]),
                str(block["shape"]),
                str(block["root"]),
                str(block["footer"]),
            ),
        )
        connection.execute(
            "INSERT INTO row_block_size VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (str(block["source"]), str(block["form"]), int(block["count"])),
        )


def rebuild_steps(segment: Segment) -> None:
    """Make the view anew from the log."""
    with segment.writing() as connection:
        drop_row_tables(connection)
    fold_steps(segment)


def _folded_to(connection: Connection) -> int:
    if not has_row_tables(connection):
        return 0
    row = connection.execute("SELECT max(folded_to) FROM row_state").fetchone()
    return int(row[0] or 0)


def _iter_rows(entry: StoredEntry) -> Iterator[tuple[Any, ...]]:
    """Read the steps of one event; a malformed facet says nothing."""
    assert entry.payload is not None
    event = json.loads(entry.payload)
    time_us = parse_time(event["eventTime"])[0]
    run_id = str((event.get("run") or {}).get("runId", "")).lower()
    for step in iter_steps(event):
        source, target = step.input, step.output
        yield (
            *(entry.position, time_us, run_id, step.operator),
            *(source.namespace, source.name, source.version),
            *(target.kind, target.namespace, target.name, target.version),
            *(step.shape, step.count, step.rows, step.start, step.digest),
            json.dumps(step.gaps),
        )

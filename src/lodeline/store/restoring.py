"""Restoring: a backup becomes the beginning of a new log.

The entries are those of the log that was backed up, to the byte, so what was proven of them stays
proven: earlier receipts and checkpoints are of the earlier origin, and its `key` entries still say
which keys signed them. The log goes on under a new origin with new keys, since the earlier one may
have gone on after the backup, and two logs must never speak under one name. The first new entry is
a `key` entry that cites the last checkpoint in `restored_from`.

An erasure that came after the backup is not in it. `reapply_erasures` takes it from a store that
knows of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodeline.errors import KeyMissingError, UsageError
from lodeline.limits import ENTRIES_PAGE
from lodeline.proof import decode_leaf, hash_leaf
from lodeline.store.backups import LATER_TABLES, TABLES, Backup, Manifest
from lodeline.store.blobs import Blobs
from lodeline.store.connections import Connection
from lodeline.store.erasing import apply_erasures
from lodeline.store.opening import open_segment
from lodeline.store.personal import read_erasure
from lodeline.store.subjects import SubjectKeys
from lodeline.tlog import GrowingTree

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment


class RestoredLog:
    """The beginning of a log that goes on from a backup.

    Args:
        backup: verified.
        subject_keys: folder with the keys of data subjects; `None` for those in the backup.
    """

    def __init__(self, backup: Backup, *, subject_keys: Path | None = None) -> None:
        self._backup = backup
        self._subject_keys = subject_keys or backup.folder / "subjects"
        self.segment_id = backup.manifest.segment
        self.segment_key = backup.segment_key()

    @property
    def citation(self) -> dict[str, object]:
        """What the first new entry says of the log that it goes on from."""
        manifest = self._backup.manifest
        return {
            "checkpoint": self._backup.note(),
            "origin": manifest.origin,
            "root_hash": manifest.root_hash,
            "size": str(manifest.size),
        }

    def put_blobs(self, blobs: Blobs) -> None:
        """Keep the blobs durably, before anything that refers to them."""
        for digest in self._backup.manifest.blobs:
            blobs.put(self._backup.blob(digest))

    def put_subject_keys(self, keys: SubjectKeys) -> None:
        """Keep the keys of data subjects durably, as far as they are there."""
        for path in sorted(self._subject_keys.glob("*.key")):
            try:
                key = bytes.fromhex(path.read_text(encoding="ascii").strip())
            except (OSError, ValueError) as error:
                raise KeyMissingError(str(path)) from error
            keys.keep(path.stem, key)

    def fill(self, connection: Connection) -> None:
        """Write every row, inside the transaction that makes the tables."""
        self._fill_log(connection)
        for name in self._backup.manifest.tables:
            if name == "entry":
                continue
            for statement in LATER_TABLES.get(name, "").split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            columns = TABLES[name]
            rows: Iterator[list[Any]] = self._backup.rows(name)
            if name == "dead_letter":
                # Numbers are the database's to give; without gaps they come out the same.
                columns, rows = columns[1:], (row[1:] for row in rows)
            _insert(connection, name, columns, rows)

    def _fill_log(self, connection: Connection) -> None:
        """Write entries, and what follows from them: tiles, and the index of identifiers."""
        tree = GrowingTree()
        position, kind, leaf = (TABLES["entry"].index(one) for one in ("position", "kind", "leaf"))
        page: list[list[Any]] = []

        def write() -> None:
            tiles = tree.extend(hash_leaf(row[leaf]) for row in page)
            identifiers = [
                (decode_leaf(row[leaf]).identifier, row[position])
                for row in page
                if row[kind] == "event"
            ]
            connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", page)
            connection.executemany("INSERT INTO event_id VALUES (?, ?)", identifiers)
            connection.executemany("INSERT INTO tile VALUES (?, ?, ?)", tiles)
            page.clear()

        for row in self._backup.rows("entry"):
            page.append(row)
            if len(page) == ENTRIES_PAGE:
                write()
        write()
        edges = [(level, bytes(edge)) for level, edge in enumerate(tree.edges)]
        connection.executemany("INSERT INTO tile_edge VALUES (?, ?)", edges)


def _insert(
    connection: Connection, name: str, columns: tuple[str, ...], rows: Iterator[list[Any]]
) -> None:
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {name}({', '.join(columns)}) VALUES ({marks})"
    page: list[list[Any]] = []
    for row in rows:
        page.append(row)
        if len(page) == ENTRIES_PAGE:
            connection.executemany(statement, page)
            page.clear()
    if page:
        connection.executemany(statement, page)


def restore(url: str, backup: Backup, *, subject_keys: Path | None = None) -> SqlSegment:
    """Make a store from a backup.

    Args:
        url: of a store that is not there yet.
        backup: verified.
        subject_keys: folder with the keys of data subjects, such as
            `<store>.keys/<random>.subjects` of the log that was backed up.

    Raises:
        UsageError: there is a store.
        KeyMissingError: a key of a subject is unreadable.
    """
    beginning = RestoredLog(backup, subject_keys=subject_keys)
    segment = open_segment(url, create=True, beginning=beginning)
    if not segment.begun_now:
        segment.close()
        raise UsageError(f"{segment.url} is there already; a backup is restored to a new store")
    return segment


def check_continues(source: SqlSegment, manifest: Manifest) -> None:
    """Check that a store's log begins with what was backed up.

    Raises:
        UsageError: it has another beginning.
    """
    size = manifest.size
    if source.size() < size or source.root_at(size).hex() != manifest.root_hash:
        raise UsageError(f"{source.url} is no continuation of what was backed up")


def reapply_erasures(segment: SqlSegment, source: SqlSegment, *, since: int) -> int:
    """Log and carry out again what another continuation of the same log erased.

    Args:
        segment: restored.
        source: a store whose log has the same first entries, as `check_continues` found.
        since: entries that the two logs share.

    Returns:
        How many erasures there were.
    """
    count = 0
    for entry in source.iter_entries(since, kinds={"erasure"}):
        if entry.payload is not None:
            segment.append_record("erasure", _within(entry.payload, since))
            count += 1
    if count:
        apply_erasures(segment)
    return count


def _within(payload: bytes, since: int) -> Mapping[str, object]:
    """Give the record of an erasure as far as it names entries that both logs have."""
    record: dict[str, object] = dict(json.loads(payload))
    read = read_erasure(payload)
    record["entries"] = [str(position) for position in sorted(read.entries) if position < since]
    if "fields" in record:
        record["fields"] = [
            {"entry": str(position), "pointers": sorted(pointers)}
            for position, pointers in sorted(read.fields.items())
            if position < since
        ]
    return record

"""Backups: what a segment keeps and cannot make again, in a folder of plain files.

    manifest.json        what the others hold, with their digests; written last
    checkpoint           the signed tree head that the backup is of
    tables/NAME.msgpack  rows: four bytes of length, big-endian, then a MessagePack array each
    blobs/sha256-HEX     bytes of rows and predictions, named by their digest
    segment.key          by which events are recognised again
    subjects/ID.key      keys of data subjects; only when asked for

The graph, tiles and indexes are left out: they follow from the rest. Keys that sign are left out,
too: what is restored is a log of its own, under new keys. The folder bears its name only when it is
whole; what a crash leaves is `NAME.unfinished`, and without a manifest nothing restores it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from lodeline.errors import (
    DamagedBackupError,
    LodelineError,
    ProofError,
    StoreCorruptError,
    UnknownBlobError,
    UsageError,
)
from lodeline.limits import DEAD_LETTER_BYTES_MAX, ENTRIES_PAGE, EVENT_BYTES_MAX
from lodeline.proof import Verifier, hash_leaf, verify_checkpoint
from lodeline.store.accounts import ACCOUNT_TABLE
from lodeline.store.api_keys import API_KEY_TABLES
from lodeline.store.blob_successors import SUCCESSOR_TABLE
from lodeline.store.connections import Connection, has_table
from lodeline.store.database import translate_os_error
from lodeline.store.expiring import EXPIRY_TABLE
from lodeline.store.senders import SENDER_TABLES
from lodeline.store.stream_tables import STREAM_TABLES
from lodeline.store.tables import FORMAT_VERSION, SCHEMA
from lodeline.tlog import Checkpoint, GrowingTree

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment

BACKUP_VERSION: Final = 1
# Made again from the leaves, or the segment's own matter.
_LEFT_OUT: Final = frozenset({"meta", "event_id", "tile", "tile_edge"})
# Read by pages of their first column, so that no database has to hold all of one in memory.
_PAGED: Final = frozenset({"entry", "payload", "record_secret", "checkpoint"})
# The largest row is a dead letter; an event's worth for what stands beside its bytes.
_ROW_BYTES_MAX: Final = DEAD_LETTER_BYTES_MAX + EVENT_BYTES_MAX

Progress = Callable[[int, int], None]


# Scripts of tables that come into being when they are first needed.
_LATER_SCRIPTS: Final = (
    API_KEY_TABLES,
    STREAM_TABLES,
    SENDER_TABLES,
    ACCOUNT_TABLE,
    SUCCESSOR_TABLE,
    EXPIRY_TABLE,
)


def _tables() -> dict[str, tuple[str, ...]]:
    script = [part for part in (*SCHEMA, *_LATER_SCRIPTS) if isinstance(part, str)]
    return {
        name: tuple(re.findall(r"^ *(?!PRIMARY)(\w+) [A-Z]", body, re.MULTILINE))
        for part in script
        for name, body in re.findall(
            r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)\((.*?)\n?\)", part, re.DOTALL
        )
    }


# Table -> its columns, as the scripts that make them say.
TABLES: Final = {name: columns for name, columns in _tables().items() if name not in _LEFT_OUT}


# Table -> the script that makes it, of those that are not there from the beginning.
LATER_TABLES: Final = {
    name: script
    for script in _LATER_SCRIPTS
    for name in re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)\(", script)
}


class TableFile(msgspec.Struct, frozen=True):
    """One table of a backup.

    Attributes:
        columns: in the order of each row.
        rows: how many.
        sha256: of the file, in hex.
    """

    columns: tuple[str, ...]
    rows: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds.

    Attributes:
        version: of this layout.
        format_version: of the tables.
        origin: the log's name.
        segment: its opaque identifier.
        size: entries.
        root_hash: of the tree of that size, in hex.
        log_time_us: of its last entry.
        checkpoint: SHA-256 of the file `checkpoint`, in hex.
        tables: by name.
        blobs: digests.
        subject_keys: whether the keys of data subjects are there.
    """

    version: int
    format_version: int
    origin: str
    segment: str
    size: int
    root_hash: str
    log_time_us: int
    checkpoint: str
    tables: dict[str, TableFile]
    blobs: tuple[str, ...]
    subject_keys: bool


def write_backup(
    segment: SqlSegment,
    folder: Path,
    *,
    subject_keys: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Write a backup of a segment that may be in use, and check its log on the way.

    Args:
        segment: opened; others may go on writing to it.
        folder: must not exist.
        subject_keys: also keep the keys of data subjects, which an erasure then does not reach.
        progress: called with entries written and entries to write.

    Raises:
        UsageError: the folder exists.
        StoreCorruptError: the log does not give the root that its checkpoint states.
        StoreFullError: no room where the folder lies.
        KeyMissingError: the segment's key is not there.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists; a backup is a new folder")
    unfinished = folder.with_name(folder.name + ".unfinished")
    try:
        if unfinished.exists():
            rmtree(unfinished)
        for name in ("tables", "blobs"):
            (unfinished / name).mkdir(mode=0o700, parents=True)
        unfinished.chmod(0o700)
        told = progress or (lambda _done, _total: None)
        manifest = _write(segment, unfinished, told, with_subjects=subject_keys)
        _write_file(unfinished / "manifest.json", [msgspec.json.encode(manifest)])
        _sync(unfinished)
        unfinished.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        raise translate_os_error(error, segment.url, folder) from error
    return manifest


def _write(
    segment: SqlSegment, folder: Path, progress: Progress, *, with_subjects: bool
) -> Manifest:
    tables: dict[str, TableFile] = {}
    tree = GrowingTree()
    verifiers = segment.verifiers()
    with segment.reading_signed() as connection:
        checkpoint = Checkpoint(
            *connection.execute(
                "SELECT size, root_hash, log_time, note FROM checkpoint ORDER BY size DESC LIMIT 1"
            ).fetchone()
        )
        for name, columns in TABLES.items():
            if not has_table(connection, name):
                continue
            rows = _iter_rows(connection, name, columns)
            if name == "entry":
                rows = _growing(rows, tree, lambda done: progress(done, checkpoint.size))
            tables[name] = _write_table(folder / "tables" / f"{name}.msgpack", columns, rows)
    # 1. What was written gives the root that was signed.
    _check_head(checkpoint, tree, verifiers, segment)
    note = checkpoint.note.encode()
    _write_file(folder / "checkpoint", [note])
    # 2. Blobs are there before an entry refers to them; so all that the snapshot needs are.
    digests = _write_blobs(segment, folder / "blobs")
    _write_secret(folder / "segment.key", segment.keys.segment_key)
    if with_subjects:
        _write_subject_keys(segment, folder / "subjects")
    return Manifest(
        BACKUP_VERSION,
        FORMAT_VERSION,
        segment.origin,
        segment.segment_id,
        checkpoint.size,
        bytes(checkpoint.root_hash).hex(),
        checkpoint.log_time_us,
        sha256(note).hexdigest(),
        tables,
        tuple(digests),
        with_subjects,
    )


def _check_head(
    checkpoint: Checkpoint, tree: GrowingTree, verifiers: Sequence[Verifier], segment: SqlSegment
) -> None:
    try:
        head = verify_checkpoint(checkpoint.note, verifiers, origin=segment.origin)
    except ProofError as error:
        raise StoreCorruptError(segment.url, f"its newest checkpoint: {error}") from error
    if (head.size, head.root_hash) != (tree.size, tree.root()):
        raise StoreCorruptError(
            segment.url,
            f"{tree.size} entries give root {tree.root().hex()[:12]}, "
            f"the checkpoint of {head.size} says {head.root_hash.hex()[:12]}",
        )


def _iter_rows(
    connection: Connection, name: str, columns: Sequence[str]
) -> Iterator[Sequence[Any]]:
    listed = ", ".join(columns)
    if name not in _PAGED:
        yield from connection.execute(f"SELECT {listed} FROM {name} ORDER BY 1")
        return
    after = -1
    while True:
        rows = connection.execute(
            f"SELECT {listed} FROM {name} WHERE {columns[0]} > ? ORDER BY 1 LIMIT ?",
            (after, ENTRIES_PAGE),
        ).fetchall()
        if not rows:
            return
        yield from rows
        after = rows[-1][0]


def _growing(
    rows: Iterable[Sequence[Any]], tree: GrowingTree, progress: Callable[[int], None]
) -> Iterator[Sequence[Any]]:
    leaf = TABLES["entry"].index("leaf")
    for row in rows:
        # A flipped byte may have made text of it: then it is another leaf, and the root tells.
        data = row[leaf] if isinstance(row[leaf], bytes) else str(row[leaf]).encode()
        tree.extend([hash_leaf(data)])
        if tree.size % ENTRIES_PAGE == 0:
            progress(tree.size)
        yield row


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> TableFile:
    encoder = msgspec.msgpack.Encoder()
    count = 0

    def encoded() -> Iterator[bytes]:
        nonlocal count
        for row in rows:
            data = encoder.encode(list(row))
            count += 1
            yield len(data).to_bytes(4, "big")
            yield data

    digest = _write_file(path, encoded())
    return TableFile(tuple(columns), count, digest)


def _write_file(path: Path, parts: Iterable[bytes]) -> str:
    digest = sha256()
    with path.open("xb") as stream:
        for part in parts:
            digest.update(part)
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _write_blobs(segment: SqlSegment, folder: Path) -> list[str]:
    digests = []
    for digest in segment.blobs.list_digests():
        try:
            data = segment.blobs.get(digest)
        except UnknownBlobError:
            continue  # Erased since it was listed.
        _write_file(folder / digest.replace(":", "-"), [data])
        digests.append(digest)
    _sync(folder)
    return digests


def _write_secret(path: Path, key: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(key.hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _write_subject_keys(segment: SqlSegment, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for key_id in segment.personal.files.list_ids():
        key = segment.personal.files.find(key_id)
        if key is not None:
            _write_secret(folder / f"{key_id}.key", key)
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Backup:
    """A backup that is read.

    Args:
        folder: as `write_backup` wrote it.

    Raises:
        DamagedBackupError: it is none, is not whole, or is of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            data = (folder / "manifest.json").read_bytes()
            self.manifest = msgspec.json.decode(data, type=Manifest)
        except FileNotFoundError as error:
            raise self._damaged("no manifest.json: no backup, or an unfinished one") from error
        except (OSError, ValueError) as error:
            raise self._damaged(f"manifest.json: {error}") from error
        versions = (self.manifest.version, self.manifest.format_version)
        if versions != (BACKUP_VERSION, FORMAT_VERSION):
            raise self._damaged(f"of versions {versions}; this program reads {BACKUP_VERSION}")

    def verify(self, *, progress: Progress | None = None) -> None:
        """Check every byte: files against the manifest, and the log against its checkpoint.

        1. Each file has the digest that the manifest states, each blob that of its name.
        2. The leaves give the root that the manifest and the checkpoint state.
        3. A key that the log certifies has signed the checkpoint.

        Raises:
            DamagedBackupError: something differs.
        """
        # 1.
        self.note()
        for name, table in self.manifest.tables.items():
            if name not in TABLES or table.columns != TABLES[name]:
                raise self._damaged(f"table {name} is not known in this form")
            count = sum(1 for _ in self.rows(name))
            if count != table.rows:
                raise self._damaged(f"table {name}: {count} rows, the manifest says {table.rows}")
        for digest in self.manifest.blobs:
            self.blob(digest)
        self.segment_key()
        # 2.
        tree = GrowingTree()
        leaf = TABLES["entry"].index("leaf")
        for row in self.rows("entry"):
            tree.extend([hash_leaf(row[leaf])])
            if progress is not None and tree.size % ENTRIES_PAGE == 0:
                progress(tree.size, self.manifest.size)
        # 3.
        try:
            head = verify_checkpoint(self.note(), self._verifiers(), origin=self.manifest.origin)
        except LodelineError as error:
            raise self._damaged(f"checkpoint: {error}") from error
        stated = (self.manifest.size, self.manifest.root_hash)
        for size, root in ((tree.size, tree.root()), (head.size, head.root_hash)):
            if (size, root.hex()) != stated:
                raise self._damaged(
                    f"{size} entries with root {root.hex()[:12]}, the manifest says "
                    f"{stated[0]} with {stated[1][:12]}"
                )

    def rows(self, name: str) -> Iterator[list[Any]]:
        """Walk the rows of a table; at the end its file has proven whole.

        Raises:
            DamagedBackupError: the file is missing or was changed; rows may have been given.
        """
        if name not in self.manifest.tables:
            return
        decoder = msgspec.msgpack.Decoder(list[Any])
        digest = sha256()
        try:
            with (self.folder / "tables" / f"{name}.msgpack").open("rb") as stream:
                while data := _read_row(stream, digest):
                    yield decoder.decode(data)
        except (OSError, ValueError) as error:
            raise self._damaged(f"table {name}: {error}") from error
        if digest.hexdigest() != self.manifest.tables[name].sha256:
            raise self._damaged(f"table {name} has another digest than the manifest states")

    def note(self) -> str:
        """Read the signed tree head."""
        data = self._read("checkpoint")
        if sha256(data).hexdigest() != self.manifest.checkpoint:
            raise self._damaged("checkpoint has another digest than the manifest states")
        return data.decode("utf-8", "replace")

    def blob(self, digest: str) -> bytes:
        """Read a blob and check it."""
        data = self._read(f"blobs/{digest.replace(':', '-')}")
        if f"sha256:{sha256(data).hexdigest()}" != digest:
            raise self._damaged(f"blob {digest} has other bytes")
        return data

    def segment_key(self) -> bytes:
        """Read the key by which events are recognised."""
        try:
            key = bytes.fromhex(self._read("segment.key").decode("ascii").strip())
        except ValueError as error:
            raise self._damaged("segment.key is no key") from error
        if len(key) != 32:
            raise self._damaged("segment.key is no key")
        return key

    def _verifiers(self) -> list[Verifier]:
        position = TABLES["entry"].index("position")
        kind = TABLES["entry"].index("kind")
        certifying = {row[position] for row in self.rows("entry") if row[kind] == "key"}
        vkeys: dict[str, None] = {}
        for at, payload in self.rows("payload"):
            if at in certifying:
                vkeys.update(dict.fromkeys(vkeys_in(payload)))
        return [Verifier.from_vkey(vkey) for vkey in vkeys]

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise self._damaged(f"{name}: {error.strerror}") from error

    def _damaged(self, reason: str) -> DamagedBackupError:
        return DamagedBackupError(str(self.folder), reason)


def vkeys_in(payload: bytes) -> list[str]:
    """Give the checkpoint keys that a `key` entry names; a damaged one names none."""
    try:
        keys = msgspec.json.decode(payload)["keys"]
        return [key["vkey"] for key in keys if key["use"] == "checkpoint"]
    except (ValueError, LookupError, TypeError):
        return []


def _read_row(stream: IO[bytes], digest: Any) -> bytes:
    head = stream.read(4)
    digest.update(head)
    if not head:
        return b""
    count = int.from_bytes(head, "big")
    if len(head) < 4 or count > _ROW_BYTES_MAX:
        raise ValueError("a row is cut off")
    data = stream.read(count)
    digest.update(data)
    if len(data) < count:
        raise ValueError("a row is cut off")
    return data

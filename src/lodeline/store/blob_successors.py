"""Blobs written again without the rows of a person: which blob took the place of which.

The log names a blob by the digest that it had first, and commits to its rows, not to its bytes.
Once rows are erased another blob stands in its place, under the same root. The table comes into
being with the first such erasure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lodeline.errors import UnknownBlobError
from lodeline.store.connections import Connection, has_table

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment

COMPOSITION_SUFFIX: Final = ".composition"

SUCCESSOR_TABLE: Final = """
CREATE TABLE IF NOT EXISTS blob_successor(
    digest TEXT NOT NULL,
    successor TEXT NOT NULL,
    erased_by INTEGER NOT NULL,
    PRIMARY KEY(digest)
) WITHOUT ROWID
"""


def read_successors(connection: Connection) -> dict[str, str]:
    """Give the successor of each blob that has one."""
    if not has_table(connection, "blob_successor"):
        return {}
    rows = connection.execute("SELECT digest, successor FROM blob_successor").fetchall()
    return {str(digest): str(successor) for digest, successor in rows}


def current_of(successors: Mapping[str, str], digest: str) -> str:
    """Follow a blob to the one that stands in its place now."""
    seen = {digest}
    while digest in successors and successors[digest] not in seen:
        digest = successors[digest]
        seen.add(digest)
    return digest


def erase_in_blob(segment: SqlSegment, digest: str, rows: Sequence[int], *, erased_by: int) -> None:
    """Write a blob again without some of its rows; safe to repeat.

    1. The new blob is on disk, whole.
    2. The table says that it has taken the place of the old one.
    3. Every blob before it is overwritten and removed, and so are indexes made of them.

    Raises:
        StoreCorruptError: the blob is not as it was written.
    """
    with segment.reading() as connection:
        successors = read_successors(connection)
    current = current_of(successors, digest)
    try:
        data = segment.blobs.get(current)
    except UnknownBlobError:
        return  # Gone whole, by retention or before: there is nothing left to take out.
    # 1.
    successor = segment.blobs.put(_without_rows(data, rows))
    # 2.
    if successor != current:
        with segment.writing() as connection:
            connection.execute(SUCCESSOR_TABLE)
            connection.execute(
                "INSERT INTO blob_successor VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (current, successor, erased_by),
            )
        successors[current] = successor
    # 3.
    while digest in successors:
        segment.blobs.remove(digest, overwrite=True)
        remove_indexes(segment, digest)
        digest = successors[digest]


def _without_rows(data: bytes, rows: Sequence[int]) -> bytes:
    if data.startswith(b"PAR1"):
        from lodeline.store.link_blocks import erase_rows

        return erase_rows(data, rows)
    from lodeline.store.prediction_blobs import erase_lines

    return erase_lines(data, rows)


def erased_rows(data: bytes) -> set[int]:
    """Give the rows that are erased in a blob. Errors as those of its format."""
    if data.startswith(b"PAR1"):
        from lodeline.store.link_blocks import Block

        seals = Block(data, "", shape="").seals
        return set() if seals is None else set(seals.erased)
    from lodeline.store.prediction_blobs import read_blob, salts_of

    head, lines = read_blob(data)
    return {number for number, salt in enumerate(salts_of(head, len(lines))) if salt is None}


def remove_indexes(segment: SqlSegment, digest: str) -> None:
    """Remove the indexes that were made of a blob, and every composition: any may hold its rows."""
    folder = index_folder_of(segment)
    if folder is not None and folder.is_dir():
        for pattern in (f"{digest.removeprefix('sha256:')}.*", f"*{COMPOSITION_SUFFIX}"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)


def index_folder_of(segment: object) -> Path | None:
    """Give where indexes of blocks by input row lie; `None` where nothing lies beside the store."""
    path = getattr(segment, "path", None)
    return path.with_name(path.name + ".rows") if isinstance(path, Path) else None

"""Retention of rows: blocks of old steps, or of predictions, go by a logged expiry; roots stay.

1. An `expiry` entry names the blobs that go, and up to which event time.
2. The table says so to whoever asks for one; a question then has a gap of reason `retention`.
3. The blobs are removed, and what was made of them.

Killed after 1., the next expiry, of whatever, carries out what is left.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

from lodeline.model import format_time
from lodeline.store.blob_successors import current_of, read_successors, remove_indexes
from lodeline.store.connections import Connection, has_table
from lodeline.store.prediction_tables import has_prediction_tables
from lodeline.store.row_tables import has_row_tables

if TYPE_CHECKING:
    from lodeline.store.sql_segment import SqlSegment

EXPIRY_TABLE: Final = """
CREATE TABLE IF NOT EXISTS blob_expiry(
    digest TEXT NOT NULL,
    expired_by INTEGER NOT NULL,
    PRIMARY KEY(digest)
) WITHOUT ROWID
"""


Expirable = Literal["rows", "predictions"]


def find_expirable(segment: SqlSegment, before_us: int, what: Expirable = "rows") -> list[str]:
    """List what a time leaves behind.

    Args:
        segment: whose views are up to its log.
        before_us: microseconds since the epoch, UTC.
        what: `rows`: blocks of links, and of keys, that only events before that time refer to;
            `predictions`: batches whose last prediction was made before it.
    """
    with segment.reading() as connection:
        gone = set(read_expired(connection))
        find = _find_blocks if what == "rows" else _find_batches
        return [block for block in find(connection, before_us) if block not in gone]


def _find_batches(connection: Connection, before_us: int) -> list[str]:
    if not has_prediction_tables(connection):
        return []
    rows = connection.execute(
        "SELECT digest FROM prediction_batch GROUP BY digest HAVING max(last_us) < ? ORDER BY 1",
        (before_us,),
    ).fetchall()
    return [str(digest) for (digest,) in rows]


def _find_blocks(connection: Connection, before_us: int) -> list[str]:
    if not has_row_tables(connection):
        return []
    rows = connection.execute(
        "SELECT b.block FROM row_block b JOIN ("
        "SELECT digest, shape AS form, max(event_time) AS newest FROM row_step "
        "GROUP BY digest, shape UNION ALL "
        "SELECT digest, 'keys', max(event_time) FROM row_key GROUP BY digest) AS uses "
        "ON uses.digest = b.source AND uses.form = b.form WHERE uses.newest < ? ORDER BY 1",
        (before_us,),
    ).fetchall()
    return [str(block) for (block,) in rows]


def expire_blocks(
    segment: SqlSegment, before_us: int, what: Expirable = "rows"
) -> tuple[int | None, list[str]]:
    """Log and carry out the expiry of what `find_expirable` lists.

    Returns:
        The position of the `expiry` entry, `None` where nothing expires; and the blobs.

    Raises:
        StoreUnreachableError: the store cannot be written.
    """
    doomed = find_expirable(segment, before_us, what)
    position = None
    if doomed:
        # 1.
        record = {"before": format_time(before_us), "blobs": doomed}
        position = segment.append_record("expiry", record).position
    _carry_out(segment)
    return position, doomed


def read_expired(connection: Connection) -> dict[str, int]:
    """Give the blobs that expired, each with the entry that says so."""
    if not has_table(connection, "blob_expiry"):
        return {}
    rows = connection.execute("SELECT digest, expired_by FROM blob_expiry").fetchall()
    return {str(digest): int(position) for digest, position in rows}


def logged_expiries(connection: Connection) -> dict[str, int]:
    """Give what the log itself says has expired."""
    rows = connection.execute(
        "SELECT entry.position, payload FROM entry JOIN payload USING(position) "
        "WHERE kind = 'expiry' AND kind <> 'event' ORDER BY entry.position"
    ).fetchall()
    return {
        str(digest): position
        for position, payload in rows
        for digest in json.loads(payload).get("blobs", ())
    }


def _carry_out(segment: SqlSegment) -> None:
    with segment.reading() as connection:
        logged = logged_expiries(connection)
        told = read_expired(connection)
        successors = read_successors(connection)
    # 2.
    if logged.keys() - told.keys():
        with segment.writing() as connection:
            connection.execute(EXPIRY_TABLE)
            connection.executemany(
                "INSERT INTO blob_expiry VALUES (?, ?) ON CONFLICT DO NOTHING",
                sorted(logged.items()),
            )
    # 3.
    for digest in logged:
        current = current_of(successors, digest)
        segment.blobs.remove(current)
        remove_indexes(segment, current)

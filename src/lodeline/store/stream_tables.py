"""Tables of what came by streams: how far each was taken, and what headers named beside an event.

Neither is part of the log. Offsets are written in the transaction that holds the events before
them, so that a consumer killed at any moment goes on exactly where the log ends. Correlations are
identifiers alone; the tables come into being with the first stream, so a store without is as it
was. Times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from lodeline.model import format_time
from lodeline.store.connections import Connection, has_table
from lodeline.wire.correlation import Correlation

STREAM_TABLES: Final = """
CREATE TABLE IF NOT EXISTS stream_offset(
    source TEXT NOT NULL,
    part TEXT NOT NULL,
    generation TEXT NOT NULL,
    position INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    behind INTEGER NOT NULL,
    taken_at INTEGER NOT NULL,
    PRIMARY KEY(source, part)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event_correlation(
    position INTEGER NOT NULL,
    trace_id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    model_version TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    PRIMARY KEY(position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_correlation_prediction
    ON event_correlation(prediction_id, position);
CREATE INDEX IF NOT EXISTS event_correlation_trace ON event_correlation(trace_id, position)
"""
# A slow consumer that lost its part to another must not turn the offset back. A part that began
# anew, under another generation, counts from its own beginning.
_FORWARD: Final = (
    "CASE WHEN stream_offset.generation = excluded.generation "
    "AND stream_offset.{column} > excluded.{column} "
    "THEN stream_offset.{column} ELSE excluded.{column} END"
)
_SET_OFFSET: Final = (
    "INSERT INTO stream_offset(source, part, generation, position, seen, behind, taken_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(source, part) DO UPDATE SET "
    f"position = {_FORWARD.format(column='position')}, seen = {_FORWARD.format(column='seen')}, "
    "generation = excluded.generation, behind = excluded.behind, taken_at = excluded.taken_at"
)


class StreamOffset(NamedTuple):
    """How far one part of a stream was taken.

    Attributes:
        source: of the stream, without credentials, such as `kafka:lineage`.
        part: a partition, a stream of a broker, a file.
        generation: what tells a part from another that took its name later.
        position: everything before it is in the store.
        seen: the position after the last that is in the store; beyond `position` only where
            several consumers take a part in turns.
        behind: how many messages, or bytes of a file, waited after it when it was written.
        taken_at_us: when it was written.
    """

    source: str
    part: str
    generation: str
    position: int
    seen: int
    behind: int = 0
    taken_at_us: int = 0

    def to_json(self) -> dict[str, object]:
        """Give the documented keys of one offset."""
        return {
            "source": self.source,
            "part": self.part,
            "position": self.position,
            "behind": self.behind,
            "taken_at": format_time(self.taken_at_us),
        }


class CorrelatedEvent(msgspec.Struct, frozen=True, gc=False):
    """An entry of the log, and what the headers of its message named.

    Attributes:
        position: leaf index of the event.
        correlation: identifiers.
    """

    position: int
    correlation: Correlation


def create_stream_tables(connection: Connection) -> None:
    """Create the tables that are missing, within the caller's transaction."""
    for statement in STREAM_TABLES.split(";\n"):
        connection.execute(statement)


def set_offsets(connection: Connection, offsets: Iterable[StreamOffset]) -> None:
    """Write offsets inside the caller's transaction; one never goes back within its generation."""
    connection.executemany(_SET_OFFSET, [tuple(offset) for offset in offsets])


def drop_offsets(connection: Connection, source: str, parts: Iterable[str]) -> None:
    """Forget parts that are gone, such as deleted files, inside the caller's transaction."""
    connection.executemany(
        "DELETE FROM stream_offset WHERE source = ? AND part = ?",
        [(source, part) for part in parts],
    )


def read_offsets(connection: Connection, source: str | None = None) -> list[StreamOffset]:
    """Read the offsets of one source, or of all, by source and part."""
    if not has_table(connection, "stream_offset"):
        return []
    where, parameters = ("", ()) if source is None else (" WHERE source = ?", (source,))
    rows = connection.execute(
        "SELECT source, part, generation, position, seen, behind, taken_at "
        f"FROM stream_offset{where} ORDER BY source, part",
        parameters,
    )
    return [StreamOffset(*row) for row in rows]


def add_correlations(connection: Connection, events: Iterable[tuple[int, Correlation]]) -> None:
    """Keep what headers named, inside the caller's transaction; what was told first stays."""
    connection.executemany(
        "INSERT INTO event_correlation(position, trace_id, parent_id, run_id, model_version, "
        "prediction_id) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(position) DO NOTHING",
        [
            (
                position,
                told.trace_id,
                told.parent_id,
                told.run_id,
                told.model_version,
                told.prediction_id,
            )
            for position, told in events
        ],
    )


def drop_correlation(connection: Connection, position: int) -> None:
    """Forget what the headers of an erased entry named, inside the caller's transaction."""
    if has_table(connection, "event_correlation"):
        connection.execute("DELETE FROM event_correlation WHERE position = ?", (position,))


def iter_correlations(
    connection: Connection, positions: Iterable[int]
) -> Iterator[CorrelatedEvent]:
    """Look up what the headers of entries named; entries without are left out."""
    if not has_table(connection, "event_correlation"):
        return
    for position in positions:
        row = connection.execute(
            "SELECT trace_id, parent_id, run_id, model_version, prediction_id "
            "FROM event_correlation WHERE position = ?",
            (position,),
        ).fetchone()
        if row is not None:
            yield CorrelatedEvent(position, Correlation(*row))

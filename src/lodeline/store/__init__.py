"""Segments: one log, one store, one key ring. SQLite keeps it, or PostgreSQL."""

from lodeline.store.opening import open_segment
from lodeline.store.segment import (
    AcceptedEvent,
    Appended,
    DeadLetter,
    Refusal,
    Segment,
    StoredEntry,
)
from lodeline.store.sql_segment import SqlSegment
from lodeline.store.sqlite import SqliteSegment
from lodeline.store.stream_tables import StreamOffset

__all__ = [
    "AcceptedEvent",
    "Appended",
    "DeadLetter",
    "Refusal",
    "Segment",
    "SqlSegment",
    "SqliteSegment",
    "StoredEntry",
    "StreamOffset",
    "open_segment",
]

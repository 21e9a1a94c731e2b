"""Segments: one log, one store, one key ring. SQLite here; others promise the same."""

from lodeline.store.opening import open_segment
from lodeline.store.segment import (
    AcceptedEvent,
    Appended,
    DeadLetter,
    Refusal,
    Segment,
    StoredEntry,
)
from lodeline.store.sqlite import SqliteSegment

__all__ = [
    "AcceptedEvent",
    "Appended",
    "DeadLetter",
    "Refusal",
    "Segment",
    "SqliteSegment",
    "StoredEntry",
    "open_segment",
]

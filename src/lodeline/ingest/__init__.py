"""From foreign bytes to the log, and from the log to the graph."""

from lodeline.ingest.acceptance import (
    ImportResult,
    Submission,
    accept,
    prepare_event,
    retry_dead_letters,
)

__all__ = ["ImportResult", "Submission", "accept", "prepare_event", "retry_dead_letters"]

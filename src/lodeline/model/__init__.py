"""Identifiers, times and the words of the graph. Pure: no I/O, clock, environment, randomness."""

from lodeline.model.identifiers import (
    KINDS,
    KINDS_OF_ONE_PART,
    KINDS_OF_THREE_PARTS,
    KINDS_OF_TWO_PARTS,
    NodeId,
    format_identifier,
    iter_readings,
    parse_identifier,
)
from lodeline.model.predictions import COUNTERS, PredictionId, find_prediction_id, ticks_of
from lodeline.model.times import format_time, parse_time

__all__ = [
    "COUNTERS",
    "KINDS",
    "KINDS_OF_ONE_PART",
    "KINDS_OF_THREE_PARTS",
    "KINDS_OF_TWO_PARTS",
    "NodeId",
    "PredictionId",
    "find_prediction_id",
    "format_identifier",
    "format_time",
    "iter_readings",
    "parse_identifier",
    "parse_time",
    "ticks_of",
]

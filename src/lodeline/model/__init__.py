"""Identifiers, times and the words of the graph. Pure: no I/O, clock, environment, randomness.

Each name loads on first use: observed programs and their runner need few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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

# Name -> module of this folder.
_HOMES: Final = {
    "COUNTERS": "predictions",
    "KINDS": "identifiers",
    "KINDS_OF_ONE_PART": "identifiers",
    "KINDS_OF_THREE_PARTS": "identifiers",
    "KINDS_OF_TWO_PARTS": "identifiers",
    "NodeId": "identifiers",
    "PredictionId": "predictions",
    "find_prediction_id": "predictions",
    "format_identifier": "identifiers",
    "format_time": "times",
    "iter_readings": "identifiers",
    "parse_identifier": "identifiers",
    "parse_time": "times",
    "ticks_of": "predictions",
}

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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

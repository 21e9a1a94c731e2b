"""Prediction identifiers: UUIDv7 whose random part says which block it was drawn from.

    48 bits  milliseconds since the epoch, at the draw
     4 bits  version 7
    12 bits  the fraction of the millisecond, in 4096ths (RFC 9562, section 6.2, method 3)
     2 bits  variant
    40 bits  block, drawn at random once a process (and again when its counter is used up)
    22 bits  counter within the block

A block is reserved in the record before its predictions are, so an identifier of a reserved
block whose prediction is missing is known to be missing.
"""

from __future__ import annotations

import uuid
from typing import Final, NamedTuple

BLOCK_BITS: Final = 40
COUNTER_BITS: Final = 22
COUNTERS: Final = 1 << COUNTER_BITS


class PredictionId(NamedTuple):
    """The parts of a prediction's identifier, in the order that sorts them by time.

    Attributes:
        time_ticks: 4096ths of a millisecond since the epoch, below 2**60.
        block: below 2**40.
        counter: below 2**22.
    """

    time_ticks: int
    block: int
    counter: int

    @property
    def time_us(self) -> int:
        """Microseconds since the epoch, rounded down."""
        return self.time_ticks * 1000 // 4096

    @property
    def block_text(self) -> str:
        """The block in ten hexadecimal digits, as records write it."""
        return f"{self.block:010x}"

    def __str__(self) -> str:
        ticks, block, counter = self
        high = ticks >> 12 << 16 | 0x7000 | ticks & 0xFFF
        low = 0b10 << 62 | block << COUNTER_BITS | counter
        text = (high << 64 | low).to_bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def ticks_of(time_ns: int) -> int:
    """Turn nanoseconds since the epoch into 4096ths of a millisecond."""
    return time_ns * 4096 // 1_000_000


def find_prediction_id(text: str) -> PredictionId | None:
    """Read an identifier; `None` when it is no UUIDv7."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    if value.version != 7 or value.variant != uuid.RFC_4122:
        return None
    number = value.int
    ticks = (number >> 80) << 12 | (number >> 64) & 0xFFF
    rand_b = number & ((1 << 62) - 1)
    return PredictionId(ticks, rand_b >> COUNTER_BITS, rand_b & (COUNTERS - 1))

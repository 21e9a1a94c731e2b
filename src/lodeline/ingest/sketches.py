"""KLL sketches of many summaries, merged into one distribution with a stated error.

A sketch of one batch says little; an answer is about all of them. Merging needs the package that
made the sketches (`lodeline[sketches]`): without it the sketches stay where they are, and the exact
figures beside them are all that is answered. Merged quantiles are randomised within their error,
whatever the order: exact figures never come from here.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from functools import cache
from itertools import pairwise
from typing import Any, Final

from lodeline.limits import SKETCH_BYTES_MAX, SKETCHES_MERGED_MAX

# The tails and the quarters: what a box plot, and a bound of latency, are drawn from.
_RANKS: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# Parameters of the sketches that capture makes.
_K: Final = 200
_M: Final = 8
# Weights double by the level: thirty of them hold 10^11 values.
_LEVELS_MAX: Final = 30
# Of a sketch of two values and more: what it is, flags, k, m, unused, n, least k of all that were
# merged, levels, unused.
_HEAD: Final = struct.Struct("<3sBHBBQHBB")
_FULL: Final = b"\x05\x01\x0f"
_SORTED: Final = 2
_SINGLE: Final = b"\x02\x02\x0f\x04" + struct.pack("<HBB", _K, _M, 0)
_SINGLE_BYTES: Final = 16
# What the package raises of bytes that are no sketch.
_UNREADABLE: Final = (IndexError, MemoryError, RuntimeError, TypeError, ValueError, binascii.Error)


class MergedSketches:
    """Sketches of the columns of one answer.

    At most `SKETCHES_MERGED_MAX` are merged; the windows beyond are counted where they are missing:
    a distribution says how many values it has seen.
    """

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}
        self._windows: dict[str, int] = {}
        self._left = SKETCHES_MERGED_MAX

    def add(self, column: str, figures: dict[str, Any]) -> None:
        """Add one window's sketch of a column; what is no sketch of these figures is passed over.

        Args:
            column: its name.
            figures: of the window: `kll`, and `numbers`, `min` and `max`, which it has to agree
                with. A sketch comes from outside, as its figures do.
        """
        text = figures.get("kll")
        if self._left <= 0 or not isinstance(text, str):
            return
        self._left -= 1
        sketch = read_sketch(text)
        if sketch is None or sketch.is_empty() or sketch.n != figures["numbers"]:
            return
        if (sketch.get_min_value(), sketch.get_max_value()) != (figures["min"], figures["max"]):
            return
        if column in self._columns:
            self._columns[column].merge(sketch)
        else:
            self._columns[column] = sketch
        self._windows[column] = self._windows.get(column, 0) + 1

    def distribution(self, column: str) -> dict[str, Any] | None:
        """Give the merged distribution of a column; `None` where no window had a sketch.

        Returns:
            `quantiles` by rank; `rankError`: of each, at a confidence of 99 %, 0 where the sketch
            still holds every value; `values` and `windows` that it has seen.
        """
        merged = self._columns.get(column)
        if merged is None:
            return None
        error = merged.normalized_rank_error(False) if merged.is_estimation_mode() else 0.0
        values = merged.get_quantiles(list(_RANKS), True)
        return {
            "quantiles": {str(rank): float(one) for rank, one in zip(_RANKS, values, strict=True)},
            "rankError": round(float(error), 5),
            "values": int(merged.n),
            "windows": self._windows[column],
        }


def is_sound(data: bytes) -> bool:
    """Tell whether bytes are a sketch as our capture writes them, in every place.

    Asked before the package sees them: it is native code, and believes what it reads of levels and
    their places. The layout is that of Apache DataSketches' `kll_sketch` (`kll_sketch_impl.hpp`,
    `compute_total_capacity` of `kll_helper`).
    """
    if len(data) == _SINGLE_BYTES:
        return data[:8] == _SINGLE and math.isfinite(struct.unpack_from("<d", data, 8)[0])
    if len(data) < _HEAD.size or data[:3] != _FULL:
        return False
    _, flags, k, m, _, n, least_k, level_count, _ = _HEAD.unpack_from(data)
    if (k, m, least_k) != (_K, _M, _K) or flags not in {0, _SORTED}:
        return False
    if not 1 <= level_count <= _LEVELS_MAX:
        return False
    top = sum(_capacity(level_count - height - 1) for height in range(level_count))
    at = _HEAD.size + 4 * level_count
    if len(data) < at:
        return False
    begins = [*struct.unpack_from(f"<{level_count}I", data, _HEAD.size), top]
    if begins != sorted(begins) or len(data) != at + 8 * (2 + top - begins[0]):
        return False
    levels = list(pairwise(begins))
    if sum((end - begin) << height for height, (begin, end) in enumerate(levels)) != n:
        return False
    least, most, *items = struct.unpack_from(f"<{2 + top - begins[0]}d", data, at)
    if not all(map(math.isfinite, (least, most, *items))):
        return False
    if min(items) < least or max(items) > most:
        return False
    in_order = levels if flags else levels[1:]
    parts = [items[begin - begins[0] : end - begins[0]] for begin, end in in_order]
    return all(part == sorted(part) for part in parts)


@cache
def _capacity(depth: int) -> int:
    """How many items a level holds, so many levels below the top one."""
    capacity: int = max(_M, (((2 * _K << depth) // 3**depth) + 1) >> 1)
    return capacity


def read_sketch(text: str) -> Any | None:
    """Read a KLL sketch of doubles in base 64; `None` when it is none, or without the package."""
    if len(text) > SKETCH_BYTES_MAX:
        return None
    try:
        from datasketches import kll_doubles_sketch
    except ImportError:
        return None
    try:
        data = base64.b64decode(text, validate=True)
        return kll_doubles_sketch.deserialize(data) if is_sound(data) else None
    except _UNREADABLE:
        return None

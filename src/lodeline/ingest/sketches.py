"""KLL sketches of many summaries, merged into one distribution with a stated error.

A sketch of one batch says little; an answer is about all of them. Merging needs the package that
made the sketches (`lodeline[sketches]`): without it the sketches stay where they are, and the exact
figures beside them are all that is answered. Merged quantiles are randomised within their error,
whatever the order: exact figures never come from here.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from lodeline.limits import SKETCH_BYTES_MAX, SKETCHES_MERGED_MAX

# The tails and the quarters: what a box plot, and a bound of latency, are drawn from.
_RANKS: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
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


def read_sketch(text: str) -> Any | None:
    """Read a KLL sketch of doubles in base 64; `None` when it is none, or without the package."""
    if len(text) > SKETCH_BYTES_MAX:
        return None
    try:
        from datasketches import kll_doubles_sketch
    except ImportError:
        return None
    try:
        return kll_doubles_sketch.deserialize(base64.b64decode(text, validate=True))
    except _UNREADABLE:
        return None

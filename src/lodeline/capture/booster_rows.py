"""The rows of the tables that boosters are trained from, and of the trainings.

XGBoost and LightGBM copy what they are given into a table of their own, whose row i is row i of
what it was made of. XGBoost copies at once; LightGBM when the table is first used, and what it was
given is compared with what was read only then.

A booster is one set of rows for each weight, and a set for each table that decided when to stop.
Tables that were only evaluated changed nothing in the booster, and are no part of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_tracking import (
    TRACKING,
    Track,
    find_sets,
    find_verified,
    note_rows,
    part_of,
    weighed_sets,
)

_Gap = tuple[str, str]
_UNKNOWN: Final = "the rows of its table are unknown"


@dataclass(slots=True)
class _Table:
    """What is known of the rows of one table.

    Attributes:
        track: of its rows; `None` where they are not known.
        gap: why they are not.
        weights: as the program gave them.
        waiting: what it will be copied from.
        whole: the table that it is a part of, and the row numbers there.
    """

    track: Track | None = None
    gap: _Gap = ("fit", _UNKNOWN)
    weights: Any = None
    waiting: Any = None
    whole: tuple[_Table, Any] | None = None


@dataclass
class _Tables:
    known: dict[int, tuple[weakref.ref[Any], _Table]] = field(default_factory=dict)

    def put(self, table: Any, found: _Table) -> None:
        key, known = id(table), self.known
        known[key] = (weakref.ref(table, lambda _: known.pop(key, None)), found)

    def find(self, table: Any) -> _Table:
        entry = self.known.get(id(table))
        return _Table() if entry is None or entry[0]() is not table else entry[1]


_TABLES: Final = _Tables()


def note_table(table: Any, data: Any, weights: Any = None, *, copied: bool = True) -> None:
    """Remember of which rows a table is made.

    Args:
        table: of the library.
        data: that it was made of.
        weights: of its rows.
        copied: the data was copied; if not, `note_copied` tells when it is.
    """
    found = _Table(weights=weights, waiting=data)
    loss = TRACKING.find_loss(data)
    if loss is not None:
        found.gap = loss
    _TABLES.put(table, found)
    if copied:
        note_copied(table)


def note_copied(table: Any) -> None:
    """A table has copied what it was made of: only now can it be said what that was."""
    found = _TABLES.find(table)
    data, found.waiting = found.waiting, None
    if data is not None:
        found.track = find_verified(data)


def note_part(part: Any, table: Any, places: Any) -> None:
    """A table was made of some rows of another, by their numbers."""
    import numpy as np

    _TABLES.put(part, _Table(whole=(_TABLES.find(table), np.array(places, np.int64))))


def lose_table(table: Any, operator: str, detail: str) -> None:
    """A table was changed in a way that is not followed."""
    _TABLES.put(table, _Table(gap=(operator, detail)))


def note_training(
    booster: Any,
    table: Any,
    *,
    weights: Any,
    deciding: Sequence[tuple[Any, str]] = (),
    before: Any = None,
    gaps: Iterable[_Gap] = (),
) -> None:
    """Remember which rows a booster was trained on, and by which it stopped.

    Args:
        booster: trained.
        table: that it learned from.
        weights: of its rows, as the library has them; empty or `None` where all count alike.
        deciding: tables that decided when to stop, with words for the step.
        before: the booster that it goes on from; a file's has rows that are not known.
        gaps: what else is not known.
    """
    told = list(gaps)
    sets: list[tuple[Track, str]] = []
    if before is not None:
        known = find_sets(before)
        if known is None:
            told.append(("fit", "the rows of the model that it goes on from are unknown"))
        else:
            sets, more = list(known[0]), known[1]
            told += more
    found = _rows_of(table)
    if isinstance(found, Track):
        sets += _weighed(found, _given(_TABLES.find(table), weights))
    else:
        told.append(found)
    for other, words in deciding:
        rows = _rows_of(other)
        if isinstance(rows, Track):
            sets.append((rows, words))
        else:
            told.append((words, rows[1]))
    if not isinstance(found, Track):
        RECORDER.gap(f"rows: {found[0]}", "capture", found[1])
    if sets:
        note_rows(booster, sets, tuple(dict.fromkeys(told)))


def copy_sets(booster: Any, estimator: Any) -> None:
    """A booster was fitted on the rows of the estimator around it."""
    known = find_sets(estimator)
    if known is not None:
        note_rows(booster, *known)


def _rows_of(table: Any) -> Track | _Gap:
    return _rows_in(_TABLES.find(table))


def _rows_in(found: _Table) -> Track | _Gap:
    if found.whole is not None:
        whole = _rows_in(found.whole[0])
        return part_of(whole, found.whole[1]) if isinstance(whole, Track) else whole
    return found.gap if found.track is None else found.track


def _given(table: _Table, weights: Any) -> Any:
    """The weights as the program gave them, where the library still has these, as 32-bit floats."""
    import numpy as np

    if weights is None or not len(weights):
        return None
    kept = np.asarray(weights, np.float32)
    try:
        given = np.asarray(table.weights, np.float64).ravel()
    except (TypeError, ValueError):
        return kept
    same = given.shape == kept.shape and bool((given.astype(np.float32) == kept).all())
    return given if same else kept


def _weighed(track: Track, weights: Any) -> list[tuple[Track, str]]:
    return [(track, "fit")] if weights is None else weighed_sets(track, weights)

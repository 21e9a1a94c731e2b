"""Snapshots of tables, and whether a table still holds the values of its snapshot.

In pandas 3 a shallow copy keeps its values whatever happens to the original, and costs nothing. In
pandas 2 the original may be written through a view, so the snapshot is a deep copy; of text that
copies pointers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class Snapshot:
    """The values that a table had.

    Attributes:
        values: a copy.
        exposed: memory of the table, or of one made of it, was handed out as an array that can be
            written: from then on every step looks whether that happened.
    """

    values: Any
    exposed: bool = False


def snapshot(table: Any) -> Snapshot:
    """Keep the values of a frame, a series or an array as they are now."""
    if hasattr(table, "iloc"):
        return Snapshot(table.copy(deep=not _copies_on_write()))
    if hasattr(table, "height"):
        # In polars values never change; columns may be put in others' place.
        return Snapshot(table.clone())
    if hasattr(table, "storage_offset"):
        return Snapshot(table.detach().numpy().copy())
    return Snapshot(table.copy())


def find_names(table: Any) -> list[Any]:
    """The columns of a frame, or a series' own name."""
    columns = getattr(table, "columns", None)
    return [getattr(table, "name", None)] if columns is None else list(columns)


def same_values(
    table: Any, reference: Any, places: Any, changed: frozenset[Any]
) -> tuple[Any, ...] | None:
    """Compare a table with rows of a snapshot.

    Args:
        table: a frame, series or array.
        reference: a snapshot.
        places: row numbers in the snapshot; `None` for all.
        changed: columns to leave out.

    Returns:
        `None` if all columns that can be compared are the same, and there is one; else the first
        that differs, or an empty tuple where nothing can be compared.
    """
    if hasattr(table, "height"):
        return _same_polars(table, reference, places)
    if not hasattr(table, "iloc"):
        return _same_arrays(table, reference, places)
    known = _columns(reference)
    mine = _columns(table)
    compared = 0
    if known is None or mine is None:
        return ()  # A repeated name: which of them is meant cannot be told.
    for name, column in mine.items():
        if name in changed or name not in known:
            continue
        if not _same_column(column, known[name], places):
            return (name,)
        compared += 1
    return None if compared else ()


def _columns(table: Any) -> dict[Any, Any] | None:
    if not hasattr(table, "columns"):
        return {table.name: table}
    if not table.columns.is_unique:
        return None
    return {name: table[name] for name in table.columns}


def _same_polars(table: Any, reference: Any, places: Any) -> tuple[Any, ...] | None:
    names = [name for name in table.columns if name in reference.columns]
    if not names:
        return ()
    rows = reference if places is None else reference[places]
    for name in names:
        if not table.get_column(name).equals(rows.get_column(name)):
            return (name,)
    return None


def _same_arrays(table: Any, reference: Any, places: Any) -> tuple[Any, ...] | None:
    import numpy as np

    one = table.detach().numpy() if hasattr(table, "storage_offset") else np.asarray(table)
    two = np.asarray(reference)
    if places is not None:
        two = two[places]
    return None if _same_bits(one, two) else ("0",)


def _same_column(mine: Any, theirs: Any, places: Any) -> bool:
    one, two = _plain(mine), _plain(theirs)
    if one is not None and two is not None and one.dtype == two.dtype:
        if places is None and _same_memory(one, two):
            return True
        if places is not None:
            two = two.take(places)
        if _same_bits(one, two):
            return True
    elif places is None and _same_backing(mine.array, theirs.array):
        return True
    if places is not None:
        theirs = theirs.take(places)
    return _equal(mine, theirs)


def _plain(column: Any) -> Any:
    """The numpy array of a column; `None` for one of another kind."""
    import numpy as np

    kind = column.dtype
    return column.to_numpy() if isinstance(kind, np.dtype) else None


def _same_memory(one: Any, two: Any) -> bool:
    return bool(
        one.__array_interface__["data"] == two.__array_interface__["data"]
        and one.strides == two.strides
        and one.shape == two.shape
    )


def _same_bits(one: Any, two: Any) -> bool:
    import numpy as np

    if one.shape != two.shape or one.dtype != two.dtype:
        return False
    if one.dtype == object:
        return all(a is b for a, b in zip(one.ravel(), two.ravel(), strict=True))
    return bool(np.array_equal(one, two, equal_nan=one.dtype.kind in "fcmM"))


def _same_backing(one: Any, two: Any) -> bool:
    """Whether two extension arrays hold one and the same inner array."""
    inner = getattr(one, "_pa_array", None)
    return inner is not None and inner is getattr(two, "_pa_array", None)


def _equal(mine: Any, theirs: Any) -> bool:
    """Equal in every place, missing values where the other is missing; whatever the dtype."""
    mine, theirs = mine.reset_index(drop=True), theirs.reset_index(drop=True)
    missing = mine.isna()
    if not bool((missing == theirs.isna()).all()):
        return False
    equal = (mine == theirs).fillna(value=False)
    return bool((equal | missing).all())


def _copies_on_write() -> bool:
    """Whether a shallow copy keeps its values when the original changes: pandas 3 and later."""
    import pandas as pd

    return int(pd.__version__.partition(".")[0]) >= 3

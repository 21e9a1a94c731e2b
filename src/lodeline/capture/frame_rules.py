"""What each operation of pandas does to rows: one rule an operation, exact or none.

A rule gets a finished call and says which rows of its operands each row of the result was made of.
Where that is not certain it raises `UnfollowedRowsError`, and the result's rows are lost.
Aggregates and windows are made of every row that they are given, whatever the function does with
it. Values that a program computes from rows and hands back as plain numbers carry no rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from lodeline.capture.frame_managers import SAME, chain
from lodeline.capture.row_tracking import (
    TRACKING,
    Gaps,
    Lists,
    Parent,
    Track,
    Whole,
    Windows,
    listed,
    lists_of_pairs,
    same_rows,
)
from lodeline.capture.table_values import find_names
from lodeline.errors import UnfollowedRowsError

# What operations that choose rows are called in steps, in the words of SQL's.
_WORDS: Final = {
    **dict.fromkeys(("sort_values", "sort_index", "nlargest", "nsmallest"), "sort"),
    **dict.fromkeys(("query", "dropna", "truncate", "loc", "iloc", "take"), "filter"),
    "drop_duplicates": "distinct",
}
_OTHER_VALUES: Final = "values come from an array or a list, whose rows are not known"


@dataclass
class Call:
    """A finished call of an operation.

    Attributes:
        name: of the operation.
        subject: the table that it was called on.
        track: the subject's, as it was before.
        index: likewise.
        manager: likewise.
        names: columns before.
        others: further tables among the arguments, with their tracks; `None` for an unknown one.
        notes: what managers made of what.
        joins: the indexers of joins.
        verified: the subject was compared with its snapshot before, since all that could be
            compared later is overwritten.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    subject: Any = None
    track: Track | None = None
    index: Any = None
    manager: Any = None
    names: list[Any] = field(default_factory=list)
    others: list[tuple[Any, Track | None]] = field(default_factory=list)
    notes: dict[int, tuple[Any, Any, Any]] = field(default_factory=dict)
    joins: list[tuple[Any, Any]] = field(default_factory=list)
    verified: bool = False

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Give an argument by its place (the subject is 0) or its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    @property
    def known(self) -> Track:
        """The subject's track."""
        if self.track is None:
            raise UnfollowedRowsError("the rows of its first operand are not known")
        return self.track


Rule = Callable[[Call, Any], None]


def is_table(thing: Any) -> bool:
    """Whether a thing is a frame or a series."""
    return hasattr(thing, "iloc") and hasattr(thing, "index")


def labels(before: Any, after: Any) -> Any:
    """Find each label of one index in another; `None` where they are the same.

    Raises:
        UnfollowedRowsError: labels repeat.
    """
    if after.is_(before) or (len(after) == len(before) and after.equals(before)):
        return None
    if not before.is_unique:
        raise UnfollowedRowsError("the index has repeated labels")
    return before.get_indexer(after)


def unruled(call: Call, result: Any) -> None:
    """An operation without a rule."""
    del call, result
    raise UnfollowedRowsError("what it does to rows is not followed")


# Rows chosen


def pick(call: Call, result: Any) -> None:
    """Rows of the subject, chosen or reordered."""
    track = call.known
    if not is_table(result):
        return
    frame_to_row = len(call.names) and hasattr(call.subject, "columns")
    if frame_to_row and not hasattr(result, "columns") and _is_one_row(call, result):
        raise UnfollowedRowsError("one row as a series")
    found = _positions(call, result)
    words = _WORDS.get(call.name, call.name)
    if found is None:
        TRACKING.follow(result, track, None, words)
    elif len(found) and found.min() < 0:
        TRACKING.derive(result, words, [(call.subject, track, found)])
    else:
        TRACKING.follow(result, track, found, words)


def _is_one_row(call: Call, result: Any) -> bool:
    """Whether a series out of a frame lies across its columns."""
    return not result.index.is_(call.index) and chain(call.notes, result._mgr, call.manager) is None  # noqa: SLF001  # pandas has no public name for it


def _positions(call: Call, result: Any) -> Any:
    """Positions of a result's rows in the subject; `None` for all in order."""
    found = chain(call.notes, result._mgr, call.manager)  # noqa: SLF001  # as above
    if found is SAME:
        return None
    if found is not None:
        return found
    if call.kwargs.get("ignore_index"):
        raise UnfollowedRowsError("labels are made anew")
    found = labels(call.index, result.index)
    if found is not None and len(found) and found.min() < 0:
        raise UnfollowedRowsError("labels are made anew")
    return found


def column_pick(call: Call, result: Any) -> None:
    """`frame[key]`: columns, or rows by a mask or a slice."""
    if not is_table(result):
        return
    if result.index.is_(call.index) or (
        len(result) == call.known.rows and chain(call.notes, result._mgr, call.manager) is SAME  # noqa: SLF001  # as above
    ):
        TRACKING.follow(result, call.known, None, "columns")
        return
    call.name = "filter"
    pick(call, result)


# Rows kept


def keep(call: Call, result: Any) -> None:
    """The same rows in the same order, with the values that they had."""
    if not is_table(result):
        return
    if len(result) != call.known.rows:
        raise UnfollowedRowsError("the number of rows changed")
    names = find_names(result)
    moved = len(names) == len(call.names) and names != call.names
    fresh = call.name == "reset_index" and names != call.names
    if moved or fresh or not set(names) & set(call.names):
        TRACKING.derive(result, "columns", [(call.subject, call.known, None)])
        return
    news = frozenset(names) - frozenset(call.names)
    TRACKING.follow(result, call.known, None, "columns", changed=news)


def remake(call: Call, result: Any) -> None:
    """The same rows in the same order, with other values; each made of its own row."""
    if not is_table(result):
        return
    parents: list[Parent] = []
    gaps: Gaps = ()
    for thing, track in [(call.subject, call.track), *call.others]:
        if track is None:
            gaps = ((call.name, "the rows of one of its operands are not known"),)
            continue
        before = call.index if thing is call.subject else thing.index
        if hasattr(thing, "columns") != hasattr(result, "columns"):
            raise UnfollowedRowsError("a series is spread over a frame's columns")
        parents.append((thing, track, labels(before, result.index)))
    gaps = gaps or _array_gaps(call)
    TRACKING.derive(result, call.name, parents, gaps)


def _array_gaps(call: Call) -> Gaps:
    values = [*call.args[1:], *call.kwargs.values()]
    arrays = any(hasattr(v, "__array__") and getattr(v, "shape", ()) for v in values)
    unknown = any(_is_values(v) for v in values if not is_table(v)) and arrays
    return ((call.name, _OTHER_VALUES),) if unknown else ()


def _is_values(value: Any) -> bool:
    return bool(getattr(value, "shape", ())) or isinstance(value, (list, tuple, dict, set))


def spread_only(call: Call, result: Any) -> None:
    """Kept rows, if no other table takes part (`fillna(other)`, `where(other)`)."""
    if any(track is not None for _, track in call.others) or call.others:
        raise UnfollowedRowsError("values come from another table")
    method = call.kwargs.get("method")
    if method is not None:
        raise UnfollowedRowsError("values come from other rows")
    remake(call, result)


def set_columns(call: Call, result: Any) -> None:
    """`frame[name] = value`: the column's rows are the value's."""
    del result
    frame = call.subject
    key, value = call.args[1], call.args[2]
    names = _set_names(call, key)
    _set(call, frame, names, value)


def insert_column(call: Call, result: Any) -> None:
    """`frame.insert(place, name, value)`."""
    del result
    _set(call, call.subject, {call.argument(2, "column")}, call.argument(3, "value"))


def _set_names(call: Call, key: Any) -> set[Any]:
    if isinstance(key, list) and not (key and isinstance(key[0], bool)):
        return set(key)
    if is_table(key) or hasattr(key, "__array__") or isinstance(key, (list, slice)):
        return set(call.names)
    return {key}


def _set(call: Call, frame: Any, names: set[Any], value: Any) -> None:
    track = call.known
    if len(frame) != track.rows:
        raise UnfollowedRowsError("the number of rows changed")
    other = next((known for thing, known in call.others if thing is value), None)
    gaps: Gaps = ()
    if other is None and (is_table(value) or _is_values(value)):
        gaps = (("assign", f"column {min(map(str, names))}: its {_OTHER_VALUES}"),)
        loss = TRACKING.find_loss(value)
        gaps = gaps if loss is None else (loss,)
    mapping = None
    if other is not None and is_table(value):
        mapping = labels(value.index, frame.index)
    if other is not None and names >= set(call.names):
        TRACKING.derive(frame, "assign", [(value, other, mapping)])
        return
    _change(call, frame, names, gaps)
    if other is None:
        return
    if mapping is None and same_rows(track, other) and not other.gaps:
        return
    mine = TRACKING.find(frame)
    if mine is None:
        raise UnfollowedRowsError("the frame is another one")
    TRACKING.derive(frame, "assign", [(frame, mine, None), (value, other, mapping)])


def _change(call: Call, frame: Any, names: set[Any], gaps: Gaps) -> None:
    """Rows stay the rows that they are; some columns have other values."""
    if call.verified:
        if gaps:
            raise UnfollowedRowsError(f"every column is overwritten, and {gaps[0][1]}")
        TRACKING.renew(frame, call.known, "assign")
        return
    TRACKING.follow(frame, call.known, None, "assign", changed=frozenset(names), gaps=gaps)


def overwrites(call: Call) -> bool:
    """Whether nothing that could be compared with the snapshot will be left."""
    track = call.known
    if call.name == "__setitem__":
        names = _set_names(call, call.args[1])
    elif call.name == "insert":
        return False
    else:
        names = _cell_columns(call)
    reference = [] if track.reference is None else find_names(track.reference.values)
    return not any(
        name in reference and name not in track.changed and name not in names for name in call.names
    )


def set_cells(call: Call, result: Any) -> None:
    """`frame.loc[rows, columns] = value`: rows stay, values of the columns change."""
    del result
    frame, value = call.subject, call.args[2]
    if len(frame) != call.known.rows:
        raise UnfollowedRowsError("rows were added")
    gaps: Gaps = ()
    if is_table(value) or _is_values(value):
        gaps = ((f"{call.name} assignment", _OTHER_VALUES),)
    _change(call, frame, _cell_columns(call), gaps)


def _cell_columns(call: Call) -> set[Any]:
    """Which columns `loc`, `iloc` and their kin write to; all where that is not plain."""
    key, names = call.args[1], call.names
    column = key[1] if isinstance(key, tuple) and len(key) == 2 else None
    if not hasattr(call.subject, "columns") or column is None:
        return set(names)
    try:
        chosen = names[column] if call.name in {"iloc", "iat"} else column
    except (TypeError, IndexError):
        return set(names)
    if isinstance(chosen, (str, int)):
        return {chosen}
    if isinstance(chosen, list) and all(isinstance(one, str) for one in chosen):
        return set(chosen)
    return set(names)


# Rows joined


def join(call: Call, result: Any) -> None:
    """Two tables' rows by the indexers of the very join that was made."""
    if len(call.joins) != 1 or len(call.others) != 1:
        raise UnfollowedRowsError("more than one join in one call")
    if call.argument(0, "fill_method") is not None and "fill_method" in call.kwargs:
        raise UnfollowedRowsError("values come from other rows")
    parents: list[Parent] = []
    gaps: Gaps = ()
    sides = [(call.subject, call.track), call.others[0]]
    for (thing, track), indexer, side in zip(sides, call.joins[0], ("left", "right"), strict=True):
        count = len(thing) if indexer is None else len(indexer)
        if count != len(result):
            raise UnfollowedRowsError("its indexers do not fit its result")
        if track is None:
            gaps = (*gaps, _unknown_side(thing, call.name, side))
        else:
            parents.append((thing, track, indexer))
    TRACKING.derive(result, call.name, parents, gaps)


def _unknown_side(thing: Any, name: str, side: str) -> tuple[str, str]:
    loss = TRACKING.find_loss(thing)
    return (name, f"the rows of its {side} side are not known") if loss is None else loss


def concat(call: Call, result: Any) -> None:
    """Tables one below the other, or side by side."""
    import numpy as np

    given = call.argument(0, "objs")
    parts = list(given.values()) if isinstance(given, dict) else list(given)
    parts = [part for part in parts if part is not None]
    sideways = call.kwargs.get("axis", call.args[1] if len(call.args) > 1 else 0)
    tracks = {id(thing): track for thing, track in [(call.subject, call.track), *call.others]}
    parents: list[Parent] = []
    gaps: Gaps = ()
    first = 0
    total = sum(len(part) for part in parts)
    below = sideways in {0, "index", "rows"}
    if below and total != len(result):
        raise UnfollowedRowsError("the number of rows changed")
    for part in parts:
        track = tracks.get(id(part))
        if track is None:
            gaps = (*gaps, _unknown_side(part, "concat", "other"))
        elif below:
            places: Any = np.full(total, -1, np.int64)
            places[first : first + len(part)] = np.arange(len(part))
            parents.append((part, track, places))
        else:
            parents.append((part, track, labels(part.index, result.index)))
        first += len(part)
    if below and len(parts) == 1 and parents:
        parents = [(parents[0][0], parents[0][1], None)]
    TRACKING.derive(result, "concat", parents, tuple(dict.fromkeys(gaps)))


# Rows grouped


def _grouper(group: Any) -> Any:
    found = getattr(group, "_grouper", None)
    return group.grouper if found is None else found


def _group_numbers(call: Call) -> tuple[Any, int, Any]:
    """For each row the number of its group, -1 for none; how many groups; their labels."""
    import numpy as np

    group = call.args[0]
    grouper = _grouper(group)
    info = getattr(grouper, "group_info", None)
    numbers = grouper.ids if info is None else info[0]
    if getattr(group, "axis", 0) not in {0, "index"}:
        raise UnfollowedRowsError("groups of columns")
    if len(numbers) != call.known.rows:
        raise UnfollowedRowsError("its groups are not of these rows")
    index = grouper.result_index
    return np.asarray(numbers, np.int64), len(index), index


def group(call: Call, result: Any) -> None:
    """One row a group, made of all rows of the group."""
    import numpy as np

    if not is_table(result):
        return
    numbers, count, index = _group_numbers(call)
    if len(numbers) and numbers.max() >= count:
        raise UnfollowedRowsError("groups without rows")
    if len(result) != count or not _has_labels(result, index):
        _group_by_label(call, result, numbers, index)
        return
    lists = lists_of_pairs(numbers, np.arange(len(numbers)), count)
    TRACKING.derive(result, f"groupby.{call.name}", [(call.subject, call.known, lists)])


def _group_by_label(call: Call, result: Any, numbers: Any, index: Any) -> None:
    """Several rows a group (`apply`, `describe`): the group's labels lead the result's."""
    if call.name not in {"apply", "value_counts"} or result.index.nlevels <= index.nlevels:
        raise UnfollowedRowsError("its result has other rows than one a group")
    if not index.is_unique:
        raise UnfollowedRowsError("groups of the same label")
    extra = list(range(index.nlevels, result.index.nlevels))
    owners = index.get_indexer(result.index.droplevel(extra))
    if len(owners) and owners.min() < 0:
        raise UnfollowedRowsError("its result has other rows than one a group")
    _through_groups(call, result, numbers, len(index), owners)


def _through_groups(call: Call, result: Any, numbers: Any, count: int, owners: Any) -> None:
    """Rows made of whole groups, in two steps: rows to groups, groups to rows."""
    import numpy as np

    lists = lists_of_pairs(numbers, np.arange(len(numbers)), count)
    TRACKING.derive_by_way(
        result, f"groupby.{call.name}", (call.subject, call.known, lists), count, owners
    )


def _has_labels(result: Any, index: Any) -> bool:
    """Whether a result's rows are the groups, in the groups' order."""
    if len(result) != len(index):
        return False
    if result.index.equals(index):
        return True
    names = list(index.names)
    columns = getattr(result, "columns", None)
    if columns is None or any(name is None or name not in columns for name in names):
        return False
    for level, name in enumerate(names):
        column = result[name]
        if hasattr(column, "columns"):
            return False
        if (
            not type(index)(column).equals(index)
            if index.nlevels == 1
            else (list(column) != list(index.get_level_values(level)))
        ):
            return False
    return True


def group_rows(call: Call, result: Any) -> None:
    """As many rows as before, each made of its whole group (`transform`, `rank`)."""
    if not is_table(result):
        return
    numbers, count, _ = _group_numbers(call)
    if len(result) != call.known.rows or not result.index.equals(call.index):
        raise UnfollowedRowsError("its result has other rows than the table")
    if len(numbers) and numbers.min() < 0:
        raise UnfollowedRowsError("rows without a group")
    if len(numbers) and numbers.max() >= count:
        raise UnfollowedRowsError("groups without rows")
    _through_groups(call, result, numbers, count, numbers)


def group_running(call: Call, result: Any) -> None:
    """Each row made of its group's rows up to itself (`cumsum` and its kin)."""
    import numpy as np

    if not is_table(result):
        return
    numbers, _, _ = _group_numbers(call)
    if len(result) != call.known.rows or not result.index.equals(call.index):
        raise UnfollowedRowsError("its result has other rows than the table")
    if len(numbers) and numbers.min() < 0:
        raise UnfollowedRowsError("rows without a group")
    order = np.argsort(numbers, kind="stable")
    where: Any = np.empty(len(order), np.int64)
    where[order] = np.arange(len(order))
    starts = np.searchsorted(numbers[order], numbers, side="left")
    windows = Windows(starts, where + 1)
    lists = listed(windows)
    TRACKING.derive(
        result,
        f"groupby.{call.name}",
        [(call.subject, call.known, Lists(lists.offsets, order[lists.values]))],
    )


def group_shift(call: Call, result: Any) -> None:
    """The row so many before it in its group; `diff` is made of both."""
    import numpy as np
    import pandas as pd

    numbers, _, _ = _group_numbers(call)
    periods = call.argument(1, "periods", 1)
    if not isinstance(periods, int) or call.kwargs.get("freq") is not None:
        raise UnfollowedRowsError("other than by a number of rows")
    if len(result) != call.known.rows or not result.index.equals(call.index):
        raise UnfollowedRowsError("its result has other rows than the table")
    if len(numbers) and numbers.min() < 0:
        raise UnfollowedRowsError("rows without a group")
    rows = pd.Series(np.arange(len(numbers)))
    before = rows.groupby(numbers).shift(periods).fillna(-1).to_numpy().astype(np.int64)
    _with_before(call, result, before, own=call.name != "shift")


def group_pick(call: Call, result: Any) -> None:
    """Rows of groups as they are (`head`, `tail`, `nth`, `filter`, `get_group`, `sample`)."""
    if not is_table(result):
        return
    found = labels(call.index, result.index)
    if found is not None and len(found) and found.min() < 0:
        raise UnfollowedRowsError("labels are made anew")
    TRACKING.follow(result, call.known, found, f"groupby.{call.name}")


# Rows of windows


def shift(call: Call, result: Any) -> None:
    """The row so many before it; `diff` is made of both."""
    import numpy as np

    periods = call.argument(1, "periods", 1)
    if not isinstance(periods, (int, np.integer)) or call.kwargs.get("freq") is not None:
        raise UnfollowedRowsError("other than by a number of rows")
    if call.argument(3, "axis", 0) not in {0, "index", "rows"} and call.name == "shift":
        raise UnfollowedRowsError("of columns")
    if call.name == "diff" and call.argument(2, "axis", 0) not in {0, "index", "rows"}:
        raise UnfollowedRowsError("of columns")
    rows = call.known.rows
    before: Any = np.arange(rows) - int(periods)
    before[(before < 0) | (before >= rows)] = -1
    _with_before(call, result, before, own=call.name != "shift")


def _with_before(call: Call, result: Any, before: Any, *, own: bool) -> None:
    import numpy as np

    if not own:
        TRACKING.derive(result, call.name, [(call.subject, call.known, before)])
        return
    rows = np.arange(len(before))
    lists = lists_of_pairs(np.concatenate([rows, rows]), np.concatenate([rows, before]), len(rows))
    TRACKING.derive(result, call.name, [(call.subject, call.known, lists)])


def fill(call: Call, result: Any) -> None:
    """`ffill`, `bfill`: each row of itself and of the rows that fill its holes."""
    import numpy as np
    import pandas as pd

    if not is_table(result):
        return
    if call.argument(1, "axis", 0) not in {None, 0, "index", "rows"}:
        raise UnfollowedRowsError("across columns")
    if call.kwargs.get("limit_area") is not None or call.kwargs.get("downcast") is not None:
        raise UnfollowedRowsError("with a limited area")
    if result is call.subject:
        raise UnfollowedRowsError("the values before are gone")
    subject = call.subject
    columns = (
        [subject]
        if not hasattr(subject, "columns")
        else [subject.iloc[:, place] for place in range(subject.shape[1])]
    )
    rows = np.arange(call.known.rows)
    pairs = [rows]
    limit = call.kwargs.get("limit")
    for column in columns:
        places = pd.Series(np.where(column.isna().to_numpy(), np.nan, rows))
        fills = places.ffill if call.name in {"ffill", "pad"} else places.bfill
        filled = fills(limit=limit)
        pairs.append(filled.fillna(-1).to_numpy().astype(np.int64))
    lists = lists_of_pairs(np.tile(rows, len(pairs)), np.concatenate(pairs), len(rows))
    TRACKING.derive(result, call.name, [(subject, call.known, lists)])


def running(call: Call, result: Any) -> None:
    """Each row made of all rows up to itself."""
    import numpy as np

    if not is_table(result):
        return
    if call.argument(1, "axis", 0) not in {None, 0, "index", "rows"}:
        raise UnfollowedRowsError("across columns")
    rows = np.arange(call.known.rows)
    windows = Windows(np.zeros(len(rows), np.int64), rows + 1)
    TRACKING.derive(result, call.name, [(call.subject, call.known, windows)])


def window(call: Call, result: Any) -> None:
    """Each row made of its window, by the bounds that pandas itself computes."""
    import numpy as np

    if not is_table(result):
        return
    rolling = call.args[0]
    if getattr(rolling, "axis", 0) not in {0, "index"} or hasattr(rolling, "_grouper"):
        raise UnfollowedRowsError("windows of groups or of columns")
    if getattr(rolling, "method", "single") != "single":
        raise UnfollowedRowsError("windows of whole tables")
    if call.others:
        raise UnfollowedRowsError("windows of two tables")
    rows = call.known.rows
    step = getattr(rolling, "step", None)
    if len(result) != len(range(0, rows, step or 1)):
        raise UnfollowedRowsError("its result has other rows than the table")
    low: Any
    high: Any
    if type(rolling).__name__ == "ExponentialMovingWindow":
        low, high = np.zeros(rows, np.int64), np.arange(1, rows + 1)
    else:
        minimum = rolling.min_periods
        low, high = rolling._get_window_indexer().get_window_bounds(  # noqa: SLF001  # as above
            num_values=rows,
            min_periods=minimum,
            center=getattr(rolling, "center", None),
            closed=getattr(rolling, "closed", None),
            step=step,
        )
    low = np.clip(np.asarray(low, np.int64), 0, rows)
    high = np.clip(np.asarray(high, np.int64), 0, rows)
    words = f"{type(rolling).__name__.lower()}.{call.name}"
    TRACKING.derive(result, words, [(call.subject, call.known, Windows(low, high))])


# Whole inputs


def whole(call: Call, result: Any) -> None:
    """Every row of the result made of every row of the subject."""
    if not is_table(result):
        return
    if call.others:
        raise UnfollowedRowsError("values of two tables")
    if len(result):
        TRACKING.derive(result, call.name, [(call.subject, call.known, Whole())])


def reduce(call: Call, result: Any) -> None:
    """Along rows: whole; along columns: each row of itself."""
    axis = call.argument(1, "axis", 0)
    if axis in {1, "columns"}:
        remake(call, result)
    else:
        whole(call, result)


def apply(call: Call, result: Any) -> None:
    """By rows 1:1; else of the whole table."""
    if not hasattr(call.subject, "columns"):
        if is_table(result) and len(result) == call.known.rows and result.index.equals(call.index):
            remake(call, result)
            return
        whole(call, result)
        return
    if call.argument(2, "axis", 0) in {1, "columns"}:
        if is_table(result) and len(result) == call.known.rows and result.index.equals(call.index):
            parents = [(call.subject, call.known, None)]
            TRACKING.derive(result, "apply by rows", parents)
            return
        raise UnfollowedRowsError("its result has other rows than the table")
    whole(call, result)


# Shapes changed


def melt(call: Call, result: Any) -> None:
    """The table's rows once for each column that is melted."""
    import numpy as np

    rows = call.known.rows
    if not rows or len(result) % rows:
        raise UnfollowedRowsError("its result has other rows than the table")
    places = np.tile(np.arange(rows), len(result) // rows)
    TRACKING.derive(result, "melt", [(call.subject, call.known, places)])


def explode(call: Call, result: Any) -> None:
    """The table's rows, each as often as its list is long, and once where that is empty."""
    import numpy as np

    subject = call.subject
    column = call.argument(1, "column")
    values = subject
    if hasattr(subject, "columns"):
        if isinstance(column, (list, tuple)):
            column = column[0]
        values = subject[column]
    plain = values.reset_index(drop=True).explode()
    places = np.asarray(plain.index, np.int64)
    if len(places) != len(result):
        raise UnfollowedRowsError("its result has other rows than the lists say")
    TRACKING.derive(result, "explode", [(subject, call.known, places)])


def stack(call: Call, result: Any) -> None:
    """The table's rows, found by their labels, which lead the result's."""
    levels = result.index.nlevels - call.index.nlevels
    if levels < 1:
        raise UnfollowedRowsError("its result has other labels")
    outer = result.index.droplevel(list(range(-levels, 0)))
    if not call.index.is_unique:
        raise UnfollowedRowsError("the index has repeated labels")
    places = call.index.get_indexer(outer)
    if len(places) and places.min() < 0:
        raise UnfollowedRowsError("its result has other labels")
    TRACKING.derive(result, "stack", [(call.subject, call.known, places)])


def unstack(call: Call, result: Any) -> None:
    """Rows that become one row: those whose other labels are the same."""
    level = call.argument(1, "level", -1)
    if not hasattr(result, "columns") or call.index.nlevels < 2:
        raise UnfollowedRowsError("of one level")
    _by_key(call, result, call.index.droplevel(level), None)


def pivot(call: Call, result: Any) -> None:
    """Rows that become one row: those of the same key."""
    import pandas as pd

    options = call.kwargs
    if options.get("margins") or not hasattr(result, "columns"):
        raise UnfollowedRowsError("with margins")
    place = 2 if call.name == "pivot_table" else 3
    keys = call.args[place] if len(call.args) > place else options.get("index", _NO_KEY)
    across = options.get("columns", call.args[place + 1] if len(call.args) > place + 1 else None)
    kept = None
    if call.name == "pivot_table":
        across = [across] if isinstance(across, str) else across or []
        kept = call.subject[across].notna().all(axis=1).to_numpy() if across else None
    if keys is _NO_KEY or keys is None:
        if call.name == "pivot_table":
            raise UnfollowedRowsError("without an index")
        _by_key(call, result, call.index, kept)
        return
    names = [keys] if isinstance(keys, str) else keys
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UnfollowedRowsError("by something other than columns")
    if len(names) == 1:
        key = pd.Index(call.subject[names[0]])
    else:
        key = pd.MultiIndex.from_frame(call.subject[names])
    _by_key(call, result, key, kept)


_NO_KEY: Final = object()


def _by_key(call: Call, result: Any, key: Any, kept: Any) -> None:
    import numpy as np

    if not result.index.is_unique or key.nlevels != result.index.nlevels:
        raise UnfollowedRowsError("its result has other labels")
    owners = np.asarray(result.index.get_indexer(key), np.int64)
    if kept is not None:
        owners = np.where(kept, owners, -1)
    found = np.unique(owners[owners >= 0])
    if len(found) != len(result):
        raise UnfollowedRowsError("its result has other labels")
    lists = lists_of_pairs(owners, np.arange(len(owners)), len(result))
    TRACKING.derive(result, call.name, [(call.subject, call.known, lists)])


def dummies(call: Call, result: Any) -> None:
    """`get_dummies`: each row of itself."""
    if not is_table(result) or len(result) != call.known.rows:
        raise UnfollowedRowsError("its result has other rows than the table")
    TRACKING.derive(result, call.name, [(call.subject, call.known, None)])


def bins(call: Call, result: Any) -> None:
    """`cut`: each row of itself; edges that are computed come from the whole column."""
    if not is_table(result) or len(result) != call.known.rows:
        return
    given = call.argument(1, "bins", call.argument(1, "q"))
    gaps: Gaps = ()
    if isinstance(given, int) or call.name == "qcut":
        gaps = ((call.name, "its edges are computed from the whole column"),)
    TRACKING.derive(result, call.name, [(call.subject, call.known, None)], gaps)

"""Which other rows an expression of polars looks at: groups, windows, rows before and after.

An expression's tree is read into *looks*. Rows that it takes a value from are taken along as one
more hidden column, by the very operation (`shift`, filling). Rows of which it makes one value are
told by place: hidden columns say where each row stood, of how many, and in which group. When the
plan was run, and every one of those rows is still there, once, groups and windows follow from the
places; where rows went meanwhile, the looks are a gap.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lodeline.capture.polars_expressions import is_local, is_local_function, parts_of
from lodeline.capture.row_tracking import Gaps, Lists, Track, Windows, middle_track
from lodeline.limits import ROW_WINDOW_LINKS_MAX

_AGGREGATES: Final = frozenset(
    {"Min", "Max", "Median", "NUnique", "First", "Last", "Mean", "Implode", "Count", "Sum", "Std"}
    | {"Var", "Quantile"}
)
_RUNNING: Final = frozenset({"CumSum", "CumProd", "CumMin", "CumMax", "CumCount"})
_FILLS: Final = {"ForwardFill": True, "BackwardFill": False}


@dataclass(frozen=True)
class Look:
    """What an expression looks at, beside its own row.

    Attributes:
        kind: `group`, `window`, or `taken`: a value of one other row.
        keys: trees of the expressions that divide rows into groups; none for all rows.
        before: rows of a window before the row's own; `None` for all.
        after: likewise, after it.
        offset: of a row taken by `shift`.
        filled: the tree of a column whose holes are filled from other rows.
        forward: holes are filled from rows before.
        limit: how many holes in a row are filled; `None` for all.
    """

    kind: str
    keys: tuple[str, ...] = ()
    before: int | None = None
    after: int | None = None
    offset: int = 0
    filled: str = ""
    forward: bool = True
    limit: int | None = None


@dataclass(eq=False)
class View:
    """The rows that some looks were taken over, as they stood then.

    Attributes:
        words: of the operation.
        numbers: hidden columns that numbered those rows' sources then.
    """

    words: str
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mark:
    """What a hidden column says of a view: `place`, `count`, or the groups of one look.

    Of role `gone` it says nothing any more.
    """

    view: View
    role: str
    look: Look | None = None


GONE: Final = Mark(View(""), "gone")


def find_looks(trees: Iterable[Any]) -> list[Look] | None:
    """Read what expressions look at; `None` where that is not known."""
    found: dict[Look, None] = {}
    for tree in trees:
        try:
            looks = _looks(tree, ())
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, StopIteration):
            return None  # Written otherwise than in the releases that are known here.
        if looks is None:
            return None
        found.update(dict.fromkeys(looks))
    return list(found)


def _looks(tree: Any, keys: tuple[str, ...]) -> list[Look] | None:
    if is_local(tree):
        return []
    if tree == "Len":
        return [Look("group", keys)]
    if not isinstance(tree, dict) or len(tree) != 1:
        return None
    ((kind, body),) = tree.items()
    if kind in {"Over", "Window"}:
        return None if keys else _over(body)
    if kind == "Agg":
        return _aggregate(body, keys)
    if kind == "Function" and not is_local_function(body):
        return _function(body, keys)
    if kind not in {"Function", "Alias", "BinaryExpr", "Ternary", "Cast"}:
        return None
    found: list[Look] = []
    for part in parts_of(kind, body):
        looks = _looks(part, keys)
        if looks is None:
            return None
        found += looks
    return found


def _over(body: Any) -> list[Look] | None:
    whole = body.get("mapping", (body.get("options") or {}).get("Over")) == "GroupsToRows"
    if (
        not whole
        or body.get("order_by") is not None
        or not all(map(is_local, body["partition_by"]))
    ):
        return None
    keys = tuple(json.dumps(key) for key in body["partition_by"])
    return _looks(body["function"], keys) if keys else None


def _aggregate(body: Any, keys: tuple[str, ...]) -> list[Look] | None:
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= _AGGREGATES:
        return None
    (inner,) = body.values()
    if isinstance(inner, dict):
        inner = inner.get("input", inner.get("expr", inner))
    return [Look("group", keys)] if is_local(inner) else None


def _function(body: Any, keys: tuple[str, ...]) -> list[Look] | None:
    """Read a function that looks at other rows of its first input."""
    named, inputs = body["function"], body["input"]
    name, options = next(iter(named.items())) if isinstance(named, dict) else (named, None)
    if not inputs or not is_local(inputs[0]):
        return None
    if name in _RUNNING:
        reverse = bool((options or {}).get("reverse"))
        return [Look("window", keys, *((0, None) if reverse else (None, 0)))]
    if name in {"Shift", "ShiftAndFill", "Diff", "PctChange"}:
        return _taken(name, options, inputs, keys)
    if name == "Quantile":
        return [Look("group", keys)]
    if name == "RollingExpr":
        return _rolling(options, keys)
    if name == "FillNullWithStrategy":
        strategy, limit = next(iter(options.items())) if isinstance(options, dict) else ("", None)
        name, options = f"{strategy}Fill", {"limit": limit}
    if name not in _FILLS:
        return None
    limit = (options or {}).get("limit")
    filled = json.dumps(inputs[0])
    return [Look("taken", keys, filled=filled, forward=_FILLS[name], limit=limit)]


def _taken(name: str, options: Any, inputs: list[Any], keys: tuple[str, ...]) -> list[Look] | None:
    if name == "Diff" and isinstance(options, list):
        offset, options = options
    else:
        offset = _integer(inputs[1]) if len(inputs) > 1 else None
    constant = all(isinstance(one, dict) and "Literal" in one for one in inputs[1:])
    if type(offset) is not int or not constant or (name == "Diff" and options != "Ignore"):
        return None
    return [Look("taken", keys, offset=offset)]


def _rolling(options: Any, keys: tuple[str, ...]) -> list[Look] | None:
    if not isinstance(options, dict):
        return None
    stated = options["options"] if "options" in options else next(iter(options.values()))
    size = stated.get("window_size") if isinstance(stated, dict) else None
    if type(size) is not int or size < 1:
        return None
    if stated.get("center"):
        return [Look("window", keys, size // 2, (size + 1) // 2 - 1)]
    return [Look("window", keys, size - 1, 0)]


def _integer(tree: Any) -> int | None:
    value = tree.get("Literal") if isinstance(tree, dict) else None
    while isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    return value if type(value) is int else None


# In a plan


def taken_columns(looks: Iterable[Look], hidden: Iterable[str]) -> dict[tuple[Look, str], Any]:
    """Give, for each row that is taken and each hidden column, what takes the number along."""
    import polars as pl

    found: dict[tuple[Look, str], Any] = {}
    for look in looks:
        if look.kind != "taken":
            continue
        for name in hidden:
            number = pl.col(name)
            if look.filled:
                number = pl.when(_expression(look.filled).is_not_null()).then(number)
                filling = number.forward_fill if look.forward else number.backward_fill
                number = filling(look.limit)
            else:
                number = number.shift(look.offset)
            if look.keys:
                number = number.over([_expression(key) for key in look.keys])
            found[look, name] = number
    return found


def group_column(look: Look, place: str) -> Any:
    """Give what names the group of each row: the first place in it."""
    import polars as pl

    return pl.col(place).first().over([_expression(key) for key in look.keys])


def _expression(tree: str) -> Any:
    import polars as pl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Expr.deserialize(io.BytesIO(tree.encode()), format="json")


# In a result


def looked_at(
    made: Any, marks: Mapping[str, Mark], parents: Mapping[str, tuple[Track, Any]]
) -> tuple[list[tuple[Track, Any]], Gaps]:
    """Tell the rows that each row of a result looked at.

    Args:
        made: the result, with its hidden columns.
        marks: of hidden columns.
        parents: by hidden column: a track, and the row of it that each row was made of.

    Returns:
        Tracks with the rows of theirs that each row was made of; and what is not among them.
    """
    found: list[tuple[Track, Any]] = []
    gaps: list[tuple[str, str]] = []
    looks: dict[View, dict[Look, None]] = {}
    for mark in marks.values():
        if mark.look is not None:
            looks.setdefault(mark.view, {})[mark.look] = None
    for view, some in looks.items():
        places = _places(made, marks, view)
        if places is None or not parents.keys() >= set(view.numbers):
            gaps.append((view.words, "rows that an expression looks at, and that went afterwards"))
            continue
        # Those rows as they stood then: what was joined to them later they were not made of.
        own = middle_track(view.words, [parents[name] for name in view.numbers], len(places))
        for look in some:
            column = [
                name for name, mark in marks.items() if (mark.view, mark.look) == (view, look)
            ]
            if look.keys and len(column) != 1:
                gaps.append((view.words, "the groups of its rows"))
                continue
            groups = made[column[0]].to_numpy() if look.keys else None
            parent = _rows_of(look, view.words, places, groups, own)
            if parent is None:
                gaps.append((view.words, "its windows hold too many rows"))
            else:
                found.append(parent)
    return found, tuple(gaps)


def _places(made: Any, marks: Mapping[str, Mark], view: View) -> Any:
    """Give where each row stood; `None` unless every row is there, once."""
    import numpy as np

    named = {
        role: [name for name, mark in marks.items() if (mark.view, mark.role) == (view, role)]
        for role in ("place", "count")
    }
    if any(len(names) != 1 for names in named.values()):
        return None
    columns = [made[names[0]] for names in named.values()]
    if any(column.dtype.is_nested() or column.null_count() for column in columns):
        return None
    places, counts = (column.to_numpy().astype(np.int64) for column in columns)
    whole = bool((counts == len(places)).all())
    return places if whole and np.array_equal(np.sort(places), np.arange(len(places))) else None


def _rows_of(
    look: Look, words: str, places: Any, groups: Any, own: Track
) -> tuple[Track, Any] | None:
    """Tell the rows of one look: windows over the rows ordered by group, then by place."""
    import numpy as np

    count = len(places)
    order = np.argsort(places) if groups is None else np.lexsort((places, groups))
    inverse: Any = np.empty(count, np.int64)
    inverse[order] = np.arange(count)
    starts: Any = np.zeros(min(count, 1), np.int64)
    if groups is not None and count:
        ordered = groups[order]
        starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    offsets: Any = np.append(starts, count)
    owners: Any = np.searchsorted(starts, np.arange(count), side="right") - 1
    owners = owners[inverse]
    ranked = middle_track(words, [(own, order)], count)
    if look.kind == "group":
        members = Lists(offsets, np.arange(count))
        return middle_track(words, [(ranked, members)], len(starts)), owners
    first, last = offsets[owners], offsets[owners + 1]
    low = first if look.before is None else np.maximum(first, inverse - look.before)
    high = last if look.after is None else np.minimum(last, inverse + look.after + 1)
    if int((high - low).sum()) > ROW_WINDOW_LINKS_MAX:
        return None
    return ranked, Windows(low, high)

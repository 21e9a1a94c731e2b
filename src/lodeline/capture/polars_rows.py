"""Following rows through polars: a second plan with row numbers, of which one is ever run.

Beside each lazy frame that is followed stands its *twin*: the same plan, in which every source has
a hidden column of row numbers. An operation on the frame is done to the twin, too, which costs
nothing but a plan. When the frame is collected the twin is run in its place, the hidden columns are
taken off the result, and they are the links: of the very execution that gave the program its rows.
Eager operations of polars are lazy ones that are collected at once, so the same holds for them.

Wildcards and selectors are kept from meeting the hidden columns; where that cannot be made sure,
and for operations that are not listed here, there is no twin: the program's own plan runs, and its
rows are lost by the name of the operation.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, Final

from lodeline.capture.datasets import find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.polars_expressions import has_column, is_local, read, without
from lodeline.capture.polars_looks import (
    GONE,
    Mark,
    View,
    find_looks,
    group_column,
    looked_at,
    taken_columns,
)
from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_steps import Anchor, file_anchor
from lodeline.capture.row_tracking import (
    LOCAL,
    TRACKING,
    Gaps,
    Source,
    Track,
    lists_of_pairs,
)
from lodeline.errors import UnfollowedRowsError

_PREFIX: Final = "__lodeline_rows_"
_NUMBERS: Final = itertools.count()
_CARRIED: Final = (
    *("filter", "head", "tail", "slice", "limit", "first", "last", "sort", "reverse", "rename"),
    *("gather_every", "top_k", "bottom_k", "drop", "explode", "set_sorted", "cache", "clone"),
    *("with_row_index", "with_row_count", "fill_nan", "remove", "lazy"),
)
_SUBSETS: Final = ("unique", "drop_nulls", "drop_nans")
_JOINS: Final = ("join", "join_asof", "join_where")
_GROUPS: Final = ("group_by", "rolling", "group_by_dynamic")
_NATIVE: Final = ("head", "tail", "slice", "sample")
_ALIGNED: Final = (
    *("with_row_index", "with_row_count", "clone", "rechunk", "hstack", "shrink_to_fit"),
)
# Options by which readers leave lines out.
_LEFT_OUT: Final = (
    *("skip_rows", "skip_rows_after_header", "comment_prefix", "ignore_errors", "skip_lines"),
)
_COLLECTED: Final = ("collect", "_collect_eager")


@dataclass(eq=False)
class Twin:
    """A plan with hidden columns of row numbers.

    Attributes:
        plan: a lazy frame, or a lazy group-by.
        hidden: for each hidden column the track whose rows it numbers, or what it marks.
        files: scanned ones, as they were bound.
        gaps: what is not among the links.
        words: what was done on the way.
        nullable: a hidden column may hold nulls.
    """

    plan: Any
    hidden: dict[str, Track | Mark]
    files: dict[str, Anchor] = field(default_factory=dict)
    gaps: Gaps = ()
    words: tuple[str, ...] = ()
    nullable: bool = False


class _Twins:
    """The twins of this process, by weak identity."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[weakref.ref[Any], Twin]] = {}

    def put(self, thing: Any, twin: Twin) -> None:
        key, known = id(thing), self.known
        known[key] = (weakref.ref(thing, lambda _: known.pop(key, None)), twin)

    def find(self, thing: Any) -> Twin | None:
        entry = self.known.get(id(thing))
        return None if entry is None or entry[0]() is not thing else entry[1]


TWINS: Final = _Twins()

Rule = Callable[[Any, Twin, str, Any, tuple[Any, ...], dict[str, Any]], Twin]


def follow_polars(patches: Patches) -> None:
    """Patch lazy frames and group-bys, the few operations that are eager by nature, and readers."""
    import polars as pl

    rules = _rules()
    for name, value in list(vars(pl.LazyFrame).items()):
        if not isinstance(value, FunctionType) or name in {"pipe", "collect_schema", "_from_pyldf"}:
            continue
        if name in _COLLECTED:
            _patch(patches, pl.LazyFrame, name, _collecting(value))
        elif name in _GROUPS:
            _patch(patches, pl.LazyFrame, name, _grouping(name, value))
        elif not name.startswith("_"):
            _patch(patches, pl.LazyFrame, name, _planning(name, value, rules.get(name)))
    lazy = vars(pl.DataFrame)["lazy"]
    _patch(patches, pl.DataFrame, "lazy", _entering(lazy))
    group = type(pl.LazyFrame({"a": [1]}).group_by("a"))
    _patch(patches, group, "agg", _aggregating(vars(group)["agg"]))
    for name, value in list(vars(pl.DataFrame).items()):
        if (
            isinstance(value, FunctionType)
            and name != "lazy"
            and (not name.startswith("_") or name == "__getitem__")
        ):
            _patch(patches, pl.DataFrame, name, _eager(name, value))
    _patch(patches, pl, "concat", _concatenating(pl.concat))
    for name in ("read_csv", "read_parquet", "read_ndjson"):
        _patch(patches, pl, name, _reading(name, getattr(pl, name)))
    for name in ("scan_csv", "scan_parquet", "scan_ndjson"):
        _patch(patches, pl, name, _scanning(name, getattr(pl, name)))


def _patch(patches: Patches, owner: Any, name: str, wrapper: Any) -> None:
    patches.replace(owner, name, patches.finish(wrapper, vars(owner)[name]))


def _active() -> bool:
    return not LOCAL.busy and (TRACKING.active or bool(TWINS.known))


def _fresh() -> str:
    return f"{_PREFIX}{next(_NUMBERS)}"


# Plans


def _rules() -> dict[str, Rule]:
    found: dict[str, Rule] = dict.fromkeys(_CARRIED, _carry)
    found |= dict.fromkeys(_SUBSETS, _subset)
    found |= dict.fromkeys(_JOINS, _join)
    found |= dict.fromkeys(("with_columns", "with_columns_seq"), _with_columns)
    found |= dict.fromkeys(("select", "select_seq"), _select)
    found |= {"shift": _shift, "unpivot": _unpivot, "fill_null": _fill, "cast": _cast}
    return found


def _planning(name: str, original: Any, rule: Rule | None) -> Any:
    def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _active():
            return original(self, *args, **kwargs)
        twin = TWINS.find(self)
        LOCAL.busy = 1
        try:
            result = original(self, *args, **kwargs)
            if type(result) is type(self):
                _plan(self, twin, name, original, rule, result, args, kwargs)
        finally:
            LOCAL.busy = 0
        return result

    return lodeline


def _plan(
    frame: Any,
    twin: Twin | None,
    name: str,
    original: Any,
    rule: Rule | None,
    result: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Do to the twin what was done to the frame."""
    try:
        if twin is None:
            other = args[0] if args and name in _JOINS else None
            loss = TRACKING.find_loss(frame) or TRACKING.find_loss(other)
            if TWINS.find(other) is not None:
                if loss is None:
                    loss = (name, "the rows of its left side are not known")
                twin = Twin(frame, {}, gaps=(loss,))
            elif loss is not None and result is not frame:
                TRACKING.lose(result, *loss)
        if twin is None or result is frame:
            return
        made = (rule or _unruled)(original, twin, name, frame, args, kwargs)
        made.words = (*made.words, name) if name not in made.words else made.words
        TWINS.put(result, made)
    except UnfollowedRowsError as reason:
        TRACKING.lose(result, name, str(reason))
    except Exception as error:  # capture's outermost door
        TRACKING.lose(result, name, "a fault of the recorder's own")
        RECORDER.trouble(f"rows.polars.{name}", error)


def _unruled(*_: Any) -> Twin:
    raise UnfollowedRowsError("what it does to rows is not followed")


def _hide(twin: Twin, args: Any, kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    hidden = list(twin.hidden)
    return [without(one, hidden) for one in args], {
        name: without(value, hidden) for name, value in kwargs.items()
    }


def _carry(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del frame
    if name in {"drop", "rename"} and any(callable(one) for one in args):
        raise UnfollowedRowsError("columns chosen by a function")
    given, named = _hide(twin, args, kwargs)
    return replace(twin, plan=original(twin.plan, *given, **named))


def _subset(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del name
    options = dict(kwargs)
    subset = args[0] if args else options.pop("subset", None)
    if subset is None:
        subset = frame.collect_schema().names()
    subset = without(subset, list(twin.hidden))
    return replace(twin, plan=original(twin.plan, subset, *args[1:], **options))


def _join(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del frame
    other = args[0] if args else kwargs["other"]
    rest: tuple[Any, ...] = tuple(args[1:])
    named = {key: value for key, value in kwargs.items() if key != "other"}
    how = named.get("how", rest[1] if len(rest) > 1 else "inner") if name == "join" else "left"
    theirs = TWINS.find(other)
    gaps = twin.gaps
    if theirs is None:
        loss = TRACKING.find_loss(other)
        gaps = (*gaps, loss or (name, "the rows of its right side are not known"))
        theirs = Twin(other, {})
    renamed = {old: _fresh() for old in theirs.hidden}
    right = theirs.plan.rename(renamed) if renamed else other
    hidden = dict(twin.hidden)
    if how not in {"semi", "anti"}:
        hidden |= {renamed[old]: track for old, track in theirs.hidden.items()}
    given, named = _hide(replace(twin, hidden=hidden), rest, named)
    nullable = twin.nullable or theirs.nullable or how not in {"inner", "semi", "anti", "cross"}
    plan = original(twin.plan, right, *given, **named)
    files = {**twin.files, **theirs.files}
    return Twin(plan, hidden, files, (*gaps, *theirs.gaps), (*twin.words, *theirs.words), nullable)


def _trees(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """The trees of all expressions of a call; a name is a column, any other value a constant."""
    flat: list[Any] = []
    for one in (*args, *kwargs.values()):
        flat += list(one) if isinstance(one, (list, tuple)) else [one]
    trees: list[Any] = []
    for one in flat:
        if isinstance(one, str):
            trees.append({"Column": one})
        elif hasattr(one, "meta"):
            trees.append(read(one))
        elif hasattr(one, "to_frame"):
            trees.append({"Series": None})
        else:
            trees.append({"Literal": None})
    return trees


def _with_columns(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del frame
    given, named = _hide(twin, args, kwargs)
    trees = _trees(args, kwargs)
    if all(is_local(tree) for tree in trees):
        return replace(twin, plan=original(twin.plan, *given, **named))
    seeing, columns = _looking(twin, name, trees)
    return replace(seeing, plan=original(seeing.plan, *_flat(given), *columns, **named))


def _flat(given: list[Any]) -> list[Any]:
    """Spread lists of expressions: beside others they would be constants."""
    flat: list[Any] = []
    for one in given:
        flat += list(one) if isinstance(one, (list, tuple)) else [one]
    return flat


def _looking(twin: Twin, name: str, trees: list[Any]) -> tuple[Twin, list[Any]]:
    """Prepare a twin for expressions that look at other rows; and the hidden columns they need."""
    import polars as pl

    looks = find_looks(trees)
    numbers = [one for one, track in twin.hidden.items() if isinstance(track, Track)]
    schema = twin.plan.collect_schema() if looks else {}
    if looks is None or any(schema[one].is_nested() for one in numbers):
        told = (name, "rows that an expression looks at beside its own")
        return replace(twin, gaps=_one_more(twin.gaps, told)), []
    # What was looked at before is known of the rows as they are, not of those looked at now.
    hidden = {one: at if isinstance(at, Track) else GONE for one, at in twin.hidden.items()}
    gaps, columns = twin.gaps, []
    if len(numbers) < len(hidden):
        told = (name, "rows that an earlier expression looked at")
        gaps = _one_more(gaps, told)
    for (_, number), taking in taken_columns(looks, numbers).items():
        fresh = _fresh()
        hidden[fresh] = twin.hidden[number]
        columns.append(taking.alias(fresh))
    plan, placed = twin.plan, [look for look in looks if look.kind != "taken"]
    if placed:
        view, place, count = View(name, tuple(numbers)), _fresh(), _fresh()
        length = pl.len().cast(pl.Int64)
        at = pl.int_range(0, pl.len(), dtype=pl.Int64)
        plan = plan.with_columns(at.alias(place), length.alias(count))
        hidden |= {place: Mark(view, "place"), count: Mark(view, "count")}
        for look in placed:
            group = _fresh()
            column = group_column(look, place) if look.keys else pl.col(place)
            hidden[group] = Mark(view, "group", look)
            columns.append(column.alias(group))
    taken = len(placed) < len(looks)
    nullable = twin.nullable or taken
    return replace(twin, plan=plan, hidden=hidden, nullable=nullable, gaps=gaps), columns


def _select(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    import polars as pl

    del frame
    given, named = _hide(twin, args, kwargs)
    trees = _trees(args, kwargs)
    local = [is_local(tree) for tree in trees]
    # One column of the table in its place makes the result as long as the table.
    if not any(one and has_column(tree) for one, tree in zip(local, trees, strict=True)):
        raise UnfollowedRowsError("no column keeps its rows")
    more: list[Any] = []
    if not all(local):
        twin, more = _looking(twin, name, trees)
    made = {column.meta.output_name() for column in more}
    columns = [pl.col(one) for one in twin.hidden if one not in made]
    return replace(twin, plan=original(twin.plan, *_flat(given), *columns, *more, **named))


def _shift(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del name, frame
    if kwargs.get("fill_value") is not None:
        raise UnfollowedRowsError("with values for what is missing")
    return replace(twin, plan=original(twin.plan, *args, **kwargs), nullable=True)


def _unpivot(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del name
    if len(args) > 1:
        raise UnfollowedRowsError("with options by place")
    options = dict(kwargs)
    on = args[0] if args else options.pop("on", None)
    index = options.pop("index", None)
    index = [index] if isinstance(index, str) else list(index or ())
    if not all(isinstance(one, str) for one in index):
        raise UnfollowedRowsError("columns chosen by a selector")
    if on is None:
        on = [one for one in frame.collect_schema().names() if one not in index]
    on = without(on, list(twin.hidden))
    options["index"] = [*index, *twin.hidden]
    return replace(twin, plan=original(twin.plan, on, **options))


def _fill(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    strategy = args[1] if len(args) > 1 else kwargs.get("strategy")
    value = args[0] if args else kwargs.get("value")
    if strategy in {"forward", "backward"} and value is None:
        # Column by column, so that holes in the hidden columns stay what they are.
        import polars as pl

        limit = args[2] if len(args) > 2 else kwargs.get("limit")
        columns = [
            pl.col(one).fill_null(strategy=strategy, limit=limit)
            for one in frame.collect_schema().names()
        ]
        seeing, more = _looking(twin, name, [read(column) for column in columns])
        return replace(seeing, plan=seeing.plan.with_columns(*columns, *more))
    if twin.nullable:
        raise UnfollowedRowsError("after rows without a match")
    gaps = twin.gaps
    if strategy not in {None, "zero", "one"}:
        gaps = _one_more(gaps, (name, "the rows that holes were filled from"))
    return replace(twin, plan=original(twin.plan, *args, **kwargs), gaps=gaps)


def _cast(
    original: Any, twin: Twin, name: str, frame: Any, args: Any, kwargs: dict[str, Any]
) -> Twin:
    del name, frame
    if not args or not isinstance(args[0], dict) or not all(isinstance(k, str) for k in args[0]):
        raise UnfollowedRowsError("of columns chosen by a selector")
    return replace(twin, plan=original(twin.plan, *args, **kwargs))


def _one_more(gaps: Gaps, gap: tuple[str, str]) -> Gaps:
    return gaps if gap in gaps else (*gaps, gap)


# Groups


def _grouping(name: str, original: Any) -> Any:
    def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        twin = TWINS.find(self) if _active() else None
        if twin is not None:
            LOCAL.busy = 1
            try:
                given, named = _hide(twin, args, kwargs)
                plan = original(twin.plan, *given, **named)
                TWINS.put(result, replace(twin, plan=plan, words=(*twin.words, name)))
            except UnfollowedRowsError as reason:
                TRACKING.lose(result, name, str(reason))
            except Exception as error:  # capture's outermost door
                RECORDER.trouble(f"rows.polars.{name}", error)
            finally:
                LOCAL.busy = 0
        elif _active() and TRACKING.find_loss(self) is not None:
            TRACKING.lose(result, *(TRACKING.find_loss(self) or ("", "")))
        return result

    return lodeline


def _aggregating(original: Any) -> Any:
    def lodeline(self: Any, *aggs: Any, **named: Any) -> Any:
        if not _active():
            return original(self, *aggs, **named)
        twin = TWINS.find(self)
        LOCAL.busy = 1
        try:
            result = original(self, *aggs, **named)
            _aggregate(original, self, twin, result, aggs, named)
        finally:
            LOCAL.busy = 0
        return result

    return lodeline


def _aggregate(
    original: Any, group: Any, twin: Twin | None, result: Any, aggs: Any, named: dict[str, Any]
) -> None:
    import polars as pl

    try:
        if twin is None:
            loss = TRACKING.find_loss(group)
            if loss is not None:
                TRACKING.lose(result, *loss)
            return
        given, options = _hide(twin, aggs, named)
        columns = [pl.col(name) for name in twin.hidden]
        flat: list[Any] = []
        for one in given:
            flat += one if isinstance(one, list) else [one]
        plan = original(twin.plan, *flat, *columns, **options)
        TWINS.put(result, replace(twin, plan=plan, nullable=False))
    except UnfollowedRowsError as reason:
        TRACKING.lose(result, "group_by", str(reason))
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("rows.polars.agg", error)


# Execution


def _entering(original: Any) -> Any:
    """`DataFrame.lazy()`: the twin has the numbers of the frame's rows."""

    def lodeline(self: Any) -> Any:
        result = original(self)
        if not _active():
            return result
        track = TRACKING.find(self)
        if track is None:
            loss = TRACKING.find_loss(self)
            if loss is not None:
                TRACKING.lose(result, *loss)
            return result
        LOCAL.busy = 1
        try:
            if TRACKING.verify(self, track):
                name = _fresh()
                TWINS.put(result, Twin(original(_numbered(self, name)), {name: track}))
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("rows.polars.lazy", error)
        finally:
            LOCAL.busy = 0
        return result

    return lodeline


def _numbered(frame: Any, name: str) -> Any:
    import polars as pl

    return frame.hstack([pl.int_range(0, frame.height, eager=True).alias(name)])


def _collecting(original: Any) -> Any:
    def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        twin = TWINS.find(self) if _active() else None
        if twin is None or kwargs.get("background"):
            result = original(self, *args, **kwargs)
            loss = TRACKING.find_loss(self)
            if loss is not None and not LOCAL.busy and hasattr(result, "height"):
                TRACKING.lose(result, *loss)
            return result
        LOCAL.busy = 1
        try:
            made = original(twin.plan, *args, **kwargs)
        except Exception as error:
            if _PREFIX not in str(error):
                raise
            return original(self, *args, **kwargs)
        finally:
            LOCAL.busy = 0
        result = _take_off(made, twin)
        if not _as_planned(self, result):
            TRACKING.lose(self, "collect", "the columns of the plan with row numbers are others")
            return original(self, *args, **kwargs)
        return result

    return lodeline


def _as_planned(frame: Any, result: Any) -> bool:
    """Whether a twin gave the columns and types that the program's own plan promises."""
    try:
        return bool(frame.collect_schema() == result.schema)
    except Exception:  # then the program's own plan fails, too, and says why
        return False


def _take_off(made: Any, twin: Twin) -> Any:
    """Take the hidden columns off a result, and make its track of them."""
    LOCAL.busy = 1
    try:
        result = made.drop(list(twin.hidden))
        try:
            if not _unchanged(twin.files):
                TRACKING.lose(result, "scan", "the file changed meanwhile")
            else:
                _adopt(result, made, twin)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("rows.polars.collect", error)
    finally:
        LOCAL.busy = 0
    return result


def _adopt(result: Any, made: Any, twin: Twin) -> None:
    """Make the track of a result of its hidden columns."""
    words = ", ".join(dict.fromkeys(twin.words)) or "copy"
    gaps = tuple(dict.fromkeys(twin.gaps))
    tracks = {name: one for name, one in twin.hidden.items() if isinstance(one, Track)}
    marks = {name: one for name, one in twin.hidden.items() if isinstance(one, Mark)}
    parents = {name: (track, _mapping(made[name])) for name, track in tracks.items()}
    if not parents:
        if gaps:
            TRACKING.lose(result, *gaps[0])
        return
    seen, more = looked_at(made, marks, parents)
    told = tuple(dict.fromkeys([*gaps, *more]))
    TRACKING.adopt(result, words, [*parents.values(), *seen], told)


def _unchanged(files: dict[str, Anchor]) -> bool:
    """Whether scanned files are those that they were when their rows were bound."""
    bound = ((file_anchor(path), anchor) for path, anchor in files.items())
    return all(now is not None and now[0] == anchor for now, anchor in bound)


def _mapping(column: Any) -> Any:
    import numpy as np

    if column.dtype.is_nested():
        counts = column.list.len().fill_null(0)
        owners: Any = np.repeat(np.arange(len(column)), counts.to_numpy())
        values = column.filter(counts > 0).explode()
        while values.dtype.is_nested():
            inner = values.list.len().fill_null(0)
            owners = np.repeat(owners, inner.to_numpy())
            values = values.filter(inner > 0).explode()
        rows = values.cast(_int64()).fill_null(-1).to_numpy()
        return lists_of_pairs(owners, rows, len(column))
    return np.array(column.cast(_int64()).fill_null(-1).to_numpy())


def _int64() -> Any:
    import polars as pl

    return pl.Int64


# Eager by nature


def _eager(name: str, original: Any) -> Any:
    def lodeline(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _active():
            return original(self, *args, **kwargs)
        track = TRACKING.find(self)
        if track is None or not TRACKING.verify(self, track):
            result = original(self, *args, **kwargs)
            loss = TRACKING.find_loss(self)
            made = type(result) is type(self) and result is not self
            if loss is not None and made and TRACKING.find(result) is None:
                TRACKING.lose(result, *loss)
            return result
        if name in _NATIVE:
            return _with_numbers(original, self, track, name, args, kwargs)
        result = original(self, *args, **kwargs)
        if type(result) is type(self) and result is not self and TRACKING.find(result) is None:
            _settle(self, track, name, result, args, kwargs)
        return result

    return lodeline


def _with_numbers(
    original: Any, frame: Any, track: Track, name: str, args: Any, kwargs: dict[str, Any]
) -> Any:
    """Choose rows of the frame together with their numbers, in one execution."""
    hidden = _fresh()
    LOCAL.busy = 1
    try:
        numbered = _numbered(frame, hidden)
    finally:
        LOCAL.busy = 0
    made = original(numbered, *args, **kwargs)
    return _take_off(made, Twin(None, {hidden: track}, words=(name,)))


def _settle(
    frame: Any, track: Track, name: str, result: Any, args: Any, kwargs: dict[str, Any]
) -> None:
    import numpy as np

    LOCAL.busy = 1
    try:
        lost = TRACKING.find_loss(result)
        if name in _ALIGNED and result.height == frame.height:
            TRACKING.adopt(result, name, [(track, None)], ())
        elif name == "__getitem__":
            _settle_chosen(frame, track, result, args[0])
        elif name == "vstack":
            _stack(result, [frame, args[0] if args else kwargs["other"]], "vstack")
        elif name == "unpivot" and frame.height and result.height % frame.height == 0:
            rows = np.tile(np.arange(frame.height), result.height // frame.height)
            TRACKING.adopt(result, name, [(track, rows)], ())
        elif name == "pivot":
            _settle_pivot(frame, track, result, args, kwargs)
        elif name == "reverse":
            TRACKING.adopt(result, name, [(track, np.arange(frame.height)[::-1])], ())
        elif lost is None:
            _unruled()
    except UnfollowedRowsError as reason:
        TRACKING.lose(result, name, str(reason))
    except Exception as error:  # capture's outermost door
        TRACKING.lose(result, name, "a fault of the recorder's own")
        RECORDER.trouble(f"rows.polars.{name}", error)
    finally:
        LOCAL.busy = 0


def _settle_chosen(frame: Any, track: Track, result: Any, key: Any) -> None:
    import numpy as np

    rows = key[0] if isinstance(key, tuple) else key
    if isinstance(rows, str) or (isinstance(rows, list) and rows and isinstance(rows[0], str)):
        TRACKING.adopt(result, "columns", [(track, None)], ())
        return
    flags = isinstance(rows, list) and rows and isinstance(rows[0], bool)
    if flags or not isinstance(rows, (slice, list)):
        raise UnfollowedRowsError("rows chosen by something other than places")
    places = np.arange(frame.height)[rows]
    if len(places) != result.height:
        raise UnfollowedRowsError("rows chosen by something other than places")
    TRACKING.adopt(result, "filter", [(track, places)], ())


def _settle_pivot(frame: Any, track: Track, result: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Rows that become one: those of the same index, in the order in which indexes appear."""
    import polars as pl

    del args
    index = kwargs.get("index")
    index = [index] if isinstance(index, str) else index
    if not index or not all(isinstance(one, str) for one in index):
        raise UnfollowedRowsError("without an index of columns")
    name = _fresh()
    numbered = _numbered(frame, name)
    groups = numbered.group_by(index, maintain_order=True).agg(pl.col(name))
    if not groups.select(index).equals(result.select(index)):
        raise UnfollowedRowsError("its result is in another order")
    TRACKING.adopt(result, "pivot", [(track, _mapping(groups[name]))], ())


def _stack(result: Any, parts: list[Any], name: str) -> None:
    import numpy as np

    total = sum(part.height for part in parts)
    if total != result.height:
        raise UnfollowedRowsError("the number of rows changed")
    parents: list[tuple[Track, Any]] = []
    gaps: Gaps = ()
    first = 0
    for part in parts:
        track = TRACKING.find(part)
        if track is None or not TRACKING.verify(part, track):
            loss = TRACKING.find_loss(part) or (name, "the rows of one of its parts are not known")
            gaps = _one_more(gaps, loss)
        else:
            places: Any = np.full(total, -1, np.int64)
            places[first : first + part.height] = np.arange(part.height)
            parents.append((track, places))
        first += part.height
    if parents:
        TRACKING.adopt(result, name, parents, gaps)


def _concatenating(original: Any) -> Any:
    def lodeline(items: Any, *args: Any, **kwargs: Any) -> Any:
        if not _active():
            return original(items, *args, **kwargs)
        parts = list(items)
        LOCAL.busy = 1
        try:
            result = original(parts, *args, **kwargs)
            _concatenate(original, parts, result, kwargs.get("how", "vertical"), args, kwargs)
        finally:
            LOCAL.busy = 0
        return result

    return lodeline


def _concatenate(
    original: Any, parts: list[Any], result: Any, how: str, args: Any, kwargs: dict[str, Any]
) -> None:
    try:
        below = how.startswith(("vertical", "diagonal"))
        if hasattr(result, "collect"):
            if not any(TWINS.find(part) for part in parts):
                return
            TWINS.put(result, _stacked_plans(original, parts, args, kwargs, below=below))
        elif hasattr(result, "height") and all(hasattr(part, "height") for part in parts):
            tracks = [TRACKING.find(part) for part in parts]
            if not any(tracks):
                return
            if below:
                _stack(result, parts, "concat")
            else:
                _beside(result, parts, tracks)
    except UnfollowedRowsError as reason:
        TRACKING.lose(result, "concat", str(reason))
    except Exception as error:  # capture's outermost door
        RECORDER.trouble("rows.polars.concat", error)


def _beside(result: Any, parts: list[Any], tracks: list[Track | None]) -> None:
    known = [track for track in tracks if track is not None]
    if len(known) != len(parts) or any(part.height != result.height for part in parts):
        raise UnfollowedRowsError("side by side, of other rows")
    TRACKING.adopt(result, "concat", [(track, None) for track in known], ())


def _stacked_plans(
    original: Any,
    parts: list[Any],
    args: Any,
    kwargs: dict[str, Any],
    *,
    below: bool,
) -> Twin:
    """Twins one below the other: each has the hidden columns of all, in the same order."""
    import polars as pl

    if not below or not all(hasattr(part, "collect") for part in parts):
        raise UnfollowedRowsError("of plans side by side")
    twins: list[Twin] = []
    gaps: Gaps = ()
    for part in parts:
        twin = TWINS.find(part)
        if twin is None:
            loss = TRACKING.find_loss(part)
            gaps = _one_more(gaps, loss or ("concat", "the rows of one of its parts are not known"))
            twin = Twin(part, {})
        renamed = {old: _fresh() for old in twin.hidden}
        schema = twin.plan.collect_schema() if twin.hidden else {}
        if any(schema[old].is_nested() for old in twin.hidden):
            raise UnfollowedRowsError("of groups")
        plan = twin.plan.rename(renamed) if renamed else twin.plan
        tracks = {renamed[old]: track for old, track in twin.hidden.items()}
        twins.append(replace(twin, plan=plan, hidden=tracks))
    names = [name for twin in twins for name in twin.hidden]
    plans = []
    for twin in twins:
        missing = [pl.lit(None, pl.Int64).alias(one) for one in names if one not in twin.hidden]
        own = [pl.col(one).cast(pl.Int64) for one in twin.hidden]
        plan = twin.plan.with_columns(*missing, *own)
        plans.append(plan.select(pl.exclude(names), *names))
    hidden = {name: track for twin in twins for name, track in twin.hidden.items()}
    files = {path: anchor for twin in twins for path, anchor in twin.files.items()}
    told = tuple(dict.fromkeys([*gaps, *(gap for twin in twins for gap in twin.gaps)]))
    words = tuple(dict.fromkeys([*(w for twin in twins for w in twin.words), "concat"]))
    return Twin(original(plans, *args, **kwargs), hidden, files, told, words, nullable=True)


# Readers


def _bound(target: Any, kwargs: dict[str, Any]) -> Anchor:
    """Bind a reader's rows to the bytes of the one file that it reads from its start."""
    whole = isinstance(target, (str, os.PathLike)) and os.path.isfile(target)
    dataset = find_dataset(target) if whole else None
    if dataset is None or dataset.namespace != "file":
        raise UnfollowedRowsError("of something other than one whole file")
    if any(kwargs.get(word) for word in _LEFT_OUT) or kwargs.get("has_header") is False:
        raise UnfollowedRowsError("with lines left out")
    bound = file_anchor(dataset.name)
    if bound is None:
        raise UnfollowedRowsError("of a file that changes")
    return bound[0]


def _reading(name: str, original: Any) -> Any:
    def lodeline(*args: Any, **kwargs: Any) -> Any:
        if LOCAL.busy:
            return original(*args, **kwargs)
        LOCAL.busy = 1
        try:
            result = original(*args, **kwargs)
            try:
                if hasattr(result, "height"):
                    target = args[0] if args else kwargs.get("source")
                    TRACKING.begin(result, _bound(target, kwargs))
            except UnfollowedRowsError as reason:
                TRACKING.lose(result, name, str(reason))
            except Exception as error:  # capture's outermost door
                RECORDER.trouble(f"rows.polars.{name}", error)
        finally:
            LOCAL.busy = 0
        return result

    return lodeline


def _numbered_plan(plan: Any, name: str) -> Any:
    """Number the rows of a scan.

    Early releases mistake the numbers of a scan once columns are chosen after it; they get them as
    a column of the plan.
    """
    import polars as pl

    early = tuple(int(part) for part in pl.__version__.split(".")[:2]) < (1, 20)
    if early:
        return plan.with_columns(pl.int_range(0, pl.len(), dtype=pl.Int64).alias(name))
    return plan.with_row_index(name)


def _scanning(name: str, original: Any) -> Any:
    def lodeline(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if LOCAL.busy:
            return result
        LOCAL.busy = 1
        try:
            anchor = _bound(args[0] if args else kwargs.get("source"), kwargs)
            hidden = _fresh()
            track = Track(Source(anchor), None, 0, None)
            plan = _numbered_plan(result, hidden)
            twin = Twin(plan, {hidden: track}, {anchor.name: anchor})
            TWINS.put(result, twin)
        except UnfollowedRowsError as reason:
            TRACKING.lose(result, name, str(reason))
        except Exception as error:  # capture's outermost door
            RECORDER.trouble(f"rows.polars.{name}", error)
        finally:
            LOCAL.busy = 0
        return result

    return lodeline

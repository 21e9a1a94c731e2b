"""Following rows through pandas: every public operation is seen, and each has a rule or is a gap.

Only the outermost operation counts: what pandas calls inside one is part of it. Its effect on rows
is told by the rules of `frame_rules`, of which many look at what pandas' own managers did meanwhile
(`frame_managers`). A table that comes out of an operation without a rule has lost its rows, and
what is made of it later is a gap that names the operation.

In effect with `--rows` only; without it nothing is patched here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import FunctionType
from typing import Any, Final

from lodeline.capture import frame_rules as rules
from lodeline.capture.datasets import find_dataset
from lodeline.capture.frame_managers import begin_notes, end_notes, watch_managers
from lodeline.capture.frame_rules import Call, Rule, is_table
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_steps import file_anchor
from lodeline.capture.row_tracking import LOCAL, TRACKING, find_feature_rows
from lodeline.capture.table_values import find_names
from lodeline.errors import UnfollowedRowsError

_PICKS: Final = (
    *("query", "head", "tail", "sample", "sort_values", "sort_index", "drop", "dropna"),
    *("drop_duplicates", "nlargest", "nsmallest", "truncate", "take", "filter", "reindex"),
    *("reindex_like", "between_time", "at_time", "first", "last", "xs", "sort", "squeeze"),
)
_KEPT: Final = (
    *("copy", "reset_index", "set_index", "select_dtypes", "rename_axis", "set_axis", "get"),
    *("to_frame", "rename", "add_prefix", "add_suffix", "infer_objects", "pop", "swaplevel"),
    *("tz_localize", "tz_convert", "droplevel", "reorder_levels", "set_flags"),
)
_REMADE: Final = (
    *("astype", "convert_dtypes", "round", "clip", "replace", "abs", "isna", "isnull", "notna"),
    *("notnull", "map", "applymap", "isin", "between", "to_timestamp", "to_period", "case_when"),
    *("__neg__", "__pos__", "__invert__", "__abs__", "__round__"),
)
_SPREAD: Final = ("fillna", "where", "mask")
_BINARY: Final = (
    *("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "radd", "rsub", "rmul"),
    *("rdiv", "rtruediv", "rfloordiv", "rmod", "rpow", "eq", "ne", "lt", "le", "gt", "ge"),
    *("and", "or", "xor", "rand", "ror", "rxor", "subtract", "multiply", "divide"),
)
_REDUCED: Final = (
    *("sum", "mean", "min", "max", "median", "std", "var", "sem", "count", "nunique", "prod"),
    *("product", "any", "all", "skew", "kurt", "kurtosis", "idxmin", "idxmax"),
)
_WHOLE: Final = ("describe", "quantile", "agg", "aggregate", "corr", "cov", "corrwith", "rank")
_GROUPED: Final = (
    *("sum", "mean", "min", "max", "count", "size", "nunique", "first", "last", "std", "var"),
    *("sem", "median", "prod", "any", "all", "quantile", "agg", "aggregate", "idxmin", "idxmax"),
    *("skew", "kurt", "describe", "apply", "ohlc", "value_counts"),
)
_BY_GROUP: Final = ("transform", "rank")
_RUNNING: Final = ("cumsum", "cumprod", "cummax", "cummin")
_OF_GROUP: Final = ("head", "tail", "nth", "filter", "get_group", "sample", "nlargest", "nsmallest")
_WINDOWED: Final = (
    *("sum", "mean", "min", "max", "median", "std", "var", "sem", "count", "quantile", "skew"),
    *("kurt", "apply", "agg", "aggregate", "rank", "nunique", "first", "last"),
)
# Operations that are no more than the operations they call, or that give no table of these rows.
_OWN_PARTS: Final = frozenset(
    {"assign", "pipe", "groupby", "rolling", "expanding", "ewm", "resample", "items", "iterrows"}
    | {"itertuples", "keys", "equals", "info", "memory_usage", "plot", "hist", "boxplot", "attrs"}
    | {"to_csv", "to_parquet", "to_json", "to_feather", "to_pickle", "to_sql", "to_dict", "item"}
    | {"to_numpy", "to_list", "tolist", "to_records", "to_string", "to_excel", "to_hdf", "eval"}
    | {"to_stata", "to_xml", "to_html", "to_latex", "to_markdown", "to_clipboard", "to_orc"}
)
_FUNCTIONS: Final[dict[str, Rule]] = {
    "merge": rules.join,
    "merge_asof": rules.join,
    "merge_ordered": rules.join,
    "concat": rules.concat,
    "melt": rules.melt,
    "pivot": rules.pivot,
    "pivot_table": rules.pivot,
    "get_dummies": rules.dummies,
    "cut": rules.bins,
    "qcut": rules.bins,
    "to_datetime": rules.remake,
    "to_numeric": rules.remake,
    "to_timedelta": rules.remake,
    "isna": rules.remake,
    "notna": rules.remake,
}
_UNRULED: Final = ("crosstab", "wide_to_long", "lreshape", "from_dummies")


def _table_rules() -> dict[str, Rule]:
    found: dict[str, Rule] = dict.fromkeys(_PICKS, rules.pick)
    found |= dict.fromkeys(_KEPT, rules.keep)
    found |= dict.fromkeys(_REMADE, rules.remake)
    found |= dict.fromkeys(_SPREAD, rules.spread_only)
    found |= dict.fromkeys((f"__{name}__" for name in _BINARY), rules.remake)
    found |= dict.fromkeys(_BINARY, rules.remake)
    found |= dict.fromkeys(_REDUCED, rules.reduce)
    found |= dict.fromkeys(_WHOLE, rules.whole)
    found |= dict.fromkeys(_RUNNING, rules.running)
    found |= {
        "__getitem__": rules.column_pick,
        "__setitem__": rules.set_columns,
        "insert": rules.insert_column,
        "merge": rules.join,
        "join": rules.join,
        "melt": rules.melt,
        "explode": rules.explode,
        "stack": rules.stack,
        "unstack": rules.unstack,
        "pivot": rules.pivot,
        "pivot_table": rules.pivot,
        "shift": rules.shift,
        "diff": rules.shift,
        "ffill": rules.fill,
        "pad": rules.fill,
        "bfill": rules.fill,
        "backfill": rules.fill,
        "apply": rules.apply,
        "__array_ufunc__": rules.remake,
    }
    return found


def _group_rules() -> dict[str, Rule]:
    found: dict[str, Rule] = dict.fromkeys(_GROUPED, rules.group)
    found |= dict.fromkeys(_BY_GROUP, rules.group_rows)
    found |= dict.fromkeys((*_RUNNING, "cumcount"), rules.group_running)
    found |= dict.fromkeys(("shift", "diff"), rules.group_shift)
    found |= dict.fromkeys(_OF_GROUP, rules.group_pick)
    return found


def follow_pandas(patches: Patches) -> None:
    """Patch the operations of frames, series, group-bys, windows and the functions beside them."""
    import pandas as pd
    from pandas.core import indexing

    watch_managers(patches)
    _patch_all(patches, (pd.DataFrame, pd.Series), _table_rules(), _subject_itself)
    _patch_all(patches, _kinds("DataFrameGroupBy", "SeriesGroupBy"), _group_rules(), _object)
    windows = _kinds("Rolling", "Expanding", "ExponentialMovingWindow", "Window")
    _patch_all(patches, windows, dict.fromkeys(_WINDOWED, rules.window), _object)
    for name, rule in _FUNCTIONS.items():
        _observe(patches, pd, name, rule, _subject_itself)
    for name in _UNRULED:
        _observe(patches, pd, name, None, _subject_itself)
    _patch_accessors(patches)
    _patch_arrays(patches, pd)
    for name in ("_LocationIndexer", "_LocIndexer", "_iLocIndexer"):
        _observe(patches, getattr(indexing, name), "__getitem__", rules.pick, _object)
    for name in ("_LocationIndexer", "_AtIndexer", "_iAtIndexer", "_ScalarAccessIndexer"):
        _observe(patches, getattr(indexing, name), "__setitem__", rules.set_cells, _object)
    for name, begins in (("read_parquet", _one_file), ("read_csv", _csv), ("read_json", _json)):
        _observe_reader(patches, pd, name, begins)
    _observe_groups(patches)
    set_finder()


def set_finder() -> None:
    """Let the record of a prediction name the rows that the model was given."""
    from lodeline.capture.serving import set_feature_row_finder

    set_feature_row_finder(find_feature_rows)


def follow_split(module: Any, patches: Patches) -> None:
    """Follow `train_test_split`: row numbers are split along with the tables."""
    follow_drawing(module, "train_test_split", 2, patches)


def follow_drawing(module: Any, name: str, parts_each: int, patches: Patches) -> None:
    """Follow a function that draws rows of several tables alike: row numbers are drawn along.

    Args:
        module: that has it.
        name: its name.
        parts_each: how many parts it makes of each table.
        patches: to undo.
    """
    original = getattr(module, name)

    def lodeline(*arrays: Any, **options: Any) -> Any:
        tracks = [TRACKING.find(array) for array in arrays]
        if not any(tracks) or LOCAL.busy:
            return original(*arrays, **options)
        import numpy as np

        # One permutation serves all arrays of a call, so one array more changes nothing.
        parts = original(*arrays, np.arange(len(arrays[0])), **options)
        rows = parts[-parts_each:]
        try:
            for number, track in enumerate(tracks):
                if track is None or not TRACKING.verify(arrays[number], track):
                    continue
                for side in range(parts_each):
                    part = parts[parts_each * number + side]
                    if TRACKING.find(part) is None:
                        TRACKING.adopt(part, name, [(track, rows[side])], ())
        except Exception as error:  # capture's outermost door
            RECORDER.trouble(f"rows.{name}", error)
        kept = parts[:-parts_each]
        return kept[0] if parts_each == 1 and len(arrays) == 1 else kept

    patches.replace(module, name, patches.finish(lodeline, original))


# Which operations


def _kinds(*names: str) -> list[Any]:
    from lodeline.capture.frame_kinds import kind

    return [kind(name) for name in names]


def _patch_all(patches: Patches, kinds: Any, table: dict[str, Rule], subject: Any) -> None:
    owners = [
        base for kind in kinds for base in kind.__mro__ if base.__module__.startswith("pandas")
    ]
    for owner in dict.fromkeys(owners):
        for name, value in list(vars(owner).items()):
            if not isinstance(value, FunctionType) or name in _OWN_PARTS:
                continue
            if name in table or not name.startswith("_"):
                _observe(patches, owner, name, table.get(name), subject)


def _patch_accessors(patches: Patches) -> None:
    """`.str`, `.dt` and `.cat`: each value of its own row."""
    from pandas.core.indexes.accessors import (
        DatetimeProperties,
        PeriodProperties,
        TimedeltaProperties,
    )
    from pandas.core.strings.accessor import StringMethods

    for owner in (StringMethods, DatetimeProperties, PeriodProperties, TimedeltaProperties):
        for name, value in list(vars(owner).items()):
            if name.startswith("_") and name != "__getitem__":
                continue
            if isinstance(value, FunctionType):
                _observe(patches, owner, name, rules.remake, _accessed)
            elif isinstance(value, property) and value.fget is not None:
                wrapped = _wrapper(value.fget, name, rules.remake, _accessed)
                getter = patches.finish(wrapped, value.fget)
                patches.replace(owner, name, property(getter, value.fset, value.fdel))


def _patch_arrays(patches: Patches, pd: Any) -> None:
    """`values`, `to_numpy`, `numpy.asarray`: rows as an array, which a program may write to."""
    from pandas.core.base import IndexOpsMixin

    for owner in (pd.DataFrame, pd.Series, IndexOpsMixin):
        for name in ("to_numpy", "__array__"):
            original = vars(owner).get(name)
            if isinstance(original, FunctionType):
                patches.replace(owner, name, patches.finish(_exposing(original), original))
        values = vars(owner).get("values")
        if isinstance(values, property) and values.fget is not None:
            getter = patches.finish(_exposing(values.fget), values.fget)
            patches.replace(owner, "values", property(getter, None, None, values.__doc__))


def _exposing(original: Any) -> Any:
    local = LOCAL

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        if local.busy or not TRACKING.active:
            return original(*args, **kwargs)
        track = TRACKING.find(args[0])
        result = original(*args, **kwargs)
        if track is not None and hasattr(result, "__array_interface__"):
            try:
                TRACKING.expose(result, args[0], track)
            except Exception as error:  # capture's outermost door
                RECORDER.trouble("rows.array", error)
        return result

    return lodeline


def _subject_itself(args: tuple[Any, ...]) -> Any:
    return args[0]


def _object(args: tuple[Any, ...]) -> Any:
    return getattr(args[0], "obj", None)


def _accessed(args: tuple[Any, ...]) -> Any:
    return (
        getattr(args[0], "_orig", None)
        if hasattr(args[0], "_orig")
        else getattr(args[0], "_parent", None)
    )


# Seeing a call


def _observe(patches: Patches, owner: Any, name: str, rule: Rule | None, subject: Any) -> None:
    original = vars(owner).get(name)
    if isinstance(original, FunctionType):
        wrapped = _wrapper(original, name, rule, subject)
        patches.replace(owner, name, patches.finish(wrapped, original))


def _wrapper(original: Any, name: str, rule: Rule | None, find_subject: Any) -> Any:
    local = LOCAL

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        if local.busy or not TRACKING.active:
            return original(*args, **kwargs)
        call = _prepare(name, args, kwargs, find_subject)
        if call is None:
            return original(*args, **kwargs)
        local.busy = 1
        begin_notes()
        try:
            result = original(*args, **kwargs)
        finally:
            local.busy = 0
            call.notes, call.joins = end_notes()
        _follow(call, rule, result)
        return result

    return lodeline


def _prepare(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], find_subject: Any) -> Any:
    """See whether any operand's rows are known, or were lost."""
    writes = name == "__setitem__"
    try:
        found = [(thing, TRACKING.find(thing)) for thing in _iter_tables(args, kwargs)]
        found = [one for one in found if one[1] is not None or is_table(one[0])]
        subject: Any = find_subject(args) if args else None
        if subject is not None and not is_table(subject):
            subject = None
        track = _unspoilt(subject, name) if subject is not None else None
        if subject is None and found:
            subject, track = found.pop(0)
        others = [entry for entry in found if entry[0] is not subject]
        if subject is None or (track is None and not any(t for _, t in others)):
            lossy = [subject, *(thing for thing, _ in others)]
            if all(TRACKING.find_loss(thing) is None for thing in lossy):
                return None
        if name == "merge" and len(found) > len(others) + 1:
            others = [(subject, track)]  # A table joined with itself.
        if find_subject is _object and name in {"__getitem__", "__setitem__"}:
            name = args[0].name  # `loc`, `iloc`, `at`, `iat`
        names = find_names(subject)
        manager = subject._mgr  # noqa: SLF001  # pandas has no public name for it
        call = Call(name, args, kwargs, subject, track, subject.index, manager, names, others)
        if track is not None and writes and rules.overwrites(call):
            call.verified = TRACKING.verify(subject, track)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble(f"rows.{name}", error)
        return None
    return call


def _unspoilt(subject: Any, name: str) -> Any:
    """A subject's track; where its memory may have been written to, not unless it is unchanged."""
    track = TRACKING.find(subject)
    if track is None or track.reference is None or not track.reference.exposed:
        return track
    if TRACKING.verify(subject, track):
        return track
    TRACKING.lose(subject, name, "values were written through an array")
    return None


def _iter_tables(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    for value in (*args, *kwargs.values()):
        if is_table(value) or hasattr(value, "__array_interface__"):
            yield value
        elif type(value) in {list, tuple, dict}:
            members = value.values() if type(value) is dict else value
            yield from (member for member in members if is_table(member))


def _follow(call: Call, rule: Rule | None, result: Any) -> None:
    local = LOCAL
    local.busy = 1
    target = result
    try:
        if result is None and is_table(call.subject):
            target = call.subject  # Done in place.
        if not is_table(target):
            return
        if result is None and target._mgr is call.manager and rule is None:  # noqa: SLF001  # as above
            return
        losses = [TRACKING.find_loss(thing) for thing in (call.subject, *_things(call))]
        if call.track is None and not any(track for _, track in call.others):
            loss = next((one for one in losses if one is not None), None)
            if loss is not None and result is not None:
                TRACKING.lose(target, *loss)
            return
        (rule or rules.unruled)(call, target)
    except UnfollowedRowsError as reason:
        TRACKING.lose(target, call.name.strip("_"), str(reason))
    except Exception as error:  # capture's outermost door
        TRACKING.lose(target, call.name.strip("_"), "a fault of the recorder's own")
        RECORDER.trouble(f"rows.{call.name}", error)
    finally:
        local.busy = 0


def _things(call: Call) -> list[Any]:
    return [thing for thing, _ in call.others]


# Reading


def _observe_groups(patches: Patches) -> None:
    """Going through groups gives the rows of each, found by their labels."""
    for owner in dict.fromkeys(
        base for kind in _kinds("DataFrameGroupBy", "SeriesGroupBy") for base in kind.__mro__
    ):
        original = vars(owner).get("__iter__")
        if isinstance(original, FunctionType) and owner.__module__.startswith("pandas"):
            patches.replace(owner, "__iter__", patches.finish(_iterating(original), original))


def _iterating(original: Any) -> Any:
    def lodeline(self: Any) -> Any:
        iterator = original(self)
        subject: Any = getattr(self, "obj", None)
        track = TRACKING.find(subject)
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            if track is not None and isinstance(item, tuple) and len(item) == 2:
                call = Call("groupby", (self,), {}, subject, track, subject.index, subject._mgr)  # noqa: SLF001  # as above
                _follow(call, rules.group_pick, item[1])
            yield item

    return lodeline


def _observe_reader(patches: Patches, pd: Any, name: str, begins: Any) -> None:
    """A reader of one file: row i is the file's row i, for the bytes that the file has."""
    original = getattr(pd, name)

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if not hasattr(result, "iloc"):
            return result
        try:
            target = args[0] if args else next(iter(kwargs.values()), None)
            for word in ("path", "filepath_or_buffer", "path_or_buf"):
                target = kwargs.get(word, target)
            dataset = find_dataset(target) if isinstance(target, (str, os.PathLike)) else None
            reason = begins(args, kwargs)
            bound = None
            if dataset is not None and dataset.namespace == "file":
                bound = file_anchor(dataset.name)
            if bound is None:
                reason = reason or "of something other than one whole file"
            if reason or bound is None:
                TRACKING.lose(result, name, str(reason))
            else:
                TRACKING.begin(result, bound[0])
        except Exception as error:  # capture's outermost door
            RECORDER.trouble(f"rows.{name}", error)
        return result

    patches.replace(pd, name, patches.finish(lodeline, original))


def _one_file(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    if kwargs.get("filters") is not None or len(args) > 3:
        return "of something other than one whole file"
    return None


def _csv(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Options by which a reader leaves lines out that others would count."""
    if len(args) > 2:
        return "with options by place"
    header = kwargs.get("header", "infer")
    if header not in {"infer", 0} and not (header is None and kwargs.get("names")):
        return "with another header than the first line"
    skips = kwargs.get("skiprows"), kwargs.get("comment"), kwargs.get("index_col") is False
    if any(skips) or kwargs.get("on_bad_lines", "error") != "error":
        return "with lines left out"
    if kwargs.get("skip_blank_lines", True) is not True:
        return "with blank lines"
    return None


def _json(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    del args
    if kwargs.get("lines") is True or kwargs.get("orient") == "records":
        return None
    return "of something other than records"

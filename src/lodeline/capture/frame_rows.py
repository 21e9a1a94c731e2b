"""Following rows through pandas and scikit-learn: the operations whose effect on rows is exact.

Operations that keep the labels of the index (filters, sorts, samples, `loc`, `iloc`, `drop`, …)
are followed by looking the result's labels up among the operand's, which must be unique. Those
that keep rows in place (columns chosen, added, converted) are followed as they are. Everything
else ends a track: a merge, a group-by, a concatenation, any function not named here.

In effect with `--rows` only; without it nothing is patched here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.datasets import find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import RECORDER
from lodeline.capture.row_steps import file_anchor
from lodeline.capture.row_tracking import TRACKING, Track, find_feature_rows

# Results keep the labels of the rows that they are.
_LABELLED: Final = {
    "query": "filter",
    "filter": "filter",
    "head": "head",
    "tail": "tail",
    "sample": "sample",
    "sort_values": "sort",
    "sort_index": "sort",
    "drop": "drop",
    "dropna": "filter",
    "drop_duplicates": "distinct",
    "nlargest": "sort",
    "nsmallest": "sort",
    "truncate": "filter",
}
# Results have the same rows in the same places.
_ALIGNED: Final = (
    *("copy", "reset_index", "set_index", "assign", "astype", "rename", "fillna", "select_dtypes"),
    *("to_frame", "infer_objects", "convert_dtypes", "round", "clip", "replace", "rename_axis"),
    *("set_axis", "add_prefix", "add_suffix", "squeeze", "pop", "get"),
)
# Of these the values may be other ones than before.
_CHANGING: Final = frozenset(
    {"assign", "astype", "fillna", "convert_dtypes", "round", "clip", "replace", "infer_objects"}
)

Follow = Callable[[Any, Track, Any, tuple[Any, ...], dict[str, Any]], None]


def follow_pandas(patches: Patches) -> None:
    """Patch the operations of frames and series."""
    import pandas as pd
    from pandas.core import indexing
    from pandas.core.generic import NDFrame

    for owner in (pd.DataFrame, pd.Series, NDFrame):
        for name, operator in _LABELLED.items():
            _observe(patches, owner, name, _by_labels(operator))
        for name in _ALIGNED:
            _observe(patches, owner, name, _in_place(changing=name in _CHANGING))
        _observe(patches, owner, "__getitem__", _getitem)
    _observe_change(patches, pd.DataFrame, "__setitem__", _after_setitem)
    _observe_change(patches, pd.DataFrame, "insert", _after_insert)
    for indexer in (indexing._LocIndexer, indexing._iLocIndexer, indexing._LocationIndexer):  # noqa: SLF001  # pandas has no public name for them
        _observe_indexer(patches, indexer)
    _observe_reader(patches, pd)
    set_finder()


def set_finder() -> None:
    """Let the record of a prediction name the rows that the model was given."""
    from lodeline.capture.serving import set_feature_row_finder

    set_feature_row_finder(find_feature_rows)


def follow_split(module: Any, patches: Patches) -> None:
    """Follow `train_test_split`: row numbers are split along with the tables."""
    original = module.train_test_split

    def lodeline(*arrays: Any, **options: Any) -> Any:
        tracks = [TRACKING.find(array) for array in arrays]
        if not any(tracks):
            return original(*arrays, **options)
        import numpy as np

        # One permutation serves all arrays of a call, so one array more changes nothing.
        parts = original(*arrays, np.arange(len(arrays[0])), **options)
        try:
            for number, track in enumerate(tracks):
                if track is not None:
                    for side in (0, 1):
                        TRACKING.follow(
                            parts[2 * number + side], track, parts[-2 + side], "train_test_split"
                        )
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("rows.train_test_split", error)
        return parts[:-2]

    patches.replace(module, "train_test_split", patches.finish(lodeline, original))


def _observe(patches: Patches, owner: Any, name: str, follow: Follow) -> None:
    """After a method: pass the track of its first operand on to its result."""
    original = vars(owner).get(name)
    if not callable(original):
        return

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        track = TRACKING.find(args[0]) if args else None
        if track is None:
            return original(*args, **kwargs)
        before = track.index
        result = original(*args, **kwargs)
        try:
            if result is None:  # `inplace`: the frame itself is another one now.
                if kwargs.get("ignore_index") or name in {"drop_duplicates", "pop"}:
                    TRACKING.end(args[0])
                else:
                    follow(args[0], track, before, args, kwargs)
            elif result is not args[0]:
                follow(result, track, before, args, kwargs)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble(f"rows.{name}", error)
        return result

    patches.replace(owner, name, patches.finish(lodeline, original))


def _by_labels(operator: str) -> Follow:
    def follow(
        result: Any, track: Track, before: Any, _: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if kwargs.get("ignore_index") or not _is_table(result):
            return
        if kwargs.get("axis") in {1, "columns"} and operator in {"sort", "sample", "filter"}:
            positions = None if result.index is before or result.index.equals(before) else False
            if positions is None:
                TRACKING.follow(result, track, None, operator)
            return
        _follow_labels(result, track, before, operator)

    return follow


def _follow_labels(result: Any, track: Track, before: Any, operator: str) -> None:
    if result.index is before:
        TRACKING.follow(result, track, None, operator)
        return
    if not before.is_unique:
        _tell(operator, "the index has repeated labels")
        return
    positions = before.get_indexer(result.index)
    if len(positions) and positions.min() < 0:
        return
    TRACKING.follow(result, track, positions, operator)


def _in_place(*, changing: bool) -> Follow:
    def follow(
        result: Any, track: Track, _: Any, args: tuple[Any, ...], _options: dict[str, Any]
    ) -> None:
        if not _is_table(result) or len(result) != track.rows:
            return
        changed = frozenset(_names(result)) if changing else frozenset()
        if changing and args[0] is not result:
            changed = frozenset(name for name in _names(result) if _differs(args[0], result, name))
        elif not changing:
            # A renamed column must not be compared with another one of its new name.
            changed = frozenset(_names(result)) - frozenset(_names(args[0]))
            if _moved_names(args[0], result):
                changed = frozenset(_names(result))
        TRACKING.follow(result, track, None, "columns", changed=changed)

    return follow


def _moved_names(before: Any, after: Any) -> bool:
    """Whether a name may stand for another column than before: after `rename` or `set_axis`."""
    one, two = _names(before), _names(after)
    return len(one) == len(two) and one != two


def _differs(before: Any, after: Any, name: Any) -> bool:
    if not hasattr(before, "columns") or name not in before.columns:
        return True
    one, two = before[name], after[name] if hasattr(after, "columns") else after
    return one is not two and not one.equals(two)


def _getitem(
    result: Any, track: Track, before: Any, args: tuple[Any, ...], _: dict[str, Any]
) -> None:
    if not _is_table(result):
        return
    key = args[1]
    if result.index is before:
        TRACKING.follow(result, track, None, "columns")
        return
    names = isinstance(key, str) or (isinstance(key, list) and not _is_mask(key))
    if hasattr(args[0], "columns") and names:
        if len(result) == track.rows and result.index.equals(before):
            TRACKING.follow(result, track, None, "columns")
        return
    _follow_labels(result, track, before, "filter")


def _is_mask(key: list[Any]) -> bool:
    return bool(key) and isinstance(key[0], bool)


def _observe_indexer(patches: Patches, owner: Any) -> None:
    original = vars(owner).get("__getitem__")
    if original is None:
        return

    def lodeline(indexer: Any, key: Any) -> Any:
        frame = indexer.obj
        track = TRACKING.find(frame)
        result = original(indexer, key)
        if track is None:
            return result
        try:
            if _is_table(result) and result is not frame and indexer.name in {"loc", "iloc"}:
                _follow_indexed(indexer.name, frame, key, result, track)
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("rows.indexer", error)
        return result

    patches.replace(owner, "__getitem__", patches.finish(lodeline, original))


def _follow_indexed(kind: str, frame: Any, key: Any, result: Any, track: Track) -> None:
    """Rows chosen by place are chosen alike from the row numbers; by label, by their labels."""
    import numpy as np

    rows = key[0] if isinstance(key, tuple) else key
    one_row = hasattr(frame, "columns") and not hasattr(result, "columns")
    whole_column = one_row and result.index is frame.index
    if one_row and not whole_column and len(result) != len(frame):
        return  # A single row as a series: it has no rows of its own.
    if kind == "iloc":
        if isinstance(rows, (int, np.integer)):
            return
        if callable(rows):
            return
        positions = np.arange(track.rows)[rows]
        if len(positions) == len(result):
            TRACKING.follow(result, track, positions, "filter")
        return
    if result.index is frame.index:
        TRACKING.follow(result, track, None, "filter")
        return
    if isinstance(frame.index, _multi_index()) or callable(rows):
        return
    if one_row and not _chooses_many(rows):
        return
    if frame.index.is_unique:
        _follow_labels(result, track, frame.index, "filter")


def _chooses_many(rows: Any) -> bool:
    return isinstance(rows, (slice, list)) or hasattr(rows, "__array__")


def _multi_index() -> type:
    import pandas as pd

    return pd.MultiIndex  # type: ignore[no-any-return]


def _observe_change(
    patches: Patches, owner: Any, name: str, after: Callable[[Any, Track, tuple[Any, ...]], None]
) -> None:
    original = vars(owner)[name]

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        track = TRACKING.find(args[0])
        result = original(*args, **kwargs)
        if track is not None:
            try:
                after(args[0], track, args)
            except Exception as error:  # capture's outermost door
                RECORDER.trouble(f"rows.{name}", error)
        return result

    patches.replace(owner, name, patches.finish(lodeline, original))


def _after_setitem(frame: Any, track: Track, args: tuple[Any, ...]) -> None:
    if frame.index is not track.index:
        return
    key = args[1]
    names = [key] if isinstance(key, (str, int)) else list(key) if isinstance(key, list) else None
    changed = frozenset(_names(frame) if names is None else names)
    TRACKING.follow(frame, track, None, "columns", changed=changed)


def _after_insert(frame: Any, track: Track, args: tuple[Any, ...]) -> None:
    if len(args) > 2 and frame.index is track.index:
        TRACKING.follow(frame, track, None, "columns", changed=frozenset({args[2]}))


def _observe_reader(patches: Patches, pd: Any) -> None:
    """`read_parquet` of one file without filters gives its rows in the file's order."""
    original = pd.read_parquet

    def lodeline(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        try:
            target = args[0] if args else kwargs.get("path")
            dataset = find_dataset(target) if isinstance(target, (str, os.PathLike)) else None
            if dataset is None or kwargs.get("filters") is not None or len(args) > 3:
                _tell("read_parquet", "of something other than one whole file")
            else:
                bound = file_anchor(dataset.name) if dataset.namespace == "file" else None
                if bound is not None:
                    TRACKING.begin(result, bound[0])
        except Exception as error:  # capture's outermost door
            RECORDER.trouble("rows.read_parquet", error)
        return result

    patches.replace(pd, "read_parquet", patches.finish(lodeline, original))


def _tell(operator: str, detail: str) -> None:
    RECORDER.gap(f"rows: {operator}", "capture", detail)


def _is_table(thing: Any) -> bool:
    return hasattr(thing, "iloc")


def _names(thing: Any) -> list[Any]:
    columns = getattr(thing, "columns", None)
    return [getattr(thing, "name", None)] if columns is None else list(columns)

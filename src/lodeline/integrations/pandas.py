"""pandas: readers, writers, and what flows from frame to frame.

Readers tag the frames they give; every public operation of frames, series and group-bys passes
the tags of its operands on to its result; writers ask the frame where its data came from. pandas
has no hooks for any of this, hence patches; an operation called by another of pandas' own is
passed through with one comparison.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Final

from lodeline.capture.datasets import Dataset, find_dataset, is_there
from lodeline.capture.frame_kinds import kind
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.sql_sessions import reading, writing

_READERS: Final = (
    *("read_csv", "read_table", "read_fwf", "read_parquet", "read_json", "read_feather"),
    *("read_excel", "read_pickle", "read_orc", "read_xml", "read_html", "read_hdf", "read_stata"),
    *("read_sas", "read_spss"),
)
_WRITERS: Final = (
    *("to_csv", "to_parquet", "to_json", "to_feather", "to_excel", "to_pickle", "to_orc"),
    *("to_xml", "to_html", "to_hdf", "to_stata", "to_latex", "to_markdown", "to_string"),
)
_FUNCTIONS: Final = (
    *("concat", "merge", "merge_asof", "merge_ordered", "pivot", "pivot_table", "melt"),
    *("get_dummies", "crosstab", "wide_to_long", "cut", "qcut", "to_datetime", "to_numeric"),
    *("to_timedelta", "lreshape", "from_dummies", "json_normalize", "isna", "notna", "unique"),
)
# Methods whose list and dict arguments are data; elsewhere they choose columns.
_DATA: Final = frozenset(
    {"map", "replace", "isin", "fillna", "where", "mask", "assign", "__setitem__", "insert"}
    | {"update", "combine", "combine_first"}
)
_MUTATING: Final = frozenset({"__setitem__", "insert", "update"})
_OPERATORS: Final = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor"),
    *("radd", "rsub", "rmul", "rtruediv", "rfloordiv", "rmod", "rpow", "rand", "ror", "rxor"),
    *("eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert", "matmul", "rmatmul"),
    *("array", "array_ufunc", "getitem", "setitem", "iadd", "isub", "imul", "itruediv"),
)
# Public names that give no data, or whose wrapping would only cost.
_LEFT_ALONE: Final = frozenset(
    {"keys", "items", "iteritems", "info", "memory_usage", "plot", "hist", "boxplot", "attrs"}
    | {"equals", "set_flags", "get", "pop", "itertuples", "iterrows", "bool", "item", "to_dict"}
    | {"to_clipboard", "to_sql", "to_gbq", "to_iceberg", *_WRITERS}
)
# Types that stand for a frame's data.
_CARRIERS: Final = (
    *("DataFrameGroupBy", "SeriesGroupBy", "Rolling", "Expanding", "ExponentialMovingWindow"),
    *("Window", "Resampler"),
)
_SQL_DETAIL: Final = "pandas reads and writes SQL through a connection that is not observed"


class PandasIntegration:
    """pandas 2 and 3."""

    name = "pandas"
    supports = "pandas>=2.0,<4"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch readers, writers and operations."""
        import pandas as pd

        folder = os.path.join(os.path.dirname(pd.__file__), "lodeline")
        patches = Patches("pandas", file=folder)
        observer = _Observer(recorder, patches)
        _declare(recorder)
        observer.patch_readers(pd)
        observer.patch_writers()
        observer.patch_operations(pd)
        if recorder.rows:
            from lodeline.capture.frame_rows import follow_pandas

            follow_pandas(patches)
        return patches.undo


def _declare(recorder: Recorder) -> None:
    import pandas as pd
    from pandas.core import indexing
    from pandas.core.accessor import PandasDelegate
    from pandas.core.arrays.categorical import CategoricalAccessor
    from pandas.core.strings.accessor import StringMethods

    flow = recorder.flow
    # The accessor of categories keeps the values and not the series that it was made from.
    flow.holds_data(pd.DataFrame, pd.Series, CategoricalAccessor)
    for name in _CARRIERS:
        flow.carries(kind(name), _object)
    flow.carries(indexing._LocationIndexer, _object)  # pandas has no public name for it
    flow.carries(indexing._ScalarAccessIndexer, _object)
    flow.carries(StringMethods, lambda methods: getattr(methods, "_orig", None))
    flow.carries(PandasDelegate, lambda properties: getattr(properties, "_parent", None))


def _object(carrier: Any) -> object:
    return getattr(carrier, "obj", None)


class _Observer:
    """What is done after each patched call."""

    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches

    def patch_readers(self, pd: Any) -> None:
        from pandas.io.parsers import TextFileReader

        for name in _READERS:
            self._patches.door(pd, name, self._after_read)
        for name in ("read_sql", "read_sql_query", "read_sql_table"):
            self._patches.wrap(
                pd, name, vars(pd)[name], lambda f: reading(self._recorder, f, self._after_query)
            )
        for reader in (TextFileReader, kind("JsonReader")):
            self._recorder.flow.holds_data(reader)
            for name in ("read", "get_chunk", "__next__"):
                self._patches.passage(reader, name)

    def patch_writers(self) -> None:
        import pandas as pd
        from pandas.core.generic import NDFrame

        for owner in (pd.DataFrame, pd.Series, NDFrame):
            for name in _WRITERS:
                if isinstance(vars(owner).get(name), FunctionType):
                    after = functools.partial(self._after_write, name)
                    self._patches.door(owner, name, after)
            to_sql = vars(owner).get("to_sql")
            if isinstance(to_sql, FunctionType):
                self._patches.wrap(
                    owner, "to_sql", to_sql, lambda f: writing(self._recorder, f, self._after_sql)
                )

    def patch_operations(self, pd: Any) -> None:
        from pandas.core import indexing

        for name in _FUNCTIONS:
            self._patches.passage(pd, name)
        for owner, name in _iter_operations(pd):
            self._patches.passage(owner, name, data=name in _DATA, mutates=name in _MUTATING)
        for owner in kind("DataFrameGroupBy").__mro__:
            self._patches.iteration(owner, "__iter__")
        for indexer in (
            indexing._LocationIndexer,
            indexing._iLocIndexer,
            indexing._LocIndexer,
        ):
            self._patches.passage(indexer, "__getitem__")
            self._patches.passage(indexer, "__setitem__", data=True, mutates=True)
        scalar = indexing._ScalarAccessIndexer
        self._patches.passage(scalar, "__setitem__", data=True, mutates=True)
        from pandas.core.arrays.categorical import CategoricalAccessor

        self._patches.feeding(CategoricalAccessor, "__init__")
        for owner in (pd.DataFrame, pd.Series):
            self._patches.feeding(owner, "__init__", data=True)
            for name in ("values", "T"):
                if isinstance(vars(owner).get(name), property):
                    self._patches.passage(owner, name)

    def _after_read(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        target = args[0] if args else next(iter(kwargs.values()), None)
        dataset = self._recorder.find_source(target)
        if dataset is None or not is_there(dataset):
            self._recorder.tag(result, self._recorder.flow.unknown())
            return
        frames = list(result.values()) if isinstance(result, dict) else [result]
        frames = result if isinstance(result, list) else frames
        facets = None if len(frames) != 1 else schema_of(frames[0])
        flow = self._recorder.read(dataset, facets=facets)
        for frame in frames:
            self._recorder.tag(frame, flow)

    def _after_write(
        self, method: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        del result
        frame = args[0]
        target = args[1] if len(args) > 1 else next(iter(kwargs.values()), None)
        for name in ("path_or_buf", "path", "excel_writer", "buf"):
            target = kwargs.get(name, target)
        if not isinstance(target, (str, bytes, os.PathLike)):
            target = getattr(target, "_path", None) or _named(target)
        dataset = find_dataset(target)
        if dataset is None:
            return
        is_open = getattr(target, "closed", True) is False
        mode = kwargs.get("mode")
        self._recorder.write(
            dataset,
            flow=self._recorder.flow_of(frame),
            facets=schema_of(frame),
            output_facets={
                "outputStatistics": {"rowCount": len(frame)},
                **self._rows_of(method, frame, dataset, kwargs),
            },
            appends=isinstance(mode, str) and mode.startswith("a"),
            is_open=is_open,
        )

    def _rows_of(
        self, method: str, frame: Any, dataset: Dataset, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Row provenance of a file just written, where its rows are the frame's, in order."""
        if not self._recorder.rows or dataset.namespace != "file":
            return {}
        in_order = method in {"to_parquet", "to_csv"} or (
            method == "to_json" and options.get("orient") == "records"
        )
        if not in_order or str(options.get("mode", "w"))[0] != "w":
            told = "its rows are not the frame's, in order"
            self._recorder.gap(f"rows: {method}", "capture", told)
            return {}
        from lodeline.capture.row_tracking import written_rows

        facet = written_rows(frame, dataset.name)
        return {} if facet is None else {"lodeline_rows": facet}

    def _after_query(self, result: Any, flow: int | None) -> None:
        self._after_sql(flow)
        self._recorder.tag(result, self._recorder.flow.unknown() if flow is None else flow)

    def _after_sql(self, flow: int | None) -> None:
        if flow is None:
            self._recorder.gap("pandas", "capture", _SQL_DETAIL)


def _named(target: object) -> object:
    """An open file, or an ExcelWriter: what it writes to has a name."""
    handles = getattr(target, "handles", None) or getattr(target, "_handles", None)
    return getattr(handles, "handle", target)


def _iter_operations(pd: Any) -> Iterator[tuple[Any, str]]:
    """The public methods and operators of everything that gives frames."""
    owners: list[Any] = []
    for table in (pd.DataFrame, pd.Series):
        owners += [base for base in table.__mro__ if base.__module__.startswith("pandas")]
    for name in _CARRIERS:
        owners += [base for base in kind(name).__mro__ if base.__module__.startswith("pandas")]
    from pandas.core.arrays.categorical import CategoricalAccessor
    from pandas.core.indexes.accessors import (
        DatetimeProperties,
        PeriodProperties,
        TimedeltaProperties,
    )
    from pandas.core.strings.accessor import StringMethods

    properties = (DatetimeProperties, PeriodProperties, TimedeltaProperties)
    for accessor in (*properties, StringMethods, CategoricalAccessor):
        for name, value in list(vars(accessor).items()):
            if not name.startswith("_") and isinstance(value, (FunctionType, property)):
                yield accessor, name
    operators = {f"__{name}__" for name in _OPERATORS}
    for owner in dict.fromkeys(owners):
        for name, value in list(vars(owner).items()):
            public = not name.startswith("_") and name not in _LEFT_ALONE
            if isinstance(value, FunctionType) and (public or name in operators):
                yield owner, name


def schema_of(frame: Any) -> dict[str, dict[str, Any]] | None:
    """Schema facet of a frame or a series; `None` for anything else."""
    columns = getattr(frame, "dtypes", None)
    if columns is None:
        return None
    if not hasattr(columns, "items"):
        name = getattr(frame, "name", None)
        return {"schema": {"fields": [{"name": str(name), "type": str(columns)}]}}
    fields = [{"name": str(name), "type": str(dtype)} for name, dtype in columns.items()]
    return {"schema": {"fields": fields}}

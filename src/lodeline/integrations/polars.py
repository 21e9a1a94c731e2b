"""polars: readers, scans, writers and sinks, and what flows from frame to frame.

polars opens files in native code, which no audit event shows; its Python functions are the only
place to look. A scan tags the lazy frame, and the tag follows it through to the collected one.
Expressions are no data; a series inside one is followed when it is an argument of its own.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Final

from lodeline.capture.datasets import Dataset, find_dataset
from lodeline.capture.flow import identity
from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder
from lodeline.capture.sql_sessions import reading, writing

_READERS: Final = (
    *("read_csv", "read_parquet", "read_json", "read_ndjson", "read_ipc", "read_ipc_stream"),
    *("read_excel", "read_ods", "read_avro", "read_delta", "read_lines", "read_csv_batched"),
    *("scan_csv", "scan_parquet", "scan_ndjson", "scan_ipc", "scan_delta", "scan_lines"),
)
_WRITERS: Final = (
    *("write_csv", "write_parquet", "write_json", "write_ndjson", "write_ipc", "write_avro"),
    *("write_ipc_stream", "write_excel", "write_delta"),
    *("sink_csv", "sink_parquet", "sink_ndjson", "sink_ipc", "sink_delta"),
)
_SCHEMAS: Final = ("read_parquet_schema", "read_parquet_metadata", "read_ipc_schema")
_UNSEEN: Final = ("read_database_uri", "scan_iceberg", "scan_lance", "read_clipboard")
_FUNCTIONS: Final = (
    *("concat", "from_pandas", "from_arrow", "from_numpy", "from_dict", "from_dicts", "select"),
    *("align_frames", "union", "merge_sorted"),
)
# Methods whose list and dict arguments are data; elsewhere they choose columns.
_DATA: Final = frozenset(
    {"is_in", "replace", "replace_strict", "fill_null", "with_columns", "append", "extend_constant"}
    | {"scatter", "set", "zip_with", "search_sorted", "set_at_idx"}
)
_SQL_DETAIL: Final = "polars reads and writes through a connection that is not observed"
_OPERATORS: Final = (
    *("__getitem__", "__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__"),
    *(
        "__eq__",
        "__ne__",
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__and__",
        "__or__",
        "__invert__",
    ),
    *("__radd__", "__rsub__", "__rmul__", "__rtruediv__", "__neg__", "__array__"),
)
_LEFT_ALONE: Final = frozenset(
    {"columns", "dtypes", "schema", "shape", "height", "width", "flags", "plot", "style", "glimpse"}
    | {"iter_rows", "rows", "row", "item", "to_dicts", "to_init_repr", "collect_schema", "explain"}
    | {"show", "show_graph", "estimated_size", "equals", "is_empty", "serialize", "name", "dtype"}
    | {"write_database", "write_iceberg", "write_clipboard", "sink_iceberg", "sink_batches"}
    | set(_WRITERS)
)


class PolarsIntegration:
    """polars 1 and 2."""

    name = "polars"
    supports = "polars>=1.0,<3"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch readers, writers and operations."""
        import polars as pl

        # polars looks for the first frame outside its folder when it warns.
        folder = os.path.join(os.path.dirname(pl.__file__), "lodeline")
        patches = Patches("polars", file=folder)
        recorder.flow.holds_data(pl.DataFrame, pl.LazyFrame, pl.Series, *_group_kinds())
        observer = _Observer(recorder)
        for name in _READERS:
            patches.door(pl, name, observer.after_read)
        for name in _SCHEMAS:
            patches.door(pl, name, observer.after_look)
        for name in _UNSEEN:
            patches.door(pl, name, observer.after_unseen)
        patches.wrap(
            pl,
            "read_database",
            vars(pl)["read_database"],
            lambda f: reading(recorder, f, observer.after_query),
        )
        for name in _FUNCTIONS:
            patches.passage(pl, name, data=True)
        patches.door(pl, "collect_all", observer.after_collect_all)
        patches.after(pl.LazyFrame, "collect", observer.after_collect)
        patches.after(pl.LazyFrame, "collect_async", observer.after_collect_elsewhere)
        patches.after(pl, "collect_all_async", observer.after_collect_elsewhere)
        for owner in (pl.DataFrame, pl.LazyFrame):
            for name in _WRITERS:
                patches.door(owner, name, functools.partial(observer.after_write, name))
            patches.door(owner, "serialize", functools.partial(observer.after_write, "serialize"))
            patches.door(owner, "deserialize", observer.after_deserialize)
        patches.wrap(
            pl.DataFrame,
            "write_database",
            vars(pl.DataFrame)["write_database"],
            lambda f: writing(recorder, f, observer.after_sql),
        )
        for owner, name in _iter_operations(pl):
            patches.passage(owner, name, data=name in _DATA)
        recorder.flow.holds_data(pl.SQLContext)
        for name in ("__init__", "register", "register_many", "register_globals"):
            patches.feeding(pl.SQLContext, name, data=True)
        patches.passage(pl.SQLContext, "execute")
        patches.after(pl.SQLContext, "execute", observer.after_statement)
        for kind in _group_kinds():
            if kind.__name__.endswith("GroupBy"):
                patches.iteration(kind, "__iter__")
        patches.passage(pl.DataFrame, "insert_column", mutates=True)
        if recorder.rows:
            from lodeline.capture.polars_rows import follow_polars

            follow_polars(patches)
        return patches.undo


def _group_kinds() -> list[type]:
    """The group-by classes; their homes differ between versions."""
    found: list[type] = []
    for home in ("polars.dataframe.group_by", "polars.lazyframe.group_by"):
        try:
            module = __import__(home, fromlist=["*"])
        except ImportError:
            continue
        kinds = (value for value in vars(module).values() if isinstance(value, type))
        found += [kind for kind in kinds if kind.__module__ == home]
    return found


def _iter_operations(pl: Any) -> Iterator[tuple[Any, str]]:
    for owner in (pl.DataFrame, pl.LazyFrame, pl.Series, *_group_kinds()):
        for name, value in list(vars(owner).items()):
            public = not name.startswith("_") and name not in _LEFT_ALONE
            if isinstance(value, FunctionType) and (public or name in _OPERATORS):
                yield owner, name


class _Observer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        # Lazy sinks that were not collected yet: where each will write, and what.
        self._sinks: dict[int, tuple[weakref.ref[Any], Dataset, int]] = {}

    def after_read(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        target = args[0] if args else kwargs.get("source", next(iter(kwargs.values()), None))
        if isinstance(target, bytes):
            # The data themselves, which polars takes in the place of a path.
            target = None
        frames = list(result.values()) if isinstance(result, dict) else [result]
        facets = schema_of(frames[0]) if len(frames) == 1 else None
        flow = self._recorder.read_all(target, facets=facets)
        for frame in frames:
            self._recorder.tag(frame, flow)

    def after_write(
        self, method: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        frame = args[0]
        target = args[1] if len(args) > 1 else None
        for name in ("file", "path", "workbook", "target"):
            target = kwargs.get(name, target)
        dataset = find_dataset(_base_path(target))
        if dataset is None:
            if target is not None and not hasattr(target, "write"):
                told = f"{method} was given a {type(target).__name__}: what it writes is not known"
                self._recorder.gap("polars", "capture", told)
            return
        flow = self._recorder.flow_of(frame)
        if type(result) is type(frame):
            # `lazy=True`: nothing is written before the sink itself is collected.
            self._recorder.tag(result, flow)
            self._sinks = {key: sink for key, sink in self._sinks.items() if sink[0]() is not None}
            self._sinks[identity(result)] = weakref.ref(result), dataset, flow
            return
        facets = schema_of(frame)
        rows = getattr(frame, "height", None) if facets else None
        statistics: dict[str, Any] = {}
        if rows is not None:
            statistics["outputStatistics"] = {"rowCount": rows}
        statistics |= self._rows_of(method, frame, dataset)
        self._recorder.write(dataset, flow=flow, facets=facets, output_facets=statistics)

    def _rows_of(self, method: str, frame: Any, dataset: Dataset) -> dict[str, Any]:
        """Row provenance of a file just written, where its rows are the frame's, in order."""
        if not self._recorder.rows or dataset.namespace != "file":
            return {}
        if method not in {"write_parquet", "write_csv", "write_ndjson", "write_json"}:
            told = "its rows are not known to be the frame's, in order"
            self._recorder.gap(f"rows: {method}", "capture", told)
            return {}
        from lodeline.capture.row_tracking import written_rows

        facet = written_rows(frame, dataset.name)
        return {} if facet is None else {"lodeline_rows": facet}

    def after_collect_all(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frames = args[0] if args else kwargs.get("lazy_frames", ())
        if isinstance(frames, (list, tuple)) and isinstance(result, list):
            for frame, collected in zip(frames, result, strict=True):
                self._recorder.tag(collected, self._recorder.flow_of(frame))

        for frame in frames if isinstance(frames, (list, tuple)) else ():
            self._end_sink(frame)

    def after_collect(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result, kwargs
        if self._sinks:
            self._end_sink(args[0])

    def _end_sink(self, frame: object) -> None:
        sink = self._sinks.get(identity(frame))
        if sink is not None and sink[0]() is frame:
            self._recorder.write(sink[1], flow=sink[2])

    def after_collect_elsewhere(
        self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Of plans that other threads run, the end is not seen; where they write, is known."""
        del result
        frames = args[0] if args else kwargs.get("lazy_frames")
        for frame in frames if isinstance(frames, (list, tuple)) else (frames,):
            self._end_sink(frame)

    def after_look(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What a file says of its columns: it was read, and no frame came of it."""
        del result
        target = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(target, bytes):
            self._recorder.read_all(target)

    def after_deserialize(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        target = args[1] if len(args) > 1 else kwargs.get("source")
        dataset = None if isinstance(target, bytes) else find_dataset(target)
        flow = self._recorder.flow.unknown() if dataset is None else self._recorder.read(dataset)
        if hasattr(result, "collect"):
            told = "a plan that was stored says itself which files it reads; that is not observed"
            self._recorder.gap("polars", "capture", told)
            flow |= self._recorder.flow.unknown()
        self._recorder.tag(result, flow)

    def after_statement(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Files that a statement names itself, in functions such as `read_csv('…')`."""
        text = args[1] if len(args) > 1 else kwargs.get("query")
        if not isinstance(text, str) or "read_" not in text.lower():
            return
        import re

        calls = len(re.findall(r"\bread_\w+\s*\(", text, re.IGNORECASE))
        paths = re.findall(r"\bread_\w+\s*\(\s*'((?:[^']|'')*)'", text, re.IGNORECASE)
        if len(paths) < calls:
            told = "a statement reads files whose names could not be told"
            self._recorder.gap("polars", "capture", told)
        flow = self._recorder.flow.find(result) or 0
        for path in paths:
            flow |= self._recorder.read_all(path.replace("''", "'"))
        self._recorder.tag(result, flow)

    def after_query(self, result: Any, flow: int | None) -> None:
        self.after_sql(flow)
        self._recorder.tag(result, self._recorder.flow.unknown() if flow is None else flow)

    def after_sql(self, flow: int | None) -> None:
        if flow is None:
            self._recorder.gap("polars", "capture", _SQL_DETAIL)

    def after_unseen(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        self._recorder.gap("polars", "capture", "a database or catalog of polars is not observed")
        if result is not None:
            self._recorder.tag(result, self._recorder.flow.unknown())


def _base_path(target: Any) -> Any:
    """The folder of a sink that writes several files; anything else stays as it is."""
    inner = getattr(target, "_pl_partition_by", target)
    return getattr(inner, "base_path", getattr(inner, "_base_path", target))


def schema_of(frame: Any) -> dict[str, dict[str, Any]] | None:
    """Schema facet of a frame; `None` for a lazy one, whose schema would cost reading."""
    schema = None if hasattr(frame, "collect") else getattr(frame, "schema", None)
    if schema is None:
        return None
    fields = [{"name": str(name), "type": str(kind)} for name, kind in schema.items()]
    return {"schema": {"fields": fields}}

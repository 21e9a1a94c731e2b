"""pyarrow: reading and writing parquet, CSV, JSON, feather and datasets.

Arrow's tables are immutable types of native code, so their own methods (`select`, `cast`) can't be
followed; what they are called through can: the functions of `pyarrow.compute` and `pyarrow.acero`,
and the conversions from and to pandas. A table from any other way may hold what was read so far.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.datasets import FILE, Dataset, find_dataset, in_filesystem, local_path
from lodeline.capture.patches import After, Patches
from lodeline.capture.process import ADAPTERS
from lodeline.capture.recorder import Recorder

# Module -> its readers and writers, with the position and name of the target.
_READERS: Final = {
    "pyarrow.parquet": ("read_table", "read_pandas", "ParquetDataset"),
    "pyarrow.csv": ("read_csv", "open_csv"),
    "pyarrow.json": ("read_json", "open_json"),
    "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.orc": ("read_table",),
    "pyarrow.dataset": ("dataset", "parquet_dataset"),
}
_WRITERS: Final = {
    "pyarrow.parquet": {"write_table": "where", "write_to_dataset": "root_path"},
    "pyarrow.csv": {"write_csv": "output_file"},
    "pyarrow.feather": {"write_feather": "dest"},
    "pyarrow.orc": {"write_table": "where"},
    "pyarrow.dataset": {"write_dataset": "base_dir"},
}
# Functions that open a plain file by its name, and the mode where none is given.
_STREAMS: Final = {"memory_map": "r", "create_memory_map": "u", "input_stream": "r"} | {
    "output_stream": "w"
}
_COMPUTE: Final = ("filter", "take", "drop_null", "if_else", "fill_null", "cast", "unique")
_ACERO: Final = (
    "_perform_join",
    "_perform_join_asof",
    "_filter_table",
    "_sort_source",
    "_group_by",
)


class PyarrowIntegration:
    """pyarrow 14 and later."""

    name = "pyarrow"
    supports = "pyarrow>=14,<28"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the package's functions as its modules are imported."""
        import pyarrow as pa

        recorder.flow.holds_data(pa.Table, pa.RecordBatch, pa.ChunkedArray, pa.Array)
        recorder.flow.holds_data(pa.RecordBatchReader)
        patches = Patches("pyarrow")
        observer = _Observer(recorder, patches)
        for name in _READERS.keys() | _WRITERS.keys():
            ADAPTERS.when_imported(name, observer.patch_files)
        ADAPTERS.when_imported("pyarrow.compute", observer.patch_compute)
        ADAPTERS.when_imported("pyarrow.acero", observer.patch_acero)
        ADAPTERS.when_imported("pyarrow.pandas_compat", observer.patch_pandas)
        ADAPTERS.when_imported("pyarrow.fs", observer.patch_filesystems)
        patches.passage(pa, "concat_tables")
        for name, mode in _STREAMS.items():
            patches.door(pa, name, observer.opened(mode))
        patches.replace(pa, "OSFile", _observed_file(pa.OSFile, observer.opened("r")))
        return patches.undo


def _observed_file(kind: Any, opened: After) -> Any:
    """A kind of file whose opening is told: native code opens it, which no audit event shows."""

    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        kind.__init__(self)
        opened(self, args, kwargs)

    names = {"__init__": construct, "__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), names)


# What a filesystem opens, and the mode.
_OPENINGS: Final = {"open_input_file": "r", "open_input_stream": "r"} | {
    "open_output_stream": "w",
    "open_append_stream": "a",
}
_MOVES: Final = ("copy_file", "move", "delete_file")


def _with_methods(kind: Any, names: tuple[str, ...]) -> Any:
    """A subclass whose methods can be patched, which the original's objects count as, too."""

    def calling(name: str) -> Any:
        original = getattr(kind, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return original(self, *args, **kwargs)

        return method

    class _Alike(type(kind)):  # type: ignore[misc]  # of native code
        def __instancecheck__(cls, thing: Any) -> bool:
            return isinstance(thing, kind)

    methods = {name: calling(name) for name in names if hasattr(kind, name)}
    named = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__qualname__": kind.__name__}
    return _Alike(kind.__name__, (kind,), {**methods, **named})


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches

    def opened(self, mode: str) -> After:
        """Tell of a plain file; what is read from it or written to it is not followed."""

        def told(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            path = args[0] if args else next(iter(kwargs.values()), None)
            dataset = find_dataset(path) if isinstance(path, (str, os.PathLike)) else None
            given = args[1] if len(args) > 1 else kwargs.get("mode")
            name = None if dataset is None else local_path(dataset)
            if name is not None:
                asked = str(given) if isinstance(given, str) else mode
                how = "u" if "+" in asked else "w" if "w" in asked else asked[:1]
                self._recorder.opened(name, how)

        return told

    def patch_files(self, module: Any) -> None:
        name = module.__name__
        for reader in _READERS.get(name, ()):
            if not isinstance(vars(module).get(reader), type):
                self._patches.door(module, reader, self._after_read)
        for writer, target in _WRITERS.get(name, {}).items():
            self._patches.door(module, writer, _Writer(self._recorder, target))
        if name == "pyarrow.parquet":
            self._patch_parquet_classes(module)
        if name == "pyarrow.dataset":
            self._recorder.flow.holds_data(module.Dataset, module.Scanner)
        if name == "pyarrow.csv":
            writer = _with_methods(module.CSVWriter, ("__init__",))
            self._patches.replace(module, "CSVWriter", writer)
            opened = self.opened("w")
            self._patches.door(writer, "__init__", lambda r, a, k: opened(r, a[1:], k))

    def patch_filesystems(self, module: Any) -> None:
        """Files that the program opens, copies or moves by Arrow's own filesystems."""
        for name in ("LocalFileSystem", "SubTreeFileSystem"):
            kind = _with_methods(getattr(module, name), (*_OPENINGS, *_MOVES))
            self._patches.replace(module, name, kind)
            for method, mode in _OPENINGS.items():
                self._patches.door(kind, method, self._after_opening(mode))
            for method in _MOVES:
                act = functools.partial(self._before_moving, method)
                self._patches.around(kind, method, act, lambda *_: None)
        self._patches.door(module, "copy_files", self._after_copying)

    def _after_opening(self, mode: str) -> After:
        opened = self.opened(mode)

        def told(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            path = args[1] if len(args) > 1 else kwargs.get("path", kwargs.get("source"))
            opened(result, (in_filesystem(path, args[0]),), {})

        return told

    def _before_moving(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = [*args[1:], *kwargs.values()][:2]
        found = [find_dataset(in_filesystem(name, args[0])) for name in names]
        paths = [None if one is None else local_path(one) for one in found]
        if method == "delete_file" and paths[0] is not None:
            look = os.lstat(paths[0])
            self._recorder.removed(Dataset(FILE, paths[0]), look.st_ctime_ns // 1000)
        elif len(paths) == 2 and paths[0] is not None and paths[1] is not None:
            if method == "copy_file":
                self._recorder.opened(paths[0], "r")
            self._recorder.moved(paths[0], paths[1], copied=method == "copy_file")

    def _after_copying(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        ends = []
        for position, name in enumerate(("source", "destination")):
            given = args[position] if len(args) > position else kwargs.get(name)
            place = 2 + position
            system = args[place] if len(args) > place else kwargs.get(f"{name}_filesystem")
            ends.append(find_dataset(in_filesystem(given, system)))
        source, target = ends
        if source is None or target is None:
            self._recorder.gap("pyarrow", "capture", "what was copied could not be told")
            return
        self._recorder.read(source)
        self._recorder.write(target, inputs=[source])

    def _patch_parquet_classes(self, parquet: Any) -> None:
        """Files opened for piecewise reading, and writers fed piece by piece."""
        recorder, patches = self._recorder, self._patches
        reader, writer = parquet.ParquetFile, parquet.ParquetWriter
        recorder.flow.holds_data(reader, writer)

        def opened(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            # One of them names it first `source`, the other `path_or_paths`.
            target = args[1] if len(args) > 1 else next(iter(kwargs.values()), None)
            target = in_filesystem(target, kwargs.get("filesystem"))
            recorder.tag(args[0], recorder.read_all(target))

        patches.door(reader, "__init__", opened)
        for name in ("read", "read_row_group", "read_row_groups"):
            patches.passage(reader, name)
        if "__init__" in vars(parquet.ParquetDataset):
            patches.door(parquet.ParquetDataset, "__init__", opened)
            recorder.flow.holds_data(parquet.ParquetDataset)
            patches.passage(parquet.ParquetDataset, "read")

        def began(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            target = args[1] if len(args) > 1 else kwargs.get("where")
            recorder.tag(args[0], 0)
            targets[id(args[0])] = in_filesystem(target, kwargs.get("filesystem"))

        def ended(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result, kwargs
            dataset = find_dataset(targets.pop(id(args[0]), None))
            if dataset is not None:
                facets = schema_of(args[0])
                recorder.write(dataset, flow=recorder.flow_of(args[0]), facets=facets)

        targets: dict[int, object] = {}
        patches.door(writer, "__init__", began)
        patches.door(writer, "close", ended)
        for name in ("write", "write_table", "write_batch"):
            patches.feeding(writer, name)

    def patch_compute(self, module: Any) -> None:
        for name in _COMPUTE:
            self._patches.passage(module, name)

    def patch_acero(self, module: Any) -> None:
        for name in _ACERO:
            self._patches.passage(module, name)

    def patch_pandas(self, module: Any) -> None:
        self._patches.passage(module, "table_to_dataframe")

    def _after_read(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        target = args[0] if args else next(iter(kwargs.values()), None)
        target = in_filesystem(target, kwargs.get("filesystem"))
        self._recorder.tag(result, self._recorder.read_all(target, facets=schema_of(result)))


class _Writer:
    """Records a write by a function whose first argument is the data, the second the target."""

    def __init__(self, recorder: Recorder, keyword: str) -> None:
        self._recorder = recorder
        self._keyword = keyword

    def __call__(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        target = args[1] if len(args) > 1 else kwargs.get(self._keyword)
        table = args[0] if args else next(iter(kwargs.values()), None)
        dataset = find_dataset(in_filesystem(target, kwargs.get("filesystem")))
        if dataset is None:
            return
        flow = self._recorder.flow_of(table)
        if not flow and not isinstance(table, (list, tuple)) and not hasattr(table, "metadata"):
            # Such as a generator of batches. Of tables, and what gives them, a flow is known;
            # a schema, which has metadata, holds no data.
            flow = self._recorder.flow.unknown()
        rows = getattr(table, "num_rows", None)
        statistics = {"outputStatistics": {"rowCount": rows}} if isinstance(rows, int) else None
        self._recorder.write(
            dataset,
            flow=flow,
            facets=schema_of(table),
            output_facets=statistics,
        )


def schema_of(table: Any) -> dict[str, dict[str, Any]] | None:
    """Schema facet of a table, a dataset or a writer; `None` for anything else."""
    schema = getattr(table, "schema", None)
    if schema is None or not hasattr(schema, "names"):
        return None
    fields = [{"name": str(field.name), "type": str(field.type)} for field in schema]
    return {"schema": {"fields": fields}}

"""pyarrow: reading and writing parquet, CSV, JSON, feather and datasets.

Arrow's tables are immutable types of native code, so their own methods (`select`, `cast`) can't be
followed; what they are called through can: the functions of `pyarrow.compute` and `pyarrow.acero`,
and the conversions from and to pandas. A table from any other way may hold what was read so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from lodeline.capture.datasets import find_dataset, in_filesystem, local_path
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
        patches = Patches("pyarrow")
        observer = _Observer(recorder, patches)
        for name in _READERS.keys() | _WRITERS.keys():
            ADAPTERS.when_imported(name, observer.patch_files)
        ADAPTERS.when_imported("pyarrow.compute", observer.patch_compute)
        ADAPTERS.when_imported("pyarrow.acero", observer.patch_acero)
        ADAPTERS.when_imported("pyarrow.pandas_compat", observer.patch_pandas)
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
        rows = getattr(table, "num_rows", None)
        statistics = {"outputStatistics": {"rowCount": rows}} if isinstance(rows, int) else None
        self._recorder.write(
            dataset,
            flow=self._recorder.flow_of(table),
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

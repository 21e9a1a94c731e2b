"""The logical digest: the same table in another file format or row order gets the same digest.

It is an attribute that recognises tables, never an identity. Columns are brought to a canonical
Arrow schema (int64, float64, UTC nanoseconds, text, bytes, boolean), which is recorded and hashed
too; `-0.0` equals `0.0`, every NaN is one NaN, null is distinct from NaN, the order of rows and
of columns does not count, the number of equal rows does.

Rows are encoded at a fixed width (text by the digest of each distinct value), hashed one by one,
and the sorted row digests are hashed together: a sum of row digests would be shorter to compute,
but lets unequal tables of one sum be constructed.

The first row of a CSV counts as names only where the program that read or wrote the file took it
for names, too. Nothing in the file tells a header from a row of text, and no value of a row may
leave in the place of a name; so all other columns are named by position, `column_1` first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from lodeline.limits import LOGICAL_BYTES_MAX, LOGICAL_CELLS_MAX, LOGICAL_MEMORY_MAX
from lodeline.spool import replace_file

_FORMATS: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".feather": "ipc",
    ".arrow": "ipc",
}
# What reading a file that only looks like a table may raise.
_FAULTS: Final = (OSError, ValueError, NotImplementedError, AttributeError)

Logical = tuple[str, list[dict[str, str]]]


class LogicalMemory:
    """Logical digests by the digest of the bytes, which they follow from.

    Args:
        path: of the file that keeps them between deliveries; `None` to keep none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, Logical | None] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            if path is not None:
                loaded = json.loads(path.read_bytes())
                self._known = {
                    str(key): None if found is None else (str(found[0]), list(found[1]))
                    for key, found in loaded.items()
                }

    def find(
        self, path: str, size: int, byte_digest: str, names: Collection[str] = ()
    ) -> Logical | None:
        """Compute a file's logical digest, unless the same bytes were met before.

        Args:
            path: of the file.
            size: in bytes.
            byte_digest: of its bytes.
            names: that the program used for the columns of this table.
        """
        key = _key(path, byte_digest, names)
        if key not in self._known:
            self._known[key] = logical_digest(path, size, names)
            self._changed = True
        return self._known[key]

    def knows(self, path: str, byte_digest: str, names: Collection[str] = ()) -> bool:
        """Whether `find` need not read the file, by its digest or because it is no table."""
        suffix = Path(path).suffix.lower()
        return suffix not in _FORMATS or _key(path, byte_digest, names) in self._known

    def forget(self, path: str, byte_digest: str, names: Collection[str] = ()) -> None:
        """Take back what was computed from a file that changed meanwhile."""
        self._known.pop(_key(path, byte_digest, names), None)

    def keep(self) -> None:
        """Write down what was computed since. A full disk costs computing it again."""
        if self._changed and self._path is not None:
            latest = dict(list(self._known.items())[-LOGICAL_MEMORY_MAX:])
            with contextlib.suppress(OSError):
                replace_file(self._path, json.dumps(latest).encode())
        self._changed = False


def _key(path: str, byte_digest: str, names: Collection[str]) -> str:
    """What a logical digest follows from: in a CSV, also what counts as a name."""
    suffix = Path(path).suffix.lower()
    if _FORMATS.get(suffix) != "csv":
        return f"{byte_digest}{suffix}"
    known = hashlib.sha256(repr(sorted(set(names))).encode()).hexdigest()
    return f"{byte_digest}{suffix}:{known[:16]}"


def logical_digest(path: str, size: int, names: Collection[str] = ()) -> Logical | None:
    """Compute the logical digest of a table in a file.

    Args:
        path: of the file.
        size: in bytes.
        names: that the program used for the columns of this table; a CSV's first row is taken for
            names only if they are in it.

    Returns:
        SHA-256 (hex) and the canonical schema; `None` where there is none: another format, too
        large, no pyarrow, no table inside, or a column type without a canonical form.
    """
    kind = _FORMATS.get(Path(path).suffix.lower())
    if kind is None or size > LOGICAL_BYTES_MAX:
        return None
    try:
        import numpy as np  # noqa: F401  # without either there is no logical digest
        import pyarrow as pa
    except ImportError:
        return None
    try:
        return table_digest(_read_table(path, kind, frozenset(names)))
    except (pa.ArrowException, *_FAULTS):
        # A file that only looks like a table has no logical digest, and that is no fault; nor is a
        # release of pyarrow that lacks a function: the event must be delivered all the same.
        return None


def _read_table(path: str, kind: str, names: frozenset[str]) -> Any:
    if kind == "parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        if file.metadata.num_rows * file.metadata.num_columns > LOGICAL_CELLS_MAX:
            raise ValueError("too large")
        return file.read()
    if kind == "ipc":
        from pyarrow import feather

        return feather.read_table(path, memory_map=False)
    return _read_csv(path, names)


def _read_csv(path: str, names: frozenset[str]) -> Any:
    from pyarrow import csv as arrow_csv

    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    header = _find_header(path, delimiter, names)
    # Only an empty, unquoted field is null: text such as "NA" may be a value.
    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(autogenerate_column_names=header is None),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
        convert_options=arrow_csv.ConvertOptions(
            null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    return table.rename_columns(
        [
            name if header is not None and name in header else f"column_{position}"
            for position, name in enumerate(table.column_names, start=1)
        ]
    )


def _find_header(path: str, delimiter: str, names: frozenset[str]) -> frozenset[str] | None:
    """The names that a CSV's first row holds; `None` where it may be a row of data.

    It is a header when the program took every cell of it for a name (the empty one stands over an
    index), or found all its columns in it. Cells that the program did not use stay out.
    """
    import csv

    with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            first = next((row for row in csv.reader(file, delimiter=delimiter) if row), [])
        except csv.Error as error:
            raise ValueError(str(error)) from error
    cells = {cell for cell in first if cell}
    if not cells & names or not (cells <= names or names <= cells):
        return None
    return frozenset(cells & names) | {""}


def table_digest(table: Any) -> Logical | None:
    """Compute the logical digest of an Arrow table; `None` for types without a canonical form."""
    import numpy as np

    names = table.column_names
    if len(set(names)) != len(names) or table.num_rows * len(names) > LOGICAL_CELLS_MAX:
        return None
    schema, cells = [], []
    for name in sorted(names):
        encoded = _encode_column(table.column(name))
        if encoded is None:
            return None
        type_name, matrix = encoded
        schema.append({"name": name, "type": type_name})
        cells.append(matrix)
    digest = hashlib.sha256()
    from lodeline.wire import canonical_bytes  # whoever only asks what is known hashes no table

    head = canonical_bytes({"rows": table.num_rows, "schema": schema})
    digest.update(len(head).to_bytes(8, "big") + head)
    if cells and table.num_rows:
        rows = np.ascontiguousarray(np.concatenate(cells, axis=1))
        width, view, sha256 = rows.shape[1], memoryview(rows).cast("B"), hashlib.sha256
        starts = range(0, table.num_rows * width, width)
        hashes = [sha256(view[start : start + width]).digest() for start in starts]
        hashes.sort()
        digest.update(b"".join(hashes))
    return digest.hexdigest(), schema


def _encode_column(column: Any) -> tuple[str, Any] | None:
    """Give the canonical type and one row of bytes per cell: a null mark, then the value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return "null", np.zeros((len(column), 1), np.uint8)
    valid = _values(pc.cast(pc.is_valid(column), pa.uint8()), np.uint8) > 0
    if _is_textual(kind):
        return _encode_text(column, kind, valid)
    canonical = _canonical_numbers(column, kind, valid)
    if canonical is None:
        return None
    name, values = canonical
    matrix: Any = np.zeros((len(values), 9), np.uint8)
    matrix[:, 0] = valid
    matrix[:, 1:] = values.astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, 8)
    matrix[~valid] = 0
    return name, matrix


def _is_textual(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or (hasattr(types, "is_string_view") and types.is_string_view(kind))  # since pyarrow 16
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_decimal(kind)
    )


def _canonical_numbers(column: Any, kind: Any, valid: Any) -> tuple[str, Any] | None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if types.is_boolean(kind):
        return "bool", _values(pc.cast(column, pa.int64()), np.int64, valid)
    if types.is_uint64(kind):
        filled = _values(column, np.uint64, valid)
        if not len(filled) or filled.max() < 2**63:
            return "int64", filled.astype(np.int64)
        return "uint64", filled
    if types.is_integer(kind):
        return "int64", _values(pc.cast(column, pa.int64()), np.int64, valid)
    if types.is_floating(kind):
        numbers = _values(pc.cast(column, pa.float64()), np.float64, valid)
        numbers += 0.0  # -0.0 + 0.0 is 0.0
        numbers[np.isnan(numbers)] = np.nan
        return "float64", numbers
    if types.is_timestamp(kind) or types.is_date(kind):
        moments = pc.cast(column, pa.timestamp("ns", tz=getattr(kind, "tz", None)))
        return "timestamp[ns, UTC]", _values(pc.cast(moments, pa.int64()), np.int64, valid)
    if types.is_duration(kind):
        spans = pc.cast(pc.cast(column, pa.duration("ns")), pa.int64())
        return "duration[ns]", _values(spans, np.int64, valid)
    if types.is_time(kind):
        clock = pc.cast(pc.cast(column, pa.time64("ns")), pa.int64())
        return "time64[ns]", _values(clock, np.int64, valid)
    return None


def _values(column: Any, dtype: Any, valid: Any = None) -> Any:
    """Give the values of a column whose type is as wide as `dtype`, 0 where they are not valid.

    Arrow's own conversions, and its scalars, import pandas wherever that is installed: half a
    second of a program's end.
    """
    import numpy as np

    width = np.dtype(dtype).itemsize
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * width)
        for chunk in getattr(column, "chunks", [column])
        if len(chunk)
    ]
    values = np.concatenate(parts) if parts else np.zeros(0, dtype)
    if valid is not None:
        values[~valid] = 0
    return values


def _encode_text(column: Any, kind: Any, valid: Any) -> tuple[str, Any]:
    import numpy as np
    import pyarrow as pa

    name = "binary" if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else "utf8"
    if pa.types.is_decimal(kind):
        name, column = f"decimal(scale {kind.scale})", column.cast(pa.string())
    encoded = column.dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = pa.concat_arrays(encoded.unify_dictionaries().chunks)
    distinct = encoded.dictionary.to_pylist()
    hashes = [
        hashlib.sha256(value if isinstance(value, bytes) else (value or "").encode()).digest()
        for value in distinct
    ]
    table = np.frombuffer(b"".join([*hashes, bytes(32)]), np.uint8).reshape(-1, 32)
    codes = _values(encoded.indices.cast(pa.int64()), np.int64)
    codes[~valid] = len(distinct)
    matrix: Any = np.zeros((len(codes), 33), np.uint8)
    matrix[:, 0] = valid
    matrix[:, 1:] = table[codes]
    return name, matrix

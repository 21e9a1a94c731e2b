"""Rows of an answer as a table: CSV, Parquet or an Arrow stream.

The columns are `id`, `dataset`, `version` and `key`, then one for each name of a value, under
`values.`; a name whose values have several types is text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

from lodeline.errors import MissingExtraError, UsageError

MEDIA_TYPES: Final = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
_OWN: Final = ("id", "dataset", "version", "key")

Row = Mapping[str, Any]


def write_table(rows: Sequence[Row], form: str) -> bytes:
    """Write rows.

    Args:
        rows: of answers.
        form: `csv`, `parquet` or `arrow`.

    Raises:
        UsageError: no such form.
        MissingExtraError: the optional packages are missing.
    """
    if form not in MEDIA_TYPES:
        raise UsageError(f"format: {', '.join(MEDIA_TYPES)}, not {form!r}")
    if form == "csv":
        return _csv(_columns(rows))
    if find_spec("pyarrow") is None:
        raise MissingExtraError("rows", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, out = arrow_table(rows), io.BytesIO()
    if form == "parquet":
        pq.write_table(table, out, compression="zstd")
    else:
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    return out.getvalue()


def arrow_table(rows: Sequence[Row]) -> Any:
    """Give rows as a `pyarrow.Table`."""
    import pyarrow as pa

    columns = _columns(rows)
    own = {name: pa.array(columns[name], pa.string()) for name in _OWN}
    others = {name: _typed(values) for name, values in columns.items() if name not in _OWN}
    return pa.table({**own, **others})


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row["values"] or ())
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in _OWN}
    for name in names:
        columns[f"values.{name}"] = [(row["values"] or {}).get(name) for row in rows]
    return columns


def _typed(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([_text(value) for value in values], pa.string())


def _csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_text(value) for value in row])
    return out.getvalue().encode()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)

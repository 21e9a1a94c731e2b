"""The links of one step, followed backward or forward for some rows.

Row numbers are numpy arrays of int64, sorted and unique. Blobs are Parquet; of a large one only
the row groups that hold the rows asked about are read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from lodeline.errors import MissingLinksError, UnknownBlobError
from lodeline.limits import ROW_BLOB_CACHE_BYTES
from lodeline.rows.steps import StoredStep
from lodeline.store import Segment

Rows = Any  # numpy.ndarray of int64; numpy is optional and loads late.

# Fewer rows than this are looked up in their row groups instead of in the whole blob.
_FEW: Final = 256


class LinkReader:
    """Follows steps of one segment; remembers the blobs it read.

    Args:
        segment: whose blobs.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._files: dict[str, Any] = {}
        self._columns: OrderedDict[str, Any] = OrderedDict()
        self._bytes = 0

    def back(self, step: StoredStep, rows: Rows | None) -> Rows:
        """Find the input rows behind output rows.

        Args:
            step: to follow.
            rows: of the output; `None` for all of it.

        Raises:
            MissingLinksError: the blob is not here.
        """
        import numpy as np

        if step.shape in {"identity", "range"}:
            mine = np.arange(step.rows) if rows is None else rows[rows < step.rows]
            return mine + step.start
        if step.shape == "set":
            if not step.digest:
                return np.arange(step.count) + step.start
            return self._values(step)
        if rows is not None and len(rows) <= _FEW:
            return self._back_few(step, rows)
        if step.shape == "array":
            values = self._values(step)
            found = values if rows is None else values[rows[rows < len(values)]]
            return np.unique(found[found >= 0])
        offsets, values = self._values(step)
        if rows is None:
            return np.unique(values)
        parts = [values[offsets[row] : offsets[row + 1]] for row in rows if row + 1 < len(offsets)]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    def _back_few(self, step: StoredStep, rows: Rows) -> Rows:
        import numpy as np

        file = self._file(step)
        found: list[int] = []
        first = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            inside = rows[(rows >= first) & (rows < first + count)] - first
            if len(inside):
                column = file.read_row_group(group).column(0)
                for value in column.take(inside).to_pylist():
                    if isinstance(value, list):
                        found.extend(value)
                    elif value is not None:
                        found.append(value)
            first += count
        return np.unique(np.array(found, dtype=np.int64))

    def forward(self, step: StoredStep, rows: Rows) -> Rows:
        """Find the output rows that input rows went into; row 0 stands for the whole of a set."""
        import numpy as np

        if step.shape in {"identity", "range"}:
            found = rows - step.start
            return found[(found >= 0) & (found < step.rows)]
        if step.shape == "set":
            members = (
                np.isin(rows, self._values(step))
                if step.digest
                else (rows >= step.start) & (rows < step.start + step.count)
            )
            return np.zeros(1 if members.any() else 0, np.int64)
        if step.shape == "array":
            return np.flatnonzero(np.isin(self._values(step), rows))
        offsets, values = self._values(step)
        places = np.flatnonzero(np.isin(values, rows))
        return np.unique(np.searchsorted(offsets, places, side="right") - 1)

    def _file(self, step: StoredStep) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if step.digest not in self._files:
            try:
                data = self._segment.get_blob(step.digest)
            except UnknownBlobError as error:
                raise MissingLinksError(step.digest) from error
            self._files[step.digest] = pq.ParquetFile(pa.BufferReader(data))
        return self._files[step.digest]

    def _values(self, step: StoredStep) -> Any:
        """Read a blob whole: an array, or offsets and values of lists."""
        import numpy as np

        if step.digest in self._columns:
            self._columns.move_to_end(step.digest)
            return self._columns[step.digest]
        column = self._file(step).read().column(0).combine_chunks()
        if step.shape == "lists":
            offsets = np.asarray(column.offsets, dtype=np.int64)
            values = np.asarray(column.values, dtype=np.int64)
            loaded: Any = (offsets - offsets[0], values[offsets[0] : offsets[-1]])
            self._bytes += offsets.nbytes + values.nbytes
        else:
            loaded = np.asarray(column.fill_null(-1), dtype=np.int64)
            self._bytes += loaded.nbytes
        self._columns[step.digest] = loaded
        while self._bytes > ROW_BLOB_CACHE_BYTES and len(self._columns) > 1:
            _, dropped = self._columns.popitem(last=False)
            parts = dropped if isinstance(dropped, tuple) else (dropped,)
            self._bytes -= sum(part.nbytes for part in parts)
        return loaded

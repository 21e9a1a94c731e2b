"""What DuckDB knows of tables and of a query before it runs: rows, values, estimates of its plan.

All of it comes from statistics that DuckDB keeps anyway; nothing is read for it but the end of a
table's row numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from lodeline.integrations.duckdb.links import quoted
from lodeline.sql import Source

Ask = Callable[[str], list[tuple[Any, ...]]]

_UNIQUE: Final = re.compile(r"\[Approx Unique: (\d+)\]")
_SPAN: Final = re.compile(r"^\[Min: (\d{4})-\d\d-\d\d[^,]*, Max: (\d{4})-\d\d-\d\d[^\]]*\]")
_AGGREGATES: Final = ("HASH_GROUP_BY", "PERFECT_HASH_GROUP_BY", "UNGROUPED_AGGREGATE")


class EngineCounts:
    """Counts of one query; see `lodeline.sql.bitmaps`.

    Args:
        ask: runs a query of ours and gives its rows; what it raises means that nothing is known.
        text: of the query.
    """

    def __init__(self, ask: Ask, text: str) -> None:
        self._ask = ask
        self._text = text
        self._known: dict[str, list[tuple[Any, ...]]] = {}

    def rows(self, source: Source, most: int | None = None) -> int | None:
        """Give a number that all row numbers of a table or file are below.

        Args:
            source: the table or file; of what is numbered as it is read nothing is known.
            most: more than these rows are of no interest.
        """
        if source.rows not in {"rowid", "file_row_number"}:
            return None
        found = self._found(f"SELECT count(*) FROM {source.key}")
        if not found or not found[0][0] or (most is not None and found[0][0] > most):
            return None
        if source.rows == "file_row_number":
            return int(found[0][0])
        # Row numbers beyond the count are those of tables with deleted rows.
        last = found[0][0] - 1
        found = self._found(f"SELECT max(rowid) FROM {source.key} WHERE rowid >= {last}")
        return int(found[0][0]) + 1 if found and found[0][0] is not None else None

    def values(self, source: Source, column: str) -> int | None:
        """Estimate how many values a column has, from a sketch that DuckDB keeps."""
        told = self._statistics(source, column)
        unique = _UNIQUE.search(told)
        if unique is None:
            return None
        return int(unique[1]) + ("[Has Null: true" in told)

    def years(self, source: Source, column: str) -> int | None:
        """Say how many years the dates of a column span."""
        told = self._statistics(source, column)
        span = _SPAN.match(told)
        if span is None:
            return None
        return int(span[2]) - int(span[1]) + 1 + ("[Has Null: true" in told)

    def met(self) -> int | None:
        """Estimate how many rows the outermost grouping takes in, as DuckDB plans it."""
        found = self._found(f"EXPLAIN (FORMAT json) {self._text}")
        try:
            nodes = json.loads(found[0][1])
            while nodes:
                (node,) = nodes
                nodes = node["children"]
                if node["name"].strip() in _AGGREGATES:
                    return int(nodes[0]["extra_info"]["Estimated Cardinality"])
        except (IndexError, KeyError, TypeError, ValueError):
            return None
        return None

    def _statistics(self, source: Source, column: str) -> str:
        found = self._found(f"SELECT stats({quoted(column)}) FROM {source.key} LIMIT 1")
        return str(found[0][0]) if found else ""

    def _found(self, query: str) -> list[tuple[Any, ...]]:
        if query not in self._known:
            try:
                self._known[query] = self._ask(query)
            except Exception:  # whatever DuckDB does not know, or not in this release
                self._known[query] = []
        return self._known[query]


__all__ = ["EngineCounts"]

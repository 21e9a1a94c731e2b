"""Figures of the numbers in messages: what a window of a topic held, without any message.

Values that are JSON objects, lists or numbers, as bytes or as a program's own plain values, are
looked at while they pass; everything else is counted as not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from lodeline.capture.privacy import current
from lodeline.capture.sampling import ColumnFigures
from lodeline.limits import (
    MESSAGE_BYTES_READ_MAX,
    MESSAGE_CELLS_MAX,
    MESSAGE_DEPTH_MAX,
    MESSAGES_COLUMNS_MAX,
)

_BEGINNINGS: Final = b"{[-0123456789"
_WHOLE: Final = "value"
_decode: Final = msgspec.json.Decoder().decode


class MessageValues:
    """Figures by column of the messages of one topic.

    Args:
        owner: `namespace:name` of the topic, by which rules of privacy find their columns.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._rules = current()
        self._columns: dict[str, ColumnFigures] = {}
        self._read = 0

    def add(self, value: object) -> None:
        """Count one message's value, where it can be read."""
        cells = self._cells(value)
        if not cells:
            return
        self._read += 1
        for name, cell in cells:
            column = self._columns.get(name)
            if column is None:
                if len(self._columns) >= MESSAGES_COLUMNS_MAX:
                    continue
                column = self._columns[name] = ColumnFigures()
            column.add(cell)

    def _cells(self, value: object) -> list[tuple[str, Any]]:
        if isinstance(value, bytes):
            if not value or value[0] not in _BEGINNINGS or len(value) > MESSAGE_BYTES_READ_MAX:
                return []
            try:
                value = _decode(value)
            except (ValueError, RecursionError):
                return []
        elif type(value) not in {dict, list, int, float}:
            return []
        cells: list[tuple[str, Any]] = []
        for cell in _flatten("", value, 0):
            if len(cells) >= MESSAGE_CELLS_MAX:
                return []
            cells.append(cell)
        return [cell for cell in cells if self._is_shown(cell[0])] if self._rules.rules else cells

    def _is_shown(self, name: str) -> bool:
        # Figures of a column whose values may not leave the process would tell of them.
        return all(self._rules.action(self._owner, part) == "keep" for part in name.split("."))

    def told(self) -> dict[str, Any]:
        """Give the facet's members; none where no message was read."""
        if not self._read:
            return {}
        columns = {name: column.told() for name, column in self._columns.items()}
        return {"read": self._read, "columns": columns}


def _flatten(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > MESSAGE_DEPTH_MAX:
        return
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _flatten(f"{name}.{key}" if name else str(key), member, depth + 1)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _flatten(name, member, depth + 1)
    else:
        yield name or _WHOLE, value

"""What names a row: its number in bytes that a digest names, else a declared key.

A number holds for exactly the bytes whose digest is the dataset's version. Of anything else (a
table of a database) rows are named by the declared key whose values were recorded with the links;
without one, a row has no name, and that is a gap. Of a file a declared key may be asked for, too:
it is looked up in the file, if its bytes still are the version's.
"""

from __future__ import annotations

import json
from typing import Any, Final

from lodeline.errors import FileChangedError, UnknownBlobError, UnknownNodeError, UsageError
from lodeline.model import NodeId
from lodeline.query.answers import Gap
from lodeline.rows.steps import StepIndex
from lodeline.rows.values import ValueReader
from lodeline.store import Segment

BYTES: Final = "sha256:"


class RowNames:
    """Names rows, and finds them by name.

    Args:
        index: at the question's moment.
        segment: whose blobs.
    """

    def __init__(self, index: StepIndex, segment: Segment) -> None:
        self._index = index
        self._segment = segment
        self._read: dict[str, list[str | None]] = {}

    def find_number(self, dataset: NodeId, row: NodeId) -> int:
        """Find the number of the row that an identifier names.

        Raises:
            UnknownNodeError: no row has that key.
            UsageError: the key names no row: none is declared, or several rows have it.
        """
        stated = self._index.keys_of(dataset)
        if row.part.isdigit() and (dataset.version.startswith(BYTES) or not stated):
            return int(row.part)
        for _, digest in stated:
            keys = self._keys(digest) if digest else []
            if row.part in keys:
                return keys.index(row.part)
        columns = next((columns for columns, digest in stated if not digest), None)
        if columns is not None:
            return self._look_up(dataset, columns, row)
        if stated:
            raise UnknownNodeError(str(row))
        raise UsageError(
            f"no key is declared for {dataset}: its rows are named by number, not {row.part!r}"
        )

    def _look_up(self, dataset: NodeId, columns: tuple[str, ...], row: NodeId) -> int:
        """Find the one row of a file that has a key."""
        values = _parts(row.part, len(columns))
        if values is None:
            raise UsageError(f"a key of {', '.join(columns)} is a JSON array of as many values")
        try:
            found = ValueReader(dataset).find_key(columns, values)
        except FileChangedError as error:
            raise UsageError(f"{row}: keys are looked up in the file: {error}") from error
        if not found:
            raise UnknownNodeError(str(row))
        if len(found) > 1:
            raise UsageError(f"{row}: {len(found)} rows have this key; name one by its number")
        return found[0]

    def name(self, node: NodeId, numbers: list[int]) -> tuple[list[str], Gap | None]:
        """Name rows of a version; with a gap where numbers alone say nothing to anyone."""
        plain = [str(number) for number in numbers]
        if node.version.startswith(BYTES):
            return plain, None
        stated = [digest for _, digest in self._index.keys_of(node) if digest]
        if not stated:
            return plain, None
        # Each event of a run states the keys that were met until then.
        lists = [self._keys(digest) for digest in stated]
        named = [
            next((keys[one] for keys in lists if one < len(keys) and keys[one] is not None), None)
            for one in numbers
        ]
        if None not in named:
            return [str(key) for key in named], None
        missing = sum(key is None for key in named)
        gap = Gap(str(node), "erased", f"the keys of {missing} rows")
        return [
            f"?{number}" if key is None else key for number, key in zip(numbers, named, strict=True)
        ], gap

    def _keys(self, digest: str) -> list[str | None]:
        if digest not in self._read:
            from lodeline.store.link_blocks import read_keys

            block = self._index.find_block(digest, "keys")
            try:
                data = self._segment.get_blob(digest if block is None else block.block)
            except UnknownBlobError:
                self._read[digest] = []
            else:
                self._read[digest] = read_keys(data)
        return self._read[digest]


def _parts(key: str, count: int) -> list[Any] | None:
    """Read the values of a key: one as text or in a JSON array, several in a JSON array."""
    if key.startswith("["):
        try:
            parts = json.loads(key)
        except ValueError:
            parts = None
        if isinstance(parts, list) and len(parts) == count:
            return parts
    return [key] if count == 1 else None

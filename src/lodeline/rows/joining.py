"""Steps, links and names of rows of several segments, as those of one.

A step lies in the segment of its run, and its links and keys beside that segment's store: each is
read there. Which steps follow one another is told by the datasets at their ends alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lodeline.model import NodeId
from lodeline.query.answers import Gap
from lodeline.rows.links import LinkReader
from lodeline.rows.naming import RowNames
from lodeline.rows.steps import StepIndex, StoredStep

Rows = Any


class JoinedSteps(StepIndex):
    """The steps of several segments.

    Args:
        indexes: one a segment, in the order of `JoinedLinks` and `JoinedNames`.
    """

    def __init__(self, indexes: Sequence[StepIndex]) -> None:
        self._indexes = indexes

    def into(self, node: NodeId) -> list[StoredStep]:
        """Steps whose output this is, those of several runs that say the same once."""
        return _united([index.into(node) for index in self._indexes])

    def out_of(self, node: NodeId) -> list[StoredStep]:
        """Steps whose input this is."""
        return _united([index.out_of(node) for index in self._indexes])

    def dated_versions_of(self, node: NodeId) -> list[tuple[str, int]]:
        """Versions that any step has at an end, each with its newest event, newest first."""
        latest: dict[str, int] = {}
        for index in self._indexes:
            for version, time_us in index.dated_versions_of(node):
                latest[version] = max(time_us, latest.get(version, time_us))
        return sorted(latest.items(), key=lambda item: -item[1])

    def keys_of(self, node: NodeId) -> list[tuple[tuple[str, ...], str]]:
        """Give the columns, and the blob of keys if any, that name the rows of a version."""
        return [key for index in self._indexes for key in index.keys_of(node)]


def _united(parts: Sequence[Sequence[StoredStep]]) -> list[StoredStep]:
    found: dict[tuple[object, ...], StoredStep] = {}
    for home, steps in enumerate(parts):
        for step in steps:
            found.setdefault(step.content, replace(step, home=home))
    return list(found.values())


class JoinedLinks(LinkReader):
    """The links of steps of several segments.

    Args:
        readers: one a segment.
    """

    def __init__(self, readers: Sequence[LinkReader]) -> None:
        self._readers = readers

    def block(self, step: StoredStep) -> Any:
        """Open the block of a step, where it lies."""
        return self._readers[step.home].block(step)


class JoinedNames(RowNames):
    """The names of rows in several segments: a dataset's are its keys' where any are declared.

    Args:
        names: one a segment.
        indexes: one a segment.
    """

    def __init__(self, names: Sequence[RowNames], indexes: Sequence[StepIndex]) -> None:
        self._names = names
        self._indexes = indexes

    def find_number(self, dataset: NodeId, row: NodeId) -> int:
        """Find the number of the row that an identifier names; errors as of one segment."""
        return self._of(dataset).find_number(dataset, row)

    def name(self, node: NodeId, numbers: list[int]) -> tuple[list[str], Gap | None]:
        """Name rows of a version; with a gap where numbers alone say nothing to anyone."""
        return self._of(node).name(node, numbers)

    def _of(self, node: NodeId) -> RowNames:
        told = zip(self._names, self._indexes, strict=True)
        return next((one for one, index in told if index.keys_of(node)), self._names[0])

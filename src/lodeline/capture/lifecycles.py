"""What a run removed or renamed: which of it had been there before, and is told as ended.

A file that a run made and removed again was scratch, and nobody else ever saw it. One that was
there before ended with the run: whatever was derived from it or flowed into it is past. Whether it
was there, the time of its last change tells, and that it was read before it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lodeline.capture.datasets import FILE, Dataset
from lodeline.limits import REMOVALS_MAX

_FACET: Final = "lifecycleStateChange"


class Removals:
    """The removals of one run.

    Args:
        started_us: when the run began.
    """

    def __init__(self, started_us: int) -> None:
        self._started_us = started_us
        self._dropped: dict[Dataset, int] = {}
        self._gone: set[Dataset] = set()
        # Files that were there when the run first opened them to write.
        self._old: set[Dataset] = set()

    def note_old(self, dataset: Dataset) -> None:
        """A file that the run is about to write is there already."""
        self._old.add(dataset)

    def add(
        self,
        dataset: Dataset,
        time_us: int,
        changed_us: int | None,
        *,
        is_own: bool,
        was_read: bool,
    ) -> str:
        """A dataset was removed.

        Args:
            dataset: it.
            time_us: when.
            changed_us: when the file was last changed; `None` for an object, of which a store
                tells nothing any more.
            is_own: this run wrote it.
            was_read: this run read it before it wrote it.

        Returns:
            What to tell as a gap; empty for nothing.
        """
        self.note_gone(dataset)
        if changed_us is None:
            was_there = was_read or not is_own
        else:
            was_there = was_read or dataset in self._old or changed_us < self._started_us
        if not was_there:
            return ""
        if len(self._dropped) >= REMOVALS_MAX:
            return f"more than {REMOVALS_MAX} files were removed; the rest is not named"
        self._dropped[dataset] = time_us
        return ""

    def note_gone(self, dataset: Dataset) -> None:
        """An object is not there any more, under a name that it had from this run."""
        if dataset.namespace != FILE:
            self._gone.add(dataset)

    def forget(self, dataset: Dataset) -> None:
        """It is there again."""
        self._dropped.pop(dataset, None)
        self._gone.discard(dataset)

    def is_gone(self, dataset: Dataset) -> bool:
        """Whether it is an object that was removed last. Of a file its folder tells."""
        return dataset in self._gone

    def iter_dropped(self) -> Iterator[Dataset]:
        """What was there before the run, and was removed."""
        yield from sorted(self._dropped)


def renamed_from(previous: Dataset) -> dict[str, Any]:
    """The facet of a dataset that had another name."""
    return {
        _FACET: {
            _FACET: "RENAME",
            "previousIdentifier": {"name": previous.name, "namespace": previous.namespace},
        }
    }


def previous_name(facets: Mapping[str, Any]) -> tuple[str, str] | None:
    """Namespace and name that a dataset had before, by its facets; `None` where it kept them."""
    previous = facets.get(_FACET, {}).get("previousIdentifier")
    return None if previous is None else (previous["namespace"], previous["name"])

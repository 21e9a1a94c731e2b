"""Folders of many files: from some number on, files of one kind are one dataset, their folder.

A program that reads ten thousand images would otherwise be ten thousand nodes, of which nobody asks
about one, and each of its outputs ten thousand edges. What is counted are files with the same
ending in one folder; and, for folders that hold a folder for each class, the folders that are one
dataset, and the files of the small ones. A table of labels beside the images has another ending and
stays a file.

The program counts, so that what flowed in stays small, and says so in its journal; whoever makes
events of the journals counts over all processes, and lists the files in the folder's manifest.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from lodeline.capture.datasets import FILE, Dataset
from lodeline.limits import FOLDER_FILES

VARIABLE: Final = "LODELINE_FOLDER_FILES"
# A folder of folders takes more: one with a few files for each of many purposes is none.
_NESTED: Final = 10


def folder_files_of(environment: object = os.environ) -> int:
    """From how many files on a folder is one dataset; 0 for never."""
    assert hasattr(environment, "get")
    text = environment.get(VARIABLE) or ""
    return int(text) if text.isdigit() else FOLDER_FILES


class Whole(NamedTuple):
    """A folder that is one dataset.

    Attributes:
        folder: its path.
        ending: of the files that it stands for; with `*` before it of those in its folders, too.
    """

    folder: str
    ending: str


class Folders:
    """Which folders are one dataset.

    Args:
        files_max: so many files of one kind stay single; 0 for any number.
    """

    def __init__(self, files_max: int) -> None:
        self._files_max = files_max
        self._counts: dict[Whole, int] = {}
        self._whole: set[Whole] = set()
        # Folders that are one dataset -> the folder around them that became one later.
        self._within: dict[str, str] = {}

    def find(self, dataset: Dataset) -> Dataset | None:
        """The folder that stands for a file or a folder; `None` while it stands for itself."""
        if dataset.namespace != FILE or not self._whole:
            return None
        if dataset.name in self._within:
            return Dataset(FILE, self._within[dataset.name])
        above, folder, ending = _parts(dataset.name)
        if Whole(above, "*" + ending) in self._whole:
            return Dataset(FILE, above)
        return Dataset(FILE, folder) if Whole(folder, ending) in self._whole else None

    def add(self, dataset: Dataset) -> Whole | None:
        """Count a file; gives the folder if with this file it became one dataset."""
        if dataset.namespace != FILE or not self._files_max:
            return None
        above, folder, ending = _parts(dataset.name)
        around, own = Whole(above, "*" + ending), Whole(folder, ending)
        if self._count(own) > self._files_max:
            self.mark(own)
            # Of folders of folders a few may be kept apart.
            around_max = _NESTED
            around = around._replace(ending="/" + ending)
        else:
            around_max = self._files_max * _NESTED
        if above.strip("/") and self._count(around) > around_max:
            own = Whole(above, "*" + ending)
            self.mark(own)
        return own if own in self._whole else None

    def _count(self, key: Whole) -> int:
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return count

    def mark(self, whole: Whole) -> None:
        """Have a folder stand for its files from here on, and for its folders that do so."""
        if not self._files_max or whole in self._whole:
            return
        self._whole.add(whole)
        if whole.ending.startswith("*"):
            for inner in self._whole:
                if inner.folder.rpartition("/")[0] == whole.folder:
                    self._within[inner.folder] = whole.folder

    def remove(self, dataset: Dataset) -> None:
        """Count a file no longer: it is gone, or has another name."""
        if dataset.namespace == FILE:
            above, folder, ending = _parts(dataset.name)
            for key in (Whole(above, "*" + ending), Whole(folder, ending)):
                if key in self._counts:
                    self._counts[key] -= 1

    def may_become_whole(self, dataset: Dataset) -> bool:
        """Whether a file's folder holds so many that it may be one dataset soon."""
        if dataset.namespace != FILE or not self._files_max:
            return False
        _, folder, ending = _parts(dataset.name)
        return self._counts.get(Whole(folder, ending), 0) * _NESTED > self._files_max


def _parts(path: str) -> tuple[str, str, str]:
    folder, _, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    return folder.rpartition("/")[0], folder, ending.lower() if dot and stem else ""

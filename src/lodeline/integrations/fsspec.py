"""fsspec: files of its filesystems, and the frames that pandas and pyarrow read through them.

Plain files, archives and S3 are told elsewhere, by whoever opens them: the interpreter's events,
and botocore's. Here are the rest: files in memory, which live as long as the process, so that what
flowed through them flows on; files that a cache holds, which are their originals; and every other
filesystem, by its URL. What such a filesystem transfers without opening a file is not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from lodeline.capture.datasets import MEMORY, Dataset, find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.process import ADAPTERS
from lodeline.capture.recorder import RECORDER, Recorder

# Told by the interpreter's events, by botocore's, or where the archive is opened.
_TOLD_ELSEWHERE: Final = frozenset({"file", "local", "s3", "s3a", "dir", "reference"})


class FsspecIntegration:
    """fsspec since 2023."""

    name = "fsspec"
    supports = "fsspec>=2023.1,<2028"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Observe the opening and closing of files."""
        patches = Patches("fsspec")
        observer = _Observer(recorder, patches)
        ADAPTERS.when_imported("fsspec.spec", observer.patch_files)
        ADAPTERS.when_imported("fsspec.implementations.memory", observer.patch_memory)
        return patches.undo


class _Observer:
    def __init__(self, recorder: Recorder, patches: Patches) -> None:
        self._recorder = recorder
        self._patches = patches
        self._written: WeakKeyDictionary[Any, Dataset] = WeakKeyDictionary()

    def patch_files(self, module: Any) -> None:
        original = vars(module.AbstractFileSystem).get("open")
        self._patches.wrap(
            module.AbstractFileSystem, "open", original, lambda f: _opening(f, self._opened)
        )
        self._patches.after(module.AbstractBufferedFile, "close", self._closed)

    def patch_memory(self, module: Any) -> None:
        self._patches.after(module.MemoryFile, "close", self._closed)

    def _opened(self, result: Any, filesystem: Any, path: str, mode: str) -> None:
        dataset = _name(filesystem, path)
        if dataset is None:
            return
        if "r" in mode:
            self._recorder.tag(result, self._recorder.read(dataset))
        else:
            self._written[result] = dataset
            if dataset.namespace == MEMORY:
                # Some are never closed, and their contents stand all the same.
                self._recorder.put(dataset)

    def _closed(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result, kwargs
        dataset = self._written.pop(args[0], None)
        if dataset is not None:
            self._recorder.put(dataset)


def _opening(original: Any, opened: Callable[[Any, Any, str, str], None]) -> Any:
    local = RECORDER.local

    def lodeline(self: Any, path: Any, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        # Text is read through the same method, in bytes. A cache's own files are nobody's data.
        if "b" not in mode or not _is_cache(self) or local.suspended:
            result = original(self, path, mode, *args, **kwargs)
        else:
            local.suspended = 1
            try:
                result = original(self, path, mode, *args, **kwargs)
            finally:
                local.suspended = 0
        if "b" in mode:
            try:
                opened(result, self, path, mode)
            except Exception as error:  # capture's outermost door
                RECORDER.trouble("fsspec.open", error)
        return result

    return lodeline


def _is_cache(filesystem: Any) -> bool:
    return any(kind.__name__ == "CachingFileSystem" for kind in type(filesystem).__mro__)


def _name(filesystem: Any, path: str) -> Dataset | None:
    """Name a file; `None` for what is told elsewhere."""
    kinds = {kind.__name__ for kind in type(filesystem).__mro__}
    if "AbstractArchiveFileSystem" in kinds:
        return None
    if "CachingFileSystem" in kinds:
        filesystem = filesystem.fs
    protocol = filesystem.protocol
    first = protocol if isinstance(protocol, str) else protocol[0]
    if first in _TOLD_ELSEWHERE and "CachingFileSystem" not in kinds:
        return None
    return find_dataset(filesystem.unstrip_protocol(path))

"""fsspec: files of its filesystems, and the frames that pandas and pyarrow read through them.

Plain files, archives and S3 are told elsewhere, by whoever opens them: the interpreter's events,
and botocore's. Here are the rest: files in memory, which live as long as the process, so that what
flowed through them flows on; files that a cache holds, which are their originals; and every other
filesystem, by its URL. What such a filesystem transfers without opening a file is not seen.

Each filesystem has its own ways to remove and to move: its classes are wrapped when the first of
them is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final
from weakref import WeakKeyDictionary

from lodeline.capture.datasets import FILE, MEMORY, Dataset, find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.process import ADAPTERS
from lodeline.capture.recorder import RECORDER, Recorder
from lodeline.limits import FOLDERS_LISTED_MAX, REMOVALS_MAX

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
        self._kinds: set[type] = set()
        # Removals that were told one by one.
        self._count = 0

    def patch_files(self, module: Any) -> None:
        original = vars(module.AbstractFileSystem).get("open")
        self._patches.wrap(
            module.AbstractFileSystem, "open", original, lambda f: _opening(f, self._opened)
        )
        self._patches.after(module.AbstractBufferedFile, "close", self._closed)
        meta = module._Cached  # the class of all filesystems' classes
        self._patches.wrap(meta, "__call__", vars(meta)["__call__"], self._making)

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

    # Removals

    def _making(self, original: Any) -> Any:
        def lodeline(kind: Any, *args: Any, **kwargs: Any) -> Any:
            # Before: a filesystem that works asynchronously binds its methods when it is made.
            try:
                self._watch(kind)
            except Exception as error:  # capture's outermost door
                self._recorder.trouble("fsspec.rm", error)
            return original(kind, *args, **kwargs)

        return lodeline

    def _watch(self, kind: type) -> None:
        """Wrap the methods of a filesystem's classes where they are defined."""
        for one in kind.__mro__:
            if one is object or one in self._kinds:
                continue
            self._kinds.add(one)
            own = vars(one)
            for name in ("rm_file", "_rm", "_rm_file"):
                if name == "_rm" and iscoroutinefunction(own.get(name)):
                    self._patches.wrap(one, name, own[name], self._emptying_awaited)
                elif iscoroutinefunction(own.get(name)):
                    self._patches.after_awaited(one, name, self._removed)
                else:
                    self._patches.after(one, name, self._removed)
            for name, after in (("rm", self._emptied), ("mv", self._moved)):
                if name in own:
                    wrap = partial(self._counting, after=after)
                    self._patches.wrap(one, name, own[name], wrap)

    def _counting(self, original: Any, after: Callable[..., None]) -> Any:
        """Tell `after` whether the call told of files one by one."""

        def lodeline(*args: Any, **kwargs: Any) -> Any:
            before = self._count
            held = self._held(original, args, kwargs)
            result = original(*args, **kwargs)
            try:
                if not self._recorder.local.suspended:
                    after(args, kwargs, was_told=self._count > before, held=held)
            except Exception as error:  # capture's outermost door
                self._recorder.trouble("fsspec.rm", error)
            return result

        return lodeline

    def _emptying_awaited(self, original: Any) -> Any:
        async def lodeline(*args: Any, **kwargs: Any) -> Any:
            before = self._count
            held = None
            if not _tells_each(original) and _is_whole(*_asked(args, kwargs)):
                try:
                    held = await args[0]._find(_strip(args[0], _asked(args, kwargs)[0]))
                except Exception:  # it is asked for again, and answered, without us
                    held = None
            result = await original(*args, **kwargs)
            try:
                self._emptied(args, kwargs, was_told=self._count > before, held=held)
            except Exception as error:  # capture's outermost door
                self._recorder.trouble("fsspec.rm", error)
            return result

        return lodeline

    def _held(self, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """List what a folder holds that is about to be removed whole; `None` where it is not known.

        fsspec's own way lists it and removes one file after the other, which is told. Ways of other
        filesystems need not: what was there is known before, or never.
        """
        if original.__name__ != "rm" or _tells_each(original):
            return None
        path, recursive = _asked(args, kwargs)
        if not _is_whole(path, recursive) or self._recorder.local.suspended:
            return None
        local = self._recorder.local
        local.suspended = 1
        try:
            found = _name(args[0], _strip(args[0], path))
            if found is None or found.namespace == MEMORY:
                return None
            return _listed(args[0], _strip(args[0], path))
        except Exception:  # a filesystem that cannot list; its removal tells what is wrong
            return None
        finally:
            local.suspended = 0

    def _removed(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del result
        filesystem = args[0]
        paths, recursive = _asked(args, kwargs)
        for path in [paths] if isinstance(paths, str) else paths:
            dataset = _name(filesystem, _strip(filesystem, path))
            if dataset is None or dataset.namespace == MEMORY:
                continue
            self._count += 1
            if recursive is True or any(mark in path for mark in "*?["):
                detail = "a folder or a pattern was removed; what it held is not known"
                at = f"{dataset.namespace}/{dataset.name.lstrip('/')}"
                self._recorder.gap(at, "capture", detail)
            else:
                self._recorder.removed(dataset)

    def _emptied(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, was_told: bool, held: Any
    ) -> None:
        if was_told:
            return
        if held is None:
            self._removed(None, args, kwargs)
            return
        for path in held:
            self._removed(None, (args[0], path), {})

    def _moved(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, was_told: bool, held: Any
    ) -> None:
        """A move is a copy and a removal; S3's are told by botocore's events."""
        del held
        given = [*args[1:3], *(kwargs[name] for name in ("path1", "path2")[len(args) - 1 :])]
        names = [_strip(args[0], one) for one in given]
        source, target = (find_dataset(args[0].unstrip_protocol(one)) for one in names)
        if source is None or target is None or source.namespace in {FILE, MEMORY}:
            return
        if _name(args[0], names[0]) is not None:
            self._recorder.write(target, flow=self._recorder.read(source))
            if not was_told:
                self._recorder.removed(source)
        self._recorder.renamed(source, target)


def _asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """What is to be removed, and whether with all that it holds."""
    paths = args[1] if len(args) > 1 else kwargs.get("path", ())
    return paths, args[2] if len(args) > 2 else kwargs.get("recursive")


def _is_whole(path: Any, recursive: Any) -> bool:
    return isinstance(path, str) and recursive is True and not any(mark in path for mark in "*?[")


def _tells_each(removal: Any) -> bool:
    """Whether a way to remove is fsspec's own, which goes from file to file."""
    return removal.__module__ in {"fsspec.spec", "fsspec.asyn"}


def _listed(filesystem: Any, path: str) -> list[str] | None:
    """List the files below a folder; `None` where they are too many, or it is a file."""
    found: list[str] = []
    for count, (folder, _, files) in enumerate(filesystem.walk(path)):
        found += [f"{folder}/{name}" for name in files]
        if count >= FOLDERS_LISTED_MAX or len(found) > REMOVALS_MAX:
            return None
    return found or None


def _strip(filesystem: Any, path: str) -> str:
    return str(filesystem._strip_protocol(path))  # as its own methods do


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

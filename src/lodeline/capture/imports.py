"""Installing integrations when their framework is imported, and not before.

A finder at the head of `sys.meta_path` looks up each imported name in a table; for a watched one
it lets the other finders work and has its own act done once the module has run. Nothing is
imported earlier than the program would, and what the program never imports costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from lodeline.capture.recorder import RECORDER

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

Act = Callable[[ModuleType], None]


class ImportWatch:
    """Calls an act for each watched module, once, right after the module has run."""

    def __init__(self) -> None:
        self._acts: dict[str, list[Act]] = {}
        self._looking: set[str] = set()

    def install(self) -> None:
        """Start watching."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop watching."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def when_imported(self, name: str, act: Act) -> None:
        """Have `act(module)` called once `name` is imported, at once when it already is."""
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        if module is not None and not getattr(spec, "_initializing", False):
            _do(name, act, module)
        else:
            self._acts.setdefault(name, []).append(act)

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The finder protocol: look through the other finders' eyes, add our act."""
        if name not in self._acts or name in self._looking:
            return None
        self._looking.add(name)
        try:
            spec = _find_elsewhere(self, name, path, target)
        finally:
            self._looking.discard(name)
        if spec is not None and spec.loader is not None:
            self._hook(name, spec)
        return spec

    def _hook(self, name: str, spec: ModuleSpec) -> None:
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def execute_and_act(module: ModuleType) -> None:
            try:
                del loader.exec_module  # type: ignore[union-attr]  # our own, set below
            except AttributeError:
                execute(module)
                return
            execute(module)
            for act in self._acts.pop(name, ()):
                _do(name, act, module)

        try:
            loader.exec_module = execute_and_act  # type: ignore[union-attr,method-assign]  # this loader instance alone
        except AttributeError:
            # Built-in and frozen modules share one loader class; watched ones are imported by us.
            return


def _find_elsewhere(
    watch: ImportWatch, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        if finder is watch:
            continue
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path, target) if find is not None else None
        if spec is not None:
            return spec
    return None


def _do(name: str, act: Act, module: ModuleType) -> None:
    try:
        act(module)
    except Exception as error:  # capture's outermost door
        RECORDER.trouble(f"integration of {name}", error)

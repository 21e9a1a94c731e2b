"""pickle (and cloudpickle through it): objects dumped to open files and loaded from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder


class PickleIntegration:
    """The module's `dump` and `load`; `dumps` and `loads` touch no file."""

    name = "pickle"
    supports = ""

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the two functions of the module."""
        import pickle

        def dumped(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            from lodeline.capture.models import record_dump

            value = args[0] if args else kwargs.get("obj")
            target = args[1] if len(args) > 1 else kwargs.get("file")
            record_dump(recorder, value, target, file_format="pickle", flush=True)

        def loaded(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            from lodeline.capture.models import record_load

            target = args[0] if args else kwargs.get("file")
            record_load(recorder, result, target, file_format="pickle")

        patches = Patches("pickle")
        patches.door(pickle, "dump", dumped)
        patches.door(pickle, "load", loaded)
        return patches.undo

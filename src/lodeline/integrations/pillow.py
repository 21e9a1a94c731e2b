"""Pillow: images read and written, and what flows from image to image and to arrays.

`Image.open` only begins to read; what it gave names the file all the same. Methods that give an
image pass on where it came from; functions of `ImageOps` and its like are made of them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from lodeline.capture.datasets import find_dataset
from lodeline.capture.patches import Patches
from lodeline.capture.process import ADAPTERS
from lodeline.capture.recorder import Recorder

_FUNCTIONS: Final = ("fromarray", "merge", "blend", "composite", "alpha_composite", "eval")
# They give no image, or are told apart.
_LEFT_ALONE: Final = frozenset({"save", "show", "close", "load", "verify", "seek", "tell"})
_MUTATING: Final = frozenset({"paste", "alpha_composite", "putalpha", "putdata", "frombytes"})


class PillowIntegration:
    """Pillow 9.4 and later."""

    name = "pillow"
    supports = "pillow>=9.4,<14"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the module of images once it is imported."""
        patches = Patches("pillow")

        def opened(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            dataset = recorder.find_source(args[0] if args else kwargs.get("fp"))
            flow = recorder.flow.unknown() if dataset is None else recorder.read(dataset)
            recorder.tag(result, flow)

        def saved(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            target = args[1] if len(args) > 1 else kwargs.get("fp")
            dataset = find_dataset(target)
            if dataset is not None:
                is_open = getattr(target, "closed", True) is False
                recorder.write(dataset, flow=recorder.flow_of(args[0]), is_open=is_open)

        def patch(module: Any) -> None:
            recorder.flow.holds_data(module.Image)
            patches.door(module, "open", opened)
            patches.door(module.Image, "save", saved)
            for name in _FUNCTIONS:
                patches.passage(module, name, data=True)
            for name, value in list(vars(module.Image).items()):
                if isinstance(value, FunctionType) and name[0] != "_" and name not in _LEFT_ALONE:
                    patches.passage(module.Image, name, mutates=name in _MUTATING)

        ADAPTERS.when_imported("PIL.Image", patch)
        return patches.undo

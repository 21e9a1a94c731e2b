"""The seed of the standard library's `random`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder


class RandomIntegration:
    """`random.seed`."""

    name = "random"
    supports = ""

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the module's function; in a deterministic run seed it, too."""
        import random

        def seeded(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            recorder.seed("random", args[0] if args else kwargs.get("a"))

        if recorder.deterministic:
            random.seed(0)
            recorder.seed("random", 0)
        patches = Patches("random")
        patches.door(random, "seed", seeded)
        return patches.undo

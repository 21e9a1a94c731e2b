"""joblib: models, and other objects, that are dumped to files and loaded from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder


class JoblibIntegration:
    """joblib's `dump` and `load`."""

    name = "joblib"
    supports = "joblib>=1.2,<2"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch the two functions; both are called through the package."""
        import joblib

        def dumped(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result
            from lodeline.capture.models import record_dump

            value = args[0] if args else kwargs.get("value")
            target = args[1] if len(args) > 1 else kwargs.get("filename")
            record_dump(recorder, value, target, file_format="joblib")

        def loaded(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            from lodeline.capture.models import record_load

            target = args[0] if args else kwargs.get("filename")
            record_load(recorder, result, target, file_format="joblib")

        patches = Patches("joblib")
        patches.door(joblib, "dump", dumped)
        patches.door(joblib, "load", loaded)
        return patches.undo

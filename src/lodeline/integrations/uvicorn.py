"""uvicorn: an application that it is about to run records its predictions.

The middleware is put around what `Config.load` loaded, whatever its interface was before. A
program that called `lodeline.serving` itself is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodeline.capture.patches import Patches
from lodeline.capture.recorder import Recorder


class UvicornIntegration:
    """uvicorn 0.20 and later."""

    name = "uvicorn"
    supports = "uvicorn>=0.20,<1"

    def install(self, recorder: Recorder) -> Callable[[], None]:
        """Patch `Config.load`."""
        from uvicorn.config import Config

        def loaded(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            del result, kwargs
            from lodeline.capture.serving import serving_automatically

            config = args[0]
            name = _deployment(recorder, config.app)
            config.loaded_app = serving_automatically(config.loaded_app, deployment=name)

        patches = Patches("uvicorn")
        patches.door(Config, "load", loaded)
        return patches.undo


def _deployment(recorder: Recorder, app: object) -> str:
    """Name a deployment: the module of `module:app`, else the job's file without its suffix."""
    if isinstance(app, str):
        return app.partition(":")[0].rpartition(".")[2]
    run = recorder.run
    job = "app" if run is None else run.job
    return job.rpartition("/")[2].removesuffix(".py") or "app"

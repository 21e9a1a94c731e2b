"""Starts capture in a program that does not know of it.

`lodeline run` puts this folder first on PYTHONPATH, and Python imports `sitecustomize` when it
starts. What happens here: the folder leaves `sys.path` again, a `sitecustomize` that was there
before is run as if it had been found first, and capture begins. Whatever goes wrong on our side,
the program starts as it would have.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType


def _leave_path() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]


def _begin_capture() -> None:
    if os.environ.get("LODELINE_AUTOCAPTURE") != "1" or sys.hexversion < 0x030B0000:
        return
    if os.environ.get("LODELINE_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return
    try:
        from lodeline.capture import process
    except ModuleNotFoundError as error:
        if error.name not in ("lodeline", "lodeline.capture"):
            raise
        process = _from_own_folder()
    process.begin_from_environment()


def _from_own_folder() -> ModuleType:
    """The observed interpreter has no lodeline: lend it this one, and none of our dependencies."""
    import importlib.util

    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    spec = importlib.util.spec_from_file_location(
        "lodeline", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lodeline"] = module
    spec.loader.exec_module(module)
    from lodeline.capture import process

    return process


def _run_existing() -> None:
    """Run the `sitecustomize` that this one hides, under its own name; errors are its own."""
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_leave_path()
try:
    _begin_capture()
except Exception as _error:
    if os.environ.get("LODELINE_DEBUG") == "1":
        sys.stderr.write(f"lodeline: capture did not start: {_error!r}\n")
_run_existing()

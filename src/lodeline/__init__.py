"""Lodeline: trace, prove and replay what an AI pipeline produced.

The names of `__all__` are the public interface; everything else is internal. Each loads on first
use, so that `import lodeline` stays light in programs that are merely observed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

# Type checkers know the name; importing it from `typing` would load twenty modules.
TYPE_CHECKING = False

__version__ = "0.1.0"

_HOMES = {
    "autocapture": "lodeline.capture.sdk",
    "job": "lodeline.capture.sdk",
    "run": "lodeline.capture.sdk",
    "register": "lodeline.capture.sdk",
    "serving": "lodeline.capture.serving",
    "flush": "lodeline.capture.sdk",
    "trace": "lodeline.questions",
    "path": "lodeline.questions",
    "impact": "lodeline.questions",
    "diff": "lodeline.questions",
    "show": "lodeline.questions",
    "search": "lodeline.questions",
    "rows": "lodeline.questions",
    "cohort": "lodeline.questions",
}

# What `%load_ext lodeline` looks for: for IPython, not for programs.
_HOOKS = {
    "load_ipython_extension": "lodeline.capture.notebook",
    "unload_ipython_extension": "lodeline.capture.notebook",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # names, from the table above


if TYPE_CHECKING:  # What type checkers and editors see; at run time names load on first use.
    from lodeline.capture.sdk import autocapture as autocapture
    from lodeline.capture.sdk import flush as flush
    from lodeline.capture.sdk import job as job
    from lodeline.capture.sdk import register as register
    from lodeline.capture.sdk import run as run
    from lodeline.capture.serving import serving as serving
    from lodeline.questions import cohort as cohort
    from lodeline.questions import diff as diff
    from lodeline.questions import impact as impact
    from lodeline.questions import path as path
    from lodeline.questions import rows as rows
    from lodeline.questions import search as search
    from lodeline.questions import show as show
    from lodeline.questions import trace as trace


class _Package(ModuleType):
    """Keeps `lodeline.rows` the question, though a subpackage has the same name.

    Importing `lodeline.rows.…` anywhere binds the subpackage to its name here; from then on the
    public function would be gone. Import statements find the subpackage without that binding.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    home = _HOMES.get(name) or _HOOKS.get(name)
    if home is None:
        raise AttributeError(f"module 'lodeline' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

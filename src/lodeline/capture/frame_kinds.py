"""Where each release of pandas keeps the types that stand for a frame's data."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

# Before 2.1, which had no public name for them.
HOMES: Final = {
    "DataFrameGroupBy": "pandas.core.groupby.generic",
    "SeriesGroupBy": "pandas.core.groupby.generic",
    "Rolling": "pandas.core.window",
    "Expanding": "pandas.core.window",
    "ExponentialMovingWindow": "pandas.core.window",
    "Window": "pandas.core.window.rolling",
    "Resampler": "pandas.core.resample",
    "JsonReader": "pandas.io.json._json",
}


def kind(name: str) -> Any:
    """Give a type by its name."""
    try:
        home = import_module("pandas.api.typing")
    except ModuleNotFoundError:
        home = import_module(HOMES[name])
    return getattr(home, name)

"""Environments of their own for the frameworks that are observed: `tests/adapters/NAME.txt` each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def interpreter_of(name: str) -> str:
    """Python of the environment `.venv-NAME`, which `make frameworks` makes; skips without it.

    Under CI a missing environment fails the test: what is not tested there is tested nowhere.
    """
    environment = ROOT / f".venv-{name}"
    if not (environment / "installed").exists():
        told = f"no environment {environment}; `make frameworks` makes it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return str(environment / "bin" / "python")

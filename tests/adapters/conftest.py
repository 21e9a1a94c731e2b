"""An interpreter with the oldest and one with the newest release of each observed framework."""

from __future__ import annotations

import pytest

from frameworks import interpreter_of


@pytest.fixture(params=["oldest", "newest"])
def interpreter(request: pytest.FixtureRequest) -> str:
    return interpreter_of(request.param)

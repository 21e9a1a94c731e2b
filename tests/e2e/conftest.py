"""A store and a command line of its own for each test."""

from pathlib import Path

import pytest
from black_box import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)

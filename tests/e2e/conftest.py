"""A store and a command line of its own for each test."""

from pathlib import Path

import pytest
from black_box import Shell
from going import Verify, build_verify


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def go_verify(tmp_path_factory: pytest.TempPathFactory) -> Verify:
    """Go's verifier; skips where Go is not installed."""
    return build_verify(tmp_path_factory.mktemp("go"))

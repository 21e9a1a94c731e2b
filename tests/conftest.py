"""What every test may ask for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

VECTORS = Path(os.environ.get("LODELINE_VECTORS") or Path(__file__).parents[2] / "shared/vectors")


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Path]:
    """Find a folder of other projects' test vectors, or skip."""

    def find(name: str) -> Path:
        folder = VECTORS / name
        if not folder.is_dir():
            pytest.skip(f"no vectors at {folder}; set LODELINE_VECTORS to the folder of vectors")
        return folder

    return find

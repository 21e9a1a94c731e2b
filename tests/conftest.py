"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from postgres_servers import Server
    from stores import Place

# Environments of frameworks are installed without byte code. The first program that imports one
# leaves it behind; a shell that forbids it would have each of hundreds compile pandas anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test is timed: on a busy machine a drawn example takes longer than Hypothesis expects.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

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


@pytest.fixture(scope="session")
def postgres_of() -> Iterator[Callable[[str], Server]]:
    """Start PostgreSQL of a version when a test first asks for it, or skip."""
    from postgres_servers import Server, binaries

    running: dict[str, Server] = {}

    def find(version: str) -> Server:
        if binaries(version) is None:
            pytest.skip(f"no PostgreSQL {version} here; `make test` installs it")
        if version not in running:
            running[version] = Server(version)
        return running[version]

    yield find
    for server in running.values():
        server.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Run the demo once; its outcome, and what people read along. Its store is only read."""
    from demo_store import shared_demo

    base = tmp_path_factory.getbasetemp()
    return shared_demo(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(params=["sqlite", "postgres15", "postgres18"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_of: Callable[[str], Server]
) -> Iterator[Place]:
    """Where a store of each kind can be made."""
    from stores import Place

    kind = request.param
    server = postgres_of(kind.removeprefix("postgres")) if kind != "sqlite" else None
    made = Place(kind, tmp_path, server)
    yield made
    made.drop()

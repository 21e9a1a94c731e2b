"""PostgreSQL servers that tests start for themselves, on a free port of the loopback address."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True)
class Postgres:
    """One that runs.

    Attributes:
        port: on 127.0.0.1.
        user: the superuser; no password is asked.
    """

    port: int
    user: str
    binaries: Path

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def sql(self, database: str, statements: str) -> str:
        """Run statements; what they gave, unadorned."""
        command = [self.binaries / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url(database)]
        done = subprocess.run(command, input=statements, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@contextmanager
def running_postgres(binaries: Path = DEBIAN) -> Iterator[Postgres]:
    """Run a server over an empty cluster, without fsync: for what does not test durability."""
    if not (binaries / "initdb").exists():
        pytest.skip(f"no PostgreSQL in {binaries}; `make test` installs it as root")
    # PostgreSQL refuses to run as root, and temporary folders of tests are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="lodeline-postgres-", dir="/tmp"))
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        shutil.chown(folder, owner.pw_uid, owner.pw_gid)
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    data = folder / "data"
    initialise = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "lodeline", "-E", "UTF8"]
    subprocess.run(initialise, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)  # type: ignore[call-overload]
    port = free_port()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    try:
        subprocess.run(
            [*control, "-o", options, "start"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user,
        )  # type: ignore[call-overload]  # fmt: skip
        yield Postgres(port, "lodeline", binaries)
    finally:
        subprocess.run(
            [*control, "-m", "immediate", "stop"],
            check=False, stdout=subprocess.DEVNULL, cwd=folder, **as_user,
        )  # type: ignore[call-overload]  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
